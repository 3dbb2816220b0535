"""Compare the model with another commit's: is it better, beyond noise?

`python -m flows.gate --base REV [--tolerance POINTS] [--json]` ends with 1 when the primary metric
(`evaluate.headline`) fell on test by more than the tolerance and the noise; with 2 when there is nothing to compare.
"""

import argparse
import json
import sys
from pathlib import Path

from flows.command_line import end_with
from flows.results.comparison import IncomparableError, compare
from tasks.params import ParameterError


def main(arguments: list[str] | None = None) -> int:
    """Compare and print; the status is 0 if this workspace passes."""
    parser = argparse.ArgumentParser(prog="python -m flows.gate", description=__doc__.splitlines()[0])
    parser.add_argument("--base", required=True, metavar="REV", help="a commit to compare with, such as HEAD~1 or main")
    text = "the primary metric may fall by so much, default 0"
    parser.add_argument("--tolerance", type=float, default=0.0, metavar="POINTS", help=text)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args(arguments)
    try:
        if not 0 <= args.tolerance <= 100:
            raise IncomparableError(f"--tolerance must lie between 0 and 100 points; received {args.tolerance}")
        comparison = compare(Path(), args.base)
    except FileNotFoundError as error:
        print(f"error: {error.filename} must exist in this workspace; run `dvc repro` first", file=sys.stderr)
        return 2
    except (RuntimeError, ParameterError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(comparison.as_json(args.tolerance), indent=2) if args.json else comparison.markdown())
    if regression := comparison.regression(args.tolerance):
        name = comparison.primary_metric.replace("_", " ")
        fall = f"{-100 * regression.change:.2f} points, more than the tolerance of {args.tolerance:g}"
        doubt = "" if regression.interval else "; whether that is noise is unknown"
        print(f"regression: test {name} fell by {fall}{doubt}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    end_with(main)
