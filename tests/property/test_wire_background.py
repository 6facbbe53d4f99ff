"""Background APIs: what we write we read, whatever is in it, in whatever order it comes, and wherever it is cut."""

from __future__ import annotations

import base64
import json
import random
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.errors import RequestError
from holdfast.types import Geometry, InputImage, Request, Surface, Tier
from holdfast.wire.answers import Answer, Role
from holdfast.wire.background import BackgroundReader, is_handle
from holdfast.wire.errors import WireError
from holdfast.wire.interactions import interaction_reader, render_interaction
from holdfast.wire.interactions import told_of as interaction_told_of
from holdfast.wire.interactions_request import INTERACTION_REQUEST_IMAGE, decode_interaction, encode_interaction
from holdfast.wire.responses import render_response, response_reader
from holdfast.wire.responses import told_of as response_told_of
from holdfast.wire.responses_request import RESPONSE_REQUEST_IMAGE, decode_response_request, encode_response_request
from holdfast.wire.scan import ImageBytes, JsonReader
from holdfast.wire.template import filled, length_of

TEXTS = st.text(max_size=30)
PICTURES = st.lists(st.binary(min_size=1, max_size=40), max_size=3)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 40), 1 << 40) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
HANDLES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_=-]{0,30}", fullmatch=True)
REQUESTS = st.builds(
    Request,
    surface=st.just(Surface.GENERATIONS),
    model=TEXTS,
    prompt=st.text(min_size=1, max_size=60),
    geometry=st.builds(
        Geometry,
        tier=st.sampled_from(Tier),
        aspect_ratio=st.sampled_from(["1:1", "16:9", "9:16", "4:5"]),
        width_px=st.just(8),
        height_px=st.just(8),
    ),
    inputs=st.lists(
        st.builds(
            InputImage,
            sha256=st.just("00"),
            mime=st.sampled_from(["image/png", "image/jpeg"]),
            bytes=st.just(3),
            store_key=st.just("k"),
        ),
        max_size=3,
    ).map(tuple),
    output_format=st.none() | st.sampled_from(["png", "jpeg", "webp"]),
    quality=st.none() | st.sampled_from(["low", "high"]),
    background=st.none() | st.sampled_from(["opaque", "transparent"]),
)


def read(reader: BackgroundReader, body: bytes, cuts: list[int]) -> tuple[dict[int, bytes], Answer]:
    """Read in pieces; images by number."""
    images: dict[int, bytes] = {}
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    for at, until in pairwise(edges):
        for event in reader.feed(body[at:until]):
            if isinstance(event, ImageBytes):
                images[event.index] = images.get(event.index, b"") + event.data
    return images, reader.finish()


def shuffled(value: Any, chance: random.Random) -> Any:
    """The same document, the fields of every object in another order."""
    if isinstance(value, dict):
        names = list(value)
        chance.shuffle(names)
        return {name: shuffled(value[name], chance) for name in names}
    return [shuffled(inner, chance) for inner in value] if isinstance(value, list) else value


def spelled(document: Any, *, escapes: bool, indent: int | None, spaces: bytes) -> bytes:
    """One of the ways to write it; heartbeats around it are white space."""
    return spaces + json.dumps(document, ensure_ascii=escapes, indent=indent).encode() + spaces


WAYS = st.fixed_dictionaries(
    {
        "escapes": st.booleans(),
        "indent": st.sampled_from([None, 0, 1]),
        "spaces": st.sampled_from([b"", b" ", b"\r\n\t  \n"]),
    }
)
CUTS = st.lists(st.integers(0, 10_000), max_size=6)


@settings(deadline=None)
@given(HANDLES, PICTURES, st.lists(JSON, max_size=3), TEXTS, WAYS, CUTS, st.randoms(use_true_random=False))
def test_a_response_is_read_however_it_is_written(
    handle: str, pictures: list[bytes], others: list[Any], text: str, ways: Any, cuts: list[int], chance: random.Random
) -> None:
    """Calls among anything else, fields in any order, escapes, white space, and cuts anywhere: images, order, end."""
    calls = [
        {"type": "image_generation_call", "result": base64.b64encode(each).decode(), "revised_prompt": text}
        for each in pictures
    ]
    items: list[Any] = [*calls, *({"type": "reasoning", "summary": other} for other in others)]
    items.append({"type": "message", "content": [{"type": "output_text", "text": text}]})
    if len(pictures) < 2:
        chance.shuffle(items)
    document = shuffled({"id": handle, "status": "completed", "output": items, "metadata": {"x": text}}, chance)
    images, answer = read(response_reader(), spelled(document, **ways), cuts)
    assert images == dict(enumerate(pictures))
    assert [image.role for image in answer.images] == [Role.DRAFT] * (len(pictures) - 1) + [Role.RESULT] * bool(
        pictures
    )
    assert answer.text_chars == len(text)
    told = response_told_of(answer.document)
    assert (told.handle, told.word) == (handle, "completed")


@settings(deadline=None)
@given(HANDLES, PICTURES, st.lists(JSON, max_size=3), TEXTS, WAYS, CUTS, st.randoms(use_true_random=False))
def test_an_interaction_is_read_however_it_is_written(
    handle: str, pictures: list[bytes], others: list[Any], text: str, ways: Any, cuts: list[int], chance: random.Random
) -> None:
    """The same of Google's."""
    contents: list[Any] = [{"type": "image", "data": base64.b64encode(each).decode()} for each in pictures]
    contents.append({"type": "text", "text": text})
    steps: list[Any] = [{"type": "function_call", "arguments": other} for other in others]
    steps.append({"type": "model_output", "content": contents})
    document = shuffled({"id": handle, "status": "completed", "steps": steps, "labels": {"x": text}}, chance)
    images, answer = read(interaction_reader(), spelled(document, **ways), cuts)
    assert images == dict(enumerate(pictures))
    assert [image.role for image in answer.images] == [Role.DRAFT] * (len(pictures) - 1) + [Role.RESULT] * bool(
        pictures
    )
    assert answer.text_chars == len(text)
    told = interaction_told_of(answer.document)
    assert (told.handle, told.word) == (handle, "completed")


@settings(deadline=None)
@given(HANDLES, PICTURES, TEXTS, CUTS)
def test_what_is_written_is_what_is_read(handle: str, pictures: list[bytes], text: str, cuts: list[int]) -> None:
    """decode(encode(x)) == x for both, and the length is told before it is written."""
    calls = [{"type": "image_generation_call", "result": str(slot), "note": text} for slot in range(len(pictures))]
    contents = [{"type": "image", "data": str(slot), "note": text} for slot in range(len(pictures))]
    steps = [{"type": "model_output", "content": contents}]
    templates = (
        render_response(handle, "completed", model=text, created_at=1, output=calls),
        render_interaction(handle, "completed", model=text, created="2026-11-27T10:00:00Z", steps=steps),
    )
    for template, reader in zip(templates, (response_reader(), interaction_reader()), strict=True):
        body = filled(template, dict(enumerate(pictures)))
        assert length_of(template, {index: len(data) for index, data in enumerate(pictures)}) == len(body)
        images, answer = read(reader, body, cuts)
        assert images == dict(enumerate(pictures))
        assert (answer.response_id, answer.model_version) == (handle, text or None)


def skeleton_of(template: Any, request: Request, is_image: Any) -> bytes:
    """Cut the images out of a request that was written out."""
    reader = JsonReader(is_image)
    reader.feed(filled(template, {index: bytes([index, 1, 2]) for index in range(len(request.inputs))}))
    assert reader.next_index == len(request.inputs)
    return reader.finish()


@given(REQUESTS)
def test_a_request_written_is_the_request_read(request: Request) -> None:
    """By the simulator, for both: nothing of what was asked for is lost on the way."""
    written = encode_response_request(request, outer_model="gpt-5.5", model="gpt-image-2", size="1024x1024")
    back = decode_response_request(skeleton_of(written, request, RESPONSE_REQUEST_IMAGE))
    assert (back.outer_model, back.model, back.prompt, back.size) == (
        "gpt-5.5",
        "gpt-image-2",
        request.prompt,
        "1024x1024",
    )
    assert (back.quality, back.output_format, back.background) == (
        request.quality,
        request.output_format,
        request.background,
    )
    assert back.inputs == len(request.inputs)
    skeleton = skeleton_of(encode_interaction(request, model="m"), request, INTERACTION_REQUEST_IMAGE)
    seen = decode_interaction(skeleton)
    assert (seen.model, seen.prompt, seen.aspect_ratio) == ("m", request.prompt, request.geometry.aspect_ratio)
    assert seen.image_size == request.geometry.tier.value
    assert seen.mime_type == ("image/jpeg" if request.output_format == "jpeg" else None)


@given(JSON)
def test_any_document_is_read_or_refused(document: Any) -> None:
    """And nothing else happens: no answer of another kind than those that are known."""
    body = json.dumps(document).encode()
    for reader, told_of in ((response_reader(), response_told_of), (interaction_reader(), interaction_told_of)):
        try:
            _, answer = read(reader, body, [])
            told = told_of(answer.document)
        except WireError:
            continue
        assert told.handle is None or is_handle(told.handle)
    for decode in (decode_response_request, decode_interaction):
        try:
            decode(body)
        except RequestError as exc:
            assert exc.status == 400
