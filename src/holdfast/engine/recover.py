"""After a crash: what the spool holds is settled, what nobody can know is told so, what was never sent is sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from holdfast import faults
from holdfast.clock import from_rfc3339
from holdfast.engine.core import Core, Live
from holdfast.engine.settle import Judged, announce, commit, judge, roles_of
from holdfast.engine.submit import live_of_row
from holdfast.errors import RequestError
from holdfast.generation import OPEN_ATTEMPT_STATES, SETTLEABLE_ATTEMPT_STATES, AttemptState
from holdfast.log import emit
from holdfast.store import spool
from holdfast.store.attempts import get_attempt
from holdfast.store.generations import get_record, open_records, pass_deadline, take_over
from holdfast.store.records import AttemptRow, Record, Told
from holdfast.types import Charge, Failure, FailureKind, Phase

FreeBytes = Callable[[], int]

LOST_WITH_THE_PROCESS = Failure(
    kind=FailureKind.LOST_REPLY,
    phase=Phase.WAIT,
    charge=Charge.UNKNOWN,
    detail="the gateway stopped while this call was in flight; the upstream may have made and charged the image",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What a start found."""

    settled: int
    """Attempts whose answer was in the spool."""
    unknown: int
    """Attempts whose outcome nobody can know."""
    to_drive: tuple[tuple[Live, range], ...]
    """Generations with the parts that were never sent."""


async def recover(core: Core) -> Recovered:
    """Put everything right that an earlier process left; safe to be killed in, and to be run again."""
    await core.store.write(take_over, core.owner)
    await faults.point("recovery.after_take_over")
    settled = await _settle_spool(core)
    await faults.point("recovery.after_spool")
    unknown = 0
    to_drive: list[tuple[Live, range]] = []
    for record in await core.store.read(open_records):
        for lost in record.attempts:
            if AttemptState(lost.state) in OPEN_ATTEMPT_STATES:
                await _end_unknown(core, lost)
                await faults.point("recovery.after_unknown")
                unknown += 1
        taken = await _take_up(core, record)
        if taken is not None:
            to_drive.append(taken)
    return Recovered(settled=settled, unknown=unknown, to_drive=tuple(to_drive))


async def _settle_spool(core: Core) -> int:
    """Settle every attempt that had been received whole; throw the torn rest away."""
    settled = 0
    for attempt_id in sorted(await core.in_thread(spool.attempts_in, core.spool)):
        row = await core.store.read(get_attempt, attempt_id)
        if row is not None and AttemptState(row.state) in SETTLEABLE_ATTEMPT_STATES:
            spooled = await core.in_thread(spool.recover, core.spool, attempt_id)
            if spooled is not None:
                results, drafts = roles_of(spooled)
                judged = judge(results, drafts, spooled.images)
                await commit(core, attempt_id, judged, spooled, row.http_status)
                settled += 1
        await core.in_thread(spool.remove, core.spool, attempt_id)
    return settled


async def _end_unknown(core: Core, lost: AttemptRow) -> None:
    await commit(core, lost.id, Judged(results=(), drafts=(), failure=LOST_WITH_THE_PROCESS), None, lost.http_status)


async def _take_up(core: Core, record: Record) -> tuple[Live, range] | None:
    """Prepare the parts of a generation that were never sent."""
    row = record.generation
    sent = {attempt.part for attempt in record.attempts if attempt.drive == row.drive}
    unsent = [part for part in range(row.parts) if part not in sent]
    if not unsent:
        return None
    if from_rfc3339(row.deadline_at) <= core.clock.now():
        told = Told(
            code="deadline_exceeded",
            message="The gateway was stopped until the time given was over.",
            charge=Charge.NO if not sent else Charge.UNKNOWN,
        )
        await core.store.write(pass_deadline, row.id, told, core.now_text(), core.purge_text(), False)
        return None
    try:
        # Parts are begun in order, so those that were never sent are the last ones.
        return live_of_row(core, row), range(unsent[0], row.parts)
    except RequestError as exc:
        emit("generation.unroutable", level="error", generation_id=row.id, message=exc.message)
        await give_up(core, row.id)
        return None


async def give_up(core: Core, generation_id: str) -> None:
    """End a generation that this process cannot drive: its open attempts are unknown, its unsent parts are not."""
    record = await core.store.read(get_record, generation_id)
    if record is None:
        return
    for lost in record.attempts:
        if AttemptState(lost.state) in OPEN_ATTEMPT_STATES:
            await _end_unknown(core, lost)
    told = Told(
        code="internal_error",
        message="The gateway failed while driving this generation; see its log.",
        charge=Charge.UNKNOWN if record.attempts else Charge.NO,
    )
    ended = await core.store.write(pass_deadline, generation_id, told, core.now_text(), core.purge_text(), False)
    if ended is not None:
        announce(core, ended)
