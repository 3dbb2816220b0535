"""DVC's verdict on a stage, and its run, without a flow."""

import subprocess
import sys
from typing import Any

import pytest

from flows.pipeline import stages
from flows.runs.processes import StageFailedError
from tests.support.clone import Clone
from tests.support.damage import flip_a_byte
from tests.support.import_graph import STAGES
from tests.support.serving import workers_of

MODEL = "models/classifier.keras"


@pytest.fixture(autouse=True)
def reset(clone: Clone) -> None:
    clone.reset()


def verdicts(clone: Clone) -> dict[str, tuple[str, ...]]:
    """The stages that DVC would run, with its reasons."""
    found = {name: stages.verdict(clone.path, name) for name in STAGES}
    return {name: reasons for name, reasons in found.items() if reasons}


def test_nothing_is_stale_after_a_run_and_asking_is_cheap(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC reads no file of the data again: it has 184 MB."""
    from dvc_data.hashfile import hash as hashing

    read, hashed = hashing._hash_file, list[str]()

    def count(path: str, *how: Any, **more: Any) -> Any:
        hashed.append(path)
        return read(path, *how, **more)

    assert verdicts(clone) == {}
    monkeypatch.setattr(hashing, "_hash_file", count)
    assert verdicts(clone) == {}
    assert [path for path in hashed if path.startswith(str(clone.path))] == []  # lists of files are in memory


def test_a_changed_parameter_is_named_with_both_values(clone: Clone) -> None:
    clone.edit(regularize__l2=0.01, evaluate__batch_size=77)
    assert verdicts(clone) == {
        "train": ("parameters: regularize.l2 0.0 → 0.01",),
        "evaluate": ("parameters: evaluate.batch_size 2000 → 77",),
        "report": ("parameters: evaluate.batch_size 2000 → 77, regularize.l2 0.0 → 0.01",),
    }


def test_a_deleted_output_and_an_edited_source_are_named(clone: Clone) -> None:
    (clone.path / MODEL).unlink()
    (clone.path / "tasks/reporting/figures.py").write_text("# nothing\n")
    assert verdicts(clone)["train"] == (f"outputs: {MODEL} deleted",)
    assert any("code: tasks/reporting/figures.py:1: " in reason for reason in verdicts(clone)["report"])


def test_a_flipped_byte_in_an_output_is_never_fresh_and_restored_without_training(clone: Clone) -> None:
    before = (clone.path / MODEL).read_bytes()
    flip_a_byte(clone.path / MODEL)
    assert verdicts(clone) == {
        "train": (f"outputs: {MODEL} modified",),
        "evaluate": (f"data: {MODEL} modified",),
        "export": (f"data: {MODEL} modified",),
        "report": (f"data: {MODEL} modified",),
    }
    assert stages.reproduce(clone.path, "train", 60, print) == "restored from the run cache"
    assert (clone.path / MODEL).read_bytes() == before
    assert verdicts(clone) == {}
    assert stages.reproduce(clone.path, "train", 60, print) == "nothing to do"


def test_a_failed_stage_says_the_last_words_of_its_step(clone: Clone) -> None:
    clone.edit(normalize__seed=-1)
    with pytest.raises(StageFailedError) as caught:
        stages.reproduce(clone.path, "normalize", 60, print)
    first = str(caught.value).splitlines()[0]
    rule = "normalize.seed: must be greater than or equal to 0; received -1"
    assert first == f"normalize was refused: error: normalize: params.yaml: {rule}"
    assert not caught.value.temporary


def test_a_source_that_does_not_answer_may_pass_on_a_retry(clone: Clone) -> None:
    clone.edit(download__sources=[{"url": "http://127.0.0.1:9/cifar.tar.gz"}])
    with pytest.raises(StageFailedError, match="must serve the data set") as caught:
        stages.reproduce(clone.path, "download", 60, print, force=True)
    assert caught.value.temporary


@pytest.mark.slow
def test_a_stage_that_exceeds_its_limit_is_ended_with_everything_below_it(clone: Clone) -> None:
    clone.edit(train__epochs=10_000)  # hours
    with pytest.raises(StageFailedError, match="train: took longer than its limit of 12 s and was ended"):
        stages.reproduce(clone.path, "train", 12, print)
    assert not workers_of(clone)
    clone.run("git", "checkout", "--quiet", "params.yaml")
    assert stages.reproduce(clone.path, "train", 60, print) == "restored from the run cache"  # no stale lock is left


@pytest.mark.slow
def test_a_second_dvc_waits_for_the_first(clone: Clone) -> None:
    clone.edit(regularize__dropout=0.3)
    command = [sys.executable, "-m", "dvc", "repro", "--single-item", "train"]
    with subprocess.Popen(
        command, cwd=clone.path, env=clone.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as first:
        assert first.stdout is not None
        while "device:" not in first.stdout.readline():
            assert first.poll() is None
        said: list[str] = []
        reasons = stages.retry_while_locked(
            clone.path, lambda root: stages.verdict(root, "train"), lambda text, *values: said.append(text % values)
        )
        assert first.wait() == 0
    assert reasons == ()
    (line,) = said
    assert line.startswith(f"waiting for another DVC process in {clone.path}: ")


def test_flows_on_this_machine_import_neither_tensorflow_nor_what_several_machines_need() -> None:
    code = (
        "import flows.pipeline.flow, flows.study.flow, sys; loaded = set(sys.modules); "
        "assert not {'tensorflow', 'keras', 'flows.cluster'} & loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
