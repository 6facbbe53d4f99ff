"""What the client does when nobody says otherwise: every number with its unit, its reason and its source.

Pure: no I/O, clock or randomness. The transports for other SDKs and the recipes take their numbers from here too, so
that one table holds for all: `client.defaults` prints it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from holdfast.errors import ConfigError
from holdfast.types import Tier

if TYPE_CHECKING:
    from holdfast.config import Network

_PUBLISHED = "published by a relay platform, January 2026"

NETWORK = "home"
"""Where a library runs is not known. Too long a wait costs nothing where the answer can be collected; one that is too
short throws away an image that is paid for."""
CONNECT_S = 10.0
WRITE_S = 30.0
POOL_S = 10.0
IDLE_REUSE_S = 45.0
KEEPALIVE_IDLE_S = 30
KEEPALIVE_INTERVAL_S = 10
KEEPALIVE_PROBES = 3
WAIT_S = 25.0
PROGRESS_S = 2.0
POLL_SLACK_S = 15.0
CONTROL_S = 30.0
SUBMITS_MAX = 12
FAULTS_MAX = 4
BACKOFF_S_FIRST = 2.0
BACKOFF_S_MAX = 60.0
STRANGER_S = 30.0
RECONNECT_S_FIRST = 0.5
RECONNECT_S_MAX = 10.0
FALLBACK_AFTER = 2
OUTAGE_S = 120.0
STALL_S = 60.0
BODY_S = 120.0
IMAGE_BYTES_MAX = 64 << 20
ANSWER_BYTES_MAX = 1 << 20
MEMORY_BYTES_MAX = 256 << 10


class Mode(StrEnum):
    """Which of the two clients."""

    SYNC = "sync"
    ASYNC = "async"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLimits:
    """How many connections are open at once, and how many of them are kept."""

    connections_max: int
    kept_max: int


POOLS = {
    Mode.SYNC: PoolLimits(connections_max=10, kept_max=5),
    Mode.ASYNC: PoolLimits(connections_max=20, kept_max=10),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CallTimeouts:
    """Seconds granted to one logical call and to the phases of each exchange in it."""

    connect_s: float
    write_s: float
    pool_s: float
    read_idle_s: float
    """The longest silence, before the head and inside the body: an upstream says nothing for as long as it draws."""
    total_s: float
    """From the start to the end of the whole call, its pauses, repeats and collecting included."""

    def __post_init__(self) -> None:
        assert min(self.connect_s, self.write_s, self.pool_s, self.read_idle_s, self.total_s) > 0.0


def network_of(name: str) -> Network:
    """Find a network profile by its name.

    Raises:
        ConfigError: There is none of this name; the message lists those there are.
    """
    from holdfast.config import Network

    try:
        return Network(name)
    except ValueError as exc:
        known = ", ".join(network.value for network in Network)
        raise ConfigError(f"There is no network {name[:40]!r}. Choose one of {known}.", key="network") from exc


def tier_of(size: str | None) -> Tier:
    """Say which size class a size belongs to, for its deadlines; what is not known counts as the slowest.

    Args:
        size: `1K`, `2K`, `4K`, `auto`, pixels such as `1024x1536`, or None, which servers take for 1K.
    """
    if size is None or size.strip().lower() in ("", "auto"):
        return Tier.K1
    from holdfast.config import Flavor
    from holdfast.errors import RequestError
    from holdfast.policy.sizes import resolve

    try:
        return resolve(size, flavor=Flavor.RELAY).tier
    except RequestError:
        # A server's own word for a size (`hd`): nothing is known of how long it takes.
        return Tier.K4


def call_timeouts(
    size: str | None = None, network: str = NETWORK, *, body_bytes: int = 0, timeout_s: float | None = None
) -> CallTimeouts:
    """Give the timeouts of one call for an image.

    Args:
        size: As `tier_of` takes it.
        network: `intranet`, `home`, `international` or `peak`.
        body_bytes: Length of the request; a slow line gets a second more per 128 KiB.
        timeout_s: The caller's own budget for the whole call, seconds; it wins over size and network.

    Raises:
        ConfigError: An unknown network, or a budget that is no number above 0.
    """
    from holdfast.config import Deadlines
    from holdfast.policy.deadlines import attempt_timeout_s, generation_s, write_timeout_s

    if timeout_s is not None and not 0.0 < timeout_s <= 86_400.0:
        raise ConfigError("timeout_s must be a number of seconds above 0, at most a day.", key="timeout_s")
    deadlines = replace(Deadlines(), network=network_of(network), connect_s=CONNECT_S, write_s=WRITE_S)
    tier = tier_of(size)
    read_s = generation_s(tier, deadlines)
    total_s = timeout_s if timeout_s is not None else read_s + attempt_timeout_s(tier, deadlines)
    return CallTimeouts(
        connect_s=min(CONNECT_S, total_s),
        write_s=write_timeout_s(deadlines, body_bytes),
        pool_s=min(POOL_S, total_s),
        read_idle_s=min(read_s, total_s),
        total_s=total_s,
    )


SocketOption = tuple[int, int, int]


def socket_options() -> list[SocketOption]:
    """List the options of every connection: answers leave at once, and a peer that is gone is noticed within a minute.

    What a kernel has no name for is left out (macOS has no `TCP_KEEPIDLE`).
    """
    import socket

    options: list[SocketOption] = [
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    ]
    for name, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_IDLE_S),
        ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_S),
        ("TCP_KEEPCNT", KEEPALIVE_PROBES),
    ):
        if hasattr(socket, name):
            options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    return options


def user_agent(version: str) -> str:
    """Name the client as the gateway's caller classes know it."""
    return f"holdfast-client/{version}"


def pause_s(tries: int, *, jitter: float, at_least_s: float | None = None) -> float:
    """Choose the pause before an unpaid call is made again, seconds.

    Args:
        tries: How often it has failed, from 1.
        jitter: Uniform sample in [0, 1).
        at_least_s: What the server asked for.

    Source: equal jitter, AWS Architecture Blog, "Exponential Backoff and Jitter" (2015).
    """
    return max(_jittered(BACKOFF_S_FIRST, BACKOFF_S_MAX, tries, jitter), at_least_s or 0.0)


def reconnect_s(tries: int, *, jitter: float) -> float:
    """Choose the pause before an attempt to collect, seconds; the same rule, sooner, since nothing is bought by it."""
    return _jittered(RECONNECT_S_FIRST, RECONNECT_S_MAX, tries, jitter)


def _jittered(first_s: float, most_s: float, tries: int, jitter: float) -> float:
    assert tries >= 1
    assert 0.0 <= jitter < 1.0
    # The exponent is bounded before the power is taken: 2.0 ** 2000 overflows.
    return min(most_s, first_s * 2.0 ** min(tries - 1, 32)) * (1 + jitter) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Default:
    """One row of the table."""

    name: str
    value: str
    unit: str
    reason: str
    source: str


@dataclass(frozen=True, slots=True)
class Defaults:
    """The table; `print(client.defaults)` lays it out."""

    rows: tuple[Default, ...]

    def __iter__(self) -> Iterator[Default]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, name: str) -> Default:
        """Find a row.

        Raises:
            KeyError: There is none of this name.
        """
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    def __str__(self) -> str:
        names = max(len(row.name) for row in self.rows)
        values = max(len(f"{row.value} {row.unit}".strip()) for row in self.rows)
        return "\n".join(
            f"{row.name:<{names}}  {f'{row.value} {row.unit}'.strip():>{values}}  {row.reason} ({row.source})"
            for row in self.rows
        )


def _row(name: str, value: float | str, unit: str, reason: str, source: str) -> Default:
    text = value if isinstance(value, str) else f"{value:g}"
    return Default(name=name, value=text, unit=unit, reason=reason, source=source)


def defaults(network: str = NETWORK, *, mode: Mode = Mode.SYNC, timeout_s: float | None = None) -> Defaults:
    """Make the table of everything that holds unless a call says otherwise.

    Args:
        network: Changes the timeouts.
        mode: Changes the pool.
        timeout_s: The budget that was given to the client, None: by size.
    """
    return Defaults((*_timeouts(network, timeout_s), *_connections(mode), *_waiting(), *_repeating(), *_bounds()))


def _timeouts(network: str, timeout_s: float | None) -> tuple[Default, ...]:
    from holdfast.policy.deadlines import NETWORKS

    path = NETWORKS[network_of(network)].reason
    rows = [
        _row(
            "network",
            network,
            "",
            f"{path}; a library cannot know where it runs, so it expects a slow line",
            _PUBLISHED,
        )
    ]
    for tier in Tier:
        times = call_timeouts(tier.value, network, timeout_s=timeout_s)
        reason = (
            "as given to the client"
            if timeout_s is not None
            else "the generation's own deadline, and one attempt that is in flight when it passes: it is paid for"
        )
        rows.append(_row(f"total {tier.value}", times.total_s, "s", reason, _PUBLISHED))
        silence = "an upstream says nothing while it draws, 30-170 s; a relay has no heartbeat"
        rows.append(_row(f"read {tier.value}", times.read_idle_s, "s", silence, _PUBLISHED))
    return (
        *rows,
        _row("connect", CONNECT_S, "s", "nothing was sent yet, so failing early is free", _PUBLISHED),
        _row("write", WRITE_S, "s", "for a prompt; a second more for every 128 KiB of images", _PUBLISHED),
        _row("pool", POOL_S, "s", "a place is free sooner, or the pool is too small for its callers", _PUBLISHED),
        _row("control", CONTROL_S, "s", "the status of a generation is read from a store", "twice the longest seen"),
    )


def _connections(mode: Mode) -> tuple[Default, ...]:
    pool = POOLS[mode]
    return (
        _row(
            "http",
            "1.1",
            "",
            "one lost packet stalls every stream of an HTTP/2 connection: 6 of 6 answers lost where HTTP/1.1 lost 1",
            "lab, HTTP facts, section 8",
        ),
        _row("connections", pool.connections_max, "", f"the {mode.value} client's pool; more wait", _PUBLISHED),
        _row("connections kept", pool.kept_max, "", "open for the next call", _PUBLISHED),
        _row(
            "idle reuse", IDLE_REUSE_S, "s", "NATs and load balancers forget after 60 s, silently", "ALB, nginx: 60 s"
        ),
        _row(
            "tcp keepalive",
            f"{KEEPALIVE_IDLE_S}, {KEEPALIVE_INTERVAL_S} x {KEEPALIVE_PROBES}",
            "s",
            "a peer that is gone is noticed within 60 s; it keeps no HTTP idle timer from firing",
            "contract, section 7",
        ),
    )


def _waiting() -> tuple[Default, ...]:
    return (
        _row(
            "wait",
            WAIT_S,
            "s",
            "the first answer is asked for by then, as an image or as the status: no silence on the line is longer",
            "Heroku cuts at 30 s, ALB and nginx at 60 s",
        ),
        _row("progress", PROGRESS_S, "s", "instead of that, where a progress callback is given", "a bar that moves"),
        _row("outage", OUTAGE_S, "s", "without a sign of the server before collecting ends", "restarts, with drain"),
        _row(
            "stranger", STRANGER_S, "s", "the same, where somebody unknown is there and breaks off", "restarts, 5-20 s"
        ),
        _row(
            "body",
            BODY_S,
            "s",
            "beyond the call's time for an answer that has begun: it is paid for",
            "Timeouts.body_s",
        ),
        _row("stall", STALL_S, "s", "without a byte inside an image; then on from the last byte", "idle timers: 60 s"),
        _row(
            "reconnect",
            f"{RECONNECT_S_FIRST:g} to {RECONNECT_S_MAX:g}",
            "s",
            "to collect is free, so it begins soon and doubles, with half left to chance",
            "equal jitter, AWS, 2015",
        ),
    )


def _repeating() -> tuple[Default, ...]:
    return (
        _row(
            "backoff",
            f"{BACKOFF_S_FIRST:g} to {BACKOFF_S_MAX:g}",
            "s",
            "before an unpaid call is made again; never sooner than Retry-After says",
            "equal jitter, AWS, 2015; quotas are counted by the minute",
        ),
        _row("faults", FAULTS_MAX, "", "calls that may fail unpaid, the first included; a 429 or 503 is none", "retry"),
        _row("fallback after", FALLBACK_AFTER, "", "refusals of one model before the next that was named", "a choice"),
        _row("submits", SUBMITS_MAX, "", "calls for one image, whatever became of them", "retry.sends_max"),
        _row(
            "unknown outcome",
            "tell",
            "",
            "a plain server may have charged for what was cut: the error says paid=unknown, nothing is bought again",
            "contract, section 5",
        ),
    )


def _bounds() -> tuple[Default, ...]:
    return (
        _row("image bytes", IMAGE_BYTES_MAX >> 20, "MiB", "the largest image that is taken", "store.image_bytes_max"),
        _row("answer bytes", ANSWER_BYTES_MAX >> 20, "MiB", "of a JSON answer without its images", "a bound"),
        _row(
            "memory",
            MEMORY_BYTES_MAX >> 10,
            "KiB",
            "of an image are kept in memory, the rest in a nameless file",
            "4K: 20 MB of PNG, 27 MB of base64",
        ),
    )
