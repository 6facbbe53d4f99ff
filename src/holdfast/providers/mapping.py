"""Where each wish of a caller goes in an upstream's request: one `Mapping` for each door to a provider.

Pure: values only. A door's file holds its own; `registry.MAPPINGS` lists them. Three things are made of it: the page
`docs/reference/providers.md`, what a caller is told in `Holdfast-Ignored`, and a test that compares it with what the
conversation really sends.
"""

from __future__ import annotations

from collections.abc import Mapping as Table
from dataclasses import dataclass, field

from holdfast.config import Provider, UpstreamApi

FIELDS = (
    *("prompt", "size", "aspect_ratio", "n", "images", "quality", "output_format", "output_compression"),
    *("background", "moderation", "stream", "partial_images", "user", "mask", "input_fidelity"),
)
"""What a caller can say, in the words of the OpenAI surface; the others say the same in theirs."""
IGNORABLE = (
    *("quality", "output_format", "output_compression", "background", "moderation", "partial_images"),
    "input_fidelity",
)
"""What an image can do without: where a door has no place for it, the caller is told, and gets his image."""
REFUSED = ("mask",)
"""What changes the image: where a door has no place for it, the request is refused before anything is accepted."""
ONE_BY_ONE = "one call for each image"
AT_THE_END = "told at the end: nothing is streamed there"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """One door."""

    provider: Provider
    api: UpstreamApi = UpstreamApi.AUTO
    title: str
    call: str
    """What is asked: `POST /v1/responses`."""
    fields: Table[str, str]
    """Where each of `FIELDS` goes, in Markdown; what is missing goes nowhere."""
    only: Table[str, tuple[str, ...]] = field(default_factory=dict)
    """Values of a field that are understood there, where not all are."""

    def __post_init__(self) -> None:
        assert set(self.fields) <= set(FIELDS), f"{self.title}: unknown fields"
        assert set(FIELDS) - set(self.fields) <= {*IGNORABLE, "user", "mask"}, (
            f"{self.title}: an image cannot do without"
        )
        assert set(self.only) <= set(self.fields)

    def ignores(self, name: str, value: object) -> bool:
        """Whether something that a caller has stated does nothing there."""
        if name not in self.fields:
            return True
        understood = self.only.get(name)
        return understood is not None and value not in understood
