"""An empty Postgres of one's own, where Postgres is installed."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.serving import free_port, wait_for


class MissingError(RuntimeError):
    """No Postgres can be started here; the message says what is missing."""


@contextmanager
def postgres() -> Iterator[str]:
    """Start a Postgres as another user than root; return its address, or raise MissingError."""
    initdb, server = _tool("initdb"), _tool("postgres")
    if not (initdb and server):
        raise MissingError("no Postgres is installed")
    as_user: list[str | Path] = (
        ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.getuid() == 0 else []
    )
    if as_user and not shutil.which("setpriv"):
        raise MissingError("Postgres refuses to run as root, and there is no setpriv")
    with tempfile.TemporaryDirectory(prefix="postgres-", dir="/tmp") as name:  # the path of a socket must be short
        place, port = Path(name), free_port()
        place.chmod(0o777)
        create: list[str | Path] = [*as_user, initdb, "--auth=trust", "--username=study", "--no-sync"]
        subprocess.run([*create, "--pgdata", place / "data"], cwd=place, check=True, stdout=subprocess.DEVNULL)
        command: list[str | Path] = [*as_user, server, "-D", place / "data", "-p", str(port), "-k", place]
        with (place / "log").open("wb") as log:
            process = subprocess.Popen(
                [*command, "-c", "listen_addresses=127.0.0.1"], cwd=place, stdout=log, stderr=log
            )
        try:
            wait_for("Postgres", (place / f".s.PGSQL.{port}").exists, 60)
            yield f"postgresql+asyncpg://study@127.0.0.1:{port}/postgres"
        finally:
            process.send_signal(signal.SIGINT)  # Postgres' fast shutdown
            process.wait(60)


def _tool(name: str) -> str | None:
    packaged = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)  # Debian's, not on the PATH
    return shutil.which(name, path=os.pathsep.join([*packaged, os.environ["PATH"]]))
