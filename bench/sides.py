"""The sides that the benchmark compares, each in its own process.

`python -m bench.sides NAME [key=value …]` in a clone after `make run`. Epochs are timed on the first 10,000 training
images: the mean of three after one that warms up, in seconds for 45,000. Results are printed as JSON.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from bench import few_images, fine_tuning, gpu, photographs, pytorch, pytorch_record, reference
from bench.measure import EPOCHS, TIMED, WHOLE, epoch_of
from bench.recipes import blocks

NORMALIZED = Path("data/normalized")


def stock(batch: int = reference.BATCH_SIZE, images: int = TIMED) -> dict[str, float]:
    """Time an epoch of the notebook's script."""
    import keras

    pixels, labels = (array[:images] for array in reference.arrays("train"))
    ends: list[float] = []
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: ends.append(time.perf_counter()))
    reference.network().fit(pixels, labels, batch_size=batch, epochs=1 + EPOCHS, verbose=0, callbacks=[watch])
    return epoch_of(ends, images)


def ours(batch: int = reference.BATCH_SIZE, bfloat16: int = 1, images: int = TIMED) -> dict[str, float]:
    """Time an epoch of the same recipe in this project."""
    ours = {"train.precision": "auto" if bfloat16 else "float32", "train.batch_size": batch}
    return _epoch(ours, "reference", images)


def default(deterministic: int = 1) -> dict[str, float]:
    """Time an epoch of the committed parameters."""
    return _epoch({"train.deterministic": bool(deterministic)})


def fast(own_convolution: int = 1, images: int = TIMED) -> dict[str, float]:
    """Time an epoch of `fast`, with our convolution or Keras'."""
    if not own_convolution:
        from tasks.device.backend import keras
        from tasks.models import network

        before = network.FAST._replace(convolution=keras.layers.Conv2D)
        network.build = partial(network.build, layer_types=before)
    return _epoch({}, "fast", images)


def trainings(variants: str, images: int = 10_000) -> dict[str, float]:
    """Train variants of the study, one after the other."""
    return {"seconds": sum(_train(blocks(variant, {}), images)[-1] for variant in variants.split(","))}


def _epoch(overrides: dict[str, Any], variant: str = "default", images: int = TIMED) -> dict[str, float]:
    _, _, speeds, *_ = _train(blocks(variant, {**overrides, "train.epochs": 1 + EPOCHS}), images)
    return {"seconds": WHOLE / statistics.harmonic_mean(speeds[1:])}


def recipe(variant: str = "default", seed: int = 0) -> dict[str, Any]:
    """Train and score a variant; `seconds`, not `epoch_seconds`, include the scores."""
    from tasks.data import arrays
    from tasks.metrics import scores
    from tasks.models.inference import predict
    from tasks.models.network import build_for_saving

    params = blocks(variant, {"train.seed": seed})
    trained, rows, speeds, machine, seconds = _train(params)
    finished = build_for_saving(trained, params.model, params.regularize, _data_spec(NORMALIZED))
    last = {}
    for split in ("validation", "test"):
        images, labels = arrays.load_split(NORMALIZED, split, 10)
        last[split] = scores.accuracy(labels, predict(finished, images, 1000))
    return {
        "machine": f"{machine.threads} threads {machine.precision}",
        "validation_accuracy": [*(row["validation_accuracy"] for row in rows[:-1]), last["validation"]],
        "test_accuracy": last["test"],
        "test_accuracy_with_views": scores.accuracy(labels, predict(finished, images, 1000, "mirror_and_shift")),
        "seconds": seconds,
        "epoch_seconds": [WHOLE / speed for speed in speeds],
    }


def bare() -> dict[str, float]:
    """Run train, evaluate and report in one process, without DVC."""
    from tasks.evaluate import evaluate
    from tasks.report import report
    from tasks.train import train

    made = reference.SCRATCH / "bare"
    model, folds, history = (made / name for name in ("classifier.keras", "folds.npz", "history.csv"))
    backbone = Path("data/efficientnet_lite0.sha256")
    train(normalized=NORMALIZED, backbone=backbone, model_path=model, folds_path=folds, history_path=history)
    evaluate(
        normalized=NORMALIZED,
        weights=backbone,
        model_path=model,
        folds_path=folds,
        metrics_path=made / "metrics.json",
        predictions_path=made / "predictions.npz",
    )
    report(
        normalized=NORMALIZED,
        model_path=model,
        history_path=history,
        predictions_path=made / "predictions.npz",
        details=made / "evaluation",
        page_path=made / "index.html",
    )
    return {}


def checkpointed() -> dict[str, float]:
    """Train with checkpoints, and measure the seconds that these took."""
    from tasks.run.kept import cache_key
    from tasks.training.checkpoints import TRAINING_CODE, Checkpoints

    params, spent = blocks("default", {}), 0.0
    inputs = [getattr(params, name) for name in ("model", "regularize", "train")]

    def timed(act: Callable[..., Any], *arguments: Any) -> Any:
        nonlocal spent
        before = time.perf_counter()
        found = act(*arguments)
        spent += time.perf_counter() - before
        return found

    started = time.perf_counter()
    saved = Checkpoints(timed(cache_key, inputs, NORMALIZED.glob("*"), "bench", TRAINING_CODE))
    _train(params, on_state=partial(timed, saved.save))
    timed(saved.remove)
    return {"seconds": time.perf_counter() - started, "checkpoint_seconds": spent}


def stock_memory() -> dict[str, float]:
    """Train the notebook's script for one epoch on all images."""
    reference.network().fit(*reference.arrays("train"), batch_size=reference.BATCH_SIZE, epochs=1, verbose=0)
    return {}


def our_memory() -> dict[str, float]:
    """Train the committed recipe for one epoch on all images."""
    _train(blocks("default", {"train.epochs": 1}))
    return {}


def _train(
    params: Any,
    images: int | None = None,
    folder: Path = NORMALIZED,
    on_state: Callable[[Any], None] = lambda state: None,
) -> tuple[Any, list[Any], list[float], Any, float]:
    """Train; return model, history, images per second by epoch, machine, seconds."""
    from tasks.data import arrays
    from tasks.device import runtime

    train = params.train
    machine = runtime.prepare(train.device, train.threads, train.precision, train.seed, train.deterministic)
    from tasks.models.network import build_for_training
    from tasks.train import choose_feed
    from tasks.training.image_splits import Split, Splits
    from tasks.training.loop import Progress, fit_network

    data_spec = _data_spec(folder)
    of_train, labels = arrays.load_split(folder, "train", data_spec.n_classes)
    split = Split(of_train[:images], labels[:images])
    model = build_for_training(params.model, params.regularize, data_spec, split.images, machine.precision)
    speeds: list[float] = []
    splits = Splits(split, Split(*arrays.load_split(folder, "validation", data_spec.n_classes)))
    progress = Progress(on_state=on_state, on_throughput=speeds.append)
    started = time.perf_counter()
    rows = fit_network(model, splits, train, params.regularize, choose_feed(machine, split), progress)
    return model, rows, speeds, machine, time.perf_counter() - started


def _data_spec(folder: Path) -> Any:
    from tasks.data import arrays
    from tasks.models.network import DataSpec

    return DataSpec(arrays.image_shape(folder), len(arrays.class_names(folder)), *arrays.mean_std(folder))


SIDES = (
    stock, ours, default, fast, trainings, recipe, bare, checkpointed, stock_memory, our_memory, *photographs.SIDES,
    *few_images.SIDES, *fine_tuning.SIDES, *gpu.SIDES, *pytorch.SIDES, *pytorch_record.SIDES,
)  # fmt: skip


def main(name: str, *arguments: str) -> None:
    """Run a side and print what it found as the last line."""
    settings = dict(argument.split("=", 1) for argument in arguments)
    side: Any = {side.__name__: side for side in SIDES}[name]
    found = side(**{key: int(value) if value.isdigit() else value for key, value in settings.items()})
    print(json.dumps(found | _device()))


def _device() -> dict[str, Any]:
    """Describe JAX's device, and the peak of its memory in MiB."""
    if os.environ.get("KERAS_BACKEND") != "jax":
        return {}
    import jax

    device = jax.devices()[0]
    stats = device.memory_stats() or {}
    peak = {"device_peak_mib": round(stats["peak_bytes_in_use"] / 2**20)} if "peak_bytes_in_use" in stats else {}
    return {"device": device.device_kind, "platform": device.client.platform_version, **peak}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.sides", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("side", choices=[side.__name__ for side in SIDES])
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="arguments of the side")
    args = parser.parse_args()
    main(args.side, *args.settings)
