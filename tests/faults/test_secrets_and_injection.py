"""Secrets stay where they were put, names are data, and the server is local."""

import json
import secrets
import shutil
import socket
import sys
from pathlib import Path

import psutil
import pytest
from tenacity import wait_none

from flows.runs import experiments
from flows.runs.experiments import name_of
from tasks.download import download
from tasks.fetch import transfer
from tasks.params import ParameterError
from tasks.params.document import load_params
from tasks.run.metadata import RUN_INFO
from tests.support import ROOT, scripted
from tests.support.clone import Clone
from tests.support.parameters import edit
from tests.support.raw import write_checksums
from tests.support.serving import serving

SECRET = secrets.token_hex(16)  # a new one, so that no file of the repository holds it


@pytest.mark.parametrize("run", ["../../etc", "x; touch ran", "$(touch ran)", "--force", "", "ünï\n\x00", "a" * 300])
def test_an_experiment_is_named_with_letters_digits_and_hyphens(run: str) -> None:
    name = name_of(run, {"train.optimizer": "$(touch ran)"})
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")
    assert name[0] != "-"
    assert len(name) < 100


@pytest.mark.usefixtures("cache_home")
def test_a_token_in_an_address_is_neither_printed_nor_recorded(
    workplace: Path,
    archive: Path,
    digests: dict[str, str],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transfer, "_backoff", wait_none())
    script = [scripted.status(503), scripted.cut(1_000_000)]
    with scripted.serving(archive.read_bytes(), *script) as server:
        source = {"url": f"{server.url}?token={SECRET}"}
        edit(workplace / "params.yaml", download__sources=[source])
        info = download(images=write_checksums(workplace / "cifar10.sha256", digests), raw=Path("data/raw"))
        assert SECRET in server.requested[0][0]
    output = "".join(capfd.readouterr())
    assert server.url in output
    assert SECRET not in output + json.dumps(info)
    assert not RUN_INFO.exists()


def test_a_token_in_a_refused_address_is_not_shown(workplace: Path) -> None:
    edit(workplace / "params.yaml", download__sources=[{"url": f"http://mirror.invalid/a.tar.gz?token={SECRET}"}])
    with pytest.raises(ParameterError, match=r"received 'http://mirror\.invalid/a\.tar\.gz'") as caught:
        load_params(workplace / "params.yaml")
    assert SECRET not in str(caught.value)


def test_a_remotes_password_is_in_no_experiment(tmp_path: Path) -> None:
    """An isolated run gets the settings of the workspace; its experiment must not."""
    clone = Clone(tmp_path / "clone")
    clone.path.mkdir()
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, clone.path)
    clone.run("git", "init", "--quiet")
    clone.run("dvc", "init", "--quiet")
    clone.commit("start")
    add_remote_with_password(clone)
    with experiments.isolated_worktree(clone.path, {"train.epochs": 1}, "run") as checkout:
        assert SECRET in "".join(path.read_text() for path in (checkout / ".dvc").glob("config*"))
        experiments.save(checkout, "run")
    assert_no_experiment_has_it(clone)


def add_remote_with_password(clone: Clone) -> None:
    clone.run("dvc", "remote", "add", "--local", "safe", "webdavs://nowhere.invalid/store")
    clone.run("dvc", "remote", "modify", "--local", "safe", "password", SECRET)


def assert_no_experiment_has_it(clone: Clone) -> None:
    refs = clone.run("git", "for-each-ref", "--format=%(refname)", "refs/exps").split()
    assert refs
    for ref in refs:
        assert clone.run("git", "grep", SECRET, ref, status=1) == ""


@pytest.mark.slow
def test_a_remotes_password_is_in_no_log_no_artifact_and_no_experiment(clone: Clone) -> None:
    add_remote_with_password(clone)
    run = "from flows.pipeline.flow import pipeline; pipeline(overrides={'evaluate.batch_size': 500})"
    assert "kept as a DVC experiment" in (said := clone.run(sys.executable, "-c", run))
    assert SECRET not in said
    assert_no_experiment_has_it(clone)
    holders = [
        path.relative_to(clone.path)
        for path in clone.path.rglob("*")
        if path.is_file() and path.stat().st_size < 50_000_000 and SECRET.encode() in path.read_bytes()
    ]
    assert holders == [Path(".dvc/config.local")]


def listening(port: int | None) -> set[str]:
    """Return the addresses on which a program of this machine listens at a port."""
    addresses = [c.laddr for c in psutil.net_connections("tcp") if c.status == "LISTEN" and c.laddr]
    return {address.ip for address in addresses if address.port == port}


def test_a_server_for_the_whole_network_would_be_seen() -> None:
    with socket.create_server(("0.0.0.0", 0)) as public:
        assert listening(public.getsockname()[1]) == {"0.0.0.0"}


@pytest.mark.slow
def test_the_server_listens_on_this_machine_only(clone: Clone) -> None:
    with serving(clone) as prefect:
        assert listening(prefect.api.base_url.port) == {"127.0.0.1"}
