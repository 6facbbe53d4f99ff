"""The price lists of providers, as data: each row has a source, and is found by those whom it is about."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.config import Provider, Upstream
from holdfast.config.parse import QUALITIES, parse
from holdfast.config.provider_prices import MAKERS, PROVIDER_PRICES, is_listed, provider_price


def an_upstream(provider: str, base_url: str = "https://u.example", **more: Any) -> Upstream:
    """One that is configured."""
    entry = {"name": "u", "provider": provider, "base_url": base_url, "keys": ["k"], **more}
    return parse({"upstreams": [entry]}).upstreams[0]


@pytest.mark.parametrize("row", PROVIDER_PRICES, ids=lambda row: row.models[0])
def test_every_row_says_where_and_when_it_was_read(row: Any) -> None:
    """And is spelled as an operator may spell it."""
    assert row.source
    assert row.read.startswith("2026-")
    entry = {"model": "m", "micros": dict(row.micros), "source": row.source, "valid_from": "2026-01-01"}
    assert dict(parse({"prices": [entry]}).prices[0].micros) == dict(row.micros)
    assert all(micros > 0 for micros in row.micros.values())
    assert not set(row.micros) & set(QUALITIES)


def test_every_provider_has_a_list_or_is_told_as_unknown() -> None:
    """Seven doors: four makers, fal, one relay by its host; of Replicate no list was read."""
    own = {provider for row in PROVIDER_PRICES if not row.host for provider in row.providers}
    assert set(MAKERS) | own == set(Provider) - {Provider.REPLICATE}
    assert not is_listed(an_upstream("replicate"), "google/nano-banana-pro", currency="USD")
    assert {row.host for row in PROVIDER_PRICES if row.host} == {"apiyi.com"}


def test_fal_bills_edits_as_the_model_itself() -> None:
    """Their path is another, their price is not."""
    row = provider_price(an_upstream("fal"), "fal-ai/nano-banana-pro/edit", currency="USD")
    assert row is not None
    assert row.micros["4K"] == 300_000
    assert provider_price(an_upstream("fal"), "fal-ai/other", currency="USD") is None


@pytest.mark.parametrize(
    ("base_url", "is_known"),
    [
        ("https://api.apiyi.com/v1", True),
        ("https://apiyi.com/v1", True),
        ("https://notapiyi.com/v1", False),
        ("https://apiyi.com.example/v1", False),
    ],
)
def test_a_relay_is_known_by_its_host(base_url: str, is_known: bool) -> None:
    """Not by a name that only looks like it."""
    relay = an_upstream("openai", base_url, flavor="relay")
    assert (provider_price(relay, "gemini-3-pro-image", currency="USD") is not None) is is_known
    assert is_listed(relay, "gemini-3-pro-image", currency="USD") is is_known


def test_a_maker_s_price_is_its_model_s() -> None:
    """It has no row of its own, and is listed all the same; a relay that speaks its API is not."""
    google = an_upstream("gemini")
    assert provider_price(google, "gemini-3-pro-image", currency="USD") is None
    assert is_listed(google, "gemini-3-pro-image", currency="USD")
    assert not is_listed(an_upstream("gemini", flavor="relay"), "gemini-3-pro-image", currency="USD")


def test_in_another_currency_no_list_holds() -> None:
    """Nothing is converted."""
    assert provider_price(an_upstream("fal"), "fal-ai/nano-banana-pro", currency="CNY") is None
