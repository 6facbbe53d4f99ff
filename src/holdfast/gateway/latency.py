"""`GET /v1/latency`: what this gateway has learnt of its upstreams, for whoever holds a key."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from math import ceil, floor, log10

from holdfast.clock import Clock, rfc3339
from holdfast.engine.latencies import HOUR_S, Latencies, View
from holdfast.gateway.app import Endpoint, endpoint
from holdfast.gateway.asked import Routes
from holdfast.gateway.auth import Authenticator
from holdfast.gateway.call import Call
from holdfast.policy.latency import Latency, prior
from holdfast.policy.learning import Expectation, Learned
from holdfast.policy.sketch import Sketch
from holdfast.types import Surface, Tier
from holdfast.wire.latency import (
    LatencyHour,
    LatencyQuery,
    LatencyReport,
    LatencyRow,
    LatencyShare,
    decode_latency_query,
    render_latency,
)

STEPS_PER_DECADE = 20
"""Of a distribution: each step is 12 % wide, and the usual spread has about twenty of them."""
TAIL = 0.005
"""Left out at either end of a distribution."""


class LatencyPage:
    """Serves the report."""

    def __init__(self, *, auth: Authenticator, latencies: Latencies, routes: Routes, clock: Clock) -> None:
        self._auth = auth
        self._latencies = latencies
        self._routes = routes
        self._clock = clock

    def endpoints(self) -> list[Endpoint]:
        """Everything that is served."""
        return [endpoint("GET", "/v1/latency", Surface.GENERATIONS, self._get)]

    async def _get(self, call: Call, _: dict[str, str]) -> None:
        await self._auth.authenticate(call)
        query = decode_latency_query(call.query)
        models = [route.model for route in self._routes.all]
        if query.model is not None:
            models = [self._routes.model_of(query.model)]
        rows: list[LatencyRow] = []
        hours: list[LatencyHour] = []
        for model, tier in places(models, query):
            rows += rows_of(self._latencies, model, tier, query)
            hours += hours_of(self._latencies, model, tier) if query.detail else ()
            # Each takes milliseconds where a week is full; whoever is held gets his beats in between.
            await asyncio.sleep(0)
        await call.json(200, render_latency(report_of(self._latencies, self._clock.now(), rows, hours)))


def whole_report(latencies: Latencies, at: datetime, models: Sequence[str], query: LatencyQuery) -> LatencyReport:
    """Make the report at one go, for whoever has nobody else waiting."""
    chosen = list(places(models, query))
    rows = [row for model, tier in chosen for row in rows_of(latencies, model, tier, query)]
    hours = [hour for model, tier in chosen for hour in hours_of(latencies, model, tier)] if query.detail else []
    return report_of(latencies, at, rows, hours)


def report_of(
    latencies: Latencies, at: datetime, rows: Sequence[LatencyRow], hours: Sequence[LatencyHour]
) -> LatencyReport:
    """Put a report together."""
    return LatencyReport(at=rfc3339(at), prior_weight=latencies.prior_weight, data=tuple(rows), hours=tuple(hours))


def places(models: Sequence[str], query: LatencyQuery) -> Iterator[tuple[str, Tier]]:
    """Name what is asked for, model by model, small sizes first."""
    for model in models:
        for tier in Tier:
            if query.size in (None, tier):
                yield model, tier


def rows_of(latencies: Latencies, model: str, tier: Tier, query: LatencyQuery) -> list[LatencyRow]:
    """Tell of a model and size: all upstreams together, then each, through the windows asked for."""
    return [
        _row(view, model, tier, detail=query.detail)
        for view in latencies.views(model, tier)
        if query.window in (None, view.heard.window)
    ]


def _row(view: View, model: str, tier: Tier, *, detail: bool) -> LatencyRow:
    expected = view.expected
    return LatencyRow(
        model=model,
        size=tier.value,
        upstream=view.upstream,
        window=view.heard.window.value,
        is_used=view.is_used,
        count=round(view.heard.total),
        timed_out=round(view.heard.timed_out),
        p50_s=round(expected.expected_s, 3),
        p95_s=round(expected.p95_s, 3),
        p99_s=round(expected.p99_s, 3),
        prior_share=round(expected.prior_share, 4) if isinstance(expected, Learned) else 1.0,
        updated_at=None if view.updated_s is None else rfc3339(datetime.fromtimestamp(view.updated_s, UTC)),
        distribution=tuple(shares_of(expected)) if detail else (),
    )


def shares_of(expected: Expectation) -> Iterator[LatencyShare]:
    """Cut a distribution into steps of equal width on the logarithm, its utmost ends left out."""
    first = floor(STEPS_PER_DECADE * log10(expected.quantile(TAIL)))
    last = ceil(STEPS_PER_DECADE * log10(expected.quantile(1.0 - TAIL)))
    before = expected.fraction_done(10 ** (first / STEPS_PER_DECADE))
    for step in range(first + 1, last + 1):
        until_s = 10 ** (step / STEPS_PER_DECADE)
        done = expected.fraction_done(until_s)
        yield LatencyShare(until_s=round(until_s, 4), share=round(done - before, 5))
        before = done


def hours_of(latencies: Latencies, model: str, tier: Tier) -> list[LatencyHour]:
    """Tell of a model and size by hours, from samples alone."""
    return [_hour(model, tier, hour, sketch) for hour, sketch in latencies.hours(model, tier)]


def _hour(model: str, tier: Tier, hour: int, sketch: Sketch) -> LatencyHour:
    nothing: Latency = prior(tier)
    measured = Learned(prior=nothing, prior_weight=0.0, counts=sketch.counts)
    return LatencyHour(
        model=model,
        size=tier.value,
        hour=rfc3339(datetime.fromtimestamp(hour * HOUR_S, UTC)),
        count=sketch.total,
        timed_out=sketch.timed_out,
        p50_s=round(measured.expected_s, 3),
        p95_s=round(measured.p95_s, 3),
        p99_s=round(measured.p99_s, 3),
    )
