"""What a backup holds, line by line: its head, a line for each file in the order in which they were taken, its end.

Lines and not one document, so that neither side keeps a million images in memory. A backup whose manifest has no end is
none. What is in a backup is named by us, and checked as if it were not: a name that leads anywhere else is refused.
"""

from __future__ import annotations

import re

import msgspec

from holdfast.errors import StorageError

FORMAT = 1
MANIFEST = "manifest.jsonl"
DATABASE = "holdfast.sqlite3"
SECRET = "secret"
LINE_BYTES_MAX = 4096
"""Far more than a line needs."""
_ATTEMPT = r"att_[0-9A-Z]{26}"
_NAMES = re.compile(
    rf"holdfast\.sqlite3|secret|inputs/[0-9a-f]{{64}}|spool/{_ATTEMPT}(?:-\d{{1,4}}\.done|\.answer)"
    rf"|blobs/\d{{4}}/\d\d/\d\d/{_ATTEMPT}-\d{{1,4}}\.[a-z0-9]{{1,8}}"
)


class Head(msgspec.Struct, frozen=True, kw_only=True, tag_field="line", tag="head"):
    """The first line."""

    format: int
    holdfast: str
    """Version that made it."""
    schema: int
    """Of the database."""
    id: str
    """`bak_` and a ULID."""
    made_at: str
    """When the database was read, RFC 3339: nothing younger is in it."""
    with_images: bool


class Entry(msgspec.Struct, frozen=True, kw_only=True, tag_field="line", tag="file"):
    """A file."""

    name: str
    """From the root of a data folder."""
    bytes: int
    sha256: str

    @property
    def is_image(self) -> bool:
        """Whether the gateway does without it, and says of a generation that its image is gone."""
        return self.name not in (DATABASE, SECRET)


class End(msgspec.Struct, frozen=True, kw_only=True, tag_field="line", tag="end"):
    """The last line."""

    files: int
    bytes: int
    """Of all files together."""


Line = Head | Entry | End
_DECODER: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)


def line_of(line: Line) -> bytes:
    """Write a line."""
    return msgspec.json.encode(line) + b"\n"


def read_line(data: bytes) -> Line:
    """Read a line.

    Raises:
        StorageError: It is none, or names something that no backup holds.
    """
    try:
        line = _DECODER.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise broken(f"its manifest has a line that cannot be read ({data[:60]!r})") from exc
    if isinstance(line, Entry):
        checked_name(line.name)
    return line


def check_head(line: Line | None, *, schema: int) -> Head:
    """Take the head, where this version can restore what follows.

    Args:
        line: The first one.
        schema: The one that this version knows.

    Raises:
        StorageError: It is no head, or a newer holdfast wrote it.
    """
    if not isinstance(line, Head):
        raise broken("its manifest does not begin as one")
    if line.format > FORMAT or line.schema > schema:
        raise StorageError(
            f"This backup was made by holdfast {line.holdfast}, with schema {line.schema}; this one knows {schema}. "
            "Restore it with that version or a newer one.",
            reason="newer_schema",
        )
    return line


def checked_name(name: str) -> str:
    """Give a name back that a backup may hold.

    Raises:
        StorageError: It may not.
    """
    if _NAMES.fullmatch(name) is None:
        raise broken(f"it names {name[:80]!r}, which no data folder holds")
    return name


def broken(what: str) -> StorageError:
    """Say that a backup cannot be used."""
    return StorageError(f"This backup cannot be restored: {what}.", reason="broken")
