"""What no upstream of a route can make is refused before it is accepted."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.config import Provider, Route, RouteUpstream, Settings, Upstream
from holdfast.errors import RequestError
from holdfast.gateway.fitting import check_fits
from holdfast.policy.sizes import geometry_of
from holdfast.types import Request, Surface, Tier

ARK = Upstream(name="my-ark", provider=Provider.ARK, base_url="https://ark.example/api/v3")
GOOGLE = Upstream(name="google", provider=Provider.GEMINI, base_url="https://google.example")
PRO = "seedream-5-0-pro-260628"


def fits(tier: Tier, *targets: tuple[str, str], **overrides: Any) -> None:
    """Check a request against a route of these."""
    entries = tuple(RouteUpstream(upstream=upstream, model=model) for upstream, model in targets)
    request = Request(surface=Surface.OPENAI, model="m", prompt="a", geometry=geometry_of(tier, "1:1"), **overrides)
    check_fits(request, Route(model="m", upstreams=entries), Settings(upstreams=(ARK, GOOGLE)))


def test_what_somebody_can_make_is_let_in() -> None:
    """Whoever of the route it is."""
    fits(Tier.K2, ("my-ark", PRO))
    fits(Tier.K4, ("my-ark", PRO), ("my-ark", "seedream-4-5-251128"))
    fits(Tier.K4, ("my-ark", PRO), ("google", "gemini-3-pro-image"))
    fits(Tier.K4)


def test_a_smaller_size_counts_where_it_will_do() -> None:
    """Not for a Gemini document, which names its size itself."""
    fits(Tier.K4, ("my-ark", PRO), may_degrade=True)
    with pytest.raises(RequestError):
        fits(Tier.K4, ("my-ark", PRO), may_degrade=True, dialect_body="{}")


def test_what_nobody_can_make_is_refused_with_the_first_ones_name() -> None:
    """Nothing is held and nothing is sent."""
    with pytest.raises(RequestError) as refused:
        fits(Tier.K4, ("my-ark", PRO), ("my-ark", "seedream-5-5-261028"))
    assert (refused.value.code, refused.value.param, refused.value.status) == ("unsupported_size", "size", 400)
    assert refused.value.message.startswith("my-ark (Ark) cannot make this: Seedream 5.0 draws at most 4,624,220")
