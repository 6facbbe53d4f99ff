"""Mending: from a request whose answers may break off to one whole answer, or the exception that its caller is to hear.

An SDK is given a whole answer, never a part: a document is kept in a nameless temporary file until its last bracket
has come, an event stream is handed on by whole events. To continue a byte stream behind what was handed on already, a
replay would have to be equal to the byte, and it is not: there are fresh links in it. SDKs read a document to its end
before they look at it, so nothing comes later to them by this. Memory is `MEMORY_BYTES_MAX` a call, whatever an image
weighs.

`converse` is a generator: it says what to do next, and is told what came of it. It knows no socket and no clock; the
same one serves threads and asyncio. `pickup` decides.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

from holdfast.client.defaults import MEMORY_BYTES_MAX
from holdfast.client.pickup import (
    AskAgain,
    FindOut,
    GiveUp,
    Meaning,
    Phase,
    PickUp,
    Server,
    Step,
    generation_of,
    is_unknown,
    meaning_of,
    retry_after_s,
)
from holdfast.client.whole import Document, EventEnd, Events

PIECE_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Send:
    """Send the request; report `Head` or `Failed`."""


@dataclass(frozen=True, slots=True)
class Read:
    """Read a piece of the body; report bytes, None at its end, or `Failed`."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the answer."""


@dataclass(frozen=True, slots=True)
class Find:
    """Ask who that is; report a `Server`."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so long."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Pass:
    """Hand the answer on as it is; the conversation ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The head of an answer."""

    status: int
    headers: Any
    extensions: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Give:
    """Hand on a head; its body follows."""

    head: Head


@dataclass(frozen=True, slots=True)
class Failed:
    """An exchange failed."""

    error: Exception
    phase: Phase
    is_final: bool
    """Nothing is gained by asking again: the caller's own timeout, a certificate, a full pool."""


Command = Send | Read | Close | Find | Pause | Pass | Give | bytes
Report = Head | Failed | Server | bytes | None
Talk = Generator[Command, Any, bool]


@dataclass(slots=True, kw_only=True)
class Call:
    """One request that is picked up, as far as it is the same for both transports."""

    pickup: PickUp
    now: Callable[[], float]
    jitter: Callable[[], float]
    broken_off: Callable[[str], Exception]
    """Makes the exception for an answer that ended properly, and too early."""
    stream_consumed: type[Exception]
    is_denied: bool = False
    """Whether it is said that this is not holdfast, or its repeat could not join: what comes is passed as it is."""
    finals: int = 0
    """Events handed on that are no previews."""
    generation_id: str | None = None
    """Whose events were handed on."""


def converse(call: Call) -> Talk:
    """Say what to do until there is a whole answer.

    Returns:
        Whether it was handed on whole; False for what was passed as it is.

    Raises:
        Exception: What the last exchange failed with.
    """
    error: Exception | None = None
    while True:
        report = yield Send()
        if isinstance(report, Failed):
            if isinstance(report.error, call.stream_consumed) and error is not None:
                # A body that can be sent only once: what cut it is what its caller has to hear.
                raise error
            error = report.error
            if report.is_final or not (yield from _follow(call, _broken(call, report.phase))):
                raise error
            continue
        head: Head = report
        meaning = meaning_of(head.status, head.headers, is_repeat=call.pickup.is_repeat)
        if call.generation_id is not None and not _goes_on(head, meaning):
            yield from _told_inside(call, head)
            return True
        if not call.is_denied and meaning in (Meaning.GENERATION, Meaning.UNSURE):
            call.pickup.signed(call.now())
            read = _read_events if _is_stream(head) else _read_document
            if (yield from read(call, head)):
                return True
            continue
        is_final = meaning not in (Meaning.HOP, Meaning.BUSY)
        if is_final or not (yield from _follow(call, _unready(call, head, meaning))):
            if call.generation_id is not None:
                raise call.broken_off(f"the stream broke off, and its repeat was answered {head.status}")
            yield Pass()
            return False
        yield Close()


def _broken(call: Call, phase: Phase) -> Step:
    return call.pickup.broke(phase, now=call.now(), jitter=call.jitter())


def _unready(call: Call, head: Head, meaning: Meaning) -> Step:
    now, jitter = call.now(), call.jitter()
    if meaning is Meaning.HOP:
        return call.pickup.hop(now=now, jitter=jitter)
    return call.pickup.busy(retry_after_s(head.headers), now=now, jitter=jitter)


def _follow(call: Call, step: Step) -> Talk:
    """Wait, and find out who that is, as is decided; False: given up."""
    while True:
        match step:
            case GiveUp():
                return False
            case AskAgain(after_s):
                yield Pause(after_s)
                return True
            case FindOut(after_s):
                yield Pause(after_s)
                server = yield Find()
                step = call.pickup.found(server, now=call.now(), jitter=call.jitter())


def _is_stream(head: Head) -> bool:
    return head.headers.get("content-type", "").startswith("text/event-stream") and not _is_encoded(head)


def _goes_on(head: Head, meaning: Meaning) -> bool:
    """Whether a stream that was begun goes on with this answer, or is yet to be asked for again."""
    return meaning in (Meaning.HOP, Meaning.BUSY) or (meaning is Meaning.GENERATION and _is_stream(head))


def _told_inside(call: Call, head: Head) -> Talk:
    """Tell an error by its event: a stream that was begun has spent its status."""
    body = b""
    while len(body) < PIECE_BYTES and isinstance(data := (yield Read()), bytes):
        body += data
    if not body.lstrip().startswith(b"{"):
        raise call.broken_off(f"the stream broke off, and its repeat was answered {head.status}")
    yield b"event: error\ndata: " + b" ".join(body.split(b"\n")) + b"\n\n"
    return True


def _is_encoded(head: Head) -> bool:
    """Whether a hop has compressed it, against `no-transform`: then only its framing tells whether it is whole."""
    return head.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity")


def _read_document(call: Call, head: Head) -> Talk:
    """Keep a body until it is whole, then hand it on; False: it is to be asked for again."""
    is_opaque = _is_encoded(head) or "json" not in head.headers.get("content-type", "")
    document = Document()
    with tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES_MAX) as spool:
        while isinstance(data := (yield Read()), bytes):
            call.pickup.signed(call.now())
            spool.write(data if is_opaque else document.feed(data))
        is_whole = data is None and (is_opaque or document.is_whole)
        is_success = 200 <= head.status < 300
        if data is None and (document.is_late_failure if is_success else _is_unknown(spool)):
            step = call.pickup.late_failure(now=call.now(), jitter=call.jitter())
            if (yield from _again(call, step)):
                return False
            # As the gateway said it: inside a 200 it is no JSON, and an SDK raises.
            is_whole = True
        if not is_whole:
            error = data.error if data is not None else call.broken_off("the answer ended before its document did")
            if (data is not None and data.is_final) or not (yield from _again(call, _broken(call, Phase.INSIDE))):
                raise error
            return False
        # Its connection is free for the next call while this one is read.
        yield Close()
        yield Give(head)
        yield from _spooled(spool)
    return True


def _read_events(call: Call, head: Head) -> Talk:
    """Hand on whole events as they come; False: the rest is to be asked for again."""
    stated = generation_of(head.headers)
    if call.finals and stated != call.generation_id:
        raise call.broken_off("the stream broke off, and its repeat is of another generation")
    events, seen = Events(), 0
    is_given = call.generation_id is not None
    with tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES_MAX) as spool:
        while isinstance(data := (yield Read()), bytes):
            call.pickup.signed(call.now())
            for part in events.feed(data):
                if not isinstance(part, EventEnd):
                    spool.write(part.data)
                    continue
                seen += not part.is_partial
                if part.is_error and _is_unknown(spool):
                    step = call.pickup.late_failure(now=call.now(), jitter=call.jitter())
                    if (yield from _follow(call, step)):
                        yield Close()
                        return False
                # What is replayed was handed on before: as many images, in their order. A preview is not repeated.
                if part.is_partial or part.is_error or seen > call.finals:
                    if not is_given:
                        yield Give(head)
                    is_given, call.generation_id = True, stated
                    call.finals += not part.is_partial
                    yield from _spooled(spool)
                spool.seek(0)
                spool.truncate()
    if data is None and call.finals and events.is_between:
        return True
    error = data.error if data is not None else call.broken_off("the stream ended before its last event")
    if (data is not None and data.is_final) or not (yield from _again(call, _broken(call, Phase.INSIDE))):
        raise error
    return False


def _is_unknown(spool: Any) -> bool:
    spool.seek(0)
    document = spool.read(PIECE_BYTES)
    spool.seek(0, 2)
    return is_unknown(document)


def _again(call: Call, step: Step) -> Talk:
    """End this answer, and do as is decided."""
    yield Close()
    return (yield from _follow(call, step))


def _spooled(spool: Any) -> Generator[Command, Any, None]:
    spool.seek(0)
    while piece := spool.read(PIECE_BYTES):
        yield piece
