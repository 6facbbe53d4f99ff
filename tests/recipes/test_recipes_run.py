"""Every recipe is run as it stands: with holdfast through a cut, and without it as far as that can go well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from holdfast.recipes.catalog import BY_NAME, CLIENTS
from holdfast.simulator.path import Fate, Harm
from holdfast.types import Tier

pytestmark = pytest.mark.timeout(300)
NAMES = [client.name for client in CLIENTS]
DRAWN_S = 2.0
"""How long the slow pictures take."""
CUT_S = 1.2
"""After the first beats, before the picture is there; also time for a process to start."""
BIG = {"requests": Tier.K2, "go": Tier.K4, "curl": Tier.K4, "undici": Tier.K2, "java": Tier.K2, "aiohttp": Tier.K2}
"""Who draws a larger picture than the others, at least once."""
COUNT_SILENCE = ["requests", "httpx", "httpx2", "aiohttp", "urllib3", "openai-python", "google-genai-python"]
COUNT_SILENCE += ["undici", "axios"]
"""Who has a timer for the silence inside a body; what the others lack stands in the catalog."""
ONE_OF_A_KIND = ["requests", "openai-python", "google-genai-python", "fetch", "openai-node", "curl", "java", "go"]
"""One of those whose programs treat a status alike."""
Runs = dict[tuple[str, str], Future[Any]]


@pytest.fixture(scope="session")
def runs(stage: Any, nobody: str) -> Iterator[Runs]:
    """Begin them all."""
    cut, stall = (Fate(harm=harm, after_s=CUT_S) for harm in (Harm.RESET, Harm.STALL))
    begun: Runs = {}
    # Those that are compiled first, as they take longest.
    for name in sorted(NAMES, key=lambda name: name not in ("go", "java")):
        client = BY_NAME[name]
        ways: dict[str, dict[str, Any]] = {
            "cut": {"through_holdfast": True, "fates": (cut,), "tier": BIG.get(name, Tier.K1), "delay": DRAWN_S},
            "refused": {"through_holdfast": True, "delay": 1.0, "fault": "refused_output"},
            "alone": {"through_holdfast": False, "delay": 0, "tier": BIG.get(name, Tier.K1)},
            "alone-cut": {"through_holdfast": False, "fates": (cut,), "delay": DRAWN_S},
            "alone-turned-away": {"through_holdfast": False, "delay": 0, "limits": {"pause_s": 1}},
            "alone-broken": {"through_holdfast": False, "delay": 0, "status": 504},
            "alone-unsent": {
                "through_holdfast": False,
                "delay": 0,
                "base_url": nobody,
                "limits": {"pause_s": 1, "repeats": 1},
            },
            "alone-silent": {"through_holdfast": False, "delay": 10, "limits": {"silence_s": 1, "total_s": 4}},
        }
        if name in ONE_OF_A_KIND:
            ways["alone-wrong"] = {"through_holdfast": False, "delay": 0, "status": 400}
        if name in COUNT_SILENCE:
            stalled = {"through_holdfast": True, "fates": (stall,), "delay": DRAWN_S, "limits": {"silence_s": 2}}
            ways["stalled"] = stalled
        stage.simulator.script(
            {"match": {"prompt_contains": f'"{name}" alone-turned-away'}, "do": ["status=429 retry_after=1"]}
        )
        for way, options in ways.items():
            words = {word: options.pop(word) for word in ("delay", "fault", "status") if word in options}
            wish = f"[sim {' '.join(f'{word}={value}' for word, value in words.items())}]"
            begun[name, way] = stage.begin(client, f'"{name}" {way} a \\ "lighthouse" {wish}', **options)
    yield begun
    for each in begun.values():
        each.cancel()


@pytest.mark.parametrize("name", NAMES)
def test_with_holdfast_a_cut_costs_nothing(
    runs: Runs, stage: Any, as_drawn: Callable[[bytes], bool], name: str
) -> None:
    """The program repeats, joins, and saves the one picture that was made and charged."""
    outcome = runs[name, "cut"].result()
    assert outcome.status == 0, outcome.told
    assert outcome.image is not None
    assert as_drawn(outcome.image)
    assert outcome.posts >= 2, outcome.told
    (generation_id,) = stage.gateway.generations(f'{name}\\" cut ')
    record = stage.gateway.record(generation_id)
    assert record["status"] == "succeeded"
    assert len(stage.simulator.purchases(generation_id)) == 1


@pytest.mark.parametrize("name", COUNT_SILENCE)
def test_with_holdfast_a_dead_path_is_noticed(
    runs: Runs, stage: Any, as_drawn: Callable[[bytes], bool], name: str
) -> None:
    """When the beats stop coming, the program does not wait for the end of time: it asks again, and joins."""
    outcome = runs[name, "stalled"].result()
    assert outcome.status == 0, outcome.told
    assert outcome.image is not None
    assert as_drawn(outcome.image)
    assert outcome.posts == 2
    (generation_id,) = stage.gateway.generations(f'{name}\\" stalled ')
    assert len(stage.simulator.purchases(generation_id)) == 1


@pytest.mark.parametrize("name", NAMES)
def test_without_holdfast_an_answer_is_saved(runs: Runs, as_drawn: Callable[[bytes], bool], name: str) -> None:
    """Against the upstream itself, in one request."""
    outcome = runs[name, "alone"].result()
    assert outcome.status == 0, outcome.told
    assert outcome.image is not None
    assert as_drawn(outcome.image)
    assert outcome.posts == 1


@pytest.mark.parametrize("way", ["alone-cut", "alone-silent"])
@pytest.mark.parametrize("name", NAMES)
def test_without_holdfast_nothing_is_bought_twice(runs: Runs, name: str, way: str) -> None:
    """What was cut or never answered may be charged: that is said, and nothing is sent again."""
    outcome = runs[name, way].result()
    assert outcome.status == 1
    assert "may be charged" in outcome.told
    assert outcome.posts <= 1, "sent again"
    assert outcome.image is None


@pytest.mark.parametrize("name", NAMES)
def test_without_holdfast_what_was_turned_away_is_repeated(
    runs: Runs, as_drawn: Callable[[bytes], bool], name: str
) -> None:
    """A 429 bought nothing: after the pause that was asked for, the second request gets the picture."""
    outcome = runs[name, "alone-turned-away"].result()
    assert outcome.status == 0, outcome.told
    assert outcome.image is not None
    assert as_drawn(outcome.image)
    assert outcome.posts == 2


@pytest.mark.parametrize("name", NAMES)
def test_without_holdfast_a_gateway_s_time_out_is_unknown(runs: Runs, name: str) -> None:
    """A 504 says nothing of what was bought behind it: it is told, and not repeated."""
    outcome = runs[name, "alone-broken"].result()
    assert outcome.status == 1
    assert "may be charged" in outcome.told
    assert "Traceback" not in outcome.told
    assert outcome.posts == 1


@pytest.mark.parametrize("name", ONE_OF_A_KIND)
def test_without_holdfast_a_wrong_request_is_told_for_what_it_is(runs: Runs, name: str) -> None:
    """It bought nothing, and the same again would be as wrong."""
    outcome = runs[name, "alone-wrong"].result()
    assert outcome.status == 1
    assert "No image" in outcome.told
    assert "may be charged" not in outcome.told
    assert outcome.posts == 1


@pytest.mark.parametrize("name", NAMES)
def test_without_holdfast_what_never_left_is_not_called_charged(runs: Runs, name: str) -> None:
    """Where nobody listens nothing can be bought; the program tries once more, and says so."""
    outcome = runs[name, "alone-unsent"].result()
    assert outcome.status == 1
    assert "No image" in outcome.told
    assert "may be charged" not in outcome.told
    assert outcome.image is None


@pytest.mark.parametrize("name", NAMES)
def test_with_holdfast_a_late_refusal_is_told(runs: Runs, stage: Any, name: str) -> None:
    """After the first beat the status is 200; no program takes what follows for a picture, or buys again."""
    outcome = runs[name, "refused"].result()
    assert outcome.status == 1
    assert "No image" in outcome.told
    assert "Traceback" not in outcome.told
    assert outcome.image is None
    (generation_id,) = stage.gateway.generations(f'{name}\\" refused ')
    assert stage.simulator.requests(generation_id) == 1
