"""Who serves what in a seed: one upstream a model, or routes with several, other keys, and a model that stands in."""

from __future__ import annotations

from functools import cache
from typing import Any

from holdfast.config import Settings, parse

MODELS = ("nano-banana-pro", "gpt-image-2")
"""What callers may ask for."""
UPSTREAM_KEY = "sk-nobody-may-read-this"
RETENTION_S, AFTER_FINISH_S, AFTER_COLLECT_S = 1500.0, 300.0, 120.0
PURCHASES_MAX = 2
GEMINI, GPT = "gemini-3-pro-image", "gpt-image-2"
MICROS = {GEMINI: 134_000, GPT: 90_000}
"""What an image costs at whoever makes it, by its name there."""


@cache
def lone(concurrency: int = 0, sends_max: int = 12, unwatched_s: float = 120.0) -> Settings:
    """Two upstreams, one for each model; what may have been charged is not bought again."""
    each = {"keys": [UPSTREAM_KEY], "concurrency": concurrency}
    return parse(
        {
            **_usual(unwatched_s),
            "upstreams": [_gemini("google", each), _openai("openai", each)],
            "retry": {"sends_max": sends_max, "on_unknown": "fail"},
            "routes": [
                {"model": MODELS[0], "upstreams": [{"upstream": "google", "model": GEMINI}]},
                {"model": MODELS[1], "upstreams": [{"upstream": "openai", "model": GPT}]},
            ],
        }
    )


@cache
def routed(concurrency: int = 0, sends_max: int = 12, unwatched_s: float = 120.0, *, hedges: bool = False) -> Settings:
    """Four upstreams with two keys each, two for each model, and one model that stands in for the other.

    What may have been charged is bought once more, and hardly any cap is put to that. With `hedges` every slow call
    may have a second one beside it.
    """
    each = {"keys": [f"{UPSTREAM_KEY}-1", f"{UPSTREAM_KEY}-2"], "concurrency": concurrency}
    return parse(
        {
            **_usual(unwatched_s),
            "upstreams": [
                _gemini("google", each),
                _gemini("vertex", each),
                _openai("openai", each),
                _openai("relay", each),
            ],
            "hedge": {"enabled": hedges, "budget_share": 1.0},
            "retry": {
                "sends_max": sends_max,
                "on_unknown": "buy_once_more",
                "purchases_max": PURCHASES_MAX,
                "exposure_images_min": 100 if hedges else 12,
            },
            "routes": [
                {
                    "model": MODELS[0],
                    "upstreams": [
                        {"upstream": "google", "model": GEMINI, "weight": 3},
                        {"upstream": "vertex", "model": GEMINI, "weight": 1},
                    ],
                    "fallback": [MODELS[1]],
                },
                {
                    "model": MODELS[1],
                    "upstreams": [{"upstream": "openai", "model": GPT}, {"upstream": "relay", "model": GPT}],
                },
            ],
        }
    )


def is_routed(settings: Settings) -> bool:
    """Say which of the two it is."""
    return len(settings.upstreams[0].keys) > 1


def _gemini(name: str, each: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "provider": "gemini", "base_url": f"http://{name}.test", **each}


def _openai(name: str, each: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "provider": "openai", "base_url": f"http://{name}.test/v1", **each}


def _usual(unwatched_s: float) -> dict[str, Any]:
    """A retention short enough to end within the hour, and prices."""
    since = {"source": "test", "valid_from": "2019-01-01"}
    return {
        "joining": {"unwatched_cancel_s": unwatched_s},
        "prices": [
            {"model": model, "micros": {"1K": micros, "2K": micros, "4K": 2 * micros}, **since}
            for model, micros in zip(MODELS, (MICROS[GEMINI], MICROS[GPT]), strict=True)
        ],
        "store": {
            "retention_s_max": RETENTION_S,
            "keep_after_finish_s": AFTER_FINISH_S,
            "keep_after_collect_s": AFTER_COLLECT_S,
        },
    }
