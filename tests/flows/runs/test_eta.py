"""The remaining time of trials."""

import pytest

from flows.runs.eta import describe_remaining


@pytest.mark.parametrize(
    ("left", "seconds", "remaining"),
    [
        (3, [60.0, 60.0], "about 2 minutes with them"),  # the third waits for one of the first two
        (1, [60.0, 60.0], "about 1 minute with them"),
        (4, [60.0, 240.0], "about 4 minutes with them"),  # all but one by the faster
        (0, [60.0], "nothing to run"),
        (2, [], "no such trial was timed yet: an estimate follows the first"),
    ],
)
def test_trials_take_as_long_as_the_last_to_end(left: int, seconds: list[float], remaining: str) -> None:
    assert describe_remaining(left, seconds, "with them") == remaining
