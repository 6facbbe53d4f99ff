"""Who is taken for dead: a worker without signs of life, but not one that could show none in an outage. Pure.

After an outage every job looks abandoned, and whoever asks first would take over what all the others have in flight,
and buy it again. So nobody is given up on before the database has answered for one lease without a gap: by then each
worker that lives has shown it. A question may itself lie on its way for as long as the outage lasts: it names the hour,
by the database's clock, after which it means nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

SLACK_S = 2.0
"""An answer that takes longer tells of an outage."""
NEVER = datetime(1970, 1, 1, tzinfo=UTC)


class Deaths:
    """When it may be asked who is dead."""

    def __init__(self, lease_s: float, every_s: float) -> None:
        """Ask every so many seconds, for who has shown no sign of life for a lease."""
        self._lease_s = lease_s
        self._every_s = every_s
        self._heard: tuple[datetime, float] | None = None
        """The database's clock as it was last read, and the monotonic second at which that was heard."""
        self._asks_at = self._steady_at = float("-inf")

    def __repr__(self) -> str:
        return f"<Deaths, every {self._every_s:g} s>"

    def is_due(self, now: float) -> bool:
        """Whether to ask at this monotonic second."""
        return now >= self._asks_at

    def valid_until(self, now: float) -> datetime:
        """Say until when, by the database's clock, a question that is asked now may take anything from anybody."""
        if self._heard is None or now < self._steady_at:
            return NEVER
        at, heard_at = self._heard
        return at + timedelta(seconds=now - heard_at + SLACK_S)

    def answered(self, at: datetime, *, asked_at: float, now: float) -> None:
        """Note an answer: the database's clock, and the monotonic seconds of question and answer."""
        self._heard = at, now
        self._asks_at = now + self._every_s
        if now - asked_at > SLACK_S:
            self.failed(now)

    def failed(self, now: float) -> None:
        """Note that the database was away at this monotonic second."""
        self._steady_at = now + self._lease_s
