"""The log of changes by the sweeper: entries go once a day, in steps, and their end is noted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from holdfast.engine import sweeper as module
from holdfast.engine.sweeper import Sweeper
from holdfast.store.audit_log import entries, note

DAY_S = 86400.0
Log = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def sweeper(bench: Any) -> Sweeper:
    """A sweeper beside the engine, not started."""
    return Sweeper(bench.core, bench.engine.storage_low)


async def test_changes_are_kept_for_so_many_days_and_their_end_is_noted_once_a_day(
    bench: Any, sweeper: Sweeper, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """400 as shipped; in steps, and the next day's run notes the next."""
    monkeypatch.setattr(module, "AUDIT_BATCH", 2)
    for at in range(5):
        await bench.store.write(changed, f"key_{at}", bench.core.now_text())
        bench.clock.jump(60)
    bench.clock.jump(DAY_S)
    await bench.store.write(changed, "key_next", bench.core.now_text())
    bench.clock.jump(399 * DAY_S - 600)
    await sweeper.sweep()
    assert len(await bench.store.read(entries, limit=99)) == 6
    bench.clock.jump(DAY_S)
    await sweeper.sweep()
    await sweeper.sweep()
    found = await bench.store.read(entries, limit=99)
    assert [row.target for row in found] == ["audit", "audit", "audit", "key_next"]
    assert [row.details["entries"] for row in found[:3]] == [1, 2, 2]
    assert log("sweeper.deleted") == [{"kind": "audit", "entries": 5}]
    bench.clock.jump(DAY_S)
    await sweeper.sweep()
    assert "key_next" not in {row.target for row in await bench.store.read(entries, limit=99)}


def changed(conn: Any, target: str, at: str) -> None:
    """Note a change."""
    note(conn, actor="key_1", action="key.revoked", target=target, at=at)
