"""Machines: clones with their own caches, which share remotes on loopback."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from flows.cluster import sync
from flows.host.resources import Resources
from flows.runs import trial
from flows.runs.trial import Trial
from flows.study import plan
from tests.support.serving import free_port, wait_for
from tests.support.toy_pipeline import commit, dvc, git, write

KEY = "an-access-key"
EVERYTHING = Resources(frozenset(), {})


class Meeting:
    """The remotes, and the head's clone of a toy pipeline."""

    def __init__(self, place: Path, origin: Path):
        self.place, self.bare, self.store = place, place / "bare", place / "store"
        self.store.mkdir()
        self.remote = f"[core]\n    remote = store\n['remote \"store\"']\n    url = {self.store}\n"
        git(place, "clone", "--quiet", "--bare", str(origin), str(self.bare))
        self.head = self.machine("head")
        shutil.copytree(origin / ".dvc/cache", self.head / ".dvc/cache")

    def machine(self, name: str) -> Path:
        git(self.place, "clone", "--quiet", str(self.bare), name)
        self.configure(self.place / name)
        return self.place / name

    def configure(self, machine: Path, remote: str | None = None) -> None:
        """Name the DVC remote in the clone's local settings."""
        (machine / ".dvc/config.local").write_text(self.remote if remote is None else remote)

    def use_bucket(self, port: int, secret: str, bucket: str = "bucket") -> None:
        """Meet in S3 instead of the folder, with these credentials."""
        self.remote = (
            f"[core]\n    remote = store\n['remote \"store\"']\n    url = s3://{bucket}/here\n    region = us-east-1\n"
            f"    endpointurl = http://127.0.0.1:{port}\n    access_key_id = {KEY}\n    secret_access_key = {secret}\n"
        )
        self.configure(self.head)

    def commit(self) -> str:
        return git(self.head, "rev-parse", "HEAD").strip()

    def plan(self) -> Trial:
        return plan.plan(self.head, ["none"], 1, {})[0]

    def submit(self) -> Trial:
        """Plan a trial, and push its inputs."""
        trial = self.plan()
        sync.push_inputs(self.head, trial.commit)
        return trial

    def references(self) -> dict[str, str]:
        """Return the experiments of the git remote by name."""
        return trial.finished(self.bare)

    def assert_each_is_complete(self) -> None:
        """Check that a clone without a cache gets each file."""
        for number, commit_ in enumerate(self.references().values()):
            fresh = self.machine(f"fresh-{number}-{time.monotonic_ns()}")
            git(fresh, "fetch", "--quiet", "origin", "+refs/exps/*:refs/exps/*")
            git(fresh, "checkout", "--quiet", commit_)
            dvc(fresh, "pull")
            assert (fresh / "model").read_text() == "weights\n"


def toy(path: Path) -> Path:
    """Make a toy pipeline, run it and commit it."""
    write(path)
    dvc(path, "repro", "--quiet")
    commit(path, "first run")
    return path


@contextmanager
def bucket(allows: bool = True) -> Iterator[int]:
    """Start an S3 server with a bucket; return its port.

    Without `allows` it denies every further request.
    """
    port, environment = free_port(), dict(os.environ)
    if not allows:
        environment["INITIAL_NO_AUTH_ACTION_COUNT"] = "1"  # which makes the bucket
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def create() -> bool:
        with suppress(httpx.TransportError):
            return httpx.put(f"http://127.0.0.1:{port}/bucket", timeout=20, trust_env=False).is_success
        return False

    try:
        wait_for("the bucket", create, 60)
        yield port
    finally:
        server.kill()
        server.wait()
