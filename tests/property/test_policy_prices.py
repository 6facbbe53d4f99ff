"""A price is found or refused by name; what is held covers what may be charged."""

from __future__ import annotations

from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from holdfast.config import LIST_PRICES, Price
from holdfast.config.parse import QUALITIES, parse
from holdfast.errors import RequestError
from holdfast.policy.prices import price_in_force, unit_price_micros
from holdfast.policy.sizes import RATIOS, geometry_of
from holdfast.types import Tier

TODAY = date(2026, 11, 24)
tiers = st.sampled_from(Tier)
ratios = st.sampled_from(RATIOS)
keys = st.builds(
    lambda tier, quality, ratio: tier + quality + ratio,
    st.sampled_from([tier.value for tier in Tier]),
    st.sampled_from(["", *(f"/{quality}" for quality in QUALITIES)]),
    st.sampled_from(["", *(f"@{ratio}" for ratio in RATIOS)]),
)
micros = st.dictionaries(keys, st.integers(0, 10**9), min_size=1, max_size=12)
days = st.dates(date(2026, 1, 1), date(2027, 12, 31))
prices = st.builds(Price, model=st.sampled_from(["m", "o"]), micros=micros, source=st.just("s"), valid_from=days)


def found(table: tuple[Price, ...], tier: Tier, ratio: str, quality: str | None, model: str = "m") -> int | None:
    try:
        return unit_price_micros(
            table, model=model, tier=tier, quality=quality, geometry=geometry_of(tier, ratio), today=TODAY
        )
    except RequestError as refused:
        assert (refused.code, refused.status) == ("price_missing", 503)
        assert f'model = "{model}"' in refused.message
        return None


@given(st.lists(prices, max_size=5).map(tuple), tiers, ratios, st.none() | st.sampled_from(QUALITIES))
def test_a_price_is_one_of_its_table_or_refused(
    table: tuple[Price, ...], tier: Tier, ratio: str, quality: str | None
) -> None:
    """Nothing is interpolated: the figure stands in the settings, at this size, and holds today."""
    figure = found(table, tier, ratio, quality)
    price = price_in_force(table, "m", TODAY)
    if figure is not None:
        assert price is not None
        assert price.valid_from <= TODAY
        assert figure in {value for key, value in price.micros.items() if key.startswith(tier.value)}
    elif price is not None:
        assert tier.value not in price.micros


@given(micros, tiers, ratios)
def test_an_open_quality_is_never_held_for_less_than_any_quality(table: dict[str, int], tier: Tier, ratio: str) -> None:
    """Unless the operator gave the size a price of its own, which then is the price of `auto`."""
    price = (Price(model="m", micros=table, source="s", valid_from=TODAY),)
    auto = found(price, tier, ratio, "auto")
    assert auto == found(price, tier, ratio, None)
    has_own = any(key.partition("@")[0] == tier.value for key in table)
    if auto is not None and not has_own:
        figures = [found(price, tier, ratio, quality) for quality in QUALITIES]
        assert auto == max(figure for figure in figures if figure is not None)


@given(micros, tiers, ratios)
def test_portrait_costs_as_landscape_where_only_one_is_priced(table: dict[str, int], tier: Tier, ratio: str) -> None:
    """Turning a picture does not change its price unless the operator says so."""
    turned = ":".join(reversed(ratio.split(":")))
    one_way = {key: value for key, value in table.items() if not key.endswith(f"@{turned}") or turned == ratio}
    price = (Price(model="m", micros=one_way, source="s", valid_from=TODAY),) if one_way else ()
    if turned in RATIOS:
        assert found(price, tier, ratio, "low") == found(price, tier, turned, "low")


@given(micros, days)
def test_any_well_formed_price_can_be_written_in_the_settings(table: dict[str, int], day: date) -> None:
    """What the lookup understands, the parser accepts, and the other way round."""
    entry = {"model": "m", "micros": table, "source": "s", "valid_from": day.isoformat()}
    parsed = parse({"prices": [entry]}).prices[0]
    assert (dict(parsed.micros), parsed.valid_from) == (table, day)


def test_every_shipped_model_has_a_price_at_its_smallest_size() -> None:
    """No model is offered that cannot be bought as it comes."""
    for price in LIST_PRICES:
        assert found(LIST_PRICES, Tier.K1, "1:1", None, model=price.model) is not None
