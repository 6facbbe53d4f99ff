"""`holdfast explain`: how one generation came about, step by step, read from a data folder."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.cli.exits import Exit, Stop

if TYPE_CHECKING:
    from holdfast.store.audit import Line
    from holdfast.store.records import AttemptRow, BlobRow
    from holdfast.store.story import AttemptStory, Story
    from holdfast.store.webhooks import DeliveryRow
    from holdfast.types import Failure

PAID = {"no": "not charged", "yes": "charged", "unknown": "may have been charged"}
VERBS = {
    "hold": "held",
    "capture": "charged",
    "void": "given up",
    "compensate": "given back",
}
"""The customer's side of the ledger, in plain words."""
REASONS = {
    "not_retryable": "the same request would end the same way",
    "charged": "the upstream was paid, and is never paid again for it",
    "possibly_charged": "it may have been charged, and nothing is bought twice",
    "purchases_spent": "it was bought as often as may be charged",
    "exposure_spent": "as much as may be paid twice today has been bought twice",
    "attempts_spent": "every attempt that it is given has failed",
    "budget_spent": "repeats have reached their share of all calls to that upstream",
    "sends_spent": "it was sent as often as one image may be",
    "deadline_too_close": "another attempt could not end before the deadline",
    "no_other_upstream": "the route has no other upstream for it",
    "cancelled": "its owner wants it no longer",
    "other_in_flight": "the attempt beside it is still in flight, and goes on",
    "outrun": "another attempt had brought the image before",
}
"""Why nothing more is tried: the members of `policy.retry.GiveUpReason`, and a cancel."""
WITH_ANOTHER = frozenset({"other_in_flight", "outrun"})
"""Reasons of one of two attempts that were in flight together: they end nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that happened."""

    at: str
    """RFC 3339, UTC."""
    what: str
    """One word for a program: `accepted`, `sent`, `failed`, `decided`, `stored`, `money`, `webhook`, `ended`."""
    text: str
    attempt: int | None = None
    """Number of the attempt that it belongs to."""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("explain", help="tell how one generation came about: attempts, decisions, money")
    parser.add_argument("generation", metavar="GENERATION", help="its id, gen_…")


def run(args: argparse.Namespace) -> int:
    """Read, and tell."""
    from holdfast.cli.database import dsn_of
    from holdfast.config import load
    from holdfast.store.reading import snapshot
    from holdfast.store.story import get_story

    settings = load(args.config, os.environ)
    data: Path = args.data or settings.store.data
    with snapshot(data, dsn_of(settings)) as conn:
        story = get_story(conn, args.generation)
    if story is None:
        raise Stop(Exit.USAGE, f"There is no generation {args.generation} in {data}.")
    if args.json:
        print(json.dumps(document(story), indent=2))
    else:
        print("\n".join(told(story)))
    return Exit.OK


def document(story: Story) -> dict[str, Any]:
    """Write the story for a program."""
    row = story.generation
    return {
        "generation_id": row.id,
        "state": row.state,
        "model": row.model,
        "size": row.size,
        "created_at": row.created_at,
        "finished_at": row.finished_at,
        "sends": len(story.attempts),
        "joins": story.joins,
        "callers": story.callers,
        "currency": row.currency,
        "charged_micros": row.charged_micros,
        "compensated_micros": row.compensated_micros,
        "decisions": [
            {"attempt": each.row.number, "decision": None if each.decision is None else dict(each.decision)}
            for each in story.attempts
            if each.row.failure is not None
        ],
        "steps": [{name: value for name, value in asdict(step).items() if value is not None} for step in steps(story)],
    }


def told(story: Story) -> list[str]:
    """Tell the story for a person: a line each, by the clock."""
    row = story.generation
    begun = _moment(row.created_at)
    lines = [f"{row.id}: {row.model} {row.tier}, {_end_of(story)}"]
    rows = [(step.at[11:23], _since(begun, step.at), step.text) for step in steps(story)]
    width = max(len(since) for _, since, _ in rows)
    lines += [f"  {clock}  {since.rjust(width)}  {text}" for clock, since, text in rows]
    if story.joins:
        repeats = "repeat was" if story.joins == 1 else "repeats were"
        lines.append(f"  {story.joins} {repeats} given this generation instead of another purchase")
    if story.callers and row.finished_at is None:
        # Who leaves is noted with the next request that is accepted.
        lines.append(f"  {_count(story.callers, 'caller')} waiting for it when that was last noted")
    return lines


def steps(story: Story) -> list[Step]:
    """Bring everything on record into the order of time; what happened at one moment stays in the order of cause."""
    found = [*_accepted(story)]
    for attempt in story.attempts:
        found += _of_attempt(story, attempt)
    found += _asked_to_cancel(story)
    found += _ended(story)
    found += _money(story)
    found += _of_deliveries(story.deliveries)
    return sorted(found, key=lambda step: step.at)


def _accepted(story: Story) -> Iterator[Step]:
    row = story.generation
    images = _count(row.n, "image")
    parts = f" in {row.parts} parts" if row.parts > 1 else ""
    deadline_s = _seconds(row.created_at, row.deadline_at)
    by = "the deadline its caller named" if row.hard_deadline else "the deadline"
    within = "" if deadline_s is None else f"; {by} is {deadline_s:.0f} s away"
    text = f"accepted over {row.surface}: {row.model}, {images} of {row.size}{parts}{within}"
    yield Step(at=row.created_at, what="accepted", text=text)
    unit = _spell(row.unit_micros, row.currency)
    yield Step(at=row.created_at, what="priced", text=f"priced at {unit} an image; queued")
    for event in story.events:
        if event.type == "queued" and event.sequence_number > 1:
            yield Step(
                at=event.at, what="driven", text="asked for again and driven again: what failed had cost nothing"
            )


def _of_attempt(story: Story, attempt: AttemptStory) -> Iterator[Step]:
    row, number = attempt.row, attempt.row.number
    earlier = [each.row for each in story.attempts if each.row.number < number and each.row.part == row.part]
    ends = [each.retry_at or each.ended_at for each in earlier]
    since = max(filter(None, ends), default=None) if earlier else story.generation.created_at
    # A second attempt beside a slow one never stands in line.
    waited_s = None if row.hedge else _seconds(since, row.sent_at)
    waited = f", after {waited_s:.1f} s in line" if waited_s is not None and waited_s >= 1.0 else ""
    part = f" for part {row.part}" if story.generation.parts > 1 else ""
    key = "" if attempt.key_number is None else f" with key {attempt.key_number}"
    because = _because(story, row) if row.hedge else None
    if because is not None:
        yield Step(at=row.sent_at, what="decided", text=f"a second attempt{part}: {_hedged(because)}", attempt=number)
    text = f"attempt {number}{part}: sent to {row.upstream}{key} (model {row.model}){waited}"
    yield Step(at=row.sent_at, what="sent", text=text, attempt=number)
    if row.ended_at is None:
        return
    took_s = _seconds(row.sent_at, row.ended_at) or 0.0
    failure = row.failed
    if failure is None:
        yield from _stored(story.blobs, attempt, took_s)
        return
    text = f"attempt {number}: {_of_failure(failure)}; it took {took_s:.1f} s; {PAID[row.charge]}"
    yield Step(at=row.ended_at, what="failed", text=text, attempt=number)
    yield Step(at=row.ended_at, what="decided", text=_of_decision(attempt), attempt=number)


def _because(story: Story, row: AttemptRow) -> Mapping[str, Any] | None:
    """Find the figures by which a second attempt was decided; None: they are not on record."""
    for event in story.events:
        data: Mapping[str, Any] = json.loads(event.data) if event.data else {}
        if "because" in data and (event.at, data.get("part")) == (row.sent_at, row.part):
            because: Mapping[str, Any] = data["because"]
            return because
    return None


def _hedged(because: Mapping[str, Any]) -> str:
    """Say why a second attempt is made beside one that is in flight."""

    def figure(name: str) -> float:
        return float(because.get(name) or 0.0)

    return (
        f"the first one is at work for {figure('elapsed_s'):.1f} s, and slow from {figure('slow_s'):.1f} s on; the "
        f"second one is first in {100 * figure('chance'):.0f} of 100 cases, {figure('expected_s'):.1f} s expected, "
        f"{figure('remaining_s'):.1f} s left before the deadline, budget for {figure('budget_left'):.1f} of them"
    )


def _stored(blobs: Sequence[BlobRow], attempt: AttemptStory, took_s: float) -> Iterator[Step]:
    row = attempt.row
    assert row.ended_at is not None
    for blob in (each for each in blobs if each.attempt_id == row.id):
        late = "an extra (another attempt was first)" if row.outrun else "an image too late"
        what = {"draft": "a draft on its way", "late": late}.get(blob.kind, "its image")
        size = f"{blob.width_px}x{blob.height_px} {blob.mime}, {blob.bytes / 1e6:.1f} MB"
        text = f"attempt {row.number}: brought {what} after {took_s:.1f} s: {size}; {PAID[row.charge]}"
        yield Step(at=row.ended_at, what="stored", text=text, attempt=row.number)


def _of_failure(failure: Failure) -> str:
    """Say what came: its status and kind, the upstream's own word where its detail lacks it, and its hint."""
    status = f"{failure.status} " if failure.status is not None else ""
    reason = f" ({failure.reason})" if failure.reason and failure.reason not in failure.detail else ""
    hint = f", asked to come again after {failure.retry_after_s:g} s" if failure.retry_after_s is not None else ""
    return f"{status}{failure.kind}{reason}: {failure.detail}{hint}"


def _of_decision(attempt: AttemptStory) -> str:
    """Say what was decided and why; without a note of it, what the record shows."""
    row, decision = attempt.row, attempt.decision
    if decision is None:
        if row.retry_at is None:
            return "nothing more is tried"
        return f"tried again {_seconds(row.ended_at, row.retry_at) or 0.0:.1f} s later"
    text = _followed(attempt, decision)
    for each in decision.get("skipped") or ():
        text += f"; {each.get('upstream')} ({each.get('model')}) cannot serve it: {each.get('reason')}"
    return text


def _followed(attempt: AttemptStory, decision: Mapping[str, Any]) -> str:
    row, after_s = attempt.row, float(decision.get("after_s") or 0.0)
    to: Mapping[str, Any] = decision.get("to") or {}
    upstream = to.get("upstream", row.upstream)
    when = "at once" if after_s == 0.0 else f"in {after_s:.1f} s"
    match decision.get("follows"):
        case "retry":
            return f"retry at {upstream} {when}{_by_hint(row.failed, after_s)}; {_left(decision)}"
        case "wait" if after_s == 0.0:
            return f"another key of {upstream} takes over at once: {_key(attempt)} {_rests(row.failed)}"
        case "wait":
            return (
                f"wait for {upstream}, {when}{_by_hint(row.failed, after_s)}: {_key(attempt)} rests; {_left(decision)}"
            )
        case "fallback":
            model = f" ({to['model']}, {to['size']})" if {"model", "size"} <= to.keys() else ""
            why = f": {_key(attempt)} of {row.upstream} {_rests(row.failed)}" if _is_about_key(row.failed) else ""
            return f"fallback to {upstream}{model} {when}{why}; {_left(decision)}"
        case "give_up":
            reason = str(decision.get("reason"))
            if reason in WITH_ANOTHER:
                return REASONS[reason]
            return f"nothing more is tried: {REASONS.get(reason, reason)}; {_left(decision)}"
        case other:
            return f"what follows is {other}, which this version does not know"


def _key(attempt: AttemptStory) -> str:
    return "its key" if attempt.key_number is None else f"key {attempt.key_number}"


def _is_about_key(failure: Failure | None) -> bool:
    return failure is not None and failure.kind.value in ("rate_limited", "overloaded", "credential", "quota_spent")


def _rests(failure: Failure | None) -> str:
    """Say why a key is not used: for how long where the upstream named it."""
    if failure is not None and failure.kind.value in ("credential", "quota_spent"):
        return "is taken out"
    if failure is not None and failure.retry_after_s is not None:
        return f"rests {failure.retry_after_s:g} s by the upstream's hint"
    return "rests for a moment"


def _by_hint(failure: Failure | None, after_s: float) -> str:
    """Say whether the pause is the upstream's own word."""
    hint_s = None if failure is None else failure.retry_after_s
    return " by the upstream's hint" if hint_s is not None and abs(hint_s - after_s) < 1.0 else ""


def _left(decision: Mapping[str, Any]) -> str:
    """Say what time and budget allowed at that moment."""
    parts = []
    for name, words in (("remaining_s", "left before the deadline"), ("expected_s", "expected for the next attempt")):
        if decision.get(name) is not None:
            parts.append(f"{float(decision[name]):.1f} s {words}")
    if decision.get("budget_left") is not None:
        parts.append(f"budget for {float(decision['budget_left']):.1f} repeats")
    return ", ".join(parts) or "no figures were noted"


def _asked_to_cancel(story: Story) -> Iterator[Step]:
    for event in story.events:
        data: Mapping[str, Any] = json.loads(event.data) if event.data else {}
        if data.get("cancel_requested"):
            text = "its owner wants it no longer: nothing more is bought"
            yield Step(at=event.at, what="cancel", text=text)


def _ended(story: Story) -> Iterator[Step]:
    row = story.generation
    if row.finished_at is None:
        return
    text = f"{row.state}{_late(story)} {_seconds(row.created_at, row.finished_at) or 0.0:.1f} s after it was accepted"
    told = row.told
    if told is not None:
        text += f": {told.code}, {told.message}; {PAID[told.charge]}"
    if row.partial_result:
        text += "; not all of its images could be made"
    yield Step(at=row.finished_at, what="ended", text=text)
    if row.answered_at is not None:
        yield Step(at=row.answered_at, what="answered", text="the last byte of an answer was acknowledged")
    if row.collected_at is not None:
        yield Step(at=row.collected_at, what="collected", text="its images were collected")


def _money(story: Story) -> Iterator[Step]:
    """Tell the ledger's lines, a transaction each: what the customer paid, and what the upstream took."""
    number_of = {each.row.id: each.row.number for each in story.attempts}
    transactions: dict[int, list[Line]] = {}
    for line in story.lines:
        transactions.setdefault(line.txn_id, []).append(line)
    for lines in transactions.values():
        first = lines[0]
        moved = _spell(sum(line.micros for line in lines if line.micros > 0), story.generation.currency)
        if first.attempt_id is None:
            text = f"the customer's money: {VERBS.get(first.verb, first.verb)} {moved}"
            yield Step(at=first.at, what="money", text=text)
        else:
            number = number_of.get(first.attempt_id)
            account = next((line.account for line in lines if line.micros > 0), lines[0].account)
            text = f"the provider's side of attempt {number}: {moved} to {account}"
            yield Step(at=first.at, what="money", text=text, attempt=number)


def _of_deliveries(deliveries: Sequence[DeliveryRow]) -> Iterator[Step]:
    for each in deliveries:
        to = each.url or f"endpoint {each.endpoint_id}"
        tries = f"{each.tries} tr{'y' if each.tries == 1 else 'ies'}"
        last = f", last answer {each.last_status}" if each.last_status is not None else ""
        error = f", {each.last_error}" if each.last_error else ""
        text = f"webhook {each.type} to {to}: {each.state} after {tries}{last}{error}"
        yield Step(at=each.ended_at or each.created_at, what="webhook", text=text)


def _end_of(story: Story) -> str:
    row = story.generation
    cost = f"charged {_spell(row.charged_micros, row.currency)}"
    if row.compensated_micros:
        cost += f", given back {_spell(row.compensated_micros, row.currency)}"
    return f"{row.state}{_late(story)}; {_count(len(story.attempts), 'attempt')}; {cost}"


def _late(story: Story) -> str:
    return ", late," if story.generation.late else ""


def _spell(micros: int, currency: str) -> str:
    from holdfast.money import spell

    return spell(micros, currency)


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _seconds(since: str | None, until: str | None) -> float | None:
    if since is None or until is None:
        return None
    return (_moment(until) - _moment(since)).total_seconds()


def _since(begun: datetime, at: str) -> str:
    return f"+{(_moment(at) - begun).total_seconds():.1f} s"
