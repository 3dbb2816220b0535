"""The process that called a step, with which it ends: DVC leaves the command of a stage running when it is killed."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from tasks import PARENT_PID


def end_with_parent() -> None:
    """Have this process told to end when its parent does; on Linux alone."""
    if sys.platform == "linux":
        set_parent_death_signal = 1  # PR_SET_PDEATHSIG of linux/prctl.h
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)  # control: end with the caller
        # control: caller that died before
        if os.getppid() != PARENT_PID:  # it was killed while this process still imported
            sys.exit(143)  # as SIGTERM would have ended it
