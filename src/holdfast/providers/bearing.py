"""What an upstream takes along with a prompt: how many images, and whether a mask.

Pure: no I/O, clock or randomness. Asked before anything is accepted, and wherever another upstream is chosen: what one
bears is lost at the next.

Source: openai-openapi `EditImageBodyJsonParam` (16 images, mask); Gemini 3 Pro's limit of 14; fal's, the same model's.
"""

from __future__ import annotations

from holdfast.config import Provider, Upstream, UpstreamApi

INPUTS_MAX = 14
"""Gemini 3 Pro's limit, the smallest of the documented ones that all models bear."""
_INPUTS_MAX_OF = {Provider.OPENAI: 16}
_TAKES_MASKS = frozenset({Provider.OPENAI})


def inputs_max(upstream: Upstream) -> int:
    """How many images an upstream takes to begin from."""
    return _INPUTS_MAX_OF.get(upstream.provider, INPUTS_MAX)


def takes_masks(upstream: Upstream) -> bool:
    """Whether an upstream can be told which part of an image is drawn anew."""
    return upstream.provider in _TAKES_MASKS and upstream.api is not UpstreamApi.CHAT
