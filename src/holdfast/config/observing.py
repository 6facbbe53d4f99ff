"""Whom a gateway tells what it does, besides its log: as settings."""

# ruff: noqa: RUF009 - `key` gives a dataclass field, not a shared value.

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from holdfast.config.keys import key
from holdfast.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """Spans of each generation, over OpenTelemetry's protocol; needs the extra `otel`."""

    endpoint: str = key(
        "",
        "Where spans are sent, OTLP over HTTP: `http://127.0.0.1:4318/v1/traces`; empty: nowhere. Headers that it asks "
        "for stand in the environment, as `OTEL_EXPORTER_OTLP_HEADERS`",
        source="who has no collector has no use for them",
    )
    sample_share: float = key(
        1.0,
        "Of how many generations spans are sent, where the caller's own trace does not say it; chosen by the trace's "
        "id, so that every process chooses the same",
        source="an image takes minutes and a trace five spans: nobody has too many of them",
        at_least=0.0,
        at_most=1.0,
    )
    service_name: str = key(
        "holdfast", "Under which name they are shown", source="several gateways may send to one collector"
    )


class MetricsOpen(StrEnum):
    """Who reads `/metrics` without a key."""

    HERE = "here"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """`GET /metrics`, for Prometheus."""

    open: MetricsOpen = key(
        MetricsOpen.HERE,
        "Who reads it without a key: `here`: whoever connects from this machine, and shows no sign of a proxy that "
        "speaks for others; `nobody`: an admin key is always needed",
        source="a Prometheus beside the gateway has no key; a proxy beside it that hides whom it speaks for needs "
        "`nobody`",
    )


def check_traces(traces: Traces) -> None:
    """See that spans can be sent where they are to go.

    Raises:
        ConfigError: That is no address, or nothing would be named.
    """
    if traces.endpoint:
        try:
            parts = urlsplit(traces.endpoint)
            is_whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_whole = False
        if not is_whole or parts.username is not None:
            raise ConfigError(
                "traces.endpoint is no address of a collector: write it whole, as http://127.0.0.1:4318/v1/traces, "
                "without user or password (they go into OTEL_EXPORTER_OTLP_HEADERS).",
                key="traces.endpoint",
            )
    if not traces.service_name.strip():
        raise ConfigError(
            'traces.service_name is empty: name the gateway, or leave it away for "holdfast".',
            key="traces.service_name",
        )
