"""Models that are no images, passed through to one upstream: a chat program needs its text models behind one base URL.

Nothing here is durable, held or booked: the request is read, sent on with another key, and what comes back is handed on
while it comes. Neither side of a conversation is kept or logged. A body that is not small goes through a file, which is
gone with its call.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from holdfast.config import PassThrough, Upstream
from holdfast.errors import RequestError, is_disk_full
from holdfast.gateway.app import tell
from holdfast.gateway.bodies import INLINE_BYTES_MAX
from holdfast.gateway.call import Call, Headers
from holdfast.log import emit
from holdfast.policy.admission import storage_low
from holdfast.policy.budgets import Budget
from holdfast.providers.http import Head
from holdfast.threads import Threads
from holdfast.transport.through import NoAnswer, Passing, Through
from holdfast.types import Charge, Surface
from holdfast.wire.errors import WireError
from holdfast.wire.fields import request_error_of
from holdfast.wire.named import FieldFinder

CROWDED_RETRY_S = 5.0
_PIECE_BYTES = 256 * 1024
# The coding of a body is passed with it: nobody asked for one, and nothing is decoded here.
_PASSED_HEADERS = ("content-type", "content-encoding", "retry-after", "retry-after-ms", "x-should-retry")
_PASSED_PREFIXES = ("x-ratelimit-", "openai-")
_CREDENTIAL = frozenset({401, 403})


@dataclass(slots=True)
class RawBody:
    """A request's body as it came."""

    size: int = 0
    model: str | None = None
    small: bytes = b""
    path: Path | None = None
    """Where it lies, if it is not small."""


class PassingOn:
    """Serves them."""

    def __init__(
        self, *, settings: PassThrough, upstream: Upstream, key: str, through: Through, spool: Path, threads: Threads
    ) -> None:
        self._models = frozenset(settings.models)
        self._with_budget = settings.with_budget
        self._at_once_max = settings.at_once
        self._url = f"{upstream.base_url.rstrip('/')}/chat/completions"
        self._upstream = upstream.name
        self._key = key
        self._through = through
        self._spool = spool
        self._threads = threads
        self._at_once = 0
        self._reading = 0
        self._is_retired = False

    def retire(self) -> None:
        """Close when the last call that is here has ended: another one serves what comes from now on."""
        self._is_retired = True
        if not self._reading:
            self.close()

    def close(self) -> None:
        """Let go of what it holds."""
        self._through.close()

    def serves(self, model: str | None) -> bool:
        """Whether a model is passed through."""
        return model in self._models

    def check_budget(self, budgets: Iterable[Budget]) -> None:
        """See that nothing is spent beside a budget.

        Args:
            budgets: Those of the key that asks, and of its group.

        Raises:
            RequestError: 403: there is one, and it would not count.
        """
        if not self._with_budget and any(budget.is_limited for budget in budgets):
            raise RequestError(
                "This key has a budget, and this model is passed on without a price: it would count against none. "
                "Whoever runs this gateway can let it (passthrough.with_budget), or give a key without a budget.",
                code="model_not_allowed",
                status=403,
                param="model",
            )

    async def pieces(self, body: RawBody) -> AsyncIterator[bytes]:
        """Give a body piece by piece, again and again."""
        if body.small:
            yield body.small
        at = 0
        while body.path is not None and at < body.size:
            piece = await self._threads.run(_read, body.path, at)
            at += len(piece)
            yield piece

    @contextlib.asynccontextmanager
    async def read(self, call: Call) -> AsyncIterator[RawBody]:
        """Read a body to find out where it goes; what was kept of it is gone at the end.

        Raises:
            RequestError: 400, 413 or 503.
            CallerLeft: The connection ended first.
        """
        finder, body = FieldFinder("model"), RawBody()
        file: BinaryIO | None = None
        self._reading += 1
        try:
            async for piece in call.body():
                finder.feed(piece)
                body.size += len(piece)
                if file is None and body.size <= INLINE_BYTES_MAX:
                    body.small += piece
                    continue
                if file is None:
                    body.path = self._spool / f"input-{call.request_id}-body.part"
                    file = await self._threads.run(body.path.open, "wb", 0)
                    piece, body.small = body.small + piece, b""
                await self._threads.run(_write, file, piece)
            body.model = finder.value
            yield body
        except WireError as exc:
            raise request_error_of(exc) from exc
        except OSError as exc:
            if not is_disk_full(exc):
                raise
            raise storage_low() from exc
        finally:
            self._reading -= 1
            if self._is_retired and not self._reading:
                self.close()
            if file is not None:
                await asyncio.shield(self._threads.run(_remove, file, body.path))

    async def serve(self, call: Call, body: RawBody) -> None:
        """Send a request on, and hand on what comes back.

        Raises:
            RequestError: 503 `overloaded`: too many at once.
        """
        if self._at_once >= self._at_once_max:
            raise RequestError(
                "Too many requests are being passed on at this moment (passthrough.at_once).",
                code="overloaded",
                status=503,
                retry_after_s=CROWDED_RETRY_S,
            )
        self._at_once += 1
        began_at = asyncio.get_running_loop().time()
        status = "broken"
        try:
            status = await self._passed(call, body)
        finally:
            self._at_once -= 1
            elapsed_s = round(asyncio.get_running_loop().time() - began_at, 3)
            emit("chat.passed_on", model=body.model, upstream=self._upstream, status=status, elapsed_s=elapsed_s)

    async def _passed(self, call: Call, body: RawBody) -> str:
        passing = await self._through.open(self._url)
        if isinstance(passing, NoAnswer):
            return await self._failed(call, passing)
        # Whoever leaves is not written for any more.
        call.protocol.on_lost = passing.close
        try:
            if _has_left(call):
                return "left"
            accept = call.headers.get("accept", "*/*")
            headers = (("Authorization", f"Bearer {self._key}"), ("Accept", accept))
            head = await passing.ask(self._url, headers=headers, size=body.size, body=self.pieces(body))
            if _has_left(call):
                return "left"
            if isinstance(head, NoAnswer):
                return await self._failed(call, head)
            if head.status in _CREDENTIAL:
                # It is ours that was refused, not the caller's.
                return await self._failed(call, NoAnswer(reason=f"it answered {head.status}", was_sent=False))
            return await self._answered(call, head, passing)
        finally:
            call.protocol.on_lost = None
            passing.close()

    async def _answered(self, call: Call, head: Head, passing: Passing) -> str:
        await call.start(head.status, _headers_of(head))
        try:
            async for piece in passing.pieces():
                await call.write(piece)
                if _has_left(call):
                    return "left"
        except ConnectionError as exc:
            # Nobody takes half an answer for a whole one.
            emit("chat.broke_off", level="warning", upstream=self._upstream, reason=str(exc))
            call.break_off()
            return "left" if _has_left(call) else "broken"
        await call.finish()
        return str(head.status)

    async def _failed(self, call: Call, answer: NoAnswer) -> str:
        error = RequestError(f"{self._upstream} gave no answer: {answer.reason}.", code="upstream_failed", status=502)
        await tell(call, Surface.CHAT, error, paid=Charge.UNKNOWN if answer.was_sent else Charge.NO)
        return "failed"


def _has_left(call: Call) -> bool:
    """Whether a caller is gone by now."""
    return call.has_left


def _headers_of(head: Head) -> Headers:
    """Choose what of an answer's head is the caller's: nothing of the connection, no cookie, no address."""
    passed: Headers = [
        (name.encode(), value.encode("latin-1"))
        for name, values in head.headers.items()
        if name in _PASSED_HEADERS or name.startswith(_PASSED_PREFIXES)
        for value in values
        if value.isprintable()
    ]
    passed += [(b"cache-control", b"no-store, no-transform"), (b"x-accel-buffering", b"no")]
    lengths = head.headers.get("content-length")
    if lengths is not None and "transfer-encoding" not in head.headers:
        passed.append((b"content-length", lengths[0].encode("latin-1")))
    return passed


def _read(path: Path, at: int) -> bytes:
    with path.open("rb", buffering=0) as file:
        file.seek(at)
        return file.read(_PIECE_BYTES)


def _write(file: BinaryIO, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[file.write(view) :]


def _remove(file: BinaryIO, path: Path | None) -> None:
    with contextlib.suppress(OSError):
        file.close()
    if path is not None:
        path.unlink(missing_ok=True)
