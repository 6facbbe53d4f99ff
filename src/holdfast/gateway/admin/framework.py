"""What every endpoint of `/admin/v1` shares: a description, an admin's key or session, errors, and noted changes.

A page declares each endpoint as a `Spec` and serves it with a handler, which gives the value to be answered:

    GET_THING = Spec("GET", "/admin/v1/things/{id}", "getThing", "One thing", answer=Thing, codes=("not_found",))

    class Things:
        def served(self) -> tuple[Served, ...]:
            return (GET_THING.by(self._get),)

        async def _get(self, asked: AdminCall) -> Thing:
            return await asked.read(find_thing, asked.names["id"])

A handler that changes something goes through `AdminCall.change`: the change and its line in the log are one
transaction.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import msgspec

from holdfast.clock import Clock, rfc3339
from holdfast.errors import RequestError, StorageError
from holdfast.gateway.admin.gate import Actor, Gate
from holdfast.gateway.app import Endpoint, endpoint, tell
from holdfast.gateway.bodies import check_json
from holdfast.gateway.call import Call, CallerLeft, Headers
from holdfast.log import emit
from holdfast.policy.admission import storage_low
from holdfast.store.audit_log import note
from holdfast.store.port import Conn, Store
from holdfast.types import Surface
from holdfast.wire.admin_request import check_query, decode_body, moment, one_of, whole_number

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)

BODY_BYTES_MAX = 2 << 20
"""Of what an admin sends: documents, and a provider's export of a month; images go to the surfaces."""
LIMIT_MAX = 100
LIMIT_USUAL = 20
SECURITY: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
"""On every answer: none of it is a page, and all of it is an admin's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A word in the query."""

    name: str
    means: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string", "minLength": 1})


MOMENT: Mapping[str, Any] = {"anyOf": [{"type": "string", "format": each} for each in ("date-time", "date")]}
"""A moment with its zone, or a day, which begins at midnight UTC."""
AFTER = Parameter(name="after", means="`last_id` of the page before.")
LIMIT = Parameter(
    name="limit",
    means="How many on a page.",
    schema={"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_USUAL},
)


@dataclass(frozen=True, slots=True)
class Spec:
    """An endpoint as the OpenAPI document has it."""

    method: str
    path: str
    name: str
    """Its `operationId`."""
    summary: str
    answer: type[msgspec.Struct] | None = None
    """None: nothing is said (204), or `media` is no JSON."""
    status: int = 200
    media: str = "application/json"
    body: type[msgspec.Struct] | None = None
    """What a caller sends."""
    body_media: str = "application/json"
    """Where it is no JSON, there is no `body`."""
    parameters: tuple[Parameter, ...] = ()
    codes: tuple[str, ...] = ()
    """Errors beyond those of every endpoint."""
    links: tuple[str, ...] = ()
    """Operations that take the id of what is answered: the new thing's, or that of the first of a list."""

    def by(self, handler: Handler) -> Served:
        """Serve it."""
        return Served(self, handler)


class AdminCall:
    """A call of an admin, in the few verbs that handlers need."""

    __slots__ = ("_clock", "_gate", "_spec", "_store", "actor", "call", "headers", "names")

    def __init__(
        self,
        call: Call,
        actor: Actor,
        names: Mapping[str, str],
        *,
        spec: Spec,
        store: Store,
        clock: Clock,
        gate: Gate,
    ) -> None:
        self.call = call
        self.actor = actor
        self.names = names
        """What stands in the path's braces."""
        self.headers: Headers = []
        """Of the answer, beside the usual."""
        self._spec = spec
        self._store = store
        self._clock = clock
        self._gate = gate

    async def check_again(self) -> None:
        """See that whoever asked is still an admin: for answers that take long.

        Raises:
            CallerLeft: He is not; the answer is broken off.
        """
        try:
            await self._gate.admit(self.call)
        except RequestError as exc:
            raise CallerLeft from exc

    # What was asked

    def word(self, name: str, known: tuple[str, ...] | None = None) -> str | None:
        """A word of the query, one of `known` if those are given; None: left out."""
        value = self.call.query.get(name)
        return value if known is None else one_of(name, value, known)

    def number(self, name: str, *, usual: int, least: int, most: int) -> int:
        """A whole number of the query."""
        return whole_number(name, self.call.query.get(name), usual=usual, least=least, most=most)

    @property
    def limit(self) -> int:
        """How many are wanted on a page."""
        return self.number("limit", usual=LIMIT_USUAL, least=1, most=LIMIT_MAX)

    def moment(self, name: str) -> datetime | None:
        """A moment of the query, UTC."""
        return moment(name, self.call.query.get(name))

    async def raw(self) -> bytes:
        """The body as it came, bounded.

        Raises:
            RequestError: 413 `input_too_large`.
        """
        pieces: list[bytes] = []
        seen = 0
        async for piece in self.call.body():
            seen += len(piece)
            if seen > BODY_BYTES_MAX:
                raise RequestError(f"The body exceeds {BODY_BYTES_MAX:,} bytes.", code="input_too_large", status=413)
            pieces.append(piece)
        return b"".join(pieces)

    async def json(self) -> bytes:
        """The body, which calls itself JSON; empty where none came.

        Raises:
            RequestError: 413, or 415.
        """
        body = await self.raw()
        if body:
            check_json(self.call)
        return body

    async def body(self, expected: type[S]) -> S:
        """The body, read; one that is left out is an empty document.

        Raises:
            RequestError: 400, naming the field; 413, 415.
        """
        return decode_body(await self.json(), expected)

    # What is done

    @property
    def now(self) -> datetime:
        """The wall clock."""
        return self._clock.now()

    def new_id(self, prefix: str) -> str:
        """Make an id."""
        return self._clock.new_id(prefix)

    async def read(self, function: Callable[Concatenate[Conn, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Read in one snapshot, off the loop."""
        return await self._store.read(function, *args, **kwargs)

    async def change(
        self,
        work: Callable[[Conn], T],
        *,
        action: str,
        target: str | Callable[[T], str],
        details: Mapping[str, Any] | None = None,
    ) -> T:
        """Change something, and note that in the same transaction.

        Args:
            work: The change; what it raises is told, and nothing is changed nor noted. It may be run twice, the first
                time for nothing, as `Store.write` has it.
            action: `key.revoked`.
            target: The id of what is changed, or how it is read off what `work` gives.
            details: More of it; no secret.

        Raises:
            RequestError: 503 `storage_low`: the disk does not take it.
        """
        actor, at = self.actor.id, rfc3339(self._clock.now())

        def both(conn: Conn) -> T:
            done = work(conn)
            on = target if isinstance(target, str) else target(done)
            note(conn, actor=actor, action=action, target=on, at=at, details=details)
            return done

        try:
            return await self._store.write(both)
        except StorageError as exc:
            emit("storage.failed", level="error", message=str(exc))
            raise storage_low("does not take this request") from exc

    async def answer(self, value: msgspec.Struct | None) -> None:
        """Send what a handler gave, unless it has answered itself."""
        if self.call.started:
            return
        if value is None:
            await self.call.start(204, [(b"cache-control", b"no-store, no-transform"), *SECURITY, *self.headers])
            await self.call.finish()
        else:
            await self.call.json(self._spec.status, msgspec.json.encode(value), (*SECURITY, *self.headers))


Handler = Callable[[AdminCall], Awaitable[msgspec.Struct | None]]


@dataclass(frozen=True, slots=True)
class Served:
    """An endpoint, and what serves it."""

    spec: Spec
    handler: Handler


class Page(Protocol):
    """Some endpoints that belong together."""

    def served(self) -> Sequence[Served]:
        """All of them."""


class AdminApi:
    """Serves pages to admins."""

    def __init__(
        self, *, gate: Gate, store: Store, clock: Clock, pages: Sequence[Page], release: Callable[[], None]
    ) -> None:
        self.release = release
        """Ends what never ends by itself: the gateway goes."""
        self._gate = gate
        self._store = store
        self._clock = clock
        self._pages = pages

    def endpoints(self) -> list[Endpoint]:
        """Everything that is served."""
        return [self._endpoint(each) for page in self._pages for each in page.served()]

    def _endpoint(self, served: Served) -> Endpoint:
        spec = served.spec
        known = tuple(each.name for each in spec.parameters)

        async def handle(call: Call, names: dict[str, str]) -> None:
            try:
                actor = await self._gate.admit(call)
                check_query(call.query, known)
                asked = AdminCall(call, actor, names, spec=spec, store=self._store, clock=self._clock, gate=self._gate)
                await asked.answer(await served.handler(asked))
            except RequestError as exc:
                await tell(call, Surface.GENERATIONS, exc, more=SECURITY)

        return endpoint(spec.method, spec.path, Surface.GENERATIONS, handle)
