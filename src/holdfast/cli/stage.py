"""What the demo is played on: a simulated upstream, paths that cut idle connections, a gateway. All in one process."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from holdfast.cli.exits import Exit, Stop
from holdfast.cli.loop import ENDS, interrupted, told_of_drain
from holdfast.cli.ports import port_refused
from holdfast.config import Provider, Settings, parse, with_provider_keys
from holdfast.log import setup

if TYPE_CHECKING:
    from holdfast.gateway.server import Running
    from holdfast.simulator.server import Simulator

T = TypeVar("T")

HOST = "127.0.0.1"
SPEED = 8.0
SEED = 16888
IDLE_CUT_S = 60.0 / SPEED
"""The idle timer of AWS ALB and of nginx, eight times as fast."""
FIRST_BEAT_S = 20.0 / SPEED
BEAT_S = 10.0 / SPEED


def simulator_class() -> type[Simulator]:
    """Give the simulator, if what it draws with is installed.

    Raises:
        Stop: It is not.
    """
    if importlib.util.find_spec("PIL") is None:
        raise Stop(Exit.SETTINGS, "The simulator draws with Pillow. Install it: pip install 'holdfast[demo]'.")
    from holdfast.simulator.server import Simulator

    return Simulator


@asynccontextmanager
async def simulated() -> AsyncIterator[int]:
    """Run the simulated upstream on a free port."""
    simulator = simulator_class()(speed=SPEED, seed=SEED, scenario="steady")
    port = await simulator.start(HOST, 0)
    try:
        yield port
    finally:
        await simulator.close()


@asynccontextmanager
async def cutting_path(to_port: int) -> AsyncIterator[int]:
    """Run a path to a port of this machine that cuts connections which are silent for `IDLE_CUT_S`."""
    from holdfast.simulator import path

    cutting = path.Path(HOST, to_port, idle_s=IDLE_CUT_S)
    port = await cutting.start(HOST, 0)
    try:
        yield port
    finally:
        await cutting.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """A gateway that answers."""

    running: Running
    task: asyncio.Task[int]

    @property
    def port(self) -> int:
        """Its plain port."""
        return self.running.listeners[0].port

    @property
    def base_url(self) -> str:
        """What an OpenAI SDK is given."""
        return f"{self.running.base_url}/v1"

    async def until_ended(self) -> None:
        """Wait for its end: Ctrl-C or SIGTERM, which the gateway takes itself.

        Raises:
            KeyboardInterrupt: It did not wait for what it held.
        """
        with told_of_drain() as drained:
            await asyncio.wait([self.task])
        if drained.is_cut_short:
            raise KeyboardInterrupt

    async def while_serving(self, work: Awaitable[T]) -> T:
        """Do something while it serves; a signal meanwhile ends both at once, whatever is held.

        Raises:
            KeyboardInterrupt: It was told to end before that was done.
        """
        doing = asyncio.ensure_future(work)
        asked = asyncio.create_task(interrupted(), name="interrupted")
        await asyncio.wait([doing, asked, self.task], return_when=asyncio.FIRST_COMPLETED)
        is_done = doing.done()
        for task in (doing, asked):
            task.cancel()
        await asyncio.wait([doing, asked])
        loop = asyncio.get_running_loop()
        for number in ENDS:
            loop.add_signal_handler(number, self.running.stop)
        if is_done:
            return doing.result()
        # Nothing was paid, and whoever leaves the demo has no use for what it leaves behind: no draining, no log of it.
        setup("error", "auto")
        self.running.stop()
        raise KeyboardInterrupt


@asynccontextmanager
async def gateway(settings: Settings) -> AsyncIterator[Serving]:
    """Run a gateway.

    Raises:
        Stop: Its port is taken.
        StorageError: Its data folder cannot be used.
    """
    from holdfast.gateway.serve import serve

    setup(settings.log.level, settings.log.format)
    started: asyncio.Future[Running] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(settings, ready=started.set_result), name="gateway")
    either: list[asyncio.Future[Any]] = [started, task]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if not started.done():
        try:
            task.result()
        except OSError as error:
            raise port_refused(error, settings.server.host, settings.server.port) from error
        raise KeyboardInterrupt
    running = started.result()
    try:
        yield Serving(running=running, task=task)
    finally:
        running.stop()
        await asyncio.wait([task])


def demo_settings(usual: Settings, *, upstream_port: int, port: int, data: Path) -> Settings:
    """Make the settings of the gateway that is shown: every model, all of them from the simulated upstream.

    Args:
        usual: The person's own settings; only the address to listen on is taken from them.
        upstream_port: Where the simulated upstream listens.
        port: Where the gateway shall listen.
        data: Its data folder.
    """
    settings = parse(
        {
            "server": {"host": usual.server.host, "port": port},
            "heartbeat": {"first_beat_s": FIRST_BEAT_S, "beat_s": BEAT_S},
            "store": {"data": str(data)},
            "drain": {"grace_s": 3.0},
            "latency": {"scale": 1.0 / SPEED},
            "log": {"level": "warning"},
        }
    )
    settings = with_provider_keys(settings, {"GEMINI_API_KEY": "simulated", "OPENAI_API_KEY": "simulated"})
    base_url = f"http://{HOST}:{upstream_port}"
    upstreams = tuple(
        replace(
            upstream,
            base_url=f"{base_url}/v1" if upstream.provider is Provider.OPENAI else base_url,
            keys=("simulated",),
        )
        for upstream in settings.upstreams
    )
    return replace(settings, upstreams=upstreams)


def real_settings(usual: Settings, environ: Mapping[str, str], *, port: int, data: Path) -> Settings | None:
    """Make the settings of the gateway that goes on serving with real keys; None when there are none."""
    settings = with_provider_keys(usual, environ)
    if not settings.upstreams:
        return None
    return replace(settings, server=replace(settings.server, port=port), store=replace(settings.store, data=data))
