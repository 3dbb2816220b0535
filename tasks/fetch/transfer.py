"""Resumable downloads over HTTPS, with deadlines and a size limit.

What arrives stays in the partial file. Beside it stands the validator of the content, its ETag or date (RFC 9110,
section 8.8). The next try requests the rest on condition that the content is still the same (sections 13.1.5 and 14),
and starts over when the server cannot or will not say so. The caller checks whether the bytes are right.

pooch is shorter, but starts from zero after a cut (docs/log.md has the bytes), and knows no Retry-After, no deadline
for the whole and no size limit.
"""

import functools
import re
import sys
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
from tenacity import RetryCallState, retry, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter
from tqdm import tqdm

# In seconds.
CONNECT_TIMEOUT = 5.0  # beyond that the next source is faster
READ_TIMEOUT = 30.0  # without a single byte
TOTAL_TIMEOUT = 1800.0  # for a server that drips; after that the next source may be faster
MAX_RETRY_AFTER = 60.0  # a server that asks for more is left to a later run
MAX_BYTES = 2**30  # for a source that does not state its size
CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(?:(\d+)|\*)")

_backoff = wait_exponential_jitter(initial=1, max=20)


class SourceError(Exception):
    """A source that will not serve the data set on another try."""


class UnreachableError(SourceError):
    """A host that did not answer; a later run may succeed."""


class InterruptedTransferError(SourceError):
    """A transfer that broke off; `pause` is in seconds."""

    def __init__(self, message: str, pause: float = 0.0):
        super().__init__(message)
        self.pause = pause


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return max(_backoff(state), getattr(error, "pause", 0.0))


@retry(retry=retry_if_exception_type(InterruptedTransferError), stop=stop_after_attempt(4), wait=_wait, reraise=True)
def transfer(url: str, partial: Path, size: int | None = None) -> None:
    """Download an address into `partial`, from where an earlier try ended.

    `size` has the bytes of the whole, where they are known: no more is accepted. What arrived is kept for the next try.
    """
    client = httpx.Client(
        timeout=httpx.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT),
        follow_redirects=True,
        event_hooks={"request": [functools.partial(_refuse_plain_http, httpx.URL(url))]},
    )
    try:
        with client, client.stream("GET", url, headers=_request_headers(partial)) as response:
            _receive(response, partial, size)
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise UnreachableError(f"cannot be reached: {error}") from error
    except httpx.TransportError as error:
        raise InterruptedTransferError(f"transfer broke off: {type(error).__name__} {error}".rstrip()) from error
    except httpx.HTTPError as error:
        raise SourceError(str(error)) from error
    except OSError as error:
        error.filename = error.filename or str(partial)  # a write does not know its file
        raise
    _validator_path(partial).unlink(missing_ok=True)


def _validator_path(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.validator")


def _size(partial: Path) -> int:
    return partial.stat().st_size if partial.exists() else 0


def _refuse_plain_http(source: httpx.URL, request: httpx.Request) -> None:
    # control: redirects to plain http
    if request.url.scheme != "https" and (request.url.scheme, request.url.host) != (source.scheme, source.host):
        raise SourceError(f"redirects to {request.url.scheme}://{request.url.host}, which is refused")


def _request_headers(partial: Path) -> dict[str, str]:
    headers, path = {"Accept-Encoding": "identity"}, _validator_path(partial)
    validator = path.read_text(encoding="utf-8") if path.exists() else ""
    if validator and (received := _size(partial)):
        headers |= {"Range": f"bytes={received}-", "If-Range": validator}  # control: Range, If-Range
    return headers


def _receive(response: httpx.Response, partial: Path, size: int | None) -> None:
    _check_status(response)
    received, (start, total) = _size(partial), _content_range(response)
    if response.status_code == 416 and received and total == received:
        return  # nothing is missing: an earlier try ended between the last byte and its check
    if start is None or start not in {0, received}:  # control: place of a part
        partial.unlink(missing_ok=True)
        raise InterruptedTransferError("server has no such part of the file; starting over")
    cap = size or MAX_BYTES  # control: size of a source
    if total and total > cap:
        raise SourceError(f"must send at most {cap:,} bytes; announced {total:,}")
    deadline = time.monotonic() + TOTAL_TIMEOUT
    interval = 0.2 if sys.stderr.isatty() else 10  # a line now and then where there is no terminal
    bar = tqdm(desc=partial.stem, initial=start, total=total, unit="B", unit_scale=True, mininterval=interval)
    with partial.open("ab" if start else "wb") as file, bar:
        # Only now, as opening the file has removed the bytes of another content.
        _validator_path(partial).write_text(_validator(response), encoding="utf-8")  # control: validator of what came
        for chunk in response.iter_raw():  # as they arrive: a fixed size would hold back what a cut then loses
            if file.tell() + len(chunk) > cap:
                raise SourceError(f"must send at most {cap:,} bytes; received more")
            file.write(chunk)
            bar.update(len(chunk))
            if time.monotonic() > deadline:
                raise UnreachableError(f"took more than {TOTAL_TIMEOUT:,.0f} s")
        if total and file.tell() < total:
            raise InterruptedTransferError(f"connection closed after {file.tell():,} of {total:,} bytes")


def _check_status(response: httpx.Response) -> None:
    code = response.status_code
    status = f"server answered {code} {response.reason_phrase}".rstrip()
    if code == 429 or code >= 500:
        pause = _retry_after(response)
        if pause > MAX_RETRY_AFTER:
            raise UnreachableError(f"{status}, and asks to come back in {pause:,.0f} s")
        raise InterruptedTransferError(status, pause)
    if code not in {200, 206, 416}:
        raise SourceError(status)


def _content_range(response: httpx.Response) -> tuple[int | None, int | None]:
    """Read where the body starts, and the file's size, where stated."""
    if response.status_code == 200:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdigit() else None
    header = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    start, total = header.groups() if header else (None, None)
    return int(start) if start else None, int(total) if total else None


def _retry_after(response: httpx.Response) -> float:
    retry_after = response.headers.get("Retry-After", "0")
    if retry_after.isdigit():
        return float(retry_after)
    try:
        return (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):
        return 0.0


def _validator(response: httpx.Response) -> str:
    # A weak tag cannot join two parts (RFC 9110, section 13.1.5).
    tag: str = response.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")  # control: weak tags
