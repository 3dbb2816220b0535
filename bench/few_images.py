"""The group `few_images`: features of EfficientNet-Lite0, and a probe.

PyTorch's side has the same layers, with random weights, in its fastest layout. The plain script is what one writes in
an afternoon: Keras' `predict`, scikit-learn's cross-validated logistic regression over the same strengths and folds.
"""

import os
import tempfile
import time
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np

from bench.measure import Found, compare, has_package, side
from bench.project import project

BACKBONE = Path("data/efficientnet_lite0.sha256").resolve()
RAW = Path("data/raw").resolve()
NORMALIZED = Path("data/normalized").resolve()
INPUT_SIZE = 128
BATCH_SIZE = 32


def few_images(computed: int = 4_000, probed: int = 5_000, rounds: int = 3) -> list[Found]:
    """Compare features with PyTorch's, and a probe with a plain script."""
    found = []
    if has_package("features in PyTorch"):
        name = f"features of {computed:,} images at {INPUT_SIZE} px, EfficientNet-Lite0: PyTorch / ours"
        sides = {"PyTorch, channels last": side("torch_features", n=computed), "ours": side("our_features", n=computed)}
        found.append(compare(name, 1, sides, rounds))
    name = f"a probe of {probed:,} images, end to end: ours / a plain script"
    sides = {
        "train, model.trainable: head": side("our_probe", n=probed),
        "Keras' predict and LogisticRegressionCV": side("script_probe", n=probed),
    }
    return [*found, compare(name, 1.1, sides, rounds, "lower")]


def our_features(n: int = 4_000) -> dict[str, float]:
    """Compute features as the probe does, none kept from before."""
    from tasks.device import runtime

    runtime.prepare()
    from tasks.pretrained.features import compute_features

    model, images = _to_features(_classifier()), _images("train", n)
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        compute_features(model, images[:BATCH_SIZE], key="warm")
        started = time.perf_counter()
        compute_features(model, images, key="timed")
        return {"seconds": time.perf_counter() - started}


def torch_features(n: int = 4_000) -> dict[str, float]:
    """Compute features in PyTorch, channels last, on all cores."""
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    network, images = _torch_lite0(), _images("train", n)

    def compute(pixels: Any) -> None:
        x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().sub(127).div(128)
        x = torch.nn.functional.interpolate(x, size=(INPUT_SIZE, INPUT_SIZE), mode="bilinear")
        network(x.contiguous(memory_format=torch.channels_last))

    with torch.inference_mode():
        compute(images[:BATCH_SIZE])
        started = time.perf_counter()
        for start in range(0, n, BATCH_SIZE):
            compute(images[start : start + BATCH_SIZE])
        return {"seconds": time.perf_counter() - started}


def our_probe(n: int = 5_000) -> dict[str, float]:
    """Stage train with `model.trainable: head`, none of its features kept from before."""
    changes = {"model__network": "efficientnet_lite0", "model__trainable": "head", "model__input_size": INPUT_SIZE}
    with project(normalize__train_images=n, **changes):
        from tasks.normalize import normalize
        from tasks.train import train

        normalize(raw=RAW, normalized=Path("normalized"), report_path=Path("dataset.json"))
        started = time.perf_counter()
        train(
            normalized=Path("normalized"),
            backbone=BACKBONE,
            model_path=Path("model.keras"),
            folds_path=Path("folds.npz"),
            history_path=Path("history.csv"),
        )
        return {"seconds": time.perf_counter() - started}


def script_probe(n: int = 5_000) -> dict[str, float]:
    """Probe features by a plain script, and save the model."""
    import keras
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.preprocessing import StandardScaler

    from tasks.training.logistic_regression import FOLDS, STRENGTHS

    started = time.perf_counter()
    classifier = _classifier()
    model = _to_features(classifier)
    (images, labels), (held_out, held_out_labels) = (_split(name, n) for name in ("train", "validation"))
    values = model.predict(images, batch_size=BATCH_SIZE, verbose=0)
    scaler = StandardScaler().fit(values)
    inverse = [1 / (strength * n) for strength in STRENGTHS]
    regression = LogisticRegressionCV(
        Cs=inverse, cv=FOLDS, scoring="neg_log_loss", n_jobs=len(os.sched_getaffinity(0)), max_iter=1_000
    ).fit(scaler.transform(values), labels)
    logits = keras.layers.Dense(10)
    finished = keras.Model(model.input, logits(model.output))
    kernel = (regression.coef_ / scaler.scale_).T
    logits.set_weights([kernel, regression.intercept_ - scaler.mean_ @ kernel])
    scores = finished.predict(held_out, batch_size=BATCH_SIZE, verbose=0)
    print(f"validation accuracy {np.mean(scores.argmax(axis=1) == held_out_labels):.4f}")
    with tempfile.TemporaryDirectory() as folder:
        finished.save(Path(folder, "model.keras"))
    return {"seconds": time.perf_counter() - started}


def _classifier() -> Any:
    from tasks.models import pretrained

    return pretrained.load_pretrained(BACKBONE, "efficientnet_lite0", INPUT_SIZE)


def _to_features(classifier: Any) -> Any:
    import keras

    return keras.Model(classifier.input, classifier.layers[-1].input)


def _images(split: str, n: int) -> Any:
    return np.load(NORMALIZED / f"{split}_images.npy", mmap_mode="r")[:n]


def _split(split: str, n: int) -> tuple[Any, Any]:
    return np.array(_images(split, n)), np.load(NORMALIZED / f"{split}_labels.npy")[:n]


def _torch_lite0() -> Any:
    """Build EfficientNet-Lite0's layers in PyTorch, ready to predict."""
    import torch
    from torch import nn

    from tasks.pretrained.efficientnet import STAGES

    def convolution(before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> list[Any]:
        layer = nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False)
        return [layer, nn.BatchNorm2d(after, eps=1e-3), nn.ReLU6()]

    class Residual(nn.Sequential):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return x + super().forward(x)

    layers, channels = convolution(3, 32, 3, 2), 32
    for stage in STAGES:
        for repeat in range(stage.repeats):
            wide = channels * stage.expansion
            expand = convolution(channels, wide, 1) if stage.expansion > 1 else []
            depthwise = convolution(wide, wide, stage.kernel, 1 if repeat else stage.stride, groups=wide)
            project_ = convolution(wide, stage.filters, 1)[:-1]
            layers.append((Residual if repeat else nn.Sequential)(*expand, *depthwise, *project_))
            channels = stage.filters
    layers += [*convolution(channels, 1280, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers).eval().to(memory_format=torch.channels_last)


SIDES = (our_features, torch_features, our_probe, script_probe)
