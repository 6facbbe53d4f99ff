"""Ending a generation before its parts have: at its deadline, or when this process cannot drive it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from holdfast import faults
from holdfast.engine.core import Core
from holdfast.engine.patience import patiently
from holdfast.engine.settle import announce, tell_if_ended
from holdfast.policy.compensation import Rules
from holdfast.store.generations import attempts_of, blobs_of, pass_deadline
from holdfast.store.port import Conn
from holdfast.store.records import Record, Told
from holdfast.types import Charge, worst_charge

DEADLINE_EXCEEDED = Told(
    code="deadline_exceeded", message="The time given was over before an image arrived.", charge=Charge.UNKNOWN
)
PASSED_WHILE_DOWN = Told(
    code="deadline_exceeded", message="The gateway was stopped until the time given was over.", charge=Charge.UNKNOWN
)
OUT_OF_ROUTE = Told(
    code="upstream_failed",
    message="Every upstream that it could be sent to was taken out of the settings before an image arrived.",
    charge=Charge.UNKNOWN,
)
DAY_SPENT = Told(
    code="overloaded",
    message="All calls that the upstream takes in a day have been made (upstreams.per_day); the next day is too late.",
    charge=Charge.NO,
)
GIVEN_UP = Told(
    code="internal_error",
    message="The gateway failed while driving this generation; see its log.",
    charge=Charge.UNKNOWN,
)


async def end_early(
    core: Core,
    generation_id: str,
    told: Told,
    *,
    drive: int | None = None,
    awaits: bool = False,
    on_end: Callable[[], None] | None = None,
) -> bool:
    """End a generation with what it has, and tell who waits; False: it has not ended.

    What `told` says of the charge is replaced by what the attempts say at that instant: a generation that was never
    sent has cost nothing, whatever the clock says.

    Args:
        core: The engine's dependencies.
        generation_id: Which.
        told: What its callers are told.
        drive: The one that ends; of another one nothing is touched. None: whichever it is in.
        awaits: Attempts in flight are awaited: then only nothing more is sent.
        on_end: Called once it has ended, before anybody is told.
    """
    await faults.point("ending.before_commit")
    record = await patiently(
        # Each try tells its own hour: an image may be stored between them.
        lambda: core.store.write(
            _end, generation_id, told, core.now_text(), core.purge_text(), core.rules, drive, awaits
        ),
        generation_id,
    )
    await faults.point("ending.after_commit")
    if record is None:
        return await patiently(lambda: tell_if_ended(core, generation_id), generation_id) is not None
    if on_end is not None:
        on_end()
    announce(core, record.generation, record)
    return True


def _end(
    conn: Conn,
    generation_id: str,
    told: Told,
    at: str,
    purge_after: str,
    rules: Rules,
    drive: int | None,
    awaits: bool,
) -> Record | None:
    # An attempt in flight says `unknown`, which is what it is.
    charge = worst_charge(Charge(attempt.charge) for attempt in attempts_of(conn, generation_id))
    rest = "Nothing was bought." if charge is Charge.NO else "If its image still comes, it is kept here."
    told = replace(told, charge=charge, message=f"{told.message} {rest}")
    row = pass_deadline(conn, generation_id, told, at, purge_after, awaits, rules, drive)
    if row is None:
        return None
    return Record(generation=row, attempts=attempts_of(conn, generation_id), blobs=blobs_of(conn, generation_id))
