"""Groups that folders or a pattern name, and those that hold more than their share."""

import numpy as np
import pytest

from tasks.data.groups import describe_large_groups, name_groups

FILES = [
    "healthy/patient 4/1.jpg",
    "ill/patient 4/left/1.jpg",
    "train/ill/patient_17/2.jpg",
    "ill/3.jpg",
    "scans/patient 9/4.jpg",
]
LABELS = ["healthy", "ill", "ill", "ill", "ill"]


@pytest.mark.parametrize(
    ("rule", "names"),
    [
        ("folder", ["patient 4", "patient 4/left", "patient_17", "", "scans/patient 9"]),
        (r".*?(?:patient.(\d+))|(.+)", ["4", "4", "17", "ill/3.jpg", "9"]),
        (r"^(?:train/)?(\w+)/(?:patient.(\d+))?", ["healthy/4", "ill/4", "ill/17", "ill", "scans/9"]),
    ],
)
def test_a_rule_names_the_group_of_each_file(rule: str, names: list[str]) -> None:
    assert name_groups(FILES, LABELS, rule) == names


@pytest.mark.parametrize(("rule", "missed"), [(r"patient.(\d+)", "1 of 5: ill/3.jpg"), (r"patient (\d*)", "2 of 5: t")])
def test_files_in_which_a_pattern_finds_no_group_are_named(rule: str, missed: str) -> None:
    with pytest.raises(ValueError, match=r"`\.\*\?.*` leaves such files on their own") as caught:
        name_groups(FILES, LABELS, rule)
    assert missed in str(caught.value)
    advised = str(caught.value).split("`")[1]
    assert name_groups(FILES, LABELS, advised)[2:4] == [FILES[2] if "*" in rule else "17", FILES[3]]


def test_a_group_that_holds_more_than_its_share_is_described() -> None:
    names = ["unknown"] * 4 + ["plant 1", "plant 2"] + [""] * 10
    groups = np.array([0, 0, 0, 0, 1, 1, *[2] * 4, *range(3, 9)])
    split_of = np.array(["train"] * 4 + ["test"] * 12)
    assert describe_large_groups(names, groups, split_of, 0.1) == [
        "unknown: 4 of 16 images, all train",
        "plant 1 with 1 others through copies: 2 of 16 images, all test",
    ]
    assert describe_large_groups(names, groups, split_of, 0.25) == []
