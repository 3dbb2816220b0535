"""A workspace against another commit: is the model better or worse, and is the difference more than noise?

`python -m flows.gate --base REV [--tolerance POINTS] [--json]`

Both models are compared on the same test images, one by one, so that what is hard for both cancels out. Ends with 1
when the headline (`evaluate.headline`) fell on test by more than the tolerance and the fall is real, or nobody knows
whether it is; with 2 when there is nothing to compare. Predictions over different test images are refused. Each
interval is at 95 % by itself: of the many classes, one now and then leaves zero out by chance.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from flows.results.comparison import IncomparableError, compare


def main(arguments: list[str] | None = None) -> int:
    """Compare, print, and say by the exit status whether this workspace passes."""
    parser = argparse.ArgumentParser(prog="python -m flows.gate", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--base", required=True, metavar="REV", help="the commit to compare with, such as HEAD~1 or main"
    )
    parser.add_argument(
        "--tolerance", type=float, default=0.0, metavar="POINTS", help="the headline may fall by so much, default 0"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    asked = parser.parse_args(arguments)
    try:
        if not 0 <= asked.tolerance <= 100:
            raise IncomparableError(f"--tolerance must lie between 0 and 100 points; received {asked.tolerance}")
        found = compare(Path(), asked.base)
    except (IncomparableError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(found.as_json(asked.tolerance), indent=2) if asked.json else found.markdown())
    if regression := found.regression(asked.tolerance):
        print(
            f"regression: test {found.headline.replace('_', ' ')} fell by {-100 * regression.change:.2f} points, "
            f"more than the tolerance of {asked.tolerance:g}"
            + ("" if regression.interval else "; whether that is noise is unknown"),
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
