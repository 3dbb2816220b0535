"""Evaluations to write reports of, and the tables of a page."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import numpy as np
from scipy import special

from tasks.core.report import Evaluation, drawings, findings, html


def history(epochs: int = 3, validation: bool = True, best: int | None = None) -> list[dict[str, float]]:
    """Learning curves whose validation loss is lowest in epoch `best`, by default the last."""
    rows = []
    for epoch in range(1, epochs + 1):
        row = {"epoch": epoch, "train_loss": 1 / epoch, "train_accuracy": 1 - 0.5 / epoch}
        if validation:
            row |= {"validation_loss": 1 + abs(epoch - (best or epochs)) / 10, "validation_accuracy": 0.5}
            row["generalization_gap"] = row["train_accuracy"] - 0.5
        rows.append({**row, "learning_rate": 0.1})
    return rows


def evaluation(n: int = 200, n_classes: int = 4, skill: float = 1.5, validation: bool = True, **how: Any) -> Evaluation:
    """A model that knows something of its labels; `skill` is how much."""
    rng = np.random.default_rng(0)

    def score(size: int, know: float) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(size) % n_classes
        return labels, special.softmax(rng.normal(size=(size, n_classes)) + know * np.eye(n_classes)[labels], axis=1)

    splits = {"train": score(2 * n, 2 * skill)}
    if validation:
        splits["validation"] = score(n, skill)
    splits["test"] = score(n, skill)
    made = {
        "names": [f"class {label}" for label in range(n_classes)],
        "splits": splits,
        "images": rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8),
        "history": history(validation=validation),
        "has_early_stopping": False,
        "parameters": [{"key": "train.epochs", "value": 3, "notebook": 150, "differs": True}],
        "digests": {"models/classifier.keras": "d41d8cd98f00b204e9800998ecf8427e"},
    }
    return Evaluation(**{**made, **how})


def with_test(about: Evaluation, labels: Any, probabilities: Any) -> Evaluation:
    """The same with other predictions on test."""
    splits = {**about.splits, "test": (np.asarray(labels), np.asarray(probabilities))}
    return Evaluation(**{**about.__dict__, "splits": splits})


def page(about: Evaluation) -> str:
    found = findings(about.names, about.splits)
    return html(about, found, drawings(about, found))


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
