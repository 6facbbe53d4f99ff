"""What an upstream is told of the trace that a call belongs to: nothing, unless the operator says it is his own."""

from __future__ import annotations

from dataclasses import replace

from holdfast.engine.core import Core, Live
from holdfast.engine.course import Target
from holdfast.providers.http import HttpRequest
from holdfast.store.records import NewAttempt
from holdfast.wire.trace_context import traceparent_onwards


def traced(core: Core, live: Live, new: NewAttempt, target: Target, request: HttpRequest) -> HttpRequest:
    """Give a request with `traceparent`, where its upstream is to be told (`upstreams.traces`)."""
    if not target.upstream.traces:
        return request
    traces = core.settings.traces
    header = traceparent_onwards(
        live.id, new.id, live.traceparent, is_told=bool(traces.endpoint), sample_share=traces.sample_share
    )
    return request if header is None else replace(request, headers=(*request.headers, ("traceparent", header)))
