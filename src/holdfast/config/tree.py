"""Every setting that has an effect, as one frozen tree.

A default shows its unit, its meaning and its reason beside it; `holdfast.config.describe` hands them to the reference
page. Sizes are bytes, times are seconds, money is micro-units of `money.currency`.
"""

# ruff: noqa: RUF009 - `key` and `required` give a dataclass field, not a shared value.
from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from holdfast.config.chat import Chat, PassThrough
from holdfast.config.hedging import HedgeSettings
from holdfast.config.keys import ByTier, key, required
from holdfast.config.objects import LOCAL, ObjectSettings
from holdfast.config.observing import Metrics, Traces
from holdfast.config.retrying import RetrySettings
from holdfast.config.roles import Role
from holdfast.config.serving import Join, Price, Route, Upstream
from holdfast.config.sharing import Cors
from holdfast.types import Tier

MIB = 1 << 20


class Network(StrEnum):
    """The path between this gateway and its upstreams; slower ones get more time. Source: published, January 2026."""

    INTRANET = "intranet"
    HOME = "home"
    INTERNATIONAL = "international"
    PEAK = "peak"


class LogLevel(StrEnum):
    """From which weight on a line is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How a line of the log looks."""

    AUTO = "auto"
    TEXT = "text"
    JSON = "json"


class HoldBy(StrEnum):
    """What keeps a waiting caller's line open."""

    BEATS = "beats"
    REDIRECTS = "redirects"


class CompensationReason(StrEnum):
    """What a customer was charged for and did not get as he had a right to."""

    REFUSED = "refused"
    EMPTY = "empty"
    FAILED = "failed"
    SLOW = "slow"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The listeners and what one caller's connection may cost."""

    host: str = key("127.0.0.1", "Address to listen on", source="nothing leaves this machine unless asked to")
    port: int = key(
        16888,
        "Port of plain HTTP/1.1; 0 takes a free one",
        source="the port published relays use",
        at_least=0,
        at_most=65535,
    )
    tls_port: int = key(
        16889,
        "Port of the TLS listener, open when `tls_cert` is set",
        source="beside `port`",
        at_least=0,
        at_most=65535,
    )
    tls_cert: str = key(
        "", "PEM file of the certificate chain; empty: no TLS listener", source="plain HTTP needs no setup"
    )
    tls_key: str = key("", "PEM file of the certificate's private key", source="beside `tls_cert`")
    public_url: str = key(
        "",
        "Address under which callers reach this gateway, put before signed image URLs; empty: the request's own Host",
        source="right without a proxy in front",
    )
    trusted_proxies: tuple[str, ...] = key(
        (),
        "Networks (CIDR) whose `X-Forwarded-*` headers are believed",
        source="a header anyone can send proves nothing",
    )
    admin_anywhere: bool = key(
        False,
        "Whether `/admin/v1` and the console answer plain HTTP from other machines too; else on loopback, over TLS, or "
        "through a trusted proxy that says https",
        source="an admin's key is worth more than an image",
    )
    request_bytes_max: int = key(
        128 * MIB,
        "Largest request body",
        unit="bytes",
        source="Gemini takes 100 MB inline; some room above",
        at_least=1024,
    )
    header_bytes_max: int = key(
        32768, "Largest request line and header block", unit="bytes", source="nginx allows 4 x 8 KiB", at_least=1024
    )
    header_timeout_s: float = key(
        10.0,
        "Longest time for a request's headers to arrive",
        unit="seconds",
        source="stops slow-header floods",
        at_least=0.1,
    )
    body_gap_s: float = key(
        30.0,
        "Longest silence inside a request's body",
        unit="seconds",
        source="a mobile hand-over takes 10-20 s",
        at_least=0.1,
    )
    idle_timeout_s: float = key(
        75.0,
        "How long a connection with nothing asked stays open",
        unit="seconds",
        source="above the 60 s of AWS ALB",
        at_least=1,
    )
    body_stall_s: float = key(
        120.0,
        "How long a caller may leave an answer's bytes unacknowledged",
        unit="seconds",
        source="a live reader that pauses 60 s must get its image",
        at_least=1,
    )
    congestion: str = key(
        "bbr",
        "TCP congestion control of callers' connections, where the kernel offers it; empty: the kernel's own",
        source="at 1 % loss a loss-based sender took 25-162 s for what BBR delivered in 4-5 s (measured)",
    )
    held_max: int = key(
        9800,
        "Most requests held at once; one more is told 503",
        source="two descriptors a request of 20,000",
        at_least=1,
    )
    role: Role = key(
        Role.ALL,
        "Whether callers come to this process (`serve`), it calls upstreams (`work`), or both (`all`); the first two "
        "need a PostgreSQL (`store.database`), which processes share",
        source="one process needs no other",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """The bytes that keep a waiting caller's connection alive."""

    first_beat_s: float = key(
        20.0,
        "Silence before the status is committed to 200 and the first beat is sent",
        unit="seconds",
        source="below Heroku's 30 s; fast failures keep their true status",
        at_least=0.02,
    )
    beat_s: float = key(
        10.0, "Time between two beats", unit="seconds", source="a sixth of the 60 s of ALB and nginx", at_least=0.02
    )
    impatient_first_beat_s: float = key(
        4.0,
        "`first_beat_s` for callers known to give up early",
        unit="seconds",
        source="plain httpx gives up at 5 s",
        at_least=0.02,
    )
    impatient_beat_s: float = key(
        4.0,
        "`beat_s` for callers known to give up early",
        unit="seconds",
        source="plain httpx gives up at 5 s",
        at_least=0.02,
    )
    caller_dead_s: float = key(
        20.0,
        "How long a beat may stay unacknowledged before the caller counts as gone",
        unit="seconds",
        source="two beats; TCP_USER_TIMEOUT",
        at_least=1,
    )
    hold: HoldBy = key(
        HoldBy.BEATS,
        "How callers are held who do not say it (`Prefer: hold=`): `beats`, which reach everybody, or `redirects`, "
        "which keep the true status for those who follow them. Streams always get beats",
        source="plain httpx, curl and Java follow no redirect by default (measured)",
    )
    redirect_hop_s: float = key(
        30.0,
        "Silence before a caller held by redirects is sent on; up to half as long again where as many redirects as it "
        "follows would not cover the deadline",
        unit="seconds",
        source="20 redirects, which SDKs follow, then cover the 600 s of 4K; below the 60 s of ALB and nginx",
        at_least=0.02,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """The data folder and what may be written to it."""

    data: Path = key(
        Path("holdfast-data"), "The data folder; made if it is missing", source="beside where it was started"
    )
    blobs: str = key(
        LOCAL,
        "Where images are kept: `local`, in the data folder, or a bucket: `s3://bucket/prefix`, `gs://bucket/prefix`, "
        "`az://container/prefix`. How a bucket is reached stands under `[objects]`",
        source="a disk needs no account",
    )
    database: str = key(
        "sqlite",
        "Where rows are kept: `sqlite`, in the data folder, or the address of a PostgreSQL, `postgresql://…`; "
        "`env:NAME` reads it from the environment",
        source="one process needs no server beside it",
        secret=True,
    )
    database_connections: int = key(
        10,
        "Most connections to a PostgreSQL; half of them at most are busy with reading",
        source="a transaction takes a few milliseconds, so ten are more than a thousand a second; a server takes 100",
        at_least=2,
        at_most=1000,
    )
    database_wait_s: float = key(
        20.0,
        "How long one write or read waits for a PostgreSQL that is away; for what has been paid it is tried again "
        "after that, until it comes back",
        unit="seconds",
        source="a restart takes 2 to 10 s, a change of the primary up to 20",
        at_least=0,
    )
    image_bytes_max: int = key(
        64 * MIB, "Largest image taken from an upstream", unit="bytes", source="a 4K PNG weighs 15-22 MB", at_least=1024
    )
    response_bytes_max: int = key(
        512 * MIB,
        "Largest answer read from an upstream",
        unit="bytes",
        source="ten 4K drafts in one Gemini answer exceed 200 MB; a paid answer is taken",
        at_least=1024,
    )
    bodies_bytes_in_flight_max: int = key(
        32 * MIB,
        "Most bytes of upstream answers held in memory at once, all calls together",
        unit="bytes",
        source="2,000 answers falling due at once must not fill the memory (measured)",
        at_least=MIB,
    )
    free_bytes_margin: int = key(
        512 * MIB, "Free space below which paid work is refused", unit="bytes", source="25 images of 20 MB", at_least=0
    )
    retention_s_max: float = key(
        604800.0,
        "How long images that were never collected are kept after their generation ended; nothing is kept longer",
        unit="seconds",
        source="a week: a weekend and an incident do not lose what was paid for",
        at_least=60,
    )
    keep_after_finish_s: float = key(
        86400.0,
        "How long images that were collected are kept after their generation ended, at least",
        unit="seconds",
        source="a day, as idempotency keys",
        at_least=60,
    )
    keep_after_collect_s: float = key(
        3600.0,
        "How long images are kept after the last of them was collected, at least",
        unit="seconds",
        source="an hour: the next hop may have acknowledged for a client that got nothing",
        at_least=0,
    )
    audit_keep_days: int = key(
        400,
        "For how many whole days (UTC) the log of changes is kept; then its oldest entries go, and that is noted in it",
        unit="days",
        source="a year and a month: whoever looks at the year's accounts finds who changed what in it",
        at_least=1,
        at_most=36_500,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """How long things may take. A deadline stops new attempts; one in flight is awaited up to its own timeout."""

    generation_s: ByTier = key(
        ByTier(k1=300.0, k2=300.0, k4=600.0),
        "From acceptance to the last moment at which an attempt may begin, by size",
        unit="seconds",
        source="published timeouts, January 2026: 300 s, 600 s for 4K",
        at_least=0.1,
    )
    slow_network_s: float = key(
        600.0,
        "The same for every size when `network` is not intranet, and the most that `grows_when_slow` makes of it",
        unit="seconds",
        source="published timeouts by network, January 2026",
        at_least=0.1,
    )
    grows_when_slow: bool = key(
        True,
        "Where a model is measured to be slower than is usual, give its generations as much more time, up to "
        "`slow_network_s`; a caller's own budget stays",
        source="17 January 2026: 600 s were published for every size; of those with 300 s, 6 % were told in vain",
    )
    attempt_s: ByTier = key(
        ByTier(k1=180.0, k2=216.0, k4=300.0),
        "Least time that one attempt is given, by size",
        unit="seconds",
        source="1.2 x the published P99 of 150, 180 and 250 s",
        at_least=0.1,
    )
    connect_s: float = key(
        10.0, "Connecting to an upstream, TLS included", unit="seconds", source="published, January 2026", at_least=0.1
    )
    write_s: float = key(
        30.0, "Sending a request without images", unit="seconds", source="published, January 2026", at_least=0.1
    )
    network: Network = key(
        Network.INTRANET,
        "The path between gateway and upstreams",
        source="a gateway in a data centre is the usual case",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """Stopping without losing anything."""

    grace_s: float = key(
        300.0,
        "After SIGTERM, how long calls in flight are awaited",
        unit="seconds",
        source="the longest attempt; give your supervisor 30 s more",
        at_least=0,
    )
    accept_s: float = key(
        10.0,
        "After SIGTERM, how long a process that shares its data goes on as ever, but for `/readyz`, before it listens "
        "no more and its drain begins: whoever sends callers to it has noticed by then",
        unit="seconds",
        source="twice what balancers take that look every 5 s",
        at_least=0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySettings:
    """What is expected of an upstream: published figures at first, more and more what was measured."""

    prior_weight: float = key(
        50.0,
        "How many measured calls the published latencies count as",
        unit="calls",
        source="100 calls, the least that show a P99, then count for two thirds; 0: the first call counts alone",
        at_least=0,
    )
    scale: float = key(
        1.0,
        "Multiplies the published latencies in estimates; for demo and tests",
        source="1: real time",
        at_least=0.0001,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """What callers are charged."""

    currency: str = key("USD", "ISO 4217 code of all prices", source="list prices are in it")
    margin: float = key(1.0, "Customer's price as a multiple of the list price", source="1: at cost", at_least=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhooks:
    """Where ends of generations may be told to."""

    allow_private: bool = key(
        False,
        "Whether webhooks may go to private, loopback and carrier addresses, short names and any port",
        source="a key must not reach into the network that the gateway stands in",
    )
    allow_http: bool = key(
        False, "Whether webhooks may go over plain HTTP", source="what is told names generations of a key"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Images to start from that a request names by their address."""

    fetch: bool = key(
        True,
        "Whether such images are fetched; otherwise they are refused",
        source="no credential goes along, and no address inside is asked",
    )
    fetch_s: float = key(
        20.0,
        "For all images of a request together, before it is accepted",
        unit="seconds",
        source="its caller hears nothing meanwhile: below the 30 s of the shortest common idle limit",
        at_least=0.1,
    )
    allow_private: bool = key(
        False,
        "Whether they may lie at private, loopback and carrier addresses, short names and any port",
        source="a key must not reach into the network that the gateway stands in",
    )
    allow_http: bool = key(
        False, "Whether they may be fetched over plain HTTP", source="anybody on the way could put another in its place"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """The log on standard error."""

    level: LogLevel = key(LogLevel.INFO, "From which weight on lines are written", source="one line per transition")
    format: LogFormat = key(LogFormat.AUTO, "How lines look", source="text on a terminal, JSON otherwise")


@dataclass(frozen=True, slots=True, kw_only=True)
class Joining:
    """Repeats of a call that was cut join its generation instead of buying another image."""

    join: Join = key(
        Join.ALL,
        "Whose repeats join: `all` whose answer nobody has; `retries` that say so; `keyed` with an `Idempotency-Key`; "
        "`off`. A key and a route may be stricter",
        source="loops and load balancers repeat without saying so",
    )
    window_s: float = key(
        900.0,
        "How long after its end an image that nobody received is given to a repeat without a key",
        unit="seconds",
        source="an SDK's last retry comes within minutes; later the same words mean a new picture",
        at_least=0.0,
    )
    unwatched_cancel_s: float = key(
        120.0,
        "How long a generation that is still queued is kept when whoever waited for it has left; then it is cancelled, "
        "free. One that was asked for without waiting is always kept",
        unit="seconds",
        source="an SDK's last retry has come by then",
        at_least=0.0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSettings:
    """Waiting for a place at an upstream (`upstreams.concurrency`, `per_minute`, `per_day`), API keys in turn."""

    waiting_max: int = key(
        5000,
        "Most calls that wait for a place, all upstreams together; whoever would be one more is told 503 `queue_full`",
        source="at 10 KB each 50 MB",
        at_least=0,
    )
    per_key_in_flight_max: int = key(
        0,
        "Most calls that one API key has in flight at all upstreams together; its others wait in line; 0: no limit",
        source="places are shared fairly without it; it keeps some free for others before they come",
        at_least=0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Compensation:
    """What of a charge is given back, by reason. A reason for which nothing is written has these defaults.

    Where entries for a reason are written, whoever none of them is for gets nothing back.
    """

    when: CompensationReason = required(
        "`refused`, `empty`, `failed`: the upstream was paid and brought no image, which it declined, left out or "
        "spoiled; `slow`: the image came late",
        source="one entry each",
    )
    slower_than_s: float = key(
        180.0,
        "For `slow`: from acceptance to the end, longer than this",
        unit="seconds",
        source="the published P99 of 2K, January 2026",
        at_least=0,
    )
    share: float = key(
        1.0, "Part of the charge that is given back", source="who got no image pays nothing", at_least=0, at_most=1
    )
    cap_micros_per_day: int = key(
        0,
        "Most that this entry gives back a day (UTC), all keys together; 0: no limit",
        unit="micro-units",
        source="an upstream that is slow all day is the operator's risk until he says otherwise",
        at_least=0,
    )
    models: tuple[str, ...] = key(
        (), "For which models, by the names of their routes; empty: for all", source="most promises are for all"
    )
    sizes: tuple[Tier, ...] = key(
        (), "For which sizes; empty: for all", source="4K takes longer than 1K, and may have an entry of its own"
    )
    keys: tuple[str, ...] = key(
        (), "Whose calls qualify: ids of API keys, `key_…`; empty, and `groups` too: everybody's", source="see `groups`"
    )
    groups: tuple[str, ...] = key(
        (),
        "Whose calls qualify: ids of key groups, `kgr_…`, beside `keys`",
        source="a promise may be part of one customer's contract only",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The whole configuration. Made by `parse`, `load` or, in tests, by hand."""

    server: Server = field(default_factory=Server)
    cors: Cors = field(default_factory=Cors)
    heartbeat: Heartbeat = field(default_factory=Heartbeat)
    store: Store = field(default_factory=Store)
    objects: ObjectSettings = field(default_factory=ObjectSettings)
    joining: Joining = field(default_factory=Joining)
    deadlines: Deadlines = field(default_factory=Deadlines)
    retry: RetrySettings = field(default_factory=RetrySettings)
    queue: QueueSettings = field(default_factory=QueueSettings)
    hedge: HedgeSettings = field(default_factory=HedgeSettings)
    drain: Drain = field(default_factory=Drain)
    latency: LatencySettings = field(default_factory=LatencySettings)
    money: Money = field(default_factory=Money)
    webhooks: Webhooks = field(default_factory=Webhooks)
    inputs: Inputs = field(default_factory=Inputs)
    chat: Chat = field(default_factory=Chat)
    passthrough: PassThrough = field(default_factory=PassThrough)
    log: Log = field(default_factory=Log)
    traces: Traces = field(default_factory=Traces)
    metrics: Metrics = field(default_factory=Metrics)
    upstreams: tuple[Upstream, ...] = ()
    routes: tuple[Route, ...] = ()
    prices: tuple[Price, ...] = ()
    compensation: tuple[Compensation, ...] = ()

    def upstream(self, name: str) -> Upstream:
        """Find an upstream by its name; `check` has made sure that routes name real ones."""
        return next(upstream for upstream in self.upstreams if upstream.name == name)
