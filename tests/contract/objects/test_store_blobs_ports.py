"""What every place for images keeps to, whatever holds them: a local disk, or a bucket of a real S3 server."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.store.blob_keys import key_for
from holdfast.store.blob_port import Blobs, Lying, Place
from holdfast.store.blobs import LocalBlobs
from holdfast.store.leftovers import Kind

ATTEMPT = "att_01JHSA0000000000000000000A"
KEY = f"blobs/2026/01/17/{ATTEMPT}-0.png"
OTHER = KEY.replace("-0.png", "-1.jpg")


def digest(content: bytes) -> str:
    """Hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def input_key(content: bytes) -> str:
    """Where a request's image has its place."""
    return f"inputs/{digest(content)}"


@pytest.fixture(params=["local", "bucket"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    """An empty place of each kind."""
    if request.param == "bucket":
        return request.getfixturevalue("blobs_at")()
    root = tmp_path / "root"
    for name in ("spool", "blobs", "inputs"):
        (root / name).mkdir(parents=True)
    return LocalBlobs(root)


def read(blobs: Blobs, key: str, content: bytes = b"image") -> bytes:
    """Read as the gateway does: from this disk, to which it is brought first."""
    here = blobs.here(key)
    if here is not None and Path(here).exists():
        return Path(here).read_bytes()
    return Path(blobs.bring(key, digest(content))).read_bytes()


def is_there(blobs: Blobs, key: str) -> bool:
    """Whether there is a blob, wherever it lies."""
    try:
        read(blobs, key)
    except FileNotFoundError:
        return False
    return True


def test_what_was_put_is_there(blobs: Blobs, a_file: Callable[..., Path]) -> None:
    """Under its key; the source is still its owner's."""
    source = a_file()
    assert not is_there(blobs, KEY)
    blobs.put_file(KEY, source)
    source.unlink()
    assert read(blobs, KEY) == b"image"


def test_a_second_put_of_the_same_is_no_error(blobs: Blobs, a_file: Callable[..., Path]) -> None:
    """A recovery puts again what it cannot know to be there."""
    for _ in range(2):
        blobs.put_file(KEY, a_file())
    assert read(blobs, KEY) == b"image"


def test_of_many_that_put_the_same_at_once_none_fails(blobs: Blobs, a_file: Callable[..., Path]) -> None:
    """Two processes may recover one attempt: one of them creates, the others find it done."""
    content = os.urandom(300_000)
    sources = [a_file(content) for _ in range(8)]
    failures: list[BaseException] = []

    def put(source: Path) -> None:
        try:
            blobs.put_file(KEY, source)
        except OSError as exc:
            failures.append(exc)

    threads = [threading.Thread(target=put, args=(source,)) for source in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert read(blobs, KEY, content) == content


def test_a_missing_source_is_an_error_and_leaves_nothing(blobs: Blobs, tmp_path: Path) -> None:
    """It is never taken for "already there"."""
    with pytest.raises(FileNotFoundError):
        blobs.put_file(KEY, tmp_path / "none")
    assert not is_there(blobs, KEY)


def test_groups_are_told_apart(blobs: Blobs, a_file: Callable[..., Path], tmp_path: Path) -> None:
    """One answer whose file is gone keeps nobody else's from its place."""
    groups = [[Place(KEY, a_file(b"one"), digest(b"one"))], [(OTHER, tmp_path / "none")], [("blobs/x-2.png", a_file())]]
    first, second, third = blobs.put_files(groups)
    assert (first, third) == (None, None)
    assert isinstance(second, FileNotFoundError)
    assert read(blobs, KEY, b"one") == b"one"
    assert not is_there(blobs, OTHER)


def test_an_empty_file_is_a_file(blobs: Blobs, a_file: Callable[..., Path]) -> None:
    """No image is, but nothing here judges that."""
    blobs.put_file(KEY, a_file(b""))
    assert read(blobs, KEY, b"") == b""


def test_deleting_twice_is_deleting_once(blobs: Blobs, a_file: Callable[..., Path]) -> None:
    """A sweeper that was killed half-way begins again; the neighbours stay."""
    for key in (KEY, OTHER):
        blobs.put_file(key, a_file())
    for _ in range(2):
        blobs.delete(KEY)
    blobs.delete("blobs/1999/01/01/att_never-0.png")
    assert not is_there(blobs, KEY)
    assert is_there(blobs, OTHER)
    blobs.put_file(KEY, a_file(b"again"))
    assert read(blobs, KEY, b"again") == b"again"


def test_several_are_deleted_together(blobs: Blobs, a_file: Callable[..., Path]) -> None:
    """Those that are gone count as deleted."""
    blobs.put_file(KEY, a_file())
    assert blobs.delete_files([KEY, OTHER]) == [None, None]
    assert not is_there(blobs, KEY)


def test_a_shared_file_is_put_once_and_found_by_all(blobs: Blobs, a_file: Callable[..., Path]) -> None:
    """Ten requests with the same image keep one."""
    key = input_key(b"cat")
    for _ in range(3):
        blobs.put_shared(key, a_file(b"cat"))
    assert read(blobs, key, b"cat") == b"cat"


def test_a_shared_file_that_was_put_lately_stays(blobs: Blobs, a_file: Callable[..., Path]) -> None:
    """Whoever put it has perhaps not named it in a row yet."""
    key, source = input_key(b"cat"), a_file(b"cat")
    blobs.put_shared(key, source)
    now = source.stat().st_mtime
    assert not blobs.delete_shared(key, older_than_unix_s=now - 60)
    assert read(blobs, key, b"cat") == b"cat"
    assert blobs.delete_shared(key, older_than_unix_s=now + 60)
    assert not is_there(blobs, key)
    assert blobs.delete_shared(key, older_than_unix_s=now)


def test_a_result_becomes_an_input(blobs: Blobs, a_file: Callable[..., Path]) -> None:
    """It outlives the result that it was."""
    blobs.put_file(KEY, a_file(b"cat"))
    blobs.put_again(input_key(b"cat"), KEY)
    blobs.delete(KEY)
    assert read(blobs, input_key(b"cat"), b"cat") == b"cat"


def test_a_result_that_is_gone_becomes_nothing(blobs: Blobs) -> None:
    """Its caller is told that it has been deleted."""
    with pytest.raises(FileNotFoundError):
        blobs.put_again(input_key(b"cat"), KEY)


@pytest.mark.parametrize("key", ["/etc/passwd", "../secret", "blobs/../../secret", "blobs/..", ".."])
def test_a_key_never_leaves_the_place(blobs: Blobs, a_file: Callable[..., Path], key: str) -> None:
    """Keys are ours; should one ever be a caller's, nothing outside is read, written or deleted."""
    uses: list[Callable[[], Any]] = [
        lambda: blobs.here(key),
        lambda: blobs.bring(key, ""),
        lambda: blobs.delete(key),
        lambda: blobs.put_file(key, a_file()),
        lambda: blobs.put_shared(key, a_file()),
    ]
    for use in uses:
        with pytest.raises(AssertionError):
            use()


def test_a_walk_finds_what_is_kept_and_whose_it_is(blobs: Blobs, a_file: Callable[..., Path]) -> None:
    """By name alone: the sweeper asks the rows about each. What is not ours is not named."""
    source = a_file(b"cat")
    blobs.put_file(KEY, source)
    blobs.put_shared(input_key(b"cat"), source)
    blobs.put_file("blobs/2026/01/17/notes.txt", a_file())
    found = [each for each in blobs.walk() if each.kind is not Kind.FOLDER]
    assert [(each.kind, each.key, each.attempt_id) for each in found] == [
        (Kind.INPUT, input_key(b"cat"), ""),
        (Kind.BLOB, KEY, ATTEMPT),
    ]
    assert all(abs(each.written_unix_s - source.stat().st_mtime) < 60 for each in found)


def test_a_walk_goes_through_the_days_in_their_order(blobs: Blobs, a_file: Callable[..., Path]) -> None:
    """The oldest are looked at first, and there may be more than one page of them."""
    days = ["2025/12/31", "2026/01/02", "2026/01/17"]
    for day in reversed(days):
        blobs.put_file(f"blobs/{day}/{ATTEMPT}-0.png", a_file())
    found = [each.key for each in blobs.walk() if each.kind is Kind.BLOB]
    assert found == [f"blobs/{day}/{ATTEMPT}-0.png" for day in days]


def test_a_walk_may_rest(blobs: Blobs, a_file: Callable[..., Path]) -> None:
    """Between two pieces what it comes to may be deleted, and it can be given up."""
    for key in (KEY, OTHER):
        blobs.put_file(key, a_file())
    walking = blobs.walk()
    assert next(walking).key in (KEY, OTHER)
    for key in (KEY, OTHER):
        blobs.delete(key)
    list(walking)
    assert [each for each in blobs.walk() if each.kind is Kind.BLOB] == []


def test_what_was_put_of_an_attempt_is_named(blobs: Blobs, a_file: Callable[..., Path]) -> None:
    """With its digest, whether or not a row tells of it; of others nothing."""
    keys = [key_for(ATTEMPT, at, "png") for at in (0, 1, 10)]
    for key in (*keys, key_for(ATTEMPT.replace("A", "B"), 0, "png"), input_key(b"input")):
        blobs.put_file(key, a_file(key.encode()))
    assert blobs.of_attempt(ATTEMPT) == [Lying(key, digest(key.encode())) for key in sorted(keys)]
    assert blobs.of_attempt(ATTEMPT.replace("A", "C")) == []
