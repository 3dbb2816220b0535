"""Prefect's server as a child: `prefect server start`, which ends with its parent and logs into a file.

Prefect's own ephemeral mode has the flow import all of the server's code first, which makes a flow with nothing to do
slower; a killed flow leaves its server running, and Ctrl-C ends the server before the flow could report its end.
"""

import atexit
import gc
import os
import re
import runpy
import socket
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

from tasks.run.command_line import end_with_parent

START_SECONDS = 120.0
NOTICE_SECONDS = 3.0
STOP_SECONDS = 10.0


class ServerError(RuntimeError):
    """No Prefect server can be used; the message ends in the next command."""


class PrefectServer:
    """A server that this process starts and stops.

    Its process group is its own, so that Ctrl-C reaches a flow alone, which then still reports its end.
    """

    def __init__(self, host: str, port: int, *options: str) -> None:
        self.address = (host, port)
        self.began = time.monotonic()
        self.home = Path(os.environ.get("PREFECT_HOME") or ".prefect")
        self.home.mkdir(parents=True, exist_ok=True)
        self.log = self.home / "server.log"
        self.log.unlink(missing_ok=True)  # a server that still writes it keeps its own
        with self.log.open("wb") as log:
            command = [sys.executable, "-m", __name__, "--host", host, "--port", str(port), *options]
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, process_group=0
            )
        atexit.register(self.stop)  # after Prefect's own last reports, which are registered later

    def wait(self) -> None:
        """Wait until the server answers, and print a line if that takes long.

        Raises
        ------
        ServerError
            If the server ends or needs more than `START_SECONDS`.
        """
        is_noticed = False
        while not self._answers():
            waited = time.monotonic() - self.began
            if self.process.poll() is not None:
                raise ServerError(self.explain("ended before it answered"))
            if waited > START_SECONDS:
                raise ServerError(self.explain(f"had not answered after {START_SECONDS:g} s"))
            if waited > NOTICE_SECONDS and not is_noticed:
                is_noticed = True
                print(
                    "starting Prefect's server; the first start in a clone takes longer …", file=sys.stderr, flush=True
                )
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            socket.create_connection(self.address, timeout=1).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """Stop the server: by SIGTERM, and by SIGKILL if it takes too long."""
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def explain(self, outcome: str) -> str:
        """Stop the server, and describe its outcome by the last error in its log."""
        self.stop()
        text = self.log.read_text(encoding="utf-8", errors="replace")
        errors = re.findall(r"^[\w.]+(?:Error|Exception)\b.*", text, re.MULTILINE) or text.split("\n")
        cause = errors[-1].strip()
        if "Can't locate revision" in cause:
            cause = f"a newer Prefect than {version('prefect')} wrote its database; install that one, or move it away"
        colon = ": " if cause else ""
        return f"Prefect's server {outcome}{colon}{cause}; its log is {self.log}, and `make doctor` checks its database"


def run(arguments: list[str]) -> None:
    """Run Prefect's own command in this process, which ends with its parent."""
    end_with_parent()
    gc.set_threshold(100_000)  # looking for garbage takes a quarter of the time of these imports
    sys.argv = ["prefect", "--no-prompt", "server", "start", "--log-level", "warning", *arguments]
    runpy.run_module("prefect", run_name="__main__")


if __name__ == "__main__":
    run(sys.argv[1:])
