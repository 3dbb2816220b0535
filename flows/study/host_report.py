"""Which machine made which run of a study, and whether machines differ in what they achieve.

A file beside the report, whose other files are the same wherever the runs were made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from flows.repo.git import git
from flows.results.tables import table
from flows.study.report import MEASURES, Row
from tasks.metrics import significance
from tasks.metrics.significance import REAL

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
        name: significance.factor_p_value(
            [100 * getattr(row, measure) for row in rows],
            made_by,
            [[row.variant for row in rows], [str(row.seed) for row in rows]],
        )
        for measure, name in MEASURES.items()
    }
    tested = {name: p for name, p in found.items() if p is not None}
    if not tested:
        return ["Too few runs to tell whether machines differ."]
    corrected = dict(zip(tested, significance.holm(list(tested.values())), strict=True))
    return [
        *(
            f"- {name}: {'machines differ' if p < REAL else 'a difference is not told from noise'}, p = {p:.3f}"
            for name, p in corrected.items()
        ),
        "",
        ABOUT,
    ]
