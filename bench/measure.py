"""Run sides in turn, and compare their medians."""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Hashable, Iterable, Mapping
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import psutil

POLL_SECONDS = 0.05

# Of sides that time epochs: the mean of some after one that warms up, on some images, in seconds for a whole epoch.
TIMED, WHOLE = 10_000, 45_000  # images
EPOCHS = 3  # timed

Command = list[str]
Found = dict[str, Any]
Side = tuple[str, Iterable[float]]  # a label, and what was measured
Key = TypeVar("Key", bound=Hashable)


def side(name: str, **settings: Any) -> Command:
    """Return the command of a side in sides.py."""
    return [sys.executable, "-m", "bench.sides", name, *(f"{key}={value}" for key, value in settings.items())]


def run(command: Command, folder: Path = Path()) -> Found:
    """Run a side; return what it printed or its wall time, and its peak of memory."""
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
    if command[2:3] == ["bench.sides"]:
        found |= json.loads(lines[-1])
    print(f"{' '.join(command[2:])}: {found['seconds']:.1f} s, {found['peak_mib']:.0f} MiB", flush=True)
    return found


def _anonymous(pid: int) -> int:
    """Measure the anonymous memory of a process tree in bytes; 0 outside Linux."""
    total = 0
    try:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            status = Path(f"/proc/{process.pid}/status").read_text()
            total += 1024 * int(status.split("RssAnon:")[1].split()[0])
    except (psutil.NoSuchProcess, OSError, IndexError):
        return total
    return total


def interleaved(sides: Mapping[Key, Command], rounds: int) -> dict[Key, list[Found]]:
    """Run every side in turn, so many times."""
    found: dict[Key, list[Found]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, command in sides.items():
            found[name].append(run(command))
    return found


def runs_of(runs: list[Found], label: str, figure: str = "seconds") -> tuple[str, list[float]]:
    """Make a side of a ratio from a figure of its runs."""
    return label, [one[figure] for one in runs]


def compare(
    name: str, goal: float, sides: Mapping[str, Command], rounds: int, better: str = "higher", figure: str = "seconds"
) -> Found:
    """Run two sides in turn, and compute the ratio of their medians."""
    above, below = (runs_of(runs, label, figure) for label, runs in interleaved(sides, rounds).items())
    return ratio(name, goal, above, below, better, "MiB" if figure == "peak_mib" else "s")


def ratio(name: str, goal: float, above: Side, below: Side, better: str = "higher", unit: str = "s") -> Found:
    """Compute the ratio of two medians."""
    sides = {label: _figures(values) for label, values in (above, below)}
    first, second = sides.values()
    value = first["median"] / second["median"]
    judged = _judged(name, goal, value, better, min(first["n"], second["n"]), unit)
    return {**judged, "ratio": round(value, 3), "sides": sides}


def amount(name: str, goal: float, side: Side, unit: str = "s") -> Found:
    """Compute a median that must not exceed its goal."""
    label, values = side
    figures = _figures(values)
    return {**_judged(name, goal, figures["median"], "lower", figures["n"], unit), "sides": {label: figures}}


def _judged(name: str, goal: float, value: float, better: str, n: float, unit: str) -> Found:
    met = value >= goal if better == "higher" else value <= goal
    return {"name": name, "goal": goal, "better": better, "met": met, "n": n, "unit": unit}


def _figures(values: Iterable[float]) -> dict[str, float]:
    numbers = sorted(values)
    spread = {"median": statistics.median(numbers), "minimum": numbers[0], "maximum": numbers[-1], "n": len(numbers)}
    return {key: round(figure, 3) for key, figure in spread.items()}


def epoch_of(ends: list[float], images: int = TIMED) -> dict[str, float]:
    """Compute the seconds of an epoch from the ends of epochs."""
    return {"seconds": (ends[-1] - ends[0]) / (len(ends) - 1) * WHOLE / images}


def machine() -> dict[str, str]:
    """Describe this machine."""
    return {
        "cpu": cpu(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory_gib": f"{psutil.virtual_memory().total / 2**30:.0f}",
        "system": platform.system(),
    }


def cpu() -> str:
    """Describe the processor by name, family, model and bfloat16, as names are shared."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return platform.processor()
    first = path.read_text(encoding="utf-8").split("\n\n")[0]
    about = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
    model = "".join(f", {key.split()[-1]} {about[key]}" for key in ("cpu family", "model") if key in about)
    has_bfloat16 = not {"avx512_bf16", "amx_bf16"}.isdisjoint(about.get("flags", "").split())
    return f"{about.get('model name', platform.processor())}{model}, with{'' if has_bfloat16 else 'out'} bfloat16"


def has_package(what: str, package: str = "torch") -> bool:
    """Check for a rival's package, and print what is left out without it."""
    if not find_spec(package):
        print(f"{what}: left out, as {package} is not installed; `make bench` installs it")
        return False
    return True


def versions() -> dict[str, str]:
    """List the releases of the installed packages."""
    packages = ("tensorflow", "keras", "torch", "onnxruntime", "jax", "dvc", "prefect", "numpy")
    installed = {package.name for package in metadata.distributions()}
    return {
        "python": platform.python_version(),
        **{name: metadata.version(name).partition("+")[0] for name in packages if name in installed},
    }
