"""Explain why stages would run, and what can be done about it.

`python -m flows.why [STAGE ...]`

The reasons are those that a flow logs (flows/repo/staleness.py has the list), and the stages before. Ends with 2
where nothing could be judged, with 75 while another DVC is at work.
"""

import argparse
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from flows.command_line import end_with, report_errors
from flows.repo.merges import refuse_unresolved
from flows.repo.staleness import stale_reasons


def main(arguments: list[str] | None = None) -> int:
    """Print the reasons of each stage."""
    parser = argparse.ArgumentParser(prog="python -m flows.why", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("stages", nargs="*", metavar="STAGE", help="default: all")
    args = parser.parse_args(arguments)

    def explain() -> int:
        refuse_unresolved(Path.cwd())
        for stage, reasons in stale_reasons(Path.cwd(), args.stages, upstream=True).items():
            print(f"{stage} would run, for:" if reasons else f"{stage}: nothing changed, outputs are intact")
            for remedy, alike in groupby(reasons, attrgetter("remedy")):
                print(*(f"  {reason}" for reason in alike), f"    {remedy}", sep="\n")
        return 0

    return report_errors(explain)


if __name__ == "__main__":
    end_with(main)
