"""Held by redirects: stock SDKs follow through a proxy that cuts what is silent, and are told the true status."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from types import ModuleType
from typing import Any

import openai
import pytest
from google.genai import errors as google_errors

REDIRECTS = {"Prefer": "hold=redirects"}
DELAY_S = 7.0
"""More than twice what nginx bears in silence."""
NOTED_S = 10.0
WISHES = {
    "drawn": f"[sim delay={DELAY_S}]",
    "broken": f"[sim status=500 delay={DELAY_S}]",
    "refused": f"[sim fault=refused_output delay={DELAY_S}]",
}
PLAIN = {
    "openai": ("stock", "documented", "compressing", "tls"),
    "openai-async": ("stock",),
    "google": ("stock", "documented", "compressing", "tls"),
    "google-async": ("stock",),
}
WAYS = [(flavour, front) for flavour, fronts in PLAIN.items() for front in fronts]
Calls = dict[tuple[str, str, str], Future[Any]]


def prompt_of(flavour: str, front: str, how: str) -> str:
    """What a call asks for; no other asks for the same."""
    return f"redirected {flavour} {front} {how} {WISHES[how]}"


@pytest.fixture(scope="module")
def calls(stage: Any, callers: ModuleType) -> Iterator[Calls]:
    """Begin every call at once: each takes as long as the others."""
    assert callers.FLAVOURS.keys() >= PLAIN.keys()
    yield {
        (flavour, front, how): stage.begin(
            flavour,
            prompt_of(flavour, front, how),
            front=front,
            headers=REDIRECTS,
            retries=openai.DEFAULT_MAX_RETRIES,
        )
        for flavour, front in WAYS
        for how in WISHES
    }


def bought_once(stage: Any, flavour: str, front: str, how: str) -> dict[str, Any]:
    """Give the record of a call: there is one, and it was asked for once."""
    generation_id = stage.only_generation(prompt_of(flavour, front, how))
    assert stage.simulator.requests(generation_id) == 1
    return dict(stage.gateway.ended(generation_id))


@pytest.mark.parametrize(("plain", "front"), WAYS)
def test_the_image_arrives_through_every_front(
    calls: Calls, stage: Any, as_drawn: Callable[[bytes], bool], plain: str, front: str
) -> None:
    """Byte for byte, after several hops, with the SDK as it comes; it is noted as collected."""
    got = calls[plain, front, "drawn"].result()
    (image,) = got.images
    assert as_drawn(image)
    assert got.took_s >= DELAY_S
    record = bought_once(stage, plain, front, "drawn")
    assert (record["id"], record["status"]) == (got.generation_id, "succeeded")
    # Noted once its last byte is acknowledged, which may be a moment after the caller has read it.
    until = time.monotonic() + NOTED_S
    while record["id"] not in [each["id"] for each in stage.gateway.listed(collected=True)]:
        assert time.monotonic() < until, "the image is not noted as collected"
        time.sleep(0.02)


@pytest.mark.parametrize(("plain", "front"), [way for way in WAYS if way[0].startswith("openai")])
def test_openai_raises_what_the_status_says(calls: Calls, stage: Any, plain: str, front: str) -> None:
    """502 for a broken upstream, 400 for a refusal; neither is asked for again."""
    with pytest.raises(openai.InternalServerError) as broken:
        calls[plain, front, "broken"].result()
    assert (broken.value.status_code, broken.value.code) == (502, "upstream_failed")
    assert broken.value.response.headers["generation-id"] == bought_once(stage, plain, front, "broken")["id"]
    with pytest.raises(openai.BadRequestError) as refused:
        calls[plain, front, "refused"].result()
    assert refused.value.code == "moderation_blocked"
    assert bought_once(stage, plain, front, "refused")["status"] == "failed"


@pytest.mark.parametrize(("plain", "front"), [way for way in WAYS if way[0].startswith("google")])
def test_google_raises_what_the_status_says(calls: Calls, stage: Any, plain: str, front: str) -> None:
    """A broken upstream is a server's error with its status, no text where JSON was expected."""
    with pytest.raises(google_errors.ServerError) as broken:
        calls[plain, front, "broken"].result()
    assert (broken.value.code, broken.value.status) == (500, "INTERNAL")
    bought_once(stage, plain, front, "broken")
    got = calls[plain, front, "refused"].result()
    assert got.images == []
    assert got.reasons
    assert bought_once(stage, plain, front, "refused")["status"] == "failed"
