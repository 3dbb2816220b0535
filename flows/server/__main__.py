"""`python -m flows.server [--host ADDRESS] [--port 4200]`: Prefect's server and its UI.

While it runs, prefect.toml names it to every Prefect command in this clone. Its database is the one in .prefect, or the
one in PREFECT_SERVER_DATABASE_CONNECTION_URL. A server that other machines can reach has a password.
"""

import argparse
import errno
import ipaddress
import os
import socket
import sys
from pathlib import Path

import httpx
from filelock import FileLock, Timeout

from flows.host.signals import end_on_signals
from flows.server import password
from flows.server.process import PrefectServer, ServerError

TOML = Path("prefect.toml")


def main(arguments: list[str] | None = None) -> int:
    """Serve until Ctrl-C or SIGTERM, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m flows.server", description="A lasting Prefect server.")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="to listen at; default: %(default)s")
    parser.add_argument("--port", default=4200, type=int, metavar="N", help="default: %(default)s")
    args = parser.parse_args(arguments)
    end_on_signals()
    lock = FileLock(password.FILE.with_name("server.lock"))
    password.FILE.parent.mkdir(exist_ok=True)
    try:
        with lock.acquire(timeout=0):
            _serve(args.host, args.port)
    except Timeout:
        print(f"error: a clone must have one server; {TOML} names it; end that one first", file=sys.stderr)
    except ServerError as error:
        print(f"error: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        return 0
    return 1


def _serve(host: str, port: int) -> None:
    address = _check_address(host, port)
    name = socket.gethostname()
    loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (an address to compare with)
    url = httpx.URL(scheme="http", host=loopback.get(str(address), host), port=port)
    settings = f'[api]\nurl = "{url}/api"\n'
    print(f"Prefect's server and its UI: {url}; Ctrl-C ends it", flush=True)
    if not address.is_loopback:
        secret = password.load_or_create_password()
        settings += f'auth_string = "{secret}"\n'
        os.environ["PREFECT_SERVER_API_AUTH_STRING"] = secret
        _explain_how_to_join(url.copy_with(host=name if address.is_unspecified else host), name)
    os.environ.setdefault("PREFECT_SERVER_UI_API_URL", "/api")  # of the address in the browser, such as a tunnel's
    password.write_private(TOML, settings)
    try:
        server = PrefectServer(host, port)
        server.wait()
        server.process.wait()
        raise ServerError(server.explain("ended"))
    finally:
        TOML.unlink()


def _check_address(host: str, port: int) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Refuse an address at which nothing can listen, before Prefect is imported."""
    if not 0 < port < 2**16:
        raise ServerError(f"PORT must be from 1 to 65535; received {port}; try: make server")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        socket.create_server(address[:2], family=family).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ServerError(f"port {port} is in use; try: make server PORT={port + 1}") from None
        raise ServerError(
            f"HOST must be an address of this machine; received {host}: {error.strerror}; try: make server"
        ) from None
    return ipaddress.ip_address(address[0])


def _explain_how_to_join(url: httpx.URL, name: str) -> None:
    print(
        f"Other machines reach it with the password in {password.FILE}, which its UI asks for, too. Nothing is\n"
        "encrypted: where you do not trust the network, use a tunnel. In a clone on another machine:\n"
        f"  mkdir -p {password.FILE.parent}\n"
        f"  scp -p {name}:{password.FILE.absolute()} {password.FILE}\n"
        f"  make worker SERVER={url}/api",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
