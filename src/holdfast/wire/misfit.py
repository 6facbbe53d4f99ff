"""From a refused request to a sentence: which field, what it must be, what came.

The validator's own words name its types, not what a caller wrote, and leave out the choices. So only the path is taken
from them; the rest is read off the definition and the document.

Pure: no I/O, clock or randomness.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import inspect

from holdfast.errors import RequestError

_AT = re.compile(r" - at `\$\.?([^`]*)`\Z")
_MISSING = re.compile(r"missing required field `([^`]*)`")
_STEP = re.compile(r"\[(\d+|\.\.\.)\]|([^.\[\]]+)")
_QUOTED_CHARS_MAX = 40
_NUMBER_MAX = 10**12
_UNKNOWN = object()
_KINDS: dict[type, tuple[type[inspect.Type], ...]] = {
    list: (inspect.ListType,),
    dict: (inspect.StructType, inspect.DictType),
    str: (inspect.StrType,),
}


def misfit(error: msgspec.ValidationError, document: object, expected: Any) -> RequestError:
    """Tell a caller how a document differs from its definition; `param` names the field.

    Args:
        error: What the validator said.
        document: What it refused, decoded.
        expected: The definition it was held against.
    """
    text = str(error)
    at = _AT.search(text)
    where = at.group(1) if at else ""
    missing = _MISSING.search(text)
    if missing:
        where = f"{where}.{missing.group(1)}".lstrip(".")
        return RequestError(f"{where} is missing.", param=where)
    if not where:
        return RequestError("The body must be a JSON object.")
    kind, value = _found(_bare(inspect.type_info(expected), document), document, where)
    subject = f"{where.removesuffix('[...]')}: each value" if where.endswith("[...]") else where
    came = "" if value is _UNKNOWN else f", not {_came(value, kind)}"
    return RequestError(f"{subject} must be {_wanted(kind)}{came}.", param=where)


def _found(kind: inspect.Type, value: Any, path: str) -> tuple[inspect.Type, Any]:
    """Follow a path through the definition and the document at once."""
    for index, name in _STEP.findall(path):
        match kind:
            case inspect.StructType(fields=fields):
                value = value[name]
                kind = next(_bare(field.type, value) for field in fields if field.encode_name == name)
            case inspect.ListType(item_type=item_type):
                value = value[int(index)]
                kind = _bare(item_type, value)
            case inspect.DictType(value_type=value_type):
                # Which of the keys it was, is not said.
                kind, value = _bare(value_type, _UNKNOWN), _UNKNOWN
    return kind, value


def _bare(kind: inspect.Type, value: Any) -> inspect.Type:
    """Leave out the description, and that `null` will do; of several kinds, take the one that was meant."""
    while True:
        match kind:
            case inspect.Metadata(type=inner):
                kind = inner
            case inspect.UnionType(types=types):
                kinds = [each for each in types if not isinstance(each, inspect.NoneType)]
                meant = _KINDS.get(type(value), ())
                kind = next((each for each in kinds if isinstance(each, meant)), kinds[0])
            case _:
                return kind


def _wanted(kind: inspect.Type) -> str:
    match kind:
        case inspect.LiteralType(values=values):
            return f"one of {', '.join(map(str, values))}"
        case inspect.IntType(ge=least, le=most):
            return f"a whole number{_bounds(least, most)}"
        case inspect.FloatType(ge=low, le=high):
            return "a number" if low is None or high is None else f"a number from {low:g} to {high:g}"
        case inspect.StrType(min_length=least, max_length=most):
            return f"text{_bounds(least, most, ' characters')}"
        case inspect.ListType(min_length=least, max_length=most):
            return f"a list{_bounds(least, most, ' items')}"
        case inspect.DictType(min_length=least, max_length=most):
            return f"an object{_bounds(least, most, ' members')}"
        case inspect.BoolType():
            return "true or false"
        case _:
            return "an object"


def _bounds(least: int | None, most: int | None, unit: str = "") -> str:
    of = " of" if unit else ""
    if most is None:
        return "" if least is None else f"{of} at least {least}{unit}"
    if least is None:
        return f"{of} at most {most}{unit}"
    return f"{of} {least} to {most}{unit}" if unit else f" from {least} to {most}"


def _came(value: Any, kind: inspect.Type) -> str:
    """Say what stood there; a text is quoted only where a word out of a few was wanted: others may be prompts."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"{value}" if abs(value) < _NUMBER_MAX else "a number of that size"
        case str() if isinstance(kind, inspect.LiteralType):
            return repr(value[:_QUOTED_CHARS_MAX])
        case str():
            return f"{len(value)} characters" if isinstance(kind, inspect.StrType) else "text"
        case list():
            return f"{len(value)} items" if isinstance(kind, inspect.ListType) else "a list"
        case _:
            return f"{len(value)} members" if isinstance(kind, inspect.DictType) else "an object"
