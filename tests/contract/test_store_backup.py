"""A backup holds a data folder as of one moment; restored, all is there, or is said to be gone."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import StorageError
from holdfast.store import backup, backup_files, spool
from holdfast.store.attempts import get_attempt
from holdfast.store.audit import audit
from holdfast.store.backup import back_up
from holdfast.store.backup_files import ToFolder, ToTar
from holdfast.store.generations import get_record, left_open
from holdfast.store.lock import DataFolder
from holdfast.store.reading import snapshot
from holdfast.store.restore import FromFolder, FromTar, Source
from holdfast.store.restored import LEFT_OPEN

from .backups import (
    AT,
    EVER,
    FORMS,
    LATER,
    MADE,
    POLLED,
    PRICE,
    SENT,
    SPOOLED,
    WAITING,
    House,
    OneWay,
    a_folder,
    att,
    gen,
    key_of,
    picture,
    record_of,
    restored,
)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A gateway's folder, in use."""
    made = House(tmp_path / "data")
    yield made
    made.close()


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
