"""What a dead process leaves of an answer that names its image by a link, or that broke off in a chat."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

MODEL = "nano-banana-pro"
LINK = "https://files.test/1.png"


@pytest.fixture
def sections() -> dict[str, Any]:
    """A relay with both of its doors."""
    relay = {"provider": "openai", "flavor": "relay", "base_url": "http://relay.test/v1", "keys": ["k"]}
    return {
        "upstreams": [{"name": "images", **relay}, {"name": "chat", "api": "chat", **relay}],
        "routes": [
            {"model": MODEL, "upstreams": [{"upstream": "images", "model": "m"}]},
            {"model": "gpt-image-2", "upstreams": [{"upstream": "chat", "model": "m"}]},
        ],
    }


def text_of(picture: bytes) -> str:
    """Its base64."""
    return base64.b64encode(picture).decode()


async def test_a_link_that_was_still_to_be_fetched_is_lost_and_told(bench: Any, a_picture: bytes) -> None:
    """Of a draft beside it, too: nothing is delivered that was not asked for, and nothing is bought again."""
    new, live = await bench.accepted()
    attempt = await bench.sent(live)
    body = f'{{"data":[{{"b64_json":"{text_of(a_picture)}"}}],"data":[{{"url":"{LINK}"}}]}}'
    spooled = bench.received(live, attempt, body.encode())
    assert spooled.answer.url_only
    await bench.restart()
    await bench.quiet()
    record = await bench.record(new.id)
    assert (record.generation.state, record.attempts[0].charge) == ("failed", "yes")
    assert record.attempts[0].failed.kind == "malformed"
    assert bench.upstream.asked == []
    await bench.is_clean(new.id)


async def test_of_a_chat_that_broke_off_the_last_picture_is_the_result(bench: Any, make: Any, shapes: Any) -> None:
    """As while the process lives: its model shows drafts before."""
    new, live = await bench.accepted(make("gpt-image-2"))
    attempt = await bench.sent(live)
    pictures = [shapes.png(1), shapes.png(2)]
    text = " ".join(f"![image](data:image/png;base64,{text_of(picture)})" for picture in pictures)
    body = json.dumps({"choices": [{"message": {"content": text}}]}).encode()
    assert bench.received(live, attempt, body, finish=False) is None
    await bench.restart()
    await bench.quiet()
    record = await bench.record(new.id)
    assert record.generation.state == "succeeded"
    assert bench.bytes_of(record) == pictures[1]
