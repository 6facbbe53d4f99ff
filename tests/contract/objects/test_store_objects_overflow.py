"""What a bucket does not take, where several processes share a database: all of them have it from there, and one moves
it when the bucket is back."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast.clock import SystemClock, rfc3339
from holdfast.engine.mover import Mover
from holdfast.store.blob_keys import key_for
from holdfast.store.blob_port import Lying
from holdfast.store.leftovers import Kind
from holdfast.store.objects.blobs import ObjectBlobs
from holdfast.store.objects.bucket import Bucket
from holdfast.store.objects.mishaps import ObjectError
from holdfast.store.overflow import Overflow
from holdfast.threads import Threads

ATTEMPT = "att_01JHSA0000000000000000000A"
KEY, OTHER = key_for(ATTEMPT, 0, "png"), key_for(ATTEMPT, 1, "jpg")
CONTENT = b"image" * 1000
BYTES_MAX = 1 << 20


def digest(content: bytes = CONTENT) -> str:
    """Hexadecimal."""
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def overflow(database: Any) -> Overflow:
    """Of each engine: only the tests put it beside an embedded one."""
    clock = SystemClock()
    return Overflow(database.open(), bytes_max=BYTES_MAX, now=lambda: rfc3339(clock.now()))


@pytest.fixture
def machine(blobs_at: Callable[..., ObjectBlobs], path: Any, overflow: Overflow) -> Callable[[str], ObjectBlobs]:
    """Make processes with disks of their own, before one bucket and one database."""
    return lambda name: blobs_at(name, endpoint=path.endpoint, overflow=overflow)


@pytest.fixture
async def moving(overflow: Overflow) -> AsyncIterator[Callable[..., Mover]]:
    """Make what moves."""
    threads = Threads(4, "test")

    def mover_of(blobs: ObjectBlobs, *, leads: bool) -> Mover:
        clock = SimpleNamespace(new_id=lambda prefix: f"{prefix}_1")
        core: Any = SimpleNamespace(with_blobs=threads.run, leads=lambda: leads, clock=clock)
        return Mover(core, blobs)

    yield mover_of
    threads.close(wait=True)


def content_of(blobs: ObjectBlobs, key: str) -> bytes:
    """Read as a machine does that never had it."""
    return Path(blobs.bring(key, digest())).read_bytes()


def on_disk(blobs: ObjectBlobs) -> list[str]:
    """What waits in the data folder."""
    return list(blobs.waiting(of_all=False))


def test_what_one_could_not_put_another_reads(
    path: Any, machine: Callable[[str], ObjectBlobs], a_file: Callable[..., Path]
) -> None:
    """From the database; no address of the bucket is given for it, and nothing lies on the first one's disk alone."""
    path.always = "forbidden"
    first, second = machine("first"), machine("second")
    first.put_file(KEY, a_file(CONTENT))
    assert on_disk(first) == []
    assert Path(second.bring(KEY, digest())).read_bytes() == CONTENT
    assert second.signed_url(KEY, 60.0) is None
    assert first.here(KEY) is not None, "it is in the cache of whoever had it"


def test_a_bucket_that_is_away_is_not_asked_for_what_is_in_the_database(
    path: Any, machine: Callable[[str], ObjectBlobs], a_file: Callable[..., Path]
) -> None:
    """Whoever reads waits for no store that does not answer."""
    path.always = "forbidden"
    machine("first").put_file(KEY, a_file(CONTENT))
    seen = len(path.seen)
    machine("second").bring(KEY, digest())
    assert len(path.seen) == seen


async def test_the_one_that_leads_moves_it_when_the_bucket_is_back(
    path: Any,
    machine: Callable[[str], ObjectBlobs],
    a_file: Callable[..., Path],
    overflow: Overflow,
    bucket: Bucket,
    moving: Callable[..., Mover],
) -> None:
    """Others only find that it is back; afterwards the database is empty, and the bucket has what was put, checked."""
    path.always = "forbidden"
    first, leader = machine("first"), machine("leader")
    first.put_file(KEY, a_file(CONTENT))
    first.put_shared(f"inputs/{digest(b'input')}", a_file(b"input"))
    assert not await moving(leader, leads=True).look()
    assert len(list(overflow.all())) == 2
    path.always = None
    assert await moving(first, leads=False).look()
    assert not first.is_away
    assert len(list(overflow.all())) == 2
    assert await moving(leader, leads=True).look()
    assert list(overflow.all()) == []
    assert bucket.head(KEY).sha256 == digest()
    assert bucket.head(f"inputs/{digest(b'input')}").sha256 == digest(b"input")
    third = machine("third")
    assert content_of(third, KEY) == CONTENT
    assert third.signed_url(KEY, 60.0) is not None


def test_a_move_that_broke_off_is_made_again_by_anybody(
    path: Any,
    machine: Callable[[str], ObjectBlobs],
    a_file: Callable[..., Path],
    overflow: Overflow,
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The image lies in both places for a moment, and in none never."""
    path.always = "forbidden"
    machine("first").put_file(KEY, a_file(CONTENT))
    path.always = None
    second = machine("second")
    with monkeypatch.context() as patch:
        patch.setattr(overflow, "remove", lambda _: (_ for _ in ()).throw(OSError(5, "killed here")))
        with pytest.raises(OSError, match="killed here"):
            second.move(KEY)
    assert bucket.head(KEY).bytes == len(CONTENT)
    assert overflow.find(KEY) is not None
    assert machine("third").move(KEY)
    assert overflow.find(KEY) is None
    assert not machine("fourth").move(KEY), "it is gone from here"


def test_what_does_not_fit_stays_on_the_disk(
    path: Any, machine: Callable[[str], ObjectBlobs], a_file: Callable[..., Path]
) -> None:
    """A full database is not made fuller; the image waits where it is, and is moved by its own process."""
    path.always = "forbidden"
    first = machine("first")
    big = b"x" * (BYTES_MAX + 1)
    first.put_file(KEY, a_file(big))
    assert on_disk(first) == [KEY]
    path.always = None
    assert first.move(KEY)
    assert Path(machine("second").bring(KEY, digest(big))).stat().st_size == len(big)


def test_with_database_and_bucket_away_the_disk_has_it(
    path: Any, machine: Callable[[str], ObjectBlobs], a_file: Callable[..., Path], database: Any
) -> None:
    """What is paid for is kept wherever it can be."""
    path.always = "forbidden"
    first = machine("first")
    database.close()
    first.put_file(KEY, a_file(CONTENT))
    assert on_disk(first) == [KEY]
    here = first.here(KEY)
    assert here is not None
    assert Path(here).read_bytes() == CONTENT


def test_an_image_to_start_from_is_there_for_whoever_sends_it_on(
    path: Any, machine: Callable[[str], ObjectBlobs], a_file: Callable[..., Path]
) -> None:
    """Uploaded to one, worked on by another, with the bucket away; it is deleted when nobody has wanted it for long."""
    path.always = "forbidden"
    key = f"inputs/{digest()}"
    machine("first").put_shared(key, a_file(CONTENT))
    second = machine("second")
    assert Path(second.bring(key, digest())).read_bytes() == CONTENT
    assert not second.delete_shared(key, older_than_unix_s=time.time() - 60.0)
    assert machine("third").bring(key, digest())
    path.always = None
    assert second.delete_shared(key, older_than_unix_s=time.time() + 60.0)
    with pytest.raises(FileNotFoundError):
        machine("fourth").bring(key, digest())


def test_a_result_that_is_in_the_database_becomes_an_input(
    path: Any, machine: Callable[[str], ObjectBlobs], a_file: Callable[..., Path], bucket: Bucket
) -> None:
    """By a process that never had it, with the bucket away or back."""
    path.always = "forbidden"
    machine("first").put_file(KEY, a_file(CONTENT))
    key = f"inputs/{digest()}"
    machine("second").put_again(key, KEY)
    assert Path(machine("third").bring(key, digest())).read_bytes() == CONTENT
    path.always = None
    machine("fourth").put_again(key, KEY)
    assert bucket.head(key).sha256 == digest()


def test_what_is_deleted_is_deleted_there_too(
    path: Any, machine: Callable[[str], ObjectBlobs], a_file: Callable[..., Path], overflow: Overflow
) -> None:
    """With one of several, by itself, and again."""
    path.always = "forbidden"
    first = machine("first")
    for key in (KEY, OTHER):
        first.put_file(key, a_file(key.encode()))
    path.always = None
    second = machine("second")
    assert second.delete_files([KEY]) == [None]
    second.delete(OTHER)
    second.delete(OTHER)
    assert list(overflow.all()) == []
    for key in (KEY, OTHER):
        with pytest.raises(FileNotFoundError):
            machine("third").bring(key, digest(key.encode()))


def test_all_that_was_put_of_an_attempt_is_found(
    path: Any, machine: Callable[[str], ObjectBlobs], a_file: Callable[..., Path], overflow: Overflow
) -> None:
    """In the bucket, in the database and on the disk, each once; of another attempt nothing."""
    first = machine("first")
    keys = [key_for(ATTEMPT, at, "png") for at in range(3)]
    neighbours = [key_for(f"{ATTEMPT[:-1]}{last}", 0, "png") for last in "09BZ"]
    for key in (keys[0], *neighbours):
        first.put_file(key, a_file(key.encode()))
    path.always = "forbidden"
    first.put_file(keys[1], a_file(keys[1].encode()))
    first.put_file(keys[2], a_file(keys[2].encode() * BYTES_MAX))
    assert on_disk(first) == [keys[2]]
    path.always = None
    found = first.of_attempt(ATTEMPT)
    assert found[:2] == [Lying(key, digest(key.encode())) for key in keys[:2]]
    assert [each.key for each in found] == keys
    assert [each.key for each in machine("second").of_attempt(ATTEMPT)] == keys[:2]
    assert first.of_attempt("att_01JHSA0000000000000000000M") == []


def test_what_the_bucket_did_not_take_is_known_without_it(
    path: Any, machine: Callable[[str], ObjectBlobs], a_file: Callable[..., Path]
) -> None:
    """A worker that died while the bucket was away has left all that it had in the database."""
    path.always = "refused"
    keys = [key_for(ATTEMPT, at, "png") for at in (0, 1)]
    first = machine("first")
    for key in keys:
        first.put_file(key, a_file(key.encode()))
    assert machine("second").of_attempt(ATTEMPT) == [Lying(key, digest(key.encode())) for key in keys]


def test_without_its_first_image_an_attempt_is_not_known_while_the_bucket_is_away(
    path: Any, machine: Callable[[str], ObjectBlobs], a_file: Callable[..., Path]
) -> None:
    """The first one may lie in the bucket: settled without it, a paid image would be nobody's."""
    keys = [key_for(ATTEMPT, at, "png") for at in (0, 1)]
    first = machine("first")
    first.put_file(keys[0], a_file(keys[0].encode()))
    path.always = "refused"
    first.put_file(keys[1], a_file(keys[1].encode()))
    with pytest.raises(ObjectError):
        machine("second").of_attempt(ATTEMPT)
    path.always = None
    assert [each.key for each in machine("second").of_attempt(ATTEMPT)] == keys


def test_what_no_row_may_know_is_walked_past(
    path: Any, machine: Callable[[str], ObjectBlobs], a_file: Callable[..., Path]
) -> None:
    """As files and objects are, each of its kind, with its age."""
    path.always = "forbidden"
    first = machine("first")
    first.put_file(KEY, a_file(CONTENT))
    first.put_shared(f"inputs/{digest()}", a_file(CONTENT))
    path.always = None
    found = {each.key: each for each in machine("second").walk()}
    assert (found[KEY].kind, found[KEY].attempt_id) == (Kind.BLOB, ATTEMPT)
    assert found[f"inputs/{digest()}"].kind is Kind.INPUT
    assert abs(found[KEY].written_unix_s - time.time()) < 60.0
