"""What is picked up, under which name, and what follows what happened."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.client.pickup import (
    ASKS_MAX,
    FIND_S,
    LATE_FAILURES_MAX,
    UNREACHABLE_S,
    AskAgain,
    FindOut,
    GiveUp,
    Meaning,
    Patience,
    Phase,
    PickUp,
    Repeats,
    Server,
    Try,
    concern_of,
    found_out,
    generation_of,
    is_marked,
    is_unknown,
    meaning_of,
    retry_after_s,
)

ULID = "01J9Z3NDEKTSV4RRFFQ69G5FAV"
GENERATION = {"generation-id": f"gen_{ULID}"}
OURS = {"x-request-id": f"req_{ULID}"}
THEIRS = {"x-request-id": "req_6f1c2d0b7d1e4a5f9c8b7a6d5e4f3a2b", "x-should-retry": "true"}


@pytest.mark.parametrize(
    ("method", "path", "body", "find_path"),
    [
        ("POST", "/v1/images/generations", b"{}", "/v1/generations"),
        ("POST", "/v1/images/edits", None, "/v1/generations"),
        ("POST", "/behind/here/v1/images/generations", b"{}", "/behind/here/v1/generations"),
        ("POST", "/v1/generations", b"{}", "/v1/generations"),
        ("POST", "/v1beta/models/gemini-3-pro-image:generateContent", b"{}", "/v1/generations"),
        ("POST", "/v1/models/nano-banana-pro:streamGenerateContent", b"{}", "/v1/generations"),
        ("POST", "/v1beta/models/x:generateContent", b'{"responseModalities": ["TEXT", "IMAGE"]}', "/v1/generations"),
        ("POST", "/v1beta/models/x:generateContent", b'{"response_modalities":["Image"]}', "/v1/generations"),
    ],
)
def test_calls_for_images_are_picked_up(method: str, path: str, body: bytes | None, find_path: str) -> None:
    """Known by their paths, whatever stands before those; Gemini's by the model, or by what is asked of it."""
    concern = concern_of(method, path, body)
    assert concern is not None
    assert (concern.is_collecting, concern.find_path) == (False, find_path)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/models", None),
        ("POST", "/v1/chat/completions", b'{"model": "nano-banana-pro"}'),
        ("POST", "/v1/responses", b"{}"),
        ("POST", "/v1/images/variations", None),
        ("GET", "/v1/images/generations", None),
        ("GET", f"/v1/generations/gen_{ULID}", None),
        ("GET", "/v1/generations/other/result", None),
        ("POST", f"/v1/generations/gen_{ULID}/cancel", None),
        ("POST", "/v1beta/models/gemini-3-pro:generateContent", b'{"responseModalities": ["TEXT"]}'),
        ("POST", "/v1beta/models/gemini-3-pro:generateContent", None),
        ("POST", "/v1beta/models/gemini-3-pro-image:countTokens", b"{}"),
    ],
)
def test_everything_else_passes(method: str, path: str, body: bytes | None) -> None:
    """A model that writes is not kept by the gateway: its repeat would be paid for again."""
    assert concern_of(method, path, body) is None


def test_a_hop_of_redirects_is_collected_again() -> None:
    """Only holdfast has such a path, and it buys nothing."""
    concern = concern_of("GET", f"/v1/generations/gen_{ULID}/result", None)
    assert concern is not None
    assert concern.is_collecting


@pytest.mark.parametrize("headers", [GENERATION, OURS, GENERATION | OURS])
def test_holdfast_is_known_by_its_names(headers: dict[str, str]) -> None:
    """A generation or a request, named as only it names them."""
    assert is_marked(headers)


@pytest.mark.parametrize("headers", [{}, THEIRS, {"generation-id": "gen_1"}, {"x-request-id": f"req_{ULID.lower()}"}])
def test_nobody_else_is_taken_for_it(headers: dict[str, str]) -> None:
    """OpenAI counts its requests as `req_` and 32 digits; a relay may have a generation of its own."""
    assert not is_marked(headers)
    assert generation_of(headers) is None


@pytest.mark.parametrize(
    ("status", "headers", "is_repeat", "meaning"),
    [
        (200, GENERATION, False, Meaning.GENERATION),
        (202, GENERATION, False, Meaning.GENERATION),
        (200, OURS, False, Meaning.FINAL),
        (200, {}, False, Meaning.FINAL),
        (502, {}, False, Meaning.HOP),
        (504, THEIRS, True, Meaning.HOP),
        (521, {}, False, Meaning.HOP),
        (404, {}, True, Meaning.FINAL),
        (429, {}, False, Meaning.FINAL),
        (500, {}, True, Meaning.FINAL),
        (400, GENERATION | OURS, True, Meaning.FINAL),
        (401, OURS | {"x-should-retry": "false"}, True, Meaning.FINAL),
        (429, OURS | {"x-should-retry": "true"}, False, Meaning.FINAL),
        (429, OURS | {"x-should-retry": "true"}, True, Meaning.BUSY),
        (503, OURS | {"x-should-retry": "TRUE"}, True, Meaning.BUSY),
        (503, OURS | {"x-should-retry": "false"}, True, Meaning.FINAL),
        (409, GENERATION | {"x-should-retry": "true"}, True, Meaning.BUSY),
        (502, GENERATION, False, Meaning.UNSURE),
        (504, GENERATION, True, Meaning.UNSURE),
        (502, GENERATION | {"idempotency-replayed": "true"}, True, Meaning.FINAL),
        (502, OURS, False, Meaning.FINAL),
    ],
)
def test_an_answer_means(status: int, headers: dict[str, str], is_repeat: bool, meaning: Meaning) -> None:
    """What a hop says is nobody's answer; what the gateway says first is its caller's to hear."""
    assert meaning_of(status, headers, is_repeat=is_repeat) is meaning


@pytest.mark.parametrize(
    ("status", "headers", "body", "server"),
    [
        (200, OURS, b'{"object":"list","data":[]}', Server.HOLDFAST),
        (200, OURS, b' {"object": "list", "data": [', Server.HOLDFAST),
        (401, OURS | {"x-should-retry": "false"}, b"{}", Server.HOLDFAST),
        (503, OURS | {"x-should-retry": "true"}, b"{}", Server.HOLDFAST),
        (200, OURS, b"<html>", Server.OTHER),
        (404, THEIRS, b"{}", Server.OTHER),
        (200, {}, b'{"object":"list","data":[]}', Server.OTHER),
        (200, {"content-type": "text/html"}, b"<!doctype html>", Server.OTHER),
        (502, {}, b"", Server.UNKNOWN),
        (503, {}, b"", Server.UNKNOWN),
    ],
)
def test_who_answered_is_found_out(status: int, headers: dict[str, str], body: bytes, server: Server) -> None:
    """By its own mark and nothing less: a list alone is what any relay may have there."""
    assert found_out(status, headers, body) is server


@pytest.mark.parametrize(
    ("document", "unknown"),
    [
        (b'{"error": {"message": "m", "code": "outcome_unknown"}}', True),
        (b'event: error\ndata: {"error":{"code":"outcome_unknown"}}\n\n', True),
        (b'{"error": {"details": [{"reason": "OUTCOME_UNKNOWN"}]}}', True),
        (b'{"error": {"message": "outcome_unknown", "code": "content_refused"}}', False),
        (b"", False),
    ],
)
def test_an_unknown_end_is_told_by_its_code(document: bytes, unknown: bool) -> None:
    """Never by the words of a message."""
    assert is_unknown(document) is unknown


@pytest.mark.parametrize(("text", "seconds"), [("7", 7.0), (None, 0.0), ("-1", 0.0), ("99999", 0.0), ("soon", 0.0)])
def test_retry_after_is_whole_seconds(text: str | None, seconds: float) -> None:
    """Anything else was not written by the gateway."""
    assert retry_after_s({} if text is None else {"retry-after": text}) == seconds


# One key for one call


def counted(count: int, *, strand: Any = "a", target: Any = "t") -> Try:
    """A try of an SDK that counts."""
    return Try(target=target, strand=strand, retry_count=count)


def test_an_sdk_s_own_repeats_share_a_key() -> None:
    """The next count of the same call in the same thread, as often as it likes."""
    repeats = Repeats()
    assert repeats.key_for(counted(0), "one") == "one"
    for count in (1, 2, 3):
        repeats.failed(counted(count - 1))
        assert repeats.key_for(counted(count), f"new {count}") == "one"


def test_two_calls_of_the_same_body_are_two() -> None:
    """In one thread or in two, one after another or at once, after a failure or a success."""
    repeats = Repeats()
    assert repeats.key_for(counted(0), "one") == "one"
    assert repeats.key_for(counted(0, strand="b"), "two") == "two"
    repeats.failed(counted(0))
    assert repeats.key_for(counted(0), "three") == "three"
    repeats.succeeded(counted(0))
    assert repeats.key_for(counted(0), "four") == "four"


@pytest.mark.parametrize(
    "stranger",
    [counted(2), counted(1, strand="b"), counted(1, target="u"), counted(1, strand=None)],
    ids=["count", "thread", "target", "nowhere"],
)
def test_a_repeat_of_nothing_known_gets_no_key(stranger: Try) -> None:
    """The gateway joins it by its own word; a key of its own would buy a second image."""
    repeats = Repeats()
    repeats.key_for(counted(0), "one")
    repeats.failed(counted(0))
    assert repeats.key_for(stranger, "new") is None


def test_a_repeat_while_the_first_is_under_way_is_none() -> None:
    """Tries of a call follow one another."""
    repeats = Repeats()
    repeats.key_for(counted(0), "one")
    assert repeats.key_for(counted(1), "new") is None


def test_a_mapping_of_headers_names_a_call() -> None:
    """google-genai makes all tries of a call with one, and does not count."""
    repeats, token = Repeats(), {"x": "1"}
    first = Try(target="t", token=token)
    assert repeats.key_for(first, "one") == "one"
    repeats.failed(first)
    assert repeats.key_for(first, "two") == "one"
    assert repeats.key_for(Try(target="t", token=dict(token)), "three") == "three", "equal, and not the same"
    repeats.failed(first)
    assert repeats.key_for(Try(target="u", token=token), "four") == "four", "another body"


def test_a_mapping_that_all_calls_share_does_not_make_them_one() -> None:
    """As in older versions: what ended well, and what goes on at the same time, is another call."""
    repeats, token = Repeats(), {"x": "1"}
    one = Try(target="t", token=token)
    assert repeats.key_for(one, "one") == "one"
    assert repeats.key_for(one, "two") == "two"
    repeats.succeeded(one)
    assert repeats.key_for(one, "three") == "three"


def test_what_says_nothing_is_a_new_call() -> None:
    """Plain httpx: each POST is its own."""
    repeats = Repeats()
    plain = Try(target="t", strand="a")
    assert [repeats.key_for(plain, key) for key in ("one", "two")] == ["one", "two"]
    assert len(repeats) == 0


@given(st.lists(st.integers(0, 30), max_size=80), st.integers(1, 8))
def test_memory_of_calls_is_bounded(strands: list[int], most: int) -> None:
    """The oldest is forgotten, and its repeat gets no key rather than a wrong one."""
    repeats = Repeats(entries_max=most)
    for number, strand in enumerate(strands):
        repeats.key_for(counted(0, strand=strand), f"key {number}")
        assert len(repeats) <= most


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.booleans()), max_size=40))
def test_no_two_calls_ever_share_a_key(tries: list[tuple[str, int, bool]]) -> None:
    """Whatever SDKs do in their threads: a key that is given again was given to the try before, in that thread."""
    repeats = Repeats()
    last: dict[str, tuple[str | None, int]] = {}
    for number, (strand, count, fails) in enumerate(tries):
        key = repeats.key_for(counted(count, strand=strand), f"key {number}")
        if key is not None and key != f"key {number}":
            assert last[strand] == (key, count - 1)
        last[strand] = (key, count)
        (repeats.failed if fails else repeats.succeeded)(counted(count, strand=strand))


# What follows


def begun(server: Server = Server.UNKNOWN, **patience: float) -> PickUp:
    """A call that begins at 100 s."""
    return PickUp(server=server, patience=Patience(**({"total_s": 600.0} | patience)), now=100.0)


def test_an_unknown_server_is_found_out_before_it_is_asked_again() -> None:
    """A second POST to a stranger buys; the question is free."""
    call = begun()
    assert isinstance(call.broke(Phase.SENT, now=101.0, jitter=0.0), FindOut)
    assert isinstance(call.found(Server.UNKNOWN, now=102.0, jitter=0.0), FindOut)
    assert isinstance(call.found(Server.HOLDFAST, now=103.0, jitter=0.0), AskAgain)
    assert call.is_repeat


@pytest.mark.parametrize("phase", [Phase.SENT, Phase.INSIDE])
def test_another_server_is_never_asked_again(phase: Phase) -> None:
    """Whether it was known before, or was found out."""
    assert begun(Server.OTHER).broke(phase, now=101.0, jitter=0.5) == GiveUp()
    assert begun(Server.OTHER).hop(now=101.0, jitter=0.5) == GiveUp()
    call = begun()
    call.broke(phase, now=101.0, jitter=0.5)
    assert call.found(Server.OTHER, now=102.0, jitter=0.5) == GiveUp()
    assert call.broke(phase, now=103.0, jitter=0.5) == GiveUp()


def test_a_stranger_that_cannot_be_reached_is_told_of_at_once() -> None:
    """Nothing was sent. A gateway that was there before is waited for."""
    assert begun().broke(Phase.UNSENT, now=100.1, jitter=0.0) == GiveUp()
    assert isinstance(begun(Server.HOLDFAST).broke(Phase.UNSENT, now=100.1, jitter=0.0), AskAgain)


def last_asked(call: PickUp, now: float = 100.0, step_s: float = 0.0) -> tuple[int, float]:
    """Let it fail at once, again and again; give how often it asked, and when it gave up."""
    for count in itertools.count():
        step = call.broke(Phase.SENT, now=now, jitter=0.999)
        if isinstance(step, FindOut):
            now += step.after_s
            step = call.found(Server.UNKNOWN, now=now, jitter=0.999)
        if isinstance(step, GiveUp):
            return count, now
        now += step.after_s + step_s
    raise AssertionError


def test_a_gateway_that_is_silent_is_waited_for_no_longer_than_is_said() -> None:
    """Two minutes for one that is known, half a minute for a stranger, and never beyond the call's own time."""
    assert UNREACHABLE_S - 10.0 <= last_asked(begun(Server.HOLDFAST))[1] - 100.0 <= UNREACHABLE_S
    assert FIND_S - 10.0 <= last_asked(begun())[1] - 100.0 <= FIND_S
    assert last_asked(begun(Server.HOLDFAST, total_s=7.0))[1] - 100.0 <= 7.0


def test_a_caller_s_patience_with_silence_is_kept() -> None:
    """Who set a timeout of 5 s hears within 5 s that nobody is there."""
    patience = Patience(total_s=600.0)
    assert patience.within(None) is patience
    call = PickUp(server=Server.HOLDFAST, patience=patience.within(5.0), now=100.0)
    assert last_asked(call)[1] - 100.0 <= 5.0


def test_a_path_that_cuts_every_half_minute_is_gone_through() -> None:
    """Tries that waited are no silence: ten minutes of them are asked through, and not more."""
    count, ended_at = last_asked(begun(Server.HOLDFAST), step_s=30.0)
    assert count >= 18
    assert ended_at - 100.0 >= 560.0


def test_tries_are_counted() -> None:
    """Without end would be a storm."""
    count, _ = last_asked(begun(Server.HOLDFAST, total_s=1e9, unreachable_s=1e9), step_s=6.0)
    assert count == ASKS_MAX - 1


@given(st.lists(st.floats(0.0, 0.999), min_size=1, max_size=8))
def test_pauses_grow_from_soon_to_seldom(samples: list[float]) -> None:
    """Half a second at most at first, ten at most ever; never none."""
    call = begun(Server.HOLDFAST)
    for number, jitter in enumerate(samples):
        step = call.broke(Phase.SENT, now=100.0, jitter=jitter)
        assert isinstance(step, AskAgain)
        top = min(10.0, 0.5 * 2**number)
        assert top / 2 <= step.after_s <= top


def test_a_sign_of_life_begins_anew() -> None:
    """What the gateway sends tells who it is, and that it is there."""
    call = begun()
    for _ in range(5):
        call.broke(Phase.SENT, now=101.0, jitter=0.0)
    call.signed(110.0)
    step = call.broke(Phase.INSIDE, now=111.0, jitter=0.0)
    assert step == AskAgain(0.25)


def test_a_busy_gateway_is_given_the_time_it_asks_for() -> None:
    """`Retry-After`, where that is longer than a pause; not beyond the call's time."""
    call = begun(Server.HOLDFAST, total_s=20.0)
    assert call.busy(9.0, now=101.0, jitter=0.0) == AskAgain(9.0)
    assert call.busy(60.0, now=111.0, jitter=0.0) == GiveUp()


def test_a_late_failure_is_asked_for_its_status_twice() -> None:
    """Then it is told as it is."""
    call = begun(Server.HOLDFAST)
    for _ in range(LATE_FAILURES_MAX):
        assert isinstance(call.late_failure(now=101.0, jitter=0.0), AskAgain)
    assert call.late_failure(now=101.0, jitter=0.0) == GiveUp()


def test_a_call_is_told_in_a_line() -> None:
    """For whoever looks at it."""
    assert repr(begun()) == "<PickUp unknown asks=1 sent=False>"
