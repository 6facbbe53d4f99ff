"""Starts the proxies of `deploy/proxies`, each in a folder, with a test's addresses in the places of those in its file.

`idle_s` takes the place of every 60 s: the limit that a held call has to outlive.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
READY_S = 20.0
END_S = 10.0
SEARCHED = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/local/sbin"
FILES = {"nginx": "nginx.conf", "haproxy": "haproxy.cfg", "caddy": "Caddyfile"}
GATEWAY = "127.0.0.1:16888"


def put(text: str, places: Mapping[str, str]) -> str:
    """Put something in the place of what stands in a file once, and nowhere else."""
    for old, new in places.items():
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
        text = text.replace(old, new)
    return text


def faster(text: str, idle_s: float) -> str:
    """Let every minute be shorter."""
    assert "60s" in text
    return text.replace("60s", f"{idle_s * 1000:.0f}ms")


class Front:
    """One of them."""

    def __init__(
        self, processes: Any, program: str, text: str, folder: Path, gateways: list[int], idle_s: float
    ) -> None:
        """Start it.

        Args:
            processes: The processes of the acceptance tests.
            program: Its name.
            text: Its file.
            folder: For what it writes; made.
            gateways: Ports behind it, in the place of the one that the file has.
            idle_s: Seconds.
        """
        self.folder = folder
        folder.mkdir(parents=True)
        (self.port,) = processes.free_ports(1)
        self.base_url = f"http://{HOST}:{self.port}"
        self._sink: socket.socket | None = None
        self._nginx: Any = None
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._start(processes, program, faster(text, idle_s), gateways)
        except BaseException:
            self.stop()
            raise

    def _start(self, processes: Any, program: str, text: str, gateways: list[int]) -> None:
        if program == "nginx":
            self._nginx = processes.Nginx(self.folder, self._for_nginx(text, gateways), [self.port])
            return
        made = self._for_haproxy(text, gateways) if program == "haproxy" else self._for_caddy(text, gateways)
        file = self.folder / FILES[program]
        file.write_text(made, "utf-8")
        options = {
            "haproxy": ["-db", "-f", str(file)],
            "caddy": ["run", "--config", str(file), "--adapter", "caddyfile"],
        }
        found = shutil.which(program, path=SEARCHED)
        assert found is not None, f"{program} is missing: apt-get install {program} (scripts/test does it as root)"
        homes = {name: str(self.folder) for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")}
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [found, *options[program]], env=processes.environment() | homes, stdout=log, stderr=log
            )
        self._reachable()

    def _for_nginx(self, text: str, gateways: list[int]) -> str:
        servers = "\n".join(f"server {HOST}:{port} max_fails=0;" for port in gateways)
        places = {"listen 80;": f"listen {HOST}:{self.port};", f"server {GATEWAY} max_fails=0;": servers}
        return put(text, places | {"/var/log/nginx/holdfast.log": str(self.folder / "log")})

    def _for_haproxy(self, text: str, gateways: list[int]) -> str:
        self._sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sink.bind((HOST, 0))
        log = f"log {HOST}:{self._sink.getsockname()[1]} local0"
        servers = "\n".join(f"    server g{at} {HOST}:{port}" for at, port in enumerate(gateways))
        text = put(text, {"log /dev/log local0": log, "    bind :80\n": f"    bind {HOST}:{self.port}\n"})
        return put(text, {f"    server one {GATEWAY}": servers})

    def _for_caddy(self, text: str, gateways: list[int]) -> str:
        upstreams = " ".join(f"{HOST}:{port}" for port in gateways)
        places = {"images.example.com {": f"http://{HOST}:{self.port} {{", f"to {GATEWAY}": f"to {upstreams}"}
        return put(text, places | {"{\n\tservers": "{\n\tadmin off\n\tservers"})

    def _reachable(self) -> None:
        assert self._process is not None
        until = time.monotonic() + READY_S
        while True:
            assert self._process.poll() is None, self.logged()
            try:
                socket.create_connection((HOST, self.port), timeout=1.0).close()
                return
            except OSError:
                assert time.monotonic() < until, self.logged()
                time.sleep(0.02)

    def logged(self) -> str:
        """Give what it has written of requests, and of itself."""
        log = self.folder / "log"
        lines = [log.read_text("utf-8", "replace")] if log.exists() else []
        if self._sink is not None:
            self._sink.settimeout(0.2)
            try:
                while True:
                    lines.append(self._sink.recv(65536).decode("utf-8", "replace"))
            except TimeoutError:
                # Nothing more has come.
                pass
        return "\n".join(lines)

    def stop(self) -> None:
        """End it."""
        if self._nginx is not None:
            self._nginx.stop()
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(END_S)
            finally:
                self._process.kill()
                self._process.wait()
        if self._sink is not None:
            self._sink.close()
