"""Images to start from by their address: fetched before anything is accepted, kept as if they had been sent."""

from __future__ import annotations

import asyncio
import base64
import errno
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from holdfast.gateway import fetching

PROMPT = "a lighthouse in the fog, marker Qx7Zt"
ALLOWED = {"allow_private": True, "allow_http": True}


class Pictures:
    """A host of images: path -> body, or how to misbehave; secrets of its own in every query."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.hangs: set[str] = set()
        self.asked: list[str] = []
        self.at_once = self.most_at_once = 0
        self.pause_s = 0.0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    def url(self, path: str) -> str:
        """Where one lies."""
        return f"http://127.0.0.1:{self.port}{path}?sig=s3cret"

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Hang up everywhere."""
        assert self._server is not None
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            line = (await reader.readuntil(b"\r\n\r\n")).decode().split(" ")[1]
            path = line.partition("?")[0]
            self.asked.append(path)
            await asyncio.sleep(self.pause_s)
            if path in self.hangs:
                await reader.read()
            status, body = (200, self.files[path]) if path in self.files else (404, b"no")
            # What it calls them is not believed.
            head = f"HTTP/1.1 {status} X\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            self.at_once -= 1
            self._tasks.discard(task)
            writer.close()


@pytest.fixture
async def pictures() -> AsyncIterator[Pictures]:
    """Somebody who has images."""
    made = Pictures()
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def gateway(start: Any) -> Any:
    """One that may fetch from this machine."""
    return await start(inputs=ALLOWED)


async def create(gateway: Any, *urls: str, prefer: str = "wait=50", **more: Any) -> Any:
    """Ask natively, from images by their addresses."""
    headers = {"Authorization": f"Bearer {gateway.key}", "Prefer": prefer, **more.pop("headers", {})}
    body = {"prompt": PROMPT, "images": [{"url": url} for url in urls], **more}
    return await gateway.ask("POST", "/v1/generations", headers=headers, json=body)


def inlined(asked: Any) -> list[bytes]:
    """The images that the upstream was given."""
    parts = asked.json["contents"][-1]["parts"]
    return [base64.b64decode(part["inlineData"]["data"]) for part in parts if "inlineData" in part]


def assert_nothing_was_kept(gateway: Any) -> None:
    """No generation, nothing in the spool."""
    assert gateway.count("generation") == 0
    assert list((gateway.data / "spool").iterdir()) == []


async def test_images_are_fetched_in_their_order(gateway: Any, upstream: Any, pictures: Pictures, a_png: Any) -> None:
    """Beside those that were sent; what the other side calls them does not matter, the bytes do."""
    drawn = [a_png(noise_bytes=700_000), a_png(), a_png()]
    pictures.files = {"/one": drawn[0], "/three": drawn[2]}
    sent = {"b64": base64.b64encode(drawn[1]).decode()}
    images = [{"url": pictures.url("/one")}, sent, {"url": pictures.url("/three")}]
    answer = await create(gateway, images=images)
    assert answer.json["status"] == "succeeded", answer
    assert inlined(upstream.asked[0]) == drawn
    inputs = gateway.record(answer.json["id"]).generation.request
    assert b"image/png" in inputs
    assert b"s3cret" not in inputs
    assert len(list((gateway.data / "inputs").iterdir())) == 3


async def test_a_repeat_names_the_same_address(gateway: Any, upstream: Any, pictures: Pictures, a_png: Any) -> None:
    """Whatever lies there by then: the same request under the same key is the same generation, and nobody is asked."""
    pictures.files["/a"] = a_png()
    key = {"Idempotency-Key": "k"}
    first = await create(gateway, pictures.url("/a"), headers=key)
    pictures.files["/a"] = a_png()
    again = await create(gateway, pictures.url("/a"), headers=key)
    assert again.generation_id == first.generation_id
    assert pictures.asked == ["/a"]
    pictures.files["/b"] = a_png()
    other = await create(gateway, pictures.url("/b"), headers=key)
    assert (other.status, other.json["code"]) == (422, "idempotency_key_reused")
    assert pictures.asked == ["/a"]
    assert len(upstream.asked) == 1


@pytest.mark.parametrize(
    ("path", "status", "code", "told"),
    [
        ("/missing", 400, "invalid_request", "the answer was 404"),
        ("/text", 400, "invalid_request", "not a whole PNG"),
        ("/cut", 400, "invalid_request", "not a whole PNG"),
        ("/empty", 400, "invalid_request", "not a whole PNG"),
        ("/huge", 413, "input_too_large", "longer than 200,000 bytes"),
        ("/hangs", 400, "invalid_request", "no answer in time"),
    ],
)
async def test_what_cannot_be_had_starts_nothing(
    start: Any, upstream: Any, pictures: Pictures, a_png: Any, path: str, status: int, code: str, told: str
) -> None:
    """The field is named, the address is not; the images beside it are let go."""
    gateway = await start(inputs={**ALLOWED, "fetch_s": 0.5}, store={"image_bytes_max": 200_000})
    pictures.files = {
        "/good": a_png(),
        "/text": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "/cut": a_png(noise_bytes=1000)[:-20],
        "/empty": b"",
        "/huge": a_png(noise_bytes=200_000),
    }
    pictures.hangs = {"/hangs"}
    began = time.monotonic()
    answer = await create(gateway, pictures.url("/good"), pictures.url(path))
    assert (answer.status, answer.json["code"], answer.json["param"]) == (status, code, "images[1].url")
    assert told in answer.json["detail"]
    assert "s3cret" not in answer.json["detail"]
    assert answer.json["paid"] == "no"
    assert time.monotonic() - began <= 3.0
    assert_nothing_was_kept(gateway)
    assert upstream.asked == []


async def test_a_gateway_as_shipped_asks_nobody_inside(start: Any, pictures: Pictures) -> None:
    """Private, loopback, metadata, plain HTTP: refused by the URL alone, or by what its name leads to."""
    gateway = await start()
    for url, told in (
        (pictures.url("/a").replace("http:", "https:"), "loopback"),
        (pictures.url("/a"), "https://"),
        ("https://169.254.169.254/latest/meta-data", "a metadata service"),
        ("https://[::1]/", "loopback"),
        ("https://localhost/", "inputs.allow_private"),
        ("https://10.0.0.7/a.png", "private"),
    ):
        answer = await create(gateway, url)
        assert (answer.status, answer.json["param"]) == (400, "images[0].url")
        assert told in answer.json["detail"], url
    assert pictures.asked == []
    assert_nothing_was_kept(gateway)


async def test_an_operator_may_forbid_it(start: Any, pictures: Pictures) -> None:
    """Then the way that is left is named."""
    gateway = await start(inputs={**ALLOWED, "fetch": False})
    answer = await create(gateway, pictures.url("/a"))
    assert answer.status == 400
    assert "Send its bytes instead" in answer.json["detail"]
    assert pictures.asked == []


async def test_a_request_is_looked_at_before_anybody_is_asked(gateway: Any, pictures: Pictures) -> None:
    """A model that is not served, a webhook to inside: nothing is fetched for it."""
    for more in ({"model": "dall-e-3"}, {"webhook": {"url": "https://10.0.0.1/"}}):
        assert (await create(gateway, pictures.url("/a"), **more)).status in (400, 404)
    assert pictures.asked == []


async def test_google_s_callers_name_images_too(gateway: Any, upstream: Any, pictures: Pictures, a_png: Any) -> None:
    """`fileData`, either spelling: the upstream is sent bytes in their places, with what they are, and no address."""
    drawn = [a_png(noise_bytes=300_000), a_png(), a_png()]
    pictures.files = {"/one": drawn[0], "/three": drawn[2]}
    parts = [
        {"text": PROMPT},
        {"fileData": {"mimeType": "image/jpeg", "fileUri": pictures.url("/one")}},
        {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(drawn[1]).decode()}},
        {"file_data": {"file_uri": pictures.url("/three")}},
    ]
    key = {"Idempotency-Key": "k"}
    answer = await gateway.gemini(headers=key, contents=[{"role": "user", "parts": parts}])
    assert answer.status == 200, answer
    assert inlined(upstream.asked[0]) == drawn
    sent = upstream.asked[0].json["contents"][0]["parts"]
    assert [part["inlineData"]["mimeType"] for part in sent[1:]] == ["image/png"] * 3
    assert b"s3cret" not in upstream.asked[0].body
    pictures.files["/one"] = a_png()
    again = await gateway.gemini(headers=key, contents=[{"role": "user", "parts": parts}])
    assert (again.status, again.generation_id) == (200, answer.generation_id)
    assert len(upstream.asked) == 1


async def test_what_cannot_be_had_is_told_in_google_s_words(gateway: Any, upstream: Any, pictures: Pictures) -> None:
    """The field is named; what Google keeps for a credential of its own is not asked for."""
    for uri, told in (
        (pictures.url("/missing"), "the answer was 404"),
        ("https://169.254.169.254/", "a metadata service"),
        ("gs://bucket/a.png", "uploaded to Google"),
        ("https://generativelanguage.googleapis.com/v1beta/files/abc", "uploaded to Google"),
    ):
        parts = [{"text": PROMPT}, {"fileData": {"mimeType": "image/png", "fileUri": uri}}]
        answer = await gateway.gemini(contents=[{"parts": parts}])
        assert (answer.status, answer.error["status"]) == (400, "INVALID_ARGUMENT")
        assert told in answer.error["message"], uri
        (fields,) = [each for each in answer.error["details"] if "fieldViolations" in each]
        assert fields["fieldViolations"] == [{"field": "contents[0].parts[1].fileData.fileUri"}]
    many = [{"fileData": {"fileUri": pictures.url("/a")}}] * 15
    refused = await gateway.gemini(contents=[{"parts": [{"text": PROMPT}, *many]}])
    assert (refused.status, "At most 14" in refused.error["message"]) == (400, True)
    assert pictures.asked == ["/missing"]
    assert_nothing_was_kept(gateway)


async def test_a_few_are_fetched_at_once(gateway: Any, pictures: Pictures, a_png: Any) -> None:
    """Fourteen at most, four of them at a time; the same address twice is asked twice, and kept once."""
    picture = a_png()
    pictures.files = {f"/{at}": picture for at in range(14)}
    pictures.pause_s = 0.02
    answer = await create(gateway, *(pictures.url(f"/{at}") for at in range(14)))
    assert answer.json["status"] == "succeeded", answer
    assert pictures.most_at_once == fetching.AT_ONCE_OF_A_REQUEST
    assert len(list((gateway.data / "inputs").iterdir())) == 1
    more = await create(gateway, *(pictures.url("/0") for _ in range(15)))
    assert (more.status, more.json["param"]) == (400, "images")


async def test_all_requests_together_have_bounded_room(
    start: Any, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever finds none in his time is told so; who hangs gives his place back."""
    monkeypatch.setattr(fetching, "AT_ONCE", 2)
    gateway = await start(inputs={**ALLOWED, "fetch_s": 0.4})
    pictures.hangs = {"/hangs"}
    answers = await asyncio.gather(*(create(gateway, pictures.url("/hangs")) for _ in range(6)))
    told = [(answer.status, answer.json["detail"].rpartition(": ")[2]) for answer in answers]
    late, crowded = (400, "no answer in time."), (503, "too many images are being fetched at this moment.")
    assert set(told) == {late, crowded}
    assert told.count(late) >= 2
    assert pictures.most_at_once == 2
    (refused, *_) = [answer for answer in answers if answer.status == 503]
    assert (refused.json["code"], refused.headers["x-should-retry"]) == ("overloaded", "true")
    assert_nothing_was_kept(gateway)


async def test_one_key_does_not_keep_others_out(
    start: Any, upstream: Any, pictures: Pictures, a_png: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who names addresses that say nothing has some of the places; another key's images are fetched meanwhile."""
    monkeypatch.setattr(fetching, "AT_ONCE", 3)
    monkeypatch.setattr(fetching, "AT_ONCE_OF_A_KEY", 2)
    gateway = await start(inputs={**ALLOWED, "fetch_s": 1.0})
    pictures.hangs, pictures.files = {"/hangs"}, {"/a": a_png()}
    slow = [asyncio.create_task(create(gateway, pictures.url("/hangs"))) for _ in range(6)]
    async with asyncio.timeout(5):
        while pictures.at_once < 2:
            await asyncio.sleep(0.01)
    stranger = {"Authorization": f"Bearer {await gateway.another_key()}"}
    answer = await create(gateway, pictures.url("/a"), headers=stranger)
    assert answer.json["status"] == "succeeded", answer
    assert pictures.most_at_once == 3
    assert {each.status for each in await asyncio.gather(*slow)} == {400, 503}


@pytest.mark.parametrize("surface", ["edits", "chat", "gemini", "native"])
async def test_a_repeat_that_joins_fetches_nothing(
    gateway: Any, upstream: Any, pictures: Pictures, a_png: Any, surface: str
) -> None:
    """On every surface: it waits for nobody's server, and its answer is the one that it joined."""
    pictures.files["/a"] = a_png()
    url = pictures.url("/a")
    headers = {"Authorization": f"Bearer {gateway.key}", "x-stainless-retry-count": "1"}
    path, body = {
        "edits": ("/v1/images/edits", {"prompt": PROMPT, "images": [{"image_url": url}]}),
        "chat": (
            "/v1/chat/completions",
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": PROMPT},
                            {"type": "image_url", "image_url": {"url": url}},
                        ],
                    }
                ]
            },
        ),
        "gemini": (
            "/v1beta/models/nano-banana-pro:generateContent",
            {"contents": [{"parts": [{"text": PROMPT}, {"fileData": {"fileUri": url}}]}]},
        ),
        "native": ("/v1/generations", {"prompt": PROMPT, "images": [{"url": url}]}),
    }[surface]
    if surface == "native":
        headers["Prefer"] = "wait=50"
    upstream.gate.clear()
    first = asyncio.create_task(gateway.ask("POST", path, headers=headers, json=body))
    await upstream.was_asked()
    second = asyncio.create_task(gateway.ask("POST", path, headers=headers, json=body))
    await asyncio.sleep(0.1)
    upstream.gate.set()
    answers = await asyncio.gather(first, second)
    assert answers[0].generation_id == answers[1].generation_id
    assert {answer.status for answer in answers} == {200}
    assert pictures.asked == ["/a"]
    assert len(upstream.asked) == 1
    assert inlined(upstream.asked[0]) == [pictures.files["/a"]]


async def test_a_full_disk_is_told_as_one(
    gateway: Any, pictures: Pictures, a_png: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503, and nothing is left behind."""
    pictures.files["/a"] = a_png()

    def full(self: Any, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetching.OpenInput, "write", full)
    answer = await create(gateway, pictures.url("/a"))
    assert (answer.status, answer.json["code"]) == (503, "storage_low")
    assert_nothing_was_kept(gateway)


async def test_who_leaves_while_it_is_fetched_buys_nothing(gateway: Any, upstream: Any, pictures: Pictures) -> None:
    """Nobody would take what comes of it."""
    pictures.hangs = {"/hangs"}
    wire = await gateway.dial()
    body = {"prompt": PROMPT, "images": [{"url": pictures.url("/hangs")}]}
    await wire.send(gateway.post(body, path="/v1/generations"))
    async with asyncio.timeout(5):
        while not pictures.asked:
            await asyncio.sleep(0.01)
    wire.leave()
    await asyncio.sleep(0.05)
    await pictures.close()
    await gateway.idle()
    assert_nothing_was_kept(gateway)
    assert upstream.asked == []
