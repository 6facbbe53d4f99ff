"""C12: relays mishandle RST_STREAM, WINDOW_UPDATE and GOAWAY of HTTP/2."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, NamedTuple

import frames
import servers
from clients import Missing
from judgement import Judgement, figures_table

CLAIM = "relays mishandle RST_STREAM, WINDOW_UPDATE and GOAWAY"
METHOD = (
    "Four proxies that relays are built of speak HTTP/2 to a client made for this, in front of a server that is silent "
    "before it answers. RST_STREAM: one of two waiting calls is given up; the other one and a later one must be "
    "answered. WINDOW_UPDATE: an answer of 8 MB is read through a window of 16 KiB that stays shut for 2 s in between; "
    "it must arrive whole, and never more than was granted. GOAWAY: the proxy is told to end in good order while a "
    "call waits; it must say so (GOAWAY) and still answer it."
)
LIMITS = (
    "The proxies that Debian has, by HTTP/2 without TLS (h2c), and no relay of anybody's own making: what those run "
    "cannot be seen from here. Caddy over TLS may end in better order; that was not run."
)
BODY_BYTES = 8_000_000
WINDOW_BYTES = 16_384
SHUT_S = 2.0
HELD_S = 4.0
PATIENCE_S = 60.0
TESTS = ("RST_STREAM", "WINDOW_UPDATE", "GOAWAY")


class Proxy(NamedTuple):
    """One of them."""

    name: str
    program: str
    config: Callable[[Path, int, int], tuple[str, ...]]
    """From its folder, its port and the server's: its arguments; it writes its file."""
    ends: signal.Signals
    """What asks it to end when it has answered everything."""


def _nginx(folder: Path, port: int, to_port: int) -> tuple[str, ...]:
    parts = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{part}_temp_path {folder}/{part};" for part in parts)
    (folder / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;\nevents {{ }}\n"
        f"http {{ access_log off; {temporary}\n"
        f"server {{ listen {servers.HOST}:{port} http2;\n"
        f"location / {{ proxy_pass http://{servers.HOST}:{to_port}; }} }} }}\n"
    )
    return "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")


def _haproxy(folder: Path, port: int, to_port: int) -> tuple[str, ...]:
    (folder / "haproxy.cfg").write_text(
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n"
        f"frontend front\n  bind {servers.HOST}:{port} proto h2\n  default_backend back\n"
        f"backend back\n  server one {servers.HOST}:{to_port}\n"
    )
    return "-db", "-f", str(folder / "haproxy.cfg")


def _caddy(folder: Path, port: int, to_port: int) -> tuple[str, ...]:
    (folder / "Caddyfile").write_text(
        "{\n  admin off\n  auto_https off\n  servers {\n    protocols h1 h2c\n  }\n}\n"
        f"http://{servers.HOST}:{port} {{\n  reverse_proxy {servers.HOST}:{to_port}\n}}\n"
    )
    return "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"


def _apache(folder: Path, port: int, to_port: int) -> tuple[str, ...]:
    modules = Path("/usr/lib/apache2/modules")
    names = ("mpm_event", "authz_core", "http2", "proxy", "proxy_http")
    loaded = "\n".join(f"LoadModule {name}_module {modules}/mod_{name}.so" for name in names)
    user = "User www-data\nGroup www-data\n" if os.geteuid() == 0 else ""
    (folder / "apache.conf").write_text(
        f"ServerRoot {folder}\nServerName {servers.HOST}\nListen {servers.HOST}:{port}\nPidFile {folder}/apache.pid\n"
        f"ErrorLog {folder}/error.log\nDefaultRuntimeDir {folder}\n{loaded}\n{user}Protocols h2c http/1.1\n"
        f"ProxyPass / http://{servers.HOST}:{to_port}/\n"
    )
    return "-DFOREGROUND", "-f", str(folder / "apache.conf")


PROXIES = (
    Proxy(name="nginx", program="nginx", config=_nginx, ends=signal.SIGQUIT),
    Proxy(name="HAProxy", program="haproxy", config=_haproxy, ends=signal.SIGUSR1),
    Proxy(name="Apache", program="apache2", config=_apache, ends=signal.SIGWINCH),
    Proxy(name="Caddy", program="caddy", config=_caddy, ends=signal.SIGTERM),
)


@contextlib.asynccontextmanager
async def running(proxy: Proxy, to_port: int) -> AsyncIterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run one in front of a port as long as the block does."""
    program = shutil.which(proxy.program, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise Missing(f"{proxy.program} is not installed")
    port = servers.free_port()
    with tempfile.TemporaryDirectory(prefix="claims-c12-") as name:
        folder = Path(name)
        # Apache's children are somebody else.
        await asyncio.to_thread(folder.chmod, 0o755)
        with (folder / "said.log").open("wb") as log:
            command = [program, *proxy.config(folder, port, to_port)]
            process = await asyncio.to_thread(subprocess.Popen, command, stdout=log, stderr=log, start_new_session=True)
        try:
            await servers.listening(port, process)
            yield port, process
        finally:
            # Its children too: Apache's outlive it while they wait for an answer that nobody wants.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await asyncio.to_thread(process.wait, servers.START_S)


async def _ended(stream: frames.Stream) -> bool:
    """Wait for the end of an answer; say whether it is a whole one."""
    try:
        await asyncio.wait_for(stream.done.wait(), PATIENCE_S)
    except TimeoutError:
        return False
    return stream.status == 200 and stream.is_whole


async def reset(port: int) -> tuple[bool, str]:
    """Give one of two up."""
    async with frames.connected(servers.HOST, port) as client:
        given_up, kept = client.get("/?s=30"), client.get("/?s=2")
        await asyncio.sleep(0.5)
        client.reset(given_up)
        neighbour = await _ended(client.streams[kept])
        later = await _ended(client.streams[client.get("/?s=0")])
    return neighbour and later, f"the neighbour {_word(neighbour)}, a later call {_word(later)}"


async def windows(port: int) -> tuple[bool, str]:
    """Read slowly, with a window that is shut for a while."""
    async with frames.connected(servers.HOST, port, window_bytes=WINDOW_BYTES) as client:
        client.granted_at_once = False
        number = client.get(f"/?s=0&bytes={BODY_BYTES}")
        stream = client.streams[number]
        begun_at, has_paused = time.monotonic(), False
        while not stream.done.is_set() and time.monotonic() - begun_at < PATIENCE_S:
            if stream.body_bytes > BODY_BYTES // 2 and not has_paused:
                has_paused = True
                await asyncio.sleep(SHUT_S)
            client.grant_owed(number, WINDOW_BYTES)
            await asyncio.sleep(0)
    is_whole = stream.is_whole and stream.body_bytes == BODY_BYTES
    return is_whole, f"{stream.body_bytes:,} of {BODY_BYTES:,} bytes"


async def goodbye(proxy: Proxy, to_port: int) -> tuple[bool, str]:
    """Ask it to end while a call waits."""
    async with running(proxy, to_port) as (port, process), frames.connected(servers.HOST, port) as client:
        stream = client.streams[client.get(f"/?s={HELD_S:g}")]
        await asyncio.sleep(1.0)
        process.send_signal(proxy.ends)
        is_answered = await _ended(stream)
        # It may be told before the answer, or behind it.
        for _ in range(100):
            if client.goaway_last is not None or client.is_closed:
                break
            await asyncio.sleep(0.05)
        has_said = client.goaway_last is not None
    return is_answered and has_said, f"the call {_word(is_answered)}, {'GOAWAY' if has_said else 'no GOAWAY'}"


def _word(is_answered: bool) -> str:
    return "was answered" if is_answered else "was lost"


async def measure(wait_s: float) -> dict[str, Any]:
    """Put every proxy through all three."""
    del wait_s
    rows = []
    async with servers.silent() as server:
        for proxy in PROXIES:
            async with running(proxy, server.port) as (port, _):
                tells = [await reset(port), await windows(port)]
            tells.append(await goodbye(proxy, server.port))
            for test, (holds, what) in zip(TESTS, tells, strict=True):
                rows.append({"proxy": proxy.name, "test": test, "holds": holds, "what": what})
    return {"rows": rows, "versions": {proxy.name: _version(proxy) for proxy in PROXIES}}


def _version(proxy: Proxy) -> str:
    words = {"caddy": ("version",)}.get(proxy.program, ("-v",))
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    said = subprocess.run(
        [shutil.which(proxy.program, path=path) or proxy.program, *words], capture_output=True, text=True, check=True
    )
    line = (said.stdout + said.stderr).strip().splitlines()[0]
    return next(word.strip("v").rpartition("/")[2] for word in line.split() if any(char.isdigit() for char in word))


def judge(figures: dict[str, Any]) -> Judgement:
    """False if all of them do all of it right."""
    wrong = [row for row in figures["rows"] if not row["holds"]]
    word = "false" if not wrong else "true" if len(wrong) == len(figures["rows"]) else "partly"
    told = "; ".join(f"{row['proxy']}, {row['test']}: {row['what']}" for row in wrong)
    right = len(figures["rows"]) - len(wrong)
    return Judgement(
        word=word,
        why=f"{right} of {len(figures['rows'])} went as they should{f', all but these: {told}' if told else ''}.",
        advice="What a relay loses is rather lost by limits of time (C7, C10) than by frames; where a connection ends "
        "all the same, ask again under the same key.",
    )


def table(figures: dict[str, Any]) -> str:
    """Write what came of each."""
    rows = [(row["proxy"], row["test"], "yes" if row["holds"] else "**no**", row["what"]) for row in figures["rows"]]
    return figures_table(("proxy", "frame", "as it should be", "what came of it"), rows)
