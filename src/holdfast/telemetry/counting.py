"""Counts what happens: each event of the log moves some numbers, whether or not a line is written of it.

The six events of a call cost 26 microseconds together (measured): what belongs to labels is looked up once, then kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram

from holdfast.log import emit, watched
from holdfast.telemetry import catalog
from holdfast.telemetry.catalog import Kind, Metric
from holdfast.telemetry.departures import Departures

Fields = Mapping[str, Any]


class Counts:
    """Everything of the catalog that is counted, in a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._families: dict[str, Any] = {}
        for metric in catalog.CATALOG:
            if metric is not catalog.BEATS and metric.kind is not Kind.GAUGE:
                self._families[metric.name] = _family(metric, registry)
        self._children: dict[tuple[object, ...], Any] = {}
        self._departures = Departures()
        faults = self._families[catalog.FAULTS.name]
        self._rules: dict[str, Callable[[Fields], None]] = {
            "generation.accepted": self._accepted,
            "generation.joined": lambda _: self._add(catalog.REPEATS, "joined"),
            "generation.replayed": lambda _: self._add(catalog.REPEATS, "replayed"),
            "generation.finished": self._finished,
            "attempt.sent": self._sent,
            "attempt.settled": lambda fields: self._attempted("settled", fields),
            "attempt.failed": lambda fields: self._attempted("failed", fields),
            "attempt.unknown": lambda fields: self._attempted("unknown", fields),
            "caller.left": self._left,
            "caller.collected": self._collected,
            "beat.committed": lambda fields: self._add(catalog.COMMITTED, fields.get("caller")),
            "request.refused": lambda fields: self._add(catalog.REFUSED, fields.get("code"), fields.get("status")),
            "key.refused": lambda _: self._add(catalog.WRONG_KEYS),
            "upstream.cooled": lambda fields: self._add(catalog.CHANGES, fields.get("upstream"), "cooled"),
            "upstream.ejected": lambda fields: self._add(catalog.CHANGES, fields.get("upstream"), "ejected"),
            "upstream.restored": lambda fields: self._add(catalog.CHANGES, fields.get("upstream"), "restored"),
            "webhook.delivered": lambda _: self._add(catalog.WEBHOOKS, "delivered"),
            "webhook.failed": lambda _: self._add(catalog.WEBHOOKS, "failed"),
            "sweeper.deleted": lambda _: self._add(catalog.DELETED),
            "storage.failed": lambda _: self._add(catalog.STORAGE_FAILURES),
            # Nothing of ours on its way: a mistake of this file is told so.
            "fault.internal": lambda _: faults.inc(),
        }

    @property
    def events(self) -> frozenset[str]:
        """Those that move a number."""
        return frozenset(self._rules)

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count while this is open."""
        with ExitStack() as stack:
            for event, rule in self._rules.items():
                stack.enter_context(watched(event, _guarded(rule) if event != "fault.internal" else rule))
            yield

    def observe(self, metric: Metric, seconds: float, *labels: object) -> None:
        """Add a duration to a histogram."""
        self._child(metric, labels).observe(seconds)

    def _add(self, metric: Metric, *labels: object, by: float = 1) -> None:
        self._child(metric, labels).inc(by)

    def _child(self, metric: Metric, labels: tuple[object, ...]) -> Any:
        # A set of labels is the key as it comes: spelled once, and the same number for ever.
        key = (metric.name, *labels)
        child = self._children.get(key)
        if child is None:
            family = self._families[metric.name]
            spelled = ["" if each is None else str(each) for each in labels]
            child = self._children[key] = family.labels(*spelled) if spelled else family
        return child

    def _accepted(self, fields: Fields) -> None:
        self._add(catalog.ACCEPTED, fields.get("model"), fields.get("size"))

    def _finished(self, fields: Fields) -> None:
        model, size, state = fields.get("model"), fields.get("size"), fields.get("state")
        self._add(catalog.ENDED, model, size, state, fields.get("code"))
        self.observe(catalog.DURATION, fields["elapsed_s"], model, size, state)
        self._add(catalog.CHARGED, model, size, state, by=fields.get("charged_micros") or 0)
        self._add(catalog.COMPENSATED, model, size, state, by=fields.get("compensated_micros") or 0)

    def _sent(self, fields: Fields) -> None:
        upstream = fields.get("upstream")
        self._add(catalog.SENT, upstream, fields.get("model"), fields.get("size"))
        if (queued_s := fields.get("queued_s")) is not None:
            self.observe(catalog.QUEUED, queued_s, upstream)

    def _attempted(self, outcome: str, fields: Fields) -> None:
        upstream = fields.get("upstream")
        self._add(catalog.ATTEMPTS, upstream, outcome, fields.get("kind"))
        self.observe(catalog.ATTEMPT_DURATION, fields["took_s"], upstream, fields.get("size"), outcome)
        if images := fields.get("images"):
            self._add(catalog.IMAGES, upstream, by=images)
        if (stored_s := fields.get("stored_s")) is not None:
            self.observe(catalog.STORED, stored_s)

    def _left(self, fields: Fields) -> None:
        self._departures.left(fields["generation_id"])
        self._add(catalog.LEFT, "true" if fields.get("held") else "false")

    def _collected(self, fields: Fields) -> None:
        images = fields.get("images") or 0
        self._add(catalog.COLLECTED, by=images)
        saved = self._departures.saved_by(fields["generation_id"], images=images, image_id=fields.get("image_id"))
        if saved:
            self._add(catalog.SAVED, by=saved)
        if (sent_s := fields.get("sent_s")) is not None:
            self.observe(catalog.DELIVERED, sent_s)


def _family(metric: Metric, registry: CollectorRegistry) -> Counter | Histogram:
    if metric.kind is Kind.HISTOGRAM:
        return Histogram(metric.name, f"{metric.means}.", metric.labels, buckets=metric.buckets, registry=registry)
    return Counter(metric.name, f"{metric.means}.", metric.labels, registry=registry)


def _guarded(rule: Callable[[Fields], None]) -> Callable[[Fields], None]:
    def count(fields: Fields) -> None:
        try:
            rule(fields)
        except Exception as exc:  # noqa: BLE001 - the border of what is counted: no image is lost for a number
            emit("fault.internal", level="error", exc=exc)

    return count
