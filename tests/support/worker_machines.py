"""Machines with workers: clones with their own cache, state and worker."""

import contextlib
import signal
import sys
import time
from pathlib import Path

import psutil

from tests.support.clone import IDENTITY, Clone
from tests.support.serving import running

SECRET = "not-in-any-log"


class Machine(Clone):
    """A clone that takes trials: its own cache, settings and worker."""

    def __init__(self, path: Path, origin: Path):
        super().__init__(path)
        path.parent.mkdir(parents=True)
        self.environment["DVC_SITE_CACHE_DIR"] = str(path.parent / "site-cache")
        self.environment["XDG_CACHE_HOME"] = str(path.parent / "user-cache")
        self.path = path.parent
        self.run("git", "clone", "--quiet", str(origin), path.name)
        self.path = path

    def worker(self, server: str, limit: int = 1) -> contextlib.AbstractContextManager[object]:
        """Run its worker, named like its folder."""
        options = ("--server", server, "--name", self.path.parent.name, "--limit", str(limit))
        log = f"worker-{time.monotonic_ns()}"  # beside those of earlier ones
        return running(self, sys.executable, "-m", "flows.cluster.worker", *options, log=log)

    def processes(self) -> list[psutil.Process]:
        """List all processes that run in this clone."""
        every = psutil.process_iter(["cwd"])
        return [process for process in every if (process.info["cwd"] or "").startswith(str(self.path))]

    def send(self, number: signal.Signals) -> None:
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def trains(self) -> bool:
        return any("-m tasks.train" in " ".join(process.cmdline()) for process in self.living())

    def living(self) -> list[psutil.Process]:
        living = []
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.status() != psutil.STATUS_ZOMBIE and process.cmdline():
                    living.append(process)
        return living


def use_bucket(clone: Clone, port: int) -> None:
    """Configure the address and keys of a bucket, which git lacks."""
    settings = {
        "endpointurl": f"http://127.0.0.1:{port}",
        "access_key_id": "a-key",
        "secret_access_key": SECRET,
        "region": "us-east-1",
    }
    for key, value in settings.items():
        clone.run("dvc", "remote", "modify", "--local", "store", key, value)


def open_to_machines(head: Clone, origin: Path, url: str) -> None:
    """Give a clone a bare repository and a DVC remote."""
    head.run("git", "init", "--quiet", "--bare", "--initial-branch=main", str(origin))
    head.run("dvc", "remote", "add", "--default", "store", url)
    head.run("git", "add", ".dvc/config")
    head.run("git", *IDENTITY, "commit", "--quiet", "--message", "a remote")
    head.run("git", "remote", "add", "origin", str(origin))
    head.run("git", "push", "--quiet", "origin", "HEAD:refs/heads/main")
