"""Where a request in fal's queue is asked for. Pure: no I/O, clock or randomness.

An answer gives URLs of its own, and they are followed: a vendor may move them. But the credential goes along with each
question, so one that leads off the upstream's origin is replaced by the documented path.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import SplitResult, urlsplit

from holdfast.wire.fal import Handle

_PORTS = {"http": 80, "https": 443}
_URL = re.compile(r"[!-\[\]-~]{1,2048}")
"""Visible ASCII without backslashes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Urls:
    """Absolute, on the upstream's own origin."""

    status_url: str
    response_url: str
    cancel_url: str

    @classmethod
    def of(cls, handle: Handle, *, base_url: str, model: str) -> Self:
        """Choose the answer's own URLs where they may be followed, and the documented ones elsewhere."""
        documented = f"{base_url.rstrip('/')}/{_app_of(model)}/requests/{handle.request_id}"

        def chosen(given: str | None, suffix: str) -> str:
            return given if given is not None and is_same_origin(given, base_url) else documented + suffix

        return cls(
            status_url=chosen(handle.status_url, "/status"),
            response_url=chosen(handle.response_url, ""),
            cancel_url=chosen(handle.cancel_url, "/cancel"),
        )


def _app_of(model: str) -> str:
    """Owner and application: what comes behind them in a model's path is dropped from the URLs of its requests."""
    return "/".join(model.strip("/").split("/")[:2])


def is_same_origin(url: str, base_url: str) -> bool:
    """Whether a URL leads to the same scheme, host and port, and to nothing but a path and a query there."""
    if _URL.fullmatch(url) is None:
        return False
    try:
        given, base = urlsplit(url), urlsplit(base_url)
        origins = _origin_of(given), _origin_of(base)
    except ValueError:
        return False
    is_plain = "@" not in given.netloc and not given.fragment and ".." not in given.path
    return is_plain and origins[0] == origins[1]


def _origin_of(parts: SplitResult) -> tuple[str, str, int | None]:
    return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme)
