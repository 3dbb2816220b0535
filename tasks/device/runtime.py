"""The machine that a step runs on: device, precision, threads and seeds.

`prepare` is called before a network is built, since TensorFlow fixes its devices and threads at first use.
"""

from __future__ import annotations

from dataclasses import dataclass

import joblib

from tasks.device import cpu
from tasks.device.backend import keras, quiet_start


class DeviceError(RuntimeError):
    """The device that was asked for is not there."""


@dataclass(frozen=True)
class Machine:
    """What a run computes on; printed and recorded, never part of a result."""

    device: str
    threads: int
    precision: str

    @property
    def has_gpu(self) -> bool:
        return self.device != "cpu"

    def __str__(self) -> str:
        return f"device: {self.device}, {self.threads} threads, {self.precision}"


def prepare(
    device: str = "auto", threads: int = 0, precision: str = "float32", seed: int = 0, deterministic: bool = True
) -> Machine:
    """Set up the backend and return what it runs on; the arguments are the keys of block `train`.

    Raises
    ------
    DeviceError
        If `device` is gpu and there is none.
    """
    threads = threads or joblib.cpu_count()  # what affinity and a container's quota leave
    with quiet_start(device != "gpu"):  # for `gpu`, the backend's own messages say why there is none
        gpu = _gpu(device)
        if keras.backend.backend() == "tensorflow":
            _prepare_tensorflow(threads, gpu is not None, deterministic)
    keras.utils.set_random_seed(seed)
    if precision == "auto":
        precision = "mixed_bfloat16" if _has_bfloat16(gpu) else "float32"
    return Machine(gpu or "cpu", threads, precision)


def _gpu(device: str) -> str | None:
    """Find the name of the GPU to use; None for the CPU."""
    if device == "cpu":
        if keras.backend.backend() == "jax":
            import jax

            jax.config.update("jax_platforms", "cpu")
        return None
    names: list[str] = []
    if keras.backend.backend() == "jax":
        import jax

        names = [found.device_kind for found in jax.devices() if found.platform == "gpu"]
    elif keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        for found in tf.config.list_physical_devices("GPU"):
            names.append(tf.config.experimental.get_device_details(found).get("device_name", "GPU"))
    if device == "gpu" and not names:
        raise DeviceError("train.device: gpu needs a GPU that the backend sees; received none; set it to auto or cpu")
    return f"gpu ({names[0]})" if names else None


def _prepare_tensorflow(threads: int, use_gpu: bool, deterministic: bool) -> None:
    import tensorflow as tf

    if deterministic:
        tf.config.experimental.enable_op_determinism()

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    if not use_gpu:
        tf.config.set_visible_devices([], "GPU")
    for gpu in tf.config.get_visible_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)


def _has_bfloat16(gpu: str | None) -> bool:
    """Say whether bfloat16 is native: on Ampere and newer GPUs, and on some CPUs."""
    if gpu is not None:
        return _compute_capability() >= (8, 0)
    return cpu.has_bfloat16(keras.backend.backend())


def _compute_capability() -> tuple[int, ...]:
    """Read the first GPU's capability, major and minor; (0, 0) where the backend does not know it."""
    if keras.backend.backend() == "jax":
        import jax

        return tuple(int(part) for part in str(getattr(jax.devices()[0], "compute_capability", "0.0")).split("."))
    import tensorflow as tf

    details = tf.config.experimental.get_device_details(tf.config.get_visible_devices("GPU")[0])
    return tuple(details.get("compute_capability", (0, 0)))
