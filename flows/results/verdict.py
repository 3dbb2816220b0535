"""What a comparison found: differences, checks of the data, the verdict."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flows.results.sides import Side
from flows.results.tables import table
from tasks.metrics.predictions import Predictions
from tasks.params.gate import Gate


@dataclass(frozen=True)
class Difference:
    """One metric of two sides."""

    metric: str
    base: float
    here: float
    interval: tuple[float, float] | None = None  # at 95 %, of here − base; None without predictions

    @property
    def change(self) -> float:
        return self.here - self.base

    @property
    def verdict(self) -> str:
        if self.change == 0:
            return "equal"
        if self.interval is None:
            return "unknown"
        low, high = self.interval
        return "within noise" if low <= 0 <= high else "real"


WORSE = {
    "leaks": "more held-out images have a copy in training",
    "conflicts": "more copies have two labels",
    "unreadable": "more images cannot be read",
    "smallest_class": "the smallest class has fewer images",
}


class DataCheck(NamedTuple):
    """A count of reports/dataset.json on two sides, and its level in `gate`."""

    name: str
    level: str
    base: int
    here: int

    @property
    def verdict(self) -> str:
        worse = self.here < self.base if self.name == "smallest_class" else self.here > self.base
        return f"worse: {self.level}" if worse else "equal" if self.here == self.base else "better"

    def __str__(self) -> str:
        return f"{WORSE[self.name]}: {self.base:,} → {self.here:,} (gate.{self.name}: {self.level})"


class Pair(NamedTuple):
    """The predictions of both sides on the same labelled test images."""

    base: Predictions
    here: Predictions
    rows: NDArray[np.intp]  # of these images in the test set of here


@dataclass(frozen=True)
class Comparison:
    """All metrics that both sides have, and the verdict."""

    base: Side
    here: Side
    primary_metric: str
    gate: Gate
    differences: list[Difference]
    checks: list[DataCheck]
    pair: Pair | None = None  # None where the base's predictions are lost
    notes: tuple[str, ...] = ()  # why there are no intervals, on how many images, and what was made elsewhere
    seeds: int = 1  # `pair`, and what sides hold beside their scores, are of the first

    @property
    def primary(self) -> Difference:
        return next(row for row in self.differences if row.metric == f"test.{self.primary_metric}")

    @property
    def sentence(self) -> str:
        """Say what happened to the primary metric, and whether it is noise."""
        row, (before, now) = self.primary, (f"{100 * score:.2f}" for score in (self.primary.base, self.primary.here))
        if before == now and row.verdict != "real":
            return f"{self._name} is {now} % on both sides"
        how = {"unknown": "whether that is noise is unknown"}.get(row.verdict, row.verdict)
        ends = row.interval and " to ".join(f"{100 * end:+.2f}" for end in row.interval).replace("-", "−")
        return f"{self._moved}, from {before} to {now} %: {how}{ends and f', 95 % interval {ends}'}"

    @property
    def _name(self) -> str:
        return f"test {self.primary_metric.replace('_', ' ')}"

    @property
    def _moved(self) -> str:
        verb = "fell" if self.primary.change < 0 else "rose"
        return f"{self._name} {verb} by {abs(100 * self.primary.change):.2f} points"

    @property
    def failures(self) -> list[str]:
        """List what does not pass, of the primary metric and the data."""
        row, failures = self.primary, []
        has_fallen = -100 * row.change > self.gate.tolerance + 1e-9  # a rounding error is no fall
        if has_fallen and row.verdict in {"real", "unknown"}:
            doubt = "" if row.interval else "; whether that is noise is unknown"
            allowed = f"more than the tolerance of {self.gate.tolerance:g}"
            failures.append(f"regression: {self._moved}, {allowed}{doubt}")
        return [*failures, *(str(check) for check in self.checks if check.verdict == "worse: fail")]

    @property
    def remarks(self) -> list[str]:
        """List warnings and notes."""
        return [*(f"warning: {check}" for check in self.checks if check.verdict == "worse: warn"), *self.notes]

    def cells(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Return the header and rows of the table."""
        rows = [
            (
                row.metric,
                f"{row.base:.4f}",
                f"{row.here:.4f}",
                f"{row.change:+.4f}",
                f"{row.interval[0]:+.4f} to {row.interval[1]:+.4f}" if row.interval else "",
                row.verdict,
            )
            for row in self.differences
        ]
        counts = [
            (check.name, f"{check.base:,}", f"{check.here:,}", f"{check.here - check.base:+,}", "", check.verdict)
            for check in self.checks
        ]
        header = ("metric", self.base.name, self.here.name, "difference", "95 % interval", "verdict")
        return header, [*rows, *counts]

    def markdown(self) -> str:
        """Return tables for people."""
        notes = [line for note in self.remarks for line in ("", note)]
        return "\n".join([*table(*self.cells()), *notes])

    def as_json(self) -> dict[str, Any]:
        """Return the same for programs."""
        return {
            "base": self.base.name,
            "here": self.here.name,
            "tolerance": self.gate.tolerance,
            "passed": not self.failures,
            "failures": self.failures,
            "sentence": self.sentence,
            "notes": self.remarks,
            "metrics": [{**row.__dict__, "difference": row.change, "verdict": row.verdict} for row in self.differences],
            "data": [{**check._asdict(), "verdict": check.verdict} for check in self.checks],
        }
