"""Downloads over HTTPS that can be resumed, with deadlines and a size limit.

What arrives stays in the partial file. Beside it stands the validator of the content, its ETag or date (RFC 9110,
section 8.8). The next try asks for the rest on condition that the content is still the same (sections 13.1.5 and 14),
and starts over when the server cannot or will not say so. The caller checks whether the bytes are right.
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

# In seconds.
CONNECT_TIMEOUT = 5.0  # to resolve and reach a host; beyond that the next source is faster
READ_TIMEOUT = 30.0  # without a single byte
TOTAL_TIMEOUT = 1800.0  # for a server that drips; after that the next source may be faster
MAX_RETRY_AFTER = 60.0  # a server that asks for more is left to a later run
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
    """Download an address into `partial`; what is already in it is not sent again.

    Parameters
    ----------
    url : str
    partial : Path
    size : int, optional
        Bytes of the whole, where they are known: no more is accepted.

    Raises
    ------
    SourceError
        If the source does not serve the file. What arrived is kept for the next try.
    OSError
        If the file cannot be written.
    """
    _resolve(url)
    validator_path = partial.with_name(f"{partial.name}.validator")
    try:
        with (
            httpx.Client(
                timeout=httpx.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT),
                follow_redirects=True,
                event_hooks={"request": [_refuse_redirects_to_plain_http(url)]},
            ) as client,
            client.stream("GET", url, headers=_request_headers(partial, validator_path)) as response,
        ):
            _receive(response, partial, validator_path, size)
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise UnreachableError(f"cannot be reached: {error}") from error
    except httpx.ReadTimeout as error:
        raise InterruptedTransferError(f"server sent nothing for {READ_TIMEOUT:.0f} s") from error
    except httpx.TransportError as error:
        raise InterruptedTransferError(f"transfer broke off: {type(error).__name__} {error}".rstrip()) from error
    except httpx.HTTPError as error:
        raise SourceError(str(error)) from error
    except OSError as error:
        error.filename = error.filename or str(partial)  # a write does not know its file
        raise
    validator_path.unlink(missing_ok=True)


def _request_headers(partial: Path, validator_path: Path) -> dict[str, str]:
    """Ask for the rest of the partial file where its validator is known, and for the whole otherwise."""
    headers = {"Accept-Encoding": "identity"}
    validator = validator_path.read_text(encoding="utf-8") if validator_path.exists() else ""
    if validator and partial.exists() and (received := partial.stat().st_size):
        headers |= {"Range": f"bytes={received}-", "If-Range": validator}  # control: Range, If-Range
    return headers


def _receive(response: httpx.Response, partial: Path, validator_path: Path, size: int | None) -> None:
    received = partial.stat().st_size if partial.exists() else 0
    start, total = _content_range(response, received)
    if start is None:
        if response.status_code == 416 and received and total == received:
            return  # nothing is missing: an earlier try ended between the last byte and its check
        partial.unlink(missing_ok=True)
        raise InterruptedTransferError("server has no such part of the file; starting over")
    cap = size or MAX_BYTES  # control: size of a source
    if total and total > cap:
        raise SourceError(f"must send at most {cap:,} bytes; announced {total:,}")
    deadline = time.monotonic() + TOTAL_TIMEOUT
    with partial.open("ab" if start else "wb") as file, _progress(partial.stem, start, total) as bar:
        # Only now, as opening the file has removed the bytes of another content.
        validator_path.write_text(_validator(response), encoding="utf-8")  # control: validator of what came
        for chunk in response.iter_raw():  # as they arrive: a fixed size would hold back what a cut then loses
            if file.tell() + len(chunk) > cap:
                raise SourceError(f"must send at most {cap:,} bytes; received more")
            file.write(chunk)
            bar.update(len(chunk))
            if time.monotonic() > deadline:
                raise UnreachableError(f"took more than {TOTAL_TIMEOUT:,.0f} s")
        if total and file.tell() < total:
            raise InterruptedTransferError(f"connection closed after {file.tell():,} of {total:,} bytes")


def _content_range(response: httpx.Response, received: int) -> tuple[int | None, int | None]:
    """Read where the body starts in the file, and the size of the whole.

    The start is None where the body does not continue the `received` bytes, the size where the server does not say it.

    Raises
    ------
    SourceError
        If the server refuses, or asks to come back later.
    """
    status = f"server answered {response.status_code} {response.reason_phrase}".rstrip()
    code, length = response.status_code, response.headers.get("Content-Length", "")
    if code == 200:
        return 0, int(length) if length.isdigit() else None
    if code in {206, 416}:
        part, _, whole = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        # control: place of a part
        return received if part.startswith(f"{received}-") else None, int(whole) if whole.isdigit() else None
    if code == 429 or code >= 500:
        pause = _retry_after(response)
        if pause > MAX_RETRY_AFTER:
            raise UnreachableError(f"{status}, and asks to come back in {pause:,.0f} s")
        raise InterruptedTransferError(status, pause)
    raise SourceError(status)


def _retry_after(response: httpx.Response) -> float:
    """Read how many seconds the server asks to wait, a number or a date (RFC 9110, section 10.2.3)."""
    retry_after = response.headers.get("Retry-After", "0")
    if retry_after.isdigit():
        return float(retry_after)
    try:
        return (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):
        return 0.0


def _validator(response: httpx.Response) -> str:
    """Read the strong ETag or else the date; a weak tag says too little to join two parts (section 13.1.5)."""
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
    problem: list[str] = [f"not resolved within {CONNECT_TIMEOUT:.0f} s"]

    def look_up() -> None:
        try:
            getaddrinfo(parts.hostname, parts.port or parts.scheme)
            problem.clear()
        except OSError as error:
            problem[:] = [f"cannot be resolved: {error.strerror or error}"]

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(CONNECT_TIMEOUT)
    if problem:
        raise UnreachableError(f"host {parts.hostname} {problem[0]}")


def _progress(name: str, start: int, total: int | None) -> tqdm[None]:
    """A bar with rate and time left; a line now and then where there is no terminal."""
    interval = 0.2 if sys.stderr.isatty() else 10
    return tqdm(
        desc=name, initial=start, total=total, unit="B", unit_scale=True, unit_divisor=1024, mininterval=interval
    )
