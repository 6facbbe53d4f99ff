"""The gateway, in virtual time: its decisions are the shipped ones, its I/O is an agenda.

Whom an order is sent to is `policy.routing`, how upstreams and keys stand `policy.standings`, who waits in line
`policy.line`, what follows a failure `policy.retry`, how long an attempt may take `policy.deadlines` by what
`engine.latencies` has learnt. This file only does what `engine.parts` and `engine.deciding` do with their answers, for
one image an order, without a commit and without a socket. Its callers are held: they have an answer when the generation
ends, and repeat nothing.
"""

from __future__ import annotations

from holdfast.policy.credentials import EJECTING
from holdfast.policy.exposure import CAP_AGE_S, allows, cap_micros
from holdfast.policy.failures import verdict_of
from holdfast.policy.fairness import weight_of
from holdfast.policy.health import BROKEN
from holdfast.policy.hedge import LASTING, Against, Slow, decide_second, slow_s
from holdfast.policy.latency import prior
from holdfast.policy.retry import (
    Circumstances,
    Fallback,
    GiveUp,
    Retry,
    Tally,
    Wait,
    decide_after_failure,
    pause_s,
)
from holdfast.policy.routing import NEVER, Choice, Later, Nowhere, Pick, choose
from holdfast.policy.standings import Change
from holdfast.types import Charge, Failure, FailureKind, Phase, Tier
from holdfast.whatif.agenda import Agenda
from holdfast.whatif.book import Book, Order
from holdfast.whatif.chance import Luck, luck_of
from holdfast.whatif.lines import Lines, Ticket
from holdfast.whatif.policies import GatewayPolicy, prices_of
from holdfast.whatif.rules import LOOK_S, PATIENCE_SHARE, entries_of, limits_of, retry_policy_of, standings_of
from holdfast.whatif.seconds import MOMENT_S, SECOND_LOOK_S, Seconds
from holdfast.whatif.times import Learning, Times
from holdfast.whatif.world import World

DEADLINE_EXCEEDED = "deadline_exceeded"
QUEUE_FULL = "queue_full"
TIMED_OUT = Failure(
    kind=FailureKind.LOST_REPLY, phase=Phase.WAIT, charge=Charge.UNKNOWN, detail="no answer within the attempt's time"
)
_DAY_S = 86_400.0


class _Part:
    """One order on its way: what `engine.part` keeps of it."""

    __slots__ = (
        "at",
        "avoided",
        "deadline_at",
        "failures",
        "goes_to",
        "had_second",
        "has_ended",
        "in_flight",
        "luck",
        "order",
        "places",
        "sends",
        "ticket",
        "waited_s",
        "waits_since",
    )

    def __init__(self, order: Order, deadline_at: float, luck: Luck) -> None:
        self.order = order
        self.luck = luck
        """Of its next call, or of the one in flight."""
        self.deadline_at = deadline_at
        self.failures: tuple[Failure, ...] = ()
        self.places: tuple[int, ...] = ()
        """The entry of the route that each of them came from."""
        self.avoided: dict[int, float] = {}
        """Entries that are passed over, and until when."""
        self.at = 0
        """The entry that it stands in line for, or was sent to."""
        self.goes_to: int | None = None
        """The entry that was decided on."""
        self.ticket: Ticket | None = None
        self.waits_since: float | None = None
        self.waited_s = 0.0
        self.has_ended = False
        self.sends = 0
        self.in_flight = 0
        self.had_second = False
        """Whether a slow call of it had a second one beside it."""


class _Beside:
    """What a ticket of a second call is of."""

    __slots__ = ("at", "part")

    def __init__(self, part: _Part, at: int) -> None:
        self.part = part
        self.at = at


class _Flight:
    """A call that is under way."""

    __slots__ = ("at", "has_ended", "jitter", "key", "part", "sent_at", "ticket")

    def __init__(self, part: _Part, at: int, ticket: Ticket, key: int, jitter: float, sent_at: float) -> None:
        self.part, self.at, self.ticket, self.key = part, at, ticket, key
        self.jitter, self.sent_at = jitter, sent_at
        self.has_ended = False


class _Exposure:
    """What may have been paid twice today, and how much of that is allowed."""

    def __init__(self, share: float, images_min: int) -> None:
        self._share, self._images_min = share, images_min
        self._day = -1
        self._exposed = 0
        self._charged = 0
        self._known = 0
        self._known_at = -CAP_AGE_S

    def charged(self, micros: int) -> None:
        """Note what a customer pays; loads are taken to be shorter than the 24 hours that count."""
        self._charged += micros

    def reserve(self, price: int, now: float) -> bool:
        """Reserve one more purchase after one of unknown outcome; False: it does not fit."""
        if now // _DAY_S != self._day:
            self._day, self._exposed = int(now // _DAY_S), 0
        if now - self._known_at >= CAP_AGE_S:
            self._known, self._known_at = self._charged, now
        cap = cap_micros(spent_micros=self._known, price_micros=price, share=self._share, images_min=self._images_min)
        if not allows(exposed_micros=self._exposed, price_micros=price, cap=cap):
            return False
        self._exposed += price
        return True


class _Full:
    """The upstreams where an order would have to stand in line; asked only for those that a choice comes to."""

    __slots__ = ("_lines",)

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def __contains__(self, upstream: object) -> bool:
        assert isinstance(upstream, str)
        return self._lines.free(upstream) == 0


class Gateway:
    """All orders, and what they share."""

    def __init__(
        self, policy: GatewayPolicy, world: World, agenda: Agenda, book: Book, *, seed: int, start_s: float = 0.0
    ) -> None:
        """Begin.

        Args:
            policy: Settings and route.
            world: Whom it asks; it has the upstreams of the settings, in their order.
            agenda: Virtual time.
            book: Where everything is counted.
            seed: Of the run.
            start_s: Time of day, UTC, at which the agenda begins.
        """
        settings = policy.settings
        self._world, self._agenda, self._book, self._seed = world, agenda, book, seed
        self._rules = retry_policy_of(settings.retry, policy.route)
        entries = entries_of(settings, policy.route)
        self._entries = tuple(entry for entry, _ in entries)
        self._is_alone = len(entries) == 1
        self._models = tuple(model for _, model in entries)
        self._prices = tuple(prices_of(policy, model) for model in self._models)
        self._index = {each.name: at for at, each in enumerate(settings.upstreams)}
        self._standings = standings_of(settings)
        self._rests: dict[tuple[str, int], float] = {}
        """What the lines were told, by upstream and key."""
        self._lines = Lines(
            limits_of(settings),
            agenda,
            self._send,
            flow_places=settings.queue.per_key_in_flight_max,
            start_s=start_s,
        )
        self._full = _Full(self._lines)
        self._waiting_max = settings.queue.waiting_max
        self._usual_s = {tier: prior(tier, scale=settings.latency.scale).expected_s for tier in Tier}
        self._learning = Learning(settings, agenda, start_s=start_s)
        self._exposure = _Exposure(settings.retry.exposure_share, settings.retry.exposure_images_min)
        self._seconds: Seconds | None = None
        if settings.hedge.enabled and not self._is_alone:
            self._seconds = Seconds(settings.hedge, self._rules, policy.route.model)

    def arrive(self, order: Order) -> None:
        """Accept an order, and ask for a place for it; where lines are full it is told so."""
        granted_s = self._learning.generation_s(self._models[0], order.tier)
        part = _Part(order, order.at + granted_s, luck_of(self._seed, order.number, 0))
        if not any(self._lines.has_room(entry.upstream, self._waiting_max) for entry in self._entries):
            self._tell(part, QUEUE_FULL)
            return
        self._enter(part)

    def _times(self, at: int, tier: Tier) -> Times:
        """Say how long an attempt at an entry should take, and may."""
        return self._learning.of(self._entries[at].upstream, self._models[at], tier)

    # A place

    def _choose(self, part: _Part, avoided: dict[int, float], *, patience_s: float = 0.0) -> Choice:
        return choose(
            self._entries,
            self._standings.ready,
            now=self._agenda.now,
            sample=part.luck.jitter,
            avoided=avoided,
            full=self._full,
            patience_s=patience_s,
        )

    def _patience_s(self, order: Order) -> float:
        """Say for how long the model that was asked for is still waited for."""
        return max(0.0, PATIENCE_SHARE * self._usual_s[order.tier] - (self._agenda.now - order.at))

    def _enter(self, part: _Part) -> None:
        """Ask for a place: where it was decided, if that can be asked, else where it is chosen now."""
        now = self._agenda.now
        if now >= part.deadline_at:
            self._tell(part, DEADLINE_EXCEEDED)
            return
        decided, part.goes_to = part.goes_to, None
        if self._is_alone:
            at = 0
        elif decided is not None and self._standings.ready[self._entries[decided].upstream] <= now:
            at = decided
        else:
            choice = self._choose(part, part.avoided, patience_s=self._patience_s(part.order))
            # All of them are given up: the first one has the last word.
            at = 0 if isinstance(choice, Nowhere) else choice.at
        self._stand(part, at)
        if part.waits_since is not None:
            self._agenda.at(part.deadline_at, self._expire, part)
            if not self._is_alone:
                self._agenda.at(now + LOOK_S, self._look_elsewhere, part)

    def _stand(self, part: _Part, at: int) -> None:
        """Stand in line at an entry; where that is its upstream already, in its old place."""
        upstream, order, ticket = self._entries[at].upstream, part.order, part.ticket
        part.at = at
        if ticket is None or ticket.upstream != upstream:
            if ticket is not None:
                self._lines.leave(ticket)
            ticket = part.ticket = self._lines.ticket(
                part, upstream, weight=weight_of(order.tier, 1), expected_s=self._times(at, order.tier).expected_s
            )
        self._lines.enter(ticket)
        if self._lines.is_waiting(ticket) and part.waits_since is None:
            part.waits_since = self._agenda.now
            self._book.queue_of(self._lines.waiting)

    def _look_elsewhere(self, part: _Part) -> None:
        """Leave the line for an entry that has a place at once."""
        ticket = part.ticket
        if part.has_ended or ticket is None or not self._lines.is_waiting(ticket):
            return
        choice = self._choose(part, part.avoided, patience_s=self._patience_s(part.order))
        if isinstance(choice, Pick) and self._lines.free(self._entries[choice.at].upstream) != 0:
            self._lines.leave(ticket)
            self._stand(part, choice.at)
        if self._agenda.now + LOOK_S < part.deadline_at:
            self._agenda.at(self._agenda.now + LOOK_S, self._look_elsewhere, part)

    def _expire(self, part: _Part) -> None:
        """Let nobody stand in line past his deadline."""
        ticket = part.ticket
        if not part.has_ended and ticket is not None and self._lines.is_waiting(ticket):
            self._lines.leave(ticket)
            self._tell(part, DEADLINE_EXCEEDED)

    # A call

    def _send(self, ticket: Ticket, key: int) -> None:
        of, now = ticket.of, self._agenda.now
        is_second = isinstance(of, _Beside)
        part, at = (of.part, of.at) if isinstance(of, _Beside) else (of, -1)
        assert isinstance(part, _Part)
        if not is_second:
            self._waits_no_longer(part)
            at = part.at
        upstream, order = ticket.upstream, part.order
        luck = part.luck if part.sends == len(part.failures) else luck_of(self._seed, order.number, part.sends)
        fate = self._world.call(self._index[upstream], key, order.tier, luck, now)
        part.sends += 1
        part.in_flight += 1
        self._book.sent(self._prices[at][order.tier], is_charged=fate.is_charged)
        self._standings.sent(upstream, now=now, is_repeat=self._was_at(part, upstream))
        if self._standings.of(upstream).health.is_open:
            self._tell_line(upstream)
        timeout_s = self._times(at, order.tier).attempt_s
        is_late = fate.after_s > timeout_s
        failure = TIMED_OUT if is_late else fate.failure
        flight = _Flight(part, at, ticket, key, luck.jitter, now)
        self._agenda.at(now + (timeout_s if is_late else fate.after_s), self._ended, flight, failure)
        if self._seconds is not None and not is_second and self._seconds.may_follow(part.had_second, part.failures):
            self._agenda.at(now + self._slow_s(flight), self._look_at, flight)

    def _was_at(self, part: _Part, upstream: str) -> bool:
        """Whether it has failed there before."""
        return any(self._entries[at].upstream == upstream for at in part.places)

    def _ended(self, flight: _Flight, failure: Failure | None) -> None:
        part, at, key, sent_at = flight.part, flight.at, flight.key, flight.sent_at
        now, upstream = self._agenda.now, flight.ticket.upstream
        price = self._prices[at][part.order.tier]
        self._lines.leave(flight.ticket)
        flight.has_ended = True
        part.in_flight -= 1
        model, tier = self._models[at], part.order.tier
        if failure is None:
            self._learning.came(upstream, model, tier, now - sent_at)
            self._heed(upstream, self._standings.succeeded(upstream, key, sent_at=sent_at, now=now))
            if part.has_ended:
                # The other one was first: an extra, which was paid for and which nobody is charged for.
                return
            self._exposure.charged(price)
            self._close(part)
            self._book.delivered(part.order, price, now)
            return
        if failure is TIMED_OUT:
            self._learning.was_cut(upstream, model, tier, now - sent_at)
        self._book.failed(failure, price)
        jitter = flight.jitter
        part.failures, part.places = (*part.failures, failure), (*part.places, at)
        part.luck = luck_of(self._seed, part.order.number, len(part.failures))
        changes = self._standings.failed(upstream, key, failure, sent_at=sent_at, now=now, jitter=jitter)
        self._heed(upstream, changes)
        if part.has_ended:
            return
        if part.in_flight:
            # How the other one ends decides.
            part.avoided[at] = now + pause_s(failure, attempt=1, jitter=jitter, policy=self._rules)
            return
        part.at, part.ticket = at, flight.ticket
        flight.ticket.of = part
        self._follow(part, failure, key, jitter, price)

    def _heed(self, upstream: str, changes: tuple[Change, ...]) -> None:
        if changes:
            self._tell_line(upstream)

    def _tell_line(self, upstream: str) -> None:
        """Let keys rest in line as they stand, and all of them while the circuit is open."""
        of = self._standings.of(upstream)
        for key, standing in enumerate(of.keys):
            until = max(standing.until, of.health.ready_at, 0.0)
            if self._rests.get((upstream, key), 0.0) != until:
                self._rests[upstream, key] = until
                self._lines.rest(upstream, key, until)

    # A second call beside a slow one

    def _slow_s(self, flight: _Flight) -> float:
        assert self._seconds is not None
        return slow_s(self._times(flight.at, flight.part.order.tier).known, self._seconds.after)

    def _look_at(self, first: _Flight) -> None:
        """Make a second call if it pays now, else look again."""
        part, now, seconds = first.part, self._agenda.now, self._seconds
        if first.has_ended or part.has_ended:
            return
        assert seconds is not None
        tier, at = part.order.tier, self._free_beside(first)
        slow = Slow(
            elapsed_s=now - first.sent_at,
            remaining_s=part.deadline_at - now,
            first=self._times(first.at, tier).known,
            second=None if at is None else self._times(at, tier).known,
            tally=Tally.of(part.failures) if part.failures else None,
            budget_allows=seconds.budget_allows,
        )
        decided = decide_second(slow, after=seconds.after, policy=self._rules)
        if isinstance(decided, Against):
            if decided not in LASTING:
                again_at = first.sent_at + self._slow_s(first) if decided is Against.NOT_SLOW else now + SECOND_LOOK_S
                self._agenda.at(max(now + MOMENT_S, again_at), self._look_at, first)
            return
        assert at is not None, "nobody free is a reason against"
        if not self._exposure.reserve(self._prices[at][tier], now):
            return
        seconds.spent()
        part.had_second = True
        ticket = self._lines.ticket(
            _Beside(part, at), self._entries[at].upstream, weight=weight_of(tier, 1), expected_s=decided.expected_s
        )
        self._lines.enter(ticket)
        if self._lines.is_waiting(ticket):
            # All that may be in flight together are: it stands in no line.
            self._lines.leave(ticket)

    def _free_beside(self, first: _Flight) -> int | None:
        """Find an entry for a second call: another upstream of the model that is well, and has a place at once."""
        upstream = self._entries[first.at].upstream
        avoided = dict(first.part.avoided)
        for at, entry in enumerate(self._entries):
            if entry.is_lesser or entry.upstream == upstream:
                avoided[at] = NEVER
        choice = self._choose(first.part, avoided)
        is_free = isinstance(choice, Pick) and self._lines.free(self._entries[choice.at].upstream) != 0
        return choice.at if isinstance(choice, Pick) and is_free else None

    # What follows

    def _follow(self, part: _Part, failure: Failure, key: int, jitter: float, price: int) -> None:
        """Decide what follows a failure, and do it."""
        now, at, upstream = self._agenda.now, part.at, self._entries[part.at].upstream
        remaining_s = part.deadline_at - now
        tally = self._tally(part)
        pause = pause_s(failure, attempt=tally.pauses_after(failure), jitter=jitter, policy=self._rules)
        following = self._next(part, failure, remaining_s=remaining_s, pause=pause)
        decision = decide_after_failure(
            failure,
            tally=tally,
            now=Circumstances(
                remaining_s=remaining_s,
                expected_s=self._times(at, part.order.tier).expected_s,
                jitter=jitter,
                next_after_s=None if following is None else following[1],
                next_expected_s=None if following is None else self._times(following[0], part.order.tier).expected_s,
                next_is_lesser=following is not None and self._entries[following[0]].is_lesser,
                patience_s=self._patience_s(part.order),
                rest_s=self._standings.rest_s(upstream, key, failure, now=now),
                budget_allows=self._standings.allows_repeat(upstream),
            ),
            policy=self._rules,
        )
        if isinstance(decision, GiveUp) or (
            failure.charge is Charge.UNKNOWN and not self._exposure.reserve(price, now)
        ):
            self._tell(part, verdict_of(part.failures).code)
            return
        match decision:
            case Fallback():
                assert following is not None
                part.goes_to = following[0]
                part.avoided[at] = NEVER if self._is_for_good(failure, tally) else now + pause
            case Retry():
                part.goes_to = at
                self._standings.repeat(upstream)
            case Wait():
                part.goes_to = at
        self._agenda.at(now + decision.after_s, self._enter, part)

    def _tally(self, part: _Part) -> Tally:
        if self._is_alone:
            here = part.failures
        else:
            upstream = self._entries[part.at].upstream
            ends = zip(part.places, part.failures, strict=True)
            here = tuple(failure for at, failure in ends if self._entries[at].upstream == upstream)
        empty = sum(failure.kind is FailureKind.NO_IMAGE for failure in here)
        return Tally.of(part.failures, here=here, no_images=empty)

    def _next(self, part: _Part, failure: Failure, *, remaining_s: float, pause: float) -> tuple[int, float] | None:
        """Find the entry that comes next, and in how many seconds: the first that would be in time, else the first."""
        if self._is_alone:
            return None
        now, first = self._agenda.now, None
        avoided = {**part.avoided, part.at: NEVER}
        if failure.kind in BROKEN:
            # By another name it is the same upstream, and as broken.
            for at, entry in enumerate(self._entries):
                if entry.upstream == self._entries[part.at].upstream:
                    avoided[at] = max(avoided.get(at, 0.0), now + pause)
        for _ in self._entries:
            choice = self._choose(part, avoided, patience_s=self._patience_s(part.order))
            if isinstance(choice, Nowhere):
                break
            found = choice.at, max(0.0, choice.ready_at - now) if isinstance(choice, Later) else 0.0
            if found[1] + self._times(choice.at, part.order.tier).expected_s <= remaining_s:
                return found
            first, avoided[choice.at] = first or found, NEVER
        return first

    def _is_for_good(self, failure: Failure, tally: Tally) -> bool:
        """Whether an entry that an order leaves is not to be asked by it again."""
        is_empty = failure.kind is FailureKind.NO_IMAGE and tally.no_images > 1
        is_spent = tally.counted >= self._rules.attempts_max or tally.sends_here >= self._rules.sends_max
        return failure.kind in EJECTING or is_empty or is_spent

    # The end

    def _tell(self, part: _Part, code: str) -> None:
        self._close(part)
        self._book.told(part.order, code, self._agenda.now)

    def _close(self, part: _Part) -> None:
        self._waits_no_longer(part)
        part.has_ended = True
        # Neither holds the other any longer: both go with the last call, and no collector has to find them.
        part.ticket = None
        if part.waited_s > 0.0:
            self._book.waited(part.waited_s)

    def _waits_no_longer(self, part: _Part) -> None:
        if part.waits_since is not None:
            part.waited_s += self._agenda.now - part.waits_since
            part.waits_since = None
