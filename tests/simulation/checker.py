"""The invariants of a gateway that loses nothing and pays nothing twice, over the history of one seed.

The upstreams are the truth of charges, the callers that of what was told. Nothing is looked up: a history that never
happened is judged like any other, and the tests of this file feed it some.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from simulation.history import (
    Answered,
    Asked,
    CancelCommitted,
    Charged,
    ClockSet,
    Collected,
    Crowded,
    Deleted,
    End,
    Entered,
    Fault,
    Followed,
    History,
    Hooked,
    Logged,
    Orphaned,
    Received,
    SendCommitted,
    Sent,
    Told,
)

FINAL = frozenset({"succeeded", "failed", "cancelled"})
LATE_CODES = frozenset({"outcome_unknown", "deadline_exceeded"})
LATE_S = 60.0
"""A commit may be slow, or the loop blocked, between the look at the deadline and the first byte."""

NOT_HERE: Mapping[str, str] = MappingProxyType(
    {
        "I10": "fair shares are the line's alone: tests/property, tests/contract/engine",
        "I18": "virtual time says nothing of how fast a start is: bench and tests/crash",
    }
)
"""Invariants that nothing here can break, and why; I5's leases and I14's hours are those of replicas and of days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the settings of a seed allow."""

    purchases_max: int = 1
    """Calls for one part that may be charged."""
    sends_max: int = 12
    """Calls for one part in one round."""
    retention_s_max: float
    keep_after_finish_s: float
    keep_after_collect_s: float
    budget_slack_s: float = 40.0
    """A loop that is blocked holds up what a caller is told at the end of its budget."""
    rest_s: float = 3600.0
    """Nothing is deleted so long after the wall clock was set, while the same process lives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """An invariant that does not hold."""

    invariant: str
    message: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.message}"


Check = Callable[[History, End, Limits], Iterator[Violation]]


def check(history: History, end: End, limits: Limits) -> tuple[Violation, ...]:
    """Give everything that does not hold."""
    return tuple(violation for each in CHECKS for violation in each(history, end, limits))


def _v(invariant: str, message: str) -> Violation:
    return Violation(invariant=invariant, message=message)


def every_generation_ends(history: History, end: End, limits: Limits) -> Iterator[Violation]:
    """I1: whatever was told to have been accepted exists, and everything ends."""
    known = {each.id for each in end.generations}
    for each in end.generations:
        if each.state not in FINAL:
            yield _v("I1", f"{each.id} is {each.state} when all has come to rest")
    for attempt in end.attempts:
        if attempt.state in ("sent", "polling"):
            yield _v("I1", f"{attempt.id} of {attempt.generation_id} is {attempt.state} when all has come to rest")
    for orphan in history.of(Orphaned):
        yield _v("I1", f"{orphan.generation_id} is {orphan.state}, and nobody works on it before the next start")
    for told in history.of(Told):
        if told.generation_id is not None and told.generation_id not in known:
            yield _v("I1", f"{told.caller} was told of {told.generation_id}, which is forgotten")


def nothing_is_bought_twice(history: History, end: End, limits: Limits) -> Iterator[Violation]:
    """I2: for each part no more charges than the policy allows, and no more calls of any upstream."""
    part_of = {each.call: (each.generation_id, each.part) for each in history.of(Sent)}
    charges = Counter(part_of[each.call] for each in history.of(Charged))
    for (id_, part), count in charges.items():
        if count > limits.purchases_max:
            yield _v("I2", f"part {part} of {id_} was charged {count} times")
    sends = Counter((each.generation_id, each.part, each.drive, each.upstream) for each in history.of(Sent))
    for (id_, part, drive, upstream), count in sends.items():
        if count > limits.sends_max:
            yield _v("I2", f"part {part} of {id_} was sent to {upstream} {count} times in round {drive}")


def what_came_whole_is_kept(history: History, end: End, limits: Limits) -> Iterator[Violation]:
    """I3: an image that was received whole is there until its time is over."""
    deleted = {each.generation_id for each in history.of(Deleted)}
    kept = {(image.attempt_id, image.sha256): image for image in end.images}
    for received in history.of(Received):
        for sha256 in received.images:
            image = kept.get((received.attempt_id, sha256))
            if image is None:
                yield _v("I3", f"an image of {received.attempt_id}, {received.generation_id}, came whole and is lost")
            elif image.state != "stored" and received.generation_id not in deleted:
                yield _v("I3", f"{image.id} of {received.generation_id} is {image.state}, and nobody deleted it")


def nothing_is_deleted_early(history: History, end: End, limits: Limits) -> Iterator[Violation]:
    """I3: what was never collected stays until the very end, and nothing goes while the wall clock is doubtful."""
    collected: dict[str, dict[str | None, float]] = defaultdict(dict)
    set_at: float | None = None
    showed_s = 0.0
    was_set = False
    for event in history.events:
        if isinstance(event, Collected):
            collected[event.generation_id].setdefault(event.image_id, event.wall_s)
        elif isinstance(event, ClockSet):
            was_set = True
            if abs(event.seconds) > 60.0:
                # A commit that is slow may still bring what was decided before, by the hour of then.
                set_at, showed_s = event.at, event.showed_s if event.seconds > 0.0 else 0.0
        elif type(event).__name__ == "Lived":
            # A new process knows nothing of what the clock showed before.
            set_at = None
        elif isinstance(event, Deleted):
            allowed = event.ended_wall_s + limits.retention_s_max
            of = collected[event.generation_id]
            # Alone or with all others, whichever was first.
            moments = [min(filter(None, (of.get(image), of.get(None))), default=None) for image in event.images]
            whole = [each for each in moments if each is not None]
            if whole and len(whole) == len(moments):
                kept = max(max(whole) + limits.keep_after_collect_s, event.ended_wall_s + limits.keep_after_finish_s)
                allowed = min(allowed, kept)
            # Records keep milliseconds. Once the clock was set, its readings before and after say nothing together.
            if event.images and not was_set and event.wall_s < allowed - 0.01:
                early_s = allowed - event.wall_s
                yield _v("I3", f"images of {event.generation_id} were deleted {early_s:.3f} s before their time")
            if set_at is not None and event.at < set_at + limits.rest_s and event.wall_s > showed_s:
                yield _v("I3", f"{event.generation_id} was deleted {event.at - set_at:.0f} s after the clock was set")


def the_books_balance(history: History, end: End, limits: Limits) -> Iterator[Violation]:
    """I4: the ledger's own rules, nothing held at rest, and every charge of an upstream booked."""
    for problem in end.problems:
        yield _v("I4", problem)
    if end.held_micros:
        yield _v("I4", f"{end.held_micros} micro-units are held when all has come to rest")
    by_call = {each.call: each for each in history.of(Sent)}
    attempts = {each.id: each for each in end.attempts}
    for charged in history.of(Charged):
        sent = by_call[charged.call]
        attempt = attempts.get(sent.attempt_id or "")
        if attempt is None:
            yield _v("I4", f"call {charged.call} for {charged.generation_id} was charged, and no attempt is booked")
        elif attempt.booked_micros < charged.micros:
            message = f"{attempt.id} was charged {charged.micros} and is booked with {attempt.booked_micros}"
            yield _v("I4", f"{message} ({attempt.state})")


def _presumed(history: History) -> frozenset[int]:
    """Calls that were answered well by their status, and of whose answer not all is here: they count as charged."""
    return frozenset(each.call for each in history.of(Answered) if 200 <= each.status < 300 and not each.is_whole)


def charges_are_known(history: History, end: End, limits: Limits) -> Iterator[Violation]:
    """I4: `no` is never said of an attempt that was charged, nor `yes` of one that was not."""
    attempt_of = {each.call: each.attempt_id for each in history.of(Sent)}
    charged = {attempt_of[each.call] for each in history.of(Charged)}
    presumed = {attempt_of[call] for call in _presumed(history)}
    for attempt in end.attempts:
        if attempt.charge == "no" and attempt.id in charged:
            yield _v("I4", f"{attempt.id} says that it cost nothing, and was charged")
        if attempt.charge == "yes" and attempt.id not in charged | presumed:
            yield _v("I4", f"{attempt.id} says that it was charged, and was not")


def one_payer_at_a_time(history: History, end: End, limits: Limits) -> Iterator[Violation]:
    """I5: epochs rise with every sending commit."""
    last: dict[str, int] = {}
    for sent in history.of(SendCommitted):
        before = last.get(sent.generation_id)
        if before is not None and sent.epoch <= before:
            yield _v("I5", f"{sent.attempt_id} was sent in epoch {sent.epoch}, after {before}")
        last[sent.generation_id] = sent.epoch


def nothing_is_sent_uncommitted(history: History, end: End, limits: Limits) -> Iterator[Violation]:
    """I6: the row is there before the first byte, one for each call."""
    seen: dict[str, int] = {}
    for sent in history.of(Sent):
        if sent.attempt_id is None:
            yield _v("I6", f"call {sent.call} for {sent.generation_id} was sent without a committed attempt")
        elif sent.attempt_id in seen:
            yield _v("I6", f"calls {seen[sent.attempt_id]} and {sent.call} are of one attempt, {sent.attempt_id}")
        else:
            seen[sent.attempt_id] = sent.call


def nothing_is_sent_too_late(history: History, end: End, limits: Limits) -> Iterator[Violation]:
    """I7: no sending commit after a cancel in the same round, nothing sent after its deadline."""
    cancelled: dict[str, float] = {}
    was_set = any(True for _ in history.of(ClockSet))
    for event in history.events:
        if isinstance(event, CancelCommitted):
            cancelled[event.generation_id] = event.at
        elif isinstance(event, SendCommitted) and event.generation_id in cancelled:
            yield _v("I7", f"{event.attempt_id} was committed after {event.generation_id} was cancelled")
        elif isinstance(event, Sent) and event.late_s > LATE_S and not was_set:
            yield _v("I7", f"call {event.call} for {event.generation_id} left {event.late_s:.0f} s after its deadline")


def budgets_are_kept(history: History, end: End, limits: Limits) -> Iterator[Violation]:
    """I7: whoever bought with a budget is told when it is over, whatever is still in flight."""
    bought = {each.number for each in history.of(Entered) if each.answer == "new"}
    asked = {each.number: each for each in history.of(Asked) if each.asked_s is not None and each.number in bought}
    # Nobody is told of an end that the disk has not taken.
    refusals = [each.at for each in history.of(Fault) if each.name.startswith(("D", "B"))]
    for told in history.of(Told):
        post = asked.get(told.number)
        if post is None or post.asked_s is None or any(post.at < at < told.at for at in refusals):
            continue
        if told.at > post.at + post.asked_s + limits.budget_slack_s:
            took_s = told.at - post.at
            yield _v("I7", f"{told.caller} named {post.asked_s:.0f} s and was told after {took_s:.0f} s")


def keys_name_one_thing(history: History, end: End, limits: Limits) -> Iterator[Violation]:
    """I8: one key, one generation, the same bytes; another body is refused."""
    asked = {each.number: each for each in history.of(Asked)}
    body_of: dict[str, str] = {}
    generation_of: dict[tuple[str, str], str] = {}
    for entered in history.of(Entered):
        post = asked.get(entered.number)
        if post is None:
            continue
        if entered.answer == "new":
            body_of[entered.generation_id] = f"{post.key_id}/{post.body}"
        elif entered.answer not in ("idempotency_key_reused", "image_expired", "idempotency_in_flight"):
            bought = body_of.get(entered.generation_id)
            if bought != f"{post.key_id}/{post.body}":
                yield _v(
                    "I8", f"{post.caller} asked for {post.body!r} and was given {entered.generation_id}: {bought!r}"
                )
        if post.idempotency_key is not None:
            named = (post.key_id, post.idempotency_key)
            first = generation_of.setdefault(named, entered.generation_id)
            if first != entered.generation_id:
                yield _v("I8", f"the key {post.idempotency_key} names {first} and {entered.generation_id}")
    keys = Counter((each.key_id, each.idempotency_key) for each in end.generations if each.idempotency_key is not None)
    for (_, key), count in keys.items():
        if count > 1:
            yield _v("I8", f"the key {key} bought {count} generations")


def credentials_keep_their_limits(history: History, end: End, limits: Limits) -> Iterator[Violation]:
    """I9: no credential has more calls in flight than its upstream's `concurrency`."""
    for crowd in history.of(Crowded):
        yield _v("I9", f"{crowd.credential} had {crowd.count} calls in flight, and may have {crowd.limit}")


def answers_are_the_same(history: History, end: End, limits: Limits) -> Iterator[Violation]:
    """I8: whoever is given the images of a generation is given the same bytes."""
    asked = {each.number for each in history.of(Asked)}
    first: dict[str, tuple[str, ...]] = {}
    for told in history.of(Told):
        # A picture that was fetched alone is one of several.
        if told.images and told.number in asked and told.generation_id is not None:
            before = first.setdefault(told.generation_id, told.images)
            if before != told.images and not set(before) < set(told.images):
                yield _v("I8", f"{told.generation_id} was answered with other bytes to {told.caller}")


def repeats_take_turns(history: History, end: End, limits: Limits) -> Iterator[Violation]:
    """I8: an unkeyed repeat that does not say so is given only what nobody waits for, and nobody has."""
    for entered in history.of(Entered):
        if entered.answer == "new" or entered.by_key or entered.says_retry:
            continue
        if entered.waiting:
            yield _v(
                "I8", f"{entered.generation_id} was given to POST {entered.number} beside {entered.waiting} others"
            )
        if entered.is_received:
            yield _v("I8", f"{entered.generation_id} was given to POST {entered.number} after another had it")


def bytes_stay_the_same(history: History, end: End, limits: Limits) -> Iterator[Violation]:
    """I11: received = stored = delivered, and only to whom it belongs."""
    made: dict[str, set[str]] = defaultdict(set)
    for received in history.of(Received):
        made[received.generation_id].update(received.images)
    for image in end.images:
        if image.state == "stored" and image.file_sha256 not in (None, image.sha256):
            yield _v("I11", f"the file of {image.id} has other bytes than its row says")
    stored = {(image.generation_id, image.sha256) for image in end.images}
    for told in history.of(Told):
        if told.images != told.stored:
            yield _v("I11", f"{told.caller} got other bytes of {told.generation_id} than the record names")
        for sha256 in told.images:
            if (told.generation_id, sha256) not in stored:
                yield _v("I11", f"{told.caller} was given an image that is not of {told.generation_id}")


def logs_have_no_gap(history: History, end: End, limits: Limits) -> Iterator[Violation]:
    """I12, I16: events are numbered without a gap, each round ends once, followers miss nothing."""
    for each in end.generations:
        numbers = [number for number, _ in each.events]
        if numbers != list(range(1, len(numbers) + 1)):
            yield _v("I12", f"the log of {each.id} is numbered {numbers}")
        ends = 0
        for _, type_ in each.events:
            ends = 0 if type_ == "queued" else ends + (type_ in FINAL)
            if ends > 2:
                yield _v("I16", f"{each.id} ends {ends} times in one round")
        if each.state in FINAL and each.events and each.events[-1][1] not in (*FINAL, "stored"):
            yield _v("I16", f"{each.id} is {each.state}, and its log ends with {each.events[-1][1]}")
    for followed in history.of(Followed):
        expected = tuple(range(followed.after + 1, followed.after + 1 + len(followed.numbers)))
        if followed.numbers != expected:
            yield _v("I12", f"{followed.caller} read {followed.numbers} behind {followed.after}")


def ends_are_told(history: History, end: End, limits: Limits) -> Iterator[Violation]:
    """I13: each end has its delivery, sent at least once under one id, signed; what is said to be delivered was."""
    ids: dict[tuple[str, int, str], set[str]] = defaultdict(set)
    taken: set[str] = set()
    for hooked in history.of(Hooked):
        ids[hooked.generation_id, hooked.drive, hooked.type].add(hooked.message_id)
        if 200 <= hooked.status < 300:
            taken.add(hooked.message_id)
        if not hooked.is_signed:
            yield _v("I13", f"{hooked.message_id} was not signed with its endpoint's secret")
    for (id_, _, type_), several in ids.items():
        if len(several) > 1:
            yield _v("I13", f"{type_} of {id_} was told under {len(several)} ids")
    written = {(each.generation_id, each.type) for each in end.deliveries}
    for each in end.generations:
        if (
            each.key_id in end.hooked_keys
            and each.state in FINAL
            and (each.id, f"generation.{each.state}") not in written
        ):
            yield _v("I13", f"nobody is told that {each.id} has {each.state}")
    for delivery in end.deliveries:
        if delivery.state == "delivered" and delivery.id not in taken:
            yield _v("I13", f"{delivery.id} counts as delivered, and nobody took it")
        if delivery.is_overdue:
            yield _v("I13", f"{delivery.id} is due and is not sent")


def rows_and_files_agree(history: History, end: End, limits: Limits) -> Iterator[Violation]:
    """I14: every row that is kept has its file, and nothing is left lying about."""
    for image in end.images:
        if image.state == "stored" and image.file_sha256 is None:
            yield _v("I14", f"{image.id} of {image.generation_id} has no file")
        if image.state == "deleted" and image.file_sha256 is not None:
            yield _v("I14", f"{image.id} of {image.generation_id} is deleted, and its file is there")
    for name in end.spooled:
        yield _v("I14", f"{name} is left in the spool when all has come to rest")
    for name in end.strangers:
        yield _v("I14", f"{name} lies in the blob store, and no row names it")


def failures_bring_no_image(history: History, end: End, limits: Limits) -> Iterator[Violation]:
    """I15: whoever is told of a failure is given no image, and a success has one."""
    results = Counter(image.generation_id for image in end.images if image.kind == "result")
    for told in history.of(Told):
        if told.code is not None and told.images:
            yield _v("I15", f"{told.caller} was told {told.code} and given images of {told.generation_id}")
    for each in end.generations:
        if each.state == "succeeded" and not results[each.id]:
            yield _v("I15", f"{each.id} has succeeded without an image")
        if each.state != "succeeded" and results[each.id]:
            yield _v("I15", f"{each.id} is {each.state} and has an image to deliver")
        if (each.state == "failed") is (each.code is None) and each.state != "cancelled":
            yield _v("I15", f"{each.id} is {each.state} and tells the code {each.code}")


def nothing_lingers(history: History, end: End, limits: Limits) -> Iterator[Violation]:
    """I17: tasks, watchers and bytes set aside return to nothing."""
    for each in end.unrest:
        yield _v("I17", each)


def callers_are_told_the_truth_of_charges(history: History, end: End, limits: Limits) -> Iterator[Violation]:
    """I19: `paid: no` is never said where a charge exists or comes, `yes` only where one does."""
    drive_of = {each.call: each.drive for each in history.of(Sent)}
    charged: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for each in history.of(Charged):
        charged[each.generation_id].append((drive_of[each.call], each.at))
    presumed = _presumed(history)
    maybe = {each.generation_id for each in history.of(Sent) if each.call in presumed}
    for told in history.of(Told):
        if told.generation_id is None or told.is_refused:
            continue
        charges = [at for drive, at in charged[told.generation_id] if drive <= told.drive]
        if told.paid == "no" and charges:
            yield _v(
                "I19", f"{told.caller} was told that {told.generation_id} cost nothing ({told.code}); it was charged"
            )
        is_presumed = told.generation_id in maybe
        if told.paid == "yes" and not is_presumed and not any(at <= told.at for at in charges):
            yield _v("I19", f"{told.caller} was told that {told.generation_id} was charged ({told.code}); it was not")


def logs_say_nothing_wrong(history: History, end: End, limits: Limits) -> Iterator[Violation]:
    """I20: no secret, no prompt in the log; I0: no mistake of ours; I14: no reference image that is gone."""
    invariants = {"fault.internal": "I0", "unhandled": "I0", "input.lost": "I14"}
    for logged in history.of(Logged):
        yield _v(invariants.get(logged.event, "I20"), f"{logged.event}: {logged.detail}")


CHECKS: tuple[Check, ...] = (
    every_generation_ends,
    nothing_is_bought_twice,
    what_came_whole_is_kept,
    nothing_is_deleted_early,
    the_books_balance,
    charges_are_known,
    one_payer_at_a_time,
    nothing_is_sent_uncommitted,
    nothing_is_sent_too_late,
    budgets_are_kept,
    keys_name_one_thing,
    credentials_keep_their_limits,
    answers_are_the_same,
    repeats_take_turns,
    bytes_stay_the_same,
    logs_have_no_gap,
    ends_are_told,
    rows_and_files_agree,
    failures_bring_no_image,
    nothing_lingers,
    callers_are_told_the_truth_of_charges,
    logs_say_nothing_wrong,
)
