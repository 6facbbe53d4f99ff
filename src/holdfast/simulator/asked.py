"""What a request asks for: its route, and what its body says, read as it comes.

Pure: no I/O, clock or randomness. Images of a request pass by: their headers are looked at, their bytes are not kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any
from urllib.parse import parse_qs, unquote

from holdfast.config import Flavor, UpstreamApi
from holdfast.errors import RequestError
from holdfast.policy.sizes import geometry_of, resolve
from holdfast.simulator import seedream
from holdfast.simulator.vendors import Vendor
from holdfast.types import Geometry, Surface, Tier
from holdfast.wire.ark import ARK_REQUEST_IMAGE, decode_request
from holdfast.wire.errors import WireError
from holdfast.wire.fal import FAL_REQUEST_IMAGE, decode_input
from holdfast.wire.fields import document_of, mapping_of, request_error_of
from holdfast.wire.gemini import GEMINI_REQUEST_IMAGE, decode_generate_request
from holdfast.wire.image import ImageProbe
from holdfast.wire.interactions_request import INTERACTION_REQUEST_IMAGE, decode_interaction
from holdfast.wire.openai import decode_images_request
from holdfast.wire.relay_chat import CHAT_REQUEST_IMAGE, ChatForm, decode_chat_request
from holdfast.wire.replicate import REPLICATE_REQUEST_IMAGE, decode_prediction_request
from holdfast.wire.responses_request import RESPONSE_REQUEST_IMAGE, decode_response_request
from holdfast.wire.scan import ImageBegan, ImageBytes, ImageEnded, JsonReader

SCRIPT_BYTES_MAX = 1 << 20
INPUT_IMAGE_BYTES_MAX = 64 << 20
INPUT_IMAGES_MAX = 17
"""Sixteen and a mask."""
_GENERATE = re.compile(r"/(?:v1|v1beta)/models/([^/:]+):(generateContent|streamGenerateContent)")
_VERTEX = re.compile(
    r"/v1(?:beta1)?(/projects/[a-z0-9.:-]+/locations/[a-z0-9-]+)?/publishers/google"
    r"/models/([^/:]+):(generateContent|streamGenerateContent)"
)
_MODEL = re.compile(r"/(v1|v1beta)/models(?:/([^/:]+))?")
_APP = r"(?:fal-ai|bytedance|google|openai)/[A-Za-z0-9_.-]+"
_SUBMIT = re.compile(rf"/({_APP}(?:/(?!requests(?:/|$))[A-Za-z0-9_.-]+)*)")
_QUEUED = re.compile(rf"/({_APP})/requests/([A-Za-z0-9_-]+)(/status|/cancel)?")
_RESPONSES = re.compile(r"/v1/responses(?:/([A-Za-z0-9_.=-]+)(/cancel)?)?")
_INTERACTIONS = re.compile(r"/(?:v1|v1beta)/interactions(?:/([A-Za-z0-9_.=-]+)(/cancel)?)?")
_FILE = re.compile(r"/_sim/files/([A-Za-z0-9_-]+)/(\d{1,3})\.(?:png|jpeg)")
_PREDICT = re.compile(r"/v1/(?:(?:models|deployments)/([A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+)/)?predictions")
_PREDICTION = re.compile(r"/v1/predictions/([A-Za-z0-9_-]+)(/cancel)?")
_PIXELS = re.compile(r"([1-9][0-9]{1,4})x([1-9][0-9]{1,4})")
_EDGE_PX_MAX = 6400
_AREA_PX_MAX = 6336 * 2688 + 1


class Kind(Enum):
    """What a route does."""

    GENERATIONS = auto()
    EDITS = auto()
    GENERATE = auto()
    CHAT = auto()
    SUBMIT = auto()
    STATUS = auto()
    RESULT = auto()
    CANCEL = auto()
    FILE = auto()
    UPLOAD = auto()
    MODELS = auto()
    CHARGES = auto()
    SCRIPT = auto()
    NOT_FOUND = auto()
    NOT_ALLOWED = auto()
    NOT_KNOWN = auto()
    """Whoever asks has shown no credential."""

    @property
    def makes_images(self) -> bool:
        """Whether it is an upstream's, and costs money."""
        return self in (Kind.GENERATIONS, Kind.EDITS, Kind.GENERATE, Kind.CHAT, Kind.SUBMIT)

    @property
    def is_question(self) -> bool:
        """Whether it is about a request that a queue has taken."""
        return self in (Kind.STATUS, Kind.RESULT, Kind.CANCEL, Kind.FILE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The head of a request."""

    method: str
    target: str
    """As it stands in the request line."""
    headers: Mapping[str, str]
    """Names in lower case; of several, the last."""

    @property
    def path(self) -> str:
        """Without the query, percent-decoded."""
        return unquote(self.target.partition("?")[0])

    @property
    def query(self) -> Mapping[str, str]:
        """The last value of each name."""
        return {name: values[-1] for name, values in parse_qs(self.target.partition("?")[2]).items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where a request goes."""

    kind: Kind
    surface: Surface = Surface.OPENAI
    """Whose dialect errors are told in."""
    model: str | None = None
    stream: bool = False
    """Server-sent events, asked for by the path."""
    is_vertex: bool = False
    """Google's cloud: the same dialect at another address."""
    is_queue: bool = False
    """A queue's; fal's, unless a vendor is named."""
    vendor: Vendor | None = None
    """In whose words errors are told, if not in those of the surface or of fal."""
    request_id: str | None = None
    """Of a request in its queue."""
    picture: int = 0
    """Of its result."""
    api: UpstreamApi = UpstreamApi.AUTO
    """One that works in the background, if any."""


def route_of(head: Head) -> Route:
    """Find the route of a request."""
    path, method = head.path, head.method
    if match := _VERTEX.fullmatch(path):
        return _vertex_route(head, is_express=match[1] is None, model=match[2], method=match[3])
    if match := _GENERATE.fullmatch(path):
        stream = match[2] == "streamGenerateContent"
        kind = Kind.GENERATE if method == "POST" else Kind.NOT_ALLOWED
        # Without alt=sse Google sends a JSON array; no client of ours asks for it.
        if stream and head.query.get("alt") != "sse":
            kind = Kind.NOT_FOUND
        return Route(kind=kind, surface=Surface.GEMINI, model=match[1], stream=stream)
    fixed = {
        "/v1/images/generations": ("POST", Kind.GENERATIONS),
        "/v1/images/edits": ("POST", Kind.EDITS),
        "/v1/chat/completions": ("POST", Kind.CHAT),
        "/_sim/charges": ("GET", Kind.CHARGES),
        "/_sim/script": ("POST", Kind.SCRIPT),
    }
    if path in fixed:
        wanted, kind = fixed[path]
        return Route(kind=kind if method == wanted else Kind.NOT_ALLOWED)
    if (queued := _vendor_route(path, method) or _queue_route(path, method)) is not None:
        return queued
    if (queued := _background_route(path, method)) is not None:
        return queued
    if match := _MODEL.fullmatch(path):
        # GET /v1/models is both dialects': the credential tells.
        is_gemini = match[1] == "v1beta" or "x-goog-api-key" in head.headers or "key" in head.query
        surface = Surface.GEMINI if is_gemini else Surface.OPENAI
        return Route(kind=Kind.MODELS if method == "GET" else Kind.NOT_ALLOWED, surface=surface, model=match[2])
    return Route(kind=Kind.NOT_FOUND, surface=Surface.GEMINI if path.startswith("/v1beta") else Surface.OPENAI)


def _vertex_route(head: Head, *, is_express: bool, model: str, method: str) -> Route:
    stream = method == "streamGenerateContent"
    has_token = head.headers.get("authorization", "").startswith("Bearer ") and "x-goog-api-key" not in head.headers
    has_key = "x-goog-api-key" in head.headers and "authorization" not in head.headers
    kind = Kind.GENERATE if head.method == "POST" else Kind.NOT_ALLOWED
    if not (has_key if is_express else has_token):
        kind = Kind.NOT_KNOWN
    if stream and head.query.get("alt") != "sse":
        kind = Kind.NOT_FOUND
    return Route(kind=kind, surface=Surface.GEMINI, model=model, stream=stream, is_vertex=True)


def _vendor_route(path: str, method: str) -> Route | None:
    if path == "/api/v3/images/generations":
        kind = Kind.GENERATIONS if method == "POST" else Kind.NOT_ALLOWED
        return Route(kind=kind, vendor=Vendor.ARK)
    if path == "/v1/files":
        return Route(kind=Kind.UPLOAD if method == "POST" else Kind.NOT_ALLOWED, vendor=Vendor.REPLICATE)
    if match := _PREDICT.fullmatch(path):
        kind = Kind.SUBMIT if method == "POST" else Kind.NOT_ALLOWED
        return Route(kind=kind, is_queue=True, vendor=Vendor.REPLICATE, model=match[1])
    if match := _PREDICTION.fullmatch(path):
        wanted, kind = ("POST", Kind.CANCEL) if match[2] else ("GET", Kind.STATUS)
        kind = kind if method == wanted else Kind.NOT_ALLOWED
        return Route(kind=kind, is_queue=True, vendor=Vendor.REPLICATE, request_id=match[1])
    return None


def _queue_route(path: str, method: str) -> Route | None:
    if match := _FILE.fullmatch(path):
        kind = Kind.FILE if method == "GET" else Kind.NOT_ALLOWED
        return Route(kind=kind, is_queue=True, request_id=match[1], picture=int(match[2]))
    if match := _QUEUED.fullmatch(path):
        wanted, kind = {
            "/status": ("GET", Kind.STATUS),
            "/cancel": ("PUT", Kind.CANCEL),
            None: ("GET", Kind.RESULT),
        }[match[3]]
        kind = kind if method == wanted else Kind.NOT_ALLOWED
        return Route(kind=kind, is_queue=True, model=match[1], request_id=match[2])
    if match := _SUBMIT.fullmatch(path):
        kind = Kind.SUBMIT if method == "POST" else Kind.NOT_ALLOWED
        return Route(kind=kind, is_queue=True, model=match[1])
    return None


def _background_route(path: str, method: str) -> Route | None:
    for pattern, surface, api in (
        (_RESPONSES, Surface.OPENAI, UpstreamApi.RESPONSES),
        (_INTERACTIONS, Surface.GEMINI, UpstreamApi.INTERACTIONS),
    ):
        if match := pattern.fullmatch(path):
            wanted, kind = ("GET", Kind.STATUS) if match[1] and not match[2] else ("POST", Kind.CANCEL)
            kind = kind if match[1] else Kind.SUBMIT
            kind = kind if method == wanted else Kind.NOT_ALLOWED
            return Route(kind=kind, surface=surface, request_id=match[1], api=api)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be drawn."""

    surface: Surface
    model: str
    prompt: str
    geometry: Geometry
    """True pixels, and the class and ratio they are priced by."""
    n: int = 1
    stream: bool = False
    partial_images: int = 0
    format: str = "png"
    quality: str | None = None
    background: str | None = None
    inputs: int = 0
    """Images that came with the request."""
    is_edit: bool = False
    wants_thoughts: bool = False
    is_queued: bool = False
    """Asked of a queue."""
    vendor: Vendor | None = None
    """Whose, if not fal's; or whose dialect it speaks otherwise."""
    states_format: bool = False
    """A file format was asked for by name."""
    is_inline: bool = False
    """Pictures go into the result, instead of links (`sync_mode`)."""
    is_vertex: bool = False
    is_chat: bool = False
    """Asked in a chat."""
    chat_form: ChatForm | None = None
    """Which relay it was written for."""
    wants_links: bool = False
    """`response_format` said so."""
    api: UpstreamApi = UpstreamApi.AUTO
    """One that works in the background, if any."""
    outer_model: str | None = None
    """The text model that calls the image tool."""


class Reading:
    """Reads the body of one request that makes images."""

    def __init__(self, route: Route) -> None:
        assert route.kind.makes_images
        self._route = route
        self._json = JsonReader(
            _image_paths(route),
            image_bytes_max=INPUT_IMAGE_BYTES_MAX,
            images_max=INPUT_IMAGES_MAX,
            links_stay=route.vendor is not None,
        )
        self._probe = ImageProbe()
        self._last_px: tuple[int, int] | None = None
        self._inputs = 0
        self._error: WireError | None = None

    def __repr__(self) -> str:
        return f"<Reading {self._route.kind.name.lower()} {self._json!r}>"

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes; what is wrong with them is told at the end."""
        if self._error is not None:
            return
        try:
            events = self._json.feed(chunk)
        except WireError as exc:
            self._error = exc
            return
        for event in events:
            match event:
                case ImageBegan():
                    self._probe = ImageProbe()
                    self._inputs += 1
                case ImageBytes():
                    self._probe.feed(event.data)
                case ImageEnded():
                    seen = self._probe.finish()
                    if seen is not None and seen.width_px:
                        self._last_px = (seen.width_px, seen.height_px)

    def finish(self) -> Asked:
        """Say that the body has ended.

        Raises:
            RequestError: It is no request of this dialect.
        """
        try:
            if self._error is not None:
                raise self._error
            skeleton = self._json.finish()
        except WireError as exc:
            raise request_error_of(exc) from exc
        if self._route.vendor is not None:
            return self._vendors(skeleton, self._route.vendor)
        if self._route.is_queue:
            return self._fal(skeleton)
        if self._route.api is not UpstreamApi.AUTO:
            return self._background(skeleton)
        if self._route.surface is Surface.GEMINI:
            return self._gemini(skeleton)
        if self._route.kind is Kind.CHAT:
            return self._chat(skeleton)
        return self._openai(skeleton)

    def _vendors(self, skeleton: bytes, vendor: Vendor) -> Asked:
        try:
            return self._ark(skeleton) if vendor is Vendor.ARK else self._replicate(skeleton)
        except WireError as exc:
            raise request_error_of(exc) from exc

    def _ark(self, skeleton: bytes) -> Asked:
        read = decode_request(skeleton)
        seedream.check(read)
        inputs = len(read.images)
        geometry = _openai_geometry(read.model, read.size or "2048x2048", None, self._last_px)
        least_px, most_px = seedream.pixels_of(read.model)
        if not least_px <= geometry.width_px * geometry.height_px <= most_px:
            raise _bad_size(f"The size must have {least_px} to {most_px} pixels.")
        return Asked(
            surface=Surface.OPENAI,
            model=read.model,
            prompt=read.prompt,
            geometry=geometry,
            format="png" if read.output_format == "png" else "jpeg",
            states_format=read.output_format is not None,
            background=read.background,
            inputs=inputs,
            is_edit=inputs > 0,
            vendor=Vendor.ARK,
        )

    def _replicate(self, skeleton: bytes) -> Asked:
        read = decode_prediction_request(skeleton)
        inputs = len(read.input.image_input)
        return Asked(
            surface=Surface.OPENAI,
            model=self._route.model or read.version or "",
            prompt=read.input.prompt,
            geometry=resolve(
                read.input.resolution or "2K", aspect_ratio=read.input.aspect_ratio, last_input_px=self._last_px
            ),
            format="png" if read.input.output_format == "png" else "jpeg",
            inputs=inputs,
            is_edit=inputs > 0,
            is_queued=True,
            vendor=Vendor.REPLICATE,
        )

    def _fal(self, skeleton: bytes) -> Asked:
        try:
            read = decode_input(skeleton)
        except WireError as exc:
            raise request_error_of(exc) from exc
        is_edit = (self._route.model or "").endswith("/edit")
        if is_edit and not self._inputs:
            raise RequestError("An edit needs image_urls; send them as data URIs.", param="image_urls")
        return Asked(
            surface=Surface.OPENAI,
            model=self._route.model or "",
            prompt=read.prompt,
            geometry=resolve(read.resolution, aspect_ratio=read.aspect_ratio, last_input_px=self._last_px),
            n=read.num_images,
            format="jpeg" if read.output_format == "jpeg" else "png",
            inputs=self._inputs,
            is_edit=is_edit,
            is_queued=True,
            is_inline=read.sync_mode,
        )

    def _background(self, skeleton: bytes) -> Asked:
        try:
            is_responses = self._route.api is UpstreamApi.RESPONSES
            return self._response(skeleton) if is_responses else self._interaction(skeleton)
        except WireError as exc:
            raise request_error_of(exc) from exc

    def _response(self, skeleton: bytes) -> Asked:
        read = decode_response_request(skeleton)
        return Asked(
            surface=Surface.OPENAI,
            model=read.model,
            prompt=read.prompt,
            geometry=_openai_geometry(read.model, read.size, None, self._last_px),
            format="jpeg" if read.output_format == "jpeg" else "png",
            quality=read.quality,
            background=read.background,
            inputs=self._inputs,
            is_edit=self._inputs > 0,
            api=UpstreamApi.RESPONSES,
            outer_model=read.outer_model,
        )

    def _interaction(self, skeleton: bytes) -> Asked:
        read = decode_interaction(skeleton)
        return Asked(
            surface=Surface.GEMINI,
            model=read.model,
            prompt=read.prompt,
            geometry=resolve(read.image_size, aspect_ratio=read.aspect_ratio, last_input_px=self._last_px),
            format="jpeg" if read.mime_type == "image/jpeg" else "png",
            inputs=self._inputs,
            is_edit=self._inputs > 0,
            api=UpstreamApi.INTERACTIONS,
        )

    def _gemini(self, skeleton: bytes) -> Asked:
        view = decode_generate_request(skeleton)
        if view.references:
            raise RequestError("Images by reference are not fetched here.", param=view.references[0].where)
        config = mapping_of(mapping_of(document_of(view.body_normalised)).get("generationConfig"))
        output = mapping_of(mapping_of(config.get("imageConfig")).get("imageOutputOptions"))
        geometry = resolve(
            None if view.image_size == "512" else view.image_size,
            aspect_ratio=view.aspect_ratio,
            last_input_px=self._last_px,
        )
        if view.image_size == "512":
            geometry = _halved(geometry)
        return Asked(
            surface=Surface.GEMINI,
            model=self._route.model or "",
            prompt=view.prompt,
            geometry=geometry,
            stream=self._route.stream,
            format="jpeg" if output.get("mimeType") == "image/jpeg" else "png",
            inputs=self._inputs,
            is_edit=self._inputs > 0,
            wants_thoughts=mapping_of(config.get("thinkingConfig")).get("includeThoughts") is True,
            is_vertex=self._route.is_vertex,
        )

    def _chat(self, skeleton: bytes) -> Asked:
        read = decode_chat_request(skeleton)
        return Asked(
            surface=Surface.OPENAI,
            model=read.model,
            prompt=read.prompt,
            geometry=resolve(read.image_size, aspect_ratio=read.aspect_ratio, last_input_px=self._last_px),
            stream=read.stream,
            inputs=self._inputs,
            is_edit=self._inputs > 0,
            is_chat=True,
            chat_form=read.form,
        )

    def _openai(self, skeleton: bytes) -> Asked:
        request, _ = decode_images_request(skeleton)
        is_edit = self._route.kind is Kind.EDITS
        if is_edit and not self._inputs:
            raise RequestError("An edit needs images; send them as data URLs in JSON.", param="images")
        model = request.model or "gpt-image-2"
        if is_vendors(model) and request.response_format is not None:
            raise RequestError(
                "Unknown parameter: 'response_format'.", code="unknown_parameter", param="response_format"
            )
        return Asked(
            surface=Surface.OPENAI,
            model=model,
            prompt=request.prompt,
            geometry=_openai_geometry(model, request.size, request.aspect_ratio, self._last_px),
            n=request.n or 1,
            stream=bool(request.stream),
            partial_images=(request.partial_images or 0) if request.stream else 0,
            format="jpeg" if request.output_format == "jpeg" else "png",
            quality=request.quality,
            background=request.background,
            inputs=self._inputs,
            is_edit=is_edit,
            wants_links=request.response_format == "url",
        )


def is_vendors(model: str) -> bool:
    """Whether it is one of OpenAI's own models, whose rules are stricter than those of relays."""
    return model.startswith(("gpt-image", "chatgpt-image"))


def _image_paths(route: Route) -> Callable[[tuple[str, ...]], bool]:
    if route.vendor is not None:
        return ARK_REQUEST_IMAGE if route.vendor is Vendor.ARK else REPLICATE_REQUEST_IMAGE
    if route.api is UpstreamApi.RESPONSES:
        return RESPONSE_REQUEST_IMAGE
    if route.api is UpstreamApi.INTERACTIONS:
        return INTERACTION_REQUEST_IMAGE
    match route.kind:
        case Kind.GENERATE:
            return GEMINI_REQUEST_IMAGE
        case Kind.SUBMIT:
            return FAL_REQUEST_IMAGE
        case Kind.CHAT:
            return CHAT_REQUEST_IMAGE
        case Kind.EDITS:
            return lambda path: path in (("images", "image_url"), ("mask", "image_url"))
        case _:
            return lambda path: False


def _halved(geometry: Geometry) -> Geometry:
    return Geometry(
        tier=geometry.tier,
        aspect_ratio=geometry.aspect_ratio,
        width_px=geometry.width_px // 2,
        height_px=geometry.height_px // 2,
    )


def other_geometry(geometry: Geometry) -> Geometry:
    """Give the picture that comes instead of the one asked for: one class smaller, or 1408x768 as was seen at 1K."""
    match geometry.tier:
        case Tier.K4:
            return geometry_of(Tier.K2, geometry.aspect_ratio)
        case Tier.K2:
            return geometry_of(Tier.K1, geometry.aspect_ratio)
        case Tier.K1:
            return Geometry(tier=Tier.K1, aspect_ratio="16:9", width_px=1408, height_px=768)


def _openai_geometry(
    model: str, size: str | None, aspect_ratio: str | None, last_input_px: tuple[int, int] | None
) -> Geometry:
    """Resolve a size: pixels are drawn as they are written, words as the table has them."""
    stated = (size or "auto").strip().lower()
    pixels = _PIXELS.fullmatch(stated)
    if pixels is None:
        if is_vendors(model) and stated != "auto":
            raise _bad_size(f"Invalid size '{stated[:20]}'. Supported are 'auto' and 'WIDTHxHEIGHT'.")
        return resolve(size, aspect_ratio=aspect_ratio, last_input_px=last_input_px, flavor=Flavor.RELAY)
    width_px, height_px = int(pixels[1]), int(pixels[2])
    if is_vendors(model):
        _check_vendors_size(width_px, height_px)
    if max(width_px, height_px) > _EDGE_PX_MAX or width_px * height_px > _AREA_PX_MAX:
        raise _bad_size(f"Invalid size '{stated}': too large.")
    near = resolve(f"{width_px}x{height_px}", aspect_ratio=aspect_ratio, flavor=Flavor.RELAY)
    return Geometry(tier=near.tier, aspect_ratio=near.aspect_ratio, width_px=width_px, height_px=height_px)


def _check_vendors_size(width_px: int, height_px: int) -> None:
    """Refuse what gpt-image models do not draw. Source: platform.openai.com, image generation guide, 2026."""
    if width_px % 16 or height_px % 16:
        raise _bad_size("Invalid size: both edges must be multiples of 16.")
    if max(width_px, height_px) > 3840 or max(width_px, height_px) > 3 * min(width_px, height_px):
        raise _bad_size("Invalid size: the longest edge is at most 3840, the ratio at most 3:1.")
    if not 655_360 <= width_px * height_px <= 8_294_400:
        raise _bad_size("Invalid size: 655,360 to 8,294,400 pixels.")


def _bad_size(message: str) -> RequestError:
    return RequestError(message, code="invalid_value", param="size")


def script_document(body: bytes) -> Any:
    """Decode the body of `POST /_sim/script`.

    Raises:
        RequestError: It is no JSON.
    """
    try:
        return document_of(body)
    except WireError as exc:
        raise request_error_of(exc) from exc
