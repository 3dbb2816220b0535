"""The house rules of the project, each shown able to fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.house import closure, imports, third_party

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("download", "normalize", "train", "evaluate")


def stages(root: Path = ROOT) -> dict[str, Any]:
    content: dict[str, Any] = YAML(typ="safe").load(root / "dvc.yaml")["stages"]
    return content


def allowed(importer: str) -> tuple[str, ...]:
    """What a file may import of the project, by path prefix: imports go one way."""
    if importer.startswith("flows/"):
        # What needs no TensorFlow.
        core = (
            "__init__.py",
            "scores.py",
            "per_sample.py",
            "intervals.py",
            "effects.py",
            "effect_figures.py",
            "page.py",
        )
        others = ("tasks/__init__.py", "tasks/params/", "tasks/checkpoints.py")
        return ("flows/", *others, *(f"tasks/core/{name}" for name in core))
    if importer == "tasks/__init__.py":
        return ("tasks/surroundings.py",)
    if importer.startswith("tasks/core/"):
        return ("tasks/__init__.py", "tasks/core/", "tasks/params/")
    if importer.startswith("tasks/params/") or importer in {"tasks/step.py", "tasks/runtime.py"}:
        return ("tasks/__init__.py", "tasks/params/")
    rooms = ("tasks/__init__.py", "tasks/core/", "tasks/params/", "tasks/step.py", "tasks/runtime.py")
    return (*rooms, *(f"tasks/{name}.py" for name in ("arrays", "saved_model", "checkpoints", "transfer")))


def forbidden_imports(root: Path) -> list[str]:
    found = []
    for package in ("flows", "tasks"):
        for file in sorted((root / package).rglob("*.py")):
            importer = file.relative_to(root).as_posix()
            for imported in sorted(imports(file, root)):
                if not imported.relative_to(root).as_posix().startswith(allowed(importer)):
                    found.append(f"{importer} imports {imported.relative_to(root)}")
            if package == "flows" and third_party(file) & {"tensorflow", "keras"}:
                found.append(f"{importer} imports TensorFlow")
            if package == "tasks" and third_party(file) & {"prefect", "dvc"}:
                found.append(f"{importer} imports an orchestrator")
    return found


def wrong_deps(root: Path) -> list[str]:
    """Differences between the code deps of each stage and what its step imports."""
    found = []
    for name, stage in stages(root).items():
        if name == "download":  # its digests are the contract
            continue
        declared = {dep for dep in stage["deps"] if dep.startswith("tasks/")}
        needed = {file.relative_to(root).as_posix() for file in closure(root / "tasks" / f"{name}.py", root)}
        found += [f"{name} lacks {dep}" for dep in sorted(needed - declared)]
        found += [f"{name} does not need {dep}" for dep in sorted(declared - needed)]
    return found


def test_imports_go_one_way() -> None:
    assert forbidden_imports(ROOT) == []


def test_the_deps_of_each_stage_are_exactly_what_its_step_imports() -> None:
    assert wrong_deps(ROOT) == []


def test_every_stage_has_a_step_and_the_graph_is_download_normalize_train_evaluate() -> None:
    assert tuple(stages()) == STAGES
    for name, stage in stages().items():
        assert stage["cmd"].startswith(f"exec python -u -m tasks.{name} ")
        assert (ROOT / "tasks" / f"{name}.py").exists()


def test_no_stage_switches_the_run_cache_off() -> None:
    for stage in stages().values():
        assert "always_changed" not in stage
        assert all(isinstance(out, str) for out in stage.get("outs", [])), "an out with cache: false or persist"
        assert stage.get("deps") or stage.get("params")


def test_there_is_no_junk_drawer() -> None:
    names = {file.stem for package in ("flows", "tasks", "tests") for file in (ROOT / package).rglob("*.py")}
    assert not names & {"utils", "util", "common", "helpers", "misc"}


def test_training_imports_neither_scores_nor_figures() -> None:
    names = {file.name for file in closure(ROOT / "tasks/train.py", ROOT)}
    assert not names & {"scores.py", "figures.py"}


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A small house that keeps the rules, for a test to break."""
    files = {
        "tasks/__init__.py": "",
        "tasks/core/__init__.py": "",
        "tasks/core/network.py": "import keras\n",
        "tasks/params/__init__.py": "",
        "tasks/step.py": "",
        "tasks/normalize.py": "from tasks import step\n",
        "tasks/train.py": "from tasks.core import network\n",
        "flows/pipeline.py": "import tasks.params\n",
        "dvc.yaml": "stages:\n  train:\n    deps: [data, tasks/__init__.py, tasks/core/__init__.py, "
        "tasks/core/network.py, tasks/train.py]\n",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert forbidden_imports(tmp_path) == wrong_deps(tmp_path) == []
    return tmp_path


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("tasks/train.py", "from tasks import normalize", "tasks/train.py imports tasks/normalize.py"),
        ("tasks/train.py", "import flows.pipeline", "tasks/train.py imports flows/pipeline.py"),
        ("tasks/core/network.py", "from tasks.train import train", "tasks/core/network.py imports tasks/train.py"),
        (
            "tasks/core/network.py",
            "def f():\n    from tasks import step",
            "tasks/core/network.py imports tasks/step.py",
        ),
        ("tasks/core/network.py", "import dvc.repo", "tasks/core/network.py imports an orchestrator"),
        ("flows/pipeline.py", "from tasks import train", "flows/pipeline.py imports tasks/train.py"),
        ("flows/pipeline.py", "def f():\n    import keras", "flows/pipeline.py imports TensorFlow"),
    ],
)
def test_each_import_rule_can_fail(house: Path, file: str, line: str, complaint: str) -> None:
    (house / file).write_text((house / file).read_text() + line + "\n")
    assert complaint in forbidden_imports(house)


def test_the_rule_on_deps_can_fail_both_ways(house: Path) -> None:
    (house / "tasks/core/network.py").write_text("from tasks.core import fused\n")
    (house / "tasks/core/fused.py").write_text("")
    assert wrong_deps(house) == ["train lacks tasks/core/fused.py"]
    (house / "tasks/core/network.py").write_text("")
    (house / "tasks/train.py").write_text("")
    assert wrong_deps(house) == [
        "train does not need tasks/core/__init__.py",
        "train does not need tasks/core/network.py",
    ]
