"""Ending a generation before its parts have: at its deadline, or when this process cannot drive it."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

from holdfast import faults
from holdfast.engine.core import Core
from holdfast.engine.patience import patiently
from holdfast.engine.settle import announce, tell_if_ended
from holdfast.policy.compensation import Rules
from holdfast.store.generations import attempts_of, pass_deadline
from holdfast.store.records import GenerationRow, Told
from holdfast.types import Charge, worst_charge

DEADLINE_EXCEEDED = Told(
    code="deadline_exceeded", message="The time given was over before an image arrived.", charge=Charge.UNKNOWN
)
PASSED_WHILE_DOWN = Told(
    code="deadline_exceeded", message="The gateway was stopped until the time given was over.", charge=Charge.UNKNOWN
)
GIVEN_UP = Told(
    code="internal_error",
    message="The gateway failed while driving this generation; see its log.",
    charge=Charge.UNKNOWN,
)


async def end_early(core: Core, generation_id: str, told: Told) -> None:
    """End a generation with what it has, unless it has ended, and tell who waits.

    What `told` says of the charge is replaced by what the attempts say at that instant: a generation that was never
    sent has cost nothing, whatever the clock says.
    """
    at, purge_after = core.now_text(), core.purge_text()
    await faults.point("ending.before_commit")
    row = await patiently(
        lambda: core.store.write(_end, generation_id, told, at, purge_after, core.rules), generation_id
    )
    await faults.point("ending.after_commit")
    if row is None:
        await tell_if_ended(core, generation_id)
    else:
        announce(core, row)


def _end(
    conn: sqlite3.Connection, generation_id: str, told: Told, at: str, purge_after: str, rules: Rules
) -> GenerationRow | None:
    # An attempt in flight says `unknown`, which is what it is.
    charge = worst_charge(Charge(attempt.charge) for attempt in attempts_of(conn, generation_id))
    rest = "Nothing was bought." if charge is Charge.NO else "If its image still comes, it is kept here."
    told = replace(told, charge=charge, message=f"{told.message} {rest}")
    return pass_deadline(conn, generation_id, told, at, purge_after, False, rules)
