"""The small calls about generations: created, looked up, cancelled, listed, followed.

Pure: no I/O, clock or randomness. All of them may be repeated: reading changes nothing, cancelling twice is cancelling
once, and creating carries a key. So whatever passes is tried again, within the call's time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from holdfast.client import defaults as d
from holdfast.client.asking import Ask, Asker
from holdfast.client.judging import exception_of, judge
from holdfast.client.rules import PASSING
from holdfast.client.steps import Break, Cause, Purpose, Raise, Send, Wait
from holdfast.errors import HoldfastError, TimedOut, Unavailable
from holdfast.types import Charge, Phase

if TYPE_CHECKING:
    from holdfast.providers.http import Head
    from holdfast.wire.generations import EventResource, GenerationList, GenerationResource


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The answer is here."""

    head: Head
    document: bytes


ControlStep = Send | Wait | Answered | Raise


@dataclass(slots=True, kw_only=True)
class Control:
    """One small call, with its repeats."""

    asker: Asker
    ask: Ask
    total_s: float = d.CONTROL_S + d.OUTAGE_S
    read_s: float = d.CONTROL_S
    idempotency_key: str | None = None
    generation_id: str | None = None
    secrets: tuple[str, ...] = ()
    _began_s: float = 0.0
    _tries: int = 0

    def start(self, now_s: float) -> ControlStep:
        """Begin."""
        self._began_s = now_s
        return self.woke(now_s)

    def woke(self, now_s: float) -> ControlStep:
        """A wait is over: ask."""
        return Send(
            ask=self.ask,
            purpose=Purpose.POLL,
            connect_s=d.CONNECT_S,
            write_s=d.WRITE_S,
            read_s=self.read_s,
            pool_s=d.POOL_S,
            until_s=now_s + self.read_s + d.STALL_S,
        )

    def received(self, head: Head, document: bytes, *, now_s: float, jitter: float) -> ControlStep:
        """An answer has come whole."""
        if head.is_success and (head.media_type == "application/json" or head.status == 204):
            return Answered(head=head, document=document)
        verdict = judge(head, document, base_url=self.asker.address.base_url, secrets=self.secrets)
        error = exception_of(verdict)
        if head.status in PASSING:
            return self._again(error, now_s, jitter, at_least_s=verdict.retry_after_s)
        return self._raise(error, paid=verdict.charge if verdict.is_holdfast else Charge.NO)

    def broke(self, break_: Break, *, now_s: float, jitter: float) -> ControlStep:
        """The exchange broke."""
        kind = TimedOut if break_.cause is Cause.TIMEOUT else Unavailable
        error = kind(break_.detail, failure=break_.failure)
        if break_.cause in (Cause.CERTIFICATE, Cause.NOT_TLS, Cause.POOL):
            return self._raise(error)
        if break_.phase is Phase.CONNECT and self._tries + 1 >= d.FAULTS_MAX:
            return self._raise(error)
        return self._again(error, now_s, jitter)

    def _again(
        self, error: HoldfastError, now_s: float, jitter: float, *, at_least_s: float | None = None
    ) -> ControlStep:
        self._tries += 1
        after_s = max(d.reconnect_s(self._tries, jitter=jitter), at_least_s or 0.0)
        if now_s + after_s - self._began_s > self.total_s or self._tries >= d.SUBMITS_MAX:
            return self._raise(error)
        return Wait(after_s=after_s)

    def _raise(self, error: HoldfastError, *, paid: Charge | None = None) -> Raise:
        error.idempotency_key = self.idempotency_key
        error.generation_id = error.generation_id or self.generation_id
        # What was created may be at work although its answer was lost; reading changes nothing.
        error.paid = paid if paid is not None else (Charge.UNKNOWN if self.idempotency_key else None)
        return Raise(error=error)


def create_ask(asker: Asker, document: Mapping[str, Any], *, idempotency_key: str) -> Ask:
    """Ask for images without waiting for them."""
    headers = (("Idempotency-Key", idempotency_key),)
    return asker.control("POST", "/generations", headers=headers, document=document)


def list_ask(asker: Asker, query: Mapping[str, str | int | bool | None]) -> Ask:
    """Ask for a page of generations, newest first."""
    named = {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in query.items()
        if value is not None
    }
    return asker.control("GET", f"/generations?{urlencode(named)}" if named else "/generations")


def generation_of(document: bytes) -> GenerationResource:
    """Read the status of a generation.

    Raises:
        Unavailable: It is none: no holdfast answers here.
    """
    import msgspec

    from holdfast.wire.generations import decode_generation

    try:
        return decode_generation(document)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise Unavailable("What answered is no holdfast: it keeps no generations.") from exc


def page_of(document: bytes) -> GenerationList:
    """Read a page.

    Raises:
        Unavailable: It is none: no holdfast answers here.
    """
    import msgspec

    from holdfast.wire.generations import GenerationList

    try:
        return msgspec.json.decode(document, type=GenerationList)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise Unavailable("What answered is no holdfast: it keeps no generations.") from exc


class EventLines:
    """Reads a stream of events; previews, whose images are large, are passed over."""

    def __init__(self) -> None:
        from holdfast.wire.sse import SseReader

        self._reader = SseReader()
        self._name = ""
        self._data = bytearray()

    def __repr__(self) -> str:
        return f"<EventLines {self._reader!r}>"

    def feed(self, chunk: bytes) -> list[EventResource]:
        """Take the next bytes; give the events that are whole.

        Raises:
            Unavailable: They are no events of ours.
        """
        import msgspec

        from holdfast.wire.errors import WireError

        try:
            return self._read(chunk)
        except (WireError, msgspec.MsgspecError, UnicodeDecodeError) as exc:
            raise Unavailable("What answered is no holdfast: its events cannot be read.") from exc

    def _read(self, chunk: bytes) -> list[EventResource]:
        import msgspec

        from holdfast.wire.generations import EventResource
        from holdfast.wire.sse import SseData, SseName

        events: list[EventResource] = []
        for each in self._reader.feed(chunk):
            if isinstance(each, SseName):
                self._name = each.name
            elif isinstance(each, SseData):
                if self._name != "generation.partial_image":
                    self._data += each.data[: d.ANSWER_BYTES_MAX - len(self._data)]
            else:
                if self._data:
                    events.append(msgspec.json.decode(bytes(self._data), type=EventResource))
                self._name = ""
                self._data.clear()
        return events


FINAL = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(slots=True, kw_only=True)
class Following:
    """Follows one generation to its end, over as many connections as it takes."""

    asker: Asker
    generation_id: str
    after: int | None = None
    """Number of the last event that was seen."""
    is_over: bool = False
    _breaks: int = 0
    _contact_s: float = 0.0

    def start(self, now_s: float) -> Send:
        """Begin."""
        self._contact_s = now_s
        return self._send(now_s)

    def woke(self, now_s: float) -> Send:
        """A wait is over."""
        return self._send(now_s)

    def seen(self, event: EventResource, now_s: float) -> None:
        """An event has come."""
        self.after = event.sequence_number
        self._breaks, self._contact_s = 0, now_s
        self.is_over = event.status in FINAL

    def ended(self, *, now_s: float, jitter: float) -> Wait | Raise | None:
        """The stream has ended; None: so has the generation, and all was told."""
        if self.is_over:
            return None
        error = Unavailable("The stream of events ended before the generation did.")
        error.generation_id = self.generation_id
        return self._again(error, now_s, jitter)

    def answered(self, head: Head, document: bytes, *, now_s: float, jitter: float) -> Wait | Raise | None:
        """Something else than a stream has come; None: nothing is left to tell."""
        if head.status == 204:
            return None
        verdict = judge(head, document, base_url=self.asker.address.base_url)
        error = exception_of(verdict)
        error.generation_id = self.generation_id
        if head.status in PASSING:
            return self._again(error, now_s, jitter, at_least_s=verdict.retry_after_s)
        return Raise(error=error)

    def broke(self, break_: Break, *, now_s: float, jitter: float) -> Wait | Raise:
        """The connection broke."""
        error = Unavailable(break_.detail, failure=break_.failure)
        error.generation_id = self.generation_id
        if break_.cause in (Cause.CERTIFICATE, Cause.NOT_TLS, Cause.POOL):
            return Raise(error=error)
        return self._again(error, now_s, jitter)

    def _again(
        self, error: HoldfastError, now_s: float, jitter: float, *, at_least_s: float | None = None
    ) -> Wait | Raise:
        self._breaks += 1
        after_s = max(d.reconnect_s(self._breaks, jitter=jitter), at_least_s or 0.0)
        if now_s + after_s - self._contact_s > d.OUTAGE_S and self._breaks > 1:
            return Raise(error=error)
        return Wait(after_s=after_s)

    def _send(self, now_s: float) -> Send:
        return Send(
            ask=self.asker.events(self.generation_id, after=self.after),
            purpose=Purpose.POLL,
            connect_s=d.CONNECT_S,
            write_s=d.WRITE_S,
            read_s=d.STALL_S,
            pool_s=d.POOL_S,
            until_s=float("inf"),
        )
