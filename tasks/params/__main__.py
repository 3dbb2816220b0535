"""`python -m tasks.params [FILE]`: checks a parameter file; status 2 and one line when it breaks a rule."""

from __future__ import annotations

import sys
from pathlib import Path

from tasks.params import PARAMS_FILE, ParameterError
from tasks.params.document import load


def main(arguments: list[str]) -> int:
    path = Path(arguments[0]) if arguments else PARAMS_FILE
    try:
        load(path)
    except ParameterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{path}: every parameter is valid")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
