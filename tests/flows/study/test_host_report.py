"""Which machine made which run, and the test of whether machines differ."""

import random
import re
from dataclasses import replace
from pathlib import Path

from flows.repo.git import git
from flows.study.host_report import write_hosts
from flows.study.results import Row, read_trailer
from tests.support.clone import IDENTITY

ROW = Row("none", 0, 2, 0.9, 0.7, 0.6, 0.2, "none-seed0-1", (0.2,), (0.7,))


def test_the_machine_of_an_experiment_is_its_commits_trailer(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    for message, machine in {"a\n\nMachine: m1; EPYC; 2 cores\nOther: 1": "m1; EPYC; 2 cores", "b": ""}.items():
        git(tmp_path, *IDENTITY, "commit", "--quiet", "--allow-empty", "--message", message)
        assert read_trailer(tmp_path, "HEAD", "Machine") == machine


def test_machines_that_differ_are_called_so_and_machines_that_do_not_are_not(tmp_path: Path) -> None:
    draw = random.Random(1)
    rows = [
        replace(ROW, variant=variant, seed=seed, experiment=f"{variant}-{seed}",
                generalization_gap=0.2 + 0.1 * (variant == "l2") + 0.01 * seed + draw.gauss(0, 0.002),
                validation=0.7 + draw.gauss(0, 0.002))
        for variant in ("none", "l2") for seed in range(6)
    ]  # fmt: skip
    numbers = [(row.seed + (row.variant == "l2")) % 2 for row in rows]
    shifted = [
        replace(row, validation=row.validation + 0.02 * number, machine=f"m{number}")
        for row, number in zip(rows, numbers, strict=True)
    ]
    write_hosts(tmp_path, shifted)
    text = re.sub(" +", " ", (tmp_path / "machines.md").read_text())
    assert "| m0 | 6 |" in text
    assert "- gap: a difference is not told from noise, p = " in text
    assert "- validation accuracy: machines differ, p = 0.000" in text
    assert "| l2 | 3 | l2-3 | m0 |" in text
    write_hosts(tmp_path, rows)
    assert "One machine made all runs." in (tmp_path / "machines.md").read_text()
