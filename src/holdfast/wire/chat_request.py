"""OpenAI chat completions: what a chat program asks of a model that makes images.

Pure: no I/O, clock or randomness. The definitions validate requests and are the source of the OpenAPI document.

What is drawn is what the user said last. What it begins from is what the user sent along with that, behind the images
that the conversation showed last before: of a chat about one picture that is the picture, and nothing older. A system
message is for models that write, and has no effect.

Source: openai-openapi `CreateChatCompletionRequest` (2026-08-21); openrouter.ai/docs, image generation, and new-api's
`relay/channel/gemini` for `image_config`; wire-formats of the relays, §6.1 C.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from holdfast.errors import RequestError
from holdfast.wire.errors import WireError
from holdfast.wire.fields import document_of, request_error_of
from holdfast.wire.misfit import misfit
from holdfast.wire.openai_request import PROMPT_CHARS_MAX
from holdfast.wire.prose import PREFIX_IN_TEXT
from holdfast.wire.slots import check_numbers, is_number, texts_at

MESSAGES_MAX = 1000
_SHOWN_CHARS = 64
# A name without brackets: a text of opening ones would be read to its end from each of them.
_NAMED = r"!\[[^\[\]]*+\]\("
_IN_TEXT = re.compile(_NAMED + PREFIX_IN_TEXT + r"[0-9]*\)")
_NUMBER_IN_TEXT = re.compile(PREFIX_IN_TEXT + r"([0-9]*)")
_LINK_IN_TEXT = re.compile(_NAMED + r"(https?://[^\s()]{1,2048})\)")


class ImageUrl(msgspec.Struct, frozen=True, kw_only=True):
    """An image."""

    url: Annotated[str, Meta(min_length=1, description="A `data:` URL, or an address that is fetched at once (https).")]


class MessagePart(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a message; those of other types than these two have no effect."""

    type: Annotated[str, Meta(max_length=64, description="`text` or `image_url`.")] | None = None
    text: str | None = None
    image_url: ImageUrl | str | None = None


class ShownImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image of an answer, sent back."""

    image_url: ImageUrl | None = None


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A turn of the conversation."""

    role: Annotated[str, Meta(max_length=32, description="`user`, `assistant`; `system` has no effect.")]
    content: str | list[MessagePart] | None = None
    images: list[ShownImage] | None = None


class ChatImageConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The picture wished for; both spellings are taken."""

    aspect_ratio: Annotated[str, Meta(max_length=16, description="`16:9`.")] | None = None
    image_size: Annotated[str, Meta(max_length=16, description="`1K`, `2K`, `4K`.")] | None = None
    aspectRatio: Annotated[str, Meta(max_length=16, description="The same.")] | None = None
    imageSize: Annotated[str, Meta(max_length=16, description="The same.")] | None = None


class ChatGoogle(msgspec.Struct, frozen=True, kw_only=True):
    """Where relays of Gemini look for it."""

    image_config: ChatImageConfig | None = None


class ChatExtraBody(msgspec.Struct, frozen=True, kw_only=True):
    """As new-api reads it from the body."""

    google: ChatGoogle | None = None


class StreamOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a stream is written."""

    include_usage: bool | None = None


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Create images in a conversation. `null` means absent for every field but `messages`; others have no effect."""

    messages: Annotated[list[Message], Meta(min_length=1, max_length=MESSAGES_MAX)]
    model: Annotated[str, Meta(max_length=128, description="Public model name or alias; `-4k` may follow.")] | None = (
        None
    )
    n: Annotated[int, Meta(ge=1, le=10, description="How many choices, one image each.")] | None = None
    stream: Annotated[bool, Meta(description="Answer as server-sent events.")] | None = None
    stream_options: StreamOptions | None = None
    size: (
        Annotated[str, Meta(max_length=32, description="`WIDTHxHEIGHT` in pixels, `1K`, `2K`, `4K`, or `auto`.")] | None
    ) = None
    aspect_ratio: Annotated[str, Meta(max_length=16, description="`16:9`.")] | None = None
    quality: (
        Annotated[
            Literal["auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"],
            Meta(description="Sets the price of gpt-image models; never changes the size."),
        ]
        | None
    ) = None
    image_config: ChatImageConfig | None = None
    google: ChatGoogle | None = None
    extra_body: ChatExtraBody | None = None
    modalities: (
        Annotated[list[str], Meta(max_length=8, description="With `image`, the answer has `message.images`.")] | None
    ) = None
    user: Annotated[str, Meta(max_length=512, description="The end user, told apart when repeats join.")] | None = None
    safety_identifier: Annotated[str, Meta(max_length=512, description="Replaces `user`.")] | None = None
    metadata: (
        Annotated[
            dict[str, Annotated[str, Meta(max_length=512)]], Meta(max_length=16, description="Kept, not sent on.")
        ]
        | None
    ) = None


_KNOWN_FIELDS = frozenset(ChatRequest.__struct_fields__)
_IMAGE_PATHS = frozenset(
    {
        ("messages", "content", "image_url", "url"),
        ("messages", "content", "image_url"),
        ("messages", "images", "image_url", "url"),
    }
)
_PROSE_PATHS = frozenset({("messages", "content"), ("messages", "content", "text")})


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An image of the conversation: by number among those that came along, or by address."""

    where: str
    """The field that holds it."""
    place: int | str
    may_be_missing: bool = False
    """It stands in what a model said earlier: an address that leads nowhere any more is passed over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatView:
    """What is to be drawn, and what from."""

    request: ChatRequest
    prompt: str
    earlier: tuple[Picture, ...]
    """What the conversation showed last before the user's turn."""
    own: tuple[Picture, ...]
    """What the user sent with it."""
    size: str | None
    aspect_ratio: str | None
    wants_images_field: bool
    """The caller speaks OpenRouter's dialect, whose answers carry images beside the text."""
    unknown: tuple[str, ...]


def CHAT_REQUEST_IMAGE(path: tuple[str, ...]) -> bool:
    """An image of a request: in the parts of a message, or in an answer that is sent back."""
    return path in _IMAGE_PATHS


def CHAT_REQUEST_PROSE(path: tuple[str, ...]) -> bool:
    """A text of a request, in which images may stand as Markdown."""
    return path in _PROSE_PATHS


def decode_chat_request(skeleton: bytes, came_along: int) -> ChatView:
    """Decode a request that was read with `CHAT_REQUEST_IMAGE` and `CHAT_REQUEST_PROSE`, addresses left in it.

    Args:
        skeleton: The JSON, images replaced by their numbers.
        came_along: How many there are.

    Raises:
        RequestError: Not JSON, wrong types, or nothing to draw; `param` names the field.
    """
    try:
        document = document_of(skeleton)
    except WireError as exc:
        raise request_error_of(exc) from exc
    check_numbers(_numbers(document), came_along)
    try:
        request = msgspec.convert(document, type=ChatRequest)
    except msgspec.ValidationError as exc:
        raise misfit(exc, document, ChatRequest) from exc
    last = next((at for at in reversed(range(len(request.messages))) if request.messages[at].role == "user"), None)
    if last is None:
        raise RequestError("messages: there is none of the user's, so there is nothing to draw.", param="messages")
    prompt, own = _said(request.messages[last], f"messages[{last}]")
    if not prompt:
        raise RequestError(f"messages[{last}]: the user's last message holds no text to draw from.", param="messages")
    if len(prompt) > PROMPT_CHARS_MAX:
        raise RequestError(
            f"messages[{last}]: at most {PROMPT_CHARS_MAX:,} characters are drawn from, not {len(prompt):,}.",
            param="messages",
        )
    configs = [request.image_config]
    configs += [each.image_config for each in (request.google, (request.extra_body or ChatExtraBody()).google) if each]
    return ChatView(
        request=request,
        prompt=prompt,
        earlier=_shown_before(request.messages[:last]),
        own=own,
        size=_first(request.size, *(name for each in configs if each for name in (each.image_size, each.imageSize))),
        aspect_ratio=_first(
            request.aspect_ratio, *(name for each in configs if each for name in (each.aspect_ratio, each.aspectRatio))
        ),
        wants_images_field="image" in (request.modalities or ()),
        unknown=tuple(sorted(name[:_SHOWN_CHARS] for name in document if name not in _KNOWN_FIELDS)),
    )


def _numbers(document: Any) -> Iterator[str]:
    """Every number that stands for an image, in the order of the document."""
    for path, text in texts_at(document, lambda path: path in _IMAGE_PATHS or path in _PROSE_PATHS):
        if path in _PROSE_PATHS:
            yield from filter(None, _NUMBER_IN_TEXT.findall(text))
        elif is_number(text):
            yield text


def _said(message: Message, where: str) -> tuple[str, tuple[Picture, ...]]:
    """Give the text of a message, and its images in their order."""
    texts: list[str] = []
    pictures: list[Picture] = []
    parts = [MessagePart(text=message.content)] if isinstance(message.content, str) else message.content or []
    for number, part in enumerate(parts):
        at = f"{where}.content" if isinstance(message.content, str) else f"{where}.content[{number}]"
        if part.image_url is not None:
            url = part.image_url if isinstance(part.image_url, str) else part.image_url.url
            pictures.append(_picture(f"{at}.image_url", url))
        if part.text:
            pictures += [Picture(where=at, place=int(each)) for each in _NUMBER_IN_TEXT.findall(part.text) if each]
            texts.append(_IN_TEXT.sub("", part.text).strip())
    for number, image in enumerate(message.images or ()):
        if image.image_url is not None:
            pictures.append(_picture(f"{where}.images[{number}].image_url", image.image_url.url))
    return "\n".join(filter(None, texts)), tuple(pictures)


def _shown_before(messages: list[Message]) -> tuple[Picture, ...]:
    """Give the images of the last message that has any."""
    for at in reversed(range(len(messages))):
        message, where = messages[at], f"messages[{at}]"
        _, pictures = _said(message, where)
        if message.role == "assistant" and isinstance(message.content, str):
            pictures += tuple(
                Picture(where=f"{where}.content", place=url, may_be_missing=True)
                for url in _LINK_IN_TEXT.findall(message.content)
            )
        if pictures and message.role != "system":
            return pictures
    return ()


def _picture(where: str, url: str) -> Picture:
    return Picture(where=where, place=int(url) if is_number(url) else url)


def _first(*wishes: str | None) -> str | None:
    return next((wish for wish in wishes if wish), None)


_SUFFIX: Callable[[str], re.Match[str] | None] = re.compile(
    r"(.+)-(?:([124]k)|(\d{1,2})x(\d{1,2}))", re.IGNORECASE
).fullmatch


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedModel:
    """A model's name, and what of the picture was said behind it."""

    model: str
    size: str | None = None
    aspect_ratio: str | None = None


def named_model(name: str, is_served: Callable[[str], bool]) -> NamedModel:
    """Read what relays let callers write behind a model's name: `nano-banana-pro-2k`, `gemini-3-pro-image-16x9-4k`.

    A name that is served as it stands means itself.
    """
    found = NamedModel(model=name)
    while not is_served(found.model) and (match := _SUFFIX(found.model)) is not None:
        model, size, width, height = match.groups()
        found = NamedModel(
            model=model,
            size=found.size or (size and size.upper()),
            aspect_ratio=found.aspect_ratio or (width and f"{width}:{height}"),
        )
    return found if is_served(found.model) else NamedModel(model=name)
