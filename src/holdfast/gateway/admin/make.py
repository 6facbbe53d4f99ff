"""Puts `/admin/v1` together."""

from __future__ import annotations

from holdfast.engine.core import Core
from holdfast.engine.engine import Engine
from holdfast.gateway.admin.events import EventsPage
from holdfast.gateway.admin.framework import AdminApi, Page
from holdfast.gateway.admin.gate import Gate
from holdfast.gateway.admin.generations import GenerationsPage
from holdfast.gateway.admin.keys import Keys
from holdfast.gateway.admin.overview import OverviewPage
from holdfast.gateway.admin.prices import PricesPage
from holdfast.gateway.admin.reports import ReportsPage
from holdfast.gateway.admin.sessions import Sessions
from holdfast.gateway.admin.thumbnails import ThumbnailsPage
from holdfast.gateway.admin.usage import UsagePage
from holdfast.gateway.asked import Routes
from holdfast.gateway.auth import Authenticator
from holdfast.gateway.generations import Generations
from holdfast.gateway.keys import KeyDesk
from holdfast.gateway.links import LinkMaker


def admin_api(
    core: Core,
    engine: Engine,
    *,
    auth: Authenticator,
    secret: bytes,
    links: LinkMaker,
    routes: Routes,
    generations: Generations,
) -> AdminApi:
    """Make all of it, and let `auth` know of sessions."""
    server = core.settings.server
    sessions = Sessions(
        store=core.store, secret=secret, clock=core.clock, trusted=links.trusted, public_url=server.public_url
    )
    auth.sessions = sessions
    events = EventsPage(core, engine)
    pages: list[Page] = [
        sessions,
        OverviewPage(core, engine),
        GenerationsPage(core, engine, routes, generations),
        ThumbnailsPage(core, engine),
        events,
        ReportsPage(core, routes),
        Keys(KeyDesk(core.clock, secret), auth.forget),
        UsagePage(core),
        PricesPage(core),
    ]
    gate = Gate(auth=auth, trusted=links.trusted, anywhere=server.admin_anywhere)
    return AdminApi(gate=gate, store=core.store, clock=core.clock, pages=pages, release=events.release)
