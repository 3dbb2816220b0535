"""The server that a flow starts for itself: while it starts, when it cannot, and how it ends."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import psutil
import pytest

from flows.server import process
from tests.support import ROOT
from tests.support.serving import free_port, wait_for

FLOW = """

import sys
from flows.server import connection

server = connection.start_unless_named()
from prefect import flow, get_run_logger, task
from prefect.states import Completed

@task
def stage():
    return Completed(name="Cached")

@flow
def pipeline():
    stage()
    get_run_logger().info("a line of the log")

with connection.connected(server):
    pipeline()
    print("loaded:", "prefect.server.api.server" in sys.modules)
    print(server.process.pid, flush=True)
    input()
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where a server that is started now keeps its database and log."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / ".prefect"))
    return tmp_path / ".prefect"


@pytest.fixture
def server(home: Path) -> Iterator[process.PrefectServer]:
    server = process.PrefectServer("127.0.0.1", free_port(), "--no-ui")
    yield server
    server.stop()


def read_rows(database: Path, query: str) -> list[tuple[str]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.slow
def test_a_flow_keeps_its_states_and_a_killed_one_leaves_no_server(home: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", FLOW],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as flow:
        assert flow.stdout
        assert flow.stderr
        assert flow.stdout.readline() == "loaded: False\n"
        server = psutil.Process(int(flow.stdout.readline()))
        for query, expected in {
            "SELECT state_name FROM task_run": "Cached",
            "SELECT state_name FROM flow_run": "Completed",
            "SELECT message FROM log WHERE message LIKE 'a line%'": "a line of the log",
        }.items():
            assert wait_for(query, partial(read_rows, home / "prefect.db", query), 30) == [(expected,)]
        flow.kill()
        assert "View at" not in flow.stderr.read()  # the page would be gone
    server.wait(30)  # raises if it lives on


def test_a_flow_names_a_damaged_database(home: Path) -> None:
    home.mkdir()
    (home / "prefect.db").write_bytes(b"\x00garbage" * 1000)
    done = subprocess.run([sys.executable, "-c", FLOW], cwd=ROOT, capture_output=True, text=True, check=False)
    line = done.stderr.splitlines()[-1]
    assert "prefect.db is damaged (file is not a database); `make doctor` sets it aside" in line
    assert (home / "prefect.db").read_bytes() == b"\x00garbage" * 1000


def test_a_slow_start_prints_a_line_and_one_that_is_too_slow_is_an_error(
    server: process.PrefectServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(process, "NOTICE_SECONDS", 0.05)
    monkeypatch.setattr(process, "START_SECONDS", 0.2)
    with pytest.raises(process.ServerError, match=r"server had not answered after .*server\.log.*`make doctor`"):
        server.wait()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("starting Prefect's server")
    assert server.process.poll() is not None


def test_a_server_that_cannot_start_is_one_line_as_for_a_database_of_a_newer_prefect(home: Path) -> None:
    home.mkdir()
    with closing(sqlite3.connect(home / "prefect.db")) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES ('0123456789ab')")
        connection.commit()
    cause = r"a newer Prefect than [\d.]+ wrote its database; install that one"
    with pytest.raises(process.ServerError, match=f"ended before it answered: {cause}") as error:
        process.PrefectServer("127.0.0.1", free_port()).wait()
    assert "\n" not in str(error.value)
    assert "Traceback" in (home / "server.log").read_text()
