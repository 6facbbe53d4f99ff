"""The call object: every kind of failure against every kind of server, in microseconds."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.client import defaults as d
from holdfast.client.address import Server
from holdfast.client.asking import Wish
from holdfast.client.steps import Cause, Finished, Form, Raise
from holdfast.errors import (
    AuthenticationError,
    DeadlineExceeded,
    GenerationError,
    HoldfastError,
    InsufficientFunds,
    Overloaded,
    Refused,
    RequestError,
    TimedOut,
    TransportError,
    Unavailable,
    UpstreamsExhausted,
)
from holdfast.types import Charge, Phase

PLAIN = [Server.OPENAI, Server.GEMINI]


def finished(step: Any) -> Finished:
    """See that it came home."""
    assert isinstance(step, Finished), step
    return step


def raised(step: Any, kind: type[HoldfastError], paid: Charge) -> Any:
    """See how it failed: the kind, what may be paid, and that the key is on it."""
    assert isinstance(step, Raise), step
    assert type(step.error) is kind, repr(step.error)
    assert step.error.paid is paid
    assert step.error.idempotency_key is not None
    return step.error


# Without a mishap


def test_an_image_in_the_first_answer_is_all(kit: Any) -> None:
    """One request, whatever answers; what it is was learnt from the head alone."""
    drive = kit.a_drive()
    done = finished(drive.run([kit.images(generation_id=kit.GENERATION)]))
    assert drive.purposes == ["submit"]
    assert (done.server, done.generation_id, done.paid) == (Server.HOLDFAST, kit.GENERATION, Charge.YES)
    drive = kit.a_drive()
    done = finished(drive.run([kit.images()]))
    assert (done.server, done.generation_id, done.sends) == (Server.OPENAI, None, 1)


def test_the_first_request_says_what_it_wants_in_headers_any_server_takes(kit: Any) -> None:
    """A key, a wait, a name: and no wish for links, which GPT image models refuse."""
    drive = kit.a_drive()
    drive.run([kit.images()])
    assert drive.header("Idempotency-Key") == kit.KEY
    assert drive.header("Prefer") == "wait=25"
    assert drive.header("Authorization") == f"Bearer {kit.API_KEY}"
    assert str(drive.header("User-Agent")).startswith("holdfast-client/")
    assert b"response_format" not in drive.sent[0].ask.body.parts[0]
    assert drive.sent[0].read_s == 300.0


def test_a_known_holdfast_is_asked_to_answer_at_once(kit: Any) -> None:
    """Then the generation is known within a round trip, and the image comes as a file."""
    drive = kit.a_drive(Server.HOLDFAST)
    done = finished(drive.run([kit.stands("queued", code=202), kit.stands("succeeded"), kit.file()]))
    assert drive.purposes == ["submit", "poll", "image"]
    assert drive.header("Prefer") == "respond-async"
    assert drive.sent[0].read_s == d.WAIT_S + d.POLL_SLACK_S
    assert done.results == (0,)


def test_the_same_call_is_the_same_bytes_whatever_is_known_of_the_server(kit: Any) -> None:
    """Another body under the same key would be refused: it is what collects a call that was interrupted."""
    bodies = set()
    for server in (None, Server.HOLDFAST, Server.OPENAI):
        drive = kit.a_drive(server)
        drive.call.start(0.0)
        bodies.add(drive.call.start(0.0).ask.body)
    assert len(bodies) == 1


def test_what_is_not_drawn_within_the_wait_is_polled_and_fetched(kit: Any) -> None:
    """202, running, succeeded, file: with the wait on each poll and how it stands after each."""
    drive = kit.a_drive()
    progress = {"elapsed_s": 25, "expected_s": 45.0, "p95_s": 90.0, "fraction": 0.1}
    script = [
        kit.stands("queued", code=202, queue_position=4, estimated_start_s=9.5),
        kit.stands("running", progress=progress),
        kit.stands("succeeded", served_by="google/x"),
        kit.file(),
    ]
    done = finished(drive.run(script))
    assert drive.purposes == ["submit", "poll", "poll", "image"]
    assert drive.header("Prefer", 1) == "wait=25"
    assert drive.waits == []
    assert done.generation is not None
    assert (done.served_by, done.model) == ("google/x", "nano-banana-pro")
    assert drive.call.standing.status == "fetching"


def test_a_status_that_is_told_at_once_is_not_asked_for_without_a_pause(kit: Any) -> None:
    """A gateway that is too full to hold anybody is not asked a thousand times a second."""
    drive = kit.a_drive()
    drive.exchange_s = 0.01
    script = [kit.stands("running", code=202), *[kit.stands("running")] * 3, kit.stands("succeeded"), kit.file()]
    finished(drive.run(script))
    assert len(drive.waits) == 3
    assert min(drive.waits) >= 1.0


def test_several_images_are_fetched_one_after_another(kit: Any) -> None:
    """In their order, each with its own number."""
    drive = kit.a_drive(wish=Wish(prompt=kit.PROMPT, n=2))
    both = [kit.an_image(0), kit.an_image(1, sha256="cd" * 32)]
    script = [kit.stands("succeeded", code=202, images=both), kit.file(), kit.file("cd" * 32, index=1)]
    done = finished(drive.run(script))
    assert done.results == (0, 1)
    assert [reading.index for reading in drive.readings if reading.form is Form.FILE] == [0, 1]


# Cuts, at a server that may be holdfast


@pytest.mark.parametrize("server", [None, Server.HOLDFAST])
@pytest.mark.parametrize("phase", [Phase.SEND, Phase.WAIT])
@pytest.mark.parametrize("cause", [Cause.LOST, Cause.TIMEOUT])
def test_after_a_cut_the_call_is_looked_for_and_collected(kit: Any, server: Any, phase: Phase, cause: Cause) -> None:
    """Its key finds it; nothing is asked for a second time."""
    drive = kit.a_drive(server)
    script = [kit.cut(phase, cause), kit.listed(kit.resource("running")), kit.stands("succeeded"), kit.file()]
    done = finished(drive.run(script))
    assert drive.purposes == ["submit", "find", "poll", "image"]
    assert f"idempotency_key={kit.KEY}" in drive.sent[1].ask.url
    assert done.sends == 1
    assert drive.call.server is Server.HOLDFAST


def test_what_never_arrived_is_sent_again_with_the_same_key_and_the_same_bytes(kit: Any) -> None:
    """holdfast knows no such key: then the first request was lost on its way, and a repeat can buy nothing twice."""
    drive = kit.a_drive()
    done = finished(drive.run([kit.cut(), kit.listed(), kit.images(generation_id=kit.GENERATION)]))
    assert drive.purposes == ["submit", "find", "submit"]
    assert drive.header("Idempotency-Key", 2) == kit.KEY
    assert drive.sent[2].ask.body == drive.sent[0].ask.body
    assert done.sends == 2


def test_a_cut_inside_the_answer_is_collected_by_the_id_in_its_head(kit: Any) -> None:
    """The first bytes on the wire name the generation."""
    drive = kit.a_drive()
    begun = kit.HeadThenCut(kit.a_head(generation_id=kit.GENERATION), kit.cut(Phase.RECEIVE))
    finished(drive.run([begun, kit.stands("succeeded"), kit.file()]))
    assert drive.purposes == ["submit", "poll", "image"]


def test_a_file_goes_on_from_its_last_byte_with_the_etag(kit: Any) -> None:
    """Range and If-Range: a changed file would come whole. What is there stays there."""
    drive = kit.a_drive(Server.HOLDFAST)
    begun = kit.HeadThenCut(kit.a_head(200, "image/png", etag='"e"'), kit.cut(Phase.RECEIVE, received_bytes=400))
    script = [kit.links("http://h:1/v1/generations/g/images/0"), begun, kit.REFUSED, kit.file(status=206)]
    finished(drive.run(script))
    assert drive.header("Range", 1) is None
    assert [drive.header("Range", at) for at in (2, 3)] == ["bytes=400-", "bytes=400-"]
    assert drive.header("If-Range", 3) == '"e"'
    assert drive.readings[-1].at == 400


def test_a_server_that_ignores_the_range_sends_the_file_anew(kit: Any) -> None:
    """200 instead of 206: what is there is dropped."""
    drive = kit.a_drive(Server.HOLDFAST)
    begun = kit.HeadThenCut(kit.a_head(200, "image/png", etag='"e"'), kit.cut(Phase.RECEIVE, received_bytes=400))
    finished(drive.run([kit.links("http://h:1/i"), begun, kit.file(status=200)]))
    assert drive.readings[-1].at == 0


def test_a_file_that_is_not_what_the_record_says_is_fetched_again(kit: Any) -> None:
    """A digest that differs, or a file without its end, is no image in hand; in the end it is told."""
    drive = kit.a_drive()
    script = [kit.stands("succeeded", code=202), kit.file("cd" * 32), kit.file(is_whole=False), kit.file()]
    finished(drive.run(script))
    drive = kit.a_drive()
    error = raised(
        drive.run([kit.stands("succeeded", code=202)], forever=kit.file("cd" * 32)), TransportError, Charge.YES
    )
    assert error.generation_id == kit.GENERATION
    assert drive.purposes.count("image") == d.FAULTS_MAX + 1


def test_an_expired_link_is_renewed_from_the_record(kit: Any) -> None:
    """Links end after a day at most; the record gives fresh ones."""
    drive = kit.a_drive()
    refused = kit.error(401, {"type": "urn:holdfast:error:invalid_api_key", "code": "invalid_api_key", "detail": "x"})
    finished(drive.run([kit.stands("succeeded", code=202), refused, kit.stands("succeeded"), kit.file()]))
    assert drive.purposes == ["submit", "image", "poll", "image"]


@pytest.mark.parametrize("status", [502, 504, 520, 524])
@pytest.mark.parametrize("server", [None, Server.HOLDFAST])
def test_a_proxys_page_says_nothing_of_the_call(kit: Any, server: Any, status: int) -> None:
    """Who stands between does not know: what is behind is asked."""
    drive = kit.a_drive(server)
    finished(
        drive.run(
            [
                kit.error(status),
                kit.error(502),
                kit.listed(kit.resource("running")),
                kit.error(504),
                kit.stands("succeeded"),
                kit.error(502),
                kit.file(),
            ]
        )
    )
    assert drive.purposes == ["submit", "find", "find", "poll", "poll", "image", "image"]
    assert len(drive.submits) == 1


def test_a_gateway_that_stays_away_is_given_up_with_how_to_collect(kit: Any) -> None:
    """Two minutes without a sign: the exception says what to do, and what may be paid."""
    drive = kit.a_drive(Server.HOLDFAST)
    error = raised(drive.run([kit.stands("running", code=202)], forever=kit.REFUSED), Unavailable, Charge.NO)
    assert error.generation_id == kit.GENERATION
    assert any("client.generations.wait" in note for note in error.__notes__)
    assert drive.now_s - 1000.0 < d.OUTAGE_S + 2 * d.RECONNECT_S_MAX
    drive = kit.a_drive(Server.HOLDFAST)
    error = raised(drive.run([kit.cut()], forever=kit.REFUSED), Unavailable, Charge.UNKNOWN)
    assert any(kit.KEY in note for note in error.__notes__)


def test_nobody_there_at_all_is_told_soon_and_cost_nothing(kit: Any) -> None:
    """A refused connection is tried four times, within ten seconds or so."""
    for server in (None, *Server):
        drive = kit.a_drive(server)
        drive.exchange_s = 0.0
        raised(drive.run([], forever=kit.REFUSED), Unavailable, Charge.NO)
        assert len(drive.submits) == d.FAULTS_MAX
        assert drive.now_s - 1000.0 < 15.0


@pytest.mark.parametrize("cause", [Cause.CERTIFICATE, Cause.NOT_TLS])
def test_what_trying_again_cannot_mend_is_told_at_once(kit: Any, cause: Cause) -> None:
    """An expired certificate is expired a second later too."""
    drive = kit.a_drive()
    raised(drive.run([kit.cut(Phase.CONNECT, cause)]), Unavailable, Charge.NO)
    assert drive.waits == []


def test_an_answer_that_cannot_be_read_is_collected_from_holdfast(kit: Any) -> None:
    """Behind a hop that closes cleanly, a body that breaks off looks like one that ends."""
    drive = kit.a_drive()
    broken = (kit.a_head(generation_id=kit.GENERATION), kit.Received(mishap="the document ends early"))
    finished(drive.run([broken, kit.stands("succeeded"), kit.file()]))
    assert drive.purposes == ["submit", "poll", "image"]


# holdfast's own words


@pytest.mark.parametrize(
    ("code", "kind", "paid"),
    [
        ("invalid_request", RequestError, "no"),
        ("unsupported_size", RequestError, "no"),
        ("invalid_api_key", AuthenticationError, "no"),
        ("key_revoked", AuthenticationError, "no"),
        ("model_not_allowed", AuthenticationError, "no"),
        ("budget_exhausted", InsufficientFunds, "no"),
        ("idempotency_key_reused", RequestError, "no"),
        ("image_expired", RequestError, "no"),
        ("content_refused", Refused, "yes"),
        ("upstream_failed", UpstreamsExhausted, "unknown"),
        ("outcome_unknown", UpstreamsExhausted, "unknown"),
        ("empty_result", UpstreamsExhausted, "yes"),
        ("deadline_exceeded", DeadlineExceeded, "unknown"),
        ("internal_error", UpstreamsExhausted, "no"),
    ],
)
def test_what_holdfast_says_is_final_unless_it_invites(kit: Any, code: str, kind: Any, paid: str) -> None:
    """It has tried everything there is; the client adds nothing, and carries code, status and generation on."""
    from holdfast.wire.failures import CODES

    drive = kit.a_drive()
    error = raised(drive.run([kit.holdfast_error(code, paid=paid)]), kind, Charge(paid))
    assert (error.code, error.status, error.generation_id) == (code, CODES[code].status, kit.GENERATION)
    assert drive.purposes == ["submit"]


@pytest.mark.parametrize(
    "code", ["overloaded", "draining", "queue_full", "storage_low", "rate_limited", "concurrency_limited"]
)
def test_what_passes_is_waited_out_as_long_as_it_says(kit: Any, code: str) -> None:
    """Retry-After is the least; the key stays, so the repeat is the same generation driven again."""
    drive = kit.a_drive()
    busy = kit.holdfast_error(code, retryable=True, retry_after="7")
    finished(drive.run([busy, busy, kit.images(generation_id=kit.GENERATION)]))
    assert min(drive.waits) >= 7.0
    assert {dict(each.ask.headers)["Idempotency-Key"] for each in drive.submits} == {kit.KEY}
    drive = kit.a_drive()
    raised(drive.run([], forever=busy), Overloaded, Charge.NO)
    assert len(drive.submits) <= d.SUBMITS_MAX


def test_a_generation_that_ended_without_an_image_tells_why(kit: Any) -> None:
    """By the record's own error; one that was cancelled says so."""
    refused = {"code": "content_refused", "message": "no", "paid": "yes", "retryable": False}
    drive = kit.a_drive()
    error = raised(
        drive.run([kit.stands("running", code=202), kit.stands("failed", error=refused)]), Refused, Charge.YES
    )
    assert error.code == "content_refused"
    drive = kit.a_drive()
    error = raised(drive.run([kit.stands("running", code=202), kit.stands("cancelled")]), GenerationError, Charge.NO)
    assert error.code == "generation_cancelled"
    busy = {"code": "overloaded", "message": "no", "paid": "no", "retryable": True}
    drive = kit.a_drive()
    script = [
        kit.stands("running", code=202),
        kit.stands("failed", error=busy),
        kit.images(generation_id=kit.GENERATION),
    ]
    finished(drive.run(script))
    assert drive.purposes == ["submit", "poll", "submit"]


def test_an_image_that_was_deleted_is_told_as_such(kit: Any) -> None:
    """The record outlives the file."""
    drive = kit.a_drive()
    step = drive.run([kit.stands("succeeded", code=202, images=[kit.an_image(url=None)])])
    assert raised(step, RequestError, Charge.YES).code == "image_expired"


# Plain servers: what costs nothing is tried again, what may have cost is told


@pytest.mark.parametrize("server", PLAIN)
@pytest.mark.parametrize("phase", [Phase.SEND, Phase.WAIT, Phase.RECEIVE])
def test_a_plain_server_that_was_cut_is_not_asked_twice(kit: Any, server: Server, phase: Phase) -> None:
    """Whether it charged is not known, and is said."""
    drive = kit.a_drive(server)
    raised(drive.run([kit.cut(phase)]), TransportError, Charge.UNKNOWN)
    drive = kit.a_drive(server)
    raised(drive.run([kit.cut(phase, Cause.TIMEOUT)]), TimedOut, Charge.UNKNOWN)
    assert drive.purposes == ["submit"]


@pytest.mark.parametrize("answer", ["404", "html", "401", "other json"])
def test_what_turns_out_to_be_plain_after_a_cut_is_told(kit: Any, answer: str) -> None:
    """One look for the key, free of charge: who does not know that question is no holdfast."""
    said = {
        "404": kit.plain_error(404),
        "html": kit.error(404),
        "401": kit.plain_error(401),
        "other json": (kit.a_head(), kit.Received(document=b'{"data":[]}')),
    }[answer]
    drive = kit.a_drive()
    raised(drive.run([kit.cut(), said]), TransportError, Charge.UNKNOWN)
    assert drive.purposes == ["submit", "find"]
    assert drive.call.server is Server.OPENAI


def test_somebody_who_breaks_off_every_time_is_no_gateway_that_restarts(kit: Any) -> None:
    """A TLS port, a game server: told within half a minute. A port that refuses is waited for longer."""
    drive = kit.a_drive()
    raised(drive.run([], forever=kit.cut()), TransportError, Charge.UNKNOWN)
    assert set(drive.purposes[1:]) == {"find"}
    assert drive.now_s - 1000.0 <= d.STRANGER_S + d.RECONNECT_S_MAX
    drive = kit.a_drive()
    raised(drive.run([kit.cut()], forever=kit.REFUSED), TransportError, Charge.UNKNOWN)
    assert drive.now_s - 1000.0 > 60.0


def test_an_answer_that_began_without_a_generation_is_no_holdfasts(kit: Any) -> None:
    """Then there is nothing to look for."""
    drive = kit.a_drive()
    raised(drive.run([kit.HeadThenCut(kit.a_head(), kit.cut(Phase.RECEIVE))]), TransportError, Charge.UNKNOWN)
    assert drive.purposes == ["submit"]


@pytest.mark.parametrize("server", [None, *PLAIN])
@pytest.mark.parametrize(
    ("status", "code", "kind", "paid"),
    [
        (400, None, RequestError, Charge.NO),
        (401, "invalid_api_key", AuthenticationError, Charge.NO),
        (403, None, AuthenticationError, Charge.NO),
        (404, "model_not_found", RequestError, Charge.NO),
        (402, None, InsufficientFunds, Charge.NO),
        (429, "insufficient_quota", InsufficientFunds, Charge.NO),
        (400, "moderation_blocked", Refused, Charge.UNKNOWN),
        (400, "content_filter", Refused, Charge.NO),
        (500, None, UpstreamsExhausted, Charge.UNKNOWN),
        (502, None, UpstreamsExhausted, Charge.UNKNOWN),
        (504, None, TransportError, Charge.UNKNOWN),
    ],
)
def test_a_plain_error_is_told_once(
    kit: Any, server: Any, status: int, code: str | None, kind: Any, paid: Charge
) -> None:
    """Neither what is wrong nor what may have been charged is tried again."""
    drive = kit.a_drive(server)
    error = raised(drive.run([kit.plain_error(status, code)]), kind, paid)
    assert error.status == status
    assert drive.purposes == ["submit"]


@pytest.mark.parametrize("server", [None, *PLAIN])
@pytest.mark.parametrize(("status", "code"), [(429, None), (503, None), (429, "rate_limit_exceeded")])
def test_a_plain_server_that_is_busy_is_asked_again(kit: Any, server: Any, status: int, code: str | None) -> None:
    """Nothing was charged: after a pause with jitter, never sooner than it says."""
    drive = kit.a_drive(server)
    busy = kit.plain_error(status, code, retry_after="9")
    finished(drive.run([kit.plain_error(status, code), busy, kit.images()]))
    assert 1.0 <= drive.waits[0] <= 2.0
    assert drive.waits[1] >= 9.0
    drive = kit.a_drive(server)
    error = raised(drive.run([], forever=kit.plain_error(status, code, retry_after="9")), Overloaded, Charge.NO)
    assert error.retry_after_s == 9.0
    assert 2 <= len(drive.submits) <= d.SUBMITS_MAX


def test_a_pause_longer_than_the_time_left_is_not_begun(kit: Any) -> None:
    """Waiting for what cannot end in time would only tell it later."""
    drive = kit.a_drive(Server.OPENAI)
    raised(drive.run([kit.plain_error(429, retry_after="4000")]), Overloaded, Charge.NO)
    assert drive.waits == []


def test_links_of_a_relay_are_followed_without_the_key(kit: Any) -> None:
    """Where a file lies is the relay's word: nobody there is shown what is ours."""
    drive = kit.a_drive(Server.OPENAI, base_url="https://relay.example/v1")
    onward = (kit.a_head(302, location="/there.png"), kit.Received())
    finished(drive.run([kit.links("https://cdn.example/a.png"), kit.cut(), onward, kit.file()]))
    assert drive.purposes == ["submit", "image", "image", "image"]
    assert all(drive.header("Authorization", at) is None for at in (1, 2, 3))
    assert drive.sent[3].ask.url == "https://cdn.example/there.png"


@pytest.mark.parametrize("url", ["http://169.254.169.254/latest", "https://10.0.0.7/a.png", "https://printer.local/a"])
def test_a_link_into_the_callers_own_network_is_not_followed(kit: Any, url: str) -> None:
    """A relay on the public internet has no files there; nor may it send on to one."""
    drive = kit.a_drive(Server.OPENAI, base_url="https://relay.example/v1")
    raised(drive.run([kit.links(url)]), TransportError, Charge.YES)
    assert drive.purposes == ["submit"]
    drive = kit.a_drive(Server.OPENAI, base_url="https://relay.example/v1")
    onward = (kit.a_head(302, location=url), kit.Received())
    raised(drive.run([kit.links("https://cdn.example/a.png"), onward]), TransportError, Charge.YES)


def test_a_page_or_an_answer_without_an_image_is_told_for_what_it_is(kit: Any) -> None:
    """A web site, an empty answer, a body that ends early."""
    drive = kit.a_drive()
    page = (kit.a_head(200, "text/html"), kit.Received(document=b"<html>"))
    assert "/v1" in str(raised(drive.run([page]), Unavailable, Charge.UNKNOWN))
    moved = (kit.a_head(301, "text/html", location="https://h/v1/x?secret=1"), kit.Received())
    error = raised(kit.a_drive().run([moved]), Unavailable, Charge.NO)
    assert "https://h/v1/x" in str(error)
    assert "secret" not in str(error)
    none = (kit.a_head(), kit.Received(document=b"{}", answer=kit.Answer(images=(), document=b"{}")))
    raised(kit.a_drive().run([none]), UpstreamsExhausted, Charge.UNKNOWN)
    blocked = kit.Answer(images=(), document=b"{}", block_reason="SAFETY")
    step = kit.a_drive(Server.GEMINI).run([(kit.a_head(), kit.Received(document=b"{}", answer=blocked))])
    raised(step, Refused, Charge.NO)
    early = (kit.a_head(), kit.Received(mishap="the document ends early: it was cut on its way"))
    raised(kit.a_drive().run([early]), TransportError, Charge.YES)


# Other models, smaller sizes


def test_other_models_are_asked_when_the_first_is_busy_and_nothing_was_paid(kit: Any) -> None:
    """After two refusals the next one, under a key of its own: one key is one request."""
    drive = kit.a_drive(Server.OPENAI, fallback_models=("nano-banana-2",))
    done = finished(drive.run([kit.plain_error(503), kit.plain_error(503), kit.images()]))
    assert len(drive.waits) == 1
    assert b"nano-banana-2" in drive.sent[2].ask.body.parts[0]
    assert [drive.header("Idempotency-Key", at) for at in (0, 1, 2)] == [kit.KEY, kit.KEY, f"{kit.KEY}.1"]
    assert done.idempotency_key == f"{kit.KEY}.1"


@pytest.mark.parametrize(("status", "code"), [(500, None), (400, "moderation_blocked"), (401, None), (400, None)])
def test_no_other_model_is_asked_after_what_may_have_cost_or_cannot_be_better(
    kit: Any, status: int, code: str | None
) -> None:
    """Another model would be a second purchase, or refused as well."""
    drive = kit.a_drive(Server.OPENAI, fallback_models=("nano-banana-2",))
    drive.run([kit.plain_error(status, code)])
    assert len(drive.submits) == 1


def test_a_smaller_size_is_holdfasts_to_serve_and_the_clients_to_ask_elsewhere(kit: Any) -> None:
    """A header to one; one request after another to the rest, once nothing else can."""
    wish = Wish(prompt=kit.PROMPT, size="4K")
    drive = kit.a_drive(Server.HOLDFAST, wish=wish, degrade=True)
    finished(drive.run([kit.images(generation_id=kit.GENERATION)]))
    assert drive.header("Holdfast-Degrade") == "size"
    drive = kit.a_drive(Server.OPENAI, wish=wish, degrade=True)
    finished(drive.run([*[kit.plain_error(503)] * 4, kit.images()]))
    assert [b'"size":"2K"' in each.ask.body.parts[0] for each in drive.sent] == [False, False, True, True, False]
    assert b'"size":"1K"' in drive.sent[4].ask.body.parts[0]


# Time


@pytest.mark.parametrize("server", [None, *Server])
def test_no_call_outlives_its_time(kit: Any, server: Any) -> None:
    """Whatever the server does for ever, the end comes: at the budget, or at a bound before it."""
    always = [
        kit.REFUSED,
        kit.cut(),
        kit.plain_error(503),
        kit.error(502),
        kit.stands("running", code=202),
        kit.holdfast_error("draining", retryable=True, retry_after="3"),
    ]
    for said in always:
        drive = kit.a_drive(server, timeouts=d.call_timeouts("1K", timeout_s=100.0), budget_s=100.0)
        assert isinstance(drive.run([], forever=said), Raise)
        assert drive.now_s <= 1000.0 + 100.0 + 2 * drive.exchange_s
        assert drive.header("Holdfast-Timeout") == "100.000"


def test_time_over_tells_where_the_image_will_be(kit: Any) -> None:
    """The generation goes on; the exception knows it."""
    drive = kit.a_drive(timeouts=d.call_timeouts("1K", timeout_s=50.0))
    error = raised(
        drive.run([kit.stands("running", code=202)], forever=kit.stands("running")), DeadlineExceeded, Charge.NO
    )
    assert kit.GENERATION in error.__notes__[0]


# What is told


def test_nothing_that_is_raised_quotes_the_prompt_or_the_key(kit: Any) -> None:
    """Even where the server does."""
    quoting = {"error": {"message": f"your prompt {kit.PROMPT} with {kit.API_KEY}", "type": "t", "code": None}}
    for status in (400, 401, 404, 422, 500, 503):
        step = kit.a_drive(Server.OPENAI).run([], forever=kit.error(status, quoting))
        assert isinstance(step, Raise)
        said = f"{step.error!r} {step.error} {step.error.__notes__ if hasattr(step.error, '__notes__') else ''}"
        assert kit.PROMPT not in said
        assert kit.API_KEY not in said
    drive = kit.a_drive()
    drive.run([kit.images()])
    assert kit.PROMPT not in f"{drive.call!r} {drive.sent!r}"
    assert kit.API_KEY not in f"{drive.call!r} {drive.sent!r}"


def test_whoever_interrupts_is_told_how_to_collect(kit: Any) -> None:
    """By id once it is known, by key before."""
    drive = kit.a_drive()
    drive.call.start(0.0)
    assert kit.KEY in drive.call.interrupted()
    drive.call.head(kit.a_head(202, generation_id=kit.GENERATION))
    assert f"client.generations.wait({kit.GENERATION!r})" in drive.call.interrupted()
    plain = kit.a_drive(Server.OPENAI)
    plain.call.start(0.0)
    assert "keeps nothing" in plain.call.interrupted()
