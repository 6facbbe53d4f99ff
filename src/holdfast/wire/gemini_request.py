"""Gemini `generateContent`: what a caller asks, and what we ask of an upstream that speaks it.

Pure: no I/O, clock or randomness. The SDK for Python mixes camelCase and snake_case in one body, so keys are brought to
camelCase first; what is not ours to understand (tools, safety settings, thought signatures) is kept as it came.

Source: google-genai 3.4 `types.py`; ai.google.dev/api/generate-content (2026-10).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from holdfast.errors import RequestError
from holdfast.types import Request, Tier
from holdfast.wire.errors import WireError
from holdfast.wire.fields import document_of, mapping_of, request_error_of, slot_of
from holdfast.wire.misfit import misfit
from holdfast.wire.template import Template, template_of

_SNAKE = re.compile(r"(?<=[a-zA-Z0-9])_([a-zA-Z0-9])")
_FREE_FORM = frozenset(
    {"args", "response", "parameters", "parametersJsonSchema", "responseSchema", "responseJsonSchema", "labels"}
)
_GOOGLE_S_OWN = ("gs://", "https://generativelanguage.googleapis.com/")
_IMAGE_SIZES = frozenset({"512", "1K", "2K", "4K"})
OUTPUT_FORMATS = ("png", "jpeg")
"""What `imageOutputOptions.mimeType` takes. Source: Vertex AI, ImageConfig (2026-10)."""


class InlineData(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An image in the body."""

    mime_type: Annotated[str, Meta(max_length=128, description="`image/png`; the bytes decide.")] | None = None
    data: Annotated[str, Meta(description="Base64, standard or URL-safe.")] | None = None


class FileData(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An image by reference, fetched before the request is accepted; files of Google's own are refused."""

    mime_type: Annotated[str, Meta(max_length=128, description="The bytes decide.")] | None = None
    file_uri: Annotated[str, Meta(max_length=2048, description="https, a public host.")] | None = None


class Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One part of a turn."""

    text: str | None = None
    inline_data: InlineData | None = None
    file_data: FileData | None = None
    thought: bool | None = None
    thought_signature: Annotated[str, Meta(description="Opaque; sent back unchanged.")] | None = None


class Content(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One turn."""

    role: Annotated[str, Meta(max_length=32, description="`user` or `model`.")] | None = None
    parts: list[Part] | None = None


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The picture wished for."""

    aspect_ratio: Annotated[str, Meta(max_length=16, description="`16:9`.")] | None = None
    image_size: Annotated[str, Meta(max_length=16, description="`1K`, `2K`, `4K`.")] | None = None


class GenerationConfig(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How to generate; further fields are passed on."""

    response_modalities: list[str] | None = None
    image_config: ImageConfig | None = None
    candidate_count: Annotated[int, Meta(ge=1, le=10, description="How many images.")] | None = None


class GenerateContentRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Create an image from turns of text and images. Every name is also taken in snake_case."""

    contents: Annotated[list[Content], Meta(min_length=1)]
    generation_config: GenerationConfig | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InlineImage:
    """An image that was cut out of a request."""

    slot: int
    """Its number: the n-th image of the body."""
    mime: str | None
    """As declared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """An image that is named by its address."""

    turn: int
    number: int
    """Of the part in its turn."""
    uri: str

    @property
    def where(self) -> str:
        """The field that names it."""
        return f"contents[{self.turn}].parts[{self.number}].fileData.fileUri"


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateView:
    """What a gateway needs to know of a request."""

    prompt: str
    """The text parts of the last user turn, a line feed between them."""
    images: tuple[InlineImage, ...]
    """In order, from all turns."""
    references: tuple[Reference, ...]
    """To be fetched, and put where they are named (`with_inlined`)."""
    aspect_ratio: str | None
    image_size: str | None
    candidate_count: int
    body_normalised: bytes
    """The body in camelCase, images as slot numbers: what is sent on, and what the fingerprint is taken of."""


def camel(key: str) -> str:
    """Bring one key to camelCase."""
    return _SNAKE.sub(lambda match: match.group(1).upper(), key) if "_" in key else key


def normalised(value: Any) -> Any:
    """Bring the keys of a document to camelCase, except where they are the caller's own words."""
    if isinstance(value, dict):
        return {
            (name := camel(key)): inner if name in _FREE_FORM else normalised(inner) for key, inner in value.items()
        }
    if isinstance(value, list):
        return [normalised(inner) for inner in value]
    return value


def GEMINI_REQUEST_IMAGE(path: tuple[str, ...]) -> bool:
    """An image of a request: `contents[].parts[].inlineData.data`, either spelling."""
    return len(path) == 4 and path[3] == "data" and path[:2] == ("contents", "parts") and camel(path[2]) == "inlineData"


def decode_generate_request(skeleton: bytes) -> GenerateView:
    """Decode the skeleton of a request that was read with `GEMINI_REQUEST_IMAGE`.

    Raises:
        RequestError: Not JSON, wrong types, nothing to draw, or an image by reference; `param` names the field.
    """
    try:
        document = document_of(skeleton)
    except WireError as exc:
        raise request_error_of(exc) from exc
    if not isinstance(document, dict):
        raise RequestError("The body must be a JSON object.")
    document = normalised(document)
    if isinstance(contents := document.get("contents"), dict):
        document["contents"] = [contents]
    for content in document["contents"] if isinstance(document.get("contents"), list) else ():
        if isinstance(content, dict) and isinstance(content.get("parts"), dict):
            content["parts"] = [content["parts"]]
    try:
        request = msgspec.convert(document, type=GenerateContentRequest)
    except msgspec.ValidationError as exc:
        raise misfit(exc, document, GenerateContentRequest) from exc
    config = request.generation_config or GenerationConfig()
    image_config = config.image_config or ImageConfig()
    if config.response_modalities and "IMAGE" not in {name.upper() for name in config.response_modalities}:
        raise RequestError(
            "This model answers with images; add IMAGE to responseModalities or leave it out.",
            param="generationConfig.responseModalities",
        )
    images, references = _images_of(request)
    prompt = _prompt_of(request)
    if not prompt.strip() and not images and not references:
        raise RequestError("The last user turn holds neither text nor an image.", param="contents")
    return GenerateView(
        prompt=prompt,
        images=images,
        references=references,
        aspect_ratio=image_config.aspect_ratio or None,
        image_size=_image_size_of(image_config),
        candidate_count=config.candidate_count or 1,
        body_normalised=msgspec.json.encode(document),
    )


def _image_size_of(config: ImageConfig) -> str | None:
    if config.image_size and config.image_size not in _IMAGE_SIZES:
        raise RequestError(
            "imageSize is 1K, 2K or 4K, with a capital K.",
            code="unsupported_size",
            param="generationConfig.imageConfig.imageSize",
        )
    return config.image_size or None


def with_inlined(view: GenerateView, mimes: Sequence[str], *, first_slot: int) -> GenerateView:
    """Put images that were fetched in the places where they are named: an upstream is sent bytes, not addresses.

    Args:
        view: Of the request.
        mimes: What the bytes of each reference are, in order.
        first_slot: The number of the first of them; the others follow.
    """
    if not view.references:
        return view
    document = document_of(view.body_normalised)
    for slot, (reference, mime) in enumerate(zip(view.references, mimes, strict=True), first_slot):
        part = document["contents"][reference.turn]["parts"][reference.number]
        del part["fileData"]
        part["inlineData"] = {"mimeType": mime, "data": str(slot)}
    return replace(view, references=(), body_normalised=msgspec.json.encode(document))


def _images_of(request: GenerateContentRequest) -> tuple[tuple[InlineImage, ...], tuple[Reference, ...]]:
    images: list[InlineImage] = []
    references: list[Reference] = []
    for turn, content in enumerate(request.contents):
        for number, part in enumerate(content.parts or ()):
            where = f"contents[{turn}].parts[{number}]"
            if part.file_data is not None:
                reference = Reference(turn=turn, number=number, uri=part.file_data.file_uri or "")
                _check_reference(part, reference)
                references.append(reference)
                continue
            if part.inline_data is None:
                continue
            slot = slot_of(part.inline_data.data)
            if slot is None:
                raise RequestError("inlineData holds no data.", param=f"{where}.inlineData.data")
            images.append(InlineImage(slot=slot, mime=part.inline_data.mime_type))
    return tuple(images), tuple(references)


def _check_reference(part: Part, reference: Reference) -> None:
    where = reference.where
    if not reference.uri or part.inline_data is not None:
        raise RequestError(f"{where}: a part holds one of inlineData and fileData, with a fileUri.", param=where)
    if reference.uri.startswith(_GOOGLE_S_OWN):
        raise RequestError(
            f"{where}: files that were uploaded to Google take a credential of Google's. Send the bytes as inlineData.",
            param=where,
        )


def _prompt_of(request: GenerateContentRequest) -> str:
    for content in reversed(request.contents):
        if content.role in (None, "", "user"):
            texts = [part.text for part in content.parts or () if part.text and not part.thought]
            return "\n".join(texts)
    return ""


def encode_generate_request(
    request: Request, *, states_image_size: bool = True, states_output: bool = False, states_roles: bool = False
) -> Template:
    """Write the body of `generateContent` towards an upstream; slot i is the request's input image i.

    A request that came in this dialect is sent on as its caller wrote it, for one image. What its caller left open is
    left to the upstream, save a size that is not the upstream's default, because that size has been priced.

    Args:
        request: What the caller asked for.
        states_image_size: False for models that refuse `imageSize` (gemini-2.5-flash-image).
        states_output: Whether the file format can be chosen: on Vertex AI, and nowhere else.
        states_roles: Whether a turn without a role is refused, as on Vertex AI; elsewhere it is the user's.
    """
    if request.dialect_body is not None:
        body = _one_image_of(request, states_image_size)
        return template_of(_with_roles(body) if states_roles else body, GEMINI_REQUEST_IMAGE)
    image_config: dict[str, Any] = {"aspectRatio": request.geometry.aspect_ratio}
    if states_image_size:
        image_config["imageSize"] = request.geometry.tier.value
    if states_output and (output := _output_of(request)):
        image_config["imageOutputOptions"] = output
    parts: list[dict[str, Any]] = [{"text": request.prompt}]
    parts += [
        {"inlineData": {"mimeType": image.mime, "data": str(index)}} for index, image in enumerate(request.inputs)
    ]
    document = {
        "contents": [{"role": "user", "parts": parts}],
        "generationConfig": {"responseModalities": ["TEXT", "IMAGE"], "imageConfig": image_config},
    }
    return template_of(msgspec.json.encode(document), GEMINI_REQUEST_IMAGE)


def _with_roles(body: bytes) -> bytes:
    document = document_of(body)
    turns = document["contents"]
    if all(turn.get("role") for turn in turns):
        return body
    return msgspec.json.encode(document | {"contents": [turn | {"role": turn.get("role") or "user"} for turn in turns]})


def _output_of(request: Request) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if request.output_format in OUTPUT_FORMATS:
        options["mimeType"] = f"image/{request.output_format}"
    # Without a format the model chooses one, and is told what it shall do if that is JPEG.
    if request.output_format in (None, "jpeg") and request.output_compression is not None:
        options["compressionQuality"] = request.output_compression
    return options


def _one_image_of(request: Request, states_image_size: bool) -> bytes:
    assert request.dialect_body is not None
    skeleton = request.dialect_body.encode()
    document = document_of(skeleton)
    config = dict(mapping_of(document.get("generationConfig")))
    image_config = dict(mapping_of(config.get("imageConfig")))
    several = config.pop("candidateCount", None) not in (None, 1)
    sized = states_image_size and not image_config.get("imageSize") and request.geometry.tier is not Tier.K1
    if not several and not sized:
        return skeleton
    if sized:
        config["imageConfig"] = image_config | {"imageSize": request.geometry.tier.value}
    return msgspec.json.encode(document | {"generationConfig": config})
