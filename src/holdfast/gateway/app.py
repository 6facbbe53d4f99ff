"""The ASGI application: finds the handler of a path, and tells every error in the caller's dialect."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from holdfast.clock import Clock
from holdfast.errors import RequestError, StorageError
from holdfast.gateway.astray import astray
from holdfast.gateway.auth import AWAY_RETRY_S, speaks_gemini
from holdfast.gateway.call import Call, CallerLeft, Headers, Receive, Scope, Send
from holdfast.log import emit
from holdfast.policy.cors import Sharing, is_shared
from holdfast.types import Charge, Surface
from holdfast.wire.failures import (
    content_type_of,
    error_headers,
    is_retryable,
    render_error,
    status_of,
    surface_of_path,
)

Header = tuple[bytes, bytes]
Handler = Callable[[Call, dict[str, str]], Awaitable[None]]
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One path and what serves it."""

    method: str
    pattern: re.Pattern[str]
    surface: Surface
    handler: Handler
    by_credential: bool = False
    """Two dialects share the path: a caller whose credential is Google's is told errors in Google's."""

    def surface_for(self, call: Call) -> Surface:
        """The dialect in which this caller is told an error."""
        return Surface.GEMINI if self.by_credential and speaks_gemini(call) else self.surface


def endpoint(method: str, path: str, surface: Surface, handler: Handler, *, by_credential: bool = False) -> Endpoint:
    """Declare an endpoint; `{name}` in the path matches one segment, without a colon."""
    pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/:]+)", re.escape(path))
    return Endpoint(
        method=method, pattern=re.compile(pattern), surface=surface, handler=handler, by_credential=by_credential
    )


class _WrongMethod(RequestError):
    """The path exists, the method does not."""

    def __init__(self, method: str, allowed: set[str]) -> None:
        super().__init__(
            f"{method[:20]} is not served here; use {' or '.join(sorted(allowed))}.",
            code="method_not_allowed",
            status=405,
        )
        self.allowed = allowed | ({"HEAD"} if "GET" in allowed else set())


class App:
    """Serves the endpoints it is given."""

    def __init__(
        self, endpoints: list[Endpoint], *, clock: Clock, body_bytes_max: int, sharing: Sharing | None = None
    ) -> None:
        """Serve them; pages of other origins may call where `sharing` says so."""
        self._endpoints = endpoints
        self._sharing = sharing
        self._clock = clock
        self._body_bytes_max = body_bytes_max
        self.in_progress = 0
        """Calls being answered."""
        self.idle = asyncio.Event()
        """Set while none is."""
        self.idle.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Nothing but cancellation comes out of here."""
        call = Call(scope, receive, send, request_id=self._clock.new_id("req"), body_bytes_max=self._body_bytes_max)
        self.in_progress += 1
        self.idle.clear()
        surface = _surface_guess(call)
        if self._sharing is not None and is_shared(call.path):
            call.shared = self._sharing.told(call.headers.get("origin"))
        try:
            surface, handler, names = self._find(call)
            await handler(call, names)
        except RequestError as exc:
            await tell(call, surface, exc)
        except CallerLeft:
            call.break_off()
        except StorageError as exc:
            emit("storage.failed", level="error", message=str(exc), path=call.path, request_id=call.request_id)
            await self._fail_for_now(call, surface)
        except Exception as exc:  # noqa: BLE001 - the border of a request: recorded, and answered 500
            emit("fault.internal", level="error", exc=exc, path=call.path, request_id=call.request_id)
            await self._fail(call, surface)
        finally:
            self.in_progress -= 1
            if not self.in_progress:
                self.idle.set()
            call.break_off()

    def _find(self, call: Call) -> tuple[Surface, Handler, dict[str, str]]:
        if _FORBIDDEN.search(call.path):
            raise RequestError("The path holds a control character.")
        method = "GET" if call.method == "HEAD" else call.method
        allowed: set[str] = set()
        for each in self._endpoints:
            match = each.pattern.fullmatch(call.path)
            if match is None:
                continue
            if each.method == method:
                return each.surface_for(call), each.handler, match.groupdict()
            allowed.add(each.method)
        if self._is_preflight(call):
            return _surface_guess(call), self._tell_browser, {"methods": " ".join(allowed or {"GET", "POST"})}
        if allowed:
            raise _WrongMethod(call.method, allowed)
        hint = astray(call.path, lambda path: any(each.pattern.fullmatch(path) for each in self._endpoints))
        raise RequestError(f"Nothing is served at {call.path[:200]}. {hint}", code="not_found", status=404)

    def _is_preflight(self, call: Call) -> bool:
        """Whether a browser asks if a page that may call at all may make a certain call; it shows no key with that."""
        headers, sharing = call.headers, self._sharing
        is_asked = call.method == "OPTIONS" and "access-control-request-method" in headers
        return is_asked and sharing is not None and is_shared(call.path) and sharing.allows(headers.get("origin"))

    async def _tell_browser(self, call: Call, names: dict[str, str]) -> None:
        assert self._sharing is not None
        wanted = call.headers.get("access-control-request-headers", "")
        await call.start(204, [*self._sharing.preflight(wanted, names["methods"].split())])
        await call.finish()

    async def _fail_for_now(self, call: Call, surface: Surface) -> None:
        """Tell that the store does not answer: nobody's mistake, and over when it does."""
        message = "What the gateway keeps its records in does not answer at this moment. Ask again in a few seconds."
        error = RequestError(message, code="storage_low", status=503, retry_after_s=AWAY_RETRY_S)
        # Who only looks buys nothing; of anything else it is not known how far it came.
        is_look = call.method in ("GET", "HEAD")
        await tell(call, surface, error, paid=Charge.NO if is_look else Charge.UNKNOWN)

    async def _fail(self, call: Call, surface: Surface) -> None:
        if call.started:
            call.break_off()
        else:
            message = f"The gateway failed. Look for {call.request_id} in its log."
            # What an upstream may have charged is not known here: never claim that nothing was.
            error = RequestError(message, code="internal_error", status=500)
            await tell(call, surface, error, paid=Charge.UNKNOWN)


async def tell(
    call: Call, surface: Surface, error: RequestError, *, paid: Charge = Charge.NO, more: Iterable[Header] = ()
) -> None:
    """Answer a request that was refused before anything was bought, with `more` headers beside ours."""
    if call.started or call.has_left:
        call.break_off()
        return
    emit(
        "request.refused",
        path=call.path,
        code=error.code,
        status=error.status,
        request_id=call.request_id,
        client=call.client,
    )
    id_ = error.generation_id
    # This POST has bought nothing; the generation that it is about may have.
    paid = paid if id_ is None else Charge.UNKNOWN
    retryable = is_retryable(error.code, paid, joins=error.code == "idempotency_in_flight")
    body = render_error(
        surface,
        code=error.code,
        message=error.message,
        paid=paid,
        retryable=retryable,
        generation_id=id_,
        param=error.param,
        retry_after_s=error.retry_after_s,
    )
    headers: Headers = error_headers(code=error.code, paid=paid, retryable=retryable, retry_after_s=error.retry_after_s)
    if id_ is not None:
        headers += [(b"generation-id", id_.encode()), (b"location", f"/v1/generations/{id_}".encode())]
    headers += [(b"cache-control", b"no-store, no-transform"), *more]
    if isinstance(error, _WrongMethod):
        # RFC 9110 §15.5.6: a 405 must say what is allowed.
        headers.append((b"allow", ", ".join(sorted(error.allowed)).encode()))
    if error.code == "draining":
        # Whoever comes again on this connection would find the same process.
        headers.append((b"connection", b"close"))
    if error.status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="holdfast"'))
    status = status_of(surface, error.code, paid)
    await call.respond(status, body, content_type_of(surface), headers)


def _surface_guess(call: Call) -> Surface:
    """The dialect of a path that nothing serves; where it could be anybody's, the credential tells."""
    surface = surface_of_path(call.path)
    return Surface.GEMINI if surface is Surface.OPENAI and speaks_gemini(call) else surface
