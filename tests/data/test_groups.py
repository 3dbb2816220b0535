"""Groups that folders or a pattern name."""

import pytest

from tasks.data.groups import name_groups

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
