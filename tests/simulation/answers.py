"""What a simulated upstream says: answers of both dialects with tiny pictures, and every way to spoil them.

Each script says what is true of the charge. Where the vendors say that they do not charge, it does not; where they say
nothing, the seed decides.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

_JSON = MappingProxyType({"content-type": ("application/json",)})


class Ending(StrEnum):
    """How an exchange ends."""

    WHOLE = "whole"
    RESET = "reset"
    STALL = "stall"
    TOO_LARGE = "too large"
    REFUSED = "refused"
    """The connection: nothing was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What happens to one call."""

    fault: str | None = None
    """Its class, if it is one."""
    status: int | None = 200
    """None: no head ever comes."""
    headers: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _JSON)
    body: bytes = b""
    ending: Ending = Ending.WHOLE
    is_charged: bool = True
    images: tuple[bytes, ...] = ()
    """Pictures that come whole, if the body does."""
    is_late: bool = False
    """It comes after our own time is over."""
    is_drip: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """What is asked of a script."""

    rng: random.Random = field(repr=False)
    is_gemini: bool
    pictures: tuple[bytes, ...]
    previews: tuple[bytes, ...] = ()
    """Of a stream; empty: it is asked for plainly."""


def picture(rng: random.Random) -> bytes:
    """A whole PNG that is like no other; its pixels are not looked at by anybody."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 64, 64, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rng.randbytes(24)) + chunk(b"IEND", b"")


def digest(image: bytes) -> str:
    """What an image is known by."""
    return hashlib.sha256(image).hexdigest()


def _coded(image: bytes) -> str:
    return base64.b64encode(image).decode()


def good_body(drawing: Drawing, coded: tuple[str, ...] | None = None) -> bytes:
    """An answer with its pictures, or with what stands in their places."""
    coded = tuple(map(_coded, drawing.pictures)) if coded is None else coded
    if not drawing.is_gemini:
        return json.dumps({"created": 1, "data": [{"b64_json": each} for each in coded]}).encode()
    parts = [{"inlineData": {"mimeType": "image/png", "data": each}} for each in coded]
    for part in parts[:-1]:
        part["thought"] = True
    return json.dumps(
        {
            "candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}],
            "usageMetadata": {"candidatesTokenCount": 1120},
        }
    ).encode()


def _streamed(drawing: Drawing) -> bytes:
    """The same as events: previews, then the picture."""
    if drawing.is_gemini:
        return b"data: " + good_body(drawing) + b"\n\n"
    events = [
        {"type": "image_generation.partial_image", "b64_json": _coded(each), "partial_image_index": index}
        for index, each in enumerate(drawing.previews)
    ]
    events += [{"type": "image_generation.completed", "b64_json": _coded(each)} for each in drawing.pictures]
    return b"".join(b"event: %s\ndata: %s\n\n" % (each["type"].encode(), json.dumps(each).encode()) for each in events)


def as_stream(script: Script, drawing: Drawing) -> Script:
    """Let a script's answer come as events, where it is an answer; a stream that is cut may have cost nothing."""
    headers = {"content-type": ("text/event-stream",)}
    body = _streamed(drawing)
    if script.images and script.body:
        return replace(script, headers=headers, body=body)
    if script.fault in ("U4 stall in body", "U6 reset in body", "U7 truncated"):
        cut = body[: drawing.rng.randrange(1, len(body) - 20)]
        # A picture that came whole is paid for, whatever else did not come.
        is_made = any(_coded(each).encode() in cut for each in drawing.pictures)
        return replace(script, headers=headers, body=cut, is_charged=is_made or _perhaps(drawing))
    return script


def _good(drawing: Drawing) -> Script:
    return Script(body=good_body(drawing), images=drawing.pictures)


def _refuse_connection(drawing: Drawing) -> Script:
    return Script(fault="U1 refused", ending=Ending.REFUSED, is_charged=False, status=None)


def _stall_head(drawing: Drawing) -> Script:
    return Script(fault="U3 stall before head", status=None, ending=Ending.STALL, is_charged=_perhaps(drawing))


def _stall_body(drawing: Drawing) -> Script:
    return Script(fault="U4 stall in body", body=_cut(drawing), ending=Ending.STALL)


def _reset_sent(drawing: Drawing) -> Script:
    return Script(fault="U5 reset after request", status=None, ending=Ending.RESET, is_charged=_perhaps(drawing))


def _reset_body(drawing: Drawing) -> Script:
    return Script(fault="U6 reset in body", body=_cut(drawing), ending=Ending.RESET)


def _truncate(drawing: Drawing) -> Script:
    return Script(fault="U7 truncated", body=_cut(drawing))


def _no_length(drawing: Drawing) -> Script:
    return Script(fault="U8 no length", body=good_body(drawing), images=drawing.pictures)


def _drip(drawing: Drawing) -> Script:
    return Script(fault="U9 drip", body=good_body(drawing), images=drawing.pictures, is_drip=True)


def _error_in_200(drawing: Drawing) -> Script:
    status = drawing.rng.choice((429, 500, 503))
    is_charged = status == 500 and _perhaps(drawing)
    return Script(fault="U10 error in a 200", body=_error_body(drawing, status), is_charged=is_charged)


def _html(drawing: Drawing) -> Script:
    headers = {"content-type": ("text/html",)}
    return Script(fault="U11 HTML", headers=headers, body=b"<html><body>Bad gateway</body></html>")


def _too_large(drawing: Drawing) -> Script:
    return Script(fault="U14 too large", ending=Ending.TOO_LARGE)


def _bad_base64(drawing: Drawing) -> Script:
    return Script(fault="U15 bad base64", body=good_body(drawing, tuple("!!%%" for _ in drawing.pictures)))


def _not_image(drawing: Drawing) -> Script:
    words = _coded(b"this is no picture at all")
    return Script(fault="U16 not an image", body=good_body(drawing, tuple(words for _ in drawing.pictures)))


def _cut_image(drawing: Drawing) -> Script:
    cut = tuple(_coded(each[:-12]) for each in drawing.pictures)
    return Script(fault="U16 not an image", body=good_body(drawing, cut))


def _rate_limited(drawing: Drawing) -> Script:
    hint = drawing.rng.choice((None, "3", "Wed, 01 Jan 2020 10:00:09 GMT", "soon", "31536000", "-1"))
    headers = {"content-type": ("application/json",), "date": ("Wed, 01 Jan 2020 10:00:00 GMT",)}
    if hint is not None:
        headers["retry-after"] = (hint,)
    return Script(
        fault="U17 rate limited", status=429, headers=headers, body=_error_body(drawing, 429), is_charged=False
    )


def _server_error(drawing: Drawing) -> Script:
    status = drawing.rng.choice((500, 502, 503, 504, 520, 524))
    # Who says 503 says that it did not begin.
    is_charged = status != 503 and _perhaps(drawing)
    return Script(fault="U18 server error", status=status, body=_error_body(drawing, status), is_charged=is_charged)


def _key_dead(drawing: Drawing) -> Script:
    status = drawing.rng.choice((401, 402))
    return Script(fault="U19 key dead", status=status, body=_error_body(drawing, status), is_charged=False)


def _refused(drawing: Drawing) -> Script:
    fault = "U20 content refused"
    if drawing.is_gemini:
        told = drawing.rng.choice(
            ({"promptFeedback": {"blockReason": "SAFETY"}}, {"candidates": [{"finishReason": "IMAGE_SAFETY"}]})
        )
        return Script(fault=fault, body=json.dumps(told).encode(), is_charged=False)
    stage = drawing.rng.choice(("input", "output"))
    details = {"moderation_stage": stage}
    told = {"type": "image_generation_user_error", "code": "moderation_blocked", "moderation_details": details}
    is_charged = stage == "output" and _perhaps(drawing)
    return Script(fault=fault, status=400, body=json.dumps({"error": told}).encode(), is_charged=is_charged)


def _charge_and_fail(drawing: Drawing) -> Script:
    return Script(fault="U21 charged, then failed", status=500, body=_error_body(drawing, 500))


def _too_late(drawing: Drawing) -> Script:
    return Script(fault="U22 after our timeout", body=good_body(drawing), images=drawing.pictures, is_late=True)


def _blanks(drawing: Drawing) -> Script:
    blanks = b" \n" * drawing.rng.randrange(1, 9)
    return Script(fault="U26 blanks ahead", body=blanks + good_body(drawing), images=drawing.pictures)


def _without(drawing: Drawing) -> Script:
    """Prose where a picture was asked for."""
    if drawing.is_gemini:
        candidate = {"content": {"parts": [{"text": "I would rather not."}]}, "finishReason": "NO_IMAGE"}
        body = json.dumps({"candidates": [candidate]}).encode()
    else:
        body = json.dumps({"created": 1, "data": []}).encode()
    return Script(fault="U10 error in a 200", body=body, is_charged=_perhaps(drawing))


FAULTS: tuple[Callable[[Drawing], Script], ...] = (
    _refuse_connection,
    _stall_head,
    _stall_body,
    _reset_sent,
    _reset_body,
    _truncate,
    _no_length,
    _drip,
    _error_in_200,
    _html,
    _too_large,
    _bad_base64,
    _not_image,
    _cut_image,
    _rate_limited,
    _server_error,
    _key_dead,
    _refused,
    _charge_and_fail,
    _too_late,
    _blanks,
    _without,
)


def busy_for(drawing: Drawing) -> Script:
    """Turn a call away: nothing is bought, and another try may go well."""
    return drawing.rng.choice((_refuse_connection, _rate_limited))(drawing)


def script_for(drawing: Drawing, *, fault_share: float) -> Script:
    """Draw what happens to a call."""
    if drawing.rng.random() >= fault_share:
        return _good(drawing)
    return drawing.rng.choice(FAULTS)(drawing)


def _perhaps(drawing: Drawing) -> bool:
    return drawing.rng.random() < 0.5


def _cut(drawing: Drawing) -> bytes:
    body = good_body(drawing)
    return body[: drawing.rng.randrange(1, len(body) - 20)]


def _error_body(drawing: Drawing, status: int) -> bytes:
    if drawing.is_gemini:
        return json.dumps({"error": {"code": status, "message": "simulated", "status": "INTERNAL"}}).encode()
    return json.dumps({"error": {"message": "simulated", "type": "server_error", "code": str(status)}}).encode()
