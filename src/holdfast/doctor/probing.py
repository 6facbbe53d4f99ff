"""One look at a path: resolve, connect, shake hands, ask once and write down what comes, piece by piece.

Every exchange has a connection of its own, without TCP keepalive: its probes would keep alive what is to be seen dying.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from holdfast.doctor.certificate import validity_of
from holdfast.doctor.findings import Connected, Named, Secured
from holdfast.doctor.http1 import End, Exchange, Reading, request_bytes

NAME_S = 10.0
CONNECT_S = 10.0
"""As published for clients of slow images: connect 10 s."""
SUSPECTED_S = 3.0
"""For a handshake that is only tried to say why plain HTTP led to nothing."""
READ_BYTES = 65_536
WRITE_BYTES = 65_536
RECORD_MARK = b"\x15\x03"
"""A TLS alert: whoever sends one to plain HTTP speaks TLS (RFC 8446 §5.1)."""
_EXPIRED, _NOT_YET = 10, 9
_MISMATCH = (62, 64)
"""OpenSSL's X509_V_ERR_* numbers."""


class Unreachable(Exception):
    """The path ends before anybody was asked; the text says where, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where to ask."""

    scheme: str
    host: str
    port: int
    base: str
    """Path before what is asked for, `/v1`."""
    address: str | None = None
    """To connect to, once it is known."""
    context: ssl.SSLContext | None = None

    @property
    def host_header(self) -> str:
        """For the Host header; the port where it is not the scheme's."""
        shown = f"[{self.host}]" if ":" in self.host else self.host
        is_usual = self.port == (443 if self.scheme == "https" else 80)
        return shown if is_usual else f"{shown}:{self.port}"


async def resolve(target: Target) -> Named:
    """Look the name up.

    Raises:
        Unreachable: It has no address, or nobody says.
    """
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    try:
        async with asyncio.timeout(NAME_S):
            found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except TimeoutError as exc:
        raise Unreachable(f"{target.host}: no resolver answers within {NAME_S:g} s. Is there a network?") from exc
    except (OSError, UnicodeError) as exc:
        raise Unreachable(f"{target.host} does not resolve. Is the name spelled right?") from exc
    addresses = tuple(dict.fromkeys(str(each[4][0]) for each in found))
    return Named(addresses=addresses, took_s=loop.time() - began_s)


async def connect(target: Target, addresses: tuple[str, ...]) -> Connected:
    """Find an address that takes a connection.

    Raises:
        Unreachable: None does.
    """
    loop = asyncio.get_running_loop()
    failures: list[str] = []
    for address in addresses[:4]:
        began_s = loop.time()
        try:
            async with asyncio.timeout(CONNECT_S):
                _, writer = await asyncio.open_connection(address, target.port)
        except TimeoutError:
            failures.append(f"{address}: no answer within {CONNECT_S:g} s (dropped by a firewall, or nothing is there)")
            continue
        except OSError as exc:
            failures.append(f"{address}: {exc.strerror or exc}")
            continue
        writer.close()
        return Connected(address=address, port=target.port, took_s=loop.time() - began_s)
    raise Unreachable(f"Port {target.port} of {target.host} cannot be connected to: {'; '.join(failures)}.")


async def secure(target: Target) -> Secured:
    """Shake hands once, offering HTTP/2 and HTTP/1.1, and look at the certificate.

    Raises:
        Unreachable: There is no TLS to be had, or it is not to be trusted; nothing was sent.
    """
    loop = asyncio.get_running_loop()
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    began_s = loop.time()
    try:
        writer = await _shaken(target, context, within_s=CONNECT_S)
    except (TimeoutError, ConnectionAbortedError) as exc:
        raise Unreachable(f"The TLS handshake had no answer within {CONNECT_S:g} s.") from exc
    except ssl.SSLCertVerificationError as exc:
        raise Unreachable(await _distrusted(target, exc)) from exc
    except ssl.SSLError as exc:
        raise Unreachable(await _no_tls(target, exc)) from exc
    except OSError as exc:
        raise Unreachable(f"The connection ended in the TLS handshake ({exc.strerror or exc}).") from exc
    took_s = loop.time() - began_s
    try:
        tls = writer.get_extra_info("ssl_object")
        certificate = tls.getpeercert() or {}
        ends_s = ssl.cert_time_to_seconds(certificate["notAfter"])
        return Secured(
            took_s=took_s,
            version=tls.version() or "TLS",
            chooses=tls.selected_alpn_protocol(),
            subject=_common_name(certificate.get("subject", ())) or target.host,
            issuer=_common_name(certificate.get("issuer", ())) or "an authority without a name",
            days_left=(ends_s - datetime.now(UTC).timestamp()) / 86_400,
        )
    finally:
        writer.transport.abort()


def _common_name(names: object) -> str | None:
    if not isinstance(names, tuple):
        return None
    found = dict(pair for group in names for pair in group)
    return found.get("commonName") or found.get("organizationName")


async def _distrusted(target: Target, error: ssl.SSLCertVerificationError) -> str:
    """Say why a certificate is not trusted, and what would help."""
    if error.verify_code in (_EXPIRED, _NOT_YET):
        der = await _certificate(target)
        valid = None if der is None else validity_of(der)
        if error.verify_code == _EXPIRED:
            since = f" since {valid[1]:%Y-%m-%d %H:%M} UTC" if valid else ""
            return f"The certificate of {target.host} has expired{since}. Renew it there, or set this machine's clock."
        until = f" before {valid[0]:%Y-%m-%d %H:%M} UTC" if valid else ""
        return f"The certificate of {target.host} is not valid{until}. Is this machine's clock right?"
    if error.verify_code in _MISMATCH:
        return f"The certificate is not for {target.host} ({error.verify_message}). Use the name that it is for."
    return (
        f"The certificate of {target.host} is not trusted: {error.verify_message}. For an authority of your own, name "
        "its file in SSL_CERT_FILE."
    )


async def _certificate(target: Target, *, within_s: float = CONNECT_S) -> bytes | None:
    """Fetch the certificate without trusting it; nothing is sent on that connection."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        writer = await _shaken(target, context, within_s=within_s)
    except (OSError, TimeoutError):
        return None
    try:
        found: bytes | None = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return found
    finally:
        writer.transport.abort()


async def _shaken(target: Target, context: ssl.SSLContext, *, within_s: float) -> asyncio.StreamWriter:
    """Connect and shake hands; raises as `asyncio.open_connection` does, ConnectionAbortedError when that takes long.

    The handshake has a limit of its own: cancelled, it would leave its connection open until the other side says
    goodbye, which whoever does not speak TLS never does.
    """
    async with asyncio.timeout(2 * within_s):
        _, writer = await asyncio.open_connection(
            target.address, target.port, ssl=context, server_hostname=target.host, ssl_handshake_timeout=within_s
        )
    return writer


async def _no_tls(target: Target, error: ssl.SSLError) -> str:
    plain = replace(target, scheme="http", context=None)
    seen = await ask(plain, "GET", f"{target.base}/probe/echo", wait=CONNECT_S)
    if seen.head is not None:
        return f"Port {target.port} speaks plain HTTP, not TLS. Write http://{target.host_header}{target.base}."
    return f"The TLS handshake failed: {error.reason or 'no reason given'}."


async def speaks_tls(target: Target) -> bool:
    """Whether a port on which plain HTTP led to nothing takes a TLS handshake."""
    return await _certificate(target, within_s=SUSPECTED_S) is not None


def context_for(scheme: str) -> ssl.SSLContext | None:
    """Make what all further exchanges shake hands with: HTTP/1.1 alone."""
    if scheme != "https":
        return None
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


class Patience:
    """How long an answer is waited for; it may be ended before, and what has come by then is kept."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timeout: asyncio.Timeout | None = None

    @contextlib.asynccontextmanager
    async def waiting(self) -> AsyncIterator[None]:
        """Wait from now on.

        Raises:
            TimeoutError: It has been waited for long enough.
        """
        try:
            async with asyncio.timeout(self._seconds) as self._timeout:
                yield
        finally:
            self._timeout = None

    def end(self) -> None:
        """Wait no longer."""
        if self._timeout is not None and not self._timeout.expired():
            self._timeout.reschedule(asyncio.get_running_loop().time())


async def ask(
    target: Target,
    method: str,
    path: str,
    *,
    headers: tuple[tuple[str, str], ...] = (),
    content_bytes: int | None = None,
    sends_body: bool = True,
    wait: Patience | float,
) -> Exchange:
    """Ask once, on a connection of its own.

    Args:
        target: Whom.
        method: `GET`, `POST`.
        path: And query.
        headers: More of them.
        content_bytes: Length of a body of zeros.
        sends_body: Or whether it is only announced.
        wait: Longest time from the request to the end of the answer, seconds.
    """
    loop = asyncio.get_running_loop()
    try:
        async with _connected(target) as (reader, writer):
            began_s = loop.time()
            writer.write(
                request_bytes(method, path, host=target.host_header, headers=headers, content_bytes=content_bytes)
            )
            reading = Reading()
            sending = None
            if content_bytes and sends_body:
                sending = asyncio.create_task(_send_zeros(writer, content_bytes), name="body")
            try:
                patience = wait if isinstance(wait, Patience) else Patience(wait)
                end = await _read(reader, reading, began_s, patience)
            finally:
                if sending is not None:
                    sending.cancel()
                    await asyncio.wait([sending])
            return reading.result(end, loop.time() - began_s)
    except (OSError, TimeoutError):
        return Exchange(end=End.UNCONNECTED, end_s=0.0)


@contextlib.asynccontextmanager
async def _connected(target: Target) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with asyncio.timeout(2 * CONNECT_S):
        reader, writer = await asyncio.open_connection(
            target.address or target.host,
            target.port,
            ssl=target.context,
            server_hostname=target.host if target.context is not None else None,
            ssl_handshake_timeout=CONNECT_S if target.context is not None else None,
        )
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def _send_zeros(writer: asyncio.StreamWriter, count: int) -> None:
    # Whoever refuses closes while this writes: the refusal is what is looked for, and the reader has it.
    with contextlib.suppress(OSError):
        left = count
        while left:
            piece = min(left, WRITE_BYTES)
            writer.write(bytes(piece))
            await writer.drain()
            left -= piece


async def _read(reader: asyncio.StreamReader, reading: Reading, began_s: float, patience: Patience) -> End:
    """Read to the end; what is returned counts unless the answer ended by itself."""
    loop = asyncio.get_running_loop()
    try:
        async with patience.waiting():
            while reading.end is None:
                data = await reader.read(READ_BYTES)
                reading.feed(data, loop.time() - began_s)
    except TimeoutError:
        return End.SILENT
    except ConnectionError:
        return End.RST
    except OSError:
        # TLS that ends without its own goodbye.
        return End.FIN
    return reading.end or End.FIN


async def kept_idle(target: Target, path: str, headers: tuple[tuple[str, str], ...], *, wait_s: float) -> float | None:
    """Measure how long a connection with nothing asked stays open behind an answer; None: longer than `wait_s`."""
    loop = asyncio.get_running_loop()
    request = request_bytes("GET", path, host=target.host_header, headers=headers)
    request = request.replace(b"Connection: close\r\n", b"Connection: keep-alive\r\n")
    try:
        async with _connected(target) as (reader, writer):
            writer.write(request)
            reading = Reading()
            await _read(reader, reading, loop.time(), Patience(CONNECT_S))
            if reading.end is not End.WHOLE:
                return None
            began_s = loop.time()
            async with asyncio.timeout(wait_s):
                while await reader.read(READ_BYTES):
                    continue
            return loop.time() - began_s
    except TimeoutError:
        return None
    except OSError:
        return None
