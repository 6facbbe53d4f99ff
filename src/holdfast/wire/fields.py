"""Looking into decoded JSON that others wrote: every field may be missing, null or of another type.

Pure: no I/O, clock or randomness.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from holdfast.errors import RequestError
from holdfast.wire.errors import EndsEarly, WireError

_COUNT_MAX = 1 << 53


def document_of(skeleton: bytes) -> Any:
    """Decode a skeleton.

    Raises:
        WireError: It is not JSON or too deep (only if it did not come from a reader), or holds a number no double can
            hold.
    """
    try:
        return msgspec.json.decode(skeleton)
    except UnicodeDecodeError as exc:
        raise WireError("encoding", "the document is not UTF-8") from exc
    except msgspec.DecodeError as exc:
        raise WireError("json", "the document is not valid JSON") from exc
    except RecursionError as exc:
        raise WireError("too_large", "the document is nested too deep") from exc


def mapping_of(value: object) -> Mapping[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def list_of(value: object) -> list[Any]:
    """The value if it is an array; in one if it is an object (some encoders unwrap single items); else an empty one."""
    if isinstance(value, list):
        return value
    return [value] if isinstance(value, dict) else []


def text_of(value: object) -> str | None:
    """The value if it is a non-empty string: an empty one means absent."""
    return value if isinstance(value, str) and value else None


def word_of(value: object) -> str | None:
    """A code, which may be a word or (relays) a number."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return text_of(value)


def count_of(value: object) -> int:
    """A count of tokens; 0 for whatever is none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _COUNT_MAX else 0


def slot_of(value: object) -> int | None:
    """The number of the image that stood here, None where none did."""
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else None


def request_error_of(error: WireError) -> RequestError:
    """Tell a caller why the body of a request cannot be read."""
    if error.code == "too_large":
        return RequestError(error.message, code="input_too_large", status=413)
    if isinstance(error, EndsEarly):
        # It came with all the bytes that its framing announced: whoever wrote it left something open.
        return RequestError("The JSON of the body is not complete: it ends inside an object, a list or a text.")
    return RequestError(f"The request body cannot be read: {error.message}")
