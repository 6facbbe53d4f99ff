"""Every endpoint of `/admin/v1`, for the OpenAPI document."""

from __future__ import annotations

from holdfast.gateway.admin import events, generations, keys, overview, prices, reports, sessions, thumbnails, usage
from holdfast.gateway.admin.framework import Spec

SPECS: tuple[Spec, ...] = (
    *sessions.SPECS,
    *overview.SPECS,
    *generations.SPECS,
    *thumbnails.SPECS,
    *events.SPECS,
    *reports.SPECS,
    *keys.SPECS,
    *usage.SPECS,
    *prices.SPECS,
)
