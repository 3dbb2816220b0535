"""How long a study on many hosts will take."""

import pytest

from flows.cluster.status import Status, Worker

FAST = Worker("fast", "online", 2, [60.0, 60.0])
SLOW = Worker("slow", "online", 1, [240.0])
FRESH = Worker("fresh", "online", 1, [])  # as fast as a trial was in the mean: 120 s
CORDONED = Worker("cordoned", "cordoned: three crashes", 0, [1.0])


@pytest.mark.parametrize(
    ("workers", "n_left", "words"),
    [
        ((FAST, SLOW), 8, ("4 minutes", "2 workers")),
        ((FAST, SLOW, FRESH), 7, ("3 minutes", "3 workers")),
        ((FAST,), 7, ("4 minutes", "1 worker")),
        ((CORDONED,), 7, ("make worker",)),
        ((FRESH,), 7, ("no trial was completed",)),
        ((FAST,), 0, ("nothing to run",)),
    ],
)
def test_each_worker_counts_with_its_own_speed(workers: list[Worker], n_left: int, words: tuple[str, ...]) -> None:
    estimate = Status(workers, {}).estimate(n_left)
    assert all(text in estimate for text in words)
