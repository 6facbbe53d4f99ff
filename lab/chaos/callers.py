"""Those who ask, as programs do, all through the balancer.

`sdk`        the `openai` SDK with its own two retries, and nothing else
`sdk keyed`  the same with an `Idempotency-Key`, repeated by its program until told something final
`poller`     the generations API: accepted, polled, fetched by its link; some cancel, some send twice, some contradict
`wanderer`   asks with a key, goes away at any moment, and comes back until it has its answer
`follower`   the generations API, following its events, whose stream it drops and takes up again

Times that a caller's author chose are those of life, divided by the speed; what the SDK waits by itself is not.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import openai
from orders import FORMAT, SIZE, Order, Told, serial_of, sha256_of

TIMEOUT_S = 600.0
BETWEEN_S = 5.0
PATIENCE_S = 3_600.0
"""For as long somebody who never gives up is watched."""
BROKEN = (aiohttp.ClientError, OSError, TimeoutError, ValueError, asyncio.IncompleteReadError)
"""A try that came to nothing: no answer, or none that can be read."""
FINAL = frozenset({"succeeded", "failed", "cancelled"})
CONFLICT = 422


@dataclass(slots=True, kw_only=True)
class Front:
    """Whom to ask, and by what."""

    url: str
    key: str
    speed: float
    session: aiohttp.ClientSession
    client: openai.AsyncOpenAI
    stopped: Callable[[], bool]
    """Whether everybody shall soon be done: nobody goes away any more."""

    @property
    def headers(self) -> dict[str, str]:
        """What every call carries."""
        return {"Authorization": f"Bearer {self.key}"}

    async def pause(self, seconds: float) -> None:
        """Let seconds of life pass."""
        await asyncio.sleep(seconds / self.speed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
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
        return self.status in (404, 408, 409, 429) or self.status >= 500

    @property
    def wait_s(self) -> float | None:
        """The wait that the server wants."""
        text = self.headers.get("retry-after", "")
        return float(text) if text.isdigit() else None


async def order(front: Front, wanted: Order) -> Told:
    """Ask as its kind does, to the end."""
    told = Told(number=wanted.number, kind=wanted.kind)
    began_at = time.monotonic()
    try:
        async with asyncio.timeout(PATIENCE_S / front.speed):
            await CALLERS[wanted.kind](front, wanted, told)
    except TimeoutError:
        told.error = "still waiting"
    told.at, told.took_s = time.time(), time.monotonic() - began_at
    return told


def take_image(told: Told, picture: bytes) -> None:
    """Look at what an answer brought: it counts if it is the one that was made, byte for byte."""
    told.serial, told.sha256 = serial_of(picture), sha256_of(picture)
    told.end = "image" if told.serial is not None else "wrong"
    if told.serial is None:
        told.error = f"{len(picture)} bytes that are not the picture"


def take_error(told: Told, status: int, error: Mapping[str, Any]) -> None:
    """Note what a caller was told."""
    told.end, told.status = "told", status
    told.code, told.paid = (None if error.get(name) is None else str(error[name]) for name in ("code", "paid"))
    told.generation_id = error.get("generation_id") or told.generation_id
    told.knows(told.generation_id)


def take_document(told: Told, answer: Answer) -> None:
    """Take an answer of the images API."""
    data, error = answer.document.get("data") or [{}], answer.error
    told.knows(answer.document.get("generation_id"))
    told.generation_id = answer.document.get("generation_id") or told.generation_id
    if error is not None or answer.status != 200:
        if answer.document.get("data") or answer.document.get("candidates"):
            told.notes.append(f"I15: {answer.status} with an error and data")
        take_error(told, answer.status, error or {})
        return
    if not data[0].get("b64_json"):
        told.end, told.error = "wrong", f"200 with {sorted(answer.document)}"
        return
    take_image(told, base64.b64decode(data[0]["b64_json"]))


# The SDK


async def sdk(front: Front, wanted: Order, told: Told, headers: Mapping[str, str] | None = None) -> None:
    """Ask once; the SDK repeats by itself."""
    told.tries += 1
    try:
        response = await front.client.images.generate(
            model=wanted.model, prompt=wanted.prompt, size=SIZE, output_format=FORMAT, extra_headers=headers
        )
    except openai.APIStatusError as exc:
        take_error(told, exc.status_code, exc.body if isinstance(exc.body, dict) else {})
        return
    except openai.APIConnectionError as exc:
        told.end, told.error = "nothing", type(exc.__cause__ or exc).__name__
        return
    except (openai.OpenAIError, ValueError) as exc:
        # A late failure, told in words: the SDK cannot read it, and raises.
        told.end, told.code = "told", type(exc).__name__
        return
    document = response.to_dict()
    take_document(told, Answer(status=200, headers={}, document=document))


async def sdk_keyed(front: Front, wanted: Order, told: Told) -> None:
    """Ask with a key until told something final."""
    while True:
        await sdk(front, wanted, told, {"Idempotency-Key": wanted.key})
        is_passing = told.end == "nothing" or (told.end == "told" and (told.status or 0) in (408, 409, 429, 500, 503))
        if not is_passing:
            return
        await front.pause(BETWEEN_S)


# The generations API, and the images API without a library


async def ask(front: Front, method: str, path: str, **options: Any) -> Answer:
    """Make a call.

    Raises:
        ClientError: Or another of `BROKEN`.
    """
    headers = {**front.headers, **options.pop("headers", {})}
    async with front.session.request(method, f"{front.url}{path}", headers=headers, **options) as got:
        document = json.loads(await got.read())
        if not isinstance(document, dict):
            raise ValueError("no object")
        return Answer(status=got.status, headers=got.headers, document=document)


async def accepted(front: Front, wanted: Order, told: Told) -> str | None:
    """Have it accepted, and give its id; None: told something final instead."""
    body = {"model": wanted.model, "prompt": wanted.prompt, "size": "1K", "aspect_ratio": "1:1"}
    while True:
        told.tries += 1
        pause_s: float | None = None
        try:
            calls = [_create(front, wanted.key, body) for _ in range(1 + wanted.is_doubled)]
            answers = [each for each in await asyncio.gather(*calls) if each is not None]
            ids = {str(each.document["id"]) for each in answers if each.status in (200, 202) and "id" in each.document}
            if len(ids) > 1:
                told.notes.append(f"I8: one key, two generations: {sorted(ids)}")
            for id_ in ids:
                told.knows(id_)
                told.generation_id = id_
                return id_
            if answers and not answers[0].is_passing:
                take_error(told, answers[0].status, answers[0].error or {})
                return None
            if answers:
                take_error(told, answers[0].status, answers[0].error or {})
                pause_s = answers[0].wait_s
        except BROKEN as exc:
            told.end, told.error = "nothing", type(exc).__name__
        await front.pause(pause_s or BETWEEN_S)


async def _create(front: Front, key: str, body: Mapping[str, Any]) -> Answer | None:
    try:
        headers = {"Idempotency-Key": key, "Prefer": "respond-async"}
        return await ask(front, "POST", "/v1/generations", json=body, headers=headers)
    except BROKEN:
        # Its twin, or the next try, tells more.
        return None


async def poller(front: Front, wanted: Order, told: Told) -> None:
    """Have it accepted, look again and again, fetch."""
    id_ = await accepted(front, wanted, told)
    if id_ is None:
        return
    if wanted.is_contrary:
        await _contradict(front, wanted, told)
    if wanted.cancels_after_s is not None:
        await front.pause(wanted.cancels_after_s)
        await _until(front, told, "POST", f"/v1/generations/{id_}/cancel")
    await collect(front, told, id_)


async def _contradict(front: Front, wanted: Order, told: Told) -> None:
    answer = await _create(front, wanted.key, {"model": wanted.model, "prompt": f"{wanted.prompt}, but red"})
    if answer is not None and answer.status != CONFLICT and answer.status < 500:
        told.notes.append(f"I8: a key with other words was answered {answer.status}")


async def _until(front: Front, told: Told, method: str, path: str) -> Answer:
    """Ask until there is an answer that is not about asking again."""
    while True:
        told.tries += 1
        try:
            answer = await ask(front, method, path)
            if answer.status < 500 and answer.status != 429:
                return answer
        except BROKEN as exc:
            told.error = type(exc).__name__
        await front.pause(BETWEEN_S)


async def collect(front: Front, told: Told, id_: str) -> None:
    """Poll a generation to its end, and fetch its picture."""
    while True:
        answer = await _until(front, told, "GET", f"/v1/generations/{id_}")
        if answer.status == 404:
            told.end, told.error = "wrong", "was accepted and is not known"
            return
        if answer.document.get("status") in FINAL:
            break
        await front.pause(BETWEEN_S)
    await take_resource(front, told, answer.document)


async def take_resource(front: Front, told: Told, document: Mapping[str, Any]) -> None:
    """Take a generation that has ended as its caller is shown it."""
    if document["status"] == "succeeded":
        take_image(told, await fetched(front, document["images"][0]["url"]))
        return
    if document["images"]:
        told.notes.append(f"I15: {document['id']} is {document['status']} and has images")
    take_error(told, 200, document["error"] or {})
    if document["status"] == "cancelled":
        told.end = "cancelled"


async def fetched(front: Front, url: str) -> bytes:
    """Fetch a picture by its link, as often as it takes; the link's host is the balancer."""
    while True:
        try:
            async with front.session.get(url) as got:
                got.raise_for_status()
                return await got.read()
        except BROKEN:
            # The bucket is away, or a replica has gone with half of it.
            await front.pause(BETWEEN_S)


async def wanderer(front: Front, wanted: Order, told: Told) -> None:
    """Ask with a key, go away, come back."""
    chance = random.Random(f"wanderer/{wanted.number}")
    body = {"model": wanted.model, "prompt": wanted.prompt, "size": SIZE, "output_format": FORMAT, "n": 1}
    while True:
        told.tries += 1
        stays_s = TIMEOUT_S if front.stopped() or told.tries > 4 else chance.uniform(0.0, 60.0)
        pause_s: float | None = None
        try:
            async with asyncio.timeout(stays_s / front.speed):
                headers = {"Idempotency-Key": wanted.key}
                answer = await ask(front, "POST", "/v1/images/generations", json=body, headers=headers)
            take_document(told, answer)
            if told.end != "told" or not answer.is_passing:
                return
            pause_s = answer.wait_s
        except BROKEN as exc:
            told.end, told.error = "nothing", type(exc).__name__
        await front.pause(pause_s or chance.uniform(1.0, 20.0))


async def follower(front: Front, wanted: Order, told: Told) -> None:
    """Have it accepted, follow its events over several connections, fetch."""
    id_ = await accepted(front, wanted, told)
    if id_ is None:
        return
    chance = random.Random(f"follower/{wanted.number}")
    while True:
        told.tries += 1
        stays_s = TIMEOUT_S if front.stopped() else chance.uniform(5.0, 60.0)
        try:
            async with asyncio.timeout(stays_s / front.speed):
                if await _follow(front, told, id_):
                    break
        except BROKEN as exc:
            told.error = type(exc).__name__
        await front.pause(1.0)
    await collect(front, told, id_)


async def _follow(front: Front, told: Told, id_: str) -> bool:
    """Read events until the stream ends; whether the generation has."""
    headers = {**front.headers, "Accept": "text/event-stream"}
    if told.numbers:
        headers["Last-Event-ID"] = str(told.numbers[-1])
    async with front.session.get(f"{front.url}/v1/generations/{id_}/events", headers=headers) as got:
        if got.status == 204:
            return True
        got.raise_for_status()
        async for line in got.content:
            if line.startswith(b"id:"):
                told.numbers.append(int(line[3:]))
    # The stream ends with the generation; the next question is answered 204.
    return False


CALLERS: Mapping[str, Callable[..., Any]] = {
    "sdk": sdk,
    "sdk keyed": sdk_keyed,
    "poller": poller,
    "wanderer": wanderer,
    "follower": follower,
}
