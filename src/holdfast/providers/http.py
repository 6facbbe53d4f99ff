"""What a conversation and a transport say to each other about HTTP.

Values only. They live in the core, since providers make requests and read heads; `holdfast.transport.exchange` hands
them on under its own name for the shells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.wire.template import Template


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """One request, ready to be written. `Host`, `Content-Length` and `Connection` are the transport's to add."""

    method: str
    url: str
    """Absolute, `http` or `https`; a key never stands in it."""
    headers: tuple[tuple[str, str], ...]
    body: Template
    """Bytes as they are; `Slot(i)` is the i-th file in `inputs` of the exchange, in base64 unless it is raw."""

    def __repr__(self) -> str:
        # Headers hold the credential, the body holds the prompt: neither belongs in a log or a traceback.
        return f"<HttpRequest {self.method} {self.url}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Status line and headers of an answer, as they came."""

    status: int
    headers: Mapping[str, tuple[str, ...]]
    """Names in lower case; a header sent twice has two values."""

    def header(self, name: str) -> str | None:
        """Give the first value of a header, or None; `name` in lower case."""
        values = self.headers.get(name)
        return values[0] if values else None

    @property
    def media_type(self) -> str:
        """`application/json`: the content type without its parameters, in lower case; empty when there is none."""
        return (self.header("content-type") or "").partition(";")[0].strip().lower()

    @property
    def is_success(self) -> bool:
        """Whether the status is of the 200 class."""
        return 200 <= self.status < 300

    @property
    def is_event_stream(self) -> bool:
        """Whether the body is a stream of server-sent events."""
        return self.media_type == "text/event-stream"
