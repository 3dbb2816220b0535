"""A fork server: it has imported the libraries of the steps, which takes seconds, and forks for each step.

`python -u -m tasks.fork_server SOCKET`, with a pipe as standard input: once the process that holds the other end is
gone, it ends with all that it started. A step imports the project's modules anew, from its own folder, which may be at
another commit. Between it and its caller (`tasks.fork_client`) stands a fork that watches both: the step ends when its
caller is killed, and goes on when the server is.

`multiprocessing`'s fork server runs functions of the one program that started it, so it cannot do this. OpenBLAS is the
only library that starts threads when it is imported; it ends them before a fork and starts them anew in both.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import io
import json
import os
import runpy
import select
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from tasks import fork_client

# What train and evaluate import from elsewhere; Keras is `tasks.backend`'s.
LIBRARIES = (
    *("filelock", "joblib", "numpy", "PIL.Image", "pydantic.main", "ruamel.yaml", "scipy.optimize", "scipy.special"),
    *("scipy.stats", "sklearn.linear_model", "sklearn.metrics", "sklearn.model_selection"),
    *("sklearn.utils.class_weight", "threadpoolctl"),
)

Request = dict[str, Any]


def main() -> None:
    """Serve; in a fork, be a step."""
    parser = argparse.ArgumentParser(prog="python -m tasks.fork_server", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("socket", metavar="SOCKET", help="a path that does not exist")
    path = parser.parse_args().socket
    with suppress(PermissionError):  # it leads one already
        os.setsid()  # in the end it ends its whole group
    begun = json.loads(json.dumps(fork_client.beginning()))  # before libraries set variables of their own
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        for name in ("tasks.backend", *LIBRARIES):
            importlib.import_module(name)
        gc.freeze()
        request = _serve(listener, begun)
    if request:
        _be_step(request)


def _serve(listener: socket.socket, begun: Request) -> Request | None:
    """Fork for each request until the standard input ends; in a step, what was asked for."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # forks are reaped by the system
    while listener in select.select([listener, sys.stdin], [], [])[0]:
        connection, _ = listener.accept()
        if not os.fork():
            return _watch(connection, begun)
        connection.close()
    path = Path(listener.getsockname())
    with suppress(OSError):  # its folder was made for it, and who made it may have been killed
        path.unlink()
        path.parent.rmdir()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)  # the steps that still run
    with suppress(ChildProcessError):  # once none is left
        os.wait()
    return None


def _watch(connection: socket.socket, begun: Request) -> Request:
    """Fork a step, tell its caller how it ends, and end; in the step, what was asked for."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, descriptors, _, _ = socket.recv_fds(connection, 1, 3)
    request: Request = json.loads(connection.makefile("rb").readline() or "{}")
    if request.get("beginning") != begun or not _tell(connection, b"y"):
        os._exit(0)
    if (told := _hear(connection)) != fork_client.BEGIN:  # the caller was killed, or given a signal
        _tell(connection, str(-told[0]).encode() if told else b"")
        os._exit(0)
    if not (step := os.fork()):
        connection.close()
        _take_streams(descriptors)
        return request
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends after its step
    ended = os.pidfd_open(step)
    while ended not in select.select([connection.fileno(), ended], [], [])[0]:
        told = _hear(connection)
        os.kill(step, told[0] if told else signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(step, 0)[1])
    _tell(connection, str(status).encode())
    os._exit(0)


def _tell(caller: socket.socket, word: bytes) -> bool:
    """Send something; False where the caller was killed."""
    with suppress(ConnectionError):
        caller.sendall(word)
        return True
    return False


def _hear(caller: socket.socket) -> bytes:
    """Wait for a byte; nothing where the caller was killed."""
    with suppress(ConnectionError):
        return caller.recv(1)
    return b""


def _take_streams(descriptors: list[int]) -> None:
    """Make descriptors the standard streams; Python remembers of the server's own that they may be files."""
    for number, given in enumerate(descriptors):
        os.dup2(given, number)
        os.close(given)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(io.FileIO(number, "w", closefd=False), write_through=True) for number in (1, 2)
    )


def _be_step(request: Request) -> None:
    """Run a module in this process as `python -m` would have in its own."""
    os.chdir(request["folder"])
    os.environ.update(request["variables"])
    for name in [name for name in sys.modules if name.split(".")[0] == "tasks"]:
        del sys.modules[name]
    sys.path[0] = request["folder"]
    sys.argv[1:] = request["arguments"]
    runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
