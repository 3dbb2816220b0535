"""`python -m flows.study`: compare variants over seeds, and write reports/study."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from flows.cluster import sync
from flows.command_line import add_set, exit_status, parse_settings
from flows.runs import experiments
from flows.server import connection
from tasks.params import PARAMS_FILE, ParameterError, parse


def main(arguments: list[str] | None = None) -> int:
    """Run a study here; the status of the process."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.study", description="Compare variants over seeds, and write reports/study."
    )
    parser.add_argument("--variants", type=lambda text: text.split(","), metavar="A,B", help="default: study.compared")
    parser.add_argument("--seeds", type=int, metavar="N", help="default: study.seeds")
    add_set(parser, "a parameter of all runs; may be repeated")
    parser.add_argument("--jobs", type=int, metavar="N", help="default: one for each GPU, or for each two cores")
    parser.add_argument("--name", metavar="NAME", help="of a study with a report of its own, reports/study-NAME")
    where = "this one (default), or all whose workers run"
    parser.add_argument("--on", choices=("here", "machines"), default="here", help=f"machines: {where}")
    parser.add_argument("--status", action="store_true", help="machines, trials by state and when they will be done")
    asked = parser.parse_args(arguments)

    def run() -> None:
        if asked.status or asked.on == "machines":
            connection.require_named_server("--status" if asked.status else "--on machines")
        if asked.status:
            from flows.cluster import status

            with connection.connected():
                print(status.now())
            return
        if asked.on == "machines" and asked.jobs is not None:
            raise ParameterError(f"--jobs is for runs here; received {asked.jobs} with --on machines; try: make worker")
        settings = parse_settings(asked.set)
        for name, value in {"--seeds": asked.seeds, "--jobs": asked.jobs}.items():
            if value is not None and value < 1:
                raise ParameterError(f"{name} must be at least 1; received {value}")
        root = Path.cwd()
        experiments.check(root)
        from flows.study import flow, plan

        flow.report_folder(asked.name)
        # Checked before the flow begins, which would print a trace.
        experiments.check_slots(root)
        (first, *_) = plan.plan(root, asked.variants or parse(root / PARAMS_FILE)["study"]["compared"], 1, settings)
        if asked.on == "machines":
            sync.offer(root, first.commit)
        with connection.connected():
            flow.study(asked.variants, asked.seeds, settings, asked.jobs, asked.name, asked.on)

    return exit_status(run, "the same command finishes what is missing")


if __name__ == "__main__":
    sys.exit(main())
