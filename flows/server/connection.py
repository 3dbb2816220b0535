"""The Prefect server of a command: a named one, or its own."""

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from flows.server import database, password
from flows.server.process import PrefectServer, ServerError
from tasks.params import ParameterError

VARIABLE = "PREFECT_API_URL"


def require_named_server(option: str) -> None:
    """Refuse an option that needs a lasting server where none is named."""
    from prefect.settings import get_current_settings

    if not get_current_settings().api.url:
        raise ParameterError(
            f"{option} needs a Prefect server that all machines reach; received none; run `make server` here, or set "
            "PREFECT_API_URL to the address of one"
        )


def start_unless_named() -> PrefectServer | None:
    """Start a server, unless the environment or prefect.toml names one."""
    is_named = os.environ.get(VARIABLE) or _is_in_dotenv() or Path("prefect.toml").exists()
    return None if is_named else _start()


def _is_in_dotenv() -> bool:
    """Tell whether .env names a server; Prefect reads it before prefect.toml."""
    path = Path(".env")
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return bool(re.search(rf"^\s*(export\s+)?{VARIABLE}\s*=\s*\S", text, re.MULTILINE | re.IGNORECASE))


def _start() -> PrefectServer:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return PrefectServer("127.0.0.1", port, "--no-ui", "--no-scheduler")


@contextmanager
def connected(started: PrefectServer | None = None) -> Iterator[None]:
    """Give Prefect the named server in this context, or its own."""
    from prefect.context import refresh_global_settings_context
    from prefect.settings import get_current_settings, temporary_settings

    if get_current_settings().api.url:  # a personal profile may name one, too
        if started:
            started.stop()
        check_named_server()
        yield
        return
    server = started or _start()
    path = server.home / database.DATABASE.name
    if damage := database.find_damage(path):
        raise ServerError(f"{path} {damage}; `make doctor` sets it aside, and the next flow makes a new one")
    server.wait()
    host, port = server.address
    os.environ["PREFECT_API_URL"], os.environ["PREFECT_UI_URL"] = f"http://{host}:{port}/api", ""
    refresh_global_settings_context()  # Prefect's threads read these settings, not those of a context
    # Only automations of a lasting server read heartbeats, and the end of a flow would wait a second for their thread.
    try:
        with temporary_settings({"flows.heartbeat_frequency": None}):
            yield
    except Exception as error:
        if server.process.poll() is None:
            raise
        raise ServerError(server.explain("ended before the flow did")) from error


def explain_unreachable(error: Exception) -> str:
    """Explain that the named server does not answer; "" for another error."""
    if "Failed to reach API" not in str(error) and not isinstance(error, httpx.ConnectError):
        return ""
    start = "start one with `make server`"  # which names it in prefect.toml
    if url := os.environ.get(VARIABLE):
        where, start, instead = url, "start that one", f"unset {VARIABLE}"
    elif _is_in_dotenv():
        where, start, instead = "the address in .env of this folder", "start that one", f"remove {VARIABLE} there"
    elif Path("prefect.toml").exists():
        where, instead = "the address in prefect.toml", "remove that file"
    else:
        where, instead = "the address in Prefect's profile", "`prefect config unset PREFECT_API_URL`"
    return f"a Prefect server must answer at {where}; {start}, or {instead}"


def check_named_server() -> None:
    """Check that the named server answers and accepts our password."""
    from prefect.settings import get_current_settings

    api = get_current_settings().api
    if api.key:  # Prefect Cloud checks its keys itself
        return
    secret = api.auth_string.get_secret_value() if api.auth_string else ""
    try:
        response = httpx.get(f"{api.url}/admin/version", auth=password.basic(secret) if secret else None, timeout=30)
    except (httpx.TransportError, httpx.InvalidURL):
        raise ServerError(explain_unreachable(httpx.ConnectError(""))) from None
    if response.status_code == httpx.codes.UNAUTHORIZED:
        raise ServerError(
            f"the Prefect server at {api.url} must be given its password; received {'another' if secret else 'none'}; "
            f"copy {password.FILE} from its clone into this one, which is enough for `make worker`; for others type: "
            f'export {password.VARIABLE}="$(cat {password.FILE})"'
        )
    if not response.is_success:
        raise ServerError(
            f"a Prefect server must answer at {api.url}, and received {response.status_code}; an address ends in /api"
        )
