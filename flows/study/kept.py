"""What a study keeps, so that its report can be written again.

study.csv has a row for each run. The first line of study.jsonl has what holds for all runs, each other line what
study.csv lacks of one. A study of an earlier version left no study.jsonl, and its report lacks that.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from flows.study.results import Row, columns
from tasks.params import ParameterError
from tasks.run.outputs import atomic_outputs

RUNS, REST = "study.csv", "study.jsonl"
FIELDS = ("experiment", "gaps", "validation_accuracies", "machine", "seconds")  # of a run, in study.jsonl
TYPES = {"variant": str, "seed": int, "epochs": int, "experiment": str}  # of a run, in study.csv; the rest are floats


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
    runs = ({name: getattr(row, name) for name in FIELDS} for row in rows if row.gaps)
    lines = [json.dumps(line, ensure_ascii=False) for line in ({"baseline": baseline, **asdict(context)}, *runs)]
    with atomic_outputs(folder / RUNS, folder / REST) as (csv_file, rest):  # which no experiment may be left to replace
        with csv_file.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header)
            writer.writerows([getattr(row, name) for name in header.values()] for row in rows)
        rest.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_study(folder: Path) -> tuple[list[Row], str, Context]:
    """Read a study's rows, its baseline and its context.

    Raises
    ------
    tasks.params.ParameterError
        If there is no study, or another program changed its files.
    """
    if not (folder / RUNS).exists():
        raise ParameterError(f"{folder} must be the report of a study; received no {RUNS} there; run the study first")
    try:
        with (folder / RUNS).open(newline="", encoding="utf-8") as file:
            table = list(csv.DictReader(file))
        lines = (folder / REST).read_text(encoding="utf-8").splitlines() if (folder / REST).exists() else ["{}"]
        shared, *runs = map(json.loads, lines)
        rest = {run["experiment"]: run for run in runs}
        (score,) = (name.removeprefix("validation_") for name in table[0] if name.startswith("validation_"))
        rows = [
            Row(**{name: TYPES.get(name, float)(line[column]) for column, name in columns(score).items()}, score=score)
            for line in table
        ]
        rows = [replace(row, **rest.get(row.experiment, {})) for row in rows]
        return rows, shared.pop("baseline", rows[0].variant), Context(**shared)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, csv.Error) as error:
        fault = f"{type(error).__name__}: {error}"
        raise ParameterError(f"{folder}/{RUNS} and {REST} must be as a study wrote them; received {fault}") from error
