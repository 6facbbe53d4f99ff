"""Sends spans to a collector, over OpenTelemetry's protocol; what it needs is only there with the extra `otel`.

The SDK's own batch processor sends them from a thread of its own, off the loop, and drops what a collector that is away
does not take: at most 2,048 spans wait.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from holdfast.config import Traces
from holdfast.errors import ConfigError
from holdfast.log import emit, watched
from holdfast.telemetry.spans import Span, SpanKind, Telling

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor

EXPORT_S = 5.0
"""For one batch, connecting included; also the most that a shutdown waits for a collector."""

Take = Callable[[Span], None]


class Tracing:
    """Spans on their way."""

    def __init__(self, processor: SpanProcessor | None = None) -> None:
        self._processor = processor

    async def finish(self) -> None:
        """Send what is left; the loop goes on meanwhile."""
        if self._processor is not None:
            await asyncio.to_thread(self._processor.shutdown)


@contextmanager
def tracing(traces: Traces) -> Iterator[Tracing]:
    """Send spans while this is open, if the settings say where to.

    Raises:
        ConfigError: The extra is not installed.
    """
    if not traces.endpoint:
        yield Tracing()
        return
    with ExitStack() as stack:
        stack.enter_context(_told_of_failures())
        processor, resource = _sender(traces)
        # Where it was finished before, this does nothing.
        stack.callback(processor.shutdown)
        stack.enter_context(telling(traces.sample_share, to_processor(processor, resource)))
        yield Tracing(processor)


@contextmanager
def telling(sample_share: float, take: Take, *, now_ns: Callable[[], int] = time.time_ns) -> Iterator[None]:
    """Make spans of what happens while this is open, and hand each to `take`, on the loop's thread."""
    tells = Telling(sample_share)
    with ExitStack() as stack:
        for event in tells.EVENTS:
            stack.enter_context(watched(event, _listener(tells, event, take, now_ns)))
        yield


def _listener(tells: Telling, event: str, take: Take, now_ns: Callable[[], int]) -> Callable[[Mapping[str, Any]], None]:
    def listen(fields: Mapping[str, Any]) -> None:
        try:
            for span in tells.spans(event, fields, now_ns=now_ns()):
                take(span)
        except Exception as exc:  # noqa: BLE001 - the border of what is traced: no image is lost for a span
            emit("fault.internal", level="error", exc=exc)

    return listen


def _sender(traces: Traces) -> tuple[SpanProcessor, Resource]:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as exc:
        raise ConfigError(
            "traces.endpoint is set, and OpenTelemetry is not installed: pip install 'holdfast[otel]', or leave "
            "traces.endpoint away.",
            key="traces.endpoint",
        ) from exc
    resource = Resource.create({"service.name": traces.service_name, "service.version": version("holdfast")})
    exporter = OTLPSpanExporter(endpoint=traces.endpoint, timeout=EXPORT_S)
    processor = BatchSpanProcessor(exporter, export_timeout_millis=EXPORT_S * 1000)
    return processor, resource


def to_processor(processor: SpanProcessor, resource: Resource) -> Take:
    """Hand our spans to one of the SDK's processors, as its own."""
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags
    from opentelemetry.trace import SpanKind as Kind

    kinds = {SpanKind.SERVER: Kind.SERVER, SpanKind.CLIENT: Kind.CLIENT, SpanKind.INTERNAL: Kind.INTERNAL}
    scope = InstrumentationScope("holdfast", version("holdfast"))
    flags = TraceFlags(TraceFlags.SAMPLED)

    def take(span: Span) -> None:
        parent = None
        if span.parent_id is not None:
            parent = SpanContext(span.trace_id, span.parent_id, is_remote=span.is_parent_remote, trace_flags=flags)
        made = ReadableSpan(
            name=span.name,
            context=SpanContext(span.trace_id, span.span_id, is_remote=False, trace_flags=flags),
            parent=parent,
            resource=resource,
            attributes=dict(span.attributes),
            kind=kinds[span.kind],
            status=Status(StatusCode.UNSET) if span.error is None else Status(StatusCode.ERROR, span.error),
            start_time=span.start_ns,
            end_time=span.end_ns,
            instrumentation_scope=scope,
        )
        processor.on_end(made)

    return take


class _Failures(logging.Handler):
    """What OpenTelemetry has to say goes into our log as lines like all others."""

    def emit(self, record: logging.LogRecord) -> None:
        emit("traces.not_sent", level="warning", message=record.getMessage()[:200])


@contextmanager
def _told_of_failures() -> Iterator[None]:
    logger, handler = logging.getLogger("opentelemetry"), _Failures(logging.WARNING)
    before = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = before
