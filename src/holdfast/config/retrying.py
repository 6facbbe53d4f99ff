"""What is tried again, and where it ends: as settings."""

# ruff: noqa: RUF009 - `key` gives a dataclass field, not a shared value.
from __future__ import annotations

from dataclasses import dataclass

from holdfast.config.keys import key
from holdfast.config.serving import OnUnknown


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySettings:
    """Trying again what failed, here or at another upstream: freely what cost nothing, and what may have been charged
    within limits of purchases and money."""

    attempts_max: int = key(
        4,
        "Attempts at an image at one upstream that may fail, the first included; being told to wait (429, 503) is none",
        source="with the pauses below three repeats span 14 s; what fails for longer seldom ends within a call",
        at_least=1,
    )
    backoff_s_first: float = key(
        2.0,
        "Base of the first pause; it doubles from try to try, and half of it is left to chance",
        unit="seconds",
        source="equal jitter (AWS Architecture Blog, 2015); a call takes 30 s and more, so 2 s are no loss",
        at_least=0.01,
    )
    backoff_s_max: float = key(
        60.0, "Longest base of a pause", unit="seconds", source="quotas are counted by the minute", at_least=0.01
    )
    budget_share: float = key(
        0.10,
        "Repeats as a share of all calls to an upstream, over all generations",
        source="10 % more load is no storm (Google SRE Book, ch. 21)",
        at_least=0.0,
        at_most=1.0,
    )
    budget_burst: int = key(
        3,
        "Repeats that are allowed beyond that share at once",
        source="one generation may use all of its own",
        at_least=0,
    )
    sends_max: int = key(
        12,
        "Calls made for one image to each upstream of its route, whatever became of them; bounds the waiting out of "
        "429 and 503",
        source="at 45 % of refusals one image in 14,000 meets twelve in a row",
        at_least=1,
    )
    on_unknown: OnUnknown = key(
        OnUnknown.BUY_ONCE_MORE,
        "What follows an attempt of which nobody knows whether it was charged: `buy_once_more`, within the three "
        "limits below, or `fail`. The customer is charged once whatever happens",
        source="whoever waits wants an image; most lost replies were never charged",
    )
    purchases_max: int = key(
        2,
        "Calls for one image that may be charged, the first included; a caller may ask for fewer "
        "(`Holdfast-Purchases`)",
        source="one lost reply is chance, two are an outage",
        at_least=1,
    )
    exposure_share: float = key(
        0.02,
        "Most that is bought a second time a day (UTC) for a model, as a share of what its customers were charged in "
        "the last 24 hours",
        source="an outage of 300 calls must not be paid for twice",
        at_least=0.0,
        at_most=1.0,
    )
    exposure_images_min: int = key(
        5,
        "The price of so many images may be bought a second time a day in any case",
        source="a new gateway has brought in nothing yet",
        at_least=0,
    )
    eject_after: int = key(
        5,
        "Failures in a row after which a key, or an upstream, is not asked for a while; a key that is refused (401, "
        "402, 403) is taken out at once. An upstream's last key stays",
        source="one failure in ten is usual, five in a row are one in 100,000",
        at_least=1,
    )
    eject_s: float = key(
        30.0,
        "How long a key is taken out the first time; the n-th time in a row n times as long",
        unit="seconds",
        source="Envoy's base ejection time",
        at_least=0.01,
    )
    eject_s_max: float = key(
        300.0,
        "Longest that a key is taken out",
        unit="seconds",
        source="Envoy's longest ejection time: one that was repaired is back within five minutes",
        at_least=0.01,
    )
