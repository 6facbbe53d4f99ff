"""`GET /v1/generations/{id}/result`: where a caller goes on waiting that is held by redirects.

It is answered as its POST would have been, in that dialect and with the true status, or sent on once more. The redirect
carries a permission of its own, for where the credential does not come along: SDKs keep headers on the same origin, but
a key in the query stays behind. A key that is shown all the same must be the generation's own.
"""

from __future__ import annotations

from holdfast.engine.engine import Engine
from holdfast.errors import RequestError
from holdfast.gateway.app import tell
from holdfast.gateway.auth import Authenticator, presented_key
from holdfast.gateway.call import Call
from holdfast.gateway.generate import Generator
from holdfast.gateway.heads import generation_headers
from holdfast.gateway.links import LinkMaker, Onward
from holdfast.policy.hops import hop_number
from holdfast.store.records import Record
from holdfast.types import Surface

CROWDED_RETRY_S = 5.0


class Results:
    """Serves them."""

    def __init__(self, *, engine: Engine, auth: Authenticator, generator: Generator, links: LinkMaker) -> None:
        self._engine = engine
        self._auth = auth
        self._generator = generator
        self._links = links

    async def serve(self, call: Call, names: dict[str, str]) -> None:
        """Hold a caller who was sent on."""
        onward = _onward(call, names["id"])
        is_signed = self._links.is_onward(onward, call.query)
        record = await self._record(call, onward.generation_id, is_signed=is_signed)
        if not is_signed:
            # What nobody signed is the caller's own word: its time is the generation's.
            onward = Onward(generation_id=onward.generation_id, hop=onward.hop)
        if call.method == "HEAD":
            # Whoever only looks is not made to wait, and has collected nothing.
            await call.start(200, generation_headers(onward.generation_id, ()))
            await call.finish()
            return
        surface = Surface(record.generation.surface)
        try:
            if self._engine.is_crowded:
                raise RequestError(
                    "Too many callers wait at this moment.",
                    code="overloaded",
                    status=503,
                    retry_after_s=CROWDED_RETRY_S,
                )
            held = self._generator.resumed(call, record, onward)
            # Held for long from here on: without the prompt.
            del record
            await self._generator.hold(call, held)
        except RequestError as exc:
            await tell(call, surface, exc)

    async def _record(self, call: Call, generation_id: str, *, is_signed: bool) -> Record:
        key_id = None
        if presented_key(call) is not None or not is_signed:
            if "sig" in call.query and presented_key(call) is None:
                raise RequestError(
                    "The link is not valid or has expired. Send your API key along, or repeat the request itself.",
                    code="invalid_api_key",
                    status=401,
                )
            key_id = (await self._auth.authenticate(call)).id
        record = await self._engine.record(generation_id)
        if record is None or (key_id is not None and record.generation.key_id != key_id):
            raise RequestError("There is no such generation.", code="generation_not_found", status=404)
        if record.generation.surface == Surface.GENERATIONS:
            raise RequestError(
                "It was asked for natively, and nobody is held for it: ask GET /v1/generations/{id}.",
                code="generation_not_found",
                status=404,
                generation_id=generation_id,
            )
        return record


def _onward(call: Call, generation_id: str) -> Onward:
    until = call.query.get("until", "")
    is_number = until.isascii() and until.isdigit() and len(until) <= 15
    return Onward(
        generation_id=generation_id, hop=hop_number(call.query.get("hop")), until=int(until) if is_number else None
    )
