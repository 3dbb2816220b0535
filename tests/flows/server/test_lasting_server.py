"""The lasting server: its address, its password and its database."""

import os
import shutil
import signal
import socket
import subprocess
import threading
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from flows.server import __main__ as server
from flows.server import password
from flows.server.process import ServerError
from tests.support import ROOT
from tests.support.clone import Clone
from tests.support.lasting import lasting, log_of, refused, scratch_machine, working
from tests.support.serving import free_port

ALL_ADDRESSES = "0.0.0.0"


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return scratch_machine(tmp_path_factory.mktemp("head") / "clone")


def test_a_password_is_made_once_and_only_its_user_can_read_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert password.load_password() == ""
    made = password.load_or_create_password()
    assert len(made) > 30
    password.FILE.chmod(0o644)
    assert password.load_or_create_password() == password.load_password() == made
    assert password.FILE.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("file", [password.FILE, server.TOML])
def test_git_ignores_what_holds_the_password(file: Path) -> None:
    subprocess.run(["git", "check-ignore", "--quiet", file], cwd=ROOT, check=True)


def test_an_address_at_which_nothing_can_listen_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=f"^port {port} is in use; try: make server PORT={port + 1}$"):
            server._check_address("127.0.0.1", port)
    with pytest.raises(ServerError, match="PORT must be from 1 to 65535; received 0; try: make server"):
        server._check_address("127.0.0.1", 0)
    for host in ("no.such.host.invalid", "198.51.100.1"):
        with pytest.raises(ServerError, match=f"HOST must be an address of this machine; received {host}: .*; try:"):
            server._check_address(host, free_port())


@pytest.mark.parametrize(("host", "local"), [(ALL_ADDRESSES, "127.0.0.1"), ("::", "::1")])
def test_commands_of_this_machine_find_a_server_at_all_addresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, local: str
) -> None:
    if ":" in host and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")

    def listen(host: str, port: int) -> None:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            url = urlsplit(tomllib.loads(server.TOML.read_text())["api"]["url"])
            assert url.hostname == local
            socket.create_connection((url.hostname, url.port), timeout=5).close()
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(server, "PrefectServer", listen)
    with pytest.raises(KeyboardInterrupt):
        server._serve(host, free_port())
    assert not server.TOML.exists()


@pytest.mark.slow
def test_a_database_that_does_not_answer_is_one_line_without_its_password(head: Clone) -> None:
    address = f"postgresql+asyncpg://somebody:secret@127.0.0.1:{free_port()}/prefect"
    command = ("flows.server", "--port", str(free_port()))
    line = refused(head, *command, status=1, PREFECT_SERVER_DATABASE_CONNECTION_URL=address)
    assert line.startswith("error: Prefect's server ended before it answered: ConnectionRefusedError")
    assert "secret" not in line + (head.path / ".prefect/server.log").read_text()
    assert not (head.path / "prefect.toml").exists()


@pytest.mark.slow
def test_on_loopback_there_is_no_password_and_every_command_here_finds_the_server(head: Clone) -> None:
    port = free_port()
    with lasting(head, port) as running:
        assert (head.path / "prefect.toml").read_text() == f'[api]\nurl = "{running.url}"\n'
        assert running.api.get("/admin/version").is_success
        head.run("prefect", "work-pool", "ls")
        for other in (port, free_port()):
            line = refused(head, "flows.server", "--port", str(other), status=1)
            assert line == "error: a clone must have one server; prefect.toml names it; end that one first"
        assert (head.path / "prefect.toml").read_text() == f'[api]\nurl = "{running.url}"\n'
        assert running.api.get(f"http://127.0.0.1:{port}/ui-settings").json()["api_url"] == "/api"
        (process,) = [one for one in psutil.Process().children() if str(port) in one.cmdline()]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in {0, None}
        assert not (head.path / "prefect.toml").exists()


def assert_nothing_tells(secret: str, *clones: Clone) -> None:
    """Check that no log and no file that others can read has the password."""
    for clone in clones:
        readable = [
            path
            for path in clone.path.rglob("*")
            if path.is_file() and not path.is_symlink() and path.stat().st_mode & 0o077
        ]
        logs = clone.path.parent.glob("*.log")
        assert not [path for path in (*logs, *readable) if secret.partition(":")[2].encode() in path.read_bytes()]


@pytest.mark.slow
def test_what_other_machines_reach_has_a_password_that_nothing_tells(head: Clone, tmp_path: Path) -> None:
    machine, port = scratch_machine(tmp_path / "clone"), free_port()
    machine.run("git", "init", "--quiet", "--initial-branch", "main")
    machine.commit("start")
    arguments: set[str] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            for process in psutil.process_iter(["cmdline"]):
                arguments.update(process.info["cmdline"] or ())

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        with lasting(head, port, "--host", ALL_ADDRESSES) as running:
            secret = (head.path / password.FILE).read_text().strip()
            assert running.api.get("/admin/version").status_code == 401
            command = ("flows.cluster.worker", "--server", running.url)
            line = refused(machine, *command, status=1)
            assert f"the Prefect server at {running.url} must be given its password; received none; copy" in line
            line = refused(machine, *command, status=1, PREFECT_API_AUTH_STRING="study:another")
            assert "received another; copy .prefect/password from its clone into this one" in line
            for other in (("flows.pipeline",), ("flows.study", "--status")):
                line = refused(machine, *other, status=1, PREFECT_API_URL=running.url)
                assert "must be given its password; received none" in line

            said = log_of(head, "server")
            assert f"make worker SERVER=http://{socket.gethostname()}:{port}/api" in said
            (copy,) = [text for text in said.splitlines() if "scp -p " in text]
            _, _, source, target = copy.split()
            (machine.path / ".prefect").mkdir(exist_ok=True)
            shutil.copy2(source.partition(":")[2], machine.path / target)

            head.run("prefect", "work-pool", "create", "study", "--type", "process")
            head.run("prefect", "--no-prompt", "deploy", "--name", "trial/study")
            running.api.auth = password.basic(secret)
            with working(running, machine):
                running.await_state(running.submit("sleep"), "Completed")
            assert_nothing_tells(secret, head, machine)
        with lasting(head, port, "--host", ALL_ADDRESSES, secret=secret) as running:
            assert running.api.get("/admin/version").is_success, "the password must be that of the last start"
    finally:
        over.set()
        watching.join()
    assert not [argument for argument in arguments if secret.partition(":")[2] in argument]


def make_server(*settings: str, **variables: str) -> str:
    """Return the command of `make server`."""
    command = ["make", "--dry-run", "--no-print-directory", "server", *settings]
    environment = {**os.environ, **variables}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


def test_make_server_takes_its_address_from_the_command_line_alone() -> None:
    """Some shells set HOST, and listening at it would open the server."""
    assert "--host '127.0.0.1' --port '4200'" in make_server(HOST="198.51.100.1", DATABASE="another")
    assert f"--host '{ALL_ADDRESSES}'" in make_server(f"HOST={ALL_ADDRESSES}")


def test_the_command_of_a_server_does_not_show_its_database() -> None:
    assert "secret" not in make_server("DATABASE=postgresql+asyncpg://study:secret@host/prefect")
