"""Check everything that this folder keeps by its content, and repair it.

`python -m flows.doctor`

Time stamps are not believed: DVC's cache, every output of dvc.lock and every checkpoint is read and hashed. What is
damaged is moved into `.doctor/` and never deleted; what the cache or git has is restored. Status 0: all is well, or is
now; 1: something is left, and its line ends in the next command; 75: something is running here.
"""

import argparse
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from flows.command_line import BUSY, end_with
from flows.repo.git import repository
from flows.repo.merges import refuse_unresolved
from flows.repo.repair import Cache, Finding, set_aside
from flows.server import database
from tasks.params import ParameterError
from tasks.run import kept
from tasks.training import checkpoints

RECENT_SECONDS = 5.0  # a younger file may be of a command of this moment
WORK = re.compile(r"-m (tasks\.|flows\.(pipeline|study|accept)|prefect\.(engine|flow_engine|runner))|\bdvc(\s|$)")
GIT = re.compile(r"\bgit(\s|$)")
# What .checkpoints has: how it is read, and what its damage costs.
KEPT: dict[str, tuple[Callable[[Path], object], str]] = {
    "*/epoch-*": (checkpoints.read_checkpoint, "training goes on from the one before it"),
    "*/[!.]*.npz": (kept.load_kept, "the next run computes its results again"),
}
FREE_LOCK = re.compile(rb'\{("(read|write)": \{\}(, )?)*\}')


def check(root: Path) -> Iterator[Finding]:
    """Check and repair everything; later repairs build on earlier ones."""
    cache = Cache(root)  # before anything moves: dvc.yaml says what there is to check
    rwlock = root / ".dvc/tmp/rwlock"
    if rwlock.exists() and not FREE_LOCK.fullmatch(rwlock.read_bytes()):  # and no DVC runs here
        yield Finding(".dvc/tmp/rwlock", "left behind by a command that was killed", set_aside(root, rwlock))
    yield from cache.check()
    for pattern, (read, consequence) in KEPT.items():
        for path in sorted((root / kept.FOLDER).glob(pattern)):
            try:
                read(path)
            except (OSError, ValueError):
                yield Finding(path.relative_to(root), f"is damaged; {consequence}", set_aside(root, path))
    yield from _prefect_database(root)
    yield from _partial_files(root)


def _prefect_database(root: Path) -> Iterator[Finding]:
    path = root / database.DATABASE
    if not (fault := database.find_damage(path)):
        return
    if holder := database.find_holder(path):
        yield Finding(database.DATABASE, fault, f"end {holder}, then `make doctor`", is_open=True)
        return
    for file in [*path.parent.glob(f"{path.name}-*"), path]:  # with what SQLite keeps beside it
        moved = set_aside(root, file)
    yield Finding(database.DATABASE, fault, f"{moved}; the next flow, or `make server`, makes a new one")


def _partial_files(root: Path) -> Iterator[Finding]:
    """Set aside partial files and git's lock files, left by killed processes."""
    git = repository(root)
    patterns = [
        (root, "*/.part-*"),
        (root, ".checkpoints/*/.part-*"),
        (git.own, "*.lock"),
        (git.common, "refs/**/*.lock"),
    ]
    for path in (path for folder, pattern in patterns for path in sorted(folder.glob(pattern))):
        if time.time() - path.stat().st_mtime >= RECENT_SECONDS:
            name = path.relative_to(root) if path.is_relative_to(root) else path
            yield Finding(name, "was left half-written", set_aside(root, path))


def find_running(root: Path) -> str:
    """Name a command of this project, DVC or git that works here."""
    places = (root, WORK), (repository(root).top, GIT)
    callers = {caller.pid for caller in psutil.Process().parents()}  # such as a shell whose line has a `git pull` too
    for process in psutil.process_iter(["pid", "cmdline", "cwd"]):
        command, cwd = " ".join(process.info["cmdline"] or []), Path(process.info["cwd"] or "/")
        works_here = any(cwd.is_relative_to(folder) and kind.search(command) for folder, kind in places)
        if works_here and process.pid not in callers:
            return f"{command} (process {process.pid})"
    return ""


def main(arguments: list[str] | None = None) -> int:
    """Check the folder, and print what was found."""
    parser = argparse.ArgumentParser(prog="python -m flows.doctor", description=(__doc__ or "").splitlines()[0])
    parser.parse_args(arguments)
    root, findings = Path.cwd(), []
    try:
        if running := find_running(root):
            wait = f"nothing may run here meanwhile; received {running}; wait for its end"
            print(f"error: doctor: {wait}", file=sys.stderr)
            return BUSY
        refuse_unresolved(root)  # to resolve it takes both sides
        for finding in check(root):
            print(finding, flush=True)
            findings.append(finding)
    except BrokenPipeError:
        raise
    except (ParameterError, RuntimeError, OSError) as error:
        print(f"error: doctor: {error}", file=sys.stderr)
        return 1
    n_open = sum(finding.is_open for finding in findings)
    print(f"{len(findings)} found, {n_open} left to do" if findings else "nothing found: every digest is right")
    return 1 if n_open else 0


if __name__ == "__main__":
    end_with(main)
