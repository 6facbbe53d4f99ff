"""Ark and Replicate as the simulator plays them: routes, what is refused, answers that the gateway's readers read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from holdfast.errors import RequestError
from holdfast.simulator import ark, predictions, replicate
from holdfast.simulator.asked import Asked, Head, Kind, Reading, Route, route_of
from holdfast.simulator.charges import Outcome
from holdfast.simulator.faults import Fault, Wish
from holdfast.simulator.plan import Circumstances, Plan, plan_of
from holdfast.simulator.queue import Answered, Job, Queue
from holdfast.simulator.replies import Reply
from holdfast.simulator.vendors import Vendor
from holdfast.wire.ark import ArkReader, contents_of, decode_error
from holdfast.wire.replicate import PredictionReader, PredictionState, decode_file, decode_prediction
from holdfast.wire.replicate import decode_error as decode_problem
from holdfast.wire.template import filled

ORIGIN = "http://127.0.0.1:16900"
WAIT_S = 10.0
ARK_ROUTE = Route(kind=Kind.GENERATIONS, vendor=Vendor.ARK)
PREDICT = Route(kind=Kind.SUBMIT, is_queue=True, vendor=Vendor.REPLICATE, model="google/nano-banana-pro")


def a_prediction(kind: Kind) -> Route:
    """A route to a prediction."""
    return Route(kind=kind, is_queue=True, vendor=Vendor.REPLICATE, request_id="p-1")


@pytest.mark.parametrize(
    ("method", "target", "route"),
    [
        ("POST", "/api/v3/images/generations", ARK_ROUTE),
        ("GET", "/api/v3/images/generations", Route(kind=Kind.NOT_ALLOWED, vendor=Vendor.ARK)),
        ("POST", "/v1/models/google/nano-banana-pro/predictions", PREDICT),
        (
            "POST",
            "/v1/deployments/acme/drawings/predictions",
            Route(kind=Kind.SUBMIT, is_queue=True, vendor=Vendor.REPLICATE, model="acme/drawings"),
        ),
        ("POST", "/v1/predictions", Route(kind=Kind.SUBMIT, is_queue=True, vendor=Vendor.REPLICATE)),
        ("GET", "/v1/predictions/p-1", a_prediction(Kind.STATUS)),
        ("POST", "/v1/predictions/p-1/cancel", a_prediction(Kind.CANCEL)),
        ("GET", "/v1/predictions/p-1/cancel", a_prediction(Kind.NOT_ALLOWED)),
        ("POST", "/v1/files", Route(kind=Kind.UPLOAD, vendor=Vendor.REPLICATE)),
    ],
)
def test_routes_of_both(method: str, target: str, route: Route) -> None:
    """Beside those of the others, which they do not touch."""
    assert route_of(Head(method=method, target=target, headers={})) == route
    assert route_of(Head(method="GET", target="/v1/models/gpt-image-2", headers={})).kind is Kind.MODELS


def read(document: dict[str, Any], route: Route) -> Asked:
    """Read the body of a request."""
    reading = Reading(route)
    reading.feed(json.dumps(document).encode())
    return reading.finish()


def ark_asked(**fields: Any) -> Asked:
    """Ask Ark."""
    return read({"model": "seedream-4-5-251128", "prompt": "a", "size": "2048x2048", **fields}, ARK_ROUTE)


def predicted(**fields: Any) -> Asked:
    """Ask Replicate."""
    return read({"input": {"prompt": "a", "output_format": "png", **fields}}, PREDICT)


def planned(asked: Asked, fault: Fault | None = None, **wish: Any) -> Plan:
    """What will happen to a request of ten seconds."""
    now = Circumstances(
        number=1,
        seed=0,
        speed=1.0,
        is_instant=False,
        surplus_tokens=0,
        created=7,
        price_micros=7,
        draft_micros=3,
        server_timeout_s=None,
    )
    return plan_of(asked, Wish(fault=fault, delay_s=WAIT_S, **wish), now)


def body(reply: Reply) -> bytes:
    """Its bytes, pictures standing for their serials."""
    shown = {slot: drawn.serial.encode() for slot, drawn in reply.pictures.items()}
    return b"".join(filled(part.template, shown) for part in reply.parts)


# Ark


def test_ark_reads_what_is_asked() -> None:
    """Pixels and words, images of both kinds, and the file that comes if none is named."""
    asked = ark_asked(image=["data:image/png;base64,aW1n", "https://x/y.png"])
    assert (asked.vendor, asked.inputs, asked.is_edit, asked.format) == (Vendor.ARK, 2, True, "jpeg")
    assert (asked.geometry.width_px, asked.geometry.height_px) == (2048, 2048)
    words = ark_asked(size="4K")
    assert (words.geometry.width_px, words.inputs) == (4096, 0)
    assert ark_asked(size=None).geometry.width_px == 2048
    png = ark_asked(model="seedream-5-0-260128", output_format="png")
    assert (png.format, png.states_format) == ("png", True)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"size": "1024x1024"}, "size"),
        ({"model": "seedream-5-0-pro-260628", "size": "4096x4096"}, "size"),
        ({"model": "seedream-5-0-pro-260628", "stream": False}, "stream"),
        (
            {"model": "seedream-5-0-flash-260915", "sequential_image_generation": "disabled"},
            "sequential_image_generation",
        ),
        ({"model": "seedream-5-5-261028", "stream": True}, "stream"),
        ({"output_format": "png"}, "output_format"),
        ({"prompt": ""}, "prompt"),
        ({"size": "9K"}, "size"),
    ],
)
def test_ark_refuses_what_a_model_does_not_take(fields: dict[str, Any], param: str) -> None:
    """400, with the parameter; null is absent."""
    with pytest.raises(RequestError) as refused:
        ark_asked(**fields)
    assert refused.value.param == param
    reply = ark.mistake(refused.value)
    assert reply.status == 400
    assert (decode_error(400, body(reply)).code or "").endswith("Parameter")
    ark_asked(model="seedream-5-0-pro-260628", stream=None, sequential_image_generation=None)


def test_ark_answers_with_a_picture() -> None:
    """As the gateway reads it, with its pixels counted."""
    plan = planned(ark_asked())
    reader = ArkReader()
    reader.feed(body(plan.reply))
    answer = reader.finish()
    assert len(answer.images) == 1
    assert answer.usage is not None
    assert answer.usage.output_tokens == 16384
    assert contents_of(answer.document).generated_images == 1
    assert (plan.outcome, plan.micros, plan.wait_s) == (Outcome.MADE, 7, WAIT_S)


@pytest.mark.parametrize(
    ("fault", "status", "code", "outcome"),
    [
        (Fault.REFUSED_INPUT, 400, "InputTextSensitiveContentDetected", Outcome.REFUSED),
        (Fault.REFUSED_OUTPUT, 200, "OutputImageSensitiveContentDetected", Outcome.REFUSED),
        (Fault.ERROR_IN_200, 200, "InternalServiceError", Outcome.FAILED),
        (Fault.NO_IMAGE, 200, None, Outcome.EMPTY),
    ],
)
def test_ark_says_why_there_is_none(fault: Fault, status: int, code: str | None, outcome: Outcome) -> None:
    """For all, in a picture's place, or not at all; nothing is charged."""
    plan = planned(ark_asked(), fault)
    document = json.loads(body(plan.reply))
    errors = [document.get("error"), *(item.get("error") for item in document.get("data", ()))]
    assert [error["code"] for error in errors if error] == ([code] if code else [])
    assert (plan.reply.status, plan.outcome, plan.micros) == (status, outcome, 0)


@pytest.mark.parametrize(
    ("status", "told", "code"),
    [
        (401, 401, "AuthenticationError"),
        (402, 403, "AccountOverdueError"),
        (404, 404, "InvalidEndpointOrModel.NotFound"),
        (429, 429, "RateLimitExceeded"),
        (500, 500, "InternalServiceError"),
        (503, 429, "ServerOverloaded"),
        (418, 418, "InvalidParameter"),
    ],
)
def test_ark_has_statuses_of_its_own(status: int, told: int, code: str) -> None:
    """Overload and money are told by other ones."""
    reply = planned(ark_asked(), status=status).reply
    assert (reply.status, decode_error(told, body(reply)).code) == (told, code)


def test_a_proxy_before_either_says_nothing_of_them() -> None:
    """HTML."""
    for asked in (ark_asked(), predicted()):
        assert planned(asked, status=502).reply.content_type.startswith("text/html")
    assert (ark.models(None).status, replicate.models(None).status) == (404, 404)
    assert ark.broken_stream(500).status == 200


# Replicate


class Asking:
    """A queue with one prediction in it."""

    def __init__(self, plan: Plan | None = None, **more: Any) -> None:
        self.queue = Queue()
        self.job = Job(
            id="p-1",
            app="google/nano-banana-pro",
            plan=plan or planned(predicted()),
            submitted_at_s=100.0,
            vendor=Vendor.REPLICATE,
            echo={"prompt": "a"},
            **more,
        )
        self.queue.add(self.job)

    def __call__(self, kind: Kind = Kind.STATUS, *, after_s: float = WAIT_S, id_: str = "p-1") -> Answered:
        """Ask, so long after its creation."""
        route = Route(kind=kind, is_queue=True, vendor=Vendor.REPLICATE, request_id=id_)
        return self.queue.answer(route, origin=ORIGIN, now_s=100.0 + after_s)

    def told(self, *, after_s: float = WAIT_S, kind: Kind = Kind.STATUS) -> Any:
        """What is said of it, as the gateway reads it."""
        answered = self(kind, after_s=after_s)
        assert answered.reply.status == 200
        reader = PredictionReader()
        reader.feed(body(answered.reply))
        return decode_prediction(reader.finish().document)


def test_a_prediction_waits_is_worked_at_and_ends() -> None:
    """A fifth of its time, the rest of it, and ever after; what it was asked is said again."""
    ask = Asking()
    states = [(ask.told(after_s=at).state.value, ask.told(after_s=at).has_started) for at in (0.0, 1.9, 2.0, 9.9, 10.0)]
    assert states == [("starting", False)] * 2 + [("processing", True)] * 2 + [("succeeded", True)]
    assert json.loads(body(ask().reply))["input"] == {"prompt": "a"}
    assert ask.told().handle.cancel_url == f"{ORIGIN}/v1/predictions/p-1/cancel"


def test_one_picture_is_one_uri() -> None:
    """To a file that is there."""
    ask = Asking()
    output = json.loads(body(ask().reply))["output"]
    assert output == f"{ORIGIN}/_sim/files/p-1/0.png?fresh=1"
    file = Route(kind=Kind.FILE, is_queue=True, request_id="p-1")
    assert ask.queue.answer(file, origin=ORIGIN, now_s=120.0).picture is not None


def test_a_creation_is_answered_201() -> None:
    """With where it stands."""
    ask = Asking()
    reply = predictions.told(ask.job, ORIGIN, 100.0, created=True)
    assert reply.status == 201
    assert json.loads(body(reply))["status"] == "starting"


@pytest.mark.parametrize(
    ("plan", "text"),
    [
        (planned(predicted(), Fault.REFUSED_OUTPUT), "(E005)"),
        (planned(predicted(), Fault.REFUSED_INPUT), "(E005)"),
        (planned(predicted(), Fault.ERROR_IN_200), "(E1000)"),
        (planned(predicted(), status=500), "status 500 (E1000)"),
    ],
)
def test_a_model_that_fails_says_so_in_its_words(plan: Plan, text: str) -> None:
    """Nothing is charged for it, and there is no status for it."""
    told = Asking(plan).told()
    assert told.state is PredictionState.FAILED
    assert text in told.error
    assert plan.micros == 0


def test_one_without_a_picture_succeeds_with_nothing() -> None:
    """`output` is null."""
    ask = Asking(planned(predicted(), Fault.NO_IMAGE))
    assert (ask.told().state, ask.told().links) == (PredictionState.SUCCEEDED, ())


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        (Fault.POLL_404, [404] * 3),
        (Fault.POLL_503, [503] * 3),
        (Fault.POLL_RESET, [500] * 3),
        (Fault.BACKWARDS, ["processing", "starting", "processing"]),
        (Fault.NONE, ["succeeded"] * 3),
    ],
)
def test_questions_meet_a_fault_and_then_the_truth(fault: Fault, seen: list[Any]) -> None:
    """It is paid for, whatever is told meanwhile."""
    ask = Asking(planned(predicted(), fault))
    met = [ask() for _ in range(3)]
    told = [each.reply.status if each.reply.status != 200 else json.loads(body(each.reply))["status"] for each in met]
    assert told == seen
    assert all((each.fault is Fault.RESET_SENT) is (fault is Fault.POLL_RESET) for each in met)
    assert ask.told().state is PredictionState.SUCCEEDED


@pytest.mark.parametrize("fault", [Fault.HTML, Fault.EMPTY])
def test_an_end_is_spoilt_once(fault: Fault) -> None:
    """Read again, it is what it should have been."""
    ask = Asking(planned(predicted(), fault))
    assert not body(ask().reply).startswith(b"{")
    assert ask.told().state is PredictionState.SUCCEEDED


@pytest.mark.parametrize(
    ("limit_s", "after_s", "state"),
    [
        (1.0, 0.5, PredictionState.STARTING),
        (1.0, 1.5, PredictionState.ABORTED),
        (1.0, 99.0, PredictionState.ABORTED),
        (5.0, 4.0, PredictionState.PROCESSING),
        (5.0, 6.0, PredictionState.CANCELED),
        (50.0, 11.0, PredictionState.SUCCEEDED),
        (50.0, 99.0, PredictionState.SUCCEEDED),
    ],
)
def test_its_deadline_ends_it(limit_s: float, after_s: float, state: PredictionState) -> None:
    """Before it was begun it is aborted; what has ended stays."""
    told = Asking(cancel_after_s=limit_s).told(after_s=after_s)
    assert told.state is state
    assert told.has_started is (state not in (PredictionState.STARTING, PredictionState.ABORTED))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5m", 300.0), ("90s", 90.0), ("1h30m5s", 5405.0), ("", None), (None, None), ("5", None), ("soon", None)],
)
def test_a_deadline_is_read(text: str | None, seconds: float | None) -> None:
    """As Go writes durations."""
    assert predictions.seconds_of(text) == seconds


def test_a_cancel_stops_it_wherever_it_is() -> None:
    """What has ended stays as it is."""
    waiting, working, ended = Asking(), Asking(), Asking()
    assert waiting.told(kind=Kind.CANCEL, after_s=1.0).has_started is False
    assert working.told(kind=Kind.CANCEL, after_s=5.0).has_started is True
    assert [each.told().state for each in (waiting, working)] == [PredictionState.CANCELED] * 2
    assert ended.told(kind=Kind.CANCEL).state is PredictionState.SUCCEEDED


def test_nobody_knows_a_prediction_that_never_was() -> None:
    """404, in its words."""
    reply = Asking()(id_="other").reply
    assert (reply.status, decode_problem(404, body(reply)).is_json) == (404, True)


@pytest.mark.parametrize("status", [401, 402, 404, 422, 429, 503])
def test_what_is_not_taken_is_told_to_who_creates_it(status: int) -> None:
    """A problem document."""
    plan = planned(predicted(), status=status)
    assert plan.is_turned_away
    assert (plan.reply.status, decode_problem(status, body(plan.reply)).is_json) == (status, True)


def test_a_hint_stands_in_the_text() -> None:
    """And what is no number of seconds, in the header."""
    told = planned(predicted(), retry_after="7").reply
    assert (decode_problem(429, body(told)).retry_after_s, told.headers) == (7.0, ())
    odd = planned(predicted(), retry_after="soon").reply
    assert odd.headers == (("retry-after", "soon"),)


def test_replicate_reads_what_is_asked() -> None:
    """Links to files that were handed over, and data URIs."""
    asked = predicted(resolution="4K", aspect_ratio="16:9", image_input=["https://x/f-1", "data:image/png;base64,aW1n"])
    assert (asked.inputs, asked.is_edit, asked.is_queued, asked.vendor) == (2, True, True, Vendor.REPLICATE)
    assert (asked.geometry.width_px, asked.geometry.height_px) == (5504, 3072)
    assert predicted(output_format="jpg").format == "jpeg"
    assert predicted().geometry.tier.value == "2K"
    with pytest.raises(RequestError) as refused:
        predicted(prompt="")
    assert replicate.mistake(refused.value).status == 422
    assert replicate.mistake(RequestError("too large", status=413)).status == 413


def test_a_file_that_is_handed_over_has_a_place() -> None:
    """Which a prediction may name."""
    reply = replicate.uploaded("file-1", origin=ORIGIN, bytes_=3)
    assert (reply.status, decode_file(body(reply))) == (201, f"{ORIGIN}/v1/files/file-1")
