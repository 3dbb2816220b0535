"""What killed servers, workers and runs leave, as after a power cut."""

import sys
import time

import psutil
import pytest

from flows.pipeline.stages import LEASE_SECONDS
from flows.runs.experiments import WORKTREES
from tests.support.clone import Clone
from tests.support.serving import LONG, serving, wait_for, workers_of

pytestmark = pytest.mark.slow


@pytest.mark.timing
def test_a_killed_run_holds_no_limit_for_long_and_the_next_one_removes_its_worktree(clone: Clone) -> None:
    with serving(clone) as prefect:
        killed = prefect.start("pipeline/local", "--param", f'overrides={{"train.epochs": {LONG}}}')
        prefect.wait_for_training(killed)
        for process in psutil.process_iter(["cwd"]):
            if (process.info["cwd"] or "").startswith(str(clone.path)):
                process.kill()
        wait_for("the end of everything", lambda: not prefect.healthy() and not workers_of(clone), 10)
    assert [left for left in (clone.path / WORKTREES).iterdir() if left.is_dir()]
    with serving(clone) as prefect:
        limit = prefect.api.get("/v2/concurrency_limits/gpu").raise_for_status().json()
        assert limit["active_slots"] == limit["limit"]  # by the run that is gone
        started = time.monotonic()
        run = "from flows.pipeline.flow import pipeline; pipeline(overrides={'train.epochs': 5})"
        assert "kept as a DVC experiment" in clone.run(sys.executable, "-c", run)
        assert not [left for left in (clone.path / WORKTREES).iterdir() if left.is_dir()]
        # Prefect looks for leases that ran out every 15 s.
        assert time.monotonic() - started < LEASE_SECONDS + 60
