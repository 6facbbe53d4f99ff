"""What is sent back, as values: a head, and documents with slots where pictures belong.

Pure: no I/O, clock or randomness.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from holdfast.simulator.asked import Asked
from holdfast.wire.template import Slot, Template

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A picture that a slot stands for."""

    width_px: int
    height_px: int
    format: str
    """`png` or `jpeg`."""
    serial: str
    """What makes it differ from every other: written into the file as a comment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """What is known of an answer when it is written."""

    asked: Asked
    drawn: tuple[Drawn, ...]
    """Drafts first, then the pictures that were asked for."""
    drafts: int
    created: int
    """Unix seconds."""
    micros: int
    """Price of one picture."""
    declared_format: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """A part of a body, and when it is due."""

    share: float
    """Of the wait: 0 with the head, 1 when the picture is made."""
    template: Template

    def __post_init__(self) -> None:
        assert 0.0 <= self.share <= 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One whole answer."""

    status: int
    content_type: str
    parts: tuple[Timed, ...]
    headers: Headers = ()
    pictures: Mapping[int, Drawn] = field(default_factory=dict)
    is_stream: bool = False
    """Server-sent events: the head leaves at once, and the length is not known."""
    is_chunked: bool = False
    """Sent in chunks although its length is known, as Google does."""


def prompt_tokens(prompt: str) -> int:
    """Count a prompt's tokens, roughly: four characters each."""
    return max(1, len(prompt) // 4)


def plain(status: int, content_type: str, body: bytes, *, headers: Headers = ()) -> Reply:
    """Make a reply of one piece."""
    return Reply(
        status=status,
        content_type=content_type,
        parts=(Timed(share=1.0, template=(body,)),),
        headers=headers,
    )


_MARK = re.compile(rb"@@(\d{1,3})@@")


def spliced(document: bytes, *, before: bytes = b"", behind: bytes = b"") -> Template:
    """Put pictures where a document has the mark `@@slot@@`, with something around each."""
    parts: list[bytes | Slot] = [b""]
    done = 0
    for mark in _MARK.finditer(document):
        parts[-1:] = [_joined(parts[-1], document[done : mark.start()] + before), Slot(int(mark[1])), behind]
        done = mark.end()
    parts[-1] = _joined(parts[-1], document[done:])
    return tuple(parts)


def _joined(last: bytes | Slot, more: bytes) -> bytes:
    assert isinstance(last, bytes)
    return last + more


HTML_PAGE = (
    b"<!DOCTYPE html>\n<html><head><title>Please wait</title></head>\n"
    b"<body><h1>Please wait</h1><p>Checking your browser before you proceed.</p></body></html>\n"
)
"""What a proxy puts in the place of an answer."""


def html(status: int, *, headers: Headers = ()) -> Reply:
    """Make a proxy's page."""
    return plain(status, "text/html; charset=utf-8", HTML_PAGE, headers=headers)
