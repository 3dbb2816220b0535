"""`python -m flows.pipeline`: run the pipeline here, as a Prefect flow.

Prefect takes a second to import, so arguments and parameters are checked before it is, and its server starts meanwhile.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.command_line import add_set, exit_status, parse_settings
from flows.repo.git import git
from flows.runs import experiments
from flows.server import connection
from tasks.params import PARAMS_FILE, ParameterError, parse_text
from tasks.params.document import override, validate


def main(arguments: list[str] | None = None) -> int:
    """Run the pipeline here; the status of the process."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.pipeline",
        description="Bring download, normalize, train, evaluate and report up to date, as a Prefect flow.",
    )
    add_set(parser, "a parameter of this run, which is then isolated from the workspace, at HEAD; may be repeated")
    parser.add_argument("--force", action="store_true", help="run every stage, also where nothing changed")
    parser.add_argument("--pull", action="store_true", help="fetch from the DVC remote before")
    parser.add_argument("--push", action="store_true", help="send to the DVC remote after")
    parser.add_argument("--accept", action="store_true", help="keep results whose code differs only in comments")
    asked = parser.parse_args(arguments)

    def run() -> None:
        overrides, root = parse_settings(asked.set), Path.cwd()
        if asked.accept and overrides:  # also refused by the flow, whose worktree starts without outputs
            raise ParameterError(f"--accept must be of this workspace; received --set too: {', '.join(overrides)}")
        experiments.check(root)
        if overrides:
            at_head = git(root, "show", f"HEAD:./{PARAMS_FILE}")
            validate(override(parse_text(at_head, f"{PARAMS_FILE} at HEAD"), overrides, "--set"), "--set")
            experiments.check_slots(root)
        begun = connection.start_unless_named()
        with _quick_imports():
            import dvc.repo  # noqa: F401  # the stages will need it

            from flows.pipeline.flow import pipeline as flow
        with connection.connected(begun):
            flow(overrides, force=asked.force, push=asked.push, pull=asked.pull, accept=asked.accept)

    return exit_status(run, "every child was ended, and the next run starts where DVC finds things")


@contextmanager
def _quick_imports() -> Iterator[None]:
    """Without looking for garbage, which takes a fifth of the time: what an import makes stays."""
    gc.disable()
    yield
    gc.freeze()
    gc.enable()


if __name__ == "__main__":
    sys.exit(main())
