"""The page of two commits: its numbers, its flips, its pictures, and what is lost."""

import base64
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows.gate import main
from flows.results.comparison import compare
from flows.results.page import render_page
from tests.support import two_sides
from tests.support.clone import enter_copy
from tests.support.reports import Page
from tests.support.two_sides import CLASSES, N, write_of_pictures

PAGE = Path("reports/compare.html")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A commit that errs on 40 images, and a workspace that errs on 60, of which 30 are others."""
    path = tmp_path_factory.mktemp("page") / "repository"
    two_sides.begin_with_pictures(path)
    write_of_pictures(path, range(0, 40))
    two_sides.commit(path)
    (path / "params.yaml").write_text("train: {seed: 0, epochs: 5}\nmodel: {filters: 8}\n")
    write_of_pictures(path, range(10, 70))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        assert main(["--base", "HEAD", "--page", str(PAGE)]) == 1
    return path


@pytest.fixture
def repository(first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return enter_copy(first, tmp_path / "repository", monkeypatch)


def numbers(rows: list[list[str]]) -> dict[str, list[str]]:
    return {metric: cells for metric, *cells in rows}


def test_page_json_markdown_and_dvc_metrics_diff_agree(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--base", "HEAD", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    page = Page(PAGE.read_text(encoding="utf-8"))
    (table,) = (rows for rows in page.tables if rows[0][:1] == ["metric"])
    shown = numbers(table)
    for row in found["metrics"]:
        ends = " to ".join(f"{end:+.4f}" for end in row["interval"]) if row["interval"] else ""
        expected = [f"{row['base']:.4f}", f"{row['here']:.4f}", f"{row['difference']:+.4f}", ends, row["verdict"]]
        assert shown.pop(row["metric"]) == expected
    assert shown.keys() == {"metric"}
    assert found["sentence"][1:] in page.words
    assert found["failures"][0] in page.words

    assert main(["--base", "HEAD"]) == 1
    lines = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert [cells[0], *cells[2:]] == table

    told = subprocess.run(["dvc", "metrics", "diff", "--json"], check=True, capture_output=True, text=True).stdout
    by_dvc = json.loads(told)["reports/metrics.json"]
    both = {row["metric"]: row for row in found["metrics"] if row["metric"] in by_dvc}
    assert by_dvc.keys() == {"test.accuracy", "test.loss"}
    assert by_dvc["test.accuracy"]["diff"] == pytest.approx(both["test.accuracy"]["difference"])
    assert by_dvc["test.accuracy"]["new"] == pytest.approx(both["test.accuracy"]["here"])
    assert N * both["test.accuracy"]["difference"] == pytest.approx(10 - 30)  # won and lost, on the page


def test_flips_are_counted_by_class_and_shown_surest_first(repository: Path) -> None:
    page = Page(PAGE.read_text(encoding="utf-8"))
    assert f"Of {N} test images, 30 are right at the base and wrong here, 10 the reverse." in page.words
    (flips,) = (rows for rows in page.tables if rows[0][:2] == ["name", "lost"])
    assert sum(int(lost) for _, lost, *_ in flips[1:]) == 30
    assert sum(int(won) for _, _, won, _ in flips[1:]) == 10
    assert {row[0] for row in flips[1:]} == set(CLASSES)
    assert "train.epochs 3 → 5" in page.words
    assert len(page.pictures) == 24 + 10
    shown = [picture_number(str(picture["src"])) for picture in page.pictures]
    assert shown == [*range(69, 45, -1), *range(9, -1, -1)]
    assert [str(picture["alt"]).split(":")[0] for picture in page.pictures[:2]] == ["test/<i>69.png", "test/<i>68.png"]
    assert re.search(r"base: dog, 56.9.%here: ship, 56.9.%", page.words)


def picture_number(source: str) -> int:
    with Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))) as image:
        red, green, _ = np.asarray(image)[0, 0].tolist()
    return int(200 * red + green)


def test_pictures_come_from_the_cache_and_what_is_lost_is_said(repository: Path) -> None:
    two_sides.commit(repository)
    subprocess.run(["git", "update-ref", "refs/exps/ab/cdef/quick-1", "HEAD"], check=True)
    shutil.rmtree("data/normalized")
    page = Page(render_page(compare(repository, "HEAD~1", "quick-1")))
    assert [picture_number(str(picture["src"])) for picture in page.pictures[:2]] == [69, 68]
    assert "test image 70" in page.words
    for path in Path(".dvc/cache/files/md5").rglob("*"):
        if path.is_file() and path.stat().st_size == N * 8 * 12 * 3 + 128:
            path.unlink()
    page = Page(render_page(compare(repository, "HEAD~1", "quick-1")))
    assert page.pictures == []
    assert "30 images, whose pictures cannot be shown: test_images.npy of quick-1 is in neither" in page.words
    assert "Of 400 test images, 30 are right at the base" in page.words
    Path("reports/history.csv").unlink()
    shutil.rmtree(".dvc/cache")
    page = Page(render_page(compare(repository, "HEAD")))
    assert "No learning curves: a side has none" in page.words
    assert "metrics alone, without intervals" in page.words
    assert "Flips" not in page.words


def test_an_unchanged_workspace_has_no_change_and_no_flip(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    two_sides.commit(repository)
    assert main(["--base", "HEAD", "--json", "--page", str(PAGE)]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["passed"]
    assert said.err == f"open {PAGE}\n"
    page = Page(PAGE.read_text(encoding="utf-8"))  # which replaced the old one
    assert page.words.count("nothing") == 5
    assert page.words.count("No image.") == 2


@pytest.mark.parametrize("path", ["reports", "nowhere/compare.html"])
def test_a_page_that_cannot_be_written_is_one_line(
    repository: Path, capsys: pytest.CaptureFixture[str], path: str
) -> None:
    assert main(["--base", "HEAD", "--page", path]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"error: --page must be a file in a folder that can be written; received {path}"


def test_a_page_that_fails_after_the_verdict_is_no_regression(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two_sides.commit(repository)
    assert main(["--base", "HEAD", "--page", f"reports/{'x' * 249}.html"]) == 2
    said = capsys.readouterr()
    assert "| test.accuracy" in said.out
    assert said.err.startswith("error: reports/xxx")
