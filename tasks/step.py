"""How a step is called from a shell: paths as arguments, one line and an exit status for each error.

Status 2: something that the user must fix. 75: something that may pass on a retry (the shell's
EX_TEMPFAIL). 1: the rest. What a step returns are facts about the run (device, throughput), which
go to `reports/run.json` and never into an output, since outputs must depend on inputs alone.

A step never runs twice at once in one folder, and on Linux it ends with the process that called it:
DVC leaves the command of a stage running when it is killed. It writes under other names than those of its
outputs, which appear when it ends well, or not at all.
"""

from __future__ import annotations

import ctypes
import errno
import inspect
import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from filelock import FileLock, Timeout

from tasks import CALLER
from tasks.params import ParameterError

RUN_FACTS = Path("reports/run.json")
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

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
        advice = "; make room, then `dvc repro` starts this stage again" if error.errno in NO_ROOM else ""
        _fail(step, f"{error.strerror or error}: {error.filename or 'no file named'}{advice}", 1)
    except Exception as error:
        traceback.print_exc()
        _fail(step, f"unexpected {type(error).__name__}: {error}; the trace above says where", 1)
    sys.exit(0)


@contextmanager
def publishing(*outputs: Path) -> Iterator[list[Path]]:
    """Names to write to, which become those of the outputs when the block ends well.

    Otherwise what was written is removed; what a killed step left behind is removed by the next one.
    """
    partial = [output.with_name(f".part-{output.name}") for output in outputs]
    try:
        for path in partial:
            _remove(path)
            path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        for path, output in zip(partial, outputs, strict=True):
            if path.is_dir():
                _remove(output)  # which a rename replaces only when it is a file
            path.replace(output)
    except OSError as error:
        error.filename = error.filename or str(outputs[0])  # a write does not know its file
        raise
    finally:
        for path in partial:
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _end_with_the_caller() -> None:
    if sys.platform == "linux":
        set_parent_death_signal = 1  # PR_SET_PDEATHSIG of linux/prctl.h
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)
        if os.getppid() != CALLER:  # it was killed while this process still imported
            sys.exit(143)  # as SIGTERM would have ended it


def _fail(step: Callable[..., Facts], message: str, status: int) -> NoReturn:
    print(f"error: {step.__name__}: {message}", file=sys.stderr)
    sys.exit(status)


def _record(stage: str, facts: Facts) -> None:
    try:
        known = json.loads(RUN_FACTS.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        known = {}
    with publishing(RUN_FACTS) as (file,):
        file.write_text(json.dumps({**known, stage: facts}, indent=2) + "\n", encoding="utf-8")
