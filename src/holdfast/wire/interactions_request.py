"""Google's Interactions: what is asked of an image model, written and read.

Pure: no I/O, clock or randomness.

Source: google-genai 3.4 `_gaos/types/interactions/createmodelinteraction.py`, `imageresponseformat.py`,
`imagecontent.py`, `userinputstep.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from holdfast.errors import RequestError
from holdfast.types import Request
from holdfast.wire.fields import document_of, list_of, mapping_of, text_of
from holdfast.wire.gemini_request import normalised
from holdfast.wire.template import Template, template_of

FORMATS = ("jpeg",)
"""The one format that can be chosen; a PNG comes only if the model makes one."""
_IMAGES = frozenset({("input", "data"), ("input", "content", "data")})


def INTERACTION_REQUEST_IMAGE(path: tuple[str, ...]) -> bool:
    """A reference image of a request: `input[].data`, in a history `input[].content[].data`."""
    return path in _IMAGES


def encode_interaction(request: Request, *, model: str, states_image_size: bool = True) -> Template:
    """Write the body of `POST /v1beta/interactions`; slot i is the request's input image i.

    A request of the Gemini surface that has a history keeps it, turn by turn.

    Args:
        request: What the caller asked for.
        model: What draws.
        states_image_size: False for models that draw one size.
    """
    picture: dict[str, Any] = {
        "type": "image",
        "aspect_ratio": request.geometry.aspect_ratio,
        # A link would be one more thing that can be lost.
        "delivery": "inline",
    }
    if states_image_size:
        picture["image_size"] = request.geometry.tier.value
    if request.output_format in FORMATS:
        picture["mime_type"] = f"image/{request.output_format}"
    body: dict[str, Any] = {
        "model": model,
        "input": _history_of(request) or _contents_of(request),
        "background": True,
        # What is not stored cannot be asked for.
        "store": True,
        "response_format": picture,
    }
    if (told := _system_of(request)) is not None:
        body["system_instruction"] = told
    return template_of(msgspec.json.encode(body), INTERACTION_REQUEST_IMAGE)


def _contents_of(request: Request) -> list[dict[str, Any]]:
    contents: list[dict[str, Any]] = [{"type": "text", "text": request.prompt}]
    return contents + [
        {"type": "image", "mime_type": image.mime, "data": str(index)} for index, image in enumerate(request.inputs)
    ]


def _dialect_of(request: Request) -> Mapping[str, Any]:
    return mapping_of(document_of(request.dialect_body.encode())) if request.dialect_body is not None else {}


def _history_of(request: Request) -> list[dict[str, Any]]:
    """Give the turns of a request that has more than one, else nothing."""
    turns = [mapping_of(turn) for turn in list_of(_dialect_of(request).get("contents"))]
    if len(turns) < 2:
        return []
    return [
        {
            "type": "model_output" if turn.get("role") == "model" else "user_input",
            "content": [content for part in list_of(turn.get("parts")) if (content := _content_of(mapping_of(part)))],
        }
        for turn in turns
    ]


def _content_of(part: Mapping[str, Any]) -> dict[str, Any]:
    inline = mapping_of(part.get("inlineData"))
    if text_of(inline.get("data")) is not None:
        return {"type": "image", "mime_type": text_of(inline.get("mimeType")), "data": inline["data"]}
    text = text_of(part.get("text"))
    return {"type": "text", "text": text} if text is not None and part.get("thought") is not True else {}


def _system_of(request: Request) -> str | None:
    told = mapping_of(normalised(_dialect_of(request).get("systemInstruction")))
    texts = [text_of(mapping_of(part).get("text")) for part in list_of(told.get("parts"))]
    return "\n".join(filter(None, texts)) or None


@dataclass(frozen=True, slots=True, kw_only=True)
class InteractionRequest:
    """What a request says, as far as it matters to whoever draws."""

    model: str
    prompt: str
    aspect_ratio: str | None
    image_size: str | None
    mime_type: str | None


def decode_interaction(skeleton: bytes) -> InteractionRequest:
    """Read the body of `POST /v1beta/interactions`, its images cut out.

    Raises:
        RequestError: It asks for no image, or not in the background; the message names the field.
        WireError: It is no JSON.
    """
    body = mapping_of(document_of(skeleton))
    formats = [mapping_of(each) for each in list_of(body.get("response_format"))]
    picture = next((each for each in formats if each.get("type") == "image"), None)
    if picture is None:
        raise RequestError("response_format names no image: nothing would be drawn.", param="response_format")
    if body.get("background") is not True or body.get("store") is False:
        raise RequestError("background is true here, and needs store.", param="background")
    model = text_of(body.get("model"))
    if model is None:
        raise RequestError("model is missing.", param="model")
    asked = body.get("input")
    items = [mapping_of(item) for item in list_of(asked)]
    turns = [item for item in items if item.get("type") in ("user_input", "model_output")]
    if turns:
        items = [mapping_of(item) for item in list_of(turns[-1].get("content"))]
    texts = [asked] if isinstance(asked, str) else [text_of(item.get("text")) or "" for item in items]
    prompt = "\n".join(filter(None, texts))
    if not prompt:
        raise RequestError("input holds no text.", param="input")
    return InteractionRequest(
        model=model,
        prompt=prompt,
        aspect_ratio=text_of(picture.get("aspect_ratio")),
        image_size=text_of(picture.get("image_size")),
        mime_type=text_of(picture.get("mime_type")),
    )
