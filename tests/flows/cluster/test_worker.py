"""A real worker: what it takes, and how it ends."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import prefect
import psutil
import pytest
from prefect.workers.process import ProcessWorker

from flows.cluster import trial_worker, worker
from flows.cluster.queues import queue_name
from flows.host import resources
from flows.server import password
from tasks.params import ParameterError
from tests.support.clone import Clone
from tests.support.lasting import Lasting, lasting, lock_of, log_of, refused, scratch_machine, working
from tests.support.serving import free_port, wait_for


def test_too_little_memory_for_one_trial_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "memory", lambda: 2**30)
    with pytest.raises(ParameterError, match=r"a trial needs 1\.5 GiB of memory; received 1\.0 GiB; run a worker on"):
        worker._check_host(None)


@pytest.mark.parametrize("name", trial_worker.PRIVATE)
def test_the_installed_prefect_has_each_private_interface(name: str) -> None:
    reason = trial_worker.PRIVATE[name]
    assert hasattr(ProcessWorker("study"), name), f"Prefect {prefect.__version__} has no {name} any more, but {reason}"


def test_two_clones_of_one_host_are_two_workers(tmp_path: Path) -> None:
    names = {worker.worker_name(tmp_path / "one"), worker.worker_name(tmp_path / "two")}
    assert len(names) == 2
    assert all(re.fullmatch(r".+-[0-9a-f]{4}", name) for name in names)


def test_the_password_of_this_clone_is_for_the_server_of_the_option_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(password.VARIABLE, raising=False)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    url, secret = "http://head:4200/api", password.load_or_create_password()
    variables = {"PREFECT_API_URL": url, password.VARIABLE: secret}
    assert worker._server_variables(None) == {}
    assert worker._server_variables(f"{url}/") == variables
    monkeypatch.setenv("PREFECT_API_URL", url)
    assert worker._server_variables(None) == variables
    monkeypatch.setenv(password.VARIABLE, "another")
    assert worker._server_variables(None)[password.VARIABLE] == "another"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lasting]:
    """Start a lasting server that knows the trials' deployment."""
    head = scratch_machine(tmp_path_factory.mktemp("head") / "clone")
    with lasting(head, free_port()) as made:
        head.run("prefect", "work-pool", "create", "study", "--type", "process")
        head.run("prefect", "--no-prompt", "deploy", "--name", "trial/study")
        yield made


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    return scratch_machine(tmp_path_factory.mktemp("machine") / "clone")


@pytest.mark.slow
@pytest.mark.timing
def test_the_deployment_of_trials_names_no_folder_of_the_study(server: Lasting) -> None:
    assert str(server.clone.path) not in server.deployment("trial/study")
    assert '"directory": "."' in server.deployment("trial/study")


def resources_of(server: Lasting, flow_run: str) -> str:
    """Wait until a trial logs which resources it has: `0/2`."""
    pattern = r"resources (\S+) of machine"
    return str(wait_for("its resources", lambda: re.findall(pattern, "\n".join(server.log(flow_run))))[0])


@pytest.mark.slow
@pytest.mark.timing
def test_trials_side_by_side_have_different_resources_which_become_free_again(server: Lasting, machine: Clone) -> None:
    with working(server, machine, "--limit", "2"):
        together = [server.submit("sleep", 15), server.submit("sleep", 15)]
        later = server.submit("sleep")
        assert {resources_of(server, flow_run) for flow_run in together} == {"0/2", "1/2"}
        assert resources_of(server, later) in {"0/2", "1/2"}


@pytest.mark.slow
@pytest.mark.timing
def test_a_worker_whose_trials_crash_is_cordoned_and_failing_trainings_do_not_count(
    server: Lasting, machine: Clone
) -> None:
    with working(server, machine, "--limit", "1"):
        # Were a failing training a crash, there would be three in a row before the last three.
        variants = ["broken machine"] * 2 + ["failing training"] + ["broken machine"] * trial_worker.MAX_CRASHES
        flow_runs = [server.submit(variant) for variant in variants]
        reason = wait_for("its cordon", server.cordoned)["machine"]
        assert reason.startswith("3 runs in a row crashed within 30 s, the last: Process exited with status code: 3")
        assert [server.state(flow_run) for flow_run in flow_runs] == ["Crashed"] * 2 + ["Failed"] + ["Crashed"] * 3
        waiting = server.submit("sleep")
        time.sleep(10)  # some looks for work
        assert server.state(waiting) in {"Scheduled", "Late"}
        assert log_of(machine, "machine").count("error: machine takes no more trials: 3 runs in a row") == 1
    with working(server, machine, "--limit", "1"):
        server.await_state(waiting, "Completed")
        assert server.cordoned() == {}


@pytest.mark.slow
@pytest.mark.timing
def test_a_worker_takes_no_trial_of_a_precision_or_libraries_that_it_lacks(server: Lasting, tmp_path: Path) -> None:
    other = scratch_machine(tmp_path / "clone", cpu_flags="avx2 avx512f")
    with (other.path / "requirements.lock").open("a") as lock:
        lock.write("# another release of something\n")
    able = queue_name("float32", "auto", lock_of(other))
    code = "from pathlib import Path; from flows.cluster.queues import served_queues; print(*served_queues(Path()))"
    assert other.run(sys.executable, "-c", code).split() == [able]
    emulated = server.submit("sleep", queue=queue_name("mixed_bfloat16", "auto", lock_of(other)))
    elsewhere = server.submit("sleep")
    with working(server, other, name="old"):
        server.await_state(server.submit("sleep", queue=able), "Completed")
        time.sleep(10)  # some looks for work
        assert {server.state(flow_run) for flow_run in (emulated, elsewhere)} <= {"Scheduled", "Late"}
    for flow_run in (emulated, elsewhere):
        server.give_up(flow_run)


@pytest.mark.slow
@pytest.mark.timing
def test_a_worker_ends_on_sigterm_with_its_trial_also_where_its_shell_ignores_ctrl_c(
    server: Lasting, machine: Clone
) -> None:
    command = [sys.executable, "-m", "flows.cluster.worker", "--server", server.url, "--name", "background"]
    ignore = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    with (machine.path.parent / "background.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", ignore, *command], cwd=machine.path, env=machine.environment, stdout=log, stderr=log
        )
    try:
        flow_run = server.submit("sleep", 600)
        wait_for("its first line", lambda: server.logged(flow_run, "of background"))
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
        server.await_state(flow_run, "Crashed", 5)
        assert "Traceback" not in log_of(machine, "background")
    finally:
        process.kill()


@pytest.mark.slow
@pytest.mark.timing
def test_a_worker_waits_for_a_server_that_is_away_and_reports_it_once(machine: Clone, tmp_path: Path) -> None:
    head, port = scratch_machine(tmp_path / "clone"), free_port()
    with lasting(head, port) as server, working(server, machine, name="patient"):
        head.run("prefect", "work-pool", "create", "study", "--type", "process", "--overwrite")
        head.run("prefect", "--no-prompt", "deploy", "--name", "trial/study")
        (child,) = [one for one in psutil.Process().children() if str(port) in one.cmdline()]
        child.terminate()
        wait_for("the end of the server", lambda: not server.healthy(), 60)
        # Its client retries first.
        wait_for("the worker to notice", lambda: "does not answer" in log_of(machine, "patient"), 150)
        time.sleep(30)  # more looks than Prefect's own worker has errors before it says a page of traces
        with lasting(head, port) as again:
            again.await_state(again.submit("sleep"), "Completed")
            log = log_of(machine, "patient")
            assert log.count("the server does not answer") == log.count("the server answers again") == 1


@pytest.mark.slow
@pytest.mark.timing
@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("http://127.0.0.1:9/api", "a Prefect server must answer at http://127.0.0.1:9/api; start one with"),
        ("", "a worker needs a Prefect server; received none; start one with `make server`, or name another host's"),
    ],
)
def test_a_server_that_does_not_answer_at_the_start_is_one_line(machine: Clone, address: str, says: str) -> None:
    assert says in refused(machine, "flows.cluster.worker", *(["--server", address] if address else []), status=1)
    assert os.environ.get("PREFECT_API_URL") is None
