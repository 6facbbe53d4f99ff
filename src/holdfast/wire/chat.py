"""OpenAI chat completions, as a caller is answered whose model makes images.

Pure: no I/O, clock or randomness. Every answer is a template whose slots are the numbers of the images.

An image stands in one of three places, since no program looks in all of them: as Markdown in the text, with its bytes
(new-api and most relays) or with a link, or in `message.images` (OpenRouter). Streams bring bytes in text piece by
piece: a line of 27 MB breaks Open WebUI ("Chunk too big", issues 17626 and 20634), Go's scanners and asyncio's readers,
which stop at 64 KiB.

Source: openai-python 3.54 `types/chat/chat_completion*.py`; relays, wire-formats §6.1 C.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from holdfast.types import Usage
from holdfast.wire.sse import event_of
from holdfast.wire.template import Slot, SplitSlot, Template

PIECE_BYTES = 36_864
"""Raw bytes of an image in one event of a stream: 49,152 characters, with what is around them below 64 KiB."""
_MARK = re.compile(rb"\\u0000(\d+)\\u0000")
_DONE = b"data: [DONE]\n\n"


class Shape(StrEnum):
    """Where an answer carries its images."""

    CONTENT = "content"
    """In the text, as Markdown with the bytes in it."""
    IMAGES = "images"
    """In `message.images`, as OpenRouter has it."""
    LINK = "link"
    """In the text, as Markdown with a signed link."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatImage:
    """One image of an answer."""

    slot: int
    mime: str
    url: str | None
    """Signed link; None once the image has been deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatHead:
    """What every document of an answer begins with."""

    generation_id: str
    created: int
    """Unix seconds."""
    model: str

    def document(self, kind: str) -> dict[str, Any]:
        """Begin one."""
        return {
            "id": f"chatcmpl-{self.generation_id}",
            "object": kind,
            "created": self.created,
            "model": self.model,
            "generation_id": self.generation_id,
        }


def render_completion(head: ChatHead, images: Sequence[ChatImage], shape: Shape, usage: Usage | None) -> Template:
    """Write a plain answer: one choice for each image."""
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "refusal": None, **_shown(image, shape)},
            "logprobs": None,
            "finish_reason": "stop",
        }
        for index, image in enumerate(images)
    ]
    return _with_slots({**head.document("chat.completion"), "choices": choices, "usage": chat_usage(usage)})


def render_refusal(head: ChatHead, message: str, *, stream: bool, tells_usage: bool = False) -> Template:
    """Write that the upstream declined the content: a choice without an image, which says so."""
    if stream:
        told = _chunk(head, 0, {"role": "assistant", "content": message, "refusal": message})
        return (*told, *_chunk(head, 0, {}, finish_reason="content_filter"), *_ending(head, None, tells_usage))
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": message, "refusal": message},
        "logprobs": None,
        "finish_reason": "content_filter",
    }
    return _with_slots({**head.document("chat.completion"), "choices": [choice], "usage": chat_usage(None)})


def render_chunks(
    head: ChatHead, images: Sequence[ChatImage], shape: Shape, usage: Usage | None, *, tells_usage: bool
) -> Template:
    """Write a stream.

    Args:
        head: What each event begins with.
        images: One choice for each.
        shape: Where they are.
        usage: None where the upstream told none.
        tells_usage: In an event of its own, as `stream_options.include_usage` wants it.
    """
    parts: list[bytes | Slot] = []
    for index, image in enumerate(images):
        parts += _chunk(head, index, {"role": "assistant", "content": ""})
        if shape is Shape.CONTENT:
            parts += _chunk(head, index, {"content": f"![image](data:{image.mime};base64,"})
            before, after = _around(head, index)
            parts.append(SplitSlot(image.slot, before, after, PIECE_BYTES))
            parts += _chunk(head, index, {"content": ")"})
        else:
            parts += _chunk(head, index, _shown(image, shape))
        parts += _chunk(head, index, {}, finish_reason="stop")
    return (*parts, *_ending(head, usage, tells_usage))


def render_chat_error(error_document: bytes) -> Template:
    """Write an error into a stream that has begun: SDKs raise on it, and programs show it."""
    return event_of((error_document,))


def chat_usage(usage: Usage | None) -> dict[str, Any]:
    """Tell tokens in the words of this surface; zeros where the upstream told none."""
    used = usage or Usage()
    return {
        "prompt_tokens": used.input_tokens,
        "completion_tokens": used.output_tokens,
        "total_tokens": used.total_tokens,
        "completion_tokens_details": {"image_tokens": used.output_image_tokens},
    }


def _shown(image: ChatImage, shape: Shape) -> dict[str, Any]:
    """Give the members of a message, or of a delta, that carry an image."""
    # JSON of ours holds no NUL: it marks where a slot belongs.
    data_url = f"data:{image.mime};base64,\x00{image.slot}\x00"
    match shape:
        case Shape.IMAGES:
            item = {"type": "image_url", "image_url": {"url": data_url}, "index": 0}
            return {"content": "", "images": [item]}
        case Shape.LINK if image.url is not None:
            return {"content": f"![image]({image.url})"}
        case Shape.CONTENT | Shape.LINK:
            return {"content": f"![image]({data_url})"}


def _chunk(head: ChatHead, index: int, delta: dict[str, Any], *, finish_reason: str | None = None) -> Template:
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return event_of(_with_slots({**head.document("chat.completion.chunk"), "choices": [choice]}))


def _around(head: ChatHead, index: int) -> tuple[bytes, bytes]:
    """Give what stands before and behind a piece of an image, each in an event of its own."""
    before, mark, after = _chunk(head, index, {"content": "\x000\x00"})
    assert isinstance(before, bytes)
    assert isinstance(mark, Slot)
    assert isinstance(after, bytes)
    return before, after


def _ending(head: ChatHead, usage: Usage | None, tells_usage: bool) -> Template:
    if not tells_usage:
        return (_DONE,)
    told = {**head.document("chat.completion.chunk"), "choices": [], "usage": chat_usage(usage)}
    return (*event_of((msgspec.json.encode(told),)), _DONE)


def _with_slots(document: dict[str, Any]) -> Template:
    parts: list[bytes | Slot] = []
    for number, part in enumerate(_MARK.split(msgspec.json.encode(document))):
        parts.append(Slot(int(part)) if number % 2 else part)
    return tuple(parts)
