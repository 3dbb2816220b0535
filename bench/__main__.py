"""Run the benchmark and keep its ratios in docs/bench.json.

`python -m bench [GROUP …]` in a clone after `make run`; the default is all groups of GROUPS. Sides are interleaved
(A B A B), each run in a fresh process on the same cores. A missed goal is recorded as missed.
"""

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.accuracy import accuracy
from bench.epochs import epochs, epochs_before, epochs_pytorch
from bench.few_images import few_images
from bench.fine_tuning import fine_tuning
from bench.machines import loop_alone
from bench.measure import Found, compare, interleaved, machine, ratio, run, runs_of, side, versions
from bench.photographs import photographs
from bench.studies import study, study_bare
from bench.two_machines import s3_bucket, two_machines

RESULTS = Path("docs/bench.json")


def pipeline() -> list[Found]:
    """Measure what DVC and Prefect add to the work itself."""
    repro, flow = [sys.executable, "-m", "dvc", "repro"], [sys.executable, "-m", "flows.pipeline"]
    stages = [*repro, "--force", "--single-item", "train", "evaluate", "report"]
    # The whole varies by more between two runs than checkpoints cost, so their share is taken within each run.
    checkpoints = [run(side("checkpointed")) for _ in range(3)]
    return [
        compare(
            "train, evaluate and report as stages / the same work in one script",
            1.05,
            {"dvc repro of the stages": stages, "one script": side("bare")},
            rounds=3,
            better="lower",
        ),
        compare(
            "a whole run as a flow, without a lasting server / dvc repro --force",
            1.05,
            {"python -m flows.pipeline, forced": [*flow, "--force"], "dvc repro --force": [*repro, "--force"]},
            rounds=3,
            better="lower",
        ),
        ratio(
            "training with a checkpoint after each epoch / the same less the time that these took",
            1.02,
            runs_of(checkpoints, "with checkpoints"),
            ("without", [one["seconds"] - one["checkpoint_seconds"] for one in checkpoints]),
            "lower",
        ),
    ]


def unchanged() -> list[Found]:
    """Measure DVC and Prefect where nothing changed."""
    dvc, flow = [sys.executable, "-m", "dvc"], [sys.executable, "-m", "flows.pipeline"]
    with tempfile.TemporaryDirectory() as folder:
        toy = [*dvc, "--cd", str(_toy(Path(folder))), "repro"]
        nothing = interleaved({"ours": [*dvc, "repro"], "toy": toy, "flow": flow}, rounds=5)
    return [
        ratio(
            "dvc repro with nothing changed: this pipeline / two stages of echo",
            1.5,
            runs_of(nothing["ours"], "dvc repro here"),
            runs_of(nothing["toy"], "dvc repro there"),
            "lower",
        ),
        ratio(
            "five unchanged stages: flow, without a lasting server / dvc repro",
            9,
            runs_of(nothing["flow"], "python -m flows.pipeline"),
            runs_of(nothing["ours"], "dvc repro"),
            "lower",
        ),
    ]


def _toy(folder: Path) -> Path:
    """Run a pipeline of two stages that only echo."""
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
    """Measure peaks of anonymous memory in MiB."""
    sides = {"ours": side("our_memory"), "reference script": side("stock_memory")}
    name = "peak anonymous memory of training: ours / the reference script"
    return [compare(name, 0.6, sides, 3, "lower", "peak_mib")]


GROUPS: dict[str, Callable[[], list[Found]]] = {
    "epochs": epochs,
    "epochs_pytorch": epochs_pytorch,
    "epochs_before": epochs_before,
    "accuracy": accuracy,
    "pipeline": pipeline,
    "unchanged": unchanged,
    "memory": memory,
    "study": study,
    "study_bare": study_bare,
    "photographs": photographs,
    "few_images": few_images,
    "fine_tuning": fine_tuning,
    "machines": two_machines,
    "machines_s3": s3_bucket,
    "thousand_trials": loop_alone,
}


def row(one: Found) -> str:
    """Format a ratio or an amount as a row of docs/speed.md."""
    medians = " / ".join(f"{side['median']:,.{1 if side['median'] < 100 else 0}f}" for side in one["sides"].values())
    goal = f"{'≥' if one['better'] == 'higher' else '≤'} {one['goal']:g}, {'met' if one['met'] else 'missed'}"
    bfloat16 = "yes" if one["cpu"].endswith("with bfloat16") else "no"
    of_both = f"{one['ratio']:.2f}" if "ratio" in one else "–"
    cells = (one["name"], f"{medians} {one['unit']}", of_both, goal, one["n"], bfloat16, one["date"])
    return f"| {' | '.join(map(str, cells))} |"


def main(groups: list[str]) -> None:
    """Run groups and replace their ratios in docs/bench.json, each with its CPU."""
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
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; default: all")
    args = parser.parse_args()
    if unknown := set(args.groups) - GROUPS.keys():
        parser.error(f"GROUP must be one of {', '.join(GROUPS)}; received {', '.join(sorted(unknown))}")
    main(args.groups or list(GROUPS))
