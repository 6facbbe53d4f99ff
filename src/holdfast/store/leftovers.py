"""Files in the data folder that no row may know: what a crash, or a disk that failed, left behind.

The folder is walked a piece at a time, oldest day first, and each file judged by the rows of that moment. Names that
are not ours are never touched.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, Self

from holdfast.generation import SETTLEABLE_ATTEMPT_STATES
from holdfast.policy.retention import ABANDONED_S, INPUT_GRACE_S, may_remove
from holdfast.store.blob_keys import key_for
from holdfast.store.port import Conn
from holdfast.store.retention import attempt_state, has_input_ref, is_kept

_ATTEMPT_FILE = re.compile(r"(att_[0-9A-Z]{26})[-.].+")
_INPUT_FILE = re.compile(r"[0-9a-f]{64}")
_NUMBER = re.compile(r"\d{2,4}")
THUMBNAILS = "thumbnails"
_THUMBNAIL = re.compile(r"(att_0[0-9A-HJKMNP-TV-Z]{25})-(\d+)\.([a-z0-9]+)\.\d+\.webp")
"""Stricter than the others: the day of its image is read off its name, which ends with the year 3084."""


class Kind(StrEnum):
    """Where a file lies, which says whose it is."""

    SPOOL = "spool"
    INPUT = "input"
    BLOB = "blob"
    THUMBNAIL = "thumbnail"
    FOLDER = "folder"


class Found(NamedTuple):
    """One file, or a folder of a day, a month or a year whose files have all been seen."""

    kind: Kind
    key: str
    """From the root of the data folder."""
    written_unix_s: float
    attempt_id: str = ""

    @classmethod
    def of(cls, folder: str, name: str, written_unix_s: float, *, kind: Kind) -> Self | None:
        """Read a file's name; None where it is not ours."""
        match = (_INPUT_FILE if kind is Kind.INPUT else _ATTEMPT_FILE).fullmatch(name)
        if match is None:
            return None
        return cls(kind, f"{folder}/{name}", written_unix_s, "" if kind is Kind.INPUT else match[1])


def walk(root: Path) -> Iterator[Found]:
    """Go through a data folder. Lazy: it may rest for as long as its caller likes, and is closed by `close()`.

    Raises:
        OSError: A folder cannot be read.
    """
    yield from _files(root, "spool", Kind.SPOOL)
    yield from _files(root, "inputs", Kind.INPUT)
    yield from _files(root, THUMBNAILS, Kind.THUMBNAIL)
    for year in _numbered(root, "blobs"):
        for month in _numbered(root, year):
            for day in _numbered(root, month):
                yield from _files(root, day, Kind.BLOB)
                yield from _folder(root, day)
            yield from _folder(root, month)
        yield from _folder(root, year)


def _numbered(root: Path, key: str) -> list[str]:
    """The folders of years, months or days in another, oldest first."""
    try:
        names = [path.name for path in (root / key).iterdir()]
    except FileNotFoundError:
        # Removed since it was named.
        return []
    return [f"{key}/{name}" for name in sorted(names) if _NUMBER.fullmatch(name)]


def _files(root: Path, key: str, kind: Kind) -> Iterator[Found]:
    pattern = {Kind.INPUT: _INPUT_FILE, Kind.THUMBNAIL: _THUMBNAIL}.get(kind, _ATTEMPT_FILE)
    try:
        entries = os.scandir(root / key)
    except FileNotFoundError:
        return
    with entries:
        for entry in entries:
            match = pattern.fullmatch(entry.name)
            written_unix_s = _written(entry) if match is not None else None
            if match is not None and written_unix_s is not None:
                attempt_id = "" if kind is Kind.INPUT else match[1]
                yield Found(kind, f"{key}/{entry.name}", written_unix_s, attempt_id)


def _folder(root: Path, key: str) -> Iterator[Found]:
    written_unix_s = _written(root / key)
    if written_unix_s is not None:
        yield Found(Kind.FOLDER, key, written_unix_s)


def _written(path: os.DirEntry[str] | Path) -> float | None:
    """When it was written last; None if it is gone, as files in a spool soon are."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return None


def is_old_enough(found: Found, now_unix_s: float) -> bool:
    """Whether it is worth asking the rows about it."""
    age_s = INPUT_GRACE_S if found.kind is Kind.INPUT else ABANDONED_S
    return now_unix_s - found.written_unix_s >= age_s


def removable(conn: Conn, files: Sequence[Found], now_unix_s: float) -> tuple[Found, ...]:
    """Choose those that nobody may want any more."""
    return tuple(found for found in files if _is_removable(conn, found, now_unix_s))


def _is_removable(conn: Conn, found: Found, now_unix_s: float) -> bool:
    if not is_old_enough(found, now_unix_s):
        return False
    if found.kind is Kind.FOLDER:
        return True
    if found.kind is Kind.INPUT:
        return not has_input_ref(conn, found.key)
    if found.kind is Kind.THUMBNAIL:
        return not is_kept(conn, image_of(found.key))
    state = attempt_state(conn, found.attempt_id)
    return may_remove(
        age_s=now_unix_s - found.written_unix_s,
        is_kept=found.kind is Kind.BLOB and is_kept(conn, found.key),
        is_settleable=state in SETTLEABLE_ATTEMPT_STATES,
    )


def image_of(thumbnail: str) -> str:
    """The key of the image that a thumbnail shows, by its name."""
    match = _THUMBNAIL.fullmatch(thumbnail.rpartition("/")[2])
    assert match is not None, "only what is called so is found"
    return key_for(match[1], int(match[2]), match[3])
