"""Image models through chat completions, over real sockets: what chat programs send, and what they are given."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin

import pytest

PROMPT = "a lighthouse in the fog, marker Qx7Zt"
PATH = "/v1/chat/completions"
FAST = {"first_beat_s": 0.1, "beat_s": 0.1}
DATA = "data:image/png;base64,"


def data_url(picture: bytes) -> str:
    """Write an image as chat programs send it."""
    return DATA + base64.b64encode(picture).decode()


def user(text: str = PROMPT, *urls: str) -> dict[str, Any]:
    """A turn of the user's."""
    parts = [{"type": "text", "text": text}, *({"type": "image_url", "image_url": {"url": url}} for url in urls)]
    return {"role": "user", "content": parts if urls else text}


async def chat(gateway: Any, *messages: Any, headers: dict[str, str] | None = None, **fields: Any) -> Any:
    """Ask as a chat program does."""
    sent = {"Authorization": f"Bearer {gateway.key}", **(headers or {})}
    body = {"model": "nano-banana-pro", "messages": messages or [user()], **fields}
    return await gateway.ask("POST", PATH, headers=sent, json=body)


def shown(answer: Any) -> bytes:
    """The image of a plain answer, in its text."""
    content = answer.json["choices"][0]["message"]["content"]
    assert content.startswith(f"![image]({DATA}")
    return base64.b64decode(content.removeprefix(f"![image]({DATA}").removesuffix(")"))


def chunks_of(body: bytes) -> list[dict[str, Any]]:
    """The documents of a stream, beats left out."""
    lines = [line for line in body.split(b"\n") if line]
    assert all(line.startswith(b"data: ") for line in lines)
    assert lines[-1] == b"data: [DONE]"
    return [json.loads(line.removeprefix(b"data: ")) for line in lines[:-1]]


def text_of(chunks: list[dict[str, Any]]) -> str:
    """What a program puts together."""
    return "".join(choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"])


def given(asked: Any) -> list[bytes]:
    """The images that Gemini was given."""
    parts = asked.json["contents"][-1]["parts"]
    return [base64.b64decode(part["inlineData"]["data"]) for part in parts if "inlineData" in part]


async def test_a_plain_answer_shows_the_image(start: Any, upstream: Any) -> None:
    """As Markdown with its bytes; the generation is one like any other."""
    gateway = await start()
    answer = await chat(gateway, temperature=0.7)
    assert answer.status == 200, answer
    assert shown(answer) == upstream.pictures[0]
    assert answer.json["usage"]["completion_tokens"] == 7
    assert answer.headers["holdfast-ignored"] == "temperature"
    assert int(answer.headers["content-length"]) == len(answer.body)
    row = gateway.record(answer.generation_id).generation
    assert (row.surface, row.state, row.model) == ("chat", "succeeded", "nano-banana-pro")
    assert (await gateway.resource(answer.generation_id))["images"][0]["mime"] == "image/png"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("settings", "fields", "shape"),
    [
        ("content", {}, "content"),
        ("content", {"modalities": ["image", "text"]}, "images"),
        ("images", {}, "images"),
        ("link", {}, "link"),
    ],
)
async def test_images_are_where_the_caller_looks(
    start: Any, upstream: Any, settings: str, fields: dict[str, Any], shape: str, stream: bool
) -> None:
    """By the setting, or as OpenRouter's callers ask; a link leads to the image."""
    gateway = await start(chat={"images": settings})
    answer = await chat(gateway, stream=stream, **fields)
    assert answer.status == 200, answer
    if stream:
        chunks = chunks_of(answer.body)
        images = [image for chunk in chunks for image in chunk["choices"][0]["delta"].get("images", [])]
        message = {"content": text_of(chunks), "images": images}
    else:
        message = answer.json["choices"][0]["message"]
    picture = upstream.pictures[0]
    if shape == "images":
        assert message["images"][0]["image_url"]["url"] == data_url(picture)
        assert message["content"] == ""
    elif shape == "content":
        assert message["content"] == f"![image]({data_url(picture)})"
    else:
        url = message["content"].removeprefix("![image](").removesuffix(")")
        fetched = await gateway.ask("GET", url, headers={})
        assert fetched.body == picture


async def test_a_stream_is_beaten_for_and_comes_in_short_lines(
    start: Any, upstream: Any, a_png: Callable[..., bytes]
) -> None:
    """Blank lines while it is drawn; then no line that a reader of 64 KiB breaks on."""
    gateway, picture = await start(heartbeat=FAST), a_png(noise_bytes=400_000)
    upstream.gate.clear()
    upstream.gives(picture)
    wire = await gateway.dial()
    document = {"messages": [user()], "stream": True, "stream_options": {"include_usage": True}}
    await wire.send(gateway.post(document, path=PATH))
    head = await wire.head()
    assert (head.status, head.headers["content-type"]) == (200, "text/event-stream")
    await wire.beats(2)
    upstream.gate.set()
    body = await wire.chunks()
    assert max(map(len, body.split(b"\n"))) < 65_536
    chunks = chunks_of(body)
    assert text_of(chunks) == f"![image]({data_url(picture)})"
    assert (chunks[-1]["choices"], chunks[-1]["usage"]["total_tokens"]) == ([], 12)


async def test_a_conversation_goes_on_from_what_it_showed(
    start: Any, upstream: Any, a_png: Callable[..., bytes]
) -> None:
    """The answer comes back as it was given, 500 KB of text with the next turn; the user's own image follows it."""
    gateway, drawn, own = await start(), a_png(noise_bytes=400_000), a_png()
    upstream.gives(drawn)
    first = await chat(gateway)
    history = [user(), first.json["choices"][0]["message"]]
    second = await chat(gateway, *history, user(f"with this hat, {PROMPT}", data_url(own)))
    assert second.status == 200, second
    assert given(upstream.asked[1]) == [drawn, own]
    assert upstream.asked[1].prompt == f"with this hat, {PROMPT}"


async def test_a_link_of_ours_is_not_fetched_from_ourselves(start: Any, upstream: Any) -> None:
    """It is found in the store, by its own key only; once the image is gone the talk goes on without it."""
    gateway = await start(chat={"images": "link"})
    first = await chat(gateway)
    history = [user(), first.json["choices"][0]["message"]]
    second = await chat(gateway, *history, user("in red"))
    assert second.status == 200, second
    assert given(upstream.asked[1]) == [upstream.pictures[0]]
    stranger = {"Authorization": f"Bearer {await gateway.another_key()}"}
    third = await chat(gateway, *history, user("in blue"), headers=stranger)
    assert third.status == 200, third
    assert given(upstream.asked[2]) == []
    url = history[1]["content"].removeprefix("![image](").removesuffix(")")
    refused = await chat(gateway, user("in green", url), headers=stranger)
    assert (refused.status, refused.error["code"]) == (404, "generation_not_found")


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({"model": "nano-banana-pro-4k"}, "4096x4096"),
        ({"model": "gemini-3-pro-image-16x9-2k"}, "2752x1536"),
        ({"image_config": {"aspect_ratio": "16:9", "image_size": "2K"}}, "2752x1536"),
        ({"extra_body": {"google": {"image_config": {"image_size": "4K"}}}}, "4096x4096"),
        ({"model": "nano-banana-pro-4k", "size": "1K"}, "1024x1024"),
        ({"size": "1536x1024"}, "2528x1696"),
    ],
)
async def test_sizes_are_asked_for_as_elsewhere(start: Any, fields: dict[str, Any], size: str) -> None:
    """By the model's name, in OpenRouter's words, in new-api's, in OpenAI's."""
    gateway = await start()
    answer = await chat(gateway, **fields)
    assert answer.status == 200, answer
    assert gateway.record(answer.generation_id).generation.size == size


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("held", [False, True])
async def test_a_refusal_is_shown_and_not_charged_as_an_image(
    start: Any, upstream: Any, stream: bool, held: bool
) -> None:
    """`content_filter`, whether the status was still free or not."""
    gateway = await start(heartbeat=FAST)
    upstream.answers({"promptFeedback": {"blockReason": "SAFETY"}})
    if held:
        upstream.gate.clear()
        asyncio.get_running_loop().call_later(0.3, upstream.gate.set)
    answer = await chat(gateway, stream=stream)
    assert answer.status == 200, answer
    if stream:
        last = chunks_of(answer.body)[-1]
        assert last["choices"][0]["finish_reason"] == "content_filter"
    else:
        (choice,) = answer.json["choices"]
        assert choice["finish_reason"] == "content_filter"
        assert "refused the prompt" in choice["message"]["refusal"]
    assert gateway.record(answer.generation_id).generation.state == "failed"


async def test_failures_are_told_in_openai_s_words(start: Any, upstream: Any) -> None:
    """With a status while it is free, in the stream once it is not."""
    gateway = await start(heartbeat=FAST, retry={"attempts_max": 1})
    upstream.answers(b"<html>", status=500)
    early = await chat(gateway)
    assert (early.status, early.error["code"]) == (502, "upstream_failed")
    upstream.gate.clear()
    asyncio.get_running_loop().call_later(0.3, upstream.gate.set)
    late = await chat(gateway, stream=True)
    lines = [line for line in late.body.split(b"\n") if line]
    assert json.loads(lines[-1].removeprefix(b"data: "))["error"]["code"] == "upstream_failed"


@pytest.mark.parametrize(
    ("messages", "fields", "status", "param", "told"),
    [
        ([{"role": "system", "content": "x"}], {}, 400, "messages", "none of the user's"),
        ([user("  ")], {}, 400, "messages", "no text"),
        ([user(PROMPT, DATA + "AAAA")], {}, 400, "image", "is not a whole PNG"),
        ([user(PROMPT, "https://10.0.0.1/a.png")], {}, 400, "messages[0].content[1].image_url", "private"),
        ([user()], {"model": "gpt-4o"}, 404, "model", "not served here"),
        ([user()], {"size": "5K"}, 400, "size", "is not offered"),
        ([user(PROMPT, *["https://10.0.0.1/a.png"] * 15)], {}, 400, "image", "takes at most 14"),
    ],
)
async def test_what_is_wrong_is_told_and_costs_nothing(
    start: Any, upstream: Any, messages: Any, fields: dict[str, Any], status: int, param: str, told: str
) -> None:
    """Field and words, before anything is asked."""
    gateway = await start()
    answer = await chat(gateway, *messages, **fields)
    assert (answer.status, answer.error["param"]) == (status, param), answer
    assert told in answer.error["message"]
    assert upstream.asked == []


async def test_a_repeat_joins(start: Any, upstream: Any) -> None:
    """What an SDK repeats by itself is bought once."""
    gateway = await start()
    upstream.gate.clear()
    first = asyncio.create_task(chat(gateway))
    await upstream.was_asked()
    second = asyncio.create_task(chat(gateway, headers={"x-stainless-retry-count": "1"}))
    await asyncio.sleep(0.05)
    upstream.gate.set()
    answers = await asyncio.gather(first, second)
    assert answers[0].generation_id == answers[1].generation_id
    assert shown(answers[0]) == shown(answers[1])
    assert len(upstream.asked) == 1


async def test_it_can_be_held_by_redirects_and_asked_for_later(start: Any, upstream: Any) -> None:
    """The shape of the answer is kept with the generation, whatever the setting says by then."""
    gateway = await start(heartbeat={"redirect_hop_s": 0.2})
    upstream.gate.clear()
    asyncio.get_running_loop().call_later(0.4, upstream.gate.set)
    answer = await chat(gateway, headers={"Prefer": "hold=redirects"}, modalities=["image"])
    hops = 0
    where = PATH
    while answer.status == 303:
        where = urljoin(where, answer.headers["location"])
        answer = await gateway.ask("GET", where)
        hops += 1
    assert (answer.status, hops >= 1) == (200, True)
    assert answer.json["choices"][0]["message"]["images"][0]["image_url"]["url"] == data_url(upstream.pictures[0])
    later = await chat(gateway, user("another"), headers={"Prefer": "respond-async"})
    assert later.status == 202
    assert (await gateway.resource_once(later.json["id"], "succeeded"))["images"]
