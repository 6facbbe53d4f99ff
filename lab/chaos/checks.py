"""The invariants of `docs/discussions/decisions.md`, over what is left of a run. Pure: values in, words out.

The upstream's journal is the truth of what was charged, callers' hands that of what arrived, the rows that of what the
gateway says. None is believed alone.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from evidence import NEVER, Attempt, Evidence, Generation

FINAL = frozenset({"succeeded", "failed", "cancelled"})
OPEN = frozenset({"sent", "polling"})
UNKNOWN, SETTLED, PAID_FAILED = "unknown", "settled", "charged_failed"
PURCHASES_MAX = 2
"""For one part in one round: the second after an outcome that nobody knows."""
AFTER_S = 3.0
"""Between a fault and what comes of it: a connection that is given up, a lease that is looked at."""
TAKEN_S = 20.0
"""By then a killed worker's calls are another's."""
SHOWN = 20
NOT_SEEN: Mapping[str, str] = MappingProxyType(
    {"I10": "one key asks for everything here; fair shares: tests/property, tests/contract/engine"}
)
"""Invariants that a run does not try, and what does."""
TITLES: Mapping[str, str] = MappingProxyType(
    {
        "I1": "whatever was accepted has an end, in time",
        "I2": "nothing is paid twice beyond what the policy allows after an unknown outcome",
        "I3": "every image that came whole can be had",
        "I4": "the ledger sums to zero and agrees with the upstream's journal",
        "I5": "one payer at a time, epochs rise",
        "I6": "nothing was sent without a committed attempt",
        "I7": "nothing was sent after an end or a deadline",
        "I8": "a key names one generation and the same bytes",
        "I9": "no credential has more calls open than its limit, over all replicas",
        "I10": "no tenant starves",
        "I11": "received, stored and delivered bytes are the same",
        "I12": "events have no gap and no repeat",
        "I13": "every end is told by webhook, under one id",
        "I14": "rows and objects agree, nothing lies about",
        "I15": "a failure brings no image",
        "I16": "recovery repeats no event and no booking",
        "I17": "files, threads and memory return to what they were",
        "I18": "a replica that was killed serves again in time",
        "I19": "`paid` is true",
        "I20": "no secret and no prompt in a log",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the run allows."""

    concurrency: int
    late_s: float
    """Behind a deadline, until an end is on record: as long as the database may be away, and a little."""
    restart_s: float
    """From a start to the first call that is taken."""
    files_more: int = 60
    """Sockets to callers and peers that are kept open come and go."""
    rss_kb_max: int = 700_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A fault as it was, seconds since 1970."""

    kind: str
    target: str
    peer: str
    from_s: float
    to_s: float


@dataclass(slots=True, kw_only=True)
class Verdict:
    """What was found."""

    broken: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in TITLES})
    """Invariant -> what breaks it."""
    figures: dict[str, Any] = field(default_factory=dict)


Check = Callable[[Evidence, Limits], Iterator[tuple[str, str]]]


def judge(
    evidence: Evidence, limits: Limits, troubles: Sequence[Trouble], restarts_s: Mapping[str, Sequence[float]]
) -> Verdict:
    """Hold all of it against each other."""
    verdict = Verdict()
    for check in CHECKS:
        for name, message in check(evidence, limits):
            verdict.broken[name].append(message)
    for name, message in _restarts(restarts_s, limits):
        verdict.broken[name].append(message)
    verdict.figures = figures_of(evidence) | _unexplained(evidence, troubles)
    return verdict


def _charged(evidence: Evidence) -> Counter[str]:
    """Count what was charged, by the name that attempts have with the upstream."""
    return Counter(each.key for each in evidence.journal if each.micros > 0)


def _by_key(evidence: Evidence) -> dict[str, list[Attempt]]:
    found: dict[str, list[Attempt]] = defaultdict(list)
    for each in evidence.generations.values():
        for attempt in each.attempts:
            found[attempt.key].append(attempt)
    return found


def everything_ends(evidence: Evidence, limits: Limits) -> Iterator[tuple[str, str]]:
    """I1."""
    for each in evidence.generations.values():
        if each.state not in FINAL:
            yield "I1", f"{each.id} is {each.state} when all has come to rest"
        elif each.finished_at > each.deadline_at + limits.late_s and not each.late:
            yield "I1", f"{each.id} ended {each.finished_at - each.deadline_at:.0f} s after its deadline"
        for attempt in each.attempts:
            if attempt.state in OPEN:
                yield "I1", f"{attempt.id} of {each.id} is {attempt.state} when all has come to rest"
    for told in evidence.told:
        for id_ in told.ids:
            if id_ not in evidence.generations:
                yield "I1", f"order {told.number} was told of {id_}, which nobody knows"
        if told.error == "still waiting":
            yield "I1", f"order {told.number}, {told.kind}, never got an answer; {told.generation_id}"


def nothing_is_paid_twice(evidence: Evidence, limits: Limits) -> Iterator[tuple[str, str]]:
    """I2: a second charge only behind an attempt of unknown outcome."""
    attempts, paid = _by_key(evidence), _charged(evidence)
    for key, count in paid.items():
        if count > min(PURCHASES_MAX, 1 + _doubtful(evidence, attempts[key])):
            states = [attempt.state for attempt in attempts[key]]
            yield "I2", f"{key} was charged {count} times, its attempts are {states}"


def _doubtful(evidence: Evidence, attempts: Sequence[Attempt]) -> int:
    """Count attempts of which nobody knew what became of them when the next was sent; a late image may tell since."""
    found = 0
    for each in attempts:
        images = evidence.generations[each.generation_id].images
        is_late = any(image.attempt_id == each.id and image.kind != "result" for image in images)
        found += each.state == UNKNOWN or is_late
    if found == 0 and len(attempts) > 1 and any(evidence.generations[each.generation_id].late for each in attempts):
        found = 1
    return found


def what_came_is_kept(evidence: Evidence, limits: Limits) -> Iterator[tuple[str, str]]:
    """I3: what was charged is there, or of unknown outcome; what is on record can be fetched."""
    held = {told.sha256 for told in evidence.told if told.end == "image"}
    charges = _charged(evidence)
    for told in evidence.told:
        if told.code == "image_expired":
            yield "I3", f"order {told.number}, {told.kind}, was told that {told.generation_id} is deleted; nothing is"
    for key, attempts in _by_key(evidence).items():
        known = sum(each.state in (SETTLED, UNKNOWN, PAID_FAILED) for each in attempts)
        if charges[key] > known:
            yield "I3", f"{key} was charged {charges[key]} times, its attempts are {[each.state for each in attempts]}"
    for each in evidence.generations.values():
        there = set(evidence.fetched.get(each.id, ())) | held
        for image in each.images:
            if image.state == "stored" and image.sha256 not in there:
                yield "I3", f"{image.id} of {each.id} cannot be fetched"
        for attempt in each.attempts:
            if attempt.state == SETTLED and all(image.attempt_id != attempt.id for image in each.images):
                yield "I3", f"{attempt.id} of {each.id} is settled without an image"


def the_ledger_is_exact(evidence: Evidence, limits: Limits) -> Iterator[tuple[str, str]]:
    """I4."""
    if sum(evidence.accounts.values()) != 0:
        yield "I4", f"the accounts sum to {sum(evidence.accounts.values())}"
    if evidence.accounts.get("held", 0) != 0:
        yield "I4", f"{evidence.accounts['held']} micro-units are held when nothing is open"
    for problem in evidence.audit:
        yield "I4", problem
    taken: dict[str, int] = defaultdict(int)
    for charge in evidence.journal:
        taken[charge.key] += charge.micros
    for key, attempts in _by_key(evidence).items():
        booked = sum(each.booked_micros for each in attempts)
        exposed = sum(each.exposed_micros for each in attempts)
        if not booked <= taken[key] <= booked + exposed:
            yield "I4", f"{key}: charged {taken[key]}, booked {booked}, possible {exposed} more"


def one_payer_at_a_time(evidence: Evidence, limits: Limits) -> Iterator[tuple[str, str]]:
    """I5."""
    for each in evidence.generations.values():
        for before, after in zip(each.attempts, each.attempts[1:], strict=False):
            if after.epoch <= before.epoch:
                yield "I5", f"{after.id} of {each.id} was sent in epoch {after.epoch}, after {before.epoch}"
            # A late image moves the end of an attempt that was unknown before the next was sent.
            is_late = any(image.attempt_id == before.id and image.kind != "result" for image in each.images)
            if after.sent_at < before.ended_at and before.part == after.part and not is_late and not each.late:
                yield "I5", f"{after.id} of {each.id} was sent before {before.id} had ended"


def nothing_is_sent_uncommitted(evidence: Evidence, limits: Limits) -> Iterator[tuple[str, str]]:
    """I6: every call that the upstream knows has a row."""
    attempts = _by_key(evidence)
    for key, count in Counter(each.key for each in evidence.journal).items():
        if count > len(attempts[key]):
            yield "I6", f"the upstream had {count} calls of {key!r}, on record are {len(attempts[key])}"


def nothing_is_sent_too_late(evidence: Evidence, limits: Limits) -> Iterator[tuple[str, str]]:
    """I7."""
    for each in evidence.generations.values():
        ends = [at for _, type_, at in each.events if type_ in FINAL]
        for attempt in each.attempts:
            if attempt.sent_at > each.deadline_at:
                yield "I7", f"{attempt.id} of {each.id} was sent after its deadline"
            if attempt.drive == each.drive and ends and attempt.sent_at > ends[-1] and not each.late:
                yield "I7", f"{attempt.id} of {each.id} was sent after its end"


def keys_name_one_thing(evidence: Evidence, limits: Limits) -> Iterator[tuple[str, str]]:
    """I8, I15: what callers found wrong themselves; and whether each was given what it had asked for."""
    of_order: dict[int, list[Generation]] = defaultdict(list)
    for each in evidence.generations.values():
        of_order[each.number].append(each)
    for told in evidence.told:
        for note in told.notes:
            name, _, message = note.partition(": ")
            yield name, f"order {told.number}, {told.kind}: {message}"
        if told.end == "wrong":
            yield "I3", f"order {told.number} was told that all is well, without its picture: {told.error}"
        own = of_order[told.number]
        if told.kind != "sdk" and len(own) > 1:
            yield "I8", f"the key of order {told.number} bought {[each.id for each in own]}"
        if told.sha256 is not None and not any(told.sha256 == image.sha256 for each in own for image in each.images):
            yield "I8", f"order {told.number} was given a picture that is not of its generation"


def credentials_keep_their_limits(evidence: Evidence, limits: Limits) -> Iterator[tuple[str, str]]:
    """I9: by looks at the rows, which are the places; times that replicas wrote down are of when each meant to."""
    for credential, most in evidence.open_at_once.items():
        if most > limits.concurrency:
            yield "I9", f"{credential} had {most} calls open at once, and may have {limits.concurrency}"


def bytes_are_the_same(evidence: Evidence, limits: Limits) -> Iterator[tuple[str, str]]:
    """I11."""
    of: dict[str, int] = {}
    for told in evidence.told:
        if told.serial is not None and of.setdefault(told.serial, told.number) != told.number:
            yield "I11", f"orders {of[told.serial]} and {told.number} were given the same picture"
    for id_, pictures in evidence.fetched.items():
        known = {image.sha256 for image in evidence.generations[id_].images}
        for sha256 in set(pictures) - known:
            yield "I11", f"{id_} was fetched with bytes that no row names: {sha256[:12]}"


def events_have_no_gap(evidence: Evidence, limits: Limits) -> Iterator[tuple[str, str]]:
    """I12, I16."""
    for each in evidence.generations.values():
        numbers = [number for number, _, _ in each.events]
        if numbers != list(range(1, len(numbers) + 1)):
            yield "I16", f"the events of {each.id} are numbered {numbers}"
        ends = 0
        for _, type_, _ in each.events:
            ends = 0 if type_ == "queued" else ends + (type_ in FINAL)
            if ends > 1 + each.late:
                yield "I16", f"{each.id} ends {ends} times in one round"
    for told in evidence.told:
        if told.numbers and told.numbers != list(range(1, len(told.numbers) + 1)):
            yield "I12", f"order {told.number} read the events {told.numbers} of {told.generation_id}"


def ends_are_told(evidence: Evidence, limits: Limits) -> Iterator[tuple[str, str]]:
    """I13."""
    ids: dict[tuple[str, str], set[str]] = defaultdict(set)
    for message, id_, type_ in evidence.hooked:
        ids[id_, type_].add(message)
    for each in evidence.generations.values():
        rounds = sum(type_ == "queued" for _, type_, _ in each.events)
        for type_ in {f"generation.{type_}" for _, type_, _ in each.events if type_ in FINAL}:
            if not ids[each.id, type_]:
                yield "I13", f"nobody was told that {each.id} has {each.state}"
            if len(ids[each.id, type_]) > max(1, rounds):
                yield "I13", f"{type_} of {each.id} was told under {len(ids[each.id, type_])} ids"
    if evidence.undelivered:
        yield "I13", f"{evidence.undelivered} webhooks are not delivered"


def rows_and_objects_agree(evidence: Evidence, limits: Limits) -> Iterator[tuple[str, str]]:
    """I14."""
    for name in evidence.spooled:
        yield "I14", f"{name} lies there when all has come to rest"
    if evidence.objects is None:
        return
    rows = {image.store_key for each in evidence.generations.values() for image in each.images}
    for key in rows - evidence.objects:
        yield "I14", f"{key} has a row, and is not in the bucket"
    for key in evidence.objects - rows:
        yield "I14", f"{key} is in the bucket, and no row names it"


def failures_bring_no_image(evidence: Evidence, limits: Limits) -> Iterator[tuple[str, str]]:
    """I15."""
    for each in evidence.generations.values():
        results = [image for image in each.images if image.kind == "result"]
        if (each.state == "succeeded") is (not results):
            yield "I15", f"{each.id} is {each.state} and has {len(results)} images to deliver"


def everything_is_given_back(evidence: Evidence, limits: Limits) -> Iterator[tuple[str, str]]:
    """I17: from outside, files, threads and memory; tasks are seen by the simulation."""
    for replica, held in evidence.rest.items():
        more = held.get("files", 0) - held.get("files_at_first", 0)
        if more > limits.files_more:
            yield "I17", f"{replica} has {more} more files open than at first"
        if held.get("rss_kb", 0) > limits.rss_kb_max:
            yield "I17", f"{replica} holds {held['rss_kb']} KB"


def paid_is_true(evidence: Evidence, limits: Limits) -> Iterator[tuple[str, str]]:
    """I19: `no` never where a charge exists, `yes` only where one does."""
    charges = _charged(evidence)
    for each in evidence.generations.values():
        paid = sum(charges[key] for key in {attempt.key for attempt in each.attempts})
        if each.state == "failed" and ((each.paid == "no" and paid) or (each.paid == "yes" and not paid)):
            yield "I19", f"{each.id} failed, says paid={each.paid}, and was charged {paid} times"
        for attempt in each.attempts:
            if (attempt.charge == "no" and _is_charged_alone(attempt, each, charges)) or (
                attempt.charge == "yes" and not charges[attempt.key]
            ):
                yield "I19", f"{attempt.id} of {each.id} says charge={attempt.charge}"
    for told in evidence.told:
        found = evidence.generations.get(told.generation_id or "")
        if found is None or told.paid not in ("no", "yes"):
            continue
        rounds = sum(type_ == "queued" and at <= told.at for _, type_, at in found.events)
        keys = {attempt.key for attempt in found.attempts if attempt.drive <= max(rounds, 1)}
        paid = sum(charges[key] for key in keys)
        if (told.paid == "no" and paid and told.end == "told") or (told.paid == "yes" and not paid):
            yield "I19", f"order {told.number} was told paid={told.paid} ({told.code}) of {found.id}: {paid} charges"


def _is_charged_alone(attempt: Attempt, of: Generation, charges: Mapping[str, int]) -> bool:
    """Whether a charge can be of no other attempt: those of one round share their name with the upstream."""
    others = [each for each in of.attempts if each.key == attempt.key and each.id != attempt.id]
    return charges[attempt.key] > sum(each.charge != "no" for each in others)


def logs_are_discreet(evidence: Evidence, limits: Limits) -> Iterator[tuple[str, str]]:
    """I20; and mistakes of ours, which break whatever they were about."""
    for each in evidence.indiscreet:
        yield "I20", each
    for each in evidence.internal:
        yield "I1", f"a mistake of ours: {each}"


def _restarts(restarts_s: Mapping[str, Sequence[float]], limits: Limits) -> Iterator[tuple[str, str]]:
    """I18."""
    for replica, each in restarts_s.items():
        for seconds in each:
            if seconds > limits.restart_s:
                yield "I18", f"{replica} took {seconds:.1f} s from its start to its first call"


def _unexplained(evidence: Evidence, troubles: Sequence[Trouble]) -> dict[str, Any]:
    """Hold every outcome that nobody knows against the faults: which of them it is the work of."""
    causes: Counter[str] = Counter()
    unexplained = []
    for each in evidence.generations.values():
        for attempt in each.attempts:
            if attempt.state == UNKNOWN:
                cause = cause_of(attempt, troubles)
                causes[cause or "none"] += 1
                if cause is None:
                    unexplained.append(f"{attempt.id} of {each.id}, sent by {attempt.worker or '?'}")
    return {"unknown_by_cause": dict(causes.most_common()), "unexplained": unexplained}


def cause_of(attempt: Attempt, troubles: Sequence[Trouble]) -> str | None:
    """Name the fault that an unknown outcome is the work of: the gravest that its worker had meanwhile."""
    ended_at = attempt.ended_at if attempt.ended_at != NEVER else attempt.sent_at
    # What a process logs in its last 20 ms is lost with it: then any kill may be the cause.
    targets = ("", attempt.worker)
    met = [
        each
        for each in troubles
        if (each.target in targets or not attempt.worker)
        and each.from_s < ended_at
        and each.to_s + AFTER_S > attempt.sent_at
    ]
    for name in ("kill", "deploy", "freeze", "partition", "database outage", "database restart"):
        for each in met:
            if each.kind == name and (name != "partition" or each.peer != "objects"):
                return f"{name} {each.peer}".strip()
    return None


def takeovers_s(evidence: Evidence, troubles: Sequence[Trouble]) -> list[float]:
    """Give, for each kill of a worker, how long its calls were nobody's: the seconds until the last was taken over.

    Only kills during which nothing else was away count: a database that is not there takes nothing over.
    """
    found = []
    for kill in troubles:
        if kill.kind != "kill" or not kill.target.startswith("work"):
            continue
        others = [each for each in troubles if each.kind != "kill" and each.target in ("", kill.target)]
        if any(each.from_s < kill.from_s + TAKEN_S and each.to_s + AFTER_S > kill.from_s for each in others):
            continue
        ends = [
            attempt.ended_at - kill.from_s
            for each in evidence.generations.values()
            for attempt in each.attempts
            if attempt.worker == kill.target and attempt.state == UNKNOWN
            if attempt.sent_at < kill.from_s < attempt.ended_at
        ]
        found += [round(max(ends), 2)] if ends else []
    return found


def figures_of(evidence: Evidence) -> dict[str, Any]:
    """Count."""
    charges, attempts = _charged(evidence), _by_key(evidence)
    generations = evidence.generations.values()
    every = [attempt for each in generations for attempt in each.attempts]
    unknown = [each for each in every if each.state == UNKNOWN]
    images = [image for each in generations for image in each.images]
    twice = [key for key, count in charges.items() if count > 1]
    ends = Counter(f"{each.kind}: {each.end}" for each in evidence.told)
    return {
        "generations": len(generations),
        "states": dict(Counter(each.state for each in generations)),
        "late": sum(each.late for each in generations),
        "attempts": len(every),
        "charged": sum(charges.values()),
        "images": len(images),
        "images_by_kind": dict(Counter(image.kind for image in images)),
        "unknown": len(unknown),
        "unknown_charged": sum(min(charges[key], sum(a.state == UNKNOWN for a in attempts[key])) for key in attempts),
        "paid_twice_allowed": len(twice),
        "ends": dict(sorted(ends.items())),
        "codes": dict(Counter(str(each.code) for each in evidence.told if each.end == "told").most_common()),
        "tries": sum(each.tries for each in evidence.told),
        "open_at_once": dict(evidence.open_at_once),
        "accounts": dict(evidence.accounts),
        "webhooks": len(evidence.hooked),
        "surplus": len(generations) - len({each.number for each in generations}),
    }


CHECKS: tuple[Check, ...] = (
    everything_ends,
    nothing_is_paid_twice,
    what_came_is_kept,
    the_ledger_is_exact,
    one_payer_at_a_time,
    nothing_is_sent_uncommitted,
    nothing_is_sent_too_late,
    keys_name_one_thing,
    credentials_keep_their_limits,
    bytes_are_the_same,
    events_have_no_gap,
    ends_are_told,
    rows_and_objects_agree,
    failures_bring_no_image,
    everything_is_given_back,
    paid_is_true,
    logs_are_discreet,
)
