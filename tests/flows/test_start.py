"""The settings that suit a person's images: what is seen, written, shown and refused."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from flows.runs.suitable import Seen, choose_settings, choose_variant, estimate_seconds
from flows.start import main
from tasks.datasets.packed import Example
from tasks.params import parse
from tests.support import ROOT
from tests.support.edits import substitute
from tests.support.own_images import FLOWERS, GIVEN, write_files, write_tar, write_zip
from tests.support.pictures import encoded

CONTENT = parse(ROOT / "params.yaml")
MANIFEST = b"path,label\n" + b"".join(f"{name},{name.split('/')[0]}\n".encode() for name in FLOWERS)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of photographs in the home, seen from a project."""
    project = tmp_path / "project"
    (project / "data").mkdir(parents=True)
    for name in ("params.yaml", "dvc.yaml", "data/.gitignore"):
        shutil.copy(ROOT / name, project / name)
    subprocess.run(["git", "init", "--quiet"], cwd=project, check=True)
    monkeypatch.chdir(project)
    monkeypatch.setenv("HOME", str(tmp_path))
    return write_files(tmp_path / "my photos", FLOWERS)


def texts() -> list[str]:
    return [Path(name).read_text(encoding="utf-8") for name in ("params.yaml", "dvc.yaml")]


def slot() -> str:
    return str(parse(Path("dvc.yaml"))["vars"][0]["images"])


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the one line of a refusal, after which nothing is changed."""
    before = [*texts(), *sorted(map(str, Path("data").iterdir()))]
    assert main(list(arguments)) == 2
    assert [*texts(), *sorted(map(str, Path("data").iterdir()))] == before
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_folder_is_linked_and_what_suits_it_is_shown_and_written_once(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    substitute(Path("params.yaml"), "seed: 0 # draws the split", "seed: 7 # my own")
    before = texts()
    assert main(["~/my photos", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert texts() == before
    assert not Path("data/images").exists()
    assert main([str(photos)]) == 0
    said = capsys.readouterr().out
    for line in (
        "12 images of 2 classes: daisy 6, rose 6",
        "sides: 8 to 8 pixels, median 8, by the headers of 12 files",
        "variant probe, for some 9 training images; `dvc repro` will take about 1 min if nothing else runs here",
        "-  - images: data/cifar10.sha256",
        "+  - images: data/images",
        f"data/images: a link to {photos}",
    ):
        assert line in shown.splitlines()
        assert line in said.splitlines()
    assert "next:\n  dvc repro\n  git add --all && git commit" in said
    assert (slot(), Path("data/images").readlink()) == ("data/images", photos)
    params = parse(Path("params.yaml"))
    assert (params["normalize"]["size"], params["model"]["trainable"], params["normalize"]["seed"]) == (8, "head", 7)
    assert "# my own" in texts()[0]

    after = texts()
    assert main([str(photos)]) == 0
    assert main(["data/images"]) == 0
    assert texts() == after
    assert capsys.readouterr().out.count("has these settings already") == 4


def test_classes_are_chosen_by_name_and_all_come_back(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_files(photos, {f"tulip/{n}.png": content for n, content in enumerate(FLOWERS.values())})
    assert "received ros; did you mean rose?" in refusal(capsys, str(photos), "--classes", "ros,daisy")
    assert "at least two classes; received rose" in refusal(capsys, str(photos), "--classes", "rose,rose")
    assert main([str(photos), "--classes", "tulip,daisy"]) == 0
    assert "18 images of 2 classes: tulip 12, daisy 6\n" in capsys.readouterr().out
    assert parse(Path("params.yaml"))["normalize"]["classes"] == ["daisy", "tulip"]
    assert main([str(photos)]) == 0
    assert parse(Path("params.yaml"))["normalize"]["classes"] is None


@pytest.mark.parametrize("name", ["a b.zip", "c.tar.gz", "d/table: 1.csv"])
def test_an_archive_or_table_is_named_where_it_is(
    photos: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    files = {**FLOWERS, "rose/0.png": encoded(Image.new("RGB", (90, 20)), "PNG")}
    if name.endswith(".csv"):
        write_files(path.parent, {**files, path.name: MANIFEST})
    else:
        (write_zip if name.endswith(".zip") else write_tar)(path, files)
    assert main([str(path)]) == 0
    assert "sides: 8 to 90 pixels, median 8, by the headers of 12 files\n" in capsys.readouterr().out
    assert slot() == str(path)
    assert not Path("data/images").exists()


def test_a_folder_of_the_project_is_named_where_git_ignores_it(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(photos, "data/photos")
    line = refusal(capsys, "data/photos")
    assert "type `echo '/data/photos' >> .gitignore` first" in line
    Path(".gitignore").write_text("/data/photos\n")
    assert main(["data/photos"]) == 0
    assert slot() == "data/photos"


def test_what_is_in_the_place_of_the_link_stays(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("data/images").symlink_to("/elsewhere")
    assert "received /elsewhere; type `rm data/images` first" in refusal(capsys, str(photos))
    Path("data/images").unlink()
    Path("data/images").mkdir()
    assert "data/images; type `mv data/images ../images-before` first" in refusal(capsys, str(photos))


def test_files_that_cannot_be_read_are_named_and_skipped(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_files(photos, {"rose/no.png": b"nothing", "notes.txt": b""})
    assert main([str(photos)]) == 0
    said = capsys.readouterr().out
    assert "left out, as they cannot be read or have more than 100 million pixels: rose/no.png\n" in said
    assert "skipped files beside the folders of classes: notes.txt\n" in said
    assert parse(Path("params.yaml"))["normalize"]["unreadable"] == "skip"


def test_a_variant_alone_leaves_the_images(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--variant", "fine_tune"]) == 0
    assert "+  network: efficientnet_lite0\n" in capsys.readouterr().out
    assert slot() == "data/cifar10.sha256"
    assert parse(Path("params.yaml"))["normalize"] == CONTENT["normalize"]
    assert "did you mean probe?" in refusal(capsys, "--variant", "prob")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("~/nothing", "/nothing, which is not there"),
        ("..", "which holds this project"),
        ("~/my photos/rose", "images must be in the folder of a class"),
        ("~/empty", "images must have a folder for each class, with its images; received none"),
        ("~/broken", "images must be readable; received a/0.png, a/1.png, b/0.png, b/1.png"),
    ],
)
def test_what_holds_no_images_is_refused_in_one_line(
    photos: Path, capsys: pytest.CaptureFixture[str], path: str, message: str
) -> None:
    (photos.parent / "empty").mkdir()
    write_files(photos.parent / "broken", {f"{label}/{n}.png": b"" for label in "ab" for n in range(2)})
    assert message in refusal(capsys, path)


@pytest.mark.parametrize(
    ("n_training", "side", "variant"),
    [
        (100, 400, "probe"),
        (300, 32, "fine_tune"),
        (9_000, 4000, "fine_tune"),
        (50_000, 32, "quick"),
        (50_000, 128, "fine_tune"),
    ],
)
def test_the_variant_follows_from_number_and_side_of_images(n_training: int, side: int, variant: str) -> None:
    assert choose_variant(n_training, side) == variant


@pytest.mark.parametrize(
    ("sizes", "variant", "size", "fit"),
    [
        ([(4000, 3000), (3000, 4000)], "fine_tune", 128, "crop"),
        ([(400, 300)] * 9 + [(900, 100)], "fine_tune", 128, "pad"),
        ([(40, 30), (30, 40)], "fine_tune", 40, "crop"),
        ([(32, 32)], "fine_tune", 32, "crop"),
        ([(40, 20)], "fine_tune", 40, "crop"),
        ([(64, 16)], "fine_tune", 64, "pad"),
        ([(400, 300)], "fine_tune", 128, "crop"),
        ([(400, 300)], "photos", 96, "crop"),
    ],
)
def test_size_and_fit_follow_from_the_sides(sizes: list[tuple[int, int]], variant: str, size: int, fit: str) -> None:
    chosen, settings = choose_settings(CONTENT, Seen([], sizes, []), variant)
    assert (chosen, settings["normalize.size"], settings["normalize.fit"]) == (variant, size, fit)


def test_the_time_grows_with_images_and_is_not_told_of_what_was_not_measured() -> None:
    few, many = (Seen([Example("", "")] * n, [(100, 100)], []) for n in (100, 10_000))
    assert (estimate_seconds(few, 80, "probe") or 0) < (estimate_seconds(many, 8_000, "probe") or 0)
    assert (estimate_seconds(many, 8_000, "probe") or 0) < (estimate_seconds(many, 8_000, "fine_tune") or 0)
    assert estimate_seconds(few, 80, "photos") is None


def test_training_images_are_counted_with_and_without_a_given_split() -> None:
    params: dict[str, Any] = {"test_fraction": 0.2, "validation_fraction": 0.1, "folds": 0}
    assert Seen([Example("", "")] * 100, [], []).count_training(params) == 72
    assert Seen([Example("", "")] * 100, [], []).count_training({**params, "folds": 5}) == 100
    given = [Example("", "", name.split("/")[0].replace("val", "validation")) for name in GIVEN]
    assert Seen(given, [], []).count_training(params) == 8
    assert Seen([e for e in given if e.split != "validation"], [], []).count_training(params) == 7
