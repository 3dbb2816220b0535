"""Stage report: predictions and their origin → tables, figures, page.

`python -m tasks.report --normalized data/normalized --model models/classifier.keras --history reports/history.csv
--predictions reports/predictions.npz --details reports/evaluation --page reports/index.html`

It loads no model and no backend: of the model's file it shows digest and size.
RefusedError: data, predictions or a history that are damaged, or do not fit each other.
"""

import csv
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from tasks import errors
from tasks.data import arrays
from tasks.datasets.corrections import corrections_path, read_corrections
from tasks.exporting.about import describe_model
from tasks.metrics.predictions import Labels, Predicted, Predictions, read_predictions
from tasks.params import PARAMS_FILE, load_block, parse
from tasks.params.evaluate import Evaluate
from tasks.reporting.evaluation import Evaluation, Findings, Folds, Leak
from tasks.reporting.figures import draw_figures
from tasks.reporting.page import render_page
from tasks.reporting.results import compute_results
from tasks.reporting.tables import detail_tables
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
    """Write tables, figures and the page that report on a model."""
    parameters = {block: content for block, content in parse(PARAMS_FILE).items() if block in SHOWN_BLOCKS}
    about = describe_model(model_path, normalized, temperature=None)
    splits = {split: arrays.load_split(normalized, split, len(about.classes)) for split in arrays.splits(normalized)}
    files = {split: arrays.files(normalized, split) for split in splits}
    predictions = _load_predictions(predictions_path, splits, len(about.classes))
    evaluation = Evaluation(
        primary_metric=load_block("evaluate", Evaluate).headline,
        predictions={split: Predicted(labels, predictions.y_prob[split]) for split, (_, labels) in splits.items()},
        images={split: images for split, (images, _) in splits.items()},
        files=files,
        findings=_load_findings(normalized, files),
        history=_load_history(history_path),
        has_early_stopping=bool(parameters["regularize"]["early_stopping"]["patience"]),
        parameters=parameters,
        about=about,
        digests={str(model_path): about.model, **_digests(normalized)},
        n_parameters=predictions.n_parameters,
        n_bytes=model_path.stat().st_size,
        folds=_load_folds(normalized),
        second=predictions.second,
        judged=_find_judged(normalized, list(splits)),
    )
    results = compute_results(evaluation)
    svgs, tables = draw_figures(evaluation, results), detail_tables(evaluation, results)
    with atomic_outputs(details, page_path) as (folder, html):
        folder.mkdir()
        for name, text in [*((f"{name}.svg", svg) for name, svg in svgs.items()), *tables.items()]:
            (folder / name).write_text(text, encoding="utf-8", newline="\n")
        html.write_text(render_page(evaluation, results, svgs), encoding="utf-8", newline="\n")
    print(f"{tables['notes.txt']}open {page_path}")
    return {}


def _digests(normalized: Path) -> dict[str, str]:
    return {str(normalized / name): digest for name, digest in arrays.digests(normalized).items()}


def _find_judged(normalized: Path, splits: Sequence[str]) -> dict[str, set[int]]:
    """Find the rows of each split that a person has judged."""
    try:
        judged = {correction.image for correction in read_corrections(corrections_path()).values()}
    except ValueError as error:
        raise errors.RefusedError(str(error)) from error
    return {
        split: {row for row, image in enumerate(arrays.image_digests(normalized, split)) if image in judged}
        for split in (splits if judged else ())
    }


def _load_folds(normalized: Path) -> Folds | None:
    plan, split = arrays.folds(normalized), arrays.held_out_split(normalized)
    return None if plan is None or split is None else Folds(plan.shape[1], split, arrays.groups(normalized, split))


def _load_predictions(path: Path, splits: Mapping[str, tuple[arrays.Images, Labels]], n_classes: int) -> Predictions:
    try:
        predictions = read_predictions(path, list(splits))
        for split, (_, labels) in splits.items():
            if (shape := predictions.y_prob[split].shape) != (len(labels), n_classes):
                raise ValueError(f"received {shape} for {len(labels):,} {split} labels")
    except ValueError as error:
        rule = f"must hold probabilities of {n_classes} classes for each label"
        raise errors.RefusedError(f"{path} {rule}: {error}; `make doctor` restores it, or `dvc repro` does") from error
    return predictions


def _load_findings(normalized: Path, files: Mapping[str, Sequence[str]]) -> Findings:
    findings, pairs = arrays.findings(normalized), defaultdict[str, list[Leak]](list)
    rows = {split: {file: row for row, file in enumerate(names)} for split, names in files.items()}
    try:
        for kind, file, split, other, other_split, detail in findings:
            if kind in {"leak", "close"} and other_split == "train":
                pairs[kind].append(Leak(split, rows[split][file], rows["train"][other], detail))
    except KeyError as error:
        message = f"the findings in {normalized} must name its images; received {error}; {arrays.ADVICE}"
        raise errors.RefusedError(message) from error
    return Findings(
        leaks=pairs["leak"],
        close=pairs["close"],
        conflicts=[(finding.file, finding.other, finding.detail) for finding in findings if finding.kind == "conflict"],
        unreadable=[(finding.file, finding.detail) for finding in findings if finding.kind == "unreadable"],
        corrected=Counter(finding.split for finding in findings if finding.kind == "corrected"),
        n_duplicates=sum(finding.kind == "duplicate" for finding in findings),
        cropped=[(finding.file, finding.detail) for finding in findings if finding.kind == "cropped"],
    )


def _load_history(path: Path) -> list[dict[str, float]]:
    try:
        with path.open(encoding="utf-8") as file:
            return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    except (ValueError, TypeError) as error:  # a missing field is None
        message = f"{path} must hold a number in each field: {error}; `make doctor` restores it"
        raise errors.RefusedError(message) from error


if __name__ == "__main__":
    command_line.run(report)
