"""Runs sides in processes of their own, in turn, and puts the median of one over that of another."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

POLL_SECONDS = 0.05

Command = list[str]
Found = dict[str, Any]


def side(name: str, **settings: Any) -> Command:
    """The command of a side in sides.py."""
    return [sys.executable, "-m", "tests.bench.sides", name, *(f"{key}={value}" for key, value in settings.items())]


def run(command: Command, folder: Path = Path()) -> Found:
    """Run a side: the figures that it printed, or else its wall time; and its peak of anonymous memory, MiB."""
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        peak = 0
        while process.poll() is None:
            peak = max(peak, _anonymous(process.pid))
            time.sleep(POLL_SECONDS)
        wall = time.perf_counter() - started
        output.seek(0)
        lines = output.read().splitlines()
    if process.returncode:
        last = "\n".join(lines[-20:])
        raise SystemExit(f"{last}\nerror: `{' '.join(command)}` must succeed; it ended with {process.returncode}")
    found: Found = {"seconds": wall, "peak_mib": peak / 2**20}
    if command[2:3] == ["tests.bench.sides"]:
        found |= json.loads(lines[-1])
    print(f"{' '.join(command[2:])}: {found['seconds']:.1f} s, {found['peak_mib']:.0f} MiB", flush=True)
    return found


def _anonymous(pid: int) -> int:
    """Anonymous memory of a process and its children, bytes; files that are mapped do not count. 0 outside Linux."""
    total = 0
    try:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            status = Path(f"/proc/{process.pid}/status").read_text()
            total += 1024 * int(status.split("RssAnon:")[1].split()[0])
    except (psutil.NoSuchProcess, OSError, IndexError):
        return total
    return total


def interleaved(sides: dict[str, Command], rounds: int) -> dict[str, list[Found]]:
    """Run every side in turn, so many times."""
    found: dict[str, list[Found]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, command in sides.items():
            found[name].append(run(command))
    return found


def of(runs: list[Found], label: str, figure: str = "seconds") -> tuple[str, list[float]]:
    """A side of a ratio: its label, and one figure of its runs."""
    return label, [one[figure] for one in runs]


def ratio(
    name: str,
    goal: float,
    above: tuple[str, Iterable[float]],
    below: tuple[str, Iterable[float]],
    better: str = "higher",
    unit: str = "s",
) -> Found:
    """Median over median, with what it was made of."""
    sides = {}
    for label, values in (above, below):
        numbers = sorted(values)
        sides[label] = {
            "median": statistics.median(numbers), "minimum": numbers[0], "maximum": numbers[-1], "n": len(numbers)
        }  # fmt: skip
    first, second = sides.values()
    value = first["median"] / second["median"]
    return {
        "name": name,
        "ratio": round(value, 3),
        "goal": goal,
        "better": better,
        "met": value >= goal if better == "higher" else value <= goal,
        "n": min(first["n"], second["n"]),
        "unit": unit,
        "sides": {
            label: {key: round(figure, 3) for key, figure in figures.items()} for label, figures in sides.items()
        },
    }
