"""What an admin API might answer at worst: every text that somebody else wrote is hostile. Made from the wire's types.

A field that is added to a type is hostile by itself, and so is shown hostile by every page that comes to show it.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

HOSTILE = (
    "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"
    "\"'><svg/onload=document.title='taken'>=HYPERLINK(\"x\")\u202ejavascript:document.title='taken'"
)
"""Markup, attributes and schemes at once; `title` tells whether any of it ran."""
AT = "2026-11-28T05:00:00.000Z"
# What the gateway itself writes, and a page computes with: it is of the form that the wire promises.
PLAIN: Mapping[str, Any] = {
    "hour": AT,
    "day": "2026-11-28",
    "currency": "USD",
    "until": "2026-11-28T06:00:00.000Z",
    "since": "2026-11-27T06:00:00.000Z",
    "elapsed_s": 31.5,
    "expected_s": 40.0,
    "p95_s": 80.0,
    "fraction": 0.3,
    "url": "/admin/v1/generations/gen_1/images/0",
    "csrf_token": "token",
    "mime": "image/png",
    "progress": None,
    "estimated_start_s": None,
    "has_more": False,
    "purged_at": None,
}


def worst(of: Any, name: str = "") -> Any:
    """Make a value of a type as JSON has it, with hostile text wherever text is free."""
    if isinstance(of, type) and issubclass(of, msgspec.Struct):
        hints = get_type_hints(of)
        return {each.encode_name: worst(hints[each.name], each.name) for each in msgspec.structs.fields(of)}
    return _plain(of, name)


def _plain(of: Any, name: str) -> Any:
    origin, inner = get_origin(of), get_args(of)
    if origin is Annotated:
        return worst(inner[0], name)
    if origin in (Union, types.UnionType):
        return worst(next(each for each in inner if each is not type(None)), name)
    if origin is None and name in PLAIN:
        return PLAIN[name]
    if origin is Literal:
        return inner[0]
    if origin in (tuple, list):
        return [worst(inner[0], name)]
    if origin is dict:
        return {HOSTILE: worst(inner[1])}
    if isinstance(of, type) and issubclass(of, Enum):
        return next(iter(of)).value
    if of is bool:
        return True
    if of in (int, float):
        return 1
    return AT if name == "at" or name.endswith(("_at", "_after")) else HOSTILE
