"""A call driven without sockets: a server as a list of what it does, time that jumps."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from holdfast.client.address import Server, address_of
from holdfast.client.asking import Asker, Wish
from holdfast.client.call import Call
from holdfast.client.defaults import call_timeouts
from holdfast.client.steps import (
    Break,
    Cause,
    Finished,
    Options,
    Purpose,
    Raise,
    Reading,
    Received,
    Send,
    Step,
    Taken,
    Wait,
)
from holdfast.providers.http import Head
from holdfast.types import ImageInfo, Phase
from holdfast.wire.answers import Answer, AnswerImage, Role

KEY = "call_01TEST"
PROMPT = "a lighthouse that nobody may quote"
API_KEY = "hf-secret-never-to-be-told"
GENERATION = "gen_01TEST"
REQUEST = "req_01KB000000000000000000000Z"
SHA = "ab" * 32


def a_head(status: int = 200, kind: str = "application/json", **headers: str) -> Head:
    """Write a head; underscores become dashes."""
    named = {name.replace("_", "-"): (value,) for name, value in headers.items()}
    return Head(status=status, headers={"content-type": (kind,), **named})


def an_info(sha256: str = SHA) -> ImageInfo:
    """Describe an image."""
    return ImageInfo(mime="image/png", width_px=64, height_px=64, bytes=1000, sha256=sha256)


Said = tuple[Head, Received] | Break


def images(count: int = 1, *, generation_id: str | None = None) -> Said:
    """Answer with images in the document."""
    answer = Answer(
        images=tuple(AnswerImage(index=at, role=Role.RESULT) for at in range(count)), document=b"{}", model_version="m"
    )
    taken = tuple((at, Taken(info=an_info(), is_whole=True)) for at in range(count))
    named = {} if generation_id is None else {"generation_id": generation_id}
    return a_head(**named), Received(document=b"{}", answer=answer, taken=taken)


def links(*urls: str) -> Said:
    """Answer with links only."""
    document = json.dumps({"data": [{"url": url} for url in urls]}).encode()
    return a_head(), Received(document=document, answer=Answer(images=(), document=document, url_only=True))


def file(sha256: str = SHA, *, status: int = 200, is_whole: bool = True, index: int = 0) -> Said:
    """Answer with an image as a file."""
    taken = ((index, Taken(info=an_info(sha256), is_whole=is_whole)),)
    return a_head(status, "image/png", etag=f'"{sha256}"'), Received(taken=taken)


def error(status: int, document: Any = None, kind: str = "application/json", **headers: str) -> Said:
    """Answer with an error; without a document, with a proxy's page."""
    if document is None:
        return a_head(status, "text/html", **headers), Received(document=b"<html>Bad Gateway</html>")
    return a_head(status, kind, **headers), Received(document=json.dumps(document).encode())


def plain_error(status: int, code: str | None = None, **headers: str) -> Said:
    """Answer as OpenAI does."""
    return error(status, {"error": {"message": "words", "type": "some_error", "code": code, "param": None}}, **headers)


def holdfast_error(code: str, *, paid: str = "no", retryable: bool = False, **headers: str) -> Said:
    """Answer as holdfast does on OpenAI's surface."""
    from holdfast.wire.failures import CODES

    told = {"message": "words", "type": "t", "code": CODES[code].openai_code, "param": None, "holdfast_code": code}
    document = {"error": {**told, "paid": paid, "retryable": retryable, "generation_id": GENERATION}}
    steer = "true" if retryable else "false"
    return error(CODES[code].status, document, **{"generation_id": GENERATION, "x_should_retry": steer, **headers})


def resource(status: str, **more: Any) -> dict[str, Any]:
    """Write how a generation stands."""
    return {
        "id": GENERATION,
        "status": status,
        "sequence_number": 3,
        "model": "nano-banana-pro",
        "size": "1K",
        "created_at": "2026-11-28T00:00:00.000Z",
        "paid": "yes" if status == "succeeded" else "no",
        "cost": {"held_micros": 0, "charged_micros": 0, "compensated_micros": 0, "currency": "USD"},
        **more,
    }


def an_image(index: int = 0, *, url: str | None = "", sha256: str = SHA) -> dict[str, Any]:
    """Write one image of a resource."""
    where = f"http://h:1/v1/generations/{GENERATION}/images/{index}?sig=s" if url == "" else url
    size = {"width": 64, "height": 64, "bytes": 1000}
    return {"index": index, "url": where, "mime": "image/png", "sha256": sha256, **size}


def stands(status: str, *, code: int = 200, **more: Any) -> Said:
    """Answer with how it stands; 202 names the generation in its head."""
    if status == "succeeded":
        more = {"images": [an_image()], **more}
    named = {"generation_id": GENERATION} if code == 202 else {}
    return a_head(code, **named), Received(document=json.dumps(resource(status, **more)).encode())


def listed(*resources: dict[str, Any], mark: str | None = REQUEST) -> Said:
    """Answer with a page of generations; without the mark, as others list things."""
    page = {"object": "list", "data": list(resources), "has_more": False, "first_id": None, "last_id": None}
    named = {} if mark is None else {"x_request_id": mark}
    return a_head(**named), Received(document=json.dumps(page).encode())


def cut(phase: Phase = Phase.WAIT, cause: Cause = Cause.LOST, received_bytes: int | None = None) -> Break:
    """Break an exchange."""
    return Break(phase=phase, cause=cause, detail="The connection broke.", received_bytes=received_bytes)


REFUSED = Break(phase=Phase.CONNECT, cause=Cause.REFUSED, detail="Nobody answers.")


@dataclass
class HeadThenCut:
    """The head comes, the body does not."""

    head: Head
    break_: Break


@dataclass
class Drive:
    """A call, a script, and what came of them."""

    call: Call
    now_s: float = 1000.0
    exchange_s: float = 2.0
    """Each takes so long."""
    sent: list[Send] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)

    def run(self, script: Sequence[Said | HeadThenCut], *, forever: Said | None = None) -> Step:
        """Play the script; `forever` is what the server does when it is over. Gives the last step."""
        left = list(script)
        step: Step = self.call.start(self.now_s)
        for _ in range(500):
            match step:
                case Send():
                    self.sent.append(step)
                    assert left or forever is not None, f"unexpected: {step.purpose} after {self.purposes}"
                    step = self._said(left.pop(0) if left else forever)
                case Wait():
                    assert step.after_s >= 0.0
                    self.waits.append(step.after_s)
                    self.now_s += step.after_s
                    step = self.call.woke(self.now_s)
                case Finished() | Raise():
                    assert not left, f"{len(left)} answers were not asked for"
                    return step
        raise AssertionError(f"it goes on for ever: {self.purposes[-10:]}")

    def _said(self, said: Any) -> Step:
        self.now_s += self.exchange_s
        if isinstance(said, Break):
            return self.call.broke(said, now_s=self.now_s, jitter=0.5)
        if isinstance(said, HeadThenCut):
            self.readings.append(self.call.head(said.head))
            return self.call.broke(said.break_, now_s=self.now_s, jitter=0.5)
        head, body = said
        self.readings.append(self.call.head(head))
        return self.call.received(body, now_s=self.now_s, jitter=0.5)

    @property
    def purposes(self) -> list[str]:
        """What the requests were for."""
        return [each.purpose.value for each in self.sent]

    @property
    def submits(self) -> list[Send]:
        """The POSTs."""
        return [each for each in self.sent if each.purpose is Purpose.SUBMIT]

    def header(self, name: str, at: int = 0) -> str | None:
        """A header of a request."""
        return dict(self.sent[at].ask.headers).get(name)


def a_drive(
    server: Server | None = None, *, base_url: str = "http://h:1/v1", wish: Wish | None = None, **options: Any
) -> Drive:
    """Make a call ready to be driven."""
    address = address_of(base_url, "auto" if server is None else server.value)
    asker = Asker(address=address, api_key=API_KEY, user_agent="holdfast-client/0")
    wish = wish or Wish(prompt=PROMPT, model="nano-banana-pro", size="1K")
    usual: dict[str, Any] = {"timeouts": call_timeouts(wish.size, "intranet"), "idempotency_key": KEY}
    return Drive(Call(asker=asker, wish=wish, options=Options(**{**usual, **options}), server=address.server))


class Kit:
    """Everything above, for tests: they are no package."""

    def __getattr__(self, name: str) -> Any:
        return globals()[name]


@pytest.fixture
def kit() -> Kit:
    """Give the builders."""
    return Kit()


DriveMaker = Callable[..., Drive]
