"""Outputs appear whole under their names, or not at all."""

from pathlib import Path

import pytest

from tasks.run.outputs import atomic_outputs


@pytest.mark.parametrize("is_folder", [True, False])
def test_outputs_appear_when_the_block_ends_well_and_only_then(tmp_path: Path, is_folder: bool) -> None:
    outputs = tmp_path / "one", tmp_path / "new/other"

    def write(path: Path, text: str) -> None:
        if is_folder:
            path.mkdir()
        (path / "file" if is_folder else path).write_text(text)

    for text in ("first", "second"):
        with atomic_outputs(*outputs) as names:
            for path in names:
                write(path, text)
        assert [(path / "file" if is_folder else path).read_text() for path in outputs] == [text, text]
    (tmp_path / ".part-one").write_text("of a killed step")

    def fill_the_disk() -> None:
        with atomic_outputs(*outputs) as names:
            write(names[0], "third")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space") as full:
        fill_the_disk()
    assert full.value.filename == str(outputs[0])
    assert [(path / "file" if is_folder else path).read_text() for path in outputs] == ["second", "second"]
    assert {path.name for path in (*tmp_path.iterdir(), *(tmp_path / "new").iterdir())} == {"one", "new", "other"}
