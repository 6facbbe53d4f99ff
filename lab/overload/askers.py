"""Those who ask, each as people write it: the stock SDK, and the published loop.

`sdk`        `openai.AsyncOpenAI` as it comes: its own two retries, its own timeout
`published`  a loop around a client that repeats nothing by itself: a timeout a call, and again after 5, 10 and 15 s

Times that belong to life (timeouts, the loop's pauses) are divided by the speed. What the SDK waits by itself between
two tries is not: it waits as it does.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import openai
from crowd import PIXELS, Wanted
from reckoning import PATIENCE_S, Outcome

PAUSES_S = (5.0, 10.0, 15.0)
SDK_TIMEOUT_S = 600.0
"""What the SDK comes with."""
JPEG_ENDS = (b"\xff\xd8\xff", b"\xff\xd9")


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """Whom to ask."""

    base_url: str
    key: str
    model: str
    speed: float


Ask = Callable[[openai.AsyncOpenAI, Front, Wanted], Awaitable[Outcome]]


def client_of(kind: str, front: Front) -> openai.AsyncOpenAI:
    """Make the client that all callers of a kind share, as an application does."""
    if kind == "sdk":
        return openai.AsyncOpenAI(base_url=front.base_url, api_key=front.key, timeout=SDK_TIMEOUT_S / front.speed)
    timeout_s = PATIENCE_S / front.speed
    return openai.AsyncOpenAI(base_url=front.base_url, api_key=front.key, timeout=timeout_s, max_retries=0)


async def sdk(client: openai.AsyncOpenAI, front: Front, wanted: Wanted) -> Outcome:
    """Ask once, and let the SDK do what it does."""
    begun_at = time.monotonic()
    error = await _call(client, front, wanted)
    return Outcome(number=wanted.number, took_s=time.monotonic() - begun_at, error=error)


async def published(client: openai.AsyncOpenAI, front: Front, wanted: Wanted) -> Outcome:
    """Ask, and ask again on a timer whatever fails; a wrong key is not asked with again."""
    begun_at = time.monotonic()
    tries = 1
    error = await _call(client, front, wanted)
    for pause_s in PAUSES_S:
        if error is None or error == "401":
            break
        await asyncio.sleep(pause_s / front.speed)
        tries += 1
        error = await _call(client, front, wanted)
    return Outcome(number=wanted.number, took_s=time.monotonic() - begun_at, error=error, tries=tries)


async def _call(client: openai.AsyncOpenAI, front: Front, wanted: Wanted) -> str | None:
    """Make one call of the SDK; None: there is a whole picture, else what there is instead."""
    try:
        answer = await client.images.generate(
            model=front.model, prompt=wanted.prompt, size=PIXELS, output_format="jpeg", n=1
        )
    except openai.APIStatusError as exc:
        return str(exc.code or exc.status_code)
    except openai.APITimeoutError:
        return "timed out"
    except openai.APIConnectionError as exc:
        return type(exc.__cause__ or exc).__name__
    text = answer.data[0].b64_json if answer.data else None
    return None if is_picture(text) else "a success without a whole picture"


def is_picture(text: str | None) -> bool:
    """Look at both ends of a JPEG; the bytes between are the survival experiment's concern."""
    if not text:
        return False
    begin, end = JPEG_ENDS
    return base64.b64decode(text[:8]).startswith(begin) and base64.b64decode(text[-8:]).endswith(end)


ASKERS: Mapping[str, Ask] = {"sdk": sdk, "published": published}
