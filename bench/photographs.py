"""The group `photographs`: own images, and folders of many files.

The network, its batch size and its precision (float32) are the same on all sides: what differs is how images come to
it. Keras and PyTorch decode the files in each epoch, and here normalize has decoded them once.
"""

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench import synthetic
from bench.measure import Found, compare, has_package, interleaved, ratio, runs_of, side
from bench.project import project
from bench.recipes import blocks

SIDE = 160  # of an image that is trained on, pixels
SMALL_SIDE = 64  # where memory is measured
BATCH_SIZE = 64
FILTERS = (16, 32, 64)
EPOCHS = 3  # timed, after one that warms up
PLAIN = {"regularize.augment.flip": "none", "regularize.augment.translate": 0}
RECIPE: dict[str, Any] = {
    **PLAIN,
    "regularize.label_smoothing": 0.0,
    "regularize.weight_decay": 0.0,
    "train.epochs": 1 + EPOCHS,
    "train.batch_size": BATCH_SIZE,
    "train.optimizer": "adam",
    "train.learning_rate": 0.001,
    "train.schedule": "constant",
}


def photographs(decoded: int = 20_000, trained: int = 2_000, files: int = 50_000, rounds: int = 3) -> list[Found]:
    """Measure decoding, epochs, memory, and DVC where nothing changed."""
    for count in (decoded, trained, decoded // 10):
        synthetic.photographs(count)
    return [
        *_decoding(decoded, rounds),
        *_epochs(trained, rounds),
        *_memory(decoded // 10, rounds),
        *_unchanged(files),
    ]


def _decoding(n: int, rounds: int) -> list[Found]:
    name = f"decoding {n:,} JPEG photographs of 500 × 375 to {SIDE} px: Pillow in one process / normalize"
    sides = {
        "Pillow in one process": side("pillow", n=n),
        "normalize's decoding on all cores": side("our_decoding", n=n),
    }
    return [compare(name, 1.8, sides, rounds)]


def _epochs(n: int, rounds: int) -> list[Found]:
    others = {"keras": ("image_dataset_from_directory", "Keras, image_dataset_from_directory")}
    if has_package("an epoch of photographs in PyTorch"):
        others["torch"] = ("PyTorch's loader of two workers", "PyTorch, DataLoader of two workers")
    found = interleaved({key: side(f"{key}_photographs", n=n) for key in (*others, "our")}, rounds)
    ours = runs_of(found["our"], "ours, arrays that are mapped into memory")
    epoch = f"one epoch of {n:,} photographs at {SIDE} px, small network"
    return [
        ratio(f"{epoch}: {name} / ours", 2, runs_of(found[key], label), ours) for key, (name, label) in others.items()
    ]


def _memory(tenth: int, rounds: int) -> list[Found]:
    sides = {f"{n:,} photographs at {SMALL_SIDE} px": side("bulk", n=n) for n in (10 * tenth, tenth)}
    name = "peak anonymous memory of normalize and train: 10 × the data / 1 ×"
    return [compare(name, 1.3, sides, rounds, "lower", "peak_mib")]


def _unchanged(files: int) -> list[Found]:
    dvc, stages = [sys.executable, "-m", "dvc"], ["repro", "normalize"]
    with tempfile.TemporaryDirectory() as folder:
        clone = _clone_with_own_images(Path(folder), files)
        sides = {
            f"a folder of {files:,} files": [*dvc, "--cd", str(clone), *stages],
            "a list of checksums": [*dvc, *stages],
        }
        name = f"dvc repro normalize with nothing changed: {files:,} own images / CIFAR-10"
        return [compare(name, 2, sides, 5, "lower")]


def _clone_with_own_images(folder: Path, files: int) -> Path:
    """Run the pipeline in a clone whose images are a small folder."""
    clone = folder / "clone"
    subprocess.run(["git", "clone", "--quiet", ".", clone], check=True)
    synthetic.small_images(clone / "data/images", files)
    graph = clone / "dvc.yaml"
    graph.write_text(graph.read_text(encoding="utf-8").replace("images: data/cifar10.sha256", "images: data/images"))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # the stages call `python`
    first = [sys.executable, "-m", "dvc", "repro", "normalize"]
    subprocess.run(first, cwd=clone, env={**os.environ, "PATH": path}, stdout=subprocess.DEVNULL, check=True)
    return clone


def pillow(n: int = 20_000) -> dict[str, float]:
    """Decode photographs as a plain script does."""
    from PIL import Image, ImageOps

    files = sorted((synthetic.photographs(n) / "files").glob("*/*.jpg"))
    started = time.perf_counter()
    images = np.empty((n, SIDE, SIDE, 3), np.uint8)
    for row, path in enumerate(files):
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
        images[row] = np.asarray(ImageOps.fit(upright, (SIDE, SIDE), Image.Resampling.LANCZOS))
    return {"seconds": time.perf_counter() - started}


def our_decoding(n: int = 20_000) -> dict[str, float]:
    """Decode the same photographs, packed, as normalize does."""
    from tasks.data.decoding import decode_images
    from tasks.datasets import open_dataset

    raw = (synthetic.photographs(n) / "packed").absolute()
    # In a folder of its own: decoded pictures are kept in `.checkpoints`.
    with tempfile.TemporaryDirectory(dir=raw.parent) as folder, contextlib.chdir(folder):
        started = time.perf_counter()
        decode_images(open_dataset(raw), Path(folder, "decoded"), (SIDE, SIDE), "crop")
        return {"seconds": time.perf_counter() - started}


def keras_photographs(n: int = 2_000) -> dict[str, float]:
    """Time an epoch from a folder as Keras reads it."""
    import keras

    files = synthetic.photographs(n) / "files"
    dataset = keras.utils.image_dataset_from_directory(files, image_size=(SIDE, SIDE), batch_size=BATCH_SIZE, verbose=0)
    model = _network()
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(RECIPE["train.learning_rate"]),
    )
    ends: list[float] = []
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: ends.append(time.perf_counter()))
    model.fit(dataset, epochs=1 + EPOCHS, verbose=0, callbacks=[watch])
    return {"seconds": (ends[-1] - ends[0]) / EPOCHS}


def our_photographs(n: int = 2_000) -> dict[str, float]:
    """Time an epoch from the arrays that normalize made of the folder."""
    from tasks.data import arrays
    from tasks.device import runtime
    from tasks.normalize import normalize

    raw = (synthetic.photographs(n) / "packed").resolve()
    with project(normalize__size=SIDE):
        normalize(raw=raw, normalized=Path("normalized"), report_path=Path("dataset.json"))
        params = blocks("default", RECIPE)
        runtime.prepare()
        from tasks.training.image_splits import Split, Splits
        from tasks.training.loop import Progress, fit_network

        splits = Splits(
            *(Split(*arrays.load_split(Path("normalized"), split, synthetic.CLASSES)) for split in arrays.SPLITS[:2])
        )
        speeds: list[float] = []
        progress = Progress(on_throughput=speeds.append)
        fit_network(_network(), splits, params.train, params.regularize, progress=progress)
    return {"seconds": n / statistics.harmonic_mean(speeds[1:])}


def torch_photographs(n: int = 2_000) -> dict[str, float]:
    """Time an epoch from a folder as torchvision's ImageFolder reads it."""
    import torch
    from PIL import Image, ImageOps
    from torch import nn

    files = sorted((synthetic.photographs(n) / "files").glob("*/*.jpg"))
    classes = sorted({path.parent.name for path in files})

    class Photographs(torch.utils.data.Dataset):  # type: ignore[misc]
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, row: int) -> tuple[Any, int]:
            with Image.open(files[row]) as image:
                fitted = ImageOps.fit(image.convert("RGB"), (SIDE, SIDE), Image.Resampling.BILINEAR)
            pixels = torch.from_numpy(np.array(fitted)).permute(2, 0, 1)
            return pixels.float() / 255, classes.index(files[row].parent.name)

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    network = nn.Sequential()
    for before, after in zip((3, *FILTERS), FILTERS, strict=False):
        network.append(nn.Conv2d(before, after, 3, stride=2, padding=1)).append(nn.ReLU())
    network.append(nn.AdaptiveAvgPool2d(1)).append(nn.Flatten()).append(nn.Linear(FILTERS[-1], len(classes)))
    network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), lr=RECIPE["train.learning_rate"])
    loss = nn.CrossEntropyLoss()
    loader = torch.utils.data.DataLoader(
        Photographs(), BATCH_SIZE, shuffle=True, num_workers=2, persistent_workers=True
    )
    ends = []
    for _ in range(1 + EPOCHS):
        for images, labels in loader:
            value = loss(network(images.contiguous(memory_format=torch.channels_last)), labels)
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            optimizer.step()
        ends.append(time.perf_counter())
    return {"seconds": (ends[-1] - ends[0]) / EPOCHS}


def bulk(n: int = 2_000) -> dict[str, float]:
    """Run stages normalize and train on photographs, with a small network."""
    raw = (synthetic.photographs(n) / "packed").resolve()
    changes = {"normalize__size": SMALL_SIDE, "model__filters": [4, 4, 4], "train__epochs": 1}
    # Scoring takes 500 images at a time: with fewer of them, the smaller set would need less for that reason alone.
    with project(**changes, normalize__validation_fraction=0.35, train__batch_size=BATCH_SIZE):
        from tasks.normalize import normalize
        from tasks.train import train

        normalize(raw=raw, normalized=Path("normalized"), report_path=Path("dataset.json"))
        made = {"model_path": Path("model.keras"), "folds_path": Path("folds.npz"), "history_path": Path("history.csv")}
        train(normalized=Path("normalized"), backbone=Path("unused"), **made)
    return {}


def _network() -> Any:
    """Build a small network of Keras' own layers."""
    import keras
    from keras import layers

    convolutions = [layers.Conv2D(filters, 3, 2, padding="same", activation="relu") for filters in FILTERS]
    head = [layers.GlobalAveragePooling2D(), layers.Dense(synthetic.CLASSES)]
    return keras.Sequential([keras.Input((SIDE, SIDE, 3)), layers.Rescaling(1 / 255), *convolutions, *head])


SIDES = (pillow, our_decoding, keras_photographs, our_photographs, torch_photographs, bulk)
