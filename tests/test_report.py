"""Stage report on predictions that no model made."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tasks.data import arrays
from tasks.data.arrays import Finding, write_findings
from tasks.errors import RefusedError
from tasks.metrics.predictions import Predictions, write_predictions
from tasks.report import report
from tests.support import ROOT
from tests.support.arrays import DATA, DETAILS, HISTORY, MODEL, NAMES, PAGE, PREDICTIONS, REPORTED, SIZES, write_arrays
from tests.support.damage import flip_a_byte
from tests.support.reports import Page, history

pytestmark = pytest.mark.usefixtures("evaluated")


@pytest.fixture
def evaluated(workplace: Path) -> Path:
    """Make arrays, predictions, a history, and a file instead of a model."""
    write_arrays(workplace / DATA, **SIZES)
    rng = np.random.default_rng(0)
    y_true = {split: arrays.load_split(DATA, split, len(NAMES))[1] for split in SIZES}
    y_prob = {split: rng.dirichlet(np.ones(4) + np.eye(4)[0], len(labels)) for split, labels in y_true.items()}
    MODEL.parent.mkdir()
    MODEL.write_bytes(b"weights")
    HISTORY.parent.mkdir()
    write_predictions(PREDICTIONS, Predictions(y_true["test"], y_prob, NAMES, "digest of the images", 1234))
    rows = history()
    with HISTORY.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return workplace


def run() -> str:
    """Report, and return the page."""
    report(normalized=DATA, model_path=MODEL, **REPORTED)
    return PAGE.read_text()


def test_the_report_loads_no_backend_and_its_bytes_are_always_the_same() -> None:
    paths = [
        argument for name, path in {"normalized": DATA, "model": MODEL, **REPORTED}.items()
        for argument in (f"--{name.removesuffix('_path')}", str(path))
    ]  # fmt: skip
    code = (
        "import sys\nfrom tasks.report import report\nfrom tasks.run.command_line import parse_paths\n"
        "report(**parse_paths(report, sys.argv[1:]))\n"
        "print({'keras', 'tensorflow', 'jax'} & sys.modules.keys())\n"
    )
    command = [sys.executable, "-c", code, *paths]
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    assert subprocess.check_output(command, env=environment, text=True).endswith(f"open {PAGE}\nset()\n")
    outputs = [PAGE, *sorted(DETAILS.iterdir())]
    before = [file.read_bytes() for file in outputs]
    assert "1,234 parameters" in run()
    assert [file.read_bytes() for file in outputs] == before


def test_files_and_findings_reach_the_report() -> None:
    leak = Finding("leak", "test/5.png", "test", "train/9.png", "train", "equal pixels")
    between = Finding("duplicate", "train/1.png", "train", "train/2.png", "train", "equal pixels")
    write_findings(DATA, [leak, between, Finding("cropped", "train/3.png", "train", "", "", "60 % is cut off")])
    page = run()
    with (DETAILS / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with np.load(PREDICTIONS) as saved:
        assert [row["predicted"] for row in rows] == [NAMES[n] for n in saved["probabilities"].argmax(axis=1)]
    assert [row["file"] for row in rows] == [f"test/{n}.png" for n in range(80)]
    assert json.loads((DETAILS / "scores.json").read_text())["leak"]["images"] == {"validation": 0, "test": 1}
    assert "1 test image has a duplicate in training" in page
    assert "train/9.png" in page
    assert "<code>train/3.png</code>: 60 % is cut off" in page


def test_the_terminal_ends_with_baseline_problems_advice_and_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    pair = ("train/1.png", "train", "train/2.png", "train")
    leak = Finding("leak", "test/5.png", "test", "train/9.png", "train", "equal pixels")
    unreadable = Finding("unreadable", "x.png", "", "", "", "truncated")
    kinds = ("duplicate", "duplicate", "conflict")
    write_findings(DATA, [unreadable, leak, *(Finding(kind, *pair, "") for kind in kinds)])
    page = Page(run()).words
    *notes, last = capsys.readouterr().out.splitlines()
    assert last == f"open {PAGE}"
    assert (DETAILS / "notes.txt").read_text().splitlines() == notes
    assert [note in page.replace("\xa0", " ") for note in notes[1:]] == [True] * 4
    assert notes[0].endswith("of 80 test images are classified right.")
    assert notes[1] == 'Always saying "zero" gives 25.0 %, and this model is not clearly better.'
    assert notes[2] == (
        "Found among the pictures: 1 that cannot be read, 2 pairs of duplicates, 1 of these pairs with two labels "
        "(correct them, or set normalize.conflicts to leave_out)."
    )
    assert notes[3].startswith("1 test image has a duplicate in training: without them")
    assert notes[4].startswith("Next: 6 updates in all are too few: set train.batch_size 16")


def test_a_finding_of_a_missing_image_is_one_line() -> None:
    write_findings(DATA, [Finding("leak", "test/5.png", "test", "gone.png", "train", "equal pixels")])
    with pytest.raises(RefusedError, match=r"must name its images; received 'gone.png'; `make doctor` restores it"):
        run()


def test_a_damaged_history_is_one_line() -> None:
    HISTORY.write_bytes(HISTORY.read_bytes()[:-9])
    with pytest.raises(RefusedError, match=r"history.csv must hold a number in each field: .*`make doctor` restores"):
        run()
    assert not PAGE.exists()


@pytest.mark.parametrize("damage", ["flipped", "cut", "earlier version"])
def test_damaged_predictions_are_one_line(damage: str) -> None:
    if damage == "flipped":
        flip_a_byte(PREDICTIONS)
    elif damage == "cut":
        PREDICTIONS.write_bytes(PREDICTIONS.read_bytes()[:-100])
    else:
        with np.load(PREDICTIONS) as saved:
            known = {name: saved[name] for name in ("labels", "probabilities", "classes", "images")}
        np.savez_compressed(PREDICTIONS, **known)
    with pytest.raises(RefusedError, match=r"predictions.npz must hold probabilities of 4 classes for each label: "):
        run()
    assert not PAGE.exists()


def test_predictions_of_other_images_are_refused() -> None:
    y_prob = dict.fromkeys(SIZES, np.full((5, 4), 0.25))
    write_predictions(PREDICTIONS, Predictions(np.zeros(5, int), y_prob, NAMES, "digest", 1))
    with pytest.raises(RefusedError, match=r"each label: received \(5, 4\) for 300 train labels; `make doctor`"):
        run()
