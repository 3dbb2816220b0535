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

    @property
    def primary(self) -> Difference:
        return next(row for row in self.differences if row.metric == f"test.{self.primary_metric}")

    @property
    def sentence(self) -> str:
        """Say what happened to the primary metric, and whether it is noise."""
        row, name = self.primary, f"test {self.primary_metric.replace('_', ' ')}"
        if not row.change:
            return f"{name} is {row.here:.2%} on both sides"
        moved = "fell" if row.change < 0 else "rose"
        how = {"unknown": "whether that is noise is unknown"}.get(row.verdict, row.verdict)
        ends = row.interval and f", 95 % interval {' to '.join(f'{100 * end:+.2f}' for end in row.interval)}"
        points = f"{abs(100 * row.change):.2f} points, from {row.base:.2%} to {row.here:.2%}"
        return f"{name} {moved} by {points}: {how}{ends or ''}"

    @property
    def failures(self) -> list[str]:
        """List what does not pass, of the primary metric and the data."""
        fall, failures = -100 * self.primary.change, []
        if fall > self.gate.tolerance + 1e-9 and self.primary.verdict in {
            "real",
            "unknown",
        }:  # a rounding error is none
            failures.append(f"regression: {self.sentence}; the tolerance is {self.gate.tolerance:g}")
        checks = (check for check in self.checks if check.verdict == "worse: fail")
        return [*failures, *(f"gate.{check.name}: {check.base:,} → {check.here:,}" for check in checks)]

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
        notes = [line for note in self.notes for line in ("", note)]
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
            "notes": self.notes,
            "metrics": [{**row.__dict__, "difference": row.change, "verdict": row.verdict} for row in self.differences],
            "data": [{**check._asdict(), "verdict": check.verdict} for check in self.checks],
        }
