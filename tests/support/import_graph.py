"""The project's import graph, and the parts of dvc.yaml that follow from it.

`make graph` (and `make lock`, after a new lock) runs this file. It writes the code `deps` and the libraries of each
stage into dvc.yaml, and their locked versions into libraries.yaml. test_architecture.py compares.
"""

import ast
import re
from collections import defaultdict
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tasks.run.libraries import LIBRARIES_FILE, OR
from tests.support import ROOT

PACKAGES = ("flows", "tasks")
STAGES = ("download", "normalize", "train", "evaluate", "export", "report", "describe")
TRACKED = STAGES[1:]  # stages whose code is a dependency; of download the images are the contract
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


def stages() -> dict[str, Any]:
    """Read the stages of dvc.yaml."""
    return dict(YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"])


def imports(file: Path, root: Path) -> set[Path]:
    """List the project files that a file needs directly: modules, the packages that hold them, templates."""
    text = file.read_text(encoding="utf-8")
    if file.suffix != ".py":
        return {file.with_name(name) for name in re.findall(r'{% extends "(.+?)" %}', text)}
    needed = {file.with_name(name) for name in re.findall(r'"(\w+\.html)"', text)} & set(file.parent.iterdir())
    for module in imported_modules(text):
        parts = module.split(".")
        if parts[0] in PACKAGES:
            modules = [root.joinpath(*parts[:n]) for n in range(1, len(parts) + 1)]
            files = [path for module in modules for path in (module / "__init__.py", module.with_suffix(".py"))]
            needed |= {path for path in files if path.exists()}
    return needed - {file}


def closure(file: Path, root: Path) -> set[Path]:
    """List all project files that a file imports, directly or not, and itself."""
    packages = [folder / "__init__.py" for folder in file.parents if folder.is_relative_to(root)]
    reached, todo = set[Path](), [file, *(package for package in packages if package.exists())]
    while todo:
        if (current := todo.pop()) not in reached:
            reached.add(current)
            todo.extend(imports(current, root))
    return reached


def third_party(file: Path) -> set[str]:
    """List the packages outside the project that a file imports, by their top-level names."""
    return {module.split(".")[0] for module in imported_modules(file.read_text(encoding="utf-8"))} - set(PACKAGES)


_distributions = cache(packages_distributions)


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
    spelled = {re.sub(r"[-_.]+", "-", name).lower() for name in names}  # as the lock spells them
    return sorted((spelled & locked(root).keys()) - UNDECIDING.keys())


def libraries(root: Path) -> str:
    """Write the text of libraries.yaml: the version of each library that decides the results of a stage."""
    versions = locked(root)
    names = sorted({name for stage in TRACKED for name in libraries_of(stage, root)})
    return LIBRARIES_HEAD + "".join(f'{name}: "{versions[name]}"\n' for name in names)  # quoted, or 3.10 is a number


def with_inputs(text: str) -> str:
    """Correct the code deps and libraries in the text of dvc.yaml; everything else stays as it is written."""
    for stage in TRACKED:
        block = rf"(^  {stage}:\n(?:(?!  \S).*\n)*?"
        code = "".join(f"      - {dep}\n" for dep in code_deps(stage, ROOT))
        before, lines = r"    deps:\n(?:      - (?!tasks/).*\n)*", r"(?:      - tasks/.*\n)*"
        text = re.sub(f"{block}{before}){lines}", rf"\g<1>{code}", text, flags=re.MULTILINE)
        versions = f"      - {LIBRARIES_FILE}: [{', '.join(libraries_of(stage, ROOT))}]\n"
        before, lines = rf"    params:.*\n(?:      - (?!{LIBRARIES_FILE}).*\n)*", rf"(?:      - {LIBRARIES_FILE}:.*\n)?"
        text = re.sub(f"{block}{before}){lines}", rf"\g<1>{versions}", text, flags=re.MULTILINE)
    return text


if __name__ == "__main__":
    graph = ROOT / "dvc.yaml"
    graph.write_text(with_inputs(graph.read_text(encoding="utf-8")), encoding="utf-8")
    (ROOT / LIBRARIES_FILE).write_text(libraries(ROOT), encoding="utf-8")
