"""`python -m flows.study`: compare variants over seeds, and write reports/study."""

import argparse
from typing import Any

from flows.command_line import add_set, end_with, exit_status, parse_settings
from flows.server import connection
from flows.study.plan import prepare, report_folder


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m flows.study", description="Compare variants over seeds, and write reports/study."
    )
    parser.add_argument("--variants", type=lambda text: text.split(","), metavar="A,B", help="default: study.compared")
    parser.add_argument("--seeds", type=int, metavar="N", help="default: study.seeds")
    add_set(parser, "a parameter of all runs; may be repeated")
    parser.add_argument("--jobs", type=int, metavar="N", help="default: one for each GPU, or for each two cores")
    parser.add_argument("--name", metavar="NAME", help="of a study with a report of its own, reports/study-NAME")
    where = "machines: this one (default), or all whose workers run"
    parser.add_argument("--on", choices=("here", "machines"), default="here", help=where)
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--status", action="store_true", help="machines, trials by state and when they will be done")
    text = "of a study that was made, say how many seeds tell an effect of so many points, and how long these take"
    instead.add_argument("--plan", type=float, metavar="POINTS", help=text)
    text = "write the report again from its own folder, as after an upgrade, and run nothing"
    instead.add_argument("--report", action="store_true", help=text)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run a study, and return the exit status."""
    args = _parse(arguments)

    def run() -> None:
        if args.status or args.on == "machines":
            connection.require_named_server("--status" if args.status else "--on machines")
        if args.status:
            from flows.cluster import status

            with connection.connected():
                print(status.show_status())
            return
        if args.plan is not None:
            from flows.study.seeds import plan_seeds

            print(plan_seeds(report_folder(args.name), args.plan, args.variants, args.jobs))
            return
        if args.report:
            from flows.study.report import write_again

            print(write_again(report_folder(args.name)))
            return
        request: dict[str, Any] = {name: getattr(args, name) for name in ("variants", "seeds", "jobs", "name", "on")}
        request["settings"] = parse_settings(args.set)
        prepare(**request)
        from flows.study.flow import study

        with connection.connected():
            study(**request)

    return exit_status(run, "the same command finishes what is missing")


if __name__ == "__main__":
    end_with(main)
