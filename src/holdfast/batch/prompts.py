"""A file of prompts: text, one a line, or JSON Lines, an object a line. Text in, values out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import msgspec

from holdfast.errors import RequestError
from holdfast.policy.sizes import resolve
from holdfast.types import Tier

FILE_BYTES_MAX = 64 << 20
"""Held in memory while the batch runs."""
LINES_MAX = 10_000
"""Lines with a prompt; more are several batches."""
PROMPT_CHARACTERS_MAX = 32_000
"""As the gateway has it."""
IMAGES_MAX = 10
"""A call, as the images API has it."""
JSON_SUFFIXES = (".jsonl", ".ndjson")
TEXT_SUFFIXES = (".txt", ".text", ".md")
FIELDS = ("prompt", "model", "size", "aspect_ratio", "n", "output")


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What holds for every line that says nothing else: the options of the command."""

    model: str | None = None
    size: str | None = None
    aspect_ratio: str | None = None
    n: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One prompt with everything that is asked of it."""

    number: int
    """Of the line in the file, 1-based; blank ones count, so that an editor shows the same."""
    prompt: str
    model: str | None = None
    size: str | None = None
    aspect_ratio: str | None = None
    n: int = 1
    output: str | None = None
    """The file's name, if the line gives one."""

    def fingerprint(self, inputs: Sequence[str] = ()) -> str:
        """Tell this wish from another one.

        Args:
            inputs: SHA-256 of the reference images that go with it.

        Returns:
            64 hexadecimal digits. Number and name of the file are no part of them: they change nothing about the image.
        """
        wish = [self.prompt, self.model, self.size, self.aspect_ratio, self.n, *inputs]
        return hashlib.sha256(msgspec.json.encode(wish)).hexdigest()


def is_json_lines(name: str, text: str) -> bool:
    """Tell which of the two a file is: by its suffix, else by whether its first line is a JSON object."""
    lowered = name.lower()
    if lowered.endswith(JSON_SUFFIXES):
        return True
    return not lowered.endswith(TEXT_SUFFIXES) and text.lstrip("\ufeff \t\r\n").startswith("{")


def decode_text(data: bytes, name: str) -> str:
    """Read a file's bytes as UTF-8.

    Raises:
        RequestError: They are not, or are too many; the line is named.
    """
    if len(data) > FILE_BYTES_MAX:
        raise RequestError(f"{name} is larger than {FILE_BYTES_MAX >> 20} MB. Split it into several batches.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise RequestError(f"{name}, line {number}: this is not UTF-8. Save the file as UTF-8.") from error


def parse_prompts(text: str, name: str, defaults: Defaults) -> list[Line]:
    """Read every line that holds a prompt; blank ones are passed over.

    Args:
        text: The file, as `decode_text` gave it.
        name: What the file is called in messages.
        defaults: For what a line does not say.

    Raises:
        RequestError: A line cannot be asked, there is none, or there are too many; the first such line is named.
    """
    read = _from_json if is_json_lines(name, text) else _from_text
    lines: list[Line] = []
    # Not splitlines(): a form feed or U+2028 inside a prompt ends no line in an editor.
    for number, row in enumerate(text.split("\n"), 1):
        if not row.strip():
            continue
        if len(lines) == LINES_MAX:
            raise RequestError(f"{name} has more than {LINES_MAX:,} prompts. Split it into several batches.")
        try:
            lines.append(_checked(read(row.strip(), number, defaults)))
        except RequestError as error:
            raise RequestError(f"{name}, line {number}: {error.message}") from error
    if not lines:
        raise RequestError(f"{name} holds no prompt. Write one a line.")
    return lines


def _from_text(row: str, number: int, defaults: Defaults) -> Line:
    return Line(
        number=number,
        prompt=row,
        model=defaults.model,
        size=defaults.size,
        aspect_ratio=defaults.aspect_ratio,
        n=defaults.n,
    )


def _from_json(row: str, number: int, defaults: Defaults) -> Line:
    try:
        document = msgspec.json.decode(row)
    except msgspec.DecodeError as error:
        raise RequestError(f'this is not JSON ({error}). Each line is one object: {{"prompt": "…"}}.') from error
    if not isinstance(document, dict):
        raise RequestError('this is no object. Each line is one: {"prompt": "…"}.')
    for field in document:
        if field not in FIELDS:
            near = get_close_matches(str(field), FIELDS, 1)
            meant = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(FIELDS)}."
            raise RequestError(f"there is no field {str(field)[:40]!r}. {meant}")
    n = document.get("n")
    if n is not None and (not isinstance(n, int) or isinstance(n, bool)):
        raise RequestError(f"n must be a number from 1 to {IMAGES_MAX}.")
    return Line(
        number=number,
        prompt=(_text(document, "prompt") or "").strip(),
        model=_text(document, "model") or defaults.model,
        size=_text(document, "size") or defaults.size,
        # A size in pixels of its own has a ratio of its own.
        aspect_ratio=_text(document, "aspect_ratio") or (None if _text(document, "size") else defaults.aspect_ratio),
        n=defaults.n if n is None else n,
        output=_text(document, "output"),
    )


def _text(document: dict[str, object], field: str) -> str | None:
    value = document.get(field)
    if value is None or isinstance(value, str):
        return value
    raise RequestError(f"{field} must be a string.")


def _checked(line: Line) -> Line:
    if not line.prompt:
        raise RequestError("the prompt is empty. Say what to draw.")
    if len(line.prompt) > PROMPT_CHARACTERS_MAX:
        raise RequestError(f"the prompt has more than {PROMPT_CHARACTERS_MAX:,} characters.")
    if not 1 <= line.n <= IMAGES_MAX:
        raise RequestError(f"n must be 1 to {IMAGES_MAX}, not {line.n}.")
    # Refused here, before anything is sent, with the gateway's own words.
    resolve(line.size, aspect_ratio=line.aspect_ratio, last_input_px=None, size_default=Tier.K1)
    return line
