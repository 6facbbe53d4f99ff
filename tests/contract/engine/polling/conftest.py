"""A queue in memory, as the upstream of the bench: it charges for submissions, and is asked for the rest."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import pytest

from holdfast.policy.addresses import AddressRules
from holdfast.providers import fal
from holdfast.providers.conversation import malformed
from holdfast.store.records import AttemptRow, Record
from holdfast.transport.exchange import Exchange, Head, HttpRequest, Sink, Timeouts, Timings
from holdfast.types import Charge, Failure, FailureKind, Phase
from holdfast.wire.fal import Handle, QueueState, QueueStatus, render_status, render_submitted
from holdfast.wire.scan import WireError

USD = 1_000_000
MODEL = "nano-banana-pro"
BASE = "http://127.0.0.1:1"
BROKEN = Failure(kind=FailureKind.LOST_REPLY, phase=Phase.WAIT, charge=Charge.UNKNOWN, detail="it was reset")
TIMINGS = Timings(connected_s=0.0, sent_s=0.0, head_s=0.0, first_byte_s=0.0, body_s=0.0, admission_s=0.0, body_bytes=0)
Script = deque[Any]
"""What comes next: a status code, a word, a body, a failure, an exception; empty: all goes well."""


@dataclass
class FakeFal:
    """A queue in memory, as a `Transport`: it charges for each submission, and knows nothing of who asks."""

    pictures: Callable[[int], bytes]
    submitted: list[str] = field(default_factory=list)
    """Idempotency keys; each is one purchase."""
    asked: list[str] = field(default_factory=list)
    """What came after them: `status`, `result`, `cancel`, `fetch 0`."""
    polls: Script = field(default_factory=deque)
    results: Script = field(default_factory=deque)
    fetches: Script = field(default_factory=deque)
    cancels: Script = field(default_factory=deque)
    submits: Script = field(default_factory=deque)
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    """By the first word of what is asked: it is answered only then."""
    images: int = 1
    rules: list[AddressRules] = field(default_factory=list)
    timeouts: list[float] = field(default_factory=list)
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2))

    def hold(self, what: str) -> asyncio.Event:
        """Answer one kind of question only when told."""
        self.gates[what] = asyncio.Event()
        return self.gates[what]

    def is_asked(self, what: str) -> bool:
        """Whether the last question is of this kind."""
        return bool(self.asked) and self.asked[-1].startswith(what)

    async def exchange(
        self,
        request: HttpRequest,
        *,
        inputs: Any,
        timeouts: Timeouts,
        on_head: Callable[[Head], Sink],
        ca_file: str,
    ) -> Exchange | Failure:
        """Answer what belongs to the queue."""
        headers = dict(request.headers)
        assert headers["Authorization"] == "Key one-key"
        self.timeouts.append(timeouts.total_s)
        if request.method == "POST":
            self.submitted.append(headers["Idempotency-Key"])
            await self._gate("submit")
            handle = Handle(request_id=f"r-{len(self.submitted)}")
            return await self._play(self.submits, 200, render_submitted(handle), on_head)
        if request.method == "PUT":
            self.asked.append("cancel")
            return await self._play(self.cancels, 202, b'{"status":"CANCELLATION_REQUESTED"}', on_head)
        if request.url.endswith("/status"):
            self.asked.append("status")
            await self._gate("status")
            if self.polls and self.polls[0] in tuple(QueueState):
                return await self._play(deque(), 202, self._status(self.polls.popleft()), on_head)
            return await self._play(self.polls, 200, self._status("COMPLETED"), on_head)
        self.asked.append("result")
        await self._gate("result")
        links = [{"url": f"{BASE}/files/{at}.png"} for at in range(self.images)]
        return await self._play(self.results, 200, json.dumps({"images": links}).encode(), on_head)

    async def fetch(
        self, url: str, *, rules: AddressRules, timeouts: Timeouts, on_head: Callable[[Head], Sink], ca_file: str
    ) -> Exchange | Failure:
        """Give a file."""
        at = int(url.rpartition("/")[2].removesuffix(".png"))
        self.asked.append(f"fetch {at}")
        self.rules.append(rules)
        await self._gate(f"fetch {at}")
        return await self._play(self.fetches, 200, self.pictures(at), on_head)

    async def _gate(self, what: str) -> None:
        if what in self.gates:
            await self.gates[what].wait()

    @staticmethod
    def _status(word: str) -> bytes:
        return render_status(Handle(request_id="r-1"), QueueStatus(state=QueueState(word)))

    async def _play(
        self, script: Script, status: int, body: bytes, on_head: Callable[[Head], Sink]
    ) -> Exchange | Failure:
        match script.popleft() if script else None:
            case Failure() as failure:
                return failure
            case Exception() as exc:
                raise exc
            case int() as status:
                body = b'{"detail":"no"}'
            case bytes() as body:
                pass
            case (int() as status, bytes() as body):
                pass
        head = Head(status=status, headers=MappingProxyType({"content-type": ("application/json",)}))
        sink = on_head(head)
        loop = asyncio.get_running_loop()
        outcome: Exchange | Failure | None = None
        try:
            for at in range(0, len(body), 500):
                await loop.run_in_executor(self.threads, sink.feed, [body[at : at + 500]])
            outcome = Exchange(head=head, timings=TIMINGS)
        except WireError as error:
            outcome = malformed(error, status=status)
        finally:
            if not isinstance(outcome, Exchange):
                await loop.run_in_executor(self.threads, sink.close)
        return outcome

    # What tests look at

    @staticmethod
    async def attempt_of(bench: Any, id_: str) -> AttemptRow:
        """Its one attempt."""
        (attempt,) = (await bench.record(id_)).attempts
        assert isinstance(attempt, AttemptRow)
        return attempt

    async def one_image(self, bench: Any, id_: str, *, late: bool = False) -> Record:
        """Find one purchase, one image, one charge, and nothing left over."""
        await bench.quiet()
        record: Record = await bench.record(id_)
        row = record.generation
        assert (row.state, bool(row.late)) == ("succeeded", late)
        assert self.submitted == [f"{id_}.0.0"]
        assert bench.bytes_of(record) == self.pictures(0)
        assert [attempt.state for attempt in record.attempts] == ["settled"]
        # Over three minutes some of it is given back; that is another rule.
        assert (await bench.verbs(id_))[:2] == ["hold", "void" if late else "capture"]
        assert sum(micros for _, micros in await bench.taken(id_)) == USD
        await bench.is_clean(id_)
        return record


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are the conversation's own, and tested there; here they would only be waited for."""
    for name in ("POLL_S_FIRST", "POLL_S_MAX", "FETCH_S_MAX"):
        monkeypatch.setattr(fal, name, 0.001)


@pytest.fixture
async def queue(bench: Any, settings_of: Any, shapes: Any) -> AsyncIterator[FakeFal]:
    """The bench's upstream becomes a queue."""
    made = FakeFal(pictures=lambda at: shapes.png(at + 1))
    fake, bench.upstream = bench.upstream, made
    fake.threads.shutdown()
    await bench.restart(fal_settings(settings_of))
    yield made


def fal_settings(settings_of: Any, **sections: Any) -> Any:
    """One upstream, which is polled."""
    upstream = {"name": "queue", "provider": "fal", "base_url": BASE, "keys": ["one-key"]}
    route = {"model": MODEL, "upstreams": [{"upstream": "queue", "model": "fal-ai/nano-banana-pro"}]}
    return settings_of(**{"upstreams": [upstream], "routes": [route]} | sections)
