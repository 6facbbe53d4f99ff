"""Edits and conversations, from a caller's words to a request: what an upstream bears, and what has no effect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from holdfast.config import Settings
from holdfast.errors import RequestError
from holdfast.gateway.asked import Routes, check_edit, from_openai, ignored_by
from holdfast.gateway.chats import from_chat
from holdfast.types import InputImage, Surface, Tier
from holdfast.wire.chat_request import ChatView, NamedModel, decode_chat_request
from holdfast.wire.openai import ImagesRequest
from holdfast.wire.openai_edits import EditsView, decode_edits_request

SettingsOf = Callable[..., Settings]


@pytest.fixture
def routes(settings_of: SettingsOf) -> Routes:
    """Routes of a gateway with both vendors and a relay."""
    return Routes(settings_of())


def an_input(**overrides: Any) -> InputImage:
    """An image that came along."""
    usual = {"sha256": "5" * 64, "mime": "image/png", "bytes": 9, "store_key": "k", "width_px": 160, "height_px": 90}
    return InputImage(**{**usual, **overrides})


def an_edit(images: int = 1, **fields: Any) -> EditsView:
    """A decoded edit."""
    body = {"prompt": "p", "images": [{"image_url": str(at)} for at in range(images)], **fields}
    return decode_edits_request(msgspec.json.encode(body), images + ("mask" in fields))


def a_chat(**fields: Any) -> ChatView:
    """A decoded conversation."""
    body = {"messages": [{"role": "user", "content": "a lighthouse"}], **fields}
    return decode_chat_request(msgspec.json.encode(body), 0)


@pytest.mark.parametrize(
    ("model", "images", "mask", "param"),
    [
        ("gpt-image-2", 16, True, None),
        ("nano-banana-pro", 14, False, None),
        ("nano-banana-pro", 15, False, "image"),
        ("nano-banana-pro", 1, True, "mask"),
    ],
)
def test_an_edit_is_refused_with_the_upstream_s_name(
    routes: Routes, model: str, images: int, mask: bool, param: str | None
) -> None:
    """Before anything that it names is fetched."""
    fields = {"mask": {"image_url": str(images)}} if mask else {}
    view = an_edit(images, model=model, **fields)
    if param is None:
        check_edit(view, routes)
        return
    with pytest.raises(RequestError, match=r"google \(gemini\) takes") as refused:
        check_edit(view, routes)
    assert refused.value.param == param


def test_an_edit_takes_over_the_last_image_s_ratio(routes: Routes) -> None:
    """And is known as one; what is masked goes along."""
    view = an_edit(1, model="gpt-image-2", mask={"image_url": "1"}, input_fidelity="high")
    asked = from_openai(view.request, (), (an_input(),), routes, mask=an_input(sha256="6" * 64))
    request = asked.request
    assert (request.surface, request.is_edit, request.geometry.aspect_ratio) == (Surface.OPENAI, True, "16:9")
    assert [image.sha256[0] for image in request.files] == ["5", "6"]
    assert (request.input_fidelity, asked.ignored) == ("high", ())
    assert not from_openai(ImagesRequest(prompt="p"), (), (), routes).request.is_edit


@pytest.mark.parametrize(
    ("converts", "fields", "ignored"),
    [
        (False, {"output_format": "jpeg", "output_compression": 5}, ("output_format", "output_compression")),
        (True, {"output_format": "jpeg", "output_compression": 5}, ()),
        (True, {"output_compression": 5}, ("output_compression",)),
        (True, {"output_format": "jpeg", "quality": "high"}, ("quality",)),
    ],
)
def test_a_format_has_an_effect_where_images_are_converted(
    settings_of: SettingsOf, converts: bool, fields: dict[str, Any], ignored: tuple[str, ...]
) -> None:
    """Only what nothing is done with is named; a compression without a format has nothing to act on."""
    routes = Routes(settings_of(), converts=converts)
    route = routes.find("nano-banana-pro")
    upstream = routes.first_upstream(route)
    assert ignored_by(upstream, ImagesRequest(prompt="p", **fields), route=route, converts=converts) == ignored
    asked = from_openai(ImagesRequest(prompt="p", model="nano-banana-pro", **fields), (), (), routes)
    assert asked.ignored == ignored


@pytest.mark.parametrize(
    ("fields", "named", "tier", "ratio"),
    [
        ({}, NamedModel(model=""), Tier.K1, "1:1"),
        ({"size": "4K"}, NamedModel(model="nano-banana-pro", size="2K"), Tier.K4, "1:1"),
        ({}, NamedModel(model="nano-banana-pro", size="2K", aspect_ratio="16:9"), Tier.K2, "16:9"),
        ({"image_config": {"aspect_ratio": "3:2"}}, NamedModel(model="nano-banana-pro"), Tier.K1, "3:2"),
    ],
)
def test_what_is_stated_counts_before_what_stands_behind_the_name(
    routes: Routes, fields: dict[str, Any], named: NamedModel, tier: Tier, ratio: str
) -> None:
    """A model that is not named is the default one."""
    request = from_chat(a_chat(**fields), named, (), routes).request
    assert (request.geometry.tier, request.geometry.aspect_ratio) == (tier, ratio)
    assert (request.surface, request.model) == (Surface.CHAT, "nano-banana-pro")


@pytest.mark.parametrize(
    ("fields", "shape"),
    [({}, "content"), ({"modalities": ["image", "text"]}, "images"), ({"modalities": ["text"]}, "content")],
)
def test_the_shape_of_the_answer_is_kept_with_the_request(routes: Routes, fields: dict[str, Any], shape: str) -> None:
    """Whoever is sent on, or joins later, is answered as it was asked."""
    view = a_chat(user="u", stream=True, stream_options={"include_usage": True}, **fields)
    request = from_chat(view, NamedModel(model=""), (), routes).request
    assert request.response_format == shape
    assert (request.stream, request.tells_usage, request.end_user) == (True, True, "u")


def test_models_that_are_passed_through_are_none_of_the_routes(settings_of: SettingsOf) -> None:
    """No surface draws with them."""
    routes = Routes(settings_of(passthrough={"upstream": "openai", "models": ["gpt-4o"]}))
    assert routes.passed == ("gpt-4o",)
    assert not routes.is_served("gpt-4o")
    assert routes.is_served("nano-banana-pro")
