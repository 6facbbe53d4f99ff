"""One seed: a machine, its gateway in several lives, upstreams, callers, faults; and what is left at rest."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from holdfast import faults
from holdfast.clock import rfc3339
from holdfast.config import Settings, upstream_keys
from holdfast.engine.course import Target, targets_of
from holdfast.types import InputImage
from simulation.answers import digest, picture
from simulation.callers import Caller
from simulation.checker import Limits, Violation, check
from simulation.clock import SimClock
from simulation.disk import Disk
from simulation.history import Event, Fault, History, Lived, Orphaned
from simulation.incidents import Incidents
from simulation.loop import SeededLoop, Stalled, call_later_as
from simulation.observer import Observer, captured
from simulation.plan import ARRIVALS_S, plan_for
from simulation.points import Points
from simulation.process import Process
from simulation.receiver import Receiver
from simulation.rest import end_of
from simulation.routes import (
    AFTER_COLLECT_S,
    AFTER_FINISH_S,
    MODELS,
    PURCHASES_MAX,
    RETENTION_S,
    is_routed,
    lone,
    routed,
)
from simulation.upstream import Upstreams

CALLERS = 28
GENERATIONS = 31
"""Reached in each seed: where too many joined or came in vain, more come."""
KINDS = ("plain", "plain", "keyed", "keyed", "sdk", "leaver", "leaver", "canceller", "poller", "budget", "follower")
RECONFIGURED_S = 30.0
ROUTED_SHARE = 0.4
"""Of seeds whose models have several upstreams, each with two keys, and a second purchase after an unknown outcome."""
HEDGED_SHARE = 0.5
"""Of those, seeds in which a slow call may have a second one beside it."""
WAIT_S = 1200.0
"""For callers to be done, after the last has come."""
REST_S = 700.0
"""For attempts that nobody waits for any more: longer than the longest."""
IDLE_S = 3000
"""Until everything that was begun must have ended: attempts at a model that is known to be slow, and what follows."""
LIMITS = Limits(retention_s_max=RETENTION_S, keep_after_finish_s=AFTER_FINISH_S, keep_after_collect_s=AFTER_COLLECT_S)


def targets(of: Settings) -> dict[str, tuple[Target, ...]]:
    """Where each model's attempts go."""
    return targets_of(of, upstream_keys(of, {}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a seed."""

    seed: int
    violations: tuple[Violation, ...]
    history: History
    fired: Counter[str]
    passed: Counter[str]
    faults: Counter[str]
    generations: int
    lives: int
    virtual_s: float


class World:
    """See the module's docstring; `run` is all of it."""

    def __init__(self, seed: int, folder: Path, make_disk: Callable[..., Disk] = Disk) -> None:
        rng = random.Random(seed)
        self.seed = seed
        self.history = History()
        self.faults: Counter[str] = Counter()
        self.loop = SeededLoop(random.Random(rng.random()))
        self.clock = SimClock(self.loop, random.Random(rng.random()))
        self.rng_net = random.Random(rng.random())
        self.rng = random.Random(rng.random())
        self.disk = make_disk(folder, random.Random(rng.random()), self.fault)
        self.upstreams = Upstreams(self, random.Random(rng.random()))
        self.receiver = Receiver(self, random.Random(rng.random()))
        self.secret = rng.randbytes(32)
        self._sent_along: dict[str, bytes] = {}
        """Reference images, by where they are put."""
        self.endpoints: dict[str, str] = {}
        """URL -> endpoint's id."""
        self.plan = plan_for(seed, random.Random(rng.random()))
        self.settings = self._settings()
        self.targets = targets(self.settings)
        if self.plan.wants & {"retry", "enter"}:
            self.upstreams.busy_share = 0.7 if "enter" in self.plan.wants else 0.5
        if "second" in self.plan.wants:
            self.upstreams.slow_share = 0.6
        self.points = Points(self, self.plan.at_points)
        self.observer = Observer(self)
        self.observe = self.observer.committed
        self.inputs_share = 0.1
        self.process: Process | None = None
        self.lives = 0
        self.models = MODELS
        self.is_healed = False
        self._numbers = 0
        self._down = asyncio.Event()
        self._callers: list[asyncio.Task[None]] = []

    # For everybody

    def fault(self, name: str, detail: str = "") -> None:
        """Note that a fault was made to happen."""
        self.faults[name] += 1
        self.history.add(Fault(at=self.loop.time(), name=name, detail=detail))

    def next_number(self) -> int:
        """Number a connection."""
        self._numbers += 1
        return self._numbers

    def up(self) -> Process | None:
        """The gateway, if it answers."""
        process = self.process
        return process if process is not None and process.is_ready else None

    def unix_s(self, text: str) -> float:
        """Read a time of a record."""
        return datetime.fromisoformat(text).timestamp()

    def gone(self, number: int) -> None:
        """A POST's handler has ended."""
        self.observer.gone(number)

    def events_of(self, id_: str) -> list[tuple[int, str]]:
        """The log of a generation, as committed."""
        rows = self.disk.conn.execute(
            "SELECT sequence_number, type FROM event WHERE generation_id = ? ORDER BY sequence_number", (id_,)
        )
        return [(row[0], row[1]) for row in rows]

    def an_input(self, rng: random.Random) -> InputImage:
        """Put a reference image where request bodies leave theirs; a few are everybody's."""
        many = 60 if "sweeper" in self.plan.wants else 3
        data = picture(random.Random(f"{self.seed}/{rng.randrange(many)}"))
        key = f"inputs/{digest(data)}"
        self._sent_along[key] = data
        return InputImage(sha256=digest(data), mime="image/png", bytes=len(data), store_key=key)

    def put_inputs(self, inputs: tuple[InputImage, ...]) -> None:
        """Store what comes along with a request, anew with each: so does whoever reads bodies."""
        for each in inputs:
            path = self.disk.root / each.store_key
            path.write_bytes(self._sent_along[each.store_key])
            os.utime(path, (self.clock.wall_s(), self.clock.wall_s()))

    async def near_end(self, id_: str, rng: random.Random) -> None:
        """Wait until the upstream's answer to a generation is about to arrive, or has just arrived."""
        await asyncio.sleep(1.0)
        ends = [call.ends_at for call in self.upstreams.calls if call.generation_id == id_]
        if ends:
            await asyncio.sleep(max(0.0, max(ends) + rng.uniform(-0.1, 0.6) - self.loop.time()))

    def missing(self, record: Any) -> None:
        """A file that was to be sent is gone; the rows say whether it may be."""
        self.history.add(Event(at=self.loop.time()))

    # Lives

    def kill(self) -> None:
        """End the process at once, as `kill -9` does."""
        process = self.process
        assert process is not None
        self.process = None
        self.loop.end_life(process.life)
        self.disk.crash()
        self.disk.stamp(self.clock.wall_s())
        self.observer.died()
        self.history.add(Lived(at=self.loop.time(), life=process.life, what="killed"))
        for wire in list(process.wires):
            wire.break_off()
        call_later_as(0, 0.0, self._down.set)

    async def _supervise(self) -> None:
        """Start the gateway again whenever it is down."""
        while True:
            self._boot()
            self._down.clear()
            await self._down.wait()
            pause_s = self.rng.choice((0.5, 3.0, 10.0, 10.0, 90.0)) if not self.is_healed else 1.0
            if self.points.next_name == "recovery.after_deadline" and self.points.due() is not None:
                pause_s = 330.0
            await asyncio.sleep(pause_s)

    def _boot(self) -> None:
        self.lives += 1
        self.models = self._models()
        self.process = Process(self, self.lives, self.models)
        self.history.add(Lived(at=self.loop.time(), life=self.lives, what="began"))
        self.loop.begin(self.lives, self._start(self.process), f"start:{self.lives}")
        if not self.models:
            # Somebody finds out, and puts the settings right.
            self.loop.call_later(RECONFIGURED_S, self._fell, self.process)

    def _settings(self) -> Settings:
        """Some seeds have lines before their upstreams, and some try nothing again, so that repeats drive anew."""
        wants = self.plan.wants
        sends_max = 1 if "enter" in wants or self.rng.random() < 0.2 else 12
        # What has failed for nothing is driven again by a repeat; where others stand by, little fails so, and no line
        # grows long.
        is_routed = self.rng.random() < ROUTED_SHARE or "second" in wants
        make = routed if is_routed and not wants & {"enter", "unwatched"} else lone
        if "unwatched" in wants:
            return make(concurrency=1, sends_max=sends_max, unwatched_s=20.0)
        concurrency = self.rng.choice((0, 0, 0, 1, 2))
        if make is lone:
            return lone(concurrency=concurrency, sends_max=sends_max)
        if "second" in wants:
            return routed(hedges=True)
        return routed(concurrency=concurrency, sends_max=sends_max, hedges=self.rng.random() < HEDGED_SHARE)

    def _models(self) -> tuple[str, ...]:
        # A route that is gone after a restart leaves generations that nobody can drive.
        if self.points.next_name == "recovery.after_giving_up" and self.points.due() is not None:
            return ()
        return MODELS

    async def _start(self, process: Process) -> None:
        try:
            await process.start()
        except Exception as exc:  # noqa: BLE001 - a start that fails ends the process; its supervisor tries again
            self.fault("start failed", type(exc).__name__)
            call_later_as(0, 0.0, self._fell, process)
        else:
            self.history.add(Lived(at=self.loop.time(), life=process.life, what="ready"))

    def _fell(self, process: Process) -> None:
        if self.process is process:
            self.kill()

    async def stop(self, grace_s: float) -> None:
        """Drain the gateway and let it end, as SIGTERM does."""
        process = self.up()
        if process is None:
            return
        stopping = self.loop.begin(process.life, process.stop(grace_s), f"stop:{process.life}")
        while not stopping.done() and self.process is process:
            await asyncio.sleep(0.25)
        if self.process is process:
            self.process = None
            self.loop.end_life(process.life)
            self.observer.died()
            self.disk.stamp(self.clock.wall_s())
            self.history.add(Lived(at=self.loop.time(), life=process.life, what="stopped"))
            for wire in list(process.wires):
                wire.break_off()
            self._down.set()

    # The hour

    def run(self) -> Outcome:
        """Live through it, and judge."""
        stalled: list[Violation] = []
        with ExitStack() as stack:
            stack.enter_context(faults.ruled(self.points))
            stack.enter_context(self.disk.fsync())
            stack.enter_context(captured(self))
            stack.callback(self._close)
            self.loop.set_exception_handler(self.observer.unhandled)
            try:
                end = self.loop.run_until_complete(self._hour())
            except Stalled as exc:
                stalled.append(Violation(invariant="I1", message=f"no end of it: {exc}"))
                end = end_of(self)
            limits = replace(LIMITS, purchases_max=PURCHASES_MAX if is_routed(self.settings) else 1)
            violations = (*stalled, *check(self.history, end, limits))
        return Outcome(
            seed=self.seed,
            violations=violations,
            history=self.history,
            fired=self.points.fired,
            passed=self.points.passed,
            faults=self.faults,
            generations=len(end.generations),
            lives=self.lives,
            virtual_s=self.loop.time(),
        )

    def _close(self) -> None:
        self.history.is_closed = True
        self.loop.bury()
        for sink in self.upstreams.sinks:
            # As the kernel closes the files of a process that died.
            sink.rest()
        self.loop.close()
        self.disk.conn.close()

    async def _hour(self) -> Any:
        self._prepare()
        supervisor = self.loop.create_task(self._supervise())
        incidents = self.loop.create_task(Incidents(self).run())
        stamping = self.loop.create_task(self._stamp())
        kinds = [*KINDS, *(self.rng.choice(KINDS) for _ in range(CALLERS - len(KINDS)))]
        kinds += ["canceller"] * 10 if "cancel" in self.plan.wants else []
        kinds += ["leaver"] * 30 if "unwatched" in self.plan.wants else []
        kinds += ["plain"] * 35 if "second" in self.plan.wants else []
        kinds += ["keyed"] * 20 if "enter" in self.plan.wants else []
        kinds += ["budget"] * 10 if "ending" in self.plan.wants else []
        for number, kind in enumerate(kinds):
            self.come(f"{kind}-{number}", kind, self.rng.uniform(0.0, ARRIVALS_S))
        await asyncio.sleep(ARRIVALS_S * 0.85)
        await self._top_up()
        await asyncio.sleep(ARRIVALS_S * 0.15)
        await incidents
        self._heal()
        await self._top_up()
        await asyncio.wait(self._callers, timeout=WAIT_S)
        await self._top_up()
        await asyncio.wait(self._callers, timeout=WAIT_S)
        await self._until_up()
        await self._until_idle()
        self._look_for_orphans()
        await self.stop(REST_S)
        await self._until_up()
        await asyncio.sleep(60.0)
        await self._until_idle()
        stamping.cancel()
        supervisor.cancel()
        return end_of(self)

    def _look_for_orphans(self) -> None:
        """Note what is open though its process, which works, has nothing in hand: only the next start would end it."""
        rows = self.disk.conn.execute(
            "SELECT id, state FROM generation WHERE state IN ('queued', 'running') ORDER BY id"
        )
        for row in rows:
            orphan = Orphaned(at=self.loop.time(), generation_id=row["id"], state=row["state"])
            self.history.add(orphan)

    def come(self, name: str, kind: str, after_s: float, act: Callable[[Caller], Any] | None = None) -> None:
        """Let a caller come."""
        caller = Caller(self, name, kind, random.Random(f"{self.seed}/{name}"))

        async def live() -> None:
            await asyncio.sleep(after_s)
            await (act(caller) if act is not None else caller.live())

        self._callers.append(self.loop.create_task(live()))

    async def _top_up(self) -> None:
        (count,) = self.disk.conn.execute("SELECT count(*) FROM generation").fetchone()
        for _ in range(GENERATIONS - count):
            self.come(f"late-{self.next_number()}", "plain", self.rng.uniform(0.0, ARRIVALS_S * 0.1), Caller.buy)

    def _prepare(self) -> None:
        """Put what was there before: receivers of webhooks, and what an earlier crash left."""
        conn, at = self.disk.conn, rfc3339(self.clock.now())
        if "webhook" in self.plan.wants or self.rng.random() < 0.4:
            id_, url = self.clock.new_id("whk"), "https://receiver.test/hook"
            self.endpoints[url] = id_
            conn.execute(
                "INSERT INTO webhook_endpoint (id, key_id, url, secret_number, created_at)"
                " VALUES (?, 'key_A', ?, 1, ?)",
                (id_, url, at),
            )
        if "sweeper" in self.plan.wants:
            self.inputs_share = 0.5
            old = self.clock.wall_s() - 3 * 86400.0
            for name in (f"spool/{self.clock.new_id('att')}-0.done", f"inputs/{hashlib.sha256(b'old').hexdigest()}"):
                self.disk.leave(name, old)

    async def _stamp(self) -> None:
        while True:
            await asyncio.sleep(120.0)
            self.disk.stamp(self.clock.wall_s())

    def _heal(self) -> None:
        """From now on everything works: what is wrong now stays wrong."""
        self.is_healed = self.points.is_healed = self.receiver.is_healed = True
        self.disk.heal()
        self.upstreams.fault_share = 0.0

    async def _until_up(self) -> None:
        while self.up() is None:
            await asyncio.sleep(0.5)

    async def _until_idle(self) -> None:
        # A call that a slow upstream has had since shortly before this is awaited for as long as it may take.
        for _ in range(IDLE_S):
            process = self.process
            if process is not None and process.is_ready and not process.in_hand:
                return
            await asyncio.sleep(1.0)


def run_seed(seed: int, root: Path, make_disk: Callable[..., Disk] = Disk) -> Outcome:
    """Run one seed in a folder of its own below `root`, which is gone afterwards."""
    folder = root / f"seed-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        return World(seed, folder, make_disk).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
