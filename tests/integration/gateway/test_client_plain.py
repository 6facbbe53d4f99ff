"""Our clients against servers that are no holdfast, and against everything that a user gets wrong."""

from __future__ import annotations

import asyncio
import datetime
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import holdfast
from holdfast.client import defaults
from holdfast.clock import SystemClock

PROMPT = "a lighthouse in the fog, marker Qx7Zt"
WITHIN_S = 20.0


@pytest.fixture(autouse=True)
def _without_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (
        ("RECONNECT_S_FIRST", 0.02),
        ("RECONNECT_S_MAX", 0.05),
        ("BACKOFF_S_FIRST", 0.05),
        ("STRANGER_S", 1.0),
    ):
        monkeypatch.setattr(defaults, name, seconds)


@asynccontextmanager
async def a_client(upstream: Any, base: str = "/v1", **options: Any) -> AsyncIterator[holdfast.AsyncClient]:
    """Make a client of the bare upstream."""
    url = f"http://127.0.0.1:{upstream.port}{base}"
    async with holdfast.AsyncClient(url, "sk-plain", network="intranet", **options) as client:
        yield client


def posts(upstream: Any) -> list[Any]:
    """What could be paid for."""
    return [asked for asked in upstream.asked if "/generations?" not in asked.path]


@pytest.mark.parametrize(("base", "server"), [("/v1", "openai"), ("/v1beta", "gemini")])
async def test_an_image_comes_home_from_either_kind(upstream: Any, base: str, server: str) -> None:
    """With what such a server tells: no generation, no record, and an image that is whole."""
    async with a_client(upstream, base) as client:
        result = await client.images.generate(PROMPT, model="gemini-3-pro-image", size="2K")
        assert result[0].bytes == upstream.pictures[0]
        assert (result.server, client.server, result.generation_id) == (server, server, None)
        assert (result.paid, result.sends) == ("yes", 1)
    (asked,) = upstream.asked
    assert asked.prompt == PROMPT
    assert asked.headers["idempotency-key"]


@pytest.mark.parametrize("base", ["/v1", "/v1beta"])
@pytest.mark.parametrize("moment", ["before", "within"])
async def test_a_cut_is_told_as_unknown_and_never_bought_again(upstream: Any, base: str, moment: str) -> None:
    """One look for the key at a server that may be holdfast, none where the answer had begun."""

    async def script(asked: Any, reply: Any) -> None:
        if "/generations?" in asked.path:
            await reply.answer({"error": {"message": "no such path", "type": "t"}}, status=404)
        elif moment == "within":
            await reply.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n{")
            reply.reset()
        else:
            reply.reset()

    upstream.script = script
    async with a_client(upstream, base) as client:
        with pytest.raises(holdfast.TransportError) as caught:
            await asyncio.wait_for(client.images.generate(PROMPT, model="m"), WITHIN_S)
    assert caught.value.paid == "unknown"
    assert caught.value.idempotency_key is not None
    assert len(posts(upstream)) == 1
    assert len(upstream.asked) == (2 if moment == "before" else 1)


async def test_what_costs_nothing_is_tried_again(upstream: Any) -> None:
    """503 and 429, then the image."""
    statuses = [503, 429]

    async def script(asked: Any, reply: Any) -> None:
        if statuses:
            await reply.answer({"error": {"message": "busy", "type": "t"}}, status=statuses.pop(0))
        else:
            await upstream.draw(asked, reply)

    upstream.script = script
    async with a_client(upstream) as client:
        result = await client.images.generate(PROMPT)
    assert (result.sends, len(upstream.asked)) == (3, 3)
    assert len({asked.headers["idempotency-key"] for asked in upstream.asked}) == 1


async def test_another_model_is_asked_where_the_first_is_busy(upstream: Any) -> None:
    """By the client itself, and only because nothing was paid."""

    async def script(asked: Any, reply: Any) -> None:
        if asked.json["model"] == "busy":
            await reply.answer({"error": {"message": "busy", "type": "t"}}, status=503)
        else:
            await upstream.draw(asked, reply)

    upstream.script = script
    async with a_client(upstream) as client:
        await client.images.generate(PROMPT, model="busy", fallback_models=["free"])
    assert [asked.json["model"] for asked in upstream.asked] == ["busy", "busy", "free"]


async def test_an_image_that_is_only_linked_is_fetched_without_the_key(upstream: Any, a_png: Any) -> None:
    """From wherever the relay put it, in as many pieces as it takes."""
    picture = a_png()
    seen: list[dict[str, str]] = []

    async def script(asked: Any, reply: Any) -> None:
        if asked.path == "/cdn/a.png":
            seen.append(asked.headers)
            if len(seen) == 1:
                reply.reset()
            else:
                await reply.answer(picture, headers={"Content-Type": "image/png"})
        else:
            url = f"http://localhost:{upstream.port}/cdn/a.png"
            await reply.answer({"created": 1, "data": [{"url": url}]})

    upstream.script = script
    async with a_client(upstream) as client:
        result = await client.images.generate(PROMPT)
    assert result[0].bytes == picture
    assert len(seen) == 2
    assert all("authorization" not in headers for headers in seen)


# What a user gets wrong


async def test_a_web_page_is_no_image_api(upstream: Any) -> None:
    """Whatever its status; the sentence says where base_url leads."""
    for status in (200, 404):
        upstream.answers(b"<html>Welcome</html>", status=status, headers={"Content-Type": "text/html"})
        async with a_client(upstream) as client:
            with pytest.raises(holdfast.Unavailable, match="/v1"):
                await client.images.generate(PROMPT)


async def test_a_missing_version_and_a_slash_are_put_right(gateway: Any, upstream: Any) -> None:
    """The image comes as if nothing were wrong."""
    for base in ("", "/", "/v1/", "/v1/images/generations"):
        async with holdfast.AsyncClient(f"http://127.0.0.1:{gateway.port}{base}", gateway.key + "\n") as client:
            assert len(await client.images.generate(PROMPT)) == 1
    assert len(upstream.asked) == 4


async def test_a_key_that_is_wrong_is_told_as_such(gateway: Any) -> None:
    """At once, and unpaid."""
    async with holdfast.AsyncClient(gateway.running.base_url, "hf-wrong") as client:
        with pytest.raises(holdfast.AuthenticationError) as caught:
            await client.images.generate(PROMPT)
        assert (caught.value.status, caught.value.paid) == (401, "no")
        with pytest.raises(holdfast.AuthenticationError):
            await client.generations.get("gen_01M8FTS7P7ZVV52S83NYT9VDNZ")


async def test_https_on_a_plain_port_is_told_with_the_address_to_write(gateway: Any) -> None:
    """Before anything is sent."""
    async with holdfast.AsyncClient(f"https://127.0.0.1:{gateway.port}", "hf-k") as client:
        with pytest.raises(holdfast.Unavailable, match=f"http://127.0.0.1:{gateway.port}") as caught:
            await asyncio.wait_for(client.images.generate(PROMPT), WITHIN_S)
        assert caught.value.paid == "no"


@asynccontextmanager
async def a_tls_server(folder: Path, *, days: int) -> AsyncIterator[int]:
    """Listen with a certificate that ends so many days from now."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - datetime.timedelta(days=30))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "c.pem").write_bytes(made.public_bytes(pem))
    (folder / "k.pem").write_bytes(private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "c.pem", folder / "k.pem")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_an_expired_certificate_is_told_at_once(tmp_path: Path) -> None:
    """With whose it is to renew, and that this machine's clock may be what is wrong."""
    async with a_tls_server(tmp_path, days=-1) as port:
        context = ssl.create_default_context(cafile=str(tmp_path / "c.pem"))
        async with holdfast.AsyncClient(f"https://localhost:{port}", "hf-k", verify=context) as client:
            with pytest.raises(holdfast.Unavailable, match=r"expired.*clock") as caught:
                await asyncio.wait_for(client.images.generate(PROMPT), WITHIN_S)
            assert caught.value.paid == "no"


@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_http_on_a_tls_port_is_told_with_the_address_to_write(tmp_path: Path) -> None:
    """All that comes back is no HTTP, every time."""
    async with a_tls_server(tmp_path, days=30) as port:
        client = holdfast.AsyncClient(f"http://localhost:{port}", "hf-k")
        with pytest.raises(holdfast.TransportError, match=f"https://localhost:{port}"):
            await asyncio.wait_for(client.images.generate(PROMPT), WITHIN_S)
        await client.aclose()


async def test_a_proxy_of_the_environment_has_no_business_on_this_machine(gateway: Any, upstream: Any) -> None:
    """And elsewhere one that is dead is told by its name."""
    environ = {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
    async with holdfast.AsyncClient(gateway.running.base_url, gateway.key, environ=environ) as client:
        assert len(await client.images.generate(PROMPT)) == 1
    async with holdfast.AsyncClient("https://images.example/v1", "hf-k", environ=environ) as client:
        with pytest.raises(holdfast.Unavailable, match="NO_PROXY"):
            await asyncio.wait_for(client.images.generate(PROMPT), WITHIN_S)


async def test_a_place_that_cannot_be_written_costs_nothing(gateway: Any, upstream: Any, tmp_path: Path) -> None:
    """It is looked at before anything is sent."""
    async with holdfast.AsyncClient(gateway.running.base_url, gateway.key) as client:
        with pytest.raises(holdfast.RequestError, match="Nothing was sent"):
            await client.images.generate(PROMPT, save_to=tmp_path / "no" / "a.png")
    assert upstream.asked == []


class OffByAnHour(SystemClock):
    """A wall clock that is wrong."""

    def now(self) -> datetime.datetime:
        """An hour late."""
        return super().now() - datetime.timedelta(hours=1)


async def test_a_clock_that_is_an_hour_off_changes_nothing(gateway: Any, upstream: Any) -> None:
    """Only the monotonic clock is looked at, and links are judged by who signed them."""
    async with holdfast.AsyncClient(gateway.running.base_url, gateway.key, clock=OffByAnHour()) as client:
        for _ in range(2):
            await client.images.generate(PROMPT)
    assert len(upstream.asked) == 2


SCRIPT = """
import sys, holdfast
with holdfast.Client(sys.argv[1], sys.argv[2]) as client:
    client.images.generate(sys.argv[3], on_progress=lambda at: print(at.status, flush=True))
"""


async def test_whoever_presses_ctrl_c_is_told_how_to_collect(
    gateway: Any, upstream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key and the generation stand under the traceback, and with them the image is there."""
    upstream.gate.clear()
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", SCRIPT, gateway.running.base_url, gateway.key, PROMPT),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ},
    )
    assert child.stdout is not None
    async with asyncio.timeout(WITHIN_S):
        while await child.stdout.readline() != b"running\n":
            pass
        child.send_signal(signal.SIGINT)
        _, told = await child.communicate()
    text = told.decode()
    assert "KeyboardInterrupt" in text
    assert "idempotency_key='call_" in text
    generation_id = text.split("client.generations.wait('")[1].split("'")[0]
    upstream.gate.set()
    async with holdfast.AsyncClient(gateway.running.base_url, gateway.key) as client:
        assert (await client.generations.wait(generation_id))[0].bytes == upstream.pictures[0]
    assert len(upstream.asked) == 1


async def test_a_task_that_is_cancelled_knows_the_same(gateway: Any, upstream: Any) -> None:
    """As a note on its CancelledError; the same call with the key then joins."""
    upstream.gate.clear()
    async with holdfast.AsyncClient(gateway.running.base_url, gateway.key) as client:
        call = asyncio.create_task(client.images.generate(PROMPT, idempotency_key="order-7"))
        await upstream.was_asked()
        call.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await call
        assert "order-7" in caught.value.__notes__[0]
        upstream.gate.set()
        again = await client.images.generate(PROMPT, idempotency_key="order-7")
        assert again[0].bytes == upstream.pictures[0]
    assert len(upstream.asked) == 1
