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
from pathlib import Path

from flows.repo.git import GitError, git
from flows.repo.merges import refuse_unresolved
from flows.runs.parameters import variant_settings, write_settings
from flows.runs.suitable import choose_settings, describe, estimate_seconds, look
from tasks import errors
from tasks.params import PARAMS_FILE, ParameterError, parse
from tasks.params.document import override, validate

GRAPH = Path("dvc.yaml")
LINK = Path("data/images")  # git ignores it
SLOT = re.compile(r"^( *- images:) .*$", re.MULTILINE)
BREAKS_A_COMMAND = re.compile(r'["$`\\\n]')  # dvc.yaml has the path in double quotes


def main(arguments: list[str] | None = None) -> int:
    """Write the settings, or print one line on what is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.start", description="Write the settings that suit your own images, and show them."
    )
    parser.add_argument("images", nargs="?", type=Path, help="a folder, an archive, or a manifest .csv")
    parser.add_argument("--classes", type=lambda text: text.split(","), metavar="A,B", help="only these; default: all")
    parser.add_argument("--variant", metavar="NAME", help="of study.variants; default: what suits the images")
    parser.add_argument("--dry-run", action="store_true", help="show the changes, and write nothing")
    args = parser.parse_args(arguments)
    if not args.images and (args.classes or not args.variant):
        parser.error("name your images, or a --variant alone")
    try:
        refuse_unresolved(Path())
        start(args.images, args.classes, args.variant, args.dry_run)
        return 0
    except (ParameterError, GitError, errors.RefusedError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def start(given: Path | None, classes: list[str] | None, variant: str | None, dry_run: bool) -> None:
    """Choose settings, show what they change, and write them unless `dry_run`."""
    content, graph = parse(PARAMS_FILE), GRAPH.read_text(encoding="utf-8")
    target, about = None, ""
    if given:
        path = Path(os.path.abspath(given.expanduser()))  # noqa: PTH100  # a link stays one
        slot, target = find_slot(path)
        graph = SLOT.sub(lambda line: f"{line[1]} {_quoted(slot)}", graph)
        seen = look(path, classes)
        settings, reason = choose_settings(content, seen, classes, variant)
        print(*describe(seen), reason, "", sep="\n")
        seconds = estimate_seconds(override(content, settings), seen)
        about = f"  # about {max(round(seconds / 60), 1)} min on this machine" if seconds else ""
        _warn_of_git(slot)
    else:
        settings = variant_settings(content, str(variant))
    validate(override(content, settings), str(PARAMS_FILE))
    _write({PARAMS_FILE: write_settings(PARAMS_FILE.read_text(encoding="utf-8"), settings), GRAPH: graph}, dry_run)
    if target:
        print(f"{LINK}: a link to {target}")
        if not dry_run:
            LINK.symlink_to(target)
    if dry_run:
        print("nothing was written (--dry-run)")
    else:
        print("", "next:", f"  dvc repro{about}", '  git add --all && git commit --message "Our own images"', sep="\n")


def find_slot(path: Path) -> tuple[str, Path | None]:
    """Return what dvc.yaml should name, and the target of the link that must be made for it."""
    root = Path.cwd()
    if not path.exists():
        raise ParameterError(f"the images must be there; received {path}, which is not")
    if root.is_relative_to(path):
        raise ParameterError(f"the images must have a folder of their own; received {path}, which holds this project")
    inside = path.relative_to(root) if path.is_relative_to(root) else None
    if inside or path.is_file():
        if BREAKS_A_COMMAND.search(str(path)):
            raise ParameterError(f'the path of the images must have no ", $, ` or \\; received {path}; rename it')
        return str(inside or path), None
    if LINK.is_symlink() and LINK.resolve() == path.resolve():
        return str(LINK), None
    if LINK.is_symlink() or LINK.exists():
        received = f"a link to {LINK.readlink()}" if LINK.is_symlink() else "a folder"
        command = f"rm {LINK}" if LINK.is_symlink() else f"mv {LINK} {LINK}-before"
        raise ParameterError(f"{LINK} must be free for a link to {path}; received {received}; type `{command}` before")
    return str(LINK), path


def _quoted(path: str) -> str:
    return path if re.fullmatch(r"[\w./][\w./-]*", path) else json.dumps(path, ensure_ascii=False)


def _warn_of_git(slot: str) -> None:
    """Say so where `git add --all` would take the images."""
    if Path(slot).is_absolute():
        return
    try:
        git(Path(), "check-ignore", "--quiet", slot)
    except GitError:
        print(f"git would add the images in {slot}; to keep them out: echo '/{slot}' >> .gitignore")


def _write(texts: dict[Path, str], dry_run: bool) -> None:
    """Show each file's changed lines, and write them."""
    changed = False
    for path, text in texts.items():
        before = path.read_text(encoding="utf-8")
        lines = difflib.unified_diff(before.splitlines(True), text.splitlines(True), str(path), str(path), n=0)
        sys.stdout.writelines(line for line in lines if not line.startswith("@@"))
        changed |= text != before
        if text != before and not dry_run:
            path.write_text(text, encoding="utf-8")
    if not changed:
        print(f"{' and '.join(map(str, texts))} have these settings already")


if __name__ == "__main__":
    sys.exit(main())
