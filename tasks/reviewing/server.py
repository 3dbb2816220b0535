"""A server of the review on this machine, which saves each decision.

It listens on 127.0.0.1 alone. The address holds a token, and other hosts and origins are refused, so that a page of
another site cannot write.
"""

import json
import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import uvicorn
from fastapi import Body, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse
from starlette.middleware.trustedhost import TrustedHostMiddleware

from tasks import errors
from tasks.datasets.corrections import Correction, read_corrections, write_corrections
from tasks.run.outputs import atomic_outputs

HOST = "127.0.0.1"
Changes = list[tuple[str, dict[str, str] | None]]  # an image with its given label as JSON; its line, or None for none


def serve(page: Callable[[str], str], path: Path, port: int) -> None:
    """Serve the page until Ctrl-C; `page` makes it for an address."""
    token = secrets.token_urlsafe(16)
    with _listen(port) as listener:
        origin = f"http://{HOST}:{port}"
        print(f"open {origin}/{token}/ — Ctrl-C ends it; each decision is in {path} at once", flush=True)
        app = make_app(lambda: page(f"/{token}/decisions"), path, token, origin)
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        rule = f"port {port} of {HOST} must be free"
        raise errors.RefusedError(f"{rule}; received: {error.strerror}; end the other server, or add --port") from error


def make_app(page: Callable[[], str], path: Path, token: str, origin: str) -> FastAPI:
    """Make the application: the page, and the address that takes decisions."""
    app = FastAPI(openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])

    @app.get(f"/{token}/")
    async def show() -> HTMLResponse:
        try:
            return HTMLResponse(page(), headers={"Cache-Control": "no-store"})
        except ValueError as error:
            raise HTTPException(409, str(error)) from error

    @app.post(f"/{token}/decisions")
    async def save(request: Request, changes: Annotated[Changes, Body()]) -> dict[str, int]:
        if request.headers.get("origin") != origin:
            raise HTTPException(403, "decisions must come from this server's own page")
        try:
            return {"lines": change_lines(path, changes)}
        except (ValueError, TypeError, OSError) as error:
            raise HTTPException(409, str(error)) from error

    return app


def change_lines(path: Path, changes: Changes) -> int:
    """Change lines of the corrections, or none; return their number."""
    lines = {correction.key: correction for correction in read_corrections(path).values()}
    for name, fields in changes:
        image, was = json.loads(name)
        lines.pop((image, was), None)
        if fields:
            lines[image, was] = Correction(**fields)
    with atomic_outputs(path) as (partial,):
        write_corrections(partial, lines.values())
        read_corrections(partial)
    return len(lines)
