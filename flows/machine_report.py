"""Which machine made which run of a study, and whether machines differ in what they achieve.

A file beside the report, whose other files are the same wherever the runs were made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy import stats

from flows.git import git
from flows.study_report import MEASURES, Row
from flows.summary import table
from tasks.core import effects

TRAILER = "Machine"  # of the commit of an experiment
UNKNOWN = "not recorded"
ABOUT = (
    "The test is of the means of what is left after variant and seed: an F-test of the linear model with a term for "
    "the machine against the one without, corrected for the number of measures by Holm's method."
)


def machines(root: Path, exist: Mapping[str, str]) -> dict[str, str]:
    """The machine of each experiment, as its commit's trailer describes it; `exist` has the commits by name."""
    pattern = f"%(objectname)%09%(contents:trailers:key={TRAILER},valueonly,separator=%x2C)"
    listed = git(root, "for-each-ref", f"--format={pattern}", "refs/exps/??/*/*").splitlines()
    of_commit = dict(line.split("\t", 1) for line in listed if "\t" in line)
    return {name: of_commit.get(commit, "").strip() or UNKNOWN for name, commit in exist.items()}


def write(folder: Path, rows: Sequence[Row], machine_of: Mapping[str, str]) -> None:
    """Write machines.md: the machines with their numbers of runs, whether they differ, and the machine of each run."""
    made_by = [machine_of.get(row.experiment, UNKNOWN) for row in rows]
    counts = sorted(Counter(made_by).items())
    text = "\n".join(
        [
            "# Which machine made which run",
            "",
            *table(("machine", "runs"), [(name, str(count)) for name, count in counts]),
            "",
            *difference(rows, made_by),
            "",
            *table(
                ("variant", "seed", "experiment", "machine"),
                [(row.variant, str(row.seed), row.experiment, name) for row, name in zip(rows, made_by, strict=True)],
            ),
        ]
    )
    (folder / "machines.md").write_text(text + "\n", encoding="utf-8")


def difference(rows: Sequence[Row], made_by: Sequence[str]) -> list[str]:
    """Say of each measure whether machines differ in it, and how that was tested."""
    if len(set(made_by)) < 2:
        return ["One machine made all runs."]
    found = {
        name: factor_p_value(
            [100 * getattr(row, measure) for row in rows],
            made_by,
            [[row.variant for row in rows], [str(row.seed) for row in rows]],
        )
        for measure, name in MEASURES.items()
    }
    tested = {name: p for name, p in found.items() if p is not None}
    if not tested:
        return ["Too few runs to tell whether machines differ."]
    corrected = dict(zip(tested, effects.holm(list(tested.values())), strict=True))
    return [
        *(
            f"- {name}: {'machines differ' if p < effects.REAL else 'a difference is not told from noise'}, p = {p:.3f}"
            for name, p in corrected.items()
        ),
        "",
        ABOUT,
    ]


def factor_p_value(values: Sequence[float], factor: Sequence[str], others: Sequence[Sequence[str]]) -> float | None:
    """Compute the p-value of a factor in a linear model that has other factors, too.

    The F-test of two nested models (J. Fox, "Applied Regression Analysis", section 8.2): whether the factor explains
    more of the values than chance would.

    Parameters
    ----------
    values : sequence of float, of length n
    factor : sequence of str, of length n
        Such as the machine of each value.
    others : sequence of sequences of str, each of length n
        Factors that are accounted for first.

    Returns
    -------
    float or None
        None where the test tells nothing: no degrees of freedom are left, the other factors determine this one, or
        nothing is left to explain.
    """
    without = np.column_stack([np.ones(len(values)), *map(_indicators, others)])
    whole = np.column_stack([without, _indicators(factor)])
    (rest_without, rank_without), (rest, rank) = (_unexplained(model, values) for model in (without, whole))
    free = len(values) - rank
    if free < 1 or rank == rank_without or rest_without < 1e-12:
        return None
    if rest < 1e-12 * rest_without:
        return 0.0
    f = (rest_without - rest) / (rank - rank_without) / (rest / free)
    return float(stats.f.sf(f, rank - rank_without, free))


def _indicators(factor: Sequence[str]) -> np.ndarray:
    """A column for each level of a factor: 1 where a value has it; shape (n, levels)."""
    columns: np.ndarray = np.equal.outer(np.asarray(factor), np.unique(factor)).astype(float)
    return columns


def _unexplained(model: np.ndarray, values: Sequence[float]) -> tuple[float, int]:
    """The sum of squares that a linear model leaves, and its rank."""
    target = np.asarray(values, float)
    coefficients, _, rank, _ = np.linalg.lstsq(model, target, rcond=None)
    return float(np.sum((target - model @ coefficients) ** 2)), int(rank)
