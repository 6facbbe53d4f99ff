"""From settings to a running gateway: everything is made here, once, and handed to whoever needs it.

Nothing is accepted before the port, the data folder and the credentials are known to be good, and what an earlier
process left open has been settled. The end is a drain: nothing new, what is held is awaited; a second signal ends it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from holdfast.clock import Clock, SystemClock, rfc3339
from holdfast.config import Role, Settings, check_role, database_of, upstream_keys
from holdfast.config.objects import ObjectKeys, object_keys
from holdfast.config.secret import secret_of
from holdfast.engine.converter import Converter, is_available
from holdfast.engine.core import Core
from holdfast.engine.course import Target, targets_of
from holdfast.engine.engine import Engine
from holdfast.engine.erasing import Eraser
from holdfast.engine.learning import LatencyKeeper
from holdfast.engine.sweeper import Sweeper
from holdfast.engine.twins import fate_elsewhere
from holdfast.engine.webhooks import Deliverer
from holdfast.gateway.admin.framework import AdminApi
from holdfast.gateway.admin.gate import Gate
from holdfast.gateway.admin.make import admin_api
from holdfast.gateway.app import App
from holdfast.gateway.asked import Routes
from holdfast.gateway.auth import Authenticator
from holdfast.gateway.beats import BeatWheel
from holdfast.gateway.bodies import BodyReader
from holdfast.gateway.chats import Chats
from holdfast.gateway.console import Console
from holdfast.gateway.fetching import InputFetcher
from holdfast.gateway.generate import Generator
from holdfast.gateway.generations import Generations
from holdfast.gateway.images import Images
from holdfast.gateway.keeping import keeping
from holdfast.gateway.latency import LatencyPage
from holdfast.gateway.links import LinkMaker
from holdfast.gateway.metrics import MetricsPage
from holdfast.gateway.own_usage import OwnUsagePage
from holdfast.gateway.probes import Probes
from holdfast.gateway.renewal import Renewal, passing_on
from holdfast.gateway.results import Results
from holdfast.gateway.roles import served_by
from holdfast.gateway.server import Listeners, Running, Signals, announce
from holdfast.gateway.surfaces import Surfaces
from holdfast.gateway.tuning import tune_gc, tune_malloc
from holdfast.gateway.webhooks import Webhooks
from holdfast.log import emit
from holdfast.policy.addresses import AddressRules
from holdfast.policy.cors import Sharing
from holdfast.policy.price_table import losses
from holdfast.policy.prices import check_priced
from holdfast.store.address import note_address
from holdfast.store.apikeys import SECRET_BYTES, digest_of, spell
from holdfast.store.given_secret import keep_secret
from holdfast.store.keys import count_keys, insert_key
from holdfast.store.lock import DataFolder
from holdfast.store.opening import check_installed, open_store
from holdfast.store.port import Store
from holdfast.store.signing import Signer
from holdfast.telemetry.tracing import tracing
from holdfast.threads import Threads
from holdfast.transport.aio import AioTransport
from holdfast.transport.google_tokens import google_tokens
from holdfast.transport.guarded import GuardedTransport

if TYPE_CHECKING:
    from holdfast.gateway.replicas import Replica

Page = Surfaces | Chats | Webhooks | LatencyPage | OwnUsagePage | Probes | AdminApi | MetricsPage
"""What brings endpoints."""
FILE_THREADS = 3
"""Move and read files: three hide the disk's waiting from one another, more only switch."""
BEFORE_CALLERS_S = 0.3
"""For what an earlier process left open; what takes longer goes on beside callers. Thousands take seconds."""
ANSWER_S = 120.0
"""After the last generation has ended: for answers that are still being written."""
LAST_REQUESTS_S = 1.0
"""Between the last connection that is let in and the first request that is turned away."""
FAREWELL_S = 2.0
"""For telling who is held that nobody waits any more; whoever does not take it in is broken off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """Everything that runs."""

    app: App
    engine: Engine
    sweeper: Sweeper
    keeper: LatencyKeeper
    generator: Generator
    generations: Generations
    listeners: Listeners
    deliverer: Deliverer
    fetcher: InputFetcher
    chats: Chats
    renewal: Renewal
    probes: Probes
    admin: AdminApi
    metrics: MetricsPage


async def serve(
    settings: Settings,
    *,
    environ: Mapping[str, str] | None = None,
    ready: Callable[[Running], None] | None = None,
    tell_first_key: Callable[[str], None] | None = None,
    reread: Callable[[], Settings] | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code of the process.

    Args:
        settings: Checked, with at least one upstream.
        environ: Where `env:NAME` credentials are; the process's own by default.
        ready: Told once callers are answered.
        tell_first_key: Shown the key that is made when the data folder has none; it is never shown again.
        reread: Reads the settings anew, at SIGHUP, all checks included; raises `ConfigError`, which changes nothing.

    Raises:
        ConfigError: A credential or the certificate is missing, there is nothing to serve, or `HOLDFAST_SECRET` is not
            the data folder's.
        StorageError: The data folder cannot be used.
        PortRefused: A port is taken or forbidden.
    """
    environ = os.environ if environ is None else environ
    keys = upstream_keys(settings, environ)
    dsn = database_of(settings.store, environ)
    check_role(settings.server.role, is_embedded=dsn is None)
    keep_secret(settings.store.data, secret_of(environ))
    targets = targets_of(settings, keys)
    bucket_keys = object_keys(settings.objects, environ)
    clock = SystemClock()
    check_priced(settings, clock.now().date())
    for finding in losses(settings, clock.now().date()):
        emit("prices.unsafe", level="warning", rule=finding.rule, model=finding.model, message=finding.message)
    with Signals(asyncio.get_running_loop(), renews=reread is not None) as signals, suppress(_StoppedEarly):
        async with running(
            settings, targets, clock, tell_first_key, keys, dsn=dsn, stop=signals.first, bucket_keys=bucket_keys
        ) as gateway:
            announced = announce(gateway.listeners, settings, signals.received)
            note_address(settings.store.data, announced.base_url)
            if ready is not None:
                ready(announced)
            async with _renewed_by(signals.renewal, gateway, reread, environ):
                await signals.first.wait()
            await _drain(gateway, settings, signals, others_take=dsn is not None)
    emit("server.stopped")
    return 0


@asynccontextmanager
async def _renewed_by(
    asked: asyncio.Event, gateway: Gateway, reread: Callable[[], Settings] | None, environ: Mapping[str, str]
) -> AsyncIterator[None]:
    """Read settings anew whenever it is asked for, until the drain begins."""
    if reread is None:
        yield
        return
    task = asyncio.create_task(gateway.renewal.run(asked, reread, environ), name="renewal")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@asynccontextmanager
async def running(
    settings: Settings,
    targets: Mapping[str, tuple[Target, ...]],
    clock: Clock,
    tell_first_key: Callable[[str], None] | None,
    keys: Mapping[str, tuple[str, ...]],
    *,
    dsn: str | None = None,
    stop: asyncio.Event | None = None,
    bucket_keys: ObjectKeys | None = None,
) -> AsyncIterator[Gateway]:
    """Make everything in its order, and take it down in the reverse one.

    `dsn` is where rows are kept, if not in the data folder. Once `stop` is set, what an earlier process left is not put
    right to the end: the next start begins where this one has stopped, as after a crash.
    """
    with ExitStack() as stack:
        used = [(to.upstream, key) for route in targets.values() for to in route for key in to.keys]
        tokens = google_tokens(used, clock)
        stack.callback(tokens.close)
        listeners = Listeners(settings)
        for listening in listeners.all:
            stack.callback(listening.sock.close)
        folder = stack.enter_context(DataFolder(settings.store.data))
        owner = clock.new_id("own")
        replica = _replica_of(dsn, clock)
        store = open_store(folder.paths.database, owner, dsn, settings.store)
        stack.callback(store.close)
        if replica is not None:
            clock = await replica.clock_over(clock, store)
        await _first_key(store, folder.secret, clock, tell_first_key)
        threads = Threads(FILE_THREADS, "file")
        stack.callback(threads.close, wait=True)
        kept = await keeping(stack, settings, bucket_keys, folder, clock, None if replica is None else store)
        transport = AioTransport(
            bodies_bytes_in_flight_max=settings.store.bodies_bytes_in_flight_max,
            response_bytes_max=settings.store.response_bytes_max,
        )
        core = Core(
            settings=settings,
            clock=clock,
            store=store,
            blobs=kept.blobs,
            spool=folder.paths.spool,
            transport=transport,
            owner=owner,
            targets=targets,
            threads=threads,
            blob_threads=kept.threads,
            tokens=tokens,
            converter=Converter(folder.paths.spool, threads) if is_available() else None,
        )
        if replica is not None:
            replica.join(core)
        gateway = make(core, listeners, folder)
        traces = stack.enter_context(tracing(settings.traces))
        stack.enter_context(gateway.metrics.watching(gateway.app))
        gateway.chats.passing = passing_on(core, settings, keys)
        stack.callback(gateway.chats.pass_by, None)
        try:
            await _begin(gateway, core, replica, stop or asyncio.Event())
            await listeners.start(gateway.app)
            async with kept.moving(core):
                yield gateway
        finally:
            await _take_down(gateway, replica, listeners)
            await traces.finish()
            await transport.close()


async def _take_down(gateway: Gateway, replica: Replica | None, listeners: Listeners) -> None:
    """End what works, then what answers: who is still connected is broken off, and is told so by his library."""
    await gateway.sweeper.stop()
    await gateway.engine.stop()
    if replica is not None:
        await replica.stop()
    await gateway.keeper.stop()
    await gateway.deliverer.stop()
    gateway.fetcher.close()
    cut = listeners.break_off()
    cut += await listeners.close()
    if cut:
        emit("server.cut_short", level="warning", answers=cut)


def _replica_of(dsn: str | None, clock: Clock) -> Replica | None:
    """What a process needs that shares its data; None: it is alone, and needs none of the libraries for that."""
    if dsn is None:
        return None
    check_installed()
    from holdfast.gateway.replicas import Replica

    return Replica(dsn, clock.monotonic)


class _StoppedEarly(Exception):
    """Told to end before anybody was served."""


async def _begin(gateway: Gateway, core: Core, replica: Replica | None, stop: asyncio.Event) -> None:
    """Do what must be done before callers come."""
    await gateway.keeper.start()
    if replica is not None:
        await replica.start(core, gateway.engine)
    await _start(gateway.engine, stop)
    gateway.sweeper.start()
    await gateway.deliverer.start()
    tune_malloc()
    tune_gc()


async def _start(engine: Engine, stop: asyncio.Event) -> None:
    """Put right what must be before callers come, unless it is told to end: thousands of answers take a while."""
    starting = asyncio.create_task(engine.start(BEFORE_CALLERS_S), name="start")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            raise _StoppedEarly
        starting.result()
    finally:
        for task in (starting, stopping):
            task.cancel()
        await asyncio.wait([starting, stopping])


def make(core: Core, listeners: Listeners, folder: DataFolder) -> Gateway:
    """Put engine and application together."""
    settings = core.settings
    engine = Engine(core, folder.free_bytes)
    wheel = BeatWheel(asyncio.get_running_loop())
    links = LinkMaker(settings, Signer(secrets=(("1", folder.secret),)), core.clock)
    auth = Authenticator(core.store, folder.secret, clock=core.clock, trusted=links.trusted)
    images = Images(core)
    generator = Generator(
        engine=engine,
        settings=settings,
        latencies=core.latencies,
        clock=core.clock,
        wheel=wheel,
        links=links,
        root=folder.paths.root,
        images=images,
    )
    if core.dispatcher.is_shared:
        core.asked_after, generator.fate_elsewhere = generator.asked_after, partial(fate_elsewhere, core)
    image_bytes_max = settings.store.image_bytes_max
    bodies = BodyReader(
        blobs=core.blobs,
        spool=core.spool,
        threads=core.blob_threads or core.threads,
        image_bytes_max=image_bytes_max,
    )
    deliverer = Deliverer(core, GuardedTransport(AddressRules.of(settings.webhooks)), folder.secret)
    routes = Routes(settings, converts=core.converter is not None)
    sweeper = Sweeper(core, engine.storage_low)
    generations = _generations(core, engine, auth, links, images, routes, wheel, Eraser(core, sweeper))
    fetcher = InputFetcher(core, GuardedTransport(AddressRules.of(settings.inputs)))
    webhooks = _webhooks(core, auth, bodies, deliverer, folder)
    surfaces = Surfaces(
        engine=engine,
        auth=auth,
        bodies=bodies,
        routes=routes,
        generator=generator,
        generations=generations,
        webhooks=webhooks,
        results=Results(engine=engine, auth=auth, generator=generator, links=links),
        fetcher=fetcher,
    )
    chats = Chats(
        auth=auth, bodies=bodies, routes=routes, generator=generator, earlier=generations, fetcher=fetcher, links=links
    )
    gate = Gate(auth=auth, trusted=links.trusted, anywhere=settings.server.admin_anywhere)
    pages = surfaces, chats, webhooks, LatencyPage(auth=auth, latencies=core.latencies, routes=routes, clock=core.clock)
    own = OwnUsagePage(auth=auth, store=core.store, clock=core.clock, currency=settings.money.currency)
    probes = Probes(auth=auth, settings=settings, clock=core.clock, wheel=wheel)
    admin = admin_api(
        core, engine, auth=auth, secret=folder.secret, links=links, routes=routes, generations=generations
    )
    metrics = MetricsPage(core, engine, auth=auth, wheel=wheel, disk=folder.free_bytes, trusted=links.trusted)
    return Gateway(
        app=app_of(core, *pages, own, probes, admin, metrics, console_for=gate),
        engine=engine,
        sweeper=sweeper,
        keeper=LatencyKeeper(core),
        generator=generator,
        generations=generations,
        listeners=listeners,
        deliverer=deliverer,
        fetcher=fetcher,
        chats=chats,
        renewal=Renewal(core, engine=engine, routes=routes, generator=generator, chats=chats),
        probes=probes,
        admin=admin,
        metrics=metrics,
    )


def _generations(
    core: Core,
    engine: Engine,
    auth: Authenticator,
    links: LinkMaker,
    images: Images,
    routes: Routes,
    wheel: BeatWheel,
    eraser: Eraser,
) -> Generations:
    return Generations(
        engine=engine,
        auth=auth,
        settings=core.settings,
        latencies=core.latencies,
        links=links,
        clock=core.clock,
        images=images,
        routes=routes,
        wheel=wheel,
        eraser=eraser,
    )


def _webhooks(
    core: Core, auth: Authenticator, bodies: BodyReader, deliverer: Deliverer, folder: DataFolder
) -> Webhooks:
    return Webhooks(
        store=core.store,
        auth=auth,
        bodies=bodies,
        deliverer=deliverer,
        settings=core.settings,
        clock=core.clock,
        secret=folder.secret,
    )


def app_of(core: Core, *pages: Page, console_for: Gate) -> App:
    """Make the application of everything that is served; the console shows what of it there is."""
    served = [each for page in pages for each in page.endpoints()]
    offers = ("thumbnails",) if core.thumbnails.is_available else ()
    served += Console(console_for, served, offers=offers).endpoints()
    served = served_by(core.settings.server.role, served)
    cors = core.settings.cors
    sharing = Sharing(origins=frozenset(cors.origins), credentials=cors.credentials) if cors.origins else None
    limit = core.settings.server.request_bytes_max
    return App(served, clock=core.clock, body_bytes_max=limit, sharing=sharing)


async def _first_key(store: Store, secret: bytes, clock: Clock, tell: Callable[[str], None] | None) -> None:
    """Make a key if the folder has none and there is somebody to show it to."""
    if tell is None or await store.read(count_keys) > 0:
        return
    key_id = clock.new_id("key")
    key = spell(key_id, clock.token(SECRET_BYTES))
    # Shown before it is valid: a crash in between costs a key that nobody could use, not one that nobody knows.
    tell(key)
    made_at = rfc3339(clock.now())
    await store.write(insert_key, key_id, digest_of(secret, key), "first", made_at, join_mode="all", is_admin=1)


async def _drain(gateway: Gateway, settings: Settings, signals: Signals, *, others_take: bool) -> None:
    """Take nothing new, wait for what is held; a second signal ends the waiting.

    With `others_take` callers find another gateway, and are sent there before.
    """
    engine = gateway.engine
    emit("server.draining", open=engine.open_generations, grace_s=settings.drain.grace_s)
    ending = asyncio.create_task(_leave(gateway, settings, others_take=others_take), name="drain")
    asked_again = asyncio.create_task(signals.second.wait(), name="second-signal")
    await asyncio.wait([ending, asked_again], return_when=asyncio.FIRST_COMPLETED)
    for task in (ending, asked_again):
        task.cancel()
    await asyncio.wait([ending, asked_again])
    if engine.open_generations:
        emit("server.cut_short", level="warning", open=engine.open_generations)
    if engine.open_generations or gateway.generator.is_waited_for:
        # Some wait for an image that is late: its generation has ended.
        gateway.generator.release()
        gateway.generations.waits.release()
        await _until_idle(gateway, FAREWELL_S)


async def _leave(gateway: Gateway, settings: Settings, *, others_take: bool) -> None:
    """Let callers go elsewhere, where there is an elsewhere; then wait for those that are held."""
    listeners = gateway.listeners
    if others_take and settings.server.role is not Role.WORK and settings.drain.accept_s:
        gateway.engine.is_leaving = True
        listeners.begin_to_leave()
        await asyncio.sleep(settings.drain.accept_s)
        listeners.listen_no_more()
        # A request that was on its way to a connection of just now is still taken.
        await asyncio.sleep(LAST_REQUESTS_S)
        listeners.hang_up()
    await _wait_for_the_held(gateway, settings.drain.grace_s)


async def _wait_for_the_held(gateway: Gateway, grace_s: float) -> None:
    gateway.probes.release()
    gateway.admin.release()
    if not await gateway.engine.drain(grace_s):
        return
    # Whoever was sent on before comes back for what is ready: within `GRACE_S`, or not at all.
    await gateway.generator.all_back()
    # Whoever still waits for a generation that nothing drives would wait for ever.
    gateway.generator.release()
    gateway.generations.waits.release()
    # The last images are stored; their callers are still being sent them.
    await _until_idle(gateway, ANSWER_S)


async def _until_idle(gateway: Gateway, within_s: float) -> None:
    idle = asyncio.create_task(gateway.app.idle.wait(), name="idle")
    try:
        await asyncio.wait([idle], timeout=within_s)
    finally:
        idle.cancel()
