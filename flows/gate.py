"""Compare the model with another commit's: is it better, beyond noise?

`python -m flows.gate --base REV [--here REV] [--tolerance POINTS] [--json | --markdown] [--page FILE]` ends with 1 when
the primary metric (`evaluate.headline`) fell on test by more than the tolerance, and its interval leaves zero out, or
when the data got worse where the block `gate` of params.yaml says `fail`; with 2 when there is nothing to compare. With
`--seeds N [--on machines]` both commits run with N seeds first, and runs that exist are not repeated.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Literal

from flows.command_line import end_with, exit_status
from flows.results.comparison import compare, compare_seeds
from flows.results.verdict import Comparison
from flows.server import connection
from tasks.params import ParameterError
from tasks.params.gate import Gate, read_gate


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(prog="python -m flows.gate", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base", required=True, metavar="REV", help="a commit to compare with, such as HEAD~1 or main")
    parser.add_argument("--here", default="", metavar="REV", help="a commit or an experiment, default this workspace")
    text = "the primary metric may fall by so much, default gate.tolerance"
    parser.add_argument("--tolerance", type=float, metavar="POINTS", help=text)
    text = "run both commits with so many seeds; HEAD is the side here unless --here is given"
    parser.add_argument("--seeds", type=int, metavar="N", help=text)
    where = "machines: this one (default), or all whose workers run"
    parser.add_argument("--on", choices=("here", "machines"), help=where)
    text = "runs side by side, default one for each GPU, or for each two cores"
    parser.add_argument("--jobs", type=int, metavar="N", help=text)
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="print JSON instead of a table")
    forms.add_argument("--markdown", action="store_true", help="print a summary for the page of a CI job")
    text = "also write a page such as reports/compare.html: what changed, and which images"
    parser.add_argument("--page", type=Path, metavar="FILE", help=text)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Compare and print; the status is 0 if the side here passes."""
    args = parser().parse_args(arguments)
    found: list[Comparison] = []
    status = exit_status(lambda: found.append(_compare(args)), "the same command finishes what is missing")
    if not found:
        return 2 if status == 1 else status  # 1 is a verdict
    (comparison,) = found
    if args.json:
        print(json.dumps(comparison.as_json(), indent=2))
    elif args.markdown:
        from flows.results.job_summary import summarize

        print(summarize(comparison))
    else:
        print(comparison.markdown())
    for failure in comparison.failures:
        print(failure, file=sys.stderr)
    if args.page:
        from flows.results.page import write_page  # which draws: half a second

        try:
            write_page(comparison, args.page)
        except OSError as error:
            print(f"error: {args.page} must be a file that can be written; received {error}", file=sys.stderr)
            return 2
        print(f"open {args.page}", file=sys.stderr)
    return 1 if comparison.failures else 0


def _compare(args: argparse.Namespace) -> Comparison:
    if args.page and (args.page.is_dir() or not os.access(args.page.parent, os.W_OK)):
        raise ParameterError(f"--page must be a file in a folder that can be written; received {args.page}")
    levels, root = _levels(args.tolerance), Path.cwd()
    if args.seeds is not None:
        return _compare_seeds(args, root, levels)
    if alone := [name for name in ("on", "jobs") if getattr(args, name) is not None]:
        raise ParameterError(f"--{alone[0]} must stand with --seeds, which runs both sides; received no --seeds")
    try:
        return compare(root, args.base, args.here, levels)
    except FileNotFoundError as error:
        path = os.path.relpath(error.filename, root)
        raise RuntimeError(f"{path} must exist in this workspace; run `dvc repro` first") from error


def _compare_seeds(args: argparse.Namespace, root: Path, levels: Gate) -> Comparison:
    from flows.study import two_commits

    on: Literal["here", "machines"] = args.on or "here"
    if on == "machines":
        connection.require_named_server("--on machines")
    plan = two_commits.prepare(root, args.base, args.here, args.seeds, args.jobs, on)
    from flows.study.gate_flow import gate  # Prefect takes seconds to load

    with connection.connected():
        runs = gate(plan.trials, args.jobs, on)
    return compare_seeds(root, plan.base, plan.here, runs, levels)


def _levels(tolerance: float | None) -> Gate:
    if tolerance is None:
        return read_gate()
    if not 0 <= tolerance <= 100:
        raise ParameterError(f"--tolerance must lie between 0 and 100 points; received {tolerance}")
    return read_gate().model_copy(update={"tolerance": tolerance})


if __name__ == "__main__":
    end_with(main)
