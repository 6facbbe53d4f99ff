"""What `holdfast generate` asks for, and the HTTP request it becomes. Values in, values out.

A prompt alone goes to the OpenAI surface, which every relay speaks; a prompt with reference images goes to the Gemini
surface, whose JSON carries them.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec

from holdfast.cli.exits import Exit, Stop
from holdfast.policy.sizes import resolve
from holdfast.providers.http import HttpRequest
from holdfast.types import Geometry, InputImage, Request, Surface, Tier
from holdfast.wire.gemini import encode_generate_request
from holdfast.wire.template import Template

MODEL_DEFAULT = "nano-banana-pro"
BASE_URL_DEFAULT = "http://127.0.0.1:16888/v1"
BEAT_S = 5
"""Asked for as `Prefer: heartbeat=5`: the head then comes early, and with it the id that Ctrl-C has to tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One command line, understood."""

    prompt: str
    model: str | None
    size: str | None
    aspect_ratio: str | None
    n: int
    inputs: tuple[InputImage, ...] = ()
    surface: Surface = Surface.OPENAI

    @property
    def geometry(self) -> Geometry:
        """The picture that this stands for, as the gateway will read it.

        Raises:
            RequestError: No picture stands for it.
        """
        last = self.inputs[-1] if self.inputs else None
        pixels = (last.width_px, last.height_px) if last is not None else None
        return resolve(self.size, aspect_ratio=self.aspect_ratio, last_input_px=pixels, size_default=Tier.K1)


def surface_of(inputs: tuple[InputImage, ...]) -> Surface:
    """Choose the dialect."""
    return Surface.GEMINI if inputs else Surface.OPENAI


def base_of(base_url: str) -> str:
    """Read a base URL as people write it: `localhost:16888`, with or without `/v1`; no slash at the end.

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
    path = parts.path.rstrip("/")
    return urlunsplit((parts.scheme, parts.netloc, path or "/v1", "", ""))


def request_of(asked: Asked, *, base_url: str, api_key: str) -> HttpRequest:
    """Write the HTTP request.

    Args:
        asked: What to draw.
        base_url: As `base_of` gave it.
        api_key: Sent as the dialect sends it; empty for a gateway that needs none.
    """
    if asked.surface is Surface.GEMINI:
        model = quote(asked.model or MODEL_DEFAULT, safe="")
        key = [("x-goog-api-key", api_key)]
        url, body = f"{base_url}/models/{model}:generateContent", _gemini_body(asked)
    else:
        key = [("Authorization", f"Bearer {api_key}")]
        url, body = f"{base_url}/images/generations", (_openai_body(asked),)
    headers = [
        ("Content-Type", "application/json"),
        ("Accept", "application/json"),
        ("Prefer", f"heartbeat={BEAT_S}"),
        *(key if api_key else []),
    ]
    return HttpRequest(method="POST", url=url, headers=tuple(headers), body=body)


def status_request(generation_id: str, *, base_url: str, api_key: str) -> HttpRequest:
    """Write the request for how a generation stands."""
    headers = (("Accept", "application/json"), *([("Authorization", f"Bearer {api_key}")] if api_key else []))
    url = f"{base_url}/generations/{quote(generation_id, safe='')}"
    return HttpRequest(method="GET", url=url, headers=headers, body=())


def _openai_body(asked: Asked) -> bytes:
    body: dict[str, object] = {"prompt": asked.prompt, "n": asked.n}
    named = {"model": asked.model, "size": asked.size, "aspect_ratio": asked.aspect_ratio}
    # What was not said is the gateway's to choose: its default model, the route's default size.
    body.update({name: value for name, value in named.items() if value is not None})
    return msgspec.json.encode(body)


def _gemini_body(asked: Asked) -> Template:
    request = Request(
        surface=Surface.GEMINI,
        model=asked.model or MODEL_DEFAULT,
        prompt=asked.prompt,
        geometry=asked.geometry,
        inputs=asked.inputs,
    )
    return encode_generate_request(request)
