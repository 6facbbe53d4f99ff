"""How much money may be at risk of being paid twice, a day.

An attempt whose outcome nobody knows may have been charged. Where it is bought once more and the image comes, the
customer pays once and the operator perhaps twice. In an outage every call is such a one, so a day's purchases of that
kind are capped for each model: a share of what the last 24 hours brought in, and a few images at least.

Pure: no I/O, clock or randomness. The purchase is reserved in the commit that sends it (`store.exposure`).
"""

from __future__ import annotations

CAP_AGE_S = 60.0
"""For how long a cap is used before it is worked out again."""


def cap_micros(*, spent_micros: int, price_micros: int, share: float, images_min: int) -> int:
    """Give the most that may be bought a second time on one day (UTC), micro-units.

    Args:
        spent_micros: What customers were charged for the model in the last 24 hours.
        price_micros: Of one image.
        share: `retry.exposure_share`.
        images_min: `retry.exposure_images_min`.
    """
    assert min(spent_micros, price_micros, images_min) >= 0
    assert 0.0 <= share <= 1.0
    return max(int(spent_micros * share), price_micros * images_min)


def allows(*, exposed_micros: int, price_micros: int, cap: int) -> bool:
    """Say whether one more purchase fits under the cap; the commit that sends it asks the same of the day's row."""
    return exposed_micros + price_micros <= cap
