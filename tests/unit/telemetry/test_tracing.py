"""Spans on their way to a collector: as the SDK's own, from a thread of its own, and never in the way of an image."""

from __future__ import annotations

import builtins
import logging
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind as Kind
from opentelemetry.trace import StatusCode

from holdfast.config import Traces
from holdfast.errors import ConfigError
from holdfast.log import emit, watched
from holdfast.telemetry.spans import Span
from holdfast.telemetry.tracing import _told_of_failures, telling, to_processor, tracing

ID = "gen_01KB3M8QZV5N7XW2T4R6Y8A0CE"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ENDED = {
    "generation_id": ID,
    "key_id": "key_1",
    "model": "nano-banana-pro",
    "size": "4K",
    "state": "failed",
    "code": "content_refused",
    "elapsed_s": 12.0,
}


def test_without_an_address_nothing_listens_and_nothing_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenTelemetry is an extra: who does not use it does not have it."""
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        assert not name.startswith("opentelemetry")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with tracing(Traces()):
        emit("generation.finished", level="debug", **ENDED)


def test_an_address_without_the_extra_is_refused_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("opentelemetry"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with (
        pytest.raises(ConfigError, match=r"pip install 'holdfast\[otel\]'") as refused,
        tracing(Traces(endpoint="http://127.0.0.1:4318/v1/traces")),
    ):
        pass
    assert refused.value.key == "traces.endpoint"


def test_what_happens_while_it_listens_is_told() -> None:
    """And nothing after."""
    taken: list[Span] = []
    with telling(1.0, taken.append, now_ns=lambda: 10**18):
        emit("generation.finished", level="debug", **ENDED)
        emit("generation.accepted", level="debug", **ENDED)
    emit("generation.finished", level="debug", **ENDED)
    assert [(span.name, span.end_ns) for span in taken] == [("generate_image nano-banana-pro", 10**18)]


def test_a_span_that_cannot_be_made_is_a_fault_and_costs_nothing_else() -> None:
    """Whoever told the event goes on."""
    faults: list[object] = []

    def broken(_: Span) -> None:
        raise RuntimeError("no room")

    with watched("fault.internal", faults.append), telling(1.0, broken):
        emit("generation.finished", level="debug", **ENDED)
        emit("generation.finished", level="debug", generation_id="no id of ours")
    assert len(faults) == 2


def test_a_span_becomes_the_sdk_s_own() -> None:
    """Ids, parent, kind, times, attributes, status and resource arrive as they are."""
    exporter = InMemorySpanExporter()
    take = to_processor(SimpleSpanProcessor(exporter), Resource({"service.name": "images"}))
    with telling(1.0, take, now_ns=lambda: 20 * 10**9):
        emit("generation.finished", level="debug", **ENDED, traceparent=PARENT)
    (span,) = exporter.get_finished_spans()
    assert span.context is not None
    assert span.parent is not None
    assert f"{span.context.trace_id:032x}" == PARENT[3:35]
    assert f"{span.parent.span_id:016x}" == PARENT[36:52]
    assert span.parent.is_remote
    assert span.kind is Kind.SERVER
    assert (span.start_time, span.end_time) == (8 * 10**9, 20 * 10**9)
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "content_refused"
    assert span.attributes is not None
    assert span.attributes["gen_ai.operation.name"] == "generate_image"
    assert span.resource.attributes["service.name"] == "images"
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == "holdfast"


def test_what_opentelemetry_complains_of_is_a_line_of_our_log() -> None:
    """Short, and nowhere else; afterwards its logger is as it was."""
    said: list[Any] = []
    logger = logging.getLogger("opentelemetry")
    before = (logger.propagate, list(logger.handlers))
    with watched("traces.not_sent", said.append), _told_of_failures():
        logging.getLogger("opentelemetry.exporter").error("Failed to export %s", "x" * 1000)
    assert len(said) == 1
    assert said[0]["message"].startswith("Failed to export xxx")
    assert len(said[0]["message"]) == 200
    assert (logger.propagate, list(logger.handlers)) == before
