"""What `holdfast generate` and the demo ask for, and the demo's HTTP request. Values in, values out.

The demo's two calls are plain ones, as an SDK of Google's makes them: it shows what becomes of programs that know
nothing of holdfast. `generate` asks over the client library.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urlsplit, urlunsplit

from holdfast.cli.exits import Exit, Stop
from holdfast.client.address import address_of
from holdfast.errors import ConfigError
from holdfast.policy.sizes import resolve
from holdfast.providers.http import HttpRequest
from holdfast.types import Geometry, InputImage, Request, Surface, Tier
from holdfast.wire.gemini import encode_generate_request
from holdfast.wire.template import Template

MODEL_DEFAULT = "nano-banana-pro"
BASE_URL_DEFAULT = "http://127.0.0.1:16888/v1"
BEAT_S = 5
"""Asked for as `Prefer: heartbeat=5`: bytes flow before the path loses patience."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One command line, understood."""

    prompt: str
    model: str | None
    size: str | None
    aspect_ratio: str | None
    n: int
    inputs: tuple[InputImage, ...] = ()

    @property
    def geometry(self) -> Geometry:
        """The picture that this stands for, as the gateway will read it.

        Raises:
            RequestError: No picture stands for it.
        """
        last = self.inputs[-1] if self.inputs else None
        pixels = (last.width_px, last.height_px) if last is not None else None
        return resolve(self.size, aspect_ratio=self.aspect_ratio, last_input_px=pixels, size_default=Tier.K1)


def base_of(base_url: str) -> str:
    """Read a base URL as people write it: `localhost:16888`, with or without `/v1`, or an endpoint below it.

    Raises:
        Stop: It is no URL.
    """
    text = base_url if "://" in base_url else f"http://{base_url}"
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Stop(Exit.USAGE, f"{base_url} is not a URL. Write it as {BASE_URL_DEFAULT}.")
    try:
        return address_of(urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))).base_url
    except ConfigError as error:
        raise Stop(Exit.USAGE, f"--base-url: {error}") from error


def request_of(asked: Asked, *, base_url: str, api_key: str) -> HttpRequest:
    """Write the HTTP request of the Gemini surface.

    Args:
        asked: What to draw.
        base_url: As `base_of` gave it.
        api_key: Empty for a gateway that needs none.
    """
    model = quote(asked.model or MODEL_DEFAULT, safe="")
    url = f"{base_url}/models/{model}:generateContent"
    headers = [
        ("Content-Type", "application/json"),
        ("Accept", "application/json"),
        ("Prefer", f"heartbeat={BEAT_S}"),
        *([("x-goog-api-key", api_key)] if api_key else []),
    ]
    return HttpRequest(method="POST", url=url, headers=tuple(headers), body=_gemini_body(asked))


def _gemini_body(asked: Asked) -> Template:
    request = Request(
        surface=Surface.GEMINI,
        model=asked.model or MODEL_DEFAULT,
        prompt=asked.prompt,
        geometry=asked.geometry,
        inputs=asked.inputs,
    )
    return encode_generate_request(request)
