"""The entries of a route, as one request may walk them: who can serve it, at which size, and for how much.

A route's own upstreams come first, then those of its fallback models, then, if the caller allows it, all of them with a
smaller size. What a request cannot be sent to is barred, with the reason, before anything is tried.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date

from holdfast.config import Settings, Upstream
from holdfast.errors import ConfigError, RequestError
from holdfast.policy.prices import Wanted, cost_of, quote
from holdfast.policy.routing import Entry
from holdfast.policy.sizes import geometry_of
from holdfast.providers.capabilities import obstacle_of
from holdfast.providers.registry import images_per_call
from holdfast.types import Request, Tier


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a route sends an attempt: an upstream, its name for the model, and the credentials."""

    upstream: Upstream
    model: str
    keys: tuple[str, ...] = field(repr=False)
    """One of them is chosen with the place: `Ticket.key`."""
    route: str
    """The public model whose entry it is."""
    weight: int = 0
    """Its share beside neighbours that have one."""
    numbers: tuple[int | None, ...] = ()
    """Of each key: its place in the settings, from 1; None: it is retired. Empty: all are there, in order."""

    def number_of(self, key: int) -> int | None:
        """Give a key's place in the settings, from 1; None: it is retired."""
        return self.numbers[key] if self.numbers else key + 1

    def key_of(self, number: int) -> int | None:
        """Find the key that stands at a place of the settings, from 1; None: there are not so many."""
        if self.numbers:
            return self.numbers.index(number) if number in self.numbers else None
        return number - 1 if number <= len(self.keys) else None

    @property
    def current(self) -> tuple[str, ...]:
        """The keys that the settings have."""
        return tuple(key for at, key in enumerate(self.keys) if at not in self.retired)

    @property
    def retired(self) -> frozenset[int]:
        """Keys with which nothing begins any more."""
        return frozenset(at for at, number in enumerate(self.numbers) if number is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One entry that a request may be sent to."""

    target: Target
    tier: Tier
    """The size that it is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What an image costs at an entry that has a price of its own: another model, a smaller size, a dearer upstream."""

    list_micros: int
    """What its upstream takes."""
    unit_micros: int | None
    """What the customer pays; None: as for what was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What one request may be sent to, in order."""

    candidates: tuple[Candidate, ...]
    entries: tuple[Entry, ...]
    """The same, as `policy.routing` reads them."""
    offers: Mapping[int, Offer] = field(default_factory=dict)
    """Of those that are not quite what was asked for, or cost us something else than its list price, by place."""
    barred: Mapping[int, str] = field(default_factory=dict)
    """Those that cannot serve it, by place: why."""
    gone: frozenset[int] = frozenset()
    """Those that the settings do not have any more, by place; barred too."""

    @property
    def is_gone(self) -> bool:
        """Whether there is nothing left of it."""
        return len(self.gone) == len(self.entries)

    def images_per_call(self, *, stream: bool) -> int:
        """Say how many images every one of them makes in a call: wherever a part goes, it is whole there."""
        return min(images_per_call(each.target.upstream, stream=stream) for each in self.candidates)

    def find(self, upstream: str, model: str, tier: Tier) -> int | None:
        """Find an entry again that an earlier process has used; None: it is in this route no longer."""
        for at, each in enumerate(self.candidates):
            if (each.target.upstream.name, each.target.model, each.tier) == (upstream, model, tier):
                return at
        return None

    def skipped(self) -> list[dict[str, str]]:
        """Say which entries cannot serve it, and why."""
        return [place_of(self.candidates[at]) | {"reason": why} for at, why in self.barred.items()]


def alone(target: Target, tier: Tier) -> Course:
    """Make the course of what has no route any more, and is gone on with where it is."""
    return Course(candidates=(Candidate(target=target, tier=tier),), entries=(Entry(upstream=target.upstream.name),))


def place_of(candidate: Candidate) -> dict[str, str]:
    """Name a candidate, as decisions are written down."""
    target = candidate.target
    return {"upstream": target.upstream.name, "model": target.model, "size": candidate.tier.value}


def request_at(request: Request, tier: Tier) -> Request:
    """Ask for a size: as it was asked for, or smaller in the same shape."""
    if tier is request.geometry.tier:
        return request
    return replace(request, geometry=geometry_of(tier, request.geometry.aspect_ratio), size_as_asked=None)


def targets_of(settings: Settings, keys: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[Target, ...]]:
    """Give each model its upstreams with their credentials: its own, then those of its fallback models.

    Raises:
        ConfigError: There is no route, or an upstream without a credential.
    """
    if settings.upstreams and not settings.routes:
        name = settings.upstreams[0].name
        raise ConfigError(
            f"There are upstreams and no route, so nothing is served. Add [[routes]] with model and "
            f'upstreams = [{{ upstream = "{name}", model = "…" }}] (docs/how-to/connect-upstreams.md).',
            key="routes",
        )
    if not settings.routes:
        raise ConfigError(
            "There is nothing to serve. Set GEMINI_API_KEY, OPENAI_API_KEY, ARK_API_KEY, FAL_KEY or "
            "REPLICATE_API_TOKEN, or write [[upstreams]] and [[routes]] in holdfast.toml (docs/reference/settings.md). "
            "`holdfast demo` needs none of them.",
            key="upstreams",
        )
    own: dict[str, tuple[Target, ...]] = {}
    for route in settings.routes:
        for each in route.upstreams:
            if not keys[each.upstream]:
                raise ConfigError(f"The upstream {each.upstream!r} has no key: give it `keys`.", key="upstreams.keys")
        own[route.model] = tuple(
            Target(
                upstream=settings.upstream(each.upstream),
                model=each.model,
                keys=keys[each.upstream],
                route=route.model,
                weight=each.weight,
            )
            for each in route.upstreams
        )
    return {
        route.model: (*own[route.model], *(target for model in route.fallback for target in own[model]))
        for route in settings.routes
    }


class Courses:
    """Gives each request its course. What is the same for all requests of a model and size is made once."""

    def __init__(self, settings: Settings, targets: Mapping[str, tuple[Target, ...]]) -> None:
        self._settings = settings
        self._targets = targets
        self._known: dict[tuple[str, Tier, bool], Course] = {}

    def of(self, request: Request, today: date) -> Course:
        """Say what a request may be sent to.

        Args:
            request: What is asked for.
            today: By which prices hold.

        Raises:
            RequestError: The route is gone, as when settings changed between two starts.
        """
        course = self._course(request.model, request.geometry.tier, request.may_degrade)
        offers: dict[int, Offer] = {}
        barred: dict[int, str] = {}
        if len(course.candidates) == 1:
            # What the only one cannot do, or has no price for, is refused by whoever asks, in better words.
            offer = self._dearer(request, course.candidates[0], today)
            return course if offer is None else replace(course, offers={0: offer})
        for at, candidate in enumerate(course.candidates):
            try:
                why = obstacle_of(
                    candidate.target.upstream,
                    request_at(request, candidate.tier),
                    model=candidate.target.model,
                    is_smaller=candidate.tier is not request.geometry.tier,
                )
                if why is not None:
                    barred[at] = why
                elif course.entries[at].is_lesser:
                    offers[at] = self._offer(request, candidate, today)
                elif (offer := self._dearer(request, candidate, today)) is not None:
                    offers[at] = offer
            except RequestError as exc:
                # It has no price at this size, which is no reason to refuse what its siblings can do.
                barred[at] = exc.message
        if not offers and not barred:
            return course
        return replace(course, offers=offers, barred=barred)

    def route(self, model: str, tier: Tier, *, may_degrade: bool) -> Course | None:
        """Say what requests for a model and size may be sent to, whatever else they ask for; None: it is not served."""
        return self._course(model, tier, may_degrade) if self._targets.get(model) else None

    def _course(self, model: str, tier: Tier, may_degrade: bool) -> Course:
        known = self._known.get((model, tier, may_degrade))
        if known is None:
            known = self._known[model, tier, may_degrade] = self._made(model, tier, may_degrade)
        return known

    def _made(self, model: str, tier: Tier, may_degrade: bool) -> Course:
        targets = self._targets.get(model)
        if not targets:
            raise RequestError(
                f"The model {model} is not served here.", code="model_not_found", status=404, param="model"
            )
        smaller = [each for each in reversed(Tier) if _is_below(each, tier)] if may_degrade else []
        candidates = tuple(Candidate(target=target, tier=each) for each in (tier, *smaller) for target in targets)
        return Course(
            candidates=candidates,
            entries=tuple(
                Entry(
                    upstream=each.target.upstream.name,
                    weight=each.target.weight,
                    is_lesser=each.target.route != model or each.tier is not tier,
                )
                for each in candidates
            ),
        )

    def _offer(self, request: Request, candidate: Candidate, today: date) -> Offer:
        wanted = Wanted.of(request_at(request, candidate.tier))
        quoted = quote(self._settings, candidate.target.route, wanted, today, request.tariff)
        cost = self._cost(candidate, wanted, today)
        return Offer(list_micros=quoted.list_micros if cost is None else cost, unit_micros=quoted.unit_micros)

    def _dearer(self, request: Request, candidate: Candidate, today: date) -> Offer | None:
        """Of an entry that is what was asked for: what it costs us, if that is not the list price."""
        cost = self._cost(candidate, Wanted.of(request), today)
        return None if cost is None else Offer(list_micros=cost, unit_micros=None)

    def _cost(self, candidate: Candidate, wanted: Wanted, today: date) -> int | None:
        target = candidate.target
        return cost_of(self._settings, target.upstream, target.model, target.route, wanted, today)


def _is_below(tier: Tier, than: Tier) -> bool:
    order = tuple(Tier)
    return order.index(tier) < order.index(than)
