"""The remaining time of trials, by what earlier ones took."""

import math
from collections.abc import Sequence


def describe_remaining(left: int, seconds: Sequence[float], workers: str) -> str:
    """Say how long the trials that are left will take.

    Parameters
    ----------
    seconds : sequence of float
        What a trial takes, for each that runs side by side with others; empty where none was timed.
    workers : str
        Who runs them, such as `with 2 jobs`.
    """
    if not left:
        return "nothing to run"
    if not seconds:
        return "no such trial was timed yet: an estimate follows the first"
    ends = sorted(each * n for each in seconds for n in range(1, left + 1))
    minutes = math.ceil(ends[left - 1] / 60)
    return f"about {minutes} minute{'s' if minutes > 1 else ''} {workers}"
