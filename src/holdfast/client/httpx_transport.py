"""Clients to hand to other SDKs: `OpenAI(http_client=httpx_client())`, google-genai's `httpx_client`.

They are httpx clients (of httpx2, or of httpx where an SDK still wants that) with the timeouts, socket options and
pools of `defaults`, and with a transport that gives a call for an image one `Idempotency-Key` and picks it up after a
cut; see `transports`. httpx is none of holdfast's own dependencies: SDKs that are built on it bring it along.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.request import getproxies

from holdfast.client.defaults import IDLE_REUSE_S, NETWORK, POOLS, Mode, call_timeouts, socket_options
from holdfast.client.proxies import proxies_of
from holdfast.client.transports import TOKEN, AsyncTransport, PerLoop, Settings, SyncTransport
from holdfast.errors import ConfigError

if TYPE_CHECKING:
    import httpx2

GOOGLE = "google-genai-sdk"
LIBRARIES = ("httpx2", "httpx")
INSTALL = "holdfast.httpx_client needs the library that your SDK is built on, which comes with it, or by itself"


@dataclass(frozen=True, kw_only=True)
class _Family:
    """What is made of httpx2, or of httpx, once."""

    http: Any
    client: Any
    async_client: Any
    stream: Any
    async_stream: Any


@cache
def _family(name: str) -> _Family:
    http = _module(name)

    class Stream(http.SyncByteStream):  # type: ignore[misc, name-defined]
        """A body that a transport makes."""

        def __init__(self, pieces: Generator[bytes, None, None]) -> None:
            self._pieces = pieces

        def __iter__(self) -> Iterator[bytes]:
            yield from self._pieces

        def close(self) -> None:
            self._pieces.close()

    class AsyncStream(http.AsyncByteStream):  # type: ignore[misc, name-defined]
        """The same for tasks."""

        def __init__(self, pieces: AsyncGenerator[bytes, None]) -> None:
            self._pieces = pieces

        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for piece in self._pieces:
                yield piece

        async def aclose(self) -> None:
            await self._pieces.aclose()

    class HoldfastClient(http.Client):  # type: ignore[misc, name-defined]
        """An httpx client that holdfast has set up."""

        def build_request(self, *words: Any, **named: Any) -> Any:
            return super().build_request(*words, **_as_told(named))

    class AsyncHoldfastClient(http.AsyncClient):  # type: ignore[misc, name-defined]
        """The same for tasks."""

        def build_request(self, *words: Any, **named: Any) -> Any:
            return super().build_request(*words, **_as_told(named))

    return _Family(
        http=http, client=HoldfastClient, async_client=AsyncHoldfastClient, stream=Stream, async_stream=AsyncStream
    )


def _module(name: str) -> Any:
    import importlib

    if name not in LIBRARIES:
        raise ConfigError(f"library must be one of {', '.join(LIBRARIES)}.", key="library")
    try:
        return importlib.import_module(name)
    except ImportError as exc:
        raise ImportError(f"{INSTALL}: pip install {name}.") from exc


def _as_told(named: dict[str, Any]) -> dict[str, Any]:
    """Keep what google-genai tells by how it asks, and nothing else does.

    It makes all tries of one call with one mapping of headers, by which its repeats are recognised. And where nobody
    has named a timeout it says None, which is httpx's word for "never", and not for "as the client has it".
    """
    headers = named.get("headers")
    if not isinstance(headers, dict) or not any(GOOGLE in str(value) for value in headers.values()):
        return named
    told = {**named, "extensions": {**(named.get("extensions") or {}), TOKEN: headers}}
    if "timeout" in told and told["timeout"] is None:
        del told["timeout"]
    return told


# What people call


def httpx_client(
    size: str = "4K",
    *,
    network: str = NETWORK,
    holdfast: bool | None = None,
    timeout_s: float | None = None,
    library: str = "httpx2",
    verify: Any = True,
    cert: Any = None,
    proxy: Any = None,
    trust_env: bool = True,
    **options: Any,
) -> httpx2.Client:
    """Make an httpx client for the SDKs of OpenAI and Google, which waits long enough and picks up what was cut.

    Args:
        size: The largest image that is asked for: `1K`, `2K`, `4K`, or pixels. It sets the timeouts.
        network: `intranet`, `home`, `international` or `peak`.
        holdfast: Whether the server is holdfast. None: its answers tell, and where there is none yet, a free question
            after a cut. False: nothing is ever asked again. True for any other server may buy an image twice.
        timeout_s: Budget of a whole call, pick-up included, seconds; else by size and network.
        library: What the SDK is built on: `httpx2` (openai 3, google-genai 3), or `httpx` for those before.
        verify: As httpx has it.
        cert: As httpx has it.
        proxy: As httpx has it; without one, the environment's.
        trust_env: Whether proxies and certificates of the environment count.
        **options: Anything else that httpx's client takes: `headers`, `event_hooks`, `transport`, …

    Returns:
        A client of the caller's own: to be closed, or given to an SDK that closes it.

    Raises:
        ConfigError: An unknown network or library, or a budget that is none.
        ImportError: The library is not installed; the message says what to install.
    """
    made = _Making(size, network, holdfast, timeout_s, library, Mode.SYNC)
    family = made.family
    transports = made.transports(
        family.http.HTTPTransport,
        lambda inner: SyncTransport(made.settings, inner, family.stream),
        options,
        verify=verify,
        cert=cert,
        proxy=proxy,
        trust_env=trust_env,
    )
    client: httpx2.Client = family.client(**made.named(options), **transports, trust_env=trust_env)
    return client


def httpx_async_client(
    size: str = "4K",
    *,
    network: str = NETWORK,
    holdfast: bool | None = None,
    timeout_s: float | None = None,
    library: str = "httpx2",
    verify: Any = True,
    cert: Any = None,
    proxy: Any = None,
    trust_env: bool = True,
    **options: Any,
) -> httpx2.AsyncClient:
    """Make the asynchronous twin, for `AsyncOpenAI` and google-genai's `aio`; see `httpx_client`."""
    made = _Making(size, network, holdfast, timeout_s, library, Mode.ASYNC)
    family = made.family
    transports = made.transports(
        lambda **named: PerLoop(lambda: family.http.AsyncHTTPTransport(**named)),
        lambda inner: AsyncTransport(made.settings, inner, family.async_stream),
        options,
        verify=verify,
        cert=cert,
        proxy=proxy,
        trust_env=trust_env,
    )
    client: httpx2.AsyncClient = family.async_client(**made.named(options), **transports, trust_env=trust_env)
    return client


class _Making:
    """What is alike in making both clients."""

    def __init__(
        self,
        size: str,
        network: str,
        holdfast: bool | None,
        timeout_s: float | None,
        library: str,
        mode: Mode,
    ) -> None:
        timeouts = call_timeouts(size, network, timeout_s=timeout_s)
        self.family = _family(library)
        self.settings = Settings(http=self.family.http, timeouts=timeouts, holdfast=holdfast)
        self._pool = POOLS[mode]

    def transports(
        self,
        plain: Any,
        wrapped: Callable[[Any], Any],
        options: dict[str, Any],
        *,
        verify: Any,
        cert: Any,
        proxy: Any,
        trust_env: bool,
    ) -> dict[str, Any]:
        """Make `transport` and `mounts`; what the caller brings of them is taken out of `options`, and wrapped."""
        http = self.family.http
        own, mounts = options.pop("transport", None), dict(options.pop("mounts", None) or {})
        if own is None:
            context = http.create_ssl_context(verify=verify, cert=cert, trust_env=trust_env)
            limits = http.Limits(
                max_connections=self._pool.connections_max,
                max_keepalive_connections=self._pool.kept_max,
                keepalive_expiry=IDLE_REUSE_S,
            )
            limits = options.pop("limits", limits)

            def direct(proxy_url: Any) -> Any:
                # One lost packet stalls every stream of an HTTP/2 connection; see `defaults`.
                return plain(
                    verify=context,
                    http1=True,
                    http2=False,
                    limits=limits,
                    proxy=proxy_url,
                    socket_options=socket_options(),
                )

            named = proxies_of(getproxies()) if trust_env and proxy is None else {}
            for pattern, url in named.items():
                if _is_pattern(http, pattern):
                    mounts.setdefault(pattern, None if url is None else direct(url))
            own = direct(proxy)
        return {
            "transport": wrapped(own),
            "mounts": {pattern: None if each is None else wrapped(each) for pattern, each in mounts.items()},
        }

    def named(self, options: dict[str, Any]) -> dict[str, Any]:
        """Give what the client is made with besides."""
        # Redirects as the SDKs' own clients follow them: it is one of the ways in which holdfast holds a call.
        return {"timeout": self.settings.timeout, "follow_redirects": True, **options}


def _is_pattern(http: Any, pattern: str) -> bool:
    """Whether httpx can read it; what it cannot read in NO_PROXY is passed over, as curl does."""
    try:
        http.URL(pattern)
    except http.InvalidURL:
        return False
    return True
