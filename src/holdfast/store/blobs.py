"""Images as files: put once, atomically and durably, and never changed."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from holdfast import faults
from holdfast.clock import ulid_moment
from holdfast.store.lock import fsync_folder


def key_for(attempt_id: str, index: int, extension: str) -> str:
    """The key of a generated image, from its attempt alone: whoever stores it again after a crash finds the same place.

    The folder is the day on which the attempt was made, as its id tells it, and not today: a recovery after midnight
    would else store a second copy.
    """
    return f"blobs/{ulid_moment(attempt_id):%Y/%m/%d}/{attempt_id}-{index}.{extension}"


class LocalBlobs:
    """A folder on a local disk."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._durable: set[Path] = set()

    def path_of(self, key: str) -> Path:
        """Where a blob lies; whether it does is another question."""
        assert not key.startswith("/")
        assert ".." not in key.split("/"), "keys are ours, never a caller's"
        return self._root / key

    def put_file(self, key: str, source: Path) -> Path:
        """Give a finished, synced file its place, without copying it; the source stays until its owner removes it.

        A second put of the same key changes nothing: the first one counts. It makes the name durable all the same,
        since whoever was first may have died before that.
        """
        target = self.path_of(key)
        self._make_folder(target.parent)
        faults.point_sync("blob.before_link")
        with contextlib.suppress(FileExistsError):
            os.link(source, target)
        faults.point_sync("blob.after_link")
        fsync_folder(target.parent)
        return target

    def _make_folder(self, folder: Path) -> None:
        """Make a folder and its parents durable, once each."""
        if folder in self._durable:
            return
        folder.mkdir(parents=True, exist_ok=True)
        at = folder
        while at != self._root:
            fsync_folder(at.parent)
            at = at.parent
        self._durable.add(folder)

    def delete(self, key: str) -> None:
        """Remove a blob; one that is gone is no error."""
        with contextlib.suppress(FileNotFoundError):
            self.path_of(key).unlink()
