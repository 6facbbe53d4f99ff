"""fal's queue as the vendor writes it: answers to submissions and questions, results with links, both kinds of error.

Pure: no I/O, clock or randomness. What becomes of a request meanwhile is `queue.py`'s.

Source: docs.fal.ai, queue, errors, request errors (2026); fal.ai model pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from holdfast.errors import RequestError
from holdfast.simulator.replies import Drawn, Headers, Making, Reply, Timed, html, plain
from holdfast.wire.fal import (
    Detail,
    Handle,
    QueueState,
    QueueStatus,
    ResultImage,
    render_cancel,
    render_details,
    render_error,
    render_result,
    render_status,
    render_submitted,
)
from holdfast.wire.template import Template

MIMES: Mapping[str, str] = MappingProxyType({"png": "image/png", "jpeg": "image/jpeg"})
_ERRORS: Mapping[int, tuple[str, str | None]] = MappingProxyType(
    {
        401: ("Authentication is required to access this application", None),
        403: ("User is locked. Reason: Exhausted balance.", None),
        404: ("Application not found", None),
        405: ("Method Not Allowed", None),
        429: ("Too many concurrent requests", "concurrent_requests_limit"),
        500: ("Internal Server Error", "internal_error"),
        503: ("No runner could be scheduled", "runner_scheduling_failure"),
        504: ("Request timed out", "request_timeout"),
    }
)
_CDN_STATUSES = frozenset({502, *range(520, 528)})


def submitted(handle: Handle) -> Reply:
    """Write the answer to a submission."""
    headers = (("x-fal-request-id", handle.request_id),)
    return plain(200, "application/json", render_submitted(handle), headers=headers)


def status(handle: Handle, told: QueueStatus, *, inference_s: float) -> Reply:
    """Write what the queue says of a request: 202 until it has ended."""
    code = 200 if told.state is QueueState.COMPLETED else 202
    return plain(code, "application/json", render_status(handle, told, inference_s=inference_s))


def answer(making: Making) -> Reply:
    """Make the pictures of a result: in it, if they were asked for so; else the queue links to them."""
    pictures = dict(enumerate(making.drawn))
    parts: tuple[Timed, ...] = ()
    if making.asked.is_inline:
        images = [_named(drawn, making.declared_format, slot=slot) for slot, drawn in pictures.items()]
        parts = (Timed(share=1.0, template=render_result(images)),)
    return Reply(status=200, content_type=f"image/{making.declared_format}", parts=parts, pictures=pictures)


def linked(made: Reply, urls: Mapping[int, str]) -> Reply:
    """Write a result whose pictures lie elsewhere."""
    declared = made.content_type.removeprefix("image/")
    images = [_named(drawn, declared, url=urls[slot]) for slot, drawn in made.pictures.items()]
    return _json(200, render_result(images))


def _named(drawn: Drawn, declared: str, *, url: str | None = None, slot: int | None = None) -> ResultImage:
    return ResultImage(
        content_type=MIMES[declared],
        url=url,
        slot=slot,
        file_name=f"output.{declared}",
        width=drawn.width_px,
        height=drawn.height_px,
    )


def without_picture(*, text: str | None) -> Reply:
    """Write a result that holds no picture; with prose beside it, if any."""
    return _json(200, render_result((), description=text or ""))


def refusal(*, stage: str, reason: str | None) -> Reply:
    """Write what the safety checker says: of the prompt, or of what was made of it."""
    loc: tuple[str, ...] = ("body", "prompt") if stage == "input" else ("output",)
    message = "The content could not be processed because it contained material flagged by a content checker."
    type_ = reason or "content_policy_violation"
    return _json(422, (render_details([Detail(type=type_, msg=message, loc=loc)]),))


def error(code: int, *, retry_after: str | None = None, http_status: int | None = None) -> Reply:
    """Write the error that goes with a status; a CDN's are HTML.

    Args:
        code: What it is about.
        retry_after: A hint, as it stands in the header.
        http_status: What the head says, if something else.
    """
    headers: Headers = (("retry-after", retry_after),) if retry_after is not None else ()
    if code in _CDN_STATUSES:
        return html(http_status or code, headers=headers)
    message, type_ = _ERRORS.get(code, _ERRORS[500] if code >= 500 else ("Bad Request", None))
    if type_ is not None:
        headers = (*headers, ("x-fal-error-type", type_))
    return plain(http_status or code, "application/json", render_error(message, error_type=type_), headers=headers)


def broken_stream(code: int) -> Reply:
    """Write the same: the queue streams nothing."""
    return error(code, http_status=200)


def cancelled(word: str) -> Reply:
    """Write the answer to a cancel."""
    code = {"CANCELLATION_REQUESTED": 202, "ALREADY_COMPLETED": 400, "NOT_FOUND": 404}[word]
    return plain(code, "application/json", render_cancel(word))


def mistake(problem: RequestError) -> Reply:
    """Tell a caller what is wrong with the input: 422, and where."""
    if problem.status != 400:
        return plain(problem.status, "application/json", render_error(str(problem)))
    loc = ("body",) if problem.param in (None, "body") else ("body", problem.param)
    return _json(422, (render_details([Detail(type="value_error", msg=str(problem), loc=loc)]),))


def models(name: str | None) -> Reply:
    """Write that there is no such list."""
    return error(404)


def _json(code: int, template: Template) -> Reply:
    return Reply(status=code, content_type="application/json", parts=(Timed(share=1.0, template=template),))
