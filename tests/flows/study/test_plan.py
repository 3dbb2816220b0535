"""The plan of a study: its trials, their parameters, and their names."""

import re
from pathlib import Path
from typing import Any

import pytest

from flows.runs.trial import Trial
from flows.study import plan
from tasks.params import ParameterError
from tests.support.clone import Clone

SMALL = {"normalize.train_images": 500, "model.filters": [4, 4, 4], "train.epochs": 2, "train.precision": "float32"}


@pytest.fixture(autouse=True)
def workspace(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> Path:
    clone.reset()
    monkeypatch.chdir(clone.path)
    return clone.path


def names(clone: Clone, settings: dict[str, Any] = SMALL, variants: tuple[str, ...] = ("none", "dropout")) -> list[str]:
    return [trial.name for trial in plan.plan(clone.path, list(variants), 2, settings)]


def test_a_plan_has_every_variant_of_a_seed_before_the_next_and_only_the_seed_differs(clone: Clone) -> None:
    planned = plan.plan(clone.path, ["none", "l2", "none+dropout"], 2, {"train.epochs": 4})
    assert [(trial.variant, trial.seed) for trial in planned] == [
        (variant, seed) for seed in (0, 1) for variant in ("none", "l2", "none+dropout")
    ]
    assert planned[2].overrides["regularize.dropout"] == 0.5
    changed = {key for key, value in planned[0].overrides.items() if planned[3].overrides[key] != value}
    assert changed == {"normalize.seed", "train.seed"}
    assert all(trial.overrides["train.epochs"] == 4 for trial in planned)


def test_what_a_variant_sets_is_said_in_words(clone: Clone) -> None:
    settings = {"train.epochs": 4}
    planned = plan.plan(clone.path, ["none", "less_capacity", "batch_norm", "l2_strength"], 1, settings)
    said = plan.describe_overrides(planned)
    assert said["none"] == ""
    assert said["less_capacity"] == "filters [8, 16, 32], dense_units 32"
    assert said["batch_norm"] == "batch_norm true"
    assert said["l2_strength=0.001"] == "l2 0.001"


def test_what_acts_on_nothing_is_not_said_and_the_title_asks_what_is_compared(clone: Clone) -> None:
    def planned(*variants: str) -> list[Trial]:
        return plan.plan(clone.path, list(variants), 1, {"normalize.train_images": 500, "train.precision": "float32"})

    clone.edit(study__variants__probe={"model.network": "efficientnet_lite0", "model.trainable": "head"})
    said = plan.describe_overrides(planned("less_capacity", "probe", "probe+batch_norm+dropout"))
    assert said["probe"] == "network efficientnet_lite0, trainable head"
    assert said["probe+batch_norm+dropout"] == said["probe"]
    gap = "What closes the gap between training and validation accuracy?"
    assert plan.question(planned("none", "less_capacity", "all")) == gap
    assert plan.question(planned("none", "all"), "f1_macro") == gap.replace("accuracy", "f1 macro")
    assert plan.question(planned("none", "probe", "l2")) == "What do probe, l2 change, compared with none?"
    assert plan.question(planned("l2_strength")) == "What do the values of regularize.l2 change?"


def test_more_training_images_than_there_are_is_an_error(clone: Clone) -> None:
    header = "file,label,split,group,sha256,bytes\n"
    rows = (f"{label}.png,{label},,,{label * 64},9\n" for label in "ab")
    (clone.path / "data/raw/manifest.csv").write_text(header + "".join(rows))
    rule = r"train_images must be at most 2, all .*; variant none has 500; add --set normalize\.train_images=null"
    with pytest.raises(ParameterError, match=rule):
        names(clone)
    assert names(clone, {**SMALL, "normalize.train_images": None})


def test_a_name_changes_with_parameters_and_code_and_with_nothing_else(clone: Clone) -> None:
    before = names(clone)
    assert names(clone, {**SMALL, "train.epochs": 3}) != before
    clone.edit(study__seeds=9)
    (clone.path / "README.md").write_text("other words")
    for drawn in ("tasks/reporting/figures.py", "tasks/report.py", "dvc.yaml"):  # but a command, which a trial runs
        (clone.path / drawn).open("a").write("# of no trial\n")
    clone.commit("words and figures")
    assert names(clone) == before
    network = clone.path / "tasks/models/network.py"
    network.write_text(network.read_text() + "# changed\n")
    assert names(clone) == before  # a run starts from HEAD
    clone.commit("code")
    after = names(clone)
    assert set(after).isdisjoint(before)
    with (clone.path / "requirements.lock").open("a") as file:
        file.write("# another version of Prefect\n")
    clone.commit("a library that decides nothing")
    assert names(clone) == after
    versions = clone.path / "libraries.yaml"
    versions.write_text(re.sub("keras: .*", 'keras: "4.0.0"', versions.read_text()))
    clone.commit("a library that decides")
    assert set(names(clone)).isdisjoint(after)


def test_a_corrected_label_changes_the_name(clone: Clone) -> None:
    before = names(clone)
    with (clone.path / "data/corrections.csv").open("a") as file:
        file.write("a" * 64 + ",x.png,cat,dog,relabel,me,\n")
    assert names(clone) == before  # a run starts from HEAD
    clone.commit("a corrected label")
    assert set(names(clone)).isdisjoint(before)


def test_a_variable_of_ones_own_counts_where_a_trial_uses_it(clone: Clone) -> None:
    graph, found = clone.path / "dvc.yaml", []
    for command, value in (("", 1), ("", 2), ("${own} ", 1), ("${own} ", 2)):
        text = graph.read_text().replace("vars:\n", f"vars:\n  - own: {value}\n")
        graph.write_text(text.replace("--raw data/raw --weights", f"{command}--raw data/raw --weights"))
        clone.commit("a variable")
        found.append(names(clone)[0])
        clone.run("git", "reset", "--quiet", "--hard", "HEAD~1")
    assert found[0] == found[1]
    assert len(set(found)) == 3


def test_a_run_names_the_precision_that_auto_stands_for_on_the_machine(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    auto = {**SMALL, "train.precision": "auto"}
    monkeypatch.setattr("flows.study.plan._host_precision", lambda device: {"auto": "mixed_bfloat16"}[device])
    assert {t.overrides["train.precision"] for t in plan.plan(clone.path, ["none"], 1, auto)} == {"mixed_bfloat16"}
    assert set(names(clone, auto)).isdisjoint(names(clone))
    monkeypatch.undo()
    monkeypatch.chdir(clone.path)
    (here,) = plan.plan(clone.path, ["none"], 1, auto)
    assert here.overrides["train.precision"] in {"float32", "mixed_bfloat16"}


def test_a_study_for_another_device_than_this_machine_has_says_what_to_add(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    def here(device: str) -> tuple[str, str]:
        raise RuntimeError(f"no {device}")

    monkeypatch.setattr("flows.host.capability.resolve_device", here)
    asked = {**SMALL, "train.precision": "auto", "train.device": "gpu"}
    with pytest.raises(ParameterError, match=r"device: gpu; add --set train\.precision=mixed_bfloat16, or float32"):
        plan.plan(clone.path, ["none"], 1, asked, are_fixed=True)
    (planned,) = plan.plan(clone.path, ["none"], 1, {**asked, "train.precision": "float32"}, are_fixed=True)
    assert planned.overrides["train.device"] == "gpu"


def test_a_run_on_many_machines_names_what_each_would_decide_for_itself(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.host.capability.resolve_device", lambda device: ("cpu", "mixed_bfloat16"))
    monkeypatch.setattr("flows.study.plan._host_threads", lambda: 3)
    auto = {**SMALL, "train.precision": "auto"}
    (here,) = plan.plan(clone.path, ["none"], 1, auto)
    assert not {"train.device", "train.threads"} & here.overrides.keys()
    (fixed,) = plan.plan(clone.path, ["none"], 1, auto, are_fixed=True)
    chosen = {"train.precision": "mixed_bfloat16", "train.device": "cpu", "train.threads": 3}
    assert fixed.overrides == {**here.overrides, **chosen}
    (same,) = plan.plan(clone.path, ["none"], 1, {**auto, **chosen})
    assert fixed.name == same.name
    (set_,) = plan.plan(clone.path, ["none"], 1, {**auto, "train.threads": 1}, are_fixed=True)
    assert set_.overrides["train.threads"] == 1


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ({"train.optimizer": "adam", "regularize.weight_decay": 0.1}, "weight_decay: must be 0 with .* adam"),
        ({"train.seed": 3}, r"train\.seed: is what a seed sets, so no variant can"),
    ],
)
def test_a_variant_that_breaks_a_rule_is_an_error(clone: Clone, variant: dict[str, Any], message: str) -> None:
    clone.edit(study__variants__bad=variant)
    with pytest.raises(ParameterError, match=message):
        plan.plan(clone.path, ["none", "bad"], 1, {})


def test_jobs_are_the_workers_own_on_many_machines() -> None:
    with pytest.raises(ParameterError, match=r"jobs must be left out on machines, .* received 2"):
        plan.prepare(None, None, None, jobs=2, name=None, on="machines")


def test_variants_that_are_judged_by_two_scores_are_refused(clone: Clone) -> None:
    clone.edit(study__variants__fair={"evaluate.headline": "f1_macro"})
    with pytest.raises(ParameterError, match=r"one evaluate\.headline; received accuracy of none and f1_macro of fair"):
        plan.plan(clone.path, ["none", "fair"], 1, SMALL)
    assert len(plan.plan(clone.path, ["none", "l2"], 1, {**SMALL, "evaluate.headline": "f1_macro"})) == 2
