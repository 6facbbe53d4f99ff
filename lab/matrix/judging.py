"""Whether a cell is right: what a client showed its program, what was charged, and what was meant. Pure."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from cells import Scenario, Told

TEXT_CHARACTERS_MAX = 300
REFUSED = "moderation_blocked"
OVERLOADED = "server_is_overloaded"
OURS = "holdfast: generation gen_"
"""How the line of text begins that tells a late failure."""
GEMINI_REFUSALS = ("IMAGE_SAFETY", "PROHIBITED_CONTENT", "SAFETY", "OTHER")


class Picture(StrEnum):
    """What of an image a program holds in its hands."""

    NONE = "none"
    RIGHT = "right"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a client gave its program."""

    status: int | None = None
    """Of the answer, or of the exception; None: it shows none."""
    exception: str | None = None
    """The class of what it raised. `no JSON` stands for what a program's own parser raises on a body that is none."""
    message: str = ""
    """Of the exception, cut short."""
    code: str | None = None
    """The error's code, wherever the client shows it."""
    reason: str | None = None
    """Gemini's word for an answer without an image."""
    picture: Picture = Picture.NONE
    protocol: str = ""
    """As the client names it; empty: it does not say."""

    @property
    def told(self) -> str:
        """In a few words, for a table."""
        if self.picture is not Picture.NONE:
            return "image" if self.picture is Picture.RIGHT else "WRONG image"
        words = [self.exception, self._status, self.code, self.reason]
        return " ".join(word for word in words if word) or "an empty success"

    @property
    def _status(self) -> str:
        return "" if self.status is None else str(self.status)


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What a cell cost, and what is kept of it."""

    requests: int
    """The upstream was asked so often."""
    purchases: int
    """Images that it charged for."""
    is_kept: bool = False
    """Whether the image is there to collect, byte for byte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Of one cell."""

    is_green: bool
    told: str
    wrong: tuple[str, ...] = ()
    """What is not as it should be, in words that the table of reasons knows."""


def shown_of(result: Mapping[str, Any], body: str, is_right: Callable[[bytes], bool]) -> Shown:
    """Read what a driver says of its client.

    Args:
        result: `status`, `protocol`, and `error` with `class`, `message`, `status`, `code`; all may be absent.
        body: What the client gave as the answer: text that its program would parse.
        is_right: Compares an image with what was made.
    """
    error = result.get("error")
    protocol = str(result.get("protocol") or "")
    if error is not None:
        return Shown(
            status=error.get("status") or result.get("status"),
            exception=str(error["class"]),
            message=str(error["message"])[:TEXT_CHARACTERS_MAX],
            code=_text(error.get("code")),
            protocol=protocol,
        )
    status = result.get("status")
    try:
        document = json.loads(body)
    except ValueError as exc:
        document = None
        message = f"{exc}: {body.strip()[:TEXT_CHARACTERS_MAX]}"
    if not isinstance(document, dict):
        message = message if document is None else f"no object: {body[:TEXT_CHARACTERS_MAX]}"
        return Shown(status=status, exception="no JSON", message=message, protocol=protocol)
    told = document.get("error")
    return Shown(
        status=status,
        code=_text(told.get("code")) if isinstance(told, dict) else None,
        message=str(told.get("message", ""))[:TEXT_CHARACTERS_MAX] if isinstance(told, dict) else "",
        reason=_reason_of(document),
        picture=_picture_of(document, is_right),
        protocol=protocol,
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _picture_of(document: Mapping[str, Any], is_right: Callable[[bytes], bool]) -> Picture:
    texts = [each.get("b64_json") for each in document.get("data") or []]
    for candidate in document.get("candidates") or []:
        parts = (candidate.get("content") or {}).get("parts") or []
        texts += [part["inlineData"]["data"] for part in parts if "inlineData" in part]
    texts = [text for text in texts if text]
    if not texts:
        return Picture.NONE
    try:
        # One client for Python writes its values down in the alphabet for URLs.
        pictures = [base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True) for text in texts]
    except binascii.Error:
        return Picture.WRONG
    return Picture.RIGHT if all(map(is_right, pictures)) else Picture.WRONG


def _reason_of(document: Mapping[str, Any]) -> str | None:
    blocked = (document.get("promptFeedback") or {}).get("blockReason")
    ends = [each.get("finishReason") for each in document.get("candidates") or []]
    found = [word for word in (blocked, *ends) if word and word != "STOP"]
    return str(found[0]) if found else None


def judge(scenario: Scenario, told: Told, shown: Shown, books: Books) -> Verdict:
    """Say whether a cell is right, and if not, what is wrong."""
    wrong = [*_wrong_shown(scenario, told, shown), *_wrong_books(scenario, books)]
    charges = f"{books.purchases} charge{'' if books.purchases == 1 else 's'}"
    return Verdict(is_green=not wrong, told=f"{shown.told}, {charges}", wrong=tuple(wrong))


def _wrong_shown(scenario: Scenario, told: Told, shown: Shown) -> list[str]:
    if shown.picture is Picture.WRONG:
        return ["wrong image"]
    has_image = shown.picture is Picture.RIGHT
    match scenario:
        case Scenario.SUCCESS | Scenario.REPEAT:
            return [] if has_image else ["no image"]
        case Scenario.EARLY_ERROR:
            return [] if shown.status == 400 and not has_image else ["wrong status"]
        case Scenario.LATE_REFUSAL:
            return [] if _is_told(told, shown, status=400, code=REFUSED) else ["wrong error"]
        case Scenario.LATE_OVERLOAD:
            return [] if _is_told(told, shown, status=503, code=OVERLOADED) else ["wrong error"]
        case Scenario.CUT:
            return [] if has_image or shown.exception is not None else ["false success"]


def _is_told(told: Told, shown: Shown, *, status: int, code: str) -> bool:
    """Whether a late failure is shown the way this client can be told of it."""
    if shown.picture is not Picture.NONE:
        return False
    match told:
        case Told.JSON:
            return shown.code == code and shown.exception in (None, "AxiosError")
        case Told.REPEAT:
            return shown.exception is not None and (shown.status == status or OURS in shown.message)
        case Told.TEXT:
            return shown.exception is not None
        case Told.GEMINI if status == 400:
            return shown.exception is not None or shown.reason in GEMINI_REFUSALS
        case Told.GEMINI:
            return shown.exception is not None


def _wrong_books(scenario: Scenario, books: Books) -> list[str]:
    wrong = []
    due = 1 if scenario in (Scenario.SUCCESS, Scenario.CUT, Scenario.REPEAT) else 0
    if books.purchases > due:
        wrong.append("charged again" if due else "charged")
    elif books.purchases < due:
        wrong.append("not charged")
    if scenario is Scenario.CUT and not books.is_kept:
        wrong.append("not kept")
    return wrong
