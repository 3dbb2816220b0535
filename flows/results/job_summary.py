"""A comparison as Markdown for the page of a CI job."""

from functools import partial
from html import escape

from flows.results.changes import find_changes
from flows.results.flips import count_flips
from flows.results.tables import table
from flows.results.verdict import Comparison

_escape = partial(escape, quote=False)
N_CHANGES = 20
N_CLASSES = 5  # with most flips


def summarize(comparison: Comparison) -> str:
    """Say whether the gate passes, what changed, and which classes flipped."""
    header, rows = comparison.cells()
    primary = f"test.{comparison.primary_metric}"
    told = [row for row in rows if row[0] == primary or row[-1] == "real" or row[-1].startswith("worse")]
    # Two backticks: what changed may hold one, and `__init__` would be bold outside of code.
    changes = [f"- {change.kind}: `` {change.what} ``" for change in find_changes(comparison.base, comparison.here)]
    more = [f"- and {len(changes) - N_CHANGES:,} more"] if len(changes) > N_CHANGES else []
    verdict = [
        f"## The gate {'fails' if comparison.failures else 'passes'}",
        "",
        comparison.sentence[0].upper() + comparison.sentence[1:],
        *(line for failure in comparison.failures for line in ("", f"- **{failure}**")),
        "",
        *table(header, told),
        *_describe_flips(comparison),
        *(line for note in comparison.remarks for line in ("", note)),
        "",
        f"What changed since {comparison.base.name}:",
        "",
    ]
    whole = ["<details><summary>All metrics</summary>", "", *map(_escape, table(header, rows)), "", "</details>"]
    return "\n".join([*map(_escape, verdict), *(changes[:N_CHANGES] or ["- nothing"]), *more, "", *whole])


def _describe_flips(comparison: Comparison) -> list[str]:
    if not comparison.pair:
        return []
    flips = count_flips(comparison.pair)
    counts = f"{len(flips.lost):,} were right and are wrong now, {len(flips.won):,} the reverse"
    classes = ", ".join(f"of {row.name} {row.lost:,} and {row.won:,}" for row in flips.classes[:N_CLASSES])
    by_class = f"; {classes}" if classes else ""
    seed = "With seed 0 alone: of" if comparison.seeds > 1 else "Of"
    return ["", f"{seed} {len(comparison.pair.rows):,} test images {counts}{by_class}."]
