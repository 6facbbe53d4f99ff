"""Both sides of an image's price, everybody's beside one another, and what is found wrong with them."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from holdfast.config import Settings
from holdfast.config.parse import parse
from holdfast.errors import ConfigError, RequestError
from holdfast.policy.price_table import Weight, findings, rows_of, wanted_by
from holdfast.policy.prices import Quote, Wanted, check_priced, cost_of, find_micros, priced_by, quote
from holdfast.policy.sizes import resolve
from holdfast.types import Request, Surface, Tariff, Tier

TODAY, LATER = date(2026, 11, 28), date(2026, 12, 1)
GOLD, PLAIN = Tariff(group="gold"), Tariff(group="plain", margin_share=0.25)
A_1K = Wanted(tier=Tier.K1, aspect_ratio="1:1")
GOOGLE = {"name": "google", "provider": "gemini", "base_url": "https://g.example", "keys": ["k"]}
FAL = {"name": "fal", "provider": "fal", "base_url": "https://queue.fal.run", "keys": ["k"]}
RELAY = {"name": "relay", "provider": "openai", "base_url": "https://r.example/v1", "keys": ["k"], "flavor": "relay"}
APIYI = {**GOOGLE, "name": "apiyi", "base_url": "https://api.apiyi.com", "flavor": "relay"}
PRO = {"google": "gemini-3-pro-image", "fal": "fal-ai/nano-banana-pro", "relay": "x", "apiyi": "gemini-3-pro-image"}


def a_price(model: str = "m", micros: dict[str, int] | None = None, **more: Any) -> dict[str, Any]:
    """One entry of `[[prices]]`."""
    return {"model": model, "micros": micros or {"1K": 1000}, "source": "s", "valid_from": "2026-01-01", **more}


def some(*prices: dict[str, Any], margin: float = 1.0, upstreams: tuple[Any, ...] = (GOOGLE,)) -> Settings:
    """Settings that serve `m` at all of these upstreams, and have these prices."""
    named = [{"upstream": each["name"], "model": PRO[each["name"]]} for each in upstreams]
    return parse(
        {
            "upstreams": list(upstreams),
            "routes": [{"model": "m", "upstreams": named}],
            "prices": list(prices),
            "money": {"margin": margin},
        }
    )


def found(settings: Settings, groups: tuple[Tariff, ...] | None = (), day: date = TODAY) -> list[tuple[str, str]]:
    """Weights and rules."""
    return [(each.weight.value, each.rule) for each in findings(settings, day, groups)]


# Looking a price up


@pytest.mark.parametrize(
    ("n", "micros"), [(1, 100), (2, 100), (3, 80), (4, 80), (5, 60), (10, 60)], ids=lambda each: str(each)
)
def test_each_of_several_images_costs_what_their_number_says(n: int, micros: int) -> None:
    """The highest number that is reached counts."""
    assert find_micros({"1K": 100, "1K*3": 80, "1K*5": 60}, Wanted(tier=Tier.K1, aspect_ratio="1:1", n=n)) == micros


def test_quality_and_ratio_count_before_number() -> None:
    """A price for more images is no price for another quality."""
    table = {"1K/high": 300, "1K*2": 80, "1K@3:2": 120, "1K/high*4": 250}
    assert find_micros(table, Wanted(tier=Tier.K1, aspect_ratio="1:1", quality="high", n=3)) == 300
    assert find_micros(table, Wanted(tier=Tier.K1, aspect_ratio="1:1", quality="high", n=4)) == 250
    assert find_micros(table, Wanted(tier=Tier.K1, aspect_ratio="2:3", n=3)) == 120
    assert find_micros(table, Wanted(tier=Tier.K1, aspect_ratio="16:9", n=3)) == 80
    assert find_micros(table, Wanted(tier=Tier.K4, aspect_ratio="1:1")) is None


def test_an_open_quality_is_the_dearest_at_that_number() -> None:
    """Whatever the model chooses is covered."""
    table = {"1K/low": 10, "1K/high": 90, "1K/high*2": 70}
    assert find_micros(table, A_1K) == 90
    assert find_micros(table, Wanted(tier=Tier.K1, aspect_ratio="1:1", n=2)) == 70


def test_a_price_holds_from_its_first_day_to_its_last() -> None:
    """Both included, and a later entry takes over on its own."""
    settings = some(
        a_price(valid_from="2026-11-01", valid_until="2026-11-30"),
        a_price(micros={"1K": 7}, valid_from="2026-11-30"),
        a_price(micros={"1K": 9}, valid_from="2027-01-01", valid_until="2027-01-31"),
    )

    def on(day: date) -> int:
        return quote(settings, "m", A_1K, day, None).unit_micros

    assert [on(date(2026, 11, 1)), on(date(2026, 11, 29)), on(date(2026, 11, 30))] == [1000, 1000, 7]
    # What was said for a month does not outlast it: the open entry below it holds again.
    assert [on(date(2027, 1, 31)), on(date(2027, 2, 1))] == [9, 7]
    with pytest.raises(RequestError, match="no price that holds on 2026-10-31") as refused:
        on(date(2026, 10, 31))
    assert (refused.value.code, refused.value.status) == ("price_missing", 503)


def test_a_group_pays_its_own_price_or_its_own_margin() -> None:
    """Its own price as it stands, what that does not name with its margin, else everybody's."""
    settings = some(a_price(micros={"1K": 1000, "4K": 2001}), a_price(micros={"1K": 900}, group="gold"), margin=1.1)
    in_4k = Wanted(tier=Tier.K4, aspect_ratio="1:1")
    assert quote(settings, "m", A_1K, TODAY, None) == Quote(list_micros=1000, unit_micros=1100)
    assert quote(settings, "m", A_1K, TODAY, GOLD) == Quote(list_micros=1000, unit_micros=900)
    assert quote(settings, "m", in_4k, TODAY, GOLD) == Quote(list_micros=2001, unit_micros=2201)
    assert quote(settings, "m", in_4k, TODAY, PLAIN) == Quote(list_micros=2001, unit_micros=2501)
    with_discount = Tariff(group="plain", margin_share=-0.2)
    assert quote(settings, "m", A_1K, TODAY, with_discount).unit_micros == 800


def test_what_only_a_group_has_a_price_for_only_it_can_buy() -> None:
    """Its price is taken for the cost too: nothing less is known."""
    settings = some(a_price(), a_price(micros={"4K": 5000}, group="gold"))
    in_4k = Wanted(tier=Tier.K4, aspect_ratio="1:1")
    assert quote(settings, "m", in_4k, TODAY, GOLD) == Quote(list_micros=5000, unit_micros=5000)
    for tariff in (None, PLAIN):
        with pytest.raises(RequestError, match=r'Set micros\."4K"'):
            quote(settings, "m", in_4k, TODAY, tariff)


def test_a_request_keeps_by_whose_prices_it_is_bought() -> None:
    """Without a group it is the request that it was."""
    request = Request(surface=Surface.OPENAI, model="m", prompt="p", geometry=resolve("1K", aspect_ratio=None))
    assert priced_by(None, request) is request
    assert priced_by(GOLD, request).tariff == GOLD


def test_an_upstream_s_cost_is_what_is_written_then_its_list_then_the_model_s() -> None:
    """Each as far as it names the size."""
    upstreams = (GOOGLE, FAL, APIYI)
    settings = some(
        a_price(micros={"1K": 134_000, "4K": 240_000}), a_price(micros={"1K": 1}, upstream="fal"), upstreams=upstreams
    )
    in_4k = Wanted(tier=Tier.K4, aspect_ratio="1:1")

    def cost(name: str, wanted: Wanted) -> int | None:
        return cost_of(settings, settings.upstream(name), PRO[name], "m", wanted, TODAY)

    assert [cost("google", A_1K), cost("fal", A_1K), cost("apiyi", A_1K)] == [None, 1, 90_000]
    assert [cost("google", in_4k), cost("fal", in_4k), cost("apiyi", in_4k)] == [None, 300_000, 90_000]


def test_lists_are_in_their_own_currency() -> None:
    """In another one nothing is known of what fal takes."""
    settings = parse(
        {
            "upstreams": [FAL],
            "routes": [{"model": "m", "upstreams": [{"upstream": "fal", "model": PRO["fal"]}]}],
            "prices": [a_price()],
            "money": {"currency": "EUR"},
        }
    )
    assert cost_of(settings, settings.upstream("fal"), PRO["fal"], "m", A_1K, TODAY) is None


# Settings that contradict themselves


@pytest.mark.parametrize(
    ("prices", "key", "words"),
    [
        ([a_price(valid_until="2025-12-31")], "prices[0].valid_until", "it would never hold"),
        ([a_price(currency="EUR")], "prices[0].currency", "nothing is converted"),
        ([a_price(), a_price(upstream="gogle")], "prices[1].upstream", "google"),
        ([a_price(), a_price(upstream="google", group="gold")], "prices[1].group", "two entries"),
        ([a_price(), a_price()], "prices[1]", "prices[0] holds for the same from the same day"),
        ([a_price(group="gold")], "prices", "has no price"),
        ([a_price(upstream="google")], "prices", "has no price"),
        ([a_price(micros={"1K*11": 1})], 'prices[0].micros."1K*11"', "is no size"),
        ([a_price(micros={"1K*1": 1})], 'prices[0].micros."1K*1"', "is no size"),
    ],
)
def test_an_entry_that_can_never_count_is_refused_at_the_start(
    prices: list[dict[str, Any]], key: str, words: str
) -> None:
    """With the key to change."""
    with pytest.raises(ConfigError, match="prices") as refused:
        some(*prices)
    assert refused.value.key == key
    assert words in str(refused.value)


def test_a_model_that_nobody_could_buy_today_is_refused_at_the_start() -> None:
    """Naming it, and when it has a price."""
    check_priced(some(a_price()), TODAY)
    with pytest.raises(ConfigError, match=r"'m' has no price that holds on 2026-11-28: it has one from 2026-12-01 on"):
        check_priced(some(a_price(valid_from="2026-12-01")), TODAY)
    with pytest.raises(ConfigError, match="its last one held until 2026-11-27"):
        check_priced(some(a_price(valid_until="2026-11-27")), TODAY)


# The table


@pytest.mark.parametrize(
    ("key", "wanted"),
    [
        ("4K", Wanted(tier=Tier.K4, aspect_ratio="1:1")),
        ("1K/low@3:2*4", Wanted(tier=Tier.K1, aspect_ratio="3:2", quality="low", n=4)),
        ("2K@9:16", Wanted(tier=Tier.K2, aspect_ratio="9:16")),
        ("1K*10", Wanted(tier=Tier.K1, aspect_ratio="1:1", n=10)),
    ],
)
def test_a_key_says_what_is_asked_for_at_its_price(key: str, wanted: Wanted) -> None:
    """The lookup finds it again."""
    assert wanted_by(key) == wanted
    assert find_micros({key: 5}, wanted) == 5


def test_every_row_has_both_sides() -> None:
    """List, customers by group, and upstreams."""
    settings = some(
        a_price(micros={"1K": 134_000}),
        a_price(micros={"1K": 99_000}, group="gold"),
        upstreams=(GOOGLE, FAL),
        margin=2.0,
    )
    row = rows_of(settings, TODAY, (GOLD, PLAIN))[0]
    assert (row.model, row.key, row.list_micros, row.unit_micros) == ("m", "1K", 134_000, 268_000)
    assert dict(row.groups) == {"gold": 99_000, "plain": 167_500}
    assert dict(row.costs) == {"google": 134_000, "fal": 150_000}
    assert row.source == "s"


def test_models_without_a_route_come_last_and_cost_nobody_anything() -> None:
    """The shipped list is longer than what is served."""
    rows = rows_of(some(a_price()), TODAY, ())
    assert rows[0].model == "m"
    assert all(not row.costs for row in rows[1:])
    assert {"nano-banana-pro", "gpt-image-2"} <= {row.model for row in rows}


# Findings


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    """Every size has a price, and none is below its cost."""
    assert found(some(a_price(micros={"1K": 1, "2K": 2, "4K": 3}))) == []


def test_missing_prices_are_found_before_a_call_is_refused() -> None:
    """A model is an error, a size a warning."""
    assert found(some(a_price())) == [("warning", "missing_size")] * 2
    assert found(some(a_price(valid_from="2026-12-01", micros={"1K": 1, "2K": 2, "4K": 3}))) == [("error", "missing")]


def test_a_price_below_its_cost_is_told_with_both_figures() -> None:
    """Of every customer who brings less than it takes."""
    full = {"1K": 134_000, "2K": 134_000, "4K": 300_000}
    settings = some(a_price(micros=full), a_price(micros={"1K": 99_000}, group="gold"), upstreams=(GOOGLE, FAL))
    told = {each.message for each in findings(settings, TODAY, (GOLD,)) if each.rule == "below_cost"}
    assert told == {
        "m 1K costs 0.134 USD at google and brings 0.099 USD (group gold)",
        "m 1K costs 0.15 USD at fal and brings 0.134 USD (keys without a group), 0.099 USD (group gold)",
        "m 2K costs 0.15 USD at fal and brings 0.134 USD (keys without a group), 0.134 USD (group gold)",
    }


def test_a_misspelt_group_never_counts() -> None:
    """Where there is no data folder yet, nobody knows."""
    full = {"1K": 1, "2K": 2, "4K": 3}
    settings = some(a_price(micros=full), a_price(micros=full, group="glod"))
    assert found(settings, (GOLD,)) == [("error", "unknown_group")]
    assert found(settings, None) == []


def test_a_price_of_a_model_without_a_route_may_be_a_slip() -> None:
    """Of the shipped ones it is none."""
    full = {"1K": 1, "2K": 2, "4K": 3}
    assert found(some(a_price(micros=full), a_price("n", full))) == [("warning", "unserved")]


def test_an_end_without_a_successor_is_told_a_month_before() -> None:
    """And not where one follows, nor long before, nor afterwards."""
    full = {"1K": 1, "2K": 2, "4K": 3}
    ending = a_price(micros=full, valid_until="2026-12-15")
    assert found(some(ending)) == [("warning", "ends_soon")]
    assert found(some(ending), day=date(2026, 11, 1)) == []
    assert found(some(ending, a_price(micros=full, valid_from="2026-12-16"))) == []
    assert found(some(ending, a_price(micros=full, valid_from="2026-12-17"))) == [("warning", "ends_soon")]


def test_a_cost_that_is_only_supposed_is_told() -> None:
    """A relay's own price is known where it is written."""
    full = {"1K": 1, "2K": 2, "4K": 3}
    assert found(some(a_price(micros=full), upstreams=(RELAY,))) == [("warning", "unlisted_cost")]
    assert found(some(a_price(micros=full), a_price(micros=full, upstream="relay"), upstreams=(RELAY,))) == []


def test_the_worst_comes_first() -> None:
    """Whatever the order in which it was found."""
    settings = some(a_price(), a_price(micros={"1K": 1}, group="glod"))
    assert found(settings) == [("error", "unknown_group"), ("warning", "missing_size"), ("warning", "missing_size")]
    assert list(Weight) == [Weight.ERROR, Weight.WARNING]
