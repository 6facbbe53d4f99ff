"""Loops that people write: a timeout, and the same POST again. One purchase, and the image is theirs."""

from __future__ import annotations

import base64
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import openai
import pytest

TIMEOUT_S = 2.5
SLOW_S = 4.0
"""Longer than one try of the loop, shorter than two."""


@dataclass(frozen=True, kw_only=True)
class Looped:
    """What came of a loop."""

    image: bytes
    tries: int
    generation_id: str


def loop(url: str, key: str, prompt: str, **headers: str) -> Looped:
    """Post up to three times, each with a timeout; the whole of what most programs know of retries."""
    body = json.dumps({"model": "nano-banana-pro", "prompt": prompt, "size": "1024x1024"}).encode()
    sent = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", **headers}
    for tries in range(1, 4):
        request = urllib.request.Request(f"{url}/v1/images/generations", body, sent)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                image = base64.b64decode(json.loads(answer.read())["data"][0]["b64_json"])
                return Looped(image=image, tries=tries, generation_id=answer.headers["generation-id"])
        except (TimeoutError, urllib.error.URLError, http.client.HTTPException):
            time.sleep(0.1)
    raise AssertionError("three tries were not enough")


@pytest.mark.parametrize("way", ["direct", "stock"])
@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "order-{way}"}], ids=["plain", "keyed"])
def test_a_loop_with_a_timeout_buys_one_image(
    stage: Any, as_drawn: Callable[[bytes], bool], way: str, headers: dict[str, str]
) -> None:
    """Cut by its own timeout, or by the path's: the second try waits for what the first one bought."""
    prompt = f"looped {way} {len(headers)} [sim delay={SLOW_S:g}]"
    url = stage.gateway.base_url if way == "direct" else stage.front(way)
    named = {name: value.format(way=way) for name, value in headers.items()}
    looped = loop(url, stage.gateway.key, prompt, **named, Prefer="heartbeat=0" if named else "heartbeat=600")
    assert looped.tries > 1
    assert as_drawn(looped.image)
    assert looped.generation_id == stage.only_generation(f"looped {way} {len(headers)}")
    assert len(stage.simulator.purchases(looped.generation_id)) == 1


def test_a_late_refusal_is_raised_as_one(stage: Any) -> None:
    """200 is out when the upstream refuses: openai for Python is broken off, asks again, and raises what it should.

    Through an nginx that speaks HTTP/1.1 to the gateway, as documented; over 1.0 a break looks like an end.
    """
    call: Future[Any] = stage.begin(
        "openai", "refused late [sim delay=3 fault=refused_input]", retries=openai.DEFAULT_MAX_RETRIES
    )
    with pytest.raises(openai.BadRequestError) as raised:
        call.result()
    assert raised.value.code == "moderation_blocked"
    generation_id = stage.only_generation("refused late ")
    assert raised.value.response.headers["generation-id"] == generation_id
    assert stage.gateway.ended(generation_id)["status"] == "failed"
