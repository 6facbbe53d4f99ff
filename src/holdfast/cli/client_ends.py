"""How what the client library raises is told at a terminal: the exit code, one line, and what may be collected."""

from __future__ import annotations

from pathlib import Path

from holdfast.cli.api_key import VARIABLE, ApiKey
from holdfast.cli.exits import Exit, Stop, of_answer
from holdfast.cli.files import Received
from holdfast.cli.verdict import with_charge
from holdfast.client.results import Images
from holdfast.errors import (
    AuthenticationError,
    ConfigError,
    DeadlineExceeded,
    HoldfastError,
    Refused,
    RequestError,
    TransportError,
    Unavailable,
)
from holdfast.types import Charge, ImageInfo

_BOUGHT = frozenset({Exit.GENERATION_FAILED, Exit.REFUSED})
"""Ends of what may have been bought; the others are mistakes, told before anything is."""
_ADVICE = {Exit.NO_SUCH_MODEL: " GET /v1/models lists what is served."}


def stop_of(error: HoldfastError, *, base_url: str, key: ApiKey, keeps: bool) -> Stop:
    """Tell an exception of the client library.

    Args:
        error: What it raised.
        base_url: Whom it asked.
        key: With which key.
        keeps: Whether the server keeps what is made there, so that it can be collected.

    Returns:
        With `generation_id`, `paid`, `holdfast_code`, and `is_open` where the image may still be made or is there.
    """
    code = exit_of(error)
    paid = error.paid or Charge.NO
    message = str(error)
    if code is Exit.KEY_WRONG:
        message = key.refused(message)
    elif code is Exit.UNREACHABLE and error.status is None:
        message = f"{base_url} cannot be reached: {message.rstrip('.')}. Is holdfast serve running there?"
    elif code in _BOUGHT:
        message = with_charge(message, paid)
    return Stop(
        code,
        f"{message}{_ADVICE.get(code, '')}",
        status=error.status,
        generation_id=error.generation_id,
        holdfast_code=error.code,
        paid=paid.value,
        is_open=True if keeps and is_open(error) else None,
    )


def exit_of(error: HoldfastError) -> Exit:
    """Give the exit code."""
    match error:
        case AuthenticationError():
            return Exit.KEY_WRONG
        case Refused():
            return Exit.REFUSED
        # Nothing of an image API answered there: nobody at all, or a web page.
        case Unavailable() if error.paid in (None, Charge.NO) or error.code == "not_found":
            return Exit.UNREACHABLE
        case ConfigError():
            return Exit.USAGE
        case RequestError():
            return of_answer(error.status, error.code)
        case _:
            # A server's own word, such as `storage_low`; else it failed.
            return of_answer(error.status, error.code) if error.code == "storage_low" else Exit.GENERATION_FAILED


def is_open(error: HoldfastError) -> bool:
    """Whether nobody has said how it ended: the line broke, or the time that was given is over."""
    if error.paid in (None, Charge.NO):
        return False
    return isinstance(error, TransportError) or (isinstance(error, DeadlineExceeded) and error.code is None)


def how_to_collect(base_url: str, generation_id: str | None, idempotency_key: str, key: ApiKey) -> str:
    """Say where the result of a call that was left can be picked up, in a line that can be pasted."""
    first = f", once the key you gave is in {VARIABLE}" if key.source == "--api-key" else ""
    if generation_id is None:
        url = f"{base_url}/generations?idempotency_key={idempotency_key}"
        return (
            "If a holdfast took the request, the image is made and kept there. "
            f"Look for it with{first}: curl -sS {key.header()}'{url}'"
        )
    return (
        f"The image is being made and will be kept as {generation_id}. Collect it with{first}: "
        f"curl -sS {key.header()}{base_url}/generations/{generation_id}"
    )


def received(images: Images) -> tuple[Received, ...]:
    """Name the files of a result, which lie where they were asked to."""
    return tuple(
        Received(
            index=index,
            path=image.path or Path(),
            info=ImageInfo(
                mime=image.mime_type,
                width_px=image.width_px,
                height_px=image.height_px,
                bytes=image.size_bytes,
                sha256=image.sha256,
            ),
            is_complete=True,
        )
        for index, image in enumerate(images)
    )
