"""Studies: two jobs, short runs, and the cost beside the trainings.

Each runs in a clone of its own, which shares this folder's DVC cache; `make run` comes first.
"""

import random
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.measure import Command, Found, ratio, run, runs_of, side
from tasks.params import PARAMS_FILE, parse


def study(rounds: int = 3) -> list[Found]:
    """Time six runs of a study, one at a time or two."""
    found: dict[int, list[Found]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        clone = _clone(Path(folder, "clone"))
        for _ in range(rounds):
            for jobs, runs in found.items():
                runs.append(run(_study("none,l2,dropout", 2, jobs, "train.epochs=4"), clone))
    return [
        ratio(
            "six runs of a study: two jobs / one job",
            0.75,
            runs_of(found[2], "--jobs 2"),
            runs_of(found[1], "--jobs 1"),
            "lower",
        )
    ]


def study_bare(rounds: int = 1) -> list[Found]:
    """Time trainings of the default study, bare and as a study."""
    variants = ",".join(parse(PARAMS_FILE)["study"]["compared"][::2])
    bare, whole = [], []
    with tempfile.TemporaryDirectory() as folder:
        clone = _clone(Path(folder, "clone"))
        for _ in range(rounds):
            bare.append(run(side("trainings", variants=variants)))
            whole.append(run(_study(variants, seeds=1, jobs=1), clone))
    return [
        ratio(
            "half of the default study's variants, one seed: the sum of the bare trainings / the study",
            0.8,
            runs_of(bare, "the trainings, in one process"),
            runs_of(whole, "flows.study --jobs 1"),
        )
    ]


def _clone(folder: Path) -> Path:
    """Clone this repository, with this folder's DVC cache."""
    subprocess.run(["git", "clone", "--quiet", ".", folder], check=True)
    dvc = [sys.executable, "-m", "dvc"]
    cache = subprocess.run([*dvc, "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()
    subprocess.run([*dvc, "config", "--local", "cache.dir", cache], cwd=folder, check=True)
    return folder


def _study(variants: str, seeds: int, jobs: int, *settings: str) -> Command:
    """Return the command of a study, whose learning rate no model had before."""
    rate = f"train.learning_rate={0.001 + random.random() / 1e5:.12f}"
    given = [part for setting in (rate, *settings) for part in ("--set", setting)]
    study = ["--variants", variants, "--seeds", str(seeds), "--jobs", str(jobs)]
    return [sys.executable, "-m", "flows.study", *study, *given]
