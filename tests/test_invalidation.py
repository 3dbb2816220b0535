"""Which edit reruns which stage, by the real DVC."""

import json
import re
from pathlib import Path

import pytest

from flows.results.comparison import compare
from tasks.data import arrays
from tasks.datasets.corrections import Correction, write_corrections
from tasks.params import parse
from tests.support import ROOT
from tests.support.clone import Clone, assert_nothing_is_stale
from tests.support.edits import Edit, added, both, replaced, substitute
from tests.support.own_images import FLOWERS, photo, write_files

ALL = ["download", "normalize", "train", "evaluate", "export", "report", "describe"]

SLOW = pytest.mark.slow  # another training


def params(**changes: object) -> Edit:
    return lambda clone: clone.edit(**changes)


def comment(path: str) -> Edit:
    """Add a comment to a source file."""
    return added(path, "\n# changed\n")


def add_mirror(clone: Clone) -> None:
    clone.edit(download__sources=[{"url": "https://example.org/cifar.tar.gz"}, {"url": "https://example.net/c.tgz"}])


def test_the_first_run_makes_everything_and_the_second_nothing(clone: Clone) -> None:
    assert re.findall(r"^Running stage '(\w+)'", clone.first_run, re.MULTILINE) == ALL
    assert_nothing_is_stale(clone)
    assert clone.run("git", "status", "--porcelain") == ""
    scores = json.loads((clone.path / "reports/metrics.json").read_text())
    assert set(scores) == {"train", "validation", "test", "generalization_gap", "f1"}
    comparison = compare(clone.path, "HEAD")  # of real predictions with themselves
    assert {row.verdict for row in comparison.differences} == {"equal"}
    assert [note.partition(":")[0] for note in comparison.notes] == ["trained on 1,000 images"]


def notes_beside_the_code(clone: Clone) -> None:
    """Leave what editors and Python leave in a folder of code."""
    folder = clone.path / "tasks/training"
    (folder / "__pycache__").mkdir(exist_ok=True)
    for name in (".loop.py.swp", ".DS_Store", "notes.md", "loop.py.orig", "__pycache__/loop.cpython-311.pyc"):
        (folder / name).write_bytes(b"\0")


def judge(action: str) -> Edit:
    """Judge the label of a training image."""

    def write_line(clone: Clone) -> None:
        normalized = clone.path / "data/normalized"
        names, image = arrays.class_names(normalized), arrays.image_digests(normalized, "train")[0]
        was = arrays.load_split(normalized, "train", len(names))[1][0]
        label = names[was if action == "right" else (was + 1) % len(names)]
        line = Correction(image, "an image", names[was], label, action, "me", "2026-12-01")
        write_corrections(clone.path / "data/corrections.csv", [line])

    return write_line


# Each edit comes on top of those before it.
@pytest.mark.parametrize(
    ("edit", "stages"),
    [
        pytest.param(
            both(
                add_mirror,
                params(study__seeds=3, **{"study__base__train.epochs": 3}),
                *map(comment, ("flows/results/summary.py", "tasks/download.py", "tasks/run/outputs.py")),
                notes_beside_the_code,
            ),
            [],
            id="what decides no result",
        ),
        pytest.param(comment("tasks/reporting/figures.py"), ["report"], id="a figure"),
        pytest.param(params(evaluate__batch_size=1000), ["evaluate", "report"], id="an evaluate option", marks=SLOW),
        pytest.param(params(regularize__l2=0.01), ALL[2:], id="a regularizer", marks=SLOW),
        pytest.param(replaced("tasks/models/network.py", "1 / 9", "1 / 8"), ALL[2:], id="the network", marks=SLOW),
        pytest.param(
            added("tasks/training/new.py", ""), ["train"], id="a module that gives the same model", marks=SLOW
        ),
        pytest.param(judge("right"), ["normalize", "report", "describe"], id="a label that is right", marks=SLOW),
        pytest.param(judge("relabel"), ALL[1:], id="a corrected label", marks=SLOW),
        pytest.param(params(normalize__validation_fraction=0.03), ALL[1:], id="the split", marks=SLOW),
        pytest.param(params(normalize__size=24), ALL[1:], id="the size of images", marks=SLOW),
    ],
)
def test_an_edit_reruns_exactly_the_stages_that_depend_on_it(clone: Clone, edit: Edit, stages: list[str]) -> None:
    edit(clone)
    ran, restored, _ = clone.repro()
    assert (ran, restored) == (stages, [])


def test_the_run_cache_sees_each_parameter() -> None:
    """DVC leaves out each key that is called `size` or `nfiles`, wherever it stands."""
    blocks = {name: content for name, content in parse(ROOT / "params.yaml").items() if isinstance(content, dict)}
    hidden = {f"{name}.{key}" for name, content in blocks.items() for key in content if key in {"size", "nfiles"}}
    assert hidden == {"normalize.size"}
    stages = parse(ROOT / "dvc.yaml")["stages"].values()
    readers = [stage["params"] for stage in stages if "normalize" in stage.get("params", ())]
    assert len(readers) == 2
    assert all("normalize.size" in tracked for tracked in readers)


def test_going_back_restores_from_the_run_cache(clone: Clone) -> None:
    clone.run("git", "checkout", "--quiet", "params.yaml", "tasks", "flows")
    clone.run("git", "clean", "--quiet", "--force", "tasks")
    ran, restored, output = clone.repro()
    assert ran == []
    assert restored
    assert "epoch 1/" not in output
    assert clone.run("git", "status", "--porcelain") == ""


@SLOW
def test_a_forced_training_gives_the_same_model_bytes(clone: Clone) -> None:
    clone.reset()
    ran, _, _ = clone.repro("--force", "--single-item", "train")
    assert ran == ["train"]
    assert clone.run("git", "status", "--porcelain") == ""


@pytest.mark.slow
def test_a_linked_folder_in_the_slot_is_watched_and_the_old_data_come_back(clone: Clone, tmp_path: Path) -> None:
    clone.reset()
    graph, before = clone.path / "dvc.yaml", (clone.path / "dvc.lock").read_text()
    flowers = write_files(tmp_path / "flowers", FLOWERS)
    (clone.path / "data/images").symlink_to(flowers)
    public = graph.read_text()
    substitute(graph, "images: data/cifar10.sha256", "images: data/images")
    for rows in (13, 14):  # of the manifest, with its header
        assert clone.repro("download")[:2] == (["download"], [])
        assert clone.repro("download")[:2] == ([], [])
        assert len((clone.path / "data/raw/manifest.csv").read_text().splitlines()) == rows
        write_files(flowers, {"rose/new.png": photo(99)})
    graph.write_text(public)
    assert clone.repro()[:2] == ([], ["download"])
    assert (clone.path / "dvc.lock").read_text() == before
    assert clone.run("git", "status", "--porcelain") == ""
