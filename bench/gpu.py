"""On a GPU: stock Keras on JAX against this project, in docs/gpu.json.

`python -m bench.gpu [GROUP …]` in a clone after `make run`, with a GPU that JAX sees; the default is all groups of
GROUPS. Each side is a process of its own, in turn with the others. The file is written after each of them, so that what
was measured stays when a run is cut short.
"""

import argparse
import datetime
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.measure import Found, cpu, run, side, versions
from bench.recipes import blocks

RESULTS = Path("docs/gpu.json")
BATCHES = (64, 256, 1024)
TIMED = 25_000  # training images of an epoch that is timed, in seconds for all 45,000
ROUNDS = 3  # at batch 64 and at the best batch; the others stay at one
SEEDS = 3
PIXELS = 224  # side of a large image
MANY = 43_000  # large images, whose pixels no signed number of 32 bits counts
SCORED = 1_000  # of them in place of a validation set
READ = 256  # of them that are compared, at each end and in the middle

Settings = dict[str, Any]
Keep = Callable[[list[Found]], None]


def epochs(keep: Keep, batches: tuple[int, ...] = BATCHES, images: int = TIMED, rounds: int = ROUNDS) -> None:
    """Time an epoch of stock Keras and ours, at each batch size."""
    runs: dict[tuple[str, int], list[Found]] = {}

    def measure(name: str, batch: int) -> None:
        before = runs.pop((name, batch), [])
        runs[name, batch] = [*before, run(side(name, batch=batch, images=images))]  # the newest stands last
        keep(
            [_summary({"side": name, "batch": batch, "images": images}, found) for (name, batch), found in runs.items()]
        )

    names = ("stock", "ours")
    for batch in batches:
        for name in names:
            measure(name, batch)
    best = {(name, min(batches, key=lambda batch: runs[name, batch][0]["seconds"])) for name in names}
    for _ in range(rounds - 1):
        for name, batch in sorted(best | {(name, batches[0]) for name in names}):
            measure(name, batch)


def _summary(settings: Settings, found: list[Found]) -> Found:
    """Summarize the runs of a side by median and range."""
    seconds = [one["seconds"] for one in found]
    return {
        **settings,
        "seconds": round(statistics.median(seconds), 4),
        "minimum": round(min(seconds), 4),
        "maximum": round(max(seconds), 4),
        "n": len(seconds),
        **_device(found[-1]),
    }


def _device(found: Found) -> Found:
    return {name: found[name] for name in ("device", "platform", "device_peak_mib") if name in found}


def recipes(keep: Keep, variants: tuple[str, ...] = ("default", "fast"), seeds: int = SEEDS) -> None:
    """Whole trainings, to the accuracy of the finished model."""
    rows: list[Found] = []
    for seed in range(seeds):
        for variant in variants:
            found = run(side("recipe", variant=variant, seed=seed))
            rows.append(
                {
                    "variant": variant,
                    "seed": seed,
                    "seconds": round(found["seconds"], 2),
                    "epoch_seconds": [round(seconds, 3) for seconds in found["epoch_seconds"]],
                    "validation_accuracy": round(found["validation_accuracy"][-1], 4),
                    "test_accuracy": round(found["test_accuracy"], 4),
                    "machine": found["machine"],
                    **_device(found),
                }
            )
            keep(rows)


def many(keep: Keep, images: int = MANY, pixels: int = PIXELS) -> None:
    """More pixels on the device than 32 bits count."""
    keep([run(side("large", images=images, pixels=pixels))])


def large(images: int = MANY, pixels: int = PIXELS, scored: int = SCORED) -> Found:
    """Compare images in the device's memory with images in the host's."""
    params = blocks("default", {"train.epochs": 2})
    from tasks.device import runtime

    train = params.train
    machine = runtime.prepare(train.device, train.threads, train.precision, train.seed, train.deterministic)
    import keras

    from tasks.models.network import DataSpec, build_for_training
    from tasks.training.augmentation import apply_grid, sample_grid
    from tasks.training.device_dataset import IndexBatches
    from tasks.training.image_splits import Split, Splits
    from tasks.training.loop import Progress, fit_network

    rng = np.random.default_rng(0)
    n_bytes = images * pixels * pixels * 3
    noise = rng.integers(0, 2**64, -(-n_bytes // 8), np.uint64).view(np.uint8)[:n_bytes]  # eight at a time
    split = Split(noise.reshape(images, pixels, pixels, 3), rng.integers(0, 10, images).astype(np.int32))
    models: list[keras.Model] = []

    class Watched(IndexBatches):
        def wrap(self, model: keras.Model) -> keras.Model:
            models.append(super().wrap(model))
            return models[-1]

    data_spec = DataSpec(split.images.shape[1:], 10, [128.0] * 3, [74.0] * 3)
    model = build_for_training(params.model, params.regularize, data_spec, split.images, machine.precision)
    speeds: list[float] = []
    splits = Splits(split, Split(split.images[:scored], split.labels[:scored]))
    started = time.perf_counter()
    fit_network(model, splits, train, params.regularize, Watched, Progress(on_throughput=speeds.append))
    seconds = time.perf_counter() - started

    (wrapped,) = models
    pictures = keras.Model(wrapped.inputs, wrapped.get_layer("device_dataset").output)
    equal = {}
    n = min(READ, images)
    for name, first in {"first": 0, "middle": (images - n) // 2, "last": images - n}.items():
        rows = np.arange(first, first + n)
        grid = sample_grid(params.regularize.augment, rng, rng.random(n) < 0.5, (pixels, pixels))
        read = pictures.predict_on_batch((rows.astype(np.int32), *grid))
        equal[name] = bool(np.array_equal(read, apply_grid(split.images, rows, grid)))
    return {
        "images": images,
        "pixels": pixels,
        "bytes": split.images.nbytes,
        "beyond_32_bits": images * pixels * pixels >= 2**31,
        "pictures_equal_the_hosts": equal,
        "seconds": seconds,
        "epoch_seconds": [images / speed for speed in speeds],
    }


SIDES = (large,)
GROUPS: dict[str, Callable[..., None]] = {"epochs": epochs, "recipes": recipes, "many": many}
SMALL: dict[str, Settings] = {
    "epochs": {"batches": (64, 256), "images": 1_000, "rounds": 2},
    "recipes": {"variants": ("default",), "seeds": 1},
    "many": {"images": 300, "pixels": 40},
}


def main(groups: list[str], small: bool) -> None:
    """Run groups; what one finds replaces its older self."""
    os.environ["KERAS_BACKEND"] = "jax"
    for group in groups:

        def keep(found: list[Found], group: str = group) -> None:
            if not small and found[-1]["device"] == "cpu":
                raise SystemExit("error: a GPU must be there that JAX sees; received none")
            old = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
            measured = {"date": datetime.date.today().isoformat(), "cpu": cpu(), "versions": versions(), "found": found}
            RESULTS.write_text(json.dumps({**old, group: measured}, indent=2) + "\n", encoding="utf-8")
            print(group, json.dumps(found[-1]), flush=True)

        GROUPS[group](keep, **(SMALL[group] if small else {}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; default: all")
    parser.add_argument("--small", action="store_true", help="few images on any device, to try this program")
    args = parser.parse_args()
    if unknown := set(args.groups) - GROUPS.keys():
        parser.error(f"GROUP must be one of {', '.join(GROUPS)}; received {', '.join(sorted(unknown))}")
    main(args.groups or list(GROUPS), args.small)
