"""Settings of the chat surface: where images are, and what is passed through to whom."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.config import ChatImages, Settings, parse
from holdfast.errors import ConfigError
from holdfast.wire.chat import Shape

UPSTREAMS = [
    {"name": "google", "provider": "gemini", "base_url": "https://google.example", "keys": ["k"]},
    {"name": "openai", "provider": "openai", "base_url": "https://openai.example/v1", "keys": ["k"]},
]
ROUTES = [
    {
        "model": "nano-banana-pro",
        "aliases": ["gemini-3-pro-image"],
        "upstreams": [{"upstream": "google", "model": "gemini-3-pro-image"}],
    }
]


def settings(**passthrough: Any) -> Settings:
    """Read settings in which something is passed through."""
    return parse({"upstreams": UPSTREAMS, "routes": ROUTES, "passthrough": passthrough})


def test_every_shape_can_be_set() -> None:
    """The words of the setting are those of the answers."""
    assert {each.value for each in ChatImages} == {each.value for each in Shape}
    assert parse({"chat": {"images": "link"}}).chat.images is ChatImages.LINK
    assert Settings().chat.images is ChatImages.CONTENT


def test_nothing_is_passed_through_unless_it_is_named() -> None:
    """The default knows neither models nor an upstream, and is whole."""
    assert Settings().passthrough.models == ()
    assert settings(upstream="openai", models=["gpt-4o"]).passthrough.models == ("gpt-4o",)


@pytest.mark.parametrize(
    ("passthrough", "key", "told"),
    [
        ({"upstream": "openai"}, "passthrough.models", "is empty"),
        ({"models": ["gpt-4o"]}, "passthrough.upstream", "is missing: name"),
        ({"upstream": "opnai", "models": ["a"]}, "passthrough.upstream", "'openai'"),
        ({"upstream": "google", "models": ["a"]}, "passthrough.upstream", "does not speak openai"),
        ({"upstream": "openai", "models": ["a", ""]}, "passthrough.models[1]", "is empty"),
        ({"upstream": "openai", "models": ["nano-banana-pro"]}, "passthrough.models[0]", "makes images"),
        ({"upstream": "openai", "models": ["gemini-3-pro-image"]}, "passthrough.models[0]", "makes images"),
        ({"upstream": "openai", "models": "gpt-4o"}, "passthrough.models", "must be a list"),
        ({"upstream": "openai", "models": ["a"], "at_once": 0}, "passthrough.at_once", "at least 1"),
        ({"upstream": "openai", "models": ["a"], "silence_s": 0}, "passthrough.silence_s", "at least 0.1"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_start(passthrough: dict[str, Any], key: str, told: str) -> None:
    """With the key to change."""
    with pytest.raises(ConfigError, match=told) as refused:
        settings(**passthrough)
    assert refused.value.key == key
