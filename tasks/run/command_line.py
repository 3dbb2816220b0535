"""The command line of a step: paths, messages and exit statuses.

The arguments are the parameters of the step's function: `model_path` is given as `--model`. Status 2: the user must fix
something. 75: a retry may succeed (the shell's EX_TEMPFAIL). 1: everything else. A step returns facts on its run
(device, throughput); they go to `reports/run.json` and never into an output, since outputs must depend on inputs alone.

A step never runs twice at once in one folder, and on Linux it ends with its parent process: a killed DVC would leave
it running, and the next `dvc repro` would start a second one.
"""

import argparse
import ctypes
import errno
import inspect
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from filelock import FileLock, Timeout

from tasks import PARENT_PID
from tasks.errors import RefusedError, TemporaryError
from tasks.params import ParameterError
from tasks.run.libraries import check_libraries
from tasks.run.metadata import RUN_INFO, add_note

DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # no room: on the disk, of the quota, for so large a file

RunInfo = dict[str, Any]
Step = Callable[..., RunInfo]


def run(step: Step) -> NoReturn:
    """Run a step with the paths of the command line, and exit."""
    paths = parse_paths(step, sys.argv[1:])
    end_with_parent()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that partial files are removed
    started = time.perf_counter()
    RUN_INFO.parent.mkdir(exist_ok=True)
    try:
        check_libraries()  # control: installed libraries
        with FileLock(RUN_INFO.with_name(f".{step.__name__}.lock"), timeout=0):  # control: step lock
            info = step(**paths)
        add_note(RUN_INFO, step.__name__, {**info, "seconds": round(time.perf_counter() - started, 1)})
    except (ParameterError, RefusedError, TemporaryError) as error:
        _fail(step, str(error), getattr(error, "status", 2))
    except Timeout as error:
        _fail(step, f"must run once at a time in a folder; another run holds {error.lock_file}; wait for it", 75)
    except KeyboardInterrupt:
        _fail(step, "interrupted; `dvc repro` starts this stage again", 130)
    except OSError as error:
        advice = "; make room, then `dvc repro` starts this stage again" if error.errno in DISK_FULL else ""
        _fail(step, f"{error.strerror or error}: {error.filename or 'no file named'}{advice}", 1)
    except Exception as error:
        traceback.print_exc()
        _fail(step, f"unexpected {type(error).__name__}: {error}; the trace above says where", 1)
    sys.exit(0)


def end_with_parent() -> None:
    """Let Linux send SIGTERM to this process when its parent ends."""
    if sys.platform == "linux":
        set_parent_death_signal = 1  # PR_SET_PDEATHSIG of linux/prctl.h
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)  # control: end with the caller
        # control: caller that died before
        if os.getppid() != PARENT_PID:  # the parent was killed while this process imported
            sys.exit(143)  # as SIGTERM would have ended it


def parse_paths(step: Step, arguments: list[str]) -> dict[str, Path]:
    """Parse a step's paths; a flag is the parameter without `_path`."""
    names = {f"--{name.removesuffix('_path')}": name for name in inspect.signature(step).parameters}
    program = f"python -m tasks.{step.__name__}"
    parser = argparse.ArgumentParser(
        prog=program,
        usage=" ".join([program, *(f"{flag} PATH" for flag in names)]),
        description=(inspect.getdoc(step) or "").split("\n")[0],
        allow_abbrev=False,
    )
    for flag, name in names.items():
        parser.add_argument(flag, dest=name, type=Path, required=True, metavar="PATH")
    return vars(parser.parse_args(arguments))


def _fail(step: Step, message: str, status: int) -> NoReturn:
    print(f"error: {step.__name__}: {message}", file=sys.stderr)
    sys.exit(status)
