"""Prefect's server as a child, which ends with its parent.

In Prefect's own ephemeral mode a flow imports all of the server first, a killed flow leaves its server running, and
Ctrl-C ends the server before the flow has reported its end.
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

PROJECT = Path(__file__).parents[2]
START_SECONDS = 120.0
NOTICE_SECONDS = 3.0
STOP_SECONDS = 10.0


class ServerError(RuntimeError):
    """No Prefect server can be used."""


class PrefectServer:
    """A server that this process starts and stops."""

    def __init__(self, host: str, port: int, *options: str) -> None:
        self.address = (host, port)
        self.began = time.monotonic()
        self.home = Path(os.environ.get("PREFECT_HOME") or ".prefect")
        self.home.mkdir(parents=True, exist_ok=True)
        self.log = self.home / "server.log"
        self.log.unlink(missing_ok=True)  # a server that still writes it keeps its own
        with self.log.open("wb") as log:
            code = f"import {__name__} as process; process.run_prefect_server()"
            command = [sys.executable, "-c", code, "--host", host, "--port", str(port), *options]
            self.process = subprocess.Popen(
                command,
                env={**os.environ, "PYTHONPATH": str(PROJECT)},  # whichever folder is the current one
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,  # Ctrl-C reaches the flow alone
            )
        atexit.register(self.stop)  # after Prefect's own last reports, which are registered later

    def wait(self) -> None:
        """Wait until the server answers; print a line if that takes long."""
        is_noticed = False
        while not self._answers():
            waited = time.monotonic() - self.began
            if self.process.poll() is not None:
                raise ServerError(self.explain("ended before it answered"))
            if waited > START_SECONDS:
                raise ServerError(self.explain(f"had not answered after {START_SECONDS:g} s"))
            if waited > NOTICE_SECONDS and not is_noticed:
                is_noticed = True
                print("starting Prefect's server; the first start in a clone takes longer …", file=sys.stderr)
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            socket.create_connection(self.address, timeout=1).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """Stop the server by SIGTERM, or by SIGKILL after `STOP_SECONDS`."""
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def explain(self, outcome: str) -> str:
        """Stop the server; describe its outcome by the last error it logged."""
        self.stop()
        text = self.log.read_text(encoding="utf-8", errors="replace")
        errors = re.findall(r"^[\w.]+(?:Error|Exception)\b.*", text, re.MULTILINE) or text.split("\n")
        cause = errors[-1].strip()
        if "Can't locate revision" in cause:
            cause = f"a newer Prefect than {version('prefect')} wrote its database; install that one, or move it away"
        cause = f": {cause}" if cause else ""
        return f"Prefect's server {outcome}{cause}; its log is {self.log}, and `make doctor` checks its database"


def run_prefect_server() -> None:
    """Run Prefect's own command in this process, which ends with its parent."""
    end_with_parent()
    gc.set_threshold(100_000)  # looking for garbage takes a quarter of the time of these imports
    sys.argv[:1] = ["prefect", "--no-prompt", "server", "start", "--log-level", "warning"]
    runpy.run_module("prefect", run_name="__main__")
