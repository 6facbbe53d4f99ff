"""Wishes and requests, for whatever people write."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import RequestError
from holdfast.policy.sizes import geometry_of
from holdfast.simulator.asked import Asked, Head, Reading, route_of
from holdfast.simulator.charges import Outcome
from holdfast.simulator.faults import DRAFTS_MAX, Fault, Wish, wish_of_mapping, wish_of_prompt, wish_of_words
from holdfast.simulator.pictures import SERIAL_CHARS
from holdfast.simulator.plan import Circumstances, plan_of
from holdfast.types import Surface, Tier
from holdfast.wire.template import slots_of

MAPPINGS = st.fixed_dictionaries(
    {},
    optional={
        "delay": st.floats(0, 86_400, allow_nan=False).map(lambda value: round(value, 3)),
        "fault": st.sampled_from([fault.value for fault in Fault]),
        "status": st.integers(300, 599),
        "retry_after": st.integers(1, 10_000),
        "drafts": st.integers(0, DRAFTS_MAX),
        "reason": st.from_regex(r"[A-Z_]{1,30}", fullmatch=True),
        "format": st.sampled_from(["png", "jpeg"]),
    },
)
WISHES = MAPPINGS.map(wish_of_mapping)
ASKED = st.builds(
    Asked,
    surface=st.sampled_from([Surface.OPENAI, Surface.GEMINI]),
    model=st.sampled_from(["gpt-image-2", "gemini-3-pro-image"]),
    prompt=st.text(min_size=1, max_size=50),
    geometry=st.builds(geometry_of, st.sampled_from(list(Tier)), st.sampled_from(["1:1", "16:9", "2:3", "8:1"])),
    n=st.integers(1, 10),
    stream=st.booleans(),
    partial_images=st.integers(0, 3),
    format=st.sampled_from(["png", "jpeg"]),
    inputs=st.integers(0, 16),
    wants_thoughts=st.booleans(),
)
CIRCUMSTANCES = st.builds(
    Circumstances,
    number=st.integers(1, 10**9),
    seed=st.integers(),
    speed=st.floats(0.1, 1e6),
    is_instant=st.booleans(),
    surplus_tokens=st.integers(0, 630),
    created=st.integers(0, 2**33),
    price_micros=st.integers(1, 10**6),
    draft_micros=st.integers(1, 10**6),
    server_timeout_s=st.none() | st.floats(1, 10_000),
)


@given(MAPPINGS)
def test_words_and_objects_say_the_same(mapping: dict[str, Any]) -> None:
    """`delay=12 fault=truncate` is `{"delay": 12, "fault": "truncate"}`, in a prompt or alone."""
    words = " ".join(f"{name}={value}" for name, value in mapping.items())
    assert wish_of_words(words) == wish_of_mapping(mapping) == wish_of_prompt(f"a cat [sim {words}]")


@given(st.text())
def test_no_prompt_breaks_the_reader(prompt: str) -> None:
    """It holds a wish, none, or a mistake that is told."""
    for text in (prompt, f"[sim {prompt}]"):
        try:
            wish = wish_of_prompt(text)
        except RequestError as refused:
            assert refused.status == 400
        else:
            assert wish is None or isinstance(wish, Wish)


@given(WISHES, WISHES, WISHES)
def test_wishes_are_laid_over_each_other_in_any_grouping(script: Wish, prompt: Wish, scenario: Wish) -> None:
    """Script over prompt over scenario is one thing, however it is computed."""
    assert script.over(prompt.over(scenario)) == script.over(prompt).over(scenario)
    assert script.over(script) == script
    assert Wish().over(script) == script


@given(ASKED, WISHES, st.floats(0, 1_000), CIRCUMSTANCES)
def test_every_plan_makes_sense(asked: Asked, wish: Wish, delay_s: float, now: Circumstances) -> None:
    """Whatever is asked and wished: pictures for all slots, no negative time, money only for what was done."""
    wish = wish.over(Wish(delay_s=delay_s))
    plan = plan_of(asked, wish, now)
    slots = [slot for part in plan.reply.parts for slot in slots_of(part.template)]
    assert sorted(slots) == sorted(plan.reply.pictures)
    assert len({drawn.serial for drawn in plan.reply.pictures.values()}) == len(slots)
    assert all(len(drawn.serial) == SERIAL_CHARS for drawn in plan.reply.pictures.values())
    assert plan.wait_s >= 0.0
    assert plan.deadline_s is None or 0.0 < plan.deadline_s < plan.wait_s
    assert [part.share for part in plan.reply.parts] == sorted(part.share for part in plan.reply.parts)
    match plan.outcome:
        case Outcome.MADE:
            assert plan.micros > 0
        case Outcome.EMPTY | Outcome.FAILED:
            assert plan.micros == 0
        case Outcome.REFUSED:
            assert plan.reply.pictures == {}


@given(
    st.binary(max_size=300),
    st.integers(1, 50),
    st.sampled_from(["/v1/images/generations", "/v1/models/m:generateContent", "/v1/images/edits"]),
)
def test_no_body_breaks_the_reader(body: bytes, piece_bytes: int, path: str) -> None:
    """It is a request, or a mistake that is told, however it is cut."""
    outcomes = []
    for cut in (piece_bytes, len(body) or 1):
        reading = Reading(route_of(Head(method="POST", target=path, headers={})))
        for at in range(0, len(body), cut):
            reading.feed(body[at : at + cut])
        try:
            outcomes.append(repr(reading.finish()))
        except RequestError as refused:
            assert 400 <= refused.status < 500
            outcomes.append(str(refused))
    assert outcomes[0] == outcomes[1]


@given(
    st.fixed_dictionaries(
        {"prompt": st.text(min_size=1).filter(str.strip)},
        optional={
            "n": st.integers(1, 10),
            "size": st.sampled_from(["1K", "4K", "auto", "1024x1024", "333x777", "2880x2880"]),
            "stream": st.booleans(),
            "partial_images": st.integers(0, 3),
            "output_format": st.sampled_from(["png", "jpeg", "webp"]),
        },
    ),
    st.integers(1, 40),
)
def test_a_request_is_read_alike_however_it_is_cut(body: dict[str, Any], piece_bytes: int) -> None:
    """Sockets cut where they like."""
    raw = json.dumps({**body, "model": "nano-banana-pro"}).encode()
    reading = Reading(route_of(Head(method="POST", target="/v1/images/generations", headers={})))
    for at in range(0, len(raw), piece_bytes):
        reading.feed(raw[at : at + piece_bytes])
    asked = reading.finish()
    assert asked.prompt == body["prompt"]
    assert asked.n == body.get("n", 1)
    assert asked.format == ("jpeg" if body.get("output_format") == "jpeg" else "png")
