"""The server that a flow starts for itself: while it starts, when it cannot, and how it ends."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from flows.repo.quarantine import FOLDER
from flows.server import database, ephemeral
from tests.support import ROOT
from tests.support.clone import Clone
from tests.support.damage import run_doctor
from tests.support.import_graph import STAGES


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where an embedded server is running; nothing was there before."""
    home = tmp_path_factory.mktemp("home") / ".prefect"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(home))
        patch.chdir(ROOT)
        running = ephemeral.Embedded()
    try:
        running.wait(home)
        yield home
    finally:
        running.end()


@pytest.fixture
def damaged(home: Path, tmp_path: Path) -> Path:
    """A copy of a sound database, to be damaged."""
    copy = tmp_path / "prefect.db"
    with closing(sqlite3.connect(home / "prefect.db")) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return copy


def garble(file: Path) -> None:
    file.write_bytes(b"\x00garbage" * 1000)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def scratch(file: Path) -> None:
    """Write over pages in the middle."""
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 40_000] = bytes(40_000)
    file.write_bytes(content)


def from_the_future(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0123456789ab'")
        connection.commit()


DAMAGE: dict[Callable[[Path], None], str] = {
    garble: "is damaged (file is not a database), written by an unknown Prefect",
    cut: "is damaged (",
    scratch: "is damaged (",
    from_the_future: "was written by a newer Prefect than the installed ",
}


@pytest.mark.parametrize(("damage", "says"), DAMAGE.items())
def test_a_damaged_database_is_told_from_a_sound_one(damaged: Path, damage: Callable[[Path], None], says: str) -> None:
    assert database.fault(damaged) == ""
    damage(damaged)
    assert database.fault(damaged).startswith(says)


def test_a_busy_an_empty_and_a_missing_database_are_not_damaged(home: Path, tmp_path: Path) -> None:
    file = home / "prefect.db"
    assert database.holder(file).startswith("process ")
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        assert database.fault(file) == ""
        connection.rollback()
    assert database.fault(tmp_path / "prefect.db") == ""
    (tmp_path / "prefect.db").touch()
    assert database.fault(tmp_path / "prefect.db") == ""


def test_a_flow_names_a_damaged_database_and_the_doctor_sets_it_aside(clone: Clone, damaged: Path) -> None:
    garble(damaged)
    file = clone.path / database.DATABASE
    file.parent.mkdir(exist_ok=True)
    shutil.copy(damaged, file)
    file.with_name("prefect.db-wal").write_bytes(b"of the same moment")
    (line,) = clone.run(sys.executable, "-m", "flows.pipeline", status=1).splitlines()
    assert f"{database.DATABASE} is damaged (file is not a database)" in line
    assert "`make doctor` sets it aside" in line
    assert file.read_bytes() == damaged.read_bytes()
    found, count = run_doctor(clone)
    assert found.startswith(f"{database.DATABASE}: is damaged (file is not a database), written by an unknown Prefect")
    assert count == "1 found, 0 left to do"
    (aside,) = (clone.path / FOLDER).glob(f"*/{database.DATABASE}")
    assert aside.read_bytes() == damaged.read_bytes()
    assert aside.with_name("prefect.db-wal").read_bytes() == b"of the same moment"
    assert not list(file.parent.glob("prefect.db*"))
    shutil.rmtree(clone.path / FOLDER)


def test_a_flow_with_nothing_changed_keeps_its_states_and_loads_no_server_code(clone: Clone) -> None:
    code = (
        "import sys; from flows.pipeline.__main__ import main; status = main([]); "
        "print('loaded:', 'prefect.server.api.server' in sys.modules); sys.exit(status)"
    )
    said = clone.run(sys.executable, "-c", code)
    assert "loaded: False" in said
    assert "View at" not in said  # there is no page to look at
    with closing(sqlite3.connect(clone.path / database.DATABASE)) as connection:
        stages = connection.execute("SELECT name, state_name FROM task_run ORDER BY start_time").fetchall()
        assert stages == [(name, "Cached") for name in STAGES]
        assert connection.execute("SELECT state_name FROM flow_run").fetchall() == [("Completed",)]
        artifacts = {key: json.loads(data) for key, data in connection.execute("SELECT key, data FROM artifact")}
        assert artifacts.keys() == {"summary", "comparison", "report", "per-class"}
        assert "| test.accuracy" in artifacts["comparison"]
        (logged,) = connection.execute("SELECT count(*) FROM log WHERE message LIKE '%generalization gap%'").fetchone()
        assert logged == 1


def test_a_start_that_takes_long_says_so_and_one_that_takes_too_long_says_what_it_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.setattr(ephemeral, "SAY_SECONDS", 0.05)
    monkeypatch.setattr(ephemeral, "START_SECONDS", 0.2)
    starting = ephemeral.Embedded()
    with pytest.raises(ephemeral.ServerError, match=r"server had not answered after .*server\.log.*`make doctor`"):
        starting.wait(tmp_path)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("starting Prefect's embedded server in .prefect")
    assert starting.process.poll() is not None


def test_a_server_that_cannot_start_is_one_line_with_its_own_last_words(clone: Clone) -> None:
    nowhere = clone.path.parent / "nowhere" / "prefect.db"
    (clone.path / ".prefect").mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "flows.pipeline"],
        cwd=clone.path,
        env={**clone.environment, "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{nowhere}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert line.startswith(
        "error: Prefect's embedded server ended before it answered: sqlalchemy.exc.OperationalError: "
    )
    assert "unable to open database file" in line
    assert "Traceback" not in done.stderr
    assert "Traceback" in (clone.path / ".prefect/server.log").read_text()


def test_a_server_ends_with_its_flow_also_when_that_is_killed(home: Path) -> None:
    code = "from flows.server import ephemeral; print(ephemeral.Embedded().process.pid, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PREFECT_HOME": str(home)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as flow:
        assert flow.stdout is not None
        child = psutil.Process(int(flow.stdout.readline()))
        flow.kill()
    child.wait(30)  # raises where it lives on
