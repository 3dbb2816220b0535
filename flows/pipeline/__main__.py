"""`python -m flows.pipeline`: run the pipeline as a Prefect flow.

Prefect takes a second to import. So parameters are checked before, and Prefect's server starts meanwhile.
"""

import argparse
import gc
from pathlib import Path

from flows.command_line import add_set, end_with, exit_status, parse_settings
from flows.runs.inputs import check_run
from flows.server import connection


def main(arguments: list[str] | None = None) -> int:
    """Run the pipeline, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.pipeline",
        description="Bring every stage up to date, as a Prefect flow.",
    )
    add_set(parser, "a parameter of this run, which is then isolated from the workspace, at HEAD; may be repeated")
    parser.add_argument("--force", action="store_true", help="run every stage, also where nothing changed")
    parser.add_argument("--pull", action="store_true", help="fetch from the DVC remote before")
    parser.add_argument("--push", action="store_true", help="send to the DVC remote after")
    parser.add_argument("--accept", action="store_true", help="keep results whose code differs only in comments")
    args = parser.parse_args(arguments)

    def run() -> None:
        overrides = parse_settings(args.set)
        check_run(Path.cwd(), overrides, args.accept)
        server = connection.start_unless_named()
        gc.disable()  # during imports it takes a fifth of the time
        import dvc.repo  # noqa: F401  # the stages will need it

        from flows.pipeline.flow import pipeline

        gc.freeze()
        gc.enable()
        with connection.connected(server):
            pipeline(overrides, force=args.force, push=args.push, pull=args.pull, accept=args.accept)

    return exit_status(run, "every child was ended, and the next run starts where DVC finds things")


if __name__ == "__main__":
    end_with(main)
