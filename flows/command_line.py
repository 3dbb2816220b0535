"""What commands share: settings, exit statuses, one line for an error."""

import argparse
import logging
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import httpx

from flows.host.signals import interruptible
from flows.repo.git import GitError
from flows.server import connection
from tasks.params import ParameterError, parse_text

BUSY = 75  # the shell's EX_TEMPFAIL
PIPE_CLOSED = 141  # as of a program that SIGPIPE ended


def add_set(parser: argparse.ArgumentParser, description: str) -> None:
    """Add the option `--set KEY=VALUE`, which may be repeated."""
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=description)


def parse_settings(texts: list[str]) -> dict[str, Any]:
    """Parse the values of all `--set`, which are YAML."""
    settings = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise ParameterError(f"--set must be KEY=VALUE; received {text}")
        settings[key] = parse_text(f"value: {value}", f"--set {key}")["value"]
    return settings


def end_with(main: Callable[[], int]) -> NoReturn:
    """Exit with a command's status, quietly after `| head` has ended."""
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its end
        status = PIPE_CLOSED
    sys.exit(status)


def exit_status(run: Callable[[], None], after_interrupt: str) -> int:
    """Run a command, and print errors and interruptions in one line."""
    for logger in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(logger).addFilter(_without_trace)
    try:
        with interruptible():
            run()
    except ParameterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        raise
    except KeyboardInterrupt:
        print(f"error: interrupted; {after_interrupt}", file=sys.stderr)
        return 130
    except (httpx.ConnectError, RuntimeError, OSError) as error:
        print(f"error: {connection.explain_unreachable(error) or error}", file=sys.stderr)
        return 1
    return 0


def _without_trace(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return not type(error).__module__.startswith(("flows.", "tasks."))


def report_errors(run: Callable[[], int]) -> int:
    """Run a command of DVC's state, and print errors in one line."""
    from dvc.exceptions import DvcException
    from dvc.lock import LockError

    logging.getLogger("dvc").setLevel(logging.WARNING)  # no hints
    try:
        return run()
    except LockError as error:
        reason = str(error).partition("\n")[0]
        print(f"error: another DVC process uses this workspace: {reason}; try again later", file=sys.stderr)
        return BUSY
    except (ParameterError, GitError, DvcException) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
