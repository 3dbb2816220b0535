"""The rules of the architecture, each shown able to fail."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tasks.run.libraries import LIBRARIES_FILE
from tests.support.import_graph import (
    LOCK,
    ROOT,
    STAGES,
    UNDECIDING,
    UNTRACKED,
    code_deps,
    imports,
    libraries,
    libraries_of,
    locked,
    stages,
    third_party,
    with_code_deps,
    with_libraries,
)


def layers(root: Path = ROOT) -> list[str]:
    """List the folders and files of the table in docs/architecture.md, from the top down."""
    text = (root / "docs/architecture.md").read_text(encoding="utf-8")
    return re.findall(r"^\| `((?:flows|tasks)/[\w./]*)` \|", text, re.MULTILINE)


def layer(file: str, order: list[str]) -> int:
    """Find the row of a file: its own, or that of its folder."""
    return order.index(file if file in order else f"{Path(file).parent.as_posix()}/")


def forbidden_imports(root: Path) -> list[str]:
    found, order = [], layers()
    for package in ("flows", "tasks"):
        for file in sorted((root / package).rglob("*.py")):
            importer = file.relative_to(root).as_posix()
            for imported in sorted(path.relative_to(root).as_posix() for path in imports(file, root)):
                # A package's own file, which Python runs before those that it holds.
                if not imported.endswith("__init__.py") and importer != "tasks/__init__.py":
                    if layer(imported, order) < layer(importer, order):
                        found.append(f"{importer} imports {imported}")
                    page = Path(imported).parent == Path(importer).parent in {Path("flows"), Path("tasks")}
                    if page and imported not in order:
                        found.append(f"{importer} imports {imported}")
            if package == "flows" and third_party(file) & {"tensorflow", "keras"}:
                found.append(f"{importer} imports TensorFlow")
            if package == "tasks" and third_party(file) & {"prefect", "dvc"}:
                found.append(f"{importer} imports an orchestrator")
    return found


def wrong_deps(root: Path) -> list[str]:
    """Differences between the code deps of each stage and what its step imports."""
    found = []
    for name, stage in stages(root).items():
        if name != UNTRACKED:
            declared, needed = {dep for dep in stage["deps"] if dep.startswith("tasks/")}, set(code_deps(name, root))
            found += [f"{name} lacks {dep}" for dep in sorted(needed - declared)]
            found += [f"{name} does not need {dep}" for dep in sorted(declared - needed)]
    return found


def test_imports_go_one_way() -> None:
    assert forbidden_imports(ROOT) == []


def test_the_deps_of_each_stage_are_exactly_what_its_step_imports() -> None:
    assert wrong_deps(ROOT) == []


def test_make_graph_would_change_nothing() -> None:
    assert (ROOT / LIBRARIES_FILE).read_text(encoding="utf-8") == libraries(ROOT)
    text = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    assert with_libraries(with_code_deps(text, ROOT), ROOT) == text


def test_the_libraries_of_a_stage_are_those_that_its_step_imports() -> None:
    assert libraries_of("normalize", ROOT) == ["numpy", "pillow", "scikit-learn", "scipy"]
    assert {"keras", "tensorflow"} <= set(libraries_of("train", ROOT))
    drawing = {"cleanlab", "jinja2", "matplotlib"}
    assert drawing <= set(libraries_of("report", ROOT))
    assert not set(libraries_of("report", ROOT)) & {"keras", "tensorflow"}


def test_no_library_is_exempt_that_no_stage_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    exempt = set(UNDECIDING)
    monkeypatch.setattr("tests.support.import_graph.UNDECIDING", {})
    assert exempt <= {name for stage in STAGES if stage != UNTRACKED for name in libraries_of(stage, ROOT)}


def test_a_lock_is_read_with_extras_markers_and_two_versions(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text(
        "httpx[http2,socks]==0.28.1 \\\n    --hash=sha256:00\n    # via prefect\n"
        "numpy==2.4.6 ; python_full_version < '3.12' \\\n    --hash=sha256:01\n"
        "numpy==2.5.5 ; python_full_version >= '3.12' \\\n    --hash=sha256:02\n"
    )
    assert locked(tmp_path) == {"httpx": "0.28.1", "numpy": "2.4.6 or 2.5.5"}


def test_make_graph_mends_the_libraries_of_a_stage_and_nothing_else() -> None:
    text = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    broken = re.sub(r"      - libraries.yaml: \[cleanlab.*\n", "", text).replace("[numpy, ", "[prefect, ")
    assert broken != text
    assert with_libraries(broken, ROOT) == text


def test_make_graph_mends_wrong_deps_and_nothing_else() -> None:
    text = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    broken = text.replace("      - tasks/train.py\n", "").replace("      - tasks/metrics\n", "      - tasks/gone\n")
    assert broken != text
    assert with_code_deps(broken, ROOT) == text


def test_every_file_says_what_it_holds() -> None:
    files = [file for folder in ("flows", "tasks", "tests") for file in (ROOT / folder).rglob("*.py")]
    texts = {file: file.read_text(encoding="utf-8") for file in files}
    assert [file for file, text in texts.items() if text.strip() and not ast.get_docstring(ast.parse(text))] == []


def test_no_folder_holds_more_than_15_files() -> None:
    folders = {file.parent for folder in ("flows", "tasks") for file in (ROOT / folder).rglob("*.py")}
    assert {folder for folder in folders if len(list(folder.glob("*.py"))) > 15} == set()


def circles(root: Path) -> list[set[str]]:
    """List the circles of imports among folders, and among the files of a folder."""
    arrows: dict[str, set[str]] = {}
    for file in (path for package in ("flows", "tasks") for path in (root / package).rglob("*.py")):
        for other in imports(file, root):
            if "__init__.py" not in {file.name, other.name}:
                for a, b in ((file, other), (file.parent, other.parent)):
                    if a != b and root not in {a.parent, b.parent}:  # `tasks/errors.py` lies beside the stages
                        arrows.setdefault(str(a.relative_to(root)), set()).add(str(b.relative_to(root)))

    def reachable(start: str) -> set[str]:
        found, todo = set[str](), list(arrows.get(start, ()))
        while todo:
            if (name := todo.pop()) not in found:
                found.add(name)
                todo += arrows.get(name, ())
        return found

    return [{name, *reachable(name)} for name in arrows if name in reachable(name)]


def test_no_imports_go_in_a_circle() -> None:
    assert circles(ROOT) == []


def test_every_stage_has_a_step_of_its_name_and_order() -> None:
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
    names = {file.stem for room in ("flows", "tasks", "tests") for file in (ROOT / room).rglob("*.py")}
    assert not names & {"utils", "util", "common", "helpers", "misc"}


def test_what_a_trial_runs_draws_nothing_and_training_scores_nothing() -> None:
    assert not {"tasks/reporting", "tasks/metrics"} & set(code_deps("train", ROOT))
    assert not {"tasks/reporting", "tasks/training"} & set(code_deps("evaluate", ROOT))
    for name in ("train", "evaluate"):
        assert not set(libraries_of(name, ROOT)) & {"cleanlab", "jinja2", "matplotlib"}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A small repository that keeps the rules, for a test to break."""
    files = {
        "tasks/__init__.py": "",
        "tasks/models/__init__.py": "",
        "tasks/models/network.py": "import keras\n",
        "tasks/params/__init__.py": "",
        "tasks/run/command_line.py": "",
        "tasks/normalize.py": "from tasks.run import command_line\n",
        "tasks/train.py": "from tasks.models import network\n",
        "flows/gate.py": "import tasks.params.model\n",
        "flows/study/flow.py": "",
        "dvc.yaml": "stages:\n  train:\n    deps: [data, tasks/models, tasks/train.py]\n",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert forbidden_imports(tmp_path) == wrong_deps(tmp_path) == []
    assert circles(tmp_path) == []
    return tmp_path


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("tasks/train.py", "from tasks import normalize", "tasks/train.py imports tasks/normalize.py"),
        ("tasks/train.py", "import flows.gate", "tasks/train.py imports flows/gate.py"),
        ("tasks/models/network.py", "from tasks.train import train", "tasks/models/network.py imports tasks/train.py"),
        (
            "tasks/run/command_line.py",
            "def f():\n    from tasks.models import network",
            "command_line.py imports tasks",
        ),
        ("tasks/models/network.py", "import dvc.repo", "tasks/models/network.py imports an orchestrator"),
        ("flows/study/flow.py", "from flows import gate", "flows/study/flow.py imports flows/gate.py"),
        ("flows/gate.py", "def f():\n    import keras", "flows/gate.py imports TensorFlow"),
    ],
)
def test_each_import_rule_can_fail(repository: Path, file: str, line: str, complaint: str) -> None:
    (repository / file).write_text((repository / file).read_text() + line + "\n")
    assert any(complaint in found for found in forbidden_imports(repository))


def test_a_circle_is_found(repository: Path) -> None:
    (repository / "tasks/models/layer.py").write_text("from tasks.models import network\n")
    (repository / "tasks/models/network.py").write_text("from tasks.models import layer\n")
    assert circles(repository)


def test_the_rule_on_deps_can_fail_both_ways(repository: Path) -> None:
    (repository / "tasks/data/pixels.py").parent.mkdir()
    (repository / "tasks/data/pixels.py").write_text("")
    (repository / "tasks/models/network.py").write_text("from tasks.data import pixels\n")
    assert wrong_deps(repository) == ["train lacks tasks/data"]
    (repository / "tasks/train.py").write_text("")
    assert wrong_deps(repository) == ["train does not need tasks/models"]
