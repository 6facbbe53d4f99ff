"""Which proxy the environment names for which addresses.

httpx reads the environment only while it makes its transports itself; whoever brings one of his own, with socket
options, has to do that for it.

Pure: no I/O, clock or randomness; the environment is given.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

SCHEMES = ("http", "https", "all")


def proxies_of(named: Mapping[str, str]) -> dict[str, str | None]:
    """Turn what the environment says into patterns as httpx mounts transports by.

    Args:
        named: As `urllib.request.getproxies` gives it: `http`, `https`, `all` and `no`.

    Returns:
        Pattern to the proxy's URL, None where there is to be none; empty where nobody is to be asked through one.

    Source: httpx 0.28 and httpx2 2.16, `get_environment_proxies`; a test compares the two.
    """
    patterns: dict[str, str | None] = {}
    for scheme in SCHEMES:
        if url := named.get(scheme):
            patterns[f"{scheme}://"] = url if "://" in url else f"http://{url}"
    for stated in named.get("no", "").split(","):
        host = stated.strip()
        if host == "*":
            return {}
        if host and (pattern := _pattern(host)) is not None:
            patterns[pattern] = None
    return patterns


def _pattern(host: str) -> str | None:
    """Spell one of `NO_PROXY`'s hosts; a name stands for everything below it as well. None: it is none."""
    if "://" in host:
        return host
    bare, _, prefix = host.partition("/")
    version = _ip_version(bare)
    if version == 6:
        return f"all://[{bare}]/{prefix}" if prefix else f"all://[{bare}]"
    if version == 4 or host.lower() == "localhost" or host.startswith(("[", "*.")):
        return f"all://{host}"
    return None if prefix else f"all://*{host}"


def _ip_version(text: str) -> int:
    try:
        return ipaddress.ip_address(text).version
    except ValueError:
        return 0
