"""The register of released models: GTO's tags.

They are made in a clone of this repository that nobody else sees, and pushed together: a kill releases nothing, and
leaves nothing behind.
"""

import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from flows.repo.git import committer, git, repository
from flows.repo.remotes import NO_PROMPT, fetch_references, find_git_remote, list_references
from tasks.params import ParameterError

ARTIFACT = "classifier"  # in dvc.yaml


class Version(NamedTuple):
    """A released version of the model."""

    name: str  # such as v1.2.0
    commit: str
    stages: tuple[str, ...]  # those that it is in now, such as prod


class Registry(NamedTuple):
    """The released versions, in a clone of the repository."""

    root: Path
    clone: Path
    name: str  # of the artifact; with its folder, where the project is a part of a repository

    @property
    def versions(self) -> list[Version]:
        """List the versions, the highest first."""
        from gto.constants import VersionSort

        with self._open() as gto:
            found = gto.find_artifact(self.name, create_new=True)
        here = found.get_vstages(versions_per_stage=1, sort=VersionSort.Timestamp)
        stages = {stage: events[0].version for stage, events in here.items()}
        return [
            Version(row.version, row.commit_hexsha, tuple(s for s, version in stages.items() if version == row.version))
            for row in found.get_versions()
        ]

    def tag(self, version: str) -> str:
        """Name the tag of a version."""
        return f"{self.name.replace(':', '=')}@{version}"

    def publish(self, commit: str, version: str, stage: str | None, message: str) -> None:
        """Register a version, unless it exists, assign its stage, and push both.

        Raises
        ------
        GitError
            If the remote refuses; then nothing is released.
        """
        from gto.exceptions import GTOException

        before = set(git(self.clone, "tag").split())
        try:
            with self._open() as gto:
                if gto.find_artifact(self.name, create_new=True).find_version(name=version) is None:
                    gto.register(self.name, commit, version=version, message=message, simple=True)
                if stage is not None:
                    gto.assign(self.name, stage, version=version, message=message)
        except GTOException as error:
            raise ParameterError(f"{error} (version {version}, stage {stage or 'none'})") from error
        tags = sorted(set(git(self.clone, "tag").split()) - before)
        if kept := [tag for tag in tags if git(self.root, "tag", "--list", tag)]:
            rule = f"a tag of a release must be new; this clone has {kept[0]}"
            raise ParameterError(f"{rule}; `git tag --delete '{kept[0]}'`, or push it")
        git(self.root, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", str(self.clone), *map(_full, tags))
        pushed = (f"{git(self.clone, 'rev-parse', _full(tag)).strip()}:{_full(tag)}" for tag in tags)
        git(self.root, "push", "--quiet", "--atomic", find_git_remote(self.root), *pushed, variables=NO_PROMPT)
        fetch_references(self.root, *(f"{_full(tag)}:{_full(tag)}" for tag in tags))

    def _open(self) -> AbstractContextManager[Any]:
        from gto.registry import GitRegistry

        opened: AbstractContextManager[Any] = GitRegistry.from_url(str(self.clone))
        return opened


@contextmanager
def open_registry(root: Path) -> Iterator[Registry]:
    """Open the register of the releases that the git remote has."""
    remote, folder = find_git_remote(root), repository(root).project
    git(root, "fetch", "--quiet", remote, variables=NO_PROMPT)
    name = ARTIFACT if folder == Path() else f"{folder.as_posix()}:{ARTIFACT}"
    listed = list_references(root, f"refs/tags/{name.replace(':', '=')}*")
    released = {ref: made for ref, made in listed if not ref.endswith("^{}")}  # which is the commit of the tag before
    if released:
        fetch_references(root, *released)
    with tempfile.TemporaryDirectory() as temporary:
        git(root, "clone", "--quiet", "--shared", "--no-checkout", "--no-tags", str(repository(root).top), temporary)
        created = "".join(f"create {ref} {made}\n" for ref, made in released.items())
        git(Path(temporary), "update-ref", "--stdin", given=created.encode())
        for key, value in zip(("user.name", "user.email"), committer(root), strict=True):
            git(Path(temporary), "config", key, value)
        yield Registry(root, Path(temporary), name)


def _full(tag: str) -> str:
    return f"refs/tags/{tag}"
