"""Which settings a running gateway takes over, and which wait for the next start."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from holdfast.config import Settings, parse
from holdfast.config.renewal import TAKEN_OVER, changed_sections, renewed

URL = "https://u.example"


def settings_of(**sections: Any) -> Settings:
    """One upstream, one route."""
    usual: dict[str, Any] = {
        "upstreams": [{"name": "a", "provider": "gemini", "base_url": URL, "keys": ["k"]}],
        "routes": [{"model": "nano-banana-pro", "upstreams": [{"upstream": "a", "model": "m"}]}],
    }
    return parse(usual | sections)


def test_every_name_is_a_setting() -> None:
    """A section that is renamed would silently wait for a restart."""
    sections = {each.name for each in fields(Settings)}
    for name in TAKEN_OVER:
        section, _, key = name.partition(".")
        assert section in sections
        assert not key or key in {each.name for each in fields(getattr(Settings(), section))}


@pytest.mark.parametrize(
    "sections",
    [
        {"upstreams": [{"name": "a", "provider": "gemini", "base_url": f"{URL}/v2", "keys": ["k", "l"]}]},
        {"routes": []},
        {"prices": [{"model": "nano-banana-pro", "micros": {"1K": 1}, "source": "t", "valid_from": "2026-01-01"}]},
        {"compensation": [{"when": "slow", "slower_than_s": 100}]},
        {"retry": {"sends_max": 20}},
        {"queue": {"waiting_max": 3}},
        {"joining": {"window_s": 60}},
        {"deadlines": {"connect_s": 3}},
        {"passthrough": {"upstream": "o", "models": ["gpt-4o"]}}
        | {"upstreams": [{"name": n, "provider": "openai", "base_url": f"{URL}/v1", "keys": ["k"]} for n in "ao"]},
        {"money": {"margin": 1.5}},
    ],
)
def test_what_can_be_taken_over_is(sections: dict[str, Any]) -> None:
    """As a whole, with nothing left for a restart."""
    read = settings_of(**sections)
    taken, waiting = renewed(settings_of(), read)
    assert (taken, waiting) == (read, ())
    assert set(changed_sections(settings_of(), taken)) == sections.keys()


def test_what_is_bound_to_a_start_stays_and_is_named() -> None:
    """Each key that differs, and no other; what can be taken over beside it is."""
    read = settings_of(
        server={"port": 1, "public_url": "https://x.example"},
        store={"data": "elsewhere"},
        log={"level": "debug"},
        money={"currency": "EUR", "margin": 2.0},
        prices=[{"model": "nano-banana-pro", "micros": {"1K": 1}, "source": "t", "valid_from": "2026-01-01"}],
        retry={"sends_max": 20},
    )
    now = settings_of()
    taken, waiting = renewed(now, read)
    assert set(waiting) == {"server.port", "server.public_url", "store.data", "log.level", "money.currency", "prices"}
    assert (taken.server, taken.store, taken.log) == (now.server, now.store, now.log)
    assert (taken.money.currency, taken.money.margin) == ("USD", 2.0)
    # Amounts in the other currency are no prices here.
    assert (taken.retry, taken.prices) == (read.retry, now.prices)


def test_nothing_changes_where_nothing_differs() -> None:
    """Not even a section is named."""
    taken, waiting = renewed(settings_of(), settings_of())
    assert (taken, waiting, changed_sections(taken, settings_of())) == (settings_of(), (), [])
