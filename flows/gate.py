"""Compare the model with another commit's: is it better, beyond noise?

`python -m flows.gate --base REV [--here REV] [--tolerance POINTS] [--json | --markdown] [--page FILE]` ends with 1 when
the primary metric (`evaluate.headline`) fell on test by more than the tolerance and the noise, or when the data got
worse where the block `gate` of params.yaml says `fail`; with 2 when there is nothing to compare. `--page` also writes
what changed, for a browser.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from flows.command_line import end_with
from flows.results.comparison import compare
from tasks.params import PARAMS_FILE, ParameterError, parse
from tasks.params.block import validate_block
from tasks.params.gate import Gate


def main(arguments: list[str] | None = None) -> int:
    """Compare and print; the status is 0 if the side here passes."""
    parser = argparse.ArgumentParser(prog="python -m flows.gate", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base", required=True, metavar="REV", help="a commit to compare with, such as HEAD~1 or main")
    parser.add_argument("--here", default="", metavar="REV", help="a commit or an experiment, default this workspace")
    text = "the primary metric may fall by so much, default gate.tolerance"
    parser.add_argument("--tolerance", type=float, metavar="POINTS", help=text)
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="print JSON instead of a table")
    text = "also write a page such as reports/compare.html: what changed, and which images"
    parser.add_argument("--page", type=Path, metavar="FILE", help=text)
    args = parser.parse_args(arguments)
    try:
        if args.page and (args.page.is_dir() or not os.access(args.page.parent, os.W_OK)):
            raise ParameterError(f"--page must be a file in a folder that can be written; received {args.page}")
        comparison = compare(Path(), args.base, args.here, _levels(args.tolerance))
    except FileNotFoundError as error:
        print(f"error: {error.filename} must exist in this workspace; run `dvc repro` first", file=sys.stderr)
        return 2
    except (RuntimeError, ParameterError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(comparison.as_json(), indent=2) if args.json else comparison.markdown())
    if args.page:
        from flows.results.page import write_page  # which draws: half a second

        write_page(comparison, args.page)
        print(f"open {args.page}", file=sys.stderr)
    for failure in comparison.failures:
        print(failure, file=sys.stderr)
    return 1 if comparison.failures else 0


def _levels(tolerance: float | None) -> Gate:
    levels = validate_block(Gate, parse(PARAMS_FILE).get("gate", {}), str(PARAMS_FILE), "gate")
    if tolerance is None:
        return levels
    if not 0 <= tolerance <= 100:
        raise ParameterError(f"--tolerance must lie between 0 and 100 points; received {tolerance}")
    return levels.model_copy(update={"tolerance": tolerance})


if __name__ == "__main__":
    end_with(main)
