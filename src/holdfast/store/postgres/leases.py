"""How long each job is this process's own for certain.

Whoever is given a job has it for one lease, and renews it. A worker that was frozen past its lease does not know that
it was: so it asks, by the monotonic clock, right before it spends money. The clock is read before the database is
asked, whose own lease begins later: ours ends first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

LEASE_S = 10.0
"""Take-over of a dead worker's generations then takes at most 10 s and one look, 15 s in all."""
MANY_JOBS = 2_000
"""Above so many in one process a lease is twice as long, above two and a half times as many three times: each sign of
life is a row written, and 5,000 of them every five seconds are 966 writes a second and 825 KB of WAL (measured)."""


def lease_s(jobs: int, shortest_s: float = LEASE_S) -> float:
    """Say how long leases are in a process that has so many jobs, in seconds."""
    if jobs <= MANY_JOBS:
        return shortest_s
    return shortest_s * (2.0 if jobs <= MANY_JOBS * 5 // 2 else 3.0)


class Leases:
    """The leases of one process, by job and by generation. All on one loop."""

    def __init__(self, monotonic: Callable[[], float], shortest_s: float = LEASE_S) -> None:
        """Hold none.

        Args:
            monotonic: The clock, seconds.
            shortest_s: After so long without a sign of life a job is given to somebody else; of every replica alike.
        """
        self.monotonic = monotonic
        self.shortest_s = shortest_s
        self._until: dict[int, float] = {}
        self._job_of: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"<Leases of {len(self._until)} jobs, {self.length_s:g} s>"

    def __len__(self) -> int:
        return len(self._until)

    @property
    def length_s(self) -> float:
        """How long a lease is now."""
        return lease_s(len(self._until), self.shortest_s)

    def taken(self, job: int, generation_id: str, *, asked_at: float) -> None:
        """Note a job that was given at a request made at that monotonic second."""
        self._until[job] = asked_at + self.shortest_s
        self._job_of[generation_id] = job

    def jobs(self) -> list[int]:
        """All that this process has."""
        return list(self._until)

    def due(self, jobs: Iterable[int]) -> list[int]:
        """Of those that show a sign of life, the ones for which it must be written: half of the lease has passed."""
        soon = self.monotonic() + self.length_s / 2 + self.shortest_s / 8
        return [job for job in dict.fromkeys(jobs) if self._until.get(job, soon) <= soon]

    def renewed(self, asked: Iterable[int], written: Collection[int], *, asked_at: float, lease_s: float) -> None:
        """Note what a renewal asked for at that second has done: what was not written is somebody else's."""
        for job in asked:
            if job not in self._until:
                continue
            self._until[job] = asked_at + lease_s if job in written else float("-inf")

    def given_up(self, job: int, generation_id: str) -> None:
        """Forget a job that is done, or was handed back."""
        self._until.pop(job, None)
        if self._job_of.get(generation_id) == job:
            del self._job_of[generation_id]

    def holds(self, generation_id: str) -> bool:
        """Whether a generation's job is ours still; a tenth of a lease early, it is not."""
        until = self._until.get(self._job_of.get(generation_id, -1), float("-inf"))
        return self.monotonic() < until - self.shortest_s / 10
