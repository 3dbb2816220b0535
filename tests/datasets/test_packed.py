"""Packed images: the same files give the same bytes, and what is damaged is named."""

import csv
import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.datasets import open_dataset
from tasks.datasets.packed import Example, Packed, write_packed
from tests.support import ROOT

EXAMPLES = [
    (Example(f"{label}/{n}, a.jpg", label, group=f"plant {n % 3}"), f"{label} {n}".encode())
    for label in ("rose", "daisy")
    for n in range(40)
]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    write_packed(tmp_path, EXAMPLES)
    return tmp_path


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_file_comes_back_with_what_is_known_of_it(raw: Path) -> None:
    dataset = open_dataset(raw)
    assert dataset.classes == ["daisy", "rose"]
    read = {
        (dataset.files[row], dataset.classes[dataset.labels[row]], dataset.splits[row], dataset.groups[row], content)
        for row, content in dataset.reader(range(len(dataset.files)))()
    }
    assert read == {(e.file, e.label, e.split, e.group, content) for e, content in EXAMPLES}
    rows = [70, 3, 3, 41]  # in the order asked for
    by_file = {example.file: content for example, content in EXAMPLES}
    assert list(dataset.reader(rows)()) == [(row, by_file[dataset.files[row]]) for row in rows]


def test_another_order_gives_the_same_bytes(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    again = tmp_path_factory.mktemp("again")
    write_packed(again, reversed(EXAMPLES))
    assert bytes_of(again) == bytes_of(raw)
    assert len(bytes_of(raw)) == 17


def test_a_new_file_changes_one_shard_and_the_manifest(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    more = tmp_path_factory.mktemp("more")
    write_packed(more, [*EXAMPLES, (Example("rose/new.jpg", "rose"), b"new")])
    before, after = bytes_of(raw), bytes_of(more)
    assert before.keys() == after.keys()
    assert [name for name in sorted(after) if after[name] != before[name]] == ["images-1.zip", "manifest.csv"]


def test_equal_contents_are_kept_once(tmp_path: Path) -> None:
    rows = write_packed(tmp_path, [(Example(f"a/{n}.jpg", "a"), b"same") for n in range(5)])
    (shard,) = tmp_path.glob("images-*.zip")
    with zipfile.ZipFile(shard) as opened:
        assert opened.namelist() == [rows[0].sha256]
    assert [content for _, content in Packed(tmp_path).reader(range(5))()] == [b"same"] * 5


def test_the_manifest_goes_by_digest_so_that_its_start_is_a_fair_sample(raw: Path) -> None:
    rows = list(csv.DictReader(io.StringIO((raw / "manifest.csv").read_text())))
    assert rows == sorted(rows, key=lambda row: (row["sha256"], row["file"]))
    assert list(rows[0]) == ["file", "label", "split", "group", "sha256", "bytes"]
    assert {row["label"] for row in rows[:10]} == {"rose", "daisy"}


IN_FORKS = """

import sys
from multiprocessing import get_context
from pathlib import Path
from tasks.datasets.packed import Packed, read_content

raw = Path(sys.argv[1])
*_, last = Packed(raw).contents
digests = 50 * [digest for digest in Packed(raw).contents if digest[0] == last[0]]
expected = [read_content(raw, digest) for digest in digests]  # leaves their shard open
with get_context("fork").Pool(2) as pool:
    assert pool.starmap(read_content, [(raw, digest) for digest in digests], chunksize=1) == expected
"""


def test_a_process_that_was_forked_reads_for_itself(tmp_path: Path) -> None:
    """A file that both had open would have one position for the two."""
    larger_than_a_buffer = [(Example(f"{n}.jpg", "rose"), bytes([n]) * 100_000) for n in range(80)]
    write_packed(tmp_path, larger_than_a_buffer)
    # In a process of its own: this one has threads of other tests, whose locks a fork would never see released.
    subprocess.run([sys.executable, "-c", IN_FORKS, tmp_path], cwd=ROOT, check=True)


def without_a_member(raw: Path, digest: str) -> None:
    path = raw / f"images-{digest[0]}.zip"
    with zipfile.ZipFile(path) as shard:
        others = {name: shard.read(name) for name in shard.namelist() if name != digest}
    with zipfile.ZipFile(path, "w") as shard:
        for name, content in others.items():
            shard.writestr(name, content)


def with_another_content(raw: Path, digest: str) -> None:
    without_a_member(raw, digest)
    with zipfile.ZipFile(raw / f"images-{digest[0]}.zip", "a") as shard:
        shard.writestr(digest, b"another")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (without_a_member, "images-0.zip: lacks member 0"),
        (with_another_content, "must have the SHA-256 of its name; received "),
        (
            lambda raw, _: os.truncate(raw / "images-0.zip", 50),
            r"images-0.zip: member 0\w{63} cannot be read: File is not a zip file",
        ),
        (lambda raw, digest: (raw / "images-0.zip").unlink(), "cannot be read: .*No such file"),
    ],
)
def test_damage_to_a_shard_names_shard_and_row(raw: Path, damage: Callable[[Path, str], None], says: str) -> None:
    dataset = Packed(raw)
    damage(raw, dataset.contents[0])
    with pytest.raises(ValueError, match=says) as caught:
        list(dataset.reader([0])())
    assert str(caught.value).startswith(f"row 0 ({dataset.files[0]}): {raw}/images-0.zip: ")
    assert str(caught.value).endswith("; `make doctor` restores it")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda lines: lines[1:], "its header must be file,label,split,group,sha256,bytes; received "),
        (lambda lines: [*lines[:3], lines[3][:50]], "row 2: must be file, label, split, group, sha256, bytes"),
        (lambda lines: [lines[0], lines[1].replace(",,", ",dev,", 1)], "row 0: must be file, label"),
        (lambda lines: [lines[0], lines[1] + "x"], "row 0: must be file, label"),
        (lambda lines: [lines[0], lines[2], lines[1]], "row 1: must come after the row before it"),
        (lambda lines: [lines[0], "\udcff" + lines[1]], "can't decode byte"),
    ],
)
def test_a_manifest_that_does_not_parse_names_the_row(
    raw: Path, change: Callable[[list[str]], list[str]], says: str
) -> None:
    path = raw / "manifest.csv"
    path.write_text("\n".join(change(path.read_text().splitlines())), errors="surrogateescape")
    with pytest.raises(ValueError, match=says) as caught:
        open_dataset(raw)
    assert str(caught.value).startswith(f"{path}: ")
