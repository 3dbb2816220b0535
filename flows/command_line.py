"""What the command lines of flows share: settings, and one line and an exit status for each error."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import httpx

from flows.repo.git import GitError
from flows.server import connection
from tasks.params import ParameterError, parse_text

BUSY = 75  # the shell's EX_TEMPFAIL


def add_set(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=what)


def parse_settings(texts: list[str]) -> dict[str, Any]:
    """The settings of all `--set`; values are YAML."""
    settings = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise ParameterError(f"--set must be KEY=VALUE; received {text}")
        settings[key] = parse_text(f"value: {value}", f"--set {key}")["value"]
    return settings


def exit_status(run: Callable[[], None], once_interrupted: str) -> int:
    """Run, with one line instead of a trace for what the user can mend."""
    try:
        with _interruptible():
            run()
    except ParameterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"error: interrupted; {once_interrupted}", file=sys.stderr)
        return 130
    except (httpx.ConnectError, RuntimeError, OSError) as error:
        print(f"error: {connection.explain_unreachable(error) or error}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def _interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt on Ctrl-C and SIGTERM, also where a library makes another error of it."""
    interrupted = threading.Event()

    def interrupt(*_: object) -> NoReturn:
        interrupted.set()
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as of a script's background jobs
            signal.signal(number, interrupt)
    try:
        yield
    except BaseException:  # asyncio.CancelledError is no Exception
        if interrupted.is_set():
            raise KeyboardInterrupt from None
        raise


def report_errors(ask: Callable[[], int]) -> int:
    """Ask DVC; the status, with one line instead of a trace for what the user can mend."""
    from dvc.exceptions import DvcException
    from dvc.lock import LockError

    logging.getLogger("dvc").setLevel(logging.WARNING)  # none that says how
    try:
        return ask()
    except LockError as error:
        print(f"error: another DVC is at work here: {str(error).splitlines()[0]}; try again later", file=sys.stderr)
        return BUSY
    except (ParameterError, GitError, DvcException) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
