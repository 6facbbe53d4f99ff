"""Both dialects as the vendors write them; the gateway's own readers read them back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from holdfast.errors import RequestError
from holdfast.policy.sizes import geometry_of
from holdfast.simulator import gemini, openai
from holdfast.simulator.asked import Asked
from holdfast.simulator.replies import Drawn, Making, Reply
from holdfast.types import Surface, Tier
from holdfast.wire.answers import Answer, Role
from holdfast.wire.gemini import GenerateReader, GenerateStreamReader
from holdfast.wire.gemini import decode_error as decode_gemini_error
from holdfast.wire.openai import ImagesReader, ImagesStreamReader
from holdfast.wire.openai import decode_error as decode_openai_error
from holdfast.wire.template import filled

PIXELS = {"width_px": 1024, "height_px": 1024}


def a_making(surface: Surface, *, images: int = 1, drafts: int = 0, **changes: Any) -> Making:
    """Make something that is to be told."""
    usual = Asked(surface=surface, model="m", prompt="a lighthouse " * 4, geometry=geometry_of(Tier.K1, "1:1"))
    drawn = tuple(Drawn(**PIXELS, format="png", serial=f"{index:039d}.") for index in range(images + drafts))
    return Making(
        asked=replace(usual, n=images, **changes),
        drawn=drawn,
        drafts=drafts,
        created=1_764_000_000,
        micros=211_000,
        declared_format="png",
    )


def written(reply: Reply, images: Mapping[int, bytes] | None = None) -> bytes:
    """Write a reply out, its pictures standing for their serials."""
    shown = images or {slot: drawn.serial.encode() for slot, drawn in reply.pictures.items()}
    return b"".join(filled(part.template, shown) for part in reply.parts)


def read(reply: Reply, reader: ImagesReader | ImagesStreamReader | GenerateReader | GenerateStreamReader) -> Answer:
    """Read it as the gateway does."""
    reader.feed(written(reply))
    return reader.finish()


def test_an_openai_answer_is_read_by_the_gateway() -> None:
    """Images in order, usage, format and the prompt that was drawn."""
    making = a_making(Surface.OPENAI, images=2, inputs=1)
    answer = read(openai.answer(making), ImagesReader())
    assert [image.role for image in answer.images] == [Role.RESULT, Role.RESULT]
    assert {image.declared_mime for image in answer.images} == {"image/png"}
    assert answer.images[0].revised_prompt is not None
    assert answer.usage is not None
    assert answer.usage.output_tokens == 2 * 211_000 // openai.MICROS_PER_OUTPUT_TOKEN
    assert answer.usage.input_image_tokens == openai.INPUT_IMAGE_TOKENS
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens


def test_an_openai_answer_has_the_vendors_fields_and_no_others() -> None:
    """What only the gateway writes must not come from here."""
    document = json.loads(written(openai.answer(a_making(Surface.OPENAI, quality="low", background="transparent"))))
    assert set(document) == {"created", "background", "data", "output_format", "quality", "size", "usage"}
    assert (document["quality"], document["background"], document["size"]) == ("low", "transparent", "1024x1024")
    assert set(document["data"][0]) == {"b64_json", "revised_prompt"}


@pytest.mark.parametrize(("is_edit", "family"), [(False, "image_generation"), (True, "image_edit")])
def test_an_openai_stream_is_read_by_the_gateway(is_edit: bool, family: str) -> None:
    """Previews before results, named after the kind of request."""
    reply = openai.answer(a_making(Surface.OPENAI, images=2, stream=True, partial_images=2, is_edit=is_edit))
    answer = read(reply, ImagesStreamReader(expected=2))
    assert [image.role for image in answer.images] == [Role.PARTIAL, Role.PARTIAL, Role.RESULT, Role.RESULT]
    text = written(reply).decode()
    assert text.count(f"event: {family}.partial_image\n") == 2
    assert text.count(f"event: {family}.completed\n") == 2
    assert "[DONE]" not in text


def test_previews_come_while_the_picture_is_made() -> None:
    """At even distances; results at the end. All of them differ."""
    reply = openai.answer(a_making(Surface.OPENAI, stream=True, partial_images=3))
    assert [part.share for part in reply.parts] == [0.25, 0.5, 0.75, 1.0]
    assert len({drawn.serial for drawn in reply.pictures.values()}) == 4
    assert reply.is_stream


def test_previews_cost_tokens() -> None:
    """A hundred each."""

    def tokens(previews: int) -> int:
        making = a_making(Surface.OPENAI, stream=True, partial_images=previews)
        usage = read(openai.answer(making), ImagesStreamReader()).usage
        assert usage is not None
        return usage.output_tokens

    assert tokens(3) - tokens(0) == 300


def test_a_gemini_answer_is_read_by_the_gateway() -> None:
    """One picture, a signature that has to come back, and counts that do not quite add up."""
    reply = gemini.answer(a_making(Surface.GEMINI), response_id="r-1", surplus_tokens=99)
    answer = read(reply, GenerateReader())
    assert [image.role for image in answer.images] == [Role.RESULT]
    assert (answer.finish_reason, answer.model_version, answer.response_id) == ("STOP", "m", "r-1")
    assert answer.usage is not None
    assert answer.usage.output_image_tokens == gemini.IMAGE_TOKENS[Tier.K1]
    document = json.loads(answer.document)
    usage = document["usageMetadata"]
    assert usage["candidatesTokenCount"] == gemini.IMAGE_TOKENS[Tier.K1] + 99
    assert (
        usage["totalTokenCount"]
        == usage["promptTokenCount"] + usage["candidatesTokenCount"] + usage["thoughtsTokenCount"]
    )
    (part,) = [part for part in document["candidates"][0]["content"]["parts"] if "inlineData" in part]
    assert part["thoughtSignature"]
    assert reply.is_chunked


def test_thoughts_are_told_only_to_those_who_ask() -> None:
    """In a plain answer; a stream has them in any case, early."""
    quiet = written(gemini.answer(a_making(Surface.GEMINI), response_id="r", surplus_tokens=0))
    told = written(gemini.answer(a_making(Surface.GEMINI, wants_thoughts=True), response_id="r", surplus_tokens=0))
    assert b'"thought":true' not in quiet
    assert told.count(b'"thought":true') == 2


def test_a_gemini_stream_is_read_by_the_gateway() -> None:
    """Thoughts early, the picture at the end, the reason for ending in the last chunk; lines end in CRLF."""
    reply = gemini.answer(a_making(Surface.GEMINI, stream=True), response_id="r", surplus_tokens=0)
    reader = GenerateStreamReader()
    answer = read(reply, reader)
    assert reader.complete
    assert [image.role for image in answer.images] == [Role.RESULT]
    assert answer.finish_reason == "STOP"
    assert [part.share for part in reply.parts] == [0.25, 0.5, 1.0, 1.0]
    text = written(reply)
    assert text.count(b"\r\n\r\n") == 4
    assert b"\n\n" not in text.replace(b"\r\n", b"")
    assert text.count(b'"thought":true') == 2


def test_drafts_are_marked_only_half_the_time() -> None:
    """A reader must know the result by its place: it is the last one."""
    making = a_making(Surface.GEMINI, drafts=3)
    reply = gemini.answer(making, response_id="r", surplus_tokens=0)
    answer = read(reply, GenerateReader())
    assert [image.role for image in answer.images] == [Role.DRAFT, Role.DRAFT, Role.DRAFT, Role.RESULT]
    assert written(reply).count(b'"thought":true') == 2
    assert answer.usage is not None
    assert answer.usage.output_image_tokens == gemini.IMAGE_TOKENS[Tier.K1] + 3 * gemini.DRAFT_TOKENS


def test_input_images_are_counted_apart() -> None:
    """By modality, as Google does."""
    usage = read(
        gemini.answer(a_making(Surface.GEMINI, inputs=2), response_id="r", surplus_tokens=0), GenerateReader()
    ).usage
    assert usage is not None
    assert usage.input_image_tokens == 2 * gemini.INPUT_IMAGE_TOKENS
    assert usage.input_tokens > usage.input_image_tokens


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("reason", [None, "PROHIBITED_CONTENT"])
def test_a_refused_prompt_has_no_candidates(stream: bool, reason: str | None) -> None:
    """A 200 that says why."""
    reply = gemini.refused_input(a_making(Surface.GEMINI, stream=stream), reason=reason, response_id="r")
    answer = read(reply, GenerateStreamReader() if stream else GenerateReader())
    assert answer.block_reason == (reason or "OTHER")
    assert answer.images == ()
    assert b"candidates" not in answer.document


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("reason", ["IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "RECITATION", "SAFETY"])
def test_a_refused_picture_has_an_empty_content(stream: bool, reason: str) -> None:
    """And a message that says it is not charged."""
    reply = gemini.refused_output(a_making(Surface.GEMINI, stream=stream), reason=reason, response_id="r")
    answer = read(reply, GenerateStreamReader() if stream else GenerateReader())
    assert answer.finish_reason == reason
    assert answer.finish_message is not None
    assert "not be charged" in answer.finish_message


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("text", "reason"), [(None, "NO_IMAGE"), ("What colour?", "STOP")])
def test_a_gemini_answer_without_a_picture(stream: bool, text: str | None, reason: str) -> None:
    """Nothing at all, or prose in its place."""
    making = a_making(Surface.GEMINI, stream=stream)
    reply = gemini.without_picture(making, text=text, reason=None, response_id="r")
    answer = read(reply, GenerateStreamReader() if stream else GenerateReader())
    assert (answer.finish_reason, answer.text_chars) == (reason, len(text or ""))


def test_an_openai_answer_without_a_picture() -> None:
    """An empty list; or an item that holds words; or a stream that ends without its last event."""
    assert read(openai.without_picture(a_making(Surface.OPENAI), text=None), ImagesReader()).images == ()
    assert b"revised_prompt" in written(openai.without_picture(a_making(Surface.OPENAI), text="What colour?"))
    assert written(openai.without_picture(a_making(Surface.OPENAI, stream=True), text=None)) == b""


@pytest.mark.parametrize("stage", ["input", "output"])
def test_an_openai_refusal_names_its_stage(stage: str) -> None:
    """Money may depend on it."""
    reply = openai.refusal(stage=stage, reason=None)
    error = decode_openai_error(reply.status, written(reply))
    assert (reply.status, error.code, error.reason) == (400, "moderation_blocked", stage)


STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    418: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
    599: "INTERNAL",
}


@pytest.mark.parametrize(("status", "word"), STATUSES.items())
def test_gemini_errors_are_read_by_the_gateway(status: int, word: str) -> None:
    """Number and word."""
    error = decode_gemini_error(status, written(gemini.error(status)))
    assert (error.status, error.type, error.code) == (status, word, str(status))
    assert error.message


def test_a_gemini_quota_is_one_of_the_minute() -> None:
    """Waiting helps; a quota of the day would be another matter."""
    error = decode_gemini_error(429, written(gemini.error(429, retry_after="12.5", model="m")))
    assert (error.retry_after_s, error.quota_per_day) == (12.5, False)
    assert b'"model":"m"' in written(gemini.error(429, model="m"))


CODES = {
    400: "invalid_value",
    401: "invalid_api_key",
    404: "model_not_found",
    418: "invalid_value",
    429: "rate_limit_exceeded",
    500: None,
    503: "server_is_overloaded",
    599: None,
}


@pytest.mark.parametrize(("status", "code"), CODES.items())
def test_openai_errors_are_read_by_the_gateway(status: int, code: str | None) -> None:
    """Type and code."""
    error = decode_openai_error(status, written(openai.error(status)))
    assert (error.status, error.code) == (status, code)
    assert error.type
    assert error.message


def test_an_error_can_hide_in_a_200() -> None:
    """The head says one thing, the envelope another."""
    for reply in (openai.error(500, http_status=200), gemini.error(500, http_status=200)):
        assert reply.status == 200
        assert "error" in json.loads(written(reply))


def test_errors_in_streams_are_read_by_the_gateway() -> None:
    """After a thought, or in the place of a picture."""
    error = read(gemini.broken_stream(504), GenerateStreamReader()).error
    assert error is not None
    assert error.type == "DEADLINE_EXCEEDED"
    error = read(openai.broken_stream(503), ImagesStreamReader()).error
    assert error is not None
    assert error.code == "server_is_overloaded"


def test_a_refusal_may_come_in_a_stream() -> None:
    """After previews the status is long gone."""
    error = read(openai.refusal(stage="output", reason=None, stream=True), ImagesStreamReader()).error
    assert error is not None
    assert (error.code, error.reason) == ("moderation_blocked", "output")


def test_mistakes_are_told_in_either_dialect() -> None:
    """With the field that is to blame, where the dialect has room for it."""
    problem = RequestError("size: too large", code="unsupported_size", param="size")
    told = json.loads(written(openai.mistake(problem)))["error"]
    assert (told["code"], told["param"], told["message"]) == ("unsupported_size", "size", "size: too large")
    assert json.loads(written(openai.mistake(RequestError("no"))))["error"]["code"] == "invalid_value"
    assert json.loads(written(gemini.mistake(problem)))["error"] == {
        "code": 400,
        "message": "size: too large",
        "status": "INVALID_ARGUMENT",
    }


def test_models_are_listed_in_either_dialect() -> None:
    """All of them, or the one that is named."""
    assert [row["id"] for row in json.loads(written(openai.models(None)))["data"]] == list(openai.MODELS)
    assert json.loads(written(openai.models("x")))["id"] == "x"
    names = [row["name"] for row in json.loads(written(gemini.models(None)))["models"]]
    assert names == [f"models/{name}" for name in gemini.MODELS]
    assert json.loads(written(gemini.models("x")))["name"] == "models/x"
