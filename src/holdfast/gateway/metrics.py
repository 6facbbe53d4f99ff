"""`GET /metrics`, for Prometheus: open to this machine, to anybody else with an admin key."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client import disable_created_metrics as leave_out_created
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from holdfast.config.observing import MetricsOpen
from holdfast.engine.core import Core
from holdfast.engine.engine import Engine
from holdfast.engine.renewal import by_name
from holdfast.errors import StorageError
from holdfast.gateway.admin.gate import Gate, has_local_name, is_here, is_loopback
from holdfast.gateway.app import App, Endpoint, endpoint
from holdfast.gateway.auth import Authenticator, Networks
from holdfast.gateway.beats import BeatWheel
from holdfast.gateway.call import Call
from holdfast.log import emit
from holdfast.store.balances import balances_of_the_house
from holdfast.telemetry import catalog
from holdfast.telemetry.counting import Counts
from holdfast.telemetry.lag import LoopLag
from holdfast.telemetry.standing import Snapshot, Stands, UpstreamStands
from holdfast.transport.aio import AioTransport
from holdfast.types import Surface


class MetricsPage:
    """Counts while it is open, and shows what was counted."""

    def __init__(
        self,
        core: Core,
        engine: Engine,
        *,
        auth: Authenticator,
        wheel: BeatWheel,
        disk: Callable[[], int],
        trusted: Networks,
    ) -> None:
        """Show what these know.

        Args:
            core: The engine's dependencies.
            engine: What it drives.
            auth: Knows admin keys.
            wheel: Whose beats are counted.
            disk: Says how many bytes the data folder's disk has free.
            trusted: Proxies whose word for their caller's address counts.
        """
        self._gate = Gate(auth=auth, trusted=trusted, anywhere=core.settings.server.admin_anywhere)
        self._core = core
        self._engine = engine
        self._wheel = wheel
        self._disk = disk
        self._registry = CollectorRegistry()
        # When a series began is one more series each, and tells what `process_start_time_seconds` does.
        leave_out_created()  # type: ignore[no-untyped-call]
        self._counts = Counts(self._registry)
        self._snapshot = Snapshot()
        self._registry.register(self._snapshot)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)
        self._app: App | None = None
        self._is_warned = False

    def endpoints(self) -> list[Endpoint]:
        """Everything that is served."""
        return [endpoint("GET", "/metrics", Surface.GENERATIONS, self._get)]

    @contextmanager
    def watching(self, app: App) -> Iterator[None]:
        """Count while this is open; `app` knows how many requests it answers, and is made of pages, this one among
        them.
        """
        self._app = app
        lag = LoopLag(asyncio.get_running_loop(), lambda late_s: self._counts.observe(catalog.LAG, late_s))
        with self._counts.counting():
            lag.start()
            try:
                yield
            finally:
                lag.stop()

    async def _get(self, call: Call, _: dict[str, str]) -> None:
        if self._core.settings.metrics.open is MetricsOpen.NOBODY or not self._is_open_to(call):
            await self._gate.admit(call)
        self._snapshot.stands = await self._stands()
        encode, content_type = _encoder(call.headers.get("accept", ""))
        headers = ((b"cache-control", b"no-store"),)
        await call.respond(200, encode(self._registry), content_type.encode(), headers)

    def _is_open_to(self, call: Call) -> bool:
        """Whether a call comes from this machine alone; what comes through a proxy that hides it is told of once."""
        is_open = is_here(call) and has_local_name(call)
        if not is_open and not self._is_warned and is_loopback(call.client):
            self._is_warned = True
            emit(
                "metrics.through_a_proxy",
                level="warning",
                host=call.headers.get("host", "")[:200],
                message="/metrics was asked for through a proxy on this machine. Have the proxy send X-Forwarded-For, "
                'refuse /metrics there, or set metrics.open = "nobody".',
            )
        return is_open

    async def _stands(self) -> Stands:
        core, engine = self._core, self._engine
        transport = core.transport
        held = (transport.bytes_held, transport.bytes_held_max) if isinstance(transport, AioTransport) else (0, 0)
        return Stands(
            now=core.clock.monotonic(),
            version=version("holdfast"),
            currency=core.settings.money.currency,
            is_draining=engine.is_draining,
            is_ready=engine.obstacle() is None,
            open=engine.open_generations,
            waiting=len(core.watchers),
            requests=self._app.in_progress if self._app is not None else 0,
            beats=self._wheel.ticks,
            bytes_held=held[0],
            bytes_held_max=held[1],
            disk_free_bytes=self._disk(),
            upstreams=tuple(self._upstreams()),
            balances=await self._balances(),
        )

    def _upstreams(self) -> Iterator[UpstreamStands]:
        queue, standings = self._engine.parts.queue, self._engine.parts.upstreams.standings
        for name in sorted(by_name(self._core.targets)):
            yield UpstreamStands(
                name=name,
                waiting=queue.line(name).waiting,
                places_free=queue.free(name),
                ready_at=standings.ready[name],
                keys=standings.of(name).keys,
            )

    async def _balances(self) -> dict[str, int]:
        try:
            return await self._core.store.read(balances_of_the_house)
        except (StorageError, OSError) as exc:
            # Everything else is worth showing, then above all.
            emit("storage.failed", level="error", message=str(exc))
            return {}


def _encoder(accept: str) -> tuple[Callable[[Collector], bytes], str]:
    """Choose the format that is asked for; the plain one where the library cannot read what is."""
    try:
        return choose_encoder(accept)
    except (TypeError, ValueError):
        # It compares versions as numbers, also those that are none.
        return choose_encoder("")
