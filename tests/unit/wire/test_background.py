"""Objects of APIs that work in the background: names, standings, and images of any weight that leave as they come."""

from __future__ import annotations

import base64
import json
import random
import tracemalloc
from typing import Any

import pytest

from holdfast.types import Usage
from holdfast.wire import interactions, responses
from holdfast.wire.answers import Answer, Role
from holdfast.wire.background import BackgroundReader, Standing, decode_handle, is_handle
from holdfast.wire.errors import EndsEarly, WireError
from holdfast.wire.scan import ImageBytes

PICTURES = [b"\x89PNG one" * 9, b"\xff\xd8\xff two" * 7, b"RIFF three" * 5]
CODED = [base64.b64encode(picture).decode() for picture in PICTURES]


def read(reader: BackgroundReader, body: bytes, piece_bytes: int = 7) -> tuple[dict[int, bytes], Answer]:
    """Read in pieces; images by number."""
    images: dict[int, bytes] = {}
    for at in range(0, len(body), piece_bytes):
        for event in reader.feed(body[at : at + piece_bytes]):
            if isinstance(event, ImageBytes):
                images[event.index] = images.get(event.index, b"") + event.data
    return images, reader.finish()


def response(document: Any) -> tuple[dict[int, bytes], Answer]:
    """Read one of OpenAI's."""
    return read(responses.response_reader(), json.dumps(document).encode())


def interaction(document: Any) -> tuple[dict[int, bytes], Answer]:
    """Read one of Google's."""
    return read(interactions.interaction_reader(), json.dumps(document).encode())


def call(result: str | None, **more: Any) -> dict[str, Any]:
    """One call of the image tool."""
    return {"type": "image_generation_call", "status": "completed", "result": result, **more}


def roles(answer: Answer) -> dict[int, Role]:
    """What each image is."""
    return {image.index: image.role for image in answer.images}


# Names and standings


@pytest.mark.parametrize("text", ["resp_68f7a1", "int_7Qf2", "v1_ChdPU0F4YWFtNg==", "a", "A.b-c_d="])
def test_a_name_may_stand_in_a_path(text: str) -> None:
    """As it is; and what is written down is read again."""
    assert is_handle(text)
    assert decode_handle(text) == text


@pytest.mark.parametrize(
    "text", ["", "../models", "a/b", "a?b", "a b", "-a", "ä", "a..b", "a" * 401, "a\n", '{"id":1}']
)
def test_what_would_lead_elsewhere_is_no_name(text: str) -> None:
    """The credential goes along with every question."""
    assert not is_handle(text)
    with pytest.raises(WireError):
        decode_handle(text)


@pytest.mark.parametrize(
    ("word", "standing"),
    [
        ("queued", Standing.QUEUED),
        ("in_progress", Standing.AT_WORK),
        *((word, Standing.ENDED) for word in ("completed", "failed", "incomplete", "cancelled")),
    ],
)
def test_both_apis_stand_alike(word: str, standing: Standing) -> None:
    """The words that they share mean the same."""
    document = json.dumps({"id": "x_1", "status": word}).encode()
    for told_of in (responses.told_of, interactions.told_of):
        told = told_of(document)
        assert (told.handle, told.standing, told.word) == ("x_1", standing, word)


@pytest.mark.parametrize("word", ["requires_action", "requires_continuation", "budget_exceeded"])
def test_what_waits_for_its_maker_has_ended(word: str) -> None:
    """Nobody here goes on with it; OpenAI has no such words."""
    document = json.dumps({"id": "x_1", "status": word}).encode()
    assert interactions.told_of(document).standing is Standing.ENDED
    with pytest.raises(WireError):
        responses.told_of(document)


@pytest.mark.parametrize("document", [{}, {"status": "paused"}, {"status": None}, {"status": 1}, []])
def test_a_standing_that_is_not_known_is_told_as_such(document: Any) -> None:
    """Whoever asks, asks again."""
    for told_of in (responses.told_of, interactions.told_of):
        with pytest.raises(WireError):
            told_of(json.dumps(document).encode())


@pytest.mark.parametrize("handle", [None, "", "../x", 5])
def test_a_name_that_could_not_be_asked_for_is_none(handle: Any) -> None:
    """It stands, and cannot be come back to."""
    document = json.dumps({"id": handle, "status": "queued"}).encode()
    assert responses.told_of(document).handle is None
    assert interactions.told_of(document).handle is None


@pytest.mark.parametrize(
    ("body", "handle"),
    [
        (b'{"id":"resp_1","obj', "resp_1"),
        (b' {\n  "id" : "resp_1"', "resp_1"),
        (b'{"id":"resp_1', None),
        (b'{"object":"response","id":"resp_1"', None),
        (b'{"id":"../x","status"', None),
        (b'{"id":"a\\u002fb",', None),
        (b'{"error":{"id":"resp_1"', None),
        (b"<html>", None),
        (b"", None),
    ],
)
def test_the_name_is_known_as_soon_as_it_stands_there(body: bytes, handle: str | None) -> None:
    """First in the document and whole: then a lost answer is no lost request."""
    reader = responses.response_reader()
    try:
        for at in range(len(body)):
            reader.feed(body[at : at + 1])
    except WireError as exc:
        assert exc.code == "json"
    assert reader.handle_so_far == handle


# OpenAI's


def test_the_image_of_a_call_leaves_the_document() -> None:
    """Among reasoning and words; its format and prompt are told beside it."""
    document = {
        "id": "resp_1",
        "model": "gpt-5.5",
        "status": "completed",
        "output": [
            {"type": "reasoning", "summary": []},
            call(CODED[0], output_format="webp", revised_prompt="A tower"),
            {"type": "message", "content": [{"type": "output_text", "text": "Here."}]},
        ],
        "usage": {"input_tokens": 61, "output_tokens": 40},
        "tool_usage": {
            "image_gen": {
                "input_tokens": 50,
                "input_tokens_details": {"image_tokens": 40, "text_tokens": 10},
                "output_tokens": 4160,
                "output_tokens_details": {"image_tokens": 4100, "text_tokens": 60},
            }
        },
    }
    images, answer = response(document)
    assert images == {0: PICTURES[0]}
    (image,) = answer.images
    assert (image.role, image.declared_mime, image.revised_prompt) == (Role.RESULT, "image/webp", "A tower")
    assert (answer.response_id, answer.model_version, answer.text_chars) == ("resp_1", "gpt-5.5", 5)
    assert answer.usage == Usage(input_tokens=50, input_image_tokens=40, output_tokens=4160, output_image_tokens=4100)
    assert answer.error is None
    assert CODED[0].encode() not in answer.document


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({}, None),
        ({"usage": None, "tool_usage": None}, None),
        ({"usage": {"input_tokens": 5, "output_tokens": 7}}, Usage(input_tokens=5, output_tokens=7)),
        (
            {"tool_usage": {"image_gen": {"input_tokens": 5, "output_tokens": 9}}},
            Usage(input_tokens=5, output_tokens=9, output_image_tokens=9),
        ),
    ],
)
def test_tokens_are_the_image_tools_where_they_are_told(usage: Any, expected: Usage | None) -> None:
    """Those of the text model are text: it draws nothing."""
    _, answer = response({"status": "completed", "output": [call(CODED[0])], **usage})
    assert answer.usage == expected


def test_of_several_calls_the_last_is_meant() -> None:
    """The others are drafts: made, and kept; one that brought nothing changes nothing."""
    images, answer = response({"output": [call(CODED[0]), call(CODED[1]), call(None, status="failed")]})
    assert images == {0: PICTURES[0], 1: PICTURES[1]}
    assert roles(answer) == {0: Role.DRAFT, 1: Role.RESULT}


def test_an_image_in_an_item_of_another_type_is_kept_as_a_draft() -> None:
    """It was paid for; what it is, nobody knows."""
    _, answer = response({"output": [{"type": "some_call", "result": CODED[0]}, call(CODED[1])]})
    assert roles(answer) == {0: Role.DRAFT, 1: Role.RESULT}


def test_what_the_tool_says_counts_before_what_the_response_says() -> None:
    """It names the stage at which something was refused."""
    blocked = {"code": "moderation_blocked", "type": "t", "moderation_details": {"moderation_stage": "output"}}
    calls = [call(None, status="failed", error=blocked)]
    _, answer = response({"status": "failed", "output": calls, "error": {"code": "server_error", "message": "m"}})
    assert answer.error is not None
    assert (answer.error.code, answer.error.reason) == ("moderation_blocked", "output")
    _, answer = response({"status": "failed", "output": [], "error": {"code": "server_error", "message": "m"}})
    assert answer.error is not None
    assert answer.error.code == "server_error"


def test_a_refusal_and_an_early_end_are_told() -> None:
    """In words of the API, for those who judge."""
    refusal = {"type": "message", "content": [{"type": "refusal", "refusal": "No."}]}
    _, answer = response({"output": [refusal], "incomplete_details": {"reason": "content_filter"}})
    assert (answer.block_reason, answer.finish_reason) == (responses.REFUSAL, "content_filter")


@pytest.mark.parametrize("output", [None, "x", {}, [None], [1], [{"type": 5}], [{"content": "x"}], [call("")]])
def test_odd_outputs_hold_no_image(output: Any) -> None:
    """Whatever else they are."""
    images, answer = response({"status": "completed", "output": output})
    assert (images, answer.images) == ({}, ())


# Google's


def test_images_of_thoughts_are_drafts_and_the_last_output_is_meant() -> None:
    """What the caller sent, given back, is neither."""
    steps = [
        {"type": "user_input", "content": [{"type": "image", "data": CODED[0]}, {"type": "text", "text": "draw"}]},
        {"type": "thought", "summary": [{"type": "image", "data": CODED[1], "mime_type": "image/png"}]},
        {"type": "model_output", "content": [{"type": "text", "text": "Here."}]},
        {"type": "model_output", "content": [{"type": "image", "data": CODED[2], "mime_type": "image/jpeg"}]},
    ]
    images, answer = interaction({"id": "int_1", "model": "m", "status": "completed", "steps": steps})
    assert images == dict(enumerate(PICTURES))
    assert roles(answer) == {0: Role.PARTIAL, 1: Role.DRAFT, 2: Role.RESULT}
    assert answer.images[2].declared_mime == "image/jpeg"
    assert (answer.response_id, answer.model_version, answer.text_chars) == ("int_1", "m", 5)


def test_the_revision_before_told_its_outputs_alone() -> None:
    """Both are read."""
    _, answer = interaction({"outputs": [{"type": "text", "text": "Here."}, {"type": "image", "data": CODED[0]}]})
    assert roles(answer) == {0: Role.RESULT}
    assert answer.text_chars == 5


def test_tokens_are_counted_by_modality_in_either_case() -> None:
    """Thoughts are output, as the price list has it."""
    usage = {
        "total_input_tokens": 570,
        "total_output_tokens": 1120,
        "total_thought_tokens": 265,
        "input_tokens_by_modality": [{"modality": "TEXT", "tokens": 10}, {"modality": "IMAGE", "tokens": 560}],
        "output_tokens_by_modality": [{"modality": "image", "tokens": 1120}],
    }
    _, answer = interaction({"steps": [], "usage": usage})
    assert answer.usage == Usage(input_tokens=570, input_image_tokens=560, output_tokens=1385, output_image_tokens=1120)


@pytest.mark.parametrize(
    ("document", "code", "status"),
    [
        ({"errors": [{"message": "m"}, {"code": "internal", "message": "m"}]}, "internal", None),
        ({"steps": [{"type": "model_output", "error": {"code": 14, "message": "m"}}]}, "14", 503),
        ({"steps": [{"type": "model_output", "error": {"code": 2}}]}, "2", 500),
        ({"error": {"code": "invalid_request", "message": "m"}}, "invalid_request", None),
    ],
)
def test_what_went_wrong_is_found_wherever_it_stands(document: Any, code: str, status: int | None) -> None:
    """The resource's list, a step's own, an envelope."""
    _, answer = interaction(document)
    assert answer.error is not None
    assert (answer.error.code, answer.error.status) == (code, status)


def test_a_link_is_no_image() -> None:
    """`delivery` is asked for inline; what came otherwise is told."""
    link = {"type": "image", "uri": "https://files.example/x"}
    _, answer = interaction({"steps": [{"type": "model_output", "content": [link]}]})
    assert answer.url_only
    mixed = [link, {"type": "image", "data": CODED[0]}]
    assert not interaction({"steps": [{"type": "model_output", "content": mixed}]})[1].url_only


# Weight


@pytest.mark.parametrize("kind", ["response", "interaction"])
def test_27_megabytes_pass_by(kind: str) -> None:
    """What is kept in memory is the skeleton, whatever the image weighs."""
    raw = random.Random(1).randbytes(27_000_000 // 4 * 3)
    coded = base64.b64encode(raw)
    if kind == "response":
        reader = responses.response_reader()
        before, after = b'{"output":[{"type":"image_generation_call","result":"', b'"}],"status":"completed"}'
    else:
        reader = interactions.interaction_reader()
        before, after = b'{"steps":[{"type":"model_output","content":[{"data":"', b'"}]}],"status":"completed"}'
    got_bytes, peak = 0, 0
    tracemalloc.start()
    try:
        for source in (before, coded, after):
            for at in range(0, len(source), 262_144):
                piece = source[at : at + 262_144]
                got_bytes += sum(len(event.data) for event in reader.feed(piece) if isinstance(event, ImageBytes))
        answer = reader.finish()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert got_bytes == len(raw)
    assert reader.has_image
    assert len(answer.document) < 200
    assert peak < 4_000_000


def test_an_image_beyond_the_bound_is_refused() -> None:
    """The operator's, in bytes."""
    reader = responses.response_reader(image_bytes_max=30)
    with pytest.raises(WireError) as refused:
        reader.feed(json.dumps({"output": [call(CODED[0])]}).encode())
    assert refused.value.code == "too_large"


def test_a_document_that_is_cut_ends_early() -> None:
    """Wherever; whoever asks again reads it whole."""
    body = json.dumps({"id": "resp_1", "output": [call(CODED[0])], "status": "completed"}).encode()
    for cut in range(1, len(body)):
        reader = responses.response_reader()
        reader.feed(body[:cut])
        assert not reader.complete
        with pytest.raises(EndsEarly):
            reader.finish()
