"""`python -m flows.release`: check, compare, tag and push the model of HEAD.

`python -m flows.release [--stage prod] [--base REV] | --list` ends with 1 if the model may not be released.
"""

import argparse
from pathlib import Path

from flows.command_line import end_with, exit_status, report_errors
from flows.release.release import list_releases, release
from tasks.params.gate import read_gate


def main(arguments: list[str] | None = None) -> int:
    """Release or list, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.release", description="Release the model of HEAD: check, compare, tag and push."
    )
    parser.add_argument("--stage", metavar="NAME", help="a stage to put the version in, such as prod")
    parser.add_argument("--base", metavar="REV", help="a commit to compare with, default the last release")
    parser.add_argument("--list", action="store_true", help="list versions, stages and scores, and release nothing")
    args = parser.parse_args(arguments)

    def run() -> None:
        root = Path.cwd()
        if args.list:
            print(list_releases(root))
        else:
            release(root, args.stage, args.base, read_gate(), print)

    return report_errors(
        lambda: exit_status(run, "nothing is released before its tags are pushed, which is the last step")
    )


if __name__ == "__main__":
    end_with(main)
