"""fal's conversation as transcripts: one submission, as many questions as it takes, and the picture behind its link."""

from __future__ import annotations

import json
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from holdfast.policy.addresses import FILE_URL_CHARS_MAX, AddressRules
from holdfast.providers.conversation import Cancellable, Done, Failed, Fetch, Keep, Send, Step, Wait, unfinished
from holdfast.providers.error_body import ErrorReader
from holdfast.providers.fal import FETCH_TRIES, POLL_S_FIRST, POLL_S_MAX, FalConversation
from holdfast.providers.http import Head
from holdfast.types import Charge, Failure, FailureKind, Geometry, InputImage, Phase, Request, Surface, Tier
from holdfast.wire.errors import WireError
from holdfast.wire.fal import Handle, QueueState, QueueStatus, ResultReader, decode_handle, encode_handle, render_status
from holdfast.wire.image_file import ImageFileReader
from holdfast.wire.template import filled

KEY = "id:the-credential"
PROMPT = "a lighthouse at the end of the world"
BASE = "https://queue.fal.run"
REQUESTS = f"{BASE}/fal-ai/nano-banana-pro/requests/r-1"
LINK = "https://v3b.fal.media/files/a/x.png"
PNG = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x00\x00\x00\x00:~\x9bU"
    b"\x00\x00\x00\nIDATx\x9cc`\x00\x00\x00\x02\x00\x01H\xaf\xa4q\x00\x00\x00\x00IEND\xaeB`\x82"
)
BROKEN = Failure(kind=FailureKind.LOST_REPLY, phase=Phase.WAIT, charge=Charge.UNKNOWN, detail="it was reset")
REFUSED = Failure(kind=FailureKind.UNREACHABLE, phase=Phase.CONNECT, charge=Charge.NO, detail="cannot connect")
SUBMITTED = {
    "request_id": "r-1",
    "status": "IN_QUEUE",
    "queue_position": 0,
    "status_url": f"{REQUESTS}/status",
    "response_url": REQUESTS,
    "cancel_url": f"{REQUESTS}/cancel",
}
RESULT = {"images": [{"url": LINK, "content_type": "image/png", "width": None}], "description": ""}


def a_conversation(**overrides: Any) -> FalConversation:
    """One attempt."""
    usual: dict[str, Any] = {
        "upstream": "fal",
        "base_url": BASE,
        "model": "fal-ai/nano-banana-pro",
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
    return FalConversation(**{**usual, **overrides})


class Talk:
    """Plays the upstream: `says` answers what is asked, and goes on through pauses and notes of the handle."""

    def __init__(self, conversation: FalConversation | None = None) -> None:
        self.conversation = conversation or a_conversation()
        self.asked: list[str] = []
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
                self.asked.append(f"{request.method} {request.url}")
                assert dict(request.headers)["Authorization"] == f"Key {KEY}"
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

    def is_at(self, state: QueueState | str, **members: Any) -> Talk:
        """Answer a question for the status."""
        status = QueueStatus(state=QueueState(state), **members)
        return self.says(render_status(Handle(request_id="r-1"), status), 200 if state == "COMPLETED" else 202)

    @property
    def failure(self) -> Failure:
        """How it ended."""
        assert isinstance(self.step, Failed)
        return self.step.failure


def taken(**overrides: Any) -> Talk:
    """A request that the queue has taken."""
    return Talk(a_conversation(**overrides)).says(SUBMITTED)


def made(**overrides: Any) -> Talk:
    """One that has ended well."""
    return taken(**overrides).is_at("COMPLETED")


# The way it goes


def test_a_picture_is_submitted_asked_for_and_fetched() -> None:
    """Submission, handle, status, result, file; each once."""
    talk = Talk()
    talk.says(SUBMITTED).is_at("IN_QUEUE", queue_position=2).is_at("IN_PROGRESS").is_at("COMPLETED")
    talk.says(RESULT).says(PNG)
    assert talk.asked == [
        f"POST {BASE}/fal-ai/nano-banana-pro",
        *[f"GET {REQUESTS}/status"] * 3,
        f"GET {REQUESTS}",
        f"FETCH {LINK}",
    ]
    assert [decode_handle(each).request_id for each in talk.kept] == ["r-1"]
    assert isinstance(talk.step, Done)
    assert (talk.step.results, talk.step.drafts) == ((0,), ())
    assert [image.declared_mime for image in talk.step.answer.images] == ["image/png"]


def test_a_submission_says_what_is_wanted() -> None:
    """The key as documented, the caller's prompt, and how long the queue may keep it."""
    step = a_conversation(n=3).start()
    assert isinstance(step, Send)
    assert step.timeout_s is None, "an answer to a submission is worth all the time there is"
    headers = dict(step.request.headers)
    assert headers["X-Fal-Request-Timeout"] == "216"
    assert headers["Idempotency-Key"] == "gen_1.0.0"
    assert json.loads(filled(step.request.body, {})) == {
        "prompt": PROMPT,
        "num_images": 3,
        "aspect_ratio": "16:9",
        "resolution": "2K",
    }


@pytest.mark.parametrize(
    ("model", "has_inputs", "path", "has_resolution"),
    [
        ("fal-ai/nano-banana-pro", True, "fal-ai/nano-banana-pro/edit", True),
        ("fal-ai/nano-banana-pro/edit", True, "fal-ai/nano-banana-pro/edit", True),
        ("/fal-ai/nano-banana-2/", False, "fal-ai/nano-banana-2", True),
        ("fal-ai/nano-banana", False, "fal-ai/nano-banana", False),
        ("fal-ai/nano-banana", True, "fal-ai/nano-banana/edit", False),
    ],
)
def test_the_model_is_a_path(model: str, has_inputs: bool, path: str, has_resolution: bool) -> None:
    """With reference images it is its `/edit`; the first of the family draws one size."""
    image = InputImage(sha256="0", mime="image/png", bytes=3, store_key="x")
    request = replace(a_conversation().request, inputs=(image,) if has_inputs else ())
    step = a_conversation(model=model, request=request).start()
    assert isinstance(step, Send)
    assert step.request.url == f"{BASE}/{path}"
    assert (b"resolution" in filled(step.request.body, {0: b"img"})) is has_resolution


def test_pauses_grow_to_a_bound() -> None:
    """Half a second at first, five at most; the first question comes after one, since nothing can be there yet."""
    talk = taken()
    for _ in range(12):
        talk.is_at("IN_PROGRESS")
    delays = [wait.delay_s for wait in talk.waits]
    assert delays[0] == POLL_S_FIRST
    assert delays == sorted(delays)
    assert delays[-1] == POLL_S_MAX
    assert all("IN_PROGRESS" in wait.why and not wait.is_made for wait in talk.waits[1:])


def test_a_data_uri_needs_no_fetching() -> None:
    """`sync_mode`: the picture is in the result."""
    uri = "data:image/png;base64,iVBORw0KGgo="
    talk = made().says({"images": [{"url": uri, "content_type": "image/png"}]})
    assert isinstance(talk.step, Done)
    assert talk.step.results == (0,)


def test_of_several_pictures_each_is_fetched() -> None:
    """One after the other; more than asked for is kept, and not delivered."""
    links = [{"url": f"{LINK}?{at}"} for at in range(3)]
    talk = made(n=2).says({"images": links})
    for _ in range(3):
        talk.says(PNG)
    assert [each for each in talk.asked if each.startswith("FETCH")] == [f"FETCH {LINK}?{at}" for at in range(3)]
    assert isinstance(talk.step, Done)
    assert (talk.step.results, talk.step.drafts) == ((0, 1), (2,))


def test_who_reads_what() -> None:
    """An error is kept as it is, a result gives its pictures, a file is one."""
    talk = made()
    ok, gone = Head(status=200, headers=MappingProxyType({})), Head(status=404, headers=MappingProxyType({}))
    assert isinstance(talk.conversation.head(gone), ErrorReader)
    assert isinstance(talk.conversation.head(ok), ResultReader)
    talk.says(RESULT)
    assert isinstance(talk.conversation.head(ok), ImageFileReader)
    assert isinstance(talk.conversation.head(gone), ErrorReader)


# Never twice


def test_with_a_handle_nothing_is_submitted() -> None:
    """Another process goes on where the first one died, at once."""
    handle = encode_handle(Handle(request_id="r-1"))
    talk = Talk(a_conversation(handle=handle))
    assert (talk.asked, talk.waits, talk.kept) == ([f"GET {REQUESTS}/status"], [], [])
    talk.is_at("COMPLETED").says(RESULT).says(PNG)
    assert isinstance(talk.step, Done)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 422, 429, 500, 502, 503, 504])
def test_no_answer_to_a_question_ends_the_attempt(status: int) -> None:
    """404 then found, a queue that is down, a key that is being changed: it is asked again."""
    talk = taken().says({"detail": "no"}, status).says(b"<html>", status)
    talk.is_at("COMPLETED").says(RESULT).says(PNG)
    assert isinstance(talk.step, Done)
    assert sum(each.startswith("POST") for each in talk.asked) == 1


@pytest.mark.parametrize("failure", [BROKEN, REFUSED])
def test_no_break_ends_the_attempt_once_there_is_a_handle(failure: Failure) -> None:
    """In each of its phases."""
    talk = taken().breaks(failure).breaks(failure).is_at("COMPLETED").breaks(failure).says(RESULT).breaks(failure)
    talk.says(RESULT).says(PNG)
    assert isinstance(talk.step, Done)
    assert sum(each.startswith("POST") for each in talk.asked) == 1


@pytest.mark.parametrize("body", [b"<html>", b"", b'{"status":', b"{}", b'{"status":"SOMETHING_NEW"}', b"[]"])
def test_a_status_that_cannot_be_read_is_asked_for_again(body: bytes) -> None:
    """Nothing is concluded from it."""
    talk = taken().says(body)
    assert talk.asked[-1] == f"GET {REQUESTS}/status"


def test_a_status_may_go_backwards() -> None:
    """Two replicas of the queue that do not agree: the later word counts."""
    talk = taken().is_at("IN_PROGRESS").is_at("IN_QUEUE").is_at("COMPLETED").says({"detail": "still running"}, 400)
    talk.is_at("IN_PROGRESS").is_at("COMPLETED").says(RESULT).says(PNG)
    assert isinstance(talk.step, Done)


def test_a_hint_is_waited_for_within_a_bound() -> None:
    """429 while asking."""
    talk = taken().says({"detail": "slow down"}, 429, retry_after="12").says({}, 429, retry_after="4000")
    assert [wait.delay_s for wait in talk.waits[1:]] == [12.0, 30.0]


def test_a_lost_answer_to_a_submission_is_unknown() -> None:
    """Nobody can ask for what has no name, and nobody buys it again here."""
    failure = Talk().breaks().failure
    assert (failure.kind, failure.charge) == (FailureKind.LOST_REPLY, Charge.UNKNOWN)
    assert "'fal' (queue.fal.run)" in failure.detail


def test_a_submission_that_never_left_costs_nothing() -> None:
    """As with any upstream."""
    assert Talk().breaks(REFUSED).failure.charge is Charge.NO


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"request_id":"a/../b"}'])
def test_an_answer_to_a_submission_that_names_nothing_is_unknown(body: bytes) -> None:
    """It was taken, perhaps; it was not made, so it is not said to be paid."""
    failure = Talk().says(body).failure
    assert (failure.kind, failure.charge) == (FailureKind.LOST_REPLY, Charge.UNKNOWN)


def test_a_head_may_name_what_its_lost_body_would_have() -> None:
    """`x-fal-request-id`: the body broke off behind it."""
    talk = Talk()
    talk.conversation.head(Head(status=200, headers=MappingProxyType({"x-fal-request-id": ("r-1",)})))
    talk.breaks()
    assert [decode_handle(each) for each in talk.kept] == [Handle(request_id="r-1")]
    assert talk.asked[-1] == f"GET {REQUESTS}/status"


# Where questions go


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/r-1",
        "http://queue.fal.run/r-1",
        "https://queue.fal.run:8443/r-1",
        "https://queue.fal.run@evil.example/r-1",
        "https://user@queue.fal.run/r-1",
        "//queue.fal.run/r-1",
        "https://queue.fal.run\\@evil.example/",
        "https://queue.fal.run/a\nb",
        "https://queue.fal.run/../x#y",
        "https://[::1",
        "/r-1",
        "",
    ],
)
def test_the_key_goes_nowhere_else(url: str) -> None:
    """An answer whose URLs lead off the upstream's origin: the documented paths are used."""
    given = {**SUBMITTED, "status_url": url, "response_url": url, "cancel_url": url}
    talk = Talk().says(given)
    talk.conversation.cancel()
    talk.is_at("IN_QUEUE").says({}, 202).is_at("COMPLETED")
    assert talk.asked[1:] == [
        f"GET {REQUESTS}/status",
        f"PUT {REQUESTS}/cancel",
        f"GET {REQUESTS}/status",
        f"GET {REQUESTS}",
    ]


def test_urls_on_the_same_origin_are_followed() -> None:
    """A vendor may move them; the sub-path of a model is not in them."""
    talk = Talk(a_conversation(model="fal-ai/nano-banana-pro/edit")).says(SUBMITTED)
    assert talk.asked[-1] == f"GET {REQUESTS}/status"
    talk = Talk().says({**SUBMITTED, "status_url": "https://queue.fal.run:443/elsewhere?x=1"})
    assert talk.asked[-1] == "GET https://queue.fal.run:443/elsewhere?x=1"
    talk = Talk(a_conversation(model="fal-ai/nano-banana-pro/edit")).says({"request_id": "r-1"})
    assert talk.asked[-1] == f"GET {REQUESTS}/status"


@pytest.mark.parametrize(
    ("base_url", "is_inside"),
    [
        (BASE, False),
        ("https://queue.example:8443", False),
        ("http://127.0.0.1:16900", True),
        ("http://localhost:16900", True),
        ("http://10.1.2.3/fal", True),
        ("http://169.254.169.254/", False),
    ],
)
def test_files_are_fetched_without_a_key_and_on_public_addresses(base_url: str, is_inside: bool) -> None:
    """An upstream on a private address, as the simulator is, has its files there too."""
    talk = Talk(a_conversation(base_url=base_url)).says(SUBMITTED).is_at("COMPLETED").says(RESULT)
    assert isinstance(talk.step, Fetch)
    rules = AddressRules(allow_private=is_inside, allow_http=is_inside, url_chars_max=FILE_URL_CHARS_MAX)
    assert talk.step.rules == rules
    assert not hasattr(talk.step, "request")


# Results


@pytest.mark.parametrize("status", [403, 404, 410, 500, 302])
def test_an_expired_link_is_asked_for_anew(status: int) -> None:
    """The result is read again, and its fresh link followed."""
    fresh = {"images": [{"url": f"{LINK}?fresh"}]}
    talk = made().says(RESULT).says(b"gone", status).says(fresh).says(PNG)
    assert talk.asked[-3:] == [f"FETCH {LINK}", f"GET {REQUESTS}", f"FETCH {LINK}?fresh"]
    assert isinstance(talk.step, Done)
    assert talk.waits[-1].is_made


@pytest.mark.parametrize("body", [b"", b"<html>", PNG[:-4]])
def test_a_file_that_is_no_whole_picture_is_fetched_again(body: bytes) -> None:
    """It was paid for, and it is there: the way was bad."""
    talk = made().says(RESULT).says(body).says(RESULT).says(PNG)
    assert isinstance(talk.step, Done)


def test_a_link_that_never_works_is_malformed_and_paid() -> None:
    """Tried for the better part of a minute; nothing is bought again."""
    talk = made()
    for _ in range(FETCH_TRIES):
        talk.says(RESULT).breaks(REFUSED)
    assert (talk.failure.kind, talk.failure.charge) == (FailureKind.MALFORMED, Charge.YES)
    assert 30.0 < sum(wait.delay_s for wait in talk.waits) < 60.0
    assert sum(each.startswith("FETCH") for each in talk.asked) == FETCH_TRIES


@pytest.mark.parametrize("status", [400, 404, 422, 500])
def test_a_result_that_was_seen_is_not_unmade(status: int) -> None:
    """It named a picture, and is an error when it is read again: paid for, never told as free."""
    talk = made().says(RESULT).breaks().says({"detail": "no"}, status).says(RESULT).says(PNG)
    assert isinstance(talk.step, Done)
    talk = made().says(RESULT).breaks()
    for _ in range(FETCH_TRIES - 1):
        talk.says({"detail": "no"}, status)
    assert (talk.failure.kind, talk.failure.charge) == (FailureKind.MALFORMED, Charge.YES)


def test_what_could_be_fetched_is_delivered() -> None:
    """One of two links is dead: one picture is better than none."""
    both = {"images": [{"url": LINK}, {"url": f"{LINK}?dead"}]}
    talk = made(n=2).says(both).says(PNG)
    for _ in range(FETCH_TRIES - 1):
        talk.breaks().says(both)
    talk.breaks()
    assert isinstance(talk.step, Done)
    assert talk.step.results == (0,)
    assert len(talk.step.answer.images) == 2, "both were made, and are paid for"
    assert sum(each == f"FETCH {LINK}" for each in talk.asked) == 1, "what is here is not fetched again"


@pytest.mark.parametrize("status", [401, 403, 404, 408, 425, 429])
def test_a_result_that_is_not_there_yet_is_asked_for_again(status: int) -> None:
    """Completed, and another replica does not know of it."""
    talk = made().says({"detail": "not found"}, status).says(RESULT).says(PNG)
    assert isinstance(talk.step, Done)
    assert talk.waits[-1].is_made


def test_a_proxys_error_is_not_the_models() -> None:
    """However often it comes: the attempt's time bounds it."""
    talk = made()
    for _ in range(20):
        talk.says(b"<html>bad gateway</html>", 502)
    talk.says(RESULT).says(PNG)
    assert isinstance(talk.step, Done)


def test_a_result_without_a_picture_may_have_cost_something() -> None:
    """Nobody says."""
    failure = made().says({"images": []}).failure
    assert (failure.kind, failure.charge) == (FailureKind.NO_IMAGE, Charge.UNKNOWN)


# Failures of the model and of the queue


def detail(type_: str, *loc: str) -> dict[str, Any]:
    """A model's complaint."""
    return {"detail": [{"loc": list(loc), "msg": f"about {PROMPT}", "type": type_}]}


@pytest.mark.parametrize(
    ("status", "body", "headers", "kind", "charge"),
    [
        (422, detail("content_policy_violation", "body", "prompt"), {}, "refused_input", "no"),
        (422, detail("content_policy_violation"), {}, "refused_output", "unknown"),
        (422, detail("no_media_generated"), {}, "no_image", "unknown"),
        (422, detail("value_error", "body", "aspect_ratio"), {}, "bad_request", "no"),
        (422, detail("image_too_large", "body", "image_urls"), {}, "bad_request", "no"),
        (422, {"detail": "odd"}, {"x_fal_error_type": "content_policy_violation"}, "refused_output", "unknown"),
        (504, {"detail": "x", "error_type": "generation_timeout"}, {}, "upstream_timeout", "unknown"),
        (504, {"detail": "x", "error_type": "request_timeout"}, {}, "upstream_timeout", "unknown"),
        (
            504,
            {"detail": "x", "error_type": "request_timeout"},
            {"x_fal_request_timeout_type": "user"},
            "upstream_timeout",
            "no",
        ),
        (504, {"detail": "x", "error_type": "startup_timeout"}, {}, "overloaded", "no"),
        (503, {"detail": "x", "error_type": "runner_scheduling_failure"}, {}, "overloaded", "no"),
        (503, {"detail": "x", "error_type": "runner_connection_refused"}, {}, "unreachable", "no"),
        (503, {"detail": "x", "error_type": "runner_disconnected"}, {}, "server_fault", "no"),
        (500, {"detail": "Internal Server Error"}, {}, "server_fault", "no"),
        (500, {"detail": "x", "error_type": "internal_error"}, {}, "server_fault", "no"),
    ],
)
@pytest.mark.parametrize("when", ["submitting", "ended"])
def test_errors_by_status_and_type(
    when: str, status: int, body: Any, headers: dict[str, str], kind: str, charge: str
) -> None:
    """The same document means the same, whether the submission is refused or the request ends so."""
    talk = Talk() if when == "submitting" else taken().is_at("COMPLETED", error="Invalid status code", error_type="x")
    failure = talk.says(body, status, **headers).failure
    assert (failure.kind.value, failure.charge.value, failure.status) == (kind, charge, status)
    assert PROMPT not in failure.detail
    assert KEY not in failure.detail


@pytest.mark.parametrize(
    ("status", "body", "kind", "charge"),
    [
        (401, {"detail": "no"}, "credential", "no"),
        (403, {"detail": "User is locked"}, "credential", "no"),
        (404, {"detail": "Application not found"}, "bad_request", "no"),
        (404, b"<html>", "unreachable", "no"),
        (429, {"detail": "x", "error_type": "concurrent_requests_limit"}, "rate_limited", "no"),
        (429, {"detail": "x"}, "rate_limited", "no"),
        (502, b"<html>", "server_fault", "unknown"),
        (504, b"", "upstream_timeout", "unknown"),
    ],
)
def test_refused_submissions(status: int, body: Any, kind: str, charge: str) -> None:
    """What a proxy says of a submission tells nothing of what became of it."""
    failure = Talk().says(body, status).failure
    assert (failure.kind.value, failure.charge.value) == (kind, charge)


def test_an_error_that_the_status_did_not_announce_is_asked_for_again() -> None:
    """An older queue does not say `error`: the model's failure is the same each time, a bad minute passes."""
    fault = {"detail": "Internal Server Error", "error_type": "internal_error"}
    talk = made().says(fault, 500).is_at("COMPLETED").says(fault, 500).is_at("COMPLETED").says(RESULT).says(PNG)
    assert isinstance(talk.step, Done)
    talk = made().says(fault, 500).is_at("COMPLETED").says(fault, 500).is_at("COMPLETED").says(fault, 500)
    assert (talk.failure.kind, talk.failure.charge) == (FailureKind.SERVER_FAULT, Charge.NO)


# Cancelling


def test_a_request_that_still_waits_is_taken_back() -> None:
    """Free, and told as cancelled once it is gone."""
    talk = taken()
    assert isinstance(talk.conversation, Cancellable)
    talk.conversation.cancel()
    talk.is_at("IN_QUEUE")
    assert talk.asked[-1] == f"PUT {REQUESTS}/cancel"
    talk.says({"status": "CANCELLATION_REQUESTED"}, 202).says({"detail": "not found"}, 404)
    assert (talk.failure.kind, talk.failure.charge) == (FailureKind.CANCELLED, Charge.NO)


def test_a_request_that_was_taken_back_may_end_as_an_error() -> None:
    """Some queues keep it, without a result."""
    talk = taken()
    talk.conversation.cancel()
    talk.is_at("IN_QUEUE").says({}, 202).is_at("COMPLETED", error="cancelled").says({"detail": "cancelled"}, 499)
    assert (talk.failure.kind, talk.failure.charge) == (FailureKind.CANCELLED, Charge.NO)


def test_a_request_at_work_is_awaited() -> None:
    """It is paid for: no cancel is sent, and its picture is kept."""
    talk = taken()
    talk.conversation.cancel()
    talk.is_at("IN_PROGRESS").is_at("COMPLETED").says(RESULT).says(PNG)
    assert not any(each.startswith("PUT") for each in talk.asked)
    assert isinstance(talk.step, Done)


def test_a_cancel_that_came_too_late_changes_nothing() -> None:
    """It had been begun meanwhile: the picture is kept."""
    talk = taken()
    talk.conversation.cancel()
    talk.is_at("IN_QUEUE").says({"status": "ALREADY_COMPLETED"}, 400).is_at("COMPLETED").says(RESULT).says(PNG)
    assert isinstance(talk.step, Done)


def test_a_request_that_was_begun_all_the_same_may_have_cost_something() -> None:
    """Accepted, and seen at work afterwards: nobody says whether that is billed."""
    talk = taken()
    talk.conversation.cancel()
    talk.is_at("IN_QUEUE").says({}, 202).is_at("IN_PROGRESS").says({"detail": "not found"}, 404)
    assert (talk.failure.kind, talk.failure.charge) == (FailureKind.CANCELLED, Charge.UNKNOWN)


def test_a_cancel_that_is_lost_is_sent_again() -> None:
    """It costs nothing to repeat."""
    talk = taken()
    talk.conversation.cancel()
    talk.is_at("IN_QUEUE").breaks().is_at("IN_QUEUE")
    assert [each for each in talk.asked if each.startswith("PUT")] == [f"PUT {REQUESTS}/cancel"] * 2


def test_secrets_are_in_no_repr() -> None:
    """A line of a log may hold it."""
    for talk in (Talk(), taken(), made()):
        assert KEY not in repr(talk.conversation)
        assert PROMPT not in repr(talk.conversation)
