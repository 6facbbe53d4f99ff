"""Image bytes for those who ask: opened from this disk, where whatever holds them brings them first."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Iterable
from contextlib import ExitStack

from holdfast.engine.core import Core
from holdfast.errors import RequestError
from holdfast.gateway.answer import FilePieces
from holdfast.log import emit
from holdfast.policy.mishaps import reason_of
from holdfast.store.records import BlobRow, Record

BRING_S = 60.0
"""For what holds an image to answer, while beats reach whoever waits for it."""
BRING_PAUSE_S = 1.0
AGAIN_S = 5.0
"""For whoever is told that what holds an image does not answer."""


class Images:
    """Opens images of the record."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.is_local = core.blobs.puts_together
        """Whether all of them lie on this disk, so that a path is all that it takes."""

    async def open(self, blob: BlobRow) -> FilePieces:
        """Open one.

        Raises:
            FileNotFoundError: It is gone.
            RequestError: 503: what holds it does not answer.
        """
        blobs, key = self._core.blobs, blob.store_key
        here = blobs.here(key)
        if here is not None:
            # It may be moved, or make room for others, between these two lines.
            with contextlib.nullcontext() if self.is_local else contextlib.suppress(FileNotFoundError):
                return FilePieces(here)
        try:
            return FilePieces(await self._brought(blob))
        except FileNotFoundError:
            raise
        except OSError as exc:
            emit("storage.failed", level="error", generation_id=blob.generation_id, message=reason_of(exc))
            raise RequestError(
                "The image is kept, and what keeps it does not answer at this moment. Ask again in a few seconds.",
                code="storage_low",
                status=503,
                retry_after_s=AGAIN_S,
                generation_id=blob.generation_id,
            ) from exc

    async def open_all(self, stack: ExitStack, blobs: Iterable[tuple[int, BlobRow]]) -> dict[int, FilePieces]:
        """Open several, by slot; `stack` closes them. Raises as `open` does."""
        return {slot: stack.enter_context(await self.open(blob)) for slot, blob in blobs}

    async def bring(self, record: Record) -> None:
        """See that the results of a generation lie on this disk, if they can be had within `BRING_S`.

        For while its caller is still held: what goes wrong is told when they are opened.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + BRING_S
        for blob in record.results:
            while blob.state == "stored" and self._core.blobs.here(blob.store_key) is None:
                try:
                    await self._brought(blob)
                except FileNotFoundError:
                    break
                except OSError as exc:
                    emit("storage.failed", level="error", generation_id=blob.generation_id, message=reason_of(exc))
                    if loop.time() + BRING_PAUSE_S >= until:
                        return
                    await asyncio.sleep(BRING_PAUSE_S)

    async def _brought(self, blob: BlobRow) -> str:
        """See that an image which is on record lies on this disk, and say where. Raises as `Blobs.bring` does."""
        try:
            return await self._core.with_blobs(self._core.blobs.bring, blob.store_key, blob.sha256)
        except FileNotFoundError as exc:
            if self.is_local or not self._core.dispatcher.is_shared:
                raise
            # On the disk of another process, which neither the bucket nor the database took it from so far; if it was
            # deleted a moment ago, its row says so by the next time.
            raise OSError(errno.EAGAIN, "where it is to be, the image has not arrived yet") from exc

    async def address_of(self, blob: BlobRow, valid_s: float) -> str | None:
        """An address elsewhere under which anybody may get it for so many seconds; None: from here."""
        if self.is_local:
            return None
        return await self._core.with_blobs(self._core.blobs.signed_url, blob.store_key, valid_s)
