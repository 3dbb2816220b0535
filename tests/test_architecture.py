"""The rules of the architecture, each shown able to fail."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tasks.libraries import LIBRARIES_FILE
from tests.support.import_graph import (
    LOCK,
    MAP,
    ROOT,
    STAGES,
    UNDECIDING,
    UNTRACKED,
    closure,
    code_deps,
    code_map,
    imports,
    libraries,
    libraries_of,
    locked,
    stages,
    third_party,
    with_code_deps,
    with_libraries,
)


def allowed(importer: str) -> tuple[str, ...]:
    """What a file may import of the project, by path prefix: imports go one way."""
    if importer.startswith("flows/"):
        # What needs no TensorFlow.
        core = (
            "__init__.py",
            "scores.py",
            "per_sample.py",
            "intervals.py",
            "headline.py",
            "effects.py",
            "effect_figures.py",
            "page.py",
        )
        others = (
            "tasks/__init__.py",
            "tasks/params/",
            "tasks/outputs.py",
            "tasks/notes.py",
            "tasks/checkpoints.py",
            "tasks/libraries.py",
            "tasks/processor.py",
            "tasks/made_on.py",
        )
        return ("flows/", *others, *(f"tasks/core/{name}" for name in core))
    if importer == "tasks/__init__.py":
        return ("tasks/surroundings.py", "tasks/fork_client.py")
    if importer in {"tasks/fork_client.py", "tasks/fork_server.py", "tasks/parent.py"}:
        return ("tasks/__init__.py", "tasks/parent.py", "tasks/fork_client.py")
    if importer.startswith("tasks/core/"):
        return ("tasks/__init__.py", "tasks/core/", "tasks/params/")
    if importer.startswith("tasks/params/"):
        return ("tasks/__init__.py", "tasks/params/")
    if importer.startswith("tasks/datasets/"):
        return ("tasks/__init__.py", "tasks/datasets/", "tasks/core/")
    if importer == "tasks/step.py":
        return ("tasks/__init__.py", "tasks/params/", "tasks/notes.py", "tasks/libraries.py", "tasks/parent.py")
    if importer == "tasks/libraries.py":
        return ("tasks/__init__.py", "tasks/params/")
    if importer == "tasks/notes.py":
        return ("tasks/__init__.py", "tasks/outputs.py")
    if importer in {"tasks/outputs.py", "tasks/backend.py", "tasks/runtime.py"}:
        return ("tasks/__init__.py", "tasks/backend.py", "tasks/processor.py")
    shared = (
        *("step", "outputs", "backend", "runtime", "arrays", "decoding"),
        *("predictions", "saved_model", "checkpoints", "pretrained", "features", "probe", "processor", "made_on"),
    )
    of_download = ("archives", "mirrors", "transfer")
    return (
        "tasks/__init__.py",
        "tasks/core/",
        "tasks/datasets/",
        "tasks/layouts/",
        "tasks/params/",
        *(f"tasks/{name}.py" for name in (*shared, *of_download)),
    )


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
        if name != UNTRACKED:
            declared, needed = {dep for dep in stage["deps"] if dep.startswith("tasks/")}, set(code_deps(name, root))
            found += [f"{name} lacks {dep}" for dep in sorted(needed - declared)]
            found += [f"{name} does not need {dep}" for dep in sorted(declared - needed)]
    return found


def test_imports_go_one_way() -> None:
    assert forbidden_imports(ROOT) == []


def test_the_deps_of_each_stage_are_exactly_what_its_step_imports() -> None:
    assert wrong_deps(ROOT) == []


def test_make_map_would_change_nothing() -> None:
    assert (ROOT / MAP).read_text(encoding="utf-8") == code_map(ROOT)
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


def test_make_map_mends_the_libraries_of_a_stage_and_nothing_else() -> None:
    text = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    broken = re.sub(r"      - libraries.yaml: \[cleanlab.*\n", "", text).replace("[numpy, ", "[prefect, ")
    assert broken != text
    assert with_libraries(broken, ROOT) == text


def test_make_map_mends_wrong_deps_and_nothing_else() -> None:
    text = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    broken = text.replace("      - tasks/train.py\n", "").replace(
        "      - tasks/evaluate.py\n", "      - tasks/gone.py\n"
    )
    assert broken != text
    assert with_code_deps(broken, ROOT) == text


def test_every_file_says_what_it_holds() -> None:
    listed = code_map(ROOT)
    files = [
        file
        for room in ("flows", "tasks", "tests")
        for file in (ROOT / room).rglob("*.*")
        if file.suffix in {".py", ".html"}
    ]
    assert [file for file in files if f"| `{file.name}` |" not in listed] == []


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
    drawing, libraries = {"figures.py", "label_issues.py", "page.py"}, {"cleanlab", "jinja2", "matplotlib"}
    for name in ("train", "evaluate"):
        assert not {file.name for file in closure(ROOT / f"tasks/{name}.py", ROOT)} & drawing
        assert not set(libraries_of(name, ROOT)) & libraries
    assert ROOT / "tasks/core/scores.py" not in closure(ROOT / "tasks/train.py", ROOT)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A small repository that keeps the rules, for a test to break."""
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
def test_each_import_rule_can_fail(repository: Path, file: str, line: str, complaint: str) -> None:
    (repository / file).write_text((repository / file).read_text() + line + "\n")
    assert complaint in forbidden_imports(repository)


def test_the_rule_on_deps_can_fail_both_ways(repository: Path) -> None:
    (repository / "tasks/core/network.py").write_text("from tasks.core import fused\n")
    (repository / "tasks/core/fused.py").write_text("")
    assert wrong_deps(repository) == ["train lacks tasks/core/fused.py"]
    (repository / "tasks/core/network.py").write_text("")
    (repository / "tasks/train.py").write_text("")
    assert wrong_deps(repository) == [
        "train does not need tasks/core/__init__.py",
        "train does not need tasks/core/network.py",
    ]
