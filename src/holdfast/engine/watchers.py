"""Who waits for which generation, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from holdfast.store.records import Record
from holdfast.types import ImageInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The generation is in a final state and committed."""

    record: Record | None = None
    """As committed, where whoever tells has it; None: it can be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialImage:
    """An upstream sent a preview; the file lives until the attempt ends."""

    index: int
    path: Path
    info: ImageInfo


Notice = Ended | PartialImage
Watcher = Callable[[Notice], None]


class Watchers:
    """Callbacks by generation id. All on one loop, so nothing is locked."""

    def __init__(self) -> None:
        self._by_id: dict[str, list[Watcher]] = {}
        self.on_end: Callable[[], None] | None = None
        """Called at every end, whoever waits for it."""

    def __repr__(self) -> str:
        return f"<Watchers {sum(map(len, self._by_id.values()))} of {len(self._by_id)} generations>"

    def __len__(self) -> int:
        return sum(map(len, self._by_id.values()))

    def __iter__(self) -> Iterator[str]:
        """The generations that are waited for."""
        return iter(self._by_id)

    def __contains__(self, generation_id: str) -> bool:
        return generation_id in self._by_id

    def add(self, generation_id: str, watcher: Watcher) -> None:
        """Tell `watcher` what happens to this generation from now on."""
        self._by_id.setdefault(generation_id, []).append(watcher)

    def remove(self, generation_id: str, watcher: Watcher) -> None:
        """Stop telling it; one that was never added, or was told the end, is no error."""
        watchers = self._by_id.get(generation_id, [])
        if watcher in watchers:
            watchers.remove(watcher)
        if not watchers:
            self._by_id.pop(generation_id, None)

    def notify(self, generation_id: str, notice: Notice) -> None:
        """Tell every watcher; an end is told once, and forgets them."""
        if isinstance(notice, Ended):
            watchers = self._by_id.pop(generation_id, [])
            if self.on_end is not None:
                self.on_end()
        else:
            watchers = list(self._by_id.get(generation_id, []))
        for watcher in watchers:
            watcher(notice)
