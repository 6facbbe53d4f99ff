"""One whole answer from several broken ones: the conversation, without a socket."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.client.mending import (
    Call,
    Close,
    Failed,
    Find,
    Give,
    Head,
    Pass,
    Pause,
    Read,
    Send,
    converse,
)
from holdfast.client.pickup import Patience, Phase, PickUp, Server

ULID = "01J9Z3NDEKTSV4RRFFQ69G5FAV"
OURS = {"x-request-id": f"req_{ULID}"}
JSON = {"generation-id": f"gen_{ULID}", "content-type": "application/json"}
SSE = JSON | {"content-type": "text/event-stream"}
DOCUMENT = b'{"data": [{"b64_json": "' + b"QUJD" * 50 + b'"}], "usage": {}}'
PREVIEW = b'event: image_generation.partial_image\ndata: {"n": 0}\n\n'
FIRST = b'event: image_generation.completed\ndata: {"n": 1}\n\n'
SECOND = b'event: image_generation.completed\ndata: {"n": 2}\n\n'
UNKNOWN = b'{"error": {"code": "outcome_unknown"}}'
ERROR_EVENT = b"event: error\ndata: " + UNKNOWN + b"\n\n"


class CutError(Exception):
    """A connection that broke."""


class ConsumedError(Exception):
    """A body that cannot be sent again."""


@dataclass(kw_only=True)
class Answer:
    """What one try meets."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: JSON)
    pieces: Sequence[bytes] = ()
    is_cut: bool = False


@dataclass(kw_only=True)
class Told:
    """What an SDK was given, and what it took."""

    head: Head | None = None
    body: bytes = b""
    passed: Answer | None = None
    is_whole: bool = False
    sends: int = 0
    finds: int = 0
    pauses: list[float] = field(default_factory=list)
    open: int = 0


def play(
    *tries: Answer | Exception,
    server: Server = Server.HOLDFAST,
    found: Sequence[Server] = (),
    total_s: float = 600.0,
    is_denied: bool = False,
) -> Told:
    """Let a conversation meet these, one after another."""
    now = [0.0]
    call = Call(
        pickup=PickUp(server=server, patience=Patience(total_s=total_s), now=0.0),
        now=lambda: now[0],
        jitter=lambda: 0.5,
        broken_off=CutError,
        stream_consumed=ConsumedError,
        is_denied=is_denied,
    )
    told, left, who = Told(), list(tries), list(found)
    talk = converse(call)
    report: Any = None
    answer: Answer | None = None
    pieces: list[bytes] = []
    while True:
        try:
            command = talk.send(report)
        except StopIteration as end:
            told.is_whole = end.value
            return told
        report = None
        match command:
            case Send():
                told.sends += 1
                met = left.pop(0)
                if isinstance(met, Exception):
                    report = Failed(met, Phase.SENT, is_final=isinstance(met, TimeoutError))
                else:
                    answer, pieces = met, list(met.pieces)
                    report = Head(status=met.status, headers=met.headers, extensions={})
            case Read():
                assert answer is not None
                if pieces:
                    report = pieces.pop(0)
                elif answer.is_cut:
                    report = Failed(CutError("cut"), Phase.INSIDE, is_final=False)
            case Close():
                pieces = []
            case Find():
                told.finds += 1
                report = who.pop(0)
            case Pause(seconds):
                told.pauses.append(seconds)
                now[0] += seconds
            case Pass():
                told.passed = answer
            case Give(head):
                told.head = head
            case bytes():
                told.body += command


def test_a_whole_answer_is_handed_on() -> None:
    """One try, no pause; the beats before it are left out."""
    told = play(Answer(pieces=[b"\n", b"\n", DOCUMENT]))
    assert (told.body, told.is_whole, told.sends, told.pauses) == (DOCUMENT, True, 1, [])
    assert told.head is not None
    assert told.head.status == 200


@given(st.lists(st.integers(0, len(DOCUMENT) - 1), min_size=1, max_size=5), st.booleans())
def test_a_document_that_is_cut_anywhere_is_given_whole(cuts: list[int], is_told: bool) -> None:
    """As often as it is cut; also where nobody says so, behind a hop that ends what broke off."""
    broken = [Answer(pieces=[b"\n", DOCUMENT[:at]], is_cut=is_told) for at in cuts]
    told = play(*broken, Answer(pieces=[DOCUMENT]))
    assert (told.body, told.is_whole, told.sends) == (DOCUMENT, True, len(cuts) + 1)


def test_what_breaks_before_its_head_is_asked_again() -> None:
    """Where holdfast is known; a stranger is found out first."""
    told = play(CutError(), CutError(), Answer(pieces=[DOCUMENT]))
    assert (told.body, told.finds) == (DOCUMENT, 0)
    told = play(
        CutError(),
        Answer(pieces=[DOCUMENT]),
        server=Server.UNKNOWN,
        found=[Server.UNKNOWN, Server.UNKNOWN, Server.HOLDFAST],
    )
    assert (told.body, told.finds, told.sends) == (DOCUMENT, 3, 2)


def test_a_stranger_s_cut_is_told() -> None:
    """One POST, and what it failed with."""
    with pytest.raises(CutError):
        play(CutError(), server=Server.UNKNOWN, found=[Server.OTHER])
    with pytest.raises(CutError):
        play(CutError(), server=Server.OTHER)


def test_who_is_said_to_be_somebody_else_is_passed_whatever_he_says() -> None:
    """Also with marks of holdfast's, also cut: `holdfast=False` is believed."""
    for answer in (Answer(pieces=[b"{"], is_cut=True), Answer(status=502, headers=JSON, pieces=[UNKNOWN])):
        told = play(answer, server=Server.OTHER, is_denied=True)
        assert (told.passed, told.sends) == (answer, 1)


def test_who_was_taken_for_somebody_else_is_known_by_its_marks() -> None:
    """A page of a proxy was answered once where the gateway is now."""
    told = play(Answer(pieces=[DOCUMENT[:9]], is_cut=True), Answer(pieces=[DOCUMENT]), server=Server.OTHER)
    assert (told.body, told.sends) == (DOCUMENT, 2)


def test_a_stranger_s_answer_is_passed() -> None:
    """Whole or not: its reader sees to it."""
    answer = Answer(headers={"content-type": "application/json"}, pieces=[b"{"])
    told = play(answer, server=Server.UNKNOWN)
    assert told.passed is answer
    assert not told.is_whole


def test_a_proxy_s_502_is_asked_through() -> None:
    """And passed on, as it is, where nobody better is found behind it."""
    proxy = Answer(status=502, headers={}, pieces=[b"<html>"])
    assert play(proxy, proxy, Answer(pieces=[DOCUMENT])).body == DOCUMENT
    told = play(proxy, server=Server.UNKNOWN, found=[Server.OTHER])
    assert (told.passed, told.sends) == (proxy, 1)
    told = play(proxy, server=Server.OTHER)
    assert (told.passed, told.finds) == (proxy, 0)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 429, 500, 503])
def test_an_error_of_the_api_passes(status: int) -> None:
    """At once and unchanged; also a "not now", which its SDK knows what to do about."""
    answer = Answer(status=status, headers=OURS | {"x-should-retry": "true"}, pieces=[b"{}"])
    told = play(answer)
    assert (told.passed, told.sends) == (answer, 1)


def test_a_gateway_that_drains_is_waited_for_after_a_cut() -> None:
    """What was accepted is owed: 503 is not the answer to it."""
    draining = Answer(status=503, headers=OURS | {"x-should-retry": "true", "retry-after": "5"})
    told = play(CutError(), draining, CutError(), Answer(pieces=[DOCUMENT]))
    assert told.body == DOCUMENT
    assert 5.0 in told.pauses


def test_a_failure_inside_a_200_becomes_its_status() -> None:
    """The repeat tells it; where it does not, the SDK gets what was said."""
    late = Answer(pieces=[b"\n", b"holdfast: generation gen_1 failed: content_refused: no\n"])
    refused = Answer(status=400, headers=JSON | OURS, pieces=[b"{}"])
    assert play(late, refused).passed is refused
    told = play(late, late, late)
    assert (told.body, told.sends) == (late.pieces[1], 3)
    enveloped = Answer(pieces=[b"\n", b'{"error": {}}'])
    assert play(enveloped, refused).passed is refused


def test_an_end_that_nobody_knows_is_asked_for_once_more() -> None:
    """A gateway that stops says so of what goes on; a replay says so of what has ended, and is believed."""
    unknown = Answer(status=502, headers=JSON, pieces=[UNKNOWN])
    replayed = Answer(status=502, headers=JSON | {"idempotency-replayed": "true"}, pieces=[UNKNOWN])
    assert play(unknown, CutError(), Answer(pieces=[DOCUMENT])).body == DOCUMENT
    told = play(unknown, replayed)
    assert (told.passed, told.sends) == (replayed, 2)
    told = play(unknown, unknown, unknown)
    assert told.head is not None
    assert (told.head.status, told.body) == (502, UNKNOWN)
    other = Answer(status=502, headers=JSON, pieces=[b'{"error": {"code": "upstream_failed"}}'])
    told = play(other)
    assert (told.body, told.sends) == (other.pieces[0], 1)


def test_what_a_caller_s_own_timeout_ended_is_not_asked_again() -> None:
    """It is his word."""
    with pytest.raises(TimeoutError):
        play(TimeoutError())


def test_a_body_that_is_gone_is_told_as_the_cut_that_it_was() -> None:
    """A stream that was read once cannot be sent again."""
    with pytest.raises(CutError):
        play(CutError(), ConsumedError())


def test_a_call_ends_with_its_time() -> None:
    """What happened last is told, and the budget kept."""
    with pytest.raises(CutError):
        play(*[CutError()] * 40, total_s=5.0)


def test_a_compressed_answer_is_whole_by_its_framing() -> None:
    """A hop that compresses against our word: its bytes are passed as they are, and a cut is seen all the same."""
    headers = JSON | {"content-encoding": "gzip"}
    told = play(
        Answer(headers=headers, pieces=[b"\x1f\x8b", b"\n"], is_cut=True), Answer(headers=headers, pieces=[b"\n\x1f"])
    )
    assert (told.body, told.sends) == (b"\n\x1f", 2)


# Streams


def test_a_stream_is_handed_on_by_whole_events() -> None:
    """Nothing of an event that is cut, nothing twice."""
    told = play(
        Answer(headers=SSE, pieces=[b"\n", PREVIEW, FIRST[:20]], is_cut=True),
        Answer(headers=SSE, pieces=[b"\n\n", FIRST, SECOND[:-1]], is_cut=True),
        Answer(headers=SSE, pieces=[FIRST + SECOND]),
    )
    assert (told.body, told.is_whole, told.sends) == (PREVIEW + FIRST + SECOND, True, 3)


@given(st.lists(st.integers(0, len(PREVIEW + FIRST + SECOND)), max_size=5), st.booleans(), st.integers(1, 40))
def test_a_stream_that_is_cut_anywhere_has_every_image_once(cuts: list[int], is_told: bool, piece: int) -> None:
    """Previews are not repeated by the gateway; images are, and in their order."""
    whole = PREVIEW + FIRST + SECOND
    tries = []
    for number, at in enumerate(cuts):
        text = (whole if number == 0 else FIRST + SECOND)[:at]
        tries.append(Answer(headers=SSE, pieces=[text[i : i + piece] for i in range(0, len(text), piece)], is_cut=True))
    told = play(*tries, Answer(headers=SSE, pieces=[FIRST + SECOND]))
    assert told.body.replace(PREVIEW, b"") == FIRST + SECOND
    assert told.body.count(PREVIEW) <= 1


def test_a_stream_that_ends_without_an_image_was_cut() -> None:
    """Behind a hop that ends what broke off: blank lines, or previews, and a proper end."""
    told = play(Answer(headers=SSE, pieces=[b"\n\n", PREVIEW]), Answer(headers=SSE, pieces=[FIRST]))
    assert told.body == PREVIEW + FIRST


def test_an_error_event_is_handed_on() -> None:
    """As the stream's last word; but an end that nobody knows is asked for once more."""
    refused = ERROR_EVENT.replace(b"outcome_unknown", b"content_refused")
    assert play(Answer(headers=SSE, pieces=[PREVIEW, refused])).body == PREVIEW + refused
    told = play(Answer(headers=SSE, pieces=[ERROR_EVENT]), Answer(headers=SSE, pieces=[FIRST]))
    assert told.body == FIRST
    told = play(*[Answer(headers=SSE, pieces=[ERROR_EVENT])] * 3)
    assert (told.body, told.sends) == (ERROR_EVENT, 3)


def test_a_stream_is_not_continued_with_another_generation() -> None:
    """Half of it was handed on: what comes must be its other half."""
    other = SSE | {"generation-id": f"gen_{ULID[:-1]}X"}
    with pytest.raises(CutError, match="another generation"):
        play(Answer(headers=SSE, pieces=[FIRST], is_cut=True), Answer(headers=other, pieces=[FIRST, SECOND]))


@pytest.mark.parametrize("status", [400, 502])
def test_a_failure_behind_a_preview_is_told_by_an_event(status: int) -> None:
    """The status is spent: the repeat's error becomes the stream's last event, which SDKs raise."""
    body = b'{"error": {\n"code": "moderation_blocked"}}'
    preview = Answer(headers=SSE, pieces=[PREVIEW, FIRST[:9]], is_cut=True)
    told = play(preview, Answer(status=status, headers=JSON | OURS, pieces=[body[:7], body[7:]]))
    assert told.body == PREVIEW + b"event: error\ndata: " + body.replace(b"\n", b" ") + b"\n\n"
    assert told.passed is None


def test_an_answer_that_is_no_error_does_not_go_into_a_stream() -> None:
    """A page of a proxy, or one that stays: what is told is that the stream broke off."""
    preview = Answer(headers=SSE, pieces=[PREVIEW], is_cut=True)
    with pytest.raises(CutError, match="answered 404"):
        play(preview, Answer(status=404, headers={}, pieces=[b"<html>"]))
    with pytest.raises(CutError, match="answered 502"):
        play(preview, *[Answer(status=502, headers={})] * 40, total_s=20.0)


def test_a_refusal_after_a_cut_in_a_stream_is_its_status() -> None:
    """While nothing was handed on, the head is still free."""
    refused = Answer(status=400, headers=JSON | OURS, pieces=[b"{}"])
    assert play(Answer(headers=SSE, pieces=[b"\n"], is_cut=True), refused).passed is refused
