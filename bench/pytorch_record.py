"""PyTorch's side that people would pick: the public record's own recipe, on a CPU.

Figures and order are those of airbench94_muon (K. Jordan, https://github.com/KellerJordan/cifar10-airbench, 94.01 % in
the mean of 200 runs on 50,000 images): here on 45,000, in bfloat16 by autocast, channels last, and scored on its six
views, each with its own weight.
"""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bench.pytorch import accuracy, run_epochs, split_tensors
from tasks.device.cpu import has_bfloat16


@dataclass(frozen=True)
class Record:
    """What decides a training of the record's recipe."""

    name: str = "the record's recipe"
    epochs: int = 8
    batch_size: int = 2_000
    filters: tuple[int, ...] = (64, 256, 256)
    kernel_rate: float = 0.24
    bias_rate: float = 0.053  # this and the next for the loss summed over a batch
    logits_rate: float = 0.67
    weight_decay: float = 2e-6  # × images of a batch
    label_smoothing: float = 0.2
    whitening_epochs: int = 3  # in which the whitening's bias learns
    padding: int = 2  # pixels


RECORD = Record()


def torch_record(seed: int = 0, epochs: int = RECORD.epochs, images: int | None = None) -> dict[str, Any]:
    """Train the record's recipe; score it with its six views."""
    import torch
    from torch.nn.functional import cross_entropy, pad

    started, bfloat16 = time.perf_counter(), has_bfloat16("tensorflow")
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(seed)
    pixels, labels = (values[:images] for values in split_tensors("train"))
    values = pixels[:5_000].float()
    mean, std = values.mean((0, 1, 2)), values.std((0, 1, 2))

    def to_inputs(pixels: Any) -> Any:
        return ((pixels - mean) / std).permute(0, 3, 1, 2)  # which stay channels last in memory

    network = _network(to_inputs(pixels[:5_000])).to(memory_format=torch.channels_last)
    whitening, *_, logits = network
    kernels = [p for p in network.parameters() if p.ndim == 4 and p.requires_grad]
    biases = [p for p in network.parameters() if p.ndim == 1 and p.requires_grad and p is not whitening.bias]
    peaks = RECORD.bias_rate, RECORD.bias_rate, RECORD.logits_rate
    decay = RECORD.weight_decay * RECORD.batch_size
    groups = [
        {"params": params, "lr": peak, "weight_decay": decay / peak}
        for params, peak in zip(([whitening.bias], biases, [logits.weight]), peaks, strict=True)
    ]
    sgd = torch.optim.SGD(groups, momentum=0.85, nesterov=True, fused=True)
    velocities = [torch.zeros_like(kernel) for kernel in kernels]
    padded = pad(pixels.permute(0, 3, 1, 2), [RECORD.padding] * 4, mode="reflect").permute(0, 2, 3, 1)
    first = torch.rand(len(labels)) < 0.5  # half are mirrored in even epochs, the others in odd ones
    steps = len(labels) // RECORD.batch_size

    def train_epoch(epoch: int) -> None:
        batches = _batches(padded, labels, first ^ bool(epoch % 2))
        for done, (inputs, targets) in enumerate(batches, epoch * steps):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
                outputs = network(to_inputs(inputs)).float() / RECORD.filters[-1]
            cross_entropy(outputs, targets, label_smoothing=RECORD.label_smoothing, reduction="sum").backward()
            left = [max(1 - done / (length * steps), 0) for length in (RECORD.whitening_epochs, epochs, epochs)]
            for group, peak, share in zip(sgd.param_groups, peaks, left, strict=True):
                group["lr"] = peak * share
            sgd.step()
            for kernel, velocity in zip(kernels, velocities, strict=True):
                _muon(kernel, velocity, RECORD.kernel_rate * left[-1])
            network.zero_grad(set_to_none=True)

    found = run_epochs(train_epoch, epochs, network, to_inputs)
    with_views = accuracy(network, _six_views(network), to_inputs, "test")
    return {**found, "test_accuracy_with_views": with_views, "seconds": time.perf_counter() - started}


def _network(sample: Any) -> Any:
    """Build the layers, the first of which is fitted to a sample of inputs."""
    import torch
    from torch import nn

    patches = sample.unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 12)
    variances, directions = torch.linalg.eigh(patches.T @ patches / len(patches))
    filters = (directions / (variances + 5e-4).sqrt()).T.reshape(12, 3, 2, 2)
    whitening = nn.Conv2d(3, 24, 2)
    whitening.weight.data = torch.cat([filters, -filters])
    whitening.weight.requires_grad_(False)
    layers, before = [whitening, nn.GELU()], 24
    for after in RECORD.filters:
        for half, channels in enumerate((before, after)):
            convolution = nn.Conv2d(channels, after, 3, padding=1, bias=False)
            nn.init.dirac_(convolution.weight.data[:channels])
            normalization = nn.BatchNorm2d(after, eps=1e-12, momentum=0.4)  # PyTorch counts what is new
            normalization.weight.requires_grad_(False)
            layers += [convolution, *([] if half else [nn.MaxPool2d(2)]), normalization, nn.GELU()]
        before = after
    logits = nn.Linear(before, 10, bias=False)
    logits.weight.data /= logits.weight.data.std()
    return nn.Sequential(*layers, nn.MaxPool2d(3), nn.Flatten(), logits)


def _muon(kernel: Any, velocity: Any, rate: float) -> None:
    """Scale a kernel, and move it by an orthogonalized gradient."""
    velocity.mul_(0.6).add_(kernel.grad)
    x = kernel.grad.add(velocity, alpha=0.6).reshape(len(kernel), -1).bfloat16()
    x /= x.norm() + 1e-7
    is_tall = x.size(0) > x.size(1)
    x = x.T if is_tall else x
    for _ in range(3):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    kernel.data.mul_(len(kernel) ** 0.5 / kernel.data.norm())
    kernel.data.add_((x.T if is_tall else x).reshape(kernel.shape), alpha=-rate)


def _batches(padded: Any, labels: Any, mirrored: Any) -> Iterator[tuple[Any, Any]]:
    """Yield whole batches of shifted pixels, some mirrored, and labels."""
    import torch

    n, places = len(labels), torch.arange(padded.shape[1] - 2 * RECORD.padding)
    for rows in torch.randperm(n).split(RECORD.batch_size)[: n // RECORD.batch_size]:
        top, left = torch.randint(0, 2 * RECORD.padding + 1, (2, len(rows), 1))
        columns = torch.where(mirrored[rows][:, None], places.flip(0), places) + left
        yield padded[rows[:, None, None], (places + top)[:, :, None], columns[:, None, :]], labels[rows]


def _six_views(network: Any) -> Callable[[Any], Any]:
    """Score an image, two shifts of it, and the mirror images of the three."""
    from torch.nn.functional import pad

    def with_mirror(inputs: Any) -> Any:
        return (network(inputs) + network(inputs.flip(-1))) / 2

    def scores(inputs: Any) -> Any:
        padded, (height, width) = pad(inputs, [1] * 4, mode="reflect"), inputs.shape[2:]
        shifted = [padded[:, :, at : at + height, at : at + width] for at in (0, 2)]
        return (with_mirror(inputs) + sum(map(with_mirror, shifted)) / 2) / 2

    return scores


SIDES = (torch_record,)
