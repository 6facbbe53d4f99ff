"""Where images are kept, by the settings: the data folder, or a bucket with all that it takes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.clock import Clock, rfc3339
from holdfast.config import Settings
from holdfast.config.objects import ObjectKeys, address_of
from holdfast.engine.core import Core
from holdfast.errors import ConfigError
from holdfast.store.blob_port import Blobs
from holdfast.store.blobs import LocalBlobs
from holdfast.store.lock import DataFolder
from holdfast.store.overflow import Overflow
from holdfast.store.port import Store
from holdfast.threads import Threads

if TYPE_CHECKING:
    from holdfast.store.objects.blobs import ObjectBlobs

OBJECT_THREADS = 16
"""Requests to a bucket at once: each waits for the network, and 16 images of 4K fill a line of 10 Gbit/s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """What holds images."""

    blobs: Blobs
    threads: Threads | None = None
    """Where it is asked; None: where files are."""
    bucket: ObjectBlobs | None = None
    """The same, where it is a bucket: what it did not take is to be moved."""

    @asynccontextmanager
    async def moving(self, core: Core) -> AsyncIterator[None]:
        """Move what waits for the bucket, as long as the block runs."""
        if self.bucket is None:
            yield
            return
        from holdfast.engine.mover import Mover

        mover = Mover(core, self.bucket)
        mover.start()
        try:
            yield
        finally:
            await mover.stop()


async def keeping(
    stack: ExitStack,
    settings: Settings,
    keys: ObjectKeys | None,
    folder: DataFolder,
    clock: Clock,
    shared: Store | None = None,
) -> Keeping:
    """Open what holds images, and see that it does all that is needed.

    Args:
        stack: Closes it.
        settings: Name it.
        keys: Credential of a bucket; None for what the machine offers.
        folder: The data folder.
        clock: Makes names.
        shared: The database, where other processes have it too; None: this one is alone, and its rows are on the disk
            that its images would be on.

    Raises:
        ConfigError: A bucket is named that cannot be used, or without the library for it.
    """
    address = address_of(settings.store.blobs)
    root = folder.paths.root
    if address is None:
        return Keeping(blobs=LocalBlobs(root))
    try:
        from holdfast.store.objects.starting import open_blobs
    except ImportError as exc:
        raise ConfigError(
            "store.blobs names a bucket, which takes a library: pip install 'holdfast[s3]'.", key="store.blobs"
        ) from exc
    threads = Threads(OBJECT_THREADS, "object")
    stack.callback(threads.close, wait=True)
    probe_name = clock.new_id("try")
    overflow = _overflow_of(settings, shared, clock)
    blobs = await threads.run(
        lambda: open_blobs(
            address, settings.objects, keys, root, probe_name=probe_name, overflow=overflow, shared=shared
        )
    )
    return Keeping(blobs=blobs, threads=threads, bucket=blobs)


def _overflow_of(settings: Settings, shared: Store | None, clock: Clock) -> Overflow | None:
    bytes_max = settings.objects.overflow_bytes
    if shared is None or not bytes_max:
        return None
    return Overflow(shared, bytes_max=bytes_max, now=lambda: rfc3339(clock.now()))
