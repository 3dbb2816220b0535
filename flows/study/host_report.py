"""The hosts of a study's runs, and whether their results differ."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from flows.results.tables import table
from flows.study.effects import correct, measures, show_measure
from flows.study.results import Row
from tasks.metrics import significance

METHODS_NOTE = (
    "The test is of the means of what is left after variant and seed: an F-test of the linear model with a term for "
    "the machine against the one without, corrected for the number of measures by Holm's method."
)


def write_hosts(folder: Path, rows: Sequence[Row]) -> None:
    """Write machines.md: the runs by host, and whether hosts differ."""
    hosts = Counter(row.machine for row in rows)
    text = "\n".join(
        [
            "# Which machine made which run",
            "",
            *table(("machine", "runs"), [(name, str(n)) for name, n in sorted(hosts.items())]),
            "",
            *describe_difference(rows),
            "",
            *table(
                ("variant", "seed", "experiment", "machine"),
                [(row.variant, str(row.seed), row.experiment, row.machine) for row in rows],
            ),
        ]
    )
    (folder / "machines.md").write_text(text + "\n", encoding="utf-8")


def describe_difference(rows: Sequence[Row]) -> list[str]:
    """Say whether hosts differ in each measure, and how that was tested."""
    hosts = [row.machine for row in rows]
    if len(set(hosts)) < 2:
        return ["One machine made all runs."]
    others = [[row.variant for row in rows], [str(row.seed) for row in rows]]
    corrected = correct(
        {
            measure: significance.factor_p_value([100 * getattr(row, field) for row in rows], hosts, others)
            for measure, field in measures(rows).items()
        }
    )
    if not corrected:
        return ["Too few runs to tell whether machines differ."]
    verdicts = {True: "machines differ", False: "a difference is not told from noise"}
    return [
        *(f"- {show_measure(name)}: {verdicts[p < significance.REAL]}, p = {p:.3f}" for name, p in corrected.items()),
        "",
        METHODS_NOTE,
    ]
