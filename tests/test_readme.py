"""The README against the repository: its map is complete, and its commands run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.bench.__main__ import row
from tests.conftest import ROOT, Clone

README = (ROOT / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return README.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def commands(text: str) -> list[str]:
    """The lines of the shell blocks of a text, without their comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [line.split("  #")[0].strip() for block in blocks for line in block.splitlines() if line.strip()]


def test_every_make_target_of_the_readme_exists_and_help_lists_all() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)`", README)) | {
        line[5:] for line in commands(README) if line[:5] == "make "
    }
    assert named <= targets
    listed = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert {line.split()[0] for line in listed.splitlines()} == targets


def test_the_file_map_names_every_file_and_nothing_else() -> None:
    mapped = {
        path.rstrip("/")
        for path in re.findall(r"`([\w./-]+)`", re.sub(r"\|[^|]*\|$", "", section("What is where"), flags=re.M))
    }
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    hidden_or_packaging = re.compile(r"(^|/)\.|(^|/)__init__\.py$|^README\.md$")
    unmapped = [
        file
        for file in files
        if not hidden_or_packaging.search(file)
        and (ROOT / file).exists()
        and not any(file == path or file.startswith(f"{path}/") for path in mapped - {"tasks"})
    ]
    assert unmapped == []
    made_by_a_run = ("data", "models", "reports", ".prefect", "prefect.toml", ".checkpoints", ".doctor")
    assert [path for path in mapped if not path.startswith(made_by_a_run) and not (ROOT / path).exists()] == []


def table(text: str) -> dict[str, list[str]]:
    """The rows of a Markdown table, by the first word of each."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:2] == "| "]
    return {cells[0].split(":")[0]: cells[1:] for cells in rows if cells[0][0] != "-"}


def emphasized(difference: str, p: str) -> str:
    """A difference as the README shows it: bold where it is real."""
    is_real = p and float(p.removeprefix("< ")) < 0.05
    return re.sub(r"^(\S+)", r"**\1**", difference) if is_real else difference


def test_the_table_of_the_study_is_what_the_study_found() -> None:
    shown = table(section("The study"))
    found = table((ROOT / "reports/study/study.md").read_text(encoding="utf-8").split("\n- ")[0])
    del shown["variant"], found["variant"]
    assert shown == {
        variant: [gap, emphasized(closed, p_gap), accuracy, emphasized(gained, p_accuracy)]
        for variant, (_, gap, closed, p_gap, accuracy, gained, p_accuracy) in found.items()
    }


def test_the_table_of_speed_is_what_the_benchmark_measured() -> None:
    ratios = json.loads((ROOT / "docs/bench.json").read_text(encoding="utf-8"))["ratios"]
    shown = [line for line in section("Speed").splitlines() if line[:2] == "| "]
    assert shown[2:] == [row(one) for one in ratios]


@pytest.mark.slow
def test_the_everyday_loop_runs_as_it_is_written(trained: Clone, tmp_path: Path) -> None:
    """Line by line, after one change, in a clone of its own: `dvc gc` empties the cache."""
    trained.reset()
    shutil.copytree(trained.path, tmp_path / "clone", symlinks=True)
    clone = Clone(tmp_path / "clone")
    clone.edit(regularize__l2=0.01)
    for line in commands(section("The everyday loop")):
        output = clone.run("bash", "-c", line)
        if line == "dvc metrics diff HEAD~1":
            assert re.search(r"reports/metrics.json +test.loss +\S+ +\S+ +\S+", output)
        if line.startswith("dvc exp show"):
            assert "short" in output


@pytest.mark.slow
def test_the_model_works_in_the_five_lines_of_the_readme(clone: Clone) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", section("Using the trained model"), re.MULTILINE | re.DOTALL)
    clone.run("python", "-c", "from PIL import Image; Image.new('RGBA', (50, 40)).save('image.png')")
    assert "tf.Tensor" in clone.run("python", "-c", code)
