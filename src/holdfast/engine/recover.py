"""After a crash: what the spool holds is settled, what nobody can know is told so, what was never sent is sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import TypeVar, assert_never

import msgspec

from holdfast import faults
from holdfast.clock import from_rfc3339, rfc3339
from holdfast.config import Provider
from holdfast.engine.attempt import Resumed
from holdfast.engine.converter import FileFormat
from holdfast.engine.core import Core, Earlier, Live
from holdfast.engine.ending import GIVEN_UP, PASSED_WHILE_DOWN, end_early
from holdfast.engine.lost import Lost
from holdfast.engine.patience import patiently
from holdfast.engine.resuming import had_second, is_resumable, lacks_images, request_of, resumed, tried_of
from holdfast.engine.sequel import Sequel
from holdfast.engine.settle import About, Judged, announce, as_wished, commit, judge, judge_failed
from holdfast.engine.submit import live_of_row
from holdfast.errors import RequestError
from holdfast.generation import OPEN_ATTEMPT_STATES, SETTLEABLE_ATTEMPT_STATES, AttemptState, State, images_of_part
from holdfast.log import emit
from holdfast.policy.mishaps import LOST_WITH_ITS_GENERATION, LOST_WITH_THE_PROCESS, results_of_torn
from holdfast.providers.conversation import Conversation, Done, Failed, Fetch, Keep, Send, Wait
from holdfast.providers.http import Head
from holdfast.providers.registry import conversation_for, draws_drafts, idempotency_key_of, images_per_call
from holdfast.store import spool
from holdfast.store.attempts import get_attempt, give_up_pause
from holdfast.store.generations import get_generation, get_record, get_records, left_open, take_over
from holdfast.store.port import Conn
from holdfast.store.records import AttemptRow, GenerationRow, Record
from holdfast.store.spool import Spooled
from holdfast.types import Failure, Tier
from holdfast.wire.answers import Role

T = TypeVar("T")
FreeBytes = Callable[[], int]
CONVERT_S = 10.0
"""What a start spends on making images into the format that was asked for, of all answers together: callers wait.
What is not made by then is delivered as it came, and said to be so."""
AT_ONCE = 128
"""Generations that a start puts right at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What a start found."""

    settled: int
    """Attempts whose answer was in the spool."""
    unknown: int
    """Attempts whose outcome nobody can know."""
    to_drive: tuple[tuple[Live, tuple[int, ...]], ...]
    """Generations with the parts that were never sent, or are to be tried again."""
    to_resume: tuple[Resumed, ...] = ()
    """Attempts whose upstream has given a handle: they are asked for, and not bought again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What is to be gone on with of one generation."""

    live: Live | None = None
    """None: no part of it is to be begun."""
    parts: tuple[int, ...] = ()
    """Those that were never sent, or are to be tried again."""
    resumed: tuple[Resumed, ...] = ()
    """Attempts that have a handle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What an earlier process left, once its spool is settled."""

    settled: int
    """Attempts whose answer was in the spool."""
    ended: tuple[str, ...]
    """Generations that were told at their deadline, while attempts were in flight that are lost now."""
    open: tuple[str, ...]
    """Generations that have not ended, oldest first."""
    kept_back: frozenset[str]
    """Attempts whose answer is in the spool still: our own disk has not taken it."""


async def recover(core: Core) -> Recovered:
    """Put everything right that an earlier process left; safe to be killed in, and to be run again."""
    return await put_right(core, await look(core))


async def look(core: Core) -> Left:
    """Take everything over, and settle the spool: what must be done before anything new is accepted."""
    await faults.point("recovery.before_take_over")
    await core.store.write(take_over, core.owner)
    await faults.point("recovery.after_take_over")
    await core.in_thread(spool.remove_inputs, core.spool)
    await faults.point("recovery.after_inputs")
    settled = await _settle_spool(core)
    kept_back = settled & await core.in_thread(spool.attempts_in, core.spool)
    await faults.point("recovery.after_spool")
    ended, open_ = await core.store.read(left_open)
    return Left(settled=len(settled), ended=ended, open=open_, kept_back=kept_back)


async def put_right(core: Core, left: Left, take_up: Callable[[Taken], None] | None = None) -> Recovered:
    """End what nobody can know, and take up what was never sent; new work may be accepted meanwhile.

    Args:
        core: The engine's dependencies.
        left: What `look` has found.
        take_up: Told of each generation that is to be driven on, as soon as that is known.
    """

    lost = Lost(core, left.kept_back)
    end, go_on = partial(_end_told, core, left.kept_back), partial(_go_on, core, left.kept_back, lost)
    # What the attempts of those that have ended may have cost is booked all the same.
    unknown = 0
    found: list[Taken] = []
    for work, ids in ((end, left.ended), (go_on, left.open)):
        async for ended, taken in _together(core, work, ids):
            unknown += ended
            found.append(taken)
            if take_up is not None:
                take_up(taken)
    await faults.point("recovery.after_records")
    return Recovered(
        settled=left.settled,
        unknown=unknown,
        to_drive=tuple((taken.live, taken.parts) for taken in found if taken.live is not None),
        to_resume=tuple(each for taken in found for each in taken.resumed),
    )


async def take_up_one(core: Core, record: Record) -> Taken:
    """The same of one generation, which was worked on elsewhere until now, or by nobody."""
    nothing: frozenset[str] = frozenset()
    if State(record.generation.state).is_final:
        _, taken = await _end_told(core, nothing, record)
    else:
        _, taken = await _go_on(core, nothing, Lost(core, nothing), record)
    return taken


async def end_lost(core: Core, record: Record, lost: Lost) -> None:
    """End what nobody can know of a generation, and begin nothing: for whoever leaves. `lost` says what follows."""
    is_over = State(record.generation.state).is_final
    await _end_open(core, record, LOST_WITH_THE_PROCESS, but_resumable=True, lost=None if is_over else lost)


async def look_at_spool(core: Core) -> int:
    """Settle what this process's own spool holds of before, where others go on with all else; tell how many."""
    await core.in_thread(spool.remove_inputs, core.spool)
    return len(await _settle_spool(core))


async def _end_told(core: Core, kept_back: frozenset[str], record: Record) -> tuple[int, Taken]:
    """Of what was told at its deadline: end the attempts that were in flight, but those that can be gone on with."""
    ended, _ = await _end_open(core, record, LOST_WITH_THE_PROCESS, but_resumable=True)
    return ended, Taken(resumed=resumed(core, record, None, kept_back))


async def _go_on(core: Core, kept_back: frozenset[str], lost: Lost, record: Record) -> tuple[int, Taken]:
    """Of what is open: end what nobody can know, and say what is to be gone on with."""
    ended, goes_on = await _end_open(core, record, LOST_WITH_THE_PROCESS, but_resumable=True, lost=lost)
    has_ended_parts = await _end_kept_back(core, record, kept_back)
    if goes_on or has_ended_parts:
        record = await patiently(partial(core.store.read, _get_record, record.generation.id), record.generation.id)
    live, parts = await _take_up(core, record) or (None, ())
    return ended, Taken(live=live, parts=parts, resumed=await _resumed(core, record, live, kept_back))


async def _resumed(core: Core, record: Record, live: Live | None, kept_back: frozenset[str]) -> tuple[Resumed, ...]:
    """Prepare what can be gone on with, unless the generation was given up on a moment ago."""
    if not any(is_resumable(core, record.generation, attempt) for attempt in record.attempts):
        return ()
    now = await core.store.read(get_record, record.generation.id)
    assert now is not None, "a generation is there as long as its attempts are"
    await faults.point("recovery.before_resuming")
    return resumed(core, now, live, kept_back)


async def _together(core: Core, work: Callable[[Record], Awaitable[T]], ids: Sequence[str]) -> AsyncIterator[T]:
    """Put several generations right at once, so that their commits are made together; the order stays.

    One commit and one sync of the disk each took 30 s for 5,000 generations, of which 1.6 s were work (measured).
    """
    failed: BaseException | None = None
    for first in range(0, len(ids), AT_ONCE):
        batch = ids[first : first + AT_ONCE]
        records = await patiently(partial(core.store.read, get_records, batch), batch[0])
        # One that failed keeps nobody else; it is told when all of them have ended.
        for outcome in await asyncio.gather(*map(work, records), return_exceptions=True):
            if isinstance(outcome, BaseException):
                failed = failed or outcome
            else:
                yield outcome
    if failed is not None:
        raise failed


# What the spool holds


async def _settle_spool(core: Core) -> frozenset[str]:
    """Settle every attempt that had been received whole, and give them; throw the torn rest away."""
    settled, until = set(), core.clock.monotonic() + CONVERT_S
    for attempt_id in sorted(await core.in_thread(spool.attempts_in, core.spool)):
        try:
            if await settle_spooled(core, attempt_id, until):
                settled.add(attempt_id)
        except OSError as exc:
            # One unreadable file keeps nobody else from being served; what it holds is tried again at the next start.
            emit("fault.internal", level="error", exc=exc, attempt_id=attempt_id)
    return frozenset(settled)


async def settle_spooled(core: Core, attempt_id: str, until: float) -> bool:
    """Settle one, if its answer is whole; `until`: monotonic second by which its images are in the format asked for."""
    attempt = await core.store.read(get_attempt, attempt_id)
    if attempt is not None and AttemptState(attempt.state) in SETTLEABLE_ATTEMPT_STATES:
        spooled = await core.in_thread(spool.recover, core.spool, attempt_id)
        await faults.point("recovery.after_reading")
        if spooled is not None and lacks_images(attempt, spooled) and await _is_resumable(core, attempt):
            # What is missing is still there. Fetched again, the others take the places of these.
            return False
        if spooled is not None:
            record = await core.store.read(get_record, attempt.generation_id)
            assert record is not None, "an attempt belongs to a generation"
            received_at = await core.in_thread(_received_at, spooled)
            about = About.of_rows(core, record.generation, attempt)
            judged = _judge_again(core, record.generation, attempt, spooled)
            request, within_s = request_of(record.generation), max(0.0, until - core.clock.monotonic())
            wanted = None if request is None else FileFormat.of(request)
            async with as_wished(core, judged, wanted, attempt_id, within_s=within_s) as made:
                await commit(core, about, made, spooled, http_status=attempt.http_status, received_at=received_at)
            await faults.point("recovery.after_settling")
            return True
    await core.in_thread(spool.remove, core.spool, attempt_id)
    await faults.point("recovery.after_removing")
    return False


async def _is_resumable(core: Core, attempt: AttemptRow) -> bool:
    row = await core.store.read(get_generation, attempt.generation_id)
    return row is not None and is_resumable(core, row, attempt)


def _received_at(spooled: Spooled) -> str:
    """When the last image was written, as its file tells."""
    written_at = max(image.path.stat().st_mtime for image in spooled.images)
    return rfc3339(datetime.fromtimestamp(written_at, UTC))


def _judge_again(core: Core, row: GenerationRow, attempt: AttemptRow, spooled: Spooled) -> Judged:
    """Judge a recovered answer as its own conversation would have, where that can be made again."""
    # A conversation of many exchanges has no single answer that could be judged anew: its images say what they are.
    is_single = bool(spooled.answer.images) and attempt.upstream_handle is None
    conversation = _conversation_of(core, row, attempt) if is_single else None
    if conversation is None:
        return judge(*_roles_of(core, row, attempt, spooled), spooled.images)
    # Only a success brings images, so that is what its head said.
    match conversation.received(Head(status=200, headers=MappingProxyType({})), spooled.answer):
        case Done(results=results, drafts=drafts):
            return judge(results, drafts, spooled.images)
        case Failed(failure=failure):
            return judge_failed(failure, spooled.images)
        case Fetch() | Keep() | Send() | Wait():
            # It would have gone on: its image was named by a link or a handle, and nothing of that is here. What stood
            # beside it is, and says what it is.
            return judge(*_roles_of(core, row, attempt, spooled), spooled.images)
        case step:
            assert_never(step)


def _conversation_of(core: Core, row: GenerationRow, attempt: AttemptRow) -> Conversation | None:
    """Make an attempt's conversation again; None if its upstream or its request is gone."""
    targets = core.targets.get(row.model, ())
    target = next((each for each in targets if each.upstream.name == attempt.upstream), None)
    request = request_of(row)
    if target is None or target.upstream.provider.value != attempt.provider or request is None:
        return None
    wanted = images_of_part(attempt.part, n=row.n, parts=row.parts)
    return conversation_for(
        target.upstream,
        request,
        model=attempt.model,
        # Nothing is sent with it.
        key=target.keys[0],
        idempotency_key=idempotency_key_of(row.id, part=attempt.part, drive=attempt.drive),
        timeout_s=1.0,
        n=min(wanted, images_per_call(target.upstream, stream=request.stream)),
    )


def _roles_of(
    core: Core, row: GenerationRow, attempt: AttemptRow, spooled: Spooled
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Which images are results and which drafts, by what the answer says; without an answer, by their order.

    A model that draws drafts shows its result last. Other APIs show results only, so each of them counts.
    """
    indices = tuple(image.index for image in spooled.images)
    wanted = images_of_part(attempt.part, n=row.n, parts=row.parts)
    if not spooled.answer.images:
        return results_of_torn(indices, draws_drafts=_draws_drafts(core, attempt), wanted=wanted)
    results = tuple(image.index for image in spooled.images if image.role is Role.RESULT)[:wanted]
    return results, tuple(index for index in indices if index not in results)


def _draws_drafts(core: Core, attempt: AttemptRow) -> bool:
    """Whether the upstream's model shows its result last; one that is not in the settings any more, by its provider."""
    for upstream in core.settings.upstreams:
        if upstream.name == attempt.upstream and upstream.provider.value == attempt.provider:
            return draws_drafts(upstream)
    return attempt.provider in (Provider.GEMINI.value, Provider.VERTEX.value)


# What was in flight, and what was never sent


def _get_record(conn: Conn, id_: str) -> Record:
    record = get_record(conn, id_)
    assert record is not None, "what has not ended is not swept"
    return record


async def _end_open(
    core: Core, record: Record, failure: Failure, *, but_resumable: bool = False, lost: Lost | None = None
) -> tuple[int, bool]:
    """End the attempts that are still open, all or but those that can be gone on with.

    Returns how many, and whether the part of any goes on, as `lost` decides; without it, none does.
    """
    ended, goes_on = 0, False
    for attempt in record.attempts:
        if AttemptState(attempt.state) not in OPEN_ATTEMPT_STATES:
            continue
        if but_resumable and is_resumable(core, record.generation, attempt):
            continue
        await faults.point("recovery.before_unknown")
        follows = await commit(
            core,
            About.of_rows(core, record.generation, attempt),
            Judged(results=(), drafts=(), failure=failure),
            None,
            http_status=attempt.http_status,
            decide=None if lost is None else lost.decide(record, attempt),
            cap=None if lost is None else lost.cap(record),
        )
        await faults.point("recovery.after_unknown")
        ended, goes_on = ended + 1, goes_on or isinstance(follows, Sequel)
    return ended, goes_on


async def _end_kept_back(core: Core, record: Record, kept_back: frozenset[str]) -> bool:
    """End the parts in a pause whose image is here, and only our own disk does not take it; tell if there were any.

    Such an attempt was told as lost by a start that could not read its file, and was to be followed by another.
    """
    found = False
    for attempt in record.attempts:
        if attempt.id not in kept_back or attempt.retry_at is None:
            continue
        found = True
        ended = await patiently(
            partial(core.store.write, give_up_pause, attempt.id, core.now_text(), core.purge_text(), core.rules),
            record.generation.id,
        )
        if ended is not None:
            announce(core, ended.generation, ended)
    return found


async def _take_up(core: Core, record: Record) -> tuple[Live, tuple[int, ...]] | None:
    """Prepare the parts of a generation that were never sent, and those that were in a pause."""
    row = record.generation
    sent = {attempt.part for attempt in record.attempts if attempt.drive == row.drive}
    earlier = _earlier_of(core, record)
    unsent = tuple(part for part in range(row.parts) if part not in sent or part in earlier)
    # What was to be cancelled has ended with the attempts that were in flight: its other parts were counted out.
    if not unsent or row.cancel_requested:
        return None
    if from_rfc3339(row.deadline_at) <= core.clock.now():
        awaits = not row.hard_deadline and any(is_resumable(core, row, attempt) for attempt in record.attempts)
        await end_early(core, row.id, PASSED_WHILE_DOWN, awaits=awaits)
        await faults.point("recovery.after_deadline")
        return None
    live = await live_or_end(core, row)
    if live is None:
        await faults.point("recovery.after_giving_up")
        return None
    live.earlier = earlier
    await faults.point("recovery.after_taking_up")
    return live, unsent


def _earlier_of(core: Core, record: Record) -> dict[int, Earlier]:
    """What was tried of the parts whose latest attempt was to be followed by another, and that have no image yet."""
    earlier: dict[int, Earlier] = {}
    of_drive = [attempt for attempt in record.attempts if attempt.drive == record.generation.drive]
    latest: dict[int, list[AttemptRow]] = {}
    for attempt in of_drive:
        # A second attempt stands beside the one before it: whichever ended last says what follows.
        latest[attempt.part] = [*latest[attempt.part], attempt] if attempt.hedge else [attempt]
    # An image of an attempt that was told as lost may have been found since.
    brought = {blob.part for blob in record.blobs if blob.kind == "result"}
    for pair in latest.values():
        for last in pair:
            if last.retry_at is None or last.part in brought:
                continue
            tried = (tried_of(record, attempt) for attempt in of_drive if attempt.part == last.part)
            earlier[last.part] = Earlier(
                tried=tuple(each for each in tried if each is not None),
                again_at=core.monotonic_until(
                    from_rfc3339(last.retry_at), since=from_rfc3339(last.ended_at or last.sent_at)
                ),
                to=_decided_on(last),
                had_second=had_second(record, last.part),
            )
    return earlier


def _decided_on(last: AttemptRow) -> tuple[str, str, Tier] | None:
    """Say where a part was to go on after its last attempt; None: an earlier version wrote none of it down."""
    decision = {} if last.decision is None else msgspec.json.decode(last.decision)
    to = decision.get("to")
    return None if to is None else (to["upstream"], to["model"], Tier(to["size"]))


async def live_or_end(core: Core, row: GenerationRow) -> Live | None:
    """What the engine keeps of a generation that is on record; None: its model is not served any more, and it ended."""
    try:
        return live_of_row(core, row)
    except (RequestError, msgspec.MsgspecError) as exc:
        emit("generation.unroutable", level="error", generation_id=row.id, message=str(exc))
        await give_up(core, row.id, row.drive)
        return None


async def give_up(core: Core, generation_id: str, drive: int | None = None) -> None:
    """End a generation that this process cannot drive: its open attempts are unknown, its unsent parts are not.

    Where a drive is named and it has gone on to another one, nothing is touched.
    """
    record = await core.store.read(get_record, generation_id)
    if record is None or (drive is not None and record.generation.drive != drive):
        return
    await _end_open(core, record, LOST_WITH_ITS_GENERATION)
    await end_early(core, generation_id, GIVEN_UP, drive=drive)
