"""What a request is told to suffer: by a script, by its own prompt, or by the scenario, in this order of precedence.

Pure: no I/O, clock or randomness. All three are a `Wish`, written as words: `delay=12 fault=truncate drafts=3`. In a
prompt the words stand in brackets, `a cat [sim delay=12 fault=truncate]`; a script is
`{"match": {"model": "…", "prompt_contains": "…", "size": "4K", "nth": 3}, "do": ["truncate", "status=503"]}`: each
request that matches takes the next of `do`, and a script that has none left is forgotten. A wish may also be spelled as
an object, `{"fault": "truncate", "delay": 12}`. Seconds are those of life: the simulator's speed divides them.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import isfinite
from typing import Any

from holdfast.config.words import nearest
from holdfast.errors import RequestError
from holdfast.types import Tier

SHAPES = ("images", "parts", "markdown", "data_url", "link")
"""In a chat: `message.images`, parts of `content`, its text; a link in that text. Of the Images API: a data URL, or a
link, in the place of `b64_json`."""
DELAY_S_MAX = 86_400.0
DRAFTS_MAX = 9
"""Ten image parts in one answer are the most that was seen."""
SCRIPTS_MAX = 1_000
WISHES_MAX = 10_000


class Fault(StrEnum):
    """One way to go wrong. Of those below, the ones marked * make and charge the picture all the same."""

    NONE = "none"
    """All goes well, whatever the scenario would have drawn."""
    # How the answer travels.
    REFUSE_CONNECT = "refuse_connect"
    """The next connection is reset before anything is read; from a prompt: as soon as the request was read."""
    STALL_HEADERS = "stall_headers"
    """* Not a byte ever comes."""
    STALL_BODY = "stall_body"
    """* Half the body, then silence."""
    RESET_SENT = "reset_sent"
    """* RST as soon as the request was read."""
    RESET_BODY = "reset_body"
    """* Half the body, then RST."""
    TRUNCATE = "truncate"
    """* Half the body, then FIN."""
    DRIP = "drip"
    """* White space every second from the start, then the body in twenty pieces a quarter of a second apart."""
    GZIP = "gzip"
    """* Compressed, although nobody asked for it."""
    UNTERMINATED = "unterminated"
    """* All of the body, but neither a last chunk nor an end of the connection (some relays)."""
    # What the answer says.
    HTML = "html"
    """* A page with status 200."""
    EMPTY = "empty"
    """* Status 200 and no body."""
    REDIRECT = "redirect"
    """* The picture lies elsewhere: 302."""
    ERROR_IN_200 = "error_in_200"
    """An error envelope with status 200."""
    REFUSED_INPUT = "refused_input"
    """The prompt is refused, within seconds."""
    REFUSED_OUTPUT = "refused_output"
    """The picture is refused after the whole wait; OpenAI is taken to charge for it, Google says that it does not."""
    NO_IMAGE = "no_image"
    """A well-formed answer without a picture."""
    TEXT_ONLY = "text_only"
    """The model asks back, in prose."""
    # What the picture is.
    BAD_BASE64 = "bad_base64"
    """* Characters that are no base64."""
    URL_SAFE = "url_safe"
    """* The URL-safe alphabet, which is allowed."""
    NOT_IMAGE = "not_image"
    """* Base64 of something else."""
    CUT_IMAGE = "cut_image"
    """* A file that ends in its middle."""
    MISLABELLED = "mislabelled"
    """* A PNG that is called a JPEG, or the other way round."""
    OTHER_SIZE = "other_size"
    """* A picture of other pixels than asked for."""
    # What a queue says while it is asked (fal, and what works in the background); of others, links expire as well.
    POLL_404 = "poll_404"
    """* The first three questions: it knows of no such request."""
    POLL_503 = "poll_503"
    """* The first three questions, and the first one for the result: a proxy's 503."""
    POLL_RESET = "poll_reset"
    """* The first three questions: RST."""
    BACKWARDS = "backwards"
    """* In progress, in the queue, completed, and then what is true."""
    EXPIRED = "expired"
    """* The first link to a picture is dead; the result, read again, has a fresh one. In the background: what has
    ended is not kept, and nobody knows of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What shall happen to one request."""

    fault: Fault | None = None
    status: int | None = None
    """Answer with this status."""
    retry_after: str | None = None
    """The hint beside it, as it stands in the header; alone it means status 429."""
    drafts: int | None = None
    """Further pictures before the one that is meant."""
    reason: str | None = None
    """The word for a refusal, in the upstream's own vocabulary."""
    delay_s: float | None = None
    """Seconds until the picture is made."""
    format: str | None = None
    """`png` or `jpeg`."""
    shape: str | None = None
    """Where an answer has its pictures, of those that relays use; see `SHAPES`."""

    @property
    def is_ending(self) -> bool:
        """Whether it says how the request ends, and not only when."""
        return self.fault is not None or self.status is not None or self.retry_after is not None or bool(self.drafts)

    def over(self, below: Wish) -> Wish:
        """Lay this wish over one of less weight: an ending is taken whole, times and formats one by one."""
        ending = self if self.is_ending else below
        return replace(
            ending,
            delay_s=self.delay_s if self.delay_s is not None else below.delay_s,
            format=self.format or below.format,
            shape=self.shape or below.shape,
        )


_SUFFIX = re.compile(r"\[sim(?:\s+([^\[\]]*))?\]")
_FAULTS = tuple(fault.value for fault in Fault)


def _fault_of(text: str) -> Fault:
    if text not in _FAULTS:
        raise RequestError(f"Unknown fault {text[:40]!r}. {nearest(text, _FAULTS)}", param="fault")
    return Fault(text)


def _number_of(name: str, least: float, most: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not isfinite(value) or not least <= value <= most:
            raise RequestError(f"{name} is a number from {least:g} to {most:g}, not {text[:40]!r}.", param=name)
        return value

    return read


def _format_of(text: str) -> str:
    if text not in ("png", "jpeg"):
        raise RequestError(f"format is png or jpeg, not {text[:40]!r}.", param="format")
    return text


def _shape_of(text: str) -> str:
    if text not in SHAPES:
        raise RequestError(f"shape is one of {', '.join(SHAPES)}, not {text[:40]!r}.", param="shape")
    return text


_FIELDS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "delay": ("delay_s", _number_of("delay", 0.0, DELAY_S_MAX)),
    "fault": ("fault", _fault_of),
    "status": ("status", lambda text: int(_number_of("status", 300, 599)(text))),
    "retry_after": ("retry_after", str),
    "drafts": ("drafts", lambda text: int(_number_of("drafts", 0, DRAFTS_MAX)(text))),
    "reason": ("reason", str),
    "format": ("format", _format_of),
    "shape": ("shape", _shape_of),
}
_WORDS = (*_FIELDS, *_FAULTS)


def wish_of_words(words: str) -> Wish:
    """Read `delay=12 fault=truncate`; a fault may stand alone, `truncate`.

    Raises:
        RequestError: A word is not known; the near one is named.
    """
    stated: dict[str, str] = {}
    for word in words.split():
        name, equals, text = word.partition("=")
        if not equals:
            name, text = "fault", name
            if text not in _FAULTS:
                raise RequestError(f"Unknown word {text[:40]!r}. {nearest(text, _WORDS)}", param="sim")
        stated[name] = text
    return wish_of_mapping(stated)


def wish_of_mapping(mapping: Mapping[str, Any]) -> Wish:
    """Read `{"delay": 12, "fault": "truncate"}`.

    Raises:
        RequestError: A key is not known, or its value makes no sense.
    """
    values: dict[str, Any] = {}
    for name, raw in mapping.items():
        if name not in _FIELDS:
            raise RequestError(f"Unknown word {name[:40]!r}. {nearest(name, _FIELDS)}", param="sim")
        if isinstance(raw, bool) or not isinstance(raw, str | int | float) or not str(raw) or len(str(raw)) > 200:
            raise RequestError(f"{name} is one word or one number.", param=name)
        # A header is made of some of these words.
        if any(ord(letter) < 32 or ord(letter) > 126 for letter in str(raw)):
            raise RequestError(f"{name} is written in plain ASCII.", param=name)
        field_name, read = _FIELDS[name]
        values[field_name] = read(str(raw))
    return Wish(**values)


def wish_of_prompt(prompt: str) -> Wish | None:
    """Read the last `[sim …]` of a prompt; None where there is none.

    Raises:
        RequestError: Its words are not known.
    """
    found = _SUFFIX.findall(prompt)
    return wish_of_words(found[-1]) if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Which requests a script is for."""

    model: str | None = None
    prompt_contains: str | None = None
    size: Tier | None = None
    nth: int | None = None
    """Only from the n-th request on that matches otherwise, 1-based."""

    @property
    def is_any(self) -> bool:
        """Whether it asks nothing of the request."""
        return self.model is None and self.prompt_contains is None and self.size is None

    def holds(self, *, model: str, prompt: str, size: Tier) -> bool:
        """Tell whether a request is meant; `nth` is the script's to count."""
        return (
            (self.model is None or self.model == model)
            and (self.prompt_contains is None or self.prompt_contains in prompt)
            and (self.size is None or self.size is size)
        )


@dataclass(slots=True, kw_only=True)
class Script:
    """What the next requests of some kind shall suffer."""

    match: Match
    wishes: deque[Wish]
    seen: int = 0

    def take(self, *, model: str, prompt: str, size: Tier) -> Wish | None:
        """Give the next wish if the request is meant."""
        if not self.wishes or not self.match.holds(model=model, prompt=prompt, size=size):
            return None
        self.seen += 1
        if self.match.nth is not None and self.seen < self.match.nth:
            return None
        return self.wishes.popleft()


def script_of(document: object) -> Script:
    """Read the body of `POST /_sim/script`.

    Raises:
        RequestError: It is not one; the message says how it is written.
    """
    if not isinstance(document, dict) or not set(document) <= {"match", "do"} or "do" not in document:
        raise RequestError('A script is {"match": {…}, "do": […]}; match may be left out.', param="do")
    do = document["do"]
    steps = do if isinstance(do, list) else [do]
    if not 1 <= len(steps) <= WISHES_MAX:
        raise RequestError(f"do holds 1 to {WISHES_MAX} wishes.", param="do")
    match = _match_of(document.get("match") or {})
    wishes = deque(_wish_of(step) for step in steps)
    if not match.is_any and any(wish.fault is Fault.REFUSE_CONNECT for wish in wishes):
        raise RequestError("A connection is refused before its request is known: leave match out.", param="match")
    return Script(match=match, wishes=wishes)


def _wish_of(step: object) -> Wish:
    if isinstance(step, str):
        return wish_of_words(step)
    if isinstance(step, dict):
        return wish_of_mapping(step)
    raise RequestError('A wish is "status=503 retry_after=7" or {"status": 503, "retry_after": 7}.', param="do")


def _match_of(mapping: object) -> Match:
    if not isinstance(mapping, dict):
        raise RequestError('match is an object, such as {"model": "gemini-3-pro-image"}.', param="match")
    known = ("model", "prompt_contains", "size", "nth")
    for name in mapping:
        if name not in known:
            raise RequestError(f"Unknown key {name[:40]!r} in match. {nearest(name, known)}", param="match")
    size, nth = mapping.get("size"), mapping.get("nth")
    if size is not None and size not in tuple(Tier):
        raise RequestError("match.size is 1K, 2K or 4K.", param="match")
    if nth is not None and (isinstance(nth, bool) or not isinstance(nth, int) or nth < 1):
        raise RequestError("match.nth is a number from 1 on.", param="match")
    for name in ("model", "prompt_contains"):
        if not isinstance(mapping.get(name, ""), str):
            raise RequestError(f"match.{name} is a text.", param="match")
    return Match(
        model=mapping.get("model"),
        prompt_contains=mapping.get("prompt_contains"),
        size=Tier(size) if size is not None else None,
        nth=nth,
    )


@dataclass(slots=True)
class Scripts:
    """The scripts that are waiting, oldest first."""

    waiting: list[Script] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"<Scripts waiting={len(self.waiting)} wishes={sum(len(script.wishes) for script in self.waiting)}>"

    def add(self, script: Script) -> None:
        """Put one behind the others.

        Raises:
            RequestError: There are too many.
        """
        if len(self.waiting) >= SCRIPTS_MAX:
            raise RequestError(f"{SCRIPTS_MAX} scripts are waiting; that is enough.", status=429)
        self.waiting.append(script)

    def take(self, *, model: str, prompt: str, size: Tier) -> Wish | None:
        """Give the wish of the first script that is for this request."""
        for script in self.waiting:
            wish = script.take(model=model, prompt=prompt, size=size)
            if wish is not None:
                self._drop_spent()
                return wish
        return None

    @property
    def refuses_connection(self) -> bool:
        """Whether the next connection is to be refused."""
        return any(script.wishes[0].fault is Fault.REFUSE_CONNECT for script in self.waiting)

    def take_refusal(self) -> bool:
        """Tell whether a connection that has just come is to be refused, and count it."""
        for script in self.waiting:
            if script.wishes[0].fault is Fault.REFUSE_CONNECT:
                script.wishes.popleft()
                self._drop_spent()
                return True
        return False

    def _drop_spent(self) -> None:
        self.waiting = [script for script in self.waiting if script.wishes]
