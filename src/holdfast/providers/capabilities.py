"""What a provider cannot do, so that a request is not sent where it can only fail.

Pure: no I/O, clock or randomness. What is merely without effect somewhere is no obstacle: the caller is told of it in
`Holdfast-Ignored`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from holdfast.config import Provider, Upstream
from holdfast.types import Request

INPUTS_MAX: Mapping[Provider, int] = MappingProxyType({Provider.GEMINI: 14, Provider.OPENAI: 16, Provider.FAL: 14})
"""Reference images of one request. Source: the vendors' pages, 2026-10; who is not named takes as many as we do."""


def obstacle_of(upstream: Upstream, request: Request, *, is_smaller: bool = False) -> str | None:
    """Say why an upstream cannot serve a request; None: it can.

    Args:
        upstream: Which.
        request: What is asked for.
        is_smaller: A smaller size than was asked for is meant.
    """
    if is_smaller and request.dialect_body is not None:
        return "a Gemini document names its size itself, and is sent on as it is"
    most = INPUTS_MAX.get(upstream.provider)
    if most is not None and len(request.inputs) > most:
        return f"it takes {most} images to start from, and {len(request.inputs)} were sent"
    return None
