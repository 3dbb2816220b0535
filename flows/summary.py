"""Show what the last run achieved: `python -m flows.summary`."""

import argparse
import sys
from pathlib import Path

from flows.command_line import end_with
from flows.repo.git import GitError
from flows.repo.merges import refuse_unresolved
from flows.results.summary import summary
from tasks.params import ParameterError


def main() -> int:
    """Print the summary, or one line on what is missing or damaged."""
    argparse.ArgumentParser(prog="python -m flows.summary", description=(__doc__ or "").splitlines()[0]).parse_args()
    try:
        refuse_unresolved(Path())
        print(summary(Path()))
        return 0
    except (GitError, ParameterError) as error:
        fault = str(error)
    except FileNotFoundError as error:
        fault = f"{error.filename} must exist before it can be summed up; run `dvc repro` first"
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        fault = f"the metrics must be as DVC wrote them; {error}; `make doctor` restores them"
    print(f"error: {fault}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    end_with(main)
