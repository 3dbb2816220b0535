"""What changed between two sides, for each kind, and where a file is missing or broken."""

import subprocess
from pathlib import Path

import pytest

from flows.results.changes import find_changes
from flows.results.sides import Side, find_side
from tests.support.clone import IDENTITY
from tests.support.edits import substitute

LOCK = """\
schema: '2.0'
stages:
  pack:
    cmd: pack
    deps: [{path: pictures, md5: %s}, {path: tasks/train.py, md5: %s}]
"""
FILES = {
    "params.yaml": "train: {seed: 0}\ngate: {tolerance: 0}\nstudy: {base: {a: 1}}\n",
    "dvc.yaml": "vars: [{images: pictures}, other.yaml]\nstages: {pack: {cmd: run -u it}}\n"
    "artifacts: {dataset: {path: reports/dataset.json}}\n",
    "dvc.lock": LOCK % ("a" * 32, "b" * 32),
    "libraries.yaml": "keras: '3.15.1'\n",
    "reports/dataset.json": '{"images": 10, "leaks": {"test": 0}}',
    "tasks/train.py": "def fit():\n    return 1\n",
    "tasks/words.py": "word = 1  # one\n",
    "tasks/page.html": "<p>",
    "tasks/notes.txt": "of no stage",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    subprocess.run(["git", "init", "--quiet"], check=True, cwd=tmp_path)
    commit(tmp_path)
    return tmp_path


def commit(root: Path) -> None:
    subprocess.run(["git", "add", "--all"], check=True, cwd=root)
    subprocess.run(["git", *IDENTITY, "commit", "--quiet", "--message", "it"], check=True, cwd=root)


def found(root: Path) -> list[tuple[str, str]]:
    """Compare HEAD with the workspace, and with the same once committed: the answers are one."""
    changes = find_changes(find_side(root, "HEAD", "--base"), Side(root, "here"))
    subprocess.run(["git", "add", "--force", "--all"], check=True, cwd=root)
    subprocess.run(["git", *IDENTITY, "commit", "--quiet", "--allow-empty", "-m", "next"], check=True, cwd=root)
    assert find_changes(find_side(root, "HEAD~1", "--base"), find_side(root, "HEAD", "--here")) == changes
    return [tuple(change) for change in changes]  # type: ignore[misc]


def test_each_change_is_named_with_its_kind_and_nothing_else(root: Path) -> None:
    edits = [
        ("params.yaml", "seed: 0", "seed: 1"),
        ("params.yaml", "tolerance: 0", "tolerance: 1"),
        ("params.yaml", "a: 1", "a: 2"),  # of the study, which no stage reads
        ("tasks/notes.txt", "no", "any"),
        ("dvc.yaml", "images: pictures", "images: p.zip"),
        ("dvc.yaml", "run -u it", "run it"),
        ("dvc.lock", "a" * 32, "c" * 32),
        ("dvc.lock", "b" * 32, "d" * 32),
        ("reports/dataset.json", '"test": 0', '"test": 3'),
        ("tasks/train.py", "return 1", "return 2"),
        ("tasks/page.html", "<p>", "<b>"),
        ("tasks/words.py", "# one", "# a word"),
    ]
    for path, old, new in edits:
        substitute(root / path, old, new)
    (root / "tasks/new.py").write_text("")
    (root / "libraries.yaml").unlink()
    assert found(root) == [
        ("parameters", "train.seed 0 → 1"),
        ("parameters", "gate.tolerance 0 → 1"),
        ("data", "pictures modified"),
        ("data", "leaks.test 0 → 3"),
        ("code", "tasks/new.py is new"),
        ("code", "tasks/page.html modified"),
        ("code", "tasks/train.py:2: `return 2` in `fit` differs"),
        ("code", "tasks/words.py: comments and layout alone"),
        ("libraries", "keras 3.15.1 → (absent)"),
        ("pipeline", "images pictures → p.zip"),
        ("pipeline", "pack run -u it → run it"),
    ]
    assert found(root) == []


def test_a_broken_file_is_named_in_its_place(root: Path) -> None:
    substitute(root / "params.yaml", "train: {", "train: {{")
    substitute(root / "libraries.yaml", "3.15.1", "3.16.0")
    parameters, libraries = find_changes(find_side(root, "HEAD", "--base"), Side(root, "here"))
    assert parameters.kind == "parameters"
    assert parameters.what.startswith("unknown: params.yaml of here, line 2: is not valid YAML")
    assert libraries == ("libraries", "keras 3.15.1 → 3.16.0")
