"""Which clients there are recipes for, and what each of them cannot do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Language(StrEnum):
    """What a recipe is written in; each has a page."""

    PYTHON = "python"
    JAVASCRIPT = "javascript"
    SHELL = "shell"
    JAVA = "java"
    GO = "go"


SUFFIXES = {
    Language.PYTHON: "py",
    Language.JAVASCRIPT: "mjs",
    Language.SHELL: "sh",
    Language.JAVA: "java",
    Language.GO: "go",
}
COMMENTS = {language: "#" if language in ("python", "shell") else "//" for language in Language}
FENCES = {language: "sh" if language is Language.SHELL else language.value for language in Language}
"""How a page marks the language of a block."""
RUNS = {
    Language.PYTHON: "python Image.py",
    Language.JAVASCRIPT: "node Image.mjs",
    Language.SHELL: "sh Image.sh",
    Language.JAVA: "java Image.java",
    Language.GO: "go run Image.go",
}
"""How a recipe is started, saved as the file of this name: Java wants that of its class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One client."""

    name: str
    """As `--client` takes it."""
    title: str
    """As people call it."""
    language: Language
    package: str = ""
    """What its package manager installs; empty for a part of the language."""
    template: str = ""
    """The file of its recipe, when another client's fits as well; empty: its own name."""
    timers: str
    """What its own timers count, and what they are unless set."""
    limits: tuple[str, ...] = ()
    """What it cannot do, and why."""
    speaks_gemini: bool = False
    """Whether it calls the Gemini surface, otherwise OpenAI's."""

    @property
    def file(self) -> str:
        """The template's name."""
        return f"{self.template or self.name}.{SUFFIXES[self.language]}.txt"


_NO_TOTAL = "It has no timer for the whole call; between bytes each one starts anew, which is what heartbeats need."

CLIENTS: tuple[Client, ...] = (
    Client(
        name="requests",
        title="requests",
        language=Language.PYTHON,
        package="requests",
        timers="none unless set; one number sets both connecting and the silence between two reads",
        limits=(_NO_TOTAL,),
    ),
    Client(
        name="httpx",
        title="httpx",
        language=Language.PYTHON,
        package="httpx",
        timers="5 s for connecting, writing, the pool, and the silence between two reads",
        limits=(_NO_TOTAL,),
    ),
    Client(
        name="httpx2",
        title="httpx2",
        language=Language.PYTHON,
        package="httpx2",
        template="httpx",
        timers="as httpx",
        limits=(_NO_TOTAL,),
    ),
    Client(
        name="aiohttp",
        title="aiohttp",
        language=Language.PYTHON,
        package="aiohttp",
        timers="300 s for the whole call: no heartbeat extends it; 30 s to connect",
    ),
    Client(
        name="urllib3",
        title="urllib3",
        language=Language.PYTHON,
        package="urllib3",
        timers="none unless set; it repeats failed connections of a POST three times",
        limits=(_NO_TOTAL,),
    ),
    Client(
        name="openai-python",
        title="openai for Python",
        language=Language.PYTHON,
        package="openai",
        timers="600 s of silence between two reads, 5 s to connect; two repeats, also of what was charged",
        limits=(
            "Its `timeout` has no total.",
            "It sends no idempotency key: a header of the call does, and its own repeats keep it.",
        ),
    ),
    Client(
        name="google-genai-python",
        title="google-genai for Python",
        language=Language.PYTHON,
        package="google-genai",
        timers="none unless set; then it counts the silence between two reads, and tells the server how long",
        limits=("One number is the limit for connecting and for reading alike.",),
        speaks_gemini=True,
    ),
    Client(
        name="curl",
        title="curl",
        language=Language.SHELL,
        timers="300 s to connect, nothing else",
        limits=(
            "`--speed-time` takes heartbeats for a line that is too slow (a byte in ten seconds), so a dead path is "
            "noticed by `--keepalive-time` and `--max-time`.",
            "`--retry` alone does not repeat what was cut, and with `--retry-all-errors` it repeats a wrong key: hence "
            "the loop.",
            "A prompt of several lines is sent as one.",
        ),
    ),
    Client(
        name="fetch",
        title="fetch of Node",
        language=Language.JAVASCRIPT,
        timers="10 s to connect, 300 s to the headers, 300 s between two pieces of the body",
        limits=(
            "Its timers can only be set through undici's package. Without holdfast an answer that takes longer than "
            "300 s is lost, whatever is written here: take `undici`, `axios` or holdfast for it.",
            "It has no keepalive setting.",
        ),
    ),
    Client(
        name="undici",
        title="undici",
        language=Language.JAVASCRIPT,
        package="undici",
        timers="as fetch, but settable",
    ),
    Client(
        name="axios",
        title="axios for Node",
        language=Language.JAVASCRIPT,
        package="axios",
        timers="none unless set; `timeout` then counts silence",
        limits=("It has no timer of its own for connecting: `timeout` counts that too.",),
    ),
    Client(
        name="openai-node",
        title="openai for Node",
        language=Language.JAVASCRIPT,
        package="openai undici",
        timers="600 s by its own word, but fetch gives up at 300 s; two repeats, also of what was charged",
        limits=(
            "It repeats no answer that was cut inside its body: hence the loop.",
            "It sends no idempotency key: a header of the call does, and its own repeats keep it.",
        ),
    ),
    Client(
        name="google-genai-node",
        title="@google/genai for Node",
        language=Language.JAVASCRIPT,
        package="@google/genai",
        timers="none unless set; `timeout` then counts the whole call, and no heartbeat extends it",
        limits=("It has no timer for silence, and none for connecting but fetch's 10 s.",),
        speaks_gemini=True,
    ),
    Client(
        name="java",
        title="Java HttpClient",
        language=Language.JAVA,
        timers="none unless set; the timeout of a request ends with the headers",
        limits=(
            "It has no timer for the silence inside a body, and no keepalive setting: the whole call is bounded.",
            "The JDK reads no JSON: two patterns stand in for it.",
            "Its default, an `Upgrade: h2c` on plain HTTP, is switched off by asking for HTTP/1.1.",
        ),
    ),
    Client(
        name="go",
        title="Go net/http",
        language=Language.GO,
        timers="30 s to connect, nothing else; `Client.Timeout` counts the whole call, and no heartbeat extends it",
        limits=(
            "It has no timer for the silence inside a body; a deadline on the context bounds the whole call.",
            "On a connection that was used before it repeats a POST by itself when an `Idempotency-Key` is set: with "
            "holdfast that joins; without, no such header is sent.",
        ),
    ),
)
BY_NAME = {client.name: client for client in CLIENTS}
