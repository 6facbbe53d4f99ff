"""A data folder in use, backups of it and folders out of them: shared by the tests of both ways."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from holdfast.policy.compensation import STANDARD
from holdfast.store import spool
from holdfast.store.attempts import begin_attempt, end_attempt, keep_handle
from holdfast.store.audit import audit
from holdfast.store.backup import Report, back_up
from holdfast.store.backup_files import ToFolder, ToTar
from holdfast.store.blobs import LocalBlobs
from holdfast.store.generations import accept, get_record
from holdfast.store.keys import insert_key
from holdfast.store.lock import DataFolder, Paths
from holdfast.store.reading import snapshot
from holdfast.store.records import AttemptEnd, NewAttempt, NewBlob, NewGeneration, Record
from holdfast.store.restore import FromFolder, FromTar, Source, settle_in, staging, take_in
from holdfast.store.restored import Moment, PutRight, brought_up, put_right
from holdfast.store.sqlite import SqliteStore
from holdfast.types import ImageInfo

AT, LATER, EVER = "2026-01-17T12:00:00.000Z", "2026-01-17T13:00:00.000Z", "2026-01-24T13:00:00.000Z"
PRICE = 240_000
MOMENT = Moment(at=LATER, purge_after=EVER, rules=STANDARD)
ULID = "01J0000000000000000000000{}"
MADE = ("A", "B", "C")
"""Generations with an image."""
SENT, POLLED, WAITING, SPOOLED = "D", "E", "F", "G"


def gen(name: str) -> str:
    """The id of a generation."""
    return f"gen_{ULID.format(name)}"


def att(name: str) -> str:
    """The id of its attempt."""
    return f"att_{ULID.format(name)}"


def picture(name: str, length: int = 3000) -> bytes:
    """Bytes of an image, other ones for every name."""
    return (hashlib.sha256(name.encode()).digest() * (length // 32 + 1))[:length]


def key_of(name: str) -> str:
    """Where its image lies."""
    return f"blobs/2026/01/17/{att(name)}-0.png"


class House:
    """A data folder with three images, calls in flight, an answer in the spool, and a gateway that has it open."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = DataFolder(root)
        self.store = SqliteStore(self.folder.paths.database, "me")
        self.input = f"inputs/{hashlib.sha256(b'mine').hexdigest()}"
        (root / self.input).write_bytes(b"mine")
        self.store.write_sync(insert_key, "key_1", b"digest", "first", AT, join_mode="all", is_admin=1)
        for name in (*MADE, SENT, POLLED, WAITING, SPOOLED):
            self.accept(name)
        for name in (*MADE, SENT, POLLED, SPOOLED):
            self.send(name)
        for name in MADE:
            self.make(name)
        self.store.write_sync(keep_handle, att(POLLED), "handle-of-the-upstream")
        self.spool(SPOOLED)

    def accept(self, name: str) -> None:
        """Accept a generation; the first has an image to start from."""
        new = NewGeneration(
            id=gen(name),
            key_id="key_1",
            surface="openai",
            model="m",
            tier="1K",
            size="1x1",
            n=1,
            parts=1,
            request=b"{}",
            deadline_at=LATER,
            hard_deadline=False,
            created_at=AT,
            currency="USD",
            unit_micros=PRICE,
            held_micros=PRICE,
            list_micros=PRICE,
            inputs=(self.input,) if name == "A" else (),
        )
        self.store.write_sync(accept, new)

    def send(self, name: str) -> None:
        """Send its attempt."""
        attempt = NewAttempt(
            id=att(name),
            generation_id=gen(name),
            part=0,
            drive=0,
            upstream="google",
            provider="gemini",
            model="m",
            idempotency_key="",
            estimated_micros=PRICE,
            owner="me",
            sent_at=AT,
        )
        assert self.store.write_sync(begin_attempt, attempt) is not None

    def make(self, name: str) -> None:
        """Bring its image."""
        source = self.root / "spool" / f"{att(name)}-0.done"
        source.write_bytes(picture(name))
        LocalBlobs(self.root).put_file(key_of(name), source)
        source.unlink()
        data = picture(name)
        info = ImageInfo(
            mime="image/png", width_px=1, height_px=1, bytes=len(data), sha256=hashlib.sha256(data).hexdigest()
        )
        blob = NewBlob(id=f"img_{ULID.format(name)}", kind="result", position=0, store_key=key_of(name), info=info)
        end = AttemptEnd(attempt_id=att(name), at=AT, purge_after=EVER, blobs=(blob,))
        self.store.write_sync(end_attempt, end)

    def spool(self, name: str) -> None:
        """Have its answer whole, and not settled."""
        path = self.root / "spool" / f"{att(name)}-0.done"
        path.write_bytes(picture(name))
        os.setxattr(path, spool.ANSWER_ATTRIBUTE, b'{"images":[]}')

    def close(self) -> None:
        """Let go."""
        self.store.close()
        self.folder.close()

    def back_up(self, target: Any, *, with_images: bool = True) -> Report:
        """Make a backup beside it."""
        with closing(target):
            return back_up(
                self.root, target, backup_id="bak_1", now=lambda: LATER, with_images=with_images, tell=lambda _: None
            )


def restored(source: Source, root: Path, *, is_only_one: bool = False, salvage: bool = False) -> PutRight:
    """Restore as the command does."""
    with staging(root) as place:
        taken = take_in(source, place, keeps_images=True, tell=lambda _: None)
        assert salvage or not taken.damaged, taken.named
        with brought_up(place) as conn:
            assert not audit(conn).problems
        with closing(SqliteStore(Paths(root=place).database, "new")) as store:
            done = put_right(store, place, MOMENT, backup_id=taken.head.id, is_only_one=is_only_one)
        settle_in(root)
    return done


def record_of(root: Path, name: str) -> Record:
    """How a generation stands in a folder."""
    with snapshot(root) as conn:
        record = get_record(conn, gen(name))
    assert record is not None
    return record


def a_folder(house: House, tmp_path: Path, **options: Any) -> Source:
    """A backup in a folder, in a place of its own."""
    house.back_up(ToFolder(tmp_path / "bak", **options))
    return FromFolder(tmp_path / "bak")


def an_archive(house: House, tmp_path: Path) -> Source:
    """A backup as a stream, read as one."""
    with (tmp_path / "bak.tar").open("wb") as file:
        house.back_up(ToTar(file, scratch=tmp_path))
    return FromTar(OneWay((tmp_path / "bak.tar").read_bytes()))


class OneWay(io.RawIOBase):
    """A pipe: what was read is gone."""

    def __init__(self, data: bytes) -> None:
        self._left = io.BytesIO(data)

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Give a few bytes at a time."""
        piece = self._left.read(min(len(buffer), 777))
        buffer[: len(piece)] = piece
        return len(piece)


FORMS: dict[str, Callable[[House, Path], Source]] = {"folder": a_folder, "archive": an_archive}
