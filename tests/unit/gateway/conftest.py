"""Builders of rows and callers for the gateway's tests, and a loop whose clock jumps to the next timer."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from holdfast.config import Settings, parse
from holdfast.gateway.call import Call
from holdfast.gateway.links import Links
from holdfast.store.records import AttemptRow, BlobRow, GenerationRow, Record, Told, to_json
from holdfast.store.signing import Signer
from holdfast.types import Charge, Failure, Geometry, Request, Surface, Tier

NOW = datetime(2026, 11, 24, 12, 0, 30, tzinfo=UTC)


_RELAY = {"name": "relay", "provider": "openai", "flavor": "relay", "keys": ["k"]}
_PRICE = {"micros": {"1K": 1000, "2K": 1000, "4K": 2000}, "source": "a test", "valid_from": "2026-01-01"}


class FakeClock:
    """A clock that stands still until it is set; ids count up."""

    def __init__(self) -> None:
        self.at = NOW
        self._made = 0

    def monotonic(self) -> float:
        """Seconds."""
        return self.at.timestamp()

    def now(self) -> datetime:
        """The wall clock."""
        return self.at

    def random(self) -> float:
        """The middle."""
        return 0.5

    def token(self, bytes_: int) -> bytes:
        """As many as asked for."""
        return b"\x07" * bytes_

    def new_id(self, prefix: str) -> str:
        """The next one."""
        self._made += 1
        return f"{prefix}_{self._made:026d}"


class FakeTransport:
    """The caller's side of a connection."""

    def __init__(self) -> None:
        self.is_closed = False
        self.has_written_eof = False

    def is_closing(self) -> bool:
        """Whether it is gone."""
        return self.is_closed

    def close(self) -> None:
        """Be gone."""
        self.is_closed = True

    def write_eof(self) -> None:
        """Note."""
        self.has_written_eof = True


class FakeProtocol:
    """What handlers see of a connection, and what they did to it."""

    def __init__(self) -> None:
        self.transport = FakeTransport()
        self.flow = SimpleNamespace(write_paused=False)
        self.cycle = SimpleNamespace(keep_alive=True)
        self.on_lost: Callable[[], None] | None = None
        self.user_timeouts_s: list[float] = []
        self.unacknowledged: list[int] = [0]
        """Answers to the next questions; the last one stays."""
        self.was_broken_off = False
        self.is_close_delimited = False
        self.is_awaited = False

    def break_off(self) -> None:
        """Note, and be gone."""
        self.was_broken_off = True
        self.transport.close()

    def lose(self) -> None:
        """Let the caller leave."""
        self.transport.close()
        if self.on_lost is not None:
            self.on_lost()

    def set_user_timeout(self, seconds: float) -> None:
        """Note."""
        self.user_timeouts_s.append(seconds)

    def unacknowledged_bytes(self) -> int | None:
        """As the test says."""
        if self.transport.is_closed:
            return None
        return self.unacknowledged.pop(0) if len(self.unacknowledged) > 1 else self.unacknowledged[0]

    def write_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> bool:
        """Leave everything to `send`, where the tests look."""
        return False

    def write_piece(self, data: bytes) -> bool:
        """Leave everything to `send`, where the tests look."""
        return False

    def close_delimited(self) -> None:
        """Note."""
        self.is_close_delimited = True

    def end_close_delimited(self) -> None:
        """Nothing to do."""


@dataclass
class Caller:
    """A caller whose request is given, and everything that was sent to it."""

    scope: dict[str, Any]
    protocol: FakeProtocol
    pieces: list[bytes] = field(default_factory=list)
    leaves: bool = False
    """Whether it is gone once the pieces are read, with more announced."""
    sent: list[dict[str, Any]] = field(default_factory=list)
    on_write: Callable[[], None] | None = None

    async def receive(self) -> dict[str, Any]:
        """Give the next piece of its request."""
        if self.pieces:
            return {"type": "http.request", "body": self.pieces.pop(0), "more_body": bool(self.pieces) or self.leaves}
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        """Keep what is sent."""
        self.sent.append(dict(message))
        if self.on_write is not None and message["type"] == "http.response.body":
            self.on_write()

    def call(self, *, body_bytes_max: int = 1 << 30) -> Call:
        """Make its call; needs a running loop."""
        return Call(self.scope, self.receive, self.send, request_id="req_1", body_bytes_max=body_bytes_max)

    @property
    def status(self) -> int:
        """What it was answered."""
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the answer."""
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def writes(self) -> list[bytes]:
        """Pieces of the body, as they were sent."""
        return [message["body"] for message in self.sent if message["type"] == "http.response.body"]

    @property
    def body(self) -> bytes:
        """The body so far."""
        return b"".join(self.writes)

    @property
    def is_answered(self) -> bool:
        """Whether the end was sent."""
        return bool(self.sent) and self.sent[-1].get("more_body") is False


@pytest.fixture
def a_caller() -> Callable[..., Caller]:
    """Build callers."""

    def build(
        method: str = "GET",
        path: str = "/",
        *,
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        query: Mapping[str, str] | None = None,
        pieces: Sequence[bytes] = (b"",),
        leaves: bool = False,
        scheme: str = "http",
        http_version: str = "1.1",
        client: str = "127.0.0.1",
    ) -> Caller:
        pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers)
        protocol = FakeProtocol()
        scope = {
            "method": method,
            "path": path,
            "scheme": scheme,
            "http_version": http_version,
            "client": (client, 50000),
            "query_string": urlencode(query or {}).encode(),
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in pairs],
            "extensions": {"holdfast": protocol},
        }
        return Caller(scope=scope, protocol=protocol, pieces=list(pieces), leaves=leaves)

    return build


@pytest.fixture
def a_clock() -> FakeClock:
    """A clock that stands still."""
    return FakeClock()


@pytest.fixture
def a_request() -> Callable[..., Request]:
    """Build what a caller asked for."""

    def build(**overrides: Any) -> Request:
        usual: dict[str, Any] = {
            "surface": Surface.OPENAI,
            "model": "nano-banana-pro",
            "prompt": "a lighthouse",
            "geometry": Geometry(tier=Tier.K1, aspect_ratio="1:1", width_px=1024, height_px=1024),
        }
        return Request(**{**usual, **overrides})

    return build


@pytest.fixture
def a_told() -> Callable[..., Told]:
    """Build what the caller of a failed generation is told."""

    def build(**overrides: Any) -> Told:
        usual: dict[str, Any] = {
            "code": "upstream_failed",
            "message": "google answered 500",
            "charge": Charge.UNKNOWN,
            "kind": "server_fault",
        }
        return Told(**{**usual, **overrides})

    return build


@pytest.fixture
def a_generation() -> Callable[..., GenerationRow]:
    """Build rows of generations; `told` becomes the column `failure`."""

    def build(*, told: Told | None = None, **overrides: Any) -> GenerationRow:
        usual: dict[str, Any] = {
            "id": "gen_1",
            "key_id": "key_1",
            "surface": "openai",
            "model": "nano-banana-pro",
            "tier": "1K",
            "size": "1024x1024",
            "n": 1,
            "request": None,
            "state": "succeeded" if told is None else "failed",
            "epoch": 1,
            "drive": 0,
            "parts": 1,
            "parts_open": 0,
            "cancel_requested": 0,
            "deadline_at": "2026-11-24T12:05:00.000Z",
            "hard_deadline": 0,
            "created_at": "2026-11-24T12:00:00.000Z",
            "started_at": "2026-11-24T12:00:00.010Z",
            "finished_at": "2026-11-24T12:00:20.000Z",
            "answered_at": None,
            "collected_at": None,
            "purge_after": "2026-11-25T12:00:20.000Z",
            "currency": "USD",
            "unit_micros": 134_000,
            "held_micros": 134_000,
            "charged_micros": 134_000 if told is None else 0,
            "partial_result": 0,
            "late": 0,
            "failure": None if told is None else to_json(told),
            "sequence_number": 3,
            "list_micros": 134_000,
            "compensated_micros": 0,
        }
        return GenerationRow(**{**usual, **overrides})

    return build


@pytest.fixture
def an_attempt() -> Callable[..., AttemptRow]:
    """Build rows of attempts; `failure` and `usage` may be values, `answer` may be a document."""

    def build(**overrides: Any) -> AttemptRow:
        usual: dict[str, Any] = {
            "id": "att_1",
            "generation_id": "gen_1",
            "part": 0,
            "drive": 0,
            "number": 1,
            "epoch": 1,
            "upstream": "google",
            "provider": "gemini",
            "model": "gemini-3-pro-image",
            "state": "settled",
            "charge": "yes",
            "sent_at": "2026-11-24T12:00:00.010Z",
            "received_at": None,
            "ended_at": "2026-11-24T12:00:20.000Z",
            "http_status": 200,
            "failure": None,
            "usage": None,
            "answer": None,
        }
        row = {**usual, **overrides}
        if isinstance(row["failure"], Failure):
            row["failure"] = to_json(row["failure"])
        if row["usage"] is not None and not isinstance(row["usage"], str):
            row["usage"] = to_json(row["usage"])
        if isinstance(row["answer"], dict):
            row["answer"] = msgspec.json.encode(row["answer"])
        return AttemptRow(**row)

    return build


@pytest.fixture
def a_blob() -> Callable[..., BlobRow]:
    """Build rows of images."""

    def build(**overrides: Any) -> BlobRow:
        usual: dict[str, Any] = {
            "id": "img_1",
            "generation_id": "gen_1",
            "attempt_id": "att_1",
            "part": 0,
            "position": 0,
            "kind": "result",
            "store_key": "blobs/one.png",
            "sha256": "5" * 64,
            "bytes": 9,
            "mime": "image/png",
            "width_px": 1024,
            "height_px": 1024,
            "state": "stored",
            "delete_after": None,
        }
        return BlobRow(**{**usual, **overrides})

    return build


@pytest.fixture
def a_record(
    a_generation: Callable[..., GenerationRow], an_attempt: Callable[..., AttemptRow], a_blob: Callable[..., BlobRow]
) -> Callable[..., Record]:
    """Build records; what is not an attempt or a blob goes into the generation's row."""

    def build(
        *, attempts: Sequence[AttemptRow] | None = None, blobs: Sequence[BlobRow] | None = None, **row: Any
    ) -> Record:
        generation = a_generation(**row)
        has_images = generation.told is None
        return Record(
            generation=generation,
            attempts=tuple(attempts) if attempts is not None else (an_attempt(),),
            blobs=tuple(blobs) if blobs is not None else (a_blob(),) if has_images else (),
        )

    return build


@pytest.fixture
def some_links() -> Links:
    """Links of a gateway at `https://images.example`, at a fixed moment."""
    return Links(base_url="https://images.example", signer=Signer(secrets=(("k1", b"secret"),)), now=NOW)


@pytest.fixture
def settings_of() -> Callable[..., Settings]:
    """Build settings with a Gemini and an OpenAI upstream; sections given by name are added."""

    def build(**sections: Any) -> Settings:
        usual: dict[str, Any] = {
            "upstreams": [
                {"name": "google", "provider": "gemini", "base_url": "https://google.example", "keys": ["k"]},
                {"name": "openai", "provider": "openai", "base_url": "https://openai.example/v1", "keys": ["k"]},
                {**_RELAY, "base_url": "https://relay.example/v1"},
            ],
            "routes": [
                {
                    "model": "nano-banana-pro",
                    "aliases": ["gemini-3-pro-image"],
                    "upstreams": [{"upstream": "google", "model": "gemini-3-pro-image"}],
                },
                {"model": "gpt-image-2", "upstreams": [{"upstream": "openai", "model": "gpt-image-2"}]},
                {"model": "resold", "upstreams": [{"upstream": "relay", "model": "resold-1"}]},
            ],
        }
        tree = {**usual, **sections}
        prices = [
            {"model": route["model"], "micros": {"1K": 1000, "2K": 1000, "4K": 2000}, **_PRICE}
            for route in tree["routes"]
        ]
        return parse({"prices": prices, **tree})

    return build


class _JumpingSelector(selectors.DefaultSelector):
    """Never waits for a timer: the time it would have slept has passed."""

    now_s = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Look once; without anything to do, jump."""
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        ready = super().select(0)
        if not ready:
            self.now_s += timeout
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """A loop in which a minute takes no time."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Seconds, as jumped."""
        return self._jumping.now_s


@pytest.fixture
def in_jumped_time() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Run a coroutine on a loop whose clock jumps."""

    def run(main: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=JumpingLoop) as runner:
            return runner.run(main)

    return run
