"""Requests in the simulated queue of fal: where each stands at what time, and what is answered when somebody asks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from holdfast.errors import RequestError
from holdfast.policy.sizes import geometry_of
from holdfast.simulator import fal
from holdfast.simulator.asked import Asked, Head, Kind, Reading, Route, route_of
from holdfast.simulator.charges import Outcome
from holdfast.simulator.faults import Fault, Wish
from holdfast.simulator.plan import Circumstances, Plan, plan_of
from holdfast.simulator.queue import JOBS_MAX, TROUBLED, Answered, Job, Queue
from holdfast.simulator.replies import Reply
from holdfast.types import Surface, Tier
from holdfast.wire.fal import QueueState, decode_error, decode_status, links_of
from holdfast.wire.template import Slot

ORIGIN = "http://127.0.0.1:16900"
APP = "fal-ai/nano-banana-pro"
WAIT_S = 10.0


def asked(**overrides: Any) -> Asked:
    """One picture, or what a test says."""
    usual: dict[str, Any] = {
        "surface": Surface.OPENAI,
        "model": APP,
        "prompt": "a",
        "geometry": geometry_of(Tier.K1, "1:1"),
        "is_queued": True,
    }
    return Asked(**usual | overrides)


def planned(wish: Wish, **overrides: Any) -> Plan:
    """What will happen to a request."""
    now = Circumstances(
        number=1,
        seed=0,
        speed=1.0,
        is_instant=False,
        surplus_tokens=0,
        created=0,
        price_micros=7,
        draft_micros=3,
        server_timeout_s=None,
    )
    return plan_of(asked(**overrides), wish, now)


def wished(fault: Fault | None = None, status: int | None = None) -> Wish:
    """Something that takes ten seconds."""
    return Wish(fault=fault, status=status, delay_s=WAIT_S)


class Asking:
    """A queue with one request in it."""

    def __init__(self, wish: Wish | None = None, **overrides: Any) -> None:
        self.queue = Queue()
        self.job = Job(id="r-1", app=APP, plan=planned(wish or wished(), **overrides), submitted_at_s=100.0)
        self.queue.add(self.job)

    def __call__(self, kind: Kind, *, after_s: float = WAIT_S, request_id: str = "r-1", picture: int = 0) -> Answered:
        """Ask, so long after its submission."""
        route = Route(kind=kind, is_queue=True, request_id=request_id, picture=picture)
        return self.queue.answer(route, origin=ORIGIN, now_s=100.0 + after_s)

    def state(self, *, after_s: float = WAIT_S) -> str:
        """Its status, as its document says."""
        answered = self(Kind.STATUS, after_s=after_s)
        if answered.fault is not None:
            return "reset"
        if answered.reply.status not in (200, 202):
            return str(answered.reply.status)
        assert answered.reply.status == (200 if b"COMPLETED" in body(answered.reply) else 202)
        return decode_status(body(answered.reply)).state.value


def body(reply: Reply) -> bytes:
    """Its bytes, of what has no pictures in it."""
    pieces = [piece for part in reply.parts for piece in part.template]
    assert not any(isinstance(piece, Slot) for piece in pieces)
    return b"".join(piece for piece in pieces if isinstance(piece, bytes))


@pytest.mark.parametrize(
    ("method", "target", "route"),
    [
        ("POST", f"/{APP}", Route(kind=Kind.SUBMIT, is_queue=True, model=APP)),
        ("POST", f"/{APP}/edit", Route(kind=Kind.SUBMIT, is_queue=True, model=f"{APP}/edit")),
        ("POST", "/openai/gpt-image-2", Route(kind=Kind.SUBMIT, is_queue=True, model="openai/gpt-image-2")),
        ("GET", f"/{APP}", Route(kind=Kind.NOT_ALLOWED, is_queue=True, model=APP)),
        (
            "GET",
            f"/{APP}/requests/r-1/status?logs=1",
            Route(kind=Kind.STATUS, is_queue=True, model=APP, request_id="r-1"),
        ),
        ("GET", f"/{APP}/requests/r-1", Route(kind=Kind.RESULT, is_queue=True, model=APP, request_id="r-1")),
        ("PUT", f"/{APP}/requests/r-1/cancel", Route(kind=Kind.CANCEL, is_queue=True, model=APP, request_id="r-1")),
        ("POST", f"/{APP}/requests/r-1", Route(kind=Kind.NOT_ALLOWED, is_queue=True, model=APP, request_id="r-1")),
        ("GET", "/_sim/files/r-1/2.png?fresh=1", Route(kind=Kind.FILE, is_queue=True, request_id="r-1", picture=2)),
        ("POST", "/_sim/files/r-1/2.png", Route(kind=Kind.NOT_ALLOWED, is_queue=True, request_id="r-1", picture=2)),
        ("GET", f"/{APP}/requests/a/b", Route(kind=Kind.NOT_FOUND)),
        ("POST", "/nobody/model", Route(kind=Kind.NOT_FOUND)),
    ],
)
def test_routes_of_the_queue(method: str, target: str, route: Route) -> None:
    """The sub-path of a model is dropped behind its submission."""
    assert route_of(Head(method=method, target=target, headers={})) == route


def read(document: object, model: str = APP) -> Asked:
    """Read a submission."""
    reading = Reading(Route(kind=Kind.SUBMIT, is_queue=True, model=model))
    reading.feed(document if isinstance(document, bytes) else json.dumps(document).encode())
    return reading.finish()


def test_a_submission_is_read() -> None:
    """Size by resolution and ratio, the rest as it stands; what is left out has the vendor's defaults."""
    found = read({"prompt": "a", "num_images": 3, "resolution": "4K", "aspect_ratio": "16:9", "sync_mode": True})
    assert (found.geometry.width_px, found.geometry.height_px, found.n) == (5504, 3072, 3)
    assert found.is_inline
    found = read({"prompt": "a"})
    assert (found.geometry.width_px, found.n, found.format, found.is_queued, found.is_inline) == (
        1024,
        1,
        "png",
        True,
        False,
    )


def test_reference_images_of_a_submission_pass_by() -> None:
    """Their number is what is kept."""
    found = read({"prompt": "a", "image_urls": ["data:image/png;base64,iVBORw0KGgo="] * 2}, f"{APP}/edit")
    assert (found.inputs, found.is_edit) == (2, True)


@pytest.mark.parametrize(
    ("document", "model"),
    [
        (b"{", APP),
        ({}, APP),
        ({"prompt": "a", "num_images": 5}, APP),
        ({"prompt": "a", "resolution": "9K"}, APP),
        ({"prompt": "a", "aspect_ratio": "7:5"}, APP),
        ({"prompt": "a"}, f"{APP}/edit"),
    ],
)
def test_mistakes_are_told_as_the_vendor_tells_them(document: object, model: str) -> None:
    """422 with a place, before anything is made."""
    with pytest.raises(RequestError) as refused:
        read(document, model)
    reply = fal.mistake(refused.value)
    assert reply.status == 422
    error = decode_error(body(reply))
    assert (error.type, error.is_input) == ("value_error", True)


def test_a_request_waits_is_worked_at_and_ends() -> None:
    """A fifth of its time, the rest of it, and ever after."""
    ask = Asking()
    assert [ask.state(after_s=at) for at in (0.0, 1.9, 2.0, 9.9, 10.0, 1000.0)] == [
        *["IN_QUEUE"] * 2,
        *["IN_PROGRESS"] * 2,
        *["COMPLETED"] * 2,
    ]


def test_a_result_links_to_files_that_are_there() -> None:
    """400 until it has ended; each reading has links of its own."""
    ask = Asking(n=2)
    assert ask(Kind.RESULT, after_s=5.0).reply.status == 400
    links = [link.url for link in links_of(body(ask(Kind.RESULT).reply))]
    assert links == [f"{ORIGIN}/_sim/files/r-1/{at}.png?fresh=1" for at in range(2)]
    assert links_of(body(ask(Kind.RESULT).reply))[0].url.endswith("fresh=2")
    files = [ask(Kind.FILE, picture=at) for at in range(2)]
    assert [each.reply.content_type for each in files] == ["image/png"] * 2
    assert [each.picture for each in files] == [ask.job.plan.reply.pictures[at] for at in range(2)]
    assert ask(Kind.FILE, picture=2).reply.status == 404


def test_a_result_may_hold_its_pictures() -> None:
    """`sync_mode`: slots where they belong."""
    reply = Asking(is_inline=True)(Kind.RESULT).reply
    assert [piece for part in reply.parts for piece in part.template if isinstance(piece, Slot)] == [Slot(0)]
    assert reply.pictures.keys() == {0}


def test_nobody_knows_a_request_that_never_was() -> None:
    """Whatever is asked about it."""
    ask = Asking()
    kinds = (Kind.STATUS, Kind.RESULT, Kind.CANCEL, Kind.FILE)
    assert [ask(kind, request_id="other").reply.status for kind in kinds] == [404] * 4


def test_what_waits_can_be_taken_back() -> None:
    """Then it is gone; at work it goes on, ended it stays."""
    ask = Asking()
    assert ask(Kind.CANCEL, after_s=1.0).reply.status == 202
    assert ask.job.is_gone
    assert ask.state(after_s=1.1) == "404"
    at_work = Asking()
    assert at_work(Kind.CANCEL, after_s=5.0).reply.status == 202
    assert at_work.state() == "COMPLETED"
    assert at_work(Kind.CANCEL).reply.status == 400


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        (Fault.POLL_404, ["404"] * TROUBLED),
        (Fault.POLL_503, ["503"] * TROUBLED),
        (Fault.POLL_RESET, ["reset"] * TROUBLED),
        (Fault.BACKWARDS, ["IN_PROGRESS", "IN_QUEUE", "COMPLETED"]),
        (Fault.NONE, ["IN_PROGRESS"] * TROUBLED),
    ],
)
def test_questions_meet_a_fault_and_then_the_truth(fault: Fault, seen: list[str]) -> None:
    """It is paid for, whatever is told meanwhile."""
    ask = Asking(wished(fault))
    assert [ask.state(after_s=5.0) for _ in range(TROUBLED)] == seen
    assert ask.state(after_s=5.0) == "IN_PROGRESS"
    assert (ask.job.plan.outcome, ask.job.plan.micros) == (Outcome.MADE, 7)


@pytest.mark.parametrize("fault", [Fault.HTML, Fault.EMPTY, Fault.POLL_503])
def test_a_result_is_spoilt_once(fault: Fault) -> None:
    """Read again, it is what it should have been."""
    ask = Asking(wished(fault))
    first = body(ask(Kind.RESULT).reply)
    assert not first.startswith(b'{"images"')
    assert links_of(body(ask(Kind.RESULT).reply))


@pytest.mark.parametrize("fault", [Fault.EXPIRED, Fault.REDIRECT])
def test_a_link_is_dead_once(fault: Fault) -> None:
    """403, or elsewhere; the fresh one works."""
    ask = Asking(wished(fault))
    assert ask(Kind.FILE).reply.status == (403 if fault is Fault.EXPIRED else 302)
    assert ask(Kind.FILE).picture is not None


@pytest.mark.parametrize("fault", [Fault.TRUNCATE, Fault.RESET_BODY, Fault.GZIP, Fault.DRIP, Fault.STALL_BODY])
def test_a_file_is_spoilt_on_its_way_once(fault: Fault) -> None:
    """Answers of the queue itself are not."""
    ask = Asking(wished(fault))
    assert ask(Kind.STATUS).fault is None
    assert ask(Kind.RESULT).fault is None
    assert [ask(Kind.FILE).fault for _ in range(2)] == [fault, None]


@pytest.mark.parametrize("fault", [Fault.CUT_IMAGE, Fault.NOT_IMAGE])
def test_a_file_that_is_bad_stays_bad(fault: Fault) -> None:
    """It was made so."""
    ask = Asking(wished(fault))
    assert [ask(Kind.FILE).fault for _ in range(3)] == [fault] * 3


@pytest.mark.parametrize("status", [500, 504])
def test_a_model_that_fails_is_told_at_its_end(status: int) -> None:
    """COMPLETED with an error, and the same on the result."""
    ask = Asking(wished(status=status))
    assert not ask.job.plan.is_turned_away
    told = decode_status(body(ask(Kind.STATUS).reply))
    assert (told.state, told.has_failed) == (QueueState.COMPLETED, True)
    assert ask(Kind.RESULT).reply.status == status
    assert decode_error(body(ask(Kind.RESULT).reply)).is_json


@pytest.mark.parametrize("status", [401, 403, 404, 429, 502, 503])
def test_a_queue_that_is_full_or_closed_takes_nothing(status: int) -> None:
    """Told to whoever submits."""
    plan = planned(wished(status=status))
    assert plan.is_turned_away
    assert (plan.reply.status, plan.micros, plan.outcome) == (status, 0, Outcome.FAILED)


@pytest.mark.parametrize(
    ("fault", "is_input", "micros"), [(Fault.REFUSED_INPUT, True, 0), (Fault.REFUSED_OUTPUT, False, 7)]
)
def test_refusals_say_what_they_are_about(fault: Fault, is_input: bool, micros: int) -> None:
    """422 with `content_policy_violation`."""
    ask = Asking(wished(fault))
    assert ask.job.plan.micros == micros
    reply = ask(Kind.RESULT).reply
    error = decode_error(body(reply))
    assert (reply.status, error.type, error.is_input) == (422, "content_policy_violation", is_input)


@pytest.mark.parametrize("fault", [Fault.NO_IMAGE, Fault.TEXT_ONLY, Fault.ERROR_IN_200])
def test_results_without_a_picture(fault: Fault) -> None:
    """Well-formed, and free."""
    ask = Asking(wished(fault))
    reply = ask(Kind.RESULT).reply
    assert (reply.status, links_of(body(reply)), ask.job.plan.micros) == (200, (), 0)


def test_a_queue_forgets_the_oldest() -> None:
    """Its memory is bounded."""
    queue, plan = Queue(), planned(wished())
    for at in range(JOBS_MAX + 2):
        queue.add(Job(id=f"r-{at}", app=APP, plan=plan, submitted_at_s=0.0))
    assert len(queue.jobs) == JOBS_MAX
    assert "r-1" not in queue.jobs
    assert repr(queue) == f"<Queue {JOBS_MAX} requests>"


def test_there_is_no_list_of_models() -> None:
    """404, as there."""
    assert fal.models(None).status == 404
    assert fal.error(418).status == 418
    assert decode_error(body(fal.broken_stream(500))).type == "internal_error"
