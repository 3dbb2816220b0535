"""Edits over the real DVC: which of them keep results."""

import hashlib
import re
import sys
import time
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from flows import accept
from flows.pipeline import __main__ as pipeline
from flows.pipeline import stages
from flows.repo.ast_diff import first_difference
from flows.repo.cosmetic import accept_edits
from flows.repo.staleness import REMEDIES
from tasks.params import ParameterError
from tests.support.clone import Clone, assert_nothing_is_stale
from tests.support.edits import Edit, added, both, deleted, replaced
from tests.support.import_graph import STAGES

HINT = REMEDIES["layout"]
NETWORK, HISTORY = "tasks/models/network.py", "tasks/training/history.py"
COUNTS, PAGE = "tasks/metrics/class_counts.py", "tasks/reporting/page.html"
MODEL, MODULE = "models/classifier.keras", "tasks/training/module.py"
TRAINING = "      - tasks/training\n"  # in dvc.yaml
OUTPUTS = ("data/raw", "data/normalized", "models", "reports")


@pytest.fixture(autouse=True)
def workspace(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    clone.reset()
    monkeypatch.chdir(clone.path)


def reformatted(clone: Clone) -> None:
    """Format all code with short lines and single quotes."""
    ruff = str(Path(sys.executable).parent / "ruff")
    clone.run(ruff, "format", "--no-cache", "--line-length=79", "--config=format.quote-style='single'", "tasks")


def with_windows_line_ends(clone: Clone) -> None:
    file = clone.path / NETWORK
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))


def outputs(clone: Clone) -> dict[str, tuple[str, int]]:
    """Return the digest and inode of each file that stages made."""
    files = (file for folder in OUTPUTS for file in (clone.path / folder).rglob("*") if file.is_file())
    return {str(file): (hashlib.md5(file.read_bytes()).hexdigest(), file.stat().st_ino) for file in files}


def without_line(message: str) -> str:
    """Leave out the number of a line, which test_ast_diff.py has."""
    return re.sub(r"(\.py):\d+:", r"\1:", message)


def kept(clone: Clone, since: str | None = None) -> list[str]:
    """Accept edits; return the stages whose results are kept."""
    decisions = accept_edits(clone.path, since=since)
    return [decision.stage for decision in decisions if decision.message.startswith("kept")]


def refusals(clone: Clone, since: str | None = None) -> dict[str, str]:
    """Return the refusals by stage, and check that nothing was written."""
    before = (clone.path / "dvc.lock").read_bytes(), clone._seen()
    decisions = accept_edits(clone.path, since=since)
    assert not any(decision.message.startswith("kept") for decision in decisions)
    assert ((clone.path / "dvc.lock").read_bytes(), clone._seen()) == before
    return {
        decision.stage: decision.message.removeprefix("nothing is kept: ")
        for decision in decisions
        if not decision.is_current
    }


SAME_CODE: dict[str, tuple[Edit, tuple[str, ...]]] = {
    "comment in a folder of three stages": (added(NETWORK, "# a comment\n"), ("train", "evaluate", "export")),
    "docstrings of two folders": (
        both(*(replaced(file, '"""', '"""Now: ') for file in (NETWORK, COUNTS))),
        ("train", "evaluate", "export", "report"),
    ),
    "comment in a step": (added("tasks/train.py", "# a comment\n"), ("train",)),
    "formatted": (reformatted, STAGES[1:]),
    "line ends": (with_windows_line_ends, ("train", "evaluate", "export")),
}
OTHER_CODE: dict[str, tuple[Edit, str, str]] = {
    "function": (replaced(NETWORK, "halvings < 1", "halvings <= 1"), "evaluate", f"code: {NETWORK}: `if "),
    "one of two files": (
        both(added("tasks/models/fast_layers.py", "# a comment\n"), replaced(NETWORK, "= 24 ", "= 25 ")),
        "train",
        f"code: {NETWORK}: `WHITENING_FILTERS = 25` differs",
    ),
    "new module without code": (added(MODULE, "# soon\n"), "train", f"code: {MODULE} is new"),
    "module that is gone": (deleted(HISTORY), "train", f"code: {HISTORY} is gone"),
    "parameter beside": (
        both(added(HISTORY, "# why\n"), lambda clone: clone.edit(regularize__l2=0.1)),
        "train",
        "parameters: regularize.l2 0.0 → 0.1",
    ),
    "changed output": (
        both(added("tasks/evaluate.py", "# why\n"), added("reports/metrics.json", "\n")),
        "evaluate",
        "outputs: reports/metrics.json modified",
    ),
    "source added": (
        both(added(HISTORY, "# why\n"), replaced("dvc.yaml", TRAINING, f"{TRAINING}      - tasks/classify.py\n")),
        "train",
        "code: tasks/classify.py is new in dvc.yaml",
    ),
    "dependency removed": (
        both(added("tasks/train.py", "# why\n"), replaced("dvc.yaml", TRAINING, "")),
        "train",
        "dvc.yaml lists other dependencies, parameters or outputs than dvc.lock",
    ),
    "parameters removed": (
        both(added(HISTORY, "# why\n"), replaced("dvc.yaml", "      - regularize\n", "")),
        "train",
        "dvc.yaml lists other dependencies, parameters or outputs than dvc.lock",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SAME_CODE)
def test_an_edit_that_changes_nothing_keeps_the_results_and_nothing_runs(clone: Clone, name: str) -> None:
    edit, concerned = SAME_CODE[name]
    before = outputs(clone)
    edit(clone)
    assert kept(clone) == list(concerned)
    assert outputs(clone) == before
    assert all(decision.message == "nothing changed" for decision in accept_edits(clone.path))
    assert [name for name in STAGES if stages.verdict(clone.path, name)] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHER_CODE)
def test_any_other_edit_is_refused_with_the_first_reason_and_nothing_is_written(clone: Clone, name: str) -> None:
    edit, stage, said = OTHER_CODE[name]
    edit(clone)
    assert without_line(refusals(clone)[stage]).startswith(said)


@pytest.mark.slow
def test_a_fresh_clone_with_the_run_cache_runs_nothing(clone: Clone, tmp_path: Path) -> None:
    before = {path: digest for path, (digest, _) in outputs(clone).items()}
    reformatted(clone)
    clone.run(sys.executable, "-m", "flows.accept")
    assert_nothing_is_stale(clone)
    clone.commit("another format")
    clone.run("dvc", "remote", "add", "--default", "store", str(tmp_path / "store"))
    clone.commit("a remote")
    clone.run("dvc", "push", "--quiet", "--run-cache")
    fresh = Clone(tmp_path / "fresh")
    clone.run("git", "clone", "--quiet", str(clone.path), str(fresh.path))
    fresh.run("dvc", "pull", "--quiet", "--run-cache", "--allow-missing")
    assert fresh.repro()[:2] == ([], [])
    assert fresh.run("git", "status", "--porcelain") == ""
    made = {path.replace(str(fresh.path), str(clone.path)): digest for path, (digest, _) in outputs(fresh).items()}
    assert {path: digest for path, digest in before.items() if path in made} == made
    assert str(clone.path / "models/classifier.keras") in made


def test_a_comment_is_accepted_from_the_command_line_and_a_real_edit_is_not(
    clone: Clone, capsys: pytest.CaptureFixture[str]
) -> None:
    added(COUNTS, "# why\n")(clone)
    assert stages.verdict(clone.path, "evaluate") == (f"layout: {COUNTS}", HINT)
    added(HISTORY, "NEW = 1\n")(clone)
    assert tuple(map(without_line, stages.verdict(clone.path, "train"))) == (f"code: {HISTORY}: `NEW = 1` is new",)
    assert accept.main([]) == 1
    assert without_line(capsys.readouterr().out).splitlines() == [
        "download: nothing changed",
        "normalize: nothing changed",
        f"train: nothing is kept: code: {HISTORY}: `NEW = 1` is new",
        f"evaluate: kept; only comments and layout differ in {COUNTS}",
        f"export: kept; only comments and layout differ in {COUNTS}",
        f"report: kept; only comments and layout differ in {COUNTS}",
        "describe: nothing changed",
    ]
    assert stages.verdict(clone.path, "evaluate") == ()
    assert accept.main(["evaluate"]) == 0
    assert capsys.readouterr().out == "evaluate: nothing changed\n"


def test_a_lock_with_conflicts_and_what_is_unknown_end_in_one_line(
    clone: Clone, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ParameterError, match="--since must be a commit of this repository; received nowhere"):
        accept_edits(clone.path, since="nowhere")
    added("dvc.lock", "<<<<<<< ours\n=======\n>>>>>>> theirs\n")(clone)
    assert accept.main([]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: dvc.lock must hold one side of a merge")
    (clone.path / "dvc.lock").write_text("stages: [\n")
    assert accept.main([]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_code_that_git_has_not_got_needs_a_commit_to_compare_with(clone: Clone) -> None:
    """The lock is edited to be of code that was never committed."""
    lock = clone.path / "dvc.lock"
    deps = YAML(typ="safe").load(lock)["stages"]["evaluate"]["deps"]
    (digest,) = (dep["md5"] for dep in deps if dep["path"] == "tasks/metrics")
    lock.write_text(lock.read_text().replace(digest, "f" * 32 + ".dir"))  # of each stage that has it
    clone.commit("a lock of other code")
    assert "tasks/metrics modified; git lacks the version" in refusals(clone)["evaluate"]
    added(COUNTS, "# why\n")(clone)
    assert "--since" in refusals(clone)["evaluate"]
    added(COUNTS, "NEW = 1\n")(clone)
    assert without_line(refusals(clone, since="HEAD")["evaluate"]) == f"code: {COUNTS}: `NEW = 1` is new"
    replaced(COUNTS, "NEW = 1\n", "")(clone)
    assert kept(clone, since="HEAD") == ["evaluate", "export", "report"]


def test_a_file_that_is_saved_while_it_is_compared_is_not_recorded(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    def edited_meanwhile(before: bytes, after: bytes) -> str:
        time.sleep(0.02)
        added(COUNTS, "NEW = 1\n")(clone)
        return first_difference(before, after)

    added(COUNTS, "# why\n")(clone)
    lock = (clone.path / "dvc.lock").read_bytes()
    monkeypatch.setattr("flows.repo.code.first_difference", edited_meanwhile)
    assert not accept_edits(clone.path, ["evaluate"])[0].is_current
    assert (clone.path / "dvc.lock").read_bytes() == lock


def test_accept_is_of_the_workspace_alone(clone: Clone, capsys: pytest.CaptureFixture[str]) -> None:
    assert pipeline.main(["--accept", "--set", "train.epochs=3"]) == 2
    assert capsys.readouterr().err.startswith("error: accept is for runs in the workspace; received overrides, too: ")


@pytest.mark.slow
def test_the_flow_says_that_only_comments_differ_and_with_accept_runs_nothing(clone: Clone) -> None:
    added(COUNTS, "# why\n")(clone)
    said = clone.run(sys.executable, "-m", "flows.pipeline", "--accept")
    assert f"evaluate: kept; only comments and layout differ in {COUNTS}" in said
    assert said.count("in state Cached") == len(STAGES)
    clone.commit("why")  # or git would not have the code that was accepted
    added(COUNTS, "# why not\n")(clone)
    said = clone.run(sys.executable, "-m", "flows.pipeline")
    assert f"evaluate runs: layout: {COUNTS}; {HINT}" in said
