"""Those who ask: each as people write it, with the library as it comes. Synchronous, a thread each.

`sdk`     the `openai` SDK, its own timeout and its own two retries
`loop`    `for attempt in range(3): requests.post(...)`, which takes whatever fails for one failed try
`keyed`   `requests` with an `Idempotency-Key`, again and again until there is an answer
`async`   the same with `Prefer: respond-async`, then polling, then fetching the picture by its link; a server that
          knows no `Prefer` answers with the picture, which is taken as well

Times that a caller's author chose are those of life, divided by the speed. What a library waits by itself (the SDK's
half second and more between two tries) is not: it waits as it does.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import drawn
import openai
import requests
from load import Order
from verdict import End, Told

SDK_TIMEOUT_S = 600.0
"""What the SDK comes with."""
TIMEOUT_S = 300.0
"""What people write; requests and the SDK count silence."""
LOOP_TRIES = 3
BETWEEN_S = 5.0
"""Between two tries of a loop."""
POLL_S = 5.0
PATIENCE_S = 3_600.0
"""For as long a caller that never gives up is watched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """Whom to ask."""

    url: str
    key: str
    speed: float

    def headers(self, order: Order, **more: str) -> dict[str, str]:
        """Give what each request carries."""
        return {"Authorization": f"Bearer {self.key}", **{n.replace("_", "-"): v for n, v in more.items()}}


Caller = Callable[[Front, Order], Told]


class Broken(Exception):
    """A try that came to nothing: no answer, or none that can be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What a try brought."""

    status: int
    headers: Mapping[str, str]
    document: Mapping[str, Any]

    @property
    def error(self) -> Mapping[str, Any] | None:
        """The error it tells, whatever its status."""
        found = self.document.get("error")
        return found if isinstance(found, dict) else None

    @property
    def is_passing(self) -> bool:
        """Whether asking again makes sense: as the server says, else by its status."""
        error = self.error or {}
        if "retryable" in error:
            return bool(error["retryable"])
        return self.status in (408, 409, 429) or self.status >= 500

    @property
    def retry_after_s(self) -> float:
        """The wait that the server wants."""
        text = self.headers.get("retry-after", "")
        return float(text) if text.isdigit() else BETWEEN_S


def body_of(order: Order) -> dict[str, Any]:
    """Write the request."""
    return {"model": order.model, "prompt": order.prompt, "size": order.size, "n": 1}


def told_image(order: Order, picture: bytes, tries: int, generation_id: str | None = None) -> Told:
    """Look at what an answer brought: a picture only counts if it is the one that was made, byte for byte."""
    serial = drawn.serial_of(picture, order.size)
    if serial is None:
        error = f"{len(picture)} bytes that are not the picture"
        return Told(number=order.number, kind=order.kind, end=End.WRONG, tries=tries, error=error)
    return Told(
        number=order.number,
        kind=order.kind,
        end=End.IMAGE,
        tries=tries,
        serial=serial,
        sha256=hashlib.sha256(picture).hexdigest(),
        generation_id=generation_id,
    )


def told_error(order: Order, status: int, error: Mapping[str, Any], tries: int) -> Told:
    """Note what a caller was told."""
    return Told(
        number=order.number,
        kind=order.kind,
        end=End.TOLD,
        tries=tries,
        status=status,
        code=_text(error.get("code")),
        paid=_text(error.get("paid")),
        generation_id=_text(error.get("generation_id")),
    )


def told_nothing(order: Order, problem: BaseException, tries: int) -> Told:
    """Note that the last try broke off."""
    name = type(problem.__cause__ or problem).__name__
    return Told(number=order.number, kind=order.kind, end=End.NOTHING, tries=tries, error=name)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


# The SDK


def sdk(front: Front, order: Order) -> Told:
    """Ask by the SDK, with nothing configured but where and who; its timeout is scaled."""
    client = openai.OpenAI(base_url=f"{front.url}/v1", api_key=front.key, timeout=SDK_TIMEOUT_S / front.speed)
    with client:
        try:
            response = client.images.generate(model=order.model, prompt=order.prompt, size=order.size)  # type: ignore[arg-type]
        except openai.APIStatusError as exc:
            error = exc.body if isinstance(exc.body, dict) else {}
            return told_error(order, exc.status_code, error, 1)
        except openai.APIConnectionError as exc:
            return told_nothing(order, exc, 1)
        except (openai.OpenAIError, ValueError) as exc:
            # A late failure told in words: the SDK cannot read it, and raises.
            return Told(number=order.number, kind=order.kind, end=End.TOLD, tries=1, code=type(exc).__name__)
    return _of_document(order, response.to_dict(), 1)


def _of_document(order: Order, document: Mapping[str, Any], tries: int) -> Told:
    data = document.get("data") or [{}]
    text = data[0].get("b64_json")
    if not text:
        shown = f"200 with {sorted(document)}"
        return Told(number=order.number, kind=order.kind, end=End.WRONG, tries=tries, error=shown)
    generation_id = document.get("generation_id")
    return told_image(order, base64.b64decode(text), tries, _text(generation_id))


# requests


def _asked(session: requests.Session, method: str, url: str, front: Front, **options: Any) -> _Answer:
    try:
        response = session.request(method, url, timeout=TIMEOUT_S / front.speed, **options)
        document = response.json()
    except (requests.RequestException, ValueError) as exc:
        raise Broken from exc
    if not isinstance(document, dict):
        raise Broken from ValueError("no object")
    return _Answer(status=response.status_code, headers=response.headers, document=document)


def loop(front: Front, order: Order) -> Told:
    """Ask three times at most, each time on a connection of its own, and take what comes."""
    told = None
    for attempt in range(1, LOOP_TRIES + 1):
        if attempt > 1:
            time.sleep(BETWEEN_S / front.speed)
        try:
            with requests.Session() as session:
                url = f"{front.url}/v1/images/generations"
                answer = _asked(session, "POST", url, front, json=body_of(order), headers=front.headers(order))
        except Broken as exc:
            told = told_nothing(order, exc, attempt)
            continue
        if answer.error is None and answer.status == 200:
            return _of_document(order, answer.document, attempt)
        told = told_error(order, answer.status, answer.error or {}, attempt)
    assert told is not None
    return told


def keyed(front: Front, order: Order) -> Told:
    """Ask with a key until there is an answer."""
    return _until_told(front, order, {})


def asynchronous(front: Front, order: Order) -> Told:
    """Ask with a key not to be held until there is an answer, then look again and again, then fetch."""
    return _until_told(front, order, {"Prefer": "respond-async"})


def _until_told(front: Front, order: Order, more: dict[str, str]) -> Told:
    until = time.monotonic() + PATIENCE_S / front.speed
    headers = front.headers(order, Idempotency_Key=f"survival-{order.number:05d}") | more
    told, tries = None, 0
    while time.monotonic() < until:
        tries += 1
        pause_s = BETWEEN_S
        try:
            with requests.Session() as session:
                url = f"{front.url}/v1/images/generations"
                answer = _asked(session, "POST", url, front, json=body_of(order), headers=headers)
            if answer.status == 202:
                return _collect(front, order, str(answer.document["id"]), until, tries)
            if answer.status == 200 and answer.error is None:
                return _of_document(order, answer.document, tries)
            told = told_error(order, answer.status, answer.error or {}, tries)
            if not answer.is_passing:
                return told
            pause_s = answer.retry_after_s
        except Broken as exc:
            told = told_nothing(order, exc, tries)
        time.sleep(pause_s / front.speed)
    assert told is not None
    return told


def _collect(front: Front, order: Order, generation_id: str, until: float, tries: int) -> Told:
    """Poll a generation to its end, and fetch its picture."""
    told = None
    session = requests.Session()
    headers = front.headers(order)
    while time.monotonic() < until:
        tries += 1
        try:
            answer = _asked(session, "GET", f"{front.url}/v1/generations/{generation_id}", front, headers=headers)
            document = answer.document
            if answer.status == 404:
                error = f"{generation_id} was accepted and is not known"
                return Told(number=order.number, kind=order.kind, end=End.WRONG, tries=tries, error=error)
            if document.get("status") == "succeeded":
                picture = fetch(session, document["images"][0]["url"], TIMEOUT_S / front.speed)
                return told_image(order, picture, tries, generation_id)
            if document.get("status") in ("failed", "cancelled"):
                error = {**(answer.error or {}), "generation_id": generation_id}
                return told_error(order, answer.status, error, tries)
        except Broken as exc:
            told = told_nothing(order, exc, tries)
            session.close()
            session = requests.Session()
        time.sleep(POLL_S / front.speed)
    session.close()
    return told or Told(number=order.number, kind=order.kind, end=End.NOTHING, tries=tries, error="still running")


def fetch(session: requests.Session, url: str, timeout_s: float) -> bytes:
    """Fetch a picture by its link.

    Raises:
        Broken: It did not come whole, or is refused.
    """
    try:
        response = session.get(url, timeout=timeout_s)
        response.raise_for_status()
        return response.content
    except requests.RequestException as exc:
        raise Broken from exc


CALLERS: Mapping[str, Caller] = {"sdk": sdk, "loop": loop, "keyed": keyed, "async": asynchronous}
