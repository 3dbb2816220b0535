"""The README and docs/: their links, tables and names are right, and their commands run."""

import json
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from bench import power
from bench.__main__ import row
from tests.support import ROOT
from tests.support.clone import Clone, tracked
from tests.support.docs import PAGES, commands, section
from tests.support.import_graph import STAGES, stages


def test_every_make_target_that_is_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    for page, text in PAGES.items():
        typed = {line.split()[1] for line in commands(text) if line.startswith("make ")}
        assert (set(re.findall(r"`make ([a-z-]+)", text)) | typed) - targets == set(), page
    listed = subprocess.check_output(["make", "--no-print-directory", "help"], cwd=ROOT, text=True)
    assert {line.split()[0] for line in listed.splitlines()} == targets


def test_every_link_leads_somewhere_and_the_readme_links_every_page() -> None:
    for page, text in PAGES.items():
        links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
        assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == [], page
        assert page == "README.md" or f"]({page})" in PAGES["README.md"]


def test_the_readme_names_everything_at_the_top_level() -> None:
    top = {file.split("/")[0] for file in tracked() if not file.startswith(".") and file != "README.md"}
    named = {path.rstrip("/") for path in re.findall(r"`([\w./-]+)`", PAGES["README.md"])}
    assert top - named == set()


def test_every_test_that_the_docs_name_exists() -> None:
    """docs/reliability.md names tests as `file.py::test`, below tests/."""
    named = {name for text in PAGES.values() for name in re.findall(r"`([\w/]+\.py)::(\w+)`", text)}
    assert len(named) > 30
    code = {file: (ROOT / "tests" / file).read_text(encoding="utf-8") for file, _ in named}
    assert [f"{file}::{test}" for file, test in named if f"def {test}(" not in code[file]] == []


def test_every_file_folder_and_module_of_code_that_is_named_exists() -> None:
    """Except in docs/log.md, whose notes are of their day."""
    text = "\n".join(text for page, text in PAGES.items() if page != "docs/log.md")
    paths = re.findall(r"`((?:flows|tasks|tests|bench)/[\w./]*)`", text)
    modules = re.findall(r"python -m ([\w.]*\w)", text)
    assert len(paths) > 50
    assert len(modules) > 20
    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert [module for module in modules if find_spec(module) is None] == []


def rows(text: str) -> list[list[str]]:
    """Read the cells of a Markdown table's rows, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_table_of_changes_is_that_of_dvc_yaml() -> None:
    """The first stage that a row names is the first that depends on the change."""
    named = set[str]()
    for change, runs in rows(section("The everyday loop")):
        expected = re.findall("|".join(STAGES), runs) or (list(STAGES) if runs == "every stage" else [])
        for name in set(re.findall(r"`([\w./]+)`", change)) - {"params.yaml", "dvc.yaml"}:
            needs = {name.rstrip("/"), f"${{{name}}}"}
            dependent = [stage for stage, parts in stages().items() if needs & inputs(parts)]
            if name != "libraries.yaml":
                assert dependent[:1] == expected[:1], name
                assert set(dependent) <= set(expected), name
            named |= needs
    assert {dep for parts in stages().values() for dep in inputs(parts)} <= named


def inputs(stage: dict[str, Any]) -> set[str]:
    """List the deps and blocks of parameters of a stage in dvc.yaml, but for what earlier stages write."""
    blocks = (name.partition(".")[0] for name in stage.get("params", ()) if isinstance(name, str))
    listed = [*stage.get("deps", ()), *blocks]
    return {name for name in listed if not re.match("data/|models/|reports/", name)}


def emphasized(difference: str, p: str) -> str:
    """Write a difference as docs/study.md does: bold where it is real."""
    is_real = p and float(p.removeprefix("< ")) < 0.05
    return re.sub(r"^(\S+)", r"**\1**", difference) if is_real else difference


def test_the_table_of_the_study_is_what_the_study_found() -> None:
    report = (ROOT / "reports/study/study.md").read_text(encoding="utf-8").split("\n- ")[0]
    results = PAGES["docs/study.md"].partition("**Results**")[2].partition("## ")[0]
    assert [[variant.split(":")[0], *cells] for variant, *cells in rows(results)] == [
        [variant.split(":")[0], gap, emphasized(closed, p_gap), accuracy, emphasized(gained, p_accuracy)]
        for variant, _, gap, closed, p_gap, accuracy, gained, p_accuracy in rows(report)
    ]


@pytest.mark.slow
def test_the_table_of_power_is_what_resampling_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Power as stated, within 8 points, and 95 % of the bounds."""
    monkeypatch.chdir(ROOT)
    found = power.rows()
    assert rows(section("What a study could have seen", "docs/study.md")) == [list(row) for row in found]
    for *_, stated, realized, held in found:
        assert abs(float(stated.rstrip(" %")) - float(realized.rstrip(" %"))) <= 8
        assert float(held.rstrip(" %")) >= 95


def test_the_table_of_speed_is_what_the_benchmark_measured() -> None:
    ratios = json.loads((ROOT / "docs/bench.json").read_text(encoding="utf-8"))["ratios"]
    table = next(block for block in PAGES["docs/speed.md"].split("\n\n") if block.startswith("| ratio "))
    assert table.splitlines()[2:] == [row(ratio) for ratio in ratios]


@pytest.mark.slow
def test_the_everyday_loop_and_the_versions_run_as_written(trained: Clone, tmp_path: Path) -> None:
    """Line by line, after one change, in a clone of its own: `dvc gc` empties the cache."""
    trained.reset()
    shutil.copytree(trained.path, tmp_path / "clone", symlinks=True)
    clone = Clone(tmp_path / "clone")
    for key in ("user.name", "user.email"):  # of the person who types `git commit`
        clone.run("git", "config", key, "test@example.org")
    clone.edit(regularize__l2=0.01)
    versions = PAGES["docs/data.md"].replace(section("Your own images", "docs/data.md"), "")  # test_walk_through.py
    for line in commands(section("The everyday loop")) + commands(versions):
        output = clone.run("bash", "-c", line)
        if line == "dvc metrics diff HEAD~1":
            assert re.search(r"reports/metrics.json +test.loss +\S+ +\S+ +\S+", output)
        if line.startswith("dvc exp show"):
            assert "short" in output
        if line.startswith("dvc plots diff"):  # as the README says beside it
            assert 'src="https://' in (clone.path / "dvc_plots/index.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_model_works_in_the_lines_of_the_readme(clone: Clone) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGES["README.md"], re.MULTILINE | re.DOTALL)
    clone.run("python", "-c", "from PIL import Image; Image.new('RGBA', (50, 40)).save('image.png')")
    assert re.search(r"^airplane: \d+\.\d%$", clone.run("python", "-c", code), re.MULTILINE)
