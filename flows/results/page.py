"""The page of two sides: what changed, and which images flipped.

Made from one Comparison, whose numbers it repeats: it computes no score. What a side has lost is said in its place.
"""

import csv
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from flows.repo.dvc_internals import stored_object
from flows.repo.git import GitError
from flows.repo.graph import artifact
from flows.results.changes import FINDERS, find_changes
from flows.results.flips import ClassFlips, Flips, count_flips
from flows.results.sides import IncomparableError, Side
from flows.results.verdict import Comparison, Difference, Pair
from tasks.data import arrays
from tasks.errors import RefusedError
from tasks.metrics.scores import SCORES
from tasks.metrics.summarize import MANY_CLASSES
from tasks.reporting import comparison_figures
from tasks.reporting.evaluation import History
from tasks.reporting.gallery import Picture, show_image
from tasks.reporting.templates import render_template
from tasks.run.outputs import atomic_outputs

Flipped = tuple[Picture, str, float]  # an image, and the answer of the base with its probability
N_PICTURES = 24  # of each direction


def write_page(comparison: Comparison, path: Path) -> None:
    """Write the page of a comparison."""
    with atomic_outputs(path) as (partial,):
        partial.write_text(render_page(comparison), encoding="utf-8", newline="\n")


def render_page(comparison: Comparison) -> str:
    """Render the page as HTML, with what both sides still have."""
    base, here, pair = comparison.base, comparison.here, comparison.pair
    changes, histories = find_changes(base, here), [_read_history(side) for side in (base, here)]
    content: dict[str, Any] = {"flips": None}
    if pair:
        flips, names = count_flips(pair), pair.here.class_names
        pictures, lost_pictures = _show(here, pair, flips)
        y_prob = [predictions.y_prob["test"] for predictions in (pair.base, pair.here)]
        confusion = comparison_figures.confusion(pair.here.y_true, y_prob, names)
        rows = [(name, *map("{:,}".format, counts)) for name, *counts in flips.classes[:MANY_CLASSES]]
        content = {
            "flips": flips, "pictures": pictures, "lost_pictures": lost_pictures, "n_classes": len(names),
            "confusion": confusion, "by_class": (ClassFlips._fields, rows),
        }  # fmt: skip
    return render_template(
        "compare.html",
        comparison=comparison,
        metrics=comparison.cells(),
        kinds={kind: [change.what for change in changes if change.kind == kind] for kind in FINDERS},
        intervals=_draw_intervals(comparison.differences),
        curves=comparison_figures.curves(*histories) if all(histories) else "",
        many_classes=MANY_CLASSES,
        **content,
    )


def _draw_intervals(differences: Sequence[Difference]) -> str:
    """Draw test scores, without losses, and the recalls that changed most."""
    rows = [(row.metric.removeprefix("test."), row) for row in differences if row.metric.startswith("test.")]
    changes = [comparison_figures.Change(name, row.change, row.interval) for name, row in rows if row.interval]
    scores = [change for change in changes if change.name in SCORES and SCORES[change.name].better == "higher"]
    classes = [change for change in changes if change.name.startswith("recall.") and change.value]
    drawn = [*scores, *sorted(classes, key=lambda change: -abs(change.value))[:MANY_CLASSES]]
    return comparison_figures.intervals(drawn) if drawn else ""


def _read_history(side: Side) -> History:
    """Read the learning curves; none where they are lost or damaged."""
    try:
        rows = csv.DictReader(side.read_artifact("history").decode().splitlines())
        return [{"epoch": float(row["epoch"]), **{name: float(row[name]) for name in row}} for row in rows]
    except (IncomparableError, OSError, LookupError, ValueError, TypeError):
        return []


def _show(here: Side, pair: Pair, flips: Flips) -> tuple[list[list[Flipped]], str]:
    """Show the surest flips of both directions, or say why not."""
    try:
        images, files = _read_test_images(here, pair)
    except LookupError as error:
        return [], f"dvc.yaml or dvc.lock must name them; received no {error}"
    except (IncomparableError, GitError, OSError, ValueError, EOFError) as error:
        return [], str(error)
    names = pair.here.class_names

    def show(row: int) -> Flipped:
        before, now = (predictions.y_prob["test"][row] for predictions in (pair.base, pair.here))
        pixels, label = np.asarray(images[pair.rows[row]]), int(pair.here.y_true[row])
        picture = show_image(files[pair.rows[row]], pixels, names, label, now)
        return picture, names[before.argmax()], float(before.max())

    return [[show(row) for row in rows[:N_PICTURES]] for rows in (flips.lost, flips.won)], ""


def _read_test_images(side: Side, pair: Pair) -> tuple[arrays.Images, Sequence[str]]:
    """Find the test images by their digest, with names or numbers."""
    folder, digest = side.root / artifact(side.root, "arrays"), pair.here.images
    name = arrays.images_path(folder, "test").name
    try:
        if arrays.digests(folder)[name] == digest:
            return arrays.load_split(folder, "test", len(pair.here.class_names))[0], arrays.files(folder, "test")
    except (OSError, LookupError, RefusedError):
        pass  # the cache may have them
    if (content := stored_object(side.root, digest)) is None:
        raise IncomparableError(f"{name} of {side.name} is in neither this workspace nor DVC's cache")
    images = np.load(BytesIO(content))
    return images, [f"test image {number}" for number in range(1, len(images) + 1)]
