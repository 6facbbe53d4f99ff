"""`/admin/v1/overview` and `/upstreams`: what is going on at this moment, and how the last day went."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from holdfast import __version__
from holdfast.clock import rfc3339
from holdfast.engine.core import Core
from holdfast.engine.engine import Engine
from holdfast.engine.standing import upstreams_now
from holdfast.gateway.admin.framework import AdminCall, Served, Spec
from holdfast.gateway.admin.shown import generation_of, upstream_of
from holdfast.store.overview import EndsOfHour, Shown, first_view
from holdfast.wire import admin

LIVE_MAX = 50
RECENT_MAX = 20
HOURS = 24

GET_OVERVIEW = Spec(
    "GET",
    "/admin/v1/overview",
    "getOverview",
    "What is going on, and how the last 24 hours went",
    answer=admin.Overview,
)
LIST_UPSTREAMS = Spec(
    "GET",
    "/admin/v1/upstreams",
    "listUpstreams",
    "How upstreams and their keys stand; a key is named by its place in the settings",
    answer=admin.AdminUpstreams,
)
SPECS = (GET_OVERVIEW, LIST_UPSTREAMS)


class OverviewPage:
    """Serves them."""

    def __init__(self, core: Core, engine: Engine) -> None:
        self._core = core
        self._engine = engine

    def served(self) -> tuple[Served, ...]:
        """All endpoints."""
        return GET_OVERVIEW.by(self._overview), LIST_UPSTREAMS.by(self._upstreams)

    async def _overview(self, asked: AdminCall) -> admin.Overview:
        now = asked.now
        hours = hours_until(now)
        view = await asked.read(first_view, hours=hours, live_max=LIVE_MAX, recent_max=RECENT_MAX)
        return admin.Overview(
            at=rfc3339(now),
            version=__version__,
            currency=self._core.settings.money.currency,
            load=load_of(self._core, self._engine),
            day=_totals(hours[0], view.hours),
            hours=tuple(map(_hour, view.hours)),
            failures=tuple(
                admin.FailureCount(at=hours[0], kind=kind, count=count) for kind, count in view.kinds.items()
            ),
            uncollected=view.uncollected,
            exposure_micros=view.exposure_micros,
            live=tuple(map(self._shown, view.live)),
            recent=tuple(map(self._shown, view.recent)),
            upstreams=tuple(map(upstream_of, upstreams_now(self._core, self._engine.parts))),
        )

    async def _upstreams(self, asked: AdminCall) -> admin.AdminUpstreams:
        found = upstreams_now(self._core, self._engine.parts)
        return admin.AdminUpstreams(at=rfc3339(asked.now), data=tuple(map(upstream_of, found)))

    def _shown(self, shown: Shown) -> admin.AdminGeneration:
        core, id_ = self._core, shown.record.generation.id
        return generation_of(shown, latencies=core.latencies, now=core.clock.now(), in_line=self._engine.in_line(id_))


def hours_until(now: datetime) -> tuple[str, ...]:
    """Where each of the last hours begins, the one that goes on included, oldest first."""
    latest = now.replace(minute=0, second=0, microsecond=0)
    return tuple(rfc3339(latest - timedelta(hours=back)) for back in reversed(range(HOURS)))


def load_of(core: Core, engine: Engine) -> admin.OverviewLoad:
    """Say how full it is."""
    obstacle = engine.obstacle()
    return admin.OverviewLoad(
        open=engine.open_generations,
        queued=engine.parts.queue.waiting,
        waiting=len(core.watchers),
        held_max=core.settings.server.held_max,
        obstacle=None if obstacle is None else obstacle.value,
    )


def _hour(ends: EndsOfHour) -> admin.OutcomeHour:
    return admin.OutcomeHour(
        hour=ends.hour,
        succeeded=ends.succeeded,
        failed=ends.failed,
        cancelled=ends.cancelled,
        charged_micros=ends.charged_micros,
        compensated_micros=ends.compensated_micros,
    )


def _totals(since: str, hours: Iterable[EndsOfHour]) -> admin.OverviewTotals:
    every = tuple(hours)
    return admin.OverviewTotals(
        since=since,
        succeeded=sum(each.succeeded for each in every),
        failed=sum(each.failed for each in every),
        cancelled=sum(each.cancelled for each in every),
        charged_micros=sum(each.charged_micros for each in every),
        compensated_micros=sum(each.compensated_micros for each in every),
    )
