"""Own images as a new user has them: from a folder to a model, by DVC and by the flow, without CIFAR-10."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.clone import Clone, copy_tracked
from tests.support.import_graph import STAGES
from tests.support.own_images import write_files
from tests.support.parameters import edit
from tests.support.pictures import encoded

pytestmark = pytest.mark.slow

LABELS = ("daisy", "rose", "tulip")
OURS = {
    "normalize__size": 24,
    "normalize__validation_fraction": 0.2,
    "model__filters": [8, 16, 16],
    "train__epochs": 12,
    "train__batch_size": 64,
    "train__precision": "float32",
}


def photograph(label: int, seed: int) -> Image.Image:
    """Waves that run across the picture in a direction of their class; taller than wide, of several sizes."""
    rng = np.random.default_rng([label, seed])
    height, width = 60 + seed % 5, 48
    y, x = np.mgrid[:height, :width]
    angle = label * np.pi / 3 + rng.normal(0, 0.1)
    waves = 60 * np.sin((np.cos(angle) * x + np.sin(angle) * y) / 3 + rng.uniform(0, 6))
    blurred = Image.fromarray(rng.integers(0, 256, (6, 5, 3), np.uint8)).resize((width, height), 3)
    return Image.fromarray((np.asarray(blurred) * 0.5 + waves[..., None] + 64).clip(0, 255).astype(np.uint8))


def photos(n: int, first: int = 0) -> dict[str, bytes]:
    return {
        f"{label}/{number:03}.jpg": encoded(photograph(LABELS.index(label), number), "JPEG", quality=90)
        for label in LABELS
        for number in range(first, first + n)
    }


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone that never had CIFAR-10, whose slot is a link to a folder of 180 photographs."""
    folder = tmp_path_factory.mktemp("own")
    write_files(folder / "photos/flowers", photos(60))
    made = Clone(folder / "project")
    copy_tracked(made.path)
    (made.path / "dvc.lock").unlink()
    (made.path / "data/images").symlink_to(folder / "photos/flowers")
    use(made, "data/images", **OURS)
    made.run("git", "init", "--quiet", "--initial-branch", "main")
    made.commit("our images")
    return made


def use(clone: Clone, images: str, **parameters: object) -> None:
    """Put images into the slot, as docs/data.md says."""
    graph = (clone.path / "dvc.yaml").read_text()
    (before,) = (line for line in graph.splitlines() if line.startswith("  - images: "))
    (clone.path / "dvc.yaml").write_text(graph.replace(before, f"  - images: {images}"))
    edit(clone.path / "params.yaml", **parameters)


def report(clone: Clone) -> dict[str, Any]:
    counts: dict[str, Any] = json.loads((clone.path / "reports/dataset.json").read_text())
    return counts


def test_a_folder_becomes_a_model_by_dvc_alone(project: Clone) -> None:
    ran, _, output = project.repro()
    assert ran == list(STAGES)
    assert "cifar" not in output.lower()
    counts = report(project)
    assert 20 < counts["test"] < 60
    assert counts | dict.fromkeys(("train", "validation", "test", "test_set_digest"), 0) == {
        "images": 180,
        "classes": 3,
        "smallest_class": 60,
        "train": 0,
        "validation": 0,
        "test": 0,
        "unreadable": 0,
        "cropped": 0,
        "duplicates": 0,
        "conflicts": 0,
        "left_out": 0,
        "corrected": {"train": 0, "validation": 0, "test": 0},
        "leaks": {"validation": 0, "test": 0},
        "test_set_digest": 0,
    }
    assert json.loads((project.path / "reports/metrics.json").read_text())["test"]["accuracy"] > 0.6
    with (project.path / "reports/evaluation/predictions.csv").open(newline="") as file:
        assert {row["label"] for row in csv.DictReader(file)} == set(LABELS)
    assert "rose/" in (project.path / "reports/index.html").read_text()
    write_files(project.path / "data/images", {".DS_Store": b"Bud1", "rose/Thumbs.db": b"x", "rose/1.jpg.part": b"x"})
    assert project.repro()[:2] == ([], [])
    project.commit("first model")


def test_the_flow_finds_nothing_to_do_and_classify_knows_the_classes(project: Clone, tmp_path: Path) -> None:
    assert "Cached" in project.run("python", "-m", "flows.pipeline")
    (tmp_path / "new.jpg").write_bytes(encoded(photograph(1, 999).resize((300, 400)), "JPEG", quality=90))
    said = project.run("python", "-m", "tasks.classify", str(tmp_path / "new.jpg"), "--json")
    (answer,) = json.loads(said[said.index("[\n") :])
    assert sorted(answer["classes"]) == sorted(LABELS)
    assert answer["note"] == "resized from 300 × 400 (crop)"


@pytest.mark.long
def test_a_study_compares_on_own_images_and_the_gate_reads_both_sides(project: Clone) -> None:
    small = ["--set", "normalize.train_images=null", "--set", "train.epochs=1", "--set", "model.filters=[4, 4, 4]"]
    said = project.run("python", "-m", "flows.study", "--variants", "none,dropout", "--seeds", "2", *small)
    assert "4 of 4" in said
    assert project.run("git", "status", "--porcelain", "--", "params.yaml", "dvc.lock") == ""
    project.edit(train__epochs=7)
    project.repro()
    assert "test.accuracy" in project.run("python", "-m", "flows.gate", "--base", "HEAD")
    project.run("git", "checkout", "--quiet", ".")
    assert project.repro()[0] == []


def test_a_new_photo_is_seen_and_no_study_takes_old_results_for_it(project: Clone) -> None:
    folder = (project.path / "data/images").resolve()
    write_files(folder, {"rose/new.jpg": encoded(photograph(1, 500), "JPEG", quality=90)})
    study = ("python", "-m", "flows.study", "--variants", "none,dropout", "--seeds", "2")
    refused = project.run(*study, status=2)
    assert "data/images must be committed as `dvc repro download` found it" in refused
    assert project.repro()[0] == list(STAGES)
    assert report(project)["images"] == 181
    (folder / "rose/new.jpg").unlink()
    ran, restored, _ = project.repro()
    assert (ran, restored) == ([], list(STAGES))
