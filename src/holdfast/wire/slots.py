"""Numbers that stand for images which were cut out of a request: telling ours from what a caller wrote.

Pure: no I/O, clock or randomness. Where an address may stand instead of an image (`JsonReader` with `links_stay`) or an
image within a text (`is_prose`), a caller could write a number himself, and would be taken for someone who sent it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from holdfast.errors import RequestError


def check_numbers(numbers: Iterable[str], came_along: int) -> None:
    """See that every number at the place of an image is ours: that many were cut out, counted in the body's order.

    One that a caller wrote comes out of turn, or is one too many. Names that stand twice in an object lose a number.

    Raises:
        RequestError: There is a number that nobody put there.
    """
    if list(islice(numbers, came_along + 1)) != [str(number) for number in range(came_along)]:
        raise RequestError("An image is given as a data: URL or as an https address, and no name stands twice.")


def texts_at(
    value: Any, is_wanted: Callable[[tuple[str, ...]], bool], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Give the texts of a decoded document at certain paths (see `JsonReader`), in its order."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from texts_at(inner, is_wanted, (*path, name))
    elif isinstance(value, list):
        for inner in value:
            yield from texts_at(inner, is_wanted, path)
    elif isinstance(value, str) and is_wanted(path):
        yield path, value


def is_number(text: str) -> bool:
    """Whether it may be one of ours."""
    return text.isascii() and text.isdigit()
