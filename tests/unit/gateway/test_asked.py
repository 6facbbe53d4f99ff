"""From a caller's words to a request: the route, the picture, and what has no effect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from holdfast.config import Settings
from holdfast.errors import RequestError
from holdfast.gateway.asked import INPUTS_MAX, Routes, from_gemini, from_native, from_openai
from holdfast.types import InputImage, Surface, Tier
from holdfast.wire.gemini import decode_generate_request
from holdfast.wire.generations_request import GenerationsRequest, WebhookTarget
from holdfast.wire.openai import ImagesRequest

SettingsOf = Callable[..., Settings]


def wish(**fields: Any) -> ImagesRequest:
    """A decoded request of the OpenAI surface."""
    return ImagesRequest(**{"prompt": "a lighthouse", **fields})


def an_input(**overrides: Any) -> InputImage:
    """A reference image."""
    usual = {"sha256": "5" * 64, "mime": "image/png", "bytes": 9, "store_key": "inputs/5"}
    return InputImage(**{**usual, **overrides})


def view_of(**config: Any) -> Any:
    """A decoded request of the Gemini surface."""
    body = {"contents": [{"parts": [{"text": "a lighthouse"}]}], "generationConfig": config}
    return decode_generate_request(msgspec.json.encode(body))


@pytest.fixture
def routes(settings_of: SettingsOf) -> Routes:
    """Three models: Gemini's, OpenAI's, and one that a relay resells."""
    return Routes(settings_of())


@pytest.mark.parametrize("name", ["nano-banana-pro", "gemini-3-pro-image", "models/gemini-3-pro-image"])
def test_a_model_is_found_by_every_name_it_has(routes: Routes, name: str) -> None:
    """Programs keep old names, and Google's SDK may put a prefix before them."""
    assert routes.find(name).model == "nano-banana-pro"


def test_an_unknown_model_is_told_which_exist(routes: Routes) -> None:
    """The names of the models, so that the next try is right; a long name is not repeated whole."""
    with pytest.raises(RequestError) as refused:
        routes.find("dall-e-" + "9" * 500)
    error = refused.value
    assert (error.status, error.code, error.param) == (404, "model_not_found", "model")
    assert "nano-banana-pro, gpt-image-2, resold" in error.message
    assert len(error.message) < 300


def test_without_routes_the_operator_is_told_what_to_set(settings_of: SettingsOf) -> None:
    """A fresh gateway without a key serves no model, and says why."""
    empty = Routes(settings_of(upstreams=[], routes=[]))
    for model in (None, "nano-banana-pro"):
        with pytest.raises(RequestError, match="GEMINI_API_KEY"):
            empty.find(model)


def test_names_list_models_with_their_aliases(routes: Routes) -> None:
    """What `GET /v1/models` shows is what may be written."""
    assert routes.names() == ["nano-banana-pro", "gemini-3-pro-image", "gpt-image-2", "resold"]
    assert all(routes.find(name) for name in routes.names())


def test_without_a_model_the_marked_route_serves(settings_of: SettingsOf) -> None:
    """The operator's choice first, then nano-banana-pro, then whatever there is."""
    openai = {"model": "gpt-image-2", "upstreams": [{"upstream": "openai", "model": "gpt-image-2"}]}
    google = {"model": "nano-banana-pro", "upstreams": [{"upstream": "google", "model": "gemini-3-pro-image"}]}
    assert Routes(settings_of(routes=[google, {**openai, "default": True}])).find(None).model == "gpt-image-2"
    assert Routes(settings_of(routes=[openai, google])).find(None).model == "nano-banana-pro"
    assert Routes(settings_of(routes=[openai])).find(None).model == "gpt-image-2"


def test_openai_words_become_a_request(routes: Routes) -> None:
    """Every field that shapes the picture or its answer arrives."""
    asked = from_openai(
        wish(
            model="gpt-image-2",
            n=3,
            size="1536x1024",
            quality="high",
            output_format="webp",
            output_compression=80,
            background="opaque",
            moderation="low",
            response_format="url",
            stream=True,
            partial_images=2,
            user="u-1",
            safety_identifier="s-1",
        ),
        (),
        (),
        routes,
    )
    request = asked.request
    assert (request.surface, request.model, request.n) == (Surface.OPENAI, "gpt-image-2", 3)
    assert (request.geometry.tier, request.geometry.aspect_ratio) == (Tier.K2, "3:2")
    assert (request.quality, request.output_format, request.output_compression) == ("high", "webp", 80)
    assert (request.background, request.moderation, request.response_format) == ("opaque", "low", "url")
    assert (request.stream, request.partial_images, request.end_user) == (True, 2, "s-1")
    assert request.size_as_asked is None
    assert asked.ignored == ()


def test_what_is_not_said_has_its_usual_value(routes: Routes) -> None:
    """One image, of the route's size, square, embedded, not streamed."""
    request = from_openai(wish(), (), (), routes).request
    assert (request.model, request.n, request.stream, request.partial_images) == ("nano-banana-pro", 1, False, 0)
    assert (request.geometry.tier, request.geometry.aspect_ratio) == (Tier.K1, "1:1")
    assert request.response_format == "b64_json"
    assert request.end_user is None


def test_the_routes_size_holds_where_none_is_named(settings_of: SettingsOf) -> None:
    """`size_default` on both surfaces, and `auto` means the same as nothing."""
    route = {"model": "m", "size_default": "4K", "upstreams": [{"upstream": "google", "model": "g"}]}
    routes = Routes(settings_of(routes=[route]))
    assert from_openai(wish(), (), (), routes).request.geometry.tier is Tier.K4
    assert from_openai(wish(size="auto"), (), (), routes).request.geometry.tier is Tier.K4
    assert from_gemini(view_of(), "m", (), routes, stream=False).request.geometry.tier is Tier.K4


@pytest.mark.parametrize(
    ("fields", "ignored"),
    [
        ({}, ()),
        ({"quality": "auto", "background": "auto", "moderation": "auto", "partial_images": 0}, ()),
        ({"quality": "high"}, ("quality",)),
        ({"output_format": "png", "output_compression": 0}, ("output_format", "output_compression")),
        ({"background": "transparent", "moderation": "low"}, ("background", "moderation")),
        ({"partial_images": 1, "stream": True}, ("partial_images",)),
        ({"n": 2, "size": "2K", "user": "u", "response_format": "url"}, ()),
    ],
)
def test_what_gemini_does_nothing_with_is_named(
    routes: Routes, fields: dict[str, Any], ignored: tuple[str, ...]
) -> None:
    """A caller learns what had no effect, 0 percent included; what is as usual is not worth a word."""
    assert from_openai(wish(**fields), (), (), routes).ignored == ignored


def test_unknown_fields_are_named_too(routes: Routes) -> None:
    """After the known ones."""
    asked = from_openai(wish(quality="low"), ("frames", "style"), (), routes)
    assert asked.ignored == ("quality", "frames", "style")


@pytest.mark.parametrize(
    ("fields", "as_asked"),
    [
        ({"size": "2K"}, "2K"),
        ({"size": "640x480"}, "640x480"),
        ({"size": "auto"}, "auto"),
        ({}, None),
        ({"size": "1536x1024", "aspect_ratio": "3:2"}, "1536x1024"),
        ({"size": "2K", "aspect_ratio": "16:9"}, None),
        ({"size": "auto", "aspect_ratio": "16:9"}, None),
    ],
)
def test_a_relay_gets_the_size_in_the_callers_words(
    routes: Routes, fields: dict[str, Any], as_asked: str | None
) -> None:
    """Unless a ratio stated beside it would be lost: then the resolved pixels say both."""
    request = from_openai(wish(model="resold", **fields), (), (), routes).request
    assert request.size_as_asked == as_asked
    if "aspect_ratio" in fields:
        assert request.geometry.aspect_ratio == fields["aspect_ratio"]


def test_the_ratio_follows_the_last_reference_image(routes: Routes) -> None:
    """As Gemini does it; heic tells no size, and is passed over."""
    wide, unknown = an_input(width_px=1920, height_px=1080), an_input(mime="image/heic")
    assert from_openai(wish(), (), (an_input(width_px=1, height_px=1), wide), routes).request.geometry.aspect_ratio == (
        "16:9"
    )
    assert from_gemini(view_of(), "nano-banana-pro", (wide,), routes, stream=False).request.geometry.aspect_ratio == (
        "16:9"
    )
    assert from_openai(wish(), (), (unknown,), routes).request.geometry.aspect_ratio == "1:1"


def test_gemini_words_become_a_request_that_keeps_the_body(routes: Routes) -> None:
    """Tools and safety settings are not ours to understand: the body travels on."""
    view = view_of(imageConfig={"aspectRatio": "21:9", "imageSize": "4K"}, candidateCount=2, temperature=0.5)
    inputs = (an_input(),)
    asked = from_gemini(view, "gemini-3-pro-image", inputs, routes, stream=True)
    request = asked.request
    assert (request.surface, request.model, request.n, request.stream) == (Surface.GEMINI, "nano-banana-pro", 2, True)
    assert (request.geometry.tier, request.geometry.aspect_ratio) == (Tier.K4, "21:9")
    assert request.prompt == "a lighthouse"
    assert request.inputs == inputs
    assert request.dialect_body is not None
    assert msgspec.json.decode(request.dialect_body)["generationConfig"]["temperature"] == 0.5


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"imageSize": "512"}, "generationConfig.imageConfig.imageSize"),
        ({"aspectRatio": "9:21"}, "generationConfig.imageConfig.aspectRatio"),
    ],
)
def test_a_gemini_caller_is_told_its_own_name_of_the_field(routes: Routes, config: dict[str, str], field: str) -> None:
    """`size` stands nowhere in its request."""
    with pytest.raises(RequestError) as refused:
        from_gemini(view_of(imageConfig=config), "nano-banana-pro", (), routes, stream=False)
    assert (refused.value.code, refused.value.param) == ("unsupported_size", field)


def test_too_many_reference_images_are_refused_before_anything_is_paid(routes: Routes) -> None:
    """The upstream would refuse them after they were sent."""
    enough = (an_input(),) * INPUTS_MAX
    assert len(from_gemini(view_of(), "nano-banana-pro", enough, routes, stream=False).request.inputs) == INPUTS_MAX
    with pytest.raises(RequestError, match=f"At most {INPUTS_MAX}") as refused:
        from_gemini(view_of(), "nano-banana-pro", (*enough, an_input()), routes, stream=False)
    assert refused.value.param == "contents"


def native(**fields: Any) -> GenerationsRequest:
    """A decoded request of the native surface."""
    return GenerationsRequest(**{"prompt": "a lighthouse", **fields})


def test_a_native_request_is_understood_like_any_other(routes: Routes) -> None:
    """Route by alias, size by the same rules, metadata beside it, and nothing that is ignored."""
    inputs = (an_input(width_px=1600, height_px=900),)
    metadata = {"order": "7"}
    asked = from_native(native(model="gemini-3-pro-image", size="4K", n=3, metadata=metadata), inputs, routes)
    request = asked.request
    assert (request.surface, request.model, request.n) == (Surface.GENERATIONS, "nano-banana-pro", 3)
    assert (request.geometry.tier, request.geometry.aspect_ratio) == (Tier.K4, "16:9")
    assert (request.inputs, request.metadata, asked.ignored) == (inputs, metadata, ())
    assert from_native(native(), (), routes).request.n == 1


def test_a_relay_gets_the_native_size_in_the_callers_words(routes: Routes) -> None:
    """As it gets those of the OpenAI surface."""
    assert from_native(native(model="resold", size="4096x4096"), (), routes).request.size_as_asked == "4096x4096"
    assert from_native(native(model="gpt-image-2", size="2K"), (), routes).request.size_as_asked is None


def test_a_webhook_is_kept_beside_the_request(routes: Routes) -> None:
    """It is no part of what is drawn."""
    url = "https://app.example/hook"
    asked, plain = from_native(native(webhook=WebhookTarget(url=url)), (), routes), from_native(native(), (), routes)
    assert (asked.webhook, plain.webhook) == (url, None)
    assert asked.request == plain.request


def test_a_list_is_narrowed_by_any_name_of_a_model(routes: Routes) -> None:
    """Its alias too; a name that is none is told with the near one."""
    assert routes.model_of("gemini-3-pro-image") == "nano-banana-pro"
    with pytest.raises(RequestError, match="Did you mean 'gpt-image-2'") as refused:
        routes.model_of("gpt-image-1")
    assert (refused.value.status, refused.value.param) == (400, "model")
