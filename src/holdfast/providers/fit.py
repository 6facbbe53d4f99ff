"""Whether an upstream's model can make what was asked for, and what it leaves out: known before anything is sent.

Pure: no I/O, clock or randomness. What a provider refuses by itself, and charges nothing for, is left to it.
"""

from __future__ import annotations

from holdfast.config import Provider, Upstream
from holdfast.errors import RequestError
from holdfast.providers.ark_models import check_inputs, model_of, size_of
from holdfast.types import Request


def obstacle(upstream: Upstream, request: Request, *, model: str) -> RequestError | None:
    """Say why an upstream is of no use for a request; None: nothing is known against it.

    Args:
        upstream: Where it would be sent.
        request: What the caller asked for.
        model: The model's name there.
    """
    if upstream.provider is not Provider.ARK:
        return None
    seedream = model_of(model, request.model)
    try:
        size_of(seedream, request.geometry)
        check_inputs(seedream, request)
    except RequestError as problem:
        return RequestError(
            f"{upstream.name} (Ark) cannot make this: {problem.message}",
            code=problem.code,
            status=problem.status,
            param=problem.param,
        )
    return None


def leaves_out(upstream: Upstream, name: str, value: object, *, models: tuple[str, str]) -> bool:
    """Say whether one model does nothing with a wish that others behind the same door are told of.

    Args:
        upstream: Where it would be sent.
        name: What the wish is called on the OpenAI surface.
        value: What was stated.
        models: The model's name there, and the public one.
    """
    if upstream.provider is not Provider.ARK:
        return False
    seedream = model_of(*models)
    if name == "output_format":
        return value not in seedream.formats
    return name == "background" and not seedream.has_background
