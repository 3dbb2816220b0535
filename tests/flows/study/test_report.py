"""The study's tables and sentences: every number against SciPy."""

import csv
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from flows.study.effects import analyse, describe
from flows.study.host_report import write_hosts
from flows.study.kept import Context, read_study, write_study
from flows.study.report import POWER_NOTE, write_again, write_report
from flows.study.results import Row
from tasks.metrics.significance import could_have_seen, excluded
from tasks.params import ParameterError
from tests.support import ROOT
from tests.support.reports import Page

GAPS = {
    "none": [0.20, 0.22, 0.19, 0.21, 0.23],
    "dropout": [0.12, 0.15, 0.11, 0.12, 0.16],
    "l2": [0.20, 0.21, 0.20, 0.20, 0.24],
    "wide": [0.28, 0.30, 0.27, 0.27, 0.33],
    "steady": [0.20, 0.23, 0.19, 0.20, 0.23],
}
ACCURACIES = {
    "none": [0.60, 0.61, 0.59, 0.60, 0.62],
    "dropout": [0.63, 0.635, 0.62, 0.632, 0.65],
    "l2": [0.601, 0.612, 0.588, 0.598, 0.621],
    "wide": [0.57, 0.585, 0.56, 0.573, 0.592],
    "steady": [0.65, 0.66, 0.64, 0.652, 0.67],
}


def rows(seeds: int = 5, variants: tuple[str, ...] = ("none", "dropout", "l2", "wide")) -> list[Row]:
    return [
        Row(name, seed, 3, gap + accuracy, accuracy, accuracy - 0.01, gap, "e", (0.1, 0.2, gap), (0.4, 0.5, accuracy))
        for name in variants
        for seed, (gap, accuracy) in enumerate(list(zip(GAPS[name], ACCURACIES[name], strict=True))[:seeds])
    ]  # fmt: skip


def test_every_number_is_scipys() -> None:
    found = analyse(rows(), "none")
    p_values = []
    for name in ("dropout", "l2", "wide"):
        test = stats.ttest_rel(GAPS[name], GAPS["none"])
        interval = test.confidence_interval(0.95)
        effect = found["generalization_gap"][name]
        assert effect.difference is not None
        expected = (100 * np.mean(np.subtract(GAPS[name], GAPS["none"])), 100 * interval.low, 100 * interval.high)
        assert (effect.difference.mean, effect.difference.low, effect.difference.high) == pytest.approx(expected)
        p_values.append(test.pvalue)
    order = np.argsort(p_values)
    corrected = np.maximum.accumulate(np.array(p_values)[order] * [3, 2, 1]).clip(max=1)
    shown = [found["generalization_gap"][("dropout", "l2", "wide")[n]].p for n in order]
    assert shown == pytest.approx(corrected.tolist())
    assert found["generalization_gap"]["none"].difference is None


@pytest.mark.parametrize("missing", [0, 2])
def test_runs_are_paired_by_seed_in_any_order(missing: int) -> None:
    gaps = analyse([row for row in rows() if (row.variant, row.seed) != ("none", missing)][::-1], "none")[
        "generalization_gap"
    ]
    kept = {0, 1, 2, 3, 4} - {missing}
    difference = gaps["dropout"].difference
    assert difference is not None
    assert (difference.n, gaps["dropout"].value.n) == (4, 5)
    assert difference.mean == pytest.approx(100 * np.mean([GAPS["dropout"][n] - GAPS["none"][n] for n in kept]))
    assert gaps["none"].difference is None


@pytest.mark.parametrize(
    ("variant", "seeds", "says"),
    [
        ("dropout", 5, "It narrows the gap and gains validation accuracy."),
        ("l2", 5, "No effect on the gap is told from 0; one above 1.2 points is excluded. "
         "No effect on validation accuracy is told from 0; one above 0.2 points is excluded."),
        ("wide", 5, "It widens the gap and loses validation accuracy."),
        ("steady", 5, "It gains validation accuracy. No effect on the gap is told from 0; one above 0.9 points is "
         "excluded."),
        ("dropout", 1, "Too few seeds to tell."),
    ],
)  # fmt: skip
def test_a_sentence_says_what_was_found_with_n_and_intervals(variant: str, seeds: int, says: str) -> None:
    text = describe(analyse(rows(seeds, tuple(GAPS)), "none"), variant, "dropout 0.5")
    assert text.startswith(f"{variant} (dropout 0.5): gap ")
    assert text.endswith(says)
    assert f"n = {seeds}" in text
    assert bool(re.search(r"gap [+−]?\d+\.\d points \[[+−]?\d+\.\d, [+−]\d+\.\d\]", text)) == (seeds > 1)


def test_a_variant_that_changes_nothing_does_not_lack_seeds() -> None:
    """As a sweep's first strength often is the baseline under another name."""
    again = [replace(row, variant="l2=0.0") for row in rows(5, ("none",))]
    text = describe(analyse([*rows(5, ("none",)), *again], "none"), "l2=0.0")
    assert text.endswith(
        "gap 0.0 points [0.0, 0.0], validation accuracy 0.0 [0.0, 0.0], n = 5. "
        "No effect on the gap is told from 0. No effect on validation accuracy is told from 0."
    )


def test_every_run_is_a_row_or_a_named_failure_and_test_accuracy_stands_last(tmp_path: Path) -> None:
    context = Context(failures={"mad-seed0-1234": "weights must stay <finite>"})
    text = write_report(tmp_path, rows(), "none", context)
    with (tmp_path / "study.csv").open() as file:
        written = list(csv.DictReader(file))
    assert len(written) == 20
    assert list(written[0]) == [
        "variant", "seed", "epochs", "train_accuracy", "validation_accuracy", "test_accuracy", "generalization_gap",
        "experiment",
    ]  # fmt: skip
    assert (tmp_path / "study.md").read_text().endswith(text + "\n")
    assert text.index("Test accuracy, which decided nothing") > text.index("Holm's method")
    page = Page((tmp_path / "study.html").read_text())
    line = "mad-seed0-1234 failed, and is not in these tables: weights must stay <finite>"
    assert f"- {line}" in text
    assert line in page.words
    assert "−7.8 points" in page.words
    assert [row[0] for row in page.tables[0][1:]] == ["none", "dropout", "l2", "wide"]
    assert page.tables[1][0][2:] == [
        "gap: could have seen",
        "excluded",
        "validation accuracy: could have seen",
        "excluded",
    ]
    assert [row[0] for row in page.tables[1][1:]] == ["dropout", "l2", "wide"]
    assert POWER_NOTE in text
    assert len((tmp_path / "study.html").read_text().split("<svg")) == 3


def test_sweeps_over_images_say_which_variant_to_choose(tmp_path: Path) -> None:
    """The errors fall by a fifth for four times the images."""
    accuracies = {"scratch=100": 0.3, "probe=100": 0.5, "scratch=400": 0.5984, "probe=400": 0.6}
    made = [
        Row(variant, seed, 1, 0.9, accuracy + noise, 0.5, 0.1, "x", (0.1,), (accuracy,), seconds=seconds)
        for variant, accuracy in accuracies.items()
        for seconds in (12.0 if "probe" in variant else None,)
        for seed, noise in enumerate((0.0, 0.01, -0.013) if "probe" in variant else (0.002, 0.008, -0.01))
    ]
    text = write_report(
        tmp_path, made, "scratch=100", Context(swept=dict.fromkeys(accuracies, "normalize.train_images"))
    )
    assert "- With 100 images choose probe: validation accuracy 49.9 [" in text
    faster = "so choose what trains faster (probe 12 s, scratch time not recorded): "
    assert f"- With 400 images probe is not told from scratch, {faster}" in text
    assert "From 100 to 400 images the error of the best falls from 50.1 to 40.1 %." in text
    assert "800 images would bring it to 35.9 %: 4.2 points of accuracy for twice the images." in text
    drawn = (tmp_path / "sweep-normalize.train_images.svg").read_text()
    assert all(label in drawn for label in ("probe", "scratch", "gap (points)"))
    assert "sweep-normalize.train_images" in (tmp_path / "study.html").read_text()


def test_two_seeds_give_no_share_beyond_its_ends_and_a_single_point_no_plot(tmp_path: Path) -> None:
    made = [
        Row(name, seed, 1, 0.9, accuracy, accuracy, 0.9 - accuracy, "x", (0.1,), (accuracy,))
        for name, both in {"none": (0.5, 0.75), "probe=64": (0.6, 0.9)}.items()
        for seed, accuracy in enumerate(both)
    ]
    context = Context(question="What is asked?", swept={"probe=64": "normalize.train_images"})
    text = write_report(tmp_path, made, "none", context)
    assert "| 62.5 [0.0, 100.0] " in text
    assert "| −12.5 [−44.3, +19.3] " in text  # which ends nowhere
    assert "- Two seeds tell little: " in text
    assert "<h1>What is asked?</h1>" in (tmp_path / "study.html").read_text()
    assert not list(tmp_path.glob("sweep-*"))


def test_the_best_two_of_a_number_of_images_may_have_no_seed_in_common(tmp_path: Path) -> None:
    seeds = {"scratch=100": (0, 1), "probe=100": (2, 3)}  # the other runs failed
    made = [Row(variant, seed, 1, 0.9, 0.5 + seed / 100, 0.5, 0.1, "x") for variant in seeds for seed in seeds[variant]]
    text = write_report(tmp_path, made, "scratch=100", Context(swept=dict.fromkeys(seeds, "normalize.train_images")))
    (line,) = re.findall("^- With 100 images .*", text, re.MULTILINE)
    assert re.search(r"probe is not told from scratch, .*: validation accuracy 52\.5 \[[^]]+\] %\.$", line)
    assert "nan" not in text
    assert "Learning curves" not in (tmp_path / "study.html").read_text()  # as none are known


def test_a_study_without_its_baseline_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="a study needs a finished run of its baseline, none"):
        write_report(tmp_path, [row for row in rows() if row.variant != "none"], "none")


def test_bounds_are_of_the_level_in_use_and_the_summary_has_all_numbers(tmp_path: Path) -> None:
    write_report(tmp_path, rows(), "none")
    with (tmp_path / "summary.csv").open() as file:
        written = {(row["variant"], row["measure"]): row for row in csv.DictReader(file)}
    assert len(written) == 4 * 3
    for variant in ("dropout", "l2", "wide"):
        found = written[variant, "generalization_gap"]
        points = (100 * np.subtract(GAPS[variant], GAPS["none"])).tolist()
        assert float(found["difference"]) == pytest.approx(np.mean(points), rel=1e-5)
        assert float(found["could_have_seen"]) == pytest.approx(could_have_seen(points, 0.05 / 3), rel=1e-5)
        assert float(found["excluded"]) == pytest.approx(excluded(points), rel=1e-5)
    assert written["none", "generalization_gap"]["difference"] == ""
    assert written["l2", "test_accuracy"]["could_have_seen"] == written["l2", "test_accuracy"]["p"] == ""


def test_a_report_is_written_again_from_its_own_folder_byte_for_byte(tmp_path: Path) -> None:
    made = [replace(row, machine=f"m{row.seed % 2}; EPYC; 2 cores", seconds=3.5, experiment=f"{row.variant}-{row.seed}",
                    gaps=[*row.gaps], validation_accuracies=[*row.validation_accuracies])
            for row in rows()]  # fmt: skip
    context = Context("Is it?", {"train.epochs": 3}, {"l2-seed9-1": "<lost>"}, {"l2": "l2 0.1"}, {"l2": "x.y"})
    text = write_report(tmp_path, made, "none", context)
    write_hosts(tmp_path, made)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert read_study(tmp_path) == (made, "none", context)
    assert write_again(tmp_path) == text
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first


@pytest.mark.parametrize(
    "content",
    ["", "<<<<<<< HEAD", "[]", "{first}", "\xff", '{first}\n{{"colour": 1}}', "{{}}\n{run}", '{{"cause": 1}}\n{run}'],
)
def test_a_damaged_study_is_an_error_in_one_line(tmp_path: Path, content: str) -> None:
    write_study(tmp_path, rows(), "none", Context())
    first, run, *_ = (tmp_path / "study.jsonl").read_text().splitlines()
    (tmp_path / "study.jsonl").write_text(content.format(first=first, run=run), encoding="latin-1")
    with pytest.raises(ParameterError, match=r"study\.jsonl must be as a study wrote it; received .*Error: "):
        write_again(tmp_path)


def test_a_study_is_judged_by_the_headline_and_its_curves_say_that_they_are_of_accuracy(tmp_path: Path) -> None:
    made = [replace(row, score="balanced_accuracy") for row in rows()]
    text = write_report(tmp_path, made, "none")
    with (tmp_path / "study.csv").open() as file:
        header = next(csv.reader(file))
    assert header[3:6] == ["train_balanced_accuracy", "validation_balanced_accuracy", "test_balanced_accuracy"]
    page = Page((tmp_path / "study.html").read_text())
    for said in (
        "It narrows the gap and gains validation balanced accuracy.",
        "Test balanced accuracy, which decided nothing",
    ):
        assert said in text
        assert said in page.words
    assert "validation balanced accuracy: difference (points)" in (tmp_path / "effects.svg").read_text()
    assert "validation accuracy (%)" in (tmp_path / "curves.svg").read_text()
    assert "of accuracy, as no other score is recorded by epoch" in page.words
    assert not re.search("(validation|test) accuracy", text)
    assert text == write_again(tmp_path)
    write_hosts(tmp_path, [replace(row, machine=f"m{(row.seed + len(row.variant)) % 2}") for row in made])
    assert "- validation balanced accuracy: " in (tmp_path / "machines.md").read_text()


def test_the_committed_reports_are_what_their_rows_give(tmp_path: Path) -> None:
    """Their learning curves and machines are not kept: the curves stay as drawn, and no machines are named."""
    for name in ("study", "study-few"):
        committed = ROOT / "reports" / name
        shutil.copytree(committed, tmp_path / name)
        write_again(tmp_path / name)
        assert not (tmp_path / name / "machines.md").exists()
        assert (tmp_path / name / "curves.svg").read_bytes() == (committed / "curves.svg").read_bytes()
        for path in (path for path in committed.iterdir() if path.suffix != ".svg"):
            assert (tmp_path / name / path.name).read_text() == path.read_text(), path
