"""`python -m flows.server [--host ADDRESS] [--port 4200]`: Prefect's server and its UI, until it is ended.

While it runs, prefect.toml tells every Prefect command in this clone where it is. Its database is the one in .prefect,
or the one that PREFECT_SERVER_DATABASE_CONNECTION_URL names. One that other machines can reach has a password.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import ipaddress
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from flows.host.signals import end_on_signals
from flows.server import password

TOML = Path("prefect.toml")
DATABASE_VARIABLE = "PREFECT_SERVER_DATABASE_CONNECTION_URL"
CONNECT_SECONDS = 10.0


class AddressError(RuntimeError):
    """Nothing can be served at this address or from this database."""


def main(arguments: list[str] | None = None) -> int:
    """Serve until Ctrl-C or SIGTERM; the status of the process."""
    parser = argparse.ArgumentParser(prog="python -m flows.server", description="A lasting Prefect server.")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="to listen at; default: %(default)s")
    parser.add_argument("--port", default=4200, type=int, metavar="N", help="default: %(default)s")
    asked = parser.parse_args(arguments)
    end_on_signals()
    try:
        with _alone(), _listen(asked.host, asked.port) as listening:
            _refuse_silent(os.environ.get(DATABASE_VARIABLE, ""))
            _serve(listening, asked.host, asked.port)
    except AddressError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 1  # it ended by itself, and its log says why


@contextmanager
def _alone() -> Iterator[None]:
    """Be the only server of this clone, which has one prefect.toml."""
    password.FILE.parent.mkdir(exist_ok=True)
    try:
        with FileLock(password.FILE.with_name("server.lock"), timeout=0):
            yield
    except Timeout:
        raise AddressError(f"a clone must have one server; {TOML} says where it runs; end that one first") from None


def _listen(host: str, port: int) -> socket.socket:
    if not 0 < port < 2**16:
        raise AddressError(f"PORT must be from 1 to 65535; received {port}; try: make server")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except socket.gaierror:
        raise AddressError(f"HOST must be an address of this machine; received {host}; try: make server") from None
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise AddressError(f"nothing can listen at {host}, port {port}: {error.strerror}") from None
        raise AddressError(
            f"port {port} is taken, perhaps by a server that runs already; try: make server PORT={port + 1}"
        ) from None


def _refuse_silent(database: str) -> None:
    """Refuse a database that does not answer, which Prefect would tell by a trace."""
    if not database:
        return
    from sqlalchemy.engine import make_url
    from sqlalchemy.ext.asyncio import create_async_engine

    async def connect() -> None:
        engine = create_async_engine(database)
        try:
            async with asyncio.timeout(CONNECT_SECONDS), engine.connect():
                pass
        finally:
            await engine.dispose()

    try:
        received = make_url(database).render_as_string(hide_password=True)
    except Exception:
        received = "something else"
    try:
        asyncio.run(connect())
    except Exception as error:  # of the driver, SQLAlchemy or the system
        why = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise AddressError(
            "DATABASE must be the address of a database that answers, such as postgresql+asyncpg://user@host/prefect "
            f"with its password in ~/.pgpass; received {received}: {why}"
        ) from None


def _serve(listening: socket.socket, host: str, port: int) -> None:
    name, numbers = socket.gethostname(), listening.getsockname()
    everywhere, local = ipaddress.ip_address(numbers[0]).is_unspecified, ipaddress.ip_address(numbers[0]).is_loopback
    loopback = "::1" if listening.family == socket.AF_INET6 else "127.0.0.1"
    url = f"http://{_bracketed(loopback if everywhere else host)}:{port}"
    settings = f'[api]\nurl = "{url}/api"\n'
    print(f"Prefect's server and its UI: {url}; Ctrl-C ends it", flush=True)
    if not local:
        secret = password.keep()
        settings += f'auth_string = "{secret}"\n'
        os.environ["PREFECT_SERVER_API_AUTH_STRING"] = secret
        _say_how_to_join(f"http://{_bracketed(name if everywhere else host)}:{port}", name)
    password.write_private(TOML, settings)
    os.environ.setdefault("PREFECT_SERVER_UI_API_URL", "/api")  # of whichever address the browser has, a tunnel's too
    try:
        _run(listening)
    finally:
        TOML.unlink(missing_ok=True)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _say_how_to_join(url: str, name: str) -> None:
    print(
        f"Other machines reach it with the password in {password.FILE}, which its UI asks for, too. Nothing is\n"
        "encrypted: where you do not trust the network, use a tunnel. In a clone on another machine:\n"
        f"  mkdir -p {password.FILE.parent}\n"
        f"  scp -p {name}:{password.FILE.absolute()} {password.FILE}\n"
        f"  make worker SERVER={url}/api",
        flush=True,
    )


def _run(listening: socket.socket) -> None:
    import uvicorn
    from prefect.server.api.server import create_app

    server = uvicorn.Server(uvicorn.Config(create_app(final=True), log_level="warning"))
    server.run(sockets=[listening])


if __name__ == "__main__":
    sys.exit(main())
