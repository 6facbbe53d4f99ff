"""Where a client's calls go: a base URL put right, and what kind of server is expected there.

Pure: no I/O, clock or randomness. A base URL is copied from a page, so its usual slips are mended where one thing only
can be meant (no version, a slash or an endpoint too many) and refused with a sentence where not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from holdfast.errors import ConfigError

DEFAULT_BASE_URL = "http://127.0.0.1:16888/v1"
_KEY = re.compile(r"[\x21-\x7e]{1,4096}")
_ENDPOINTS = re.compile(
    r"/(?:images(?:/generations|/edits)?|generations|chat/completions|responses|models(?:/[^/]*)?)/*$"
)
_GOOGLE = "generativelanguage.googleapis.com"


class Server(StrEnum):
    """What answers, as far as it changes what a client may do."""

    HOLDFAST = "holdfast"
    """Keeps every generation: repeats join, and what was cut is collected."""
    OPENAI = "openai"
    """Shaped like OpenAI's images API: what was cut is lost, and may have been charged."""
    GEMINI = "gemini"
    """Google's `generateContent`, or what is shaped like it; the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A server, and what is known of it before the first answer."""

    base_url: str
    """With the version, without a slash behind it."""
    control_url: str
    """Where holdfast's own endpoints would be: the same place, at `/v1`."""
    speaks_gemini: bool
    server: Server | None
    """None: found out by what its answers carry, without a call for that."""
    is_loopback: bool
    """A proxy of the environment's has no business there."""

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        scheme, _, rest = self.base_url.partition("://")
        return f"{scheme}://{rest.partition('/')[0]}"


def address_of(base_url: str | None, server: str = "auto") -> Address:
    """Read a base URL.

    Args:
        base_url: `https://host/v1`; None: a gateway on this machine.
        server: `auto`, or the name of a `Server`, which then is not looked for.

    Raises:
        ConfigError: It is no address of an HTTP server; the message says what to write.
    """
    text = (base_url or DEFAULT_BASE_URL).strip()
    if server != "auto" and server not in tuple(Server):
        raise ConfigError(f"server is one of auto, {', '.join(Server)}, not {server[:40]!r}.", key="server")
    if "://" not in text:
        raise ConfigError(f"base_url lacks its scheme: write http://{text[:100]} or https://….", key="base_url")
    parts = _split(text)
    path = parts.path.rstrip("/")
    while (shorter := _ENDPOINTS.sub("", path)) != path:
        path = shorter
    host = (parts.hostname or "").lower()
    is_gemini = _speaks_gemini(host, path, server)
    if not path:
        path = "/v1beta" if is_gemini else "/v1"
    root = re.sub(r"/v\d[^/]*(?:/openai)?$", "", path)
    origin = f"{parts.scheme.lower()}://{parts.netloc}"
    known = None if server == "auto" else Server(server)
    if known is None and host == _GOOGLE:
        known = Server.GEMINI if is_gemini else Server.OPENAI
    if known is None and host == "api.openai.com":
        known = Server.OPENAI
    return Address(
        base_url=origin + path,
        control_url=f"{origin}{root}/v1",
        speaks_gemini=is_gemini,
        server=known,
        is_loopback=is_loopback_host(host),
    )


def _split(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as exc:
        raise ConfigError("base_url is no address: its host or port cannot be read.", key="base_url") from exc
    if parts.scheme.lower() not in ("http", "https"):
        raise ConfigError(f"base_url begins with {parts.scheme[:20]}://; write http:// or https://.", key="base_url")
    if not parts.hostname or re.search(r"\s", text):
        raise ConfigError("base_url names no host, or has a blank in it: write https://host/v1.", key="base_url")
    if parts.username is not None or parts.password is not None:
        raise ConfigError("base_url holds a user or a password; give the key as api_key.", key="base_url")
    if parts.query or parts.fragment:
        raise ConfigError("base_url has a ? or # in it; leave that part out.", key="base_url")
    return parts


def _speaks_gemini(host: str, path: str, server: str) -> bool:
    if server != "auto":
        return server == Server.GEMINI
    if path.endswith("/openai"):
        # Google's door for OpenAI's SDKs.
        return False
    return host == _GOOGLE or path.endswith("/v1beta")


def is_loopback_host(host: str) -> bool:
    """Whether a host, a name or an address without brackets, is this machine itself."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def checked_key(api_key: str | None) -> str | None:
    """See that a key can stand in a header; white space around it, as files have it, is dropped.

    Raises:
        ConfigError: It holds what no header may: a line break in its middle, a blank, a letter beyond ASCII. The key
            itself is not repeated.
    """
    if api_key is None:
        return None
    key = api_key.strip()
    if not key:
        raise ConfigError("api_key is empty. Leave it out, or set HOLDFAST_API_KEY.", key="api_key")
    if "\n" in key or "\r" in key:
        raise ConfigError("api_key has a line break in its middle: two lines were copied, give one.", key="api_key")
    if not _KEY.fullmatch(key):
        raise ConfigError(
            "api_key has a blank or a character beyond ASCII, which no key has: copy it anew.", key="api_key"
        )
    return key
