"""Hostile or damaged pretrained weights are one line, and run nothing."""

import hashlib
import pickle
from collections.abc import Callable
from importlib import metadata
from pathlib import Path, PurePosixPath

import keras
import pytest

from tasks.errors import RefusedError
from tasks.models import pretrained
from tasks.pretrained import lite0
from tests.support import state_dicts
from tests.support.arrays import BACKBONE

NAME = "efficientnet-lite0-57934424.pth"


class Installed(PurePosixPath):
    """A file of a package, here in the working folder."""

    def locate(self) -> Path:
        return Path(self)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], Path]:
    """Install other weights, with a checksum list of their digest."""
    monkeypatch.chdir(tmp_path)

    def install(content: bytes) -> Path:
        Path(NAME).write_bytes(content)
        monkeypatch.setattr(metadata, "files", lambda package: [Installed(NAME)])
        Path("list.sha256").write_text(f"{hashlib.sha256(content).hexdigest()}  {NAME}\n")
        return Path("list.sha256")

    return install


def refusal(path: Path, network: str = "efficientnet_lite0") -> str:
    with pytest.raises(RefusedError) as caught:
        pretrained.load_pretrained(path, network, None)
    (line,) = str(caught.value).splitlines()
    assert not Path("ran").exists()
    return line


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (
            lambda: state_dicts.written([0.0], evil=state_dicts.Runs()),
            "it names posix.system, which no state dict needs",
        ),
        (lambda: state_dicts.written([0.0], weight=(0, (1,), (1,))), "it lacks the array conv_stem.weight"),
    ],
    ids=["os.system", "no layers"],
)
def test_hostile_weights_are_refused_and_run_nothing(
    installed: Callable[[bytes], Path], content: Callable[[], bytes], why: str
) -> None:
    line = refusal(installed(content()))
    assert line.startswith(f"{NAME} must hold the weights of EfficientNet-Lite0: ")
    assert why in line
    assert line.endswith("; `git checkout list.sha256 && make setup`")


def test_weights_with_another_digest_are_refused_unread(installed: Callable[[bytes], Path]) -> None:
    path = installed(pickle.dumps(state_dicts.Runs()))
    path.write_text(BACKBONE.read_text())
    assert refusal(path).startswith(f"SHA-256 of {NAME} must be 57934424")


def test_without_the_package_the_next_command_is_named(
    installed: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = installed(b"")
    Path("list.sha256").write_text(BACKBONE.read_text().replace("57934424.pth", "b0.pth"))
    assert refusal(path).endswith("must have the file efficientnet-lite0-b0.pth; received none; run `make setup`")
    monkeypatch.undo()
    monkeypatch.setattr(lite0, "PACKAGE", "no-such-package")
    assert refusal(BACKBONE) == "no-such-package must be installed for efficientnet_lite0; run `make setup`"


@pytest.mark.parametrize(
    ("name", "network", "line"),
    [
        ("w.keras", "efficientnet_lite0", "received w.keras; set model.network to pretrained"),
        ("w.sha256", "pretrained", "received w.sha256; set model.network to efficientnet_lite0"),
        ("w.pth", "pretrained", "received w.pth; `git checkout dvc.yaml` brings the checksums back"),
        ("none.sha256", "efficientnet_lite0", "none.sha256 must be a list of checksums; received no file; `git"),
        ("none.keras", "pretrained", "none.keras must be a Keras model that loads in safe mode: "),
        ("two.sha256", "efficientnet_lite0", "two.sha256: line 2: must be a SHA-256, two spaces and the name of a"),
    ],
)
def test_another_file_as_backbone_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, network: str, line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("two.sha256").write_text(BACKBONE.read_text() * 2)
    assert line in refusal(Path(name), network)


def test_a_keras_model_that_is_no_classifier_of_pixels_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for pixels, last in (("float32", keras.layers.Dense(4)), ("uint8", keras.layers.ReLU())):
        inputs = keras.Input((8, 8, 3), dtype=pixels)
        flat = keras.layers.GlobalMaxPooling2D()(keras.layers.Rescaling(0.1)(inputs))
        keras.Model(inputs, last(flat)).save("own.keras")
        assert f"received {pixels} pixels and {type(last).__name__}; copy" in refusal(Path("own.keras"), "pretrained")
    code = keras.layers.Lambda(lambda x: x[:, 0, 0])(inputs)
    keras.Model(inputs, keras.layers.Dense(4)(code)).save("own.keras")
    assert "must be a Keras model that loads in safe mode" in refusal(Path("own.keras"), "pretrained")
