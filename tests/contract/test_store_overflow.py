"""Images in the database while the bucket does not take them: whole or not there, bounded, the same in both engines."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from holdfast.store import overflow as module
from holdfast.store.overflow import PIECE_BYTES, Kept, Overflow

DAY = "blobs/2026/01/17"
KEY = f"{DAY}/att_01JHSA0000000000000000000A-0.png"
BYTES_MAX = 8 * PIECE_BYTES


@pytest.fixture
def clock() -> Callable[[], str]:
    """A second passes from one look to the next."""
    seconds = count()
    return lambda: f"2026-01-17T12:00:{next(seconds):02}.000Z"


@pytest.fixture
def overflow(database: Any, clock: Callable[[], str]) -> Overflow:
    """An empty one."""
    return Overflow(database.open(), bytes_max=BYTES_MAX, now=clock)


@pytest.fixture
def a_file(tmp_path: Path) -> Callable[[bytes], Path]:
    """Make files."""
    numbers = count()

    def a_file(content: bytes) -> Path:
        made = tmp_path / f"file-{next(numbers)}"
        made.write_bytes(content)
        return made

    return a_file


def put(overflow: Overflow, source: Path, key: str = KEY) -> bool:
    """Put a file under its digest."""
    return overflow.put(key, source, hashlib.sha256(source.read_bytes()).hexdigest())


def read(overflow: Overflow, key: str = KEY) -> bytes | None:
    """All bytes of an image; None: it is not there."""
    kept = overflow.find(key)
    return None if kept is None else b"".join(overflow.pieces(kept))


def noise(size: int) -> bytes:
    """Bytes of which no two pieces are alike."""
    return hashlib.shake_128(b"noise").digest(size)


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 5 * PIECE_BYTES // 2])
def test_what_was_put_is_given_back(overflow: Overflow, a_file: Callable[[bytes], Path], size: int) -> None:
    """In pieces of a bounded size, whatever the image has."""
    content = noise(size)
    assert put(overflow, a_file(content))
    kept = overflow.find(KEY)
    assert kept is not None
    assert (kept.key, kept.sha256, kept.bytes) == (KEY, hashlib.sha256(content).hexdigest(), size)
    pieces = list(overflow.pieces(kept))
    assert b"".join(pieces) == content
    assert all(len(piece) <= PIECE_BYTES for piece in pieces)


def test_nothing_is_nothing(overflow: Overflow) -> None:
    """Not found, not listed, and removed without complaint."""
    assert overflow.find(KEY) is None
    assert list(overflow.all()) == []
    overflow.remove([KEY])


def test_of_what_broke_off_nobody_reads(
    overflow: Overflow, a_file: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not found, nor part of an attempt, but listed as a leftover; put again it is whole."""
    content = noise(3 * PIECE_BYTES)
    add_piece = module.add_piece

    def broken(conn: Any, key: str, n: int, piece: bytes) -> None:
        if n == 2:
            raise OSError(5, "killed here")
        add_piece(conn, key, n, piece)

    monkeypatch.setattr(module, "add_piece", broken)
    with pytest.raises(OSError, match="killed here"):
        put(overflow, a_file(content))
    assert overflow.find(KEY) is None
    assert overflow.beginning_with(KEY[:-5]) == []
    assert [(kept.key, kept.is_whole) for kept in overflow.all()] == [(KEY, False)]
    monkeypatch.undo()
    assert put(overflow, a_file(content))
    assert read(overflow) == content


def test_a_put_of_what_is_there_makes_it_young(overflow: Overflow, a_file: Callable[[bytes], Path]) -> None:
    """And takes no room a second time, however full it is."""
    content = noise(BYTES_MAX)
    assert put(overflow, a_file(content))
    (first,) = overflow.all()
    assert put(overflow, a_file(content))
    (second,) = overflow.all()
    assert second.written_at > first.written_at
    assert read(overflow) == content


def test_what_is_put_anew_with_other_bytes_is_replaced(overflow: Overflow, a_file: Callable[[bytes], Path]) -> None:
    """Shorter ones too: no piece of the first one is left."""
    assert put(overflow, a_file(noise(3 * PIECE_BYTES)))
    assert put(overflow, a_file(b"other"))
    assert read(overflow) == b"other"


def test_there_is_no_room_beyond_the_bytes(overflow: Overflow, a_file: Callable[[bytes], Path]) -> None:
    """Exactly; what is removed makes room."""
    assert put(overflow, a_file(noise(BYTES_MAX - 1)), "inputs/a")
    assert put(overflow, a_file(b"x"), "inputs/b")
    assert not put(overflow, a_file(b"y"), "inputs/c")
    assert overflow.find("inputs/c") is None
    overflow.remove(["inputs/b"])
    assert put(overflow, a_file(b"y"), "inputs/c")


def test_there_is_no_room_beyond_the_count(
    overflow: Overflow, a_file: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However small they are."""
    monkeypatch.setattr(module, "IMAGES_MAX", 2)
    assert [put(overflow, a_file(b"x"), f"inputs/{each}") for each in "abc"] == [True, True, False]


def test_many_at_once_take_no_more_than_there_is(overflow: Overflow, a_file: Callable[[bytes], Path]) -> None:
    """Of twelve images of a mebibyte eight have room."""
    sources = [a_file(noise(PIECE_BYTES)) for _ in range(12)]
    with ThreadPoolExecutor(12) as threads:
        taken = list(threads.map(lambda at: put(overflow, sources[at], f"inputs/{at}"), range(12)))
    assert sum(taken) == 8
    assert sorted(kept.key for kept in overflow.all()) == sorted(f"inputs/{at}" for at in range(12) if taken[at])


def test_the_same_put_by_several_at_once_is_there_once(overflow: Overflow, a_file: Callable[[bytes], Path]) -> None:
    """Each is told that it is kept, or that another one was there; what is there is whole."""
    content = noise(2 * PIECE_BYTES)
    sources = [a_file(content) for _ in range(6)]

    def attempt(source: Path) -> bool | OSError:
        try:
            return put(overflow, source)
        except OSError as exc:
            return exc

    with ThreadPoolExecutor(6) as threads:
        told = list(threads.map(attempt, sources))
    assert True in told
    assert read(overflow) == content


def test_what_is_removed_while_it_is_read_is_not_there(overflow: Overflow, a_file: Callable[[bytes], Path]) -> None:
    """As it is with a file that was moved."""
    assert put(overflow, a_file(noise(2 * PIECE_BYTES)))
    kept = overflow.find(KEY)
    assert kept is not None
    pieces = overflow.pieces(kept)
    next(pieces)
    overflow.remove([KEY])
    with pytest.raises(FileNotFoundError):
        next(pieces)


def test_those_of_an_attempt_are_found(overflow: Overflow, a_file: Callable[[bytes], Path]) -> None:
    """And none of another one, however alike their names are."""
    ours = [KEY, KEY.replace("-0.png", "-1.jpg"), KEY.replace("-0.png", "-10.webp")]
    others = [KEY.replace("A-0", "B-0"), KEY.replace("A-0", "0-0"), f"{DAY}/att_01JHSA0000000000000000000A"]
    for key in (*ours, *others):
        assert put(overflow, a_file(b"x"), key)
    found = overflow.beginning_with(KEY.partition("-")[0] + "-")
    assert [kept.key for kept in found] == sorted(ours)
    assert all(isinstance(kept, Kept) for kept in found)


def test_all_are_listed_the_oldest_first(
    overflow: Overflow, a_file: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few at a time; what is removed meanwhile is passed by, and what is not seen yet is not lost."""
    monkeypatch.setattr(module, "LISTED", 2)
    keys = [f"inputs/{each}" for each in "edcba"]
    for key in keys:
        assert put(overflow, a_file(b"x"), key)
    listing = overflow.all()
    assert next(listing).key == keys[0]
    overflow.remove(keys[:3])
    assert [kept.key for kept in listing][-2:] == keys[3:]


def test_a_database_that_is_away_is_told_as_a_place_that_fails(
    overflow: Overflow, a_file: Callable[[bytes], Path], database: Any
) -> None:
    """Whoever puts there puts elsewhere, as with any disk."""
    source = a_file(b"x")
    database.close()
    with pytest.raises(OSError, match="overflow"):
        put(overflow, source)
    with pytest.raises(OSError, match="overflow"):
        overflow.find(KEY)
