"""Files that a crash, a disk or a hand has spoilt, and a start on them: what is whole is settled, the rest is told."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from holdfast.store.audit import audit
from holdfast.store.bookkeeping import ledger_sums
from holdfast.store.spool import ANSWER_ATTRIBUTE

CASE_S = 90.0
KEY, STEERING = "torn", "[delay=0]"


async def side_by_side(cases: list[Coroutine[Any, Any, None]]) -> None:
    """Three houses at a time; a failure is told when all have been tried."""
    gate = asyncio.Semaphore(3)

    async def one(case: Coroutine[Any, Any, None]) -> None:
        async with gate:
            await case

    outcomes = await asyncio.gather(*map(one, cases), return_exceptions=True)
    failed = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    if failed:
        raise ExceptionGroup(f"{len(failed)} of {len(cases)} cases", failed)


async def die_with_an_answer_in_the_spool(house: Any) -> Path:
    """Give the file of its image, whole and not settled."""
    assert await house.start("settle.before_blobs:kill:1")
    await house.ask(STEERING, **{"Idempotency-Key": KEY})
    await house.died()
    (done,) = (house.data / "spool").glob("*.done")
    return Path(done)


def renamed(suffix: str) -> Callable[[Path], None]:
    """Under the name of something that is not finished."""
    return lambda done: done.rename(done.with_suffix(suffix)) and None


def cut_to(share: float) -> Callable[[Path], None]:
    """Shorter than it was."""
    return lambda done: os.truncate(done, int(done.stat().st_size * share))


def without_its_end(done: Path) -> None:
    """The last byte is missing."""
    os.truncate(done, done.stat().st_size - 1)


def overwritten(done: Path) -> None:
    """As long as it was, and something else."""
    done.write_bytes(os.urandom(done.stat().st_size))


def half_under_its_first_name(done: Path) -> None:
    """What a crash leaves in the midst of an image."""
    os.truncate(done, done.stat().st_size // 2)
    done.rename(done.with_suffix(".part"))


def answer_gone(done: Path) -> None:
    """A file system without attributes, or a crash before it was set."""
    os.removexattr(done, ANSWER_ATTRIBUTE)


def answer_garbled(done: Path) -> None:
    """Something else stands there."""
    os.setxattr(done, ANSWER_ATTRIBUTE, b'{"images": [')


def answer_torn_beside(done: Path) -> None:
    """A long answer has a file of its own; half of it."""
    os.removexattr(done, ANSWER_ATTRIBUTE)
    done.with_name(f"{done.name.partition('-')[0]}.answer").write_bytes(b'{"images": [{"index": 0, "ro')


def strangers_beside(done: Path) -> None:
    """Half an input, and an image of an attempt that no record knows."""
    done.with_name("input-req_1-0.part").write_bytes(b"half")
    done.with_name("att_01HZZZZZZZZZZZZZZZZZZZZZZZ-0.done").write_bytes(done.read_bytes()[:100])


WHOLE = (renamed(".part"), answer_gone, answer_garbled, answer_torn_beside, strangers_beside)
SPOILT = (cut_to(0.5), cut_to(0.0), without_its_end, overwritten, half_under_its_first_name, renamed(".preview"))


@pytest.mark.timeout(CASE_S)
async def test_a_whole_image_is_settled_whatever_became_of_the_rest(street: Any) -> None:
    """Its name, or what the answer said besides, is not needed for it."""

    async def case(number: int, spoil: Callable[[Path], None]) -> None:
        house = street.house(f"whole-{number}")
        spoil(await die_with_an_answer_in_the_spool(house))
        assert await house.start()
        assert (await house.resources())[0]["status"] == "succeeded", number
        assert (await house.joins(KEY, STEERING))["data"]
        await house.check_after()
        await house.close()

    await side_by_side([case(number, spoil) for number, spoil in enumerate(WHOLE)])


@pytest.mark.timeout(CASE_S)
async def test_a_spoilt_image_is_never_delivered_and_nobody_says_it_was_free(street: Any) -> None:
    """It was paid for, or nobody can know: told so, booked so, and the spool is empty again."""

    async def case(number: int, spoil: Callable[[Path], None]) -> None:
        house = street.house(f"spoilt-{number}")
        spoil(await die_with_an_answer_in_the_spool(house))
        # It was whole when the process died; then somebody broke it.
        house.whole.clear()
        assert await house.start()
        told = await house.joins(KEY, STEERING)
        assert (told["error"]["code"], told["error"]["paid"]) == ("outcome_unknown", "unknown"), number
        await house.check_after()
        await house.close()

    await side_by_side([case(number, spoil) for number, spoil in enumerate(SPOILT)])


@pytest.mark.timeout(CASE_S)
async def test_a_database_that_is_none_is_told_and_not_touched(street: Any) -> None:
    """Exit code 5 and one line; with the right file back all is as it was."""
    house = street.house("garbage")
    assert await house.start()
    assert await house.post(STEERING, **{"Idempotency-Key": KEY}) == "200"
    assert await house.ended() == 0
    file = house.data / "holdfast.sqlite3"
    right, garbage = file.read_bytes(), os.urandom(100_000)
    file.write_bytes(garbage)
    status, said = await house.refused()
    assert status == 5
    assert "not a database" in said
    assert "Traceback" not in said
    assert file.read_bytes() == garbage
    file.write_bytes(right)
    assert await house.start()
    assert (await house.joins(KEY, STEERING))["data"]
    await house.check_after()


@pytest.mark.timeout(CASE_S)
async def test_a_wal_that_was_removed_takes_its_commits_along_and_nothing_else(street: Any) -> None:
    """Never to be done (docs/reliability.md): what was committed since the last checkpoint is gone. The rest serves."""
    house = street.house("no-wal")
    assert await house.start()
    assert await house.post("[delay=0] earlier", **{"Idempotency-Key": "earlier"}) == "200"
    assert await house.ended() == 0
    assert await house.start()
    assert await house.post(STEERING, **{"Idempotency-Key": KEY}) == "200"
    await house.kill()
    for suffix in ("-wal", "-shm"):
        (house.data / f"holdfast.sqlite3{suffix}").unlink()
    assert await house.start()
    assert (await house.joins("earlier", "[delay=0] earlier"))["data"]
    assert len(house.accepted()) == 1
    assert await house.post("[delay=0] anew") == "200"
    with house.reading() as conn:
        assert ledger_sums(conn).hold
        assert audit(conn).problems == ()


@pytest.mark.timeout(CASE_S)
@pytest.mark.parametrize("model", ["gpt-image-2", "nano-banana-pro"])
async def test_an_upstream_that_hangs_up_behind_a_whole_image_costs_nobody_that_image(street: Any, model: str) -> None:
    """Delivered with what there is; a kill right after it changes nothing, and a repeat is given the same."""
    house = street.house("hung-up")
    wanted = 2 if model == "gpt-image-2" else 1
    assert await house.start()
    steering = "[delay=0] [torn=1]"
    status, document = await house.ask(steering, model=model, n=wanted, **{"Idempotency-Key": KEY})
    assert (status, len(document["data"])) == ("200", 1)
    await house.kill()
    assert await house.start()
    again = await house.joins(KEY, steering, model=model, n=wanted)
    assert again["generation_id"] == document["generation_id"]
    (resource,) = await house.resources()
    assert (resource["partial_result"], resource["paid"]) == (wanted == 2, "yes")
    await house.check_after()
