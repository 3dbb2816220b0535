"""The Prefect server that a flow talks to: the one that the settings name, or one of this process alone.

Prefect would start one by itself, once this process had imported all of the server's code only to start it. This one
starts while Prefect is still imported here, on a socket that it inherits: nobody guesses a free port, and a request
waits until it is answered.
"""

from __future__ import annotations

import atexit
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from flows.server import database, password
from tasks.params import ParameterError

START_SECONDS = 120.0  # as in pyproject.toml, for a flow that Python code starts
SAY_SECONDS = 3.0
END_SECONDS = 10.0


class ServerError(RuntimeError):
    """No server can be had; the message says what was waited for, and the next command."""


def is_named() -> bool:
    """Whether the settings of this folder name a lasting server."""
    return bool(os.environ.get("PREFECT_API_URL")) or Path("prefect.toml").exists()


def refuse_unnamed(option: str) -> None:
    """Refuse what needs a lasting server where none is named, not even by a personal profile of Prefect's.

    Raises
    ------
    tasks.params.ParameterError
    """
    from prefect.settings import get_current_settings

    if not get_current_settings().api.url:
        raise ParameterError(
            f"{option} needs a Prefect server that all machines reach; received none; run `make server` here, or set "
            "PREFECT_API_URL to the address of one"
        )


def begin() -> Embedded | None:
    """Start a server, unless the settings of this folder name one."""
    return None if is_named() else Embedded()


@contextmanager
def available(begun: Embedded | None = None) -> Iterator[None]:
    """Within this, Prefect has its server: the one that its settings name, or the one that was begun.

    Raises
    ------
    ServerError
        If the settings name none, and none starts.
    """
    from prefect.context import refresh_global_settings_context
    from prefect.settings import get_current_settings, temporary_settings

    if get_current_settings().api.url:  # a personal profile names one, too
        if begun:
            begun.end()
        if refused := refusal():
            raise ServerError(refused)
        yield
        return
    embedded = begun or Embedded()
    embedded.wait(get_current_settings().home)
    os.environ["PREFECT_API_URL"], os.environ["PREFECT_UI_URL"] = embedded.url, ""
    refresh_global_settings_context()  # Prefect's own threads read these settings
    # Heartbeats are for the automations of a lasting server; the end of a flow waits up to a second for their thread.
    try:
        with temporary_settings({"flows.heartbeat_frequency": None}):
            yield
    except Exception as error:
        if embedded.process.poll() is None:
            raise
        raise ServerError(embedded.failure(get_current_settings().home, "ended before the flow did")) from error


def unreachable(error: Exception) -> str:
    """What to do about a named server that does not answer; empty for another error."""
    if "Failed to reach API" not in str(error) and not isinstance(error, httpx.ConnectError):
        return ""
    if url := os.environ.get("PREFECT_API_URL"):
        where, instead = url, "unset PREFECT_API_URL"
    elif Path("prefect.toml").exists():
        where, instead = "the address in prefect.toml", "remove that file"
    else:
        where, instead = "the address in Prefect's profile", "`prefect config unset PREFECT_API_URL`"
    return f"a Prefect server must answer at {where}; start one with `make server`, or {instead}"


def refusal() -> str:
    """Say why the named server cannot be used, and what to do; empty for one that can."""
    from prefect.settings import get_current_settings

    api = get_current_settings().api
    if api.key:  # Prefect's own cloud, which answers for itself
        return ""
    secret = api.auth_string.get_secret_value() if api.auth_string else ""
    try:
        answer = httpx.get(f"{api.url}/admin/version", auth=password.basic(secret) if secret else None, timeout=30)
    except (httpx.TransportError, httpx.InvalidURL):
        return unreachable(httpx.ConnectError(""))
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        return (
            f"the Prefect server at {api.url} must be given its password; received {'another' if secret else 'none'}; "
            f"copy {password.FILE} from its clone into this one, which is enough for `make worker`; for others type: "
            f'export {password.VARIABLE}="$(cat {password.FILE})"'
        )
    if not answer.is_success:
        return f"a Prefect server must answer at {api.url}, and received {answer.status_code}; an address ends in /api"
    return ""


class Embedded:
    """A server that is a child of this process and ends with it."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.is_ready = False
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 (it ends with this process)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.url = f"http://127.0.0.1:{listening.getsockname()[1]}/api"
            descriptor = listening.fileno()
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flows.server.embedded", str(descriptor)],
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},  # whatever folder this is run in
                pass_fds=[descriptor],
                stdin=subprocess.PIPE,
                stdout=self.log,
                stderr=self.log,
                process_group=0,  # Ctrl-C is for the flow, which still has its end to report
            )
        atexit.register(self.end)  # what runs at the end is run before: Prefect's own last reports

    def wait(self, home: Path) -> None:
        """Wait until it answers, and say so where that takes long.

        Raises
        ------
        ServerError
            If its database is damaged, it ends, or it takes too long.
        """
        if fault := database.fault(home / database.DATABASE.name):
            self.end()
            raise ServerError(
                f"Prefect's database {home / database.DATABASE.name} {fault}; `make doctor` sets it aside, "
                "and the next flow makes a new one"
            )
        for limit in (SAY_SECONDS, START_SECONDS):
            left = max(self.began + limit - time.monotonic(), 0.1)
            try:
                httpx.get(f"{self.url}/health", timeout=left, trust_env=False).raise_for_status()
            except httpx.TimeoutException:
                if limit == SAY_SECONDS:
                    text = "starting Prefect's embedded server in .prefect (the first start in a clone takes longer) …"
                    print(text, file=sys.stderr, flush=True)
            except httpx.HTTPError:  # nobody holds its socket any more
                raise ServerError(self.failure(home, "ended before it answered")) from None
            else:
                self.is_ready = True
                return
        raise ServerError(self.failure(home, f"had not answered after {START_SECONDS:g} s"))

    def end(self) -> None:
        """End it: as it ends by itself when it is there, at once while it is only starting."""
        if self.process.stdin and not self.process.stdin.closed:
            self.process.stdin.close()
        if not self.is_ready:
            self.process.kill()
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def failure(self, home: Path, became: str) -> str:
        """Say what became of it and what it said last, and end it; its log is kept beside the database."""
        self.end()
        self.log.seek(0)
        text = self.log.read().decode(errors="replace")
        kept = home / "server.log"
        with suppress(OSError):
            kept.write_text(text, encoding="utf-8")
        errors = re.findall(r"^[\w.]+(?:Error|Exception)\b.*", text, re.MULTILINE) or text.splitlines()
        said = f": {errors[-1]}" if errors else ""
        return f"Prefect's embedded server {became}{said}; its log is {kept}, and `make doctor` checks its database"
