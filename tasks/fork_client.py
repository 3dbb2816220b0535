"""A step that a fork server runs, which has imported the libraries already: the side of the caller.

The runs of a study name their server, `tasks.fork_server`, in the variable FORK_SERVER. A step hands over to it all
that it was called with, and ends as the fork does. Where the server is gone, or began otherwise than this step did, the
step goes on by itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import signal
import socket
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from tasks.parent import end_with_parent

# What runs before a library is imported, and what the two sides say to each other.
CODE = ("__init__.py", "surroundings.py", "parent.py", "backend.py", "fork_client.py", "fork_server.py")
# Variables that differ from step to step, and that no library reads.
OF_STEP = ("DVC_", "PREFECT", "SHARE", "PWD", "OLDPWD", "SHLVL", "_")
FORWARDED = (signal.SIGINT, signal.SIGTERM)
BEGIN = b"\0"  # the number of no signal: from now on the step may run


def beginning() -> dict[str, Any]:
    """What decides how libraries are imported: code, interpreter, what is installed, cores, and the environment."""
    code = b"".join(Path(__file__).with_name(name).read_bytes() for name in CODE)
    return {
        "code": hashlib.sha256(code).hexdigest(),
        "python": [sys.prefix, sys.version, *sys.flags],
        "installed": Path(sysconfig.get_path("purelib")).stat().st_mtime_ns,
        "cores": sorted(os.sched_getaffinity(0)),  # OpenBLAS starts a thread for each
        "environment": {name: value for name, value in os.environ.items() if not name.startswith(OF_STEP)},
    }


def hand_over() -> None:
    """Have the server run this step and exit as it did; return where the step has to go on by itself."""
    if sys.argv[0] != "-m":  # which stands for the file of `python -m MODULE` as long as that is looked for
        return
    module = sys.orig_argv[-len(sys.argv)]
    if not module.startswith("tasks."):
        return
    with socket.socket(socket.AF_UNIX) as server:
        if _is_taken(server, os.environ.pop("FORK_SERVER"), module):
            _end_as_the_fork(server)


def _is_taken(server: socket.socket, path: str, module: str) -> bool:
    """Ask the server to run this step; False where it is gone or refuses."""
    end_with_parent()
    with suppress(OSError):
        server.connect(path)
        socket.send_fds(server, [b"\n"], [0, 1, 2])
        server.sendall(json.dumps(_request(module)).encode() + b"\n")
        return bool(server.recv(1))
    return False


def _request(module: str) -> dict[str, Any]:
    return {
        "beginning": beginning(),
        "variables": {name: value for name, value in os.environ.items() if name.startswith(OF_STEP)},
        "folder": str(Path.cwd()),
        "module": module,
        "arguments": sys.argv[1:],
    }


def _end_as_the_fork(server: socket.socket) -> NoReturn:
    """Forward signals to the fork until it ends; the server ends it when this process is killed."""
    server.setblocking(False)
    signal.set_wakeup_fd(server.fileno())  # the number of a signal goes there when it arrives, whatever is waited for
    for number in FORWARDED:
        signal.signal(number, lambda *_: None)
    said = b""
    with suppress(ConnectionError):
        server.send(BEGIN)
        select.select([server], [], [])
        said = server.recv(8)
    status = int(said or -signal.SIGKILL)  # nothing: who watched the fork was killed
    if status < 0:
        for number in FORWARDED:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)
