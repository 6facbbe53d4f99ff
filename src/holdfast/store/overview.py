"""What is shown of all keys together: lists, sums by hour, failures, what nobody knows the cost of. Plain functions.

Each looks at a bounded number of rows, or runs along an index that has all it needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.ledger.postings import UNKNOWN_EXPOSURE
from holdfast.store.generations import get_generation
from holdfast.store.listing import LOOKED_AT_MAX, get_told
from holdfast.store.port import Conn
from holdfast.store.queries import queries
from holdfast.store.records import Record
from holdfast.store.story import Story, get_story

UNCOLLECTED_MAX = 1000
_NEWER_THAN_ALL = ("9999", "")

_Q = queries("overview")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A generation as lists show it, whoever's it is."""

    record: Record
    key_label: str
    joins: int
    purged_at: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedOfAll:
    """Which generations are listed; None: whatever it is. Times are RFC 3339."""

    limit: int
    key_id: str | None = None
    model: str | None = None
    state: str | None = None
    is_collected: bool | None = None
    since: str | None = None
    """Accepted then or later."""
    until: str | None = None
    """Accepted before."""
    after: str | None = None
    """The list goes on behind this generation."""

    @property
    def is_of_uncollected(self) -> bool:
        """Whether images are wanted that nobody has collected."""
        return self.state == "succeeded" and self.is_collected is False

    @property
    def filters(self) -> bool:
        """Whether rows may be passed over."""
        if self.is_of_uncollected:
            return self.key_id is not None or self.model is not None
        return self.state is not None or self.model is not None or self.is_collected is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownPage:
    """One page of a list."""

    shown: tuple[Shown, ...]
    has_more: bool
    last_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndsOfHour:
    """What ended in an hour."""

    hour: str
    """Its beginning."""
    succeeded: int
    failed: int
    cancelled: int
    charged_micros: int
    compensated_micros: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """How often a kind of failure was told or met."""

    at: str
    """The hour or the day, as far as it was asked for."""
    kind: str
    count: int
    upstream: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """What callers were told, and what upstreams did."""

    told: tuple[Counted, ...]
    met: tuple[Counted, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstView:
    """What the first view needs of the store, as of one moment."""

    hours: tuple[EndsOfHour, ...]
    kinds: Mapping[str, int]
    """How often callers were told which kind of failure, most frequent first."""
    uncollected: int
    exposure_micros: int
    live: tuple[Shown, ...]
    recent: tuple[Shown, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposed:
    """What may have been charged, and nobody knows."""

    balance_micros: int
    days: tuple[tuple[str, str, int], ...]
    """Day, model, micro-units bought a second time."""
    unknown: tuple[Mapping[str, Any], ...]
    """Attempts, newest first: columns by name."""


def show(conn: Conn, ids: Iterable[str]) -> tuple[Shown, ...]:
    """Read generations as lists show them, in this order; one that is not there is left out."""
    labels: dict[str, str] = {}
    found: list[Shown] = []
    for id_ in ids:
        record = get_told(conn, id_)
        if record is None:
            continue
        key_id = record.generation.key_id
        if key_id not in labels:
            row = conn.execute(_Q["label_of"], {"id": key_id}).fetchone()
            labels[key_id] = "" if row is None else str(row["label"])
        more = conn.execute(_Q["joins_of"], {"id": id_}).fetchone()
        found.append(Shown(record=record, key_label=labels[key_id], joins=more["joins"], purged_at=more["purged_at"]))
    return tuple(found)


def list_all(conn: Conn, wanted: WantedOfAll) -> ShownPage | None:
    """Read one page of generations, newest first; None: there is no such place to go on from."""
    before_at, before_id = _NEWER_THAN_ALL
    if wanted.after is not None:
        place = conn.execute(_Q["place_of"], {"id": wanted.after}).fetchone()
        if place is None:
            return None
        before_at, before_id = place["created_at"], wanted.after
    if wanted.until is not None and wanted.until <= before_at:
        before_at, before_id = wanted.until, ""
    values = {
        "before_at": before_at,
        "before_id": before_id,
        "since": wanted.since or "",
        "key_id": wanted.key_id,
        "model": wanted.model,
        "state": wanted.state,
        "is_collected": wanted.is_collected,
        "looked_at_max": LOOKED_AT_MAX if wanted.filters else wanted.limit + 1,
        "limit": wanted.limit + 1,
    }
    along = "uncollected" if wanted.is_of_uncollected else "all" if wanted.key_id is None else "of_key"
    listing, last_of = _ALONG[along]
    ids = [str(row["id"]) for row in conn.execute(listing, values)]
    shown, has_more = ids[: wanted.limit], len(ids) > wanted.limit
    last_id = shown[-1] if shown else None
    if wanted.filters and not has_more:
        last = conn.execute(last_of, values).fetchone()
        if last is not None:
            has_more, last_id = True, str(last["id"])
    return ShownPage(shown=show(conn, shown), has_more=has_more, last_id=last_id)


_ALONG = {
    "uncollected": (_Q["list_uncollected"], _Q["last_of_uncollected"]),
    "all": (_Q["list_all"], _Q["last_of_all"]),
    "of_key": (_Q["list_of_key"], _Q["last_of_key"]),
}
"""A page, and where the stretch ends that it looks at."""


def first_view(conn: Conn, *, hours: Sequence[str], live_max: int, recent_max: int) -> FirstView:
    """Read all that the first view shows.

    Args:
        conn: Of one snapshot.
        hours: Where each hour begins that is added up, RFC 3339, oldest first; the last one is open.
        live_max: Most of those that are open.
        recent_max: Most of those that have ended.
    """
    return FirstView(
        hours=tuple(_ends_of(conn, hours)),
        kinds={row["kind"]: row["count"] for row in conn.execute(_Q["told_kinds"], {"since": hours[0]})},
        uncollected=int(conn.execute(_Q["count_uncollected"], {"most": UNCOLLECTED_MAX}).fetchone()[0]),
        exposure_micros=exposure_balance(conn),
        live=live_now(conn, most=live_max),
        recent=show(conn, _ids(conn, _Q["ended_ids"], recent_max)),
    )


def _ends_of(conn: Conn, hours: Sequence[str]) -> Iterator[EndsOfHour]:
    """Add up what ended in each hour; those in which nothing did are left out."""
    for since, until in zip(hours, (*hours[1:], "9999"), strict=True):
        row = dict(conn.execute(_Q["ends_between"], {"since": since, "until": until}).fetchone())
        if row.pop("ends"):
            yield EndsOfHour(hour=since, **row)


def live_now(conn: Conn, *, most: int) -> tuple[Shown, ...]:
    """Read the generations that are open, newest first."""
    return show(conn, _ids(conn, _Q["open_ids"], most))


def _ids(conn: Conn, query: str, most: int) -> list[str]:
    return [str(row["id"]) for row in conn.execute(query, {"most": most})]


def failures(conn: Conn, *, since: str, until: str, width: int) -> Failures:
    """Count failures by time and kind; `width`: how many characters of the time tell hours (13) or days (10) apart."""
    values = {"since": since, "until": until, "width": width}
    met = tuple(Counted(**dict(row)) for row in conn.execute(_Q["met_failures"], values))
    told = tuple(Counted(**dict(row)) for row in conn.execute(_Q["told_failures"], values))
    return Failures(told=told, met=met)


def exposure_balance(conn: Conn) -> int:
    """What upstreams may have charged and nobody knows, micro-units."""
    row = conn.execute(_Q["balance_of"], {"id": UNKNOWN_EXPOSURE}).fetchone()
    return 0 if row is None else int(row["balance"])


def exposed(conn: Conn, *, since_day: str, most: int) -> Exposed:
    """Read what may have been charged, and the attempts behind it."""
    days = conn.execute(_Q["exposed_since"], {"day": since_day})
    unknown = conn.execute(_Q["unknown_attempts"], {"most": most})
    return Exposed(
        balance_micros=exposure_balance(conn),
        days=tuple((row["day"], row["model"], row["micros"]) for row in days),
        unknown=tuple(dict(row) for row in unknown),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeStory:
    """All that is on record of one generation, for an admin."""

    story: Story
    shown: Shown
    request: bytes | None
    """`types.Request` as JSON, prompt included; None: purged."""
    collected: Mapping[str, str | None]
    """When each image reached somebody, by its id."""


def whole_story(conn: Conn, generation_id: str) -> WholeStory | None:
    """Read it in one snapshot; None: there is no such generation."""
    story, row = get_story(conn, generation_id), get_generation(conn, generation_id)
    if story is None or row is None:
        return None
    (shown,) = show(conn, [generation_id])
    collected = {each["id"]: each["collected_at"] for each in conn.execute(_Q["collected_of"], {"id": generation_id})}
    return WholeStory(story=story, shown=shown, request=row.request, collected=collected)
