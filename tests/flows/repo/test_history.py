"""Earlier versions of files and folders."""

from pathlib import Path

from flows.repo.history import listing, past_listings, read_files
from tests.support.toy_pipeline import commit, git


def test_every_version_is_found_in_a_project_below_the_top_of_its_repository(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    root = tmp_path / "some/project"
    (root / "tasks/models/inner").mkdir(parents=True)
    (root / "tasks/models/inner/b é.py").write_text("b = 1\n")
    versions = [b"", b"a = 1\n", b"a = 2\n", b"a = 3\n"]
    for number, content in enumerate(versions):
        (root / "tasks/models/a.py").write_bytes(content)
        git(tmp_path, "add", "--all")
        if number == 2:  # the version before it is in the reflog alone
            git(tmp_path, "commit", "--quiet", "--amend", "--message", "amended")
        else:
            commit(tmp_path, str(number))
    found = [read_files(root, files) for files in past_listings(root, "tasks/models")]
    assert sorted(files["tasks/models/a.py"] for files in found) == versions
    assert {files["tasks/models/inner/b é.py"] for files in found} == {b"b = 1\n"}
    assert [read_files(root, files) for files in past_listings(root, "tasks/models/a.py")] == [
        {"tasks/models/a.py": files["tasks/models/a.py"]} for files in found
    ]
    assert listing(root, "HEAD", "tasks/nothing") == {}
    assert list(past_listings(root, "tasks/nothing")) == []
