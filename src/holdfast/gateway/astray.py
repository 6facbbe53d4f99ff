"""What a caller may have meant by a path that nothing serves: a base URL with a piece too few or too many. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

_VERSION_TWICE = re.compile(r"/v1(?:beta)?(?=/v1)")
_NOT_SERVED = {
    "/v1/images/variations": "This version does not serve variations; /v1/images/edits begins from an image.",
}


def astray(path: str, is_served: Callable[[str], bool]) -> str:
    """Say what to change so that a path is served.

    Args:
        path: Which is not.
        is_served: Whether another one is, by whatever method.
    """
    if path in _NOT_SERVED:
        return _NOT_SERVED[path]
    if is_served(path.rstrip("/")):
        return "Leave out the slash at its end."
    if is_served(f"/v1{path}"):
        return "The base URL must end in /v1."
    if is_served(_VERSION_TWICE.sub("", path, count=1)):
        return "The version stands twice in it: for this SDK, the base URL must not end in /v1."
    return "See /docs."
