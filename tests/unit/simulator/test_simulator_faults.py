"""Wishes in words, in objects, in prompts and in scripts."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from holdfast.errors import RequestError
from holdfast.simulator.faults import (
    SCRIPTS_MAX,
    WISHES_MAX,
    Fault,
    Match,
    Script,
    Scripts,
    Wish,
    script_of,
    wish_of_mapping,
    wish_of_prompt,
    wish_of_words,
)
from holdfast.types import Tier

A_REQUEST: dict[str, Any] = {"model": "gemini-3-pro-image", "prompt": "a lighthouse", "size": Tier.K4}


def a_script(*wishes: Wish, **match: Any) -> Script:
    """Make a script."""
    return Script(match=Match(**match), wishes=deque(wishes))


def test_every_word_is_read() -> None:
    """What the documentation shows is what is understood."""
    wish = wish_of_words("delay=12 fault=truncate drafts=3 status=429 retry_after=7 reason=SAFETY format=jpeg")
    assert wish == Wish(
        delay_s=12.0,
        fault=Fault.TRUNCATE,
        drafts=3,
        status=429,
        retry_after="7",
        reason="SAFETY",
        format="jpeg",
    )


@pytest.mark.parametrize("fault", list(Fault))
def test_a_fault_may_stand_alone(fault: Fault) -> None:
    """`truncate` is `fault=truncate`."""
    assert wish_of_words(fault.value) == wish_of_words(f"fault={fault.value}") == Wish(fault=fault)


def test_no_words_are_no_wish_at_all() -> None:
    """`[sim]` asks for nothing, and yet is something: the scenario is spared."""
    assert wish_of_words("") == Wish()
    assert wish_of_prompt("a cat [sim]") == Wish()
    assert wish_of_prompt("a cat") is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("trunkate", "truncate"),
        ("fault=stall_heads", "stall_headers"),
        ("dealy=3", "delay"),
        ("delay=soon", "number"),
        ("delay=-1", "number"),
        ("delay=inf", "number"),
        ("delay=nan", "number"),
        ("status=200", "number"),
        ("status=600", "number"),
        ("drafts=10", "number"),
        ("format=webp", "png or jpeg"),
        ("retry_after=", "one word"),
    ],
)
def test_a_slip_is_told_with_what_is_meant(words: str, said: str) -> None:
    """A fault that was misspelt must not pass for a request that goes well."""
    with pytest.raises(RequestError, match=said):
        wish_of_words(words)


def test_a_wish_cannot_smuggle_a_header() -> None:
    """The hint is written into a head: a line end in it would be a second header."""
    with pytest.raises(RequestError):
        wish_of_mapping({"retry_after": "7\r\nset-cookie: a=b"})


@pytest.mark.parametrize("raw", [True, None, [], {}, "x" * 300])
def test_a_value_is_one_word_or_one_number(raw: object) -> None:
    """Anything else is refused rather than guessed at."""
    with pytest.raises(RequestError):
        wish_of_mapping({"fault": raw})


def test_the_last_brackets_of_a_prompt_count() -> None:
    """A conversation may quote an earlier prompt."""
    assert wish_of_prompt("a [sim html] cat\nnow a dog [sim fault=empty delay=2]") == Wish(
        fault=Fault.EMPTY, delay_s=2.0
    )


@pytest.mark.parametrize("prompt", ["a cat [simple]", "sim delay=1", "[sim", "a [b] c]"])
def test_other_brackets_are_only_text(prompt: str) -> None:
    """Prompts are full of brackets."""
    assert wish_of_prompt(prompt) is None


def test_an_ending_is_taken_whole_and_times_one_by_one() -> None:
    """A script's status does not keep the prompt's fault beside it, but the prompt's delay still holds."""
    script = Wish(status=503)
    prompt = Wish(fault=Fault.TRUNCATE, delay_s=5.0, format="jpeg")
    assert script.over(prompt) == Wish(status=503, delay_s=5.0, format="jpeg")
    assert Wish(delay_s=1.0).over(prompt) == Wish(fault=Fault.TRUNCATE, delay_s=1.0, format="jpeg")
    assert Wish(delay_s=0.0).over(prompt).delay_s == 0.0


@pytest.mark.parametrize("wish", [Wish(fault=Fault.NONE), Wish(status=500), Wish(retry_after="3"), Wish(drafts=1)])
def test_what_says_how_it_ends(wish: Wish) -> None:
    """`none` does as well: it says that all goes well."""
    assert wish.is_ending


@pytest.mark.parametrize("wish", [Wish(), Wish(delay_s=3.0), Wish(format="jpeg"), Wish(drafts=0)])
def test_what_does_not_say_how_it_ends(wish: Wish) -> None:
    """A delay leaves the end to whoever is below."""
    assert not wish.is_ending


def test_a_script_gives_its_wishes_in_order_and_is_forgotten() -> None:
    """One wish for each request that is meant."""
    scripts = Scripts()
    scripts.add(a_script(Wish(status=503), Wish(fault=Fault.NONE), Wish(fault=Fault.EMPTY)))
    taken = [scripts.take(**A_REQUEST) for _ in range(4)]
    assert taken == [Wish(status=503), Wish(fault=Fault.NONE), Wish(fault=Fault.EMPTY), None]
    assert scripts.waiting == []


@pytest.mark.parametrize(
    "match",
    [{"model": "gpt-image-2"}, {"prompt_contains": "cat"}, {"size": Tier.K1}],
)
def test_a_script_leaves_other_requests_alone(match: dict[str, Any]) -> None:
    """What does not match costs no wish."""
    scripts = Scripts()
    scripts.add(a_script(Wish(status=503), **match))
    assert scripts.take(**A_REQUEST) is None
    assert len(scripts.waiting) == 1


def test_every_condition_of_a_match_must_hold() -> None:
    """They are joined by and."""
    match = Match(model="gemini-3-pro-image", prompt_contains="light", size=Tier.K4)
    assert match.holds(**A_REQUEST)
    assert not match.holds(**{**A_REQUEST, "size": Tier.K2})
    assert not match.is_any
    assert Match(nth=2).is_any


def test_nth_counts_the_requests_that_match() -> None:
    """Requests of another kind in between do not count."""
    scripts = Scripts()
    scripts.add(a_script(Wish(status=500), model="gemini-3-pro-image", nth=3))
    other = {**A_REQUEST, "model": "gpt-image-2"}
    taken = [scripts.take(**request) for request in (A_REQUEST, other, A_REQUEST, other, A_REQUEST)]
    assert taken == [None, None, None, None, Wish(status=500)]


def test_the_oldest_script_that_matches_comes_first() -> None:
    """A script for another request does not stand in the way."""
    scripts = Scripts()
    scripts.add(a_script(Wish(status=500), model="gpt-image-2"))
    scripts.add(a_script(Wish(status=501)))
    scripts.add(a_script(Wish(status=502)))
    assert scripts.take(**A_REQUEST) == Wish(status=501)
    assert scripts.take(**{**A_REQUEST, "model": "gpt-image-2"}) == Wish(status=500)
    assert scripts.take(**A_REQUEST) == Wish(status=502)


def test_a_connection_is_refused_once_for_each_wish() -> None:
    """And only when the refusal is next in its script."""
    scripts = Scripts()
    scripts.add(a_script(Wish(fault=Fault.REFUSE_CONNECT), Wish(status=503), Wish(fault=Fault.REFUSE_CONNECT)))
    assert scripts.refuses_connection
    assert scripts.take_refusal()
    assert not scripts.take_refusal()
    assert scripts.take(**A_REQUEST) == Wish(status=503)
    assert scripts.take_refusal()
    assert not scripts.refuses_connection


def test_a_script_is_read_as_documented() -> None:
    """Words, objects and bare faults may stand side by side; match may be left out."""
    script = script_of(
        {
            "match": {"model": "m", "prompt_contains": "cat", "size": "4K", "nth": 2},
            "do": ["status=503 retry_after=7", {"fault": "truncate", "delay": 3}, "html"],
        }
    )
    assert script.match == Match(model="m", prompt_contains="cat", size=Tier.K4, nth=2)
    assert list(script.wishes) == [
        Wish(status=503, retry_after="7"),
        Wish(fault=Fault.TRUNCATE, delay_s=3.0),
        Wish(fault=Fault.HTML),
    ]
    assert script_of({"do": "html"}).match == Match()


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"do": []},
        {"do": [3]},
        {"do": [None]},
        {"do": ["nonsense"]},
        {"do": ["html"], "matches": {}},
        {"do": ["html"], "match": "m"},
        {"do": ["html"], "match": {"modell": "m"}},
        {"do": ["html"], "match": {"model": 3}},
        {"do": ["html"], "match": {"prompt_contains": ["a"]}},
        {"do": ["html"], "match": {"size": "8K"}},
        {"do": ["html"], "match": {"nth": 0}},
        {"do": ["html"], "match": {"nth": True}},
        {"do": ["html"], "match": {"nth": "2"}},
        {"do": ["html"] * (WISHES_MAX + 1)},
    ],
)
def test_what_is_no_script_is_refused(document: object) -> None:
    """A script that does nothing would make a test pass that proves nothing."""
    with pytest.raises(RequestError):
        script_of(document)


def test_a_near_key_of_a_match_is_named() -> None:
    """As everywhere."""
    with pytest.raises(RequestError, match="prompt_contains"):
        script_of({"do": ["html"], "match": {"prompt_contain": "a"}})


def test_a_refused_connection_cannot_be_matched() -> None:
    """Nothing is known of a request that was never read."""
    with pytest.raises(RequestError, match="match"):
        script_of({"match": {"model": "m"}, "do": ["refuse_connect"]})
    assert script_of({"match": {"nth": 1}, "do": ["refuse_connect"]}).wishes


def test_there_is_room_for_so_many_scripts() -> None:
    """A loop that posts scripts must not eat the memory."""
    scripts = Scripts()
    for _ in range(SCRIPTS_MAX):
        scripts.add(a_script(Wish(status=503)))
    with pytest.raises(RequestError) as refused:
        scripts.add(a_script(Wish(status=503)))
    assert refused.value.status == 429
    assert repr(scripts) == f"<Scripts waiting={SCRIPTS_MAX} wishes={SCRIPTS_MAX}>"
