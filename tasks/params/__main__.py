"""`python -m tasks.params [FILE]`: check a parameter file; status 2: invalid."""

import argparse
import sys
from pathlib import Path

from tasks.params import PARAMS_FILE, ParameterError
from tasks.params.document import load_params


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tasks.params", description="Check a parameter file.")
    parser.add_argument("file", nargs="?", type=Path, default=PARAMS_FILE, help=f"default {PARAMS_FILE}")
    path = parser.parse_args(arguments).file
    try:
        load_params(path)
    except ParameterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{path}: every parameter is valid")
    return 0


if __name__ == "__main__":
    sys.exit(main())
