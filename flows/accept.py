"""Keep results whose code differs only in comments and layout.

`python -m flows.accept [--since REV] [STAGE ...]`; `flows/repo/cosmetic.py` says how it is judged. Ends with 1 where a
stage was refused, with 2 where nothing could be judged, with 75 while another DVC is at work.
"""

import argparse
from pathlib import Path

from flows.command_line import end_with, report_errors
from flows.repo.cosmetic import accept_edits


def main(arguments: list[str] | None = None) -> int:
    """Accept and print; the status is 0 if all results are kept."""
    parser = argparse.ArgumentParser(prog="python -m flows.accept", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("stages", nargs="*", metavar="STAGE", help="default: all")
    parser.add_argument("--since", metavar="REV", help="a commit with the code of the results, where git lost it")
    args = parser.parse_args(arguments)

    def accept() -> int:
        decisions = accept_edits(Path.cwd(), args.stages, args.since)
        for decision in decisions:
            print(f"{decision.stage}: {decision.message}")
        return 0 if all(decision.is_current for decision in decisions) else 1

    return report_errors(accept)


if __name__ == "__main__":
    end_with(main)
