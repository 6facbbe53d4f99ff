"""Who follows which generation step by step, in this process; what the step was, the record tells."""

from __future__ import annotations

from collections.abc import Callable, Iterator

Follower = Callable[[], None]
Listener = Callable[[str], None]


class Followers:
    """Callbacks by generation id, called after each commit that changed it. All on one loop, so nothing is locked."""

    def __init__(self) -> None:
        self._by_id: dict[str, list[Follower]] = {}
        self._of_all: list[Listener] = []

    def __repr__(self) -> str:
        return f"<Followers {len(self)} of {len(self._by_id)} generations>"

    def __len__(self) -> int:
        return sum(map(len, self._by_id.values()))

    def __iter__(self) -> Iterator[str]:
        """The generations that are followed."""
        return iter(self._by_id)

    def __contains__(self, generation_id: str) -> bool:
        return generation_id in self._by_id

    def add(self, generation_id: str, follower: Follower) -> None:
        """Call `follower` whenever something of this generation has been committed, until it is removed."""
        self._by_id.setdefault(generation_id, []).append(follower)

    def remove(self, generation_id: str, follower: Follower) -> None:
        """Stop calling it; one that was never added is no error."""
        followers = self._by_id.get(generation_id, [])
        if follower in followers:
            followers.remove(follower)
        if not followers:
            self._by_id.pop(generation_id, None)

    def listen(self, listener: Listener) -> None:
        """Call `listener` with the id of every generation that is accepted, or that a commit changed, until `deaf`."""
        self._of_all.append(listener)

    def deaf(self, listener: Listener) -> None:
        """Stop calling it."""
        self._of_all.remove(listener)

    def notify(self, generation_id: str) -> None:
        """Call every follower of a generation; they look for themselves."""
        for listener in tuple(self._of_all):
            listener(generation_id)
        for follower in tuple(self._by_id.get(generation_id, ())):
            follower()
