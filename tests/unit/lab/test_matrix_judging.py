"""The matrix sees what is wrong: an image that differs, a success that is none, a charge too many."""

from __future__ import annotations

import base64
import json
from types import ModuleType
from typing import Any

import pytest

PICTURE = b"\x89PNG the picture"
TEXT = base64.b64encode(PICTURE).decode()
OPENAI = {"created": 1, "data": [{"b64_json": TEXT, "url": "http://127.0.0.1/x"}]}
GEMINI = {"candidates": [{"finishReason": "STOP", "content": {"parts": [{"inlineData": {"data": TEXT}}]}}]}
REFUSAL = {"error": {"message": "no", "code": "moderation_blocked", "type": "image_generation_user_error"}}
OVERLOAD = {"error": {"message": "later", "code": "server_is_overloaded"}}
OURS = "Expecting value: line 7: holdfast: generation gen_01 failed: content_refused: no"


def is_right(picture: bytes) -> bool:
    """Stand in for the comparison with what was drawn."""
    return picture == PICTURE


def read(judging: ModuleType, document: Any, **result: Any) -> Any:
    """Give what a client showed that gave a document as its answer."""
    body = document if isinstance(document, str) else json.dumps(document)
    return judging.shown_of({"status": 200} | result, body, is_right)


def raised(
    judging: ModuleType, name: str, message: str = "", status: int | None = None, code: str | None = None
) -> Any:
    """Give what a client showed that raised."""
    error = {"class": name, "message": message, "status": status, "code": code}
    return judging.shown_of({"error": error}, "", is_right)


def judged(modules: tuple[ModuleType, ModuleType], scenario: str, told: str, shown: Any, **books: Any) -> Any:
    """Judge a cell; one purchase where none is named."""
    cells, judging = modules
    known = judging.Books(**({"requests": 1, "purchases": 1} | books))
    return judging.judge(cells.Scenario(scenario), cells.Told(told), shown, known)


@pytest.fixture
def both(cells: ModuleType, judging: ModuleType) -> tuple[ModuleType, ModuleType]:
    """Give the two modules that most tests need."""
    return cells, judging


@pytest.mark.parametrize("document", [OPENAI, GEMINI, "\n\n\n" + json.dumps(OPENAI)])
def test_the_right_image_is_seen_in_either_dialect(judging: ModuleType, document: Any) -> None:
    """Beats before the document are white space to a parser."""
    shown = read(judging, document)
    assert shown.picture is judging.Picture.RIGHT
    assert shown.told == "image"


@pytest.mark.parametrize("text", [base64.b64encode(b"another").decode(), "%%%"])
def test_another_image_is_wrong(judging: ModuleType, text: str) -> None:
    """Other bytes, or none at all."""
    assert read(judging, {"data": [{"b64_json": text}]}).picture is judging.Picture.WRONG


def test_an_image_in_the_alphabet_of_urls_is_the_same(judging: ModuleType) -> None:
    """Google's SDK for Python writes its values down so."""
    picture = b"\xfb\xff\xfe" * 7
    text = base64.urlsafe_b64encode(picture).decode()
    document = {"candidates": [{"content": {"parts": [{"inlineData": {"data": text}}]}}]}
    shown = judging.shown_of({}, json.dumps(document), lambda got: got == picture)
    assert "_" in text
    assert shown.picture is judging.Picture.RIGHT


@pytest.mark.parametrize("body", ["", "\n\n", "<html>504</html>", '"text"', "[]", '{"data": [{"b64'])
def test_a_body_that_is_no_document_is_an_exception(judging: ModuleType, body: str) -> None:
    """A program's own parser raises on it, or its first look into it does."""
    shown = read(judging, body, status=504)
    assert (shown.exception, shown.status, shown.picture) == ("no JSON", 504, judging.Picture.NONE)
    assert shown.told == "no JSON 504"


def test_what_an_error_says_is_kept(judging: ModuleType) -> None:
    """Its code in a document, its class, status and code in an exception, the reason in Gemini's dialect."""
    assert read(judging, REFUSAL).told == "200 moderation_blocked"
    assert raised(judging, "BadRequestError", "x" * 999, 400, "moderation_blocked").told == (
        "BadRequestError 400 moderation_blocked"
    )
    assert len(raised(judging, "BadRequestError", "x" * 999).message) == judging.TEXT_CHARACTERS_MAX
    assert read(judging, {"candidates": [{"finishReason": "IMAGE_SAFETY"}]}).reason == "IMAGE_SAFETY"
    assert read(judging, {"promptFeedback": {"blockReason": "OTHER"}}).reason == "OTHER"
    assert judging.shown_of({"status": None}, "{}", is_right).told == "an empty success"


def test_a_success_is_the_image_and_one_charge(both: tuple[ModuleType, ModuleType]) -> None:
    """Neither an image that was bought twice nor one that nobody charged is right."""
    shown = read(both[1], OPENAI)
    assert judged(both, "success", "json", shown).is_green
    assert judged(both, "success", "json", shown).told == "image, 1 charge"
    assert judged(both, "success", "json", shown, purchases=2).wrong == ("charged again",)
    assert judged(both, "success", "json", shown, purchases=0).wrong == ("not charged",)
    assert judged(both, "success", "json", read(both[1], REFUSAL)).wrong == ("no image",)
    wrong = read(both[1], {"data": [{"b64_json": "AAAA"}]})
    assert judged(both, "success", "json", wrong).wrong == ("wrong image",)
    assert judged(both, "repeat", "json", shown, purchases=3).wrong == ("charged again",)
    assert judged(both, "repeat", "json", raised(both[1], "ReadTimeout")).wrong == ("no image",)


@pytest.mark.parametrize(("status", "is_green"), [(400, True), (200, False), (502, False)])
def test_an_early_error_keeps_its_status(both: tuple[ModuleType, ModuleType], status: int, is_green: bool) -> None:
    """Shown as an answer's or as an exception's; and nothing may be charged."""
    shown = read(both[1], REFUSAL, status=status)
    assert judged(both, "early-error", "json", shown, purchases=0).is_green is is_green
    thrown = raised(both[1], "APIError", status=status)
    assert judged(both, "early-error", "gemini", thrown, purchases=0).is_green is is_green
    assert "charged" in judged(both, "early-error", "json", shown, purchases=1).wrong


@pytest.mark.parametrize(
    ("told", "shown", "is_green"),
    [
        ("json", REFUSAL, True),
        ("json", OVERLOAD, False),
        ("json", OPENAI, False),
        ("json", "", False),
        ("repeat", ("BadRequestError", "", 400), True),
        ("repeat", ("JSONDecodeError", OURS, None), True),
        ("repeat", ("JSONDecodeError", "Expecting value: line 7", None), False),
        ("repeat", ("APIConnectionError", "", None), False),
        ("repeat", REFUSAL, False),
        ("text", ("SyntaxError", "", None), True),
        ("text", REFUSAL, False),
        ("gemini", {"candidates": [{"finishReason": "IMAGE_SAFETY"}]}, True),
        ("gemini", {"candidates": []}, False),
        ("gemini", ("JSONDecodeError", "", None), True),
    ],
)
def test_a_late_refusal_is_told_to_each_the_way_it_can_be(
    both: tuple[ModuleType, ModuleType], told: str, shown: Any, is_green: bool
) -> None:
    """An SDK that takes an error document for a success has been told nothing."""
    seen = raised(both[1], *shown) if isinstance(shown, tuple) else read(both[1], shown)
    verdict = judged(both, "late-refusal", told, seen, purchases=0)
    assert verdict.is_green is is_green
    assert verdict.wrong == (() if is_green else ("wrong error",))


@pytest.mark.parametrize(
    ("told", "shown", "is_green"),
    [
        ("json", OVERLOAD, True),
        ("json", REFUSAL, False),
        ("repeat", ("InternalServerError", "", 503), True),
        ("repeat", ("InternalServerError", "", 502), False),
        ("text", ("SyntaxError", "", None), True),
        ("gemini", ("JSONDecodeError", "", None), True),
        ("gemini", {"candidates": [{"finishReason": "IMAGE_SAFETY"}]}, False),
    ],
)
def test_a_late_overload_is_no_refusal(
    both: tuple[ModuleType, ModuleType], told: str, shown: Any, is_green: bool
) -> None:
    """What is told must be what happened."""
    seen = raised(both[1], *shown) if isinstance(shown, tuple) else read(both[1], shown)
    assert judged(both, "late-overload", told, seen, purchases=0).is_green is is_green


def test_a_cut_is_an_error_and_its_image_is_kept(both: tuple[ModuleType, ModuleType]) -> None:
    """A half answer that a client takes for whole would be a false success."""
    cut = raised(both[1], "ChunkedEncodingError")
    assert judged(both, "cut", "json", cut, is_kept=True).is_green
    assert judged(both, "cut", "repeat", read(both[1], OPENAI), is_kept=True).is_green
    assert judged(both, "cut", "json", cut).wrong == ("not kept",)
    assert judged(both, "cut", "json", read(both[1], {}), is_kept=True).wrong == ("false success",)
    assert judged(both, "cut", "json", cut, is_kept=True, purchases=2).wrong == ("charged again",)


def test_no_cell_is_part_of_another(cells: ModuleType) -> None:
    """Generations are found by their cell's name in the prompt."""
    names = [
        cells.Cell(front, client.name, scenario, is_direct).id
        for front in ("nginx", "nginx-nginx", "haproxy-nginx", "none")
        for client in cells.CLIENTS
        for scenario in cells.Scenario
        for is_direct in (False, True)
    ]
    assert not [(a, b) for a in names for b in names if a != b and a in b]
    assert all(name in cells.Cell("nginx", "curl", cells.Scenario.CUT).prompt for name in ["held:nginx:curl:cut:"])


def test_each_overload_has_an_upstream_of_its_own(cells: ModuleType) -> None:
    """The others share one: nothing that happens to them makes a gateway spare it."""
    many = tuple(cells.Cell("nginx", client.name, each) for client in cells.CLIENTS for each in cells.Scenario)
    models = cells.models_of(many)
    overloaded = [models[cell.id] for cell in many if cell.scenario is cells.Scenario.LATE_OVERLOAD]
    assert len(set(overloaded)) == len(cells.CLIENTS)
    assert {models[cell.id] for cell in many} - set(overloaded) == {"image"}
