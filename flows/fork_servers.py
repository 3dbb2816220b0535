"""A fork server for the runs of a share: their steps find the libraries imported, `tasks/fork_server.py`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from flows.shares import Share


@contextmanager
def fork_server(root: Path, share: Share) -> Iterator[dict[str, str]]:
    """The variable that names a fork server, which began with the cores and variables of a share, as its steps do.

    There is none on other systems than Linux, with a GPU, and for other backends, which may start threads when they are
    imported.
    """
    environment = {**os.environ, **share.variables}
    if not _can_watch() or "CUDA_VISIBLE_DEVICES" in share.variables or environment["KERAS_BACKEND"] != "tensorflow":
        yield {}
        return
    with TemporaryDirectory() as folder:  # which is this user's alone
        path = f"{folder}/fork-server"
        command = [sys.executable, "-u", "-m", "tasks.fork_server", path]
        server = subprocess.Popen(command, cwd=root, env=environment, stdin=subprocess.PIPE)
        try:
            if share.cores:
                os.sched_setaffinity(server.pid, share.cores)  # before it imports anything
            yield {"FORK_SERVER": path}
        finally:
            server.communicate()  # ends its standard input, and waits


def _can_watch() -> bool:
    """Whether a process can be waited for beside a socket: on Linux, from 5.3 on."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True
