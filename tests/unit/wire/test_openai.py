"""OpenAI Images: what is written to callers, checked with our own readers and the SDK's types."""

from __future__ import annotations

import json
from typing import Any

from openai.types import (
    ImageGenCompletedEvent,
    ImageGenPartialImageEvent,
    ImagesResponse,
    Model,
)

from holdfast.types import Surface, Usage
from holdfast.wire.failures import render_error
from holdfast.wire.openai import (
    ImagesReader,
    ImagesStreamReader,
    ImageView,
    ModelView,
    render_completed_event,
    render_error_event,
    render_images,
    render_model,
    render_models,
    render_partial_event,
)
from holdfast.wire.template import filled, length_of, slots_of

USAGE = Usage(input_tokens=12, input_image_tokens=2, output_tokens=1474, output_image_tokens=1120)


def a_view(**overrides: Any) -> ImageView:
    """An image with both forms."""
    fields: dict[str, Any] = {"slot": 0, "url": "http://gw/x.png?sig=1", "size": "4096x4096"}
    return ImageView(**(fields | overrides))


def rendered(*images: ImageView, raw: dict[int, bytes] | None = None, **overrides: Any) -> dict[str, Any]:
    """An answer as a document."""
    fields: dict[str, Any] = {
        "created": 1764000000,
        "usage": USAGE,
        "model": "nano-banana-pro",
        "generation_id": "gen_1",
        "output_format": "png",
        "size": "4096x4096",
    }
    template = render_images(images=images, **(fields | overrides))
    body = filled(template, raw or {0: b"ABC", 1: b"DEF"})
    assert length_of(template, {0: 3, 1: 3}) == len(body)
    document: dict[str, Any] = json.loads(body)
    return document


def test_every_image_carries_base64_link_and_true_size() -> None:
    """Programs that read either work without asking for it."""
    document = rendered(a_view(revised_prompt="r"), a_view(slot=1))
    assert document["data"] == [
        {"b64_json": "QUJD", "url": "http://gw/x.png?sig=1", "size": "4096x4096", "revised_prompt": "r"},
        {"b64_json": "REVG", "url": "http://gw/x.png?sig=1", "size": "4096x4096"},
    ]


def test_an_answer_by_link_has_no_base64() -> None:
    """`response_format=url`."""
    document = rendered(a_view(slot=None), raw={})
    assert document["data"] == [{"url": "http://gw/x.png?sig=1", "size": "4096x4096"}]


def test_an_image_without_a_link_has_none() -> None:
    """A key that is null would be taken for a link by some."""
    assert "url" not in rendered(a_view(url=None))["data"][0]


def test_the_document_has_the_members_of_the_dialect_and_ours() -> None:
    """Absent settings are left out."""
    document = rendered(a_view(), quality="high", background=None, extra={"partial_result": True})
    assert {name: value for name, value in document.items() if name not in ("data", "usage")} == {
        "created": 1764000000,
        "output_format": "png",
        "quality": "high",
        "size": "4096x4096",
        "model": "nano-banana-pro",
        "generation_id": "gen_1",
        "partial_result": True,
    }
    assert document["usage"]["total_tokens"] == 1486
    assert document["usage"]["output_tokens_details"] == {"image_tokens": 1120, "text_tokens": 354}
    assert "usage" not in rendered(a_view(), usage=None)


def test_the_sdk_reads_the_answer() -> None:
    """Its own type accepts every member."""
    response = ImagesResponse.model_validate(rendered(a_view(), quality="high"), strict=False)
    assert response.data is not None
    assert response.data[0].b64_json == "QUJD"
    assert response.usage is not None
    assert response.usage.total_tokens == 1486


def test_our_reader_reads_what_we_write() -> None:
    """One dialect on both sides."""
    reader = ImagesReader()
    template = render_images(
        created=1, images=[a_view(), a_view(slot=1)], usage=USAGE, model="m", generation_id="gen_1"
    )
    reader.feed(filled(template, {0: b"ABC", 1: b"DEF"}))
    answer = reader.finish()
    assert len(answer.results) == 2
    assert answer.usage == USAGE


def test_text_of_others_cannot_become_a_slot() -> None:
    """Slots come from paths, and the paths are ours."""
    view = a_view(revised_prompt='"},{"b64_json":"9"}', url="9")
    template = render_images(
        created=1, images=[view], usage=None, model="9", generation_id="9", extra={"user": {"b64_json": "9"}}
    )
    assert slots_of(template) == (0,)


def a_partial(**overrides: Any) -> dict[str, Any]:
    """Arguments of a preview event."""
    fields: dict[str, Any] = {"slot": 0, "partial_image_index": 1, "created_at": 5, "size": "1024x1024"}
    return fields | overrides


def test_a_preview_is_an_event_of_the_sdk() -> None:
    """Name, type and members agree."""
    event = filled(
        render_partial_event(**a_partial(output_format="png", background="opaque", quality="high")), {0: b"ABC"}
    )
    head, _, data = event.partition(b"\ndata: ")
    assert head == b"event: image_generation.partial_image"
    assert data.endswith(b"}\n\n")
    parsed = ImageGenPartialImageEvent.model_validate_json(data)
    assert (parsed.b64_json, parsed.partial_image_index, parsed.size) == ("QUJD", 1, "1024x1024")


def test_a_finished_image_is_an_event_of_the_sdk() -> None:
    """With usage, which the SDK's type demands, even when the upstream told none."""
    for usage in (USAGE, None):
        template = render_completed_event(
            image=a_view(size="1024x1024"),
            created_at=5,
            usage=usage,
            model="m",
            generation_id="gen_1",
            output_format="png",
            background="auto",
            quality="auto",
            extra={"late": False},
        )
        data = filled(template, {0: b"ABC"}).partition(b"data: ")[2]
        parsed = ImageGenCompletedEvent.model_validate_json(data)
        assert parsed.b64_json == "QUJD"
        assert parsed.usage.total_tokens == (1486 if usage else 0)
        assert json.loads(data)["generation_id"] == "gen_1"
        assert json.loads(data)["url"] == "http://gw/x.png?sig=1"


def test_our_reader_reads_our_stream() -> None:
    """Previews, beats, both families of events."""
    for family in ("image_generation", "image_edit"):
        completed = render_completed_event(
            image=a_view(), created_at=5, usage=USAGE, model="m", generation_id="gen_1", family=family
        )
        stream = filled(render_partial_event(**a_partial(family=family)), {0: b"p"}) + b"\n\n"
        stream += filled(completed, {0: b"ABC"})
        reader = ImagesStreamReader()
        events = reader.feed(stream)
        answer = reader.finish()
        assert len(events) == 6
        assert [image.index for image in answer.results] == [1]
        assert answer.usage == USAGE


def test_an_error_event_holds_the_envelope() -> None:
    """Both SDKs raise on it."""
    envelope = render_error(Surface.OPENAI, code="overloaded", message="busy")
    (event,) = render_error_event(envelope)
    assert event == b"event: error\ndata: " + envelope + b"\n\n"


def test_models_are_listed_as_the_sdk_expects() -> None:
    """One row each, `object` set."""
    listed = json.loads(render_models([ModelView(id="a", created=5), ModelView(id="b")]))
    assert listed["object"] == "list"
    assert [Model.model_validate(row).id for row in listed["data"]] == ["a", "b"]
    assert json.loads(render_model(ModelView(id="a", created=5))) == listed["data"][0]
