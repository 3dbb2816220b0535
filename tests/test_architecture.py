"""The rules of the architecture, each shown able to fail."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tasks.run.libraries import LIBRARIES_FILE
from tests.support import ROOT
from tests.support.import_graph import (
    LOCK,
    PACKAGES,
    STAGES,
    TRACKED,
    UNDECIDING,
    code_deps,
    imported_modules,
    imports,
    libraries,
    libraries_of,
    locked,
    stages,
    third_party,
    with_inputs,
)

# Python runs these before any other file of the package, so that every file seems to import them.
PACKAGE_FILES = {f"{package}/__init__.py" for package in PACKAGES}
COMMANDS = {f"{package}/" for package in PACKAGES}  # their files are commands, which do not import each other
FOREIGN = {"flows": {"tensorflow", "keras"}, "tasks": {"prefect", "dvc"}}
ROWS = re.findall(
    r"^\| `((?:flows|tasks)/[\w./]*)` \|", (ROOT / "docs/architecture.md").read_text(encoding="utf-8"), re.MULTILINE
)


def source_files(root: Path, packages: tuple[str, ...] = PACKAGES) -> list[Path]:
    return [file for package in packages for file in sorted((root / package).rglob("*.py"))]


def row_of(file: str) -> int:
    """Find the row of a file in docs/architecture.md: its own, or that of its folder."""
    return ROWS.index(file if file in ROWS else f"{Path(file).parent.as_posix()}/")


def forbidden_imports(root: Path) -> list[str]:
    complaints = []
    for path in source_files(root):
        file = path.relative_to(root).as_posix()
        for imported in sorted(other.relative_to(root).as_posix() for other in imports(path, root)):
            is_command = ROWS[row_of(file)] in COMMANDS
            if imported not in PACKAGE_FILES and row_of(imported) < row_of(file) + is_command:
                complaints.append(f"{file} imports {imported}")
        foreign = third_party(path) & FOREIGN[file.split("/")[0]]
        complaints += [f"{file} imports {name}" for name in sorted(foreign)]
    return complaints


def circle(root: Path) -> list[Path]:
    """Find files that import each other in a circle."""
    files = {file for file in source_files(root) if file.name != "__init__.py"}
    try:
        TopologicalSorter({file: imports(file, root) & files for file in files}).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_a_file_imports_from_its_own_folder_and_from_rows_below() -> None:
    assert forbidden_imports(ROOT) == []


def test_no_imports_go_in_a_circle() -> None:
    assert circle(ROOT) == []


def test_no_folder_holds_more_than_15_files() -> None:
    folders = {file.parent for file in source_files(ROOT)}
    assert [folder for folder in folders if len(list(folder.glob("*.py"))) > 15] == []


def test_every_file_names_and_states_one_subject_and_imports_no_test_module() -> None:
    for file in source_files(ROOT, ("flows", "tasks", "tests", "bench")):
        assert file.stem not in {"utils", "util", "common", "helpers", "misc"}, file
        text = file.read_text(encoding="utf-8")
        assert not text or ast.get_docstring(ast.parse(text)), file
        assert not [module for module in imported_modules(text) if ".test_" in module], file


def test_make_graph_would_change_nothing() -> None:
    assert (ROOT / LIBRARIES_FILE).read_text(encoding="utf-8") == libraries(ROOT)
    text = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    assert with_inputs(text) == text


def test_make_graph_corrects_deps_and_libraries_and_nothing_else() -> None:
    text = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    for pattern, wrong in (
        ("      - tasks/train.py\n", ""),
        ("      - tasks/metrics\n", "      - tasks/gone\n"),
        (r"      - libraries.yaml: \[cleanlab.*\n", ""),
        (r"\[keras, ", "[prefect, "),
    ):
        broken = re.sub(pattern, wrong, text)
        assert broken != text
        assert with_inputs(broken) == text


def test_each_stage_lists_the_code_and_libraries_that_its_step_imports_and_no_others() -> None:
    code = {stage: set(code_deps(stage, ROOT)) for stage in TRACKED}
    versions = {stage: set(libraries_of(stage, ROOT)) for stage in TRACKED}
    assert not {"tasks/reporting", "tasks/metrics"} & code["train"]
    assert not {"tasks/reporting", "tasks/training"} & code["evaluate"]
    assert not {"tasks/models", "tasks/training"} & code["normalize"]  # so that no network's code makes it stale
    assert versions["normalize"] == {"keras", "numpy", "pillow", "scikit-learn", "scipy", "tensorflow"}
    assert {"keras", "tensorflow"} <= versions["train"]
    drawing = {"cleanlab", "jinja2", "matplotlib"}
    assert drawing <= versions["report"]
    assert not drawing & (versions["train"] | versions["evaluate"])
    assert not {"keras", "tensorflow"} & versions["report"]


def test_no_library_is_exempt_that_no_stage_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    exempt = set(UNDECIDING)
    monkeypatch.setattr("tests.support.import_graph.UNDECIDING", {})
    assert exempt <= {name for stage in TRACKED for name in libraries_of(stage, ROOT)}


def test_a_lock_is_read_with_extras_markers_and_two_versions(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text(
        "httpx[http2,socks]==0.28.1 \\\n    --hash=sha256:00\n    # via prefect\n"
        "numpy==2.4.6 ; python_full_version < '3.12' \\\n    --hash=sha256:01\n"
        "numpy==2.5.5 ; python_full_version >= '3.12' \\\n    --hash=sha256:02\n"
    )
    assert locked(tmp_path) == {"httpx": "0.28.1", "numpy": "2.4.6 or 2.5.5"}


def test_every_stage_runs_the_step_of_its_name_and_keeps_the_run_cache_on() -> None:
    assert tuple(stages()) == STAGES
    for name, stage in stages().items():
        assert stage["cmd"].startswith(f"exec python -u -m tasks.{name} ")
        assert (ROOT / "tasks" / f"{name}.py").exists()
        assert "always_changed" not in stage
        assert all(isinstance(out, str) for out in stage.get("outs", [])), "an out with cache: false or persist"
        assert stage.get("deps") or stage.get("params")


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
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert forbidden_imports(tmp_path) == []
    assert circle(tmp_path) == []
    assert code_deps("train", tmp_path) == ["tasks/models", "tasks/train.py"]
    return tmp_path


@pytest.mark.parametrize(
    ("file", "line", "imported"),
    [
        ("tasks/train.py", "from tasks import normalize", "tasks/normalize.py"),
        ("tasks/train.py", "import flows.gate", "flows/gate.py"),
        ("tasks/models/network.py", "from tasks.train import train", "tasks/train.py"),
        ("tasks/run/command_line.py", "def f():\n    from tasks.models import network", "tasks/models/__init__.py"),
        ("tasks/models/network.py", "import dvc.repo", "dvc"),
        ("flows/study/flow.py", "from flows import gate", "flows/gate.py"),
        ("flows/gate.py", "def f():\n    import keras", "keras"),
    ],
)
def test_each_import_rule_can_fail(repository: Path, file: str, line: str, imported: str) -> None:
    (repository / file).write_text((repository / file).read_text() + line + "\n")
    assert f"{file} imports {imported}" in forbidden_imports(repository)


def test_a_circle_is_found(repository: Path) -> None:
    (repository / "tasks/models/layer.py").write_text("from tasks.models import network\n")
    (repository / "tasks/models/network.py").write_text("from tasks.models import layer\n")
    assert {file.stem for file in circle(repository)} == {"layer", "network"}


def test_a_stage_depends_on_what_a_folder_that_it_imports_imports(repository: Path) -> None:
    (repository / "tasks/data").mkdir()
    (repository / "tasks/data/pixels.py").write_text("")
    (repository / "tasks/models/network.py").write_text("from tasks.data import pixels\n")
    assert code_deps("train", repository) == ["tasks/data", "tasks/models", "tasks/train.py"]
