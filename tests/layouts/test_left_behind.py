"""What systems leave in people's folders: one list, in .dvcignore, for DVC and for stage download."""

from pathlib import Path

import pytest
from dvc.ignore import DvcIgnoreFilter
from dvc.repo import Repo

from tasks.download import download
from tasks.layouts import rules
from tests.support import ROOT
from tests.support.own_images import FLOWERS, photo, write_files

LEFT = (
    *(".DS_Store", "._0.png", "Icon\r", "__MACOSX", "Thumbs.db", "thumbs.db", "ehthumbs_vista.db", "desktop.ini"),
    *("Desktop.ini", "$RECYCLE.BIN", "System Volume Information", "0.png:Zone.Identifier", "~$list.docx", "lost+found"),
    *(".Trash-1000", ".nfs0000012", "@eaDir", "#recycle", "#snapshot", "@Recycle", ".dropbox", ".git", ".stversions"),
    *(".ipynb_checkpoints", ".~lock.a.ods#", "0.png:com.apple.quarantine", "Temporary Items", "1.jpg@SynoEAStream"),
)
UNFINISHED = ("0.png.crdownload", "0.png.part", "0.png.tmp", ".0.png.icloud", ".0.png.Ab3dEf", "~syncthing~0.png.tmp")
READ = ("rose", "Icons", "0.png", "recycle", "parts", "0.part.png", "a (conflicted copy).png", "a$b.png", "#1.png")


@pytest.fixture(scope="module")
def ignored() -> DvcIgnoreFilter:
    with Repo(str(ROOT)) as repo:
        return repo.dvcignore


@pytest.mark.parametrize("name", [*LEFT, *UNFINISHED, *READ])
@pytest.mark.parametrize("folder", ["data/images", "data/images/rose", "photos"])
def test_dvc_and_download_pass_over_the_same_names(ignored: DvcIgnoreFilter, folder: str, name: str) -> None:
    path = str(ROOT / folder / name)
    assert ignored.is_ignored_file(path) == ignored.is_ignored_dir(path) == rules.is_left_by_a_system(f"rose/{name}")
    assert rules.is_left_by_a_system(name) == (name not in READ)


def test_dvc_sees_every_file_of_the_project(ignored: DvcIgnoreFilter) -> None:
    outputs = ("data/raw/images-0.zip", "data/normalized/x.npy", "models/classifier.keras", "reports/evaluation/a.csv")
    assert not [path for path in (*outputs, "tasks/data/images.py") if ignored.is_ignored_file(str(ROOT / path))]


def test_what_is_passed_over_is_named_and_unfinished_downloads_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left = {f"rose/{name}": photo(99) for name in (*LEFT, *UNFINISHED)}
    download(images=write_files(tmp_path / "flowers", FLOWERS | left), raw=tmp_path / "raw")
    said = capsys.readouterr().out
    names = ", ".join(sorted(f"rose/{name}" for name in UNFINISHED))
    assert f"passed over unfinished downloads and what systems leave behind: {names}, " in said
    assert f"({len(left)} in all)" in said
    assert "download: 12 images of 2 classes" in said
