"""Every entry point: its usage, its settings, and its errors."""

import json
import logging
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from flows.command_line import exit_status
from flows.pipeline import __main__ as pipeline
from flows.study import __main__ as study
from tasks.params import ParameterError
from tests.support import ROOT
from tests.support.clone import Clone

INNER = {"flows.server.process", "tasks.check_images"}  # other commands and the hook of .venv start them
LOAD_TENSORFLOW = {"tasks.classify", "tasks.evaluate", "tasks.train"}
ARGUMENTS = ("--help", "--nonsense")

# One process for all, which imports Prefect and DVC once.
RUN_EACH = """

import contextlib, io, json, runpy, sys, warnings
warnings.simplefilter("ignore")  # of a module that another entry point has imported
def run(module, argument):
    sys.argv = [module, argument]
    with contextlib.redirect_stdout(io.StringIO()) as output, contextlib.redirect_stderr(io.StringIO()) as errors:
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
            status = 0
        except SystemExit as ended:
            status = ended.code or 0
    return status, output.getvalue(), errors.getvalue()
arguments, modules = json.loads(sys.argv[1]), sys.argv[2:]
print(json.dumps({module: [run(module, argument) for argument in arguments] for module in modules}))
"""


def entry_points() -> list[str]:
    """List the modules of this repository that `python -m` runs."""
    files = [file for package in ("flows", "tasks", "bench") for file in (ROOT / package).rglob("*.py")]
    runnable = [file for file in files if '__name__ == "__main__"' in file.read_text(encoding="utf-8")]
    names = {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__") for file in runnable}
    return sorted(names - INNER)


@cache
def run_each(folder: Path, loading_tensorflow: bool) -> dict[str, list[tuple[int, str, str]]]:
    """Run entry points with each argument; their status, output and errors."""
    modules = [module for module in entry_points() if (module in LOAD_TENSORFLOW) == loading_tensorflow]
    done = subprocess.run(
        [sys.executable, "-c", RUN_EACH, json.dumps(ARGUMENTS), *modules],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    results: dict[str, list[tuple[int, str, str]]] = json.loads(done.stdout)
    return results


@pytest.fixture(scope="module")
def empty_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("empty")


@pytest.mark.parametrize(
    "module",
    [pytest.param(name, marks=[pytest.mark.slow] if name in LOAD_TENSORFLOW else []) for name in entry_points()],
)
def test_help_shows_the_usage_and_what_is_unknown_ends_with_two(module: str, empty_folder: Path) -> None:
    (helped, usage, _), (refused, _, error) = run_each(empty_folder, module in LOAD_TENSORFLOW)[module]
    assert usage.startswith(f"usage: python -m {module} ")
    assert error.startswith(f"usage: python -m {module} ")
    assert (helped, refused) == (0, 2)
    assert list(empty_folder.iterdir()) == []


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.epoch=3", "overrides: train.epoch: is no parameter; did you mean train.epochs?"),
        ("train.epochs=0", "overrides: train.epochs: must be greater than or equal to 1; received 0"),
        ("train.epochs", "--set must be KEY=VALUE; received train.epochs"),
        ("study.seeds=5", "overrides: study.seeds: is no parameter; block study is set in the file alone"),
    ],
)
def test_a_mistaken_setting_of_the_pipeline_is_one_line_before_a_server_starts(
    clone: Clone, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], setting: str, message: str
) -> None:
    monkeypatch.chdir(clone.path)
    assert pipeline.main(["--set", setting]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {message}")


@pytest.mark.parametrize("command", [(pipeline, ["--set", "train.epochs=3"]), (study, [])])
def test_a_run_from_a_commit_is_refused_where_there_is_none(
    clone: Clone, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: Any
) -> None:
    monkeypatch.chdir(clone.path)
    clone.run("git", "checkout", "--quiet", "--orphan", "young")
    module, arguments = command
    assert module.main(arguments) == 2
    assert capsys.readouterr().err == (
        "error: an isolated run must start from a commit; this repository has none yet; `git add --all && git commit`\n"
    )
    clone.reset()


@pytest.mark.parametrize(("error", "traces"), [(ParameterError("unknown key"), 0), (RuntimeError("a mistake here"), 1)])
def test_an_error_of_this_project_is_one_line_without_prefects_trace(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], error: Exception, traces: int
) -> None:
    def run() -> None:
        try:
            raise error
        except Exception:
            logging.getLogger("prefect.flow_runs").exception("as Prefect does")
            raise

    with caplog.at_level(logging.ERROR, "prefect.flow_runs"):
        assert exit_status(run, "") in {1, 2}
    assert capsys.readouterr().err.splitlines()[-1] == f"error: {error}"
    assert len(caplog.records) == traces


@pytest.mark.parametrize(
    ("variables", "dotenv", "message"),
    [
        ({"SSL_CERT_FILE": "/gone.pem"}, "", "SSL_CERT_FILE must name a file; received /gone.pem, which is gone; "),
        ({}, "A=1\nexport prefect_api_url=http://127.0.0.1:9/api\n", "the address in .env of this folder; start that"),
        ({"PREFECT_API_URL": "http://127.0.0.1:8/api"}, "PREFECT_API_URL=http://a:9/api\n", "127.0.0.1:8/api; start"),
    ],
)
def test_a_setting_that_leads_nowhere_is_named_where_it_stands(
    tmp_path: Path, variables: dict[str, str], dotenv: str, message: str
) -> None:
    (tmp_path / ".env").write_text(dotenv)
    code = "from flows.server import connection\nwith connection.connected(connection.start_unless_named()): pass"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert message in done.stderr.splitlines()[-1]
    assert done.returncode == 1


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:4200/api"])
def test_a_server_may_be_named_by_a_profile_of_prefects(tmp_path: Path, url: str) -> None:
    profiles = tmp_path / "profiles.toml"
    setting = f'PREFECT_API_URL = "{url}"\n' if url else ""
    profiles.write_text(f'active = "own"\n\n[profiles.own]\n{setting}', encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", "from flows.server import connection; connection.require_named_server('--status')"],
        cwd=tmp_path,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
            "PREFECT_PROFILES_PATH": str(profiles),
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode == 0) == bool(url)
    assert ("--status needs a Prefect server that all machines reach" in done.stderr) != bool(url)


@pytest.mark.slow
@pytest.mark.long
def test_settings_force_and_push_reach_the_flow(clone: Clone) -> None:
    store = clone.path.parent / "store"
    clone.run("dvc", "remote", "add", "--local", "--default", "store", str(store))
    command = [sys.executable, "-m", "flows.pipeline"]
    output = clone.run(*command, "--set", "evaluate.batch_size=300", "--set", "evaluate.test_time_augmentation=mirror")
    assert "parameters: evaluate.batch_size 2000 → 300, evaluate.test_time_augmentation none → mirror" in output
    (commit,) = clone.run("git", "for-each-ref", "--format=%(objectname)", "refs/exps/??/*/*").split()
    assert "batch_size: 300" in clone.run("git", "show", f"{commit}:params.yaml")
    assert not store.exists()
    output = clone.run(*command, "--force", "--push")
    assert output.count("runs: forced") == 5
    assert list(store.rglob("*.dir"))
    output = clone.run(*command, "--pull")
    assert output.count("in state Cached") == 5


@pytest.mark.parametrize("module", ["flows.why", "flows.summary"])
def test_a_command_whose_reader_ends_first_ends_without_a_trace(clone: Clone, module: str) -> None:
    clone.reset()
    command = f"python -m {module} | true; exit ${{PIPESTATUS[0]}}"
    assert clone.run("bash", "-c", command, status=141) == ""
