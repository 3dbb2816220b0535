"""`python -m tasks.params [FILE]`: checks a parameter file; status 2 and one line when it breaks a rule."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tasks.params import PARAMS_FILE, ParameterError
from tasks.params.document import load


def main(arguments: list[str] | None = None) -> int:
    """Check the file that is named; the status of the process."""
    parser = argparse.ArgumentParser(prog="python -m tasks.params", description="Check a parameter file.")
    parser.add_argument(
        "file", nargs="?", type=Path, default=PARAMS_FILE, metavar="FILE", help=f"default {PARAMS_FILE}"
    )
    path = parser.parse_args(arguments).file
    try:
        load(path)
    except ParameterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{path}: every parameter is valid")
    return 0


if __name__ == "__main__":
    sys.exit(main())
