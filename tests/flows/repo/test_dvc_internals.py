"""The private interfaces of the installed DVC, and its digests."""

import ast
from importlib import import_module
from importlib.metadata import version
from operator import attrgetter
from pathlib import Path

import pytest

from flows.repo import code, dvc_internals
from tests.support import ROOT


@pytest.mark.parametrize("interface", dvc_internals.INTERFACES)
def test_the_installed_dvc_has_the_interface(interface: str) -> None:
    module, name = interface.split(":")
    try:
        attrgetter(name)(import_module(module))
    except (ImportError, AttributeError):
        pytest.fail(f"DVC {version('dvc')} lacks {interface}, which gives {dvc_internals.INTERFACES[interface]}")


def test_the_digest_of_a_folder_is_that_of_dvc(tmp_path: Path) -> None:
    from dvc.repo import Repo

    files = {"tasks/b.py": b"b = 1\n", "tasks/inner/a.py": b"", "tasks/a é.html": b"<p>"}
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "tasks/note.txt").write_text("not of it")
    (tmp_path / ".dvcignore").write_text("*.txt\n")
    (tmp_path / "dvc.yaml").write_text("stages: {it: {cmd: 'true', deps: [tasks]}}\n")
    with Repo.init(str(tmp_path), no_scm=True) as repo:
        stage = dvc_internals.load_stages(repo)["it"]
        entry = dvc_internals.entry_of_now(stage)
        (dependency,) = stage.deps
        assert code.current_files(dependency) == files
    (recorded,) = entry["deps"]
    assert recorded["md5"] == code.digest("tasks", files)
    assert (recorded["nfiles"], recorded["size"]) == (3, 9)
    assert code.digest("tasks/b.py", {"tasks/b.py": b"b = 1\n"}) == code.md5(b"b = 1\n")


def test_no_other_file_of_flows_imports_a_private_interface() -> None:
    """But for the configuration and errors, which DVC's plug-ins use, too."""
    private = {name.split(":")[0] for name in dvc_internals.INTERFACES} - {"dvc.repo"}
    for file in (ROOT / "flows").rglob("*.py"):
        if file.name != "dvc_internals.py":
            tree = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            imported = {node.module for node in tree if isinstance(node, ast.ImportFrom)}
            assert not imported & private, file
