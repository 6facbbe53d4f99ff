"""What a process of each role answers."""

from __future__ import annotations

from holdfast.config import Role
from holdfast.gateway.app import Endpoint

OF_WORKERS = ("/healthz", "/readyz", "/metrics")
"""Where no callers come: for whoever looks after the process."""


def served_by(role: Role, endpoints: list[Endpoint]) -> list[Endpoint]:
    """Of everything that is served, give what a process of this role answers."""
    if role.serves:
        return endpoints
    return [each for each in endpoints if any(each.pattern.fullmatch(path) for path in OF_WORKERS)]
