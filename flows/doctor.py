"""Check everything that this folder keeps by its content, and repair it.

`python -m flows.doctor`

Time stamps are not believed: DVC's cache, every output of dvc.lock and every checkpoint is read and hashed. What is
damaged is moved into `.doctor/` and never deleted; what the cache or git has is restored. Status 0: all is well, or is
now; 1: something is left, and its line ends in the next command; 75: something is running here.
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from flows.repo.cache import Cache
from flows.repo.git import repository
from flows.repo.merges import resolution, unresolved
from flows.repo.quarantine import Finding, Quarantine
from flows.server import database
from tasks.params import ParameterError
from tasks.training import checkpoints

BUSY = 75  # the shell's EX_TEMPFAIL
RECENT_SECONDS = 5.0  # a file that is younger may be of a command of this moment
WORK = re.compile(r"-m (tasks\.|flows\.(pipeline|study|accept)|prefect\.(engine|flow_engine|runner))|\bdvc(\s|$)")
GIT = re.compile(r"\bgit(\s|$)")


def check(root: Path) -> Iterator[Finding]:
    """Check and repair everything; later repairs build on earlier ones."""
    if files := unresolved(root):  # to resolve them takes both sides
        yield Finding(", ".join(files), "hold both sides of a merge", resolution(files), is_open=True)
        return
    quarantine = Quarantine(root)
    cache = Cache(root, quarantine)  # before anything moves: dvc.yaml says what there is to check
    yield from _dvc_rwlock(root, quarantine)
    yield from cache.check()
    yield from _checkpoints(root, quarantine)
    yield from _prefect_database(root, quarantine)
    yield from _partial_files(root, quarantine)


def _dvc_rwlock(root: Path, quarantine: Quarantine) -> Iterator[Finding]:
    """Quarantine a stale DVC rwlock; no DVC process is `running`."""
    path = root / ".dvc/tmp/rwlock"
    if not path.exists():
        return
    try:
        holders = json.loads(path.read_bytes())
        is_stale = any(holders.values()) or not holders.keys() <= {"read", "write"}
    except (ValueError, AttributeError):  # truncated
        is_stale = True
    if is_stale:
        yield Finding(".dvc/tmp/rwlock", "left behind by a command that was killed", quarantine.move(path))


def _checkpoints(root: Path, quarantine: Quarantine) -> Iterator[Finding]:
    for folder in sorted((root / ".checkpoints").glob("*/epoch-*")):
        try:
            checkpoints.read_checkpoint(folder)
        except (OSError, ValueError):
            name = str(folder.relative_to(root))
            yield Finding(name, "is damaged; training goes on from the one before it", quarantine.move(folder))


def _prefect_database(root: Path, quarantine: Quarantine) -> Iterator[Finding]:
    """Quarantine a damaged Prefect database, with what SQLite keeps beside it."""
    path = root / database.DATABASE
    if not (fault := database.find_damage(path)):
        return
    if holder := database.find_holder(path):
        yield Finding(str(database.DATABASE), fault, f"end {holder}, then `make doctor`", is_open=True)
        return
    for file in [*path.parent.glob(f"{path.name}-*"), path]:
        moved = quarantine.move(file)
    yield Finding(str(database.DATABASE), fault, f"{moved}; the next flow, or `make server`, makes a new one")


def _partial_files(root: Path, quarantine: Quarantine) -> Iterator[Finding]:
    """Quarantine partial files and git's lock files, left by killed processes."""
    git = repository(root)
    patterns = [
        (root, "*/.part-*"),
        (root, ".checkpoints/*/.part-*"),
        (git.own, "*.lock"),
        (git.common, "refs/**/*.lock"),
    ]
    for folder, pattern in patterns:
        for path in sorted(folder.glob(pattern)):
            if time.time() - path.stat().st_mtime >= RECENT_SECONDS:
                name = str(path.relative_to(root) if path.is_relative_to(root) else path)
                yield Finding(name, "was left half-written", quarantine.move(path))


def running(root: Path) -> list[str]:
    """List the commands of DVC, steps, flows and git that work here.

    Of the checkout or one of its worktrees; of git in the whole repository.
    """
    commands, top = [], repository(root).top
    callers = {caller.pid for caller in psutil.Process().parents()}  # such as a shell whose line has a `git pull` too
    for process in psutil.process_iter(["pid", "cmdline", "cwd"]):
        command = " ".join(process.info["cmdline"] or [])
        cwd = Path(process.info["cwd"] or "/")
        works_here = any(
            cwd.is_relative_to(folder) and kind.search(command) for folder, kind in ((root, WORK), (top, GIT))
        )
        if works_here and process.pid not in callers:
            commands.append(f"{command} (process {process.info['pid']})")
    return commands


def main(arguments: list[str] | None = None) -> int:
    """Check the folder, and print what was found."""
    argparse.ArgumentParser(
        prog="python -m flows.doctor",
        description="Check everything that this folder keeps, by content, and repair what can be.",
    ).parse_args(arguments)
    root, findings = Path.cwd(), []
    try:
        if busy := running(root):
            wait = f"nothing may run here meanwhile; received {busy[0]}; wait for its end"
            print(f"error: doctor: {wait}", file=sys.stderr)
            return BUSY
        for finding in check(root):
            print(finding, flush=True)
            findings.append(finding)
    except (ParameterError, RuntimeError, OSError) as error:
        print(f"error: doctor: {error}", file=sys.stderr)
        return 1
    n_open = sum(finding.is_open for finding in findings)
    print(f"{len(findings)} found, {n_open} left to do" if findings else "nothing found: every digest is right")
    return 1 if n_open else 0


if __name__ == "__main__":
    sys.exit(main())
