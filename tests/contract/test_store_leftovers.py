"""The walk through a data folder, and what of it nobody may want any more. Real files, real rows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from holdfast.clock import ulid
from holdfast.policy.retention import ABANDONED_S, INPUT_GRACE_S
from holdfast.store.attempts import begin_attempt, end_attempt
from holdfast.store.blob_keys import key_for
from holdfast.store.generations import accept
from holdfast.store.leftovers import Found, Kind, image_of, is_old_enough, removable, walk
from holdfast.store.lock import DataFolder
from holdfast.store.port import Store
from holdfast.store.records import AttemptEnd, NewAttempt, NewBlob, NewGeneration
from holdfast.types import Charge, Failure, FailureKind, ImageInfo, Phase

NOW = 1_800_000_000.0
OLD = NOW - ABANDONED_S
ATTEMPTS = [f"att_{ulid(1_768_600_000_000 + number, bytes(10))}" for number in range(4)]
UNKNOWN = Failure(kind=FailureKind.LOST_REPLY, phase=Phase.WAIT, charge=Charge.UNKNOWN, detail="the connection ended")
UNPAID = Failure(kind=FailureKind.OVERLOADED, phase=Phase.RECEIVE, charge=Charge.NO, detail="busy", status=503)
DAY = "blobs/2026/01/17"
INPUT = "inputs/" + "ab" * 32


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DataFolder]:
    """A data folder."""
    with DataFolder(tmp_path / "data") as made:
        yield made


@pytest.fixture
def store(database: Any) -> Any:
    """Its rows, in each engine."""
    return database.open()


def left(folder: DataFolder, key: str, written_unix_s: float = OLD) -> None:
    """Leave a file that was written then."""
    path = folder.paths.root / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"bytes")
    os.utime(path, (written_unix_s, written_unix_s))


def found(folder: DataFolder) -> list[tuple[str, str]]:
    """What a walk finds, in its order."""
    return [(each.kind.value, each.key) for each in walk(folder.paths.root)]


def sent(store: Store, attempt_id: str, *, inputs: tuple[str, ...] = ()) -> None:
    """Leave an attempt in flight, with a generation of its own."""
    generation_id = attempt_id.replace("att_", "gen_")
    new = NewGeneration(
        id=generation_id,
        key_id="key_1",
        surface="openai",
        model="m",
        tier="1K",
        size="1x1",
        n=1,
        parts=1,
        request=b"{}",
        deadline_at="2026-01-17T12:00:00.000Z",
        hard_deadline=False,
        created_at="2026-01-17T12:00:00.000Z",
        currency="USD",
        unit_micros=1,
        held_micros=1,
        inputs=inputs,
    )
    attempt = NewAttempt(
        id=attempt_id,
        generation_id=generation_id,
        part=0,
        drive=0,
        upstream="u",
        provider="openai",
        model="m",
        idempotency_key="k",
        estimated_micros=1,
        owner="me",
        sent_at="2026-01-17T12:00:00.000Z",
    )
    store.write_sync(accept, new)
    assert store.write_sync(begin_attempt, attempt) == 1


def settled(store: Store, attempt_id: str, *keys: str, failure: Failure | None = None) -> None:
    """End an attempt, with images of these keys."""
    info = ImageInfo(mime="image/png", width_px=1, height_px=1, bytes=5, sha256="ab" * 32)
    blobs = tuple(
        NewBlob(id=f"img_{key}", kind="result", position=at, store_key=key, info=info) for at, key in enumerate(keys)
    )
    values: dict[str, Any] = {"at": "2026-01-17T12:00:00.000Z", "purge_after": "2026-01-24T12:00:00.000Z"}
    store.write_sync(end_attempt, AttemptEnd(attempt_id=attempt_id, blobs=blobs, failure=failure, **values))


def removed(store: Store, folder: DataFolder, now: float = NOW) -> list[str]:
    """What may be removed of all that there is."""
    return [each.key for each in store.write_sync(removable, list(walk(folder.paths.root)), now)]


# The walk


def test_a_walk_goes_through_spool_inputs_and_days_oldest_first(folder: DataFolder) -> None:
    """Each day is followed by its folder, once all its files were seen."""
    one, two, three, four = ATTEMPTS
    for key in (f"blobs/2026/02/01/{three}-0.png", f"{DAY}/{one}-0.png", f"blobs/2025/12/31/{two}-1.jpg"):
        left(folder, key)
    left(folder, f"spool/{four}-0.part")
    left(folder, INPUT)
    assert found(folder) == [
        ("spool", f"spool/{four}-0.part"),
        ("input", INPUT),
        ("blob", f"blobs/2025/12/31/{two}-1.jpg"),
        ("folder", "blobs/2025/12/31"),
        ("folder", "blobs/2025/12"),
        ("folder", "blobs/2025"),
        ("blob", f"{DAY}/{one}-0.png"),
        ("folder", DAY),
        ("folder", "blobs/2026/01"),
        ("blob", f"blobs/2026/02/01/{three}-0.png"),
        ("folder", "blobs/2026/02/01"),
        ("folder", "blobs/2026/02"),
        ("folder", "blobs/2026"),
    ]


def test_names_that_are_not_ours_are_passed_by(folder: DataFolder) -> None:
    """An operator's note, a request that is being read, a folder of somebody's: no walk ever sees them."""
    for key in (
        "spool/input-req_1-0.part",
        "spool/notes.txt",
        "inputs/README",
        f"{DAY}/holiday.png",
        f"{DAY}/att_short-0.png",
        "blobs/old/att_x",
        "blobs/2026/01/lost+found/a",
    ):
        left(folder, key)
    assert [kind for kind, _ in found(folder) if kind != "folder"] == []


def test_a_walk_rests_and_goes_on(folder: DataFolder) -> None:
    """A few at a time, none twice, though files come and go meanwhile."""
    for at in range(30):
        left(folder, f"{DAY}/{ATTEMPTS[0]}-{at}.png")
    left(folder, f"blobs/2026/01/18/{ATTEMPTS[1]}-0.png")
    walking = walk(folder.paths.root)
    seen: list[str] = []
    while piece := [each.key for each in islice(walking, 7)]:
        assert len(piece) <= 7
        for key in piece:
            if key.endswith(".png"):
                (folder.paths.root / key).unlink()
        seen += piece
    assert len([key for key in seen if key.endswith(".png")]) == len(set(seen)) - 4 == 31


def test_what_goes_during_a_walk_breaks_nothing(folder: DataFolder) -> None:
    """A day that was removed after its month was listed; a spool that is emptied all the time."""
    left(folder, f"{DAY}/{ATTEMPTS[0]}-0.png")
    left(folder, f"blobs/2026/01/18/{ATTEMPTS[1]}-0.png")
    walking = walk(folder.paths.root)
    assert next(walking).key.startswith(DAY)
    (folder.paths.root / f"blobs/2026/01/18/{ATTEMPTS[1]}-0.png").unlink()
    (folder.paths.root / "blobs/2026/01/18").rmdir()
    assert [each.key for each in walking] == [DAY, "blobs/2026/01", "blobs/2026"]


def test_a_walk_that_is_given_up_leaves_nothing_open(folder: DataFolder) -> None:
    """Closed in the middle of a day, its descriptor goes with it."""
    for at in range(3):
        left(folder, f"{DAY}/{ATTEMPTS[0]}-{at}.png")
    before = len(list(Path("/proc/self/fd").iterdir()))
    walking = walk(folder.paths.root)
    next(walking)
    del walking
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# What may be removed


def test_an_image_with_a_row_is_kept_until_its_tombstone(store: Store, folder: DataFolder) -> None:
    """Marked or not; a file that came back after a crash, its name's removal undone, goes then."""
    key = f"{DAY}/{ATTEMPTS[0]}-0.png"
    left(folder, key)
    sent(store, ATTEMPTS[0])
    settled(store, ATTEMPTS[0], key)
    for state, goes in (("stored", False), ("deleting", False), ("deleted", True)):
        store.write_sync(
            lambda conn, state=state: conn.execute("UPDATE blob SET state = :state", {"state": state}).rowcount
        )
        assert (key in removed(store, folder)) is goes


def test_an_image_whose_attempt_may_still_be_settled_is_left_to_recovery(store: Store, folder: DataFolder) -> None:
    """In flight, or unknown: it may be paid for."""
    keys = [f"{DAY}/{attempt}-0.png" for attempt in ATTEMPTS[:3]]
    for key in keys:
        left(folder, key)
    for attempt in ATTEMPTS[:3]:
        sent(store, attempt)
    settled(store, ATTEMPTS[1], failure=UNKNOWN)
    settled(store, ATTEMPTS[2], failure=UNPAID)
    assert [key for key in removed(store, folder) if key in keys] == [keys[2]]


def test_an_image_of_an_attempt_that_never_was_goes_when_it_is_a_day_old(store: Store, folder: DataFolder) -> None:
    """A folder that was restored from two backups, say. A young one may be on its way to its row."""
    old, young = f"{DAY}/{ATTEMPTS[0]}-0.png", f"{DAY}/{ATTEMPTS[1]}-0.png"
    left(folder, old)
    left(folder, young, OLD + 1)
    keys = removed(store, folder)
    assert old in keys
    assert young not in keys
    assert not set(removed(store, folder, NOW - 1)) & {old, young}


def test_spool_files_of_what_is_settled_go(store: Store, folder: DataFolder) -> None:
    """All of them; those of an attempt whose answer is still to be taken in stay."""
    for attempt in ATTEMPTS[:3]:
        sent(store, attempt)
        for suffix in ("-0.done", "-1.part", ".answer"):
            left(folder, f"spool/{attempt}{suffix}")
    settled(store, ATTEMPTS[0], f"{DAY}/{ATTEMPTS[0]}-0.png")
    settled(store, ATTEMPTS[1], failure=UNKNOWN)
    gone = {f"spool/{ATTEMPTS[0]}{suffix}" for suffix in ("-0.done", "-1.part", ".answer")}
    assert set(removed(store, folder)) == gone


def test_a_reference_image_that_no_generation_names_goes(store: Store, folder: DataFolder) -> None:
    """Its request was never accepted, or is purged; an hour is enough for one that is being read."""
    named = "inputs/" + "cd" * 32
    sent(store, ATTEMPTS[0], inputs=(named,))
    left(folder, INPUT, NOW - INPUT_GRACE_S)
    left(folder, named)
    left(folder, "inputs/" + "ef" * 32, NOW - INPUT_GRACE_S + 1)
    assert removed(store, folder) == [INPUT]


@pytest.mark.parametrize("kind", Kind)
def test_what_is_young_is_not_asked_about(kind: Kind) -> None:
    """Nearly everything is: it costs no look at the rows. A clock that was set back makes everything young."""
    age_s = INPUT_GRACE_S if kind is Kind.INPUT else ABANDONED_S
    assert is_old_enough(Found(kind, "key", NOW - age_s), NOW)
    assert not is_old_enough(Found(kind, "key", NOW - age_s + 1), NOW)
    assert not is_old_enough(Found(kind, "key", NOW + 5), NOW)


# Thumbnails


def test_thumbnails_stay_as_long_as_their_image(folder: DataFolder, store: Any) -> None:
    """One that a crash kept after its image was deleted goes with the next walk; names that are none are passed by."""
    one, two, *_ = ATTEMPTS
    kept, stray = f"{one}-0.png", f"{two}-1.webp"
    sent(store, one)
    settled(store, one, key_for(one, 0, "png"))
    for name in (f"{kept}.320.webp", f"{kept}.640.webp", f"{stray}.320.webp", "7.part", f"att_{'Z' * 26}-0.png.1.webp"):
        left(folder, f"thumbnails/{name}")
    assert {key for kind, key in found(folder) if kind == "thumbnail"} == {
        f"thumbnails/{name}.webp" for name in (f"{kept}.320", f"{kept}.640", f"{stray}.320")
    }
    assert removed(store, folder) == [f"thumbnails/{stray}.320.webp"]
    assert removed(store, folder, NOW - 1) == []
    assert image_of(f"thumbnails/{kept}.320.webp") == key_for(one, 0, "png")
