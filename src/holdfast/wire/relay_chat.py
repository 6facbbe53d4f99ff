"""Chat completions that are asked for a picture: what is sent to a relay, written and read.

Pure: no I/O, clock or randomness. Relays agree on the messages and differ in how ratio and size are told:

- OpenRouter: `modalities` and `image_config` beside the messages;
- new-api and its kin: `extra_body.google.image_config`, in snake_case, which alone they take.

Source: openrouter.ai/docs, image generation (2026); QuantumNous/new-api `to_gemini_chat_req.go`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from holdfast.errors import RequestError
from holdfast.types import Request
from holdfast.wire.errors import WireError
from holdfast.wire.fields import document_of, list_of, mapping_of, request_error_of, text_of
from holdfast.wire.template import Template, template_of


class ChatForm(StrEnum):
    """How a relay is told what picture is wished for."""

    OPENROUTER = "openrouter"
    NEW_API = "new-api"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatAsked:
    """What a request says."""

    model: str
    prompt: str
    form: ChatForm | None
    """None: it tells neither ratio nor size."""
    aspect_ratio: str | None = None
    image_size: str | None = None
    images: int = 0
    """Reference images in it."""
    stream: bool = False
    end_user: str | None = None


def CHAT_REQUEST_IMAGE(path: tuple[str, ...]) -> bool:
    """A reference image of a request: `messages[].content[].image_url.url`."""
    return path == ("messages", "content", "image_url", "url")


def encode_chat_request(
    request: Request, *, model: str, form: ChatForm, stream: bool = False, states_image_size: bool = True
) -> Template:
    """Write the body of `POST /v1/chat/completions`; slot i is the request's input image i.

    Args:
        request: What the caller asked for.
        model: The relay's name of the model.
        form: How ratio and size are told.
        stream: Ask for events.
        states_image_size: False for models that refuse a size (gemini-2.5-flash-image).
    """
    config = {"aspect_ratio": request.geometry.aspect_ratio}
    if states_image_size:
        config["image_size"] = request.geometry.tier.value
    # The number becomes a slot only in front of its prefix, so the skeleton holds it alone.
    parts: list[dict[str, Any]] = [{"type": "text", "text": request.prompt}]
    parts += [{"type": "image_url", "image_url": {"url": str(index)}} for index in range(len(request.inputs))]
    message = {"role": "user", "content": parts if request.inputs else request.prompt}
    body: dict[str, Any] = {"model": model, "messages": [message]}
    if form is ChatForm.OPENROUTER:
        body |= {"modalities": ["image", "text"], "image_config": config}
    else:
        body["extra_body"] = {"google": {"image_config": config}}
    if request.end_user is not None:
        body["user"] = request.end_user
    body["stream"] = stream
    written = list(template_of(msgspec.json.encode(body), CHAT_REQUEST_IMAGE))
    for index, image in enumerate(request.inputs):
        before = written[2 * index]
        assert isinstance(before, bytes)
        written[2 * index] = before + f"data:{image.mime};base64,".encode()
    return tuple(written)


def decode_chat_request(skeleton: bytes) -> ChatAsked:
    """Read the skeleton of a request that was read with `CHAT_REQUEST_IMAGE`.

    Raises:
        RequestError: Not JSON, nothing to draw, or a size told in words that no relay takes; `param` names the field.
    """
    try:
        body = mapping_of(document_of(skeleton))
    except WireError as exc:
        raise request_error_of(exc) from exc
    messages = [mapping_of(message) for message in list_of(body.get("messages"))]
    asked = next((message for message in reversed(messages) if message.get("role") == "user"), None)
    if asked is None:
        raise RequestError("messages must hold a message of the role user.", param="messages")
    content = asked.get("content")
    parts = [mapping_of(part) for part in list_of(content)]
    texts = [content] if isinstance(content, str) else [text_of(part.get("text")) or "" for part in parts]
    prompt = "\n".join(text for text in texts if text)
    images = sum(part.get("type") == "image_url" for part in parts)
    if not prompt.strip() and not images:
        raise RequestError("The last message of the user holds neither text nor an image.", param="messages")
    form, config = _config_of(body)
    return ChatAsked(
        model=text_of(body.get("model")) or "",
        prompt=prompt,
        form=form,
        aspect_ratio=text_of(config.get("aspect_ratio")),
        image_size=text_of(config.get("image_size")),
        images=images,
        stream=body.get("stream") is True,
        end_user=text_of(body.get("user")),
    )


def _config_of(body: Mapping[str, Any]) -> tuple[ChatForm | None, Mapping[str, Any]]:
    if "image_config" in body or "modalities" in body:
        return ChatForm.OPENROUTER, mapping_of(body.get("image_config"))
    google = mapping_of(mapping_of(body.get("extra_body")).get("google"))
    config = mapping_of(google.get("image_config"))
    for holder, path in ((google, "extra_body.google"), (config, "extra_body.google.image_config")):
        for name in holder:
            if name.lower() != name:
                raise RequestError(f"{path}.{name}: write it in snake_case.", param=path)
    return (ChatForm.NEW_API if config else None), config
