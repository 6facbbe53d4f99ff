"""The names on this disk of what lies in a bucket: never in the way of what was paid for, never of other bytes."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path
from typing import Any, cast

import pytest
from obstore.store import MemoryStore

from holdfast.store.objects.blobs import ObjectBlobs
from holdfast.store.objects.bucket import Bucket
from holdfast.store.objects.cache import Cache

KEY = "blobs/2026/01/17/att_01J00000000000000000000000-0.png"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data folder."""
    for name in ("spool", "inputs", "blobs"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture
def blobs(root: Path) -> ObjectBlobs:
    """Images in a bucket of this process."""
    return ObjectBlobs(Bucket(cast(Any, MemoryStore())), root, Cache(root / "cache", 1 << 20))


def a_file(root: Path, content: bytes, name: str = "image") -> tuple[Path, str]:
    """A file of the spool, with its digest."""
    path = root / "spool" / name
    path.write_bytes(content)
    return path, hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("number", [errno.EXDEV, errno.ENOSPC, errno.EPERM, errno.EMLINK])
def test_an_image_that_has_no_name_here_is_put_all_the_same(
    blobs: ObjectBlobs, root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The cache is on another disk, or full, or takes no second names: the image is read from the bucket."""
    source, digest = a_file(root, b"an image")

    def refuse(*_: object) -> None:
        raise OSError(number, "no second name")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    blobs.put_file(KEY, source, digest)
    blobs.put_shared(f"inputs/{digest}", source)
    source.unlink()
    monkeypatch.undo()
    assert Path(blobs.bring(KEY, digest)).read_bytes() == b"an image"
    assert Path(blobs.bring(f"inputs/{digest}", digest)).read_bytes() == b"an image"


def test_what_waited_here_is_moved_though_it_gets_no_name_here(
    blobs: ObjectBlobs, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would lie here for ever, where no other process finds it."""
    source, digest = a_file(root, b"an image")
    blobs.is_away = True
    blobs.put_file(KEY, source, digest)
    monkeypatch.setattr(Path, "hardlink_to", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    assert blobs.move(KEY)
    assert list(blobs.waiting()) == []


def test_an_image_that_is_put_anew_is_not_shown_as_it_was_before(blobs: ObjectBlobs, root: Path) -> None:
    """Fetched again after a crash, an upstream may give other bytes: those are on record, and are what is shown."""
    source, digest = a_file(root, b"as it came first")
    blobs.put_file(KEY, source, digest)
    again, other = a_file(root, b"as it came then", "again")
    blobs.put_file(KEY, again, other)
    assert Path(blobs.bring(KEY, other)).read_bytes() == b"as it came then"
