"""Edits: a form and JSON say the same, images are numbers of ours, and every mistake names its field."""

from __future__ import annotations

import json
from typing import Any

import pytest

from holdfast.errors import RequestError
from holdfast.types import InputImage
from holdfast.wire.openai_edits import (
    EDITS_REQUEST_IMAGE,
    IMAGES_MAX,
    MASK_BYTES_MAX,
    Fields,
    Kind,
    check_mask,
    decode_edits_request,
)
from holdfast.wire.scan import ImageBytes, JsonReader

PROMPT = "a lighthouse"
URL = "https://example.com/a.png"


def body(**fields: Any) -> bytes:
    """Write the JSON of an edit; a field given as None is left out."""
    usual: dict[str, Any] = {"prompt": PROMPT, "images": [{"image_url": "0"}]}
    return json.dumps({name: value for name, value in {**usual, **fields}.items() if value is not None}).encode()


def refused(skeleton: bytes, came_along: int = 1, **options: Any) -> RequestError:
    """Decode what is refused."""
    with pytest.raises(RequestError) as caught:
        decode_edits_request(skeleton, came_along, **options)
    return caught.value


def a_form(*parts: tuple[str, str | None]) -> tuple[bytes, Fields]:
    """Make JSON of a form's parts; None is a file."""
    fields = Fields()
    for name, value in parts:
        kind = fields.kind_of(name)
        if kind is Kind.TEXT:
            assert value is not None
            fields.put(name, value)
        elif kind is Kind.UNKNOWN:
            fields.put_unknown(name, f"digest of {value}")
    return fields.finish(), fields


def an_image(**overrides: Any) -> InputImage:
    """An image that came along."""
    usual = {"sha256": "5" * 64, "mime": "image/png", "bytes": 9, "store_key": "k", "width_px": 64, "height_px": 48}
    return InputImage(**{**usual, **overrides})


def test_json_is_read_with_images_and_addresses_in_any_order() -> None:
    """What came along is a number, what lies elsewhere an address; the mask may stand first."""
    document = {
        "mask": {"image_url": "data:image/png;base64,bWFzaw=="},
        "prompt": PROMPT,
        "images": [{"image_url": URL}, {"image_url": "data:image/png;base64,b25l"}],
        "input_fidelity": "high",
        "seed": 3,
    }
    reader = JsonReader(EDITS_REQUEST_IMAGE, links_stay=True)
    cut = [event.data for event in reader.feed(json.dumps(document).encode()) if isinstance(event, ImageBytes)]
    assert cut == [b"mask", b"one"]
    view = decode_edits_request(reader.finish(), 2)
    assert (view.images, view.mask) == ((URL, 1), 0)
    assert (view.request.input_fidelity, view.unknown) == ("high", ("seed",))


@pytest.mark.parametrize(
    ("fields", "came_along", "param", "told"),
    [
        ({"prompt": None}, 1, "prompt", "prompt is missing"),
        ({"prompt": " "}, 1, "prompt", "white space"),
        ({"images": None}, 0, "images", "images is missing"),
        ({"images": []}, 0, "images", "a list of 1 to 16 items"),
        ({"images": [{"image_url": URL}] * (IMAGES_MAX + 1)}, 0, "images", "not 17 items"),
        ({"images": [{"file_id": "file-1"}]}, 0, "images[0].file_id", "a credential of OpenAI's"),
        ({"images": [{}]}, 0, "images[0]", "takes an image_url"),
        ({"images": [{"image_url": ""}]}, 0, "images[0].image_url", "at least 1"),
        ({"images": "x"}, 0, "images", "a list"),
        ({"mask": {"file_id": "f"}}, 1, "mask.file_id", "a credential of OpenAI's"),
        ({"n": "1"}, 1, "n", "a whole number"),
        ({"input_fidelity": "medium"}, 1, "input_fidelity", "one of high, low"),
    ],
)
def test_what_is_wrong_in_json_is_named(fields: dict[str, Any], came_along: int, param: str, told: str) -> None:
    """Field and way out."""
    error = refused(body(**fields), came_along)
    assert error.param == param
    assert told in error.message


@pytest.mark.parametrize(
    ("images", "came_along"),
    [
        (["0"], 0),
        (["0", "0"], 1),
        (["1"], 1),
        (["0", "1"], 1),
        ([URL], 1),
        (["00"], 1),
    ],
)
def test_a_number_that_a_caller_wrote_is_no_image(images: list[str], came_along: int) -> None:
    """Else it would be taken for what somebody sent, or lead outside of what came along."""
    error = refused(body(images=[{"image_url": each} for each in images]), came_along)
    assert "data: URL or as an https address" in error.message


def test_a_form_says_what_json_says() -> None:
    """Order of the parts aside: numbers and booleans are text, brackets are objects, one file is a list of one."""
    files = [("mask", None), ("image[]", None), ("image[]", None)]
    texts = [("n", "2"), ("stream", "false"), ("metadata[run]", "7"), ("output_compression", "80"), ("svg[model]", "x")]
    skeleton, _ = a_form(*files, *texts, ("prompt", PROMPT))
    view = decode_edits_request(skeleton, 3, is_form=True)
    assert (view.images, view.mask) == ((0, 1), 2)
    request = view.request
    assert (request.n, request.stream, request.output_compression) == (2, False, 80)
    assert request.metadata == {"run": "7"}
    assert view.unknown == ("svg[model]",)
    one, _ = a_form(("image", None), ("prompt", PROMPT))
    assert decode_edits_request(one, 1, is_form=True).images == (0,)


def test_the_order_of_parts_and_the_way_of_naming_them_say_nothing() -> None:
    """A repeat is recognised by the document: the same for every spelling of the same form."""
    spellings = [
        (("image", None), ("prompt", PROMPT), ("n", "1")),
        (("n", "1"), ("prompt", PROMPT), ("image[]", None)),
        (("prompt", PROMPT), ("image[0]", None), ("n", "1")),
    ]
    documents = [json.loads(a_form(*each)[0]) for each in spellings]
    assert documents[0] == documents[1] == documents[2]
    other = json.loads(a_form(("prompt", PROMPT), ("image", None), ("n", "1"), ("seed", "4"))[0])
    assert other == {**documents[0], "seed": ["digest of 4"]}


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ((("prompt", "a"), ("prompt", "b")), "prompt stands twice"),
        ((("mask", None), ("mask", None)), "mask stands twice"),
        ((("metadata[a]", "1"), ("metadata[a]", "2")), r"metadata\[a\] stands twice"),
        ((("metadata[a]", "1"), ("metadata[a][b]", "2")), "stands twice"),
        ((("metadata[a][b]", "1"), ("metadata[a]", "2")), "stands twice"),
        ((("metadata", "1"), ("metadata[a]", "2")), "stands twice"),
        ((("metadata[]", "1"), ("metadata[a]", "2")), "stands twice"),
        ((("images", None),), r"files named image\[\]"),
        ((("images[0][image_url]", "x"),), r"files named image\[\]"),
        ((("mask[]", None),), r"files named image\[\]"),
        ((("image[a]", None),), r"files named image\[\]"),
        ((("image[][]", None),), r"files named image\[\]"),
        ((("image[", None),), "no name of a field"),
        ((("[a]", None),), "no name of a field"),
        ((("a[b][c][d][e][f]", "x"),), "no name of a field"),
        ((("image", None),) * (IMAGES_MAX + 1), "At most 16 images"),
    ],
)
def test_what_is_wrong_in_a_form_is_named(parts: tuple[tuple[str, str | None], ...], told: str) -> None:
    """Twice, in two shapes, or under a name that is none."""
    with pytest.raises(RequestError, match=told):
        a_form(*parts)


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ((("image", None), ("prompt", PROMPT), ("n", "many")), "n"),
        ((("image", None), ("prompt", PROMPT), ("stream", "perhaps")), "stream"),
        ((("image", None),), "prompt"),
        ((("prompt", PROMPT),), "images"),
        ((("image", None), ("prompt[]", "a")), "prompt"),
    ],
)
def test_a_form_is_held_against_the_same_definition(parts: tuple[tuple[str, str | None], ...], param: str) -> None:
    """What is no number there is none here either."""
    skeleton, fields = a_form(*parts)
    assert refused(skeleton, fields.images, is_form=True).param == param


def test_a_list_in_a_form_keeps_its_order() -> None:
    """As SDKs write arrays that are no files."""
    skeleton, _ = a_form(("metadata[a][]", "1"), ("metadata[a][]", "2"))
    assert json.loads(skeleton) == {"metadata": {"a": ["1", "2"]}}


@pytest.mark.parametrize(
    ("mask", "told", "status"),
    [
        ({"mime": "image/jpeg"}, "a PNG with transparency, not image/jpeg", 400),
        ({"bytes": MASK_BYTES_MAX + 1}, "at most 4,194,304 bytes", 413),
        ({"width_px": 32}, "size, 64x48, not 32x48", 400),
    ],
)
def test_a_mask_that_is_none_costs_nothing(mask: dict[str, Any], told: str, status: int) -> None:
    """It is looked at before anything is bought."""
    with pytest.raises(RequestError, match=told) as caught:
        check_mask(an_image(**mask), an_image())
    assert (caught.value.status, caught.value.param) == (status, "mask")


def test_a_mask_that_fits_passes() -> None:
    """Also where the first image's format does not tell its size."""
    check_mask(an_image(), an_image(mime="image/jpeg"))
    check_mask(an_image(), an_image(mime="image/heic", width_px=0, height_px=0))
