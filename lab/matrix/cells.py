"""What the matrix is made of: clients, scenarios, and the name of each cell. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

SPEED = 20.0
"""Divides every time of life: an idle limit of 60 s becomes 3 s, the first beat comes after 1 s."""
IMAGE_S = 120.0
"""Of life, until an image is there: 6 s here, longer than any idle limit on the way and than httpx's 5 s."""
LATE_S = 60.0
"""Of life, until what fails late has failed: 3 s here, when the status has long been spent."""
CUT_AFTER_S = 3.0
"""Of the clock on the wall, until a connection is cut while the image is being made."""
CUT_AFTER_BYTES = 300_000
"""Of the answer, after which a connection is cut."""
ASK_AGAIN_S = 0.5
"""Of the clock on the wall, between a failed call and the same one made again."""
SIZE = "1024x1024"


class Told(StrEnum):
    """How a caller is told of a failure when 200 has been sent; see `docs/discussions/why-heartbeats.md`."""

    JSON = "json"
    """One document with an `error` object."""
    REPEAT = "repeat"
    """The body breaks off behind a line of text, the SDK repeats by itself, and its repeat has the true status. Where a
    break cannot be seen, the text is what it reads."""
    TEXT = "text"
    """A line that is no JSON: the SDK raises."""
    GEMINI = "gemini"
    """The same, except for refusals, which are a 200 without an image in that dialect anyway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A client as it comes."""

    name: str
    title: str
    driver: str
    """Which process runs it: `python`, `node`, `java`, `go`."""
    told: Told = Told.JSON
    given: str = "address, key, body"
    """What nobody can avoid to give it; everything else is its default."""

    @property
    def is_gemini(self) -> bool:
        """Whether it speaks Gemini's dialect."""
        return self.told is Told.GEMINI


_SDK = "`base_url`, `api_key`"
CLIENTS = (
    Client(name="requests", title="requests", driver="python"),
    Client(name="httpx", title="httpx", driver="python"),
    Client(name="httpx2", title="httpx2", driver="python"),
    Client(name="aiohttp", title="aiohttp", driver="python"),
    Client(name="urllib3", title="urllib3", driver="python"),
    Client(name="curl", title="curl", driver="python"),
    Client(name="openai", title="openai (Python)", driver="python", told=Told.REPEAT, given=_SDK),
    Client(name="google-genai", title="google-genai (Python)", driver="python", told=Told.GEMINI, given=_SDK),
    Client(name="fetch", title="Node fetch", driver="node"),
    Client(name="undici", title="undici", driver="node"),
    Client(name="axios", title="axios", driver="node"),
    Client(name="openai-node", title="openai (Node)", driver="node", told=Told.TEXT, given="`baseURL`, `apiKey`"),
    Client(
        name="google-genai-node", title="@google/genai", driver="node", told=Told.GEMINI, given="`baseUrl`, `apiKey`"
    ),
    Client(name="java", title="Java HttpClient", driver="java"),
    Client(name="go", title="Go net/http", driver="go"),
)


class Scenario(StrEnum):
    """What happens to a call."""

    SUCCESS = "success"
    EARLY_ERROR = "early-error"
    LATE_REFUSAL = "late-refusal"
    LATE_OVERLOAD = "late-overload"
    CUT = "cut"
    REPEAT = "repeat"

    @property
    def title(self) -> str:
        """The scenario in words."""
        return self.value.replace("-", " ")


WISHES = {
    Scenario.SUCCESS: f"delay={IMAGE_S:g}",
    Scenario.EARLY_ERROR: "status=400 delay=0",
    Scenario.LATE_REFUSAL: f"fault=refused_output delay={LATE_S:g}",
    # Once there is time to come back when the upstream says; then the deadline is nearer than that.
    Scenario.LATE_OVERLOAD: "status=503 retry_after=4",
    Scenario.CUT: f"delay={LATE_S:g}",
    Scenario.REPEAT: f"delay={IMAGE_S:g}",
}
"""What the simulated upstream is asked for, in the prompt."""
MEANT = {
    Scenario.SUCCESS: "The image comes after 6 s of silence upstream. Right: the image, byte for byte, charged once.",
    Scenario.EARLY_ERROR: "The upstream finds the request bad at once. Right: status 400, nothing charged.",
    Scenario.LATE_REFUSAL: "The upstream refuses after 3 s, when 200 has been sent. Right: the client shows a refusal, "
    "never a success; nothing charged.",
    Scenario.LATE_OVERLOAD: "The upstream is overloaded; holdfast asks it again after the 4 s that it wants, and then "
    "has no time left, and has sent 200. Right: the client shows an error, never a success; nothing charged.",
    Scenario.CUT: f"The client's connection is cut {CUT_AFTER_BYTES // 1000} kB into the answer. Right: an error, or "
    "the image where the client repeats by itself; charged once; and the image is kept, to be collected.",
    Scenario.REPEAT: "The client's connection is cut after 3 s, while the image is being made, and the program makes "
    "the same call again. Right: the image, byte for byte, charged once.",
}


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One client behind one front in one scenario."""

    front: str
    client: str
    scenario: Scenario
    is_direct: bool = False
    """Without holdfast: the front leads to the upstream itself."""
    go: int = 1
    """The how-manieth time it is played, 1-based."""

    @property
    def id(self) -> str:
        """Unlike any other's, and no part of another's."""
        return f"{'direct' if self.is_direct else 'held'}:{self.front}:{self.client}:{self.scenario}:{self.go}:"

    @property
    def prompt(self) -> str:
        """What is asked for."""
        return f"{self.id} a lighthouse [sim {WISHES[self.scenario]}]"


def models_of(cells: tuple[Cell, ...]) -> dict[str, str]:
    """Name the model that each cell asks for, by the cell's id.

    An upstream that is overloaded is spared by its gateway for a while; the overload of one cell is none of another's,
    so each has an upstream of its own.
    """
    number = 0
    models = {}
    for cell in cells:
        if cell.scenario is Scenario.LATE_OVERLOAD:
            number += 1
            models[cell.id] = f"overloaded-{number}"
        else:
            models[cell.id] = "image"
    return models
