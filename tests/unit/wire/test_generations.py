"""The status resource."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from holdfast.wire.generations import (
    AttemptResource,
    Cost,
    ErrorResource,
    GenerationResource,
    ImageResource,
    PartialImageEvent,
    Progress,
    decode_generation,
    render_generation,
    render_partial_image,
)
from holdfast.wire.template import filled


def a_generation(**overrides: Any) -> GenerationResource:
    """A finished generation."""
    fields: dict[str, Any] = {
        "id": "gen_1",
        "status": "succeeded",
        "sequence_number": 4,
        "model": "nano-banana-pro",
        "size": "4096x4096",
        "created_at": "2026-11-24T08:00:00.000Z",
        "started_at": "2026-11-24T08:00:00.010Z",
        "finished_at": "2026-11-24T08:02:00.000Z",
        "paid": "yes",
        "cost": Cost(held_micros=0, charged_micros=240_000, compensated_micros=0, currency="USD"),
        "attempts": (
            AttemptResource(
                number=1,
                upstream="google",
                model="gemini-3-pro-image",
                status="settled",
                charge="yes",
                started_at="2026-11-24T08:00:00.010Z",
                ended_at="2026-11-24T08:02:00.000Z",
            ),
        ),
        "images": (
            ImageResource(
                index=0, url="http://gw/x", mime="image/png", bytes=20_000_000, sha256="0" * 64, width=4096, height=4096
            ),
        ),
    }
    return GenerationResource(**(fields | overrides))


def test_the_resource_has_the_members_of_the_contract() -> None:
    """In its names, unknown ones null."""
    document = json.loads(render_generation(a_generation()))
    assert list(document)[:4] == ["id", "object", "status", "sequence_number"]
    assert document["object"] == "generation"
    assert document["error"] is document["progress"] is document["queue_position"] is None
    assert document["cost"] == {
        "held_micros": 0,
        "charged_micros": 240_000,
        "compensated_micros": 0,
        "currency": "USD",
    }
    assert document["attempts"][0]["number"] == 1
    assert document["images"][0]["index"] == 0
    assert {"url", "mime", "bytes", "sha256", "width", "height", "expires_at"} <= set(document["images"][0])


def test_what_is_written_can_be_read() -> None:
    """A client uses the same definitions."""
    generation = a_generation(
        status="failed",
        paid="unknown",
        images=(),
        progress=Progress(elapsed_s=1.5, expected_s=60.0, p95_s=90.0, fraction=0.25),
        error=ErrorResource(code="outcome_unknown", message="m", paid="unknown", retryable=False),
        partial_result=True,
        late=True,
    )
    assert decode_generation(render_generation(generation)) == generation


def test_members_of_the_future_are_passed_over() -> None:
    """An older client reads a newer gateway."""
    document = json.loads(render_generation(a_generation())) | {"novel": 1}
    assert decode_generation(json.dumps(document).encode()) == a_generation()


@pytest.mark.parametrize(("name", "value"), [("status", "expired"), ("paid", "maybe"), ("id", 5)])
def test_a_word_that_is_none_of_ours_is_refused(name: str, value: object) -> None:
    """States have one set of names."""
    document = json.loads(render_generation(a_generation())) | {name: value}
    with pytest.raises(msgspec.ValidationError):
        decode_generation(json.dumps(document).encode())


def test_a_json_schema_can_be_made() -> None:
    """The OpenAPI document comes from the definitions."""
    schema = msgspec.json.schema(GenerationResource)
    assert set(schema["$defs"]["GenerationResource"]["required"]) >= {"id", "status", "model", "paid", "cost"}


def test_a_preview_is_an_event_with_its_image_and_without_a_number() -> None:
    """Whatever its words hold, the image is in one place."""
    event = PartialImageEvent(
        id="gen_1",
        at="2026-11-27T12:00:00.000Z",
        partial_image_index=2,
        mime="image/png",
        bytes=3,
        width=1,
        height=1,
        b64_json="0",
    )
    text = filled(render_partial_image(event), {0: b"abc"}).decode()
    head, _, data = text.partition("data: ")
    assert head == "event: generation.partial_image\n"
    assert data.endswith("\n\n")
    told = json.loads(data)
    assert (told["b64_json"], told["partial_image_index"], told["type"]) == ("YWJj", 2, "generation.partial_image")
    assert "sequence_number" not in told
