"""What providers take for an image by price lists of their own, where that is not the model's list price.

Data: a row says where and when it was read. It is the cost of an attempt, beside the customer's price, until an entry
of `[[prices]]` with `upstream` says otherwise. A list is what is here: contracts, credits and batch rates are not.

Google (Gemini API and Vertex AI), OpenAI and BytePlus are the models' own makers: their lists are `config.list_prices`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import urlsplit

from holdfast.config.list_prices import LIST_CURRENCY
from holdfast.config.serving import Flavor, Provider, Upstream


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderPrice:
    """One model of one provider, micro-units of `LIST_CURRENCY` an image."""

    providers: tuple[Provider, ...]
    """The APIs through which it sells."""
    models: tuple[str, ...]
    """Its names there."""
    micros: Mapping[str, int]
    """As in `Price.micros`."""
    source: str
    read: str
    """The month in which it was: `2026-11`."""
    host: str = ""
    """For a relay: the host, or the end of it, that bills so; empty: the provider itself."""

    def is_of(self, upstream: Upstream, model: str) -> bool:
        """Whether an upstream bills a model so."""
        if upstream.provider not in self.providers or model.removesuffix("/edit") not in self.models:
            return False
        if not self.host:
            return upstream.flavor is Flavor.VENDOR
        host = urlsplit(upstream.base_url).hostname or ""
        return host == self.host or host.endswith(f".{self.host}")


def _fal(model: str, **micros: int) -> ProviderPrice:
    return ProviderPrice(
        providers=(Provider.FAL,),
        models=(f"fal-ai/{model}",),
        micros=MappingProxyType(micros),
        source=f"fal.ai, page of {model}",
        read="2026-11",
    )


def _apiyi(micros: int, *models: str) -> ProviderPrice:
    return ProviderPrice(
        providers=(Provider.GEMINI, Provider.OPENAI),
        models=models,
        micros=MappingProxyType({"1K": micros, "2K": micros, "4K": micros}),
        source="docs.apiyi.com, Nano Banana pricing, a request of any size",
        read="2026-11",
        host="apiyi.com",
    )


PROVIDER_PRICES: tuple[ProviderPrice, ...] = (
    _fal("nano-banana-pro", **{"1K": 150_000, "2K": 150_000, "4K": 300_000}),
    _fal("nano-banana-2", **{"1K": 80_000, "2K": 120_000, "4K": 160_000}),
    _fal("nano-banana", **{"1K": 39_000}),
    _apiyi(90_000, "gemini-3-pro-image", "gemini-3-pro-image-preview"),
    _apiyi(55_000, "gemini-3.1-flash-image", "gemini-3.1-flash-image-preview"),
    _apiyi(20_000, "gemini-2.5-flash-image"),
)

MAKERS: Mapping[Provider, str] = MappingProxyType(
    {
        Provider.GEMINI: "Google's list, by model",
        Provider.VERTEX: "Google's list, by model",
        Provider.OPENAI: "OpenAI's list, by model",
        Provider.ARK: "BytePlus' list, by model",
    }
)
"""Whose lists are the models' list prices."""


def provider_price(upstream: Upstream, model: str, *, currency: str) -> ProviderPrice | None:
    """Find what an upstream takes for a model by a list of its own; None: there is none in this currency."""
    if currency != LIST_CURRENCY:
        return None
    return next((row for row in PROVIDER_PRICES if row.is_of(upstream, model)), None)


def is_listed(upstream: Upstream, model: str, *, currency: str) -> bool:
    """Whether anything is known of what an upstream takes: a list of its own, or it is the model's maker."""
    is_maker = upstream.provider in MAKERS and upstream.flavor is Flavor.VENDOR
    return is_maker or provider_price(upstream, model, currency=currency) is not None
