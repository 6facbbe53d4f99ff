"""What a key may ask for, how long it is valid, and how much of it is taken at once.

Everything here is asked before anything is bought. Pure: no I/O, clock or randomness.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from math import ceil

import msgspec

from holdfast.errors import RequestError
from holdfast.types import Request, Surface, Tier

MINUTE_S = 60.0
CONCURRENCY_RETRY_S = 15.0
"""An image takes a minute or two: of several that are open, one may have ended by then."""
_SCOPES_KEPT = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Scopes:
    """What a key may ask for; None: everything."""

    models: tuple[str, ...] | None = None
    """Public names or aliases; `*` stands for any characters."""
    sizes: frozenset[Tier] | None = None
    surfaces: frozenset[Surface] | None = None

    @staticmethod
    def of(models: str | None, sizes: str | None, surfaces: str | None) -> Scopes:
        """Read them as they are stored: JSON lists, or None."""
        return _scopes_of(models, sizes, surfaces)

    def check_surface(self, surface: Surface) -> None:
        """See that images may be asked for on a surface.

        Raises:
            RequestError: 403 `scope_missing`.
        """
        if self.surfaces is not None and surface not in self.surfaces:
            raise RequestError(
                f"This API key may not ask for images on the {surface.value} surface; it may on: "
                f"{_listed(self.surfaces)}.",
                code="scope_missing",
                status=403,
            )

    def allows_model(self, *names: str) -> bool:
        """Whether it may ask for the model that has these names."""
        return self.models is None or any(_pattern(each).fullmatch(name) for each in self.models for name in names)

    def check_model(self, *names: str) -> None:
        """See that a model may be asked for, given every name that it has.

        Raises:
            RequestError: 403 `model_not_allowed`.
        """
        if not self.allows_model(*names):
            raise RequestError(
                f"This API key may not ask for the model {names[0]}; it may for: {', '.join(self.models or ())}.",
                code="model_not_allowed",
                status=403,
                param="model",
            )

    def check_size(self, tier: Tier) -> None:
        """See that a size may be asked for.

        Raises:
            RequestError: 403 `scope_missing`.
        """
        if self.sizes is not None and tier not in self.sizes:
            raise RequestError(
                f"This API key may not ask for images of {tier.value}; it may for: {_listed(self.sizes)}.",
                code="scope_missing",
                status=403,
                param="size",
            )


@lru_cache(_SCOPES_KEPT)
def _scopes_of(models: str | None, sizes: str | None, surfaces: str | None) -> Scopes:
    return Scopes(
        models=None if models is None else msgspec.json.decode(models, type=tuple[str, ...]),
        sizes=None if sizes is None else msgspec.json.decode(sizes, type=frozenset[Tier]),
        surfaces=None if surfaces is None else msgspec.json.decode(surfaces, type=frozenset[Surface]),
    )


@lru_cache(_SCOPES_KEPT)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(piece) for piece in text.split("*")))


def _listed(words: Iterable[Tier] | Iterable[Surface]) -> str:
    return ", ".join(sorted(word.value for word in words))


def check_valid(
    *, revoked_at: str | None, expires_at: str | None, secret_expires_at: str | None, now: datetime
) -> float | None:
    """See that a key that was found is valid still.

    Args:
        revoked_at: When it was taken back; RFC 3339, as the others.
        expires_at: When the key as a whole ends.
        secret_expires_at: When the secret that was shown ends, if another has replaced it.
        now: UTC.

    Returns:
        For how many seconds it will be; None: no end is known.

    Raises:
        RequestError: 401 `key_revoked`.
    """
    if revoked_at is not None:
        raise _ended(f"The API key was revoked at {revoked_at}. Ask whoever runs this gateway for another.")
    left: float | None = None
    for end, told in (
        (expires_at, "The API key expired at {}. Ask whoever runs this gateway for another."),
        (secret_expires_at, "The secret of this API key was replaced, and ended at {}. Use the new one."),
    ):
        if end is None:
            continue
        until_s = (datetime.fromisoformat(end) - now).total_seconds()
        if until_s <= 0.0:
            raise _ended(told.format(end))
        left = until_s if left is None else min(left, until_s)
    return left


def _ended(message: str) -> RequestError:
    return RequestError(message, code="key_revoked", status=401)


def check_tls(*, tls_required: bool, scheme: str) -> None:
    """See that a key that demands TLS came over it.

    Raises:
        RequestError: 403 `tls_required`: by now the key has been sent in clear.
    """
    if tls_required and scheme != "https":
        raise RequestError(
            "This API key is for HTTPS only, and was sent in clear: rotate it, and use the TLS listener.",
            code="tls_required",
            status=403,
        )


def with_purchases(request: Request, purchases_max: int | None) -> Request:
    """Heed a key that may buy an image less often than the operator, or the caller, would have it."""
    if purchases_max is None or (request.purchases_max is not None and request.purchases_max <= purchases_max):
        return request
    return replace(request, purchases_max=purchases_max)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much of a key is taken; None: as much as comes."""

    rate_per_min: int | None = None
    concurrency: int | None = None

    def __post_init__(self) -> None:
        assert self.rate_per_min is None or self.rate_per_min >= 1
        assert self.concurrency is None or self.concurrency >= 1


NO_LIMITS = Limits()


class Window:
    """When the latest of a key's generations were accepted: of any minute, no more than its rate.

    A whole minute's worth may come at one instant; the next one then waits until the first of them is a minute old.
    """

    def __init__(self) -> None:
        self._taken: deque[float] = deque()

    def wait_s(self, rate: int, now_s: float, *, arriving: int = 0) -> float:
        """Say in how many seconds another one is taken; 0: now.

        Args:
            rate: Of a minute.
            now_s: Monotonic seconds.
            arriving: How many are being accepted at this moment.
        """
        self._forget(now_s)
        over = len(self._taken) + arriving - rate
        if over < 0:
            return 0.0
        # What is arriving is a minute away from making room; sums of floats are not longer than that either.
        return min(MINUTE_S, self._taken[over] + MINUTE_S - now_s) if over < len(self._taken) else MINUTE_S

    def take(self, now_s: float) -> None:
        """Note that one was accepted."""
        self._forget(now_s)
        self._taken.append(now_s)

    def is_idle(self, now_s: float) -> bool:
        """Whether nothing of the last minute is left to remember."""
        self._forget(now_s)
        return not self._taken

    def _forget(self, now_s: float) -> None:
        while self._taken and self._taken[0] <= now_s - MINUTE_S:
            self._taken.popleft()


def too_many(limits: Limits, window: Window | None, *, open_: int, arriving: int, now_s: float) -> RequestError | None:
    """Find out whether a key's limits stand against another generation; None when it is taken.

    Args:
        limits: The key's.
        window: What was accepted of it in the last minute; None: nothing.
        open_: Its generations that have no end yet.
        arriving: Those that are being accepted at this moment.
        now_s: Monotonic seconds.
    """
    if limits.concurrency is not None and open_ + arriving >= limits.concurrency:
        return RequestError(
            f"{open_ + arriving} generations of this API key are open, which is all that it may have at once.",
            code="concurrency_limited",
            status=429,
            retry_after_s=CONCURRENCY_RETRY_S,
        )
    if limits.rate_per_min is None:
        return None
    wait_s = (window or Window()).wait_s(limits.rate_per_min, now_s, arriving=arriving)
    if wait_s <= 0.0:
        return None
    return RequestError(
        f"This API key may ask for {limits.rate_per_min} generations a minute, and has. The next one is taken in "
        f"{ceil(wait_s)} s.",
        code="rate_limited",
        status=429,
        retry_after_s=wait_s,
    )
