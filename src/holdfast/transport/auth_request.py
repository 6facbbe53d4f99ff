"""How `google-auth` asks for tokens: small HTTP exchanges from a thread, under the rules of every exchange here.

Nothing is taken from the environment: no proxies. Redirects are not followed, since a signed assertion goes along, and
nothing but HTTP is spoken, whatever a credential's file names.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage, IncompleteRead
from typing import IO, Any
from urllib.error import HTTPError

REQUEST_S = 10.0
"""For one exchange; a token takes a tenth of a second."""
ANSWER_BYTES_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class AuthAnswer:
    """What `google-auth` looks at."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case, as `google-auth` asks for them."""
    data: bytes


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        """Follow none: the answer is what it is."""


class AuthRequest:
    """A `google.auth.transport.Request`, by its shape."""

    def __init__(self) -> None:
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Stay())

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **_: Any,
    ) -> AuthAnswer:
        """Perform one exchange.

        Raises:
            TransportError: google-auth's own, when there is no answer.
        """
        from google.auth.exceptions import TransportError

        if not url.startswith(("https://", "http://")):
            raise TransportError("the address of the token service is no HTTP")
        request = urllib.request.Request(url, data=body, headers=dict(headers or {}), method=method)
        try:
            with self._answered(request, min(timeout or REQUEST_S, REQUEST_S)) as answer:
                headers = {name.lower(): value for name, value in answer.headers.items()}
                # Where it is looked at, it is taken to be there.
                headers.setdefault("content-type", "text/plain")
                data = answer.read(ANSWER_BYTES_MAX)
                if answer.length:
                    raise IncompleteRead(data, answer.length)
                return AuthAnswer(answer.status, headers, data)
        except (OSError, HTTPException) as exc:
            raise TransportError(type(exc).__name__) from exc

    def _answered(self, request: urllib.request.Request, timeout_s: float) -> Any:
        try:
            return self._opener.open(request, timeout=timeout_s)
        except HTTPError as exc:
            # It is an answer like any other, whose body may break off like any other's.
            return exc
