"""Replicate's conversation as transcripts: files handed over, one prediction, questions, and the picture's file."""

from __future__ import annotations

import json
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from holdfast.policy.addresses import FILE_URL_CHARS_MAX, AddressRules
from holdfast.providers.conversation import Cancellable, Done, Failed, Fetch, Keep, Send, Step, Wait, unfinished
from holdfast.providers.error_body import ErrorReader
from holdfast.providers.http import Head
from holdfast.providers.replicate import (
    FETCH_TRIES,
    INLINE_BYTES_MAX,
    POLL_S_FIRST,
    POLL_S_MAX,
    UPLOAD_TRIES,
    ReplicateConversation,
)
from holdfast.providers.replicate_errors import code_of, is_refusal
from holdfast.types import Charge, Failure, FailureKind, Geometry, InputImage, Phase, Request, Surface, Tier
from holdfast.wire.errors import WireError
from holdfast.wire.image_file import ImageFileReader
from holdfast.wire.replicate import Handle, PredictionReader, decode_handle, encode_handle
from holdfast.wire.template import filled

KEY = "r8_the-credential"
PROMPT = "a lighthouse at the end of the world"
BASE = "https://api.replicate.com"
PREDICTIONS = f"{BASE}/v1/predictions"
CREATE = f"{BASE}/v1/models/google/nano-banana-pro/predictions"
LINK = "https://replicate.delivery/xezq/out-0.jpg"
PNG = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x00\x00\x00\x00:~\x9bU"
    b"\x00\x00\x00\nIDATx\x9cc`\x00\x00\x00\x02\x00\x01H\xaf\xa4q\x00\x00\x00\x00IEND\xaeB`\x82"
)
BROKEN = Failure(kind=FailureKind.LOST_REPLY, phase=Phase.WAIT, charge=Charge.UNKNOWN, detail="it was reset")
REFUSED = Failure(kind=FailureKind.UNREACHABLE, phase=Phase.CONNECT, charge=Charge.NO, detail="cannot connect")


def a_prediction(status: str = "starting", *, begun: bool | None = None, **members: Any) -> dict[str, Any]:
    """What is said of a prediction."""
    is_begun = status not in ("starting", "aborted") if begun is None else begun
    return {
        "id": "p-1",
        "status": status,
        "input": {"prompt": PROMPT},
        "started_at": "2026-11-23T10:00:01.000Z" if is_begun else None,
        "urls": {"get": f"{PREDICTIONS}/p-1", "cancel": f"{PREDICTIONS}/p-1/cancel"},
        **members,
    }


def an_input(index: int, *, bytes_: int = 400_000) -> InputImage:
    """A reference image, large unless a test says otherwise."""
    return InputImage(sha256=f"{index}" * 64, mime="image/png", bytes=bytes_, store_key=f"inputs/{index}")


def a_conversation(**overrides: Any) -> ReplicateConversation:
    """One attempt."""
    usual: dict[str, Any] = {
        "upstream": "replicate",
        "base_url": BASE,
        "model": "google/nano-banana-pro",
        "key": KEY,
        "request": Request(
            surface=Surface.OPENAI,
            model="nano-banana-pro",
            prompt=PROMPT,
            geometry=Geometry(tier=Tier.K2, aspect_ratio="16:9", width_px=2752, height_px=1536),
        ),
        "idempotency_key": "gen_1.0.0",
        "timeout_s": 215.5,
    }
    inputs = overrides.pop("inputs", ())
    usual |= overrides
    return ReplicateConversation(**usual | {"request": replace(usual["request"], inputs=inputs)})


class Talk:
    """Plays the upstream: `says` answers what is asked, and goes on through pauses and notes of the handle."""

    def __init__(self, conversation: ReplicateConversation | None = None) -> None:
        self.conversation = conversation or a_conversation()
        self.asked: list[str] = []
        self.sent: list[Send] = []
        self.waits: list[Wait] = []
        self.kept: list[str] = []
        self.step = self._until_asked(self.conversation.start())

    def _until_asked(self, step: Step) -> Step:
        while isinstance(step, Wait | Keep):
            if isinstance(step, Wait):
                self.waits.append(step)
            else:
                self.kept.append(step.handle)
            step = self.conversation.start()
        match step:
            case Send(request=request):
                self.sent.append(step)
                self.asked.append(f"{request.method} {request.url}")
                assert dict(request.headers)["Authorization"] == f"Bearer {KEY}"
            case Fetch(url=url):
                self.asked.append(f"FETCH {url}")
        return step

    def says(self, body: Any, status: int = 200, **headers: str) -> Talk:
        """Answer: JSON, or bytes as they are."""
        named = {name.replace("_", "-"): (value,) for name, value in headers.items()}
        head = Head(status=status, headers=MappingProxyType(named))
        reader = self.conversation.head(head)
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            reader.feed(raw)
            step = self.conversation.received(head, reader.finish())
        except WireError as error:
            step = self.conversation.failed(unfinished(error, head))
        self.step = self._until_asked(step)
        return self

    def breaks(self, failure: Failure = BROKEN) -> Talk:
        """Break the exchange."""
        self.step = self._until_asked(self.conversation.failed(failure))
        return self

    def is_at(self, status: str, **members: Any) -> Talk:
        """Answer a question for the prediction."""
        return self.says(a_prediction(status, **members))

    @property
    def failure(self) -> Failure:
        """How it ended."""
        assert isinstance(self.step, Failed)
        return self.step.failure


def taken(**overrides: Any) -> Talk:
    """A prediction that was created."""
    return Talk(a_conversation(**overrides)).says(a_prediction(), 201)


def made(**overrides: Any) -> Talk:
    """One that has ended well."""
    return taken(**overrides).is_at("succeeded", output=LINK)


# The way it goes


def test_a_picture_is_predicted_asked_for_and_fetched() -> None:
    """Creation, handle, questions, file; each once, and nobody waits on an open answer."""
    talk = Talk().says(a_prediction(), 201).is_at("starting").is_at("processing").is_at("succeeded", output=LINK)
    talk.says(PNG)
    assert talk.asked == [f"POST {CREATE}", *[f"GET {PREDICTIONS}/p-1"] * 3, f"FETCH {LINK}"]
    assert [decode_handle(each).id for each in talk.kept] == ["p-1"]
    assert isinstance(talk.step, Done)
    assert (talk.step.results, talk.step.drafts) == ((0,), ())
    assert b"lighthouse" not in talk.step.answer.document


def test_a_creation_says_what_is_wanted() -> None:
    """The model's own words, not to be waited for, and not to be begun when its time is over."""
    step = a_conversation().start()
    assert isinstance(step, Send)
    assert step.timeout_s is None, "an answer to a creation is worth all the time there is"
    headers = dict(step.request.headers)
    assert (headers["Prefer"], headers["Cancel-After"]) == ("respond-async", "216s")
    assert headers["Idempotency-Key"] == "gen_1.0.0"
    assert json.loads(filled(step.request.body, {})) == {
        "input": {"prompt": PROMPT, "aspect_ratio": "16:9", "resolution": "2K"}
    }


def test_a_deadline_is_never_shorter_than_what_is_taken() -> None:
    """Five seconds."""
    step = a_conversation(timeout_s=0.5).start()
    assert isinstance(step, Send)
    assert dict(step.request.headers)["Cancel-After"] == "5s"


@pytest.mark.parametrize(
    ("model", "path", "version"),
    [
        ("google/nano-banana-pro", "models/google/nano-banana-pro/predictions", None),
        ("/google/nano-banana-2/", "models/google/nano-banana-2/predictions", None),
        ("deployments/acme/drawings", "deployments/acme/drawings/predictions", None),
        ("acme/drawings:" + "0f" * 32, "predictions", "acme/drawings:" + "0f" * 32),
        ("0f" * 32, "predictions", "0f" * 32),
    ],
)
@pytest.mark.parametrize("base_url", [BASE, f"{BASE}/", f"{BASE}/v1", f"{BASE}/v1/"])
def test_a_model_has_its_place(base_url: str, model: str, path: str, version: str | None) -> None:
    """Official models and deployments by their path, versions by the body; a base URL of either SDK is taken."""
    step = a_conversation(base_url=base_url, model=model).start()
    assert isinstance(step, Send)
    assert step.request.url == f"{BASE}/v1/{path}"
    assert json.loads(filled(step.request.body, {})).get("version") == version


@pytest.mark.parametrize(
    ("model", "output_format", "told"),
    [
        ("google/nano-banana-pro", "png", {"resolution": "2K", "output_format": "png"}),
        ("google/nano-banana-pro", "jpeg", {"resolution": "2K", "output_format": "jpg"}),
        ("google/nano-banana-pro", "webp", {"resolution": "2K"}),
        ("google/nano-banana", "png", {"output_format": "png"}),
    ],
)
def test_a_model_is_told_what_it_has_a_field_for(model: str, output_format: str, told: dict[str, str]) -> None:
    """The first of the family draws one size; none writes WebP."""
    request = replace(a_conversation().request, output_format=output_format)
    step = a_conversation(model=model, request=request).start()
    assert isinstance(step, Send)
    body = json.loads(filled(step.request.body, {}))["input"]
    assert {name: body[name] for name in ("resolution", "output_format") if name in body} == told


def test_pauses_grow_to_a_bound() -> None:
    """Half a second at first, five at most; the first question comes after one, since nothing can be there yet."""
    talk = taken()
    for _ in range(12):
        talk.is_at("processing")
    delays = [wait.delay_s for wait in talk.waits]
    assert delays[0] == POLL_S_FIRST
    assert delays == sorted(delays)
    assert delays[-1] == POLL_S_MAX
    assert all("processing" in wait.why and not wait.is_made for wait in talk.waits[1:])


def test_one_that_has_ended_at_once_is_asked_for_at_once() -> None:
    """Its pictures are taken in by a question of their own."""
    talk = Talk().says(a_prediction("succeeded", output=LINK), 201)
    assert talk.waits == []
    assert talk.asked[-1] == f"GET {PREDICTIONS}/p-1"
    failed = Talk().says(a_prediction("failed", error="flagged as sensitive (E005)"), 201)
    assert len(failed.kept) == 1
    assert failed.failure.kind is FailureKind.REFUSED_OUTPUT


def test_a_data_uri_needs_no_fetching() -> None:
    """The picture is in the prediction."""
    talk = taken().is_at("succeeded", output="data:image/png;base64,iVBORw0KGgo=")
    assert isinstance(talk.step, Done)
    assert talk.step.results == (0,)


def test_of_several_pictures_one_is_the_result() -> None:
    """One was asked for; the others are kept, and not delivered."""
    talk = taken().is_at("succeeded", output=[LINK, f"{LINK}?2"]).says(PNG).says(PNG)
    assert isinstance(talk.step, Done)
    assert (talk.step.results, talk.step.drafts) == ((0,), (1,))


def test_who_reads_what() -> None:
    """An error is kept as it is, a prediction gives its pictures, a file is one."""
    talk = taken()
    ok, gone = Head(status=200, headers=MappingProxyType({})), Head(status=404, headers=MappingProxyType({}))
    assert isinstance(talk.conversation.head(gone), ErrorReader)
    assert isinstance(talk.conversation.head(ok), PredictionReader)
    talk.is_at("succeeded", output=LINK)
    assert isinstance(talk.conversation.head(ok), ImageFileReader)


# Files that go before it


def test_what_is_small_goes_along_and_what_is_large_goes_before() -> None:
    """As long as they fit together: each answer says again what went along."""
    inputs = (an_input(0), an_input(1, bytes_=INLINE_BYTES_MAX - 10), an_input(2, bytes_=11), an_input(3, bytes_=10))
    talk = Talk(a_conversation(inputs=inputs))
    for at in (0, 2):
        assert talk.asked[-1] == f"POST {BASE}/v1/files"
        talk.says({"id": f"f-{at}", "urls": {"get": f"{BASE}/v1/files/f-{at}"}}, 201)
    assert talk.asked[2:] == [f"POST {CREATE}"]
    keys = [dict(each.request.headers)["Idempotency-Key"] for each in talk.sent]
    assert keys == ["gen_1.0.0.input-0", "gen_1.0.0.input-2", "gen_1.0.0"], "three requests, each by itself"
    body = json.loads(filled(talk.sent[-1].request.body, {1: b"one", 3: b"three"}))
    assert body["input"]["image_input"] == [
        f"{BASE}/v1/files/f-0",
        "data:image/png;base64,b25l",
        f"{BASE}/v1/files/f-2",
        "data:image/png;base64,dGhyZWU=",
    ]


def test_a_file_is_a_form_of_one_part() -> None:
    """Its bytes as they are; a boundary that they cannot hold."""
    step = a_conversation(inputs=(an_input(7),)).start()
    assert isinstance(step, Send)
    content_type = dict(step.request.headers)["Content-Type"]
    boundary = "holdfast-" + "7" * 40
    assert content_type == f"multipart/form-data; boundary={boundary}"
    assert filled(step.request.body, {0: b"\x00raw"}) == (
        f"--{boundary}\r\n"
        'Content-Disposition: form-data; name="content"; filename="input-0.png"\r\n'
        "Content-Type: image/png\r\n\r\n\x00raw\r\n"
        f"--{boundary}--\r\n"
    ).encode("latin-1")


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        (503, FailureKind.OVERLOADED),
        (429, FailureKind.RATE_LIMITED),
        (500, FailureKind.SERVER_FAULT),
        (BROKEN, FailureKind.LOST_REPLY),
        (REFUSED, FailureKind.UNREACHABLE),
        (b"<html>", FailureKind.UNREACHABLE),
    ],
)
def test_a_file_that_is_not_taken_costs_nothing(trouble: Any, kind: FailureKind) -> None:
    """It is tried a few times; nothing was asked for that could cost."""
    talk = Talk(a_conversation(inputs=(an_input(0),)))
    for _ in range(UPLOAD_TRIES):
        if isinstance(trouble, Failure):
            talk.breaks(trouble)
        else:
            talk.says(*((b"<html>", trouble) if isinstance(trouble, int) else (trouble, 200)))
    assert (talk.failure.kind, talk.failure.charge) == (kind, Charge.NO)
    assert talk.failure.detail.startswith("a reference image could not be handed over: ")
    assert len(talk.asked) == UPLOAD_TRIES


def test_a_file_that_is_taken_at_the_second_try_is_enough() -> None:
    """And the next one has all its tries."""
    talk = Talk(a_conversation(inputs=(an_input(0), an_input(1))))
    for at in (0, 1):
        talk.says(b"<html>", 503).breaks()
        talk.says({"urls": {"get": f"{BASE}/v1/files/{at}"}}, 201)
    assert talk.asked[-1] == f"POST {CREATE}"


@pytest.mark.parametrize("status", [401, 402, 404, 413, 422])
def test_a_file_that_is_refused_is_not_tried_again(status: int) -> None:
    """It would be refused again."""
    talk = Talk(a_conversation(inputs=(an_input(0),))).says({"detail": "no", "title": "no"}, status)
    assert talk.failure.charge is Charge.NO
    assert len(talk.asked) == 1


# Never twice


def test_with_a_handle_nothing_is_created_and_nothing_handed_over() -> None:
    """Another process goes on where the first one died, at once."""
    talk = Talk(a_conversation(handle=encode_handle(Handle(id="p-1")), inputs=(an_input(0),)))
    assert (talk.asked, talk.waits, talk.kept) == ([f"GET {PREDICTIONS}/p-1"], [], [])
    talk.is_at("succeeded", output=LINK).says(PNG)
    assert isinstance(talk.step, Done)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 422, 429, 500, 502, 503, 504])
def test_no_answer_to_a_question_ends_the_attempt(status: int) -> None:
    """404 then found, an API that is down, a key that is being changed: it is asked again."""
    talk = taken().says({"detail": "no"}, status).says(b"<html>", status).is_at("succeeded", output=LINK).says(PNG)
    assert isinstance(talk.step, Done)
    assert sum(each.startswith("POST") for each in talk.asked) == 1


@pytest.mark.parametrize("failure", [BROKEN, REFUSED])
def test_no_break_ends_the_attempt_once_there_is_a_handle(failure: Failure) -> None:
    """In each of its phases."""
    talk = taken().breaks(failure).breaks(failure).is_at("succeeded", output=LINK).breaks(failure).breaks(failure)
    talk.is_at("succeeded", output=LINK).says(PNG)
    assert isinstance(talk.step, Done)
    assert sum(each.startswith("POST") for each in talk.asked) == 1


@pytest.mark.parametrize("body", [b"<html>", b"", b'{"status":', b"{}", b'{"id":"p-1","status":"new"}', b"[]"])
def test_a_prediction_that_cannot_be_read_is_asked_for_again(body: bytes) -> None:
    """Nothing is concluded from it."""
    talk = taken().says(body)
    assert talk.asked[-1] == f"GET {PREDICTIONS}/p-1"


def test_a_hint_is_waited_for_within_a_bound() -> None:
    """429 while asking."""
    talk = taken().says({"detail": "slow"}, 429, retry_after="12").says({}, 429, retry_after="4000")
    assert [wait.delay_s for wait in talk.waits[1:]] == [12.0, 30.0]


def test_a_lost_answer_to_a_creation_is_unknown() -> None:
    """Nobody can ask for what has no name, and nobody buys it again here."""
    failure = Talk().breaks().failure
    assert (failure.kind, failure.charge) == (FailureKind.LOST_REPLY, Charge.UNKNOWN)
    assert "'replicate' (api.replicate.com)" in failure.detail
    assert Talk().breaks(REFUSED).failure.charge is Charge.NO


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"id":"a/../b","status":"starting"}'])
def test_an_answer_to_a_creation_that_names_nothing_is_unknown(body: bytes) -> None:
    """It was created, perhaps; it was not made, so it is not said to be paid."""
    failure = Talk().says(body, 201).failure
    assert (failure.kind, failure.charge) == (FailureKind.LOST_REPLY, Charge.UNKNOWN)


# Where questions go


@pytest.mark.parametrize("url", ["https://evil.example/p-1", "http://api.replicate.com/x", "//x", "", 7])
def test_the_key_goes_nowhere_else(url: Any) -> None:
    """A prediction whose URLs lead off the upstream's origin: the documented paths are used."""
    talk = Talk().says(a_prediction() | {"urls": {"get": url, "cancel": url}}, 201)
    talk.conversation.cancel()
    talk.is_at("starting")
    assert talk.asked[1:] == [f"GET {PREDICTIONS}/p-1", f"POST {PREDICTIONS}/p-1/cancel"]


def test_its_own_urls_are_followed() -> None:
    """A vendor may move them, on its origin."""
    talk = Talk().says(a_prediction() | {"urls": {"get": f"{BASE}/v2/p/1"}}, 201)
    assert talk.asked[-1] == f"GET {BASE}/v2/p/1"


def test_files_are_fetched_without_the_key() -> None:
    """From public addresses, over https."""
    step = made().step
    assert step == Fetch(url=LINK, rules=AddressRules(url_chars_max=FILE_URL_CHARS_MAX), timeout_s=30.0)


# Files


def test_a_file_that_cannot_be_got_is_asked_for_anew() -> None:
    """The prediction is read again; then it is told as what it is: paid for, and not to be had."""
    talk = made()
    for at in range(FETCH_TRIES - 1):
        talk.says(b"gone", 404) if at % 2 else talk.breaks()
        assert talk.waits[-1].is_made
        talk.is_at("succeeded", output=f"{LINK}?{at}")
    talk.says(b"gone", 404)
    assert (talk.failure.kind, talk.failure.charge) == (FailureKind.MALFORMED, Charge.YES)
    assert [wait.delay_s for wait in talk.waits[-7:]] == [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0]


def test_a_prediction_whose_files_are_gone_ends_as_paid() -> None:
    """An hour later, or removed: it names none, or nobody knows it."""
    talk = made().breaks()
    for _ in range(FETCH_TRIES):
        if isinstance(talk.step, Failed):
            break
        talk.is_at("succeeded", output=None).says({}, 404) if isinstance(talk.step, Send) else talk.breaks()
    assert (talk.failure.kind, talk.failure.charge) == (FailureKind.MALFORMED, Charge.YES)


def test_what_was_got_is_delivered_without_the_rest() -> None:
    """One of two."""
    talk = taken().is_at("succeeded", output=[LINK, f"{LINK}?2"]).says(PNG)
    while not isinstance(talk.step, Done):
        talk.breaks() if isinstance(talk.step, Fetch) else talk.is_at("succeeded", output=[LINK, f"{LINK}?2"])
    assert (talk.step.results, talk.step.drafts) == ((0,), ())


# Ends


@pytest.mark.parametrize(
    ("status", "begun", "kind", "charge"),
    [
        ("aborted", False, FailureKind.UPSTREAM_TIMEOUT, Charge.NO),
        ("aborted", True, FailureKind.UPSTREAM_TIMEOUT, Charge.NO),
        ("canceled", False, FailureKind.UPSTREAM_TIMEOUT, Charge.NO),
        ("canceled", True, FailureKind.UPSTREAM_TIMEOUT, Charge.YES),
    ],
)
def test_what_its_deadline_ended_costs_what_was_begun(
    status: str, begun: bool, kind: FailureKind, charge: Charge
) -> None:
    """`Cancel-After` passed: before it was begun it is aborted, and nothing is billed."""
    failure = taken().is_at(status, begun=begun).failure
    assert (failure.kind, failure.charge, failure.reason) == (kind, charge, status)


def test_one_that_was_seen_at_work_was_begun_whatever_is_said_of_it_later() -> None:
    """The last answer may lack what an earlier one said."""
    failure = taken().is_at("processing").is_at("canceled", begun=False).failure
    assert failure.charge is Charge.YES


@pytest.mark.parametrize(
    ("text", "is_refused", "code"),
    [
        ("The input or output was flagged as sensitive. Please try again … (E005)", True, "E005"),
        ("Prediction failed (E005)", True, "E005"),
        ("NSFW content detected. Try running it again, or try a different prompt.", True, None),
        ("Out of memory (E1001)", False, "E1001"),
        ("sensitive sensors are hard to draw", False, None),
        ("", False, None),
        (None, False, None),
    ],
)
def test_a_refusal_is_known_by_few_phrases(text: str | None, is_refused: bool, code: str | None) -> None:
    """A fault that is taken for a refusal is never tried again: what is not known is a fault."""
    assert (is_refusal(text), code_of(text)) == (is_refused, code)
    failure = taken().is_at("failed", error=text).failure
    wanted = FailureKind.REFUSED_OUTPUT if is_refused else FailureKind.SERVER_FAULT
    assert (failure.kind, failure.charge) == (wanted, Charge.UNKNOWN)
    assert failure.reason == (code or "failed")


# Cancelling


def test_one_that_waits_is_taken_back() -> None:
    """Free: it was not begun."""
    talk = taken()
    assert isinstance(talk.conversation, Cancellable)
    talk.conversation.cancel()
    talk.is_at("starting")
    assert talk.asked[-1] == f"POST {PREDICTIONS}/p-1/cancel"
    talk.says(a_prediction("canceled", begun=False)).is_at("canceled", begun=False)
    assert (talk.failure.kind, talk.failure.charge) == (FailureKind.CANCELLED, Charge.NO)


def test_one_that_is_worked_at_is_awaited() -> None:
    """It is paid for."""
    talk = taken()
    talk.conversation.cancel()
    talk.is_at("processing").is_at("starting").is_at("succeeded", output=LINK).says(PNG)
    assert isinstance(talk.step, Done)
    assert sum(each.startswith("POST") for each in talk.asked) == 1


def test_one_that_was_begun_before_the_cancel_came_is_paid_for() -> None:
    """Between the question and the cancel."""
    talk = taken()
    talk.conversation.cancel()
    talk.is_at("starting").breaks().is_at("starting").says({}, 500).is_at("canceled", begun=True)
    assert (talk.failure.kind, talk.failure.charge) == (FailureKind.CANCELLED, Charge.YES)
    assert sum(each.endswith("/cancel") for each in talk.asked) == 2


def test_one_whose_files_are_still_handed_over_is_let_go() -> None:
    """Nothing was asked for."""
    talk = Talk(a_conversation(inputs=(an_input(0),)))
    talk.conversation.cancel()
    talk.breaks()
    assert (talk.failure.kind, talk.failure.charge) == (FailureKind.CANCELLED, Charge.NO)


def test_nothing_of_key_or_prompt_is_told() -> None:
    """In no detail, and in no repr."""
    words = f"{PROMPT} {KEY}"
    told = [taken().is_at("failed", error=words).failure, Talk().says({"detail": words}, 422).failure]
    for text in (*(failure.detail for failure in told), repr(a_conversation())):
        assert KEY not in text
        assert "lighthouse" not in text
    assert repr(a_conversation()) == "<ReplicateConversation gen_1.0.0 with replicate, google/nano-banana-pro: create>"
