"""Why a stage would run: an edit for each reason."""

import re
import resource
import shutil
import subprocess
import sys

import pytest
from ruamel.yaml import YAML

from flows import why
from flows.repo.staleness import REMEDIES, stale_reasons
from tests.support import ROOT
from tests.support.clone import Clone
from tests.support.edits import Edit, added, both, deleted, replaced
from tests.support.import_graph import STAGES, libraries

NETWORK, PAGE, MODEL = "tasks/models/network.py", "tasks/reporting/page.html", "models/classifier.keras"
ALL = STAGES[1:]


@pytest.fixture(autouse=True)
def workspace(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    clone.reset()
    monkeypatch.chdir(clone.path)


def lose_the_entry(clone: Clone) -> None:
    yaml, lock = YAML(), clone.path / "dvc.lock"
    content = yaml.load(lock)
    del content["stages"]["train"]
    yaml.dump(content, lock)


def change_a_folder(clone: Clone) -> None:
    folder = clone.path / "data/normalized"
    first, second, *_ = sorted(file for file in folder.iterdir() if file.is_file())
    first.unlink()
    second.write_bytes(second.read_bytes() + b"\n")
    (folder / "new").write_text("new")


REASONS: dict[str, tuple[Edit, str, tuple[str, ...]]] = {
    "command": (
        replaced("dvc.yaml", "python -u -m tasks.train", "python -m tasks.train"),
        "train",
        ("command: -u → (absent)",),
    ),
    "first run": (lose_the_entry, "train", ("first run: dvc.lock has no earlier one",)),
    "parameter": (
        lambda clone: clone.edit(regularize__l2=0.01, train__epochs=5),
        "train",
        ("parameters: regularize.l2 0.0 → 0.01, train.epochs 2 → 5",),
    ),
    "parameter that is gone, and was null": (
        replaced("params.yaml", "  input_size:", "  # input_size:"),
        "train",
        ("parameters: model.input_size None → (absent)",),
    ),
    "library": (replaced("libraries.yaml", "keras: ", "keras: 1 #"), "normalize", ("libraries: keras 3.15.1 → 1",)),
    "code": (
        replaced(NETWORK, "halvings < 1", "halvings <= 1"),
        "train",
        (f"code: {NETWORK}:",),
    ),
    "template": (added(PAGE, "\n"), "report", (f"code: {PAGE} modified",)),
    "code that is gone and new": (
        both(deleted(NETWORK), added("tasks/models/module.py", "NEW = 1\n")),
        "train",
        ("code: tasks/models/module.py is new", f"code: {NETWORK} is gone"),
    ),
    "folder of code that is gone": (
        lambda clone: shutil.rmtree(clone.path / "tasks/device"),
        "train",
        ("code: tasks/device deleted", "upstream: normalize would run: code"),
    ),
    "layout": (added(NETWORK, "# why\n"), "train", (f"layout: {NETWORK}",)),
    "file": (added("data/cifar10.sha256", "\n"), "download", ("data: data/cifar10.sha256 modified",)),
    "folder": (
        change_a_folder,
        "train",
        ("data: data/normalized modified: 1 changed, 1 gone, 1 new of ", "upstream: normalize would run: outputs"),
    ),
    "dependency of now": (
        replaced("dvc.yaml", "      - ${backbone}\n", "      - ${backbone}\n      - LICENSE\n"),
        "train",
        ("data: LICENSE is new in dvc.yaml",),
    ),
    "lost output": (deleted(MODEL), "train", (f"outputs: {MODEL} deleted",)),
    "changed output": (added("reports/metrics.json", "\n"), "evaluate", ("outputs: reports/metrics.json modified",)),
    "upstream, directly or not": (
        lambda clone: clone.edit(normalize__seed=5),
        "report",
        (
            "parameters: normalize.seed 0 → 5",
            "upstream: normalize would run: parameters",
        ),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REASONS)
def test_each_reason_is_named_with_what_changed(clone: Clone, name: str) -> None:
    edit, stage, said = REASONS[name]
    edit(clone)
    reasons = [str(one) for one in stale_reasons(clone.path, [stage], upstream=True)[stage]]
    assert len(reasons) == len(said)
    assert all(reason.startswith(start) for reason, start in zip(reasons, said, strict=True)), reasons


@pytest.mark.slow
def test_an_output_that_the_cache_lost_is_a_reason(clone: Clone) -> None:
    output, *_ = YAML(typ="safe").load(clone.path / "dvc.lock")["stages"]["train"]["outs"]
    stored = clone.path / ".dvc/cache/files/md5" / output["md5"][:2] / output["md5"][2:]
    stored.rename(aside := stored.with_suffix(".aside"))
    try:
        (reason,) = stale_reasons(clone.path, ["train"], upstream=True)["train"]
    finally:
        aside.rename(stored)
    assert str(reason) == f"outputs: {MODEL} not in cache"


@pytest.mark.slow
def test_reasons_come_in_their_order_each_kind_with_its_remedy(
    clone: Clone, capsys: pytest.CaptureFixture[str]
) -> None:
    edits = "parameter", "command", "library", "code", "folder", "lost output"
    for name in edits:
        REASONS[name][0](clone)
    added("tasks/training/mixing.py", "# why\n")(clone)
    reasons = stale_reasons(clone.path, ["train"], upstream=True)["train"]
    assert ["first run", "on demand", *(reason.kind for reason in reasons)] == list(REMEDIES)
    assert why.main(["train"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "train would run, for:",
        *(line for one in reasons for line in (f"  {one}", f"    {one.remedy}")),
    ]
    assert all(len(reason.remedy) < 110 for reason in reasons)


def test_nothing_to_say_of_what_is_current_and_one_line_on_what_is_wrong(
    clone: Clone, capsys: pytest.CaptureFixture[str]
) -> None:
    assert why.main([]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{stage}: nothing changed, outputs are intact" for stage in STAGES]
    assert why.main(["trian"]) == 2
    assert capsys.readouterr().err == (f"error: STAGE must be one of {', '.join(STAGES)}; received trian\n")
    added("dvc.lock", "<<<<<<< ours\n=======\n>>>>>>> theirs\n")(clone)
    assert why.main([]) == 2
    assert capsys.readouterr().err.startswith("error: dvc.lock must hold one side of a merge")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("library", "stale"),
    [
        ("tensorflow", ALL[:4]),
        ("numpy", ALL),
        ("matplotlib", ("report",)),
        ("prefect", ()),
    ],
)
def test_an_upgrade_makes_exactly_those_stages_stale_that_import_the_library(
    clone: Clone, library: str, stale: tuple[str, ...]
) -> None:
    lock, versions = clone.path / "requirements.lock", clone.path / "libraries.yaml"
    text = re.sub(rf"^({library}(?:\[.*\])?)==[^ ;]+", r"\1==99.0", lock.read_text(), flags=re.MULTILINE)
    assert text != lock.read_text()
    lock.write_text(text)
    before = YAML(typ="safe").load(versions).get(library)
    versions.write_text(libraries(clone.path))  # as `make lock` does
    found = {stage: [str(one) for one in reasons] for stage, reasons in stale_reasons(clone.path).items()}
    changed = f"libraries: {library} {before} → 99.0"
    assert {stage: reasons for stage, reasons in found.items() if reasons} == {stage: [changed] for stage in stale}


def test_prefect_is_not_imported() -> None:
    code = "import flows.why, sys; assert not {'prefect', 'tensorflow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
@pytest.mark.timing
def test_asking_in_this_repository_takes_less_than_two_seconds_of_the_processor() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "flows.why"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2
