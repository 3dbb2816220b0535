"""The project's import graph, read from its source, and what dvc.yaml says that follows from it.

`python -m tests.support.import_graph` (`make graph`, and `make lock` after a new lock) writes it: the code `deps` and
the libraries of each stage in dvc.yaml, which are the folders and the libraries that its step imports; and
libraries.yaml, their versions in requirements.lock. test_architecture.py compares.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tasks.run.libraries import LIBRARIES_FILE, OR

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("flows", "tasks")
STAGES = ("download", "normalize", "train", "evaluate", "report")
UNTRACKED = "download"  # a stage whose code is no dependency: its images are the contract
LOCK = Path("requirements.lock")
# Every locked library that a stage imports counts as an input of it, but for these. (What download alone imports, such
# as httpx, platformdirs and tenacity, is exempt as its code is; psutil and Prefect no stage imports.)
UNDECIDING = {
    "filelock": "keeps a second run away",
    "joblib": "spreads work over threads, and keeps its order",
    "pydantic": "checks parameters, which DVC compares by their values",
    "ruamel-yaml": "reads parameters",
    "ruamel-yaml-clib": "reads parameters",
    "threadpoolctl": "limits threads",
    "tqdm": "shows progress",
}
LIBRARIES_HEAD = """# The libraries that decide results, in their versions of requirements.lock: from `make lock`.
# Each stage in dvc.yaml lists those that its step imports, so that another version makes stale what it may change. A
# step refuses to run with others. Where the lock has two versions, for older and newer Pythons, either will do.
"""
# Folders that decide no byte of a result, so that no stage depends on them.
DECIDE_NOTHING = {
    "tasks/fetch": "brings bytes whose digests are the contract",
    "tasks/run": "the command line of a step, outputs that appear whole, notes on a run",
    "tasks/params": "checks values, which DVC compares itself",
}
OUTSIDE_FOLDERS = ("tasks/__init__.py", "tasks/errors.py")  # the environment of a step, and how it fails


def stages(root: Path = ROOT) -> dict[str, Any]:
    """The stages of dvc.yaml."""
    content: dict[str, Any] = YAML(typ="safe").load(root / "dvc.yaml")["stages"]
    return content


def imports(file: Path, root: Path) -> set[Path]:
    """The project files that a file needs directly: modules, each with the packages that hold it, and templates."""
    text = file.read_text(encoding="utf-8")
    if file.suffix != ".py":
        return {file.with_name(name) for name in re.findall(r'{% extends "(.+?)" %}', text)}
    found = {file.with_name(name) for name in re.findall(r'"(\w+\.html)"', text)} & set(file.parent.iterdir())
    for module in _imported_modules(file):
        parts = module.split(".")
        if parts[0] in PACKAGES:
            found |= {named for n in range(1, len(parts) + 1) if (named := _file(root, parts[:n]))}
    return found - {file}


def closure(file: Path, root: Path) -> set[Path]:
    """All project files that a file imports, directly or not, and itself."""
    found, todo = set(), [file, *_packages_of(file, root)]
    while todo:
        if (current := todo.pop()) not in found:
            found.add(current)
            todo.extend(imports(current, root))
    return found


def third_party(file: Path) -> set[str]:
    """The top-level names of the packages outside the project that a file imports."""
    return {module.split(".")[0] for module in _imported_modules(file)} - set(PACKAGES)


def _imported_modules(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _file(root: Path, parts: list[str]) -> Path | None:
    module = root.joinpath(*parts)
    candidates = (module / "__init__.py", module.with_suffix(".py"))
    return next((file for file in candidates if file.exists()), None)


def _packages_of(file: Path, root: Path) -> list[Path]:
    parts = file.relative_to(root).parts[:-1]
    return [init for n in range(1, len(parts) + 1) if (init := root.joinpath(*parts[:n], "__init__.py")).exists()]


def code_deps(stage: str, root: Path) -> list[str]:
    """List the code that a stage depends on: its step, and the folders that it imports."""
    step = root / "tasks" / f"{stage}.py"
    files = {file.relative_to(root) for file in closure(step, root)}
    names = {(file if len(file.parts) == 2 else file.parent).as_posix() for file in files}
    return sorted(names - {*DECIDE_NOTHING, *OUTSIDE_FOLDERS})


def locked(root: Path) -> dict[str, str]:
    """The versions of all packages in the lock, by name; of one that depends on the Python all of its versions."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in (root / LOCK).read_text(encoding="utf-8").splitlines():
        if pinned := re.match(r"([a-z0-9-]+)(?:\[.*?\])?==([^\s;]+)", line):
            found[pinned[1]].append(pinned[2])
    return {name: OR.join(versions) for name, versions in found.items()}


def libraries_of(stage: str, root: Path) -> list[str]:
    """The locked libraries that decide a stage's results: those that its step imports, directly or not."""
    files = (file for file in closure(root / "tasks" / f"{stage}.py", root) if file.suffix == ".py")
    modules = set().union(*(third_party(file) for file in files))
    distributions = packages_distributions()
    names = {re.sub(r"[-_.]+", "-", name).lower() for module in modules for name in distributions.get(module, ())}
    return sorted((names & locked(root).keys()) - UNDECIDING.keys())


def libraries(root: Path) -> str:
    """libraries.yaml: the version of each library that decides the results of a stage."""
    versions = locked(root)
    names = sorted({name for stage in stages(root) if stage != UNTRACKED for name in libraries_of(stage, root)})
    return LIBRARIES_HEAD + "".join(f'{name}: "{versions[name]}"\n' for name in names)  # quoted, or 3.10 is a number


def with_libraries(text: str, root: Path) -> str:
    """The text of dvc.yaml with the libraries that are right; everything else stays as it is written."""
    for stage in stages(root):
        if stage != UNTRACKED:
            before = rf"^  {stage}:\n(?:(?!  \S).*\n)*?    params:.*\n(?:      - (?!{LIBRARIES_FILE}).*\n)*"
            block = re.compile(rf"({before})(?:      - {LIBRARIES_FILE}:.*\n)?", re.MULTILINE)
            listed = f"      - {LIBRARIES_FILE}: [{', '.join(libraries_of(stage, root))}]\n"
            text = block.sub(lambda found, listed=listed: found[1] + listed, text)  # type: ignore[misc]
    return text


def with_code_deps(text: str, root: Path) -> str:
    """The text of dvc.yaml with the code deps that are right; everything else stays as it is written."""
    for stage in stages(root):
        if stage != UNTRACKED:
            others = rf"^  {stage}:\n(?:(?!  \S).*\n)*?    deps:\n(?:      - (?!tasks/).*\n)*"
            block = re.compile(rf"({others})(?:      - tasks/.*\n)*", re.MULTILINE)
            listed = "".join(f"      - {dep}\n" for dep in code_deps(stage, root))
            text = block.sub(lambda found, listed=listed: found[1] + listed, text)  # type: ignore[misc]
    return text


def main(root: Path = Path()) -> int:
    """Write the deps and libraries of dvc.yaml, and libraries.yaml."""
    graph = root / "dvc.yaml"
    text = with_libraries(with_code_deps(graph.read_text(encoding="utf-8"), root), root)
    graph.write_text(text, encoding="utf-8")
    (root / LIBRARIES_FILE).write_text(libraries(root), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
