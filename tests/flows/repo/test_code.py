"""Earlier versions of code, and the digests that DVC gives them."""

from copy import copy
from pathlib import Path

from flows.repo import code, dvc_internals
from tests.support.toy_pipeline import commit, git


def test_every_version_is_found_in_a_project_below_the_top_of_its_repository(tmp_path: Path) -> None:
    from dvc.repo import Repo

    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    root = tmp_path / "some/project"
    (root / "tasks/models/inner").mkdir(parents=True)
    (root / "tasks/models/inner/b é.py").write_text("b = 1\n")
    (root / "dvc.yaml").write_text("stages: {it: {cmd: 'true', deps: [tasks/models, tasks/models/a.py]}}\n")
    versions = [b"a = 0\n", b"a = 1\n", b"a = 2\n", b"a = 3\n"]
    with Repo.init(str(root), no_scm=True) as repo:
        found = []
        folder, file = dvc_internals.load_stages(repo)["it"].deps
        for number, content in enumerate(versions):
            (root / "tasks/models/a.py").write_bytes(content)
            folder.save()
            file.save()
            found.append((copy(folder), copy(file)))
            git(tmp_path, "add", "--all")
            if number == 2:  # the version before it is in the reflog alone
                git(tmp_path, "commit", "--quiet", "--amend", "--message", "amended")
            else:
                commit(tmp_path, str(number))
        for content, (folder, file) in zip(versions, found, strict=True):
            expected = {"tasks/models/a.py": content, "tasks/models/inner/b é.py": b"b = 1\n"}
            assert code.recorded_files(root, folder) == expected
            assert code.recorded_files(root, file) == {"tasks/models/a.py": content}
        (root / "tasks/models/a.py").write_text("never committed")
        file.save()
        assert code.recorded_files(root, file) is None
        assert code.recorded_files(root, file, since="HEAD") == {"tasks/models/a.py": versions[-1]}


def test_the_digest_of_a_folder_is_that_of_dvc(tmp_path: Path) -> None:
    from dvc.repo import Repo

    files = {"tasks/b.py": b"b = 1\n", "tasks/inner/a.py": b"", "tasks/a é.html": b"<p>"}
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "tasks/note.txt").write_text("not of it")
    (tmp_path / ".dvcignore").write_text("*.txt\n")
    (tmp_path / "dvc.yaml").write_text("stages: {it: {cmd: 'true', deps: [tasks]}}\n")
    with Repo.init(str(tmp_path), no_scm=True) as repo:
        stage = dvc_internals.load_stages(repo)["it"]
        entry = dvc_internals.entry_of_now(stage)
        (dependency,) = stage.deps
        assert code.current_files(dependency) == files
    (recorded,) = entry["deps"]
    assert recorded["md5"] == code.digest("tasks", files)
    assert (recorded["nfiles"], recorded["size"]) == (3, 9)
    assert code.digest("tasks/b.py", {"tasks/b.py": b"b = 1\n"}) == code.md5(b"b = 1\n")
