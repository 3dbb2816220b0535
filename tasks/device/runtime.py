"""The device that a step computes on: its threads, precision and seeds.

Call `prepare` before a network is built, since TensorFlow fixes its devices and threads at first use.
"""

from dataclasses import dataclass

import joblib

from tasks import errors
from tasks.device import cpu
from tasks.device.backend import keras, quiet_start


@dataclass(frozen=True)
class DeviceConfig:
    """The device of a run: recorded, never part of a result."""

    precision: str
    threads: int
    device: str

    @property
    def has_gpu(self) -> bool:
        return self.device != "cpu"

    def __str__(self) -> str:
        return f"device: {self.device}, {self.threads} threads, {self.precision}"


def prepare(
    device: str = "auto", threads: int = 0, precision: str = "float32", seed: int = 0, deterministic: bool = True
) -> DeviceConfig:
    """Set up the backend by block `train`; refuse without a required GPU."""
    threads = threads or joblib.cpu_count()  # within the affinity and a container's quota
    with quiet_start(device != "gpu"):  # for `gpu`, the backend's messages say why none is available
        gpu = _gpu(device)
        if keras.backend.backend() == "tensorflow":
            _prepare_tensorflow(threads, gpu is not None, deterministic)
    keras.utils.set_random_seed(seed)
    if precision == "auto":
        # GPUs since Ampere compute in bfloat16.
        native = _compute_capability() >= (8, 0) if gpu else cpu.has_bfloat16(keras.backend.backend())
        precision = "mixed_bfloat16" if native else "float32"
    return DeviceConfig(precision=precision, threads=threads, device=gpu or "cpu")


def _gpu(device: str) -> str | None:
    """Return the name of the GPU to use; None for the CPU."""
    if device == "cpu":
        if keras.backend.backend() == "jax":
            import jax

            jax.config.update("jax_platforms", "cpu")
        return None
    names: list[str] = []
    if keras.backend.backend() == "jax":
        import jax

        names = [gpu.device_kind for gpu in jax.devices() if gpu.platform == "gpu"]
    elif keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        names = [tf.config.experimental.get_device_details(gpu).get("device_name", "GPU") for gpu in gpus]
    if device == "gpu" and not names:
        raise errors.RefusedError(
            "train.device: gpu needs a GPU that the backend sees; received none; set it to auto or cpu"
        )
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


def _compute_capability() -> tuple[int, ...]:
    """Return the first GPU's compute capability; (0, 0) if unknown."""
    if keras.backend.backend() == "jax":
        import jax

        return tuple(int(part) for part in str(getattr(jax.devices()[0], "compute_capability", "0.0")).split("."))
    import tensorflow as tf

    details = tf.config.experimental.get_device_details(tf.config.get_visible_devices("GPU")[0])
    return tuple(details.get("compute_capability", (0, 0)))
