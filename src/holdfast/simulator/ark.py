"""Seedream on Ark as the vendor writes it: answers, errors in the places of pictures, errors of the whole.

Pure: no I/O, clock or randomness.

Source: docs.volcengine.com 82379/1541523 (API), 1299023 (errors); docs.byteplus.com, ModelArk 1824121; 2026.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from holdfast.errors import RequestError
from holdfast.simulator.replies import Headers, Making, Reply, Timed, html, plain
from holdfast.wire.ark import Made, Unmade, render_answer, render_error
from holdfast.wire.template import Template

PIXELS_PER_TOKEN = 256
_ERRORS: Mapping[int, tuple[str, str]] = MappingProxyType(
    {
        400: ("InvalidParameter", "One or more parameters specified in the request are not valid."),
        401: ("AuthenticationError", "The API key in the request is missing or invalid."),
        402: ("AccountOverdueError", "The request failed because your account has an overdue balance."),
        403: ("AccessDenied", "The request failed because you do not have access to the requested resource."),
        404: ("InvalidEndpointOrModel.NotFound", "The model or endpoint does not exist."),
        405: ("InvalidParameter", "The method is not allowed here."),
        429: ("RateLimitExceeded", "The request failed because the rate limit has been exceeded."),
        500: ("InternalServiceError", "The service encountered an unexpected internal error."),
        503: ("ServerOverloaded", "The service is currently unable to handle additional requests."),
        504: ("InternalServiceError", "The request timed out."),
    }
)
_CDN_STATUSES = frozenset({502, *range(520, 528)})


def answer(making: Making) -> Reply:
    """Write the whole answer."""
    items = [
        Made(
            size=f"{drawn.width_px}x{drawn.height_px}",
            slot=slot,
            output_format=making.declared_format if making.asked.states_format else None,
        )
        for slot, drawn in enumerate(making.drawn)
    ]
    tokens = sum(drawn.width_px * drawn.height_px for drawn in making.drawn) // PIXELS_PER_TOKEN
    template = render_answer(items, model=making.asked.model, created=making.created, output_tokens=tokens)
    return _json(template, pictures=making)


def _json(template: Template, *, pictures: Making | None = None) -> Reply:
    return Reply(
        status=200,
        content_type="application/json",
        parts=(Timed(share=1.0, template=template),),
        pictures=dict(enumerate(pictures.drawn)) if pictures is not None else {},
    )


def without_picture(making: Making) -> Reply:
    """Write an answer that holds nothing, and counts nothing."""
    return plain(200, "application/json", b'{"model":"%s","data":[]}' % making.asked.model.encode())


def refusal(making: Making, *, stage: str, reason: str | None) -> Reply:
    """Write what the filter says: of the prompt, in place of an answer; of a picture, in its place."""
    if stage == "input":
        code = reason or "InputTextSensitiveContentDetected"
        message = "The request failed because the input text may contain sensitive information."
        return plain(400, "application/json", render_error(message, code=code, type_="BadRequest"))
    code = reason or "OutputImageSensitiveContentDetected"
    unmade = [Unmade(code=code, message="The generated image may contain sensitive information.")]
    template = render_answer(unmade, model=making.asked.model, created=making.created, output_tokens=0)
    return _json(template)


def error(status: int, *, retry_after: str | None = None, http_status: int | None = None) -> Reply:
    """Write the error that goes with a status; a CDN's are HTML, and 503 and 402 are other statuses there.

    Args:
        status: What it is about.
        retry_after: A hint, as it stands in the header.
        http_status: What the head says, if something else.
    """
    headers: Headers = (("retry-after", retry_after),) if retry_after is not None else ()
    if status in _CDN_STATUSES:
        return html(http_status or status, headers=headers)
    code, message = _ERRORS.get(status, _ERRORS[500 if status >= 500 else 400])
    told = http_status or {402: 403, 503: 429}.get(status, status)
    body = render_error(message, code=code, type_="TooManyRequests" if told == 429 else "Error")
    return plain(told, "application/json", body, headers=headers)


def broken_stream(status: int) -> Reply:
    """Write the same as an answer: what is streamed here is never asked for."""
    return error(status, http_status=200)


def mistake(problem: RequestError) -> Reply:
    """Tell a caller what is wrong with the request."""
    code = "MissingParameter" if problem.param == "prompt" else "InvalidParameter"
    body = render_error(str(problem), code=code, type_="BadRequest", param=problem.param or "")
    return plain(problem.status, "application/json", body)


def models(name: str | None) -> Reply:
    """Write that there is no such list."""
    return error(404)
