"""Why would a stage run? Its reasons in order, each with what can be done about it.

`python -m flows.why [STAGE ...]`

It asks DVC and changes nothing. The reasons are those that a flow logs (staleness.py has the list), and the stages
before. Ends with 2 where nothing could be judged, with 75 while another DVC is at work.
"""

from __future__ import annotations

import argparse
import logging
import sys
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from flows.accept import BUSY
from flows.git import GitError, refuse_unresolved
from flows.staleness import stale_reasons
from tasks.params import ParameterError


def main(arguments: list[str] | None = None) -> int:
    """Print the reasons of each stage; the status of the process."""
    parser = argparse.ArgumentParser(prog="python -m flows.why", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("stages", nargs="*", metavar="STAGE", help="default: all")
    asked = parser.parse_args(arguments)
    from dvc.exceptions import DvcException
    from dvc.lock import LockError

    logging.getLogger("dvc").setLevel(logging.WARNING)
    try:
        refuse_unresolved(Path.cwd())
        found = stale_reasons(Path.cwd(), asked.stages, upstream=True)
    except LockError as error:
        print(f"error: another DVC is at work here: {str(error).splitlines()[0]}; try again later", file=sys.stderr)
        return BUSY
    except (ParameterError, GitError, DvcException) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    for stage, reasons in found.items():
        print(f"{stage} would run, for:" if reasons else f"{stage}: nothing changed, outputs are intact")
        for remedy, of_a_kind in groupby(reasons, attrgetter("remedy")):
            print(*(f"  {reason}" for reason in of_a_kind), f"    {remedy}", sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
