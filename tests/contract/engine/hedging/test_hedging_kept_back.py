"""An image that our own disk did not take while another attempt of its part was in flight: it is here, and paid for."""

from __future__ import annotations

import errno
import json
from typing import Any

import pytest

from holdfast.policy.retry import GiveUpReason
from holdfast.store.blobs import LocalBlobs

USD = 1_000_000
BUSY = b'{"error":{"message":"busy","code":503,"status":"UNAVAILABLE"}}'
OFTEN = {"purchases_max": 5}
NO_FALLBACK = pytest.mark.parametrize("changes", [{"route": {"fallback": []}}])


def refuse(*_: object) -> None:
    """Give no image its place."""
    raise OSError(errno.EIO, "the disk is broken")


async def kept_back(bench: Any, shapes: Any, pairs: Any, monkeypatch: pytest.MonkeyPatch, **asked: Any) -> Any:
    """Bring a pair to where the first one's image is kept in the spool, and the second one is in flight."""
    made = await pairs.a_pair(bench, shapes, b={"body": BUSY, "status": 503}, **asked)

    with monkeypatch.context() as broken:
        broken.setattr(bench.core.blobs, "_link", refuse)
        made[2].answers()
        record = await pairs.ended(bench, made[0], "a")
    assert pairs.states(record) == [("a", "unknown", 0, 0), ("b", "sent", 1, 0)]
    return made


@NO_FALLBACK
async def test_its_part_is_not_bought_again(
    bench: Any, shapes: Any, pairs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one fails for nothing: the next start takes in what is in the spool, and nothing is paid twice."""
    id_, caller, _, second = await kept_back(bench, shapes, pairs, monkeypatch)
    second.answers()
    await caller.ended()
    await bench.quiet()
    assert pairs.hosts(bench) == "ab"
    record = await bench.record(id_)
    assert record.generation.state == "failed"
    assert json.loads(record.attempts[1].decision)["reason"] == GiveUpReason.CHARGED.value
    assert (await bench.restart()).settled == 1
    record = await bench.record(id_)
    assert (record.generation.state, record.generation.late) == ("succeeded", 1)
    assert pairs.kinds(record) == [("a", "result")]
    await bench.is_clean(id_)


@pytest.mark.parametrize("changes", [{"route": {"fallback": []}, "retry": OFTEN}])
async def test_a_start_on_a_disk_that_is_still_broken_does_not_buy_it_again(
    bench: Any, shapes: Any, pairs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one was lost with the process; the image is where it was, and comes when it can be stored."""
    id_, _, _, _ = await kept_back(bench, shapes, pairs, monkeypatch)
    with monkeypatch.context() as broken:
        broken.setattr(LocalBlobs, "_link", refuse)
        recovered = await bench.restart()
        assert (recovered.unknown, recovered.to_drive) == (1, ())
        await bench.quiet()
    record = await bench.record(id_)
    assert pairs.states(record) == [("a", "unknown", 0, 0), ("b", "unknown", 1, 0)]
    assert json.loads(record.attempts[1].decision)["reason"] == GiveUpReason.CHARGED.value
    assert pairs.hosts(bench) == "ab"
    await bench.restart()
    record = await bench.record(id_)
    assert (record.generation.state, record.generation.late) == ("succeeded", 1)
    await bench.is_clean(id_)
