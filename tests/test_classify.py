"""The command classify, on a small model trained for these tests."""

import csv
import html
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import ExifTags, Image
from scipy.special import softmax
from sklearn.datasets import load_sample_image

from tasks.classify import main
from tasks.data.digests import compute_md5
from tasks.evaluate import evaluate
from tasks.export import export
from tasks.exporting.usage import exported_lines
from tasks.models.saved_model import save_model
from tasks.report import report
from tasks.train import train
from tests.support import ROOT
from tests.support.arrays import (
    BACKBONE,
    DATA,
    DETAILS,
    EVALUATED,
    FOLDS,
    HISTORY,
    MODEL,
    NAMES,
    PAGE,
    REPORTED,
    SIZES,
    write_arrays,
)
from tests.support.parameters import SMALL, edit
from tests.support.pictures import FOLDER, palette, scene, translucent

CALIBRATION = DETAILS / "calibration.json"
EXPORTS = Path("models/exports")


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train, evaluate and report a small model."""
    folder = tmp_path_factory.mktemp("evaluated")
    shutil.copy(ROOT / "dvc.yaml", folder)
    shutil.copy(ROOT / "params.yaml", folder)
    edit(folder / "params.yaml", **SMALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_arrays(folder / DATA, **SIZES)
        train(normalized=DATA, backbone=BACKBONE, model_path=MODEL, folds_path=FOLDS, history_path=HISTORY)
        evaluate(normalized=DATA, model_path=MODEL, **EVALUATED)
        report(normalized=DATA, model_path=MODEL, **REPORTED)
    return folder


@pytest.fixture
def pictures(evaluated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Write three test images: one unchanged, one larger, one grey with transparency."""
    shutil.copytree(evaluated, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    images = [Image.fromarray(image) for image in np.load(DATA / "test_images.npy")[:3]]
    images[0].save("as-it-is.png")
    images[1].resize((200, 120)).save("large.jpg")
    images[2].convert("LA").save("grey.png")
    return [Path(name) for name in ("as-it-is.png", "large.jpg", "grey.png")]


def _set_fit(fit: str) -> None:
    """State how pictures were brought to the images' shape."""
    described = DATA / "dataset.json"
    described.write_text(json.dumps({**json.loads(described.read_text()), "fit": fit}))


def _set_temperature(temperature: float) -> None:
    """State a temperature; so few validation images as here justify none."""
    CALIBRATION.write_text(json.dumps({**json.loads(CALIBRATION.read_text()), "temperature": temperature}))


def test_it_prints_the_most_probable_classes_and_what_was_resized(
    pictures: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*map(str, pictures), "--top", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()[-3:]
    assert [line.split(":")[0] for line in lines] == [str(path) for path in pictures]
    assert all(line.count("%") == 2 for line in lines)
    assert ["(resized from 200 × 120 (crop))" in line for line in lines] == [False, True, False]


def test_its_probabilities_are_the_models_at_the_fitted_temperature(
    pictures: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    _set_temperature(temperature := 0.5)
    assert main([str(pictures[0]), "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    logits = keras.models.load_model(MODEL).predict(np.load(DATA / "test_images.npy")[:1], verbose=0)
    expected = softmax(logits[0].astype("float64") / temperature)
    assert result["classes"] == pytest.approx(dict(zip(NAMES, expected, strict=True)), abs=1e-6)
    assert list(result["classes"].values()) == sorted(result["classes"].values(), reverse=True)


def test_page_csv_and_classify_show_one_probability(pictures: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(pictures[0]), "--json"]) == 0
    first = next(iter(json.loads(capsys.readouterr().out)[0]["classes"].items()))
    with (DETAILS / "predictions.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert row["predicted"] == first[0]
    assert float(row["probability"]) == pytest.approx(first[1], abs=2e-6)


def _odd_pictures() -> list[str]:
    """Write pictures that Pillow alone reads otherwise than a browser shows them."""
    photograph = Image.fromarray(np.asarray(load_sample_image("china.jpg")))  # 640 × 427
    sideways = Image.Exif()
    sideways[ExifTags.Base.Orientation] = 6
    photograph.save("sideways.jpg", exif=sideways)
    photograph.convert("CMYK").save("cmyk.jpg")
    photograph.convert("L").save("grey.jpg")
    photograph.crop((0, 100, 640, 200)).save("panorama.png")
    photograph.crop((0, 0, 30, 400)).save("strip.png")
    photograph.quantize(16).save("palette.gif", transparency=3)
    translucent().save("translucent.webp", lossless=True)
    palette(bytes(range(0, 256, 16))).save("palette.png", transparency=bytes(range(0, 256, 16)))
    scene("LA").save("grey-alpha.png")
    shutil.copy(FOLDER / "rgba_green_hidden.png", "hidden.png")
    names = [path.name for path in sorted(Path().glob("*.*")) if path.suffix in {".png", ".jpg", ".gif", ".webp"}]
    assert len(names) == 13
    return names


@pytest.mark.slow
@pytest.mark.parametrize(("fit", "augmentation"), [("crop", "none"), ("pad", "mirror"), ("stretch", "none")])
@pytest.mark.usefixtures("pictures")
def test_the_lines_on_the_page_answer_as_classify_does(
    fit: str, augmentation: str, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(Path("params.yaml"), normalize__fit=fit, evaluate__test_time_augmentation=augmentation)
    _set_fit(fit)
    report(normalized=DATA, model_path=MODEL, **REPORTED)
    (lines,) = re.findall(r"<pre><code>(.+?)</code></pre>", PAGE.read_text(), re.DOTALL)
    lines = html.unescape(lines)
    _set_temperature(0.5)
    names = _odd_pictures()
    capsys.readouterr()
    assert main([*names, "--json"]) == 0
    for row in json.loads(capsys.readouterr().out):
        exec(lines.replace("image.png", row["image"]), {})
        said = dict(line.split(": ") for line in capsys.readouterr().out.splitlines())
        shown = {name: float(percentage.strip("%")) / 100 for name, percentage in said.items()}
        assert shown == pytest.approx(row["classes"], abs=6e-4), row["image"]  # a tenth of a percent is printed


@pytest.mark.usefixtures("pictures")
def test_while_another_model_is_made_that_of_the_last_report_answers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["as-it-is.png"]) == 0
    answer = capsys.readouterr().out
    digest = json.loads(CALIBRATION.read_text())["model"]
    cached = Path(".dvc/cache/files/md5", digest[:2], digest[2:])
    cached.parent.mkdir(parents=True)
    MODEL.rename(cached)  # as DVC does while stage train runs
    for content in (None, b"a new model that no report describes yet"):
        if content:
            MODEL.write_bytes(content)
        assert main(["as-it-is.png"]) == 0
        assert capsys.readouterr() == (
            answer,
            "note: a run has begun and not ended; the model of the last report answers\n",
        )
    cached.unlink()
    assert main(["as-it-is.png"]) == 2
    assert f"error: {MODEL} must be the model of {CALIBRATION}, whose MD5 is {digest}" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("pictures")
def test_a_reader_that_ends_early_leaves_no_trace() -> None:
    command = f"{sys.executable} -m tasks.classify as-it-is.png --json | head -n 1"
    done = subprocess.run(
        command, shell=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("[\n", "")


def test_a_file_that_is_no_image_costs_no_other_one(pictures: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    Path("text.png").write_text("not an image")
    Path("cut.png").write_bytes(pictures[0].read_bytes()[:60])
    Path("folder.png").mkdir()
    assert main([str(pictures[0]), "text.png", "cut.png", "nowhere.png", "folder.png"]) == 2
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1].startswith("as-it-is.png: ")
    errors = captured.err.splitlines()[-4:]
    assert all(f"error: {name}: must be an image, such as a PNG or JPEG file" in line for name, line in zip(
        ("text.png", "cut.png", "nowhere.png", "folder.png"), errors, strict=True))  # fmt: skip
    assert "No such file" in errors[2]


@pytest.mark.usefixtures("pictures")
def test_odd_names_and_files_cost_no_other_image(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Classify files with odd names, EXIF and kinds where output is ASCII."""
    image, odd = Path("as-it-is.png").read_bytes(), (FOLDER / "exif_datetime_as_rational.jpg").read_bytes()
    names = {b"caf\xe9.png": image, b"two\nlines\x1b[31m.png": image, "é.png".encode(): image, b"odd.jpg": odd}
    for name, content in names.items():
        Path(os.fsdecode(name)).write_bytes(content)
    os.mkfifo("pipe.png")
    command = [sys.executable, "-m", "tasks.classify", *map(os.fsdecode, names), "pipe.png", os.fsdecode(b"n\xe9.png")]
    environment = {**os.environ, "LANG": "C", "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)}

    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 2, done.stderr
    assert [line.split(": ")[0] for line in done.stdout.splitlines()] == [
        r"caf\udce9.png",
        r"two\nlines\x1b[31m.png",
        r"\xe9.png",
        "odd.jpg",
    ]
    assert done.stdout.splitlines()[-1].endswith(r"(resized from 32 \xd7 40 (crop))")
    rule = "must be an image, such as a PNG or JPEG file"
    assert done.stderr.splitlines()[-2:] == [
        f"error: pipe.png: {rule}: it is no regular file",
        rf"error: n\udce9.png: {rule}: No such file or directory",
    ]
    assert main([*map(os.fsdecode, names), "--json"]) == 0
    assert [os.fsencode(entry["image"]) for entry in json.loads(capsys.readouterr().out)] == list(names)


@pytest.mark.usefixtures("pictures")
def test_a_transparent_image_is_classified_as_it_looks_on_white(capsys: pytest.CaptureFixture[str]) -> None:
    Image.open(FOLDER / "rgba_green_hidden.png").convert("RGB").save("green.png")
    white = Image.new("RGB", (32, 32), "white")
    white.paste((200, 30, 30), (8, 8, 24, 24))
    white.save("white.png")
    assert main([str(FOLDER / "rgba_green_hidden.png"), "white.png", "green.png", "--json"]) == 0
    hidden, on_white, green = json.loads(capsys.readouterr().out)
    assert hidden["classes"] == on_white["classes"] != green["classes"]
    assert (hidden["note"], on_white["note"]) == ("transparency over white", "")


def test_before_the_first_run_the_next_command_is_named(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(ROOT / "dvc.yaml", workplace)
    assert main(["x.png"]) == 2
    message = f"error: {CALIBRATION} must exist; `dvc repro` makes it, or a run that is at work does\n"
    assert capsys.readouterr().err == message


def test_no_class_at_all_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["x.png", "--top", "0"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith("error: --top must be at least 1; received 0\n")


@pytest.mark.parametrize(
    "change",
    [
        {"model": 1},
        {"temperature": 0},
        {"test_time_augmentation": "every"},
        {"fit": "squeeze"},
        {"classes": [1, 2, 3, 4]},
        {"unknown": 1},
        "{",
        "[]",
    ],
)
@pytest.mark.usefixtures("pictures")
def test_a_damaged_calibration_is_one_line(capsys: pytest.CaptureFixture[str], change: dict[str, Any] | str) -> None:
    damaged = {**json.loads(CALIBRATION.read_text()), **change} if isinstance(change, dict) else None
    CALIBRATION.write_text(json.dumps(damaged) if damaged else str(change))
    assert main(["as-it-is.png"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {CALIBRATION} must hold classes, ")
    assert "`make doctor` restores it" in line


def _export(*formats: str) -> None:
    edit(Path("params.yaml"), export__formats=[*formats])
    export(
        normalized=DATA, model_path=MODEL, folds_path=FOLDS, exports=EXPORTS, metrics_path=Path("reports/export.json")
    )


@pytest.mark.usefixtures("pictures")
def test_the_onnx_file_answers_without_tensorflow_and_as_keras_does(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.export.fit_temperature", lambda *_: 0.5)
    _export("onnx")
    _set_temperature(0.5)
    names = _odd_pictures()
    code = "import sys, tasks; sys.modules.update(dict.fromkeys(['tensorflow', 'keras', 'jax', 'sklearn', 'scipy']))"
    command = [sys.executable, "-c", f"{code}; import tasks.classify; sys.exit(tasks.classify.main())", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, *names], env=environment, capture_output=True, text=True, check=True)
    (EXPORTS / "classifier.onnx").unlink()
    capsys.readouterr()
    assert main([*names, "--json"]) == 0
    for row, expected in zip(json.loads(done.stdout), json.loads(capsys.readouterr().out), strict=True):
        assert row == {**expected, "classes": pytest.approx(expected["classes"], abs=1e-5)}


@pytest.mark.usefixtures("pictures")
def test_the_keras_file_answers_where_the_onnx_file_is_of_another_model_or_damaged(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _export("onnx")
    assert main(["as-it-is.png"]) == 0
    answer = capsys.readouterr().out.splitlines()[-1:]
    other = keras.models.load_model(MODEL)
    other.set_weights([weight * 0 for weight in other.get_weights()])
    save_model(other, MODEL, "crop")
    _export("onnx")
    evaluate(normalized=DATA, model_path=MODEL, **EVALUATED)
    shutil.copy(EXPORTS / "classifier.onnx", "zero.onnx")
    report(normalized=DATA, model_path=MODEL, **REPORTED)
    assert main(["as-it-is.png"]) == 0
    assert capsys.readouterr().out.splitlines()[-1:] != answer
    renamed = json.loads(CALIBRATION.read_text())  # as after a class was renamed: the weights are the same
    CALIBRATION.write_text(json.dumps({**renamed, "classes": ["new", *renamed["classes"][1:]]}))
    assert main(["as-it-is.png", "--top", "4"]) == 0
    said = capsys.readouterr()
    assert "new " in said.out
    assert f"note: {EXPORTS / 'classifier.onnx'} is of another run; {MODEL} answers" in said.err
    (EXPORTS / "classifier.onnx").write_bytes(b"damaged")
    assert main(["as-it-is.png"]) == 0
    assert "classifier.onnx must be a file that stage export wrote" in capsys.readouterr().err


PACKAGES = ("ai-edge-litert", "numpy", "onnxruntime", "pillow")


@pytest.mark.slow
@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_the_lines_of_the_docs_answer_as_classify_does_without_this_project(
    fit: str,
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In an environment without TensorFlow, with copies of the files alone."""
    away = tmp_path_factory.mktemp("away")
    uv, locked = Path(sys.executable).with_name("uv"), [f"{name}=={version(name)}" for name in PACKAGES]
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, away / "venv"], check=True)
    python = away / "venv/bin/python"
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *locked], check=True)
    assert subprocess.run([python, "-c", "import tensorflow"], cwd=away, capture_output=True, check=False).returncode
    monkeypatch.setattr("tasks.export.fit_temperature", lambda *_: 0.5)
    _set_fit(fit)
    _export("onnx", "litert")
    report(normalized=DATA, model_path=MODEL, **REPORTED)
    _set_temperature(0.5)
    shutil.copytree(EXPORTS, away / EXPORTS)
    names = _odd_pictures()
    capsys.readouterr()
    assert main([*names, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    for file in ("classifier.onnx", "classifier.tflite"):
        for row in rows:
            shutil.copy(row["image"], away / "image.png")
            done = subprocess.run(
                [python, "-c", exported_lines(file, fit).replace(":.1%", "")],
                cwd=away,
                env={"PATH": ""},
                capture_output=True,
                text=True,
                check=True,
            )
            said = dict(line.split(": ") for line in done.stdout.splitlines())
            shown = {name: float(probability) for name, probability in said.items() if name in NAMES}
            assert shown == pytest.approx(row["classes"], abs=5e-4), (file, row["image"])


@pytest.mark.usefixtures("pictures")
def test_a_model_that_carries_code_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    inputs = keras.Input((32, 32, 3))
    keras.Model(inputs, keras.layers.Dense(4)(keras.layers.Lambda(lambda x: x[:, 0, 0])(inputs))).save(MODEL)
    about = json.loads(CALIBRATION.read_text())
    CALIBRATION.write_text(json.dumps({**about, "model": compute_md5(MODEL)}))
    assert main(["as-it-is.png"]) == 2
    assert "must be a Keras model that loads in safe mode" in capsys.readouterr().err
