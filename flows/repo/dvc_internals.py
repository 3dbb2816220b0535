"""What flows use of DVC beyond its commands, in one place.

DVC promises none of it. INTERFACES says what each is for; tests/flows/repo/test_dvc_internals.py names what an
installed release lacks.
"""

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tasks.check_images import check_images
from tasks.params import ParameterError

# Module, and name in it → what no command of DVC gives.
INTERFACES = {
    "dvc.repo:lock_repo": "keeps other DVC processes away while a result is judged and recorded",
    "dvc.repo.stage:StageLoad.collect": "the stages of dvc.yaml, with its variables filled in",
    "dvc.repo.index:Index.graph": "the order of stages, those of people's own among them",
    "dvc.stage:PipelineStage.status": "reasons, where `dvc status` gives them without values",
    "dvc.stage:PipelineStage.save": "digests of now, before they are written anywhere",
    "dvc.stage:PipelineStage.commit": "outputs into the cache, with the workspace left alone",
    "dvc.stage:PipelineStage.dump": "an entry of dvc.lock: `dvc commit --force` writes without a look at it",
    "dvc.stage.cache:StageCache.save": "an entry of the run cache, by which other clones know the result",
    "dvc.stage.serialize:to_single_stage_lockfile": "the entry of dvc.lock that is about to be written",
    "dvc.schema:COMPILED_LOCKFILE_SCHEMA": "whether a dvc.lock is whole, where DVC itself refuses to start",
    "dvc.dependency.param:ParamsDependency.read_params": "values of now, with those that are gone",
    "dvc.ignore:DvcIgnoreFilter.is_ignored_file": "whether a file of an earlier commit counts",
    "dvc_data.hashfile.build:build": "the list of a folder's files, without storing it",
    "dvc_data.hashfile.tree:Tree.from_list": "that list as DVC writes and hashes it",
    "dvc_data.hashfile.db:HashFileDB.oid_to_path": "an object of a remote, without its commit",
}

one_repo_at_a_time = threading.Lock()  # DVC keeps process-wide state


@contextmanager
def locked_repo(root: Path) -> Iterator[Any]:
    """Open a DVC repository and hold its lock, or raise LockError."""
    from dvc.repo import Repo, lock_repo

    check_images(root)
    logging.getLogger("dvc").setLevel(logging.WARNING)  # none that says which lock it writes
    with one_repo_at_a_time, Repo(str(root)) as repo, lock_repo(repo):
        yield repo


def load_stages(repo: Any, names: Iterable[str] = ()) -> dict[str, Any]:
    """Load all stages of dvc.yaml by name; refuse unknown `names`."""
    stages: dict[str, Any] = {stage.name: stage for stage in repo.stage.collect(str(Path(repo.root_dir) / "dvc.yaml"))}
    if unknown := [name for name in names if name not in stages]:
        raise ParameterError(f"STAGE must be one of {', '.join(stages)}; received {unknown[0]}")
    return stages


def order_stages(repo: Any) -> dict[str, list[str]]:
    """List stages in running order, each with those that it reads."""
    graph, stages = repo.index.graph, load_stages(repo)
    reads = {name: [read.name for read in graph[stage] if read in stages.values()] for name, stage in stages.items()}
    return {name: reads[name] for name in TopologicalSorter(reads).static_order()}


def stages_of(root: Path) -> dict[str, list[str]]:
    """Open a repository for `order_stages`, or raise LockError."""
    with locked_repo(root) as repo:
        return order_stages(repo)


def files_in_git(root: Path) -> list[str]:
    """List the outputs that dvc.yaml leaves to git, its variables filled in."""
    with locked_repo(root) as repo:
        return [out.def_path for stage in load_stages(repo).values() for out in stage.outs if not out.use_cache]


def locked_entry(stage: Any) -> Any:
    """Return what dvc.lock has of a stage; None before its first run."""
    return (stage.dvcfile.lockfile_contents.get("stages") or {}).get(stage.name)


def entry_of_now(stage: Any) -> dict[str, Any]:
    """Hash a stage's files, and return its entry for dvc.lock."""
    from dvc.stage.serialize import to_single_stage_lockfile

    stage.save(run_cache=False)  # digests of now, in memory
    return dict(to_single_stage_lockfile(stage))


def record(stage: Any) -> None:
    """Write a stage's entry to dvc.lock and the run cache."""
    stage.repo.stage_cache.save(stage)
    stage.commit(relink=False)  # the cache may lack an output; the workspace is left alone
    stage.dump(update_pipeline=False)


def counts(dependency: Any, path: str) -> bool:
    """Return whether .dvcignore lets a file of a dependency count."""
    inner = path.removeprefix(dependency.def_path).lstrip("/")
    return not dependency.dvcignore.is_ignored_file(str(Path(dependency.fs_path, inner)), ignore_subrepos=False)


def list_of_files(digests: Mapping[str, str]) -> bytes:
    """Return a folder's list of files as DVC stores and hashes it."""
    from dvc_data.hashfile.tree import Tree

    return bytes(Tree.from_list([{"md5": digests[path], "relpath": path} for path in digests], "md5").as_bytes())


def folder_digests(entry: Any) -> tuple[dict[str, str], dict[str, str]]:
    """Return a folder's digests before and now; empty for a file."""
    from dvc_data.hashfile.build import build
    from dvc_data.hashfile.tree import Tree

    before = entry.get_obj() if entry.exists else None
    if not isinstance(before, Tree) or not Path(entry.fs_path).is_dir():
        return {}, {}
    now: Any = build(entry.cache, entry.fs_path, entry.fs, entry.hash_name, ignore=entry.dvcignore, dry_run=True)[-1]
    old, new = ({"/".join(key): digest.value for key, _, digest in tree} for tree in (before, now))
    return old, new


def stored_object(root: Path, digest: str) -> bytes | None:
    """Read an object from DVC's cache or remote, or raise OSError.

    DVC does not look up the commit: its own git would wait for ever for what a partial clone lacks.
    """
    from dvc.config import NoRemoteError
    from dvc.repo import Repo

    with Repo(str(root)) as repo:
        for storage in (lambda: repo.cache.local, repo.cloud.get_remote_odb):
            try:
                odb = storage()
                with odb.fs.open(odb.oid_to_path(digest), "rb") as file:
                    return bytes(file.read())
            except (FileNotFoundError, NoRemoteError):
                continue
            except Exception as error:  # whatever a remote's own library raises: of credentials, of the network
                raise OSError(str(error)) from error
    return None


def parse_lock(content: bytes) -> Any:
    """Parse a dvc.lock; None for one that DVC would not read."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    try:
        return COMPILED_LOCKFILE_SCHEMA(YAML(typ="safe").load(content))
    except (Invalid, YAMLError, ValueError):
        return None
