"""A mirror of the data set: a folder on loopback, and what was asked of it."""

import functools
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Server(ThreadingHTTPServer):
    """Serves a folder on loopback and remembers the paths that were asked for."""

    def __init__(self, folder: Path):
        self.requested: list[str] = []
        super().__init__(("127.0.0.1", 0), functools.partial(_Handler, directory=str(folder)))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        self.server.requested.append(self.path)
        super().do_GET()

    def log_message(self, *_: Any) -> None:
        """Keep the test output clean."""
