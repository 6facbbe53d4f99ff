"""What an item of the corpus is, and how the requests in it are spelled."""

from __future__ import annotations

from dataclasses import dataclass

KEY = b"@key@"
"""Stands for the gateway's key."""
NOTHING = 0
"""Stands for a connection that is closed without a word."""
IMAGES = b"/v1/images/generations"
NATIVE = b"/v1/generations"
BODY = b'{"prompt":"a lighthouse"}'
CHUNKED_BODY = b"19\r\n" + BODY + b"\r\n0\r\n\r\n"
AUTH = b"Authorization: Bearer " + KEY
HOST = b"Host: holdfast"
SECOND = b"GET /v1/generations HTTP/1.1\r\n" + HOST + b"\r\n" + AUTH + b"\r\n\r\n"
INNER = b"GET /v1/generations HTTP/1.1\r\n" + HOST + b"\r\n\r\n"
"""A whole request that is the body of another; it holds no key, whose length nobody knows here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One thing that a caller may send."""

    name: str
    section: str
    says: str
    """What is wrong with it, or unusual."""
    rule: str
    """What says so, and what may be done about it."""
    pieces: tuple[bytes | float, ...]
    """What is sent, in order; a number is a pause, seconds."""
    statuses: tuple[int, ...]
    """Any of these is right; the first is what is answered when nothing is in the way."""
    closes: bool = True
    """The connection must not be used any further: nobody knows where the next request on it would begin."""
    half_closes: bool = False
    """The sending side is shut down after the last piece."""
    is_patient: bool = False
    """The answer comes when a time is over."""


def head(
    *lines: bytes, method: bytes = b"POST", target: bytes = IMAGES, version: bytes = b"HTTP/1.1", auth: bytes = AUTH
) -> bytes:
    """Write a head: the request line, Host, the key, a JSON body's type, and what an item adds."""
    first = method + b" " + target + b" " + version
    usual = [HOST, *([auth] if auth else []), *([b"Content-Type: application/json"] if method == b"POST" else [])]
    return b"\r\n".join([first, *usual, *lines]) + b"\r\n\r\n"


def length(body: bytes = BODY) -> bytes:
    """Write the length of a body."""
    return b"Content-Length: %d" % len(body)


def get(*lines: bytes, target: bytes = b"/healthz", version: bytes = b"HTTP/1.1") -> bytes:
    """Write a GET of something that is open to all."""
    return head(*lines, method=b"GET", target=target, version=version, auth=b"")


def json_post(body: bytes, *lines: bytes, target: bytes = IMAGES) -> bytes:
    """Write a POST that is framed well."""
    return head(length(body), *lines, target=target) + body


class Section:
    """Items of one kind."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.items: list[Item] = []

    def add(
        self,
        name: str,
        says: str,
        rule: str,
        *pieces: bytes | float,
        gives: int | tuple[int, ...] = 400,
        closes: bool = True,
        half_closes: bool = False,
        is_patient: bool = False,
    ) -> None:
        """Add one; it is refused with 400 and the connection closed unless told otherwise."""
        self.items.append(
            Item(
                name=name,
                section=self.title,
                says=says,
                rule=rule,
                pieces=pieces,
                statuses=gives if isinstance(gives, tuple) else (gives,),
                closes=closes,
                half_closes=half_closes,
                is_patient=is_patient,
            )
        )
