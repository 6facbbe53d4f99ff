"""`POST /v1/chat/completions` for models that make images: a chat program needs nothing but another base URL."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

from holdfast.config import Flavor
from holdfast.errors import RequestError
from holdfast.gateway.app import Endpoint, endpoint
from holdfast.gateway.asked import Asked, Routes, check_bears, ignored_by, ignored_elsewhere, last_px
from holdfast.gateway.auth import Authenticator
from holdfast.gateway.bodies import BodyReader, JsonBody, check_json
from holdfast.gateway.call import Call, CallerLeft
from holdfast.gateway.fetching import InputFetcher
from holdfast.gateway.generate import Generator
from holdfast.gateway.generations import Generations
from holdfast.gateway.held import Held
from holdfast.gateway.links import LinkMaker
from holdfast.gateway.passing import PassingOn
from holdfast.policy import sizes
from holdfast.providers.bearing import inputs_max
from holdfast.store.records import KeyRow
from holdfast.types import InputImage, Request, Surface
from holdfast.wire.chat import Shape
from holdfast.wire.chat_request import (
    CHAT_REQUEST_IMAGE,
    CHAT_REQUEST_PROSE,
    ChatView,
    NamedModel,
    Picture,
    decode_chat_request,
    named_model,
)

_GONE = frozenset({"generation_not_found", "image_expired"})
_OWN_LINK = re.compile(r"/v1/generations/(gen_[0-9A-Z]{26})/images/(\d{1,3})(?:\?.*)?")


class Chats:
    """Serves them."""

    def __init__(
        self,
        *,
        auth: Authenticator,
        bodies: BodyReader,
        routes: Routes,
        generator: Generator,
        earlier: Generations,
        fetcher: InputFetcher,
        links: LinkMaker,
    ) -> None:
        self._auth = auth
        self._bodies = bodies
        self._routes = routes
        self._generator = generator
        self._earlier = earlier
        self._fetcher = fetcher
        self._links = links
        self.passing: PassingOn | None = None
        """Serves the models that are passed through, if there are any."""

    def pass_by(self, passing: PassingOn | None) -> None:
        """Let models be passed through by another one from now on, or none any more."""
        before, self.passing = self.passing, passing
        if before is not None:
            before.retire()

    def endpoints(self) -> list[Endpoint]:
        """Everything that is served here."""
        return [endpoint("POST", "/v1/chat/completions", Surface.CHAT, self._complete)]

    async def _complete(self, call: Call, _: dict[str, str]) -> None:
        key = await self._auth.authenticate(call, Surface.CHAT)
        passing = self.passing
        if passing is None:
            asked = await self._read(call, key)
        else:
            check_json(call)
            async with passing.read(call) as raw:
                if raw.model is not None and passing.serves(raw.model):
                    key.scopes.check_model(raw.model)
                    passing.check_budget(await self._auth.budgets_of(key))
                    with self._generator.quotas.passing(key.id, key.limits):
                        await passing.serve(call, raw)
                    return
                asked = await self._read(call, key, passing.pieces(raw))
        held = asked if isinstance(asked, Held) else await self._generator.accept(call, key, asked)
        await self._generator.hold(call, held)

    async def _read(self, call: Call, key: KeyRow, pieces: AsyncIterator[bytes] | None = None) -> Asked | Held:
        body = await self._bodies.read_json(
            call, CHAT_REQUEST_IMAGE, links_stay=True, is_prose=CHAT_REQUEST_PROSE, pieces=pieces
        )
        view = decode_chat_request(body.skeleton, len(body.inputs))
        named = named_model(view.request.model, self._routes.is_served) if view.request.model else NamedModel(model="")
        upstreams = self._routes.upstreams_of(self._routes.find(named.model or None))
        check_bears(upstreams, images=len(view.own), has_mask=False)
        room = max(0, inputs_max(upstreams[0]) - len(view.own))
        # The user's own are his wish; of what was shown before, the last ones are what the talk is about.
        pictures = (*(view.earlier[-room:] if room else ()), *view.own)
        if any(isinstance(picture.place, str) for picture in pictures):
            early = from_chat(view, named, (), self._routes).sent_as(body.skeleton, body.inputs)
            if (held := await self._generator.repeat(call, key, early)) is not None:
                return held
        inputs = await self._had(call, pictures, body, key.id)
        return from_chat(view, named, inputs, self._routes).sent_as(body.skeleton, body.inputs)

    async def _had(
        self, call: Call, pictures: tuple[Picture, ...], body: JsonBody, key_id: str
    ) -> tuple[InputImage, ...]:
        """Get images that came along, that are our own, or that lie elsewhere."""
        had: dict[int, InputImage] = {}
        urls: dict[str, str] = {}
        for number, picture in enumerate(pictures):
            if isinstance(picture.place, int):
                had[number] = body.inputs[picture.place]
            elif (own := self._own(call, picture.place)) is not None:
                image = await self._own_image(picture, *own, key_id)
                if image is not None:
                    had[number] = image
            elif not picture.may_be_missing:
                urls[picture.where] = picture.place
        fetched = await self._fetcher.fetch(urls, call.request_id, key_id=key_id)
        if urls and call.has_left:
            raise CallerLeft
        placed = (had.get(number) or fetched.get(picture.where) for number, picture in enumerate(pictures))
        return tuple(image for image in placed if image is not None)

    def _own(self, call: Call, url: str) -> tuple[str, int] | None:
        """Recognise a link that we gave: it is not fetched from ourselves, and outlives its signature."""
        base = self._links.base_of(call)
        match = _OWN_LINK.fullmatch(url.removeprefix(base)) if url.startswith(base) else None
        return None if match is None else (match.group(1), int(match.group(2)))

    async def _own_image(self, picture: Picture, generation_id: str, index: int, key_id: str) -> InputImage | None:
        try:
            blob = await self._earlier.own_image(key_id, generation_id, index, where=picture.where)
            return await self._bodies.keep_again(blob, where=picture.where)
        except RequestError as exc:
            # A talk goes on when the pictures at its beginning are gone.
            if picture.may_be_missing and exc.code in _GONE:
                return None
            raise


def from_chat(view: ChatView, named: NamedModel, inputs: tuple[InputImage, ...], routes: Routes) -> Asked:
    """Understand a request of the chat surface.

    Raises:
        RequestError: No such model, or no such size.
    """
    asked = view.request
    route = routes.find(named.model or None)
    upstream = routes.first_upstream(route)
    size, aspect_ratio = view.size or named.size, view.aspect_ratio or named.aspect_ratio
    geometry = sizes.resolve(
        size,
        aspect_ratio=aspect_ratio,
        last_input_px=last_px(inputs),
        size_default=route.size_default,
        flavor=upstream.flavor,
    )
    shape = Shape.IMAGES if view.wants_images_field else Shape(routes.chat.images.value)
    is_pixels = (size or "")[:1].isdigit() and "x" in (size or "").lower()
    return Asked(
        request=Request(
            surface=Surface.CHAT,
            model=route.model,
            prompt=view.prompt,
            geometry=geometry,
            n=asked.n or 1,
            inputs=inputs,
            quality=asked.quality,
            response_format=shape.value,
            stream=bool(asked.stream),
            tells_usage=bool(asked.stream_options and asked.stream_options.include_usage),
            size_as_asked=size if upstream.flavor is Flavor.RELAY and (is_pixels or not aspect_ratio) else None,
            end_user=asked.safety_identifier or asked.user,
            metadata=asked.metadata,
        ),
        route=route,
        ignored=(*ignored_by(upstream, asked, route=route), *view.unknown),
        ignored_elsewhere=ignored_elsewhere(routes, asked, view.unknown, route=route),
    )
