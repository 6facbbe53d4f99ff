"""`/v1/probe/…`: lets the doctor measure a path: a call held as long as asked, and what arrives of a request here.

A probe costs a connection and no money. They are bounded in number, by key and together, and in time; how each ended at
this side is remembered for some minutes, since a caller who was cut cannot be told at once.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from holdfast import __version__
from holdfast.clock import Clock, rfc3339
from holdfast.config import Settings
from holdfast.errors import RequestError
from holdfast.gateway.app import Endpoint, endpoint
from holdfast.gateway.auth import Authenticator
from holdfast.gateway.beats import BeatWheel, Ticket
from holdfast.gateway.call import Call, Headers
from holdfast.gateway.delivery import finish_and_confirm
from holdfast.types import Surface
from holdfast.wire.probe import (
    SECONDS_MAX,
    Echo,
    EchoBeats,
    HoldQuery,
    ProbeAnswer,
    ProbeReport,
    ProbeVisit,
    check_echo_query,
    decode_hold_query,
    render,
    told_headers,
)

OF_A_KEY_MAX = 40
"""The doctor has 28 under way at most; a second one of the same key is told to wait."""
TOGETHER_MAX = 400
"""A fraction of the callers that a gateway holds."""
REMEMBERED_MAX = 4000
REMEMBERED_S = 600.0
VISITS_MAX = 8
ACKNOWLEDGED_WITHIN_S = 30.0
"""Longer than `heartbeat.caller_dead_s` as shipped: by then the kernel has given the connection up."""
BEAT = b"\n"
_REASONS = {100: b"Continue", 102: b"Processing", 103: b"Early Hints"}

Ended = Literal["open", "answered", "left", "reset", "lost"]


@dataclass(slots=True, kw_only=True)
class _Visit:
    began_at: str
    began_s: float
    ended: Ended = "open"
    ended_s: float | None = None
    acknowledged: bool | None = None
    beats: int = 0

    def end(self, how: Ended, at_s: float) -> None:
        """Note the end; the first one counts."""
        if self.ended == "open":
            self.ended, self.ended_s = how, at_s

    def told(self, now_s: float) -> ProbeVisit:
        """As it is told."""
        until_s = now_s if self.ended_s is None else self.ended_s
        return ProbeVisit(
            began_at=self.began_at,
            elapsed_s=round(until_s - self.began_s, 3),
            ended=self.ended,
            acknowledged=self.acknowledged,
            beats=self.beats,
        )


@dataclass(slots=True, kw_only=True)
class _Remembered:
    query: HoldQuery
    until_s: float
    visits: list[_Visit] = field(default_factory=list)


class ProbeBook:
    """What is remembered of probes, by key and id: the newest `REMEMBERED_MAX`, each for `REMEMBERED_S`."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], _Remembered] = {}

    def __repr__(self) -> str:
        return f"<ProbeBook {len(self._kept)} of {REMEMBERED_MAX}>"

    def note(self, key_id: str, query: HoldQuery, visit: _Visit) -> None:
        """Remember an arrival, if anybody will ask."""
        if query.id is None:
            return
        place = (key_id, query.id)
        kept = self._kept.pop(place, None)
        if kept is None:
            kept = _Remembered(query=query, until_s=0.0)
        kept.until_s = visit.began_s + query.seconds + REMEMBERED_S
        if len(kept.visits) < VISITS_MAX:
            kept.visits.append(visit)
        self._kept[place] = kept
        while len(self._kept) > REMEMBERED_MAX:
            del self._kept[next(iter(self._kept))]

    def find(self, key_id: str, id_: str, now_s: float) -> ProbeReport:
        """Tell of one.

        Raises:
            RequestError: 404: no probe of this key has this id, or it is too long ago.
        """
        kept = self._kept.get((key_id, id_))
        if kept is None or kept.until_s < now_s:
            raise RequestError(
                f"No probe of this key is remembered as {id_[:64]!r}; they are for {REMEMBERED_S / 60:g} minutes, by "
                "the process that held them.",
                code="not_found",
                status=404,
            )
        visits = tuple(visit.told(now_s) for visit in kept.visits)
        return ProbeReport(id=id_, seconds=kept.query.seconds, visits=visits)


class _Holding:
    """One probe being held: beats, and whatever ends it."""

    def __init__(self, call: Call, query: HoldQuery, visit: _Visit, wheel: BeatWheel) -> None:
        self._call = call
        self._query = query
        self._visit = visit
        self._wheel = wheel
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ticket: Ticket | None = None

    def end(self) -> None:
        """Hold no longer."""
        if not self._ended.done():
            self._ended.set_result(None)

    def __enter__(self) -> _Holding:
        protocol = self._call.protocol
        protocol.on_lost = self._on_lost
        protocol.on_half_closed = self._on_half_closed
        if self._call.has_left:
            self._on_lost()
        if self._query.beat_s is not None:
            self._ticket = self._wheel.add(self._query.beat_s, self._tick)
        return self

    def __exit__(self, *_: object) -> None:
        self._call.protocol.on_lost = None
        self._call.protocol.on_half_closed = None
        if self._ticket is not None:
            self._ticket.cancel()

    async def wait(self) -> bool:
        """Wait until the time is over, or something else ends it; whether the caller is there."""
        await asyncio.wait([self._ended], timeout=self._query.seconds)
        return self._visit.ended == "open"

    def _tick(self) -> float | None:
        call = self._call
        if self._query.interim is not None:
            # RFC 9110 §15.2: a server must not send a 1xx response to an HTTP/1.0 client.
            if call.http_version == "1.0":
                return None
            line = b"HTTP/1.1 %d %b\r\n\r\n" % (self._query.interim, _REASONS[self._query.interim])
            call.protocol.transport.write(line)
            self._visit.beats += 1
        else:
            sent = call.write_now(BEAT) if call.started else call.start_now(_head(), BEAT)
            self._visit.beats += sent
        return self._query.beat_s

    def _on_lost(self) -> None:
        lost_to = self._call.protocol.lost_to
        how: Ended = "left" if lost_to is None else "reset" if isinstance(lost_to, ConnectionResetError) else "lost"
        self._over(how)

    def _on_half_closed(self) -> None:
        # A proxy that gives up says it so; nobody who waits for a probe closes his side of it.
        self._over("left")

    def _over(self, how: Ended) -> None:
        self._visit.end(how, asyncio.get_running_loop().time())
        self.end()


class Probes:
    """Serves the doctor."""

    def __init__(self, *, auth: Authenticator, settings: Settings, clock: Clock, wheel: BeatWheel) -> None:
        self._auth = auth
        self._settings = settings
        self._clock = clock
        self._wheel = wheel
        self._held: dict[_Holding, str] = {}
        """Who is held, and by which key."""
        self._is_released = False
        self.book = ProbeBook()

    def __repr__(self) -> str:
        return f"<Probes {len(self._held)} of {TOGETHER_MAX}>"

    def endpoints(self) -> list[Endpoint]:
        """Everything that is served."""
        return [
            endpoint("GET", "/v1/probe/hold", Surface.GENERATIONS, self._hold),
            endpoint("GET", "/v1/probe/hold/{id}", Surface.GENERATIONS, self._report),
            endpoint("GET", "/v1/probe/echo", Surface.GENERATIONS, self._echo),
            endpoint("POST", "/v1/probe/echo", Surface.GENERATIONS, self._echo),
        ]

    def release(self) -> None:
        """Hold nobody any more: a probe is not worth waiting for at the end of a process."""
        self._is_released = True
        for holding in self._held:
            holding.end()

    async def _hold(self, call: Call, _: dict[str, str]) -> None:
        key = await self._auth.authenticate(call)
        query = decode_hold_query(call.query)
        self._admit(key.id)
        if call.method == "HEAD":
            # It asks what a GET would be told, and nobody learns anything by waiting.
            await call.json(200, b"")
            return
        visit = _Visit(began_at=rfc3339(self._clock.now()), began_s=call.received_at)
        self.book.note(key.id, query, visit)
        holding = _Holding(call, query, visit, self._wheel)
        with self._counted(key.id, holding):
            await self._held_to_the_end(call, query, visit, holding)

    async def _held_to_the_end(self, call: Call, query: HoldQuery, visit: _Visit, holding: _Holding) -> None:
        with holding:
            is_there = await holding.wait()
        if not is_there:
            call.break_off()
            return
        now_s = asyncio.get_running_loop().time()
        visit.end("answered", now_s)
        answer = render(
            ProbeAnswer(id=query.id, seconds=query.seconds, held_s=round(now_s - visit.began_s, 3), beats=visit.beats)
        )
        if not call.started:
            await call.start(200, [*_head(), (b"content-length", b"%d" % len(answer))])
        await call.write(answer)
        visit.acknowledged = await finish_and_confirm(call, within_s=ACKNOWLEDGED_WITHIN_S)

    def _admit(self, key_id: str) -> None:
        """See that one more may be held.

        Raises:
            RequestError: 429, or 503 in a process that is ending.
        """
        if self._is_released:
            raise RequestError("The gateway is ending. Ask again in a moment.", code="draining", status=503)
        own = sum(1 for each in self._held.values() if each == key_id)
        if own >= OF_A_KEY_MAX or len(self._held) >= TOGETHER_MAX:
            raise RequestError(
                f"At most {OF_A_KEY_MAX} probes of a key are held at once, and {TOGETHER_MAX} in all.",
                code="concurrency_limited",
                status=429,
                retry_after_s=30.0,
            )

    @contextmanager
    def _counted(self, key_id: str, holding: _Holding) -> Iterator[None]:
        self._held[holding] = key_id
        try:
            yield
        finally:
            del self._held[holding]

    async def _report(self, call: Call, names: dict[str, str]) -> None:
        key = await self._auth.authenticate(call)
        report = self.book.find(key.id, names["id"], asyncio.get_running_loop().time())
        await call.json(200, render(report))

    async def _echo(self, call: Call, _: dict[str, str]) -> None:
        at = rfc3339(self._clock.now())
        await self._auth.authenticate(call)
        check_echo_query(call.query)
        body_bytes = 0
        if call.method == "POST":
            async for piece in call.body():
                body_bytes += len(piece)
        server, beats = self._settings.server, self._settings.heartbeat
        echo = Echo(
            at=at,
            version=__version__,
            request_id=call.request_id,
            method=call.method,
            http_version=call.http_version,
            scheme=call.scheme,
            peer=call.client,
            headers=told_headers(call.headers.items()),
            body_bytes=body_bytes,
            congestion=congestion_of(call.protocol.transport.get_extra_info("socket")),
            heartbeat=EchoBeats(first_beat_s=beats.first_beat_s, beat_s=beats.beat_s),
            request_bytes_max=server.request_bytes_max,
            probe_seconds_max=SECONDS_MAX,
            probes_max=OF_A_KEY_MAX,
        )
        await call.json(200, render(echo))


def congestion_of(sock: socket.socket | None) -> str | None:
    """Name the congestion control that a socket is sent by; None where the system does not tell."""
    if sock is None or not hasattr(socket, "TCP_CONGESTION"):
        return None
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0").decode("ascii", "replace")


def _head() -> Headers:
    # As an answer with images has it: what proxies do with those is what is measured.
    return [
        (b"content-type", b"application/json"),
        (b"cache-control", b"no-store, no-transform"),
        (b"x-accel-buffering", b"no"),
    ]
