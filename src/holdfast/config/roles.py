"""What one process of several does."""

from __future__ import annotations

from enum import StrEnum

from holdfast.errors import ConfigError


class Role(StrEnum):
    """Whether callers come to a process, whether it calls upstreams, or both."""

    SERVE = "serve"
    """Callers only: it accepts, holds and answers; others work."""
    WORK = "work"
    """Upstreams only: it takes what others have accepted."""
    ALL = "all"

    @property
    def serves(self) -> bool:
        """Whether callers come here."""
        return self is not Role.WORK

    @property
    def works(self) -> bool:
        """Whether upstreams are called from here."""
        return self is not Role.SERVE


def check_role(role: Role, *, is_embedded: bool) -> None:
    """See that processes which share the work share a database.

    Raises:
        ConfigError: This one has a database of its own.
    """
    if is_embedded and role is not Role.ALL:
        raise ConfigError(
            f'server.role is "{role.value}", and rows are kept in the data folder, which is one process\'s alone: '
            'nobody else sees what it accepts. Set store.database to a PostgreSQL, or server.role to "all".',
            key="server.role",
        )
