"""How much may be bought twice a day."""

from __future__ import annotations

from holdfast.policy.exposure import allows, cap_micros


def test_the_cap_is_a_share_of_what_came_in() -> None:
    """2 % of 1,000 USD are 20 USD."""
    assert cap_micros(spent_micros=10**9, price_micros=134_000, share=0.02, images_min=5) == 20_000_000


def test_a_quiet_day_allows_a_few_images_all_the_same() -> None:
    """A new gateway has brought in nothing, and its first lost reply is still bought once more."""
    assert cap_micros(spent_micros=0, price_micros=134_000, share=0.02, images_min=5) == 670_000
    assert cap_micros(spent_micros=0, price_micros=134_000, share=0.02, images_min=0) == 0


def test_an_outage_ends_at_the_cap() -> None:
    """Of 300 lost replies at once as many are bought again as fit, and not one more."""
    cap, exposed, bought = cap_micros(spent_micros=0, price_micros=134_000, share=0.02, images_min=5), 0, 0
    for _ in range(300):
        if allows(exposed_micros=exposed, price_micros=134_000, cap=cap):
            exposed, bought = exposed + 134_000, bought + 1
    assert (bought, exposed) == (5, cap)
