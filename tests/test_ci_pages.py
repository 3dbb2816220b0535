"""The workflows in docs/ci.md: valid YAML whose commands exist, and do what the page says."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from flows.gate import parser
from tests.support import ROOT
from tests.support.clone import IDENTITY, Clone
from tests.support.docs import section

INSTALLS = ("make setup", "GITHUB_PATH", "export PATH")  # tests/test_setup.py


def workflow(host: str) -> dict[str, Any]:
    (block,) = re.findall(r"^```yaml\n(.*?)^```", section(host, "docs/ci.md"), re.MULTILINE | re.DOTALL)
    return dict(YAML(typ="safe").load(block))


def scripts() -> dict[str, list[str]]:
    github, gitlab = workflow("GitHub Actions")["jobs"]["gate"], workflow("GitLab CI")["gate"]
    return {
        "GitHub Actions": [step["run"] for step in github["steps"] if "run" in step],
        "GitLab CI": [*gitlab["script"], *gitlab["after_script"]],
    }


def test_the_workflows_need_no_token_and_see_the_whole_history() -> None:
    github, gitlab = workflow("GitHub Actions"), workflow("GitLab CI")["gate"]
    assert github["permissions"] == {"contents": "read"}
    assert github["jobs"]["gate"]["steps"][0]["with"]["fetch-depth"] == 0
    assert gitlab["variables"]["GIT_DEPTH"] == 0
    assert "secrets." not in section("GitHub Actions", "docs/ci.md")


@pytest.mark.parametrize("host", ["GitHub Actions", "GitLab CI"])
def test_every_command_of_a_workflow_exists(host: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for line in scripts()[host]:
        program, *words = shlex.split(line.removeprefix('[ -z "$BASE" ] || '))
        match program:
            case "make":
                assert re.search(rf"^{words[0]}:", makefile, re.MULTILINE)
            case "python":
                parser().parse_args(words[2 : words.index(">>" if ">>" in words else ">")])
            case _:
                assert program.partition("=")[0] in {"dvc", "echo", "export", "test", "BASE"}


@pytest.mark.slow
@pytest.mark.parametrize("host", ["GitHub Actions", "GitLab CI"])
def test_a_workflow_shows_what_a_request_does_to_the_model(clone: Clone, tmp_path: Path, host: str) -> None:
    clone.reset()
    clone.run("git", "checkout", "--quiet", "--detach")  # as both services do
    clone.edit(train__epochs=20)
    clone.commit("Train longer")
    request = clone.run("git", "rev-parse", "HEAD").strip()
    clone.run("git", "checkout", "--quiet", "--detach", "main")
    clone.edit(evaluate__batch_size=1000)  # others merge meanwhile
    clone.commit("Evaluate in smaller batches")
    clone.run("git", *IDENTITY, "merge", "--quiet", "--no-edit", request)
    shown = tmp_path / "summary.md"
    variables = f"CI_MERGE_REQUEST_TARGET_BRANCH_SHA={clone.run('git', 'rev-parse', 'HEAD^1').strip()}"
    lines = [line for line in scripts()[host] if not any(words in line for words in INSTALLS)]
    script = "\n".join([f"set -e; export {variables} GITHUB_STEP_SUMMARY={shown}", *lines])
    output = clone.run("bash", "-c", script)
    assert "No remote provided" in output  # which is no error
    summary = shown.read_text(encoding="utf-8") if host == "GitHub Actions" else output[output.index("## ") :]
    assert summary.startswith("## The gate passes\n\nTest accuracy ")
    assert "train.epochs 2 → 20" in summary
    assert "batch_size" not in summary.partition("What changed")[2]
    assert (clone.path / "reports/compare.html").stat().st_size < 3_000_000
