"""Replicate as the vendor writes it: predictions in every state, problem documents, uploaded files.

Pure: no I/O, clock or randomness. What becomes of a prediction meanwhile is `predictions.py`'s.

Source: replicate.com/docs, HTTP reference, predictions, rate limits (2026).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from holdfast.errors import RequestError
from holdfast.simulator.replies import Headers, Making, Reply, Timed, html, plain
from holdfast.wire.replicate import Prediction, render_error, render_file, render_prediction

CREATED_AT = "2026-11-23T10:00:00.000Z"
"""Nobody reads it; a clock is not asked for it."""
_ERRORS: Mapping[int, tuple[str, str]] = MappingProxyType(
    {
        401: ("Unauthenticated", "You did not pass a valid authentication token"),
        402: ("Insufficient credit", "You have insufficient credit to run this model."),
        404: ("Not found", "The requested resource could not be found."),
        405: ("Method not allowed", "The method is not allowed here."),
        422: ("Input validation failed", "The input is not valid."),
        429: ("Too many requests", "Request was throttled. Your rate limit resets in ~1s."),
        500: ("Internal server error", "Something went wrong."),
        503: ("Service unavailable", "The service is temporarily unavailable."),
    }
)
_CDN_STATUSES = frozenset({502, *range(520, 528)})


def prediction(told: Prediction, *, model: str, echo: dict[str, Any], predict_s: float | None, created: bool) -> Reply:
    """Write a prediction; 201 to whoever creates it."""
    body = render_prediction(told, model=model, created_at=CREATED_AT, echo=echo, predict_s=predict_s)
    return plain(201 if created else 200, "application/json", body)


def answer(making: Making) -> Reply:
    """Make the pictures of a prediction; where they lie is told when it has ended."""
    return Reply(
        status=200,
        content_type=f"image/{making.declared_format}",
        parts=(),
        pictures=dict(enumerate(making.drawn)),
    )


def without_picture() -> Reply:
    """Make none."""
    return Reply(status=200, content_type="image/png", parts=())


def failed(text: str) -> Reply:
    """Say why a prediction fails, in its model's words."""
    return Reply(status=500, content_type="text/plain", parts=(Timed(share=1.0, template=(text.encode(),)),))


def refusal(*, reason: str | None) -> Reply:
    """Say that the content was declined: which stage declined it is not told."""
    text = f"The input or output was flagged as sensitive. Please try again with different inputs. ({reason or 'E005'})"
    return failed(text)


def words_of(reply: Reply) -> str:
    """Read back what `failed` has written; a status that a script asked for has words of its own."""
    pieces = [piece for part in reply.parts for piece in part.template if isinstance(piece, bytes)]
    is_text = reply.content_type == "text/plain"
    return b"".join(pieces).decode() if is_text else f"Prediction failed with status {reply.status} (E1000)"


def error(code: int, *, retry_after: str | None = None, http_status: int | None = None) -> Reply:
    """Write the problem that goes with a status; a CDN's are HTML.

    A hint stands in the text of a 429, as with the vendor, where it is a whole number of seconds.

    Args:
        code: What it is about.
        retry_after: A hint.
        http_status: What the head says, if something else.
    """
    is_told = code == 429 and retry_after is not None and retry_after.isdigit()
    headers: Headers = (("retry-after", retry_after),) if retry_after is not None and not is_told else ()
    if code in _CDN_STATUSES:
        return html(http_status or code, headers=headers)
    title, detail = _ERRORS.get(code, _ERRORS[500 if code >= 500 else 422])
    if is_told:
        detail = f"Request was throttled. Your rate limit resets in ~{retry_after}s."
    body = render_error(code, detail, title=title)
    return plain(http_status or code, "application/problem+json", body, headers=headers)


def uploaded(id_: str, *, origin: str, bytes_: int) -> Reply:
    """Write the answer to an upload."""
    body = render_file(id_, f"{origin}/v1/files/{id_}", bytes_=bytes_, content_type="image/png")
    return plain(201, "application/json", body)


def mistake(problem: RequestError) -> Reply:
    """Tell a caller what is wrong with the input."""
    status = 422 if problem.status == 400 else problem.status
    body = render_error(status, str(problem), title="Input validation failed")
    return plain(status, "application/problem+json", body)


def models(name: str | None) -> Reply:
    """Write that there is no such list."""
    return error(404)
