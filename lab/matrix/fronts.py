"""What stands between client and gateway: real proxies, each with an idle limit of 3 s, each in a folder of its own.

A proxy is as its package has it, with what makes it a reverse proxy and its idle limit set, and what its name says.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "bench"))

import subjects

HOST = "127.0.0.1"
IDLE_S = 3
"""The idle limit of every proxy: 60 s of life."""
START_S = 20.0
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/local/sbin"


class FrontError(RuntimeError):
    """A proxy is missing, or did not start; says which, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a proxy is to run."""

    folder: Path
    port: int
    to_port: int
    certificate: tuple[Path, Path]
    """Certificate and its key."""


def _nginx(location: str = "", *, server: str = "", listen: str = "") -> Callable[[Place], list[str]]:
    def command(place: Place) -> list[str]:
        user = "user root root;\n" if os.geteuid() == 0 else ""
        cert, key = place.certificate
        temporary = "\n".join(
            f"  {name}_temp_path {place.folder / name};"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        tls = f"ssl_certificate {cert}; ssl_certificate_key {key};" if "ssl" in listen else ""
        config = f"""{user}daemon off;
worker_processes 1;
pid {place.folder / "nginx.pid"};
events {{ worker_connections 1024; }}
http {{
{temporary}
  access_log off;
  server {{
    listen {HOST}:{place.port}{listen};
    {tls}{server}
    location / {{
      proxy_pass http://{HOST}:{place.to_port};
      proxy_read_timeout {IDLE_S}s;
      {location}
    }}
  }}
}}
"""
        file = place.folder / "nginx.conf"
        file.write_text(config, "utf-8")
        return [_found("nginx"), "-p", str(place.folder), "-e", str(place.folder / "error.log"), "-c", str(file)]

    return command


def _haproxy(place: Place) -> list[str]:
    file = place.folder / "haproxy.cfg"
    file.write_text(
        f"""defaults
  mode http
  timeout connect 5s
  timeout client {IDLE_S}s
  timeout server {IDLE_S}s
frontend front
  bind {HOST}:{place.port}
  default_backend holdfast
backend holdfast
  server one {HOST}:{place.to_port}
""",
        "utf-8",
    )
    return [_found("haproxy"), "-db", "-f", str(file)]


def _apache(place: Place) -> list[str]:
    modules = Path("/usr/lib/apache2/modules")
    loaded = "\n".join(
        f"LoadModule {name}_module {modules}/mod_{name}.so"
        for name in ("mpm_event", "authz_core", "proxy", "proxy_http")
    )
    file = place.folder / "apache.conf"
    file.write_text(
        f"""ServerRoot {place.folder}
ServerName {HOST}
Listen {HOST}:{place.port}
PidFile {place.folder}/apache.pid
ErrorLog {place.folder}/error.log
DefaultRuntimeDir {place.folder}
{loaded}
{"User www-data" if os.geteuid() == 0 else ""}
{"Group www-data" if os.geteuid() == 0 else ""}
ProxyPass / http://{HOST}:{place.to_port}/
ProxyTimeout {IDLE_S}
""",
        "utf-8",
    )
    return [_found("apache2"), "-DFOREGROUND", "-f", str(file)]


def _caddy(place: Place) -> list[str]:
    file = place.folder / "Caddyfile"
    file.write_text(
        f"""{{
  admin off
  auto_https off
}}
http://{HOST}:{place.port} {{
  reverse_proxy {HOST}:{place.to_port} {{
    transport http {{
      read_timeout {IDLE_S}s
      response_header_timeout {IDLE_S}s
    }}
  }}
}}
""",
        "utf-8",
    )
    return [_found("caddy"), "run", "--config", str(file), "--adapter", "caddyfile"]


def _varnish(place: Place) -> list[str]:
    limits = ["-p", f"first_byte_timeout={IDLE_S}", "-p", f"between_bytes_timeout={IDLE_S}"]
    at = ["-a", f"{HOST}:{place.port}", "-b", f"{HOST}:{place.to_port}", "-n", str(place.folder / "varnish")]
    return [_found("varnishd"), "-F", *at, "-s", "malloc,64m", *limits]


def _varnish_piped(place: Place) -> list[str]:
    file = place.folder / "piped.vcl"
    file.write_text(
        f"""vcl 4.1;
backend default {{ .host = "{HOST}"; .port = "{place.to_port}"; }}
sub vcl_recv {{ if (req.method == "POST") {{ return (pipe); }} }}
""",
        "utf-8",
    )
    at = ["-a", f"{HOST}:{place.port}", "-f", str(file), "-n", str(place.folder / "varnish")]
    return [_found("varnishd"), "-F", *at, "-s", "malloc,64m", "-p", f"pipe_timeout={IDLE_S}"]


def _squid(place: Place) -> list[str]:
    file = place.folder / "squid.conf"
    file.write_text(
        f"""http_port {HOST}:{place.port} accel defaultsite={HOST} no-vhost
cache_peer {HOST} parent {place.to_port} 0 no-query originserver login=PASSTHRU
http_access allow all
read_timeout {IDLE_S} seconds
cache deny all
shutdown_lifetime 1 seconds
pid_filename none
access_log none
cache_log /dev/stderr
coredump_dir {place.folder}
visible_hostname matrix
""",
        "utf-8",
    )
    return [_found("squid"), "-N", "-f", str(file)]


def _found(program: str) -> str:
    found = shutil.which(program, path=PATH)
    if found is None:
        raise FrontError(f"{program} is missing; on Debian: apt-get install {_PACKAGES.get(program, program)}")
    return found


_PACKAGES = {"varnishd": "varnish"}
_VERSIONS = {"nginx": "-v", "haproxy": "-v", "apache2": "-v", "caddy": "version", "varnishd": "-V", "squid": "-v"}


def version_of(program: str) -> str:
    """Ask a proxy who it is."""
    done = subprocess.run([_found(program), _VERSIONS[program]], capture_output=True, text=True, check=False)
    numbers = re.search(r"\d+\.\d+(?:\.\d+)*", done.stdout + done.stderr)
    if numbers is None:
        raise FrontError(f"{program} does not say its version: {done.stdout}{done.stderr}")
    return numbers.group()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One proxy."""

    program: str
    command: Callable[[Place], list[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """One way to the gateway."""

    name: str
    title: str
    hops: tuple[Hop, ...]
    """The outer one first."""
    is_tls: bool = False
    said: str = ""
    """What is set besides the idle limit."""


_AS_DOCUMENTED = "proxy_http_version 1.1; proxy_set_header Host $http_host;"
_STOCK = Hop(program="nginx", command=_nginx())
_DOCUMENTED = Hop(program="nginx", command=_nginx(_AS_DOCUMENTED))
_GZIP = "gzip on; gzip_types application/json text/event-stream; gzip_min_length 0;"
_HAPROXY = Hop(program="haproxy", command=_haproxy)
FRONTS = (
    Front(name="none", title="none", hops=()),
    Front(name="nginx", title="nginx", hops=(_STOCK,), said="nothing: it buffers, and speaks HTTP/1.0 upstream"),
    Front(
        name="nginx-unbuffered",
        title="nginx, buffering off",
        hops=(Hop(program="nginx", command=_nginx("proxy_buffering off;")),),
        said="`proxy_buffering off`",
    ),
    Front(
        name="nginx-gzip",
        title="nginx, gzip on",
        hops=(Hop(program="nginx", command=_nginx(server=_GZIP)),),
        said=f"`{_GZIP}`",
    ),
    Front(
        name="nginx-h2",
        title="nginx, TLS and HTTP/2",
        hops=(Hop(program="nginx", command=_nginx(_AS_DOCUMENTED, listen=" ssl http2")),),
        is_tls=True,
        said=f"`listen … ssl http2; {_AS_DOCUMENTED}`",
    ),
    Front(name="haproxy", title="HAProxy", hops=(_HAPROXY,), said="`timeout client` is as short"),
    Front(name="apache", title="Apache", hops=(Hop(program="apache2", command=_apache),)),
    Front(
        name="caddy",
        title="Caddy",
        hops=(Hop(program="caddy", command=_caddy),),
        said="it has no idle limit of its own; `read_timeout` and `response_header_timeout` make one",
    ),
    Front(
        name="varnish",
        title="Varnish",
        hops=(Hop(program="varnishd", command=_varnish),),
        said="`first_byte_timeout` and `between_bytes_timeout`",
    ),
    Front(
        name="varnish-piped",
        title="Varnish, POST piped",
        hops=(Hop(program="varnishd", command=_varnish_piped),),
        said='`if (req.method == "POST") { return (pipe); }`, `pipe_timeout`',
    ),
    Front(
        name="squid",
        title="squid",
        hops=(Hop(program="squid", command=_squid),),
        said="as an accelerator; `login=PASSTHRU`: without it, it keeps `Authorization` to itself",
    ),
    Front(
        name="haproxy-nginx",
        title="HAProxy, then nginx",
        hops=(_HAPROXY, _STOCK),
        said="nothing",
    ),
    Front(
        name="nginx-nginx",
        title="nginx, then nginx",
        hops=(_DOCUMENTED, _DOCUMENTED),
        said=f"both: `{_AS_DOCUMENTED}`",
    ),
    Front(
        name="nginx-nginx-stock",
        title="nginx, then nginx, both as they come",
        hops=(_STOCK, _STOCK),
        said="nothing: each speaks HTTP/1.0 upstream and buffers",
    ),
)
PROGRAMS = tuple(dict.fromkeys(hop.program for front in FRONTS for hop in front.hops))


class Standing:
    """A front that runs."""

    def __init__(self, front: Front, folder: Path, to_port: int, certificate: tuple[Path, Path]) -> None:
        """Start its proxies, the inner one first.

        Raises:
            FrontError: One is missing, or does not start.
        """
        self._processes: list[subprocess.Popen[bytes]] = []
        self.port = to_port
        try:
            for number, hop in reversed(list(enumerate(front.hops))):
                self._start(hop, folder / f"{front.name}-{number}", certificate)
        except BaseException:
            self.stop()
            raise

    def _start(self, hop: Hop, folder: Path, certificate: tuple[Path, Path]) -> None:
        folder.mkdir(parents=True)
        place = Place(folder=folder, port=subjects.free_port(), to_port=self.port, certificate=certificate)
        log = folder / "log"
        homes = {name: str(folder) for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")}
        process = subjects.spawn(hop.command(place), core=None, log=log, env=homes)
        self._processes.append(process)
        until = time.monotonic() + START_S
        while True:
            if process.poll() is not None or time.monotonic() > until:
                raise FrontError(f"{hop.program} does not serve: {log.read_text(errors='replace')[-1500:]}")
            try:
                socket.create_connection((HOST, place.port), timeout=1.0).close()
                break
            except OSError:
                time.sleep(0.02)
        self.port = place.port

    def stop(self) -> None:
        """End its proxies."""
        while self._processes:
            subjects.end(self._processes.pop())


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for the loopback address, as a person would."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=holdfast", "-addext", f"subjectAltName=IP:{HOST}", "-days", "2"]
    subprocess.run([*command, *names, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    return cert, key
