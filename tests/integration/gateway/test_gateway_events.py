"""`GET /v1/generations/{id}/events`: what happens, as it is committed, and taken up again behind any number."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

QUICK = {"first_beat_s": 5.0, "beat_s": 0.1}


async def begun(gateway: Any, upstream: Any, **fields: Any) -> str:
    """Begin a generation whose upstream waits for the gate."""
    upstream.gate.clear()
    headers = {"Authorization": f"Bearer {gateway.key}"}
    answer = await gateway.ask("POST", "/v1/generations", headers=headers, json={"prompt": "marker Qx7Zt", **fields})
    assert answer.status == 202
    await upstream.was_asked()
    return str(answer.json["id"])


async def follow(gateway: Any, id_: str, query: str = "", *, last: str | None = None, method: str = "GET") -> Any:
    """Open a stream; its head has been read."""
    wire = await gateway.dial()
    more = "" if last is None else f"Last-Event-ID: {last}\r\n"
    target = f"/v1/generations/{id_}/events{query}"
    await wire.send(
        f"{method} {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {gateway.key}\r\n{more}\r\n".encode()
    )
    return wire, await wire.head()


def events_in(text: bytes) -> list[tuple[str, int, dict[str, Any]]]:
    """Read events as a browser does: name, id and data of each."""
    found = []
    for block in text.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.strip("\n").split("\n") if ": " in line)
        assert not any(line.startswith(":") for line in block.split("\n")), "a comment breaks some SDKs"
        if "data" in fields:
            found.append((fields["event"], int(fields["id"]), json.loads(fields["data"])))
    return found


async def event(wire: Any) -> tuple[str, int, dict[str, Any]]:
    """Read on until an event is there."""
    async with asyncio.timeout(5):
        while not (found := events_in(await wire.chunk())):
            pass
    (one,) = found
    return one


async def whole(gateway: Any, id_: str, query: str = "", **more: Any) -> list[tuple[str, int, dict[str, Any]]]:
    """Read a stream to its end."""
    wire, head = await follow(gateway, id_, query, **more)
    assert head.status == 200
    return events_in(await wire.chunks())


async def test_events_come_as_they_are_committed(gateway: Any, upstream: Any) -> None:
    """What was before, at once; the end, when it comes; then the stream is over."""
    id_ = await begun(gateway, upstream)
    wire, head = await follow(gateway, id_)
    assert (head.status, head.headers["content-type"]) == (200, "text/event-stream")
    assert head.headers["cache-control"] == "no-store, no-transform"
    assert head.headers["x-accel-buffering"] == "no"
    assert await wire.chunk() == b"retry: 2000\n\n"
    assert [(await event(wire))[:2] for _ in range(2)] == [("generation.queued", 1), ("generation.running", 2)]
    upstream.gate.set()
    name, number, data = await event(wire)
    assert (name, number, data["status"], data["progress"]) == ("generation.succeeded", 3, "succeeded", None)
    assert (await wire.chunks()).strip() == b""
    assert (await gateway.resource(id_))["sequence_number"] == 3
    assert len(gateway.core.followers) == 0


async def test_parts_are_told_one_by_one(gateway: Any, upstream: Any) -> None:
    """Each attempt, each image that is stored."""
    id_ = await begun(gateway, upstream, n=3)
    upstream.gate.set()
    await gateway.resource_once(id_, "succeeded")
    names = [name.removeprefix("generation.") for name, _, _ in await whole(gateway, id_)]
    assert sorted(names[1:-1]) == ["running"] * 3 + ["stored"] * 2
    assert (names[0], names[-1]) == ("queued", "succeeded")


async def test_a_stream_is_taken_up_behind_any_number(gateway: Any, upstream: Any) -> None:
    """By the header that browsers send, or by the query; the header knows more."""
    id_ = await begun(gateway, upstream)
    upstream.gate.set()
    await gateway.resource_once(id_, "succeeded")
    everything = await whole(gateway, id_)
    assert len(everything) == 3
    for after in (0, 1, 2):
        assert await whole(gateway, id_, f"?starting_after={after}") == everything[after:]
        assert await whole(gateway, id_, "?starting_after=0", last=str(after)) == everything[after:]


async def test_it_is_204_once_all_was_seen(gateway: Any) -> None:
    """A browser stops then; a number that never was is behind all that were."""
    id_ = (await gateway.images()).generation_id
    for last in ("3", "99"):
        wire, head = await follow(gateway, id_, last=last)
        assert (head.status, "content-length" in head.headers, "transfer-encoding" in head.headers) == (
            204,
            False,
            False,
        )
        # The connection goes on.
        await wire.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await wire.answer()).status == 200


async def test_behind_a_number_that_is_still_to_come_only_what_follows_is_told(gateway: Any, upstream: Any) -> None:
    """And the stream ends with the generation, though it has told nothing."""
    id_ = await begun(gateway, upstream)
    wire, head = await follow(gateway, id_, "?starting_after=50")
    assert (head.status, await wire.chunk()) == (200, b"retry: 2000\n\n")
    upstream.gate.set()
    assert events_in(await wire.chunks()) == []


async def test_beats_are_blank_lines(start: Any, upstream: Any) -> None:
    """From the first second on, and never within an event."""
    gateway = await start(heartbeat=QUICK)
    id_ = await begun(gateway, upstream)
    wire, _ = await follow(gateway, id_, "?starting_after=2")
    assert await wire.chunk() == b"retry: 2000\n\n"
    began = time.monotonic()
    moments = await wire.beats(3)
    assert moments[-1] - began >= 0.29
    upstream.gate.set()
    assert (await event(wire))[0] == "generation.succeeded"


async def test_a_cancel_is_told(gateway: Any, upstream: Any) -> None:
    """That it was asked for, and how it ended."""
    upstream.answers({"error": {"message": "no"}}, status=400)
    id_ = await begun(gateway, upstream)
    wire, _ = await follow(gateway, id_, "?starting_after=2")
    assert await wire.chunk() == b"retry: 2000\n\n"
    await gateway.ask("POST", f"/v1/generations/{id_}/cancel")
    name, number, data = await event(wire)
    assert (name, number, data["status"], data["cancel_requested"]) == ("generation.progress", 3, "running", True)
    assert 0.0 <= data["progress"]["fraction"] < 0.5
    upstream.gate.set()
    assert (await event(wire))[0] == "generation.cancelled"
    assert events_in(await wire.chunks()) == []


async def test_several_follow_one(gateway: Any, upstream: Any) -> None:
    """Each at its own place; one that leaves disturbs none."""
    id_ = await begun(gateway, upstream)
    wires = [(await follow(gateway, id_, f"?starting_after={after}"))[0] for after in (0, 1, 2)]
    gone, _ = await follow(gateway, id_)
    gone.leave(reset=True)
    upstream.gate.set()
    told = [[number for _, number, _ in events_in(await wire.chunks())] for wire in wires]
    assert told == [[1, 2, 3], [2, 3], [3]]
    async with asyncio.timeout(5):
        while len(gateway.core.followers):
            await asyncio.sleep(0.01)


async def test_head_tells_what_a_get_would(gateway: Any, upstream: Any) -> None:
    """And waits for nothing."""
    id_ = await begun(gateway, upstream)
    wire, head = await follow(gateway, id_, method="HEAD")
    assert (head.status, head.headers["content-type"]) == (200, "text/event-stream")
    upstream.gate.set()
    await gateway.resource_once(id_, "succeeded")
    await wire.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await wire.answer()).status == 200


async def test_a_stream_ends_when_the_gateway_goes(gateway: Any, upstream: Any) -> None:
    """Properly: its reader comes back behind the last number, and finds the next process."""
    id_ = await begun(gateway, upstream)
    wire, _ = await follow(gateway, id_, "?starting_after=2")
    assert await wire.chunk() == b"retry: 2000\n\n"
    gateway.made.generations.waits.release()
    assert events_in(await wire.chunks()) == []
    upstream.gate.set()
    await gateway.resource_once(id_, "succeeded")


async def test_a_bound_is_told_as_such(start: Any, upstream: Any) -> None:
    """503 and when to come again."""
    gateway = await start(server={"port": 0, "held_max": 1})
    id_ = await begun(gateway, upstream)
    first, _ = await follow(gateway, id_)
    await event_or_retry(first)
    _, head = await follow(gateway, id_)
    assert (head.status, head.headers["retry-after"]) == (503, "5")
    upstream.gate.set()
    assert events_in(await first.chunks())[-1][0] == "generation.succeeded"


async def event_or_retry(wire: Any) -> None:
    """Read the first piece."""
    assert await wire.chunk() == b"retry: 2000\n\n"


@pytest.mark.parametrize(
    ("query", "last", "param"),
    [("?starting_after=x", None, "starting_after"), ("?after=1", None, "after"), ("", "gen_1", "Last-Event-ID")],
)
async def test_what_is_no_number_is_a_problem(gateway: Any, query: str, last: str | None, param: str) -> None:
    """400, naming it."""
    id_ = (await gateway.images()).generation_id
    headers = {"Authorization": f"Bearer {gateway.key}", **({"Last-Event-ID": last} if last else {})}
    refused = await gateway.ask("GET", f"/v1/generations/{id_}/events{query}", headers=headers)
    assert (refused.status, refused.headers["content-type"]) == (400, "application/problem+json")
    assert refused.json["param"] == param


async def test_another_keys_events_are_not_told(gateway: Any) -> None:
    """404, as of one that never was."""
    id_ = (await gateway.images()).generation_id
    stranger = {"Authorization": f"Bearer {await gateway.another_key()}"}
    theirs = await gateway.ask("GET", f"/v1/generations/{id_}/events", headers=stranger)
    nobodys = await gateway.ask("GET", "/v1/generations/gen_never/events", headers=stranger)
    assert (theirs.status, theirs.json["code"]) == (404, "generation_not_found")
    assert theirs.json == nobodys.json
