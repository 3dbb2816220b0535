"""Edits over the real DVC: those that change nothing keep the results; of the others the first function is named."""

from __future__ import annotations

import hashlib
import re
import sys
import time
from pathlib import Path

import pytest

from flows import accept
from flows.pipeline import __main__ as pipeline
from flows.pipeline import stages
from flows.repo.ast_diff import first_difference
from flows.repo.cosmetic import HINT, accept_edits
from flows.repo.git import GitError
from tasks.params import ParameterError
from tests.support.clone import Clone, assert_nothing_is_stale
from tests.support.edits import Edit, added, replaced
from tests.support.import_graph import STAGES

ARRAYS, NETWORK, HISTORY = "tasks/data/arrays.py", "tasks/models/network.py", "tasks/training/history.py"
REGRESSION = "tasks/training/logistic_regression.py"
COUNTS, PAGE = "tasks/metrics/class_counts.py", "tasks/reporting/page.html"
OUTPUTS = ("data/raw", "data/normalized", "models", "reports")
ALL = ("normalize", "train", "evaluate", "report")
LAST = ALL[1:]


@pytest.fixture(autouse=True)
def workspace(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    clone.reset()
    monkeypatch.chdir(clone.path)


def both(*edits: Edit) -> Edit:
    def edit(clone: Clone) -> None:
        for one in edits:
            one(clone)

    return edit


def reformatted(clone: Clone) -> None:
    """All code of the stages, as `ruff format` has it with short lines and single quotes."""
    ruff = str(Path(sys.executable).parent / "ruff")
    clone.run(ruff, "format", "--no-cache", "--line-length=79", "--config=format.quote-style='single'", "tasks")


def with_windows_line_ends(clone: Clone) -> None:
    file = clone.path / NETWORK
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))


def outputs(clone: Clone) -> dict[str, tuple[str, int]]:
    """Each file that the stages made: its bytes, and which file it is."""
    files = (file for folder in OUTPUTS for file in (clone.path / folder).rglob("*") if file.is_file())
    return {str(file): (hashlib.md5(file.read_bytes()).hexdigest(), file.stat().st_ino) for file in files}


def without_line(said: str) -> str:
    """A verdict without the number of a line, which any edit above it changes; test_same_code.py has these."""
    return re.sub(r"(\.py):\d+:", r"\1:", said)


def refusals(clone: Clone, since: str | None = None) -> dict[str, str]:
    """Why the results of stages are not kept, and nothing in the clone changed."""
    before = (clone.path / "dvc.lock").read_bytes(), clone._seen()
    verdicts = accept_edits(clone.path, since=since)
    assert not any(verdict.said.startswith("kept") for verdict in verdicts)
    assert ((clone.path / "dvc.lock").read_bytes(), clone._seen()) == before
    return {one.stage: one.said.removeprefix("nothing is kept: ") for one in verdicts if not one.is_current}


COUNT = '    """Count the images of each class."""\n    return ClassCounts('
PENALTY = "return regularizers.L2(regularize.l2) if regularize.l2 else None"
SAME_CODE: dict[str, tuple[Edit, tuple[str, ...]]] = {
    "comment": (added(NETWORK, "# a comment\n"), LAST[:1]),
    "comment in what all stages need": (replaced(ARRAYS, "\n\n\n", "\n\n\n# a comment\n"), ALL),
    "two files": (both(added(NETWORK, "# a comment\n"), added(COUNTS, "# a comment\n")), LAST),
    "docstring": (replaced(COUNTS, "Count the images of each class.", "Count."), LAST[1:]),
    "docstring of the module": (replaced(NETWORK, "The networks, and where", "Networks: where"), LAST[:1]),
    "docstring taken away": (replaced(COUNTS, COUNT, "    return ClassCounts("), LAST[1:]),
    "formatted": (reformatted, ALL),
    "spelling of a number": (replaced(NETWORK, "5_000", "5000"), LAST[:1]),
    "quotes": (replaced(NETWORK, '"whitening"', "'whitening'"), LAST[:1]),
    "string in two parts": (replaced(NETWORK, '"whitening"', '"white" "ning"'), LAST[:1]),
    "parentheses": (replaced(NETWORK, PENALTY, PENALTY.replace("return ", "return (") + ")"), LAST[:1]),
    "line ends": (with_windows_line_ends, LAST[:1]),
    "encoding cookie": (
        replaced(HISTORY, '"""A row', '# coding: latin-1\n"""A row', "latin-1"),
        LAST[:1],
    ),
    "blank lines at the end": (added(COUNTS, "\n\n"), LAST[1:]),
}
OTHER_CODE: dict[str, tuple[Edit, str, str]] = {
    "renamed local variable": (replaced(HISTORY, "losses: Any", "found: Any"), "train", f"{HISTORY}: `found"),
    "functions in another order": (
        both(
            replaced(NETWORK, "def notebook_cnn(", "def a_cnn("),
            replaced(NETWORK, "def whitened_cnn(", "def notebook_cnn("),
            replaced(NETWORK, "def a_cnn(", "def whitened_cnn("),
        ),
        "train",
        f"{NETWORK}: `whitened_cnn` differs",
    ),
    "default": (
        replaced(NETWORK, 'precision: str = "float32"', 'precision: str = "float16"'),
        "train",
        f"{NETWORK}: `build` differs",
    ),
    "type of a constant": (replaced(NETWORK, "= 24 ", "= 24.0 "), "train", f"{NETWORK}: `WHITENING_FILTERS = 24.0`"),
    "constant in a function": (replaced(NETWORK, "1 / 9", "1 / 8"), "train", f"{NETWORK}: `return layers.Rescal"),
    "comparison": (replaced(NETWORK, "halvings < 1", "halvings <= 1"), "train", f"{NETWORK}: `if "),
    "decorator": (replaced(COUNTS, "(frozen=True)", "(frozen=True, eq=False)"), "evaluate", f"{COUNTS}: `ClassCoun"),
    "annotation": (replaced(COUNTS, "n_classes: int)", "n_classes: float)"), "evaluate", f"{COUNTS}: `count` diff"),
    "f-string": (replaced(NETWORK, "conv{number}", "conv{number!s}"), "train", f"{NETWORK}: `for number, filters"),
    "field of a class": (replaced(COUNTS, "    hits: Counts", "    found: Counts"), "evaluate", f"{COUNTS}: `found"),
    "order of imports": (
        replaced(COUNTS, "import dataclass\nfrom itertools import pairwise", "import dataclass as dataclass"),
        "evaluate",
        f"{COUNTS}: `from dataclasses import dataclass as dataclass` differs",
    ),
    "encoding": (
        replaced(NETWORK, '"""The networks', '# coding: latin-1\n"""The networks'),
        "train",
        f"{NETWORK}: `if ",
    ),
    "docstring that the module prints": (
        added(HISTORY, "print(__doc__)\n"),
        "train",
        f"{HISTORY}: `print(__doc__)` is new",
    ),
    "deleted helper": (
        replaced(
            REGRESSION,
            "\n\ndef _make_regression(tolerance: float) -> LogisticRegression:\n"
            "    return LogisticRegression(tol=tolerance, max_iter=MAX_ITERATIONS, warm_start=True)\n",
            "",
        ),
        "train",
        f"{REGRESSION}: `_make_regression` is gone",
    ),
    "new statement": (
        replaced(COUNTS, COUNT, f"    print()\n{COUNT}"),
        "evaluate",
        f"{COUNTS}: `print()` in `count` is new",
    ),
    "template": (added(PAGE, "\n"), "report", f"dep {PAGE} modified"),
    "comment in a template": (added(PAGE, "{# why #}"), "report", f"dep {PAGE} modified"),
    "no Python": (added(COUNTS, "if:\n"), "evaluate", f"{COUNTS}: its text differs"),
    "one of two files": (
        both(added("tasks/training/colour.py", "# a comment\n"), replaced(NETWORK, "= 24 ", "= 25 ")),
        "train",
        f"{NETWORK}: `WHITENING_FILTERS = 25` differs",
    ),
    "parameter beside": (
        both(added(NETWORK, "# why\n"), lambda clone: clone.edit(regularize__l2=0.1)),
        "train",
        "params changed: regularize",
    ),
    "command beside": (
        both(added(NETWORK, "# why\n"), replaced("dvc.yaml", "python -u -m tasks.train", "python -m tasks.train")),
        "train",
        "changed command",
    ),
    "data beside": (
        both(added(NETWORK, "# why\n"), added("data/normalized/metadata.json", "\n")),
        "train",
        "dep data/normalized modified",
    ),
    "lost output": (
        both(added(NETWORK, "# why\n"), lambda clone: (clone.path / "models/classifier.keras").unlink()),
        "train",
        "out models/classifier.keras deleted",
    ),
    "changed output": (
        both(added("tasks/evaluate.py", "# why\n"), added("reports/metrics.json", "\n")),
        "evaluate",
        "out reports/metrics.json modified",
    ),
    "dependency added": (
        both(
            added(NETWORK, "# why\n"),
            replaced(
                "dvc.yaml",
                "      - tasks/training/history.py\n",
                "      - tasks/training/history.py\n      - LICENSE\n",
            ),
        ),
        "train",
        "dep LICENSE",
    ),
    "source added": (
        replaced(
            "dvc.yaml",
            "      - tasks/training/history.py\n",
            "      - tasks/training/history.py\n      - tasks/fetch/mirrors.py\n",
        ),
        "train",
        "dep tasks/fetch/mirrors.py is new in dvc.yaml",
    ),
    "dependency removed": (
        both(added(NETWORK, "# why\n"), replaced("dvc.yaml", "      - tasks/training/history.py\n", "")),
        "train",
        "dvc.yaml lists other dependencies, parameters or outputs than dvc.lock",
    ),
    "parameters removed": (
        both(added(NETWORK, "# why\n"), replaced("dvc.yaml", "      - regularize\n", "")),
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
    kept = [verdict.stage for verdict in accept_edits(clone.path) if verdict.said.startswith("kept")]
    assert tuple(kept) == concerned
    assert outputs(clone) == before
    assert all(verdict.said == "nothing changed" for verdict in accept_edits(clone.path))
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
    added(NETWORK, "WHITENING_FILTERS = 25\n")(clone)
    assert tuple(map(without_line, stages.verdict(clone.path, "train"))) == (
        f"code: {NETWORK}: `WHITENING_FILTERS = 25` is new",
    )
    assert accept.main([]) == 1
    assert without_line(capsys.readouterr().out).splitlines() == [
        "download: nothing changed",
        "normalize: nothing changed",
        f"train: nothing is kept: {NETWORK}: `WHITENING_FILTERS = 25` is new",
        f"evaluate: kept; only comments and layout differ in {COUNTS}",
        f"report: kept; only comments and layout differ in {COUNTS}",
    ]
    assert stages.verdict(clone.path, "evaluate") == ()
    assert accept.main(["evaluate"]) == 0
    assert capsys.readouterr().out == "evaluate: nothing changed\n"


def test_an_edit_that_is_taken_back_is_no_change(clone: Clone) -> None:
    lock = (clone.path / "dvc.lock").read_bytes()
    added(COUNTS, "# why\n")(clone)
    clone.run("git", "checkout", "--quiet", "tasks")
    assert {verdict.said for verdict in accept_edits(clone.path)} == {"nothing changed"}
    assert (clone.path / "dvc.lock").read_bytes() == lock


def test_a_lock_with_conflicts_and_what_is_unknown_end_in_one_line(
    clone: Clone, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ParameterError, match=r"STAGE must be one of download, .*; received trian"):
        accept_edits(clone.path, ["trian"])
    with pytest.raises(ParameterError, match="--since must be a commit of this repository; received nowhere"):
        accept_edits(clone.path, since="nowhere")
    added("dvc.lock", "<<<<<<< ours\n=======\n>>>>>>> theirs\n")(clone)
    with pytest.raises(GitError, match=r"dvc\.lock must hold one side of a merge"):
        accept_edits(clone.path)
    assert accept.main([]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    (clone.path / "dvc.lock").write_text("stages: [\n")
    assert accept.main([]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_code_that_git_has_not_got_needs_a_commit_to_compare_with(clone: Clone) -> None:
    """As after a run of code that was never committed: here the lock is said to be of such a run."""
    lock = clone.path / "dvc.lock"
    digest = hashlib.md5((clone.path / COUNTS).read_bytes()).hexdigest()
    lock.write_text(lock.read_text().replace(digest, "f" * 32))  # of each stage that has it
    clone.commit("a lock of other code")
    assert refusals(clone)["evaluate"].startswith(f"{COUNTS} must be in git as it was when the result was made")
    added(COUNTS, "# why\n")(clone)
    assert "--since" in refusals(clone)["evaluate"]
    added(COUNTS, "NEW = 1\n")(clone)
    assert without_line(refusals(clone, since="HEAD")["evaluate"]) == f"{COUNTS}: `NEW = 1` is new"
    replaced(COUNTS, "NEW = 1\n", "")(clone)
    assert [one.stage for one in accept_edits(clone.path, since="HEAD") if one.said.startswith("kept")] == [
        "evaluate",
        "report",
    ]


def test_the_code_is_found_in_amended_commits_and_on_other_branches(clone: Clone) -> None:
    lock = clone.path / "dvc.lock"
    made_by = (clone.path / COUNTS).read_bytes()
    added(COUNTS, "# of an amended commit\n")(clone)
    accept_edits(clone.path)
    recorded = lock.read_text()
    clone.commit("amended")
    (clone.path / COUNTS).write_bytes(made_by + b"# of now\n")
    clone.commit("amended", "--amend")
    assert lock.read_text() == recorded
    assert [one.stage for one in accept_edits(clone.path) if one.said.startswith("kept")] == ["evaluate", "report"]


def test_a_file_that_is_saved_while_it_is_compared_is_not_recorded(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    def edited_meanwhile(before: bytes, after: bytes) -> None:
        assert first_difference(before, after) is None
        time.sleep(0.02)
        added(COUNTS, "NEW = 1\n")(clone)

    added(COUNTS, "# why\n")(clone)
    lock = (clone.path / "dvc.lock").read_bytes()
    monkeypatch.setattr("flows.repo.cosmetic.first_difference", edited_meanwhile)
    assert not accept_edits(clone.path, ["evaluate"])[0].is_current
    assert (clone.path / "dvc.lock").read_bytes() == lock


def test_accept_is_of_the_workspace_alone(clone: Clone, capsys: pytest.CaptureFixture[str]) -> None:
    assert pipeline.main(["--accept", "--set", "train.epochs=3"]) == 2
    assert capsys.readouterr().err == ("error: --accept must be of this workspace; received --set too: train.epochs\n")


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
