"""A bucket, as few verbs: what obstore is asked for, with limits, and what it raises made ours.

Every verb blocks, lets other threads run meanwhile, and tries again by itself what failed in passing.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.store import AzureStore, GCSStore, S3Store

from holdfast.config.objects import ObjectAddress, ObjectKeys, ObjectSettings, Scheme
from holdfast.store.objects.mishaps import translated

SINGLE_PUT_BYTES_MAX = 256 << 20
"""Up to this size an object is put in one request, which may create only and leaves nothing half done. The file is
mapped, not read, so that its size costs no memory; one that breaks off begins anew, at 1 Gbit/s after 2 s."""
PART_BYTES = 16 << 20
PARTS_AT_ONCE = 4
"""Above it: 64 MiB in memory."""
PIECE_BYTES = 1 << 20
"""Of what is read; the network may bring pieces of up to as much again."""
RETRIES = 4
RETRY_S_MAX = 10.0
"""For all tries of one request that fail in passing (500, 503 SlowDown, a connection that breaks): whoever put an image
waits for it, and after this time it is kept on the disk."""
CONNECT_S = 5.0
LIST_CHUNK = 1000
"""What S3 gives for one request."""
_MIMES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp", "gif": "image/gif"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What is known of an object without its bytes."""

    key: str
    bytes: int
    written_at: datetime
    sha256: str
    """As it was put; empty where a list does not tell it, or somebody else has put the object."""


class Bucket:
    """The objects under one prefix."""

    def __init__(self, store: S3Store | GCSStore | AzureStore) -> None:
        self._store = store
        self._deletes_many = isinstance(store, S3Store)
        """The others have no request for that, and take a missing object for a mistake."""

    def create(self, key: str, source: Path, sha256: str) -> bool:
        """Put a file where there is nothing; False if there is something.

        Raises:
            ObjectError: It did not come to pass, or nobody knows whether it did.
        """
        return self._put(key, source, sha256, mode="create")

    def replace(self, key: str, source: Path, sha256: str) -> None:
        """Put a file, whatever is there."""
        self._put(key, source, sha256, mode="overwrite")

    def _put(self, key: str, source: Path, sha256: str, *, mode: Any) -> bool:
        size = source.stat().st_size
        attributes: dict[Any, str] = {"Content-Type": _mime_of(key), "sha256": sha256}
        with source.open("rb") as file, translated():
            if size > SINGLE_PUT_BYTES_MAX:
                return self._put_in_parts(key, source, attributes, mode=mode)
            # A map of nothing is refused by the system.
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
            try:
                obstore.put(self._store, key, data, mode=mode, use_multipart=False, attributes=attributes)
            except AlreadyExistsError:
                return False
        return True

    def _put_in_parts(self, key: str, source: Path, attributes: dict[Any, str], *, mode: Any) -> bool:
        """Put a very large file. Parts cannot be put under a condition: whoever comes between is overwritten by the
        same bytes."""
        if mode == "create":
            with suppress(FileNotFoundError):
                self.head(key)
                return False
        obstore.put(
            self._store,
            key,
            source,
            use_multipart=True,
            attributes=attributes,
            chunk_size=PART_BYTES,
            max_concurrency=PARTS_AT_ONCE,
        )
        return True

    def head(self, key: str) -> Head:
        """Look at an object.

        Raises:
            FileNotFoundError: There is none.
            ObjectError: The store does not say.
        """
        with translated():
            got = obstore.get(self._store, key, options={"head": True})
            attributes = got.attributes
        # Metadata comes back under its name alone, in the case that the server likes.
        sha256 = next((value for name, value in attributes.items() if name.lower() == "sha256"), "")
        meta = got.meta
        return Head(key=key, bytes=meta["size"], written_at=meta["last_modified"], sha256=sha256)

    def read(self, key: str) -> Iterator[memoryview]:
        """Give the bytes of an object, piece by piece as they come: the sender waits for whoever reads.

        Raises:
            FileNotFoundError: There is none.
            ObjectError: The store does not give them, or stopped half-way.
        """
        with translated():
            for piece in obstore.get(self._store, key).stream(min_chunk_size=PIECE_BYTES):
                yield memoryview(piece)

    def copy(self, source: str, target: str) -> None:
        """Have the store copy an object, metadata included.

        Raises:
            FileNotFoundError: There is none.
        """
        with translated():
            obstore.copy(self._store, source, target)

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; one that is gone is no error."""
        with translated():
            if self._deletes_many:
                obstore.delete(self._store, keys)
                return
            for key in keys:
                with suppress(FileNotFoundError):
                    obstore.delete(self._store, key)

    def list(self, prefix: str, *, behind: str | None = None) -> Iterator[Head]:
        """Go through the objects under a prefix, in the order of their names where the store has one. Lazy.

        Args:
            prefix: A folder.
            behind: Only those whose keys come after this.
        """
        with translated():
            for chunk in obstore.list(self._store, prefix, offset=behind, chunk_size=LIST_CHUNK):
                for meta in chunk:
                    yield Head(key=meta["path"], bytes=meta["size"], written_at=meta["last_modified"], sha256="")

    def signed_url(self, key: str, valid_s: float) -> str:
        """Sign an address for GET."""
        with translated():
            return obstore.sign(self._store, "GET", key, timedelta(seconds=valid_s))


def _mime_of(key: str) -> str:
    return _MIMES.get(key.rpartition(".")[2], "application/octet-stream")


def open_bucket(
    address: ObjectAddress,
    objects: ObjectSettings,
    keys: ObjectKeys | None,
    *,
    retry_s: float = RETRY_S_MAX,
) -> Bucket:
    """Make a bucket's client. Nothing is asked yet.

    Args:
        address: Where it is.
        objects: How it is reached.
        keys: The credential; None for what the machine offers.
        retry_s: For all tries of one request that fails in passing.
    """
    options: dict[str, Any] = {
        "allow_http": objects.endpoint.startswith("http://"),
        "connect_timeout": timedelta(seconds=CONNECT_S),
        "timeout": timedelta(seconds=objects.timeout_s),
        "user_agent": "holdfast",
    }
    shared: dict[str, Any] = {
        "prefix": address.prefix or None,
        "client_options": options,
        "retry_config": {
            "max_retries": RETRIES,
            "retry_timeout": timedelta(seconds=retry_s),
            "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=2), "base": 2},
        },
    }
    config: dict[str, Any] = {"endpoint": objects.endpoint} if objects.endpoint else {}
    match address.scheme:
        case Scheme.S3:
            # The server checks what arrived, and keeps the digest beside it.
            config |= {"checksum_algorithm": "sha256"} | ({"region": objects.region} if objects.region else {})
            if keys is not None:
                config |= {"access_key_id": keys.id, "secret_access_key": keys.secret}
            return Bucket(S3Store(address.bucket, config=cast(Any, config), **shared))
        case Scheme.GCS:
            if objects.endpoint:
                config = {"base_url": objects.endpoint}
            return Bucket(GCSStore(address.bucket, config=cast(Any, config), **shared))
        case Scheme.AZURE:
            if keys is not None:
                config |= {"account_name": keys.id, "account_key": keys.secret}
            return Bucket(AzureStore(address.bucket, config=cast(Any, config), **shared))
