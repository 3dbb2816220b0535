"""Runs the benchmark and keeps its ratios in docs/bench.json. It asserts nothing: a missed goal stands there as missed.

`python -m tests.bench [GROUP …]` in a clone after `make run`; the groups are those of GROUPS, and all of them run when
none is named. Sides are interleaved (A B A B), each run in a fresh process on the same cores.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import psutil

from tests.bench import recipes, reference
from tests.bench.few_images import few_images
from tests.bench.machines import loop_alone
from tests.bench.measure import Found, interleaved, of, ratio, run, side
from tests.bench.photographs import photographs
from tests.bench.two_machines import two_machines

RESULTS = Path("docs/bench.json")
BATCHES = (64, 128, 256, 512)


def epochs() -> list[Found]:
    """One epoch of the same network, here and elsewhere."""
    best = {name: min(BATCHES, key=lambda batch: run(side(name, batch=batch))["seconds"]) for name in ("stock", "ours")}
    precisions = (0, 1) if cpu().endswith("with bfloat16") else (0,)  # without the hardware it takes ten times as long
    settings = [{"batch": batch, "bfloat16": enabled} for batch in BATCHES for enabled in precisions]
    torch = min(settings, key=lambda one: run(side("torch", **one))["seconds"])
    found = interleaved(
        {
            "stock 64": side("stock"),
            "ours 64": side("ours"),
            "stock best": side("stock", batch=best["stock"]),
            "ours best": side("ours", batch=best["ours"]),
            "ours pool first": side("ours", pool_first=1),
            "torch best": side("torch", **torch),
            "default": side("default"),
            "default, not deterministic": side("default", deterministic=0),
        },
        rounds=3,
    )
    stock, ours = of(found["stock 64"], "stock Keras, batch 64"), of(found["ours 64"], "ours, batch 64")
    ours_best = of(found["ours best"], f"ours, batch {best['ours']}")
    return [
        ratio("one epoch, identical network, batch 64: stock Keras / ours", 1.7, stock, ours),
        ratio(
            "one epoch, identical network: stock Keras at its best batch / ours at its best",
            2.0,
            of(found["stock best"], f"stock Keras, batch {best['stock']}"),
            ours_best,
        ),
        ratio(
            "one epoch, reference network: stock order / ours with pool before norm",
            2.5,
            stock,
            of(found["ours pool first"], "ours, pool before norm, batch 64"),
        ),
        ratio(
            "one epoch, identical network: PyTorch at its best / ours at its best",
            1.4,
            of(
                found["torch best"],
                f"PyTorch, batch {torch['batch']}, {'bfloat16' if torch['bfloat16'] else 'float32'}",
            ),
            ours_best,
        ),
        ratio(
            "one epoch of the default: deterministic / not",
            1.05,
            of(found["default"], "deterministic: true"),
            of(found["default, not deterministic"], "deterministic: false"),
            "lower",
        ),
    ]


def accuracy() -> list[Found]:
    """Time to accuracy. The epochs that it takes are in docs/, from runs of every seed; they are timed here anew."""
    recipes.main()
    default, fast = recipes.curves("default"), recipes.curves("fast")
    timed = interleaved({"stock": side("stock"), "default": side("default"), "fast": side("fast")}, rounds=3)
    seconds = {name: [one["seconds"] for one in runs] for name, runs in timed.items()}
    stock, ours, wide = map(statistics.median, seconds.values())
    whole = ("reference, 150 epochs", [reference.EPOCHS * value for value in seconds["stock"]])
    n_fast = len(next(iter(fast.values())))
    print(f"an epoch: reference {stock:.1f} s, default {ours:.1f} s, fast {wide:.1f} s")
    ratios = [
        ratio(
            "the reference's 150 epochs / variant fast, all of it",
            5,
            whole,
            ("fast", [n_fast * value for value in seconds["fast"]]),
        )
        | {"test_accuracy": _spread(fast)}
    ]
    curves = reference.curves()
    if not curves:
        print("time to the reference's accuracy: left out; `make bench-reference` measures its curve first")
        return ratios
    target = statistics.mean(max(row["val_accuracy"] for row in rows) for rows in curves.values())

    def first(curve: recipes.Curve, column: str, at_least: float) -> int:
        """Epochs until a curve arrives; all of them if it never does."""
        return next((n for n, row in enumerate(curve, start=1) if float(row[column]) >= at_least), len(curve))

    near = [stock * first(rows, "val_accuracy", target - 0.005) for rows in curves.values()]
    arrived = {
        goal: [ours * first(rows, "validation_accuracy", goal) for rows in default.values()]
        for goal in (target, target - 0.005)
    }
    missing = sum(all(float(row["validation_accuracy"]) < target for row in rows) for rows in default.values())
    to_target = [
        ratio(
            "time to the reference's best validation accuracy less 0.5 points: reference / default",
            40,
            (f"reference to {target - 0.005:.4f}", near),
            ("default", arrived[target - 0.005]),
        ),
        ratio(
            "the reference's 150 epochs / default to the reference's best validation accuracy",
            60,
            whole,
            (f"default to {target:.4f}", arrived[target]),
        ),
    ]
    for one in to_target:
        one |= {"target": round(target, 4), "runs_that_never_arrived": missing, "met": one["met"] and not missing}
        one |= {"reference_seeds": len(curves), "test_accuracy": _spread(default)}
    return [*to_target, *ratios]


def _spread(curves: dict[int, recipes.Curve]) -> dict[str, float]:
    """Test accuracy over seeds."""
    values = [recipes.test_accuracy(curve) for curve in curves.values()]
    return {
        "mean": round(statistics.mean(values), 4), "minimum": min(values), "maximum": max(values), "n": len(values)
    }  # fmt: skip


def pipeline() -> list[Found]:
    """What DVC and Prefect add to the work itself."""
    repro, flow = [sys.executable, "-m", "dvc", "repro"], [sys.executable, "-m", "flows.pipeline"]
    stages = [*repro, "--force", "--single-item", "train", "evaluate"]
    work = interleaved({"stages": stages, "script": side("bare")}, rounds=3)
    everything = interleaved({"dvc": [*repro, "--force"], "flow": [*flow, "--force"]}, rounds=3)
    # The whole varies by more between two runs than checkpoints cost, so their share is taken within each run.
    checkpoints = [run(side("checkpointed")) for _ in range(3)]
    return [
        ratio(
            "train and evaluate as stages / the same work in one script",
            1.05,
            of(work["stages"], "dvc repro of both stages"),
            of(work["script"], "one script"),
            "lower",
        ),
        ratio(
            "a whole run as a flow, without a lasting server / dvc repro --force",
            1.05,
            of(everything["flow"], "python -m flows.pipeline, forced"),
            of(everything["dvc"], "dvc repro --force"),
            "lower",
        ),
        ratio(
            "training with a checkpoint after each epoch / the same less the time that these took",
            1.02,
            of(checkpoints, "with checkpoints"),
            ("without", [one["seconds"] - one["checkpoint_seconds"] for one in checkpoints]),
            "lower",
        ),
    ]


def unchanged() -> list[Found]:
    """What is asked of DVC and Prefect where nothing changed."""
    dvc, flow = [sys.executable, "-m", "dvc"], [sys.executable, "-m", "flows.pipeline"]
    with tempfile.TemporaryDirectory() as folder:
        toy = [*dvc, "--cd", str(_toy(Path(folder))), "repro"]
        nothing = interleaved({"ours": [*dvc, "repro"], "toy": toy, "flow": flow}, rounds=5)
    return [
        ratio(
            "dvc repro with nothing changed: this pipeline / two stages of echo",
            1.5,
            of(nothing["ours"], "dvc repro here"),
            of(nothing["toy"], "dvc repro there"),
            "lower",
        ),
        ratio(
            "four unchanged stages: flow, without a lasting server / dvc repro",
            9,
            of(nothing["flow"], "python -m flows.pipeline"),
            of(nothing["ours"], "dvc repro"),
            "lower",
        ),
    ]


def _toy(folder: Path) -> Path:
    """A pipeline of two stages that only echo, after its first run."""
    (folder / "dvc.yaml").write_text(
        "stages:\n  a: {cmd: echo a > a.txt, outs: [a.txt]}\n  b: {cmd: echo b > b.txt, deps: [a.txt], outs: [b.txt]}\n"
    )
    for command in (
        ["git", "init", "-q"],
        ["dvc", "init", "-q"],
        ["dvc", "config", "core.analytics", "false"],
        ["dvc", "repro"],
    ):
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


def memory() -> list[Found]:
    """Peaks of anonymous memory, MiB."""
    whole = interleaved({"ours": side("our_memory"), "stock": side("stock_memory")}, rounds=3)
    return [
        ratio(
            "peak anonymous memory of training: ours / the reference script",
            0.6,
            of(whole["ours"], "ours", "peak_mib"),
            of(whole["stock"], "reference script", "peak_mib"),
            "lower",
            "MiB",
        ),
    ]


def study() -> list[Found]:
    """The same six runs of a study, one after the other with all cores, or two at a time with half of them each."""
    found: dict[int, list[Found]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", ".", clone], check=True)
        cache = subprocess.run(
            [sys.executable, "-m", "dvc", "cache", "dir"], capture_output=True, text=True, check=True
        )
        settings = [sys.executable, "-m", "dvc", "config", "--local", "cache.dir", cache.stdout.strip()]
        subprocess.run(settings, cwd=clone, check=True)
        for n in range(3):
            for jobs, runs in found.items():
                # adamw takes no notice of momentum; with another one it is another run, and none is found done.
                other = f"train.momentum=0.{jobs}{n}"
                what = ["--variants", "none,l2,dropout", "--seeds", "2", "--set", "train.epochs=4", "--set", other]
                runs.append(run([sys.executable, "-m", "flows.study", "--jobs", str(jobs), *what], clone))
    return [
        ratio(
            "six runs of a study: two jobs / one job",
            0.75,
            of(found[2], "--jobs 2"),
            of(found[1], "--jobs 1"),
            "lower",
        )
    ]


GROUPS: dict[str, Callable[[], list[Found]]] = {
    "epochs": epochs,
    "accuracy": accuracy,
    "pipeline": pipeline,
    "unchanged": unchanged,
    "memory": memory,
    "study": study,
    "photographs": photographs,
    "few_images": few_images,
    "machines": two_machines,
    "thousand_trials": loop_alone,
}


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    return {
        "cpu": cpu(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory_gib": f"{psutil.virtual_memory().total / 2**30:.0f}",
        "system": platform.system(),
    }


def cpu() -> str:
    """A processor by its name, family and model, and whether it computes in bfloat16: the name alone may be two."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return platform.processor()
    first = path.read_text(encoding="utf-8").split("\n\n")[0]
    about = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
    model = "".join(f", {key.split()[-1]} {about[key]}" for key in ("cpu family", "model") if key in about)
    has_bfloat16 = not {"avx512_bf16", "amx_bf16"}.isdisjoint(about.get("flags", "").split())
    return f"{about.get('model name', platform.processor())}{model}, with{'' if has_bfloat16 else 'out'} bfloat16"


def versions() -> dict[str, str]:
    """What they were measured with: releases, whoever built them; a package that is not installed is left out."""
    packages = ("tensorflow", "keras", "torch", "jax", "dvc", "prefect", "numpy")
    installed = {package.name for package in metadata.distributions()}
    return {
        "python": platform.python_version(),
        **{name: metadata.version(name).partition("+")[0] for name in packages if name in installed},
    }


def row(one: Found) -> str:
    """A ratio as a row of the README's table: the medians of its sides, the goal, and on what CPU it was met, when."""
    medians = " / ".join(f"{side['median']:,.{1 if side['median'] < 100 else 0}f}" for side in one["sides"].values())
    goal = f"{'≥' if one['better'] == 'higher' else '≤'} {one['goal']:g}, {'met' if one['met'] else 'missed'}"
    bfloat16 = "yes" if one["cpu"].endswith("with bfloat16") else "no"
    cells = (one["name"], f"{medians} {one['unit']}", f"{one['ratio']:.2f}", goal, one["n"], bfloat16, one["date"])
    return f"| {' | '.join(map(str, cells))} |"


def main(groups: list[str]) -> None:
    """Run groups. A ratio measured now replaces its older self, whose CPU may have been another; each names its own."""
    about = {"machine": machine(), "versions": versions()}
    for group in groups:
        old = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"ratios": []}
        known, installed = old.get("versions", {}), about["versions"]
        same = all(known[name] == installed[name] for name in known.keys() & installed.keys())
        kept = old["ratios"] if same else []
        now = {"cpu": about["machine"]["cpu"], "date": datetime.date.today().isoformat()}
        measured = [{**one, **now} for one in GROUPS[group]()]
        names = {one["name"] for one in measured}
        ratios = [one for one in kept if one["name"] not in names] + measured
        about["versions"] = {**known, **installed} if same else installed  # torch may be gone again
        content = json.dumps({**about, "ratios": ratios}, indent=2, ensure_ascii=False)
        RESULTS.write_text(content + "\n", encoding="utf-8")
        print(" · ".join([*about["machine"].values(), *(" ".join(pair) for pair in installed.items())]))
        for one in measured:
            spreads = (f"{name} {side['minimum']:,.4g}–{side['maximum']:,.4g}" for name, side in one["sides"].items())
            print(f"{row(one)} ranges: {', '.join(spreads)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; default: all")
    asked = parser.parse_args().groups
    if unknown := set(asked) - GROUPS.keys():
        parser.error(f"GROUP must be one of {', '.join(GROUPS)}; received {', '.join(sorted(unknown))}")
    main(asked or list(GROUPS))
