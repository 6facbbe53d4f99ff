"""Disks that are full, read-only, or refuse to let a file grow: what is paid for is kept, and told as it is."""

from __future__ import annotations

import asyncio
import resource
from typing import Any

import aiohttp
import pytest

DISK_BYTES = 48 << 20
SETTINGS = "[store]\nfree_bytes_margin = 65536"
WITHIN_S = 20.0
CASE_S = 60.0


def call(house: Any, key: str, steering: str, **options: Any) -> asyncio.Task[tuple[str, dict[str, Any]]]:
    """Ask by a key, and do not wait."""
    return asyncio.create_task(house.ask(steering, **options, **{"Idempotency-Key": key}))


async def until(holds: Any) -> None:
    """Wait for something to be so."""
    async with asyncio.timeout(WITHIN_S):
        while not holds():
            await asyncio.sleep(0.01)


async def is_well(house: Any) -> bool:
    """Whether it answers."""
    async with aiohttp.ClientSession() as session, session.get(f"{house.base_url}/healthz") as answer:
        return answer.status == 200


def refused_unpaid(answered: tuple[str, dict[str, Any]]) -> None:
    """Find a call refused before anything was bought."""
    status, document = answered
    assert (status, document["error"]["code"], document["error"]["paid"]) == ("503", "storage_low", "no")


@pytest.mark.timeout(CASE_S)
async def test_a_disk_that_fills_while_answers_come_loses_none_that_is_here(street: Any, mounts: Any) -> None:
    """Spooled before: delivered once there is room. Not yet here: told as paid for, never as free. New: not bought."""
    house = street.house("full")
    house.settings = SETTINGS
    with mounts.small_disk(house.data, DISK_BYTES):
        try:
            assert await house.start("settle.before_commit:sleep=1.0:1")
            here = call(house, "here", "[delay=0]")
            await until(lambda: list((house.data / "spool").glob("*.done")))
            to_come = call(house, "later", "[delay=0.8]")
            await until(lambda: house.upstream.sends.total() == 2)
            filler = mounts.fill(house.data)
            refused_unpaid(await house.ask("[delay=0]"))
            assert house.upstream.sends.total() == 2, "paid for what nobody could keep"
            await asyncio.sleep(2.0)
            assert not here.done()
            assert await is_well(house)
            filler.unlink()
            (status, document), (lost_status, lost) = await here, await to_come
            assert (status, len(document["data"])) == ("200", 1)
            assert lost_status == "502"
            assert lost["error"]["paid"] == "yes"
            assert (await house.joins("here", "[delay=0]"))["data"]
            assert (await house.joins("later", "[delay=0.8]"))["error"]["paid"] == "yes"
            await house.check_after()
        finally:
            await house.close()


@pytest.mark.timeout(CASE_S)
async def test_a_full_disk_at_the_end_and_at_the_start_is_told_and_loses_nothing(street: Any, mounts: Any) -> None:
    """A clean end without a last checkpoint; exit code 9 and one line; then all is as it was."""
    house = street.house("full-at-the-end")
    house.settings = SETTINGS
    with mounts.small_disk(house.data, DISK_BYTES):
        try:
            assert await house.start()
            assert (await call(house, "mine", "[delay=0]"))[0] == "200"
            filler = mounts.fill(house.data)
            assert await house.ended() == 0
            assert "Traceback" not in house.log.read_text()
            status, said = await house.refused()
            assert status == 9
            assert "full" in said
            assert "Traceback" not in said
            filler.unlink()
            assert await house.start()
            assert (await house.joins("mine", "[delay=0]"))["data"]
            await house.check_after()
        finally:
            await house.close()


@pytest.mark.timeout(CASE_S)
async def test_a_folder_that_turns_read_only_is_told_and_goes_on_when_it_is_not(street: Any, mounts: Any) -> None:
    """What comes meanwhile is told as paid for; what came before stays; a start says what is the matter."""
    house = street.house("read-only")
    assert await house.start("settle.before_blobs:sleep=3:2")
    assert (await call(house, "before", "[delay=0]"))[0] == "200"
    spooled = call(house, "spooled", "[delay=0]")
    await until(lambda: list((house.data / "spool").glob("*.done")))
    meanwhile = call(house, "meanwhile", "[delay=2]")
    await until(lambda: house.upstream.sends.total() == 3)
    with mounts.read_only(house.data):
        status, told = await meanwhile
        assert (status, told["error"]["paid"]) == ("502", "yes")
        status, told = await spooled
        assert (status, told["error"]["paid"]) == ("502", "unknown")
        assert (await house.joins("before", "[delay=0]"))["data"]
        assert await is_well(house)
    assert (await call(house, "after", "[delay=0]"))[0] == "200"
    assert await house.ended() == 0
    with mounts.read_only(house.data):
        status, said = await house.refused()
        assert status == 5
        assert "Read-only file system" in said
        assert "Traceback" not in said
    assert await house.start()
    for key in ("before", "spooled", "after"):
        assert (await house.joins(key, "[delay=0]"))["data"], "what was spooled is a late success"
    assert (await house.joins("meanwhile", "[delay=2]"))["error"]["paid"] == "yes"
    await house.check_after()


@pytest.mark.timeout(CASE_S)
async def test_a_database_that_may_not_grow_is_waited_for(street: Any) -> None:
    """An error of the disk in the settling commit: the caller is held until it is made, and nothing new is bought."""
    house = street.house("no-growth")
    assert await house.start("settle.before_commit:sleep=0.5:1")
    held = call(house, "held", "[delay=0]")
    await until(lambda: list((house.data / "spool").glob("*.done")))
    grown = (house.data / "holdfast.sqlite3-wal").stat().st_size
    before = resource.prlimit(house.process.pid, resource.RLIMIT_FSIZE, (grown, resource.RLIM_INFINITY))
    refused_unpaid(await house.ask("[delay=0]"))
    await asyncio.sleep(1.0)
    assert not held.done()
    resource.prlimit(house.process.pid, resource.RLIMIT_FSIZE, before)
    status, document = await held
    assert (status, len(document["data"])) == ("200", 1)
    assert (await house.joins("held", "[delay=0]"))["data"]
    assert house.upstream.sends.total() == 1
    await house.check_after()


@pytest.mark.timeout(CASE_S)
async def test_a_spool_file_that_may_not_grow_costs_one_answer_and_is_told(street: Any) -> None:
    """The limit is hit in the middle of an image: paid for, told so, and everybody else is served."""
    house = street.house("short-file")
    assert await house.start()
    # Half a picture; the database's own files are shorter, or never written beyond it here.
    cut = call(house, "cut", "[delay=0.5] [big]")
    await until(lambda: house.upstream.sends.total() == 1)
    before = resource.prlimit(house.process.pid, resource.RLIMIT_FSIZE, (10_000_000, resource.RLIM_INFINITY))
    status, told = await cut
    assert (status, told["error"]["paid"]) == ("502", "yes")
    assert (await call(house, "other", "[delay=0]"))[0] == "200"
    resource.prlimit(house.process.pid, resource.RLIMIT_FSIZE, before)
    assert (await house.joins("cut", "[delay=0.5] [big]"))["error"]["paid"] == "yes"
    assert (await house.joins("other", "[delay=0]"))["data"]
    await house.check_after()
