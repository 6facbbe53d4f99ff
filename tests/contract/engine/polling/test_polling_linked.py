"""Replicate and Ark through the engine: handles and links are committed, and whoever lives goes on with them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import pytest

from holdfast.policy.addresses import AddressRules
from holdfast.providers import ark, replicate
from holdfast.providers.conversation import malformed
from holdfast.transport.exchange import Exchange, Head, HttpRequest, Sink, Timeouts, Timings
from holdfast.types import Charge, Failure, FailureKind, Phase
from holdfast.wire.ark import Made, render_answer
from holdfast.wire.replicate import Handle, Link, Prediction, PredictionState, render_prediction
from holdfast.wire.scan import WireError
from holdfast.wire.template import filled

USD = 1_000_000
MODEL = "nano-banana-pro"
BASE = "http://127.0.0.1:1"
FILE = f"{BASE}/files/0.png"
BROKEN = Failure(kind=FailureKind.LOST_REPLY, phase=Phase.WAIT, charge=Charge.UNKNOWN, detail="it was reset")
TIMINGS = Timings(connected_s=0.0, sent_s=0.0, head_s=0.0, first_byte_s=0.0, body_s=0.0, admission_s=0.0, body_bytes=0)


@dataclass
class FakeVendor:
    """Both vendors in memory, as a `Transport`: each creation and each call is a purchase."""

    picture: bytes
    bought: list[str] = field(default_factory=list)
    """Idempotency keys."""
    asked: list[str] = field(default_factory=list)
    states: deque[Any] = field(default_factory=deque)
    """What is said to the next questions: a state, a status code, a failure; empty: it has succeeded."""
    fetches: deque[Any] = field(default_factory=deque)
    begun: bool = True
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2))

    def hold(self, what: str) -> asyncio.Event:
        """Answer one kind of question only when told."""
        self.gates[what] = asyncio.Event()
        return self.gates[what]

    async def exchange(
        self, request: HttpRequest, *, inputs: Any, timeouts: Timeouts, on_head: Callable[[Head], Sink], ca_file: str
    ) -> Exchange | Failure:
        """Answer what belongs to the API."""
        headers = dict(request.headers)
        assert headers["Authorization"] == "Bearer one-key"
        if request.url.endswith("/images/generations"):
            self.bought.append(headers["Idempotency-Key"])
            answer = render_answer([Made(size="2048x2048", url=FILE)], model="m", created=1, output_tokens=1)
            return await self._answer("call", None, 200, filled(answer, {}), on_head)
        if request.url.endswith("/cancel"):
            self.states.append("canceled")
            return await self._answer("cancel", None, 200, self._prediction("canceled"), on_head)
        if request.method == "POST":
            self.bought.append(headers["Idempotency-Key"])
            return await self._answer("create", None, 201, self._prediction("starting"), on_head)
        await self._gate("status")
        said = self.states.popleft() if self.states else "succeeded"
        if isinstance(said, str):
            return await self._answer("status", None, 200, self._prediction(said), on_head, is_passed=True)
        return await self._answer("status", said, 200, b"", on_head, is_passed=True)

    async def fetch(
        self, url: str, *, rules: AddressRules, timeouts: Timeouts, on_head: Callable[[Head], Sink], ca_file: str
    ) -> Exchange | Failure:
        """Give the file."""
        assert (url, rules.allow_private) == (FILE, True)
        said = self.fetches.popleft() if self.fetches else None
        return await self._answer("fetch", said, 200, self.picture, on_head)

    async def _gate(self, what: str) -> None:
        self.asked.append(what)
        if what in self.gates:
            await self.gates[what].wait()

    def _prediction(self, word: str) -> bytes:
        state = PredictionState(word)
        told = Prediction(
            handle=Handle(id="p-1", get_url=f"{BASE}/v1/predictions/p-1"),
            state=state,
            links=(Link(url=FILE),),
            error="no" if state is PredictionState.FAILED else None,
            has_started=self.begun and state is not PredictionState.STARTING,
        )
        return render_prediction(told, model="m", created_at="2026")

    async def _answer(
        self,
        what: str,
        said: Any,
        status: int,
        body: bytes,
        on_head: Callable[[Head], Sink],
        *,
        is_passed: bool = False,
    ) -> Exchange | Failure:
        if not is_passed:
            await self._gate(what)
        if isinstance(said, Failure):
            return said
        head = Head(status=said or status, headers=MappingProxyType({"content-type": ("application/json",)}))
        sink, loop = on_head(head), asyncio.get_running_loop()
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


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are the conversations' own, and tested there; here they would only be waited for."""
    for name in ("POLL_S_FIRST", "POLL_S_MAX", "FETCH_S_MAX"):
        monkeypatch.setattr(replicate, name, 0.001)
    for name in ("FETCH_S_FIRST", "FETCH_S_MAX"):
        monkeypatch.setattr(ark, name, 0.001)


@pytest.fixture(params=["replicate", "ark"])
async def vendor(
    request: pytest.FixtureRequest, bench: Any, settings_of: Any, shapes: Any
) -> AsyncIterator[FakeVendor]:
    """The bench's upstream becomes one of both."""
    made = FakeVendor(picture=shapes.png(1))
    fake, bench.upstream = bench.upstream, made
    fake.threads.shutdown()
    upstream = {"name": "up", "provider": request.param, "base_url": BASE, "keys": ["one-key"]}
    route = {"model": MODEL, "upstreams": [{"upstream": "up", "model": "google/nano-banana-pro"}]}
    await bench.restart(settings_of(upstreams=[upstream], routes=[route]))
    yield made


only_replicate = pytest.mark.parametrize("vendor", ["replicate"], indirect=True)
only_ark = pytest.mark.parametrize("vendor", ["ark"], indirect=True)


async def one_image(bench: Any, vendor: FakeVendor, id_: str) -> None:
    """Find one purchase, one image, one charge, and nothing left over."""
    await bench.quiet()
    record = await bench.record(id_)
    assert record.generation.state == "succeeded"
    assert vendor.bought == [f"{id_}.0.0"]
    assert bench.bytes_of(record) == vendor.picture
    assert [attempt.state for attempt in record.attempts] == ["settled"]
    assert await bench.taken(id_) == [("cost", USD)]
    await bench.is_clean(id_)


async def attempt_of(bench: Any, id_: str) -> Any:
    """Its one attempt."""
    (attempt,) = (await bench.record(id_)).attempts
    return attempt


async def test_an_image_is_bought_and_fetched(bench: Any, vendor: FakeVendor, log: Any) -> None:
    """With a handle before anything is asked of it."""
    id_, _ = await bench.ask()
    await one_image(bench, vendor, id_)
    assert len(log("attempt.polling")) == 1


@pytest.mark.parametrize(
    ("vendor", "held"), [("replicate", "status"), ("replicate", "fetch"), ("ark", "fetch")], indirect=["vendor"]
)
async def test_a_restart_goes_on_from_the_handle(bench: Any, vendor: FakeVendor, held: str) -> None:
    """Wherever it was: a prediction is asked for, a link is followed."""
    gate = vendor.hold(held)
    id_, _ = await bench.ask()
    await bench.until(lambda: held in vendor.asked)
    for _ in range(3):
        vendor.asked.clear()
        recovered = await bench.restart()
        assert [each.new.generation_id for each in recovered.to_resume] == [id_]
        await bench.until(lambda: held in vendor.asked)
        assert (await attempt_of(bench, id_)).state == "polling"
    gate.set()
    await one_image(bench, vendor, id_)


async def test_a_link_that_fails_is_tried_again(bench: Any, vendor: FakeVendor) -> None:
    """It is paid for."""
    vendor.fetches += [403, BROKEN, 500]
    id_, _ = await bench.ask()
    await one_image(bench, vendor, id_)


async def test_a_link_that_stays_dead_is_told_as_paid(bench: Any, vendor: FakeVendor) -> None:
    """Never bought again."""
    vendor.fetches += [403] * 10
    id_, caller = await bench.ask()
    await caller.ended()
    await bench.quiet()
    attempt = await attempt_of(bench, id_)
    assert (attempt.failed.kind, attempt.failed.charge) == (FailureKind.MALFORMED, Charge.YES)
    assert len(vendor.bought) == 1
    await bench.is_clean(id_)


@only_ark
async def test_a_process_that_died_before_it_kept_the_link_leaves_it_unknown(
    bench: Any, vendor: FakeVendor, arm: Any
) -> None:
    """It is paid for, and nobody has the link: told so, and not bought again."""
    arm("handle.before_commit:sleep=60")
    id_, _ = await bench.ask()
    await bench.until(lambda: "call" in vendor.asked)
    await asyncio.sleep(0.05)
    recovered = await bench.restart()
    assert (recovered.unknown, recovered.to_resume) == (1, ())
    assert len(vendor.bought) == 1
    await bench.is_clean(id_)


@only_replicate
async def test_trouble_on_the_way_costs_nothing_more(bench: Any, vendor: FakeVendor) -> None:
    """Whatever the questions met."""
    vendor.states += [404, BROKEN, "starting", 503, "processing", 429]
    id_, _ = await bench.ask()
    await one_image(bench, vendor, id_)


@only_replicate
@pytest.mark.parametrize(
    ("state", "begun", "kind", "charge"),
    [
        ("failed", True, FailureKind.SERVER_FAULT, Charge.UNKNOWN),
        ("canceled", True, FailureKind.UPSTREAM_TIMEOUT, Charge.YES),
    ],
)
async def test_an_end_without_an_image_is_booked_by_what_it_may_have_cost(
    bench: Any, vendor: FakeVendor, state: str, begun: bool, kind: FailureKind, charge: Charge
) -> None:
    """Told with it; nothing is bought again."""
    vendor.begun = begun
    vendor.states += [state]
    id_, caller = await bench.ask()
    await caller.ended()
    attempt = await attempt_of(bench, id_)
    assert (attempt.failed.kind, attempt.failed.charge) == (kind, charge)
    assert len(vendor.bought) == 1
    await bench.is_clean(id_)


@only_replicate
async def test_an_aborted_one_was_never_begun_and_is_bought_anew(bench: Any, vendor: FakeVendor) -> None:
    """Nothing was billed for the first."""
    vendor.begun = False
    vendor.states += ["aborted"]
    id_, _ = await bench.ask()
    await bench.until(lambda: len(vendor.asked) > 1)
    bench.clock.jump(10.0)
    await bench.quiet()
    record = await bench.record(id_)
    assert record.generation.state == "succeeded"
    first = record.attempts[0].failed
    assert first is not None
    assert (first.kind, first.charge) == (FailureKind.UPSTREAM_TIMEOUT, Charge.NO)
    assert await bench.taken(id_) == [("cost", USD)]
    await bench.is_clean(id_)


@only_replicate
async def test_one_that_waits_is_taken_back_for_nothing(bench: Any, vendor: FakeVendor) -> None:
    """A cancel while it has not been begun."""
    vendor.begun = False
    gate = vendor.hold("status")
    vendor.states += ["starting", "starting"]
    id_, caller = await bench.ask()
    await bench.until(lambda: "status" in vendor.asked)
    await bench.engine.cancel(id_)
    gate.set()
    await caller.ended()
    attempt = await attempt_of(bench, id_)
    assert "cancel" in vendor.asked
    assert (attempt.failed.kind, attempt.failed.charge) == (FailureKind.CANCELLED, Charge.NO)
    await bench.is_clean(id_)
