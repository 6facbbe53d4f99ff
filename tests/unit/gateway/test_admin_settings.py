"""The settings in force as admins are told them: all of them, and no secret."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from holdfast.config import Settings
from holdfast.config.describe import describe
from holdfast.gateway.admin.settings import HIDDEN, _without_password, settings_in_force


def told(settings: Settings) -> dict[str, Any]:
    """Values by name."""
    return {each.name: each.value for each in settings_in_force(settings)}


def test_every_setting_is_told(settings_of: Callable[..., Settings]) -> None:
    """None is forgotten: the reference page and this list know the same ones."""
    names = {each.name for each in settings_in_force(Settings())}
    documented = {each.name for each in describe() if each.environment is not None}
    assert names == documented


def test_entries_of_lists_are_told_one_by_one(settings_of: Callable[..., Settings]) -> None:
    """With the place that error messages use too."""
    found = told(settings_of())
    assert found["upstreams[1].name"] == "openai"
    assert found["routes[0].upstreams[0].model"] == "gemini-3-pro-image"
    assert found["routes[0].aliases"] == ["gemini-3-pro-image"]


def test_a_credential_is_told_as_where_it_is_found_or_not_at_all(settings_of: Callable[..., Settings]) -> None:
    """`env:NAME` is no secret, the text itself is; how many there are may be known."""
    google = {"name": "google", "provider": "gemini", "base_url": "https://google.example"}
    upstreams = [
        {**google, "keys": ["sk-secret", "env:GOOGLE"]},
        {"name": "openai", "provider": "openai", "base_url": "https://o.example/v1", "keys": ["sk-other"]},
        {"name": "relay", "provider": "openai", "base_url": "https://r.example/v1", "keys": ["sk-third"]},
    ]
    found = told(settings_of(upstreams=upstreams))
    assert found["upstreams[0].keys"] == [HIDDEN, "env:GOOGLE"]
    assert "sk-" not in str(found)


def test_what_was_written_is_told_apart_from_what_was_not(settings_of: Callable[..., Settings]) -> None:
    """A default is one as long as its value is."""
    listed = {each.name: each for each in settings_in_force(settings_of(server={"port": 1234}))}
    assert not listed["server.port"].is_default
    assert listed["server.host"].is_default
    assert listed["server.header_timeout_s"].unit == "seconds"
    assert listed["server.port"].means


def test_all_of_it_is_json(settings_of: Callable[..., Settings]) -> None:
    """Paths, days, words and tables by size included."""
    decoded = msgspec.json.decode(msgspec.json.encode(list(settings_in_force(settings_of()))))
    values = {each["name"]: each["value"] for each in decoded}
    assert isinstance(values["store.data"], str)
    assert set(values["deadlines.attempt_s"] or {"1K", "2K", "4K"}) == {"1K", "2K", "4K"}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("https://me:hunter2@host/path", f"https://{HIDDEN}@host/path"),
        ("https://host/path", "https://host/path"),
        ("me@host", "me@host"),
        ("", ""),
    ],
)
def test_a_password_in_an_address_is_hidden(text: str, wanted: str) -> None:
    """The rest of the address is what an operator looks for."""
    assert _without_password(text) == wanted
