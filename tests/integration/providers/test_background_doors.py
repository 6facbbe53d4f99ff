"""What only the doors into the background can do, or do their own way, on sockets."""

from __future__ import annotations

import base64
from typing import Any

import pytest

suite = pytest.importorskip("provider_suite")
pytestmark = pytest.mark.in_background


def heavy(width_px: int, height_px: int, format_: str) -> bytes:
    """A picture of twenty megabytes: twenty-seven of base64."""
    small: bytes = suite.paint(width_px, height_px, "png")
    end = small[-12:]
    noise = suite.png_chunk(b"teSt", suite.NOISE * 66)
    return small[:-12] + noise + end


async def test_what_is_not_kept_long_enough_is_unknown(gateway: Any, upstream: Any) -> None:
    """It was made, and charged; nobody knows of it any more."""
    upstream.suffers("expired")
    answer = await gateway.images(model=suite.MODEL)
    assert (answer.status, answer.error["holdfast_code"], answer.error["paid"]) == (502, "outcome_unknown", "unknown")
    failure = gateway.record(answer.generation_id).attempts[-1].failed
    assert (failure.kind, failure.status) == ("lost_reply", 404)
    assert upstream.outcomes == ["made"]


async def test_of_several_images_the_last_is_delivered(gateway: Any, upstream: Any) -> None:
    """The others are kept as drafts."""
    upstream.suffers("drafts=2")
    answer = await gateway.images(model=suite.MODEL, size="2K")
    assert answer.status == 200, answer
    assert [item["size"] for item in answer.json["data"]] == ["2048x2048"]
    record = gateway.record(answer.generation_id)
    assert [blob.kind for blob in record.blobs] == ["draft", "draft", "result"]


async def test_a_jpeg_is_made_where_it_is_wished(gateway: Any, upstream: Any) -> None:
    """Both can be told; what came is told truly."""
    answer = await gateway.images(model=suite.MODEL, output_format="jpeg")
    assert answer.status == 200, answer
    assert upstream.asked[0].format == "jpeg"
    assert answer.picture().startswith(b"\xff\xd8")
    assert "output_format" not in answer.headers.get("holdfast-ignored", "")


async def test_what_a_door_has_no_place_for_is_told(gateway: Any, upstream: Any, door: Any) -> None:
    """And the image comes."""
    answer = await gateway.images(model=suite.MODEL, output_format="png", quality="high", moderation="low")
    assert answer.status == 200, answer
    told = answer.headers.get("holdfast-ignored", "")
    if door.api == "responses":
        assert told == ""
        assert upstream.asked[0].quality == "high"
    else:
        assert {name.strip() for name in told.split(",")} == {"quality", "moderation"}
    # A format that a door cannot be asked for is made of what came.
    assert answer.picture().startswith(b"\x89PNG")


async def test_tokens_are_told(gateway: Any) -> None:
    """Those of the image, as the API counts them."""
    answer = await gateway.images(model=suite.MODEL)
    assert answer.json["usage"]["output_tokens_details"]["image_tokens"] > 1000


async def test_googles_callers_get_it_in_their_words(gateway: Any, upstream: Any) -> None:
    """Plain and streamed: what the API itself said is not their dialect."""
    answer = await gateway.gemini(contents=suite.inline())
    assert answer.status == 200, answer
    (candidate,) = answer.json["candidates"]
    assert [list(part) for part in candidate["content"]["parts"]] == [["inlineData"]]
    assert candidate["finishReason"] == "STOP"
    streamed = await gateway.gemini(stream=True, contents=suite.inline())
    assert b'"inlineData"' in streamed.body
    upstream.suffers("refused_input")
    refused = await gateway.gemini(contents=suite.inline(suite.paint(64, 64, "png")))
    assert (refused.status, refused.json["promptFeedback"]["blockReason"]) == (200, "PROHIBITED_CONTENT")


async def test_twenty_seven_megabytes_arrive_as_they_are(
    begin: Any, upstream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One GET, one file, byte by byte."""
    monkeypatch.setattr(upstream._gallery, "_paint", heavy)
    gateway = await begin()
    answer = await gateway.images(model=suite.MODEL, size="4K", response_format="url")
    assert answer.status == 200, answer
    (stored,) = gateway.stored(answer.generation_id)
    assert len(stored) > 19_000_000
    assert gateway.record(answer.generation_id).results[0].bytes == len(stored)
    assert upstream.outcomes == ["made"]


async def test_a_history_reaches_google_turn_by_turn(begin: Any, upstream: Any, door: Any) -> None:
    """Where it is a history; elsewhere the last turn and all images are what is drawn from."""
    gateway = await begin()
    picture = base64.b64encode(suite.paint(64, 64, "png")).decode()
    turns = [
        {"role": "user", "parts": [{"text": "a lighthouse, marker Qx7Zt"}]},
        {"role": "model", "parts": [{"inlineData": {"mimeType": "image/png", "data": picture}}]},
        {"role": "user", "parts": [{"text": "at night, marker Qx7Zt"}]},
    ]
    answer = await gateway.gemini(contents=turns)
    assert answer.status == 200, answer
    (asked,) = upstream.asked
    assert (asked.prompt, asked.inputs) == ("at night, marker Qx7Zt", 1)
