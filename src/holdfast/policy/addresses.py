"""Where a request to an address that a caller has named may go. Pure: nothing is resolved or connected here.

Whoever connects asks twice: `destination_of` for the URL, and `obstacle` for every address that its host resolves to.
The connection is then made to one of the addresses that were asked about, so a name that changes its answer between
the check and the connection gains nothing.

What is not a plain address of the public internet is refused. Addresses that wrap another one (mapped, 6to4, Teredo,
NAT64) are refused whole: an address inside another is a way around any list.

Source: IANA IPv4 and IPv6 Special-Purpose Address Registries; clouds' pages on their metadata services.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Self
from urllib.parse import urlsplit

from holdfast.config import Inputs, Webhooks

URL_CHARS_MAX = 2048
"""Of an address that a caller names."""
FILE_URL_CHARS_MAX = 16_384
"""Of a file that an upstream names: a signed link holds its token, some of them longer than any address."""
HOST_CHARS_MAX = 253
PORTS = {"https": 443, "http": 80}
PORT_MIN_ELSE = 1024
"""Other ports below it speak other protocols, some of which take an HTTP request for their own."""
_LOCAL_LABELS = frozenset({"localhost", "local", "internal", "intranet", "lan"})
_PUBLIC_V6 = IPv6Network("2000::/3")
"""All that has been given out as global unicast; whatever lies outside is local, multicast or wraps another address."""

# The first that holds an address says why it is refused; `True`: private, opened by `allow_private`.
_SPECIAL = tuple(
    (ip_network(network), reason, is_private)
    for network, reason, is_private in (
        ("169.254.169.254/32", "a metadata service", False),
        ("168.63.129.16/32", "a metadata service", False),  # Azure's, among public addresses
        ("100.100.100.200/32", "a metadata service", False),  # Alibaba's, among those of carriers
        ("192.0.0.192/32", "a metadata service", False),  # Oracle's
        ("fd00:ec2::254/128", "a metadata service", False),
        ("fd20:ce::254/128", "a metadata service", False),  # Google's
        ("0.0.0.0/32", "unspecified", False),
        ("::/128", "unspecified", False),
        ("127.0.0.0/8", "loopback", True),
        ("::1/128", "loopback", True),
        ("10.0.0.0/8", "private", True),
        ("172.16.0.0/12", "private", True),
        ("192.168.0.0/16", "private", True),
        ("fc00::/7", "private", True),
        ("100.64.0.0/10", "behind a carrier's NAT", True),
        ("169.254.0.0/16", "link-local", False),
        ("fe80::/10", "link-local", False),
        ("224.0.0.0/4", "multicast", False),
        ("ff00::/8", "multicast", False),
        ("::ffff:0:0/96", "an IPv4 address inside an IPv6 one", False),
        ("::/96", "an IPv4 address inside an IPv6 one", False),
        ("64:ff9b::/96", "an IPv4 address inside an IPv6 one", False),
        ("64:ff9b:1::/48", "an IPv4 address inside an IPv6 one", False),
        ("2001::/32", "an IPv4 address inside an IPv6 one", False),
        ("2002::/16", "an IPv4 address inside an IPv6 one", False),
        ("0.0.0.0/8", "reserved", False),
        ("192.0.0.0/24", "reserved", False),
        ("192.0.2.0/24", "reserved", False),
        ("192.88.99.0/24", "reserved", False),
        ("198.18.0.0/15", "reserved", False),
        ("198.51.100.0/24", "reserved", False),
        ("203.0.113.0/24", "reserved", False),
        ("240.0.0.0/4", "reserved", False),
        ("2001::/23", "reserved", False),
        ("2001:db8::/32", "reserved", False),
        ("3fff::/20", "reserved", False),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressRules:
    """What the operator allows beyond public https."""

    allow_private: bool = False
    allow_http: bool = False
    section: str = "webhooks"
    """Where these settings stand; named where they refuse something."""
    url_chars_max: int = URL_CHARS_MAX

    @classmethod
    def of(cls, settings: Webhooks | Inputs) -> Self:
        """Take them from the settings."""
        section = "webhooks" if isinstance(settings, Webhooks) else "inputs"
        return cls(allow_private=settings.allow_private, allow_http=settings.allow_http, section=section)

    @classmethod
    def beside(cls, base_url: str) -> Self:
        """Say where files may be that an upstream names: on the public internet, over https.

        An upstream that itself stands on a private address, as a simulator does, may have its files there too.
        """
        host = (urlsplit(base_url).hostname or "").removesuffix(".")
        usual = cls(url_chars_max=FILE_URL_CHARS_MAX)
        opened = replace(usual, allow_private=True, allow_http=True)
        is_private = _host_obstacle(host, usual) is not None and _host_obstacle(host, opened) is None
        return opened if is_private else usual


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A URL, taken apart."""

    is_tls: bool
    host: str
    """A name in lower case, or an address without brackets."""
    port: int
    target: str
    """Path and query, as the request line has them; never logged."""

    @property
    def authority(self) -> str:
        """As the `Host` header has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS["https" if self.is_tls else "http"] else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Nothing may be sent there."""

    reason: str
    """The end of a sentence that begins with what was refused; safe to show, and without the address."""


def destination_of(url: str, rules: AddressRules) -> Destination | Refused:
    """Take a URL apart, or say why nothing is sent there whatever its host resolves to."""
    if not 1 <= len(url) <= rules.url_chars_max:
        return Refused(reason=f"must have 1 to {rules.url_chars_max} characters")
    if any(not "!" <= character <= "~" for character in url) or "\\" in url:
        return Refused(reason="must be written in visible ASCII, without backslashes; other scripts as xn--…")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return Refused(reason="is no URL")
    if parts.scheme == "http" and not rules.allow_http:
        return Refused(reason="must begin with https://")
    if parts.scheme not in PORTS:
        return Refused(reason="must begin with https://")
    if "@" in parts.netloc:
        return Refused(reason="must not hold a user name or a password")
    if parts.fragment:
        return Refused(reason="must not have a fragment")
    host = (parts.hostname or "").removesuffix(".")
    refused = _host_obstacle(host, rules) or _port_obstacle(port, rules)
    if refused is not None:
        return refused
    return Destination(
        is_tls=parts.scheme == "https",
        host=host,
        port=PORTS[parts.scheme] if port is None else port,
        target=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
    )


def _host_obstacle(host: str, rules: AddressRules) -> Refused | None:
    if not 1 <= len(host) <= HOST_CHARS_MAX:
        return Refused(reason="must name a host")
    if _address_of(host) is not None:
        return obstacle([host], rules)
    labels = host.split(".")
    if not all(label.replace("-", "").replace("_", "").isalnum() and len(label) <= 63 for label in labels):
        return Refused(reason="must name a host")
    if labels[-1].isdigit() or labels[-1].startswith("0x"):
        # 2130706433, 0x7f.1, 0177.0.0.1: no name ends so, and resolvers make loopback of all three.
        return Refused(reason="must write an address as four decimal numbers")
    if not rules.allow_private and (len(labels) == 1 or labels[-1] in _LOCAL_LABELS):
        return Refused(reason=f"must name a host of the public internet ({rules.section}.allow_private)")
    return None


def _port_obstacle(port: int | None, rules: AddressRules) -> Refused | None:
    if port is None or port in PORTS.values() or port >= PORT_MIN_ELSE or (rules.allow_private and port > 0):
        return None
    return Refused(reason=f"must use port 443, 80 or one from {PORT_MIN_ELSE} on")


def obstacle(addresses: Iterable[str], rules: AddressRules) -> Refused | None:
    """Look at every address of a host; one that is not allowed refuses all: which of them is taken is chance."""
    seen = False
    for text in addresses:
        seen = True
        reason = _reason_against(text, rules)
        if reason is not None:
            return Refused(reason=f"leads to an address that is {reason}")
    return None if seen else Refused(reason="leads nowhere: the name has no address")


def _reason_against(text: str, rules: AddressRules) -> str | None:
    address = _address_of(text)
    if address is None or (isinstance(address, IPv6Address) and address.scope_id is not None):
        return "no plain address"
    for network, reason, is_private in _SPECIAL:
        if address in network:
            return None if is_private and rules.allow_private else reason
    if isinstance(address, IPv6Address) and address not in _PUBLIC_V6:
        return "reserved"
    return None


def _address_of(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
