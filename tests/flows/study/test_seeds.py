"""How many seeds a plan asks for, and how long they take."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flows.host.capability import describe_host
from flows.study import __main__ as study_page
from flows.study import seeds
from flows.study.kept import Context, write_study
from flows.study.results import Row
from tasks.metrics.significance import seeds_needed
from tasks.params import ParameterError
from tests.support import ROOT

HERE = describe_host().partition("; ")[2]
SPREADS = {"none": 0.0, "l2": 1.0, "dropout=0.5": 3.0, "dropout=0.7": 1e4}


def rows(n: int = 6, spreads: dict[str, float] = SPREADS) -> list[Row]:
    draw = np.random.default_rng(0).normal(0, 1, (len(spreads), n)) / 100
    return [
        Row(name, seed, 1, 0.5, 0.5 + spread * noise[seed] / 10, 0.5, spread * noise[seed], f"{name}-{seed}")
        for noise, (name, spread) in zip(draw, spreads.items(), strict=True)
        for seed in range(n)
    ]


def planned(folder: Path, made: Sequence[Row], effect: float = 0.5, variants: str = "") -> dict[str, list[str]]:
    """Plan with two jobs, and return the cells of each variant."""
    write_study(folder, made, made[0].variant, Context())
    text = seeds.plan_seeds(folder, effect, variants.split(",") if variants else None, 2)
    return {
        cells[0]: cells[1:]
        for cells in (re.findall(r"[^|]+", line) for line in re.sub(" *[|] *", "|", text).split("\n")[4:-2])
    }


def test_the_seeds_of_each_measure_and_the_time_of_what_is_missing(tmp_path: Path) -> None:
    timed = [
        replace(row, machine=f"another; {HERE}", seconds=60.0 if row.variant == "none" else 90.0) for row in rows()
    ]
    found = planned(tmp_path, timed)
    points = [100 * row.generalization_gap for row in timed if row.variant == "l2"]
    gap, accuracy = (seeds_needed(scaled, 0.5, 0.05 / 3) for scaled in (points, [one / 10 for one in points]))
    assert gap is not None
    assert found["l2"] == ["6", str(gap), str(accuracy), str(gap - 6), f"{(gap - 6) * 150 / 2 / 60:,.0f} min"]
    assert found["dropout=0.7"] == ["6", *["more than 10,000"] * 3]
    assert planned(tmp_path, timed, variants="none,l2")["l2"][1] == str(seeds_needed(points, 0.5, 0.05))
    assert list(planned(tmp_path, timed, variants="l2,dropout")) == ["dropout=0.5", "dropout=0.7"]  # a whole sweep
    assert planned(tmp_path, timed, 99.0)["l2"][2:] == ["3", "0", "0 min"]


@pytest.mark.parametrize("machine", ["another; Alpha 21264; 1 cores", Row.machine])
def test_times_of_other_hardware_tell_nothing_here(tmp_path: Path, machine: str) -> None:
    write_study(tmp_path, [replace(row, machine=machine, seconds=60.0) for row in rows()], "none", Context())
    text = seeds.plan_seeds(tmp_path, 0.5, None, None)
    assert " min" not in text
    assert text.splitlines()[-1].startswith("How long these take here is unknown: ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--plan", "0"], "--plan must be above 0 and below 100 points; received 0"),
        (["--plan=-1"], "received -1"),
        (["--plan", "nan"], "received nan"),
        (["--plan", "200"], "received 200"),
        (["--plan", "0.5", "--jobs", "0"], "jobs must be at least 1; received 0"),
        (["--plan", "0.5", "--name", "other"], "reports/study-other must be the report of a study; received no"),
        (["--plan", "0.5", "--name", "../x"], "name must be of lower-case letters"),
        (["--plan", "0.5", "--variants", "none,mad"], "--variants must be of this study: none, l2, dropout=0.5, "),
        (["--plan", "0.5", "--variants", "none"], "at least 3 seeds in common with its baseline; received none"),
        (["--plan", "0.5", "--name", "one"], "at least 3 seeds in common with its baseline; received none"),
        (["--report", "--name", "other"], "reports/study-other must be the report of a study; received no study.jsonl"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("reports/study", "reports/study-one"):
        Path(folder).mkdir(parents=True)
    write_study(Path("reports/study"), rows(3), "none", Context())
    write_study(Path("reports/study-one"), rows(1), "none", Context())
    assert study_page.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert says in line


def test_neither_a_plan_nor_a_report_imports_prefect_or_needs_a_repository(tmp_path: Path) -> None:
    (tmp_path / "reports/study").mkdir(parents=True)
    write_study(tmp_path / "reports/study", rows(3), "none", Context())
    code = (
        "import sys; from flows.study.__main__ import main; assert main(['--plan=2']) == main(['--report']) == 0; "
        "assert not {'prefect', 'tensorflow', 'dvc'} & sys.modules.keys()"
    )
    there = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=there, check=True, capture_output=True)


def test_a_study_whose_variants_share_no_seed_is_refused(tmp_path: Path) -> None:
    write_study(tmp_path, [row for row in rows() if (row.variant == "none") == (row.seed < 3)], "none", Context())
    with pytest.raises(ParameterError, match="at least 3 seeds in common"):
        seeds.plan_seeds(tmp_path, 0.5, None, None)
