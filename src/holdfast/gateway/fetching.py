"""Images to start from that a request names by their address: fetched before it is accepted, under the guard.

Nothing is taken on trust: the bytes say what they are, whatever the other side calls them, and they are bounded in
number, size and time. What was fetched is an input like one that was sent, and outlives its address.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Protocol, TypeVar
from weakref import WeakValueDictionary

from holdfast.engine.core import Core
from holdfast.errors import RequestError, is_disk_full
from holdfast.gateway.bodies import OpenInput
from holdfast.log import emit
from holdfast.policy.admission import storage_low
from holdfast.providers.http import Head
from holdfast.transport.guarded import NotAnswered, Take
from holdfast.types import InputImage

T = TypeVar("T")

AT_ONCE = 16
"""Images on their way, all requests together; whoever comes then waits, within his time."""
AT_ONCE_OF_A_KEY = 8
"""Of these for one key: whoever names slow addresses makes nobody else wait for more than half of the places."""
AT_ONCE_OF_A_REQUEST = 4
CROWDED_RETRY_S = 5.0


class Get(Protocol):
    """Fetches from an address that a caller named; `transport.guarded` in production."""

    def get(self, url: str, *, take: Take, bytes_max: int, timeout_s: float) -> Awaitable[Head | NotAnswered]:
        """Hand the body to `take`; give the head of what was taken whole, or why it was not."""

    def close(self) -> None:
        """Let go of what it holds."""


class InputFetcher:
    """Fetches the images of requests."""

    def __init__(self, core: Core, transport: Get) -> None:
        self._core = core
        self._transport = transport
        self._settings = core.settings.inputs
        self._room = asyncio.Semaphore(AT_ONCE)
        self._rooms: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        """By key, as long as somebody is in one or waits before it."""

    def close(self) -> None:
        """Fetch no more."""
        self._transport.close()

    async def fetch(self, urls: Mapping[str, str], name: str, *, key_id: str) -> dict[str, InputImage]:
        """Fetch all images of one request.

        Args:
            urls: Addresses by the field that names them.
            name: Of the request, for its files in the spool.
            key_id: Whose request it is.

        Raises:
            RequestError: 400, 413 or 503, `overloaded` if there was no room within its time; `param` names the field.
                Nothing of the request is kept then.
        """
        if not urls:
            return {}
        if not self._settings.fetch:
            raise RequestError(
                f"{min(urls)}: images are not fetched from addresses here (inputs.fetch). Send its bytes instead.",
                param=min(urls),
            )
        until = asyncio.get_running_loop().time() + self._settings.fetch_s
        key_room = self._rooms.setdefault(key_id, asyncio.Semaphore(AT_ONCE_OF_A_KEY))
        # From the smallest to the one that all share: whoever waits for his own keeps nobody else out.
        rooms = (asyncio.Semaphore(AT_ONCE_OF_A_REQUEST), key_room, self._room)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = {
                    where: group.create_task(
                        self._fetch(where, url, f"input-{name}-url{number}.part", rooms, until), name=f"fetch:{name}"
                    )
                    for number, (where, url) in enumerate(urls.items())
                }
        except ExceptionGroup as failed:
            told = [each for each in failed.exceptions if isinstance(each, RequestError)]
            if len(told) < len(failed.exceptions):
                raise
            # One is enough to know: the others were stopped.
            raise told[0] from None
        return {where: task.result() for where, task in tasks.items()}

    async def _fetch(
        self, where: str, url: str, file: str, rooms: tuple[asyncio.Semaphore, ...], until: float
    ) -> InputImage:
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with asyncio.timeout_at(until):
                    for room in rooms:
                        await stack.enter_async_context(room)
            except TimeoutError:
                raise _crowded(where) from None
            try:
                return await self._fetched(where, url, file, until)
            except OSError as exc:
                if not is_disk_full(exc):
                    raise
                raise storage_low() from exc

    async def _fetched(self, where: str, url: str, file: str, until: float) -> InputImage:
        loop = asyncio.get_running_loop()
        image = await self._in_thread(OpenInput.at, self._core.spool / file)
        left_s = until - loop.time()
        try:
            answer = await self._transport.get(
                url,
                take=lambda piece: self._in_thread(image.write, piece),
                bytes_max=self._core.settings.store.image_bytes_max,
                timeout_s=max(0.01, left_s),
            )
            if isinstance(answer, NotAnswered):
                # Whoever had waited for most of his time has nothing to say of whom he then asked.
                if left_s < self._settings.fetch_s / 2 and loop.time() >= until:
                    raise _crowded(where)
                raise _not_fetched(where, answer)
            return await self._in_thread(partial(image.keep, self._core.blobs, what=where, param=where))
        finally:
            await self._in_thread(image.discard)

    async def _in_thread(self, function: Callable[..., T], *args: object) -> T:
        """Run file work, and wait for its end whatever happens: a file is not closed under a thread that writes it."""
        job = asyncio.ensure_future(self._core.with_blobs(function, *args))
        try:
            return await asyncio.shield(job)
        except asyncio.CancelledError:
            await asyncio.wait([job])
            raise


def _crowded(where: str) -> RequestError:
    emit("input.not_fetched", level="warning", param=where, reason="too many are on their way")
    return RequestError(
        f"{where}: too many images are being fetched at this moment.",
        code="overloaded",
        status=503,
        param=where,
        retry_after_s=CROWDED_RETRY_S,
    )


def _not_fetched(where: str, answer: NotAnswered) -> RequestError:
    # Neither host nor path: they may hold a secret of whoever keeps the image.
    emit("input.not_fetched", level="warning", param=where, reason=answer.reason)
    message = f"{where}: the image could not be fetched: {answer.reason}."
    if answer.is_too_long:
        return RequestError(message, code="input_too_large", status=413, param=where)
    return RequestError(message, param=where)
