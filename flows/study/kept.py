"""What a study keeps, so that its report can be written again.

study.csv has a row for each run, to be read by people and programs. study.jsonl has on its first line what holds for
all runs, on each other line all that is known of one.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from flows.study.results import Row, columns
from tasks.params import ParameterError
from tasks.run.outputs import atomic_outputs

RUNS, KEPT = "study.csv", "study.jsonl"


@dataclass(frozen=True)
class Context:
    """What a report names beside its runs."""

    question: str = "What does each variant change?"  # the title
    settings: Mapping[str, Any] = field(default_factory=dict)  # parameters that were set for all runs
    failures: Mapping[str, str] = field(default_factory=dict)  # experiment → why it is missing
    strengths: Mapping[str, str] = field(default_factory=dict)  # variant → what it sets, such as `dropout 0.5`
    swept: Mapping[str, str] = field(default_factory=dict)  # variant → the parameter of which it has one value


def write_study(folder: Path, rows: Sequence[Row], baseline: str, context: Context) -> None:
    """Write study.csv and study.jsonl."""
    header = columns(rows[0].score)
    lines = ({"baseline": baseline, **asdict(context)}, *map(asdict, rows))
    with atomic_outputs(folder / RUNS, folder / KEPT) as (csv_file, kept):  # which no experiment may be left to replace
        with csv_file.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header)
            writer.writerows([getattr(row, name) for name in header.values()] for row in rows)
        kept.write_text("".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines), encoding="utf-8")


def read_study(folder: Path) -> tuple[list[Row], str, Context]:
    """Read a study's rows, its baseline and its context.

    Raises
    ------
    tasks.params.ParameterError
        If there is no study, or another program changed its file.
    """
    path = folder / KEPT
    if not path.exists():
        raise ParameterError(f"{folder} must be the report of a study; received no {KEPT} there; run the study first")
    try:
        shared, first, *others = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        return [Row(**run) for run in (first, *others)], shared.pop("baseline"), Context(**shared)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        fault = f"{type(error).__name__}: {error}"
        raise ParameterError(f"{path} must be as a study wrote it; received {fault}; run the study again") from error
