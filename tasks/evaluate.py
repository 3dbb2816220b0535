"""Stage evaluate: model and arrays → metrics, predictions, report and page.

`python -m tasks.evaluate --normalized data/normalized --model models/classifier.keras --history reports/history.csv
--metrics reports/metrics.json --predictions reports/predictions.npz --details reports/evaluation
--page reports/index.html`

The only step that scores on test. Everything is measured in inference mode, in float32 and without augmentation.
RefusedError: a model that needs code to load, or that does not fit the data.
"""

from __future__ import annotations

import csv
import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tasks import arrays, runtime, saved_model, step
from tasks.core import report, scores, tables
from tasks.core.headline import Predicted
from tasks.core.inference import predict
from tasks.core.leaks import Twin
from tasks.outputs import atomic_outputs
from tasks.params import PARAMS_FILE, parse, read
from tasks.params.evaluate import Evaluate

SHOWN_BLOCKS = ("normalize", "model", "regularize", "train", "evaluate")  # of params.yaml, on the page


def evaluate(
    *,
    normalized: Path,
    model_path: Path,
    history_path: Path,
    metrics_path: Path,
    predictions_path: Path,
    details: Path,
    page_path: Path,
) -> step.RunInfo:
    """Score a model, and write metrics, predictions and the report.

    Raises
    ------
    tasks.step.RefusedError
        If the data is damaged, or the model cannot be loaded in safe mode or has another number of classes.
    """
    evaluate_params, content = read("evaluate", Evaluate), parse(PARAMS_FILE)
    parameters = {block: content[block] for block in SHOWN_BLOCKS}
    views = evaluate_params.test_time_augmentation
    machine = runtime.prepare()
    print(machine)
    class_names = arrays.class_names(normalized)
    model = saved_model.load(model_path, arrays.image_shape(normalized), len(class_names))
    splits = {split: arrays.load_split(normalized, split, len(class_names)) for split in arrays.splits(normalized)}
    predicted: dict[str, Predicted] = {}
    started = time.perf_counter()
    for split, (images, y_true) in splits.items():
        y_prob = predict(model, images, evaluate_params.batch_size, views)
        predicted[split] = Predicted(y_true, y_prob)
        accuracy, loss = scores.accuracy(y_true, y_prob), scores.loss(y_true, y_prob)
        print(f"evaluate: {split} accuracy {accuracy:.4f}, loss {loss:.4f}")

    seconds = time.perf_counter() - started
    files = {split: arrays.files(normalized, split) for split in splits}
    digests = {str(model_path): _md5(model_path)} | {
        str(normalized / name): digest for name, digest in arrays.digests(normalized).items()
    }
    evaluation = report.Evaluation(
        class_names=class_names,
        headline=evaluate_params.headline,
        predictions=predicted,
        images={split: images for split, (images, _) in splits.items()},
        files=files,
        findings=_findings(normalized, files),
        history=_read_history(history_path),
        has_early_stopping=bool(parameters["regularize"]["early_stopping"]["patience"]),
        parameters=parameters,
        digests=digests,
        model_size=report.ModelSize(model.count_params(), model_path.stat().st_size),
    )
    results = report.compute_results(evaluation)
    svgs = report.draw_figures(evaluation, results)
    texts = {f"{name}.svg": svg for name, svg in svgs.items()} | tables.detail_tables(evaluation, results, views)
    test, test_digest = predicted["test"], digests[str(arrays.images_path(normalized, "test"))]
    outputs = predictions_path, metrics_path, details, page_path
    with atomic_outputs(*outputs) as (npz, summary, folder, html):
        np.savez_compressed(npz, labels=test.y_true, probabilities=test.y_prob, classes=class_names, images=test_digest)
        _write(summary, tables.to_json(report.summarize(evaluation, results)))
        folder.mkdir()
        for name, text in texts.items():
            _write(folder / name, text)
        _write(html, report.render(evaluation, results, svgs))
    n_images = sum(len(labels) for _, labels in splits.values())
    return {
        "device": machine.device,
        "threads": machine.threads,
        **evaluation.model_size._asdict(),
        "milliseconds_per_image": round(1000 * seconds / n_images, 3),
    }


def _findings(normalized: Path, files: Mapping[str, Sequence[str]]) -> report.Findings:
    """What normalize found, with the rows of the images that leak."""
    found = arrays.findings(normalized)
    leaking = [one for one in found if one.kind == "leak" and one.other_split == "train"]
    rows = {split: {file: row for row, file in enumerate(names)} for split, names in files.items() if leaking}
    try:
        twins = [Twin(one.split, rows[one.split][one.file], rows["train"][one.other], one.detail) for one in leaking]
    except KeyError as error:
        message = f"the findings in {normalized} must name its images; received {error}; {arrays.ADVICE}"
        raise step.RefusedError(message) from error
    return report.Findings(
        twins=twins,
        conflicts=[(one.file, one.other, one.detail) for one in found if one.kind == "conflict"],
        unreadable=[(one.file, one.detail) for one in found if one.kind == "unreadable"],
    )


def _read_history(path: Path) -> list[dict[str, float]]:
    try:
        with path.open(encoding="utf-8") as file:
            return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    except (ValueError, TypeError) as error:  # a missing field is None
        message = f"{path} must hold a number in each field: {error}; `make doctor` restores it"
        raise step.RefusedError(message) from error


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


if __name__ == "__main__":
    step.run(evaluate)
