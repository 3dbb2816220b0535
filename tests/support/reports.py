"""Evaluations to report, and a reader of their page."""

import json
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from typing import Any

import numpy as np
from scipy import special

from tasks.exporting.about import About
from tasks.exporting.card import Reports
from tasks.metrics.predictions import Predicted
from tasks.params import parse
from tasks.reporting import page
from tasks.reporting.evaluation import Evaluation, Findings
from tasks.reporting.figures import draw_figures
from tasks.reporting.results import compute_results
from tasks.reporting.tables import detail_tables
from tests.support import ROOT

PARAMETERS = {
    block: content for block, content in parse(ROOT / "params.yaml").items() if block not in {"download", "study"}
}
MODEL_DIGEST = "d41d8cd98f00b204e9800998ecf8427e"


def history(epochs: int = 3, validation: bool = True, best: int | None = None) -> list[dict[str, float]]:
    """Make learning curves, with the lowest validation loss in epoch `best`."""
    rows = []
    for epoch in range(1, epochs + 1):
        row = {"epoch": epoch, "train_loss": 1 / epoch, "train_accuracy": 1 - 0.5 / epoch}
        if validation:
            row |= {"validation_loss": 1 + abs(epoch - (best or epochs)) / 10, "validation_accuracy": 0.5}
            row["generalization_gap"] = row["train_accuracy"] - 0.5
        rows.append({**row, "learning_rate": 0.1})
    return rows


def evaluation(
    n: int = 200, n_classes: int = 4, skill: float = 1.5, validation: bool = True, **fields: Any
) -> Evaluation:
    """Make predictions that are better than chance by `skill`."""
    rng = np.random.default_rng(0)

    def predict(size: int, skill: float) -> Predicted:
        y_true = np.arange(size) % n_classes
        logits = rng.normal(size=(size, n_classes)) + skill * np.eye(n_classes)[y_true]
        return Predicted(y_true, special.softmax(logits, axis=1))

    predictions = {"train": predict(2 * n, 2 * skill)}
    if validation:
        predictions["validation"] = predict(n, skill)
    predictions["test"] = predict(n, skill)
    sizes = {split: len(y_true) for split, (y_true, _) in predictions.items()}
    default = Evaluation(
        predictions=predictions,
        primary_metric="accuracy",
        images={split: rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8) for split, n in sizes.items()},
        files={split: [f"{split}/{number}.png" for number in range(n)] for split, n in sizes.items()},
        findings=Findings([], [], []),
        history=history(validation=validation),
        has_early_stopping=False,
        parameters=PARAMETERS,
        about=About([f"class {label}" for label in range(n_classes)], 32, 32, "crop", None, MODEL_DIGEST, "0" * 32),
        digests={"models/classifier.keras": MODEL_DIGEST},
        n_parameters=1_250_858,
        n_bytes=5_034_112,
    )
    if "class_names" in fields:
        fields["about"] = default.about._replace(classes=fields.pop("class_names"))
    return replace(default, **fields)


def with_test(evaluation: Evaluation, y_true: Any, y_prob: Any) -> Evaluation:
    """Replace the predictions on test."""
    test = Predicted(np.asarray(y_true), np.asarray(y_prob))
    files = {**evaluation.files, "test": evaluation.files["test"][: len(test.y_true)]}
    return replace(evaluation, predictions={**evaluation.predictions, "test": test}, files=files)


@cache
def default_figures() -> dict[str, str]:
    """Draw the figures of the default evaluation once, to save time."""
    made = evaluation()
    return draw_figures(made, compute_results(made))


def render_page(evaluation: Evaluation, own_figures: bool = False) -> str:
    """Render an evaluation's page, with its own figures or the default ones."""
    results = compute_results(evaluation)
    svgs = draw_figures(evaluation, results) if own_figures else default_figures()
    return page.render_page(evaluation, results, svgs)


class Page(HTMLParser):
    """The words, tables and pictures of a page."""

    def __init__(self, content: str):
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.pictures: list[dict[str, str | None]] = []
        self.words = ""
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in {"td", "th"}:
            self.tables[-1][-1].append("")
        elif tag == "img":
            self.pictures.append(dict(attrs))
        self._in_cell = tag in {"td", "th"} or (getattr(self, "_in_cell", False) and tag not in {"tr", "table", "p"})

    def handle_endtag(self, tag: str) -> None:
        if tag in {"td", "th"}:
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        self.words += data
        if getattr(self, "_in_cell", False):
            self.tables[-1][-1][-1] += data.strip()


COUNTS = {
    "images": 820, "classes": 4, "smallest_class": 100, "train": 400, "validation": 200, "test": 200, "unreadable": 1,
    "left_out": 2, "duplicates": 3, "conflicts": 4, "corrected": {"train": 5, "test": 6},
    "leaks": {"validation": 7, "test": 8},
}  # fmt: skip


def card_reports(parity: Any = None, metrics: Any = None, **fields: Any) -> Reports:
    """Make the reports of an evaluation, as the card reads them."""
    made = evaluation(**fields)
    tables = detail_tables(made, compute_results(made))
    scores, about = (json.loads(tables[name]) for name in ("scores.json", "calibration.json"))
    return Reports(COUNTS, metrics or {}, parity or {}, scores, about)
