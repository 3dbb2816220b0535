"""A server on loopback that misbehaves by script: an answer for each request, in order; then it serves well."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

STALL = 60.0  # seconds; the client gives up before


class Request(BaseHTTPRequestHandler):
    """One request, and the ways to answer it."""

    server: Scripted

    def do_GET(self) -> None:
        asked = dict(self.headers)
        self.server.requested.append((self.path, asked))
        if len(self.server.requested) > 1:
            self.server.asked_again.set()
        answer = self.server.script.pop(0) if self.server.script else whole
        answer(self)

    def send(self, status: int, body: bytes = b"", length: int | None = None, **headers: str) -> None:
        """An answer of so many announced bytes, with as many of them as there are."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, *_: Any) -> None:
        """Keep the test output clean."""


Answer = Callable[[Request], None]


class Scripted(ThreadingHTTPServer):
    """Serves one content under every path."""

    daemon_threads = True

    def __init__(self, content: bytes, tag: str = '"one"'):
        self.content, self.tag = content, tag
        self.script: list[Answer] = []
        self.requested: list[tuple[str, dict[str, str]]] = []
        self.asked_again = threading.Event()
        self.outwaited = False
        super().__init__(("127.0.0.1", 0), Request)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/a.tar.gz"

    def ranges(self) -> list[str | None]:
        """The part that each request asked for; None for the whole."""
        return [headers.get("Range") for _, headers in self.requested]


def whole(request: Request) -> None:
    """What a good server does: the whole, or the part that was asked for if the content is still that one."""
    content, tag = request.server.content, request.server.tag
    asked, condition = request.headers.get("Range"), request.headers.get("If-Range")
    if asked is None or (condition is not None and condition != tag):
        return request.send(200, content, ETag=tag)
    start = int(asked.removeprefix("bytes=").removesuffix("-"))
    if start >= len(content):
        return request.send(416, Content_Range=f"bytes */{len(content)}")
    extent = f"bytes {start}-{len(content) - 1}/{len(content)}"
    return request.send(206, content[start:], ETag=tag, Content_Range=extent)


def cut(n: int, tag: str | None = None, content: bytes | None = None) -> Answer:
    """The connection closes after so many bytes of what was announced: the server's content, or another."""

    def answer(request: Request) -> None:
        whole = content or request.server.content
        request.send(200, whole[:n], length=len(whole), ETag=tag or request.server.tag)

    return answer


def stalled(n: int) -> Answer:
    """So many bytes, then silence until the client asks again; the server keeps in mind whether it had to end it."""

    def answer(request: Request) -> None:
        request.send(200, request.server.content[:n], length=len(request.server.content), ETag=request.server.tag)
        request.server.outwaited = not request.server.asked_again.wait(STALL)

    return answer


def endless(request: Request) -> None:
    """A body without an announced size that does not end."""
    request.send_response(200)
    request.end_headers()
    try:
        while True:
            request.wfile.write(bytes(2**16))
    except OSError:
        pass  # the client left


def status(code: int, **headers: str) -> Answer:
    """A refusal."""
    return lambda request: request.send(code, b"<html>not now</html>", None, **headers)


def body(content: bytes) -> Answer:
    """Other bytes, with status 200."""
    return lambda request: request.send(200, content)


@contextmanager
def serving(content: bytes, *script: Answer) -> Iterator[Scripted]:
    with Scripted(content) as server:
        server.script = list(script)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()
