"""What an entry of `keys` is for Vertex AI, and what contradicts it: told at the start, with the key to change."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.config import parse, upstream_keys
from holdfast.config.google_keys import GoogleKey, path_of
from holdfast.errors import ConfigError

ACCOUNT = '{"type": "service_account",\n "private_key": "-----BEGIN PRIVATE KEY-----\\n…"}'


def written(**overrides: Any) -> dict[str, Any]:
    """Settings with one upstream and its route."""
    entry = {"name": "v", "provider": "vertex", "project": "my-project", "keys": ["adc"], **overrides}
    entry = {name: value for name, value in entry.items() if value is not None}
    route = {"model": "nano-banana-pro", "upstreams": [{"upstream": "v", "model": "gemini-3-pro-image"}]}
    return {"upstreams": [entry], "routes": [route]}


@pytest.mark.parametrize(
    ("secret", "kind"),
    [
        ("adc", GoogleKey.ADC),
        (ACCOUNT, GoogleKey.JSON),
        ("file:/etc/holdfast/vertex.json", GoogleKey.FILE),
        ("/etc/holdfast/vertex", GoogleKey.FILE),
        ("vertex.json", GoogleKey.FILE),
        ("~/vertex.json", GoogleKey.FILE),
        ("AIzaSyExample-key_0", GoogleKey.API_KEY),
        ("AQ.Ab8RN6-key", GoogleKey.API_KEY),
    ],
)
def test_a_credential_is_known_by_its_form(secret: str, kind: GoogleKey) -> None:
    """An API key has neither slash nor brace."""
    assert GoogleKey.of(secret) is kind
    assert kind.gives_tokens is (kind is not GoogleKey.API_KEY)


def test_the_mark_of_a_path_is_not_part_of_it() -> None:
    """`file:` says what it is."""
    assert path_of("file:/etc/x.json") == path_of("/etc/x.json") == "/etc/x.json"


@pytest.mark.parametrize("key", ["adc", "file:/with a space/x.json", ACCOUNT])
def test_what_gives_tokens_goes_with_a_project(key: str) -> None:
    """And is resolved as it is: it is read, and never sent."""
    assert upstream_keys(parse(written(keys=[key])), {}) == {"v": (key,)}
    assert upstream_keys(parse(written(keys=["env:VERTEX"])), {"VERTEX": key}) == {"v": (key,)}


def test_an_api_key_goes_without_one() -> None:
    """Express mode."""
    settings = parse(written(project=None, keys=["env:VERTEX"]))
    assert upstream_keys(settings, {"VERTEX": "AIza-x"}) == {"v": ("AIza-x",)}


@pytest.mark.parametrize("key", ["adc", "file:/x.json", ACCOUNT])
def test_tokens_without_a_project_are_refused(key: str) -> None:
    """With what to write, and without the secret."""
    with pytest.raises(ConfigError, match="set project beside it") as refused:
        upstream_keys(parse(written(project=None, keys=["env:VERTEX"])), {"VERTEX": key})
    assert refused.value.key == "upstreams[0].keys[0]"
    assert "PRIVATE" not in str(refused.value)


def test_an_api_key_with_a_project_is_refused() -> None:
    """It may be a path that was forgotten; both ways out are told."""
    with pytest.raises(ConfigError, match="leave project out; or write") as refused:
        upstream_keys(parse(written(keys=["AIza-x"])), {})
    assert refused.value.key == "upstreams[0].keys[0]"
    assert "AIza" not in str(refused.value)


@pytest.mark.parametrize(
    ("overrides", "key", "told"),
    [
        ({"location": "US"}, "location", "us-central1"),
        ({"location": "us-central1/x"}, "location", "us-central1"),
        ({"project": "My Project"}, "project", "my-project-123"),
        ({"project": None, "location": "us-central1", "keys": ["AIza"]}, "location", "express mode"),
        ({"base_url": "https://x.test/v1/projects/p"}, "base_url", "project and location"),
        ({"flavor": "relay"}, "flavor", "leave it out"),
        ({"provider": "gemini", "base_url": "https://x.test"}, "project", "leave it out"),
        (
            {"provider": "gemini", "base_url": "https://x.test", "project": None, "location": "us-east1"},
            "location",
            "leave it out",
        ),
        ({"provider": "gemini", "project": None}, "base_url", "is missing"),
        ({"provider": "fal", "base_url": "https://x.test", "project": None, "api": "chat"}, "api", "has no"),
        (
            {"provider": "openai", "base_url": "https://x.test", "project": None, "chat_form": "new-api"},
            "chat_form",
            'api = "chat"',
        ),
    ],
)
def test_contradictions_are_told_at_the_start(overrides: dict[str, Any], key: str, told: str) -> None:
    """With the setting to change, and how."""
    with pytest.raises(ConfigError, match=told) as refused:
        parse(written(**overrides))
    assert refused.value.key == f"upstreams[0].{key}"


@pytest.mark.parametrize("location", ["global", "us-central1", "europe-west4", "northamerica-northeast1"])
def test_regions_are_taken_as_google_spells_them(location: str) -> None:
    """New ones, too: nothing here lists them."""
    assert parse(written(location=location)).upstreams[0].location == location


def test_a_chat_is_a_door_of_the_openai_provider() -> None:
    """With or without a form of its own."""
    entry = {"provider": "openai", "base_url": "https://x.test/v1", "project": None, "api": "chat", "keys": ["k"]}
    assert parse(written(**entry)).upstreams[0].chat_form.value == "auto"
    assert parse(written(**entry, chat_form="openrouter")).upstreams[0].chat_form.value == "openrouter"
