"""The endpoints: each reads its dialect, and hands on."""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.engine.engine import Engine
from holdfast.errors import RequestError
from holdfast.gateway import openapi
from holdfast.gateway.app import Endpoint, endpoint
from holdfast.gateway.asked import Asked, Routes, check_count, check_edit, from_gemini, from_native, from_openai
from holdfast.gateway.auth import Authenticator, speaks_gemini
from holdfast.gateway.bodies import JSON_TYPES, BodyReader
from holdfast.gateway.call import Call, CallerLeft
from holdfast.gateway.fetching import InputFetcher
from holdfast.gateway.forms import FORM, read_form
from holdfast.gateway.generate import Generator
from holdfast.gateway.generations import Generations
from holdfast.gateway.held import Held
from holdfast.gateway.results import Results
from holdfast.gateway.webhooks import Webhooks
from holdfast.store.records import KeyRow
from holdfast.types import InputImage, Surface
from holdfast.wire import gemini, openai
from holdfast.wire.gemini import GEMINI_REQUEST_IMAGE
from holdfast.wire.generations_request import decode_generations_request, is_input_image
from holdfast.wire.openai_edits import EDITS_REQUEST_IMAGE, IMAGE_BYTES_MAX, decode_edits_request

_DOCS_POLICY = b"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


class Surfaces:
    """The handlers of all surfaces."""

    def __init__(
        self,
        *,
        engine: Engine,
        auth: Authenticator,
        bodies: BodyReader,
        routes: Routes,
        generator: Generator,
        generations: Generations,
        webhooks: Webhooks,
        results: Results,
        fetcher: InputFetcher,
    ) -> None:
        self._engine = engine
        self._auth = auth
        self._bodies = bodies
        self._routes = routes
        self._generator = generator
        self._generations = generations
        self._webhooks = webhooks
        self._results = results
        self._fetcher = fetcher
        self._openapi = openapi.document()
        self._page = openapi.page(self._openapi)

    def endpoints(self) -> list[Endpoint]:
        """Everything that is served."""
        both: list[Endpoint] = []
        for version in ("v1", "v1beta"):
            models = f"/{version}/models/{{model}}"
            both += [
                endpoint("POST", f"{models}:generateContent", Surface.GEMINI, self._generate_content),
                endpoint("POST", f"{models}:streamGenerateContent", Surface.GEMINI, self._stream_generate_content),
            ]
        return [
            endpoint("POST", "/v1/images/generations", Surface.OPENAI, self._images_generations),
            endpoint("POST", "/v1/images/edits", Surface.OPENAI, self._images_edits),
            *both,
            endpoint("POST", "/v1/generations", Surface.GENERATIONS, self._create_generation),
            endpoint("GET", "/v1/generations", Surface.GENERATIONS, self._generations.list_own),
            endpoint("GET", "/v1/generations/{id}", Surface.GENERATIONS, self._generations.get),
            endpoint("DELETE", "/v1/generations/{id}", Surface.GENERATIONS, self._generations.delete),
            endpoint("GET", "/v1/generations/{id}/events", Surface.GENERATIONS, self._generations.events),
            endpoint("GET", "/v1/generations/{id}/result", Surface.GENERATIONS, self._results.serve),
            endpoint("POST", "/v1/generations/{id}/cancel", Surface.GENERATIONS, self._generations.cancel),
            endpoint("GET", "/v1/generations/{id}/images/{index}", Surface.GENERATIONS, self._generations.image),
            endpoint("GET", "/v1/models", Surface.OPENAI, self._models, by_credential=True),
            endpoint("GET", "/v1/models/{model}", Surface.OPENAI, self._model, by_credential=True),
            endpoint("GET", "/v1beta/models", Surface.GEMINI, self._gemini_models),
            endpoint("GET", "/v1beta/models/{model}", Surface.GEMINI, self._gemini_model),
            endpoint("GET", "/healthz", Surface.OPENAI, self._health),
            endpoint("GET", "/readyz", Surface.OPENAI, self._ready),
            endpoint("GET", "/openapi.json", Surface.OPENAI, self._document),
            endpoint("GET", "/docs", Surface.OPENAI, self._docs),
        ]

    async def _images_generations(self, call: Call, _: dict[str, str]) -> None:
        key = await self._auth.authenticate(call, Surface.OPENAI)
        await self._generator.hold(call, await self._generator.accept(call, key, await self._read_openai(call)))

    async def _read_openai(self, call: Call) -> Asked:
        body = await self._bodies.read_json(call, lambda _path: False)
        request, unknown = openai.decode_images_request(body.skeleton)
        return from_openai(request, unknown, (), self._routes).sent_as(body.skeleton, body.inputs)

    async def _images_edits(self, call: Call, _: dict[str, str]) -> None:
        key = await self._auth.authenticate(call, Surface.OPENAI)
        asked = await self._read_edit(call, key)
        held = asked if isinstance(asked, Held) else await self._generator.accept(call, key, asked)
        await self._generator.hold(call, held)

    async def _read_edit(self, call: Call, key: KeyRow) -> Asked | Held:
        is_form = call.content_type() == FORM
        if is_form:
            body = await read_form(self._bodies, call)
        elif call.content_type() in JSON_TYPES:
            body = await self._bodies.read_json(
                call, EDITS_REQUEST_IMAGE, links_stay=True, image_bytes_max=IMAGE_BYTES_MAX
            )
        else:
            raise RequestError(
                f"Send a form, `Content-Type: {FORM}`, or JSON, `application/json`.",
                code="unsupported_media_type",
                status=415,
            )
        view = decode_edits_request(body.skeleton, len(body.inputs), is_form=is_form)
        check_edit(view, self._routes)
        places = {f"images[{index}].image_url": place for index, place in enumerate(view.images)}
        if view.mask is not None:
            places["mask.image_url"] = view.mask
        urls = {at: place for at, place in places.items() if isinstance(place, str)}
        if urls:
            # A repeat waits for nobody else's server: whatever lies there by now, it is given what it was given.
            early = from_openai(view.request, view.unknown, (), self._routes).sent_as(body.skeleton, body.inputs)
            if (held := await self._generator.repeat(call, key, early)) is not None:
                return held
        fetched = await self._fetched(call, key.id, urls)
        placed = [fetched[at] if isinstance(place, str) else body.inputs[place] for at, place in places.items()]
        count = len(view.images)
        mask = placed[count] if view.mask is not None else None
        asked = from_openai(view.request, view.unknown, tuple(placed[:count]), self._routes, mask=mask)
        return asked.sent_as(body.skeleton, body.inputs)

    async def _create_generation(self, call: Call, _: dict[str, str]) -> None:
        key = await self._auth.authenticate(call, Surface.GENERATIONS)
        asked = await self._read_native(call, key)
        held = asked if isinstance(asked, Held) else await self._generator.accept(call, key, asked)
        if not isinstance(asked, Held) and asked.webhook is not None:
            self._webhooks.expect()
        await self._generator.hold(call, held)

    async def _read_native(self, call: Call, key: KeyRow) -> Asked | Held:
        body = await self._bodies.read_json(call, is_input_image)
        request = decode_generations_request(body.skeleton)
        if request.webhook is not None:
            self._webhooks.checked_url(request.webhook.url, "webhook.url")
        self._routes.find(request.model)
        images = request.images or ()
        urls = {f"images[{index}].url": image.url for index, image in enumerate(images) if image.url is not None}
        came_along: dict[int, InputImage] = {}
        for index, image in enumerate(images):
            where = f"images[{index}]"
            if image.b64 is not None:
                # What was cut out of the body left its number there.
                came_along[index] = body.inputs[int(image.b64)]
            elif image.generation_id is not None:
                blob = await self._generations.own_image(key.id, image.generation_id, image.index or 0, where=where)
                came_along[index] = await self._bodies.keep_again(blob, where=where)
        sent = tuple(came_along.values())
        if urls:
            early = from_native(request, (), self._routes).sent_as(body.skeleton, sent)
            if (held := await self._generator.repeat(call, key, early)) is not None:
                return held
        fetched = await self._fetched(call, key.id, urls)
        inputs = tuple(came_along.get(index) or fetched[f"images[{index}].url"] for index in range(len(images)))
        return from_native(request, inputs, self._routes).sent_as(body.skeleton, sent)

    async def _generate_content(self, call: Call, names: dict[str, str]) -> None:
        await self._gemini(call, names["model"], stream=False)

    async def _stream_generate_content(self, call: Call, names: dict[str, str]) -> None:
        if call.query.get("alt") != "sse":
            raise RequestError("Streams are served as server-sent events: add ?alt=sse.", param="alt")
        await self._gemini(call, names["model"], stream=True)

    async def _gemini(self, call: Call, model: str, *, stream: bool) -> None:
        key = await self._auth.authenticate(call, Surface.GEMINI)
        self._routes.find(model)
        asked = await self._read_gemini(call, key, model, stream=stream)
        held = asked if isinstance(asked, Held) else await self._generator.accept(call, key, asked)
        await self._generator.hold(call, held)

    async def _read_gemini(self, call: Call, key: KeyRow, model: str, *, stream: bool) -> Asked | Held:
        body = await self._bodies.read_json(call, GEMINI_REQUEST_IMAGE)
        view = gemini.decode_generate_request(body.skeleton)
        check_count(len(body.inputs) + len(view.references), "contents")
        if view.references:
            early = from_gemini(view, model, body.inputs, self._routes, stream=stream)
            early = early.sent_as(body.skeleton, body.inputs)
            if (held := await self._generator.repeat(call, key, early)) is not None:
                return held
        named = {each.where: each.uri for each in view.references}
        fetched = tuple((await self._fetched(call, key.id, named)).values())
        view = gemini.with_inlined(view, [image.mime for image in fetched], first_slot=len(body.inputs))
        asked = from_gemini(view, model, (*body.inputs, *fetched), self._routes, stream=stream)
        return asked.sent_as(body.skeleton, body.inputs)

    async def _fetched(self, call: Call, key_id: str, urls: Mapping[str, str]) -> dict[str, InputImage]:
        """Fetch what a request names by its address, in order.

        Raises:
            RequestError: Something of it cannot be had.
            CallerLeft: It took a while, and nobody is there any more to take what would come of it.
        """
        fetched = await self._fetcher.fetch(urls, call.request_id, key_id=key_id)
        if urls and call.has_left:
            raise CallerLeft
        return fetched

    async def _models(self, call: Call, names: dict[str, str]) -> None:
        if speaks_gemini(call):
            await self._gemini_models(call, names)
            return
        scopes = (await self._auth.authenticate(call)).scopes
        served = [*self._routes.names_for(scopes), *filter(scopes.allows_model, self._routes.passed)]
        await call.json(200, openai.render_models([openai.ModelView(id=name) for name in served]))

    async def _model(self, call: Call, names: dict[str, str]) -> None:
        if speaks_gemini(call):
            await self._gemini_model(call, names)
            return
        scopes = (await self._auth.authenticate(call)).scopes
        if names["model"] in self._routes.passed:
            scopes.check_model(names["model"])
        else:
            route = self._routes.find(names["model"])
            scopes.check_model(route.model, *route.aliases)
        await call.json(200, openai.render_model(openai.ModelView(id=names["model"])))

    async def _gemini_models(self, call: Call, _: dict[str, str]) -> None:
        scopes = (await self._auth.authenticate(call)).scopes
        await call.json(200, gemini.render_models(self._routes.names_for(scopes)))

    async def _gemini_model(self, call: Call, names: dict[str, str]) -> None:
        scopes = (await self._auth.authenticate(call)).scopes
        route = self._routes.find(names["model"])
        scopes.check_model(route.model, *route.aliases)
        await call.json(200, gemini.render_model(names["model"]))

    async def _health(self, call: Call, _: dict[str, str]) -> None:
        await call.json(200, b'{"status":"ok"}')

    async def _ready(self, call: Call, _: dict[str, str]) -> None:
        obstacle = self._engine.obstacle()
        if obstacle is None:
            await call.json(200, b'{"status":"ready"}')
        else:
            await call.json(503, b'{"status":"%s"}' % obstacle.encode())

    async def _document(self, call: Call, _: dict[str, str]) -> None:
        await call.respond(200, self._openapi, b"application/json", ((b"cache-control", b"no-cache"),))

    async def _docs(self, call: Call, _: dict[str, str]) -> None:
        headers = ((b"content-security-policy", _DOCS_POLICY), (b"x-content-type-options", b"nosniff"))
        await call.respond(200, self._page, b"text/html; charset=utf-8", headers)
