"""Google's access tokens: fetched with `google-auth` in threads, kept until shortly before their end.

A token lasts an hour. The attempt that finds less than `MARGIN_S` left of it fetches the next one, and whoever comes
meanwhile waits for the same. If that fails while the old one still holds, the old one is used. A credential whose
service hangs keeps no other from its token: each has a thread, up to `THREADS_MAX`.

`google-auth` is an extra (`holdfast[vertex]`), imported only where an upstream needs it.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from holdfast.clock import Clock
from holdfast.config import Provider, Upstream
from holdfast.config.google_keys import GoogleKey, path_of
from holdfast.errors import ConfigError
from holdfast.threads import Threads
from holdfast.transport.auth_request import AuthRequest
from holdfast.types import Charge, Failure, FailureKind, Phase

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
MARGIN_S = 300.0
"""Left of a token when the next one is fetched: an attempt is sent at once, and Google looks at it only then."""
USABLE_S = 30.0
"""Left of one that is still used where the next one cannot be got."""
WAIT_S = 30.0
"""Until an attempt gives up waiting; `google-auth` tries three times, and what it gets later is kept."""
THREADS_MAX = 8
_WORD = re.compile(r"[a-z_]{3,40}")


class _Load(Protocol):
    def __call__(self) -> Credentials:
        """Make the credentials; in a thread, since it may ask the metadata server."""


class GoogleTokens:
    """The tokens of every upstream that needs them; all other keys are sent as they are."""

    def __init__(self, sources: dict[tuple[str, str], _Source], threads: Threads, clock: Clock) -> None:
        self._sources = sources
        self._threads = threads
        self._clock = clock

    def __repr__(self) -> str:
        return f"<GoogleTokens {list(self._sources.values())}>"

    def add(self, keys: Iterable[tuple[Upstream, str]]) -> None:
        """Give tokens for these too, as their files are now; what is in flight with others goes on with those.

        Raises:
            ConfigError: As `google_tokens`; then nothing has changed.
        """
        loads = _loaders_of(keys)
        self._sources |= {of: _Source(of[0], load, self._clock, self._threads) for of, load in loads.items()}

    async def fresh(self, upstream: Upstream, key: str) -> str | Failure:
        """Give a token with some time left, or the key itself where it is one."""
        source = self._sources.get((upstream.name, key))
        return key if source is None else await source.fresh()

    def forget(self, upstream: Upstream, key: str) -> None:
        """Drop a token that was refused: a role may have been granted since, or a key been revoked."""
        source = self._sources.get((upstream.name, key))
        if source is not None:
            source.forget()

    def close(self) -> None:
        """Let the thread go."""
        for source in self._sources.values():
            source.close()
        self._threads.close()


def google_tokens(keys: Iterable[tuple[Upstream, str]], clock: Clock) -> GoogleTokens:
    """Prepare the tokens that some upstreams need; nothing is fetched yet.

    Args:
        keys: Every upstream with each of its credentials, resolved.
        clock: Tells how long tokens hold.

    Raises:
        ConfigError: `google-auth` is not installed, or a file is no service account's key.
    """
    loads = _loaders_of(keys)
    threads = Threads(max(1, min(len(loads), THREADS_MAX)), "token")
    return GoogleTokens({of: _Source(of[0], load, clock, threads) for of, load in loads.items()}, threads, clock)


def _loaders_of(keys: Iterable[tuple[Upstream, str]]) -> dict[tuple[str, str], _Load]:
    loads: dict[tuple[str, str], _Load] = {}
    for upstream, key in keys:
        kind = GoogleKey.of(key)
        if upstream.provider is Provider.VERTEX and upstream.project and kind.gives_tokens:
            loads[upstream.name, key] = _loader_of(kind, key, upstream)
    return loads


def _loader_of(kind: GoogleKey, key: str, upstream: Upstream) -> _Load:
    where = f"upstreams.{upstream.name}.keys"
    try:
        import google.auth
        from google.oauth2 import service_account
    except ImportError as exc:
        raise ConfigError(
            f"The upstream {upstream.name!r} needs google-auth for its tokens: pip install 'holdfast[vertex]'. "
            "With an API key, and without project, it needs none.",
            key=where,
        ) from exc
    if kind is GoogleKey.ADC:
        return lambda: google.auth.default(scopes=SCOPES)[0]
    text = key
    if kind is GoogleKey.FILE:
        path = Path(path_of(key)).expanduser()
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            why = exc.strerror if isinstance(exc, OSError) else "it is no text"
            raise ConfigError(f"{where}: the file {path} cannot be read: {why}.", key=where) from exc
    try:
        info = json.loads(text)
        # The key is parsed here, so that a spoilt one is told at the start.
        credentials = service_account.Credentials.from_service_account_info(info, scopes=SCOPES)
    except (ValueError, TypeError, AttributeError) as exc:
        # What is wrong with it is not repeated: the message may hold a part of the key.
        raise ConfigError(
            f"{where} holds no key of a service account, as the Cloud console gives it. For other credentials point "
            'GOOGLE_APPLICATION_CREDENTIALS at the file, and write keys = ["adc"].',
            key=where,
        ) from exc
    return lambda: credentials


class _Source:
    """The tokens of one credential."""

    __slots__ = ("_clock", "_credentials", "_fetching", "_load", "_threads", "_token", "_until", "_upstream")

    def __init__(self, upstream: str, load: _Load, clock: Clock, threads: Threads) -> None:
        self._upstream = upstream
        self._load = load
        self._clock = clock
        self._threads = threads
        self._credentials: Credentials | None = None
        self._token: str | None = None
        self._until = 0.0
        """Monotonic second at which the token ends."""
        self._fetching: asyncio.Task[str | Failure] | None = None

    def __repr__(self) -> str:
        left_s = self._left_s
        return f"<token of {self._upstream}: {f'{left_s:.0f} s left' if self._token and left_s > 0 else 'none'}>"

    @property
    def _left_s(self) -> float:
        return self._until - self._clock.monotonic()

    async def fresh(self) -> str | Failure:
        if self._token is not None and self._left_s > MARGIN_S:
            return self._token
        if self._fetching is None:
            # Its own task: whoever waits may leave, and the others go on waiting.
            self._fetching = asyncio.get_running_loop().create_task(self._fetch(), name="google-token")
        try:
            async with asyncio.timeout(WAIT_S):
                return await asyncio.shield(self._fetching)
        except TimeoutError:
            return self._or_the_old_one(self._unreachable("no answer in time"))

    def forget(self) -> None:
        self._token = None

    def close(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()

    async def _fetch(self) -> str | Failure:
        from google.auth.exceptions import GoogleAuthError

        try:
            token, expires_at = await self._threads.run(self._refreshed)
        except GoogleAuthError as exc:
            return self._or_the_old_one(self._failure_of(exc))
        finally:
            self._fetching = None
        self._token = token
        self._until = self._clock.monotonic() + (expires_at - self._clock.now()).total_seconds()
        return token

    def _refreshed(self) -> tuple[str, datetime]:
        """Fetch a token and tell when it ends; runs in the thread."""
        if self._credentials is None:
            self._credentials = self._load()
        credentials: Any = self._credentials
        credentials.refresh(AuthRequest())
        # google-auth's are naive, and UTC.
        return str(credentials.token), credentials.expiry.replace(tzinfo=UTC)

    def _or_the_old_one(self, failure: Failure) -> str | Failure:
        is_usable = self._token is not None and self._left_s > USABLE_S
        return self._token if is_usable and self._token is not None else failure

    def _failure_of(self, exc: Exception) -> Failure:
        from google.auth import exceptions

        if isinstance(exc, exceptions.DefaultCredentialsError):
            return self._refused("there are no application default credentials here")
        # A machine's own credentials wrap what went wrong on the way; with an answer, that was a refusal.
        behind = exc if isinstance(exc, exceptions.TransportError) else exc.__cause__
        if isinstance(behind, exceptions.TransportError) and len(behind.args) < 2:
            return self._unreachable("the connection failed")
        words = _WORD.match(str(exc.args[0])) if exc.args else None
        # `invalid_grant` and its kin; the sentence behind it may quote what was sent.
        told = words[0] if words else type(exc).__name__
        if getattr(exc, "retryable", False):
            return self._unreachable(f"it answered {told}")
        return self._refused(told)

    def _refused(self, why: str) -> Failure:
        detail = f"Google gives no token for the upstream {self._upstream!r}: {why}; check its `keys`; nothing was sent"
        return Failure(kind=FailureKind.CREDENTIAL, phase=Phase.CONNECT, charge=Charge.NO, detail=detail)

    def _unreachable(self, why: str) -> Failure:
        detail = f"the token service of the upstream {self._upstream!r} cannot be reached: {why}; nothing was sent"
        return Failure(kind=FailureKind.UNREACHABLE, phase=Phase.CONNECT, charge=Charge.NO, detail=detail)
