"""Pick-up after a cut: which requests it is for, what a repeat is named, and what follows what happened.

    request ── concern_of ──> is it a call for an image?      Repeats ──> the key of the call that it belongs to
    broken  ─┐
    answer  ─┼─ PickUp ─────> ask again · find out who that is · give up
    found   ─┘

A repeat is only made where it joins: at a gateway that is known to be holdfast, which answers the same key with the
same generation. Anywhere else the second POST buys a second image, so there a cut is told as it is.

Pure: no I/O, clock or randomness; moments and samples are given.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from holdfast.client.defaults import RECONNECT_S_FIRST, RECONNECT_S_MAX

ASKS_MAX = 64
"""A path that cuts every 10 s, the shortest idle timer that is known of, is asked through 600 s at this."""
UNREACHABLE_S = 120.0
"""For how long a gateway that says nothing at all is waited for: a restart takes 5-10 s, a new machine a minute."""
FIND_S = 30.0
"""For how long somebody of whom nothing is known is asked who it is, while it cannot be reached: it may be a server
that is down, whose caller is to hear of it."""
WAITED_S = 5.0
"""A try that was out for so long was taken by somebody: that its path gave up is no silence of the gateway."""
LATE_FAILURES_MAX = 2
"""How often a failure that came inside a 200, or that nobody knows the end of, is asked for once more. A repeat may
drive an unpaid one again: it waits longer, and buys nothing twice, but not without end."""
HOP_STATUSES = frozenset({502, 503, 504, *range(520, 528), 530})
"""Statuses that a hop answers with when it could not wait, or has nobody behind it: nginx, HAProxy, load balancers 502,
503, 504; Varnish 503; Apache 502; Cloudflare 520-527 and 530."""
_BUSY_STATUSES = frozenset({409, 429, 503})
_UNKNOWN_STATUSES = frozenset({502, 504})
_UNKNOWN = re.compile(rb'"(?:code|reason)"\s*:\s*"(?:outcome_unknown|OUTCOME_UNKNOWN)"')

_ULID = "[0-9A-HJKMNP-TV-Z]{26}"
_GENERATION = re.compile(f"gen_{_ULID}")
_REQUEST = re.compile(f"req_{_ULID}")
_IMAGE_PATH = re.compile(r"(?P<before>.*?)/(?:v1|v1beta)/(?:images/(?:generations|edits)|generations)/?")
_GEMINI_PATH = re.compile(r"(?P<before>.*?)/(?:v1|v1beta)/(?:.*/)?models/(?P<model>[^/:]+):(?:g|streamG)enerateContent")
_RESULT_PATH = re.compile(rf".*/v1/generations/gen_{_ULID}/result")
_ASKS_FOR_IMAGE = re.compile(rb'"response_?[mM]odalities"\s*:\s*\[[^\]]{0,200}"(?:IMAGE|image|Image)"')
_IMAGE_MODELS = ("image", "banana", "seedream", "imagen")


@dataclass(frozen=True, slots=True, kw_only=True)
class Concern:
    """A request that is picked up after a cut."""

    is_collecting: bool
    """A GET for what was asked for before: it buys nothing, needs no key, and only holdfast has such a path."""
    find_path: str | None
    """Where a gateway lists its generations; asking there is free, whoever answers."""


def concern_of(method: str, path: str, body: bytes | None) -> Concern | None:
    """Say whether a request is a call for an image, by its path; None: it is passed on as it is.

    A Gemini call is one where its model's name says so, or where it asks for images; what a gateway passes on to models
    that write is not kept by it, and its repeat would be paid for again.

    Args:
        method: `POST`, `GET`.
        path: Of its URL, with whatever stands before `/v1`.
        body: Its body, None where that is a form or is not in memory.
    """
    if method == "GET" and _RESULT_PATH.fullmatch(path):
        return Concern(is_collecting=True, find_path=None)
    if method != "POST":
        return None
    found = _IMAGE_PATH.fullmatch(path)
    if found is None:
        found = _GEMINI_PATH.fullmatch(path)
        if found is None or not _draws(found["model"], body):
            return None
    return Concern(is_collecting=False, find_path=f"{found['before']}/v1/generations")


def _draws(model: str, body: bytes | None) -> bool:
    name = model.lower()
    return any(word in name for word in _IMAGE_MODELS) or (body is not None and bool(_ASKS_FOR_IMAGE.search(body)))


# Whose answer it is


class Server(StrEnum):
    """Who is asked, as far as that is known."""

    UNKNOWN = "unknown"
    HOLDFAST = "holdfast"
    OTHER = "other"


class Meaning(StrEnum):
    """What an answer's status and headers say."""

    GENERATION = "generation"
    """A generation's answer: its body is read to its end before anybody is given it."""
    UNSURE = "unsure"
    """A generation's failure by a status that may stand for "not known yet"; its body tells, see `is_unknown`."""
    BUSY = "busy"
    """The gateway itself, for whom this is not the moment: it drains, or has too many callers."""
    HOP = "hop"
    """Nobody's: a hop on the way could not wait, or has nobody behind it."""
    FINAL = "final"
    """To be handed on."""


def is_marked(headers: Mapping[str, str]) -> bool:
    """Whether an answer has holdfast's own mark: a generation, or a request, named as only it names them.

    Args:
        headers: Names in lower case, or any mapping that does not mind.
    """
    return bool(
        _GENERATION.fullmatch(headers.get("generation-id", "")) or _REQUEST.fullmatch(headers.get("x-request-id", ""))
    )


def generation_of(headers: Mapping[str, str]) -> str | None:
    """Read which generation an answer is of."""
    stated = headers.get("generation-id", "")
    return stated if _GENERATION.fullmatch(stated) else None


def meaning_of(status: int, headers: Mapping[str, str], *, is_repeat: bool) -> Meaning:
    """Say what is to be done with an answer.

    Args:
        status: As it came.
        headers: As for `is_marked`.
        is_repeat: Whether the call was cut before. A first answer that says "not now" is its caller's to hear; once a
            generation may be under way, its caller is owed it.
    """
    if not is_marked(headers):
        return Meaning.HOP if status in HOP_STATUSES else Meaning.FINAL
    if 200 <= status < 300 and generation_of(headers) is not None:
        return Meaning.GENERATION
    if status in _UNKNOWN_STATUSES and generation_of(headers) is not None and not _is_replay(headers):
        return Meaning.UNSURE
    may_repeat = headers.get("x-should-retry", "").strip().lower() == "true"
    return Meaning.BUSY if is_repeat and may_repeat and status in _BUSY_STATUSES else Meaning.FINAL


def is_unknown(document: bytes) -> bool:
    """Whether an error says that nobody knows how the generation ends.

    A gateway that is stopped while it waits says so of what goes on after it; and of what has failed that way a repeat
    is a replay, or the image that came late after all. Either buys nothing.

    Args:
        document: An error in OpenAI's words or Google's, alone or as an event.
    """
    return _UNKNOWN.search(document) is not None


def _is_replay(headers: Mapping[str, str]) -> bool:
    return headers.get("idempotency-replayed", "").strip().lower() == "true"


def found_out(status: int, headers: Mapping[str, str], body: bytes) -> Server:
    """Say who answered the question for the generations of a key.

    A list, or a refusal that says whether it may be repeated, with holdfast's mark: nobody else has that. What a hop
    answers says nothing of who is behind it.

    Args:
        status: As it came.
        headers: As for `is_marked`.
        body: Its beginning, 4 KiB are enough.
    """
    if not is_marked(headers):
        return Server.UNKNOWN if status in HOP_STATUSES else Server.OTHER
    is_list = status == 200 and re.match(rb'\s*\{\s*"object"\s*:\s*"list"', body) is not None
    return Server.HOLDFAST if is_list or "x-should-retry" in headers else Server.OTHER


def retry_after_s(headers: Mapping[str, str]) -> float:
    """Read how long the gateway asks to wait, seconds; 0 where it does not say."""
    text = headers.get("retry-after", "").strip()
    return float(text) if text.isascii() and text.isdigit() and len(text) <= 4 else 0.0


# One key for one call


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One POST of an SDK, as far as it tells whether it repeats an earlier one."""

    target: Hashable
    """What is asked, and whom: URL and length, or a digest, of the body. Of two tries of one call they are equal."""
    strand: Hashable | None = None
    """The thread and the task in which it is made; None: not known. The tries of a call follow one another in one."""
    retry_count: int | None = None
    """What the SDK says of itself: the how manieth repeat this is."""
    token: object | None = None
    """An object that all tries of one call are made with, and no other call."""


@dataclass(slots=True, kw_only=True)
class _Earlier:
    key: str
    count: int
    target: Hashable
    token: object | None
    """Kept, so that no other object is given its identity."""
    is_open: bool = True


class Repeats:
    """What was asked lately, so that an SDK's own repeat is given the key of the call that it repeats.

    - The SDKs of OpenAI count: `x-stainless-retry-count` is 0 for every new call. Their repeats follow in the same
      thread, or task, and nothing comes between.
    - google-genai says nothing, and repeats by tenacity, with one and the same mapping of headers a call.

    What is not recognised is a new call, and gets a new key. But what says that it repeats something, and is not known,
    gets none: by its own word the gateway joins it to what it repeats, which a new key would keep it from.
    """

    def __init__(self, *, entries_max: int = 256) -> None:
        assert entries_max > 0
        self._entries_max = entries_max
        self._earlier: OrderedDict[Hashable, _Earlier] = OrderedDict()

    def __len__(self) -> int:
        return len(self._earlier)

    def key_for(self, this: Try, new_key: str) -> str | None:
        """Give the key of the call that a try belongs to; None: it is somebody's repeat, and whose is not known."""
        where = _place(this)
        if where is None:
            return new_key if not this.retry_count else None
        earlier = self._earlier.pop(where, None)
        count = this.retry_count or 0
        if earlier is not None and earlier.target == this.target and _follows(this, earlier):
            key: str | None = earlier.key
        else:
            key = None if count else new_key
        if key is not None:
            self._earlier[where] = _Earlier(key=key, count=count, target=this.target, token=this.token)
            if len(self._earlier) > self._entries_max:
                self._earlier.popitem(last=False)
        return key

    def failed(self, this: Try) -> None:
        """Note that a try has ended, and that its SDK may make another."""
        where = _place(this)
        earlier = self._earlier.get(where) if where is not None else None
        if earlier is not None:
            earlier.is_open = False

    def succeeded(self, this: Try) -> None:
        """Note that a call has ended: whatever comes now is another."""
        where = _place(this)
        if where is not None:
            self._earlier.pop(where, None)


def _place(this: Try) -> Hashable | None:
    if this.retry_count is not None:
        return None if this.strand is None else ("strand", this.strand)
    return None if this.token is None else ("token", id(this.token), this.target)


def _follows(this: Try, earlier: _Earlier) -> bool:
    """Whether this is the next try after that one. Tries of a call follow one another: none begins before the last has
    ended, so what comes meanwhile is another call that happens to look the same."""
    if earlier.is_open:
        return False
    if this.retry_count is not None:
        return this.retry_count == earlier.count + 1
    return this.token is earlier.token


# What follows


class Phase(StrEnum):
    """How far a try had come when it broke."""

    UNSENT = "unsent"
    """No connection: nobody has heard of it."""
    SENT = "sent"
    """Part of it, or all of it, was sent; no head came."""
    INSIDE = "inside"
    """The head came, and not all of the body."""


@dataclass(frozen=True, slots=True)
class AskAgain:
    """Send the same request with the same key."""

    after_s: float


@dataclass(frozen=True, slots=True)
class FindOut:
    """Ask, for nothing, who that is; then report it by `found`."""

    after_s: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Hand on what happened last: the exception, or the answer."""


Step = AskAgain | FindOut | GiveUp


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a call goes on being picked up, seconds."""

    total_s: float
    """From its beginning."""
    unreachable_s: float = UNREACHABLE_S
    """Without a sign of life."""
    find_s: float = FIND_S
    """Without a word from somebody of whom nothing is known yet."""

    def __post_init__(self) -> None:
        assert min(self.total_s, self.unreachable_s, self.find_s) > 0.0

    def within(self, silence_s: float | None) -> Patience:
        """Give no more than a caller's own patience with silence; None: it has none of its own."""
        if silence_s is None:
            return self
        return Patience(
            total_s=self.total_s,
            unreachable_s=min(self.unreachable_s, silence_s),
            find_s=min(self.find_s, silence_s),
        )


class PickUp:
    """One logical call: what has become of it so far, and what follows."""

    def __init__(self, *, server: Server, patience: Patience, now: float) -> None:
        """Begin.

        Args:
            server: Who is asked.
            patience: How long.
            now: Monotonic seconds, here and in every method.
        """
        self.server = server
        self._patience = patience
        self._began_at = now
        self._sign_at = now
        self._asked_at = now
        self._asks = 1
        self._in_row = 0
        """Failures since the last sign of life."""
        self._late_failures = 0
        self.was_sent = False
        """Whether a generation may be under way."""

    def __repr__(self) -> str:
        return f"<PickUp {self.server} asks={self._asks} sent={self.was_sent}>"

    @property
    def is_repeat(self) -> bool:
        """Whether this is no longer the first try."""
        return self._asks > 1

    def signed(self, now: float) -> None:
        """Note a sign of life of a gateway: its head, or more of its body."""
        self.server = Server.HOLDFAST
        self.was_sent = True
        self._sign_at = now
        self._in_row = 0

    def broke(self, phase: Phase, *, now: float, jitter: float) -> Step:
        """Say what follows a connection that broke or could not be made, or a body that ended too early.

        Args:
            phase: How far it had come.
            now: When.
            jitter: Uniform sample in [0, 1).
        """
        if phase is not Phase.UNSENT:
            self.was_sent = True
        elif not self.was_sent and self.server is not Server.HOLDFAST:
            # Nothing was bought, and nothing is known: its caller is to hear that at once.
            return GiveUp()
        return self._again(now, jitter)

    def hop(self, *, now: float, jitter: float) -> Step:
        """Say what follows a hop's own answer: what is behind it may well be at work."""
        self.was_sent = True
        return self._again(now, jitter)

    def busy(self, wait_s: float, *, now: float, jitter: float) -> Step:
        """Say what follows a gateway's "not now"; it names the time, seconds, or 0."""
        self._sign_at = now
        return self._again(now, jitter, least_s=wait_s)

    def late_failure(self, *, now: float, jitter: float) -> Step:
        """Say what follows a failure that a repeat may be told better: its true status, or how it ended after all."""
        self._late_failures += 1
        return GiveUp() if self._late_failures > LATE_FAILURES_MAX else self._again(now, jitter)

    def found(self, server: Server, *, now: float, jitter: float) -> Step:
        """Say what follows the answer to the question who that is; `UNKNOWN`: there was none."""
        match server:
            case Server.HOLDFAST:
                self.signed(now)
                return self._again(now, jitter)
            case Server.OTHER:
                self.server = server
                return GiveUp()
            case Server.UNKNOWN:
                return self._again(now, jitter)

    def _again(self, now: float, jitter: float, *, least_s: float = 0.0) -> Step:
        assert 0.0 <= jitter < 1.0
        if now - self._asked_at >= WAITED_S:
            self._in_row = 0
        if self._in_row == 0:
            self._sign_at = now
        if self.server is Server.OTHER or self._asks + self._in_row >= ASKS_MAX:
            return GiveUp()
        # Equal jitter, AWS Architecture Blog, 2015: to join is free, so it begins soon.
        backoff_s = min(RECONNECT_S_MAX, RECONNECT_S_FIRST * 2.0 ** min(self._in_row, 10))
        after_s = max(backoff_s * (1.0 + jitter) / 2.0, least_s)
        is_known = self.server is Server.HOLDFAST
        silence_s = self._patience.unreachable_s if is_known else self._patience.find_s
        if now + after_s > min(self._began_at + self._patience.total_s, self._sign_at + silence_s):
            return GiveUp()
        self._in_row += 1
        self._asked_at = now + after_s
        if not is_known:
            return FindOut(after_s)
        self._asks += 1
        return AskAgain(after_s)
