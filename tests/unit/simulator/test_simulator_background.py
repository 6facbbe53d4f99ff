"""Requests that work in the background, simulated: where each stands at what time, and what a GET gets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from holdfast.config import UpstreamApi
from holdfast.errors import RequestError
from holdfast.policy.sizes import geometry_of
from holdfast.simulator.asked import Asked, Head, Kind, Reading, Route, route_of
from holdfast.simulator.background import Background, Request, is_background
from holdfast.simulator.background_plan import background_plan_of, dialect_of
from holdfast.simulator.charges import Outcome
from holdfast.simulator.faults import Fault, Wish
from holdfast.simulator.plan import Circumstances, Plan
from holdfast.simulator.queue import JOBS_MAX, TROUBLED, Answered
from holdfast.simulator.replies import Reply
from holdfast.types import Surface, Tier
from holdfast.wire.answers import Answer, Role
from holdfast.wire.interactions import interaction_reader
from holdfast.wire.responses import response_reader
from holdfast.wire.template import filled

WAIT_S = 10.0
APIS = [UpstreamApi.RESPONSES, UpstreamApi.INTERACTIONS]
READERS = {UpstreamApi.RESPONSES: response_reader, UpstreamApi.INTERACTIONS: interaction_reader}


@pytest.fixture(params=APIS, ids=lambda api: api.value)
def api(request: pytest.FixtureRequest) -> UpstreamApi:
    """Both behave alike."""
    made: UpstreamApi = request.param
    return made


def asked(api: UpstreamApi, **overrides: Any) -> Asked:
    """One picture, or what a test says."""
    usual: dict[str, Any] = {
        "surface": Surface.OPENAI if api is UpstreamApi.RESPONSES else Surface.GEMINI,
        "model": "m",
        "prompt": "a",
        "geometry": geometry_of(Tier.K1, "1:1"),
        "api": api,
    }
    return Asked(**usual | overrides)


def planned(api: UpstreamApi, wish: Wish, **now: Any) -> Plan:
    """What will happen to a request."""
    usual: dict[str, Any] = {
        "number": 1,
        "seed": 0,
        "speed": 1.0,
        "is_instant": False,
        "surplus_tokens": 0,
        "created": 0,
        "price_micros": 7,
        "draft_micros": 3,
        "server_timeout_s": None,
    }
    return background_plan_of(asked(api), wish, Circumstances(**usual | now))


def wished(fault: Fault | None = None, **more: Any) -> Wish:
    """Something that takes ten seconds."""
    return Wish(**{"fault": fault, "delay_s": WAIT_S, **more})


def read(api: UpstreamApi, reply: Reply) -> tuple[dict[str, Any], Answer]:
    """Read an object as its receiver does, a word in the place of each picture."""
    (part,) = reply.parts
    body = filled(part.template, dict.fromkeys(reply.pictures, b"picture"))
    reader = READERS[api]()
    reader.feed(body)
    answer = reader.finish()
    return json.loads(answer.document), answer


class Asking:
    """The house with one request in it."""

    def __init__(self, api: UpstreamApi, wish: Wish | None = None) -> None:
        self.api = api
        self.house = Background()
        self.plan = planned(api, wish or wished())
        self.request = Request(id="x_1", asked=asked(api), plan=self.plan, created=0, taken_at_s=100.0)
        self.house.add(self.request)

    def __call__(self, kind: Kind = Kind.STATUS, *, after_s: float = WAIT_S, id_: str = "x_1") -> Answered:
        """Ask, so long after it was taken."""
        route = Route(kind=kind, request_id=id_, api=self.api)
        return self.house.answer(route, now_s=100.0 + after_s)

    def status(self, **options: Any) -> str:
        """Where it stands, as it is told."""
        answered = self(**options)
        assert answered.reply.status == 200
        return str(read(self.api, answered.reply)[0]["status"])


# Time


def test_it_waits_then_works_then_ends(api: UpstreamApi) -> None:
    """A fifth, and the rest."""
    asking = Asking(api)
    assert [asking.status(after_s=after_s) for after_s in (0.0, 1.9, 2.0, 9.9, 10.0, 1e6)] == [
        *("queued", "queued", "in_progress", "in_progress", "completed", "completed"),
    ]


def test_every_get_of_an_end_is_the_same(api: UpstreamApi) -> None:
    """Asking changes nothing."""
    asking = Asking(api)
    first = asking()
    assert first.reply.pictures
    for _ in range(3):
        assert asking() == first


def test_old_ones_are_forgotten(api: UpstreamApi) -> None:
    """As the vendor forgets."""
    asking = Asking(api)
    for number in range(JOBS_MAX):
        asking.house.add(Request(id=f"y_{number}", asked=asked(api), plan=asking.plan, created=0, taken_at_s=0.0))
    assert asking().reply.status == 404
    assert repr(asking.house) == f"<Background {JOBS_MAX} requests>"


def test_what_nobody_submitted_is_not_there(api: UpstreamApi) -> None:
    """Nor what was submitted next door."""
    asking = Asking(api)
    assert asking(id_="x_2").reply.status == 404
    assert asking(Kind.CANCEL, id_="x_2").reply.status == 404
    other = next(each for each in APIS if each is not api)
    assert asking.house.answer(Route(kind=Kind.STATUS, request_id="x_1", api=other), now_s=0.0).reply.status == 404


# Ends


def test_a_picture_is_in_the_object(api: UpstreamApi) -> None:
    """One result, its format, and tokens of it."""
    asking = Asking(api)
    document, answer = read(api, asking().reply)
    (image,) = answer.images
    assert (image.role, image.declared_mime) == (Role.RESULT, "image/png")
    assert answer.usage is not None
    assert (answer.usage.output_image_tokens > 0) is (api is UpstreamApi.INTERACTIONS or asking.plan.micros >= 30)
    assert document["id"] == dialect_of(api).handle_of(0, 1)
    assert (asking.plan.outcome, asking.plan.micros) == (Outcome.MADE, 7)


def test_several_pictures_are_drafts_and_one(api: UpstreamApi) -> None:
    """The last is meant; all of them cost."""
    asking = Asking(api, wished(drafts=2))
    _, answer = read(api, asking().reply)
    assert [image.role for image in answer.images] == [Role.DRAFT, Role.DRAFT, Role.RESULT]
    assert asking.plan.micros == 7 + 2 * 3


@pytest.mark.parametrize("stage", ["input", "output"])
def test_a_refusal_is_told_in_the_object(api: UpstreamApi, stage: str) -> None:
    """The prompt's within seconds; the picture's after the whole wait, and OpenAI is taken to charge for it."""
    plan = planned(api, wished(Fault(f"refused_{stage}")))
    _, answer = read(api, plan.reply)
    assert answer.images == ()
    assert answer.error is not None
    if api is UpstreamApi.RESPONSES:
        assert (answer.error.code, answer.error.reason) == ("moderation_blocked", stage)
    else:
        assert answer.error.code == {"input": "prohibited_content", "output": "image_safety"}[stage]
    assert plan.outcome is Outcome.REFUSED
    assert plan.wait_s == (3.0 if stage == "input" else WAIT_S)
    assert plan.micros == (7 if stage == "output" and api is UpstreamApi.RESPONSES else 0)


def test_an_end_without_a_picture_has_words_or_none(api: UpstreamApi) -> None:
    """Nothing is charged for one."""
    for fault in (Fault.NO_IMAGE, Fault.TEXT_ONLY):
        plan = planned(api, wished(fault))
        _, answer = read(api, plan.reply)
        assert (answer.images, bool(answer.text_chars)) == ((), fault is Fault.TEXT_ONLY)
        assert (plan.outcome, plan.micros) == (Outcome.EMPTY, 0)


def test_another_end_is_named() -> None:
    """By the word of each API."""
    plan = planned(UpstreamApi.RESPONSES, wished(Fault.NO_IMAGE, reason="max_output_tokens"))
    document, answer = read(UpstreamApi.RESPONSES, plan.reply)
    assert (document["status"], answer.finish_reason) == ("incomplete", "max_output_tokens")
    plan = planned(UpstreamApi.INTERACTIONS, wished(Fault.NO_IMAGE, reason="budget_exceeded"))
    assert read(UpstreamApi.INTERACTIONS, plan.reply)[0]["status"] == "budget_exceeded"


@pytest.mark.parametrize(("status", "outcome", "micros"), [(500, Outcome.FAILED, 0), (504, Outcome.MADE, 7)])
def test_what_fails_at_work_is_told_at_its_end(api: UpstreamApi, status: int, outcome: Outcome, micros: int) -> None:
    """It was taken; a front end that gave up does not stop what works behind it."""
    plan = planned(api, wished(status=status))
    document, answer = read(api, plan.reply)
    assert (document["status"], plan.is_turned_away) == ("failed", False)
    assert answer.error is not None
    assert (plan.wait_s, plan.outcome, plan.micros) == (WAIT_S, outcome, micros)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 502, 503])
def test_what_is_turned_away_is_told_at_once(api: UpstreamApi, status: int) -> None:
    """With its hint; and nothing is charged."""
    plan = planned(api, wished(status=status, retry_after="7"))
    assert (plan.reply.status, plan.is_turned_away, plan.micros) == (status, True, 0)
    assert dict(plan.reply.headers)["retry-after"] == "7"
    assert plan.wait_s == 1.0
    assert planned(api, wished(retry_after="7")).reply.status == 429
    assert planned(api, Wish(status=503, delay_s=0.0), is_instant=True).wait_s == 0.0


def test_an_error_inside_a_200_is_a_failed_object(api: UpstreamApi) -> None:
    """So these APIs say it."""
    assert read(api, planned(api, wished(Fault.ERROR_IN_200)).reply)[0]["status"] == "failed"


# Trouble


@pytest.mark.parametrize("fault", [Fault.POLL_404, Fault.POLL_503, Fault.POLL_RESET, Fault.BACKWARDS])
def test_trouble_is_over_after_a_few_questions(api: UpstreamApi, fault: Fault) -> None:
    """Then the truth is told."""
    asking = Asking(api, wished(fault))
    troubled = [asking() for _ in range(TROUBLED)]
    match fault:
        case Fault.POLL_404 | Fault.POLL_503:
            assert {each.reply.status for each in troubled} == {404 if fault is Fault.POLL_404 else 503}
        case Fault.POLL_RESET:
            assert {each.fault for each in troubled} == {Fault.RESET_SENT}
        case _:
            words = [read(api, each.reply)[0]["status"] for each in troubled]
            assert words == ["in_progress", "queued", "in_progress"]
    assert asking.status() == "completed"


@pytest.mark.parametrize("fault", [Fault.TRUNCATE, Fault.RESET_BODY, Fault.STALL_BODY, Fault.DRIP, Fault.GZIP])
def test_what_befalls_the_way_befalls_the_first_end_only(api: UpstreamApi, fault: Fault) -> None:
    """Whoever asks again gets it whole."""
    asking = Asking(api, wished(fault))
    assert asking(after_s=1.0).fault is None
    assert [asking().fault for _ in range(3)] == [fault, None, None]


@pytest.mark.parametrize("fault", [Fault.NOT_IMAGE, Fault.CUT_IMAGE, Fault.BAD_BASE64, Fault.URL_SAFE])
def test_what_is_wrong_with_a_picture_stays_wrong(api: UpstreamApi, fault: Fault) -> None:
    """It is what was made."""
    asking = Asking(api, wished(fault))
    assert [asking().fault for _ in range(3)] == [fault] * 3


@pytest.mark.parametrize(("fault", "status"), [(Fault.HTML, 200), (Fault.EMPTY, 200), (Fault.REDIRECT, 302)])
def test_what_comes_in_the_place_of_an_end_comes_once(api: UpstreamApi, fault: Fault, status: int) -> None:
    """A proxy's doing."""
    asking = Asking(api, wished(fault))
    first = asking().reply
    assert (first.status, first.pictures) == (status, {})
    assert asking.status() == "completed"


def test_what_is_not_kept_is_gone(api: UpstreamApi) -> None:
    """From its end on."""
    asking = Asking(api, wished(Fault.EXPIRED))
    assert asking.status(after_s=5.0) == "in_progress"
    assert [asking().reply.status for _ in range(3)] == [404] * 3


# Cancelling


class Ending:
    """A task, as far as it matters."""

    cancelled = False

    def cancel(self) -> None:
        """Note it."""
        self.cancelled = True


@pytest.mark.parametrize(("after_s", "is_free", "status"), [(1.0, True, "cancelled"), (5.0, False, "cancelled")])
def test_a_cancel_is_free_while_it_waits(api: UpstreamApi, after_s: float, is_free: bool, status: str) -> None:
    """Later it ends all the same, and is charged; cancelling twice says the same."""
    asking = Asking(api)
    asking.request.ending = ending = Ending()  # type: ignore[assignment]
    for _ in range(2):
        assert asking.status(kind=Kind.CANCEL, after_s=after_s) == status
    assert ending.cancelled is is_free
    assert asking.status() == status


def test_what_has_ended_is_not_cancelled(api: UpstreamApi) -> None:
    """Its end is told."""
    asking = Asking(api)
    assert asking.status(kind=Kind.CANCEL) == "completed"
    assert asking().reply.pictures


# Routes and requests


def head(target: str, method: str = "GET") -> Head:
    """A request's head."""
    return Head(method=method, target=target, headers={})


@pytest.mark.parametrize(
    ("target", "method", "kind", "id_"),
    [
        ("/v1/responses", "POST", Kind.SUBMIT, None),
        ("/v1/responses/resp_1", "GET", Kind.STATUS, "resp_1"),
        ("/v1/responses/resp_1?include=x", "GET", Kind.STATUS, "resp_1"),
        ("/v1/responses/resp_1/cancel", "POST", Kind.CANCEL, "resp_1"),
        ("/v1/responses", "GET", Kind.NOT_ALLOWED, None),
        ("/v1/responses/resp_1", "POST", Kind.NOT_ALLOWED, "resp_1"),
        ("/v1/responses/resp_1/cancel", "GET", Kind.NOT_ALLOWED, "resp_1"),
        ("/v1beta/interactions", "POST", Kind.SUBMIT, None),
        ("/v1/interactions", "POST", Kind.SUBMIT, None),
        ("/v1beta/interactions/int_1?stream=false", "GET", Kind.STATUS, "int_1"),
        ("/v1beta/interactions/int_1/cancel", "POST", Kind.CANCEL, "int_1"),
    ],
)
def test_routes_lead_here(target: str, method: str, kind: Kind, id_: str | None) -> None:
    """By path and method."""
    route = route_of(head(target, method))
    assert (route.kind, route.request_id) == (kind, id_)
    assert is_background(route)
    assert route.surface is (Surface.OPENAI if "responses" in target else Surface.GEMINI)


@pytest.mark.parametrize(
    "target", ["/v1/response", "/v1/responses/a/b/c", "/v1beta/interactions/a/b", "/v2/interactions"]
)
def test_other_routes_do_not(target: str) -> None:
    """They lead elsewhere, or nowhere."""
    assert not is_background(route_of(head(target)))


def reading(target: str, document: Any) -> Asked:
    """Read a submission."""
    reader = Reading(route_of(head(target, "POST")))
    reader.feed(json.dumps(document).encode())
    return reader.finish()


def test_a_response_asked_for_is_understood() -> None:
    """Prompt, size, format, quality, and reference images by their headers."""
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4//8/AAX+Av4N70a4AAAAAElFTkSuQmCC"
    content = [
        {"type": "input_text", "text": "a lighthouse"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{pixel}"},
    ]
    tool = {"type": "image_generation", "model": "gpt-image-2", "size": "1536x1024", "output_format": "jpeg"}
    tools = [{"type": "web_search"}, {**tool, "quality": "low", "background": "opaque"}]
    body = {"model": "gpt-5.5", "input": [{"role": "user", "content": content}], "background": True, "tools": tools}
    read = reading("/v1/responses", body)
    assert (read.model, read.outer_model, read.prompt) == ("gpt-image-2", "gpt-5.5", "a lighthouse")
    assert (read.geometry.width_px, read.geometry.height_px, read.format) == (1536, 1024, "jpeg")
    assert (read.quality, read.background, read.inputs, read.is_edit) == ("low", "opaque", 1, True)
    assert read.api is UpstreamApi.RESPONSES
    assert reading("/v1/responses", {**body, "input": "a boat", "tools": [tool]}).prompt == "a boat"


def test_an_interaction_asked_for_is_understood() -> None:
    """The same; of a history the last turn."""
    picture = {"type": "image", "aspect_ratio": "16:9", "image_size": "2K", "mime_type": "image/jpeg"}
    body = {"model": "gemini-3-pro-image", "input": "a boat", "background": True, "response_format": picture}
    read = reading("/v1beta/interactions", body)
    assert (read.model, read.prompt, read.format, read.inputs) == ("gemini-3-pro-image", "a boat", "jpeg", 0)
    assert (read.geometry.tier, read.geometry.aspect_ratio) == (Tier.K2, "16:9")
    turns = [
        {"type": "user_input", "content": [{"type": "text", "text": "a boat"}]},
        {"type": "user_input", "content": [{"type": "text", "text": "at night"}]},
    ]
    assert reading("/v1/interactions", {**body, "input": turns}).prompt == "at night"


@pytest.mark.parametrize(
    ("target", "document", "param"),
    [
        ("/v1/responses", {}, "tools"),
        ("/v1/responses", {"tools": [{"type": "image_generation"}]}, "background"),
        ("/v1/responses", {"tools": [{"type": "image_generation"}], "background": True, "store": False}, "store"),
        ("/v1/responses", {"tools": [{"type": "image_generation"}], "background": True}, "model"),
        ("/v1/responses", {"tools": [{"type": "image_generation"}], "background": True, "model": "m"}, "input"),
        ("/v1beta/interactions", {}, "response_format"),
        ("/v1beta/interactions", {"response_format": {"type": "image"}}, "background"),
        ("/v1beta/interactions", {"response_format": {"type": "image"}, "background": True}, "model"),
        ("/v1beta/interactions", {"response_format": [{"type": "image"}], "background": True, "model": "m"}, "input"),
    ],
)
def test_what_asks_for_no_image_is_refused(target: str, document: Any, param: str) -> None:
    """With the field."""
    with pytest.raises(RequestError) as refused:
        reading(target, document)
    assert refused.value.param == param


@pytest.mark.parametrize("target", ["/v1/responses", "/v1beta/interactions"])
def test_what_is_no_json_is_refused(target: str) -> None:
    """As everywhere."""
    reader = Reading(route_of(head(target, "POST")))
    reader.feed(b'{"model":')
    with pytest.raises(RequestError):
        reader.finish()
