"""`/admin/v1` on a running gateway: what the console is made of, over generations that were really made."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from holdfast.gateway.admin.events import CHANGED_MAX, STREAMS_MAX, Changed
from holdfast.store.audit_log import entries, expire
from holdfast.wire import admin

HOSTILE = "<script>alert(1)</script> \"'&"


async def ask(gateway: Any, path: str, type_: type[Any], *, method: str = "GET", **options: Any) -> Any:
    """Ask as an admin; the answer fits its type."""
    answer = await gateway.ask(method, f"/admin/v1{path}", **options)
    assert answer.status == 200, answer
    return msgspec.json.decode(answer.body, type=type_)


async def refused(gateway: Any, path: str, *, method: str = "GET") -> tuple[int, str, str | None]:
    """Ask what cannot be answered: status, code and the parameter to blame."""
    answer = await gateway.ask(method, f"/admin/v1{path}")
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status, answer.json["code"], answer.json["param"]


async def make(gateway: Any, **fields: Any) -> str:
    """Make an image; give the generation's id."""
    answer = await gateway.images(**fields)
    assert answer.status == 200, answer
    await gateway.idle()
    return str(answer.json["generation_id"])


async def test_the_first_view_tells_it_all_at_once(gateway: Any, upstream: Any) -> None:
    """What has ended, what failed, what is open, and how upstreams stand."""
    id_ = await make(gateway)
    upstream.gate.clear()
    waiting = asyncio.create_task(gateway.images())
    async with asyncio.timeout(5):
        while gateway.made.engine.open_generations == 0:
            await asyncio.sleep(0.005)
    view = await ask(gateway, "/overview", admin.Overview)
    upstream.gate.set()
    assert (await waiting).status == 200
    assert [each.id for each in view.recent] == [id_]
    assert view.live[0].status in ("queued", "running")
    assert view.live[0].progress is not None
    assert view.load.open == 1
    assert (view.day.succeeded, view.day.failed) == (1, 0)
    assert view.day.charged_micros == gateway.record(id_).generation.charged_micros > 0
    assert sum(hour.succeeded for hour in view.hours) == 1
    assert {each.name for each in view.upstreams} == {"google", "openai"}
    assert view.uncollected == 0, "its caller has it"


async def test_a_list_is_of_all_keys_and_says_whose(gateway: Any) -> None:
    """Newest first; filters one by one."""
    first = await make(gateway)
    other = {"Authorization": f"Bearer {await gateway.another_key()}"}
    second = (await gateway.images(headers=other)).json["generation_id"]
    page = await ask(gateway, "/generations", admin.AdminGenerationList)
    assert [(each.id, each.key_label) for each in page.data] == [(second, "another"), (first, "first")]
    key_id = page.data[0].key_id
    for query, wanted in [
        (f"key_id={key_id}", [second]),
        ("key_id=key_nobody", []),
        ("status=failed", []),
        ("status=succeeded&model=gemini-3-pro-image", [second, first]),
        ("collected=true", [second, first]),
        ("status=succeeded&collected=false", []),
        ("since=2020-01-01", [second, first]),
        ("until=2020-01-01T00:00:00Z", []),
        (f"after={second}", [first]),
        (f"key_id={key_id}&after={second}", []),
    ]:
        await gateway.idle()
        found = await ask(gateway, f"/generations?{query}", admin.AdminGenerationList)
        assert [each.id for each in found.data] == wanted, query


async def test_pages_hang_together(gateway: Any) -> None:
    """Every generation once, and the last page says that it is the last."""
    made = [await make(gateway) for _ in range(5)]
    seen: list[str] = []
    after = ""
    while True:
        page = await ask(gateway, f"/generations?limit=2{after}", admin.AdminGenerationList)
        seen += [each.id for each in page.data]
        if not page.has_more:
            break
        after = f"&after={page.last_id}"
    assert seen == made[::-1]


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("/generations?limit=0", "limit"),
        ("/generations?limit=101", "limit"),
        ("/generations?limit=ten", "limit"),
        ("/generations?status=done", "status"),
        ("/generations?collected=yes", "collected"),
        ("/generations?since=yesterday", "since"),
        ("/generations?since=2026-01-01T00:00:00", "since"),
        ("/generations?after=gen_nobody", "after"),
        ("/generations?sate=failed", "sate"),
        ("/generations?model=", "model"),
        ("/failures?by=week", "by"),
        ("/failures?since=2026-02-01&until=2026-01-01", "since"),
        ("/failures?since=2020-01-01", "since"),
        ("/failures?until=0001-01-01", "until"),
        ("/audit?after=0", "after"),
        ("/audit?after=99999999999999999", "after"),
        ("/overview?x=1", "x"),
        ("/latency?size=8K", "size"),
        ("/latency?model=nobody", "model"),
    ],
)
async def test_what_cannot_be_meant_is_named(gateway: Any, path: str, param: str) -> None:
    """A word that is passed over would be a filter that is believed to hold."""
    assert await refused(gateway, path) == (400, "invalid_request", param)


async def test_what_is_not_there_is_not_found(gateway: Any) -> None:
    """A generation, an image, a model."""
    id_ = await make(gateway)
    for path in ("/generations/gen_nobody", f"/generations/{id_}/images/7", f"/generations/{id_}/images/x"):
        assert (await refused(gateway, path))[:2] == (404, "generation_not_found")
    assert (await refused(gateway, "/generations/gen_nobody/cancel", method="POST"))[:2] == (
        404,
        "generation_not_found",
    )


async def test_a_story_has_every_step(gateway: Any) -> None:
    """What was asked, each event, each attempt, each image, each line of money; words stay words."""
    id_ = await make(gateway, prompt=HOSTILE, user="somebody")
    answer = await gateway.ask("GET", f"/admin/v1/generations/{id_}")
    assert answer.headers["content-type"] == "application/json"
    story = msgspec.json.decode(answer.body, type=admin.AdminStory)
    assert story.prompt == HOSTILE
    types = [event.type for event in story.events]
    assert (types[0], types[-1]) == ("queued", "succeeded")
    (attempt,) = story.attempts
    assert (attempt.upstream, attempt.charge, attempt.key_number) == ("google", "yes", 1)
    assert attempt.estimated_micros > 0
    assert sum(line.micros for line in story.ledger) == 0
    assert {line.kind for line in story.ledger} >= {"hold", "capture", "cost"}
    (image,) = story.images
    assert image.collected_at is not None
    assert image.url is not None
    assert (await gateway.ask("GET", image.url)).body == gateway.stored(id_)[0]
    assert story.generation.served_by == "google/gemini-3-pro-image"


async def test_a_failure_is_told_with_its_kind_and_counted(gateway: Any, upstream: Any) -> None:
    """In the story, by hour and by day: what its caller was told, and what the upstream did."""
    upstream.answers({"error": {"code": 400, "message": HOSTILE, "status": "INVALID_ARGUMENT"}}, status=400)
    answer = await gateway.images()
    assert answer.status >= 400
    page = await ask(gateway, "/generations?status=failed", admin.AdminGenerationList)
    (failed,) = page.data
    story = await ask(gateway, f"/generations/{failed.id}", admin.AdminStory)
    assert story.error is not None
    assert story.error.code == failed.failure_code
    assert story.attempts[0].failure_kind == failed.failure_kind
    for by in ("hour", "day"):
        report = await ask(gateway, f"/failures?by={by}", admin.FailureReport)
        assert [(each.kind, each.count) for each in report.generations] == [(failed.failure_kind, 1)]
        assert [(each.upstream, each.count) for each in report.attempts] == [("google", 1)]
    view = await ask(gateway, "/overview", admin.Overview)
    assert [(each.kind, each.count) for each in view.failures] == [(failed.failure_kind, 1)]


async def test_an_admin_ends_what_anothers_key_has_begun(gateway: Any, upstream: Any) -> None:
    """Noted once, however often it is asked for."""
    upstream.gate.clear()
    other = {"Authorization": f"Bearer {await gateway.another_key()}"}
    begun = await gateway.ask("POST", "/v1/generations", headers=other, json={"prompt": "a lighthouse"})
    id_ = begun.json["id"]
    async with asyncio.timeout(5):
        while gateway.record(id_).generation.state != "running":
            await asyncio.sleep(0.005)
    for _ in range(2):
        told = await ask(gateway, f"/generations/{id_}/cancel", admin.AdminGeneration, method="POST")
        assert told.cancel_requested
    upstream.gate.set()
    log = await ask(gateway, f"/audit?target={id_}", admin.AuditList)
    (entry,) = log.data
    assert (entry.action, entry.actor_label) == ("generation.cancelled", "first")
    assert entry.details is not None
    assert entry.details["state"] == "running"
    await gateway.idle()
    async with asyncio.timeout(5):
        while gateway.record(id_).generation.finished_at is None:
            await asyncio.sleep(0.005)


async def test_a_change_that_is_refused_is_not_noted(gateway: Any) -> None:
    """The line stands in the change's own transaction."""
    await refused(gateway, "/generations/gen_nobody/cancel", method="POST")
    assert gateway.read(lambda conn: entries(conn, limit=10)) == ()


async def test_latencies_are_told_by_hour_and_window(gateway: Any) -> None:
    """Of what was really measured."""
    await make(gateway, size="1K")
    report = await ask(gateway, "/latency?model=nano-banana-pro&size=1K", admin.AdminLatency)
    assert report.models == ("nano-banana-pro", "gpt-image-2")
    assert [(hour.model, hour.size, hour.count) for hour in report.hours] == [("nano-banana-pro", "1K", 1)]
    assert {row.model for row in report.data} == {"nano-banana-pro"}


async def test_settings_are_told_without_secrets(start: Callable[..., Awaitable[Any]], upstream: Any) -> None:
    """Each with its meaning; of a credential, that there is one."""
    gateway = await start(server={"public_url": "https://images.example"})
    answer = await gateway.ask("GET", "/admin/v1/settings")
    assert b"upstream-secret" not in answer.body
    told = {each.name: each for each in msgspec.json.decode(answer.body, type=admin.AdminSettings).data}
    assert told["upstreams[0].keys"].value == ["***"]
    assert told["server.public_url"].value == "https://images.example"
    assert told["server.port"].value == 0
    assert not told["server.port"].is_default
    assert told["server.admin_anywhere"].is_default
    assert told["heartbeat.beat_s"].unit == "seconds"


async def test_exposure_names_what_nobody_knows(gateway: Any, upstream: Any) -> None:
    """An attempt whose answer was lost, with what it may have cost."""

    async def hang_up(_: Any, reply: Any) -> None:
        reply.writer.close()

    upstream.script = hang_up
    assert (await gateway.images()).status >= 500
    report = await ask(gateway, "/exposure", admin.ExposureReport)
    (attempt,) = report.unknown
    assert attempt.upstream == "google"
    assert report.balance_micros == attempt.estimated_micros > 0


async def test_events_tell_what_begins_and_ends(gateway: Any) -> None:
    """Whoever's it is; and every second, how full it is."""
    base = gateway.running.base_url
    headers = {"Authorization": f"Bearer {gateway.key}"}
    states: list[str] = []
    async with asyncio.timeout(10), gateway.session.get(f"{base}/admin/v1/events", headers=headers) as stream:
        assert stream.headers["content-type"] == "text/event-stream"
        assert "no-store" in stream.headers["cache-control"]
        assert (await stream.content.readline()) == b"retry: 2000\n"
        making = asyncio.create_task(gateway.images())
        async for line in stream.content:
            if not line.startswith(b"data: "):
                continue
            event = msgspec.json.decode(line.removeprefix(b"data: "), type=admin.AdminEvent)
            if event.type == "progress":
                assert event.load is not None
            elif event.generation is not None:
                states.append(event.generation.status)
                if event.generation.status == "succeeded":
                    break
        assert (await making).status == 200
    assert states[-1] == "succeeded"


async def test_a_stream_ends_with_the_gateway_and_does_not_hold_it_up(gateway: Any) -> None:
    """A drain waits for images, not for pages that look on."""
    base, headers = gateway.running.base_url, {"Authorization": f"Bearer {gateway.key}"}
    async with gateway.session.get(f"{base}/admin/v1/events", headers=headers) as stream:
        await stream.content.readline()
        gateway.running.stop()
        async with asyncio.timeout(5):
            assert (await stream.content.read()).endswith(b"\n\n")


async def test_streams_are_bounded(gateway: Any) -> None:
    """One more is told to come back; one that has gone makes room."""
    base, headers = gateway.running.base_url, {"Authorization": f"Bearer {gateway.key}"}
    open_ = [await gateway.session.get(f"{base}/admin/v1/events", headers=headers) for _ in range(STREAMS_MAX)]
    more = await gateway.ask("GET", "/admin/v1/events")
    assert (more.status, more.json["code"]) == (503, "overloaded")
    for stream in open_:
        stream.close()
    await gateway.idle()
    async with gateway.session.get(f"{base}/admin/v1/events", headers=headers) as stream:
        assert stream.status == 200


def test_a_reader_that_is_behind_is_told_so_once() -> None:
    """Each id once, a bounded number, and a mark where some were left out."""
    changed = Changed()
    for number in range(CHANGED_MAX + 5):
        changed.note(f"gen_{number}")
        changed.note(f"gen_{number}")
    ids, is_behind = changed.take()
    assert ids == tuple(f"gen_{number}" for number in range(CHANGED_MAX))
    assert is_behind
    assert changed.take() == ((), False)


async def test_errors_are_problem_documents(gateway: Any) -> None:
    """RFC 9457, for what no endpoint serves too."""
    for method, path, status in [("GET", "/nothing", 404), ("PUT", "/overview", 405)]:
        answer = await gateway.ask(method, f"/admin/v1{path}")
        assert answer.status == status
        assert answer.headers["content-type"] == "application/problem+json"
        problem = json.loads(answer.body)
        assert problem["type"] == f"urn:holdfast:error:{problem['code']}"
        assert problem["status"] == status


async def test_the_log_of_changes_is_read_page_by_page(gateway: Any) -> None:
    """Newest first, each once, with a filter and without; what is too old has gone, and the log says so."""
    for number in range(7):
        made = await gateway.ask("POST", "/admin/v1/keys", json={"label": f"key {number}"})
        assert made.status == 201
    for query, count in (("", 7), ("action=key.created", 7), ("action=key.revoked", 0)):
        seen: list[int] = []
        after = ""
        while True:
            page = await ask(gateway, f"/audit?limit=3&{query}{after}", admin.AuditList)
            seen += [each.id for each in page.data]
            if not page.has_more:
                break
            after = f"&after={page.last_id}"
        assert len(seen) == count
        assert seen == sorted(seen, reverse=True)
    far = "2999-01-01T00:00:00.000Z"
    assert await gateway.core.store.write(expire, far, 100, gateway.core.now_text()) == 7
    (line,) = (await ask(gateway, "/audit", admin.AuditList)).data
    assert (line.actor, line.action, line.details["entries"]) == ("sweeper", "audit.expired", 7)
