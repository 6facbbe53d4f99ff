"""Why an upstream cannot serve a request, so that it is not sent where it can only fail, or loses what came along.

Pure: no I/O, clock or randomness. What is merely without effect somewhere is no obstacle: the caller is told of it in
`Holdfast-Ignored`.
"""

from __future__ import annotations

from holdfast.config import Upstream
from holdfast.providers.bearing import inputs_max, takes_masks
from holdfast.providers.fit import obstacle
from holdfast.types import Request


def obstacle_of(upstream: Upstream, request: Request, *, model: str, is_smaller: bool = False) -> str | None:
    """Say why an upstream cannot serve a request; None: it can.

    Args:
        upstream: Which.
        request: What is asked for, at the size that is meant.
        model: The model's name there.
        is_smaller: That size is smaller than the one that was asked for.
    """
    if is_smaller and request.dialect_body is not None:
        return "a Gemini document names its size itself, and is sent on as it is"
    most = inputs_max(upstream)
    if len(request.inputs) > most:
        return f"it takes {most} images to start from, and {len(request.inputs)} were sent"
    if request.mask is not None and not takes_masks(upstream):
        return "it takes no mask"
    problem = obstacle(upstream, request, model=model)
    return None if problem is None else problem.message
