"""A bucket is tried out before anybody is served: an object is put, read and deleted."""

from __future__ import annotations

import contextlib
from pathlib import Path

from holdfast.config.objects import ObjectAddress, ObjectKeys, ObjectSettings
from holdfast.errors import ConfigError
from holdfast.log import emit
from holdfast.store.lock import fsync_folder
from holdfast.store.objects.blobs import ObjectBlobs
from holdfast.store.objects.bucket import Bucket, open_bucket, sha256_of
from holdfast.store.objects.cache import Cache
from holdfast.store.objects.mishaps import ObjectError, Trouble

PROBE_S = 5.0
"""For all tries of one request of the probe: whoever starts a gateway waits for it."""
_KNOWN = "bucket"
"""File in the data folder that names the bucket that was reached last."""


def open_blobs(
    address: ObjectAddress,
    objects: ObjectSettings,
    keys: ObjectKeys | None,
    root: Path,
    *,
    probe_name: str,
) -> ObjectBlobs:
    """Open a bucket, and see that it does all that is needed. Blocks for as long as that takes.

    One that was reached before by the owner of this data folder, and does not answer now, keeps no gateway from
    starting: what it does not take is kept in the data folder.

    Args:
        address: Where it is.
        objects: How it is reached.
        keys: The credential; None for what the machine offers.
        root: The data folder.
        probe_name: Unlike that of any other process.

    Raises:
        ConfigError: It does not exist, forbids something, cannot do something, or never answered.
        OSError: The data folder does not take something.
    """
    probe = open_bucket(address, objects, keys, retry_s=PROBE_S)
    blobs = ObjectBlobs(open_bucket(address, objects, keys), root, Cache(root / "cache", objects.cache_bytes))
    known = root / _KNOWN
    try:
        try_out(probe, root / f"{probe_name}.probe", probe_name)
    except (ObjectError, FileNotFoundError) as exc:
        is_away = isinstance(exc, ObjectError) and exc.trouble is Trouble.AWAY
        if not is_away or not _is_known(known, address):
            message = f'store.blobs = "{address}" cannot be used: {exc.strerror}.'
            raise ConfigError(message, key="store.blobs") from exc
        blobs.is_away = True
        emit("storage.away", level="error", message=str(exc.strerror), trouble=Trouble.AWAY.value)
    else:
        if not _is_known(known, address):
            _make_known(known, address)
    return blobs


def try_out(bucket: Bucket, file: Path, name: str) -> None:
    """Put, read and delete an object of a few bytes; it is deleted whatever happens.

    Raises:
        ObjectError: The bucket did not do it. `UNSUPPORTED` too if a put that may create only replaces what is there.
        FileNotFoundError: What was put is not there.
    """
    key = f"probes/{name}"
    try:
        file.write_bytes(b"holdfast was here\n")
        digest = sha256_of(file)
        bucket.create(key, file, digest)
        try:
            if bucket.create(key, file, digest):
                raise ObjectError(Trouble.UNSUPPORTED)
            if bucket.head(key).sha256 != digest or b"".join(bucket.read(key)) != file.read_bytes():
                raise ObjectError(Trouble.DAMAGED)
            # Deletion is the sweeper's, and a list is what it finds orphans by.
            if key not in {head.key for head in bucket.list("probes")}:
                raise ObjectError(Trouble.DAMAGED)
        except BaseException:
            with contextlib.suppress(ObjectError):
                bucket.delete([key])
            raise
        bucket.delete([key])
    finally:
        file.unlink(missing_ok=True)


def _is_known(known: Path, address: ObjectAddress) -> bool:
    try:
        return known.read_text("utf-8") == str(address)
    except FileNotFoundError:
        return False


def _make_known(known: Path, address: ObjectAddress) -> None:
    known.write_text(str(address), "utf-8")
    fsync_folder(known.parent)
