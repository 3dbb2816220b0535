"""The next version: what the gate says of two commits."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.release.candidate import Candidate, RefusedReleaseError, choose_version
from flows.release.registry import Version
from flows.results.sides import IncomparableError
from tasks.params.gate import DEFAULT
from tests.support import two_sides
from tests.support.clone import enter_copy

N = 2_000
LABELS = np.arange(N) % 4


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("released") / "repository"
    two_sides.begin(path)
    two_sides.write(path, range(300), LABELS)
    two_sides.commit(path)
    return path


@pytest.fixture(autouse=True)
def repository(first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return enter_copy(first, tmp_path / "repository", monkeypatch)


def choose(*versions: Version, wrong: range = range(300), base: str | None = None, **keys: Any) -> Candidate:
    """Choose the version of a commit with so many wrong predictions."""
    two_sides.write(Path(), wrong, LABELS, **keys)
    return choose_version(Path(), [*versions], "a" * 40, base, DEFAULT)


def released(repository: Path, name: str = "v1.2.3") -> Version:
    head = two_sides.commit_to_git(repository, "--all")
    return Version(name, head, ())


def test_the_first_release_is_compared_with_none() -> None:
    assert choose()[1:] == ("v1.0.0", True, "the first release, compared with none")


def test_a_real_difference_is_a_minor_version_and_noise_a_patch(repository: Path) -> None:
    last = released(repository)
    better = choose(last, wrong=range(200))
    assert better.version == "v1.3.0"
    assert "test accuracy rose by 5.00 points, from 85.00 to 90.00 %: real" in better.sentence
    assert choose(last, wrong=range(1, 300)).version == "v1.2.4"


def test_a_fall_that_is_real_is_refused(repository: Path) -> None:
    with pytest.raises(RefusedReleaseError, match=r"must pass against v1.2.3: regression: test accuracy fell by 5"):
        choose(released(repository), wrong=range(400))


def test_other_classes_are_a_major_version_and_not_compared(repository: Path) -> None:
    found = choose(released(repository), classes=["a, b", 'c "d"', "e\nf", "<b>"])
    assert found.version == "v2.0.0"
    assert found.sentence == "4 classes, others than those of v1.2.3, so that nothing is compared"


def test_a_commit_is_released_once(repository: Path) -> None:
    last = Version("v1.2.3", "a" * 40, ("prod",))
    assert choose(last)[1:3] == ("v1.2.3", False)


def test_another_base_is_compared_with_and_must_exist(repository: Path) -> None:
    last = released(repository)
    assert choose(last, wrong=range(200), base="HEAD").sentence.endswith(", compared with HEAD")
    with pytest.raises(IncomparableError, match="--base must be a commit of this repository; received nowhere"):
        choose(last, base="nowhere")
