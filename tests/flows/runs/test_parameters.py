"""Settings in params.yaml: what is written, and what a variant of the study sets."""

import difflib
import re

import pytest

from flows.runs.parameters import variant_settings, write_settings
from tasks.params import ParameterError, parse, parse_text
from tests.support import ROOT

TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")
CONTENT = parse(ROOT / "params.yaml")


def test_only_the_lines_of_the_keys_change_and_comments_stay() -> None:
    """So that `dvc exp apply` and a diff show parameters alone."""
    assert write_settings(TEXT, {}) == TEXT
    settings = {"normalize.size": 96, "normalize.classes": ["1", "a, b"], "model.filters": [8, 16], "train.epochs": 3}
    changed = list(difflib.ndiff(TEXT.splitlines(), write_settings(TEXT, settings).splitlines()))
    added = [line[2:].partition("#") for line in changed if line.startswith("+ ")]
    assert [line.strip() for line, _, _ in added] == ["size: 96", "classes: ['1', 'a, b']", "filters: [8, 16]"]
    removed = [line[2:].partition("#") for line in changed if line.startswith("- ")]
    assert [comment for *_, comment in added] == [comment for *_, comment in removed]
    assert parse_text(write_settings(TEXT, settings), "")["normalize"]["classes"] == ["1", "a, b"]


def test_a_list_with_a_line_for_each_item_is_replaced_and_what_follows_stays() -> None:
    text = re.sub(r"  filters: \[.+\] (#.+)", r"  filters: \1\n  - 8\n  - 16", TEXT)
    before = parse_text(text, "")
    assert before["model"]["filters"] == [8, 16]
    after = parse_text(write_settings(text, {"model.filters": [4, 4, 4]}), "")
    assert after == {**before, "model": {**before["model"], "filters": [4, 4, 4]}}


def test_a_variant_is_the_base_and_its_differences_on_all_images() -> None:
    study = CONTENT["study"]
    settings = variant_settings(CONTENT, "fine_tune")
    assert settings == {**study["base"], **study["variants"]["fine_tune"], "normalize.train_images": None}
    assert variant_settings(CONTENT, "fine_tune=1000") == settings
    assert variant_settings(CONTENT, "dropout")["normalize.train_images"] is None
    assert variant_settings(CONTENT, "l2+dropout")["regularize.l2"] == 0.001
    assert variant_settings(CONTENT, "l2_strength=0.003")["regularize.l2"] == 0.003


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ("l2_strength", "variant must be l2_strength=0.0 or .*; received l2_strength$"),
        ("l2_strength=7", "variant must be l2_strength=0.0 or .*; received l2_strength=7$"),
        ("dropout=7", "variant must be dropout; received dropout=7"),
        ("fine_tun", "fine_tun: is no variant; did you mean fine_tune?"),
    ],
)
def test_a_variant_that_is_not_there_or_has_many_values_is_refused(variant: str, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        variant_settings(CONTENT, variant)
