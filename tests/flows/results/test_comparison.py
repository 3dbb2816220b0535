"""The gate on a real repository: verdicts, refusals, lost predictions."""

import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.gate import main
from flows.results.comparison import compare, compare_seeds
from flows.results.over_seeds import score_seed
from flows.results.sides import IncomparableError, Side
from flows.results.verdict import Comparison, Pair
from tasks.metrics.predictions import Predictions
from tasks.params.gate import DEFAULT
from tests.support import two_sides
from tests.support.clone import enter_copy

METRICS, PREDICTIONS = Path("reports/metrics.json"), Path("reports/predictions.npz")
DATASET = Path("reports/dataset.json")
N = 2_000
LABELS = np.arange(N) % 4


def write(wrong: Collection[int] = range(0, 300), **keys: Any) -> None:
    two_sides.write(Path(), wrong, keys.pop("labels", LABELS), **keys)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose only commit has the outputs of `write()`."""
    path = tmp_path_factory.mktemp("gate") / "repository"
    two_sides.begin(path)
    two_sides.write(path, range(0, 300), LABELS)
    two_sides.commit(path)
    return path


@pytest.fixture(autouse=True)
def repository(first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its copy, to work in."""
    return enter_copy(first, tmp_path / "repository", monkeypatch)


def rows(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    status = main(["--base", "HEAD", "--json", *arguments])
    found = json.loads(capsys.readouterr().out)
    assert found["passed"] == (status == 0)
    return status, {row["metric"]: row for row in found["metrics"]}


def test_a_planted_regression_of_three_points_fails_and_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    write(wrong=range(0, 360))
    assert main(["--base", "HEAD"]) == 1
    said = capsys.readouterr()
    assert "| test.accuracy" in said.out
    assert "real" in said.out
    assert said.err == "regression: test accuracy fell by 3.00 points, more than the tolerance of 0\n"
    sentence = compare(Path(), "HEAD").sentence
    assert sentence.startswith("test accuracy fell by 3.00 points, from 85.00 to 82.00 %: real, 95 % interval −")


def test_a_tolerance_lets_a_fall_pass_that_is_no_larger() -> None:
    write(wrong=range(0, 360))
    assert main(["--base", "HEAD", "--tolerance", "3"]) == 0
    assert main(["--base", "HEAD", "--tolerance", "2.9"]) == 1


def test_other_mistakes_of_the_same_number_are_noise(capsys: pytest.CaptureFixture[str]) -> None:
    write(wrong=range(150, 455))  # as another seed would: half of the mistakes are others, five are more
    status, found = rows(capsys)
    assert status == 0
    assert found["test.accuracy"]["verdict"] == "within noise"
    low, high = found["test.accuracy"]["interval"]
    assert low < found["test.accuracy"]["difference"] < high
    assert found["test.accuracy"]["difference"] == pytest.approx(-0.0025)


def test_an_improvement_is_real_and_passes_by_a_paired_interval(capsys: pytest.CaptureFixture[str]) -> None:
    write(wrong=range(0, 280))
    status, found = rows(capsys)
    assert status == 0
    assert {found[f"test.{name}"]["verdict"] for name in ("accuracy", "recall.cat")} == {"real"}
    difference = np.arange(N) < 20
    error = 1.96 * difference.std() / np.sqrt(N)  # an unpaired interval would be four times as wide
    assert found["test.accuracy"]["interval"] == pytest.approx([0.01 - error, 0.01 + error], abs=0.001)


def test_confidence_alone_moves_the_loss_and_not_the_accuracy(capsys: pytest.CaptureFixture[str]) -> None:
    write(confidence=0.97)
    status, found = rows(capsys)
    assert status == 0
    assert found["test.accuracy"]["verdict"] == "equal"
    assert found["test.loss"]["verdict"] == "real"
    assert found["train.accuracy"]["verdict"] == "equal"


def test_the_verdict_follows_the_headline(capsys: pytest.CaptureFixture[str]) -> None:
    labels = np.repeat(np.arange(4), [1900, 50, 25, 25])  # mistakes on a rare class hardly move accuracy
    write(wrong=range(0, 100), headline={"balanced_accuracy": 0.9868}, labels=labels)
    two_sides.commit(Path())
    mistakes = set(range(0, 60)) | set(range(1960, 1980))
    write(wrong=mistakes, headline={"balanced_accuracy": 0.7922}, labels=labels)
    status, found = rows(capsys)
    assert found["test.accuracy"]["difference"] > 0
    assert status == 1
    assert found["test.balanced_accuracy"]["verdict"] == "real"
    assert main(["--base", "HEAD"]) == 1
    assert "regression: test balanced accuracy fell by" in capsys.readouterr().err


def test_a_new_headline_is_judged_from_the_predictions_of_both(
    capsys: pytest.CaptureFixture[str], repository: Path
) -> None:
    write(wrong=range(0, 400), headline={"f1_macro": 0.8})
    METRICS.write_text(json.dumps({**json.loads(METRICS.read_text()), "generalization_gap": 0.1}))
    status, found = rows(capsys)
    assert status == 1
    assert found["test.f1_macro"]["difference"] == pytest.approx(-0.05)
    shutil.rmtree(repository / ".dvc/cache")
    assert main(["--base", "HEAD"]) == 2
    assert "reports/metrics.json of HEAD must hold test.f1_macro, and " in capsys.readouterr().err


def test_of_many_classes_only_real_changes_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    classes = [f"c{n}" for n in range(40)]
    write(classes=classes)
    two_sides.commit(Path())
    write(wrong=range(0, 900), classes=classes)
    _, found = rows(capsys)
    listed = {name: row["verdict"] for name, row in found.items() if name.startswith("test.recall.")}
    assert set(listed.values()) == {"real"}


def name_images(first: int = 0) -> dict[str, Any]:
    """Name the test images by their numbers, of which two are one file."""
    numbers = np.arange(first, first + N, dtype=np.uint64)
    return {"images": str(first), "test_ids": np.where(numbers == 1000, 996, numbers).astype(np.uint64)}


def test_other_test_images_are_compared_where_both_sides_hold_them(capsys: pytest.CaptureFixture[str]) -> None:
    write(**name_images())
    two_sides.commit(Path())
    labels = np.arange(400, 400 + N) % 4
    labels[-1600] = (labels[-1600] + 1) % 4  # of an image that both hold
    write(wrong={*range(0, 40), *range(1700, 2000)}, labels=labels, **name_images(400))
    assert main(["--base", "HEAD"]) == 1
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == (
        "compared on 1,600 of the 2,000 test images here, those that HEAD holds, too; the table has the labels here: 1 "
        "test label differs; by each side's own labels accuracy moved by −2.50 points: +0.00 [+0.00, +0.00] by the "
        "labels, −2.50 [−3.31, −1.75] by the model; scores of training and validation images are left out, as these "
        "differ, too"
    )
    assert "train.accuracy" not in said.out
    _, found = rows(capsys)
    assert found["test.accuracy"]["base"] == 1 - 1 / 1600  # of the shared ones, all but the corrected label
    assert found["test.accuracy"]["here"] == 1 - 40 / 1600


def test_identical_files_of_two_labels_are_paired_by_their_labels(capsys: pytest.CaptureFixture[str]) -> None:
    ids = np.arange(N, dtype=np.uint64)
    ids[1] = ids[0]  # one file twice, with labels 0 and 1
    write(test_ids=ids)
    two_sides.commit(Path())
    write(labels=LABELS[::-1].copy(), test_ids=ids[::-1].copy(), images="b2")
    assert main(["--base", "HEAD"]) == 0
    assert "compared on 2,000 of the 2,000 test images here, those that HEAD holds, too; scores of" in (
        capsys.readouterr().out
    )


def test_results_of_other_parameters_are_refused_here_and_named_at_a_commit(capsys: pytest.CaptureFixture[str]) -> None:
    params = Path("params.yaml")
    params.write_text(params.read_text().replace("filters: 8", "filters: 9"))
    assert main(["--base", "HEAD"]) == 2
    says = "error: the results here must be of params.yaml; received model.filters 8 → 9 since; run `dvc repro`\n"
    assert capsys.readouterr().err == says
    two_sides.commit_to_git(Path(), "--all")  # without a run
    assert main(["--base", "HEAD~1", "--here", "HEAD"]) == 0
    assert "the results of HEAD are of other parameters: model.filters 8 → 9" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("level", "status", "says"),
    [("off", 0, ""), ("warn", 0, "warning: more copies have two labels: 2 → 3"), ("fail", 1, "more copies have two")],
)
def test_worse_data_warn_or_fail_as_params_yaml_says(
    capsys: pytest.CaptureFixture[str], level: str, status: int, says: str
) -> None:
    levels = dict.fromkeys(("leaks", "conflicts", "unreadable", "smallest_class"), level)
    with Path("params.yaml").open("a") as file:
        file.write(f"gate: {json.dumps({'tolerance': 0.0, **levels})}\n")
    counts = {"leaks": {"test": 1}, "conflicts": 2, "unreadable": 0, "smallest_class": 9}
    DATASET.write_text(json.dumps(counts))
    two_sides.commit(Path())
    DATASET.write_text(json.dumps({**counts, "conflicts": 3, "smallest_class": 10}))
    assert main(["--base", "HEAD", "--markdown"]) == status
    said = capsys.readouterr()
    assert said.out.startswith(
        f"## The gate {'fails' if status else 'passes'}\n\nTest accuracy is 85.00 % on both sides"
    )
    assert says in said.out
    assert (says in said.err) == (status == 1 or not says)
    assert ("conflicts" in said.out.split("<details>")[0].split("What changed")[0]) == (level != "off")


@pytest.mark.parametrize(
    ("before", "now", "says"),
    [
        ({}, name_images(400), "others at HEAD, whose predictions do not name them"),
        ({}, {"labels": (LABELS + 1) % 4}, "others at HEAD, whose predictions do not name them"),
        (name_images(), name_images(N - 5), "others at HEAD; fewer than 6 are on both sides: 5 of the 2,000"),
        ({}, {"images": "b2", "classes": [*"abcd"]}, "other classes at HEAD"),
    ],
)
def test_without_shared_images_there_is_nothing_to_compare(
    capsys: pytest.CaptureFixture[str], before: dict[str, Any], now: dict[str, Any], says: str
) -> None:
    if before:
        write(**before)
        two_sides.commit(Path())
    write(**now)
    assert main(["--base", "HEAD"]) == 2
    assert f"both sides must be scored on the same test images; received {says}" in capsys.readouterr().err


def test_without_old_predictions_metrics_are_compared_alone(
    capsys: pytest.CaptureFixture[str], repository: Path
) -> None:
    shutil.rmtree(repository / ".dvc/cache")
    write(wrong=range(0, 360))
    assert main(["--base", "HEAD"]) == 1
    said = capsys.readouterr()
    assert (
        "metrics alone, without intervals: reports/predictions.npz of HEAD is in neither git nor DVC's cache"
        in said.out
    )
    assert "git checkout HEAD && dvc repro" in said.out
    assert "whether that is noise is unknown" in said.err
    write()
    assert main(["--base", "HEAD"]) == 0
    capsys.readouterr()
    DATASET.write_text('{"test_set_digest": 123457}')
    assert main(["--base", "HEAD"]) == 2
    assert "received others at HEAD, and reports/predictions.npz of HEAD is" in capsys.readouterr().err


def test_a_side_that_was_made_elsewhere_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "flows.results.comparison.made_elsewhere", lambda root, commit=None: "made in bfloat16" if commit else ""
    )
    assert main(["--base", "HEAD"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "HEAD: made in bfloat16"
    assert main(["--base", "HEAD", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["notes"] == ["HEAD: made in bfloat16"]


def test_predictions_of_an_older_format_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    write(classes=None)
    two_sides.commit(Path())
    write()
    assert main(["--base", "HEAD"]) == 0
    assert "the predictions of HEAD cannot be read: 'classes is not a file" in capsys.readouterr().out


@pytest.mark.parametrize("at", [0.02, 0.5, 0.98])  # a header, the numbers, the directory
def test_damaged_predictions_are_named(capsys: pytest.CaptureFixture[str], at: float) -> None:
    content = bytearray(PREDICTIONS.read_bytes())
    place = int(at * len(content))
    content[place : place + 20] = bytes(20)
    PREDICTIONS.write_bytes(content)
    assert main(["--base", "HEAD"]) == 2
    assert "error: the predictions of this workspace cannot be read: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("base", "missing", "says"),
    [
        ("", None, "--base must be a commit of this repository; received nothing"),
        ("nowhere", None, "--base must be a commit of this repository; received nowhere"),
        ("HEAD", METRICS, "reports/metrics.json must exist in this workspace; run `dvc repro` first"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    capsys: pytest.CaptureFixture[str], base: str, missing: Path | None, says: str
) -> None:
    if missing:
        missing.unlink()
    assert main(["--base", base]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {says}")


@pytest.mark.parametrize("tolerance", ["nan", "-1", "inf"])
def test_a_tolerance_that_makes_no_sense_is_refused(capsys: pytest.CaptureFixture[str], tolerance: str) -> None:
    assert main(["--base", "HEAD", "--tolerance", tolerance]) == 2
    assert "--tolerance must lie between 0 and 100 points" in capsys.readouterr().err


def test_metrics_and_predictions_of_two_runs_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    scores = METRICS.read_text()
    write(wrong=range(0, 100))
    METRICS.write_text(scores)
    assert main(["--base", "HEAD"]) == 2
    assert "must be of one run; received accuracies of 0.8500 and 0.9500" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["<<<<<<< HEAD", "[1]", '{"test": 3}'])
def test_damaged_metrics_are_one_line_and_no_regression(capsys: pytest.CaptureFixture[str], damage: str) -> None:
    METRICS.write_text(damage)
    assert main(["--base", "HEAD"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: reports/metrics.json must hold ")


def kept(**written: Any) -> str:
    write(**written)
    return two_sides.commit_to_git(Path(), "--force", "reports")


def over_seeds(*runs: tuple[str, str]) -> Comparison:
    return compare_seeds(Path(), Side(Path(), "main"), Side(Path(), "here"), runs, DEFAULT)


def test_a_fall_of_every_seed_fails_and_one_of_a_single_seed_is_noise(capsys: pytest.CaptureFixture[str]) -> None:
    usual = [kept(wrong=range(start, start + 300)) for start in (0, 300, 600)]
    lucky, worse = kept(wrong=range(0, 240)), [kept(wrong=range(start, start + 370)) for start in (0, 305, 610)]
    assert main(["--base", lucky, "--here", usual[0]]) == 1  # images alone tell these two apart
    runs = [(lucky, usual[0]), (usual[1], usual[2]), (usual[2], usual[1])]
    noise = over_seeds(*runs)
    assert noise.primary.verdict == "within noise"
    assert noise.primary.change == pytest.approx(-0.01)
    assert not noise.failures
    (note,) = noise.notes
    assert note.startswith("means over 3 seeds, with which both sides were run anew, on 2,000 test images in all; ")
    found = over_seeds(*zip(usual, worse, strict=True))
    (failure,) = found.failures
    assert failure.startswith("regression: test accuracy fell by 3.50 points, more than the tolerance of 0")
    assert {row.metric for row in found.differences} >= {
        "train.accuracy",
        "test.loss",
        "test.f1_macro",
        "test.recall.cat",
    }
    assert found.pair is not None
    assert found.pair.here.images == "a1"
    assert (found.base.name, found.here.name) == ("main", "here")


def test_a_seed_that_draws_another_test_set_is_paired_within_itself() -> None:
    runs = [
        (kept(wrong=range(0, 100), **name_images(first)), kept(wrong=range(0, 100 + more), **name_images(first)))
        for first, more in ((0, 100), (1000, 110))
    ]
    found = over_seeds(*runs)
    assert found.primary.change == pytest.approx(-0.0525)
    assert "on 3,000 test images" not in found.notes[0]  # two of the first set are one file
    assert "on 2,999 test images" in found.notes[0]


def test_seeds_whose_sides_share_some_test_images_are_compared_on_those() -> None:
    before, now = kept(wrong=range(0, 50), **name_images()), kept(wrong=range(0, 300), **name_images(400))
    found = over_seeds((before, now), (before, now))
    assert found.notes[1].startswith("seed 0: compared on 1,600 of the 2,000 test images here")
    assert not [row for row in found.differences if row.metric.startswith("train.")]
    few = kept(**name_images(N - 5))
    with pytest.raises(
        IncomparableError, match=r"run 2 of 2: both sides must be scored on .* fewer than 6 are on both"
    ):
        over_seeds((before, now), (before, few))


def test_one_seed_is_refused() -> None:
    with pytest.raises(IncomparableError, match="over seeds must have two or more; received 1"):
        over_seeds(("HEAD", "HEAD"))


def test_images_without_ids_are_one_in_test_sets_of_one_digest() -> None:
    def pair(images: str, *ids: int) -> Pair:
        y_prob = {"test": np.eye(4)[[0, 1, 1]]}
        named = Predictions(np.zeros(3, int), y_prob, [*"abcd"], images, 0, np.array(ids, np.uint64))
        return Pair(named, named, np.arange(3))

    pairs = pair("a"), pair("a"), pair("b"), pair("c", 7, 1, 7), pair("d", 1, 2, 3)
    first, again, other, named, more = (score_seed(one)["test.accuracy"].images for one in pairs)
    assert first.tolist() == again.tolist()
    assert not set(first) & {*other, *named, *more}
    assert named[0] == named[2]
    assert set(named) & set(more) == {named[1]}


@pytest.mark.parametrize(
    ("counts", "says"),
    [
        ({"train": 9_000, "test": 10_000}, "trained on 9,000 images: another seed may move the scores by more"),
        ({"train": 200, "test": 400}, "400 test images show only large differences; with `--seeds 5`"),
        ({"train": 45_000, "test": 10_000}, ""),
    ],
)
def test_seeds_are_advised_where_few_images_train_or_test(
    capsys: pytest.CaptureFixture[str], counts: dict[str, int], says: str
) -> None:
    DATASET.write_text(json.dumps(counts))
    assert main(["--base", "HEAD", "--json"]) == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    assert len(notes) == bool(says)
    assert all(note.startswith(says) for note in notes)
