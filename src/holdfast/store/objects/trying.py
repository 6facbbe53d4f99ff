"""Whether a bucket does all that is needed of it: tried out with an object of a few bytes."""

from __future__ import annotations

import contextlib
from pathlib import Path

from holdfast.store.blobs import sha256_of
from holdfast.store.objects.bucket import Bucket
from holdfast.store.objects.mishaps import ObjectError, Trouble


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
