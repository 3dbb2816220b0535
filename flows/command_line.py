"""The command lines of the flows: `python -m flows.pipeline` and `python -m flows.study`.

Prefect takes a second to import, so arguments and parameters are checked before it is, and its server starts meanwhile.
"""

from __future__ import annotations

import argparse
import gc
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import httpx

from flows import experiments, handover, server
from flows.git import git
from tasks.params import PARAMS_FILE, ParameterError, parse, parse_text
from tasks.params.document import override, validate


def pipeline(arguments: list[str] | None = None) -> int:
    """Run the pipeline here; the status of the process."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.pipeline",
        description="Bring download, normalize, train, evaluate and report up to date, as a Prefect flow.",
    )
    _add_set(parser, "a parameter of this run, which is then isolated from the workspace, at HEAD; may be repeated")
    parser.add_argument("--force", action="store_true", help="run every stage, also where nothing changed")
    parser.add_argument("--pull", action="store_true", help="fetch from the DVC remote before")
    parser.add_argument("--push", action="store_true", help="send to the DVC remote after")
    parser.add_argument("--accept", action="store_true", help="keep results whose code differs only in comments")
    asked = parser.parse_args(arguments)

    def run() -> None:
        overrides, root = _settings(asked.set), Path.cwd()
        if asked.accept and overrides:  # also refused by the flow, whose worktree starts without outputs
            raise ParameterError(f"--accept must be of this workspace; received --set too: {', '.join(overrides)}")
        experiments.check(root)
        if overrides:
            at_head = git(root, "show", f"HEAD:./{PARAMS_FILE}")
            validate(override(parse_text(at_head, f"{PARAMS_FILE} at HEAD"), overrides, "--set"), "--set")
            experiments.check_slots(root)
        begun = server.begin()
        with _quick_imports():
            import dvc.repo  # noqa: F401  # the stages will need it

            from flows.pipeline import pipeline as flow
        with server.available(begun):
            flow(overrides, force=asked.force, push=asked.push, pull=asked.pull, accept=asked.accept)

    return _status(run, "every child was ended, and the next run starts where DVC finds things")


def study(arguments: list[str] | None = None) -> int:
    """Run a study here; the status of the process."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.study", description="Compare variants over seeds, and write reports/study."
    )
    parser.add_argument("--variants", type=lambda text: text.split(","), metavar="A,B", help="default: study.compared")
    parser.add_argument("--seeds", type=int, metavar="N", help="default: study.seeds")
    _add_set(parser, "a parameter of all runs; may be repeated")
    parser.add_argument("--jobs", type=int, metavar="N", help="default: one for each GPU, or for each two cores")
    parser.add_argument("--name", metavar="NAME", help="of a study with a report of its own, reports/study-NAME")
    where = "this one (default), or all whose workers run"
    parser.add_argument("--on", choices=("here", "machines"), default="here", help=f"machines: {where}")
    parser.add_argument("--status", action="store_true", help="machines, trials by state and when they will be done")
    asked = parser.parse_args(arguments)

    def run() -> None:
        if asked.status or asked.on == "machines":
            server.refuse_unnamed("--status" if asked.status else "--on machines")
        if asked.status:
            from flows import study_status

            with server.available():
                print(study_status.now())
            return
        if asked.on == "machines" and asked.jobs is not None:
            raise ParameterError(f"--jobs is for runs here; received {asked.jobs} with --on machines; try: make worker")
        settings = _settings(asked.set)
        for name, value in {"--seeds": asked.seeds, "--jobs": asked.jobs}.items():
            if value is not None and value < 1:
                raise ParameterError(f"{name} must be at least 1; received {value}")
        root = Path.cwd()
        experiments.check(root)
        from flows import study, trials

        study.report_folder(asked.name)
        # Checked before the flow begins, which would print a trace.
        experiments.check_slots(root)
        (first, *_) = trials.plan(root, asked.variants or parse(root / PARAMS_FILE)["study"]["compared"], 1, settings)
        if asked.on == "machines":
            handover.offer(root, first.commit)
        with server.available():
            study.study(asked.variants, asked.seeds, settings, asked.jobs, asked.name, asked.on)

    return _status(run, "the same command finishes what is missing")


def _add_set(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=what)


def _settings(texts: list[str]) -> dict[str, Any]:
    """The settings of all `--set`; values are YAML."""
    settings = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise ParameterError(f"--set must be KEY=VALUE; received {text}")
        settings[key] = parse_text(f"value: {value}", f"--set {key}")["value"]
    return settings


@contextmanager
def _quick_imports() -> Iterator[None]:
    """Without looking for garbage, which takes a fifth of the time: what an import makes stays."""
    gc.disable()
    yield
    gc.freeze()
    gc.enable()


def _status(run: Callable[[], None], once_interrupted: str) -> int:
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
        print(f"error: {server.unreachable(error) or error}", file=sys.stderr)
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
