"""One generation over HTTP, from the request to files: a call of the demo's, which does not know the library."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from holdfast.cli.exits import Exit, Stop, of_answer
from holdfast.cli.files import ErrorText, ImageFiles, Received
from holdfast.cli.progress import Progress
from holdfast.cli.verdict import Verdict, verdict_of, with_charge
from holdfast.providers.http import Head, HttpRequest
from holdfast.transport.aio import AioTransport
from holdfast.transport.exchange import Exchange, Timeouts
from holdfast.types import Charge, Failure
from holdfast.wire import gemini
from holdfast.wire.answers import Answer, UpstreamError
from holdfast.wire.errors import WireError

FOLLOW_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """The images of one answer, and what the answer said of them."""

    images: tuple[Received, ...]
    generation_id: str | None
    model: str | None
    """What served it, as the answer says."""


class Fetch:
    """Sends one request and keeps its images. `generation_id` is known as soon as the head of the answer is there."""

    def __init__(self, *, folder: Path) -> None:
        self._folder = folder
        self._head: Head | None = None
        self._sink: ImageFiles | ErrorText | None = None

    @property
    def generation_id(self) -> str | None:
        """Under which the gateway keeps the result; None until the head came, or from something else than holdfast."""
        return self._head.header("generation-id") if self._head is not None else None

    async def run(
        self, request: HttpRequest, *, inputs: Sequence[Path] = (), timeouts: Timeouts, progress: Progress
    ) -> Fetched | Failure:
        """Perform it.

        Raises:
            Stop: The answer is an error, or holds no image.
        """
        transport = AioTransport()
        try:
            async with progress:
                follow = asyncio.create_task(self._follow(progress), name="follow")
                try:
                    outcome = await transport.exchange(
                        request, inputs=inputs, timeouts=timeouts, on_head=self._sink_for
                    )
                finally:
                    follow.cancel()
                    await asyncio.wait([follow])
            return outcome if isinstance(outcome, Failure) else await self._finish(outcome)
        finally:
            await transport.close()

    def close(self) -> None:
        """Remove files that were not kept."""
        if self._sink is not None:
            self._sink.close()

    def _sink_for(self, head: Head) -> ImageFiles | ErrorText:
        self._head = head
        self._sink = ImageFiles(self._folder, gemini.GenerateReader()) if head.is_success else ErrorText()
        return self._sink

    async def _follow(self, progress: Progress) -> None:
        while True:
            if isinstance(self._sink, ImageFiles):
                progress.received_bytes = self._sink.received_bytes
            await asyncio.sleep(FOLLOW_S)

    async def _finish(self, exchange: Exchange) -> Fetched:
        sink = self._sink
        if isinstance(sink, ErrorText):
            error = gemini.decode_error(exchange.head.status, sink.body)
            raise self._error(exchange.head.status, error, verdict_of(sink.body))
        assert sink is not None
        try:
            answer = await asyncio.to_thread(sink.finish)
        except WireError as error:
            raise Stop(
                Exit.GENERATION_FAILED,
                with_charge(f"The answer could not be read: {error.message}.", Charge.UNKNOWN),
                generation_id=self.generation_id,
                paid=Charge.UNKNOWN.value,
            ) from error
        if answer.error is not None:
            raise self._error(None, answer.error, verdict_of(answer.document))
        wanted = {image.index for image in answer.results}
        images = tuple(received for received in sink.received if received.index in wanted)
        if not images:
            raise self._empty(answer)
        return Fetched(images=images, generation_id=self.generation_id, model=answer.model_version)

    def _error(self, status: int | None, error: UpstreamError, verdict: Verdict) -> Stop:
        # Gemini's code is a number; the word of ours stands in ErrorInfo.reason.
        code = error.reason or ""
        exit_code = of_answer(status, code.lower())
        message = error.message if error.is_json else f"HTTP {status}, and no error of an image API. Is the URL right?"
        if exit_code in _BOUGHT:
            message = with_charge(message, verdict.paid)
        return Stop(
            exit_code,
            f"{message}{_ADVICE.get(exit_code, '')}",
            status=status,
            generation_id=self.generation_id,
            holdfast_code=verdict.code,
            paid=verdict.paid,
        )

    def _empty(self, answer: Answer) -> Stop:
        reason = answer.block_reason or (answer.finish_reason if answer.finish_reason != "STOP" else None)
        if reason is not None and reason != "NO_IMAGE":
            said = f" {answer.finish_message}" if answer.finish_message else ""
            return Stop(Exit.REFUSED, f"The upstream declined: {reason}.{said}", generation_id=self.generation_id)
        why = "only links to images" if answer.url_only else "no image"
        message = with_charge(f"The answer holds {why}.", Charge.UNKNOWN)
        return Stop(Exit.GENERATION_FAILED, message, generation_id=self.generation_id, paid=Charge.UNKNOWN.value)


_BOUGHT = frozenset({Exit.GENERATION_FAILED, Exit.REFUSED})
"""Ends of what may have been bought; the others are mistakes, told before anything is."""
_ADVICE = {Exit.NO_SUCH_MODEL: " GET /v1/models lists what is served."}
