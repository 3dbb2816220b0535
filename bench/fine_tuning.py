"""The group `fine_tuning`: EfficientNet-Lite0 at 128 px, its training and its predictions.

PyTorch's side has the same layers, with random weights and fixed batch normalization, in its fastest layout. Keras'
own `EfficientNetB0` has squeeze-and-excitation and swish beside them. Both only train; ours includes the probe that it
starts from.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.few_images import BACKBONE, BATCH_SIZE, INPUT_SIZE, RAW, _classifier, _images, _split, _torch_lite0
from bench.measure import Found, compare, has_package, interleaved, ratio, runs_of, side
from bench.project import project

EPOCHS, RATE = 5, 3e-4


def fine_tuning(n: int = 2_000, predicted: int = 4_000, rounds: int = 3) -> list[Found]:
    """Compare training with PyTorch and Keras, and prediction with ONNX Runtime."""
    what, ours, stock = f"fine-tuning on {n:,} images, {EPOCHS} epochs at {INPUT_SIZE} px", "ours", "Keras"
    sides = {ours: side("our_fine_tuning", n=n), stock: side("keras_fine_tuning", n=n)}
    if has_package(f"{what} in PyTorch"):
        for number, precision in enumerate(("float32", "bfloat16")):
            sides[f"PyTorch, {precision}"] = side("torch_fine_tuning", n=n, bfloat16=number)
    runs = interleaved(sides, rounds)
    sides_found = {name: runs_of(one, name) for name, one in runs.items()}
    mine, keras_own, *torch = sides_found.values()
    rivals = {"Keras' EfficientNetB0": keras_own}
    if torch:
        rivals["PyTorch at its best"] = min(torch, key=lambda found: float(np.median(found[1])))
    found = [ratio(f"{what}: {title} / ours", 2, rival, mine) for title, rival in rivals.items()]
    if has_package("predictions") and has_package("predictions in ONNX Runtime", "onnxruntime"):
        name = f"predictions of {predicted:,} images at {INPUT_SIZE} px, EfficientNet-Lite0: ONNX Runtime / ours"
        pair = {"ONNX Runtime": side("onnx_predictions", n=predicted), ours: side("our_predictions", n=predicted)}
        found.append(compare(name, 1, pair, rounds))
    return found


def our_fine_tuning(n: int = 2_000, precision: str = "auto") -> dict[str, float]:
    """Stage train of variant fine_tune, nothing kept from before."""
    from tasks.params import parse
    from tasks.params.document import expand

    differences = next(iter(expand(parse(Path("params.yaml")), "fine_tune").values()))
    chosen = {"normalize.train_images": n, "normalize.validation_fraction": 0.0, "train.precision": precision}
    with project(**{key.replace(".", "__"): value for key, value in {**differences, **chosen}.items()}):
        from tasks.normalize import normalize
        from tasks.train import train

        made = {"model_path": Path("model.keras"), "folds_path": Path("folds.npz"), "history_path": Path("history.csv")}
        normalize(raw=RAW, normalized=Path("normalized"), report_path=Path("dataset.json"), weights=BACKBONE)
        started = time.perf_counter()
        train(normalized=Path("normalized"), backbone=BACKBONE, **made)
        return {"seconds": time.perf_counter() - started}


def keras_fine_tuning(n: int = 2_000) -> dict[str, float]:
    """Train Keras' own EfficientNetB0, in float32, as its guide does."""
    import keras

    images, labels = _split("train", n)
    started = time.perf_counter()
    network = keras.applications.EfficientNetB0(weights=None, input_shape=(INPUT_SIZE, INPUT_SIZE, 3), classes=10)
    layers = [keras.layers.Resizing(INPUT_SIZE, INPUT_SIZE), keras.layers.RandomFlip("horizontal"), network]
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.AdamW(RATE), "sparse_categorical_crossentropy")
    model.fit(images, labels, batch_size=BATCH_SIZE, epochs=EPOCHS, verbose=0)
    return {"seconds": time.perf_counter() - started}


def torch_fine_tuning(n: int = 2_000, bfloat16: int = 1) -> dict[str, float]:
    """Train the same layers in PyTorch, channels last, on all cores."""
    import torch
    from torch import nn

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    pixels, classes = (torch.from_numpy(values) for values in _split("train", n))
    started = time.perf_counter()
    network = nn.Sequential(_torch_lite0(), nn.Linear(1280, 10))  # in `eval`: batch normalization is fixed
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * -(-n // BATCH_SIZE))
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    to_inputs = _to_inputs()
    for _ in range(EPOCHS):
        for rows in torch.randperm(n).split(BATCH_SIZE):
            mirrored = torch.rand(len(rows), 1, 1, 1) < 0.5
            images = torch.where(mirrored, pixels[rows].flip(2), pixels[rows])
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bool(bfloat16)):
                value = loss(network(to_inputs(images)), classes[rows].long())
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            optimizer.step()
            schedule.step()
    return {"seconds": time.perf_counter() - started}


def our_predictions(n: int = 4_000) -> dict[str, float]:
    """Predict as stage evaluate does."""
    from tasks.device import runtime

    runtime.prepare()
    import keras

    from tasks.models.backbones import hidden_layers
    from tasks.models.inference import predict

    images = _images("train", n)
    pixels = keras.Input(images.shape[1:], dtype="uint8")
    features = hidden_layers(pixels, _classifier(), "float32", lambda: None)
    model = keras.Model(pixels, keras.layers.Dense(1000)(features))
    return _time(lambda part: predict(model, part, 1_000), images)


def onnx_predictions(n: int = 4_000) -> dict[str, float]:
    """Predict with the same layers in ONNX Runtime, resizing in the graph."""
    import onnxruntime
    import torch
    from torch import nn

    to_inputs, lite0 = _to_inputs(), _torch_lite0()

    class Whole(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.lite0, self.logits = lite0, nn.Linear(1280, 1000)

        def forward(self, images: Any) -> Any:
            return self.logits(self.lite0(to_inputs(images)))

    images = _images("train", n)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "lite0.onnx"))
        names, axes = ["images"], {"images": {0: "n"}}
        example = torch.from_numpy(np.array(images[:BATCH_SIZE]))
        torch.onnx.export(Whole().eval(), (example,), path, input_names=names, dynamic_axes=axes, dynamo=False)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    starts = range(0, n, BATCH_SIZE)
    return _time(
        lambda part: [session.run(None, {"images": part[i : i + BATCH_SIZE]}) for i in starts], np.array(images)
    )


def _to_inputs() -> Callable[[Any], Any]:
    import torch

    def to_inputs(images: Any) -> Any:
        x = images.permute(0, 3, 1, 2).float().sub(127).div(128)
        x = torch.nn.functional.interpolate(x, size=(INPUT_SIZE, INPUT_SIZE), mode="bilinear")
        return x.contiguous(memory_format=torch.channels_last)

    return to_inputs


def _time(predict: Callable[[Any], Any], images: Any) -> dict[str, float]:
    """Time predictions after one that compiles."""
    predict(images)
    started = time.perf_counter()
    predict(images)
    return {"seconds": time.perf_counter() - started}


SIDES = (our_fine_tuning, keras_fine_tuning, torch_fine_tuning, our_predictions, onnx_predictions)
