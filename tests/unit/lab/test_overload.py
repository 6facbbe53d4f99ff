"""The overload experiment's own arithmetic, settings and callers: a harness that flatters proves nothing."""

from __future__ import annotations

import asyncio
import base64
import tomllib
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import httpx2
import openai
import pytest

from holdfast.config import Settings, parse
from holdfast.simulator import scenarios

JPEG = base64.b64encode(b"\xff\xd8\xff\xe0" + bytes(20) + b"\xff\xd9").decode()


def test_the_load_comes_at_its_rate(crowd: ModuleType) -> None:
    """At random moments, the same for each seed, and no two ask the same."""
    load = crowd.wanted(0, per_s=20.0, seconds=600.0)
    assert load == crowd.wanted(0, per_s=20.0, seconds=600.0)
    assert load != crowd.wanted(1, per_s=20.0, seconds=600.0)
    assert len(load) == pytest.approx(12_000, rel=0.03)
    assert [each.number for each in load] == list(range(len(load)))
    assert all(0.0 < each.at_s < 600.0 for each in load)
    assert len({each.prompt for each in load}) == len(load)


def outcomes(reckoning: ModuleType) -> list[Any]:
    """A hundred: 97 within the patience of 30 s at speed 20, one late, two without an image."""
    found = [reckoning.Outcome(number=at, took_s=float(at % 25) + 1.0) for at in range(97)]
    found.append(reckoning.Outcome(number=97, took_s=30.1))
    found += [reckoning.Outcome(number=at, took_s=3.0, error="overloaded") for at in (98, 99)]
    return found


def test_a_turn_is_summed_up_in_seconds_of_life(reckoning: ModuleType) -> None:
    """Late is not in time, and what was charged is divided by what was delivered."""
    turn = reckoning.reckon(outcomes(reckoning), purchases=100, speed=20.0, lates_s=[0.0, 0.1, 0.2])
    assert (turn.orders, turn.delivered, turn.in_time) == (100, 98, 97)
    assert turn.success == 0.97
    assert turn.purchases_per_image == pytest.approx(100 / 98)
    assert turn.errors == {"overloaded": 2}
    assert turn.seconds["p50"] == pytest.approx(13.0 * 20)
    assert turn.seconds["p99"] == pytest.approx(30.1 * 20)
    assert turn.late_p50_s == pytest.approx(2.0)
    assert turn.as_json()["success"] == 0.97


def test_nobody_served_is_no_division_by_zero(reckoning: ModuleType) -> None:
    """Nor is nobody at all."""
    turn = reckoning.reckon([reckoning.Outcome(number=0, took_s=1.0, error="503")], purchases=0, speed=20.0)
    assert (turn.success, turn.purchases_per_image, turn.seconds["p50"]) == (0.0, None, 0.0)
    assert reckoning.reckon([], purchases=0, speed=20.0).success == 0.0


def test_bars_are_held_against_holdfast_in_each_arena(reckoning: ModuleType) -> None:
    """Just below is not met, and what was not played is absent."""

    def turn(success: float, paid: float | None) -> dict[str, Any]:
        return {"success": success, "purchases_per_image": paid}

    turns = {
        "A+B": {"holdfast": turn(0.9899, 1.02), "published": turn(1.0, 1.0)},
        "A alone": {"published": turn(1.0, 1.0)},
    }
    bars = reckoning.bars_of(turns)
    assert [bar.verdict for bar in bars] == ["NOT MET", "met", "absent", "absent"]
    assert bars[0].row == "| A+B: success within the deadline | 0.9899 | >= 0.99 | NOT MET |"
    turns["A alone"]["holdfast"] = turn(0.99, 1.0201)
    assert [bar.verdict for bar in reckoning.bars_of(turns)][2:] == ["met", "NOT MET"]


def test_a_result_is_put_between_its_marks(reckoning: ModuleType) -> None:
    """And nothing else of the page is touched."""
    turn = reckoning.reckon(outcomes(reckoning), purchases=100, speed=20.0).as_json()
    table = reckoning.table_of({"A+B": {"holdfast": turn}})
    assert "| A+B | holdfast | 100 | 98 | 97.00 % | 1.020 | 260 s |" in table
    page = "# Before\n\n<!-- result -->\n\nold\n\n<!-- /result -->\n\nafter\n"
    assert reckoning.with_result(page, "new") == page.replace("old", "new")


@pytest.mark.parametrize("names", [("a", "b"), ("a",)])
def test_the_gateways_settings_are_its_defaults_in_fast_motion(parties: ModuleType, names: tuple[str, ...]) -> None:
    """Every time of life is divided, everything else is as it comes, and A stands before B."""
    settings = parse(tomllib.loads(parties.settings_of(dict.fromkeys(names, 1000), 20.0)))
    usual = Settings()
    for section, values in parties.TIMES.items():
        for name, seconds in values.items():
            assert getattr(getattr(usual, section), name) == seconds, "the default has changed"
            assert getattr(getattr(settings, section), name) == pytest.approx(seconds / 20)
    for name, by in parties.BY_SIZE.items():
        for tier, seconds in getattr(settings.deadlines, name).items():
            assert by[tier.value] == getattr(usual.deadlines, name)[tier]
            assert seconds == pytest.approx(by[tier.value] / 20)
    assert settings.latency.scale == pytest.approx(1 / 20)
    assert [each.upstream for each in settings.routes[0].upstreams] == list(names)
    assert [each.base_url for each in settings.upstreams] == ["http://127.0.0.1:1000/v1"] * len(names)


def test_upstream_a_turns_45_of_100_away_and_b_none(parties: ModuleType) -> None:
    """In every arena A is the first."""
    found = {name: scenarios.parse(text, name=name).phases for name, text in parties.SCENARIOS.items()}
    assert [dict(phase.statuses) for phase in found["a"]] == [{503: 0.45}]
    assert [dict(phase.statuses) for phase in found["b"]] == [{}]
    assert all(names[0] == "a" for names in parties.ARENAS.values())


def test_litellm_knows_every_upstream_and_retries(parties: ModuleType) -> None:
    """Its times of life are divided too."""
    text = parties.litellm_settings_of([1000, 2000], 20.0, "sk-1")
    assert text.count("- model_name: nano-banana-pro") == 2
    assert "http://127.0.0.1:1000/v1" in text
    assert "http://127.0.0.1:2000/v1" in text
    assert "num_retries: 3" in text
    assert "timeout: 30\n" in text
    assert "cooldown_time: 0.25" in text


class Answers:
    """Stands in for the SDK's client: gives one answer after the other."""

    def __init__(self, *answers: Any) -> None:
        self._answers: Iterator[Any] = iter(answers)
        self.asked: list[dict[str, Any]] = []
        self.images = SimpleNamespace(generate=self._generate)

    async def _generate(self, **members: Any) -> Any:
        self.asked.append(members)
        given = next(self._answers)
        if isinstance(given, Exception):
            raise given
        return SimpleNamespace(data=[SimpleNamespace(b64_json=given)] if given is not None else [])


REQUEST = httpx2.Request("POST", "http://front/v1/images/generations")


def a_status(status: int, code: str | None = None) -> openai.APIStatusError:
    """What the SDK raises."""
    response = httpx2.Response(status, request=REQUEST)
    return openai.APIStatusError("no", response=response, body={"code": code} if code else None)


@pytest.fixture
def ask(askers: ModuleType, crowd: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let a caller ask, against what it will be answered; give its outcome and its pauses."""
    pauses: list[float] = []

    async def slept(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(askers.asyncio, "sleep", slept)

    def asked(kind: str, *answers: Any) -> tuple[Any, Answers, list[float]]:
        client = Answers(*answers)
        front = askers.Front(base_url="http://front/v1", key="sk", model="m", speed=20.0)
        outcome = asyncio.run(askers.ASKERS[kind](client, front, crowd.Wanted(number=7, at_s=0.0)))
        return outcome, client, pauses

    return asked


def test_a_whole_picture_is_an_image(ask: Any, crowd: ModuleType) -> None:
    """At once, by either kind; what is asked for is 4K, as JPEG."""
    for kind in ("sdk", "published"):
        outcome, client, _ = ask(kind, JPEG)
        assert (outcome.number, outcome.error, outcome.tries) == (7, None, 1)
        assert client.asked[0]["size"] == crowd.PIXELS
        assert client.asked[0]["output_format"] == "jpeg"


@pytest.mark.parametrize("text", [None, "", JPEG[:-8], base64.b64encode(b"no picture at all").decode()])
def test_a_success_without_a_whole_picture_is_none(ask: Any, text: str | None) -> None:
    """Whatever the status says."""
    outcome, *_ = ask("sdk", text)
    assert outcome.error == "a success without a whole picture"


def test_the_loop_repeats_whatever_fails_on_its_timer(ask: Any) -> None:
    """5, 10 and 15 s, divided by the speed; then it gives up with the last word."""
    errors = [
        a_status(503),
        openai.APITimeoutError(REQUEST),
        a_status(400, "moderation_blocked"),
        a_status(503, "busy"),
    ]
    outcome, client, pauses = ask("published", *errors)
    assert (outcome.error, outcome.tries, len(client.asked)) == ("busy", 4, 4)
    assert pauses == [0.25, 0.5, 0.75]
    outcome, *_ = ask("published", openai.APIConnectionError(request=REQUEST), JPEG)
    assert (outcome.error, outcome.tries) == (None, 2)


def test_the_loop_does_not_repeat_a_wrong_key(ask: Any) -> None:
    """As it is published."""
    outcome, client, pauses = ask("published", a_status(401))
    assert (outcome.error, len(client.asked), pauses) == ("401", 1, [])


def test_the_sdk_repeats_by_itself_alone(ask: Any) -> None:
    """This caller asks it once."""
    outcome, client, _ = ask("sdk", a_status(503, "overloaded"))
    assert (outcome.error, len(client.asked)) == ("overloaded", 1)


def test_the_sdk_is_the_stock_one(askers: ModuleType) -> None:
    """Two retries, and its own timeout in fast motion; the loop's client repeats nothing."""
    front = askers.Front(base_url="http://front/v1", key="sk", model="m", speed=20.0)
    stock, bare = askers.client_of("sdk", front), askers.client_of("published", front)
    assert (stock.max_retries, stock.timeout) == (openai.DEFAULT_MAX_RETRIES, 30.0)
    assert (bare.max_retries, bare.timeout) == (0, 30.0)
