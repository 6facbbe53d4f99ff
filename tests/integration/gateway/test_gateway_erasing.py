"""`DELETE /v1/generations/{id}`, and the same for admins: images and prompt go at once, record and ledger stay."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import holdfast
from holdfast import faults
from holdfast.store.audit_log import entries
from holdfast.store.bookkeeping import ledger_of, ledger_sums

NAMED = {"Idempotency-Key": "order-7"}


async def erase(gateway: Any, id_: str, key: str | None = None, *, where: str = "/v1") -> Any:
    """Ask to delete."""
    headers = {"Authorization": f"Bearer {key or gateway.key}"}
    return await gateway.ask("DELETE", f"{where}/generations/{id_}", headers=headers)


def files(gateway: Any) -> list[Path]:
    """Every image file."""
    return [path for path in (gateway.data / "blobs").rglob("*") if path.is_file()]


def named(gateway: Any) -> dict[str, str]:
    """Headers of a call that may be repeated."""
    return {"Authorization": f"Bearer {gateway.key}", **NAMED}


async def test_it_is_gone_when_the_answer_comes(gateway: Any, upstream: Any) -> None:
    """No file, no prompt, no link; the record tells since when, the ledger is as it was, and nobody buys it again."""
    answer = await gateway.images(headers=named(gateway), response_format="url")
    id_, link = answer.generation_id, answer.json["data"][0]["url"]
    await gateway.idle()
    before, money = await gateway.resource(id_), gateway.read(ledger_of, id_)
    done = await erase(gateway, id_)
    assert (done.status, done.body) == (204, b"")
    assert done.headers["cache-control"] == "no-store, no-transform"
    assert files(gateway) == []
    record = gateway.record(id_)
    assert (record.generation.state, record.generation.request) == ("succeeded", None)
    assert [attempt.answer for attempt in record.attempts] == [None]
    after = await gateway.resource(id_)
    assert before["deleted_at"] is None
    (image,) = after["images"]
    assert (image["url"], image["sha256"]) == (None, before["images"][0]["sha256"])
    assert {**after, "deleted_at": 0, "images": 0} == {**before, "deleted_at": 0, "images": 0}
    assert gateway.read(ledger_of, id_) == money
    assert gateway.read(ledger_sums).hold
    for headers in (None, {}):
        gone = await gateway.ask("GET", link, headers=headers)
        assert (gone.status, gone.json["code"]) == (410, "image_expired")
        assert f"that was asked for at {after['deleted_at']}" in gone.json["detail"]
    again = await gateway.images(headers=named(gateway), response_format="url")
    assert (again.status, again.error["code"], again.generation_id) == (410, "image_expired", id_)
    assert len(upstream.asked) == 1


async def test_asked_twice_it_is_as_asked_once(gateway: Any, journal: Any) -> None:
    """204 each time, ten at once, and later."""
    id_ = (await gateway.images()).generation_id
    at_once = await asyncio.gather(*(erase(gateway, id_) for _ in range(10)))
    assert {each.status for each in (*at_once, await erase(gateway, id_))} == {204}
    assert journal.of("generation.deleted") == [{"generation_id": id_}]


async def test_what_is_open_is_refused_and_what_was_cancelled_goes_with_its_end(gateway: Any, upstream: Any) -> None:
    """409 with what to do; once that is done 204, and what was paid for is delivered to who waits, and not kept."""
    upstream.gate.clear()
    waiting = asyncio.create_task(gateway.images())
    await upstream.was_asked()
    (open_,) = (await gateway.ask("GET", "/v1/generations?status=running")).json["data"]
    refused = await erase(gateway, open_["id"])
    assert (refused.status, refused.json["code"], refused.json["retryable"]) == (409, "generation_open", False)
    assert refused.headers["content-type"] == "application/problem+json"
    assert f"POST /v1/generations/{open_['id']}/cancel" in refused.json["detail"]
    assert (refused.headers["x-should-retry"], refused.generation_id) == ("false", open_["id"])
    assert (await gateway.resource(open_["id"]))["deleted_at"] is None
    await gateway.ask("POST", f"/v1/generations/{open_['id']}/cancel")
    assert (await erase(gateway, open_["id"])).status == 204
    upstream.gate.set()
    done = await waiting
    assert (done.status, done.picture()) == (200, upstream.pictures[0])
    await gateway.idle()
    await gateway.made.sweeper.sweep()
    assert files(gateway) == []
    assert gateway.record(open_["id"]).generation.request is None
    assert (await gateway.resource(open_["id"]))["cost"]["charged_micros"] > 0


async def test_another_keys_is_as_one_that_never_was(gateway: Any) -> None:
    """404 in the same words, and it stays; without a key 401."""
    id_ = (await gateway.images()).generation_id
    stranger = await gateway.another_key()
    theirs, nobodys = await erase(gateway, id_, stranger), await erase(gateway, "gen_never", stranger)
    assert (theirs.status, theirs.json["code"]) == (404, "generation_not_found")
    assert theirs.json == nobodys.json
    admin = await erase(gateway, id_, stranger, where="/admin/v1")
    assert (admin.status, admin.json["code"]) == (403, "admin_required")
    assert (await gateway.ask("DELETE", f"/v1/generations/{id_}", headers={})).status == 401
    assert len(files(gateway)) == 1


async def test_whoever_reads_it_at_that_moment_reads_it_to_the_end(gateway: Any, upstream: Any) -> None:
    """A file that was opened before stays until it is closed."""
    answer = await gateway.images(response_format="url")
    id_, url = answer.generation_id, answer.json["data"][0]["url"]
    async with gateway.session.get(url) as reading:
        assert reading.status == 200
        assert (await erase(gateway, id_)).status == 204
        assert await reading.read() == upstream.pictures[0]
    assert files(gateway) == []


async def test_an_admin_deletes_anybodys_and_that_is_noted(gateway: Any) -> None:
    """Once, with whose it was; what is not there is 404."""
    other = await gateway.another_key()
    id_ = (await gateway.images(headers={"Authorization": f"Bearer {other}"})).generation_id
    await gateway.idle()
    for _ in range(2):
        assert (await erase(gateway, id_, where="/admin/v1")).status == 204
    assert files(gateway) == []
    owner = gateway.record(id_).generation.key_id
    (line,) = gateway.read(lambda conn: entries(conn, limit=9, action="generation.deleted"))
    assert (line.target, line.details) == (id_, {"key_id": owner, "state": "succeeded"})
    assert line.actor != owner
    missing = await erase(gateway, "gen_never", where="/admin/v1")
    assert (missing.status, missing.json["code"]) == (404, "generation_not_found")
    story = (await gateway.ask("GET", f"/admin/v1/generations/{id_}")).json
    assert (story["prompt"], [each["url"] for each in story["images"]]) == (None, [None])


async def test_a_full_disk_is_told_and_nothing_is_half_deleted(gateway: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 `storage_low`, to be repeated."""
    id_ = (await gateway.images()).generation_id
    await gateway.idle()
    with monkeypatch.context() as patched:
        patched.setattr(faults, "_armed", {"erase.before_commit": faults._Armed("error", 1)})
        refused = await erase(gateway, id_)
    assert (refused.status, refused.json["code"], refused.headers["x-should-retry"]) == (503, "storage_low", "true")
    assert len(files(gateway)) == 1
    assert (await erase(gateway, id_)).status == 204
    assert files(gateway) == []


async def test_the_client_deletes_too(gateway: Any, upstream: Any) -> None:
    """Both shells; what is open is raised with what to do, and what is gone is said to be."""
    url = f"http://127.0.0.1:{gateway.port}/v1"
    async with holdfast.AsyncClient(url, gateway.key, network="intranet") as client:
        result = await client.images.generate("a boat, marker Qx7Zt", size="1K")
        assert result.generation_id is not None
        assert await client.generations.delete(result.generation_id) is None
        assert (await client.generations.get(result.generation_id)).deleted_at is not None
        with pytest.raises(holdfast.HoldfastError) as caught:
            await client.generations.wait(result.generation_id)
        assert caught.value.code == "image_expired"
        upstream.gate.clear()
        made = await client.generations.create("a boat, marker Qx7Zt")
        with pytest.raises(holdfast.RequestError, match="cancel it first") as refused:
            await client.generations.delete(made.id)
        assert (refused.value.code, refused.value.status) == ("generation_open", 409)
        upstream.gate.set()
        await client.generations.wait(made.id)

    def work() -> None:
        with holdfast.Client(url, gateway.key, network="intranet") as client:
            client.generations.delete(made.id)
            client.generations.delete(made.id)
            with pytest.raises(holdfast.RequestError, match="no such generation"):
                client.generations.delete("gen_never")

    await asyncio.to_thread(work)
    assert files(gateway) == []
