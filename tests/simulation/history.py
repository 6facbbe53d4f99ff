"""What happened in one seed, in order: what callers were told, what upstreams charged and sent, what was committed.

The checker reads nothing else, so that it can be fed histories that never happened.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened; `at` is virtual seconds."""

    at: float

    def __str__(self) -> str:
        words = (f"{each.name}={_spell(getattr(self, each.name))}" for each in fields(self)[1:])
        return f"{self.at:12.6f} {type(self).__name__} {' '.join(words)}"


def _spell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6f}"
    if isinstance(value, tuple):
        return "[" + ",".join(map(_spell, value)) + "]"
    return "-" if value is None else str(value)


# What faults did


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault(Event):
    """A fault of a class was made to happen."""

    name: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lived(Event):
    """A life of the gateway began, was ready, or ended."""

    life: int
    what: str
    """`began`, `ready`, `stopped` or `killed`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphaned(Event):
    """A generation is open, and the process that works on nothing does not know it."""

    generation_id: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockSet(Event):
    """The wall clock was set, by so many seconds."""

    seconds: float
    showed_s: float = 0.0
    """What it had shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged(Event):
    """The gateway wrote a line that must not be written, or that held what it must not hold."""

    event: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowded(Event):
    """A credential had more calls in flight than it may."""

    credential: str
    count: int
    limit: int


# What callers did, and were told


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked(Event):
    """A caller sent a POST."""

    caller: str
    number: int
    """Of the POST."""
    key_id: str
    body: str
    """What it asks for; the same words are the same request."""
    idempotency_key: str | None
    says_retry: bool
    asked_s: float | None = None
    """The budget that it named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told(Event):
    """A caller had an answer, whole."""

    caller: str
    number: int
    generation_id: str | None
    code: str | None
    """None: images."""
    paid: str | None
    images: tuple[str, ...] = ()
    """Digests of the bytes that arrived."""
    stored: tuple[str, ...] = ()
    """Digests as the record has them."""
    drive: int = 0
    """Of the round that is told of."""
    is_refused: bool = False
    """Nothing was accepted for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entered(Event):
    """An accepting commit was made."""

    life: int
    number: int
    generation_id: str
    answer: str
    """`new`, or what the repeat was given."""
    by_key: bool
    says_retry: bool
    waiting: int
    """Callers who were held for this generation at that instant."""
    is_received: bool
    """Whether somebody had acknowledged its answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected(Event):
    """The gateway noted that an answer arrived, with images."""

    generation_id: str
    wall_s: float
    image_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed(Event):
    """A follower read the log of events, from behind a number on."""

    caller: str
    generation_id: str
    after: int
    numbers: tuple[int, ...]
    last_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooked(Event):
    """A receiver was sent a webhook."""

    message_id: str
    generation_id: str
    drive: int
    type: str
    status: int
    """0: it did not answer."""
    is_signed: bool


# What was committed


@dataclass(frozen=True, slots=True, kw_only=True)
class SendCommitted(Event):
    """A sending commit was made."""

    life: int
    attempt_id: str
    generation_id: str
    part: int
    drive: int
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelCommitted(Event):
    """A cancel was taken in."""

    generation_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrote(Event):
    """Another commit was made."""

    life: int
    what: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted(Event):
    """The images of a generation were marked for deletion."""

    generation_id: str
    wall_s: float
    ended_wall_s: float
    """When the generation ended or its last image came, whichever was later."""
    images: tuple[str, ...]
    """Ids of those that somebody may want: no drafts."""


# What upstreams saw, sent and charged


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent(Event):
    """A request reached an upstream."""

    life: int
    call: int
    generation_id: str
    part: int
    drive: int
    upstream: str
    attempt_id: str | None
    """Of the open attempt that the committed rows name for it; None: there is none."""
    late_s: float
    """How long the generation's deadline had passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Charged(Event):
    """An upstream charged for a call."""

    call: int
    generation_id: str
    micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered(Event):
    """The gateway took in an answer, or as much of it as came."""

    call: int
    status: int
    is_whole: bool
    """Nothing of it was lost on its way, nor on our own disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received(Event):
    """The gateway took in a whole answer: what it says of it no longer hangs on the network."""

    call: int
    generation_id: str
    attempt_id: str
    images: tuple[str, ...]


E_ = TypeVar("E_", bound=Event)


@dataclass(slots=True)
class History:
    """The events of one seed."""

    events: list[Event] = field(default_factory=list)
    is_closed: bool = False
    """The hour is over: what is torn down now is no part of it."""

    def add(self, event: Event) -> None:
        """Append."""
        if not self.is_closed:
            self.events.append(event)

    def of(self, kind: type[E_]) -> Iterator[E_]:
        """Those of one kind, in order."""
        return (event for event in self.events if type(event) is kind)

    def text(self) -> str:
        """All of it, a line each."""
        return "\n".join(map(str, self.events)) + "\n"

    def digest(self) -> str:
        """A digest of all of it: two runs of one seed agree in it."""
        return hashlib.sha256(self.text().encode()).hexdigest()


# What the database and the folder hold in the end


@dataclass(frozen=True, slots=True, kw_only=True)
class EndGeneration:
    """A generation as the last process left it."""

    id: str
    key_id: str
    state: str
    n: int
    parts: int
    code: str | None
    idempotency_key: str | None
    finished_wall_s: float | None
    events: tuple[tuple[int, str], ...]
    """Number and type, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndAttempt:
    """An attempt as the last process left it."""

    id: str
    generation_id: str
    part: int
    drive: int
    number: int
    epoch: int
    state: str
    charge: str
    booked_micros: int
    """On the provider's account: cost, or exposure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndImage:
    """An image as the last process left it."""

    id: str
    generation_id: str
    attempt_id: str
    kind: str
    state: str
    sha256: str
    file_sha256: str | None
    """Of the bytes on the disk; None: there is no file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndDelivery:
    """A webhook as the last process left it."""

    id: str
    generation_id: str
    drive: int
    type: str
    state: str
    is_overdue: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """What is left when everything has come to rest."""

    generations: tuple[EndGeneration, ...] = ()
    attempts: tuple[EndAttempt, ...] = ()
    images: tuple[EndImage, ...] = ()
    deliveries: tuple[EndDelivery, ...] = ()
    hooked_keys: tuple[str, ...] = ()
    """Keys whose ends somebody wants to be told of."""
    problems: tuple[str, ...] = ()
    """Of `store.audit`."""
    held_micros: int = 0
    spooled: tuple[str, ...] = ()
    strangers: tuple[str, ...] = ()
    """Files in the blob store that no row names, of attempts that were made in this seed."""
    unrest: tuple[str, ...] = ()
    """What the last process still had in hand: tasks, watchers, bytes set aside."""
