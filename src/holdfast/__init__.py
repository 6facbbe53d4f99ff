"""holdfast: the gateway that never drops a slow image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.errors import (
    AuthenticationError,
    ConfigError,
    DeadlineExceeded,
    GenerationError,
    HoldfastError,
    InsufficientFunds,
    Overloaded,
    Refused,
    RequestError,
    StorageError,
    TimedOut,
    TransportError,
    Unavailable,
    UpstreamsExhausted,
)

if TYPE_CHECKING:
    from holdfast.client.async_ import AsyncClient
    from holdfast.client.httpx_transport import httpx_async_client, httpx_client
    from holdfast.client.results import Image, Images
    from holdfast.client.steps import Standing
    from holdfast.client.sync import Client

    __version__: str

__all__ = [
    "AsyncClient",
    "AuthenticationError",
    "Client",
    "ConfigError",
    "DeadlineExceeded",
    "GenerationError",
    "HoldfastError",
    "Image",
    "Images",
    "InsufficientFunds",
    "Overloaded",
    "Refused",
    "RequestError",
    "Standing",
    "StorageError",
    "TimedOut",
    "TransportError",
    "Unavailable",
    "UpstreamsExhausted",
    "__version__",
    "httpx_async_client",
    "httpx_client",
]

# Imported when they are first asked for: the gateway needs no client, and a client is up in less than 150 ms.
_LAZY = {
    "AsyncClient": "holdfast.client.async_",
    "Client": "holdfast.client.sync",
    "Image": "holdfast.client.results",
    "Images": "holdfast.client.results",
    "Standing": "holdfast.client.steps",
    "httpx_async_client": "holdfast.client.httpx_transport",
    "httpx_client": "holdfast.client.httpx_transport",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        found: object = version("holdfast")
    elif name in _LAZY:
        from importlib import import_module

        found = getattr(import_module(_LAZY[name]), name)
    else:
        raise AttributeError(f"module 'holdfast' has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
