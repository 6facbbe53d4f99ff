"""OpenAI's Responses with the image tool: what is asked, written and read.

Pure: no I/O, clock or randomness.

Source: openai-python 3.54 `types/responses/response_create_params.py`, `tool_param.py`,
`response_input_image_param.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from holdfast.errors import RequestError
from holdfast.types import Request
from holdfast.wire.fields import document_of, list_of, mapping_of, text_of
from holdfast.wire.template import Template, template_of

INSTRUCTIONS = "Call the image generation tool exactly once, with the text of the user as its prompt, unchanged."
"""To the text model, which would else ask back, draw twice, or write a prompt of its own."""


_IMAGES = frozenset({("input", "content", "image_url"), ("tools", "input_image_mask", "image_url")})


def RESPONSE_REQUEST_IMAGE(path: tuple[str, ...]) -> bool:
    """A reference image of a request, `input[].content[].image_url`, or its mask: data URLs."""
    return path in _IMAGES


def encode_response_request(request: Request, *, outer_model: str, model: str, size: str) -> Template:
    """Write the body of `POST /v1/responses`; slot i is the request's input image i; a mask's follows them.

    Args:
        request: What the caller asked for.
        outer_model: The text model that calls the tool.
        model: The image model.
        size: In the API's words.
    """
    content: list[dict[str, Any]] = [{"type": "input_text", "text": request.prompt}]
    content += [
        # The number becomes a slot only in front of its prefix, so the skeleton holds it alone.
        {"type": "input_image", "detail": "auto", "image_url": str(index)}
        for index in range(len(request.inputs))
    ]
    body: dict[str, Any] = {
        "model": outer_model,
        "instructions": INSTRUCTIONS,
        "input": [{"role": "user", "content": content}],
        "tools": [_tool_of(request, model, size)],
        "tool_choice": {"type": "image_generation"},
        "parallel_tool_calls": False,
        "max_tool_calls": 1,
        "background": True,
        # What is not stored cannot be asked for.
        "store": True,
    }
    if request.end_user is not None:
        body["safety_identifier"] = request.end_user
    parts = list(template_of(msgspec.json.encode(body), RESPONSE_REQUEST_IMAGE))
    for index, image in enumerate(request.files):
        before = parts[2 * index]
        assert isinstance(before, bytes)
        parts[2 * index] = before + f"data:{image.mime};base64,".encode()
    return tuple(parts)


def _tool_of(request: Request, model: str, size: str) -> dict[str, Any]:
    tool: dict[str, Any] = {
        "type": "image_generation",
        "model": model,
        "size": size,
        "action": "edit" if request.inputs else "generate",
    }
    wanted = {
        "quality": request.quality,
        "output_format": request.output_format,
        "output_compression": request.output_compression,
        "background": request.background,
        "moderation": request.moderation,
        "input_fidelity": request.input_fidelity,
    }
    tool.update({name: value for name, value in wanted.items() if value is not None})
    if request.mask is not None:
        # Behind the images in the body, and so in the order of the slots.
        tool["input_image_mask"] = {"image_url": str(len(request.inputs))}
    return tool


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseRequest:
    """What a request says, as far as it matters to whoever draws."""

    outer_model: str
    model: str
    prompt: str
    size: str | None
    quality: str | None
    output_format: str | None
    background: str | None
    inputs: int
    """Reference images that it names."""


def decode_response_request(skeleton: bytes) -> ResponseRequest:
    """Read the body of `POST /v1/responses`, its images cut out.

    Raises:
        RequestError: It asks for no image, or not in the background; the message names the field.
        WireError: It is no JSON.
    """
    body = mapping_of(document_of(skeleton))
    tools = [mapping_of(tool) for tool in list_of(body.get("tools"))]
    tool = next((each for each in tools if each.get("type") == "image_generation"), None)
    if tool is None:
        raise RequestError("tools holds no image_generation: nothing would be drawn.", param="tools")
    if body.get("background") is not True:
        raise RequestError("background is true here.", param="background")
    if body.get("store") is False:
        raise RequestError("background needs store.", param="store")
    outer_model = text_of(body.get("model"))
    if outer_model is None:
        raise RequestError("model names the text model that calls the tool.", param="model")
    asked = body.get("input")
    turns = [mapping_of(turn) for turn in list_of(asked)]
    parts = [mapping_of(part) for turn in turns for part in list_of(turn.get("content"))]
    texts = [asked] if isinstance(asked, str) else [text_of(part.get("text")) or "" for part in parts]
    prompt = "\n".join(filter(None, texts))
    if not prompt:
        raise RequestError("input holds no text.", param="input")
    return ResponseRequest(
        outer_model=outer_model,
        model=text_of(tool.get("model")) or "gpt-image-2",
        prompt=prompt,
        size=text_of(tool.get("size")),
        quality=text_of(tool.get("quality")),
        output_format=text_of(tool.get("output_format")),
        background=text_of(tool.get("background")),
        inputs=sum(part.get("type") == "input_image" for part in parts),
    )
