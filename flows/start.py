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
from contextlib import suppress
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
SLOT = re.compile(r"^( *- images: ).*?((?: +#.*)?)$", re.MULTILINE)


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
        seen = look(path, classes)
        variant, settings = choose_settings(content, seen, variant)
        settings["normalize.classes"] = sorted(set(classes)) if classes else None
        n_training = seen.count_training(content["normalize"])
        print(*describe(seen), f"variant {variant}, for some {n_training:,} images to train on", sep="\n")
        if seconds := estimate_seconds(seen, n_training, variant):
            about = f"  # about {max(round(seconds / 60), 1)} min on this machine's processor"
        graph, found = SLOT.subn(lambda line: f"{line[1]}{_quoted(slot)}{line[2]}", graph)
        if found != 1:
            raise ParameterError(f"{GRAPH} must have one line `- images: PATH`; received {found}")
    else:
        settings = variant_settings(content, str(variant))
    validate(override(content, settings), str(PARAMS_FILE))
    text = write_settings(PARAMS_FILE.read_text(encoding="utf-8"), settings)
    _write({PARAMS_FILE: text, GRAPH: graph}, dry_run)
    if target:
        print(f"{LINK}: a link to {target}")
        if not dry_run:
            LINK.symlink_to(target)
    if dry_run:
        print("nothing was written (--dry-run)")
    else:
        message = f"Choose {variant}" + " for our own images" * bool(given)
        print("next:", f"  dvc repro{about}", f'  git add --all && git commit --message "{message}"', sep="\n")


def find_slot(path: Path) -> tuple[str, Path | None]:
    """Return what dvc.yaml should name, and the missing link's target."""
    root = Path.cwd()
    if not path.exists() or root.is_relative_to(path):
        received = "holds this project" if path.exists() else "is not there"
        raise ParameterError(
            f"the images must be in a folder of their own, or in one file; received {path}, which {received}"
        )
    if path.is_relative_to(root):
        slot = str(path.relative_to(root))
        with suppress(GitError):
            git(root, "check-ignore", "--quiet", slot)
            return slot, None
        raise ParameterError(
            f"git must ignore images in this project, or it would keep each; type `echo '/{slot}' >> .gitignore` first"
        )
    if path.is_file():
        return str(path), None
    is_link = LINK.is_symlink()
    if is_link and LINK.resolve() == path.resolve():
        return str(LINK), None
    if is_link or LINK.exists():
        command = f"rm {LINK}" if is_link else f"mv {LINK} {LINK}-before"
        received = f"a link to {LINK.readlink()}" if is_link else "a folder"
        raise ParameterError(f"{LINK} must be free for a link to {path}; received {received}; type `{command}` first")
    return str(LINK), path


def _quoted(path: str) -> str:
    return path if re.fullmatch(r"[\w./][\w./-]*", path) else json.dumps(path, ensure_ascii=False)


def _write(texts: dict[Path, str], dry_run: bool) -> None:
    """Show each file's changed lines, and write them."""
    for path, text in texts.items():
        before = path.read_text(encoding="utf-8")
        if text == before:
            print(f"{path} has these settings already")
            continue
        lines = difflib.unified_diff(before.splitlines(True), text.splitlines(True), str(path), str(path), n=0)
        sys.stdout.writelines(line for line in lines if not line.startswith("@@"))
        if not dry_run:
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
