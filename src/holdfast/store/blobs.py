"""Images as files: put once, atomically and durably, and never changed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from holdfast import faults
from holdfast.errors import failure_of
from holdfast.store.blob_keys import beginning_of
from holdfast.store.blob_port import Lying, Place
from holdfast.store.leftovers import Found, walk
from holdfast.store.lock import fsync_folder


class LocalBlobs:
    """A folder on a local disk; see `store.blob_port.Blobs`."""

    puts_together = True
    """One sync of a folder serves all that get their names in it."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._durable: set[str] = set()
        self._shared = threading.Lock()

    def path_of(self, key: str) -> Path:
        """Where a blob lies; whether it does is another question."""
        return Path(self._text_of(key))

    def _text_of(self, key: str) -> str:
        assert not key.startswith("/")
        assert ".." not in key.split("/"), "keys are ours, never a caller's"
        return f"{self._root}/{key}"

    def here(self, key: str) -> str:
        """Say where a blob lies, without a look at the disk."""
        return self._text_of(key)

    def bring(self, key: str, sha256: str) -> str:
        """Say the same: all of them are on this disk, and opening one tells whether it is there."""
        return self._text_of(key)

    def of_attempt(self, attempt_id: str) -> list[Lying]:
        """Name what was put of an attempt, and read it for its digest."""
        folder, _, beginning = beginning_of(attempt_id).rpartition("/")
        found = sorted(self.path_of(folder).glob(f"{beginning}*"))
        return [Lying(f"{folder}/{path.name}", sha256_of(path)) for path in found]

    def signed_url(self, key: str, valid_s: float) -> None:
        """Have no addresses but the gateway's own."""
        return

    def walk(self) -> Iterator[Found]:
        """Go through the data folder, a piece at a time."""
        return walk(Path(self._root))

    def put_again(self, key: str, of: str) -> None:
        """Give a file a second name."""
        self.put_file(key, self.path_of(of))

    def put_file(self, key: str, source: Path, sha256: str = "") -> Path:
        """Give a finished, synced file its place, without copying it; the source stays until its owner removes it.

        A second put of the same key changes nothing: the first one counts. It makes the name durable all the same,
        since whoever was first may have died before that.
        """
        fsync_folder(self._link(key, source))
        return self.path_of(key)

    def put_shared(self, key: str, source: Path) -> Path:
        """Do the same for a file that several generations may share, and make it young: it is wanted again now."""
        with self._shared:
            folder = self._link(key, source)
            os.utime(self._text_of(key))
        fsync_folder(folder)
        return self.path_of(key)

    def put_files(self, groups: Sequence[Sequence[tuple[str, Path] | Place]]) -> list[OSError | None]:
        """Put several groups of files with one sync for each folder; tell of each group whether it failed, and how."""
        folders: set[str] = set()

        def put(group: Sequence[tuple[str, Path] | Place]) -> None:
            folders.update([self._link(each[0], each[1]) for each in group])

        failures = [failure_of(put, group) for group in groups]
        try:
            for folder in folders:
                fsync_folder(folder)
        except OSError as exc:
            # Whose name is lost, nobody can tell.
            return [failure or exc for failure in failures]
        return failures

    def _link(self, key: str, source: Path) -> str:
        """Give a file its name; return the folder that is to be synced for it."""
        target = self._text_of(key)
        folder = target.rpartition("/")[0]
        faults.point_sync("blob.before_link")
        try:
            self._name(folder, target, source)
        except FileNotFoundError:
            if not source.exists():
                raise
            # An old day's folder may have been removed when it was empty; it is made again.
            self._durable.discard(folder)
            self._name(folder, target, source)
        faults.point_sync("blob.after_link")
        return folder

    def _name(self, folder: str, target: str, source: Path) -> None:
        if folder not in self._durable:
            self._make_folder(folder)
        with contextlib.suppress(FileExistsError):
            os.link(source, target)

    def _make_folder(self, folder: str) -> None:
        """Make a folder and its parents durable, once each."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        at = folder
        while at != self._root:
            at = at.rpartition("/")[0]
            fsync_folder(at)
        self._durable.add(folder)

    def delete(self, key: str) -> None:
        """Remove a blob; one that is gone is no error."""
        with contextlib.suppress(FileNotFoundError):
            self.path_of(key).unlink()

    def delete_files(self, keys: Sequence[str]) -> list[OSError | None]:
        """Remove several; tell of each whether that failed, and how."""
        return [failure_of(self.delete, key) for key in keys]

    def delete_shared(self, key: str, *, older_than_unix_s: float) -> bool:
        """Remove a shared file unless it was put again since then; False if it stays.

        Whoever puts it and has not named it in a row yet finds it all the same.
        """
        path = self.path_of(key)
        with self._shared:
            try:
                if path.stat().st_mtime > older_than_unix_s:
                    return False
                path.unlink()
            except FileNotFoundError:
                return True
        return True

    def remove_folder(self, key: str) -> bool:
        """Remove a folder if it is empty; False if it is not, or is gone."""
        folder = self.path_of(key)
        try:
            folder.rmdir()
        except OSError as exc:
            if exc.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
                return False
            raise
        self._durable.discard(str(folder))
        return True


def sha256_of(source: Path) -> str:
    """Read a file for its digest."""
    with source.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
