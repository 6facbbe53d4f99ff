"""Images in a bucket, with the data folder for what the bucket does not take.

A paid image is never lost to an outage of the store: what cannot be put is kept in the data folder, exactly as where
there is no bucket, is read from there, and is moved when the store is back (`waiting`, `move`). So are images of the
time before there was a bucket. Processes that share a database keep it there (`store.overflow`), where all of them see
it, and in the data folder only what does not fit. Where a blob lies is looked up in this order: the data folder, the
cache, the database, the bucket.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from holdfast import faults
from holdfast.clock import from_rfc3339
from holdfast.errors import failure_of
from holdfast.log import emit
from holdfast.policy.retention import INPUT_GRACE_S
from holdfast.store.blob_keys import beginning_of
from holdfast.store.blob_port import Lying, Place
from holdfast.store.blobs import LocalBlobs, sha256_of
from holdfast.store.leftovers import Found, Kind, walk
from holdfast.store.objects.bucket import Bucket, Head
from holdfast.store.objects.cache import Cache
from holdfast.store.objects.mishaps import ObjectError, Trouble
from holdfast.store.objects.trying import try_out
from holdfast.store.overflow import Kept, Overflow

INPUTS, BLOBS = "inputs", "blobs"
READ_TRIES = 3
_STRIPES = 64


class ObjectBlobs:
    """A bucket; see `store.blob_port.Blobs`."""

    puts_together = False
    """Each waits for the network by itself."""

    def __init__(self, bucket: Bucket, root: Path, cache: Cache, overflow: Overflow | None = None) -> None:
        """Keep images in `bucket`; what it does not take in `overflow`, and what that does not take in the data folder
        `root`."""
        self._overflow = overflow
        self._bucket = bucket
        self._near = LocalBlobs(root)
        self._root = root
        self._cache = cache
        self._stripes = [threading.Lock() for _ in range(_STRIPES)]
        """Of shared keys: one is not deleted while it is put again."""
        self.is_away = False
        """The last put failed: nobody waits for the next one, until something was moved."""

    def path_of(self, key: str) -> Path:
        """Where a blob lies as long as it waits in the data folder."""
        return self._near.path_of(key)

    # Put

    def put_file(self, key: str, source: Path, sha256: str = "") -> Path:
        """Put a file into the bucket, or where that does not take it into the data folder."""
        near, sha256 = self.path_of(key), sha256 or sha256_of(source)
        if not self.is_away:
            try:
                self._create(key, source, sha256)
            except ObjectError as exc:
                self._went_away(exc)
            else:
                self._name_here(key, source)
                return near
        return near if self._overflows(key, source, sha256) else self._near.put_file(key, source)

    def put_files(self, groups: Sequence[Sequence[tuple[str, Path] | Place]]) -> list[OSError | None]:
        """Put several groups, one file after the other."""

        def put(group: Sequence[tuple[str, Path] | Place]) -> None:
            for each in group:
                self.put_file(*each)

        return [failure_of(put, group) for group in groups]

    def put_shared(self, key: str, source: Path) -> Path:
        """Put a shared file, named by its digest, and make it young."""
        near, digest = self.path_of(key), key.rpartition("/")[2]
        with self._stripe(key):
            if not self.is_away:
                try:
                    self._share(key, source, digest)
                except ObjectError as exc:
                    self._went_away(exc)
                else:
                    self._name_here(key, source)
                    return near
            return near if self._overflows(key, source, digest) else self._near.put_shared(key, source)

    def _overflows(self, key: str, source: Path, sha256: str) -> bool:
        """Keep in the database what the bucket has not taken; False: there is no room, or it is away too."""
        if self._overflow is None:
            return False
        try:
            is_kept = self._overflow.put(key, source, sha256)
        except OSError as exc:
            emit("storage.failed", level="error", message=str(exc.strerror))
            return False
        if is_kept:
            self._name_here(key, source)
        return is_kept

    def put_again(self, key: str, of: str) -> None:
        """Have the store copy an object, which never leaves it."""
        near = self.path_of(of)
        if near.exists():
            self.put_shared(key, near)
            return
        try:
            with self._stripe(key):
                self._bucket.copy(of, key)
        except (FileNotFoundError, ObjectError) as exc:
            here = self.here(of) or self._from_overflow(of)
            if here is None:
                raise
            if isinstance(exc, ObjectError):
                self._went_away(exc)
            self.put_shared(key, Path(here))

    def _create(self, key: str, source: Path, sha256: str) -> None:
        faults.point_sync("bucket.before_put")
        if not self._bucket.create(key, source, sha256):
            # A put whose answer was lost, or a crash before the commit: the same bytes, mostly.
            there = self._bucket.head(key)
            if (there.bytes, there.sha256) != (source.stat().st_size, sha256):
                # Nobody was told of it: who puts an attempt's image is who settles it, and holds what was received.
                emit("storage.replaced", level="warning", file=key)
                self._bucket.replace(key, source, sha256)
                # What this disk has under that name is as old.
                self._cache.drop(key)
        faults.point_sync("bucket.after_put")

    def _share(self, key: str, source: Path, digest: str) -> None:
        faults.point_sync("bucket.before_share")
        if not self._bucket.create(key, source, digest):
            # One that is old may be deleted before whoever puts it now has named it in a row, and nothing but another
            # put makes an object young. The source was written, or wanted, a moment ago: its time is now.
            age_s = source.stat().st_mtime - self._bucket.head(key).written_at.timestamp()
            if age_s > INPUT_GRACE_S / 2:
                self._bucket.replace(key, source, digest)
        faults.point_sync("bucket.after_share")

    def _name_here(self, key: str, source: Path) -> None:
        """Spare whoever asks for it a way to the bucket; on a disk that takes no second name he goes it."""
        with contextlib.suppress(OSError):
            self._cache.link(key, source)

    def _went_away(self, error: ObjectError) -> None:
        if not self.is_away:
            self.is_away = True
            emit("storage.away", level="error", message=str(error.strerror), trouble=error.trouble.value)

    # Read

    def here(self, key: str) -> str | None:
        """Where the bytes lie on this disk, if they do."""
        near = self._near.here(key)
        return near if Path(near).exists() else self._cache.path_of(key)

    def bring(self, key: str, sha256: str) -> str:
        """See that the bytes lie on this disk, and say where."""
        for left in reversed(range(READ_TRIES)):
            # Looked up anew each time: it may have been moved a moment ago.
            path = self.here(key)
            if path is not None and Path(path).exists():
                return path
            self._cache.drop(key)
            try:
                # Before the bucket: while that is away it answers late, and a row is found in a millisecond.
                return self._from_overflow(key) or self._cache.fill(key, self._bucket.read(key), sha256)
            except FileNotFoundError:
                if not left:
                    raise
            except ObjectError as exc:
                # What broke on its way, or was harmed there, is whole the next time.
                if exc.trouble is Trouble.DAMAGED:
                    emit("storage.damaged", level="error", file=key)
                if not left or exc.trouble not in (Trouble.AWAY, Trouble.DAMAGED):
                    raise
        raise AssertionError("the last try returns or raises")

    def _from_overflow(self, key: str) -> str | None:
        """Bring an image from the database into the cache, and say where; None: it is not there.

        Raises:
            FileNotFoundError: It was moved or deleted at this moment.
        """
        kept = self._kept(key)
        return None if kept is None else self._filled(kept)

    def _kept(self, key: str) -> Kept | None:
        return None if self._overflow is None else self._overflow.find(key)

    def _filled(self, kept: Kept) -> str:
        assert self._overflow is not None
        return self._cache.fill(kept.key, self._overflow.pieces(kept), kept.sha256)

    def of_attempt(self, attempt_id: str) -> list[Lying]:
        """Name what was put of an attempt: here, in the database, or in the bucket.

        While the bucket is away, what it did not take is all there is, if the first image is among that: images are put
        in their order.
        """
        beginning = beginning_of(attempt_id)
        found = {each.key: each for each in self._near.of_attempt(attempt_id)}
        if self._overflow is not None:
            found |= {kept.key: Lying(kept.key, kept.sha256) for kept in self._overflow.beginning_with(beginning)}
        try:
            for head in self._bucket.list(beginning.rpartition("/")[0], behind=beginning):
                if not head.key.startswith(beginning):
                    # In the order of names, none follows.
                    break
                found.setdefault(head.key, Lying(head.key, self._bucket.head(head.key).sha256))
        except ObjectError:
            if not any(key.startswith(f"{beginning}0.") for key in found):
                raise
        return [found[key] for key in sorted(found)]

    def signed_url(self, key: str, valid_s: float) -> str | None:
        """Sign an address; None while the image waits in the data folder, or in the database."""
        is_waiting = self.path_of(key).exists() or self._kept(key) is not None
        return None if is_waiting else self._bucket.signed_url(key, valid_s)

    # Delete

    def delete(self, key: str) -> None:
        """Remove a blob wherever it lies."""
        self._forget(key)
        self._remove_kept([key])
        self._bucket.delete([key])

    def delete_files(self, keys: Sequence[str]) -> list[OSError | None]:
        """Remove several with one request; where that fails, none of them counts as removed."""
        failures = [failure_of(self._forget, key) for key in keys]
        failure = failure_of(self._remove_kept, keys) or failure_of(self._bucket.delete, keys)
        return [each or failure for each in failures]

    def _remove_kept(self, keys: Sequence[str]) -> None:
        if self._overflow is not None:
            self._overflow.remove(keys)

    def _forget(self, key: str) -> None:
        self._near.delete(key)
        self._cache.drop(key)

    def delete_shared(self, key: str, *, older_than_unix_s: float) -> bool:
        """Remove a shared file unless it was put again since then.

        Between two machines that put and delete it at one instant nothing decides: the one that put it has its own copy
        to send, and a copy that is missed later ends an attempt before anything is paid.
        """
        with self._stripe(key):
            if not self._near.delete_shared(key, older_than_unix_s=older_than_unix_s):
                return False
            kept = self._kept(key)
            if kept is not None and from_rfc3339(kept.written_at).timestamp() > older_than_unix_s:
                return False
            self._remove_kept([key])
            with contextlib.suppress(FileNotFoundError):
                if self._bucket.head(key).written_at.timestamp() > older_than_unix_s:
                    return False
                self._bucket.delete([key])
            self._cache.drop(key)
        return True

    def remove_folder(self, key: str) -> bool:
        """Remove a folder of the data folder if it is empty; a bucket has none."""
        return self._near.remove_folder(key)

    def _stripe(self, key: str) -> threading.Lock:
        return self._stripes[hash(key) % _STRIPES]

    # Look through

    def walk(self) -> Iterator[Found]:
        """Go through the data folder, then through the database and the bucket."""
        yield from walk(self._root)
        for kept in self._overflow.all() if self._overflow is not None else ():
            head = Head(key=kept.key, bytes=kept.bytes, written_at=from_rfc3339(kept.written_at), sha256=kept.sha256)
            found = _found(head)
            if found is not None:
                yield found
        for head in chain(self._bucket.list(INPUTS), self._bucket.list(BLOBS)):
            found = _found(head)
            if found is not None:
                yield found

    # What waits for the bucket

    def waiting(self, *, of_all: bool = True) -> Iterator[str]:
        """Name what the bucket is to have: in the data folder and, `of_all` processes, in the database. Lazy."""
        for found in walk(self._root):
            if found.kind in (Kind.INPUT, Kind.BLOB):
                yield found.key
        if of_all and self._overflow is not None:
            yield from (kept.key for kept in self._overflow.all() if kept.is_whole)

    def move(self, key: str) -> bool:
        """Move a blob from the data folder, or from the database, into the bucket; False if it is gone.

        Whoever has it open reads on, and whoever opens it next finds it in the cache.

        Raises:
            OSError: The store does not take it: it stays.
        """
        near = self.path_of(key)
        with self._stripe(key):
            try:
                if near.exists():
                    self._move_from(key, near, sha256_of(near))
                    faults.point_sync("bucket.before_unlink")
                    self._near.delete(key)
                elif (kept := self._kept(key)) is not None:
                    self._move_from(key, Path(self._cache.path_of(key) or self._filled(kept)), kept.sha256)
                    faults.point_sync("overflow.before_remove")
                    self._remove_kept([key])
                else:
                    return False
            except FileNotFoundError:
                return False
        self._came_back()
        return True

    def _move_from(self, key: str, path: Path, sha256: str) -> None:
        put = self._share if key.startswith(f"{INPUTS}/") else self._create
        put(key, path, sha256)
        self._name_here(key, path)

    def is_back(self, name: str) -> bool:
        """Try out a bucket that was away, where nothing waits here that it could be offered; `name`: of the object."""
        try:
            try_out(self._bucket, self._root / f"{name}.probe", name)
        except (FileNotFoundError, ObjectError):
            return False
        self._came_back()
        return True

    def _came_back(self) -> None:
        if self.is_away:
            self.is_away = False
            emit("storage.back")


def _found(head: Head) -> Found | None:
    """Make an object what a file of the data folder is to the sweeper; None for a name that is not ours."""
    folder, _, name = head.key.rpartition("/")
    return Found.of(folder, name, head.written_at.timestamp(), kind=Kind.INPUT if folder == INPUTS else Kind.BLOB)
