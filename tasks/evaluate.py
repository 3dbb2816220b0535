"""Stage evaluate: the model on train, validation and test → metrics, predictions, and the report that people read.

`python -m tasks.evaluate data/normalized models/classifier.keras reports/history.csv reports/metrics.json
reports/predictions.npz reports/evaluation reports/index.html`

The only step that scores on test. Everything is measured in inference mode, in float32 and without
random changes. RefusedError: a model that needs code to load, or that does not fit the data.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks import arrays, runtime, saved_model, step
from tasks.core import report, scores
from tasks.core.inference import predict
from tasks.params import PARAMS_FILE, parse, read
from tasks.params.evaluate import Evaluate

DIGITS = 6
SPLITS = ("train", "validation", "test")
SHOWN_BLOCKS = ("normalize", "model", "regularize", "train", "evaluate")  # of params.yaml, on the page
NOTEBOOK = "reference"  # the variant that the page compares them with


def evaluate(
    normalized: Path, model: Path, history: Path, metrics: Path, predictions: Path, details: Path, page: Path
) -> step.Facts:
    """Score a model and write what people and `dvc metrics diff` read.

    Raises
    ------
    tasks.step.RefusedError
        If the data is damaged, or the model cannot be loaded in safe mode or has another number of classes.
    """
    params, content = read(Evaluate), parse(PARAMS_FILE)
    mirror = params.test_time_augmentation == "mirror"
    machine = runtime.prepare()
    print(machine)
    names = arrays.class_names(normalized)
    network = saved_model.load(model, len(names))
    splits: dict[str, report.Scored] = {}
    for split in SPLITS:
        if not (normalized / f"{split}_labels.npy").exists():
            continue  # validation_fraction: 0
        images, labels = arrays.load_split(normalized, split, len(names))
        probabilities = predict(network, images, params.batch_size, mirror)
        splits[split] = labels, probabilities
        accuracy, loss = scores.accuracy(labels, probabilities), scores.loss(labels, probabilities)
        print(f"evaluate: {split} accuracy {accuracy:.4f}, loss {loss:.4f}")

    digests = {str(path): _md5(path) for path in (model, *sorted(normalized.glob("*.npy")))}
    stops_early = bool(content["regularize"]["early_stopping"]["patience"])
    about = report.Evaluation(names, splits, images, _read_history(history), stops_early, _parameters(content), digests)
    found = report.findings(names, splits)
    drawn = report.drawings(about, found)
    of_images = digests[str(normalized / "test_images.npy")]
    with step.publishing(predictions, metrics, details, page) as (scored, summary, folder, html):
        np.savez_compressed(scored, labels=labels, probabilities=probabilities, classes=names, images=of_images)
        summary.write_text(_json(report.summary(found)), encoding="utf-8")
        _write_details(folder, about, found, drawn, mirror)
        html.write_text(report.html(about, found, drawn), encoding="utf-8")
    return {"device": machine.device, "threads": machine.threads}


def _read_history(path: Path) -> list[dict[str, float]]:
    try:
        with path.open(encoding="utf-8") as file:
            return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    except (ValueError, TypeError) as error:  # a missing field is None
        message = f"{path} must hold a number in each field: {error}; `make doctor` restores it"
        raise step.RefusedError(message) from error


def _parameters(content: dict[str, Any]) -> list[dict[str, Any]]:
    """The run's parameters by dotted key, beside what the notebook's recipe has."""
    notebook = {**content["study"]["base"], **content["study"]["variants"].get(NOTEBOOK, {})}
    return [
        {"key": key, "value": _shown(value), "notebook": _shown(there), "differs": there != value}
        for block in SHOWN_BLOCKS
        for key, value in _flat(content[block], block)
        for there in (notebook.get(key, value),)
    ]


def _shown(value: Any) -> str:
    """A value as params.yaml spells it."""
    return value if isinstance(value, str) else json.dumps(value)


def _flat(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(inner, f"{key}.{name}")
    else:
        yield key, value


def _write_details(
    folder: Path, about: report.Evaluation, found: dict[str, Any], drawn: dict[str, str], mirror: bool
) -> None:
    """Every figure and table of the page as a file of its own."""
    folder.mkdir()
    labels, probabilities = about.splits["test"]
    names, classes = list(about.names), found["classes"]
    for name, drawing in drawn.items():
        (folder / f"{name}.svg").write_text(drawing, encoding="utf-8")
    (folder / "classification_report.txt").write_text(scores.report(labels, probabilities, names), encoding="utf-8")
    (folder / "scores.json").write_text(_json(found), encoding="utf-8")
    calibration = {"classes": names, "temperature": found["temperature"], "mirror": mirror}
    (folder / "calibration.json").write_text(json.dumps(calibration, indent=2) + "\n", encoding="utf-8")
    _write_csv(folder / "per_class.csv", [list(classes[0]), *([*_rounded(row).values()] for row in classes)])
    counts = scores.confusion(labels, probabilities)
    _write_csv(
        folder / "confusion.csv",
        [["true \\ predicted", *names], *([n, *c] for n, c in zip(names, counts, strict=True))],
    )
    _write_csv(folder / "labels.csv", _named(names, labels, probabilities))


def _named(names: list[str], labels: NDArray[Any], probabilities: NDArray[Any]) -> Iterator[list[str]]:
    """A row per image, in file order: what `dvc plots` counts into a confusion matrix."""
    yield ["actual", "predicted"]
    for label, predicted in zip(labels, probabilities.argmax(axis=1), strict=True):
        yield [names[label], names[predicted]]


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _json(value: dict[str, Any]) -> str:
    return json.dumps(_rounded(value), indent=2, ensure_ascii=False) + "\n"


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    return round(value, DIGITS) if isinstance(value, float) else value


def _write_csv(path: Path, rows: Iterable[Iterable[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


if __name__ == "__main__":
    step.run(evaluate)
