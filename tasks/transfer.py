"""A file over HTTPS: on from where an earlier try broke off, within deadlines, and never more than was announced.

What arrives stays in the partial file, beside it the mark (ETag or date) of the content that it belongs to. The next
try asks for the rest on condition that the content is still the same (RFC 9110, sections 13.1.5 and 14), and starts
over when the server cannot or will not say so. Whether the bytes are right is for the caller to check.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from socket import getaddrinfo
from urllib.parse import urlsplit
from urllib.request import getproxies

import httpx
from tenacity import RetryCallState, retry, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter
from tqdm import tqdm

REACH_SECONDS = 5.0  # to resolve and reach a host; beyond that the next source is faster
STALL_SECONDS = 30.0  # without a single byte
TRANSFER_SECONDS = 1800.0  # however slowly it drips; then the next source may be faster
PATIENCE_SECONDS = 60.0  # that a server may ask for
MAX_BYTES = 2**30  # for a source that does not state its size

_backoff = wait_exponential_jitter(initial=1, max=20)


class SourceError(Exception):
    """A source cannot serve the data set, and trying it again will not help."""


class UnreachableError(SourceError):
    """The host of a source did not answer, or too slowly; a later run may have better luck."""


class InterruptedTransferError(SourceError):
    """A transfer broke off, or the server asked to come back in `pause` seconds."""

    def __init__(self, message: str, pause: float = 0.0):
        super().__init__(message)
        self.pause = pause


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return max(_backoff(state), error.pause if isinstance(error, InterruptedTransferError) else 0.0)


@retry(retry=retry_if_exception_type(InterruptedTransferError), stop=stop_after_attempt(4), wait=_wait, reraise=True)
def transfer(url: str, partial: Path, size: int | None = None) -> None:
    """Fill `partial` from an address; what is already in it is not sent again.

    Parameters
    ----------
    size : int, optional
        Of the whole, in bytes, where it is known: no more is accepted.

    Raises
    ------
    SourceError
        If the source does not serve the file. What arrived is kept for the next try.
    """
    _resolve(url)
    mark = partial.with_name(f"{partial.name}.mark")
    try:
        with (
            httpx.Client(
                timeout=httpx.Timeout(STALL_SECONDS, connect=REACH_SECONDS),
                follow_redirects=True,
                event_hooks={"request": [_refuse_redirects_to_plain_http(url)]},
            ) as client,
            client.stream("GET", url, headers=_ask(partial, mark)) as response,
        ):
            _receive(response, partial, mark, size)
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise UnreachableError(f"cannot be reached: {error}") from error
    except httpx.ReadTimeout as error:
        raise InterruptedTransferError(f"server sent nothing for {STALL_SECONDS:.0f} s") from error
    except httpx.TransportError as error:
        raise InterruptedTransferError(f"transfer broke off: {type(error).__name__} {error}".rstrip()) from error
    except httpx.HTTPError as error:
        raise SourceError(str(error)) from error
    except OSError as error:
        error.filename = error.filename or str(partial)  # a write does not know its file
        raise
    mark.unlink(missing_ok=True)


def _ask(partial: Path, mark: Path) -> dict[str, str]:
    """Headers of the request: for the rest of what is in the partial file, where its mark is known."""
    headers = {"Accept-Encoding": "identity"}
    known = mark.read_text(encoding="utf-8") if mark.exists() else ""
    if known and partial.exists() and (have := partial.stat().st_size):
        headers |= {"Range": f"bytes={have}-", "If-Range": known}  # control: Range, If-Range
    return headers


def _receive(response: httpx.Response, partial: Path, mark: Path, size: int | None) -> None:
    have = partial.stat().st_size if partial.exists() else 0
    start, total = _extent(response, have)
    if start is None:  # the server has not what was asked for
        if response.status_code == 416 and have and total == have:
            return  # as there is no more: an earlier try ended between the last byte and its check
        partial.unlink(missing_ok=True)
        raise InterruptedTransferError("server has no such part of the file; starting over")
    cap = size or MAX_BYTES  # control: size of a source
    if total and total > cap:
        raise SourceError(f"must send at most {cap:,} bytes; announced {total:,}")
    deadline = time.monotonic() + TRANSFER_SECONDS
    with partial.open("ab" if start else "wb") as file, _progress(partial.stem, start, total) as bar:
        # control: validator of what came
        mark.write_text(_mark(response), encoding="utf-8")  # once the bytes of another content are gone
        for chunk in response.iter_raw():  # as they arrive: a fixed size would hold back what a cut then loses
            if file.tell() + len(chunk) > cap:
                raise SourceError(f"must send at most {cap:,} bytes; received more")
            file.write(chunk)
            bar.update(len(chunk))
            if time.monotonic() > deadline:
                raise UnreachableError(f"took more than {TRANSFER_SECONDS:,.0f} s")
        if total and file.tell() < total:
            raise InterruptedTransferError(f"connection closed after {file.tell():,} of {total:,} bytes")


def _extent(response: httpx.Response, have: int) -> tuple[int | None, int | None]:
    """Where the body starts in the file (None: nowhere), and the size of the whole where the server says it."""
    status = f"server answered {response.status_code} {response.reason_phrase}".rstrip()
    code, length = response.status_code, response.headers.get("Content-Length", "")
    if code == 200:
        return 0, int(length) if length.isdigit() else None
    if code in {206, 416}:
        part, _, whole = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        # control: place of a part
        return have if part.startswith(f"{have}-") else None, int(whole) if whole.isdigit() else None
    if code == 429 or code >= 500:
        pause = _retry_after(response)
        if pause > PATIENCE_SECONDS:
            raise UnreachableError(f"{status}, and asks to come back in {pause:,.0f} s")
        raise InterruptedTransferError(status, pause)
    raise SourceError(status)


def _retry_after(response: httpx.Response) -> float:
    """Seconds that the server asks for: a number or a date (RFC 9110, section 10.2.3)."""
    asked = response.headers.get("Retry-After", "0")
    if asked.isdigit():
        return float(asked)
    try:
        return (parsedate_to_datetime(asked) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):
        return 0.0


def _mark(response: httpx.Response) -> str:
    """What tells this content from another one; a weak tag says too little to join two parts (section 13.1.5)."""
    tag: str = response.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")  # control: weak tags


def _refuse_redirects_to_plain_http(url: str) -> Callable[[httpx.Request], None]:
    source = urlsplit(url)

    def check(request: httpx.Request) -> None:
        # control: redirects to plain http
        if request.url.scheme != "https" and (request.url.scheme, request.url.host) != (source.scheme, source.hostname):
            raise SourceError(f"redirects to {request.url.scheme}://{request.url.host}, which is refused")

    return check


def _resolve(url: str) -> None:
    """Look the host up with a deadline, which the system's resolver does not have by itself."""
    parts = urlsplit(url)
    if parts.scheme in getproxies():
        return  # then the proxy resolves it
    problem: list[str] = [f"not resolved within {REACH_SECONDS:.0f} s"]

    def look_up() -> None:
        try:
            getaddrinfo(parts.hostname, parts.port or parts.scheme)
            problem.clear()
        except OSError as error:
            problem[:] = [f"cannot be resolved: {error.strerror or error}"]

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(REACH_SECONDS)
    if problem:
        raise UnreachableError(f"host {parts.hostname} {problem[0]}")


def _progress(name: str, start: int, total: int | None) -> tqdm[None]:
    """A bar with rate and time left; a line now and then where there is no terminal."""
    interval = 0.2 if sys.stderr.isatty() else 10
    return tqdm(
        desc=name, initial=start, total=total, unit="B", unit_scale=True, unit_divisor=1024, mininterval=interval
    )
