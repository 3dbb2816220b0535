"""A comparison as Markdown for the page of a CI job."""

from html import escape

from flows.results.changes import find_changes
from flows.results.flips import count_flips
from flows.results.tables import table
from flows.results.verdict import Comparison

N_CHANGES = 20
N_CLASSES = 5  # with most flips


def summarize(comparison: Comparison) -> str:
    """Say whether the gate passes, what changed, and which classes flipped."""
    header, rows = comparison.cells()
    primary = f"test.{comparison.primary_metric}"
    told = [row for row in rows if row[0] == primary or row[-1] == "real" or row[-1].startswith("worse")]
    changes = [f"- {change.kind}: `{change.what}`" for change in find_changes(comparison.base, comparison.here)]
    more = [f"- and {len(changes) - N_CHANGES:,} more"] if len(changes) > N_CHANGES else []
    lines = [
        f"## {'Failed' if comparison.failures else 'Passed'}: {comparison.sentence}",
        *(f"- **{failure}**" for failure in comparison.failures),
        "",
        *table(header, told),
        "",
        f"What changed since {comparison.base.name}:",
        "",
        *(changes[:N_CHANGES] or ["- nothing"]),
        *more,
        *_describe_flips(comparison),
        *(line for note in comparison.notes for line in ("", note)),
    ]
    whole = ["", "<details><summary>All metrics</summary>", "", *table(header, rows), "", "</details>"]
    return "\n".join([*(escape(line, quote=False) for line in lines), *whole])


def _describe_flips(comparison: Comparison) -> list[str]:
    if not comparison.pair:
        return []
    flips = count_flips(comparison.pair)
    classes = ", ".join(f"{row.name} {row.lost:,} and {row.won:,}" for row in flips.classes[:N_CLASSES])
    counts = f"{len(flips.lost):,} were right and are wrong now, {len(flips.won):,} the reverse"
    return ["", f"Of {len(comparison.pair.rows):,} test images {counts}" + (f"; by class: {classes}." if classes else ".")]
