"""The private interfaces of the installed DVC."""

import ast
from importlib import import_module
from importlib.metadata import version
from operator import attrgetter

import pytest

from flows.repo import dvc_internals
from tests.support import ROOT


@pytest.mark.parametrize("interface", dvc_internals.INTERFACES)
def test_the_installed_dvc_has_the_interface(interface: str) -> None:
    module, name = interface.split(":")
    try:
        attrgetter(name)(import_module(module))
    except (ImportError, AttributeError):
        pytest.fail(f"DVC {version('dvc')} lacks {interface}, which gives {dvc_internals.INTERFACES[interface]}")


def test_no_other_file_of_flows_imports_a_private_interface() -> None:
    """But for the configuration and errors, which DVC's plug-ins use, too."""
    private = {name.split(":")[0] for name in dvc_internals.INTERFACES} - {"dvc.repo"}
    for file in (ROOT / "flows").rglob("*.py"):
        if file.name != "dvc_internals.py":
            tree = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            imported = {node.module for node in tree if isinstance(node, ast.ImportFrom)}
            assert not imported & private, file
