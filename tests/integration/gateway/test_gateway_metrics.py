"""`/metrics` of a running gateway: what is counted is what happened, and who may see it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from holdfast.telemetry.catalog import CATALOG

QUICK = {"first_beat_s": 0.1, "beat_s": 0.1}
FORWARDED = {"X-Forwarded-For": "203.0.113.7"}


async def scraped(gateway: Any, headers: dict[str, str] | None = None) -> dict[tuple[str, ...], float]:
    """Read all samples: name and label values, in the order of their labels' names."""
    answer = await gateway.ask("GET", "/metrics", headers=headers or {})
    assert answer.status == 200, answer
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


async def test_an_image_moves_the_numbers_that_speak_of_it(gateway: Any) -> None:
    """Accepted, sent, settled, stored, charged, delivered: once each, with its model, size and upstream."""
    answer = await gateway.images(model="nano-banana-pro", size="1024x1024")
    assert answer.status == 200
    await gateway.idle()
    seen = await scraped(gateway)
    here = ("nano-banana-pro", "1K")
    assert seen["holdfast_generations_accepted_total", *here] == 1
    assert seen["holdfast_generations_ended_total", "", *here, "succeeded"] == 1
    assert seen["holdfast_generation_seconds_count", *here, "succeeded"] == 1
    assert seen["holdfast_attempts_sent_total", "gemini-3-pro-image", "1K", "google"] == 1
    assert seen["holdfast_attempts_ended_total", "", "settled", "google"] == 1
    assert seen["holdfast_attempt_seconds_count", "settled", "1K", "google"] == 1
    assert seen["holdfast_queue_seconds_count", "google"] == 1
    assert seen[("holdfast_store_seconds_count",)] == 1
    assert seen[("holdfast_send_seconds_count",)] == 1
    assert seen["holdfast_images_stored_total", "google"] == 1
    assert seen[("holdfast_images_collected_total",)] == 1
    assert seen["holdfast_charged_micros_total", *here, "succeeded"] == 134_000
    assert seen["holdfast_compensated_micros_total", *here, "succeeded"] == 0
    assert ("holdfast_images_saved_total",) not in seen or seen[("holdfast_images_saved_total",)] == 0
    assert seen["holdfast_ledger_balance_micros", "revenue"] == -134_000
    assert seen["holdfast_ledger_balance_micros", "held"] == 0


async def test_who_is_held_shows_while_he_is_and_not_after(start: Any, upstream: Any) -> None:
    """Open generations, callers and beats are looked at when they are asked for."""
    gateway = await start(heartbeat=QUICK)
    upstream.gate.clear()
    asking = asyncio.create_task(gateway.images())
    await upstream.was_asked()
    async with asyncio.timeout(5):
        while (seen := await scraped(gateway))[("holdfast_beats_total",)] < 2:
            await asyncio.sleep(0.02)
    assert seen[("holdfast_generations_open",)] == 1
    assert seen[("holdfast_callers_waiting",)] == 1
    assert seen[("holdfast_requests_in_progress",)] == 2, "the caller, and whoever asks for this"
    assert seen["holdfast_early_statuses_total", "other"] == 1
    assert seen["holdfast_ledger_balance_micros", "held"] < 0
    upstream.gate.set()
    assert (await asking).status == 200
    await gateway.idle()
    seen = await scraped(gateway)
    assert seen[("holdfast_generations_open",)] == seen[("holdfast_callers_waiting",)] == 0


async def test_an_image_that_is_collected_after_a_cut_was_saved_once(start: Any, upstream: Any, journal: Any) -> None:
    """Fetched twice, it was still lost only once."""
    gateway = await start(heartbeat=QUICK)
    upstream.gate.clear()
    wire = await gateway.dial()
    await wire.send(gateway.post())
    await upstream.was_asked()
    await wire.head()
    wire.leave(reset=True)
    (left,) = await journal.has("caller.left")
    upstream.gate.set()
    resource = await gateway.resource_once(left["generation_id"], "succeeded")
    for _ in range(2):
        image = await gateway.ask("GET", resource["images"][0]["url"], headers={})
        assert image.status == 200
        await gateway.idle()
    seen = await scraped(gateway)
    assert seen["holdfast_callers_left_total", "true"] == 1
    assert seen[("holdfast_images_saved_total",)] == 1
    assert seen[("holdfast_images_collected_total",)] == 2


async def test_a_failure_is_counted_by_its_kind_and_its_code(gateway: Any, upstream: Any) -> None:
    """What an upstream did, and what its caller was told, are two numbers."""
    upstream.answers({"error": {"message": "no"}}, status=401)
    assert (await gateway.images()).status == 502
    await gateway.idle()
    seen = await scraped(gateway)
    assert seen["holdfast_attempts_ended_total", "credential", "failed", "google"] >= 1
    assert seen["holdfast_generations_ended_total", "upstream_failed", "nano-banana-pro", "1K", "failed"] == 1
    keys = {state: seen["holdfast_upstream_keys", state, "google"] for state in ("ready", "cooling", "ejected")}
    assert sum(keys.values()) == 1


async def test_refusals_are_counted_by_what_was_said(gateway: Any) -> None:
    """Nothing of the path or of who asked becomes a label."""
    assert (await gateway.ask("GET", "/v1/nothing/SECRETPATH", headers={})).status == 404
    assert (await gateway.images(headers={"Authorization": "Bearer hf-wrong"})).status == 401
    seen = await scraped(gateway)
    assert seen["holdfast_requests_refused_total", "not_found", "404"] == 1
    assert seen["holdfast_requests_refused_total", "invalid_api_key", "401"] == 1
    assert seen[("holdfast_keys_refused_total",)] == 1
    assert not [labels for labels in seen if "SECRETPATH" in "".join(labels)]


async def test_everything_of_the_catalog_is_there_from_the_start(gateway: Any) -> None:
    """An alert on something that has never happened must find it: families are declared before their first sample."""
    answer = await gateway.ask("GET", "/metrics", headers={})
    text = answer.body.decode()
    missing = [metric.name for metric in CATALOG if f"# TYPE {metric.name} {metric.kind.value}\n" not in text]
    assert missing == []
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert "process_resident_memory_bytes" in text


async def test_whoever_asks_from_elsewhere_needs_an_admin_key(gateway: Any) -> None:
    """A proxy on this machine passes on whom it likes: that is not this machine."""
    assert (await gateway.ask("GET", "/metrics", headers=FORWARDED)).status == 403
    plain = await gateway.another_key(is_admin=0)
    for key in (plain, "hf-wrong"):
        answer = await gateway.ask("GET", "/metrics", headers={**FORWARDED, "Authorization": f"Bearer {key}"})
        assert answer.status in (401, 403)
        assert b"holdfast_" not in answer.body


async def test_a_page_whose_name_was_led_here_reads_nothing(gateway: Any) -> None:
    """Its browser comes from this machine, and calls it by the page's own name."""
    answer = await gateway.ask("GET", "/metrics", headers={"Host": "evil.example:8080"})
    assert answer.status == 401
    assert b"holdfast_" not in answer.body
    keyed = {"Host": "gateway.example", "Authorization": f"Bearer {gateway.key}"}
    assert (await gateway.ask("GET", "/metrics", headers=keyed)).status == 200


@pytest.mark.parametrize("accept", ["text/plain; version=x", "application/openmetrics-text; version=1.x"])
async def test_a_format_that_nobody_knows_is_the_plain_one(gateway: Any, accept: str) -> None:
    """Not a fault of ours."""
    answer = await gateway.ask("GET", "/metrics", headers={"Accept": accept})
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")


async def test_a_trusted_proxy_that_says_https_lets_an_admin_in(start: Any) -> None:
    """And nobody without a key."""
    gateway = await start(server={"port": 0, "trusted_proxies": ["127.0.0.0/8"]})
    through = {**FORWARDED, "X-Forwarded-Proto": "https"}
    assert (await gateway.ask("GET", "/metrics", headers=through)).status == 401
    plain = await gateway.another_key(is_admin=0)
    refused = await gateway.ask("GET", "/metrics", headers={**through, "Authorization": f"Bearer {plain}"})
    assert refused.status == 403
    seen = await scraped(gateway, {**through, "Authorization": f"Bearer {gateway.key}"})
    assert seen[("holdfast_ready",)] == 1


async def test_a_mistake_in_counting_costs_no_image(
    gateway: Any, monkeypatch: pytest.MonkeyPatch, journal: Any
) -> None:
    """It is told as a fault of ours, and the image is delivered."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the counter is broken")

    monkeypatch.setattr(gateway.made.metrics._counts, "_child", broken)
    monkeypatch.setattr(logging, "raiseExceptions", False)
    assert (await gateway.images()).status == 200
    assert await journal.has("fault.internal")


@pytest.mark.parametrize(
    "headers",
    [
        {"Via": "1.1 nginx"},
        {"Forwarded": "for=203.0.113.7"},
        {"X-Forwarded-For": "203.0.113.7"},
        {"X-Forwarded-Proto": "https"},
        {"X-Forwarded-Host": "images.example.com"},
        {"Host": "images.example.com"},
        {"Host": "203.0.113.7"},
    ],
)
async def test_a_stranger_behind_a_proxy_needs_a_key(gateway: Any, journal: Any, headers: dict[str, str]) -> None:
    """Whatever gives the proxy away; and the log says so, once."""
    for _ in range(2):
        assert (await gateway.ask("GET", "/metrics", headers=headers)).status in (401, 403)
    (event,) = await journal.has("metrics.through_a_proxy")
    assert "metrics.open" in event["message"]


async def test_a_proxy_that_says_nothing_is_known_by_its_version(gateway: Any) -> None:
    """nginx with `proxy_pass` alone: HTTP/1.0, and our own address as Host."""
    wire = await gateway.dial()
    await wire.send(f"GET /metrics HTTP/1.0\r\nHost: 127.0.0.1:{gateway.port}\r\n\r\n".encode())
    assert (await wire.head()).status == 403


async def test_it_can_be_open_to_nobody(start: Any) -> None:
    """For a proxy on this machine that hides whom it speaks for."""
    gateway = await start(metrics={"open": "nobody"})
    assert (await gateway.ask("GET", "/metrics", headers={})).status == 401
    assert (await gateway.ask("GET", "/metrics")).status == 200
