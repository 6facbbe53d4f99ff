"""Spans of a running gateway, as a collector gets them over the wire."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from holdfast.errors import ConfigError

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector:
    """Takes spans over OTLP, and keeps them."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.services: set[str] = set()
        self.bodies: list[bytes] = []
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        """Read one batch."""
        body = await request.read()
        body = gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
        self.bodies.append(body)
        batch = ExportTraceServiceRequest.FromString(body)
        for resource in batch.resource_spans:
            named = {each.key: each.value.string_value for each in resource.resource.attributes}
            self.services.add(named["service.name"])
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        return web.Response()

    def named(self, name: str) -> Any:
        """Give the one span that has this name, or begins with it."""
        (found,) = [span for span in self.spans if span.name.split(" ")[0] == name]
        return found


@pytest.fixture(name="collector")
async def collector_fixture() -> AsyncIterator[Collector]:
    """A collector on a free port."""
    collector = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", collector.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    collector.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/traces"
    yield collector
    await runner.cleanup()


async def stopped(gateway: Any) -> None:
    """End it, off this loop's way: what is left is sent in the end, and the collector runs here."""
    assert await gateway.stop() == 0


async def test_a_held_call_is_one_trace_from_its_caller_on(start: Any, collector: Any, upstream: Any) -> None:
    """Queue, attempt, store and send are children of the whole, and that is the caller's."""
    gateway = await start(traces={"endpoint": collector.url, "service_name": "images-eu"})
    answer = await gateway.images(headers={"traceparent": f"00-{TRACE}-{CALLER}-01"})
    assert answer.status == 200
    await gateway.idle()
    generation = gateway.record(answer.headers["generation-id"]).generation
    assert generation.traceparent == f"00-{TRACE}-{CALLER}-01"
    await stopped(gateway)
    whole = collector.named("generate_image")
    assert whole.trace_id.hex() == TRACE
    assert whole.parent_span_id.hex() == CALLER
    pieces = [collector.named(name) for name in ("queue", "attempt", "store", "send")]
    assert len(collector.spans) == 5
    for piece in pieces:
        assert piece.trace_id == whole.trace_id
        assert piece.parent_span_id == whole.span_id
        assert piece.start_time_unix_nano <= piece.end_time_unix_nano
    queue, attempt, store, send = pieces
    # A span begins as long before its event as it took: what a busy machine puts between commit and event, it is off.
    assert queue.end_time_unix_nano <= attempt.start_time_unix_nano + 2_000_000_000
    assert attempt.end_time_unix_nano == store.start_time_unix_nano
    assert store.end_time_unix_nano <= send.end_time_unix_nano
    attributes = {each.key: each.value.string_value for each in attempt.attributes}
    assert attributes["gen_ai.provider.name"] == "gcp.gemini"
    assert attributes["holdfast.upstream"] == "google"
    assert collector.services == {"images-eu"}
    sent = b"".join(collector.bodies)
    assert b"lighthouse" not in sent
    assert gateway.key.encode() not in sent
    assert b"upstream-secret" not in sent


async def test_a_call_without_a_trace_has_one_of_its_own(start: Any, collector: Any) -> None:
    """A header that means nothing is as none, and is not kept."""
    gateway = await start(traces={"endpoint": collector.url})
    answer = await gateway.images(headers={"traceparent": "00-SECRET-x-01"})
    await gateway.idle()
    assert gateway.record(answer.headers["generation-id"]).generation.traceparent is None
    await stopped(gateway)
    whole = collector.named("generate_image")
    assert not whole.parent_span_id
    assert len({span.trace_id for span in collector.spans}) == 1
    assert b"SECRET" not in b"".join(collector.bodies)


async def test_a_collector_that_is_away_holds_nobody_up(start: Any, unused_tcp_port: int) -> None:
    """Images come, and the gateway ends in time; that spans were lost is told in the log."""
    gateway = await start(traces={"endpoint": f"http://127.0.0.1:{unused_tcp_port}/v1/traces"})
    assert (await gateway.images()).status == 200
    await gateway.idle()
    async with asyncio.timeout(12):
        await stopped(gateway)


async def test_without_the_extra_it_does_not_start(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And says what to install."""
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.sdk.trace.export", None)
    with pytest.raises(ConfigError, match="pip install"):
        await start(traces={"endpoint": "http://127.0.0.1:4318/v1/traces"})


async def test_an_upstream_of_ones_own_is_told_which_trace_it_is(start: Any, collector: Any, upstream: Any) -> None:
    """What it tells is then a child of the attempt that the collector shows."""
    base = f"http://127.0.0.1:{upstream.port}"
    mine = {"name": "google", "provider": "gemini", "base_url": base, "keys": ["upstream-secret"], "traces": True}
    route = {"model": "nano-banana-pro", "upstreams": [{"upstream": "google", "model": "gemini-3-pro-image"}]}
    gateway = await start(traces={"endpoint": collector.url}, upstreams=[mine], routes=[route])
    assert (await gateway.images(headers={"traceparent": f"00-{TRACE}-{CALLER}-01"})).status == 200
    await gateway.idle()
    await stopped(gateway)
    span = collector.named("attempt").span_id.hex()
    assert [asked.headers["traceparent"] for asked in upstream.asked] == [f"00-{TRACE}-{span}-01"]


async def test_no_other_upstream_is_told_of_a_trace(start: Any, collector: Any, upstream: Any) -> None:
    """A third party learns nothing of who calls us."""
    gateway = await start(traces={"endpoint": collector.url})
    assert (await gateway.images(headers={"traceparent": f"00-{TRACE}-{CALLER}-01"})).status == 200
    await stopped(gateway)
    assert all("traceparent" not in asked.headers for asked in upstream.asked)
