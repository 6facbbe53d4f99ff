"""Images as files: put once, atomically and durably, and never changed.

Another implementation joins by being added to `BLOBS`; what only a local disk has is at the end.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from holdfast import faults
from holdfast.clock import ulid
from holdfast.faults import InjectedFault
from holdfast.store.blob_keys import key_for
from holdfast.store.blobs import LocalBlobs

BLOBS: dict[str, Callable[[Path], LocalBlobs]] = {"local": LocalBlobs}
KEY = "blobs/2026/01/17/att_1-0.png"


@pytest.fixture(params=BLOBS)
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> LocalBlobs:
    """An empty blob store of each implementation."""
    (tmp_path / "root").mkdir()
    return BLOBS[request.param](tmp_path / "root")


def a_file(tmp_path: Path, content: bytes = b"image") -> Path:
    """A finished file, as the spool has it."""
    path = tmp_path / f"source-{len(list(tmp_path.iterdir()))}"
    path.write_bytes(content)
    return path


def an_attempt(moment: datetime) -> str:
    """The id of an attempt that was made then."""
    return f"att_{ulid((moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1), bytes(10))}"


def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record what is made durable, by path."""
    paths: list[str] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        paths.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    return paths


def test_a_key_tells_the_day_and_the_attempt() -> None:
    """Both from the attempt's id: a crash can be put right by the names alone, and old days can be swept."""
    attempt = an_attempt(datetime(2026, 1, 17, 23, 59, 59, 999_000, tzinfo=UTC))
    assert key_for(attempt, 0, "png") == f"blobs/2026/01/17/{attempt}-0.png"
    assert key_for(attempt, 3, "jpg") == f"blobs/2026/01/17/{attempt}-3.jpg"


def test_a_key_does_not_depend_on_the_day_of_storing() -> None:
    """An image received before midnight and recovered after it has one place, not two."""
    before = datetime(2026, 1, 31, 23, 59, 59, 999_000, tzinfo=UTC)
    keys = [key_for(an_attempt(moment), 0, "png") for moment in (before, before + timedelta(milliseconds=1))]
    assert [key.split("/att_")[0] for key in keys] == ["blobs/2026/01/31", "blobs/2026/02/01"]
    assert key_for(an_attempt(before), 0, "png") == keys[0]


def test_what_was_put_is_there(blobs: LocalBlobs, tmp_path: Path) -> None:
    """Under its key; the source is still its owner's."""
    source = a_file(tmp_path)
    assert not blobs.path_of(KEY).exists()
    assert blobs.put_file(KEY, source) == blobs.path_of(KEY)
    assert blobs.path_of(KEY).read_bytes() == b"image"
    source.unlink()
    assert blobs.path_of(KEY).read_bytes() == b"image"


def test_a_second_put_changes_nothing(blobs: LocalBlobs, tmp_path: Path) -> None:
    """The first one counts: what was delivered once is delivered again, byte for byte."""
    blobs.put_file(KEY, a_file(tmp_path, b"first"))
    assert blobs.put_file(KEY, a_file(tmp_path, b"second, longer")) == blobs.path_of(KEY)
    assert blobs.path_of(KEY).read_bytes() == b"first"


def test_of_many_that_put_at_once_one_counts(blobs: LocalBlobs, tmp_path: Path) -> None:
    """None fails, and what is there is whole and one of them."""
    sources = [a_file(tmp_path, bytes([at]) * 1000) for at in range(8)]
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
        thread.join(10)
    assert failures == []
    assert blobs.path_of(KEY).read_bytes() in {source.read_bytes() for source in sources}


def test_a_missing_source_is_an_error_and_leaves_nothing(blobs: LocalBlobs, tmp_path: Path) -> None:
    """It is never taken for "already there"."""
    with pytest.raises(FileNotFoundError):
        blobs.put_file(KEY, tmp_path / "none")
    assert not blobs.path_of(KEY).exists()


def test_deleting_twice_is_deleting_once(blobs: LocalBlobs, tmp_path: Path) -> None:
    """A sweeper that was killed half-way begins again; the neighbours stay."""
    other = KEY.replace("-0", "-1")
    for key in (KEY, other):
        blobs.put_file(key, a_file(tmp_path))
    blobs.delete(KEY)
    blobs.delete(KEY)
    blobs.delete("blobs/1999/01/01/never.png")
    assert not blobs.path_of(KEY).exists()
    assert blobs.path_of(other).exists()
    blobs.put_file(KEY, a_file(tmp_path, b"again"))
    assert blobs.path_of(KEY).read_bytes() == b"again"


@pytest.mark.parametrize("key", ["/etc/passwd", "../secret", "blobs/../../secret", "blobs/..", ".."])
def test_a_key_never_leaves_the_store(blobs: LocalBlobs, tmp_path: Path, key: str) -> None:
    """Keys are ours; should one ever be a caller's, nothing outside is read, written or deleted."""
    for use in (blobs.path_of, blobs.delete, lambda key: blobs.put_file(key, a_file(tmp_path))):
        with pytest.raises(AssertionError):
            use(key)
    assert blobs.path_of("inputs/a..b").name == "a..b"


@pytest.mark.parametrize("point", ["blob.before_link", "blob.after_link"])
def test_a_put_that_broke_off_is_done_again(
    blobs: LocalBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """Before or after the file got its place: the recovery's put finds it or makes it, and it is durable then."""
    source = a_file(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(faults, "_armed", {point: faults._Armed("error", 1)})
        with pytest.raises(InjectedFault):
            blobs.put_file(KEY, source)
    assert blobs.path_of(KEY).exists() == (point == "blob.after_link")
    paths = synced(monkeypatch)
    blobs.put_file(KEY, source)
    assert blobs.path_of(KEY).read_bytes() == b"image"
    assert str(blobs.path_of(KEY).parent) in paths


def test_several_are_put_with_one_sync(blobs: LocalBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has its place, and the folder that they share is synced once for all, after the last of them."""
    keys = [KEY.replace("-0", f"-{at}") for at in range(4)]
    sources = [a_file(tmp_path, bytes([at]) * 10) for at in range(4)]
    blobs.put_file(KEY.replace("-0", "-9"), a_file(tmp_path))
    paths = synced(monkeypatch)
    groups = [[(keys[0], sources[0])], [], [(keys[1], sources[1]), (keys[2], sources[2])], [(keys[3], sources[3])]]
    assert blobs.put_files(groups) == [None] * 4
    assert paths == [str(blobs.path_of(KEY).parent)]
    for key, source in zip(keys, sources, strict=True):
        assert blobs.path_of(key).read_bytes() == source.read_bytes()


def test_of_several_one_fails_alone(blobs: LocalBlobs, tmp_path: Path) -> None:
    """A group whose file is missing is told; its neighbours have their places."""
    other = KEY.replace("-0", "-1")
    told = blobs.put_files([[(KEY, tmp_path / "none")], [(other, a_file(tmp_path))]])
    assert isinstance(told[0], FileNotFoundError)
    assert told[1] is None
    assert blobs.path_of(other).exists()


def test_a_sync_that_fails_fails_for_all(blobs: LocalBlobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose name is lost, nobody can tell; who failed before is told of its own failure."""
    blobs.put_file(KEY.replace("-0", "-9"), a_file(tmp_path))

    def fail(folder: str) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("holdfast.store.blobs.fsync_folder", fail)
    told = blobs.put_files([[(KEY, a_file(tmp_path))], [(KEY.replace("-0", "-1"), tmp_path / "none")]])
    assert [type(each) for each in told] == [OSError, FileNotFoundError]


# What only a local disk has


def test_a_put_copies_nothing(tmp_path: Path) -> None:
    """Twenty megabytes are written once: source and blob are one file with two names."""
    blobs = LocalBlobs(tmp_path / "root")
    source = a_file(tmp_path)
    assert blobs.put_file(KEY, source).stat().st_ino == source.stat().st_ino


def test_every_new_name_is_made_durable_from_the_root_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose folder's name is lost with the power is lost with it; a folder that is known is not synced again."""
    root = tmp_path / "root"
    root.mkdir()
    blobs = LocalBlobs(root)
    paths = synced(monkeypatch)
    blobs.put_file(KEY, a_file(tmp_path))
    chain = [root, root / "blobs", root / "blobs/2026", root / "blobs/2026/01"]
    assert set(paths) == {str(path) for path in (*chain, root / "blobs/2026/01/17")}
    assert paths[-1] == str(root / "blobs/2026/01/17")
    paths.clear()
    blobs.put_file(KEY.replace("-0", "-1"), a_file(tmp_path))
    assert paths == [str(root / "blobs/2026/01/17")]


def test_after_a_restart_folders_are_made_durable_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever made them may have died before that."""
    root = tmp_path / "root"
    (root / KEY).parent.mkdir(parents=True)
    paths = synced(monkeypatch)
    LocalBlobs(root).put_file(KEY, a_file(tmp_path))
    assert str(root) in paths


# Deleting


def test_several_are_deleted_each_for_itself(blobs: LocalBlobs, tmp_path: Path) -> None:
    """One that is gone is no failure; one that cannot be removed keeps nobody else's."""
    keys = [KEY.replace("-0", f"-{at}") for at in range(3)]
    for key in (keys[0], keys[2]):
        blobs.put_file(key, a_file(tmp_path))
    (tmp_path / "root" / "blobs/2026/01/17/folder.png").mkdir()
    told = blobs.delete_files([keys[0], keys[1], "blobs/2026/01/17/folder.png", keys[2]])
    assert [each is None for each in told] == [True, True, False, True]
    assert isinstance(told[2], OSError)
    assert not any(blobs.path_of(key).exists() for key in keys)


def test_a_shared_file_that_is_put_again_is_young_again(blobs: LocalBlobs, tmp_path: Path) -> None:
    """Whoever deletes it by its age leaves it to the one who wants it now; the bytes are the first ones."""
    key = "inputs/abc"
    assert blobs.put_shared(key, a_file(tmp_path)) == blobs.path_of(key)
    os.utime(blobs.path_of(key), (1000.0, 1000.0))
    blobs.put_shared(key, a_file(tmp_path, b"same digest, same bytes"))
    assert blobs.path_of(key).read_bytes() == b"image"
    assert not blobs.delete_shared(key, older_than_unix_s=2000.0)
    assert blobs.path_of(key).exists()


def test_a_shared_file_goes_when_it_is_old_and_again_is_no_error(blobs: LocalBlobs, tmp_path: Path) -> None:
    """Gone is gone, whoever did it."""
    blobs.put_shared("inputs/abc", a_file(tmp_path))
    os.utime(blobs.path_of("inputs/abc"), (1000.0, 1000.0))
    assert blobs.delete_shared("inputs/abc", older_than_unix_s=1000.0)
    assert not blobs.path_of("inputs/abc").exists()
    assert blobs.delete_shared("inputs/abc", older_than_unix_s=1000.0)


def test_who_shares_a_file_finds_it_however_often_it_is_deleted(blobs: LocalBlobs, tmp_path: Path) -> None:
    """Put and delete at once, a thousand times: what was put a moment ago is there."""
    (tmp_path / "root" / "inputs").mkdir()
    source, path = a_file(tmp_path), blobs.path_of("inputs/abc")
    ended = threading.Event()

    def delete() -> None:
        while not ended.is_set():
            blobs.delete_shared("inputs/abc", older_than_unix_s=5000.0)

    deleting = threading.Thread(target=delete)
    deleting.start()
    try:
        for _ in range(300):
            os.utime(source, (1000.0, 1000.0))
            assert blobs.put_shared("inputs/abc", source).exists()
            os.utime(path, (1000.0, 1000.0))
    finally:
        ended.set()
        deleting.join()


def test_only_an_empty_folder_is_removed_and_a_put_makes_it_again(blobs: LocalBlobs, tmp_path: Path) -> None:
    """A late image of an old day finds its place, though the day's folder had been swept."""
    blobs.put_file(KEY, a_file(tmp_path))
    assert not blobs.remove_folder("blobs/2026/01/17")
    blobs.delete(KEY)
    for folder in ("blobs/2026/01/17", "blobs/2026/01", "blobs/2026"):
        assert blobs.remove_folder(folder)
        assert not blobs.remove_folder(folder)
    assert blobs.put_file(KEY, a_file(tmp_path, b"late")).read_bytes() == b"late"


def test_a_folder_removed_by_somebody_else_is_made_again(blobs: LocalBlobs, tmp_path: Path) -> None:
    """Also where it was known to be there; a source that is missing is still told as such."""
    blobs.put_file(KEY, a_file(tmp_path)).unlink()
    blobs.path_of(KEY).parent.rmdir()
    assert blobs.put_files([[(KEY, a_file(tmp_path))]]) == [None]
    assert blobs.path_of(KEY).exists()
    (told,) = blobs.put_files([[(KEY.replace("-0", "-1"), tmp_path / "none")]])
    assert isinstance(told, FileNotFoundError)


def test_a_folder_that_cannot_be_removed_for_another_reason_is_told(blobs: LocalBlobs, tmp_path: Path) -> None:
    """A file in its place, say: somebody should look."""
    (tmp_path / "root" / "blobs").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        blobs.remove_folder("blobs")
