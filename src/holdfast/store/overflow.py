"""Images in the database, as long as the bucket that they belong into does not take them.

Where several processes share a database and a bucket, each has a disk of its own that nobody else reads, and that a
container loses with its process. What the bucket does not take is therefore kept where all of them see it and nothing
is lost: in rows, a mebibyte each, so that an image of any size takes little memory and no transaction is long. It is
bounded: an outage must not fill the database that everything else needs. Beyond that the disk has to do.

An image is whole once its row says so, which is committed last. Whoever dies before leaves pieces that nobody reads,
and that are found as leftovers.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast import faults
from holdfast.errors import StorageError
from holdfast.store.locking import lock
from holdfast.store.port import Conn, Row, Store
from holdfast.store.queries import queries

_Q = queries("overflow")

PIECE_BYTES = 1 << 20
IMAGES_MAX = 10_000
"""However small they are: each is looked at and moved by itself."""
LISTED = 100
"""Rows read at once of a list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One image that lies here."""

    key: str
    sha256: str
    bytes: int
    written_at: str
    """RFC 3339."""
    is_whole: bool

    @classmethod
    def of(cls, row: Row) -> Kept:
        """Read a row."""
        key, sha256, size, written_at, is_whole = row
        return cls(key=key, sha256=sha256, bytes=size, written_at=written_at, is_whole=bool(is_whole))


@contextmanager
def _asked() -> Iterator[None]:
    """Make what the database refuses an `OSError`, as of any other place for images."""
    try:
        yield
    except StorageError as exc:
        raise OSError(errno.EIO, f"the overflow in the database: {exc}") from exc


class Overflow:
    """See the module's docstring. Everything here waits for the database, and belongs into a worker thread.

    Failures are `OSError`.
    """

    def __init__(self, store: Store, *, bytes_max: int, now: Callable[[], str]) -> None:
        """Keep up to `bytes_max` bytes, of all processes together; `now` tells the time, RFC 3339."""
        assert bytes_max > 0
        self._store = store
        self._bytes_max = bytes_max
        self._now = now

    def __repr__(self) -> str:
        return f"<Overflow of {self._bytes_max >> 20} MiB in {self._store!r}>"

    def put(self, key: str, source: Path, sha256: str) -> bool:
        """Keep a finished file; False: there is no room. One that is here already is made young.

        Raises:
            OSError: The database did not take it; nobody reads what it has of it.
        """
        size = source.stat().st_size
        with _asked():
            has_begun = self._ask(begin, key, sha256, size, self._now(), self._bytes_max)
            if has_begun is None:
                return True
            if not has_begun:
                return False
            faults.point_sync("overflow.before_pieces")
            with source.open("rb", buffering=0) as file:
                for n, piece in enumerate(iter(lambda: file.read(PIECE_BYTES), b"")):
                    self._ask(add_piece, key, n, piece)
            faults.point_sync("overflow.before_whole")
            is_whole = self._ask(finish, key, sha256, size)
            faults.point_sync("overflow.after_whole")
        if not is_whole:
            raise OSError(errno.EIO, "the overflow in the database: somebody else put other bytes at this moment")
        return True

    def find(self, key: str) -> Kept | None:
        """What is here under a key, and whole."""
        with _asked():
            found: Kept | None = self._ask(find, key)
        return found if found is not None and found.is_whole else None

    def pieces(self, kept: Kept) -> Iterator[memoryview]:
        """Give the bytes of an image, piece by piece.

        Raises:
            FileNotFoundError: It was moved or deleted meanwhile.
        """
        for n in range(-(-kept.bytes // PIECE_BYTES)):
            with _asked():
                piece = self._ask(read_piece, kept.key, n)
            if piece is None:
                raise FileNotFoundError(errno.ENOENT, "no longer in the overflow", kept.key)
            yield memoryview(piece)

    def all(self) -> Iterator[Kept]:
        """Go through everything, also what is not whole; oldest first. Lazy."""
        at, key = "", ""
        while True:
            with _asked():
                found = self._ask(listed, at, key, LISTED)
            yield from found
            if len(found) < LISTED:
                return
            at, key = found[-1].written_at, found[-1].key

    def beginning_with(self, beginning: str) -> list[Kept]:
        """What is here of keys that begin so; the last character is not the last one there is."""
        with _asked():
            found: list[Kept] = self._ask(of_beginning, beginning)
        return found

    def remove(self, keys: Sequence[str]) -> None:
        """Remove images; one that is not here is no error."""
        with _asked():
            self._ask(remove, keys)

    def _ask(self, function: Callable[..., Any], *args: Any) -> Any:
        # Reading needs a loop; and what one decides by is to be the newest.
        return self._store.write_sync(function, *args)


def begin(conn: Conn, key: str, sha256: str, size: int, at: str, bytes_max: int) -> bool | None:
    """Reserve room for an image; None: it is here already. False: there is no room."""
    lock(conn, "overflow")
    row = conn.execute(_Q["find"], {"store_key": key}).fetchone()
    before = None if row is None else Kept.of(row)
    if before is not None and before.is_whole and (before.sha256, before.bytes) == (sha256, size):
        conn.execute(_Q["make_young"], {"store_key": key, "at": at})
        return None
    total = conn.execute(_Q["total"], {"store_key": key}).fetchone()
    if total["images"] >= IMAGES_MAX or int(total["bytes"]) + size > bytes_max:
        return False
    conn.execute(_Q["drop_pieces"], {"store_key": key})
    conn.execute(_Q["begin"], {"store_key": key, "sha256": sha256, "bytes": size, "at": at})
    return True


def add_piece(conn: Conn, key: str, n: int, piece: bytes) -> None:
    """Add a piece to one that has begun."""
    conn.execute(_Q["add_piece"], {"store_key": key, "n": n, "bytes": piece})


def finish(conn: Conn, key: str, sha256: str, size: int) -> bool:
    """Say that an image is whole; False: somebody else has begun it anew meanwhile."""
    lock(conn, "overflow")
    held = conn.execute(_Q["held"], {"store_key": key}).fetchone()
    if int(held["bytes"]) != size:
        return False
    return conn.execute(_Q["finish"], {"store_key": key, "sha256": sha256, "bytes": size}).rowcount == 1


def find(conn: Conn, key: str) -> Kept | None:
    """Read a row."""
    row = conn.execute(_Q["find"], {"store_key": key}).fetchone()
    return None if row is None else Kept.of(row)


def read_piece(conn: Conn, key: str, n: int) -> bytes | None:
    """Read a piece; None if it is gone."""
    row = conn.execute(_Q["piece"], {"store_key": key, "n": n}).fetchone()
    return None if row is None else bytes(row["bytes"])


def listed(conn: Conn, at: str, key: str, count: int) -> list[Kept]:
    """Read rows, oldest first, behind one of them."""
    return [Kept.of(row) for row in conn.execute(_Q["listed"], {"at": at, "store_key": key, "count": count})]


def of_beginning(conn: Conn, beginning: str) -> list[Kept]:
    """Read the rows of what is whole and begins so."""
    beyond = beginning[:-1] + chr(ord(beginning[-1]) + 1)
    return [Kept.of(row) for row in conn.execute(_Q["of_attempt"], {"beginning": beginning, "beyond": beyond})]


def remove(conn: Conn, keys: Sequence[str]) -> None:
    """Remove rows and pieces."""
    lock(conn, "overflow")
    for key in keys:
        conn.execute(_Q["remove"], {"store_key": key})
        conn.execute(_Q["drop_pieces"], {"store_key": key})


def note_bucket(conn: Conn, address: str) -> None:
    """Note which bucket was reached last by anybody who shares the database."""
    conn.execute(_Q["note_bucket"], {"address": address})


def noted_bucket(conn: Conn) -> str | None:
    """Which one that was."""
    row = conn.execute(_Q["noted_bucket"]).fetchone()
    return None if row is None else str(row["value"])
