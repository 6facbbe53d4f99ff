"""What died with its process is decided on as any reply that was lost: bought once more within the limits, or told."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from typing import Any

import pytest

from holdfast.engine.recover import recover
from holdfast.store.blobs import LocalBlobs
from holdfast.store.exposure import exposed_on
from holdfast.store.records import Record

USD = 1_000_000
GPT = "gpt-image-2"
DAY = "2026-11-24"


def limits(**retry: Any) -> Any:
    """Give a test's gateway these limits; without any it buys once more."""
    return pytest.mark.parametrize("sections", [{"retry": {"on_unknown": "buy_once_more"} | retry}])


def decisions(record: Record) -> list[dict[str, Any]]:
    """Everything that was decided, in order."""
    return [json.loads(each.decision) for each in record.attempts if each.decision is not None]


async def restarted(bench: Any, *ids: str) -> list[Record]:
    """Start, let everything end, and see that the books hold and a second start finds nothing."""
    await bench.restart()
    await bench.quiet()
    records = [await bench.record(id_) for id_ in ids]
    again = await bench.restart()
    assert (again.settled, again.unknown, again.to_drive) == (0, 0, ())
    assert [await bench.record(id_) for id_ in ids] == records
    await bench.is_clean(*ids)
    return records


@limits()
async def test_what_was_lost_is_bought_once_more(bench: Any, a_picture: bytes) -> None:
    """The customer pays once; what the first may have cost stands among what may be lost."""
    new, live = await bench.accepted()
    await bench.sent(live)
    (record,) = await restarted(bench, new.id)
    assert (record.generation.state, record.generation.charged_micros) == ("succeeded", USD)
    assert bench.bytes_of(record) == a_picture
    assert [(each.number, each.state) for each in record.attempts] == [(1, "unknown"), (2, "settled")]
    assert await bench.verbs(new.id) == ["hold", "capture"]
    assert await bench.balance("unknown_exposure") == USD
    assert await bench.store.read(exposed_on, DAY, record.generation.model) == USD
    assert len(bench.upstream.asked) == 1


@limits()
async def test_the_decision_is_on_record(bench: Any) -> None:
    """As every other one: `holdfast explain` tells it."""
    new, live = await bench.accepted()
    await bench.sent(live)
    (record,) = await restarted(bench, new.id)
    (decision,) = decisions(record)
    assert (decision["follows"], decision["reason"]) == ("retry", "lost_reply")
    assert decision["to"]["upstream"] == "google"
    assert decision["after_s"] > 0.0
    assert decision["expected_s"] > 0.0


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        ({"retry": {"on_unknown": "fail"}}, "possibly_charged"),
        ({"retry": {"on_unknown": "buy_once_more", "purchases_max": 1}}, "purchases_spent"),
        ({"retry": {"on_unknown": "buy_once_more", "attempts_max": 1}}, "attempts_spent"),
        (
            {"retry": {"on_unknown": "buy_once_more", "exposure_images_min": 0, "exposure_share": 0.5}},
            "exposure_spent",
        ),
    ],
)
async def test_beyond_a_limit_it_is_told(bench: Any, reason: str) -> None:
    """Nobody pays, nothing is sent, and the record says which limit it was."""
    new, live = await bench.accepted()
    await bench.sent(live)
    (record,) = await restarted(bench, new.id)
    told = record.generation.told
    assert told is not None
    assert (told.code, told.charge) == ("outcome_unknown", "unknown")
    (decision,) = decisions(record)
    assert (decision["follows"], decision["reason"], decision["to"]) == ("give_up", reason, None)
    assert await bench.verbs(new.id) == ["hold", "void"]
    assert bench.upstream.asked == []


@limits()
async def test_a_caller_may_want_one_purchase_only(bench: Any, make: Callable[..., Any]) -> None:
    """`Holdfast-Purchases: 1` is kept by every process."""
    new, live = await bench.accepted(make(purchases_max=1))
    await bench.sent(live)
    (record,) = await restarted(bench, new.id)
    assert record.generation.told.code == "outcome_unknown"
    assert decisions(record)[0]["reason"] == "purchases_spent"
    assert bench.upstream.asked == []


@limits()
async def test_a_second_loss_is_the_last(bench: Any) -> None:
    """Killed again with the second purchase in flight: two may have been charged, a third is not bought."""
    new, live = await bench.accepted()
    await bench.sent(live)
    gate = bench.hold_back()
    await bench.restart()
    await bench.in_flight()
    (record,) = await restarted(bench, new.id)
    gate.set()
    assert [each.state for each in record.attempts] == ["unknown", "unknown"]
    assert record.generation.told.code == "outcome_unknown"
    assert [each["reason"] for each in decisions(record)] == ["lost_reply", "purchases_spent"]
    assert await bench.balance("unknown_exposure") == 2 * USD
    assert await bench.verbs(new.id) == ["hold", "void"]


@limits()
async def test_too_little_time_is_told(bench: Any) -> None:
    """What cannot be in time is not bought."""
    new, live = await bench.accepted()
    await bench.sent(live)
    # Of the 600 s of 4K fewer are left than an image takes.
    bench.clock.jump(live.deadline_at - bench.clock.monotonic() - 5.0)
    (record,) = await restarted(bench, new.id)
    assert record.generation.told.code == "outcome_unknown"
    assert decisions(record)[0]["reason"] == "deadline_too_close"
    assert bench.upstream.asked == []


@limits()
async def test_what_is_to_be_cancelled_is_not_bought_again(bench: Any) -> None:
    """Its owner has said so to the process that died."""
    new, live = await bench.accepted()
    await bench.sent(live)
    await bench.store.write(
        lambda conn: conn.execute("UPDATE generation SET cancel_requested = 1 WHERE id = :id", {"id": new.id})
    )
    (record,) = await restarted(bench, new.id)
    assert record.generation.state == "cancelled"
    assert bench.upstream.asked == []


@limits()
async def test_each_lost_part_is_bought_again(bench: Any, make: Callable[..., Any]) -> None:
    """One lost, one whole, one never sent: three images, and each part is sent once from here."""
    new, live = await bench.accepted(make(n=3))
    await bench.sent(live, 0)
    await bench.sent(live, 1)
    (record,) = await restarted(bench, new.id)
    assert (record.generation.state, record.generation.charged_micros) == ("succeeded", 3 * USD)
    assert sorted(asked.part for asked in bench.upstream.asked) == [0, 1, 2]
    assert sorted((each.part, each.state) for each in record.attempts) == [
        (0, "settled"),
        (0, "unknown"),
        (1, "settled"),
        (1, "unknown"),
        (2, "settled"),
    ]


@limits(exposure_images_min=2, exposure_share=0.0)
async def test_a_restart_with_many_in_flight_stops_at_the_day_s_cap(bench: Any) -> None:
    """Five died with the process: two are bought again, three are told."""
    ids = []
    for _ in range(5):
        new, live = await bench.accepted()
        await bench.sent(live)
        ids.append(new.id)
    records = await restarted(bench, *ids)
    states = [record.generation.state for record in records]
    assert sorted(states) == ["failed"] * 3 + ["succeeded"] * 2
    assert len(bench.upstream.asked) == 2


@limits()
async def test_a_death_after_the_decision_leaves_it_to_the_next(bench: Any) -> None:
    """The decision is in the commit that told of the loss: the next start finds it as a part in a pause."""
    new, live = await bench.accepted()
    await bench.sent(live)
    # Put right, and nothing begun: the process dies here.
    found = await recover(bench.core)
    assert [parts for _, parts in found.to_drive] == [(0,)]
    assert bench.upstream.asked == []
    (record,) = await restarted(bench, new.id)
    assert record.generation.state == "succeeded"
    assert [each.state for each in record.attempts] == ["unknown", "settled"]
    assert await bench.store.read(exposed_on, DAY, record.generation.model) == USD


@limits()
async def test_a_route_that_is_gone_is_told(bench: Any, settings_of: Callable[..., Any]) -> None:
    """Nothing leads there any more: as before, unknown and free."""
    new, live = await bench.accepted()
    await bench.sent(live)
    routes = [{"model": GPT, "upstreams": [{"upstream": "openai", "model": GPT}]}]
    await bench.restart(settings_of(routes=routes, retry={"on_unknown": "buy_once_more"}))
    await bench.quiet()
    record = await bench.record(new.id)
    assert record.generation.told.code == "outcome_unknown"
    assert bench.upstream.asked == []


@limits()
async def test_a_late_image_of_the_first_is_kept_beside_the_second(
    bench: Any, shapes: Any, monkeypatch: pytest.MonkeyPatch, a_picture: bytes
) -> None:
    """An answer that could not be read at the start, and can at the next: an extra image, booked as such."""
    new, live = await bench.accepted()
    attempt = await bench.sent(live)
    bench.received(live, attempt, shapes.gemini(shapes.png(9)))
    spool = recover.__globals__["spool"]
    real = spool.recover

    def broken(*_: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(spool, "recover", broken)
    await bench.restart()
    await bench.quiet()
    record = await bench.record(new.id)
    assert record.generation.state == "succeeded"
    assert bench.bytes_of(record) == a_picture
    monkeypatch.setattr(spool, "recover", real)
    (record,) = await restarted(bench, new.id)
    assert [each.state for each in record.attempts] == ["settled", "settled"]
    assert sorted(blob.kind for blob in record.blobs) == ["late", "result"]
    assert record.generation.charged_micros == USD
    assert await bench.balance("unknown_exposure") == 0


@limits()
@pytest.mark.parametrize("parts", [1, 2])
async def test_a_part_in_a_pause_whose_image_is_here_is_not_bought_again(
    bench: Any, make: Any, shapes: Any, a_picture: bytes, monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    """An earlier start had taken it for lost, before a crash: on a disk that is still broken it is not tried again."""
    new, live = await bench.accepted(make(n=parts))
    attempt = await bench.sent(live)
    assert await recover(bench.core) is not None
    record = await bench.record(new.id)
    assert record.attempts[0].retry_at is not None
    bench.received(live, attempt, shapes.gemini(a_picture))
    with monkeypatch.context() as broken:
        broken.setattr(LocalBlobs, "_link", refuse)
        recovered = await bench.restart()
        await bench.quiet()
        assert [unsent for _, unsent in recovered.to_drive] == ([] if parts == 1 else [(1,)])
    record = await bench.record(new.id)
    assert [each.retry_at for each in record.attempts if each.part == 0] == [None]
    assert [asked.part for asked in bench.upstream.asked] == ([] if parts == 1 else [1])
    await bench.restart()
    record = await bench.record(new.id)
    assert record.generation.state == "succeeded"
    assert sum(blob.attempt_id == attempt.id for blob in record.blobs) == 1
    await bench.is_clean(new.id)


def refuse(*_: object) -> None:
    """A disk that is broken."""
    raise OSError(errno.EIO, "the disk is broken")
