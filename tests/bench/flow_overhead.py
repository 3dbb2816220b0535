"""What a flow run adds to the same `dvc repro`: seconds, interleaved, for nothing to do and for a full run.

`python -m tests.bench.flow_overhead [N] [FULL]` in a clone after `make run`: N rounds with four unchanged
stages, FULL rounds with every stage forced (minutes each). With a server and a worker running
(`make server`, `make deploy`, `make worker`) it measures the deployment too.
"""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

FLOW = "from flows.pipeline import pipeline; pipeline(force={force})"


def sides(force: bool) -> dict[str, list[str]]:
    """The commands that do the same work."""
    found = {
        "dvc repro": ["dvc", "repro", *(["--force"] if force else [])],
        "flow": [sys.executable, "-c", FLOW.format(force=force)],
    }
    if Path("prefect.toml").exists():
        parameter = f"force={str(force).lower()}"
        found["deployment"] = ["prefect", "deployment", "run", "pipeline/local", "--param", parameter, "--watch"]
    return found


def measure(force: bool, rounds: int) -> None:
    commands = sides(force)
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            started = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - started)
            print(f"{'full run' if force else 'unchanged'}: {name} {seconds[name][-1]:.1f} s", flush=True)
    base = statistics.median(seconds["dvc repro"])
    for name, values in seconds.items():
        median = statistics.median(values)
        spread = f"{min(values):.1f}–{max(values):.1f}"
        print(
            f"  {name}: median {median:.1f} s ({spread}, n = {rounds}), {median - base:+.1f} s, × {median / base:.3f}"
        )


if __name__ == "__main__":
    server = "a lasting server" if Path("prefect.toml").exists() else "no server"
    print(f"{platform.platform()}, Python {platform.python_version()}, {server}")
    measure(force=False, rounds=int(sys.argv[1]) if len(sys.argv) > 1 else 5)
    if full := int(sys.argv[2]) if len(sys.argv) > 2 else 1:
        measure(force=True, rounds=full)
