"""Which pages elsewhere may call the gateway from a browser: as settings."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from holdfast.config.keys import key
from holdfast.errors import ConfigError

ANY = "*"
_USUAL_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cors:
    """Calls by pages of other origins (CORS). The admin API, the console and the metrics are never among them."""

    origins: tuple[str, ...] = key(
        (),
        "Whose pages may call: origins as browsers send them, `https://app.example.com`; `*`: everybody's; empty: "
        "nobody's",
        source="a key that a page knows is known to whoever opens it: that has to be wanted",
    )
    credentials: bool = key(
        False,
        "Whether those pages may send cookies along, which holdfast itself has no use for: a proxy in front may want "
        "them; not together with `*`",
        source="keys are sent in a header, which needs no permission of this kind",
    )


def check_cors(cors: Cors) -> None:
    """See that each origin is one that a browser can send, and that not everybody may send cookies.

    Raises:
        ConfigError: With the entry to change.
    """
    for at, origin in enumerate(cors.origins):
        if origin == ANY:
            continue
        wanted = _origin_of(origin)
        if wanted is None:
            raise ConfigError(
                f'cors.origins[{at}] is no origin: write scheme and host, as "https://app.example.com", or "*".',
                key=f"cors.origins[{at}]",
            )
        if wanted != origin:
            raise ConfigError(
                f'cors.origins[{at}] is never sent like that by a browser: write "{wanted}".',
                key=f"cors.origins[{at}]",
            )
    if ANY in cors.origins and len(cors.origins) > 1:
        raise ConfigError('cors.origins has "*" beside others: it stands for all of them.', key="cors.origins")
    if cors.credentials and ANY in cors.origins:
        raise ConfigError(
            'cors.credentials is true and cors.origins is "*": then any page could act for whoever opens it, and no '
            "browser allows it. Name the origins.",
            key="cors.credentials",
        )
    if cors.credentials and not cors.origins:
        raise ConfigError(
            "cors.credentials is true and cors.origins is empty, so that no page may call: name the origins.",
            key="cors.credentials",
        )


def _origin_of(text: str) -> str | None:
    """Spell an address as the `Origin` of its pages. Source: RFC 6454 §6.2."""
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port
    except ValueError:
        return None
    if url.scheme not in _USUAL_PORTS or not host or url.username is not None or not text.isascii():
        return None
    if ANY in host or any(sign.isspace() for sign in text):
        return None
    host = f"[{host}]" if ":" in host else host
    return f"{url.scheme}://{host}" + ("" if port in (None, _USUAL_PORTS[url.scheme]) else f":{port}")
