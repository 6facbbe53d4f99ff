"""`kill -HUP`: a gateway that serves goes on by other settings, and nobody who is held notices."""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli.exits import Exit

# The process, and what starts it, as `test_gateway_process` has them.
_spec = importlib.util.spec_from_file_location("gateway_process", Path(__file__).with_name("test_gateway_process.py"))
assert _spec is not None
assert _spec.loader is not None
_process = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = _process
_spec.loader.exec_module(_process)
Process, Launch, launch = _process.Process, _process.Launch, _process.launch
QUICK, WITHIN_S = _process.QUICK, _process.WITHIN_S

PRO = "nano-banana-pro"
PROMPT = {"prompt": "a lighthouse, marker Qx7Zt"}


def a_peer(port: int, name: str, *keys: str, **fields: Any) -> dict[str, Any]:
    """An upstream that is told from others by its path."""
    base_url = f"http://127.0.0.1:{port}/{name}"
    return {"name": name, "provider": "gemini", "base_url": base_url, "keys": list(keys) or [f"{name}-1"]} | fields


def a_route(*names: str, model: str = PRO) -> dict[str, Any]:
    """A model that these serve, first choice first."""
    return {"model": model, "upstreams": [{"upstream": name, "model": f"pro-at-{name}"} for name in names]}


@pytest.fixture
def written(upstream: Any, tmp_path: Path, settings_for: Any) -> Any:
    """Write whole settings: upstreams by name, each with its keys, and one route over all of them."""

    def write(*peers: dict[str, Any], **sections: Any) -> dict[str, Any]:
        route = a_route(*(peer["name"] for peer in peers))
        usual = {"upstreams": list(peers), "routes": [route], "heartbeat": QUICK, "drain": {"grace_s": 20.0}}
        made: dict[str, Any] = settings_for(upstream.port, tmp_path / "data", usual | sections)
        return made

    return write


def paths(upstream: Any) -> list[str]:
    """Which upstreams were asked, in order."""
    return [asked.path.split("/")[1] for asked in upstream.asked]


def keys(upstream: Any) -> list[str]:
    """With which keys."""
    return [asked.headers["x-goog-api-key"] for asked in upstream.asked]


async def test_nobody_gets_an_error_while_settings_change_under_load(
    launch: Launch, upstream: Any, written: Any, assert_nothing_is_left: Any
) -> None:
    """Twelve callers ask again and again; meanwhile upstreams, keys and limits come and go twenty times."""
    port = upstream.port
    every = [
        written(a_peer(port, "a", "k-1", "k-2"), a_peer(port, "b", concurrency=2)),
        written(a_peer(port, "b")),
        written(a_peer(port, "a", "k-2", "k-3", concurrency=1), a_peer(port, "b")),
        written(a_peer(port, "c", per_minute=6000)),
        written(a_peer(port, "a", "k-3", per_minute=6000, concurrency=3), a_peer(port, "c")),
    ]
    gateway = await (await launch("--json", config=every[0])).ready()
    is_over, got = asyncio.Event(), []

    async def draw(asked: Any, reply: Any) -> None:
        # Long enough for each of them to meet a change in flight, or in line.
        await asyncio.sleep(0.03)
        await upstream.draw(asked, reply)

    async def call_again_and_again() -> None:
        while not is_over.is_set():
            status, _, document = await gateway.ask("POST", "/images/generations", json=PROMPT)
            got.append((status, document.get("error")))

    upstream.script = draw
    callers = [asyncio.create_task(call_again_and_again()) for _ in range(12)]
    for settings in itertools.islice(itertools.cycle(every[1:] + every[:1]), 20):
        count = len(got)
        told = await gateway.renew(settings)
        assert told["event"] == "settings.taken_over", told
        async with asyncio.timeout(WITHIN_S):
            while len(got) < count + 6:
                await asyncio.sleep(0.01)
    is_over.set()
    await asyncio.gather(*callers)
    assert {each for each in got if each[0] != 200} == set()
    assert len(upstream.asked) == len(got), "nobody paid twice"
    assert {"a", "b", "c"} == set(paths(upstream))
    gateway.process.send_signal(signal.SIGTERM)
    assert await gateway.ended() == Exit.OK
    assert_nothing_is_left(gateway.data)


async def test_who_is_held_gets_the_image_of_an_upstream_that_is_gone(
    launch: Launch, upstream: Any, written: Any
) -> None:
    """It was sent before; the next one goes elsewhere, with a key that the file holds only now."""
    gateway = await (await launch("--json", config=written(a_peer(upstream.port, "a", concurrency=1)))).ready()
    upstream.gate.clear()
    first, first_writer, _ = await gateway.hold()
    await upstream.was_asked(1)
    second, second_writer, _ = await gateway.hold()
    told = await gateway.renew(written(a_peer(upstream.port, "b", "k-9")))
    assert (told["changed"], told["new_keys"], told["removed_keys"]) == (["upstreams", "routes"], 1, 1)
    # It stood in a line that is no more.
    await upstream.was_asked(2)
    assert (paths(upstream), keys(upstream)) == (["a", "b"], ["a-1", "k-9"])
    upstream.gate.set()
    for reader in (first, second):
        assert b'"b64_json"' in await asyncio.wait_for(reader.readuntil(b"\r\n0\r\n\r\n"), WITHIN_S)
    first_writer.close()
    second_writer.close()
    log = json.dumps(gateway.log)
    assert not any(secret in log for secret in ("a-1", "k-9", "Qx7Zt"))


async def test_who_waits_for_a_model_that_is_gone_is_told_and_pays_nothing(
    launch: Launch, upstream: Any, written: Any
) -> None:
    """Who waits ends at once; who comes later hears that there is no such model."""
    gateway = await (await launch("--json", config=written(a_peer(upstream.port, "a", concurrency=1)))).ready()
    upstream.gate.clear()
    first, first_writer, _ = await gateway.hold()
    await upstream.was_asked(1)
    second, second_writer, id_ = await gateway.hold()
    await gateway.renew(written(a_peer(upstream.port, "a"), routes=[a_route("a", model="seedream-4.5")]))
    rest = await asyncio.wait_for(second.readuntil(b"\r\n0\r\n\r\n"), WITHIN_S)
    (line,) = [line for line in rest.splitlines() if line.startswith(b"{")]
    told = json.loads(line)["error"]
    assert (told["code"], told["paid"], told["generation_id"]) == ("upstream_failed", "no", id_)
    status, _, refused = await gateway.ask("POST", "/images/generations", json=PROMPT | {"model": PRO})
    assert (status, refused["error"]["code"]) == (404, "model_not_found")
    upstream.gate.set()
    assert b'"b64_json"' in await asyncio.wait_for(first.readuntil(b"\r\n0\r\n\r\n"), WITHIN_S)
    first_writer.close()
    second_writer.close()
    _, _, models = await gateway.ask("GET", "/models")
    assert [each["id"] for each in models["data"]] == ["seedream-4.5"]


async def test_a_file_that_is_refused_changes_nothing(launch: Launch, upstream: Any, written: Any) -> None:
    """One line, with the key to blame; the next one that is right is taken."""
    port = upstream.port
    good = written(a_peer(port, "a"))
    for_tls_only = written(
        a_peer(port, "b"),
        routes=[a_route("b") | {"tls_required": True}],
        server={"trusted_proxies": ["10.0.0.0/8"]},
    )
    gateway = await (await launch("--json", config=good)).ready()
    for settings, key, word in (
        (written(a_peer(port, "b"), server={"prot": 1}), "server.prot", "'port'"),
        (written(a_peer(port, "b", "env:NO_SUCH_VARIABLE")), "upstreams[0].keys[0]", "NO_SUCH_VARIABLE"),
        (written(a_peer(port, "b"), routes=[a_route("x")]), "routes[0].upstreams[0].upstream", "'x'"),
        # Right by itself; here it is not served without a restart.
        (for_tls_only, "routes[0].tls_required", "never be met"),
        ("routes = [", None, "not valid TOML"),
    ):
        refused = await gateway.renew(settings)
        assert (refused["event"], refused.get("key"), refused["level"]) == ("settings.refused", key, "error")
        assert word in refused["message"]
        assert (await gateway.ask("POST", "/images/generations", json=PROMPT))[0] == 200
    assert set(paths(upstream)) == {"a"}
    assert (await gateway.renew(written(a_peer(port, "b"))))["event"] == "settings.taken_over"
    assert (await gateway.ask("POST", "/images/generations", json=PROMPT))[0] == 200
    assert paths(upstream)[-1] == "b"


async def test_what_needs_a_restart_stays_and_is_named_once(launch: Launch, upstream: Any, written: Any) -> None:
    """The port, the data folder; what can be taken over beside them is."""
    gateway = await (await launch("--json", config=written(a_peer(upstream.port, "a")))).ready()
    told = await gateway.renew(
        written(a_peer(upstream.port, "b"), server={"port": 1}, store={"retention_s_max": 1000000})
    )
    assert told["changed"] == ["upstreams", "routes"]
    warned = await gateway.logged("settings.need_restart")
    assert (warned["level"], warned["keys"]) == ("warning", ["server.port", "store.retention_s_max"])
    assert (await gateway.ask("POST", "/images/generations", json=PROMPT))[0] == 200
    assert paths(upstream) == ["b"]


async def test_what_was_taken_over_stands_in_the_log_of_changes(launch: Launch, upstream: Any, written: Any) -> None:
    """By whoever runs the machine; what changed nothing, and what was refused, is no change."""
    port = upstream.port
    gateway = await (await launch("--json", config=written(a_peer(port, "a")))).ready()
    await gateway.renew(written(a_peer(port, "a")))
    await gateway.renew("routes = [")
    told = await gateway.renew(written(a_peer(port, "b", "k-1", "k-2")))
    root = gateway.base_url.removesuffix("/v1")
    async with asyncio.timeout(WITHIN_S):
        while True:
            async with gateway.session.get(f"{root}/admin/v1/audit", headers=gateway.bearer) as got:
                page = await got.json()
            if page["data"]:
                break
            await asyncio.sleep(0.02)
    (line,) = page["data"]
    assert (line["actor"], line["action"], line["target"]) == ("operator", "settings.taken_over", "settings")
    assert line["details"] == {"changed": told["changed"], "new_keys": 2, "removed_keys": 1}


async def test_a_signal_while_it_drains_changes_nothing(launch: Launch, upstream: Any, written: Any) -> None:
    """Nor does it end the process, as it does with one that does not know it."""
    gateway = await (await launch("--json", config=written(a_peer(upstream.port, "a")))).ready()
    upstream.gate.clear()
    reader, writer, _ = await gateway.hold()
    gateway.process.send_signal(signal.SIGTERM)
    await gateway.draining()
    gateway.process.send_signal(signal.SIGHUP)
    await asyncio.sleep(0.05)
    upstream.gate.set()
    assert b'"b64_json"' in await asyncio.wait_for(reader.readuntil(b"\r\n0\r\n\r\n"), WITHIN_S)
    writer.close()
    assert await gateway.ended() == Exit.OK
    assert "settings." not in await gateway.said()


async def test_models_that_are_passed_through_come_and_go(launch: Launch, upstream: Any, written: Any) -> None:
    """One that streams when they are taken away is passed on to its end."""
    peer = a_peer(upstream.port, "a")
    text = {"name": "text", "provider": "openai", "base_url": f"http://127.0.0.1:{upstream.port}/v1", "keys": ["t-1"]}
    chat = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello, marker Qx7Zt"}]}
    upstream.answers({"choices": []})
    gateway = await (await launch("--json", config=written(peer))).ready()
    assert (await gateway.ask("POST", "/chat/completions", json=chat))[0] == 404
    with_text = written(peer, passthrough={"upstream": "text", "models": ["gpt-4o"]})
    with_text["upstreams"].append(text)
    assert (await gateway.renew(with_text))["event"] == "settings.taken_over"
    assert (await gateway.ask("POST", "/chat/completions", json=chat))[0] == 200
    upstream.gate.clear()
    asking = asyncio.create_task(gateway.ask("POST", "/chat/completions", json=chat))
    await upstream.was_asked(2)
    await gateway.renew(written(peer))
    upstream.gate.set()
    assert (await asking)[0] == 200
    assert (await gateway.ask("POST", "/chat/completions", json=chat))[0] == 404
