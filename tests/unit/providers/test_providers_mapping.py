"""What the page says of each door, and a caller is told, is what the door's conversation really sends."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from holdfast.config import Provider, Upstream, UpstreamApi
from holdfast.providers.conversation import Send
from holdfast.providers.mapping import AT_THE_END, FIELDS, IGNORABLE, ONE_BY_ONE, Mapping
from holdfast.providers.registry import MAPPINGS, conversation_for, images_per_call, mapping_of
from holdfast.types import Geometry, InputImage, Request, Surface, Tier
from holdfast.wire.template import filled

AN_INPUT = InputImage(sha256="00", mime="image/png", bytes=3, store_key="k")
PLAIN = Request(
    surface=Surface.OPENAI,
    model="m",
    prompt="a lighthouse",
    geometry=Geometry(tier=Tier.K1, aspect_ratio="1:1", width_px=1024, height_px=1024),
)
OTHERWISE: dict[str, dict[str, Any]] = {
    "prompt": {"prompt": "a boat"},
    "size": {"geometry": Geometry(tier=Tier.K2, aspect_ratio="1:1", width_px=2048, height_px=2048)},
    "aspect_ratio": {"geometry": Geometry(tier=Tier.K1, aspect_ratio="16:9", width_px=1376, height_px=768)},
    "images": {"inputs": (AN_INPUT,)},
    "quality": {"quality": "high"},
    "output_format": {"output_format": "jpeg"},
    "output_compression": {"output_compression": 80},
    "background": {"background": "transparent"},
    "moderation": {"moderation": "low"},
    "stream": {"stream": True},
    "partial_images": {"stream": True, "partial_images": 2},
    "user": {"end_user": "somebody"},
    "mask": {"inputs": (AN_INPUT,), "mask": AN_INPUT},
    "input_fidelity": {"input_fidelity": "high"},
}
"""A request that says something else of one field."""


MODELS = {Provider.ARK: "seedream-5-5-261028"}
"""Where models differ in what they take: one that takes all of it."""


def an_upstream(mapping: Mapping) -> Upstream:
    """One behind the door."""
    outer_model = "gpt-5.5" if mapping.api is UpstreamApi.RESPONSES else ""
    return Upstream(
        name="up",
        provider=mapping.provider,
        api=mapping.api,
        base_url="https://up.example/v1",
        keys=("k",),
        outer_model=outer_model,
    )


def before_of(name: str) -> Request:
    """What a field changes nothing but itself of."""
    first = {"partial_images": {"stream": True}, "mask": {"inputs": (AN_INPUT,)}}
    return replace(PLAIN, **first.get(name, {}))


def sent(mapping: Mapping, request: Request, *, n: int = 1) -> tuple[str, bytes]:
    """Where a request goes, and all that it says."""
    model = MODELS.get(mapping.provider, "theirs")
    talk = conversation_for(
        an_upstream(mapping), request, model=model, key="k", idempotency_key="i", timeout_s=100.0, n=n
    )
    step = talk.start()
    assert isinstance(step, Send)
    return step.request.url, filled(step.request.body, {0: b"one", 1: b"two"})


@pytest.mark.parametrize("name", [name for name in FIELDS if name != "n"])
@pytest.mark.parametrize("mapping", MAPPINGS, ids=lambda mapping: mapping.title)
def test_a_field_that_is_listed_changes_what_is_sent_and_no_other_does(mapping: Mapping, name: str) -> None:
    """Neither a promise that is not kept, nor an effect that nobody was told of."""
    before = before_of(name)
    changes = sent(mapping, replace(before, **OTHERWISE[name])) != sent(mapping, before)
    place = mapping.fields.get(name)
    assert changes is (place is not None and place != AT_THE_END)


@pytest.mark.parametrize("mapping", MAPPINGS, ids=lambda mapping: mapping.title)
def test_the_count_is_told_where_it_is_one(mapping: Mapping) -> None:
    """Elsewhere each image is a call of its own."""
    most = images_per_call(an_upstream(mapping))
    assert (mapping.fields["n"] == ONE_BY_ONE) is (most == 1)
    if most > 1:
        assert str(most) in mapping.fields["n"]
        assert sent(mapping, PLAIN, n=most) != sent(mapping, PLAIN)


@pytest.mark.parametrize("mapping", MAPPINGS, ids=lambda mapping: mapping.title)
def test_the_places_that_are_named_are_in_the_request(mapping: Mapping) -> None:
    """The last word of a path is a name that is sent."""
    for name, place in mapping.fields.items():
        if name == "n":
            continue
        before = before_of(name)
        url, body = sent(mapping, replace(before, **OTHERWISE[name]))
        for path in re.findall(r"`([a-zA-Z_.\[\]]+)`", place):
            last = path.removesuffix("[]").rpartition(".")[2]
            assert f'"{last}"'.encode() in body or last in OTHERWISE[name].values(), (name, path)
        assert url.startswith("https://up.example/")


@pytest.mark.parametrize("mapping", [each for each in MAPPINGS if each.only], ids=lambda mapping: mapping.title)
def test_values_that_are_not_understood_are_not_sent(mapping: Mapping) -> None:
    """And whoever wrote one is told."""
    for name, understood in mapping.only.items():
        for value in understood:
            assert not mapping.ignores(name, value)
            assert sent(mapping, replace(PLAIN, **{name: value})) != sent(mapping, PLAIN)
        assert mapping.ignores(name, "another")
        assert sent(mapping, replace(PLAIN, **{name: "another"})) == sent(mapping, PLAIN)


def test_every_door_has_one_mapping() -> None:
    """And an upstream finds its own."""
    doors = [(mapping.provider, mapping.api) for mapping in MAPPINGS]
    assert len(set(doors)) == len(doors)
    assert {provider for provider, _ in doors} == set(Provider)
    assert {api for _, api in doors} == set(UpstreamApi)
    for mapping in MAPPINGS:
        assert mapping_of(an_upstream(mapping)) is mapping


def test_what_an_image_cannot_do_without_has_to_be_listed() -> None:
    """A door that has no place for the prompt, or for the size, is no door."""
    fields = {name: "`x`" for name in FIELDS if name not in IGNORABLE}
    assert Mapping(provider=Provider.FAL, title="t", call="c", fields=fields).ignores("quality", "high")
    for wrong in (
        {"fields": {name: place for name, place in fields.items() if name != "size"}},
        {"fields": fields | {"colour": "`x`"}},
        {"fields": fields, "only": {"quality": ("high",)}},
    ):
        with pytest.raises(AssertionError):
            Mapping(**{"provider": Provider.FAL, "title": "t", "call": "c", **wrong})  # type: ignore[arg-type]
