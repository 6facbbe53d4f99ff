"""The TLS listener beside the plain one, routes that demand it, and the upgrade that Java offers on every POST."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.gateway.server import PortRefused
from holdfast.gateway.sockets import Listening, listen

QUICK = {"first_beat_s": 0.1, "beat_s": 0.1}
H2C = {
    "Connection": "Upgrade, HTTP2-Settings",
    "Upgrade": "h2c",
    "HTTP2-Settings": "AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Make a self-signed certificate for 127.0.0.1, as a person would."""
    folder = tmp_path_factory.mktemp("certificate")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=holdfast", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    subprocess.run([*command, *names, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


@pytest.fixture
def trusting(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    """A caller's context that trusts it."""
    context = ssl.create_default_context(cafile=str(certificate[0]))
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


@pytest.fixture
def start_tls(start: Any, certificate: tuple[Path, Path]) -> Callable[..., Awaitable[Any]]:
    """Start gateways with both listeners."""

    async def starter(*, server: dict[str, Any] | None = None, **sections: Any) -> Any:
        tls = {"port": 0, "tls_port": 0, "tls_cert": str(certificate[0]), "tls_key": str(certificate[1])}
        return await start(server={**tls, **(server or {})}, **sections)

    return starter


async def dial_tls(gateway: Any, context: ssl.SSLContext) -> Any:
    """Open a connection to the TLS listener."""
    plain = await gateway.dial()
    plain.leave()
    port = gateway.running.listeners[1].port
    wire = type(plain)(*await asyncio.open_connection("127.0.0.1", port, ssl=context))
    gateway.wires.append(wire)
    return wire


async def test_both_listeners_share_one_gateway(start_tls: Any, upstream: Any, trusting: Any) -> None:
    """What was made over TLS is collected in clear: one store, one key; each link has the scheme its caller used."""
    gateway = await start_tls()
    assert gateway.running.tls_base_url == f"https://127.0.0.1:{gateway.running.listeners[1].port}"
    headers = {"Authorization": f"Bearer {gateway.key}"}
    url = f"{gateway.running.tls_base_url}/v1/images/generations"
    answer = await gateway.ask("POST", url, headers=headers, json={"prompt": "marker Qx7Zt"}, ssl=trusting)
    assert answer.picture() == upstream.pictures[0]
    link = answer.json["data"][0]["url"]
    assert link.startswith(f"{gateway.running.tls_base_url}/v1/generations/")
    assert (await gateway.ask("GET", link, headers={}, ssl=trusting)).body == upstream.pictures[0]
    in_clear = link.replace(gateway.running.tls_base_url, gateway.running.base_url)
    assert (await gateway.ask("GET", in_clear, headers={})).body == upstream.pictures[0]


async def test_a_taken_tls_port_is_named_and_the_plain_one_let_go_of(
    start_tls: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two listeners, one of which cannot be opened: neither is, and the message is about the right one."""
    opened: list[Listening] = []

    def noting(*arguments: Any, **options: Any) -> Listening:
        opened.append(listen(*arguments, **options))
        return opened[-1]

    monkeypatch.setattr("holdfast.gateway.server.listen", noting)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortRefused) as refused:
            await start_tls(server={"tls_port": port})
    assert (refused.value.port, refused.value.is_tls) == (port, True)
    (plain,) = opened
    assert plain.sock.fileno() == -1


async def test_only_http_1_1_is_offered_under_tls(start_tls: Any, trusting: Any) -> None:
    """One lost packet on HTTP/2 stalls every stream of a connection."""
    gateway = await start_tls()
    wire = await dial_tls(gateway, trusting)
    assert wire.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"


async def test_a_caller_is_held_and_collects_under_tls(
    start_tls: Any, upstream: Any, trusting: Any, a_png: Any, journal: Any
) -> None:
    """Beats in the first record with the head, then a heavy image; its arrival is known through both buffers."""
    gateway = await start_tls(heartbeat=QUICK)
    upstream.gate.clear()
    picture = a_png(noise_bytes=3_000_000)
    upstream.gives(picture)
    wire = await dial_tls(gateway, trusting)
    await wire.send(gateway.post())
    first = await wire.segment()
    assert first.startswith(b"HTTP/1.1 200 OK\r\n")
    assert first.endswith(b"\r\n\r\n1\r\n\n\r\n")
    await wire.beats(2)
    upstream.gate.set()
    raw = await wire.chunks(within_s=10)
    (collected,) = await journal.has("caller.collected")
    assert gateway.stored(collected["generation_id"]) == [picture]
    assert len(raw) > len(picture) * 4 // 3


async def test_connection_close_under_tls_is_answered_whole(
    start_tls: Any, upstream: Any, trusting: Any, a_png: Any, journal: Any
) -> None:
    """The end is sent, acknowledged and only then closed."""
    gateway = await start_tls()
    picture = a_png(noise_bytes=3_000_000)
    upstream.gives(picture)
    wire = await dial_tls(gateway, trusting)
    await wire.send(gateway.post(headers={"Connection": "close"}))
    answer = await wire.answer(within_s=10)
    assert answer.picture() == picture
    assert await wire.rest() == b""
    await journal.has("caller.collected")


async def test_a_caller_that_leaves_under_tls_is_noticed(
    start_tls: Any, upstream: Any, trusting: Any, journal: Any
) -> None:
    """As on the plain listener: its image is made and kept."""
    gateway = await start_tls(heartbeat=QUICK)
    upstream.gate.clear()
    wire = await dial_tls(gateway, trusting)
    await wire.send(gateway.post())
    await wire.head()
    wire.leave(reset=True)
    (left,) = await journal.has("caller.left")
    upstream.gate.set()
    assert (await gateway.resource_once(left["generation_id"], "succeeded"))["images"]


async def test_a_route_that_demands_tls_is_refused_in_clear(start_tls: Any, upstream: Any, trusting: Any) -> None:
    """403 before anything is bought; over TLS, or through a trusted proxy that says https, it is served."""
    route = {"model": "nano-banana-pro", "aliases": ["gemini-3-pro-image"], "tls_required": True}
    route["upstreams"] = [{"upstream": "google", "model": "gemini-3-pro-image"}]
    gateway = await start_tls(routes=[route], server={"trusted_proxies": ["127.0.0.1/32"]})
    openai, gemini = await gateway.images(), await gateway.gemini()
    assert (openai.status, openai.error["code"], openai.error["paid"]) == (403, "tls_required", "no")
    assert (gemini.status, gemini.error["status"]) == (403, "PERMISSION_DENIED")
    assert openai.headers["x-should-retry"] == "false"
    assert (upstream.asked, gateway.count("generation")) == ([], 0)
    assert (await gateway.images(headers={"X-Forwarded-Proto": "https"})).status == 200
    headers = {"Authorization": f"Bearer {gateway.key}"}
    url = f"{gateway.running.tls_base_url}/v1/images/generations"
    answer = await gateway.ask("POST", url, headers=headers, json={"prompt": "marker Qx7Zt"}, ssl=trusting)
    assert answer.status == 200


async def test_a_strangers_word_that_it_came_by_tls_is_not_believed(start_tls: Any) -> None:
    """Anyone can send `X-Forwarded-Proto`."""
    route = {"model": "nano-banana-pro", "tls_required": True}
    route["upstreams"] = [{"upstream": "google", "model": "gemini-3-pro-image"}]
    gateway = await start_tls(routes=[route])
    answer = await gateway.images(headers={"X-Forwarded-Proto": "https"})
    assert (answer.status, answer.error["code"]) == (403, "tls_required")


@pytest.mark.parametrize("together", [True, False])
async def test_an_h2c_upgrade_is_ignored_and_its_post_is_served(start: Any, upstream: Any, together: bool) -> None:
    """Java's HttpClient offers it: the body, in the same segment or the next, is read as a body and nothing else."""
    gateway = await start(heartbeat=QUICK)
    upstream.gate.clear()
    smuggled = b"POST /v1/images/generations HTTP/1.1\r\nHost: x\r\n\r\n"
    post = gateway.post({"prompt": f"marker Qx7Zt {smuggled.decode()}"}, headers=H2C)
    head, _, body = post.partition(b"\r\n\r\n")
    wire = await gateway.dial()
    await wire.send(*([post] if together else [head + b"\r\n\r\n", body]))
    answer = await wire.head()
    assert (answer.status, answer.headers.get("upgrade")) == (200, None)
    await wire.beats(2)
    upstream.gate.set()
    answer.body = await wire.chunks()
    assert answer.picture() == upstream.pictures[0]
    assert len(upstream.asked) == 1
    assert smuggled.decode() in upstream.asked[0].prompt
    assert gateway.count("generation") == 1
    await wire.send(gateway.post())
    assert (await wire.answer()).picture() == upstream.pictures[1]


async def test_an_h2c_upgrade_with_garbage_behind_it_is_no_second_request(start: Any, upstream: Any) -> None:
    """A body longer than announced is not read as a request when the upgrade is ignored, either."""
    gateway = await start(heartbeat=QUICK)
    wire = await gateway.dial()
    await wire.send(gateway.post(headers=H2C) + gateway.post({"prompt": "a second one, marker Qx7Zt"}))
    answer = await wire.answer()
    assert answer.status == 200
    assert b"HTTP/1.1" not in await wire.rest()
    assert gateway.count("generation") == 1


async def test_a_refused_h2c_post_is_refused_as_any_other(gateway: Any, upstream: Any) -> None:
    """Without a key it is 401, and the body that follows is nobody's request."""
    wire = await gateway.dial()
    await wire.send(gateway.post(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", headers={**H2C, "Authorization": ""}))
    assert (await wire.answer()).status == 401
    await wire.send(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = await wire.answer()
    assert answer.json == {"status": "ready"}
    assert await wire.rest() == b""
