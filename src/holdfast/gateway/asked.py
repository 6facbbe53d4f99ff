"""From a caller's words to a `Request`: which route, which picture, which fields have no effect here. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from holdfast.config import Flavor, Route, RouteUpstream, Settings, Upstream
from holdfast.errors import RequestError
from holdfast.policy import sizes
from holdfast.policy.access import Scopes
from holdfast.providers.bearing import INPUTS_MAX, inputs_max, takes_masks
from holdfast.providers.fit import leaves_out
from holdfast.providers.mapping import IGNORABLE
from holdfast.providers.registry import mapping_of
from holdfast.types import InputImage, Request, Surface, Tier
from holdfast.wire.gemini import GenerateView
from holdfast.wire.generations_request import GenerationsRequest
from holdfast.wire.nearest import nearest
from holdfast.wire.openai import ImagesRequest
from holdfast.wire.openai_edits import EditsRequest, EditsView, check_mask

DEFAULT_MODEL = "nano-banana-pro"


# How the Gemini surface spells what `policy.sizes` may refuse.
_GEMINI_FIELDS = {
    "size": "generationConfig.imageConfig.imageSize",
    "aspect_ratio": "generationConfig.imageConfig.aspectRatio",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A caller's request, understood."""

    request: Request
    route: Route
    ignored: tuple[str, ...] = ()
    """What has no effect where it is asked first."""
    ignored_elsewhere: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    """The same of other upstreams that may serve it, by their name and that of the model there, where it differs."""
    webhook: str | None = None
    """Where the end is told besides the key's own webhooks; whether anything may be sent there is another question."""
    came_along: tuple[InputImage, ...] | None = None
    """Which of its images came with the request, where others were fetched: a repeat names those by their address too,
    whatever is found there then. None: all of them."""
    skeleton: bytes = field(default=b"", repr=False)
    """The body as it was sent, images replaced by their numbers; what a repeat is recognised by."""

    def sent_as(self, skeleton: bytes, came_along: tuple[InputImage, ...]) -> Asked:
        """Note what was sent of it."""
        return replace(self, skeleton=skeleton, came_along=came_along)


class Routes:
    """Finds the route of a model name, aliases included."""

    def __init__(self, settings: Settings, *, converts: bool = False) -> None:
        self.converts = converts
        """Whether an upstream's images are made into the format that a caller names."""
        self.renew(settings)

    def renew(self, settings: Settings) -> None:
        """Find by other settings from now on."""
        self.all = settings.routes
        self.chat = settings.chat
        self.passed = settings.passthrough.models
        """Models that are passed through, of the chat surface only."""
        self._by_name = {name: route for route in settings.routes for name in (route.model, *route.aliases)}
        self._upstreams = {upstream.name: upstream for upstream in settings.upstreams}

    def names(self) -> list[str]:
        """Every name a caller may write, models before their aliases."""
        return [name for route in self.all for name in (route.model, *route.aliases)]

    def names_for(self, scopes: Scopes) -> list[str]:
        """The same, of the models that a key may ask for."""
        allowed = (route for route in self.all if scopes.allows_model(route.model, *route.aliases))
        return [name for route in allowed for name in (route.model, *route.aliases)]

    def find(self, model: str | None) -> Route:
        """Give the route of a model; without one, the default route's.

        Raises:
            RequestError: 404 `model_not_found`, naming those that exist.
        """
        if model is None:
            return self._default()
        route = self._by_name.get(model.removeprefix("models/"))
        if route is None:
            known = ", ".join(route.model for route in self.all) or "none: configure [[routes]] or set GEMINI_API_KEY"
            raise RequestError(
                f"The model {model[:80]!r} is not served here. Served: {known}.",
                code="model_not_found",
                status=404,
                param="model",
            )
        return route

    def is_served(self, name: str) -> bool:
        """Whether a name is a model's, or an alias."""
        return name.removeprefix("models/") in self._by_name

    def model_of(self, name: str) -> str:
        """Give the public name of a model that a list is narrowed to, aliases resolved.

        Raises:
            RequestError: No such model is served here; the near one is named.
        """
        route = self._by_name.get(name.removeprefix("models/"))
        if route is None:
            raise RequestError(f"There is no model {name[:80]!r} here. {nearest(name, self._by_name)}", param="model")
        return route.model

    def _default(self) -> Route:
        chosen = next((route for route in self.all if route.default), None) or self._by_name.get(DEFAULT_MODEL)
        if chosen is not None:
            return chosen
        if self.all:
            return self.all[0]
        return self.find("")

    def first_upstream(self, route: Route) -> Upstream:
        """The upstream that is asked first."""
        return self._upstreams[route.upstreams[0].upstream]

    def upstreams_of(self, route: Route) -> tuple[Upstream, ...]:
        """Every upstream that may be asked: the route's own, then those of its fallback models."""
        return tuple(upstream for _, _, upstream in self.entries_of(route))

    def entries_of(self, route: Route) -> Iterator[tuple[Route, RouteUpstream, Upstream]]:
        """The same, each with its entry and the route that this stands in."""
        for each in (route, *(self._by_name[model] for model in route.fallback)):
            for entry in each.upstreams:
                yield each, entry, self._upstreams[entry.upstream]


def from_openai(
    asked: ImagesRequest,
    unknown: tuple[str, ...],
    inputs: tuple[InputImage, ...],
    routes: Routes,
    *,
    mask: InputImage | None = None,
) -> Asked:
    """Understand a request of the OpenAI surface: a generation, or with inputs an edit.

    Raises:
        RequestError: No such model, no such size, or more than the route's upstream bears.
    """
    route = routes.find(asked.model)
    upstream = routes.first_upstream(route)
    check_bears(routes.upstreams_of(route), images=len(inputs), has_mask=mask is not None)
    if mask is not None:
        check_mask(mask, inputs[0])
    geometry = sizes.resolve(
        asked.size,
        aspect_ratio=asked.aspect_ratio,
        last_input_px=last_px(inputs),
        size_default=route.size_default,
        flavor=upstream.flavor,
    )
    return Asked(
        request=Request(
            surface=Surface.OPENAI,
            model=route.model,
            prompt=asked.prompt,
            geometry=geometry,
            n=asked.n or 1,
            inputs=inputs,
            output_format=asked.output_format,
            quality=asked.quality,
            background=asked.background,
            moderation=asked.moderation,
            output_compression=asked.output_compression,
            is_edit=isinstance(asked, EditsRequest),
            mask=mask,
            input_fidelity=getattr(asked, "input_fidelity", None),
            response_format=asked.response_format or "b64_json",
            stream=bool(asked.stream),
            partial_images=asked.partial_images or 0,
            size_as_asked=_own_words(asked) if upstream.flavor is Flavor.RELAY else None,
            end_user=asked.safety_identifier or asked.user,
            metadata=asked.metadata,
        ),
        route=route,
        ignored=(*ignored_by(upstream, asked, route=route, converts=routes.converts), *unknown),
        ignored_elsewhere=ignored_elsewhere(routes, asked, unknown, route=route, converts=routes.converts),
    )


def from_native(asked: GenerationsRequest, inputs: tuple[InputImage, ...], routes: Routes) -> Asked:
    """Understand a request of the native surface.

    Raises:
        RequestError: No such model, or no such size.
    """
    route = routes.find(asked.model)
    upstream = routes.first_upstream(route)
    geometry = sizes.resolve(
        asked.size,
        aspect_ratio=asked.aspect_ratio,
        last_input_px=last_px(inputs),
        size_default=route.size_default,
        flavor=upstream.flavor,
    )
    request = Request(
        surface=Surface.GENERATIONS,
        model=route.model,
        prompt=asked.prompt,
        geometry=geometry,
        n=asked.n or 1,
        inputs=inputs,
        size_as_asked=_own_words(asked) if upstream.flavor is Flavor.RELAY else None,
        metadata=asked.metadata,
    )
    return Asked(request=request, route=route, webhook=asked.webhook.url if asked.webhook is not None else None)


def from_gemini(
    view: GenerateView, model: str, inputs: tuple[InputImage, ...], routes: Routes, *, stream: bool
) -> Asked:
    """Understand a request of the Gemini surface; the body itself travels on unchanged.

    Raises:
        RequestError: No such model, no such size, or too many images.
    """
    route = routes.find(model)
    check_count(len(inputs), "contents")
    try:
        geometry = sizes.resolve(
            view.image_size,
            aspect_ratio=view.aspect_ratio,
            last_input_px=last_px(inputs),
            size_default=route.size_default,
            flavor=Flavor.VENDOR,
        )
    except RequestError as exc:
        param = _GEMINI_FIELDS.get(exc.param or "", exc.param)
        raise RequestError(exc.message, code=exc.code, status=exc.status, param=param) from exc
    return Asked(
        request=Request(
            surface=Surface.GEMINI,
            model=route.model,
            prompt=view.prompt,
            geometry=geometry,
            n=view.candidate_count,
            inputs=inputs,
            stream=stream,
            dialect_body=view.body_normalised.decode(),
        ),
        route=route,
    )


def ignored_by(
    upstream: Upstream, asked: object, *, route: Route, converts: bool = False, model: str | None = None
) -> tuple[str, ...]:
    """Name the fields of a request that are stated and have no effect: neither at an upstream, nor on its images.

    Args:
        upstream: Where it is served.
        asked: The request, as it was decoded.
        route: Whose entry that is.
        converts: Whether its images are made into the format that is named.
        model: What the model is called there; None: as at the first of the route.
    """
    mapping, models = mapping_of(upstream), (model or route.upstreams[0].model, route.model)
    stated = {name: value for name in IGNORABLE if _is_stated(name, value := getattr(asked, name, None))}
    if converts and "output_format" in stated:
        stated = {name: value for name, value in stated.items() if name not in ("output_format", "output_compression")}
    return tuple(
        name
        for name, value in stated.items()
        if mapping.ignores(name, value) or leaves_out(upstream, name, value, models=models)
    )


def ignored_elsewhere(
    routes: Routes, asked: object, unknown: tuple[str, ...], *, route: Route, converts: bool = False
) -> dict[tuple[str, str], tuple[str, ...]]:
    """Say the same of every other upstream that may serve a request, where it is not what is ignored at the first."""
    is_alone = len(route.upstreams) == 1 and not route.fallback
    if is_alone or not any(_is_stated(name, getattr(asked, name, None)) for name in IGNORABLE):
        return {}
    first, *others = [
        ((upstream.name, entry.model), ignored_by(upstream, asked, route=each, converts=converts, model=entry.model))
        for each, entry, upstream in routes.entries_of(route)
    ]
    return {place: (*names, *unknown) for place, names in reversed(others) if names != first[1]}


def check_edit(view: EditsView, routes: Routes) -> None:
    """See that the route bears an edit, before anything that it names is fetched.

    Raises:
        RequestError: No such model, too many images, or a mask that its upstream has no use for.
    """
    upstreams = routes.upstreams_of(routes.find(view.request.model))
    check_bears(upstreams, images=len(view.images), has_mask=view.mask is not None)


def check_bears(upstreams: Sequence[Upstream], *, images: int, has_mask: bool) -> None:
    """See that one of these upstreams takes what comes along; the others are passed over.

    Raises:
        RequestError: None does; the first is named.
    """
    if any(images <= inputs_max(each) and (takes_masks(each) or not has_mask) for each in upstreams):
        return
    upstream = upstreams[0]
    most = inputs_max(upstream)
    if images > most:
        raise RequestError(
            f"{upstream.name} ({upstream.provider.value}) takes at most {most} input images; {images} were sent.",
            param="image",
        )
    if has_mask:
        raise RequestError(
            f"{upstream.name} ({upstream.provider.value}) takes no mask. Say in the prompt what is to change, or "
            "choose a model of an upstream that takes one.",
            param="mask",
        )


def check_count(images: int, param: str) -> None:
    """See that no more images are sent or named than are taken.

    Raises:
        RequestError: There are more.
    """
    if images > INPUTS_MAX:
        raise RequestError(f"At most {INPUTS_MAX} input images are taken; {images} were sent.", param=param)


def _is_stated(name: str, value: object) -> bool:
    """Whether a caller asked for something with this field, and not for what happens anyway."""
    return value not in (None, "auto") and not (name == "partial_images" and value == 0)


def _own_words(asked: ImagesRequest | GenerationsRequest) -> str | None:
    """The size as a relay gets it; None where it would lose the ratio stated beside it: pixels say both."""
    is_pixels = (asked.size or "")[:1].isdigit() and (asked.size or "").upper() not in set(Tier)
    return asked.size if is_pixels or not asked.aspect_ratio else None


def last_px(inputs: tuple[InputImage, ...]) -> tuple[int, int] | None:
    """The size of the last image, whose ratio is taken over where none is stated."""
    return (inputs[-1].width_px, inputs[-1].height_px) if inputs else None
