"""PyTorch's sides: the notebook's network, and a rival of `fast`.

The rival is what a good engineer would write in an afternoon: the layers of `whitened_cnn` with PyTorch's own first
weights, a one-cycle schedule, and all that is cheap and known to help (Page 2018, "How to train your ResNet", has its
batch size, peak and weight decay). Images lie in memory once, and a batch is cropped and mirrored by one look-up.
"""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bench import reference
from bench.measure import EPOCHS, TIMED, epoch_of
from tasks.device.cpu import has_bfloat16


@dataclass(frozen=True)
class Rival:
    """What decides a training of the rival."""

    filters: tuple[int, ...]
    epochs: int
    batch_size: int = 512
    peak: float = 0.4  # of the learning rate
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    padding: int = 4  # pixels that an image is padded by, in reflection, before it is cropped

    @property
    def name(self) -> str:
        return "/".join(map(str, self.filters))


RIVALS = {"pytorch": Rival((64, 256, 256), 10), "pytorch_small": Rival((32, 128, 128), 10)}


def torch(
    batch: int = reference.BATCH_SIZE, bfloat16: int = 1, compiled: int = 0, images: int = TIMED
) -> dict[str, float]:
    """Time an epoch of the notebook's network in PyTorch, channels last."""
    import torch
    from torch import nn

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    shape = [(3, 32), (32, 64), (64, 128)]
    network = nn.Sequential()
    for number, (before, after) in enumerate(shape):
        network.append(nn.Conv2d(before, after, 3, padding=1)).append(nn.BatchNorm2d(after)).append(nn.ReLU())
        if number < 2:
            network.append(nn.MaxPool2d(2))
    network.append(nn.Flatten()).append(nn.Linear(8192, 64)).append(nn.ReLU()).append(nn.Dropout(0.5))
    network.append(nn.Linear(64, 10))
    network = network.to(memory_format=torch.channels_last)
    kernels = [p for p in network.parameters() if p.ndim > 1][:-1]
    others = [p for p in network.parameters() if all(p is not kernel for kernel in kernels)]
    # An L2 penalty of 0.01 × w² has the gradient 0.02 × w.
    groups = [{"params": kernels, "weight_decay": 0.02}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.Adam(groups, lr=3e-4, fused=True)
    loss = nn.CrossEntropyLoss()
    pixels, classes = (array[:images] for array in reference.arrays("train"))
    inputs = torch.from_numpy(pixels).permute(0, 3, 1, 2)  # which are channels last in memory
    labels = torch.from_numpy(classes.astype("int64"))
    whole = torch.compile(network) if compiled else network

    ends = []
    for _ in range(1 + EPOCHS):
        for rows in torch.randperm(len(labels)).split(batch):
            model = whole if len(rows) == batch else network  # the last batch would be compiled for itself
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bool(bfloat16)):
                value = loss(model(inputs[rows].contiguous(memory_format=torch.channels_last)), labels[rows])
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            optimizer.step()
        ends.append(time.perf_counter())
    return epoch_of(ends, images)


def torch_recipe(
    variant: str = "pytorch", seed: int = 0, epochs: int | None = None, images: int | None = None
) -> dict[str, Any]:
    """Train the rival; score it in float32, which an epoch's seconds leave out."""
    import torch
    from torch import nn

    started, rival = time.perf_counter(), RIVALS[variant]
    bfloat16 = has_bfloat16("tensorflow")
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(seed)
    network = _network(rival.filters).to(memory_format=torch.channels_last)
    pixels, classes = (values[:images] for values in split_tensors("train"))
    n_epochs, n_batches = epochs or rival.epochs, -(-len(classes) // rival.batch_size)
    batches, to_inputs = _batches(pixels, classes, rival)
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=rival.peak,
        momentum=rival.momentum,
        weight_decay=rival.weight_decay,
        nesterov=True,
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rival.peak, n_epochs * n_batches, cycle_momentum=False)
    loss = nn.CrossEntropyLoss(label_smoothing=rival.label_smoothing)

    def train_epoch(_: int) -> None:
        for inputs, labels in batches():
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
                value = loss(network(inputs), labels)
            optimizer.zero_grad(set_to_none=True)
            value.backward()
            optimizer.step()
            schedule.step()

    return {**run_epochs(train_epoch, n_epochs, network, to_inputs), "seconds": time.perf_counter() - started}


def run_epochs(
    train_epoch: Callable[[int], None], epochs: int, network: Any, to_inputs: Callable[[Any], Any]
) -> dict[str, Any]:
    """Time each epoch and score it on validation, and the last one on test."""
    import torch

    epoch_seconds, scores = [], []
    for epoch in range(epochs):
        begun = time.perf_counter()
        train_epoch(epoch)
        epoch_seconds.append(time.perf_counter() - begun)
        scores.append(accuracy(network, network, to_inputs, "validation"))
        print(f"{epoch_seconds[-1]:.1f} s, validation accuracy {scores[-1]:.4f}", flush=True)
    precision = "mixed_bfloat16" if has_bfloat16("tensorflow") else "float32"
    return {
        "machine": f"{torch.get_num_threads()} threads {precision}",
        "validation_accuracy": scores,
        "test_accuracy": accuracy(network, network, to_inputs, "test"),
        "epoch_seconds": epoch_seconds,
    }


def _network(filters: tuple[int, ...]) -> Any:
    """Build the layers of `whitened_cnn`; its first ones learn, too."""
    from torch import nn

    def convolution(before: int, after: int, *pool: Any) -> list[Any]:
        layer = nn.Conv2d(before, after, 3, padding=1, bias=False)
        return [layer, *pool, nn.BatchNorm2d(after), nn.ReLU()]

    class LogitScale(nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return x.float() / 9

    layers, channels = [nn.Conv2d(3, 24, 2, bias=False), nn.ReLU()], 24
    for after in filters:
        layers += [*convolution(channels, after, nn.MaxPool2d(2)), *convolution(after, after)]
        channels = after
    layers += [nn.AdaptiveMaxPool2d(1), nn.Flatten(), LogitScale(), nn.Linear(channels, 10)]
    return nn.Sequential(*layers)


def _batches(
    images: Any, labels: Any, rival: Rival
) -> tuple[Callable[[], Iterator[tuple[Any, Any]]], Callable[[Any], Any]]:
    """Return functions for the batches of an epoch and for inputs."""
    import torch
    from torch.nn.functional import pad

    n, side = images.shape[:2]
    padded = pad(images.permute(0, 3, 1, 2), [rival.padding] * 4, mode="reflect").permute(0, 2, 3, 1).contiguous()
    values = images.float()
    mean, std = values.mean((0, 1, 2)), values.std((0, 1, 2))
    places = torch.arange(side)

    def to_inputs(pixels: Any) -> Any:
        return ((pixels - mean) / std).permute(0, 3, 1, 2)  # which stay channels last in memory

    def batches() -> Iterator[tuple[Any, Any]]:
        for rows in torch.randperm(n).split(rival.batch_size):
            top, left = torch.randint(0, 2 * rival.padding + 1, (2, len(rows), 1))
            columns = torch.where(torch.rand(len(rows), 1) < 0.5, places, places.flip(0)) + left
            pixels = padded[rows[:, None, None], (places + top)[:, :, None], columns[:, None, :]]
            yield to_inputs(pixels), labels[rows]

    return batches, to_inputs


def accuracy(network: Any, scores: Callable[[Any], Any], to_inputs: Callable[[Any], Any], split: str) -> float:
    """Compute the accuracy by what the network, or its views, score."""
    import torch

    pixels, labels = split_tensors(split)
    network.eval()
    with torch.inference_mode():
        found = torch.cat([scores(to_inputs(part)).argmax(1) for part in pixels.split(1_000)])
    network.train()
    return float((found == labels).float().mean())


def split_tensors(split: str) -> tuple[Any, Any]:
    """Load the images and labels of a split as tensors."""
    import numpy as np
    import torch

    pixels, labels = (np.load(f"data/normalized/{split}_{what}.npy") for what in ("images", "labels"))
    return torch.from_numpy(pixels), torch.from_numpy(labels.astype("int64"))


SIDES = (torch, torch_recipe)
