"""What stands on a path: real proxies in folders of their own, and connections that close, reset or forget.

A proxy is as its package has it, with what makes it a reverse proxy, and its limit on silence set.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.simulator.path import Harm
from holdfast.simulator.path import Path as Line

HOST = "127.0.0.1"
START_S = 40.0
SEARCHED = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One of a path."""

    kind: str
    """`nginx`, `haproxy`, `apache`, `caddy`, `varnish`, `squid`; `closer`, `resetter`, `forgetter`."""
    limit_s: float
    """Silence after which it ends a call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spot:
    folder: Path
    port: int
    to_port: int
    limit_s: float

    def write(self, name: str, text: str) -> str:
        """Keep a configuration."""
        file = self.folder / name
        file.write_text(text, "utf-8")
        return str(file)


def _nginx(spot: _Spot) -> list[str]:
    user = "user root root;" if os.geteuid() == 0 else ""
    names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = " ".join(f"{name}_temp_path {spot.folder / name};" for name in names)
    # Milliseconds: nginx takes them, and a limit that was drawn is no whole number.
    file = spot.write(
        "nginx.conf",
        f"""{user} daemon off; worker_processes 1; pid {spot.folder}/nginx.pid;
events {{ worker_connections 512; }}
http {{ {temporary} access_log off; server {{ listen {HOST}:{spot.port};
  location / {{ proxy_pass http://{HOST}:{spot.to_port}; proxy_read_timeout {spot.limit_s * 1000:.0f}ms; }} }} }}
""",
    )
    return ["nginx", "-p", str(spot.folder), "-e", f"{spot.folder}/error.log", "-c", file]


def _haproxy(spot: _Spot) -> list[str]:
    milliseconds = f"{spot.limit_s * 1000:.0f}ms"
    file = spot.write(
        "haproxy.cfg",
        f"""defaults
  mode http
  option forwardfor
  timeout connect 5s
  timeout client 300s
  timeout server {milliseconds}
frontend front
  bind {HOST}:{spot.port}
  default_backend holdfast
backend holdfast
  server one {HOST}:{spot.to_port}
""",
    )
    return ["haproxy", "-db", "-f", file]


def _apache(spot: _Spot) -> list[str]:
    modules = "/usr/lib/apache2/modules"
    names = ("mpm_event", "authz_core", "proxy", "proxy_http")
    loaded = "\n".join(f"LoadModule {name}_module {modules}/mod_{name}.so" for name in names)
    whose = "User www-data\nGroup www-data" if os.geteuid() == 0 else ""
    file = spot.write(
        "apache.conf",
        f"""ServerRoot {spot.folder}
ServerName {HOST}
Listen {HOST}:{spot.port}
PidFile {spot.folder}/apache.pid
ErrorLog {spot.folder}/error.log
DefaultRuntimeDir {spot.folder}
{loaded}
{whose}
ProxyPass / http://{HOST}:{spot.to_port}/
ProxyTimeout {spot.limit_s:.0f}
""",
    )
    return ["apache2", "-DFOREGROUND", "-f", file]


def _caddy(spot: _Spot) -> list[str]:
    file = spot.write(
        "Caddyfile",
        f"""{{
  admin off
  auto_https off
}}
http://:{spot.port} {{
  bind {HOST}
  reverse_proxy {HOST}:{spot.to_port} {{
    transport http {{
      read_timeout {spot.limit_s:.3f}s
      response_header_timeout {spot.limit_s:.3f}s
    }}
  }}
}}
""",
    )
    return ["caddy", "run", "--config", file, "--adapter", "caddyfile"]


def _varnish(spot: _Spot) -> list[str]:
    limits = [part for name in ("first_byte", "between_bytes") for part in ("-p", f"{name}_timeout={spot.limit_s:.3f}")]
    at = ["-a", f"{HOST}:{spot.port}", "-b", f"{HOST}:{spot.to_port}", "-n", str(spot.folder / "varnish")]
    return ["varnishd", "-F", *at, "-s", "malloc,32m", *limits]


def _squid(spot: _Spot) -> list[str]:
    file = spot.write(
        "squid.conf",
        f"""http_port {HOST}:{spot.port} accel defaultsite={HOST} no-vhost
cache_peer {HOST} parent {spot.to_port} 0 no-query originserver
http_access allow all
read_timeout {spot.limit_s:.0f} seconds
cache deny all
shutdown_lifetime 1 seconds
pid_filename none
access_log none
cache_log /dev/stderr
coredump_dir {spot.folder}
visible_hostname lab
""",
    )
    return ["squid", "-N", "-f", file]


COMMANDS: Mapping[str, Callable[[_Spot], list[str]]] = {
    "nginx": _nginx,
    "haproxy": _haproxy,
    "apache": _apache,
    "caddy": _caddy,
    "varnish": _varnish,
    "squid": _squid,
}
HARMS: Mapping[str, Harm] = {"closer": Harm.END, "resetter": Harm.RESET, "forgetter": Harm.STALL}


class HopError(RuntimeError):
    """A proxy is missing, or did not start."""


@contextlib.asynccontextmanager
async def standing(hops: tuple[Hop, ...], to_port: int, folder: Path) -> AsyncIterator[int]:
    """Start a path's hops, the innermost first, in front of a port; give the port of the outermost.

    Raises:
        HopError: One is missing, or did not start, with what it said.
    """
    async with contextlib.AsyncExitStack() as stack:
        port = to_port
        for number, hop in reversed(list(enumerate(hops))):
            own = folder / f"{number}-{hop.kind}"
            own.mkdir(parents=True)
            port = await stack.enter_async_context(_line(hop, port) if hop.kind in HARMS else _proxy(hop, port, own))
        yield port


@contextlib.asynccontextmanager
async def _line(hop: Hop, to_port: int) -> AsyncIterator[int]:
    line = Line(HOST, to_port, idle_s=hop.limit_s, idle_harm=HARMS[hop.kind])
    try:
        yield await line.start(HOST, 0)
    finally:
        await line.close()


@contextlib.asynccontextmanager
async def _proxy(hop: Hop, to_port: int, folder: Path) -> AsyncIterator[int]:
    spot = _Spot(folder=folder, port=_free_port(), to_port=to_port, limit_s=hop.limit_s)
    program, *words = COMMANDS[hop.kind](spot)
    found = shutil.which(program, path=SEARCHED)
    if found is None:
        raise HopError(f"{program} is missing; scripts/test installs it")
    environ = {**os.environ, **{name: str(folder) for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")}}
    log = folder / "log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(found, *words, env=environ, stdout=out, stderr=out)
    try:
        await _serves(spot.port, process, hop, log)
        yield spot.port
    finally:
        await _end(process)


async def _serves(port: int, process: Any, hop: Hop, log: Path) -> None:
    loop = asyncio.get_running_loop()
    until_s = loop.time() + START_S
    while True:
        if process.returncode is not None or loop.time() > until_s:
            raise HopError(f"{hop.kind} does not serve: {_end_of(log)}")
        try:
            _, writer = await asyncio.open_connection(HOST, port)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        writer.close()
        return


def _end_of(log: Path) -> str:
    return log.read_text("utf-8", "replace")[-1500:]


async def _end(process: Any) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(8.0):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        return int(sock.getsockname()[1])
