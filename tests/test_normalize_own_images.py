"""normalize on packed images: what is odd about them is named, counted or refused, and no image is lost in silence."""

import csv
import io
import json
import shutil
import struct
import zlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.data import arrays
from tasks.datasets import packed
from tasks.errors import RefusedError
from tasks.normalize import normalize
from tests.support.parameters import edit

RAW, OUT, REPORT = Path("raw"), Path("normalized"), Path("reports/dataset.json")


def picture(seed: int, size: tuple[int, int] = (20, 16)) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)).resize(size).save(buffer, "PNG")
    return buffer.getvalue()


def claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims a size."""
    content = picture(1)
    header = b"IHDR" + struct.pack(">II", width, height) + content[24:29]
    return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]


def pictures(n: int, labels: tuple[str, ...] = ("ant", "bee")) -> dict[str, bytes]:
    numbers = [(place, number) for place in range(len(labels)) for number in range(n)]
    return {f"{labels[place]}/{number}.png": picture(1000 * place + number) for place, number in numbers}


def pack(files: Mapping[str, bytes]) -> None:
    RAW.mkdir()
    packed.write_packed(RAW, ((packed.Example(name, name.split("/")[0]), content) for name, content in files.items()))


def pack_copies(split: str) -> None:
    """Six larger copies, of which three have another label, and six groups of two; all originals are for training."""
    RAW.mkdir()
    originals = {
        packed.Example(name, name.split("/")[0], split and "train", f"group {name}" if name[4] == "2" else ""): content
        for name, content in pictures(40).items()
    }
    copies = {
        packed.Example(f"{label}/copy {n}.png", label, split): picture(n, (40, 32))
        for n, label in enumerate(("bee", "ant") * 3)
    }
    members = {
        packed.Example(f"bee/member {n}.png", "bee", split, f"group bee/{n}.png"): picture(5000 + n)
        for n in range(20, 26)
    }
    packed.write_packed(RAW, (originals | copies | members).items())


def run(**parameters: object) -> dict[str, object]:
    changed = {"size": 8, "train_images": None, "validation_fraction": 0.2, **parameters}
    edit(Path("params.yaml"), **{f"normalize__{key}": value for key, value in changed.items()})
    normalize(raw=RAW, normalized=OUT, report_path=REPORT)
    report: dict[str, object] = json.loads(REPORT.read_text())
    return report


def refusal(**parameters: object) -> str:
    with pytest.raises(RefusedError) as caught:
        run(**parameters)
    assert not OUT.exists()
    assert not REPORT.exists()
    return str(caught.value)


@pytest.mark.usefixtures("workplace")
def test_every_image_is_in_one_split_with_its_label() -> None:
    pack(pictures(20))
    report = run(size=None)
    assert (report["images"], report["classes"], report["smallest_class"]) == (40, 2, 20)
    names: list[str] = []
    for split in ("train", "validation", "test"):
        images, labels = arrays.load_split(OUT, split, 2)
        files = arrays.files(OUT, split)
        assert [("ant", "bee")[label] for label in labels] == [name.split("/")[0] for name in files]
        for pixels, name in zip(images, files, strict=True):
            expected = Image.open(io.BytesIO(pictures(20)[name]))
            np.testing.assert_array_equal(pixels, np.asarray(expected))
        names += files
    assert sorted(names) == sorted(pictures(20))


@pytest.mark.usefixtures("workplace")
def test_the_same_images_give_the_same_bytes_however_many_processes_decode(monkeypatch: pytest.MonkeyPatch) -> None:
    pack(pictures(80))
    run()
    before = {path.name: path.read_bytes() for path in OUT.iterdir()}
    monkeypatch.setattr("tasks.data.decoding.joblib.cpu_count", lambda: 1)
    shutil.rmtree(".checkpoints")  # with the decoded pictures
    run()
    assert {path.name: path.read_bytes() for path in OUT.iterdir()} == before


@pytest.mark.usefixtures("workplace")
def test_what_cannot_be_read_is_refused_with_a_list_or_left_out_by_name() -> None:
    broken = {"bee/text.png": b"no image", "ant/cut.png": picture(1)[:60], "ant/huge.png": claiming(30_000, 30_000)}
    pack({**pictures(20), **broken})
    message = refusal()
    assert message.startswith("every image must be readable; received 3 that are not, all listed in reports/unread")
    assert all(f"\n  {name}: must" in message for name in broken)
    with Path("reports/unreadable.csv").open(newline="") as file:
        assert sorted(row["file"] for row in csv.DictReader(file)) == sorted(broken)
    report = run(unreadable="skip")
    assert (report["images"], report["unreadable"]) == (40, 3)
    found = [one for one in arrays.findings(OUT) if one.kind == "unreadable"]
    assert sorted(one.file for one in found) == sorted(broken)
    assert all(one.detail.startswith("must ") for one in found)


@pytest.mark.usefixtures("workplace")
def test_what_crop_takes_more_than_half_of_is_counted_and_listed(capsys: pytest.CaptureFixture[str]) -> None:
    pack(
        {
            **pictures(20),
            "ant/wide.png": picture(1, (50, 20)),
            "bee/tall.png": picture(2, (10, 21)),
            "bee/half.png": picture(3, (20, 10)),
        }
    )
    assert run()["cropped"] == 2
    assert "2 of 43 images lose more than half of their area by normalize.fit: crop; pad" in capsys.readouterr().out
    found = {finding.file: finding for finding in arrays.findings(OUT) if finding.kind == "cropped"}
    assert {file: one.detail for file, one in found.items()} == {
        "ant/wide.png": "60 % is cut off",
        "bee/tall.png": "52 % is cut off",
    }
    assert all(one.file in arrays.files(OUT, one.split) for one in found.values())
    assert run(fit="pad")["cropped"] == 0


@pytest.mark.usefixtures("workplace")
def test_copies_and_groups_stay_on_one_side_of_what_is_drawn() -> None:
    pack_copies("")
    report = run(size=16)
    assert (report["images"], report["duplicates"], report["conflicts"]) == (92, 6, 3)
    assert report["leaks"] == {"validation": 0, "test": 0}
    split_of = {file: split for split in arrays.SPLITS for file in arrays.files(OUT, split)}
    for n in range(6):
        assert split_of[f"{'ant' if n % 2 else 'bee'}/copy {n}.png"] == split_of[f"ant/{n}.png"]
        assert split_of[f"bee/member {n + 20}.png"] == split_of[f"bee/{n + 20}.png"]
    assert Counter(finding.kind for finding in arrays.findings(OUT)) == {"duplicate": 6, "conflict": 3}


@pytest.mark.usefixtures("workplace")
def test_a_given_split_that_leaks_is_kept_and_counted() -> None:
    pack_copies("test")
    report = run(size=16, validation_fraction=0)
    assert (report["test"], report["leaks"]) == (12, {"validation": 0, "test": 12})
    leaks = {
        finding.file: (finding.other, finding.detail) for finding in arrays.findings(OUT) if finding.kind == "leak"
    }
    assert leaks["ant/copy 1.png"] == ("ant/1.png", "resized")
    assert leaks["bee/member 20.png"] == ("bee/20.png", "group")


@pytest.mark.usefixtures("workplace")
def test_a_class_of_which_nothing_can_be_read_does_not_vanish() -> None:
    pack({**pictures(20), "cat/1.heic.png": b"no image", "cat/2.heic.png": b"no image"})
    with pytest.raises(RefusedError, match=r"received none of 1, such as cat, whose cat/1\.heic\.png must "):
        run(unreadable="skip")


@pytest.mark.usefixtures("workplace")
def test_images_of_several_sizes_need_one_that_is_not_larger_than_all() -> None:
    pack({**pictures(10), "bee/odd.png": picture(5000, (30, 24))})
    assert "normalize.size must be set where images differ in size" in refusal(size=None)
    assert refusal(size=31) == "normalize.size must be at most 30, the longest side of all; received 31"
    assert run(size=24)["images"] == 21


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"ant/1.png": picture(1), "bee/1.png": picture(2)}, "test_fraction: 0.2 divides 2 images of 2 classes"),
        ({f"{label}/{n}.png": picture(1) for label in ("ant", "bee") for n in range(50)}, "in 1 groups"),
        (dict.fromkeys(("ant/1.png", "bee/1.png"), b"no image"), "every image must be readable; received 2"),
    ],
    ids=["two images", "a hundred copies of one picture", "no image at all"],
)
@pytest.mark.usefixtures("workplace")
def test_images_that_cannot_be_divided_are_one_line(files: dict[str, bytes], says: str) -> None:
    pack(files)
    assert says in refusal().splitlines()[0]


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.usefixtures("workplace")
def test_ten_thousand_classes_of_six_images_are_divided() -> None:
    pack({f"{n % 10_000:05}/{n}.png": picture(n, (10, 10)) for n in range(60_000)})
    report = run(size=None, test_fraction=0.17, validation_fraction=0.2)
    assert (report["images"], report["classes"], report["smallest_class"]) == (60_000, 10_000, 6)
    assert len(np.unique(arrays.load_split(OUT, "train", 10_000)[1])) == 10_000
