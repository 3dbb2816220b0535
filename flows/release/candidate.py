"""May the model of this commit be released, and as which version?"""

from pathlib import Path
from typing import NamedTuple

from flows.release.registry import Version
from flows.repo.git import commit_of, git, read_blob
from flows.repo.remotes import check_remote_folder, compare_with_remote, find_remotes, name_missing
from flows.repo.staleness import stale_reasons
from flows.results.comparison import compare
from flows.results.sides import Side, find_side
from tasks.params.gate import Gate

FIRST = "v1.0.0"


class RefusedReleaseError(RuntimeError):
    """A rule that a release breaks."""


class Candidate(NamedTuple):
    """A commit that may be released."""

    commit: str
    version: str
    is_new: bool  # otherwise the commit has been released as this version
    sentence: str  # what the model is, compared with the release before


def check(root: Path) -> str:
    """Refuse what others could not get or repeat; return the commit.

    Raises
    ------
    RefusedReleaseError
        If there are edits, or the git or DVC remote lacks something, or a stage would run.
    """
    remotes, commit = find_remotes(root), commit_of(root, "HEAD")
    if edits := git(root, "status", "--porcelain", "."):
        rule = f"a release must be a commit; received edits of {edits.split()[1]}"
        raise RefusedReleaseError(f"{rule}; `git add` and `git commit`, or `git stash --include-untracked`")
    if commit is None or not git(root, "branch", "--remotes", "--contains", commit, "--list", f"{remotes.git}/*"):
        raise RefusedReleaseError(f"{remotes.git} must have the commit; received {commit and commit[:7]}; `git push`")
    if f'remote "{remotes.dvc}"' not in (read_blob(root, commit, ".dvc/config") or b"").decode():
        rule = f".dvc/config of the commit must have DVC remote {remotes.dvc}, or nobody finds the model"
        raise RefusedReleaseError(f"{rule}; `dvc remote add --default {remotes.dvc} URL`, and commit it")
    for stage, reasons in stale_reasons(root, upstream=True).items():
        if reasons:
            raise RefusedReleaseError(
                f"no stage may be stale; {stage} would run: {reasons[0]}; `dvc pull` or `dvc repro`, and commit"
            )
    check_remote_folder(root, is_new=True)  # an empty one is to be pushed to
    if missing := name_missing(compare_with_remote(root)):
        raise RefusedReleaseError(f"DVC remote {remotes.dvc} must have every object; it lacks {missing}; `dvc push`")
    return commit


def choose_version(root: Path, versions: list[Version], commit: str, base: str | None, gate: Gate) -> Candidate:
    """Compare with a release, by default the last; choose the next version.

    `versions` are those that were released, the highest first. The next one is major where the classes are others,
    minor where the gate calls the difference real, patch otherwise.

    Raises
    ------
    RefusedReleaseError
        If the gate fails.
    flows.results.sides.IncomparableError
        If the two share hardly any test image, or the base's files are lost.
    """
    from gto.versions import SemVer

    before = find_side(root, base, "--base") if base is not None else None
    if released := next((version for version in versions if version.commit == commit), None):
        return Candidate(commit, released.name, False, "this commit has been released")
    if not versions and before is None:
        return Candidate(commit, FIRST, True, "the first release, compared with none")
    before = before or Side(root, versions[0].name, versions[0].commit)
    last = SemVer(versions[0].name) if versions else SemVer("v0.0.0")
    if _classes(before) != _classes(here := Side(root, "here")):
        sentence = f"{len(_classes(here))} classes, others than those of {before.name}, so that nothing is compared"
        return Candidate(commit, last.bump_major().version, True, sentence)
    comparison = compare(root, before.commit, gate=gate)
    if comparison.failures:
        raise RefusedReleaseError(f"the gate must pass against {before.name}: {'; '.join(comparison.failures)}")
    version = last.bump_minor() if comparison.primary.verdict == "real" else last.bump_patch()
    sentence = f"{comparison.sentence}, compared with {before.name}"
    return Candidate(commit, version.version if versions else FIRST, True, sentence)


def _classes(side: Side) -> list[str]:
    return list(side.read_predictions().class_names)
