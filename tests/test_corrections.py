"""Corrected labels: the file, the stages that use it, and the price in the gate."""

import csv
import hashlib
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from flows.results.price import describe_price
from tasks.data import arrays
from tasks.datasets import packed
from tasks.datasets.corrections import Correction, corrections_path, read_corrections, write_corrections
from tasks.errors import RefusedError
from tasks.metrics.predictions import NO_GROUPS
from tasks.normalize import normalize
from tests.support import ROOT
from tests.support.arrays import BACKBONE
from tests.support.clone import IDENTITY
from tests.support.parameters import edit
from tests.support.pictures import noise

RAW, OUT, REPORT, FILE = Path("raw"), Path("out"), Path("dataset.json"), Path("data/corrections.csv")
PICTURES = {f"{label}/{n}.png": noise(100 * k + n) for k, label in enumerate(("ant", "bee", "cow")) for n in range(20)}


def judge(file: str, action: str, label: str = "", by: str = "me") -> Correction:
    was = file.split("/")[0]
    return Correction(hashlib.sha256(PICTURES[file]).hexdigest(), file, was, label or was, action, by, "2026-12-01")


def run(*judged: Correction, **parameters: object) -> dict[str, object]:
    FILE.parent.mkdir(exist_ok=True)
    write_corrections(FILE, judged)
    edit(Path("params.yaml"), normalize__size=8, normalize__train_images=None, **parameters)
    normalize(raw=RAW, normalized=OUT, report_path=REPORT, weights=BACKBONE)
    counts: dict[str, object] = json.loads(REPORT.read_text())
    return counts


def labels() -> dict[str, tuple[str, str]]:
    names = arrays.class_names(OUT)
    return {
        file: (split, names[label])
        for split in arrays.splits(OUT)
        for file, label in zip(arrays.files(OUT, split), arrays.load_split(OUT, split, len(names))[1], strict=True)
    }


@pytest.fixture
def packed_pictures(workplace: Path) -> None:
    RAW.mkdir()
    packed.write_packed(
        RAW, ((packed.Example(file, file.split("/")[0]), content) for file, content in PICTURES.items())
    )


@pytest.mark.usefixtures("packed_pictures")
@pytest.mark.parametrize("folds", [0, 3])
def test_a_corrected_label_moves_no_other_image_and_decodes_none(
    folds: int, capsys: pytest.CaptureFixture[str]
) -> None:
    run(normalize__folds=folds)
    before = labels()
    test = next(file for file, (split, _) in before.items() if split == "test")
    others = [file for file, (split, _) in before.items() if (folds or split == "train") and file != test][:2]
    capsys.readouterr()
    counts = run(
        judge(test, "relabel", "cow" if test < "cow" else "ant"),
        judge(others[0], "leave_out"),
        judge(others[1], "right"),
        normalize__folds=folds,
    )
    after = labels()
    assert set(before) - set(after) == {others[0]}
    assert {file for file in after if after[file] != before[file]} == {test}
    assert after[test][0] == "test"
    corrected = counts["corrected"]
    assert corrected == (
        {"train": 2, "validation": 0, "test": 0} if folds else {"train": 1, "validation": 0, "test": 1}
    )
    assert "60 of 60 kept from before, 0 decoded" in capsys.readouterr().out
    found = {finding.file: finding.detail for finding in arrays.findings(OUT) if finding.kind == "corrected"}
    assert found == {test: f"{before[test][1]}, {after[test][1]}", others[0]: f"{before[others[0]][1]}, left out"}


@pytest.mark.usefixtures("packed_pictures")
def test_a_line_that_fits_no_image_is_named_and_not_applied(capsys: pytest.CaptureFixture[str]) -> None:
    gone = judge("ant/1.png", "relabel", "bee")._replace(image="0" * 64)
    other = judge("ant/2.png", "relabel", "bee")._replace(was="cow")
    counts = run(gone, other)
    assert counts["corrected"] == {"train": 0, "validation": 0, "test": 0}
    said = capsys.readouterr().out
    assert "2 lines of data/corrections.csv are not applied" in said
    assert "ant/1.png is gone" in said
    assert "ant/2.png is ant, and was cow" in said


@pytest.mark.usefixtures("packed_pictures")
def test_an_unknown_class_and_the_last_image_of_a_class_are_refused() -> None:
    with pytest.raises(RefusedError, match=r"line 2: label cows: is no class; did you mean cow\?; correct the line"):
        run(judge("ant/1.png", "relabel", "cows"))
    with pytest.raises(RefusedError, match="must leave each class a training image; it takes the last of ant"):
        run(*(judge(f"ant/{n}.png", "leave_out") for n in range(20)))
    assert not OUT.exists()


LINE = "a" * 64 + ",x.png,cat,dog,relabel,me,2026-12-01"
HEADER = ",".join(Correction._fields)


@pytest.mark.parametrize(
    "content",
    [
        f"{HEADER}\n{LINE}\n",
        f"\ufeff{HEADER}\r\n{LINE}\r\n",
        f"{HEADER}\n{LINE}\n".replace(",", ";"),
        f"{HEADER}\n\n{LINE}\n{LINE}\n",
    ],
    ids=["plain", "windows", "semicolons", "twice"],
)
def test_what_a_spreadsheet_saves_is_read(tmp_path: Path, content: str) -> None:
    (tmp_path / "c.csv").write_text(content, encoding="utf-8", newline="")
    assert list(read_corrections(tmp_path / "c.csv").values()) == [Correction(*LINE.split(","))]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1 must be image,file,was"),
        (f"{HEADER}\n{LINE},more\n", "line 2 must have 7 fields; received 8"),
        (f"{HEADER}\n{LINE.replace('aa', 'A', 1)}\n", "line 2: image must be a SHA-256"),
        (f"{HEADER}\n{LINE.replace('relabel', 'delete')}\n", "line 2: action must be one of relabel, leave_out, right"),
        (f"{HEADER}\n{LINE.replace('dog', 'cat')}\n", "relabel must have another label than cat; received cat"),
        (f"{HEADER}\n{LINE.replace('relabel', 'right')}\n", "right must have the same label than cat; received dog"),
        (
            f"{HEADER}\n{LINE}\n{LINE.replace('dog', 'cow').replace('me', 'you')}\n",
            "lines 2 and 3 judge x.png differently: is dog by me, and is cow by you; remove one",
        ),
        (f"{HEADER}\n{LINE}".encode("utf-16"), "must be UTF-8"),
    ],
)
def test_what_is_no_correction_is_refused_by_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    (tmp_path / "c.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message):
        read_corrections(tmp_path / "c.csv")


@pytest.mark.parametrize("entries", ["[own.yaml, {images: x}, {corrections: mine.csv}]", "[own.yaml]", "null"])
def test_dvc_yaml_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entries: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert corrections_path() == FILE
    Path("dvc.yaml").write_text(f"vars: {entries}\n")
    assert corrections_path() == (Path("mine.csv") if "mine" in entries else FILE)


def test_fields_with_commas_quotes_and_lines_come_back(tmp_path: Path) -> None:
    lines = [Correction("b" * 64, 'a "b", <c>.png', "cat", "d\nog", "relabel", "you, me", "")]
    write_corrections(tmp_path / "c.csv", lines)
    assert list(read_corrections(tmp_path / "c.csv").values()) == lines


def test_two_people_correct_different_images_and_git_merges_them(tmp_path: Path) -> None:
    def git(*command: str) -> None:
        subprocess.run(["git", *IDENTITY, *command], cwd=tmp_path, check=True, capture_output=True)

    def commit(branch: str, *lines: Correction) -> None:
        write_corrections(path, lines)
        git("add", "--all")
        git("commit", "--message", branch)

    path = tmp_path / FILE
    path.parent.mkdir()
    (tmp_path / ".gitattributes").write_text((ROOT / ".gitattributes").read_text())
    git("init", "--initial-branch", "main")
    commit("start")
    mine, yours, contradiction = (
        judge("ant/1.png", "right"),
        judge("ant/2.png", "right"),
        judge("ant/1.png", "leave_out"),
    )
    git("checkout", "-b", "other")
    commit("other", yours)
    git("checkout", "main")
    commit("mine", mine)
    git("merge", "other")
    assert set(read_corrections(path).values()) == {mine, yours}
    git("checkout", "other")
    commit("again", yours, contradiction)
    git("checkout", "main")
    git("merge", "other")
    with pytest.raises(ValueError, match=r"judge ant/1\.png differently: is rightly ant by me, and is left out by me"):
        read_corrections(path)


def test_the_gate_divides_a_difference_between_labels_and_model() -> None:
    rng = np.random.default_rng(0)
    was, right = rng.integers(0, 4, 1_000), np.eye(4)
    now = np.where(np.arange(1_000) < 20, (was + 1) % 4, was)
    old_says = np.where(np.arange(1_000) < 20, now, np.where(np.arange(1_000) < 200, (was + 2) % 4, was))
    new_says = np.where(np.arange(1_000) < 30, now, np.where(np.arange(1_000) < 190, (was + 2) % 4, was))
    price = describe_price((was, now), (right[old_says], right[new_says]), NO_GROUPS)
    assert price.startswith("20 test labels differ; by each side's own labels accuracy moved by +4.00 points: +2.00 [")
    assert "by the labels, +2.00 [" in price
    assert price.endswith("by the model")


def test_the_file_of_this_repository_has_the_header_alone_or_good_lines() -> None:
    with (ROOT / FILE).open(newline="", encoding="utf-8") as file:
        assert next(csv.reader(file)) == list(Correction._fields)
    read_corrections(ROOT / FILE)
