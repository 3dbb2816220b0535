"""Servers that break off, stall, refuse, lie or never end: the right bytes or nothing, and no byte is sent twice."""

import functools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import httpx
import numpy as np
import pytest
from tenacity import wait_none

from tasks.fetch import transfer as module
from tasks.fetch.transfer import InterruptedTransferError, SourceError, UnreachableError, transfer
from tests.support import scripted
from tests.support.full_disk import largest_file
from tests.support.scripted import Answer, Scripted, body, cut, endless, stalled, status, whole

CONTENT = np.random.default_rng(0).bytes(3_000_000)
OTHER = np.random.default_rng(1).bytes(3_000_000)


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause between tries, unless the server asks for one."""
    monkeypatch.setattr(module, "_backoff", wait_none())
    monkeypatch.setattr(module, "READ_TIMEOUT", 0.5)


@pytest.fixture
def partial(tmp_path: Path) -> Path:
    return tmp_path / "a.tar.gz.part"


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted.serving(CONTENT) as made:
        yield made


@pytest.mark.parametrize("n", [1, 1_000_000, 2_999_999])
def test_a_cut_connection_resumes_where_it_broke_off(server: Scripted, partial: Path, n: int) -> None:
    server.script = [cut(n)]
    transfer(server.url, partial)
    assert partial.read_bytes() == CONTENT
    assert server.ranges() == [None, f"bytes={n}-"]
    assert server.requested[1][1]["If-Range"] == server.tag


def test_a_plain_request_would_have_lost_what_came(server: Scripted) -> None:
    server.script = [cut(1_000_000)]
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(server.url)


def test_the_next_run_resumes_too(server: Scripted, partial: Path) -> None:
    server.script = [cut(500_000), *[status(503)] * 3]
    with pytest.raises(InterruptedTransferError, match="server answered 503 Service Unavailable"):
        transfer(server.url, partial)
    assert partial.read_bytes() == CONTENT[:500_000]
    transfer(server.url, partial)
    assert partial.read_bytes() == CONTENT
    assert server.ranges()[-1] == "bytes=500000-"
    assert [path.name for path in partial.parent.iterdir()] == [partial.name]


@pytest.mark.parametrize(
    ("script", "ranges"),
    [
        pytest.param([cut(9), body(CONTENT)], [None, "bytes=9-"], id="it ignores the range"),
        pytest.param([cut(9, '"another"', OTHER), whole], [None, "bytes=9-"], id="the content has changed"),
        pytest.param([cut(9, 'W/"weak"', OTHER), whole], [None, None], id="a weak tag joins no parts"),
        pytest.param([cut(9), status(416)], [None, "bytes=9-", None], id="it has no such part"),
        pytest.param([status(416)], [None, None], id="no part was requested"),
        pytest.param(
            [cut(9), lambda request: request.send(206, b"x", Content_Range="bytes 5-5/3000000", ETag='"one"')],
            [None, "bytes=9-", None],
            id="it sends another part",
        ),
    ],
)
def test_it_starts_over_where_the_rest_would_not_fit(
    server: Scripted, partial: Path, script: list[Answer], ranges: list[str | None]
) -> None:
    server.script = script
    transfer(server.url, partial)
    assert partial.read_bytes() == CONTENT
    assert server.ranges() == ranges


def test_a_file_that_is_whole_is_not_sent_again(server: Scripted, partial: Path) -> None:
    """The run was killed between the last byte and the check."""
    partial.write_bytes(CONTENT)
    partial.with_name(f"{partial.name}.validator").write_text(server.tag)
    transfer(server.url, partial)
    assert partial.read_bytes() == CONTENT
    assert server.ranges() == ["bytes=3000000-"]


def test_a_stalled_server_is_left_and_what_came_is_kept(server: Scripted, partial: Path) -> None:
    server.script = [stalled(1_000_000)]
    transfer(server.url, partial)
    assert not server.outwaited
    assert partial.read_bytes() == CONTENT
    assert server.ranges() == [None, "bytes=1000000-"]


def test_a_dripping_server_is_left_after_its_deadline(
    server: Scripted, partial: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOTAL_TIMEOUT", 0.0)
    server.script = [endless] * 4
    with pytest.raises(UnreachableError, match="took more than 0 s"):
        transfer(server.url, partial)
    assert server.ranges() == [None]  # the next source may be faster


@pytest.mark.parametrize(("code", "form"), [(429, "seconds"), (503, "date")])
def test_retry_after_is_waited_for(
    server: Scripted, partial: Path, monkeypatch: pytest.MonkeyPatch, code: int, form: str
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(transfer.retry, "sleep", slept.append)
    asked = "1" if form == "seconds" else format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    server.script = [status(code, Retry_After=asked)]
    transfer(server.url, partial)
    (seconds,) = slept
    assert 0.9 < seconds <= 2
    assert partial.read_bytes() == CONTENT


def test_a_long_retry_after_is_left_to_a_later_run(server: Scripted, partial: Path) -> None:
    server.script = [status(503, Retry_After="3600")]
    with pytest.raises(UnreachableError, match="asks to come back in 3,600 s"):
        transfer(server.url, partial)
    assert len(server.requested) == 1


def test_a_missing_file_is_requested_once(server: Scripted, partial: Path) -> None:
    server.script = [status(404)]
    with pytest.raises(SourceError, match="server answered 404 Not Found"):
        transfer(server.url, partial)
    assert len(server.requested) == 1
    assert not partial.exists()


@pytest.mark.parametrize("script", [[endless], [body(bytes(100_001))]], ids=["endless", "announced"])
def test_no_more_is_accepted_than_the_source_has(server: Scripted, partial: Path, script: list[Answer]) -> None:
    server.script = script
    with pytest.raises(SourceError, match="must send at most 100,000 bytes"):
        transfer(server.url, partial, size=100_000)
    assert not partial.exists() or partial.stat().st_size <= 100_000


def test_a_redirect_to_plain_http_is_never_followed(partial: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is requested there; another redirect is followed."""
    targets = {"/a.tar.gz": "/moved", "/moved": "http://host.invalid/moved"}
    requested: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requested.append(str(request.url))
        return httpx.Response(302, headers={"Location": targets[request.url.path]})

    transport = httpx.MockTransport(answer)
    monkeypatch.setattr(httpx, "Client", functools.partial(httpx.Client, transport=transport))
    with pytest.raises(SourceError, match=r"redirects to http://host.invalid, which is refused"):
        transfer("https://host.invalid/a.tar.gz", partial)
    assert requested == ["https://host.invalid/a.tar.gz", "https://host.invalid/moved"]


def test_a_full_disk_names_the_file_and_keeps_what_came(server: Scripted, partial: Path) -> None:
    with largest_file(1_000_000), pytest.raises(OSError, match="File too large") as caught:
        transfer(server.url, partial)
    assert caught.value.filename == str(partial)
    assert 0 < partial.stat().st_size <= 1_000_000
    transfer(server.url, partial)
    assert partial.read_bytes() == CONTENT
