"""A copy of a data folder that a gateway may be using: the database as of one moment, then the files it names.

The database is copied page by page out of one snapshot: whoever writes meanwhile is not waited for and waits for
nobody; only the write-ahead log cannot be begun anew until the copy is made. Files are never changed once they have
their names, so they follow without haste. One that retention has deleted since is left out; so is one whose bytes are
not those that were stored, and that is told.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from holdfast import __version__
from holdfast.errors import StorageError
from holdfast.store import spool
from holdfast.store.backup_files import Origin, Taken
from holdfast.store.lock import SECRET_BYTES, Paths
from holdfast.store.manifest import DATABASE, FORMAT, SECRET, End, Entry, Head
from holdfast.store.queries import migrations, queries
from holdfast.store.reading import snapshot_of_folder

STEP_PAGES = 1024
"""4 MB of the database between two looks at how far it is."""
SYNC_BYTES = 32 * 1024 * 1024
"""Of the copy between two syncs: one at the end would make the gateway's own commits wait for all of it (measured)."""
NAMED_MAX = 20
"""Files that are told by name; the rest is counted."""
_Q = queries("backup")


class Target(Protocol):
    """Takes files in: `backup_files.ToFolder`, `backup_files.ToTar`."""

    def place(self) -> Path:
        """Where the copy of the database is made, on a disk with room for it."""

    def begin(self, head: Head) -> None:
        """Begin a manifest."""

    def put(self, name: str, origin: Origin) -> Taken:
        """Take a file in, and note it."""

    def finish(self, is_wanted: Callable[[str], bool]) -> End:
        """Make everything durable, and give it its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far it is."""

    files: int
    of: int
    """Images, those to start from included; 0 while the database is copied."""
    bytes: int
    """Written so far; what was only linked is not."""


@dataclass(slots=True, kw_only=True)
class Report:
    """What was taken, and what was not."""

    head: Head
    images: int = 0
    linked: int = 0
    """Of the files, those that share their bytes with the data folder or the backup before."""
    swept: int = 0
    """Deleted by retention while the backup was made."""
    faulty: int = 0
    """Missing in the data folder, or not the bytes that were stored."""
    named: list[str] = field(default_factory=list)
    """Of those, the first ones."""
    end: End | None = None


Tell = Callable[[Progress], None]


def back_up(
    data: Path, target: Target, *, backup_id: str, now: Callable[[], str], with_images: bool, tell: Tell
) -> Report:
    """Copy a data folder.

    Args:
        data: It; nothing in it is changed.
        target: Takes it.
        backup_id: `bak_…`.
        now: The wall clock, RFC 3339.
        with_images: Else the database and the secret alone: what was spent and asked, and no pictures.
        tell: Called every few megabytes.

    Raises:
        StorageError: The folder is none, another version wrote it, or the disk does not let us.
        OSError: The target cannot be written.
    """
    copy = target.place()
    made_at = now()
    _copy_database(data, copy, tell)
    head = Head(
        format=FORMAT,
        holdfast=__version__,
        schema=len(migrations()),
        id=backup_id,
        made_at=made_at,
        with_images=with_images,
    )
    report = Report(head=head)
    target.begin(head)
    target.put(DATABASE, Origin(path=copy, moves=True))
    secret = Paths(root=data).secret
    if target.put(SECRET, Origin(path=secret, bytes=SECRET_BYTES)) is not Taken.COPIED:
        raise StorageError(f"{secret} cannot be read. Without it no API key of this folder is valid.", reason="broken")
    with closing(_open_copy(copy)) as conn:
        if with_images:
            _take_images(data, conn, target, report, tell)

        def is_wanted(name: str) -> bool:
            return with_images and bool(conn.execute(_Q["is_wanted"], {"key": name}).fetchone()[0])

        report.end = target.finish(is_wanted)
    return report


def _copy_database(data: Path, copy: Path, tell: Tell) -> None:
    for old in (copy, *(copy.with_name(copy.name + end) for end in ("-journal", "-wal", "-shm"))):
        old.unlink(missing_ok=True)
    synced = 0
    fd = os.open(copy, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with snapshot_of_folder(data) as source, closing(sqlite3.connect(copy, isolation_level=None)) as into:
            into.execute("PRAGMA synchronous = OFF")
            (page_bytes,) = source.execute("PRAGMA page_size").fetchone()

            def step(_status: int, remaining: int, total: int) -> None:
                nonlocal synced
                written = (total - remaining) * page_bytes
                if written - synced >= SYNC_BYTES:
                    os.fsync(fd)
                    synced = written
                tell(Progress(files=0, of=0, bytes=written))

            source.backup(into, pages=STEP_PAGES, progress=step)
            # A plain file without a log beside it: whoever reads the backup needs to write nothing.
            into.execute("PRAGMA journal_mode = DELETE").fetchone()
        os.fsync(fd)
    except sqlite3.Error as exc:
        raise StorageError(f"The database in {data} could not be copied: {exc}.", reason="broken") from exc
    finally:
        os.close(fd)


def _open_copy(copy: Path) -> sqlite3.Connection:
    conn = sqlite3.connect(f"{copy.absolute().as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None)
    conn.row_factory = sqlite3.Row
    return conn


def _take_images(data: Path, conn: sqlite3.Connection, target: Target, report: Report, tell: Tell) -> None:
    # Answers that are not settled yet first: they leave the spool soonest, for a place that this copy does not know.
    for name, origin in _spooled(data):
        target.put(name, origin)
    (of,) = conn.execute(_Q["files"]).fetchone()
    written = 0
    for done, entry in enumerate(_wanted(conn), start=1):
        origin = Origin(path=data / entry.name, bytes=entry.bytes, sha256=entry.sha256)
        taken = target.put(entry.name, origin)
        match taken:
            case Taken.COPIED | Taken.LINKED:
                report.images += 1
                report.linked += taken is Taken.LINKED
                written += 0 if taken is Taken.LINKED else max(0, entry.bytes)
            case Taken.GONE | Taken.DAMAGED:
                _note_missing(data, entry.name, report, is_gone=taken is Taken.GONE)
        tell(Progress(files=done, of=of, bytes=written))


def _wanted(conn: sqlite3.Connection) -> Iterator[Entry]:
    for row in conn.execute(_Q["inputs"]):
        # Named by what is in it; how long it is, nobody noted.
        sha256 = str(row["store_key"]).rpartition("/")[2]
        yield Entry(name=row["store_key"], bytes=-1, sha256=sha256)
    for row in conn.execute(_Q["images"]):
        yield Entry(name=row["store_key"], bytes=row["bytes"], sha256=row["sha256"])


def _note_missing(data: Path, name: str, report: Report, *, is_gone: bool) -> None:
    """Tell what retention has deleted in this moment from what should be there."""
    if is_gone:
        with snapshot_of_folder(data) as conn:
            if not conn.execute(_Q["is_wanted"], {"key": name}).fetchone()[0]:
                report.swept += 1
                return
    report.faulty += 1
    if len(report.named) < NAMED_MAX:
        report.named.append(name)


def _spooled(data: Path) -> Iterator[tuple[str, Origin]]:
    """The whole answers in the spool, each image with what was said along with it."""
    for attempt_id in sorted(spool.attempts_in(Paths(root=data).spool)):
        for path in sorted(Paths(root=data).spool.glob(f"{attempt_id}-*.done")):
            said = spool.said_with(path)
            yield f"spool/{path.name}", Origin(path=path)
            if said is not None:
                yield f"spool/{attempt_id}.answer", Origin(path=path, data=said)
        beside = Paths(root=data).spool / f"{attempt_id}.answer"
        if beside.exists():
            yield f"spool/{beside.name}", Origin(path=beside)
