"""Each class of faults can come, each point has its turn, and scripts tell the truth of their charge."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from types import MappingProxyType

import pytest

from holdfast.config import parse
from holdfast.errors import HoldfastError
from holdfast.providers.conversation import Done, Failed, Send, malformed, unfinished
from holdfast.providers.http import Head
from holdfast.providers.registry import conversation_for
from holdfast.store.spool import SpoolWriter
from holdfast.types import Charge, Geometry, Request, Surface, Tier
from holdfast.wire.scan import WireError
from simulation.answers import FAULTS, Drawing, Ending, Script, as_stream, digest, good_body, picture, script_for
from simulation.plan import CLASSES, DRAWN, SETUPS, TIMED, plan_for, points

SETTINGS = parse(
    {
        "upstreams": [
            {"name": "google", "provider": "gemini", "base_url": "http://google.test", "keys": ["k"]},
            {"name": "openai", "provider": "openai", "base_url": "http://openai.test/v1", "keys": ["k"]},
        ],
        "routes": [{"model": "m", "upstreams": [{"upstream": "google", "model": "m"}]}],
        "prices": [{"model": "m", "micros": {"1K": 1}, "source": "test", "valid_from": "2019-01-01"}],
    }
)


def test_a_plan_follows_from_its_seed() -> None:
    """And another seed has another one."""
    assert plan_for(7, random.Random(7)) == plan_for(7, random.Random(7))
    assert len({plan_for(seed, random.Random(seed)) for seed in range(50)}) == 50


def test_points_take_turns() -> None:
    """Over a thousand seeds each is aimed at twice as often as it must fire."""
    aimed = Counter(each.name for seed in range(1000) for each in plan_for(seed, random.Random(seed)).at_points)
    assert set(aimed) == set(points())
    assert min(aimed.values()) >= 40


def test_what_sets_a_point_up_comes_before_it() -> None:
    """A start passes them only if a life ended there."""
    assert SETUPS.keys() | set(SETUPS.values()) <= set(points())
    for seed in range(200):
        names = [each.name for each in plan_for(seed, random.Random(seed)).at_points]
        for name, setup in SETUPS.items():
            if name in names:
                assert setup in names[: names.index(name)]


def test_timed_faults_come_equally_often() -> None:
    """Three to a seed, none twice."""
    plans = [plan_for(seed, random.Random(seed)) for seed in range(1000)]
    count = Counter(each.name for plan in plans for each in plan.timed)
    assert set(count) == set(TIMED)
    assert min(count.values()) >= 100
    assert all(len({each.name for each in plan.timed}) == len(plan.timed) >= 3 for plan in plans)


def a_drawing(rng: random.Random, *, is_gemini: bool, previews: int = 0) -> Drawing:
    """What a call for one picture is answered by."""
    pictures, shown = (picture(rng),), tuple(picture(rng) for _ in range(previews))
    return Drawing(rng=rng, is_gemini=is_gemini, pictures=pictures, previews=shown)


def test_every_class_of_upstream_faults_has_its_script() -> None:
    """And no script a class that nobody counts."""
    rng = random.Random(1)
    made = {make(a_drawing(rng, is_gemini=is_gemini)).fault for make in FAULTS for is_gemini in (True, False)}
    assert made == {name for name in DRAWN if name.startswith("U")}
    assert len(CLASSES) == len(set(CLASSES))


def test_pictures_are_all_different() -> None:
    """Each image is known by its bytes: whose it is, is never in doubt."""
    rng = random.Random(1)
    assert len({digest(picture(rng)) for _ in range(1000)}) == 1000


def test_some_calls_are_spoiled_and_most_are_not() -> None:
    """As many as asked for."""
    rng = random.Random(1)
    scripts = [script_for(a_drawing(rng, is_gemini=True), fault_share=0.4) for _ in range(2000)]
    assert 0.35 < sum(each.fault is not None for each in scripts) / 2000 < 0.45
    assert all(script_for(a_drawing(rng, is_gemini=False), fault_share=0.0).images for _ in range(50))


def judged(script: Script, folder: Path, *, is_gemini: bool, is_stream: bool) -> Charge:
    """Let the product's own provider and spool read what a script sends; give the charge that it makes of it."""
    upstream = SETTINGS.upstreams[0 if is_gemini else 1]
    request = Request(
        surface=Surface.OPENAI,
        model="m",
        prompt="a lighthouse",
        geometry=Geometry(tier=Tier.K1, aspect_ratio="1:1", width_px=64, height_px=64),
        stream=is_stream,
    )
    talk = conversation_for(upstream, request, model="m", key="k", idempotency_key="a.0.0", timeout_s=9.0)
    assert isinstance(talk.start(), Send)
    assert script.status is not None
    head = Head(status=script.status, headers=MappingProxyType(dict(script.headers)))
    writer = SpoolWriter(folder, "att_1", talk.head(head))
    try:
        writer.feed([script.body])
    except WireError as error:
        return malformed(error, status=head.status).charge
    try:
        spooled = writer.finish()
    except WireError as error:
        return unfinished(error, head).charge
    finally:
        writer.discard()
    match talk.received(head, spooled.answer):
        case Done():
            return Charge.YES
        case Failed(failure=failure):
            return failure.charge
        case step:
            raise HoldfastError(f"{step} after a whole answer")


@pytest.mark.parametrize("make", FAULTS)
@pytest.mark.parametrize("is_gemini", [True, False])
@pytest.mark.parametrize("is_stream", [True, False])
def test_a_script_charges_only_where_its_answer_lets_it(
    make: object, is_gemini: bool, is_stream: bool, tmp_path: Path
) -> None:
    """What the product reads as unpaid costs nothing, what it reads as paid does: else the checker would accuse it."""
    assert callable(make)
    for seed in range(40):
        drawing = a_drawing(random.Random(seed), is_gemini=is_gemini, previews=2 if is_stream else 0)
        script = make(drawing)
        if is_stream:
            script = as_stream(script, drawing)
        if script.status is None or script.ending is not Ending.WHOLE:
            continue
        charge = judged(script, tmp_path, is_gemini=is_gemini, is_stream=is_stream)
        if charge is not Charge.UNKNOWN:
            assert script.is_charged is (charge is Charge.YES), (script.fault, seed, charge)


def test_a_good_answer_is_good_in_both_dialects(tmp_path: Path) -> None:
    """Plain and as a stream."""
    for is_gemini in (True, False):
        for is_stream in (True, False):
            drawing = a_drawing(random.Random(3), is_gemini=is_gemini, previews=1 if is_stream else 0)
            script = Script(body=good_body(drawing), images=drawing.pictures)
            script = as_stream(script, drawing) if is_stream else script
            assert judged(script, tmp_path, is_gemini=is_gemini, is_stream=is_stream) is Charge.YES
