"""Every entry point says how it is used, and refuses what it does not know before it does anything."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.pipeline import __main__ as pipeline
from flows.server import connection
from tests.support import ROOT
from tests.support.clone import Clone
from tests.support.serving import heed_interrupts

LOAD_TENSORFLOW = {"tasks.classify", "tasks.evaluate", "tasks.train"}


def entry_points() -> list[str]:
    """The modules of this repository that `python -m` runs."""
    files = [file for package in ("flows", "tasks", "bench") for file in (ROOT / package).rglob("*.py")]
    found = [file for file in files if '__name__ == "__main__"' in file.read_text(encoding="utf-8")]
    return sorted(".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__") for file in found)


@pytest.mark.parametrize(
    "module",
    [pytest.param(name, marks=[pytest.mark.slow] if name in LOAD_TENSORFLOW else []) for name in entry_points()],
)
def test_help_shows_the_usage_and_what_is_unknown_ends_with_two(module: str, tmp_path: Path) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-m", module, argument],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for argument in ("--help", "--nonsense")
    ]
    (helped, _), (_, refused) = (process.communicate(timeout=60) for process in started)
    assert helped.startswith(f"usage: python -m {module} ")
    assert refused.startswith(f"usage: python -m {module} ")
    assert [process.returncode for process in started] == [0, 2]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("train.epoch=3", "--set: train.epoch: is no parameter; did you mean train.epochs?"),
        ("train.epochs=0", "--set: train.epochs: must be greater than or equal to 1; received 0"),
        ("train.epochs", "--set must be KEY=VALUE; received train.epochs"),
        ("study.seeds=5", "--set: study.seeds: is no parameter; a study's own is set in the file"),
    ],
)
def test_a_mistaken_setting_of_the_pipeline_is_one_line_before_prefect_is_loaded(
    clone: Clone, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], setting: str, says: str
) -> None:
    monkeypatch.chdir(clone.path)
    assert pipeline.main(["--set", setting]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {says}")


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:4200/api"])
def test_a_server_may_be_named_by_a_profile_of_prefects(tmp_path: Path, url: str) -> None:
    asked = subprocess.run(
        [sys.executable, "-c", "from flows.server import connection; connection.require_named_server('--status')"],
        cwd=tmp_path,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
            "PREFECT_PROFILES_PATH": str(profile(tmp_path / "profiles.toml", url)),
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (asked.returncode == 0) == bool(url)
    assert ("--status needs a Prefect server that all machines reach" in asked.stderr) != bool(url)


def profile(path: Path, url: str) -> Path:
    setting = f'PREFECT_API_URL = "{url}"\n' if url else ""
    path.write_text(f'active = "own"\n\n[profiles.own]\n{setting}', encoding="utf-8")
    return path


@pytest.fixture
def heeding() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    heed_interrupts()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("heeding")
@pytest.mark.parametrize("became", [RuntimeError, asyncio.CancelledError])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_that_a_library_makes_another_error_of_is_told_as_one(
    clone: Clone,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
    became: type[BaseException],
) -> None:
    def begin() -> None:
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            raise became from None

    monkeypatch.chdir(clone.path)
    monkeypatch.setattr(connection, "start_unless_named", begin)
    assert pipeline.main([]) == 130
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: interrupted; every child was ended")


@pytest.mark.slow
def test_settings_force_and_push_reach_the_flow(clone: Clone) -> None:
    store = clone.path.parent / "store"
    clone.run("dvc", "remote", "add", "--local", "--default", "store", str(store))
    pipeline = [sys.executable, "-m", "flows.pipeline"]
    said = clone.run(*pipeline, "--set", "evaluate.batch_size=300", "--set", "evaluate.test_time_augmentation=mirror")
    assert "parameters: evaluate.batch_size 2000 → 300, evaluate.test_time_augmentation none → mirror" in said
    (commit,) = clone.run("git", "for-each-ref", "--format=%(objectname)", "refs/exps/??/*/*").split()
    assert "batch_size: 300" in clone.run("git", "show", f"{commit}:params.yaml")
    assert not store.exists()
    said = clone.run(*pipeline, "--force", "--push")
    assert said.count("runs: forced") == 5
    assert list(store.rglob("*.dir"))
    said = clone.run(*pipeline, "--pull")
    assert said.count("in state Cached") == 5
