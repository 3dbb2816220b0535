"""Stage evaluate: the model on train, validation and test → metrics, predictions and reports.

`python -m tasks.evaluate data/normalized models/classifier.keras reports/metrics.json
reports/predictions.npz reports/evaluation`

The only step that scores on test. Everything is measured in inference mode, in float32 and without
random changes. RefusedError: a model that needs code to load, or that does not fit the data.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from tasks import runtime, step  # before Keras: it silences the backend's start

# isort: split
import keras

from tasks.core import figures, scores
from tasks.params import read
from tasks.params.evaluate import Evaluate

DIGITS = 6


def evaluate(normalized: Path, model: Path, metrics: Path, predictions: Path, details: Path) -> step.Facts:
    """Score a model and write what people and `dvc metrics diff` read.

    Raises
    ------
    tasks.step.RefusedError
        If the model cannot be loaded in safe mode, or has another number of classes than the data.
    """
    params = read(Evaluate)
    machine = runtime.prepare()
    print(machine)
    names = json.loads((normalized / "classes.json").read_text(encoding="utf-8"))
    network = _load(model, len(names))
    result: dict[str, Any] = {}
    for split in ("train", "validation", "test"):
        if not (normalized / f"{split}_labels.npy").exists():
            continue  # validation_fraction: 0
        labels = np.load(normalized / f"{split}_labels.npy")
        images = np.load(normalized / f"{split}_images.npy", mmap_mode="r")
        probabilities = predict(network, images, params.batch_size, params.test_time_augmentation == "mirror")
        result[split] = scores.summary(labels, probabilities)
        print(f"evaluate: {split} accuracy {result[split]['accuracy']:.4f}, loss {result[split]['loss']:.4f}")
    if "validation" in result:
        result["generalization_gap"] = result["train"]["accuracy"] - result["validation"]["accuracy"]
    table = scores.per_class(labels, probabilities, names)
    result["f1"] = {row["class"]: row["f1"] for row in table}
    details.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(predictions, labels=labels, probabilities=probabilities)
    counts = scores.confusion(labels, probabilities)
    (details / "confusion.png").write_bytes(figures.confusion_matrix(counts, names))
    (details / "classification_report.txt").write_text(scores.report(labels, probabilities, names), encoding="utf-8")
    _write_csv(details / "per_class.csv", [list(table[0]), *([*_rounded(row).values()] for row in table)])
    _write_csv(
        details / "confusion.csv",
        [["true \\ predicted", *names], *([n, *c] for n, c in zip(names, counts, strict=True))],
    )
    _write_csv(details / "labels.csv", _named(names, labels, probabilities))
    metrics.write_text(json.dumps(_rounded(result), indent=2) + "\n", encoding="utf-8")
    return {"device": machine.device, "threads": machine.threads}


def _load(path: Path, n_classes: int) -> keras.Model:
    try:
        network = keras.models.load_model(path, compile=False)  # safe mode: refuses code in the file
    except Exception as error:
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise step.RefusedError(f"{path} must be a Keras model that loads in safe mode: {why}") from error
    if network.output_shape[-1] != n_classes:
        raise step.RefusedError(
            f"{path} must give {n_classes} logits; received {network.output_shape[-1]}; run `dvc repro`"
        )
    return network


def predict(
    network: keras.Model, images: NDArray[np.uint8], batch_size: int, mirror: bool = False
) -> NDArray[np.float64]:
    """Class probabilities of shape (n, n_classes); only one batch of images is in memory.

    With `mirror` they are those of the mean of two logits, an image's and its mirror image's.
    """
    logits = []
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        views = (batch, batch[:, :, ::-1]) if mirror else (batch,)
        logits.append(np.mean([network.predict_on_batch(view) for view in views], axis=0))
    probabilities: NDArray[np.float64] = softmax(np.concatenate(logits).astype(np.float64), axis=1)
    return probabilities


def _named(names: list[str], labels: NDArray[Any], probabilities: NDArray[Any]) -> Iterator[list[str]]:
    """A row per image, in file order: what `dvc plots` counts into a confusion matrix."""
    yield ["actual", "predicted"]
    for label, predicted in zip(labels, probabilities.argmax(axis=1), strict=True):
        yield [names[label], names[predicted]]


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return round(value, DIGITS) if isinstance(value, float) else value


def _write_csv(path: Path, rows: Iterable[Iterable[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


if __name__ == "__main__":
    step.run(evaluate)
