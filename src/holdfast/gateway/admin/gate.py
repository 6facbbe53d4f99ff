"""Who may ask for what is everybody's: over which connections, and with whose key."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Literal

from holdfast.errors import RequestError
from holdfast.gateway.auth import Authenticator, presented_key
from holdfast.gateway.call import Call, effective_scheme
from holdfast.store.records import KeyRow

Networks = tuple[IPv4Network | IPv6Network, ...]
_OF_PROXIES = ("forwarded", "via", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip")


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who asks."""

    key: KeyRow
    by: Literal["session", "key"]
    """How: a cookie, or a key in a header."""

    @property
    def id(self) -> str:
        """Whom the log of changes names."""
        return self.key.id


class Gate:
    """Lets admins in."""

    def __init__(self, *, auth: Authenticator, trusted: Networks, anywhere: bool) -> None:
        """Know who may pass.

        Args:
            auth: Knows keys, and sessions.
            trusted: Proxies whose word for the scheme counts.
            anywhere: `server.admin_anywhere`.
        """
        self._auth = auth
        self._trusted = trusted
        self._anywhere = anywhere

    async def admit(self, call: Call) -> Actor:
        """Say who asks.

        Raises:
            RequestError: 403 `tls_required`, before any key is looked at; 401; 403 `admin_required` or `csrf_failed`.
        """
        self.check_path(call)
        by: Literal["session", "key"] = "session" if presented_key(call) is None else "key"
        key = await self._auth.authenticate(call)
        if not key.is_admin:
            raise RequestError(
                "This key is no admin's. The first key is one; it makes others with `is_admin`.",
                code="admin_required",
                status=403,
            )
        return Actor(key=key, by=by)

    def check_path(self, call: Call) -> None:
        """See that nobody on the way can read along.

        Raises:
            RequestError: 403 `tls_required`.
        """
        if self._anywhere or effective_scheme(call, self._trusted) == "https" or is_here(call):
            return
        raise RequestError(
            "Here an admin is answered on loopback, over TLS (server.tls_cert), or through a proxy in "
            "server.trusted_proxies that sends X-Forwarded-Proto: https. server.admin_anywhere lifts this.",
            code="tls_required",
            status=403,
        )


def is_here(call: Call) -> bool:
    """Whether a call comes from this machine, and no proxy on it speaks for somebody else."""
    if speaks_for_others(call):
        return False
    return is_loopback(call.client)


def is_loopback(client: str) -> bool:
    """Whether a peer's address is this machine's own."""
    try:
        return ip_address(client).is_loopback
    except ValueError:
        return False


def speaks_for_others(call: Call) -> bool:
    """Whether a call shows the sign of a proxy: it names one, or is HTTP/1.0, as nginx writes to what stands behind it
    unless it is told otherwise; hardly a program of today does.
    """
    return call.http_version == "1.0" or any(name in call.headers for name in _OF_PROXIES)


def has_local_name(call: Call) -> bool:
    """Whether a call was addressed to this machine by its number or by a name that no stranger can give it.

    A page from elsewhere may have its own name lead to loopback, and then reads what is answered without a key (DNS
    rebinding). Such a name has dots, as public ones do.
    """
    name = call.headers.get("host", "").lower()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    try:
        # Another address of this machine is what a proxy in front of it was asked by.
        return ip_address(name).is_loopback
    except ValueError:
        return "." not in name or name.endswith(".localhost")
