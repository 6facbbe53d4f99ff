"""Every endpoint of `/admin/v1`, for the OpenAPI document."""

from __future__ import annotations

from holdfast.gateway.admin import events, generations, keys, overview, reports, sessions, usage
from holdfast.gateway.admin.framework import Spec

SPECS: tuple[Spec, ...] = (
    *sessions.SPECS,
    *overview.SPECS,
    *generations.SPECS,
    *events.SPECS,
    *reports.SPECS,
    *keys.SPECS,
    *usage.SPECS,
)
