"""docs/data.md and docs/few-images.md as a new user follows them, with pictures of Fashion-MNIST."""

import json
import re
from pathlib import Path
from shutil import rmtree

import pytest

from tests.support.clone import Clone, copy_tracked
from tests.support.docs import PAGES, commands, section
from tests.support.real_pictures import FASHION, FASHION_CLASSES, fashion, write_pngs

N = {"train": 1000, "test": 500}
NEW = 2002  # the row of a test picture, a trouser, that the folder does not hold


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a folder of pictures for each split and class, and a new picture."""
    for split, part in (("train", "train"), ("test", "t10k")):
        images, labels = fashion(part)
        names = (f"{split}/{FASHION_CLASSES[label]}/{row}.png" for row, label in enumerate(labels[: N[split]].tolist()))
        write_pngs(tmp_path / "home/photos/flowers", images[: N[split]], names)
    write_pngs(tmp_path / "home", [images[NEW]], ["new.jpg"])
    assert FASHION_CLASSES[labels[NEW]] == "trouser"
    return tmp_path / "home"


def clone_of_a_person(path: Path, home: Path) -> Clone:
    """Start a repository from this project, with an identity to commit under."""
    clone = Clone(path)
    copy_tracked(clone.path)
    clone.environment["HOME"] = str(home)
    clone.run("git", "init", "--quiet", "--initial-branch", "main")
    for key in ("user.name", "user.email"):  # of the person who types `git commit`
        clone.run("git", "config", key, "test@example.org")
    clone.commit("start")
    return clone


@pytest.mark.slow
@pytest.mark.skipif(not FASHION.exists(), reason="needs Debian's package dataset-fashion-mnist")
def test_a_folder_of_pictures_becomes_a_model_and_a_report(home: Path, tmp_path: Path) -> None:
    """Run the page line by line, except for the study, which another test runs."""
    clone = clone_of_a_person(tmp_path / "clone", home)
    outputs = {
        line: clone.run("bash", "-c", line)
        for line in commands(section("Your own images", "docs/data.md"))
        if not line.startswith("python -m flows.study")
    }

    dataset = json.loads((clone.path / "reports/dataset.json").read_text())
    assert (dataset["images"], dataset["classes"], dataset["test"]) == (1500, 10, 500)
    assert json.loads((clone.path / "reports/metrics.json").read_text())["test"]["accuracy"] > 0.80
    assert "some 900 training images" in outputs["python -m flows.start ~/photos/flowers"]
    assert "ankle boot" in (clone.path / "reports/index.html").read_text()
    assert re.search(r"reports/dataset.json +images +\S+ +1500", outputs["dvc metrics diff"])
    assert "new.jpg: trouser" in outputs["python -m tasks.classify ~/new.jpg"]
    assert not (clone.path.parent / "user-cache/cifar10-regularization").exists()
    assert sorted(path.suffix for path in (clone.path / "data/raw").iterdir()) == [".csv", *[".zip"] * 16]
    assert clone.run("git", "status", "--porcelain") == ""


@pytest.mark.slow
@pytest.mark.skipif(not FASHION.exists(), reason="needs Debian's package dataset-fashion-mnist")
def test_200_pictures_become_a_model_that_all_of_them_judge(home: Path, tmp_path: Path) -> None:
    """Run the page line by line, with the edit of params.yaml that it names."""
    images, labels = fashion("train")
    names = (f"photos/{FASHION_CLASSES[label]}/{row}.png" for row, label in enumerate(labels[:200].tolist()))
    rmtree(home / "photos")
    write_pngs(home, images[:200], names)
    clone = clone_of_a_person(tmp_path / "clone", home)
    text, outputs = section("From 200 photographs to a model", "docs/few-images.md"), {}
    (edited,) = re.findall(r"^# params.yaml: +normalize\.(\w+): (\d+)$", text, re.MULTILINE)
    for line in commands(text):
        if line.startswith("#"):
            clone.edit(**{f"normalize__{edited[0]}": int(edited[1])})
        outputs[line] = clone.run("bash", "-c", line)

    assert "fold 5 of 5" in outputs["dvc repro"]
    metrics = json.loads((clone.path / "reports/metrics.json").read_text())
    assert (metrics["folds"]["held_out"], metrics["published"]["train_images"]) == (200, 200)
    assert metrics["test"]["accuracy"] > 0.65
    notes = (clone.path / "reports/evaluation/notes.txt").read_text()
    said = "of 200 images are classified right, each by a network that did not learn from it."
    assert said in notes
    assert said in PAGES["docs/few-images.md"]
    assert "new.jpg: trouser" in outputs["python -m tasks.classify ~/new.jpg"]
    assert clone.run("git", "status", "--porcelain") == ""
