"""A bucket that misbehaves: no image that was paid for is lost by it, and none is given that is not what was put."""

from __future__ import annotations

import hashlib
import os
import threading
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from holdfast import faults
from holdfast.config.objects import ObjectKeys
from holdfast.faults import InjectedFault
from holdfast.store.objects import bucket as bucket_module
from holdfast.store.objects.blobs import READ_TRIES, ObjectBlobs
from holdfast.store.objects.bucket import RETRIES, Bucket
from holdfast.store.objects.cache import FILES_MIN
from holdfast.store.objects.mishaps import ObjectError, Trouble

ATTEMPT = "att_01JHSA0000000000000000000A"
KEY = f"blobs/2026/01/17/{ATTEMPT}-0.png"


def digest(content: bytes) -> str:
    """Hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def stored(bucket: Bucket, key: str = KEY) -> bytes:
    """What the bucket itself holds."""
    return b"".join(bucket.read(key))


def forget(blobs: ObjectBlobs, key: str = KEY) -> None:
    """Have the local disk forget an image, as another machine never knew it."""
    blobs._cache.drop(key)


# What a bucket does


def test_an_object_tells_what_was_put(bucket: Bucket, a_file: Callable[..., Path]) -> None:
    """Size and digest without its bytes; under its type a browser shows it."""
    assert bucket.create(KEY, a_file(b"image"), digest(b"image"))
    head = bucket.head(KEY)
    assert (head.bytes, head.sha256) == (5, digest(b"image"))
    with urllib.request.urlopen(bucket.signed_url(KEY, 60), timeout=5) as answer:
        assert (answer.read(), answer.headers["content-type"]) == (b"image", "image/png")


def test_of_those_that_create_at_once_one_does(bucket: Bucket, a_file: Callable[..., Path]) -> None:
    """And the object is its own."""
    contents = [bytes([at]) * 200_000 for at in range(6)]
    files = [a_file(content) for content in contents]
    with ThreadPoolExecutor(len(files)) as threads:
        did = list(threads.map(lambda file: bucket.create(KEY, file, "x"), files))
    assert did.count(True) == 1
    assert stored(bucket) == contents[did.index(True)]


def test_a_very_large_file_goes_in_parts(
    bucket: Bucket, a_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which cannot be put under a condition: what is there is looked at before."""
    monkeypatch.setattr(bucket_module, "SINGLE_PUT_BYTES_MAX", 1000)
    monkeypatch.setattr(bucket_module, "PART_BYTES", 5 << 20)
    content = os.urandom(11 << 20)
    file = a_file(content)
    assert bucket.create(KEY, file, digest(content))
    assert not bucket.create(KEY, file, digest(content))
    head = bucket.head(KEY)
    assert (head.bytes, head.sha256) == (len(content), digest(content))
    assert stored(bucket) == content


def test_an_image_weighs_no_memory(bucket: Bucket, a_file: Callable[..., Path]) -> None:
    """Neither on its way there, mapped, nor on its way back, in pieces."""
    content = os.urandom(40 << 20)
    file, sum_ = a_file(content), digest(content)
    del content
    before = _anonymous_bytes()
    peak = [before]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.002):
            peak[0] = max(peak[0], _anonymous_bytes())

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    assert bucket.create(KEY, file, sum_)
    back = hashlib.sha256()
    for piece in bucket.read(KEY):
        back.update(piece)
    over.set()
    watching.join()
    assert back.hexdigest() == sum_
    assert peak[0] - before < 16 << 20


def _anonymous_bytes() -> int:
    line = next(line for line in Path("/proc/self/status").read_text("ascii").splitlines() if "RssAnon" in line)
    return int(line.split()[1]) * 1024


# A bucket that misbehaves


def test_what_fails_in_passing_is_tried_again(
    path: Any, blobs_at: Callable[..., ObjectBlobs], bucket: Bucket, a_file: Callable[..., Path]
) -> None:
    """503 SlowDown, and a connection that is closed: the image is in the bucket in the end."""
    path.harms = [("PUT", "slow_down"), ("PUT", "refused"), ("PUT", "slow_down")]
    blobs = blobs_at(endpoint=path.endpoint)
    blobs.put_file(KEY, a_file())
    assert not blobs.is_away
    assert stored(bucket) == b"image"
    assert path.count("PUT") == 4


def test_a_put_whose_answer_was_lost_is_found_done(
    path: Any, blobs_at: Callable[..., ObjectBlobs], bucket: Bucket, a_file: Callable[..., Path]
) -> None:
    """The second try finds that there is something, and that it is the same."""
    path.harms = [("PUT", "lost")]
    blobs = blobs_at(endpoint=path.endpoint)
    blobs.put_file(KEY, a_file())
    assert not blobs.is_away
    assert not blobs.path_of(KEY).exists()
    assert (path.count("PUT"), path.count("HEAD")) == (2, 1)
    assert stored(bucket) == b"image"


def test_what_lies_there_and_is_another_is_replaced(
    blobs_at: Callable[..., ObjectBlobs], bucket: Bucket, a_file: Callable[..., Path]
) -> None:
    """Nobody was told of it; whoever settles holds what was received, and its digest goes into the record."""
    bucket.create(KEY, a_file(b"torn"), digest(b"torn"))
    blobs_at().put_file(KEY, a_file(b"image"))
    assert stored(bucket) == b"image"
    assert bucket.head(KEY).sha256 == digest(b"image")


@pytest.mark.parametrize("harm", ["slow_down", "refused", "forbidden", "skewed"])
def test_what_the_bucket_does_not_take_is_kept_and_moved_later(
    path: Any, blobs_at: Callable[..., ObjectBlobs], bucket: Bucket, a_file: Callable[..., Path], harm: str
) -> None:
    """Whatever the reason: it was paid for. It is read from the data folder, without the bucket."""
    path.always = harm
    blobs = blobs_at(endpoint=path.endpoint)
    source = a_file()
    blobs.put_file(KEY, source)
    source.unlink()
    assert blobs.is_away
    tries = path.count("PUT")
    assert tries == (1 + RETRIES if harm in ("slow_down", "refused") else 1)
    blobs.put_file(KEY.replace("-0", "-1"), a_file(b"next"))
    assert path.count("PUT") == tries, "nobody waits for a bucket that is known to be away"
    assert Path(blobs.bring(KEY, digest(b"image"))).read_bytes() == b"image"
    with pytest.raises(ObjectError):
        blobs.move(KEY)
    assert blobs.path_of(KEY).exists()

    path.always = None
    assert sorted(blobs.waiting()) == [KEY, KEY.replace("-0", "-1")]
    assert {blobs.move(key) for key in list(blobs.waiting())} == {True}
    assert not blobs.is_away
    assert list(blobs.waiting()) == []
    assert stored(bucket) == b"image"
    assert Path(blobs.here(KEY) or "").read_bytes() == b"image"


def test_what_is_moved_can_be_read_on(
    blobs_at: Callable[..., ObjectBlobs], a_file: Callable[..., Path], bucket: Bucket
) -> None:
    """Whoever has the file open keeps it; it is in one of both places at every instant."""
    blobs = blobs_at()
    blobs.is_away = True
    blobs.put_file(KEY, a_file())
    with Path(blobs.here(KEY) or "").open("rb") as file:
        assert blobs.move(KEY)
        assert file.read() == b"image"
    assert not blobs.move(KEY), "a sweeper may have been faster"


@pytest.mark.parametrize("point", ["bucket.before_put", "bucket.after_put", "bucket.before_unlink"])
def test_a_move_that_broke_off_is_made_again(
    blobs_at: Callable[..., ObjectBlobs],
    a_file: Callable[..., Path],
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
    point: str,
) -> None:
    """By the next start, which finds the file where it was."""
    blobs = blobs_at()
    blobs.is_away = True
    blobs.put_file(KEY, a_file())
    with monkeypatch.context() as patched:
        patched.setattr(faults, "_armed", {point: faults._Armed("error", 1)})
        with pytest.raises(InjectedFault):
            blobs.move(KEY)
    again = blobs_at()
    assert list(again.waiting()) == [KEY]
    assert again.move(KEY)
    assert list(again.waiting()) == []
    assert stored(bucket) == b"image"


def test_images_of_the_time_before_the_bucket_are_found_and_moved(
    blobs_at: Callable[..., ObjectBlobs], a_file: Callable[..., Path], bucket: Bucket
) -> None:
    """A gateway that was local serves what it has, from the first second on."""
    blobs = blobs_at()
    blobs._near.put_file(KEY, a_file())
    assert Path(blobs.here(KEY) or "").read_bytes() == b"image"
    assert blobs.signed_url(KEY, 60) is None
    for key in list(blobs.waiting()):
        blobs.move(key)
    assert stored(bucket) == b"image"
    assert blobs.signed_url(KEY, 60) is not None


def test_a_bit_that_flipped_is_found(
    path: Any, blobs_at: Callable[..., ObjectBlobs], a_file: Callable[..., Path]
) -> None:
    """Before a byte of it is given to anybody; on its way once, it is whole the second time."""
    blobs = blobs_at(endpoint=path.endpoint)
    blobs.put_file(KEY, a_file())
    forget(blobs)
    path.harms = [("GET", "flipped")]
    assert Path(blobs.bring(KEY, digest(b"image"))).read_bytes() == b"image"
    forget(blobs)
    path.always = "flipped"
    with pytest.raises(ObjectError) as caught:
        blobs.bring(KEY, digest(b"image"))
    assert caught.value.trouble is Trouble.DAMAGED
    assert blobs.here(KEY) is None
    assert list((blobs._root / "cache").iterdir()) == [], "what is harmed is not left on the disk either"


def test_an_answer_that_broke_off_is_asked_for_again(
    path: Any, blobs_at: Callable[..., ObjectBlobs], a_file: Callable[..., Path]
) -> None:
    """And what came is thrown away, or gone on with: the digest says that it is whole."""
    content = os.urandom(3 << 20)
    blobs = blobs_at(endpoint=path.endpoint)
    blobs.put_file(KEY, a_file(content))
    forget(blobs)
    path.harms = [("GET", "cut")]
    assert Path(blobs.bring(KEY, digest(content))).read_bytes() == content


def test_an_image_that_nobody_can_bring_is_not_said_to_be_gone(
    path: Any, blobs_at: Callable[..., ObjectBlobs], a_file: Callable[..., Path]
) -> None:
    """It is kept; its caller is told to ask again."""
    blobs = blobs_at(endpoint=path.endpoint)
    blobs.put_file(KEY, a_file())
    forget(blobs)
    path.always = "slow_down"
    with pytest.raises(ObjectError) as caught:
        blobs.bring(KEY, digest(b"image"))
    assert caught.value.trouble is Trouble.AWAY
    path.always = None
    assert Path(blobs.bring(KEY, digest(b"image"))).read_bytes() == b"image"


def test_another_machine_reads_what_this_one_put(
    blobs_at: Callable[..., ObjectBlobs], a_file: Callable[..., Path]
) -> None:
    """From the bucket; many that ask at once get it whole."""
    content = os.urandom(1 << 20)
    blobs_at("one").put_file(KEY, a_file(content))
    other = blobs_at("other")
    assert other.here(KEY) is None
    with ThreadPoolExecutor(8) as threads:
        brought = list(threads.map(lambda _: other.bring(KEY, digest(content)), range(8)))
    assert {Path(each).read_bytes() for each in brought} == {content}
    assert other.here(KEY) == brought[0]


def test_deleting_fails_while_the_bucket_is_away_and_is_done_later(
    path: Any, blobs_at: Callable[..., ObjectBlobs], bucket: Bucket, a_file: Callable[..., Path]
) -> None:
    """The sweeper keeps its mark, and comes back."""
    blobs = blobs_at(endpoint=path.endpoint)
    blobs.put_file(KEY, a_file())
    path.always = "slow_down"
    (failure,) = blobs.delete_files([KEY])
    assert isinstance(failure, ObjectError)
    path.always = None
    assert blobs.delete_files([KEY]) == [None]
    with pytest.raises(FileNotFoundError):
        bucket.head(KEY)


# Shared images


def test_an_input_that_is_put_again_is_made_young(
    blobs_at: Callable[..., ObjectBlobs], bucket: Bucket, a_file: Callable[..., Path]
) -> None:
    """Only where it would be deleted before whoever puts it has named it: an upload that says nothing is spared."""
    key, blobs = f"inputs/{digest(b'cat')}", blobs_at()
    source = a_file(b"cat")
    blobs.put_shared(key, source)
    first = bucket.head(key).written_at
    later = first.timestamp() + 2000
    os.utime(source, (later, later))
    blobs.put_shared(key, source)
    second = bucket.head(key).written_at
    assert second >= first
    assert blobs.delete_shared(key, older_than_unix_s=second.timestamp() - 1) is False
    assert stored(bucket, key) == b"cat"


def test_a_result_becomes_an_input_while_the_bucket_is_away(
    path: Any, blobs_at: Callable[..., ObjectBlobs], a_file: Callable[..., Path]
) -> None:
    """As long as it is on this disk; else its caller is told to ask again."""
    blobs = blobs_at(endpoint=path.endpoint)
    blobs.put_file(KEY, a_file(b"cat"))
    path.always = "slow_down"
    key = f"inputs/{digest(b'cat')}"
    blobs.put_again(key, KEY)
    assert Path(blobs.here(key) or "").read_bytes() == b"cat"
    forget(blobs)
    with pytest.raises(ObjectError):
        blobs.put_again("inputs/other", KEY)


# The cache


def test_the_cache_is_bounded_and_the_oldest_goes_first(
    blobs_at: Callable[..., ObjectBlobs], a_file: Callable[..., Path]
) -> None:
    """A few are kept whatever they weigh: one that was brought is about to be opened."""
    blobs = blobs_at(cache_bytes=1000)
    keys = [KEY.replace("-0", f"-{at}") for at in range(FILES_MIN + 3)]
    for key in keys:
        blobs._cache.link(key, a_file(b"x" * 100))
    held = [key for key in keys if blobs.here(key) is not None]
    assert held == keys[3:]
    assert repr(blobs._cache) == f"<Cache {FILES_MIN} files, {100 * FILES_MIN} of 1000 bytes>"


def test_the_cache_of_an_earlier_process_is_taken_over(
    blobs_at: Callable[..., ObjectBlobs], a_file: Callable[..., Path]
) -> None:
    """Without what it was in the midst of."""
    blobs_at().put_file(KEY, a_file())
    blobs = blobs_at()
    part = blobs._root / "cache" / "att_x-0.png.1.part"
    part.write_bytes(b"half")
    again = blobs_at()
    assert not part.exists()
    assert Path(again.here(KEY) or "").read_bytes() == b"image"


# What is wrong is named


@pytest.mark.parametrize(
    ("how", "trouble"),
    [
        ({"blobs": "s3://nowhere-to-be-found/prefix"}, Trouble.NO_BUCKET),
        ({"keys": ObjectKeys(id="test-key-id", secret="wrong")}, Trouble.WRONG_KEY),
        ({"keys": ObjectKeys(id="nobody", secret="wrong")}, Trouble.WRONG_KEY),
        ({"keys": ObjectKeys(id="reader-key-id", secret="reader-secret-Jw4Ru")}, Trouble.FORBIDDEN),
        ({"endpoint": "http://127.0.0.1:1", "retry_s": 0.1}, Trouble.AWAY),
    ],
)
def test_what_a_bucket_objects_to_is_told_apart(
    open_at: Callable[..., Bucket], a_file: Callable[..., Path], how: dict[str, Any], trouble: Trouble
) -> None:
    """By the answers of a real server, and none of its words names a key."""
    with pytest.raises(ObjectError) as caught:
        open_at(**how).create(KEY, a_file(), digest(b"image"))
    assert caught.value.trouble is trouble
    assert "Jw4Ru" not in str(caught.value)
    assert "test-key-id" not in str(caught.value)


def test_tries_are_few_enough() -> None:
    """Whoever reads waits for all of them."""
    assert READ_TRIES <= RETRIES
