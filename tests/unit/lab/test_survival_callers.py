"""What a caller holds, and what it was told: read from its answer, and believed only as far as the bytes go."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import requests

SIZE = "1024x1024"


@pytest.fixture
def order(load: ModuleType) -> Any:
    """One image that is wanted."""
    return load.Order(number=7, kind="keyed", size=SIZE, at_s=0.0)


@pytest.fixture
def drawn(callers: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let only `whole` be a picture."""
    monkeypatch.setattr(callers.drawn, "serial_of", lambda picture, size: "serial" if picture == b"whole" else None)


def document(picture: bytes = b"whole") -> dict[str, Any]:
    """An answer with a picture."""
    return {"data": [{"b64_json": base64.b64encode(picture).decode()}], "generation_id": "gen_1"}


ERROR = {"error": {"code": "outcome_unknown", "paid": "unknown", "retryable": False, "generation_id": "gen_1"}}
BUSY = {"error": {"code": "overloaded", "paid": "no", "retryable": True}}


class Answers:
    """Stands in for the network: gives one answer after the other."""

    def __init__(self, *answers: Any) -> None:
        self._answers: Iterator[Any] = iter(answers)
        self.asked: list[tuple[str, str, dict[str, Any]]] = []

    def __call__(self, method: str, url: str, **options: Any) -> requests.Response:
        """Answer a request, or break off."""
        self.asked.append((method, url, options))
        given = next(self._answers)
        if isinstance(given, Exception):
            raise given
        status, body, headers = given
        response = requests.Response()
        response.status_code = status
        response.headers.update(headers)
        response._content = body if isinstance(body, bytes) else requests.compat.json.dumps(body).encode()
        return response


@pytest.fixture
def ask(callers: ModuleType, order: Any, drawn: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let a kind of caller ask, against what it will be answered."""
    pauses: list[float] = []
    monkeypatch.setattr(callers.time, "sleep", pauses.append)

    def asked(kind: str, *answers: Any) -> tuple[Any, Answers, list[float]]:
        network = Answers(*answers)
        monkeypatch.setattr(requests.Session, "request", lambda _, method, url, **more: network(method, url, **more))
        monkeypatch.setattr(requests.Session, "get", lambda _, url, **more: network("GET", url, **more))
        front = callers.Front(url="http://front", key="sk", speed=10.0)
        return callers.CALLERS[kind](front, order), network, pauses

    return asked


def test_a_whole_picture_counts_and_a_damaged_one_is_a_false_success(
    callers: ModuleType, order: Any, drawn: None
) -> None:
    """Whatever the status says."""
    held = callers.told_image(order, b"whole", 1)
    assert (held.end, held.serial, held.number) == ("image", "serial", 7)
    assert callers.told_image(order, b"half", 1).end == "wrong"


def test_the_first_answer_is_taken(ask: Any) -> None:
    """By each kind that waits."""
    for kind in ("loop", "keyed", "async"):
        told, network, _ = ask(kind, (200, document(), {}))
        assert (told.end, told.tries, told.generation_id) == ("image", 1, "gen_1")
        assert len(network.asked) == 1


def test_a_success_without_a_picture_is_none(ask: Any) -> None:
    """An empty list, or no list at all."""
    for body in ({"data": []}, {"created": 1}, {"data": [{"url": "http://elsewhere"}]}):
        told, *_ = ask("keyed", (200, body, {}))
        assert told.end == "wrong"


def test_an_error_inside_a_200_is_an_error(ask: Any) -> None:
    """It was told after the heartbeats."""
    told, *_ = ask("keyed", (200, ERROR, {}))
    assert (told.end, told.code, told.paid, told.generation_id) == ("told", "outcome_unknown", "unknown", "gen_1")


def test_a_loop_tries_three_times_whatever_fails(ask: Any) -> None:
    """And says what the last try ended with."""
    told, network, pauses = ask("loop", requests.ConnectionError(), (400, ERROR, {}), (200, b"not json", {}))
    assert (told.end, told.tries, told.error) == ("nothing", 3, "JSONDecodeError")
    assert len(network.asked) == 3
    assert pauses == [0.5, 0.5]
    told, *_ = ask("loop", requests.ConnectionError(), requests.ReadTimeout(), (502, ERROR, {}))
    assert (told.end, told.status, told.code) == ("told", 502, "outcome_unknown")


def test_a_keyed_caller_asks_with_its_key_until_there_is_an_answer(ask: Any) -> None:
    """As long as the failure passes, and as long after as the server says, scaled."""
    told, network, pauses = ask(
        "keyed", requests.ReadTimeout(), (503, BUSY, {"retry-after": "20"}), (200, document(), {})
    )
    assert (told.end, told.tries) == ("image", 3)
    assert {options["headers"]["Idempotency-Key"] for _, _, options in network.asked} == {"survival-00007"}
    assert pauses == [0.5, 2.0]


@pytest.mark.parametrize(
    ("status", "body", "is_told"),
    [
        (502, ERROR, True),
        (400, {"error": {"message": "no"}}, True),
        (500, {"error": {"message": "no"}}, False),
        (429, {"error": {"message": "no"}}, False),
        (401, {}, True),
    ],
)
def test_a_failure_that_does_not_pass_is_the_end(ask: Any, status: int, body: dict[str, Any], is_told: bool) -> None:
    """As the server says, and by its status where it says nothing."""
    told, *_ = ask("keyed", (status, body, {}), (200, document(), {}))
    assert (told.end == "told") is is_told


def test_who_does_not_wait_polls_and_fetches(ask: Any) -> None:
    """Cut or not: it goes on where it was."""
    accepted = (202, {"id": "gen_1"}, {})
    running, done = {"status": "running"}, {"status": "succeeded", "images": [{"url": "http://front/image"}]}
    told, network, _ = ask(
        "async",
        requests.ConnectionError(),
        accepted,
        (200, running, {}),
        requests.ReadTimeout(),
        (200, done, {}),
        (404, b"", {}),
        (200, done, {}),
        (200, b"whole", {}),
    )
    assert (told.end, told.generation_id) == ("image", "gen_1")
    assert network.asked[1][2]["headers"]["Prefer"] == "respond-async"
    assert [method for method, *_ in network.asked].count("POST") == 2


def test_what_was_accepted_and_is_not_known_any_more_is_a_false_success(ask: Any) -> None:
    """202 is a promise."""
    told, *_ = ask("async", (202, {"id": "gen_1"}, {}), (404, ERROR, {}))
    assert told.end == "wrong"
    assert "gen_1 was accepted" in told.error


def test_a_failed_generation_is_told(ask: Any) -> None:
    """With what its record says."""
    told, *_ = ask("async", (202, {"id": "gen_1"}, {}), (200, {"status": "failed", **ERROR}, {}))
    assert (told.end, told.code, told.paid) == ("told", "outcome_unknown", "unknown")


def test_a_charge_names_its_generation_where_a_gateway_wrote_its_key(books: ModuleType) -> None:
    """A caller's own key is no generation."""
    row = {"idempotency_key": "gen_1.0.0", "model": "survival-sdk", "outcome": "made", "micros": 134_000}
    charge = books.charge_of(row)
    assert (charge.generation_id, charge.kind, charge.is_image) == ("gen_1", "sdk", True)
    assert books.charge_of({**row, "idempotency_key": "survival-00007"}).generation_id is None
    assert books.charge_of({**row, "idempotency_key": None, "micros": 0}).is_image is False
