"""The end of a step with its parent process.

A killed DVC leaves the command of its stage running, and the next `dvc repro` would start a second one.
"""

import ctypes
import os
import signal
import sys

from tasks import PARENT_PID


def end_with_parent() -> None:
    """Let Linux send SIGTERM to this process when its parent ends."""
    if sys.platform == "linux":
        set_parent_death_signal = 1  # PR_SET_PDEATHSIG of linux/prctl.h
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)  # control: end with the caller
        # control: caller that died before
        if os.getppid() != PARENT_PID:  # the parent was killed while this process imported
            sys.exit(143)  # as SIGTERM would have ended it
