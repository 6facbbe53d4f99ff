"""holdfast: the gateway that never drops a slow image."""

from importlib.metadata import version

from holdfast.errors import (
    ConfigError,
    DeadlineExceeded,
    GenerationError,
    HoldfastError,
    InsufficientFunds,
    Refused,
    RequestError,
    StorageError,
    TransportError,
    UpstreamsExhausted,
)

__version__ = version("holdfast")

__all__ = [
    "ConfigError",
    "DeadlineExceeded",
    "GenerationError",
    "HoldfastError",
    "InsufficientFunds",
    "Refused",
    "RequestError",
    "StorageError",
    "TransportError",
    "UpstreamsExhausted",
    "__version__",
]
