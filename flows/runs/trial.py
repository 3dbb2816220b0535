"""A trial: one isolated run of a study, and where finished ones are found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from flows.repo.git import git

TRIAL_STAGES = ("download", "normalize", "train", "evaluate")  # of a trial: a study reads nothing of the others


@dataclass(frozen=True)
class Trial:
    """A run of a study: a variant with a seed, kept as an experiment."""

    variant: str
    seed: int
    overrides: dict[str, Any]
    name: str
    commit: str  # that it starts from
    swept: str | None = None  # the parameter whose values the variant is one of


class Ended(NamedTuple):
    """A trial that ended, and why it failed; empty where its experiment is there."""

    trial: Trial
    failure: str = ""


def finished(root: Path) -> dict[str, str]:
    """The commits of all experiments of this repository, by name."""
    pattern = "refs/exps/??/*/*"  # DVC's scheme: the baseline commit in two parts, then the name
    listed = git(root, "for-each-ref", "--format=%(refname) %(objectname)", pattern)
    return {ref.rsplit("/", 1)[1]: commit for ref, commit in (line.split() for line in listed.splitlines())}
