"""Stage report: predictions and what they came from → tables, figures and the page.

`python -m tasks.report --normalized data/normalized --model models/classifier.keras --history reports/history.csv
--predictions reports/predictions.npz --details reports/evaluation --page reports/index.html`

It loads no model and no backend: of the model's file only digest and size are told. A trial of a study is not reported
until somebody asks: `dvc exp apply NAME && dvc repro`.
RefusedError: data, predictions or a history that are damaged, or do not fit each other.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from tasks import errors
from tasks.data import arrays
from tasks.metrics import predictions
from tasks.metrics.primary import Predicted
from tasks.params import PARAMS_FILE, load_block, parse
from tasks.params.evaluate import Evaluate
from tasks.reporting import tables
from tasks.reporting.leaks import Twin
from tasks.reporting.results import Evaluation, Findings, ModelSize, compute_results, draw_figures, render
from tasks.run import command_line
from tasks.run.outputs import atomic_outputs

SHOWN_BLOCKS = ("normalize", "model", "regularize", "train", "evaluate")  # of params.yaml, on the page


def report(
    *,
    normalized: Path,
    model_path: Path,
    history_path: Path,
    predictions_path: Path,
    details: Path,
    page_path: Path,
) -> command_line.RunInfo:
    """Report on a model: a folder of tables and figures, and the page.

    Raises
    ------
    tasks.errors.RefusedError
        If the data, the predictions or the history are damaged, or do not fit each other.
    """
    evaluate_params, content = load_block("evaluate", Evaluate), parse(PARAMS_FILE)
    parameters = {block: content[block] for block in SHOWN_BLOCKS}
    class_names = arrays.class_names(normalized)
    splits = {split: arrays.load_split(normalized, split, len(class_names)) for split in arrays.splits(normalized)}
    files = {split: arrays.files(normalized, split) for split in splits}
    y_true = {split: labels for split, (_, labels) in splits.items()}
    y_prob, n_parameters = predictions.read(predictions_path, y_true, len(class_names))
    evaluation = Evaluation(
        class_names=class_names,
        headline=evaluate_params.headline,
        predictions={split: Predicted(y_true[split], y_prob[split]) for split in splits},
        images={split: images for split, (images, _) in splits.items()},
        files=files,
        findings=_findings(normalized, files),
        history=_read_history(history_path),
        has_early_stopping=bool(parameters["regularize"]["early_stopping"]["patience"]),
        parameters=parameters,
        digests={str(model_path): _md5(model_path)}
        | {str(normalized / name): digest for name, digest in arrays.digests(normalized).items()},
        model_size=ModelSize(n_parameters, model_path.stat().st_size),
    )
    results = compute_results(evaluation)
    svgs = draw_figures(evaluation, results)
    views = evaluate_params.test_time_augmentation
    texts = {f"{name}.svg": svg for name, svg in svgs.items()} | tables.detail_tables(evaluation, results, views)
    with atomic_outputs(details, page_path) as (folder, html):
        folder.mkdir()
        for name, text in texts.items():
            _write(folder / name, text)
        _write(html, render(evaluation, results, svgs))
    return {}


def _findings(normalized: Path, files: Mapping[str, Sequence[str]]) -> Findings:
    """What normalize found, with the rows of the images that leak."""
    found = arrays.findings(normalized)
    leaking = [one for one in found if one.kind == "leak" and one.other_split == "train"]
    rows = {split: {file: row for row, file in enumerate(names)} for split, names in files.items() if leaking}
    try:
        twins = [Twin(one.split, rows[one.split][one.file], rows["train"][one.other], one.detail) for one in leaking]
    except KeyError as error:
        message = f"the findings in {normalized} must name its images; received {error}; {arrays.ADVICE}"
        raise errors.RefusedError(message) from error
    return Findings(
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
        raise errors.RefusedError(message) from error


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


if __name__ == "__main__":
    command_line.run(report)
