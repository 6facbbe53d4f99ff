"""A bucket is tried out before anybody is served: an object is put, read and deleted."""

from __future__ import annotations

from pathlib import Path

from holdfast.config.objects import ObjectAddress, ObjectKeys, ObjectSettings
from holdfast.errors import ConfigError
from holdfast.log import emit
from holdfast.store.lock import fsync_folder
from holdfast.store.objects.blobs import ObjectBlobs
from holdfast.store.objects.bucket import open_bucket
from holdfast.store.objects.cache import Cache
from holdfast.store.objects.mishaps import ObjectError, Trouble
from holdfast.store.objects.trying import try_out
from holdfast.store.overflow import Overflow, note_bucket, noted_bucket
from holdfast.store.port import Store

PROBE_S = 5.0
"""For all tries of one request of the probe: whoever starts a gateway waits for it."""
_KNOWN = "bucket"
"""File in the data folder that names the bucket that was reached last; and in the database that several share."""


def open_blobs(
    address: ObjectAddress,
    objects: ObjectSettings,
    keys: ObjectKeys | None,
    root: Path,
    *,
    probe_name: str,
    overflow: Overflow | None = None,
    shared: Store | None = None,
) -> ObjectBlobs:
    """Open a bucket, and see that it does all that is needed. Blocks for as long as that takes.

    One that was reached before by the owner of this data folder, or by anybody who shares its database, and does not
    answer now, keeps no gateway from starting: what it does not take is kept elsewhere until then.

    Args:
        address: Where it is.
        objects: How it is reached.
        keys: The credential; None for what the machine offers.
        root: The data folder.
        probe_name: Unlike that of any other process.
        overflow: For what the bucket does not take; None: the data folder.
        shared: The database, where others have it too: a machine may be new, and its disk empty.

    Raises:
        ConfigError: It does not exist, forbids something, cannot do something, or never answered.
        OSError: The data folder does not take something.
    """
    probe = open_bucket(address, objects, keys, retry_s=PROBE_S)
    cache = Cache(root / "cache", objects.cache_bytes)
    blobs = ObjectBlobs(open_bucket(address, objects, keys), root, cache, overflow)
    known = _Known(root / _KNOWN, shared, str(address))
    try:
        try_out(probe, root / f"{probe_name}.probe", probe_name)
    except (ObjectError, FileNotFoundError) as exc:
        is_away = isinstance(exc, ObjectError) and exc.trouble is Trouble.AWAY
        if not is_away or not known:
            message = f'store.blobs = "{address}" cannot be used: {exc.strerror}.'
            raise ConfigError(message, key="store.blobs") from exc
        blobs.is_away = True
        emit("storage.away", level="error", message=str(exc.strerror), trouble=Trouble.AWAY.value)
    else:
        known.note()
    return blobs


class _Known:
    """Whether a bucket was reached before."""

    def __init__(self, file: Path, shared: Store | None, address: str) -> None:
        self._file = file
        self._shared = shared
        self._address = address

    def __bool__(self) -> bool:
        return self._is_in_file() or self._is_in_database()

    def note(self) -> None:
        """Note that it was reached now."""
        if not self._is_in_file():
            self._file.write_text(self._address, "utf-8")
            fsync_folder(self._file.parent)
        if self._shared is not None and not self._is_in_database():
            self._shared.write_sync(note_bucket, self._address)

    def _is_in_file(self) -> bool:
        try:
            return self._file.read_text("utf-8") == self._address
        except FileNotFoundError:
            return False

    def _is_in_database(self) -> bool:
        return self._shared is not None and self._shared.write_sync(noted_bucket) == self._address
