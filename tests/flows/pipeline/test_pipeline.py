"""The flow on the scratch clone, read back from Prefect's API."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, FlowRunFilter
from prefect.client.schemas.objects import State, TaskRunResult

from flows.pipeline.flow import pipeline
from tests.support.clone import Clone
from tests.support.damage import flip_a_byte
from tests.support.import_graph import STAGES, stages
from tests.support.machines import toy
from tests.support.parameters import edit
from tests.support.toy_pipeline import commit, dvc, git

CACHED = dict.fromkeys(STAGES, "Cached")
OWN_STAGES = """
  numbers:
    foreach: [x, y]
    do:
      cmd: echo ${item} ${limits.low} > reports/${item}.json
      deps: [model]
      metrics: ["reports/${item}.json": {cache: false}]
  card:
    cmd: echo ${more} > reports/${word}
    deps: [reports/x.json]
    outs: ["reports/${word}"]
"""


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[None]:
    from prefect.testing.utilities import prefect_test_harness  # and with it Prefect's server: not at collection

    with prefect_test_harness(server_startup_timeout=60):
        yield


@pytest.fixture(autouse=True)
def workspace(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> Path:
    clone.reset()
    monkeypatch.chdir(clone.path)
    return clone.path


class Run:
    """A finished flow run, as the API knows it."""

    def __init__(self, **parameters: Any):
        self.state: State[Any] = pipeline(**parameters, return_state=True)
        flow_run = self.state.state_details.flow_run_id
        assert flow_run is not None
        by_run = FlowRunFilter(id={"any_": [flow_run]})  # type: ignore[arg-type]
        with get_client(sync_client=True) as client:
            self.name = client.read_flow_run(flow_run).name
            task_runs = client.read_task_runs(flow_run_filter=by_run)
            self.artifacts: dict[str | None, Any] = {
                artifact.key: artifact.data
                for artifact in client.read_artifacts(artifact_filter=ArtifactFilter(), flow_run_filter=by_run)
            }
        self.tasks = {task_run.name: task_run for task_run in task_runs}
        self.states = {name: task_run.state_name for name, task_run in self.tasks.items()}

    def message(self, stage: str) -> str:
        state = self.tasks[stage].state
        assert state is not None
        return state.message or ""

    def edges(self) -> set[tuple[str, str]]:
        names = {task_run.id: name for name, task_run in self.tasks.items()}
        return {
            (names[source.id], name)
            for name, task_run in self.tasks.items()
            for sources in task_run.task_inputs.values()
            for source in sources
            if isinstance(source, TaskRunResult) and source.id in names
        }


def test_after_dvc_repro_all_is_cached_in_the_graph_of_dvc_and_the_lock_stays(workspace: Path) -> None:
    lock = (workspace / "dvc.lock").read_bytes()
    run = Run()
    assert run.states == CACHED
    assert run.message("train") == "DVC: nothing changed, outputs are intact"
    assert (workspace / "dvc.lock").read_bytes() == lock
    assert run.edges() == _edges_of_dvc()


def _edges_of_dvc() -> set[tuple[str, str]]:
    writes = {out: name for name, stage in stages().items() for out in _paths(stage)}
    return {(writes[dep], name) for name, stage in stages().items() for dep in stage.get("deps", []) if dep in writes}


def _paths(stage: dict[str, Any]) -> list[str]:
    entries = [entry for kind in ("outs", "metrics", "plots") for entry in stage.get(kind, [])]
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def test_only_what_changed_runs_and_the_state_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its stages are stand-ins; what flows and DVC do with them is real."""
    root = toy(tmp_path / "toy")
    monkeypatch.chdir(root)
    edit(root / "params.yaml", train__seed=2)
    with (root / "report.py").open("a") as file:
        file.write("# changed\n")
    run = Run()
    assert run.states == {**CACHED, **dict.fromkeys(("train", "evaluate", "export", "report", "describe"), "Completed")}
    changed = "parameters: train.seed 0 → 2"
    assert run.message("evaluate") == f"ran: {changed}"
    assert run.message("report").startswith(f"ran: {changed}; ")
    assert "report.py" in run.message("report")
    assert "| test " in run.artifacts["summary"]
    assert re.search(r"commit `\w{7,}`", run.artifacts["summary"])
    assert "per-class" in run.artifacts
    assert run.artifacts["review"] == "1 label is doubted: `python -m tasks.review` shows them"
    assert "| test.accuracy" in run.artifacts["comparison"]
    assert (root / "reports/index.html").as_uri() in run.artifacts["report"]
    assert (root / "reports/compare.html").as_uri() in run.artifacts["compare"]
    assert "train.seed 0 → 2" in (root / "reports/compare.html").read_text(encoding="utf-8")
    assert dvc(root, "repro").count("didn't change, skipping") == len(STAGES)


@pytest.mark.slow
def test_stages_and_variables_of_ones_own_are_run_and_kept_and_need_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = toy(tmp_path / "toy")
    monkeypatch.chdir(root)
    graph = (root / "dvc.yaml").read_text().replace("vars: [", "vars: [more.yaml, {limits: {low: 0.5}, word: card}, ")
    (root / "dvc.yaml").write_text(graph.replace("artifacts:", f"{OWN_STAGES}artifacts:"))
    (root / "more.yaml").write_text("more: 3\n")
    run = Run()
    own = dict.fromkeys(("numbers@x", "numbers@y", "card"), "Completed")
    assert run.states == CACHED | own
    assert {("train", "numbers@x"), ("numbers@x", "card")} <= run.edges()
    commit(root, "a card")
    assert Run(overrides={"train.seed": 3}).states.keys() == {*STAGES, *own}
    (experiment,) = git(root, "for-each-ref", "--format=%(objectname)", "refs/exps/??/*/*").split()
    assert git(root, "show", f"{experiment}:reports/y.json") == "y 0.5\n"
    git(root, "update-ref", "-d", "HEAD")
    assert "commit `none yet`" in Run().artifacts["summary"]


def test_a_flipped_byte_and_a_lost_output_are_restored(workspace: Path) -> None:
    model = workspace / "models/classifier.keras"
    before = model.read_bytes()
    flip_a_byte(model)
    (workspace / "data/raw/test_batch.bin").unlink()
    run = Run()
    assert run.states == {**CACHED, "download": "Completed", "train": "Completed"}
    assert (
        run.message("download")
        == "restored from the run cache: outputs: data/raw modified: 1 gone of 6 files, such as test_batch.bin"
    )
    assert run.message("train") == "restored from the run cache: outputs: models/classifier.keras modified"
    assert model.read_bytes() == before


def test_a_bad_parameter_fails_before_any_stage(clone: Clone) -> None:
    clone.edit(train__epochs=0)
    run = Run()
    assert run.state.is_failed()
    assert "params.yaml: train.epochs: must be greater than or equal to 1; received 0" in (run.state.message or "")
    assert run.states == {}


@pytest.mark.slow
def test_push_and_pull_bring_a_run_to_another_clone(
    clone: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ["dvc", "remote", "add", "--local", "--default", "store", str(tmp_path / "store")]
    clone.run(*store)
    assert Run(push=True).states == CACHED
    clone.run("git", "clone", "--quiet", str(clone.path), str(tmp_path / "other"))
    other = Clone(tmp_path / "other")
    other.run(*store)
    monkeypatch.chdir(other.path)
    assert Run(pull=True).states == CACHED
    other.edit(evaluate__batch_size=500)
    assert Run(overrides={}).states == {**CACHED, "evaluate": "Completed", "report": "Completed"}
    other.run("git", "checkout", "--quiet", "--force", ".")
    shutil.rmtree(other.path / "reports/evaluation")
    assert Run().message("report").startswith("restored from the run cache")


@pytest.mark.slow
def test_an_isolated_run_pushes_to_the_remote_of_the_workspace(clone: Clone, tmp_path: Path) -> None:
    clone.run("dvc", "remote", "add", "--default", "store", "../pushed")  # relative, as in the README
    Run(overrides={"evaluate.batch_size": 300}, push=True)
    assert list((clone.path.parent / "pushed/files/md5").rglob("*"))
    shutil.rmtree(clone.path.parent / "pushed")


@pytest.mark.slow
def test_a_failing_stage_fails_at_once_with_its_last_words(clone: Clone) -> None:
    clone.edit(train__learning_rate=1e30, train__schedule="constant")
    run = Run()
    assert run.states["train"] == "Failed"
    assert run.tasks["train"].run_count == 1
    assert "loss and weights must stay finite" in run.message("train")
    assert "evaluate" not in run.states


@pytest.mark.slow
def test_overrides_run_apart_and_are_kept_as_an_experiment(clone: Clone) -> None:
    (clone.path / "README.md").write_text("an uncommitted edit\n")
    before = {file: file.read_bytes() for file in clone.path.rglob("*") if _is_the_users(file, clone.path)}
    run = Run(overrides={"train.epochs": 3, "train.threads": 1})
    assert run.states == dict.fromkeys(STAGES, "Completed")
    assert run.message("download").startswith("restored from the run cache")
    assert run.message("normalize").startswith("restored from the run cache")
    assert "train.epochs 2 → 3, train.threads 0 → 1" in run.message("train")
    assert before == {file: file.read_bytes() for file in clone.path.rglob("*") if _is_the_users(file, clone.path)}
    shown = clone.run("dvc", "exp", "list", "--name-only")
    (name,) = shown.split()
    assert name.startswith(run.name)
    assert not list((clone.path / ".dvc/tmp/worktrees").glob("*-*"))
    assert "worktrees" not in clone.run("git", "worktree", "list")
    clone.run("git", "checkout", "--quiet", "README.md")
    clone.run("dvc", "exp", "apply", name)
    assert len((clone.path / "reports/history.csv").read_text().splitlines()) == 4
    assert json.loads((clone.path / "reports/made_on.json").read_text())["threads"] == 1
    assert clone.run("dvc", "repro").count("didn't change, skipping") == len(STAGES)


def _is_the_users(file: Path, root: Path) -> bool:
    inner = file.relative_to(root).parts
    return (
        file.is_file()
        and inner[0] not in {".git", ".prefect"}
        and inner[:2] not in {(".dvc", "tmp"), (".dvc", "cache")}
    )


@pytest.mark.slow
def test_temporary_failures_of_download_are_retried(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect import flow

    from flows.pipeline.flow import download

    clone.edit(download__sources=[{"url": "http://127.0.0.1:9/cifar.tar.gz"}])

    @flow
    def fetch() -> None:
        download.with_options(retry_delay_seconds=0)(clone.path, force=True)

    state = fetch(return_state=True)
    flow_run = state.state_details.flow_run_id
    with get_client(sync_client=True) as client:
        (task_run,) = client.read_task_runs(flow_run_filter=FlowRunFilter(id={"any_": [flow_run]}))  # type: ignore[arg-type]
    assert state.is_failed()
    assert task_run.run_count == 4


def test_a_server_that_does_not_answer_is_one_line(workspace: Path) -> None:
    environment = {**os.environ, "PREFECT_API_URL": "http://127.0.0.1:9/api"}
    done = subprocess.run(
        [sys.executable, "-m", "flows.pipeline"],
        cwd=workspace,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: a Prefect server must answer at http://127.0.0.1:9/api; start that one, or unset PREFECT_API_URL"
    ]
