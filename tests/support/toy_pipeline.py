"""A real repository whose stages are the project's and learn nothing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support import ROOT
from tests.support.clone import IDENTITY
from tests.support.parameters import edit

# A pipeline of the same stages that learns nothing: its accuracy falls with train.seed.
STEP = """\
import json, sys
from pathlib import Path
import numpy as np
from ruamel.yaml import YAML
train = YAML(typ="safe").load(Path("params.yaml"))["train"]
n, wrong = 200, 20 + 10 * train["seed"]
labels = np.arange(n) % 2
right = np.where(np.arange(n) < wrong, 0.2, 0.8)
probabilities = np.where(labels[:, None] == np.arange(2), right[:, None], 1 - right[:, None])
np.savez("reports/predictions.npz", labels=labels, probabilities=probabilities, classes=["cat", "dog"], images="a")
scores = {"accuracy": 1 - wrong / n, "loss": 0.5}
gap = {"generalization_gap": 0.1}
Path("reports/metrics.json").write_text(json.dumps({"train": scores, "validation": scores, "test": scores, **gap}))
"""
REPORT = """\
from pathlib import Path
from ruamel.yaml import YAML
Path("reports/evaluation").mkdir()
Path("reports/evaluation/per_class.csv").write_text("class,recall\\ncat,0.5\\n")
Path("reports/evaluation/label_issues.csv").write_text("split,file\\ntest,1.png\\n")
train = YAML().load(Path("params.yaml"))["train"]
Path("reports/index.html").write_text(f"page of {train['epochs']} epochs")
"""
STAGES = """\
vars: [{images: curve.csv}, {backbone: curve.csv}]
stages:
  download:
    cmd: mkdir -p data/raw && ls "${images}" > data/raw/batch
    deps: ["${images}"]
    outs: [data/raw]
  normalize:
    cmd: mkdir -p data/normalized && cp data/raw/batch data/normalized
    deps: [data/raw]
    params: [normalize]
    outs: [data/normalized]
  train:
    cmd: echo weights > model && cp curve.csv reports/history.csv
    deps: [data/normalized, "${backbone}"]
    params: [model, regularize, train]
    outs: [model]
    plots: [{reports/history.csv: {cache: false}}]
  evaluate:
    cmd: python step.py
    deps: [model, step.py]
    params: [train]
    outs: [reports/predictions.npz]
    metrics: [{reports/metrics.json: {cache: false}}]
  export:
    cmd: echo {} > reports/export.json && echo file > exported
    deps: [model]
    params: [train]
    outs: [exported]
    metrics: [{reports/export.json: {cache: false}}]
  report:
    cmd: python report.py
    deps: [reports/predictions.npz, report.py]
    params: [train]
    outs: [reports/evaluation, reports/index.html]
  describe:
    cmd: echo card > reports/card.md
    deps: [reports/evaluation, reports/export.json]
    params: [train]
    outs: [reports/card.md]
artifacts:
  dataset: {path: reports/dataset.json}
  metrics: {path: reports/metrics.json}
  history: {path: reports/history.csv}
  predictions: {path: reports/predictions.npz}
  per_class: {path: reports/evaluation/per_class.csv}
  label_issues: {path: reports/evaluation/label_issues.csv}
  notes: {path: reports/evaluation/notes.txt}
  report: {path: reports/index.html}
"""


def git(path: Path, *arguments: str) -> str:
    command = ["git", *IDENTITY, "-c", "protocol.file.allow=always", *arguments]
    return subprocess.run(command, cwd=path, check=True, capture_output=True, text=True).stdout


def dvc(path: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "dvc", *arguments]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(command, cwd=path, env=environment, check=True, capture_output=True, text=True).stdout


def commit(path: Path, message: str) -> None:
    git(path, "add", "--all")
    git(path, "commit", "--quiet", "--message", message)


def write(path: Path) -> None:
    """Write its files and begin its history, which is empty."""
    shutil.copytree(ROOT / ".dvc", path / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp", "config.local"))
    for name in ("params.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, path)
    edit(path / "params.yaml", train__seed=0, train__precision="float32")
    (path / "step.py").write_text(STEP)
    (path / "report.py").write_text(REPORT)
    (path / "curve.csv").write_text("epoch,generalization_gap,validation_accuracy\n0,0.1,0.8\n")
    (path / "dvc.yaml").write_text(STAGES)
    (path / "reports").mkdir()
    git(path, "init", "--quiet", "--initial-branch", "main")
