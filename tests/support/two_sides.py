"""A real repository of two commits that classify small pictures."""

import json
import subprocess
from collections.abc import Collection
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
from dvc.repo import Repo

from tasks.data import arrays
from tests.support.clone import IDENTITY

N, CLASSES = 400, ["cat", "dog", "ship", "<b>frog</b>"]  # test images with a picture
GRAPH = """\
vars: [{{images: pictures}}]
stages:
  evaluate:
    cmd: 'true'
    params: [model]
    outs: [{outs}]
    metrics: [{{reports/metrics.json: {{cache: false}}}}]
artifacts: {{arrays: {{path: data/normalized}}, predictions: {{path: reports/predictions.npz}},
  metrics: {{path: reports/metrics.json}}, dataset: {{path: reports/dataset.json}},
  history: {{path: reports/history.csv}}}}
"""


def begin(root: Path, *outs: str) -> None:
    """Make a repository without pictures, whose stage has predictions and other outputs."""
    for folder in ("reports", "tasks"):
        (root / folder).mkdir(parents=True)
    (root / "dvc.yaml").write_text(GRAPH.format(outs=", ".join(["reports/predictions.npz", *outs])))
    (root / "params.yaml").write_text("train: {seed: 0, epochs: 3}\nmodel: {filters: 8}\n")
    (root / "libraries.yaml").write_text("keras: '3.15.1'\n")
    (root / "tasks/train.py").write_text("def fit():\n    return 1\n")
    (root / "reports/dataset.json").write_text('{"test_set_digest": 123456}')
    subprocess.run(["git", "init", "-q"], check=True, cwd=root)
    Repo.init(str(root)).close()


def begin_with_pictures(root: Path) -> None:
    """Make a repository, with pictures of which each has a colour of its own."""
    begin(root, "data/normalized")
    normalized, images = root / "data/normalized", np.zeros((N, 8, 12, 3), np.uint8)
    normalized.mkdir(parents=True)
    images[..., 0], images[..., 1] = np.arange(N)[:, None, None] // 200, np.arange(N)[:, None, None] % 200
    labels = np.arange(N) % len(CLASSES)
    for split in ("train", "test"):
        names = [f"{split}/<i>{number}.png" for number in range(N)]
        arrays.write_split(normalized, split, names, labels.astype(np.int32), (8, 12, 3), [images])
    arrays.write_description(normalized, CLASSES, "crop", {"method": "none", "mean": [0] * 3, "std": [1] * 3})


def write(
    root: Path,
    wrong: Collection[int],
    labels: np.ndarray,
    confidence: Any = 0.7,
    headline: dict[str, float] | None = None,
    **keys: Any,
) -> None:
    """Write metrics and predictions of a model that errs on the given images."""
    n, confidence = len(labels), np.broadcast_to(confidence, len(labels))
    said = np.where(np.isin(np.arange(n), list(wrong)), (labels + 1) % 4, labels)
    y_prob = np.repeat(((1 - confidence) / 3)[:, None], 4, axis=1)
    y_prob[np.arange(n), said] = confidence
    saved = {"labels": labels, "probabilities": y_prob, "classes": CLASSES, "images": "a1", **keys}
    kept = {key: value for key, value in saved.items() if value is not None}
    np.savez_compressed(root / "reports/predictions.npz", **kept)
    accuracy = 1 - len(wrong) / n
    test = {"accuracy": accuracy, "loss": 0.5 - accuracy / 10, **(headline or {})}
    (root / "reports/metrics.json").write_text(json.dumps({"train": {"accuracy": 0.99, "loss": 0.1}, "test": test}))


def write_of_pictures(root: Path, wrong: range) -> None:
    """Write the results on the pictures, of which the last has the surest answer."""
    digest = arrays.digests(root / "data/normalized")["test_images.npy"]
    write(root, wrong, np.arange(N) % len(CLASSES), 0.5 + np.arange(N) / 1000, images=digest)
    (root / "reports/history.csv").write_text("epoch,train_loss,train_accuracy\n1,0.5,0.8\n2,0.4,0.9\n")


def commit(root: Path) -> None:
    """Put outputs into DVC's cache, and commit everything else."""
    with chdir(root), Repo() as repo:  # in this process: to start DVC takes a second
        repo.commit("evaluate", force=True)
    commit_to_git(root, "--all")


def commit_to_git(root: Path, *what: str) -> str:
    """Commit files to git alone, which is fast; return the commit."""
    subprocess.run(["git", "add", *what], check=True, cwd=root)
    subprocess.run(["git", *IDENTITY, "commit", "-q", "--allow-empty", "-m", "run"], check=True, cwd=root)
    return subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=root, text=True).strip()
