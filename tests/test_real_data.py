"""The real data set: an epoch of the default, and the same images as a person's own files."""

import csv
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tasks.data import arrays
from tests.support import ROOT
from tests.support.clone import Clone
from tests.support.parameters import edit
from tests.support.real_pictures import write_pngs


@pytest.fixture
def fresh(tmp_path: Path) -> Clone:
    """A clone of the last commit with the user's own cache folder, which may hold the archive."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(tmp_path / "clone")], check=True)
    clone = Clone(tmp_path / "clone")
    del clone.environment["XDG_CACHE_HOME"]
    return clone


@pytest.mark.slow
def test_one_epoch_on_cifar10_learns_and_does_not_leak(fresh: Clone) -> None:
    """One epoch reaches 79 %, in bfloat16 and in float32; if labels leaked into training, it would reach more."""
    edit(fresh.path / "params.yaml", train__epochs=1)
    fresh.run("dvc", "repro")
    metrics = json.loads((fresh.path / "reports/metrics.json").read_text())
    assert 0.70 < metrics["test"]["accuracy"] < 0.82
    assert abs(metrics["generalization_gap"]) < 0.05


@pytest.mark.slow
@pytest.mark.long
def test_cifar10_as_60000_files_with_a_manifest_gives_the_arrays_of_the_default(fresh: Clone, tmp_path: Path) -> None:
    make_arrays(fresh, "data/cifar10.sha256", "default")
    default, own = (fresh.path / folder / "normalized" for folder in ("default", "own"))
    write_own(tmp_path / "photos", default)
    make_arrays(fresh, str(tmp_path / "photos"), "own")
    for split in arrays.splits(default):
        images, labels = arrays.load_split(default, split, 10)
        own_images, own_labels = arrays.load_split(own, split, 10)
        row_of = {file: row for row, file in enumerate(arrays.files(own, split))}
        rows = [row_of[f"{file}.png"] for file in arrays.files(default, split)]
        assert len(rows) == len(row_of)
        np.testing.assert_array_equal(own_images[rows], images)
        np.testing.assert_array_equal(own_labels[rows], labels)
    first, second = (json.loads((folder / "dataset.json").read_text()) for folder in (default, own))
    for key in ("classes", "shape", "fit", "scaling"):
        assert first[key] == second[key]
    first, second = (json.loads((folder / "../dataset.json").read_text()) for folder in (default, own))
    assert first["leaks"] == second["leaks"]


def make_arrays(clone: Clone, images: str, folder: str) -> None:
    """Run the first two stages into a folder; with DVC, hashing 60,000 files would take longer."""
    clone.run("python", "-m", "tasks.download", "--images", images, "--raw", f"{folder}/raw")
    paths = ("--raw", f"{folder}/raw", "--weights", "data/efficientnet_lite0.sha256")
    outputs = ("--normalized", f"{folder}/normalized", "--report", f"{folder}/dataset.json")
    clone.run("python", "-m", "tasks.normalize", *paths, *outputs)


def write_own(folder: Path, normalized: Path) -> None:
    """Write the images of all splits as PNG, with a manifest that holds their splits."""
    folder.mkdir()
    classes = arrays.class_names(normalized)
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split"])
        for split in arrays.splits(normalized):
            images, labels = arrays.load_split(normalized, split, len(classes))
            names = [f"{name}.png" for name in arrays.files(normalized, split)]
            write_pngs(folder, images, names)
            writer.writerows(zip(names, [classes[label] for label in labels], [split] * len(names), strict=True))
