"""What makes a credential ready to be sent, right before an attempt: most are keys, and are sent as they are.

A conversation is given what goes into its header and knows nothing of where that came from; so whatever takes a network
to get it (Google's tokens, `transport.google_tokens`) stands behind this port.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from holdfast.config import Upstream
from holdfast.types import Failure


class Tokens(Protocol):
    """Gives what authorises one attempt."""

    async def fresh(self, upstream: Upstream, key: str) -> str | Failure:
        """Give what is sent for one of an upstream's `keys`; a failure says why there is nothing, and cost nothing."""

    def add(self, keys: Iterable[tuple[Upstream, str]]) -> None:
        """Be ready for these credentials too. Raises `ConfigError`, and then nothing has changed."""

    def forget(self, upstream: Upstream, key: str) -> None:
        """Note that the upstream has refused what was given: the next attempt is given another, if there is one."""


class PlainKeys:
    """Every key is sent as it is."""

    async def fresh(self, upstream: Upstream, key: str) -> str | Failure:
        """Give the key."""
        return key

    def add(self, keys: Iterable[tuple[Upstream, str]]) -> None:
        """Nothing is to be made ready."""

    def forget(self, upstream: Upstream, key: str) -> None:
        """Nothing else could be given."""
