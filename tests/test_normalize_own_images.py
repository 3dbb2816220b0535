"""normalize on packed images: what is odd about them is named, counted or refused, and no image is lost in silence."""

import csv
import io
import json
import re
import shutil
import struct
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from tasks.data import arrays
from tasks.data.digests import hash_text
from tasks.data.images import read_resized_picture
from tasks.datasets import packed
from tasks.errors import RefusedError
from tasks.normalize import normalize
from tasks.params import ParameterError
from tests.support import ROOT
from tests.support.arrays import BACKBONE
from tests.support.parameters import edit
from tests.support.pictures import encoded, noise

RAW, OUT, REPORT = Path("raw"), Path("normalized"), Path("reports/dataset.json")


def claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims a size."""
    content = noise(1)
    header = b"IHDR" + struct.pack(">II", width, height) + content[24:29]
    return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]


def pictures(n: int, labels: tuple[str, ...] = ("ant", "bee")) -> dict[str, bytes]:
    numbers = [(place, number) for place in range(len(labels)) for number in range(n)]
    return {f"{labels[place]}/{number}.png": noise(1000 * place + number) for place, number in numbers}


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
        packed.Example(f"{label}/copy {n}.png", label, split): noise(n, (40, 32))
        for n, label in enumerate(("bee", "ant") * 3)
    }
    members = {
        packed.Example(f"bee/member {n}.png", "bee", split, f"group bee/{n}.png"): noise(5000 + n)
        for n in range(20, 26)
    }
    packed.write_packed(RAW, (originals | copies | members).items())


def run(**parameters: object) -> dict[str, object]:
    changed = {"size": 8, "train_images": None, "validation_fraction": 0.2, **parameters}
    edit(Path("params.yaml"), **{f"normalize__{key}": value for key, value in changed.items()})
    normalize(raw=RAW, normalized=OUT, report_path=REPORT, weights=BACKBONE)
    report: dict[str, object] = json.loads(REPORT.read_text())
    return report


def refusal(**parameters: object) -> str:
    with pytest.raises(RefusedError) as caught:
        run(**parameters)
    assert not OUT.exists()
    assert not REPORT.exists()
    return str(caught.value)


@pytest.mark.usefixtures("workplace")
def test_the_chosen_classes_alone_are_decoded_and_written() -> None:
    pack({**pictures(20, ("ant", "bee", "cow")), "bee/broken.png": b"nothing"})
    assert "received cows; did you mean cow?" in refusal(classes=["cows", "ant"])
    report = run(classes=["cow", "ant"])
    assert (report["images"], report["classes"], report["unreadable"]) == (40, 2, 0)
    images, labels = arrays.load_split(OUT, "train", 2)
    for pixels, label, name in zip(images, labels, arrays.files(OUT, "train"), strict=True):
        assert (name.split("/")[0], arrays.class_names(OUT)) == (("ant", "cow")[label], ["ant", "cow"])
        expected = read_resized_picture(pictures(20, ("ant", "bee", "cow"))[name], (8, 8), "crop").pixels
        np.testing.assert_array_equal(pixels, expected)


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
    broken = {"bee/text.png": b"no image", "ant/cut.png": noise(1)[:60], "ant/huge.png": claiming(30_000, 30_000)}
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
            "ant/wide.png": noise(1, (50, 20)),
            "bee/tall.png": noise(2, (10, 21)),
            "bee/half.png": noise(3, (20, 10)),
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
def test_copies_and_groups_stay_on_one_side_of_what_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    pack_copies("")
    report = run(size=16)
    said = "normalize: 6 pairs of copies, 3 of them with two labels; all are in normalized/findings.csv\n"
    assert capsys.readouterr().out.endswith(said)
    assert (report["images"], report["duplicates"], report["conflicts"]) == (92, 6, 3)
    assert report["leaks"] == {"validation": 0, "test": 0}
    split_of = {file: split for split in arrays.SPLITS for file in arrays.files(OUT, split)}
    for n in range(6):
        assert split_of[f"{'ant' if n % 2 else 'bee'}/copy {n}.png"] == split_of[f"ant/{n}.png"]
        assert split_of[f"bee/member {n + 20}.png"] == split_of[f"bee/{n + 20}.png"]
    findings = arrays.findings(OUT)
    assert Counter(finding.kind for finding in findings) == {"duplicate": 6, "conflict": 3, "close": 8}
    close = [finding for finding in findings if finding.kind == "close"]
    similarities = [float(finding.detail) for finding in close]
    assert similarities == sorted(similarities, reverse=True)
    assert {finding.split for finding in close} <= {"validation", "test"}
    assert {finding.other_split for finding in close} == {"train"}


@pytest.mark.usefixtures("workplace")
def test_pictures_with_two_labels_can_be_left_out_with_all_copies() -> None:
    pack_copies("")
    report = run(size=16, conflicts="leave_out")
    assert (report["images"], report["conflicts"], report["left_out"]) == (92, 3, 6)
    assert sum(int(str(report[split])) for split in arrays.SPLITS) == 86
    left_out = {finding.file for finding in arrays.findings(OUT) if finding.kind == "left out"}
    assert left_out == {f"{label}/{name}.png" for n in (0, 2, 4) for label, name in (("ant", n), ("bee", f"copy {n}"))}
    assert not left_out & {file for split in arrays.SPLITS for file in arrays.files(OUT, split)}


@pytest.mark.usefixtures("workplace")
def test_a_class_that_conflicts_as_a_whole_does_not_vanish() -> None:
    pack({**pictures(20), **{f"cat/{n}.png": noise(n) for n in range(3)}})
    assert "received none of cat, all of whose images have copies with another" in refusal(conflicts="leave_out")


def part(label: str, number: int) -> bytes:
    """A picture of a fixed camera over a conveyor: the same part, noise, and perhaps a scratch."""
    rng = np.random.default_rng([len(label), number])
    row, column = np.mgrid[:64, :64]
    grey = np.where(np.hypot(row - 32, column - 32) < 24, 200.0, 40.0)
    if label == "scratch":
        place = rng.integers(20, 40, 2)
        grey[place[0] : place[0] + 2, place[1] : place[1] + 7] = 60
    pixels = (grey[..., None] + rng.normal(0, 3, (64, 64, 3))).clip(0, 255).astype(np.uint8)
    return encoded(Image.fromarray(pixels), "PNG")


@pytest.mark.usefixtures("workplace")
def test_a_fixed_camera_is_named_with_the_setting_that_trains_on_it() -> None:
    pack({f"{label}/{n}.png": part(label, n) for label in ("good", "scratch") for n in range(30)})
    message = refusal(size=None)
    assert re.search(r"; 5\d of 60 images were taken for copies of one picture, such as good/\d+\.png and ", message)
    assert message.endswith("; if they are not, set normalize.copies to none")
    report = run(size=None, copies="none")
    assert report["duplicates"] == 0
    assert 6 <= int(str(report["test"])) <= 18
    assert len([finding for finding in arrays.findings(OUT) if finding.kind == "close"]) == 8


@pytest.mark.slow
@pytest.mark.usefixtures("workplace")
def test_strict_finds_a_part_of_a_photograph() -> None:
    """Hashes do not: the part lies elsewhere in the picture, and is larger."""
    files = pictures(20)
    for number, photograph in enumerate(("astronaut", "chelsea", "coffee")):
        whole = Image.fromarray(getattr(data, photograph)())
        for name, image in (("whole", whole), ("part", whole.crop((12, 12, whole.width, whole.height)))):
            files[f"ant/{name} {number}.png"] = encoded(image.resize((128, 128)), "PNG")
    pack(files)
    assert run(size=128)["duplicates"] == 0
    assert run(size=128, copies="strict")["duplicates"] == 3
    found = [{one.file, one.other} for one in arrays.findings(OUT) if one.kind == "duplicate" and one.detail == "alike"]
    assert all({f"ant/{name} {number}.png" for name in ("whole", "part")} in found for number in range(3))


def test_without_strict_no_network_is_imported() -> None:
    code = "import sys, tasks.normalize; print({'keras', 'tensorflow'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True) == "set()\n"


@pytest.mark.usefixtures("workplace")
def test_folders_become_groups_that_stay_on_one_side(capsys: pytest.CaptureFixture[str]) -> None:
    patients = {f"{'ant' if n < 32 else 'bee'}/patient {n % 8}/{n}.png": noise(n) for n in range(64)}
    pack(patients | {f"bee/unknown/{n}.png": noise(n) for n in range(100, 130)} | {"ant/1.png": noise(200)})
    run(groups="folder")
    said = capsys.readouterr().out
    assert "normalize: 9 groups of images, and 1 images on their own\n" in said
    assert "warning: group unknown, 30 of 95 images, is all train; if they need not stay together" in said
    sides = {(file.split("/")[1], split) for split in arrays.SPLITS for file in arrays.files(OUT, split)}
    assert len(sides) == 10
    assert {split for _, split in sides} == {*arrays.SPLITS}
    rule = r"(patient \d)"
    with pytest.raises(RefusedError, match=r"found none in 31 of 95: .*leaves such files on their own"):
        run(groups=rule)


@pytest.mark.usefixtures("workplace")
def test_groups_come_from_a_table_or_from_a_rule() -> None:
    pack_copies("")
    assert refusal(groups="folder") == (
        "normalize.groups must be null for CIFAR-10 and where a table names groups; received folder"
    )


@pytest.mark.usefixtures("workplace")
def test_other_images_leave_the_test_set_as_it_was_and_its_digest_tells_when_it_grew() -> None:
    numbers, sets = [], []
    for n_more in (0, 1, 20):
        shutil.rmtree(RAW, ignore_errors=True)
        pack({**pictures(30), **{f"ant/more {n}.png": noise(20_000 + n) for n in range(n_more)}})
        numbers.append(run()["test_set_digest"])
        sets.append({*arrays.files(OUT, "test")})
    assert sets[0] == sets[1] < sets[2]
    assert numbers[0] == numbers[1] != numbers[2]
    ids = {row.file: hash_text(row.sha256) for row in packed._read_manifest(RAW / packed.MANIFEST)}
    assert arrays.test_ids(OUT).tolist() == [ids[file] for file in arrays.files(OUT, "test")]
    description = json.loads((OUT / "dataset.json").read_text())["split"]
    assert {**description, "rule": ""} == {"rule": "", "seed": 0, "test_fraction": 0.2, "validation_fraction": 0.2}


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
    pack({**pictures(10), "bee/odd.png": noise(5000, (30, 24))})
    assert "normalize.size must be set where images differ in size" in refusal(size=None)
    assert refusal(size=31) == "normalize.size must be at most 30, the longest side of all; received 31"
    assert run(size=24)["images"] == 21


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"ant/1.png": noise(1), "bee/1.png": noise(2)}, "test_fraction: 0.2 divides 2 images of 2 classes"),
        (
            {f"{label}/{n}.png": noise(1) for label in ("ant", "bee") for n in range(50)},
            "100 of 100 images were taken for copies",
        ),
        (dict.fromkeys(("ant/1.png", "bee/1.png"), b"no image"), "every image must be readable; received 2"),
    ],
    ids=["two images", "a hundred copies of one picture", "no image at all"],
)
@pytest.mark.usefixtures("workplace")
def test_images_that_cannot_be_divided_are_one_line(files: dict[str, bytes], says: str) -> None:
    pack(files)
    assert says in refusal().splitlines()[0]


@pytest.mark.usefixtures("workplace")
def test_folds_hold_out_every_image_once_with_its_copies(capsys: pytest.CaptureFixture[str]) -> None:
    pack_copies("")
    report = run(folds=5)
    assert (report["train"], report["validation"], report["test"]) == (92, 0, 92)
    plan, groups = arrays.folds(OUT), arrays.groups(OUT, "test")
    assert plan is not None
    assert arrays.files(OUT, "train") == arrays.files(OUT, "test")
    assert (arrays.held_out_split(OUT), len(arrays.test_ids(OUT))) == ("test", 92)
    assert ((plan == arrays.HELD_OUT).sum(axis=1) == 1).all()
    for group in np.unique(groups):
        assert len(np.unique(plan[groups == group], axis=0)) == 1
    assert len(np.unique(groups)) == 80
    assert report["leaks"] == {"validation": 0, "test": 0}
    assert "5 folds hold out each of 92 images once" in capsys.readouterr().out


@pytest.mark.usefixtures("workplace")
def test_folds_name_rare_classes_and_large_groups(capsys: pytest.CaptureFixture[str]) -> None:
    pack({**pictures(20), "cat/0.png": noise(7000), "cat/1.png": noise(7001)})
    report = run(folds=5, groups=r".*?(?:ant/(1)\d?\.png)|(.+)")
    output = capsys.readouterr().out
    assert "2 images are trained on and never predicted, as a class must have 5 images that need not stay" in output
    assert output.count(": cat\n") == 1
    assert "11 of 42 images stay together, and are held out at once" in output
    assert (report["train"], report["test"]) == (42, 40)


@pytest.mark.usefixtures("workplace")
def test_folds_divide_what_a_given_test_split_leaves_and_refuse_a_given_validation_split() -> None:
    RAW.mkdir()
    names = pictures(20)
    packed.write_packed(
        RAW, ((packed.Example(name, name[:3], "test" if "7" in name else "train"), names[name]) for name in names)
    )
    report = run(folds=3, train_images=30)
    assert (report["train"], report["validation"], report["test"]) == (30, 30, 4)
    assert arrays.held_out_split(OUT) == "validation"
    assert not set(arrays.files(OUT, "train")) & set(arrays.files(OUT, "test"))
    shutil.rmtree(RAW)
    RAW.mkdir()
    packed.write_packed(
        RAW, ((packed.Example(name, name[:3], "validation" if "7" in name else "train"), names[name]) for name in names)
    )
    shutil.rmtree(OUT)
    REPORT.unlink()
    assert refusal(folds=3) == "normalize.folds must be 0 where the data set gives a validation split; received 3"


@pytest.mark.usefixtures("workplace")
def test_few_images_are_told_of_folds(capsys: pytest.CaptureFixture[str]) -> None:
    pack(pictures(20))
    n_test = run()["test"]
    said = f"of 40 images, normalize.folds: 5 would judge by all, instead of by the {n_test} of test"
    assert said in capsys.readouterr().out
    with pytest.raises(ParameterError, match="folds: must be 0, which is off, or 2 or more; received 1"):
        run(folds=1)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.usefixtures("workplace")
def test_ten_thousand_classes_of_six_images_are_divided() -> None:
    pack({f"{n % 10_000:05}/{n}.png": noise(n, (10, 10)) for n in range(60_000)})
    report = run(size=None, test_fraction=0.17, validation_fraction=0.2)
    assert (report["images"], report["classes"], report["smallest_class"]) == (60_000, 10_000, 6)
    assert len(np.unique(arrays.load_split(OUT, "train", 10_000)[1])) == 10_000
