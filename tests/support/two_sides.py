"""A real repository of two commits that classify small pictures."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from tasks.data import arrays
from tests.support.clone import IDENTITY

N, CLASSES = 400, ["cat", "dog", "ship", "<b>frog</b>"]
GRAPH = """\
vars: [{images: pictures}]
stages:
  evaluate:
    cmd: 'true'
    outs: [data/normalized, reports/predictions.npz]
    metrics: [{reports/metrics.json: {cache: false}}]
artifacts: {arrays: {path: data/normalized}, predictions: {path: reports/predictions.npz},
  metrics: {path: reports/metrics.json}, dataset: {path: reports/dataset.json}, history: {path: reports/history.csv}}
"""


def begin(root: Path) -> None:
    """Make a repository, with pictures of which each has a colour of its own."""
    for folder in ("reports", "data/normalized", "tasks"):
        (root / folder).mkdir(parents=True)
    (root / "dvc.yaml").write_text(GRAPH)
    (root / "params.yaml").write_text("train: {seed: 0, epochs: 3}\n")
    (root / "libraries.yaml").write_text("keras: '3.15.1'\n")
    (root / "tasks/train.py").write_text("def fit():\n    return 1\n")
    (root / "reports/dataset.json").write_text('{"images": 4000, "test_set_digest": 7}')
    normalized, images = root / "data/normalized", np.zeros((N, 8, 12, 3), np.uint8)
    images[..., 0], images[..., 1] = np.arange(N)[:, None, None] // 200, np.arange(N)[:, None, None] % 200
    labels = np.arange(N) % len(CLASSES)
    for split in ("train", "test"):
        names = [f"{split}/<i>{number}.png" for number in range(N)]
        arrays.write_split(normalized, split, names, labels.astype(np.int32), (8, 12, 3), [images])
    arrays.write_description(normalized, CLASSES, "crop", {"method": "none", "mean": [0] * 3, "std": [1] * 3})
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"], ["dvc", "config", "core.analytics", "false"]):
        subprocess.run(command, check=True, cwd=root)


def write(root: Path, wrong: range, **keys: Any) -> None:
    """Write the results of a model that errs on the given images."""
    digest = arrays.digests(root / "data/normalized")["test_images.npy"]
    labels, numbers = np.arange(N) % len(CLASSES), np.arange(N)
    said = np.where(np.isin(numbers, wrong), (labels + 1) % len(CLASSES), labels)
    confidence = 0.5 + numbers / 1000  # so that the last image is the surest
    y_prob = np.repeat(((1 - confidence) / (len(CLASSES) - 1))[:, None], len(CLASSES), axis=1)
    y_prob[numbers, said] = confidence
    saved = {"labels": labels, "probabilities": y_prob, "classes": CLASSES, "images": digest, **keys}
    np.savez_compressed(root / "reports/predictions.npz", **saved)
    accuracy = 1 - len(wrong) / N
    scores = {"train": {"accuracy": 0.99, "loss": 0.1}, "test": {"accuracy": accuracy, "loss": 0.5 - accuracy / 10}}
    (root / "reports/metrics.json").write_text(json.dumps(scores))
    (root / "reports/history.csv").write_text("epoch,train_loss,train_accuracy\n1,0.5,0.8\n2,0.4,0.9\n")


def commit(root: Path) -> None:
    """Put outputs into DVC's cache, and commit everything else."""
    subprocess.run(["dvc", "commit", "--quiet", "--force", "evaluate"], check=True, cwd=root)
    subprocess.run(["git", "add", "--all"], check=True, cwd=root)
    subprocess.run(["git", *IDENTITY, "commit", "--quiet", "--message", "run"], check=True, cwd=root)
