"""Every metric that `/metrics` shows, as data: its name, its labels, what it means.

Labels have values that settings and tables bound (models, sizes, upstreams, states, kinds, codes): never a key, a
generation, an address or a path. Money is micro-units of `money.currency`, an integer; times are seconds.

Pure: no I/O, clock or randomness.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

LONG_S = (1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 150.0, 180.0, 240.0, 300.0, 420.0, 600.0)
"""For what takes minutes. 20 s is the first beat, 60 s the idle limit of ALB and nginx, 180 s the slow rule, 300 and
600 s the deadlines: each is an edge, so that a share on either side of it is exact."""
SHORT_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
"""For what our own disk, or a caller's line, takes; `server.body_stall_s` is the last edge."""
LAG_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
"""For the event loop; a beat is due within 50 ms (`gateway.beats.SLOT_S`)."""


class Kind(StrEnum):
    """What a number does over time."""

    COUNTER = "counter"
    """Only grows, and begins at 0 with the process."""
    GAUGE = "gauge"
    """As it stands when it is asked for."""
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One of them."""

    name: str
    """As it is shown; of a counter it ends in `_total`."""
    kind: Kind
    means: str
    """A sentence without a full stop."""
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    """Upper edges, of a histogram."""

    def __post_init__(self) -> None:
        assert self.name.startswith("holdfast_")
        assert (self.kind is Kind.COUNTER) == self.name.endswith("_total")
        assert (self.kind is Kind.HISTOGRAM) == bool(self.buckets)


def _counter(name: str, means: str, *labels: str) -> Metric:
    return Metric(name=f"holdfast_{name}_total", kind=Kind.COUNTER, means=means, labels=labels)


def _gauge(name: str, means: str, *labels: str) -> Metric:
    return Metric(name=f"holdfast_{name}", kind=Kind.GAUGE, means=means, labels=labels)


def _histogram(name: str, means: str, *labels: str, buckets: tuple[float, ...]) -> Metric:
    return Metric(name=f"holdfast_{name}", kind=Kind.HISTOGRAM, means=means, labels=labels, buckets=buckets)


# Counted as they happen

ACCEPTED = _counter("generations_accepted", "Generations accepted: one for each call that buys", "model", "size")
ENDED = _counter(
    "generations_ended",
    "Generations that ended; `code` is what callers were told, empty where it succeeded",
    *("model", "size", "state", "code"),
)
DURATION = _histogram(
    "generation_seconds", "From acceptance to the end of a generation", "model", "size", "state", buckets=LONG_S
)
REPEATS = _counter(
    "repeats", "Calls that bought nothing: `joined` one that was open, or were given an end (`replayed`)", "how"
)
SENT = _counter("attempts_sent", "Calls sent to upstreams; `model` is its name there", "upstream", "model", "size")
ATTEMPTS = _counter(
    "attempts_ended",
    "Calls to upstreams that ended: `settled` with images, `failed`, or `unknown`: nobody knows whether they were "
    "charged; `kind` is the failure's",
    *("upstream", "outcome", "kind"),
)
ATTEMPT_DURATION = _histogram(
    "attempt_seconds",
    "From sending a call to an upstream until its whole answer was here, or it had failed",
    *("upstream", "size", "outcome"),
    buckets=LONG_S,
)
QUEUED = _histogram(
    "queue_seconds", "How long a call waited for a place at its upstream", "upstream", buckets=(0.05, 0.25, *LONG_S)
)
STORED = _histogram(
    "store_seconds", "From the last byte of an upstream's answer to its commit: files, images, money", buckets=SHORT_S
)
DELIVERED = _histogram(
    "send_seconds", "From the first byte of an image's answer to the acknowledgement of its last", buckets=SHORT_S
)
IMAGES = _counter("images_stored", "Images that upstreams brought and that were stored, drafts left out", "upstream")
COLLECTED = _counter("images_collected", "Images whose last byte a caller acknowledged")
SAVED = _counter(
    "images_saved",
    "Images collected after a caller of theirs had been cut off: without a gateway that holds they would have been "
    "paid for and lost. Of generations whose caller was cut by this process, of the last 20,000",
)
LEFT = _counter(
    "callers_left", "Callers who were gone before their answer; `held`: after the first beat (`true`) or before", "held"
)
COMMITTED = _counter("early_statuses", "Callers who were sent 200 and a beat before their answer was known", "caller")
CHARGED = _counter("charged_micros", "Micro-units charged to customers", "model", "size", "state")
COMPENSATED = _counter("compensated_micros", "Micro-units of that given back by rule", "model", "size", "state")
REFUSED = _counter("requests_refused", "Requests refused before anything was bought", "code", "status")
WRONG_KEYS = _counter("keys_refused", "Requests with an API key that is not known")
CHANGES = _counter("upstream_changes", "Keys and upstreams `cooled`, `ejected`, `restored`", "upstream", "change")
WEBHOOKS = _counter("webhook_tries", "Tries to tell a webhook; `outcome` is `delivered` or `failed`", "outcome")
DELETED = _counter("sweeps", "Times that the sweeper deleted something")
STORAGE_FAILURES = _counter("storage_failures", "Times that disk or database did not take something")
FAULTS = _counter("internal_faults", "Mistakes of the gateway itself; each has a line `fault.internal` in the log")
LAG = _histogram("loop_lag_seconds", "How late the event loop came to a timer, four times a second", buckets=LAG_S)

# Looked at when they are asked for

INFO = _gauge("info", "Always 1; version, and the currency of all amounts", "version", "currency")
DRAINING = _gauge("draining", "1 while nothing new is taken, since the gateway ends")
READY = _gauge("ready", "1 while `/readyz` says so")
OPEN = _gauge("generations_open", "Generations that this process drives: accepted, not ended")
WAITING = _gauge("callers_waiting", "Callers who wait for a generation")
REQUESTS = _gauge("requests_in_progress", "Requests that are being answered, whatever they ask for")
QUEUE = _gauge("queue_parts", "Calls that wait for a place", "upstream")
PLACES = _gauge("queue_places_free", "Calls that an upstream would take now; absent where it has no limit", "upstream")
BEATS = _counter("beats", "Heartbeats that were due, to callers and to readers of events")
HELD_BYTES = _gauge("answer_bytes_held", "Bytes of upstreams' answers held in memory")
HELD_BYTES_MAX = _gauge("answer_bytes_held_max", "Most of them: `store.bodies_bytes_in_flight_max`")
DISK_FREE = _gauge("disk_free_bytes", "Free bytes of the data folder's disk")
UPSTREAM_READY = _gauge("upstream_ready", "1 while an upstream may be asked: it is well, and has a key", "upstream")
KEYS = _gauge("upstream_keys", "Keys of an upstream: `ready`, `cooling`, `ejected`", "upstream", "state")
BALANCE = _gauge(
    "ledger_balance_micros",
    "Balance of a ledger account: `unknown_exposure` is what upstreams may have charged and nobody knows, "
    "`provider_cost` what they did, `extra_images` what was bought and not sold, `held` what is set aside for "
    "open generations, `revenue`, `compensation`",
    "account",
)

CATALOG: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
"""All of them, in the order of this file."""
