"""Settings for your own images: `python -m flows.start ~/photos/flowers [--classes rose,daisy] [--dry-run]`.

Looks at file names and headers, says what is there, and writes what suits it into dvc.yaml and params.yaml: where the
images are, their size, the classes, and a variant of the study. Without images, `--variant fine_tune` writes a
variant's settings alone. Only these keys change; other edits stay.
"""

import argparse
import difflib
import json
import os
import re
import sys
import unicodedata
from pathlib import Path

from flows.command_line import end_with
from flows.repo.git import GitError, git
from flows.repo.merges import refuse_unresolved
from flows.runs.parameters import variant_settings, write_settings
from flows.runs.suitable import choose_settings, describe, look
from tasks import errors
from tasks.params import PARAMS_FILE, ParameterError, parse
from tasks.params.document import override, validate

GRAPH = Path("dvc.yaml")
LINK = Path("data/images")  # git ignores it
SLOT = re.compile(r"^( *- images: ).*?((?: +#.*)?)$", re.MULTILINE)
PLAIN = re.compile(r"[\w./][\w./-]*$")  # a path that YAML needs no quotes for


def main(arguments: list[str] | None = None) -> int:
    """Write the settings, or print one line on what is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.start", description="Write the settings that suit your own images, and show them."
    )
    parser.add_argument("images", nargs="?", type=Path, help="a folder, an archive, or a manifest .csv")
    parser.add_argument("--classes", metavar="A,B", help="only these; default: all")
    parser.add_argument("--variant", metavar="NAME", help="of study.variants; default: what suits the images")
    parser.add_argument("--dry-run", action="store_true", help="show the changes, and write nothing")
    args = parser.parse_args(arguments)
    if not args.images and (args.classes or not args.variant):
        parser.error("name your images, or a --variant alone")
    classes = unicodedata.normalize("NFC", args.classes).split(",") if args.classes else None  # as labels are
    try:
        refuse_unresolved(Path())
        start(args.images, classes, args.variant, args.dry_run)
        return 0
    except BrokenPipeError:
        raise
    except (ParameterError, GitError, errors.RefusedError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def start(given: Path | None, classes: list[str] | None, variant: str | None, dry_run: bool) -> None:
    """Choose settings, show what they change, and write them unless `dry_run`."""
    content, graph = parse(PARAMS_FILE), GRAPH.read_text(encoding="utf-8")
    if given:
        path = Path(os.path.abspath(given.expanduser()))  # noqa: PTH100  # a link stays one
        slot = find_slot(path)
        seen = look(path, classes)
        variant, settings = choose_settings(content, seen, variant)
        settings["normalize.classes"] = sorted(set(classes)) if classes else None
        graph, found = SLOT.subn(
            lambda line: f"{line[1]}{slot if PLAIN.match(slot) else json.dumps(slot)}{line[2]}", graph
        )
        if found != 1:
            raise ParameterError(f"{GRAPH} must have one line `- images: PATH`; received {found}")
        lines = describe(seen, content["normalize"], variant)
    else:
        lines, settings = [], variant_settings(content, str(variant))
    validate(override(content, settings), str(PARAMS_FILE))
    text = write_settings(PARAMS_FILE.read_text(encoding="utf-8"), settings)
    texts = {PARAMS_FILE: text, GRAPH: graph}
    lines += [line for path, text in texts.items() for line in _differences(path, text)]
    if is_linked := bool(given) and slot == str(LINK) and not LINK.exists():
        lines.append(f"{LINK}: a link to {path}")
    if not dry_run:  # all of it, before a reader such as `head` may end the command
        for file, text in texts.items():
            file.write_text(text, encoding="utf-8")
        if is_linked:
            LINK.symlink_to(path)
    message = f"Choose {variant}" + " for our own images" * bool(given)
    commands = ["dvc repro", f'git add --all && git commit --message "{message}"']
    lines.append("\n  ".join(["nothing was written (--dry-run)"] if dry_run else ["next:", *commands]))
    print(*lines, sep="\n")


def find_slot(path: Path) -> str:
    """Return what dvc.yaml should name; that link may be missing."""
    root = Path.cwd()
    if not path.exists() or root.is_relative_to(path):
        received = "holds this project" if path.exists() else "is not there"
        raise ParameterError(f"images must be a folder of their own, or one file; received {path}, which {received}")
    if path.is_relative_to(root):
        slot = str(path.relative_to(root))
        try:
            git(root, "check-ignore", "--quiet", slot)
        except GitError:
            command = f"echo '/{slot}' >> .gitignore"
            raise ParameterError(f"git must ignore {slot}, or it keeps every image; type `{command}` first") from None
        return slot
    if path.is_file():
        return str(path)
    if LINK.resolve() != path.resolve() and (LINK.is_symlink() or LINK.exists()):
        command = f"rm {LINK}" if LINK.is_symlink() else f"mv {LINK} ../images-before"
        raise ParameterError(f"{LINK} must lead to {path}; received {LINK.resolve()}; type `{command}` first")
    return str(LINK)


def _differences(path: Path, text: str) -> list[str]:
    """List the lines of a file that a new text changes."""
    before = path.read_text(encoding="utf-8").splitlines()
    if text.splitlines() == before:
        return [f"{path} has these settings already"]
    lines = difflib.unified_diff(before, text.splitlines(), str(path), str(path), n=0, lineterm="")
    return [line for line in lines if not line.startswith("@@")]


if __name__ == "__main__":
    end_with(main)
