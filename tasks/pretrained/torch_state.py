"""A reader of PyTorch's legacy state dicts that runs no code.

The format is that of PyTorch before 1.6: five pickles, then the storages. A pickle may call any function that it names,
so the unpickler knows only the four names that a state dict needs, and maps each to something harmless. Tensors are
views of storages, often transposed ones: without their strides, arrays have the right shapes and scrambled values.
"""

import math
import pickle
from collections import OrderedDict
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

MAGIC_NUMBER, PROTOCOL_VERSION = 0x1950A86A20F9469CFC6C, 1001  # as torch/serialization.py writes them
DTYPES = {"FloatStorage": "<f4", "LongStorage": "<i8"}


class _ClosedUnpickler(pickle.Unpickler):
    """An unpickler that calls only listed names, and notes storages."""

    def __init__(self, file: BinaryIO, storages: dict[str, tuple[str, int]]):
        super().__init__(file)
        self.storages = storages

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda key, offset, shape, strides, *_: (key, offset, shape, strides)
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        raise ValueError(f"it names {module}.{name}, which no state dict needs")  # control: names in a pickle

    def persistent_load(self, pid: Any) -> str:
        """Note a storage: ("storage", dtype, key, device, number of values, view)."""
        kind, dtype, key, _device, size, view = pid
        if kind != "storage" or view is not None:
            raise ValueError(f"it refers to {pid!r}, which is no whole storage")
        self.storages[key] = dtype, size
        return str(key)


def read_state_dict(file: BinaryIO) -> dict[str, NDArray[Any]]:
    """Read the arrays of a state dict, each contiguous, float32 or int64.

    Raises
    ------
    ValueError
        If the file names another function, ends too early, continues after its last storage, or has a tensor outside
        of its storage.
    """
    try:
        return _read(file)
    except Exception as error:  # a damaged pickle may raise anything
        if type(error) is ValueError:
            raise
        raise ValueError(f"it is no state dict in PyTorch's legacy format: {error or type(error).__name__}") from error


def _read(file: BinaryIO) -> dict[str, NDArray[Any]]:
    storages: dict[str, tuple[str, int]] = {}

    def load() -> Any:
        return _ClosedUnpickler(file, storages).load()

    if (load(), load()) != (MAGIC_NUMBER, PROTOCOL_VERSION) or not load()["little_endian"]:
        raise ValueError("it is no state dict in PyTorch's legacy format, little-endian")
    tensors = load()
    values = {key: _read_storage(file, key, *storages[key]) for key in load()}
    if file.read(1):  # control: end of a state dict
        raise ValueError("it goes on after its last storage")
    return {name: _tensor(name, values[key], *place) for name, (key, *place) in tensors.items()}


def _read_storage(file: BinaryIO, key: str, dtype: str, size: int) -> NDArray[Any]:
    stated = int.from_bytes(file.read(8), "little")  # before each storage: the number of its values
    n_bytes = stated * np.dtype(dtype).itemsize
    content = file.read(n_bytes) if stated == size else b""
    if stated != size or len(content) != n_bytes:  # control: size of a storage
        raise ValueError(f"storage {key} must have {size} values; the file ends before, or states {stated}")
    return np.frombuffer(content, dtype)


def _tensor(
    name: str, storage: NDArray[Any], offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> NDArray[Any]:
    last = offset + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
    # control: views of a storage
    if min(offset, *shape, *strides, 0) < 0 or last >= storage.size or math.prod(shape) > storage.size:
        raise ValueError(f"{name} must lie in its storage of {storage.size} values; received {offset, shape, strides}")
    steps = [stride * storage.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps, writeable=False).copy()
