"""Rules of params.yaml: one line with key, rule and value."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tasks.params import ParameterError, load_block, parse
from tasks.params.__main__ import main
from tasks.params.document import expand, load_params, override, validate
from tasks.params.model import Model
from tests.support import ROOT
from tests.support.parameters import NOTEBOOK, OFF, edit


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return Path(shutil.copy(ROOT / "params.yaml", tmp_path))


def complaint(file: Path) -> str:
    with pytest.raises(ParameterError) as caught:
        load_params(file)
    (line,) = str(caught.value).splitlines()
    return line.removeprefix(f"{file}: ")


def test_the_committed_file_is_valid_and_its_blocks_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(ROOT / "params.yaml")]) == 0
    assert capsys.readouterr().out.endswith("every parameter is valid\n")
    assert load_params(ROOT / "params.yaml").model == load_block("model", Model, ROOT / "params.yaml")


def test_without_a_validation_split_no_variant_is_looked_at(file: Path) -> None:
    edit(file, normalize__validation_fraction=0)
    assert load_params(file).study.variants["early_stopping"]  # which watches validation


@pytest.mark.parametrize(
    ("change", "key", "named"),
    [
        ({"train__epochs": 0}, "train.epochs", "received 0"),
        ({"train__epochs": "3"}, "train.epochs", "received '3'"),
        ({"train__learning_rate": float("nan")}, "train.learning_rate", "received nan"),
        ({"normalize__groups": r"patient_(\d+"}, "normalize.groups", r"at position 8; received patient_(\d+"),
        ({"normalize__groups": "folders"}, "normalize.groups", r"such as 'patient_(\d+)'; received folders"),
        ({"model__network": "vgg"}, "model.network", "received 'vgg'"),
        ({"model__network": ["vgg"]}, "model.network", "received ['vgg']"),
        ({"model__trainable": "head"}, "model: trainable", "received head"),
        ({"model__network": "pretrained", "model__input_size": 96}, "model: input_size", "received 96"),
        ({"export__formats": ["onnx", "onnx"]}, "export.formats", "must name each format once; received onnx, onnx"),
        ({"export__formats": ["pickle"]}, "export.formats.0", "received 'pickle'"),
        ({"model__filters": []}, "model.filters", "at least 1"),
        ({"model__filters": [8] * 5}, "model: filters", "received 5"),
        ({"model__filters": [32, 0]}, "model.filters.1", "received 0"),
        ({"download__sources": [{"url": "ftp://x/y"}]}, "download.sources.0.url", "'ftp://x/y'"),
        ({"download__sources": [{"url": "https://me:word@x/y"}]}, "download.sources.0.url", "no credentials"),
        ({"download__sources": [{"url": "https://x:99999/y"}]}, "download.sources.0.url", "'https://x:99999/y'"),
        ({"download__sources": [{"npm": "--x@1.0.0"}]}, "download.sources.0.npm", "'--x@1.0.0'"),
        ({"download__sources": [{}]}, "download.sources.0", "`url` and `npm`"),
        (
            {"normalize__validation_fraction": 0, "regularize__early_stopping__patience": 3},
            "regularize.early_stopping.patience",
            "received 3",
        ),
        *(
            ({"train__optimizer": name, "regularize__weight_decay": 0.01}, "regularize.weight_decay", "received 0.01")
            for name in ("adam", "muon")
        ),
        ({"regularize__batch_norm": False}, "train.optimizer", "received muon"),
        ({"model__network": "pretrained"}, "train.optimizer", "received muon"),
        ({"study__variants__typo": {"train.epoch": 3}}, "study.variants.typo: train.epoch", "train.epochs?"),
        ({"study__variants__bad": {"train.epochs": -1}}, "study.variants.bad: train.epochs", "received -1"),
        ({"study__compared": ["none", "nothing"]}, "study: compared", "received nothing"),
    ],
)
def test_a_broken_rule_is_one_line(file: Path, change: dict[str, Any], key: str, named: str) -> None:
    edit(file, **change)
    line = complaint(file)
    assert line.startswith(f"{key}: ") or line.startswith(f"{key} ")
    assert named in line


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "must hold blocks of `key: value`; received None"),
        (b"- 1\n", "must hold blocks"),
        (b"train: {epochs: 1\n", "is not valid YAML"),
        (b"train:\n\tepochs: 1\n", "is not valid YAML"),
        (b"a: 1\na: 2\n", "is not valid YAML: found duplicate key"),
        (b"\xff\xfe\x00", "is not valid YAML"),
        (b"a: \x00", "is not valid YAML"),
        (b"# " + b"x" * 110_000, "must be at most 100,000 bytes; received 110,002"),
        (b"a: !!python/object/apply:os.system ['false']", "is not valid YAML"),
        (b"download: 1\n", "download: must be a valid dictionary"),
        (b"a: [" * 4000, "is not valid YAML"),
        (b"train: &t {epochs: 1}\n", "anchors are refused; write t out"),
        (b"a: &a [x]\n" + b"".join(b"a%d: [%s]\n" % (n, b"*a, " * 9) for n in range(9)), "anchors are refused"),
    ],
)
def test_a_file_that_is_no_parameter_file_is_one_line(file: Path, content: bytes, line: str) -> None:
    file.write_bytes(content)
    assert line in complaint(file)


@pytest.mark.parametrize(
    ("place", "key", "misspelled"),
    [
        ("", "train", "trian"),
        ("train", "learning_rate", "learningrate"),
        ("regularize", "augment", "augmentation"),
        ("regularize.augment", "flip", "flips"),
        ("download.sources.0", "url", "ulr"),
        ("study", "variants", "variant"),
        ("study.base", "train.epochs", "trian.epochs"),
        ("study.variants.l2", "regularize.l2", "regularise.l2"),
    ],
)
def test_a_misspelled_key_is_named_with_the_nearest_one(file: Path, place: str, key: str, misspelled: str) -> None:
    """Name it before any other mistake in the file."""
    yaml = YAML()
    content = yaml.load(file)
    content["train"]["epochs"] = "another mistake"
    inner = content
    for part in place.split(".") if place else []:
        inner = inner[int(part) if part.isdigit() else part]
    inner[misspelled] = inner.pop(key)
    separator = "."
    if place.startswith(("study.base", "study.variants")):
        content["train"]["epochs"], separator = 1, ": "  # overrides are checked once the blocks are right
    yaml.dump(content, file)
    where = f"{place}{separator}" if place else ""
    assert complaint(file) == f"{where}{misspelled}: is no parameter; did you mean {key}?"


def test_the_first_unknown_key_is_named_and_others_counted(file: Path) -> None:
    edit(file, train__epoch=3, train__seeds=1, train__batch_size=0)
    assert complaint(file) == "train.epoch: is no parameter; did you mean epochs? (and 1 more)"


@pytest.mark.parametrize(
    ("key", "instead"),
    [
        ("trian.epochs", "did you mean train.epochs?"),
        ("train.epoch", "did you mean train.epochs?"),
        ("epochs", "did you mean train.epochs?"),
        ("regularize.augment.flp", "did you mean regularize.augment.flip?"),
        ("x", "write it as block.key"),
    ],
)
def test_a_misspelled_override_names_the_nearest_parameter(key: str, instead: str) -> None:
    with pytest.raises(ParameterError) as caught:
        override(parse(ROOT / "params.yaml"), {key: 3})
    assert str(caught.value) == f"overrides: {key}: is no parameter; {instead}"


def test_a_missing_file_names_the_command_that_restores_it(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="cannot be read: No such file or directory; `git checkout"):
        load_params(tmp_path / "params.yaml")


def test_overrides_replace_known_keys_of_a_copy_only() -> None:
    content = {"train": {"epochs": 1, "seed": 2}}
    assert override(content, {"train.epochs": 9}) == {"train": {"epochs": 9, "seed": 2}}
    assert content["train"]["epochs"] == 1
    for key in ("epochs", "train.epoch", "train.epochs.x", "", "train"):
        with pytest.raises(ParameterError, match=re.escape(f"{key}: is no parameter")):
            override(content, {key: 1})


def test_the_reference_variant_is_the_notebooks_recipe() -> None:
    content = parse(ROOT / "params.yaml")
    params = validate(override(content, expand(content, "reference")["reference"]), "reference")
    assert (params.train.epochs, params.train.batch_size, params.train.learning_rate) == (150, 64, 3e-4)
    assert (params.train.optimizer, params.train.schedule, params.train.precision) == ("adam", "constant", "float32")
    assert params.model.model_dump() == NOTEBOOK
    assert params.regularize.model_dump() == {**OFF, "l2": 0.01, "dropout": 0.5}
    assert params.normalize.method == "rescale"


def test_the_command_ends_with_two_and_one_line(file: Path) -> None:
    edit(file, train__epochs=0)
    command = [sys.executable, "-X", "importtime", "-m", "tasks.params", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = done.stderr.splitlines(keepends=True)
    imported = {line.split("|")[-1].split(".")[0].strip() for line in lines if line.startswith("import time:")}
    assert "pydantic" in imported
    assert not imported & {"keras", "tensorflow", "sklearn", "scipy", "numpy", "prefect", "dvc"}
    assert done.returncode == 2
    output = "".join(line for line in lines if not line.startswith("import time:"))
    assert output == f"error: {file}: train.epochs: must be greater than or equal to 1; received 0\n"


STUDY = {
    "seeds": 2,
    "compared": ["none"],
    "base": {"train.epochs": 9},
    "variants": {
        "none": {},
        "l2": {"train.rate": 0.1},
        "wide": {"train.filters": [8, 16]},
        "sweep": {"train.rate": [0.0, 0.5]},
        "twice": {"train.rate": [0, 1], "train.epochs": [1, 2]},
    },
}
CONTENT: dict[str, Any] = {"train": {"epochs": 1, "rate": 0.0, "filters": [4, 4]}, "study": STUDY}


def test_variants_are_the_base_and_the_differences_of_all_parts() -> None:
    assert expand(CONTENT, "none") == {"none": {"train.epochs": 9}}
    assert expand(CONTENT, "wide") == {"wide": {"train.epochs": 9, "train.filters": [8, 16]}}
    both = {"train.epochs": 9, "train.rate": 0.1, "train.filters": [8, 16]}
    assert expand(CONTENT, "l2+wide") == {"l2+wide": both}
    with pytest.raises(ParameterError, match="drop: is no variant; known: none, l2, wide"):
        expand(CONTENT, "none+drop")


def test_a_list_for_a_single_value_is_a_sweep() -> None:
    assert expand(CONTENT, "sweep") == {
        "sweep=0.0": {"train.epochs": 9, "train.rate": 0.0},
        "sweep=0.5": {"train.epochs": 9, "train.rate": 0.5},
    }
    with pytest.raises(
        ParameterError, match=r"twice: must sweep over one parameter; received train.epochs, train.rate"
    ):
        expand(CONTENT, "twice")
