"""What the files of a batch are called. Every name is known, and known to be free, before anything is paid."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from string import Formatter

from holdfast.batch.prompts import Line
from holdfast.errors import RequestError
from holdfast.wire.image import EXTENSIONS

TEMPLATE_DEFAULT = "{line}"
FIELDS = ("line", "slug", "model", "size")
SLUG_CHARACTERS_MAX = 40
NAME_BYTES_MAX = 200
"""Of 255 that file systems take; number and suffix come behind it."""
_SUFFIXES = tuple(f".{each}" for each in (*EXTENSIONS.values(), "jpeg"))
_UNSPEAKABLE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')


def stems_of(lines: Sequence[Line], template: str) -> dict[int, str]:
    """Give every line the name of its files, without number and suffix.

    Args:
        lines: What is asked.
        template: With `{line}`, `{slug}` (the prompt's first words), `{model}`, `{size}`; a line's own `output` wins.

    Returns:
        Stem by line number.

    Raises:
        RequestError: A name is impossible, or two lines would have the same one; both are told.
    """
    _check(template)
    width = len(str(max(line.number for line in lines)))
    stems: dict[int, str] = {}
    taken: dict[str, int] = {}
    for line in lines:
        stem = _own(line) if line.output is not None else _filled(template, line, width)
        stems[line.number] = stem
        for each in numbered(stem, line.n):
            # What differs by case alone is one file on some systems.
            other = taken.setdefault(each.casefold(), line.number)
            if other != line.number:
                raise RequestError(
                    f"Lines {other} and {line.number} would both write {each!r}. "
                    "Put {line} into --name, or give them different outputs."
                )
    return stems


def numbered(stem: str, n: int) -> list[str]:
    """Give the names of n images: the stem itself, or with an index behind it."""
    return [stem] if n == 1 else [f"{stem}-{index}" for index in range(n)]


def strangers(
    lines: Sequence[Line], stems: Mapping[int, str], begun: Collection[int], names: Collection[str]
) -> list[str]:
    """Find files in the output folder that stand where a line that was never sent will write.

    Args:
        lines: What is asked.
        stems: From `stems_of`.
        begun: Lines that were sent before: what is there under their names is theirs.
        names: The folder's files.
    """
    by_stem: dict[str, str] = {}
    for name in names:
        stem, dot, suffix = name.rpartition(".")
        if dot and f".{suffix.lower()}" in (*_SUFFIXES, ".bin"):
            by_stem[stem.casefold()] = name
    wanted = (each for line in lines if line.number not in begun for each in numbered(stems[line.number], line.n))
    return [by_stem[each.casefold()] for each in wanted if each.casefold() in by_stem]


def slug(prompt: str) -> str:
    """Make a name of a prompt's first words: `a-cat-on-a-mat`."""
    words = re.findall(r"\w+", unicodedata.normalize("NFC", prompt).lower())
    made = ""
    for word in words:
        longer = f"{made}-{word}" if made else word[:SLUG_CHARACTERS_MAX]
        if len(longer) > SLUG_CHARACTERS_MAX:
            break
        made = longer
    return made or "image"


def _check(template: str) -> None:
    try:
        pieces = list(Formatter().parse(template))
    except ValueError as error:
        raise RequestError(f"--name {template!r}: {error}. Fields are written {{line}}.") from error
    for _, field, spec, conversion in pieces:
        if field is None:
            continue
        if field not in FIELDS:
            near = get_close_matches(field, FIELDS, 1)
            meant = f"Did you mean {{{near[0]}}}?" if near else f"There are: {', '.join(f'{{{x}}}' for x in FIELDS)}."
            raise RequestError(f"--name {template!r}: there is no field {{{field}}}. {meant}")
        if spec or conversion:
            raise RequestError(f"--name {template!r}: write {{{field}}} alone; numbers are padded by themselves.")


def _filled(template: str, line: Line, width: int) -> str:
    filled = template.format(
        line=f"{line.number:0{width}}",
        slug=slug(line.prompt),
        model=_UNSPEAKABLE.sub("-", line.model or "default"),
        size=_UNSPEAKABLE.sub("-", line.size or "default"),
    )
    return _possible(filled, "--name")


def _own(line: Line) -> str:
    assert line.output is not None
    # The suffix is that of what comes: an upstream chooses between PNG and JPEG.
    suffix = next((each for each in _SUFFIXES if line.output.lower().endswith(each)), "")
    return _possible(line.output[: len(line.output) - len(suffix)], f"Line {line.number}: output")


def _possible(stem: str, where: str) -> str:
    if _UNSPEAKABLE.search(stem):
        raise RequestError(
            f"{where} {stem!r} is no file's name: folders, control characters and :*?\"<>| cannot be in it."
        )
    if not stem.strip(" .") or stem.startswith("."):
        raise RequestError(f"{where} {stem!r} is no file's name: it is empty, or begins with a dot.")
    if len(stem.encode()) > NAME_BYTES_MAX:
        raise RequestError(f"{where} {stem[:40]!r}… is longer than {NAME_BYTES_MAX} bytes.")
    return stem
