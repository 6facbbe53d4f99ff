"""A backup holds a data folder as of one moment; restored, all is there, or is said to be gone; or nothing is."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sqlite3
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import StorageError
from holdfast.policy.compensation import STANDARD
from holdfast.store import backup, backup_files, restore, spool
from holdfast.store.attempts import begin_attempt, end_attempt, get_attempt, keep_handle
from holdfast.store.audit import audit
from holdfast.store.backup import Report, back_up
from holdfast.store.backup_files import ToFolder, ToTar
from holdfast.store.blobs import LocalBlobs
from holdfast.store.generations import accept, get_record, left_open
from holdfast.store.keys import insert_key
from holdfast.store.lock import RESTORING, DataFolder, Paths
from holdfast.store.manifest import MANIFEST
from holdfast.store.queries import migrations
from holdfast.store.reading import snapshot
from holdfast.store.records import AttemptEnd, NewAttempt, NewBlob, NewGeneration, Record
from holdfast.store.restore import FromFolder, FromTar, Source, settle_in, staging, take_in
from holdfast.store.restored import LEFT_OPEN, Moment, PutRight, brought_up, put_right
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


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A gateway's folder, in use."""
    made = House(tmp_path / "data")
    yield made
    made.close()


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


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> Callable[[House, Path], Source]:
    """Either form of a backup."""
    return FORMS[request.param]


# What is there


def test_everything_that_was_made_is_there(house: House, tmp_path: Path, form: Callable[..., Source]) -> None:
    """Images byte for byte, what they were made from, the secret, the books."""
    restored(form(house, tmp_path), tmp_path / "new")
    for name in MADE:
        assert (tmp_path / "new" / key_of(name)).read_bytes() == picture(name)
        record = record_of(tmp_path / "new", name)
        assert record.generation.state == "succeeded"
        assert [blob.state for blob in record.blobs] == ["stored"]
    assert (tmp_path / "new" / house.input).read_bytes() == b"mine"
    assert (tmp_path / "new" / "secret").read_bytes() == house.folder.secret
    with snapshot(tmp_path / "new") as conn:
        assert not audit(conn).problems
    with closing(DataFolder(tmp_path / "new")) as folder:
        assert folder.secret == house.folder.secret


def test_the_gateway_that_was_copied_is_not_touched(house: House, tmp_path: Path, form: Callable[..., Source]) -> None:
    """Neither its rows nor its files, and it goes on writing while the copy lies there."""
    before = {path: path.stat().st_mtime_ns for path in house.root.rglob("*") if path.is_file()}
    form(house, tmp_path)
    files = {path: path.stat().st_mtime_ns for path in house.root.rglob("*") if path.is_file()}
    shm = house.root / "holdfast.sqlite3-shm"
    assert {**files, shm: 0} == {**before, shm: 0}
    house.accept("H")


def test_what_came_after_its_moment_is_not_in_it(house: House, tmp_path: Path) -> None:
    """All of it is of one moment: rows that are written while files are still copied are not half in."""

    class Late(ToFolder):
        def begin(self, head: Any) -> None:
            super().begin(head)
            house.accept("H")
            house.send("H")
            house.make("H")

    house.back_up(Late(tmp_path / "bak"))
    restored(FromFolder(tmp_path / "bak"), tmp_path / "new")
    with snapshot(tmp_path / "new") as conn:
        assert get_record(conn, gen("H")) is None
    assert not (tmp_path / "new" / key_of("H")).exists()


# What was in flight


def test_what_was_in_flight_is_unknown(house: House, tmp_path: Path, form: Callable[..., Source]) -> None:
    """The other gateway may have bought and collected it: it is neither bought here nor asked for under its handle."""
    done = restored(form(house, tmp_path), tmp_path / "new")
    assert done.ended == 4
    for name in (SENT, POLLED):
        record = record_of(tmp_path / "new", name)
        assert (record.generation.state, record.attempts[0].state) == ("failed", "unknown")
        told = record.generation.told
        assert told is not None
        assert (told.code, told.charge) == ("outcome_unknown", "unknown")
        assert "restored from a backup" in told.message
    with snapshot(tmp_path / "new") as conn:
        assert left_open(conn) == ((), ())
        found = audit(conn)
        assert not found.problems
        assert found.accounts["unknown_exposure"] == 3 * PRICE
        assert found.accounts.get("held", 0) == 0


def test_what_was_never_sent_is_not_sent_here(house: House, tmp_path: Path) -> None:
    """It may have been sent since, by the gateway that was copied."""
    restored(a_folder(house, tmp_path), tmp_path / "new")
    row = record_of(tmp_path / "new", WAITING).generation
    assert row.state == "failed"
    assert row.told == LEFT_OPEN
    assert row.charged_micros == 0


def test_an_answer_that_was_in_the_spool_comes_along(house: House, tmp_path: Path, form: Callable[..., Source]) -> None:
    """It is paid for: the next start settles it, with what the model said."""
    restored(form(house, tmp_path), tmp_path / "new")
    found = spool.recover(tmp_path / "new" / "spool", att(SPOOLED)) or spool.recover(house.root / "spool", "none")
    assert (tmp_path / "new" / "spool" / f"{att(SPOOLED)}-0.done").read_bytes() == picture(SPOOLED)
    assert (tmp_path / "new" / "spool" / f"{att(SPOOLED)}.answer").read_bytes() == b'{"images":[]}'
    # The bytes of this test are no image, so that nothing is found whole in them; its state lets a real one be.
    assert found is None
    with snapshot(tmp_path / "new") as conn:
        attempt = get_attempt(conn, att(SPOOLED))
    assert attempt is not None
    assert attempt.state == "unknown"


def test_a_gateway_that_is_the_only_one_goes_on(house: House, tmp_path: Path) -> None:
    """Where the other one is gone, a restore is what a crash is: handles are asked for, waiting calls are sent."""
    done = restored(a_folder(house, tmp_path), tmp_path / "new", is_only_one=True)
    assert done.ended == 0
    record = record_of(tmp_path / "new", POLLED)
    assert (record.attempts[0].state, record.attempts[0].upstream_handle) == ("polling", "handle-of-the-upstream")
    assert record.generation.epoch == record_of(house.root, POLLED).generation.epoch + 1
    assert record_of(tmp_path / "new", WAITING).generation.state == "queued"


def test_nobody_is_signed_in_and_the_log_of_changes_says_why(house: House, tmp_path: Path) -> None:
    """A cookie of the other gateway is none of this one's; who looks later finds that this is a copy."""
    house.store.write_sync(
        lambda conn: conn.execute("INSERT INTO session VALUES (x'00', 'key_1', x'00', ?, ?)", (AT, EVER))
    )
    restored(a_folder(house, tmp_path), tmp_path / "new")
    with snapshot(tmp_path / "new") as conn:
        assert conn.execute("SELECT count(*) FROM session").fetchone()[0] == 0
        row = conn.execute("SELECT actor, action, target, details FROM audit").fetchone()
    assert tuple(row)[:3] == ("operator", "gateway.restored", "bak_1")
    assert json.loads(row["details"])["ended"] == 4


# Images that do not come along


def test_without_images_they_are_gone_and_said_to_be(house: House, tmp_path: Path) -> None:
    """Books, keys and records; an image answers as one that retention has deleted, and its prompt is gone with it."""
    report = house.back_up(ToFolder(tmp_path / "bak"), with_images=False)
    assert report.images == 0
    assert not (tmp_path / "bak" / "blobs").exists()
    done = restored(FromFolder(tmp_path / "bak"), tmp_path / "new")
    assert (done.images_lost, done.never_collected, done.inputs_lost) == (3, 3, 0)
    for name in MADE:
        record = record_of(tmp_path / "new", name)
        assert [blob.state for blob in record.blobs] == ["deleted"]
        assert record.generation.request is None
    with snapshot(tmp_path / "new") as conn:
        assert not audit(conn).problems
        assert conn.execute("SELECT count(*) FROM generation WHERE purged_at = ?", (LATER,)).fetchone()[0] == 3


def test_what_retention_deletes_meanwhile_is_no_fault(house: House, tmp_path: Path) -> None:
    """Rows first, then files: a file that went with its row is left out, one that went without it is told."""

    class Swept(ToFolder):
        def begin(self, head: Any) -> None:
            super().begin(head)
            house.store.write_sync(
                lambda conn: conn.execute("UPDATE blob SET state = 'deleted' WHERE store_key = ?", (key_of("A"),))
            )
            (house.root / key_of("A")).unlink()
            (house.root / key_of("B")).unlink()

    report = house.back_up(Swept(tmp_path / "bak"))
    assert (report.images, report.swept, report.faulty, report.named) == (2, 1, 1, [key_of("B")])
    assert restored(FromFolder(tmp_path / "bak"), tmp_path / "new").images_lost == 2


@pytest.mark.parametrize("damage", ["other", "short"])
@pytest.mark.parametrize("is_archive", [False, True])
def test_an_image_that_is_damaged_is_not_taken_for_one(
    house: House, tmp_path: Path, damage: str, is_archive: bool
) -> None:
    """A disk that gives back other bytes is found when they are copied, and the rest is taken all the same."""
    path = house.root / key_of("B")
    path.write_bytes(b"x" * len(picture("B")) if damage == "other" else picture("B")[:-1])
    if is_archive:
        with (tmp_path / "bak.tar").open("wb") as file:
            report = house.back_up(ToTar(file))
        source: Source = FromTar(OneWay((tmp_path / "bak.tar").read_bytes()))
    else:
        report = house.back_up(ToFolder(tmp_path / "bak", links=False))
        source = FromFolder(tmp_path / "bak")
    assert (report.faulty, report.named) == (1, [key_of("B")])
    assert restored(source, tmp_path / "new").images_lost == 1
    assert not (tmp_path / "new" / key_of("B")).exists()
    assert (tmp_path / "new" / key_of("C")).read_bytes() == picture("C")


# Sharing


def test_images_are_shared_where_that_is_possible(house: House, tmp_path: Path) -> None:
    """On one disk a backup costs a database and names; deleting on either side takes nothing from the other."""
    report = house.back_up(ToFolder(tmp_path / "one"))
    assert report.linked == 4
    assert (tmp_path / "one" / key_of("A")).samefile(house.root / key_of("A"))
    restored(FromFolder(tmp_path / "one"), tmp_path / "new")
    assert not (tmp_path / "new" / key_of("A")).samefile(house.root / key_of("A"))


def test_a_later_backup_shares_with_the_one_before(house: House, tmp_path: Path) -> None:
    """On another disk than the folder's only what is new is copied."""
    assert house.back_up(ToFolder(tmp_path / "one", links=False)).linked == 0
    house.accept("H")
    house.send("H")
    house.make("H")
    report = house.back_up(ToFolder(tmp_path / "two", previous=tmp_path / "one", links=False))
    assert (report.images, report.linked) == (5, 4)
    assert (tmp_path / "two" / key_of("A")).samefile(tmp_path / "one" / key_of("A"))
    assert not (tmp_path / "two" / key_of("H")).samefile(house.root / key_of("H"))
    for name in ("one", "two"):
        assert restored(FromFolder(tmp_path / name), tmp_path / f"new-{name}").images_lost == 0


def test_a_disk_that_takes_no_links_is_copied_to(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another file system, or one without hard links."""

    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(backup_files.os, "link", refuse)
    report = house.back_up(ToFolder(tmp_path / "bak"))
    assert (report.images, report.linked) == (4, 0)


def test_previous_must_be_a_backup(house: House, tmp_path: Path) -> None:
    """A wrong folder would silently copy everything."""
    with pytest.raises(StorageError, match="is no backup"):
        ToFolder(tmp_path / "bak", previous=house.root)


# Broken off


def test_a_backup_that_broke_off_is_none_and_is_gone_on_with(house: House, tmp_path: Path) -> None:
    """It has no name yet; what was copied is not copied again, what is not wanted any more goes."""

    class Broken(ToFolder):
        def put(self, name: str, origin: Any) -> Any:
            if name == key_of("C"):
                raise OSError(28, "No space left on device")
            return super().put(name, origin)

    with pytest.raises(OSError, match="No space"):
        house.back_up(Broken(tmp_path / "bak", links=False))
    assert not (tmp_path / "bak").exists()
    with pytest.raises(StorageError, match="no backup"):
        FromFolder(tmp_path / "bak.partial")
    house.store.write_sync(
        lambda conn: conn.execute("UPDATE blob SET state = 'deleted' WHERE store_key = ?", (key_of("A"),))
    )
    (house.root / key_of("A")).unlink()
    report = house.back_up(ToFolder(tmp_path / "bak", links=False))
    assert (report.images, report.linked) == (3, 2)
    assert not (tmp_path / "bak" / key_of("A")).exists()
    assert not (tmp_path / "bak.partial").exists()
    restored(FromFolder(tmp_path / "bak"), tmp_path / "new")


def test_two_do_not_write_one_backup(house: House, tmp_path: Path) -> None:
    """The second is told so at once; a name that is taken is not written over."""
    with closing(ToFolder(tmp_path / "bak")), pytest.raises(StorageError, match="Another process"):
        ToFolder(tmp_path / "bak")
    house.back_up(ToFolder(tmp_path / "bak"))
    with pytest.raises(StorageError, match="exists"):
        ToFolder(tmp_path / "bak")


class Died(BaseException):
    """The process is killed: nothing behind it runs."""


def die_at(count: int) -> None:
    """End this process at its so-and-so-many-th look for progress or rename, without a word."""
    left = count

    def tick(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os._exit(9)

    def ticking(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            tick()
            done = real(*args, **kwargs)
            tick()
            return done

        return call

    for module, name in ((Path, "rename"), (Path, "rmdir"), (Path, "mkdir"), (restore, "fsync_folder")):
        setattr(module, name, ticking(getattr(module, name)))
    SqliteStore.write_sync = ticking(SqliteStore.write_sync)  # type: ignore[method-assign]
    restore.pour = ticking(restore.pour)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_restore_that_is_killed_anywhere_leaves_nothing_or_all(house: House, tmp_path: Path) -> None:
    """Killed at each step: no gateway takes what is there, and the same command makes a whole folder of it."""
    a_folder(house, tmp_path)
    root, seen = tmp_path / "new", set()
    for count in range(1, 500):
        child = os.fork()
        if child == 0:
            die_at(count)
            restored(FromFolder(tmp_path / "bak"), root)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        assert code in (0, 9)
        is_whole = (root / "holdfast.sqlite3").exists() and not (root / RESTORING).exists()
        seen.add((code, is_whole))
        if not is_whole:
            if (root / RESTORING).exists():
                with pytest.raises(StorageError, match="holdfast restore"):
                    DataFolder(root)
            restored(FromFolder(tmp_path / "bak"), root)
        with closing(DataFolder(root)), snapshot(root) as conn:
            assert not audit(conn).problems
            assert left_open(conn) == ((), ())
        assert all((root / key_of(name)).read_bytes() == picture(name) for name in MADE)
        for path in sorted(root.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        if code == 0:
            break
    assert seen == {(9, False), (9, True), (0, True)}


def test_a_restore_that_fails_leaves_nothing(house: House, tmp_path: Path) -> None:
    """Whatever the reason, the folder is as empty as it was."""
    a_folder(house, tmp_path)
    (tmp_path / "bak" / "secret").write_bytes(bytes(32))
    with pytest.raises(StorageError, match="secret is missing or damaged"):
        restored(FromFolder(tmp_path / "bak"), tmp_path / "new")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["lock"]


# What is refused


def test_a_folder_that_is_not_empty_is_refused(house: House, tmp_path: Path) -> None:
    """What is in it may be somebody's images; one that is in use is told as such."""
    source = a_folder(house, tmp_path)
    with pytest.raises(StorageError, match="in use"):
        restored(source, house.root)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "mine").touch()
    with pytest.raises(StorageError, match=r"not empty \(mine\)"):
        restored(source, tmp_path / "new")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["mine", "lock"] or (tmp_path / "new/mine").exists()


def test_a_damaged_image_is_found_and_can_be_left_behind(house: House, tmp_path: Path) -> None:
    """Every byte is held against the manifest; where it is wanted, the rest is restored."""
    a_folder(house, tmp_path, links=False)
    (tmp_path / "bak" / key_of("A")).write_bytes(b"x" * len(picture("A")))
    (tmp_path / "bak" / key_of("B")).unlink()
    with staging(tmp_path / "new") as place:
        taken = take_in(FromFolder(tmp_path / "bak"), place, keeps_images=False, tell=lambda _: None)
        assert (taken.damaged, taken.named) == (2, [key_of("A"), key_of("B")])
        assert not (place / "blobs").exists()
        settle_in_nothing(place)
    done = restored(FromFolder(tmp_path / "bak"), tmp_path / "new", salvage=True)
    assert done.images_lost == 2
    assert not (tmp_path / "new" / key_of("A")).exists()


def settle_in_nothing(place: Path) -> None:
    """Only look: leave the place as a look leaves it."""
    for path in place.iterdir():
        path.unlink()
    place.rmdir()


def test_a_damaged_database_is_found(house: House, tmp_path: Path) -> None:
    """It is held against its sum as images are, and nothing is restored without it."""
    a_folder(house, tmp_path)
    with (tmp_path / "bak" / "holdfast.sqlite3").open("r+b") as file:
        file.seek(5000)
        file.write(b"\xff" * 10)
    with pytest.raises(StorageError, match=r"holdfast\.sqlite3 is missing or damaged"):
        restored(FromFolder(tmp_path / "bak"), tmp_path / "new")


def test_a_newer_schema_is_refused_before_anything_is_read(house: House, tmp_path: Path) -> None:
    """By its head, with the version that can."""
    a_folder(house, tmp_path)
    manifest = tmp_path / "bak" / MANIFEST
    head, _, rest = manifest.read_text().partition("\n")
    told = json.loads(head)
    assert told["schema"] == len(migrations())
    manifest.write_text(f"{json.dumps({**told, 'schema': 999, 'holdfast': '9.9'})}\n{rest}")
    with pytest.raises(StorageError, match=r"holdfast 9\.9, with schema 999") as refused:
        FromFolder(tmp_path / "bak").head()
    assert refused.value.reason == "newer_schema"


def test_an_older_schema_is_brought_up(tmp_path: Path) -> None:
    """A backup outlives versions: it is migrated as its folder would have been."""
    steps = migrations()[:12]
    with staging(tmp_path / "new") as place:
        (place / "secret").write_bytes(bytes(32))
        with closing(sqlite3.connect(Paths(root=place).database)) as conn:
            for step in steps:
                conn.executescript(step)
            conn.execute(f"PRAGMA user_version = {len(steps)}")
        with brought_up(place) as conn:
            assert conn.execute("PRAGMA user_version").fetchone()[0] == len(migrations())
        with closing(SqliteStore(Paths(root=place).database, "new")) as store:
            put_right(store, place, MOMENT, backup_id="bak_1", is_only_one=False)
        settle_in(tmp_path / "new")
    with snapshot(tmp_path / "new") as conn:
        assert not audit(conn).problems


BAD_NAMES = ("../evil", "/evil", "blobs/../../evil", "holdfast.toml", "blobs/2026/01/17/evil.png", "spool/x.done")


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_leads_elsewhere_is_refused(house: House, tmp_path: Path, name: str) -> None:
    """Nothing is written outside of the folder, whoever made the archive."""
    an_archive(house, tmp_path)
    data = io.BytesIO((tmp_path / "bak.tar").read_bytes())
    made = io.BytesIO()
    with tarfile.open(fileobj=data) as old, tarfile.open(fileobj=made, mode="w") as new:
        for position, info in enumerate(old.getmembers()):
            if position == 1:
                evil = tarfile.TarInfo(name)
                evil.size = 1
                new.addfile(evil, io.BytesIO(b"x"))
            new.addfile(info, old.extractfile(info))
    with pytest.raises(StorageError, match="no data folder holds"):
        restored(FromTar(io.BytesIO(made.getvalue())), tmp_path / "new")
    assert not (tmp_path / "evil").exists()


def test_a_link_in_an_archive_is_refused(house: House, tmp_path: Path) -> None:
    """It would make the gateway serve a file of the machine as an image."""
    an_archive(house, tmp_path)
    made = io.BytesIO()
    with tarfile.open(tmp_path / "bak.tar") as old, tarfile.open(fileobj=made, mode="w") as new:
        for info in old.getmembers():
            if info.name == key_of("B"):
                info = replace_link(info)
                new.addfile(info)
            else:
                new.addfile(info, old.extractfile(info))
    with pytest.raises(StorageError, match="is no file"):
        restored(FromTar(io.BytesIO(made.getvalue())), tmp_path / "new")


def replace_link(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Make a symbolic link of a member."""
    link = tarfile.TarInfo(info.name)
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return link


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_an_archive_that_breaks_off_is_refused(house: House, tmp_path: Path, share: float) -> None:
    """A pipe whose other end died brings no half of a gateway."""
    an_archive(house, tmp_path)
    whole = (tmp_path / "bak.tar").read_bytes()
    content = whole.rstrip(b"\0")
    with pytest.raises(StorageError, match=r"archive|manifest"):
        restored(FromTar(OneWay(content[: int(len(content) * share)])), tmp_path / "new")


def test_what_is_no_archive_is_refused() -> None:
    """With a word for it."""
    with pytest.raises(StorageError, match="no archive"):
        FromTar(io.BytesIO(b"not a tar at all" * 100))


def test_any_tar_reads_it(house: House, tmp_path: Path) -> None:
    """An operator can look into it without us; the manifest says what is in it."""
    an_archive(house, tmp_path)
    with tarfile.open(tmp_path / "bak.tar") as tar:
        names = tar.getnames()
        manifest = tar.extractfile(MANIFEST)
        assert manifest is not None
        lines = [json.loads(line) for line in manifest]
    assert names[0] == backup_files.HEAD
    assert names[-1] == MANIFEST
    assert [line["name"] for line in lines if line["line"] == "file"] == names[1:-1]
    assert lines[-1] == {
        "line": "end",
        "files": len(names) - 2,
        "bytes": sum(line["bytes"] for line in lines if line["line"] == "file"),
    }


def test_a_large_database_is_told_of_on_its_way(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Step by step, and synced in between, so that the gateway's own commits do not wait for all of it at once."""
    synced = []
    real = os.fsync
    monkeypatch.setattr(backup.os, "fsync", lambda fd: (synced.append(fd), real(fd))[1])
    monkeypatch.setattr(backup, "STEP_PAGES", 4)
    monkeypatch.setattr(backup, "SYNC_BYTES", 64 * 1024)
    told: list[backup.Progress] = []
    with closing(ToFolder(tmp_path / "bak")) as target:
        back_up(house.root, target, backup_id="b", now=lambda: LATER, with_images=True, tell=told.append)
    pages = [each.bytes for each in told if not each.of]
    assert pages == sorted(pages)
    assert len(pages) > 10
    assert len(synced) > 4
    assert told[-1] == replace(told[-1], files=4, of=4)
