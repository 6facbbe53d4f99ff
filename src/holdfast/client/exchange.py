"""Between our values and httpx2's: a request made, a head read, an exception understood. The only file that knows why
an exchange broke, for both clients.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx2

from holdfast.client import defaults as d
from holdfast.client.address import Address
from holdfast.client.defaults import Mode
from holdfast.client.spool import DiskError
from holdfast.client.steps import Break, Cause, Send
from holdfast.errors import ConfigError, is_disk_full
from holdfast.providers.http import Head
from holdfast.types import Phase

BREAKS = (httpx2.TransportError, httpx2.InvalidURL, httpx2.DecodingError, httpx2.StreamError, OSError)
"""What an exchange may end with. Anything else is a mistake of ours and comes out as it is."""


def request_of(send: Send, mode: Mode) -> httpx2.Request:
    """Write a request; its body is read anew each time."""
    ask = send.ask
    body: Any = None
    headers = list(ask.headers)
    if ask.body is not None:
        headers.append(("Content-Length", str(len(ask.body))))
        if len(ask.body.parts) == 1:
            body = ask.body.parts[0]
        else:
            body = iter(ask.body.parts) if mode is Mode.SYNC else ask.body.slowly()
    timeout = {"connect": send.connect_s, "read": send.read_s, "write": send.write_s, "pool": send.pool_s}
    return httpx2.Request(ask.method, ask.url, headers=headers, content=body, extensions={"timeout": timeout})


def head_of(response: httpx2.Response) -> Head:
    """Read status and headers."""
    headers: dict[str, tuple[str, ...]] = {}
    for name, value in response.headers.raw:
        key = name.decode("latin-1").lower()
        headers[key] = (*headers.get(key, ()), value.decode("latin-1"))
    return Head(status=response.status_code, headers=headers)


def transport_options(
    address: Address, mode: Mode, *, proxy: str | None, verify: bool | ssl.SSLContext, environ: Mapping[str, str]
) -> dict[str, Any]:
    """Give the arguments of `httpx2.HTTPTransport` and its twin.

    Raises:
        ConfigError: The proxy is no address; the variable that names it is told.
    """
    pool = d.POOLS[mode]
    return {
        "verify": verify,
        "http1": True,
        "http2": False,
        "limits": httpx2.Limits(
            max_connections=pool.connections_max,
            max_keepalive_connections=pool.kept_max,
            keepalive_expiry=d.IDLE_REUSE_S,
        ),
        "socket_options": d.socket_options(),
        "proxy": proxy_of(address, proxy=proxy, environ=environ),
    }


def proxy_of(address: Address, *, proxy: str | None, environ: Mapping[str, str]) -> httpx2.Proxy | None:
    """Choose the proxy: the one that was given, else the environment's, never for this machine itself.

    Args:
        address: Where the calls go.
        proxy: As given to the client; an empty text means none, whatever the environment says.
        environ: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`, in either case.

    Raises:
        ConfigError: It is no address of a proxy.
    """
    where, named = proxy, "proxy"
    if proxy is None and not address.is_loopback:
        parts = urlsplit(address.base_url)
        found = _proxies_in(environ)
        if not _is_bypassed((parts.hostname or "").lower(), parts.netloc.lower(), found.get("no", "")):
            kind = parts.scheme if parts.scheme in found else "all"
            where, named = found.get(kind), f"the environment variable {kind.upper()}_PROXY"
    if not where:
        return None
    text = where if "://" in where else f"http://{where}"
    try:
        made = httpx2.Proxy(url=text)
        if not made.url.host or made.url.scheme not in ("http", "https", "socks5", "socks5h"):
            raise ValueError("no proxy's address")
    except (ValueError, httpx2.InvalidURL) as exc:
        raise ConfigError(
            f"{named} is no address of a proxy. Write http://host:port, or set NO_PROXY for {address.origin}.",
            key="proxy",
        ) from exc
    return made


def _proxies_in(environ: Mapping[str, str]) -> dict[str, str]:
    """Read what `urllib.request` reads: lower case wins."""
    found: dict[str, str] = {}
    for name, value in sorted(environ.items()):
        lower = name.lower()
        if lower.endswith("_proxy") and value and (name == lower or lower not in environ):
            found[lower.removesuffix("_proxy")] = value
    return found


def _is_bypassed(host: str, netloc: str, no_proxy: str) -> bool:
    """Read `NO_PROXY` as `urllib` and curl do: `*`, hosts with or without port, and the domains they end in."""
    names = [name.strip().lower().lstrip(".") for name in no_proxy.split(",")]
    return "*" in names or any(
        name and (each == name or each.endswith("." + name)) for name in names for each in (host, netloc)
    )


def break_of(
    error: BaseException,
    *,
    has_head: bool,
    address: Address,
    proxied: bool,
    received_bytes: int | None = None,
    url: str = "",
) -> Break:
    """Say how an exchange broke, from the kinds of exceptions alone.

    Args:
        error: What httpx2 raised.
        has_head: Whether the answer had begun.
        address: Where the call went, for the sentence.
        proxied: Whether a proxy stands between.
        received_bytes: Of a file, in hand.
        url: Where the request went, if to another host.

    Raises:
        OSError: This machine's disk is full or broken; it is the error itself.
    """
    if isinstance(error, DiskError) or (isinstance(error, OSError) and is_disk_full(error)):
        # No break of the line: what came cannot be kept here, and coming once more it could not either.
        raise error
    origin = address.origin if not url or url.startswith(address.origin) else "://".join(urlsplit(url)[:2])
    phase = _phase_of(error, has_head=has_head)
    cause, detail = _cause_of(error, phase, origin, proxied=proxied)
    return Break(phase=phase, cause=cause, detail=detail, received_bytes=received_bytes)


def _phase_of(error: BaseException, *, has_head: bool) -> Phase:
    if has_head:
        return Phase.RECEIVE
    unsent = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)
    if isinstance(error, (*unsent, httpx2.UnsupportedProtocol, httpx2.InvalidURL, httpx2.LocalProtocolError)):
        return Phase.CONNECT
    if isinstance(error, httpx2.WriteError | httpx2.WriteTimeout):
        return Phase.SEND
    return Phase.WAIT


_MOMENTS = {
    Phase.CONNECT: "while connecting",
    Phase.SEND: "while the request was sent",
    Phase.WAIT: "while the answer was awaited",
    Phase.RECEIVE: "in the middle of the answer",
    Phase.DECODE: "in the middle of the answer",
}


def _cause_of(error: BaseException, phase: Phase, origin: str, *, proxied: bool) -> tuple[Cause, str]:
    chain = _chain(error)
    for each in chain:
        if isinstance(each, ssl.SSLCertVerificationError):
            return Cause.CERTIFICATE, _certificate(each, origin)
        if isinstance(each, ssl.SSLError) and phase is Phase.CONNECT:
            if each.reason in (
                "WRONG_VERSION_NUMBER",
                "RECORD_LAYER_FAILURE",
                "HTTP_REQUEST",
                "UNEXPECTED_EOF_WHILE_READING",
            ):
                http = origin.replace("https://", "http://", 1)
                return Cause.NOT_TLS, f"{origin} does not speak TLS: its port is a plain one. Write {http} as base_url."
            return Cause.CERTIFICATE, f"{origin}: the TLS handshake failed ({each.reason or 'no reason given'})."
    if isinstance(error, httpx2.ProxyError) or (proxied and phase is Phase.CONNECT):
        what = f"The proxy in front of {origin} cannot be reached or refused the call"
        return Cause.PROXY, f"{what}: see HTTPS_PROXY and HTTP_PROXY, or name {origin} in NO_PROXY."
    if isinstance(error, httpx2.PoolTimeout):
        return Cause.POOL, "All connections of this client are in use. Make fewer calls at once, or another client."
    if any(isinstance(each, socket.gaierror) for each in chain):
        return Cause.NAME, f"The host of {origin} is not known: see whether base_url is spelled right."
    if isinstance(error, httpx2.TimeoutException | TimeoutError):
        return Cause.TIMEOUT, f"{origin} said nothing for too long {_MOMENTS[phase]}."
    if phase is Phase.CONNECT:
        return Cause.REFUSED, f"{origin} cannot be reached: nobody answers on this port. Is the server running?"
    told = f"The connection to {origin} broke {_MOMENTS[phase]}."
    if isinstance(error, httpx2.RemoteProtocolError) and phase is Phase.WAIT and origin.startswith("http://"):
        # What a TLS port answers to plain HTTP is no HTTP, or nothing.
        told += f" If its port speaks TLS, write https://{origin.removeprefix('http://')} as base_url."
    return Cause.LOST, told


def _certificate(error: ssl.SSLCertVerificationError, origin: str) -> str:
    # OpenSSL's numbers, X509_V_ERR_*: 9 not yet valid, 10 expired, 18 and 19 self-signed, 20 issuer unknown, 62 host.
    what = {
        9: "is not valid yet: see whether this machine's clock is right",
        10: "has expired: it is the server's to renew; or this machine's clock is wrong",
        18: "is signed by itself: pass verify=ssl.create_default_context(cafile=…) with its certificate",
        19: "is signed by an authority of its own: pass verify=ssl.create_default_context(cafile=…)",
        20: "is signed by an authority that is not known here: pass verify=ssl.create_default_context(cafile=…)",
        62: "is for another host: see base_url",
    }.get(error.verify_code, f"cannot be verified ({error.verify_message})")
    return f"The certificate of {origin} {what}. Nothing was sent."


def _chain(error: BaseException) -> tuple[BaseException, ...]:
    chain: list[BaseException] = []
    each: BaseException | None = error
    while each is not None and len(chain) < 10:
        chain.append(each)
        each = each.__cause__ or each.__context__
    return tuple(chain)
