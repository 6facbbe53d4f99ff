"""A whole examination: what is asked, in which order, and where it is written down.

Silences, beats, interim answers, compression and the body's limit are measured at the same time: they take as long as
the longest silence. What is known is in `Notebook.findings` at any moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TypeGuard

import msgspec

from holdfast.clock import Clock, from_rfc3339
from holdfast.doctor.findings import GRACE_S, BodyLimit, Findings, Probe
from holdfast.doctor.http1 import End, Exchange
from holdfast.doctor.probing import (
    RECORD_MARK,
    Patience,
    Target,
    Unreachable,
    ask,
    connect,
    context_for,
    kept_idle,
    resolve,
    secure,
    speaks_tls,
)
from holdfast.doctor.schedule import PROBES, ROUNDS_MAX, Cut, Lost, Sample, first_round, next_round
from holdfast.wire.probe import Echo, ProbeReport, decode_echo, decode_report

ANSWER_S = 15.0
"""For whatever is answered at once."""
BEAT_S = 1.0
BEATS_S = 20.0
"""Beats are followed this long where nothing was cut, and past the cut where something was."""
PAST_CUT_SHARE = 1.3
INTERIM_S, INTERIM_BEAT_S = 2.5, 0.5
INTERIM = 102
AFTER_CUT_S = 1.5
"""Behind the first cut the others of its round come as well; nobody waits longer for those that do not."""
SENT_BYTES = (65_536, 1_100_000, 4_300_000)
"""Bodies that are sent whole: past the 1 MB of nginx and the 4 MB of several gateways; 5.5 MB in all."""
ANNOUNCED_BYTES = (10 << 20, 33 << 20, 65 << 20, 101 << 20)
"""Bodies that are announced and not sent. nginx, Cloudflare (100 MB) and holdfast refuse them at the head."""
ANNOUNCED_S = 1.0
KEPT_S_MAX = 80.0
"""Past the 75 s of nginx and of holdfast itself."""
CLOSE_BYTES = 1.05
"""A limit is looked for until it is known to 5 %."""


class WrongKey(Exception):
    """The gateway does not take the key; the text is what it said."""


class WrongUrl(Exception):
    """The URL leads somewhere else; the text says where, and what to write."""


@dataclass(slots=True)
class Notebook:
    """What is known so far."""

    findings: Findings

    def add(self, **found: object) -> None:
        """Write something down."""
        self.findings = replace(self.findings, **found)  # type: ignore[arg-type]

    def note(self, text: str) -> None:
        """Write down why something is missing."""
        self.add(notes=(*self.findings.notes, text))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is tried."""

    until_s: float
    probes: int = PROBES
    grace_s: float = GRACE_S
    beat_s: float = BEAT_S
    beats_s: float = BEATS_S
    stage: Callable[[str, float], None] = field(default=lambda _words, _seconds: None)
    """Told what begins, and how many seconds it may take."""


async def examine(target: Target, key: str, clock: Clock, notebook: Notebook, plan: Plan) -> None:
    """Measure everything; what it raises ends the examination, and the notebook keeps what came before.

    Raises:
        Unreachable: Nobody can be asked.
        WrongKey: The gateway does not know the key.
        WrongUrl: Somebody else's door, or the wrong scheme.
    """
    plan.stage("connecting", 0.0)
    notebook.add(until_s=plan.until_s)
    named = await resolve(target)
    notebook.add(named=named)
    connected = await connect(target, named.addresses)
    notebook.add(connected=connected)
    target = replace(target, address=connected.address)
    if target.scheme == "https":
        notebook.add(secured=await secure(target))
    target = replace(target, context=context_for(target.scheme))
    auth = _bearer(key) if key else ()
    try:
        echo = await _greet(target, auth, clock, notebook)
    except WrongKey:
        # A key that is right in another header was taken out of the first one on the way.
        auth = (("x-goog-api-key", key),)
        if not key or (echo := await _second_greeting(target, auth, clock, notebook)) is None:
            raise
    if echo is None:
        plan.stage("an idle connection", min(plan.until_s, 30.0))
        wait_s = min(plan.until_s, 30.0)
        notebook.add(kept_s=await kept_idle(target, f"{target.base}/models", auth, wait_s=wait_s), is_complete=True)
        return
    examiner = _Examiner(target, auth, clock, notebook, plan, echo)
    async with asyncio.TaskGroup() as group:
        group.create_task(examiner.silences(), name="silences")
        group.create_task(examiner.beats(), name="beats")
        group.create_task(examiner.the_rest(), name="the rest")
        group.create_task(examiner.idle(), name="idle")
    notebook.add(is_complete=True)


def _bearer(key: str) -> tuple[tuple[str, str], ...]:
    return (("Authorization", f"Bearer {key}"),)


async def _second_greeting(
    target: Target, auth: tuple[tuple[str, str], ...], clock: Clock, notebook: Notebook
) -> Echo | None:
    """Ask once more with the key in another header; None: it is not taken there either."""
    try:
        echo = await _greet(target, auth, clock, notebook)
    except WrongKey:
        return None
    notebook.note(
        "A hop on the way takes the Authorization header out of requests; x-goog-api-key passes, and was used here. "
        "Squid does so unless its cache_peer has `login=PASSTHRU`."
    )
    return echo


async def _greet(target: Target, auth: tuple[tuple[str, str], ...], clock: Clock, notebook: Notebook) -> Echo | None:
    """Ask for an echo, and learn who answers; None: not a holdfast that probes."""
    before = clock.now()
    first = await ask(target, "GET", f"{target.base}/probe/echo", headers=auth, wait=ANSWER_S)
    after = clock.now()
    notebook.add(first=first)
    if first.head is None:
        raise await _no_answer(target, first)
    echo = _echo_of(first)
    if echo is not None:
        middle = before + (after - before) / 2
        error_s = (after - before).total_seconds() / 2
        ahead_s = (from_rfc3339(echo.at) - middle).total_seconds()
        notebook.add(echo=echo, ahead_s=ahead_s, ahead_error_s=error_s)
        return echo
    notebook.add(**_by_date(first, before, after))
    text = first.body.decode("utf-8", "replace")
    if first.status == 400 and "plain HTTP request was sent to HTTPS port" in text:
        raise WrongUrl(f"Port {target.port} speaks TLS. Write https://{target.host_header}{target.base}.")
    problem = _problem(first.body)
    if first.status == 401 and problem.get("code") == "invalid_api_key":
        raise WrongKey(str(problem.get("detail", "")))
    if first.status == 429 or (first.status or 0) >= 500:
        raise Unreachable(f"The first request was answered {first.status}: {_told(problem, text)}")
    notebook.note(_stranger(first, target, text))
    return None


def _stranger(first: Exchange, target: Target, text: str) -> str:
    """Say who answers instead of holdfast."""
    kind = (first.head.get("content-type") if first.head else None) or "nothing"
    place = f"{target.scheme}://{target.host_header}{target.base}"
    if "html" in kind:
        return (
            f"{place} is a web page ({first.status}), not holdfast's API: check host and path. Silences, beats and "
            "bodies need its probe and were not measured."
        )
    what = "asks for another key" if first.status in (401, 403) else f"answers {first.status}"
    return (
        f"{place} {what} and has no probe: it is not holdfast, or an older one. Silences, beats and bodies need the "
        "probe and were not measured."
    )


async def _no_answer(target: Target, first: Exchange) -> Exception:
    """Say why a port took a request and gave no answer."""
    if target.scheme == "http" and (first.raw.startswith(RECORD_MARK) or await speaks_tls(target)):
        return WrongUrl(f"Port {target.port} speaks TLS. Write https://{target.host_header}{target.base}.")
    if first.end is End.GARBLED:
        return WrongUrl(f"Port {target.port} answers, and not in HTTP/1. Is it the right port?")
    words = {End.RST: "was reset", End.FIN: "was closed", End.SILENT: f"had no answer within {ANSWER_S:g} s"}
    return Unreachable(f"The first request {words.get(first.end, 'could not be sent')}.")


def _echo_of(answer: Exchange) -> Echo | None:
    if answer.status != 200:
        return None
    try:
        return decode_echo(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _problem(body: bytes) -> dict[str, object]:
    try:
        found: dict[str, object] = msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return found


def _told(problem: dict[str, object], text: str) -> str:
    detail = problem.get("detail")
    return detail if isinstance(detail, str) else " ".join(text.split())[:200] or "without a word"


def _by_date(first: Exchange, before: datetime, after: datetime) -> dict[str, object]:
    """Read the clock of whoever is not holdfast from its Date header, which has whole seconds."""
    date = None if first.head is None else first.head.get("date")
    try:
        there = parsedate_to_datetime(date or "")
    except ValueError:
        return {}
    if there.tzinfo is None:
        return {}
    middle = before + (after - before) / 2
    return {"ahead_s": (there - middle).total_seconds() + 0.5, "ahead_error_s": 0.5 + (after - before).total_seconds()}


def is_end(sample: Sample | None) -> TypeGuard[Cut | Lost]:
    """Whether a silence was not borne: what is longer will not be either."""
    return isinstance(sample, Cut | Lost)


class _Examiner:
    """Measures what needs the probe."""

    def __init__(
        self,
        target: Target,
        auth: tuple[tuple[str, str], ...],
        clock: Clock,
        notebook: Notebook,
        plan: Plan,
        echo: Echo,
    ) -> None:
        self._target = target
        self._auth = auth
        self._clock = clock
        self._notebook = notebook
        self._plan = plan
        self._until_s = min(plan.until_s, echo.probe_seconds_max)
        self._body_bytes_max = echo.request_bytes_max
        self._limit_s = 0.0
        """Where the first silence ended that was not borne; 0: none has yet."""
        self._silence_known = asyncio.Event()

    # Silences

    async def silences(self) -> None:
        """Try growing silences in rounds, until the limit is known."""
        samples: list[Sample] = []
        wanted = first_round(self._until_s, self._plan.probes)
        try:
            for number in range(ROUNDS_MAX):
                longest_s = max(wanted) + self._plan.grace_s
                self._plan.stage("silences" if number == 0 else f"silences, round {number + 1}", longest_s)
                probes = await self._round(wanted)
                samples += [sample for probe in probes if (sample := probe.sample()) is not None]
                if not samples:
                    self._notebook.note("No silence could be measured: every probe was refused.")
                    return
                wanted = next_round(samples, self._plan.probes)
                if not wanted:
                    return
        finally:
            self._silence_known.set()

    async def _round(self, wanted: Sequence[float]) -> list[Probe]:
        tasks = [asyncio.create_task(self._silence(seconds), name=f"silence {seconds:g}") for seconds in wanted]
        try:
            waiting: set[asyncio.Task[Probe]] = set(tasks)
            until_s: float | None = None
            while waiting:
                timeout = None if until_s is None else max(0.0, until_s - asyncio.get_running_loop().time())
                done, waiting = await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    break
                samples = [task.result().sample() for task in done]
                ends = [each.at_s if isinstance(each, Cut) else each.seconds for each in samples if is_end(each)]
                if until_s is None and ends:
                    self._limit_s = self._limit_s or min(ends)
                    until_s = asyncio.get_running_loop().time() + AFTER_CUT_S
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        return [task.result() for task in tasks if not task.cancelled()]

    async def _silence(self, seconds: float) -> Probe:
        probe = await self._hold(seconds, f"seconds={seconds:g}", wait_s=seconds + self._plan.grace_s)
        self._notebook.add(silences=(*self._notebook.findings.silences, probe))
        return probe

    async def _hold(
        self,
        seconds: float,
        query: str,
        *,
        wait_s: float,
        beat_s: float | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Probe:
        id_ = self._clock.new_id("prb")
        path = f"{self._target.base}/probe/hold?{query}&id={id_}"
        seen = await ask(self._target, "GET", path, headers=(*self._auth, *headers), wait=wait_s)
        probe = Probe(seconds=seconds, exchange=seen, beat_s=beat_s)
        if seen.end is End.WHOLE and seen.status == 200:
            return probe
        return replace(probe, report=await self._report(id_))

    async def _report(self, id_: str) -> ProbeReport | None:
        """Ask the gateway how its side of a probe ended; None: it does not say."""
        seen = await ask(
            self._target, "GET", f"{self._target.base}/probe/hold/{id_}", headers=self._auth, wait=ANSWER_S
        )
        if seen.status != 200:
            return None
        try:
            return decode_report(seen.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None

    # Beats

    async def beats(self) -> None:
        """Hold a call with beats: as long as the silences take to find their limit, and then past it."""
        beat_s, loop = self._plan.beat_s, asyncio.get_running_loop()
        began_s = loop.time()
        path = f"{self._target.base}/probe/hold?seconds={self._until_s:g}&beat={beat_s:g}"
        patience = Patience(self._until_s + self._plan.grace_s)
        asking = asyncio.create_task(ask(self._target, "GET", path, headers=self._auth, wait=patience), name="beating")
        knowing = asyncio.create_task(self._silence_known.wait(), name="silence known")
        try:
            await asyncio.wait([asking, knowing], return_when=asyncio.FIRST_COMPLETED)
            wanted_s = max(self._plan.beats_s, self._limit_s * PAST_CUT_SHARE + 2 * beat_s)
            await asyncio.wait([asking], timeout=max(0.0, began_s + wanted_s - loop.time()))
            patience.end()
            seen = await asking
        finally:
            for task in (asking, knowing):
                task.cancel()
            await asyncio.wait([asking, knowing])
        self._notebook.add(beats=Probe(seconds=self._until_s, exchange=seen, beat_s=beat_s))

    async def the_rest(self) -> None:
        """Measure what takes a few seconds each."""
        beat_s = self._plan.beat_s
        seconds = 3 * beat_s + 0.5
        zipped = await self._hold(
            seconds,
            f"seconds={seconds:g}&beat={beat_s:g}",
            wait_s=seconds + ANSWER_S,
            beat_s=beat_s,
            headers=(("Accept-Encoding", "gzip"),),
        )
        self._notebook.add(zipped=zipped)
        interims = await self._hold(
            INTERIM_S,
            f"seconds={INTERIM_S:g}&beat={INTERIM_BEAT_S:g}&interim={INTERIM}",
            wait_s=INTERIM_S + ANSWER_S,
            beat_s=INTERIM_BEAT_S,
        )
        self._notebook.add(interims=interims)
        self._notebook.add(body=await self._body_limit())

    async def idle(self) -> None:
        """Measure how long a connection is kept for a next request."""
        path, wait_s = f"{self._target.base}/probe/echo", min(self._until_s, KEPT_S_MAX)
        self._notebook.add(kept_s=await kept_idle(self._target, path, self._auth, wait_s=wait_s))

    # Bodies

    async def _body_limit(self) -> BodyLimit:
        """Grow a request's body until it is refused, sent whole first, then announced; then halve what is between."""
        passed = sent = 0
        for size in [*SENT_BYTES, *ANNOUNCED_BYTES]:
            if size > self._body_bytes_max:
                break
            is_sent = size in SENT_BYTES
            refusal = await self._upload(size, is_sent=is_sent)
            if refusal is not None:
                return await self._narrowed(passed, sent, size, refusal)
            passed, sent = size, size if is_sent else sent
        refusal = await self._upload(self._body_bytes_max + 1, is_sent=False)
        if refusal is None:
            return BodyLimit(passed_bytes=passed, sent_bytes=sent, refused_bytes=None)
        return BodyLimit(passed_bytes=passed, sent_bytes=sent, refused_bytes=self._body_bytes_max + 1, refusal=refusal)

    async def _narrowed(self, passed: int, sent: int, refused: int, refusal: Exchange) -> BodyLimit:
        # Where the announcement is refused, none of the rest has to be sent.
        is_sent = refused <= SENT_BYTES[-1] and await self._upload(refused, is_sent=False) is None
        while refused > max(passed, 1) * CLOSE_BYTES:
            middle = (passed + refused) // 2
            again = await self._upload(middle, is_sent=is_sent)
            if again is None:
                passed, sent = middle, middle if is_sent else sent
            else:
                refused, refusal = middle, again
        return BodyLimit(passed_bytes=passed, sent_bytes=sent, refused_bytes=refused, refusal=refusal)

    async def _upload(self, size: int, *, is_sent: bool) -> Exchange | None:
        """Try one size; the refusal, or None."""
        seen = await ask(
            self._target,
            "POST",
            f"{self._target.base}/probe/echo",
            headers=(*self._auth, ("Content-Type", "application/octet-stream")),
            content_bytes=size,
            sends_body=is_sent,
            wait=ANSWER_S if is_sent else ANNOUNCED_S,
        )
        return seen if seen.status == 413 else None
