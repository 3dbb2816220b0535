"""How a step is called from a shell: paths as arguments, one line and an exit status for each error.

Status 2: something that the user must fix. 75: something that may pass on a retry (the shell's
EX_TEMPFAIL). 1: the rest. What a step returns are facts about the run (device, throughput), which
go to `reports/run.json` and never into an output, since outputs must depend on inputs alone.

A step never runs twice at once in one folder, and on Linux it ends with the process that called it:
DVC leaves the command of a stage running when it is killed.
"""

from __future__ import annotations

import ctypes
import inspect
import json
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from filelock import FileLock, Timeout

from tasks.params import ParameterError

RUN_FACTS = Path("reports/run.json")

Facts = dict[str, Any]


class RefusedError(Exception):
    """A step cannot go on until the user changes something."""

    status = 2


class TemporaryError(Exception):
    """A step failed for a reason that may pass by itself."""

    status = 75


def run(step: Callable[..., Facts]) -> NoReturn:
    """Call a step with the paths on the command line, record its facts, and exit."""
    names = list(inspect.signature(step).parameters)
    if len(sys.argv) - 1 != len(names) or any(path.startswith("-") for path in sys.argv[1:]):
        print(f"usage: python -m tasks.{step.__name__} {' '.join(name.upper() for name in names)}", file=sys.stderr)
        sys.exit(2)
    _end_with_the_caller()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that partial files are removed
    started = time.perf_counter()
    RUN_FACTS.parent.mkdir(exist_ok=True)
    try:
        with FileLock(RUN_FACTS.with_name(f".{step.__name__}.lock"), timeout=0):
            facts = step(*map(Path, sys.argv[1:]))
        _record(step.__name__, {**facts, "seconds": round(time.perf_counter() - started, 1)})
    except (ParameterError, RefusedError, TemporaryError) as error:
        _fail(step, str(error), getattr(error, "status", 2))
    except Timeout as error:
        _fail(step, f"only one may run in a folder, and another holds {error.lock_file}; wait for it to end", 75)
    except KeyboardInterrupt:
        _fail(step, "interrupted; `dvc repro` starts this stage again", 130)
    except OSError as error:
        _fail(step, f"{error.strerror or error}: {error.filename or 'no file named'}", 1)
    except Exception as error:
        traceback.print_exc()
        _fail(step, f"unexpected {type(error).__name__}: {error}; the trace above says where", 1)
    sys.exit(0)


def _end_with_the_caller() -> None:
    if sys.platform == "linux":
        set_parent_death_signal = 1  # PR_SET_PDEATHSIG of linux/prctl.h
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)


def _fail(step: Callable[..., Facts], message: str, status: int) -> NoReturn:
    print(f"error: {step.__name__}: {message}", file=sys.stderr)
    sys.exit(status)


def _record(stage: str, facts: Facts) -> None:
    try:
        known = json.loads(RUN_FACTS.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        known = {}
    RUN_FACTS.write_text(json.dumps({**known, stage: facts}, indent=2) + "\n", encoding="utf-8")
