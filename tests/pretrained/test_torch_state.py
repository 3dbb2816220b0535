"""State dicts of PyTorch: views become arrays, hostile pickles run nothing."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.pretrained.torch_state import read_state_dict
from tests.support import state_dicts

VALUES = np.arange(12)


def read(content: bytes) -> dict[str, Any]:
    return read_state_dict(BytesIO(content))


def test_a_transposed_view_comes_out_transposed() -> None:
    state = read(state_dicts.written(VALUES, plain=(0, (3, 4), (4, 1)), turned=(4, (4, 2), (1, 4)), one=(7, (), ())))
    np.testing.assert_array_equal(state["plain"], VALUES.reshape(3, 4))
    np.testing.assert_array_equal(state["turned"], VALUES.reshape(3, 4)[1:].T)
    assert (state["turned"].flags.c_contiguous, state["turned"].dtype, state["one"]) == (True, np.float32, 7.0)


def test_the_installed_weights_are_those_of_efficientnet_lite0() -> None:
    """Compare the largest kernel, a transposed view, with PyTorch 2.13."""
    state = read(state_dicts.installed())
    kernel = state["_fc.weight"]
    assert (len(state), kernel.shape, state["_bn0.num_batches_tracked"].dtype) == (296, (1000, 1280), np.int64)
    assert sum(array.size for name, array in state.items() if "tracked" not in name) == 4_694_024
    np.testing.assert_allclose(kernel[0, :4], [-0.04561044, -0.09470871, -0.05684147, 0.06823881], atol=1e-6)


GOOD = state_dicts.written(VALUES, plain=(0, (3, 4), (4, 1)))


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (state_dicts.written(VALUES, evil=state_dicts.Runs()), "it names posix.system, which no state dict needs"),
        (state_dicts.written(VALUES, evil=np.float64(1)), r"it names numpy\S+, which no state dict needs"),
        (GOOD[:-1], "storage 0 must have 12 values; the file ends before"),
        (GOOD[:90], "it is no state dict in PyTorch's legacy format: "),
        (GOOD + b"\0", "it goes on after its last storage"),
        (GOOD.replace((12).to_bytes(8, "little"), (11).to_bytes(8, "little")), "must have 12 values; .* states 11"),
        (b"", "it is no state dict in PyTorch's legacy format: "),
        (b"\x80\x02K\x01.\x80\x02K\x01.", "it is no state dict in PyTorch's legacy format, little-endian"),
    ],
)
def test_what_is_hostile_or_damaged_is_refused_and_runs_nothing(
    content: bytes, rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=rule):
        read(content)
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    "place",
    [(1, (3, 4), (4, 1)), (-1, (3,), (1,)), (4, (3,), (-2,)), (0, (10**7,), (0,))],
    ids=["behind", "in front", "backwards", "larger"],
)
def test_a_view_that_reaches_out_of_its_storage_is_refused(place: state_dicts.Tensor) -> None:
    with pytest.raises(ValueError, match="w must lie in its storage of 12 values"):
        read(state_dicts.written(VALUES, w=place))
