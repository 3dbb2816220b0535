"""The project's import graph, and the parts of dvc.yaml that follow from it.

`make graph` (and `make lock`, after a new lock) runs this file. It writes the code `deps` and the libraries of each
stage into dvc.yaml, and their locked versions into libraries.yaml. test_architecture.py compares.
"""

import ast
import re
import sys
from collections import defaultdict
from functools import cache
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
# Every locked library that a stage imports is an input of the stage, except these. (What only download imports is
# exempt, as its code is; no stage imports psutil or Prefect.)
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
    """Read the stages of dvc.yaml."""
    content: dict[str, Any] = YAML(typ="safe").load(root / "dvc.yaml")["stages"]
    return content


def imports(file: Path, root: Path) -> set[Path]:
    """List the project files that a file needs directly: modules, the packages that hold them, templates."""
    text = file.read_text(encoding="utf-8")
    if file.suffix != ".py":
        return {file.with_name(name) for name in re.findall(r'{% extends "(.+?)" %}', text)}
    needed = {file.with_name(name) for name in re.findall(r'"(\w+\.html)"', text)} & set(file.parent.iterdir())
    for module in imported_modules(text):
        parts = module.split(".")
        if parts[0] in PACKAGES:
            needed |= {path for n in range(1, len(parts) + 1) if (path := _module_file(root, parts[:n]))}
    return needed - {file}


def closure(file: Path, root: Path) -> set[Path]:
    """List all project files that a file imports, directly or not, and itself."""
    folders = [folder for folder in file.parents if folder.is_relative_to(root) and folder != root]
    packages = [folder / "__init__.py" for folder in folders if (folder / "__init__.py").exists()]
    reached, todo = set[Path](), [file, *packages]
    while todo:
        if (current := todo.pop()) not in reached:
            reached.add(current)
            todo.extend(imports(current, root))
    return reached


def third_party(file: Path) -> set[str]:
    """List the packages outside the project that a file imports, by their top-level names."""
    return {module.split(".")[0] for module in imported_modules(file.read_text(encoding="utf-8"))} - set(PACKAGES)


@cache
def imported_modules(code: str) -> frozenset[str]:
    """List the modules, or the names in modules, that a text of Python imports."""
    modules = set[str]()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(modules)


def _module_file(root: Path, parts: list[str]) -> Path | None:
    module = root.joinpath(*parts)
    return next((file for file in (module / "__init__.py", module.with_suffix(".py")) if file.exists()), None)


def code_deps(stage: str, root: Path) -> list[str]:
    """List the code that a stage depends on: its step, and the folders that it imports."""
    files = {file.relative_to(root) for file in closure(root / "tasks" / f"{stage}.py", root)}
    names = {(file if len(file.parts) == 2 else file.parent).as_posix() for file in files}
    return sorted(names - {*DECIDE_NOTHING, *OUTSIDE_FOLDERS})


def locked(root: Path) -> dict[str, str]:
    """Read the versions of all packages in the lock: of one that depends on the Python, all of its versions."""
    versions: dict[str, list[str]] = defaultdict(list)
    for line in (root / LOCK).read_text(encoding="utf-8").splitlines():
        if pinned := re.match(r"([a-z0-9-]+)(?:\[.*?\])?==([^\s;]+)", line):
            versions[pinned[1]].append(pinned[2])
    return {name: OR.join(listed) for name, listed in versions.items()}


def libraries_of(stage: str, root: Path) -> list[str]:
    """List the locked libraries that decide a stage's results: those that its step imports, directly or not."""
    files = (file for file in closure(root / "tasks" / f"{stage}.py", root) if file.suffix == ".py")
    modules = set().union(*(third_party(file) for file in files))
    names = {name for module in modules for name in _distributions().get(module, ())}
    return sorted((names & locked(root).keys()) - UNDECIDING.keys())


@cache
def _distributions() -> dict[str, set[str]]:
    """Map each importable name to the packages that bring it, as the lock spells them."""
    return {
        module: {re.sub(r"[-_.]+", "-", name).lower() for name in names}
        for module, names in packages_distributions().items()
    }


def libraries(root: Path) -> str:
    """Write the text of libraries.yaml: the version of each library that decides the results of a stage."""
    versions = locked(root)
    names = sorted({name for stage in stages(root) if stage != UNTRACKED for name in libraries_of(stage, root)})
    return LIBRARIES_HEAD + "".join(f'{name}: "{versions[name]}"\n' for name in names)  # quoted, or 3.10 is a number


def with_libraries(text: str, root: Path) -> str:
    """Correct the libraries in the text of dvc.yaml; everything else stays as it is written."""
    for stage in stages(root):
        if stage != UNTRACKED:
            before = rf"    params:.*\n(?:      - (?!{LIBRARIES_FILE}).*\n)*"
            listed = f"      - {LIBRARIES_FILE}: [{', '.join(libraries_of(stage, root))}]\n"
            text = _replaced(text, stage, before, rf"(?:      - {LIBRARIES_FILE}:.*\n)?", listed)
    return text


def with_code_deps(text: str, root: Path) -> str:
    """Correct the code deps in the text of dvc.yaml; everything else stays as it is written."""
    for stage in stages(root):
        if stage != UNTRACKED:
            before = r"    deps:\n(?:      - (?!tasks/).*\n)*"
            listed = "".join(f"      - {dep}\n" for dep in code_deps(stage, root))
            text = _replaced(text, stage, before, r"(?:      - tasks/.*\n)*", listed)
    return text


def _replaced(text: str, stage: str, before: str, lines: str, new: str) -> str:
    """Replace the lines of a stage that follow those of `before`, all of them as patterns."""
    block = rf"(^  {stage}:\n(?:(?!  \S).*\n)*?{before}){lines}"
    return re.sub(block, lambda match: match[1] + new, text, flags=re.MULTILINE)


def main(root: Path = Path()) -> int:
    """Write the deps and libraries of dvc.yaml, and libraries.yaml."""
    graph = root / "dvc.yaml"
    text = with_libraries(with_code_deps(graph.read_text(encoding="utf-8"), root), root)
    graph.write_text(text, encoding="utf-8")
    (root / LIBRARIES_FILE).write_text(libraries(root), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
