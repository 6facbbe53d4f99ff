"""C4: HTTP/2 succeeds 60-70 % of the time on 4K, HTTP/1.1 over 95 %."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import link
import servers
from judgement import Judgement, figures_table

CLAIM = "HTTP/2 succeeds 60-70 % of the time on 4K, HTTP/1.1 over 95 % (loss of one packet stalls all streams)"
METHOD = (
    "Three 4K PNG are fetched at the same time (`curl --parallel`, TLS) over a link of 100 Mbit/s with a round "
    "trip of 50 ms, "
    "a queue of 50 ms and independent loss each way: with HTTP/1.1 over three connections, with HTTP/2 over one. "
    "The server "
    "is nginx, its sender cubic, reno or BBR in turn; beside it holdfast, which serves HTTP/1.1. A fetch that is "
    "not done "
    "after 180 s counts as failed."
)
LIMITS = "Independent loss; real loss comes in bursts. One receiver, one kernel, few rounds."
SENDERS = ("cubic", "reno", "bbr")
LOSSES = (0.0, 0.01, 0.03)
ROUNDS = 2
AT_ONCE = 3
CAP_S = 180.0
START_S = 30.0
KEY_LINE = re.compile(r"^(\S+) (\d+) (\S+) (\d+) (\d+)$", re.MULTILINE)


class Namespaces:
    """Two, with names of this process; gone with the block."""

    def __init__(self) -> None:
        self.server = f"hf-claims-s{os.getpid()}"
        self.client = f"hf-claims-c{os.getpid()}"

    def __enter__(self) -> Namespaces:
        for name in (self.server, self.client):
            subprocess.run(["ip", "netns", "add", name], check=True)
            subprocess.run(within(name, "ip", "link", "set", "lo", "up"), check=True)
        return self

    def __exit__(self, *_: object) -> None:
        for name in (self.server, self.client):
            subprocess.run(["ip", "netns", "del", name], check=True)


@contextlib.asynccontextmanager
async def joined(names: Namespaces, *, loss: float, congestion: str, seed: int) -> AsyncIterator[None]:
    """Have the link between them as long as the block runs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, link.__file__, "--server", names.server, "--client", names.client),
        *("--loss", str(loss), "--congestion", congestion, "--seed", str(seed)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        said = await asyncio.wait_for(process.stdout.readline(), START_S)
        if said.strip() != b"ready":
            raise OSError("the link could not be made: root and /dev/net/tun are needed")
        yield
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


@contextlib.contextmanager
def started(command: Sequence[str], folder: Path, log: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program as long as the block does."""
    clean = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    with (folder / log).open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd=folder, env=clean)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(START_S)


def within(name: str, *command: str) -> list[str]:
    """Run it within a namespace."""
    return ["ip", "netns", "exec", name, *command]


def nginx_config(folder: Path, cert: Path, key: Path) -> Path:
    """Write one that serves a folder over TLS, with HTTP/2 offered."""
    path = folder / "nginx.conf"
    path.write_text(
        f"daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log; user root;\n"
        f"events {{ }}\nhttp {{ access_log off; client_body_temp_path {folder}; proxy_temp_path {folder}; "
        f"fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};\n"
        f"server {{ listen 443 ssl http2; ssl_certificate {cert}; ssl_certificate_key {key}; root {folder}; }} }}\n"
    )
    return path


def holdfast_config(folder: Path, cert: Path, key: Path, congestion: str, upstream: str) -> Path:
    """Write one whose upstream is the simulator."""
    path = folder / "holdfast.toml"
    path.write_text(
        f'[server]\nhost = "0.0.0.0"\nport = 8080\ntls_port = 8443\ntls_cert = "{cert}"\ntls_key = "{key}"\n'
        f'congestion = "{congestion}"\n'
        f'[[upstreams]]\nname = "simulator"\nprovider = "gemini"\nbase_url = "{upstream}"\n'
        'keys = ["sk-simulator"]\n[[routes]]\nmodel = "nano-banana-pro"\n'
        'upstreams = [{ upstream = "simulator", model = "gemini-3-pro-image" }]\n'
    )
    return path


class House:
    """What stands in the server's namespace: nginx with the picture, and a holdfast that has it too."""

    def __init__(self, names: Namespaces, folder: Path) -> None:
        self.names = names
        self.folder = folder
        self.cert, self.cert_key = servers.certificate(folder)
        self.key = ""
        self.path = ""

    @contextlib.asynccontextmanager
    async def nginx(self) -> AsyncIterator[None]:
        """Serve the picture."""
        config = nginx_config(self.folder, self.cert, self.cert_key)
        command = within(self.names.server, "nginx", "-c", str(config), "-e", str(self.folder / "error.log"))
        with started(command, self.folder, "nginx.log"):
            await asyncio.sleep(1.0)
            yield

    @contextlib.asynccontextmanager
    async def holdfast(self, congestion: str) -> AsyncIterator[None]:
        """Serve from the same data folder each time; the picture is made once."""
        program = [sys.executable, "-m", "holdfast.cli.main"]
        simulate = [*program, "simulate", "--port", "9090", "--speed", "200"]
        config = holdfast_config(self.folder, self.cert, self.cert_key, congestion, "http://127.0.0.1:9090")
        serve = [*program, "serve", "--config", str(config), "--data", str(self.folder / "data")]
        with (
            started(within(self.names.server, *simulate), self.folder, "simulate.log"),
            started(within(self.names.server, *serve), self.folder, "serve.log"),
        ):
            await asyncio.to_thread(self._ready)
            yield

    def _ready(self) -> None:
        key_file, until = self.folder / "data" / "first.key", time.monotonic() + START_S
        while True:
            self.key = key_file.read_text("ascii").strip() if key_file.exists() else ""
            if self.key and self._curl("/readyz") is not None:
                return
            if time.monotonic() > until:
                raise OSError("holdfast does not serve: " + (self.folder / "serve.log").read_text()[-500:])
            time.sleep(0.2)

    def _curl(self, path: str, *more: str) -> bytes | None:
        command = within(self.names.server, "curl", "--silent", "--fail-with-body", *more)
        command += ["-H", f"Authorization: Bearer {self.key}", f"http://127.0.0.1:8080{path}"]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode != 0 and more:
            raise OSError(f"holdfast refused: {done.stdout.decode(errors='replace')[:300]}")
        return done.stdout if done.returncode == 0 else None

    async def make_picture(self) -> int:
        """Let holdfast make it, give nginx the same bytes; return how many they are."""
        asked = json.dumps({"model": "nano-banana-pro", "prompt": "a lighthouse", "size": "4K"})
        async with self.holdfast("cubic"):
            head = ("-H", "Content-Type: application/json", "-H", "Prefer: wait=60", "-d", asked)
            said = await asyncio.to_thread(self._curl, "/v1/generations", *head)
            assert said is not None, "a generation was made"
            id_ = json.loads(said)["id"]
            self.path = f"/v1/generations/{id_}/images/0"
            picture = None
            while picture is None:
                picture = await asyncio.to_thread(self._curl, self.path)
                await asyncio.sleep(0.2)
        (self.folder / "picture.png").write_bytes(picture)
        return len(picture)


async def fetch(names: Namespaces, version: str, url: str, count: int, bytes_: int, key: str) -> list[float | None]:
    """Fetch so many at once; return seconds each, None for one that was not whole in time."""
    process = await asyncio.create_subprocess_exec(
        *within(
            names.client,
            "curl",
            "--no-progress-meter",
            "--insecure",
            f"--http{version}",
            "--parallel",
            "--parallel-max",
            "10",
        ),
        *("--max-time", str(CAP_S), "--output", "/dev/null", "-H", f"Authorization: Bearer {key}"),
        *("--write-out", "%{time_total} %{size_download} %{http_version} %{http_code} %{num_connects}\\n"),
        f"{url}?[1-{count}]",
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    tells = KEY_LINE.findall(out.decode())
    assert len(tells) == count, f"{len(tells)} of {count} told: {out.decode()[:300]}"
    assert all(told[2] == version for told in tells), "the version asked for was spoken"
    return [float(told[0]) if int(told[1]) == bytes_ and told[3] == "200" else None for told in tells]


async def measure(wait_s: float) -> dict[str, Any]:
    """Go through senders, losses and versions."""
    del wait_s
    rows: dict[tuple[str, str, float, str], list[float | None]] = {}
    with Namespaces() as names, tempfile.TemporaryDirectory(prefix="claims-c4-") as folder:
        house = House(names, Path(folder))
        bytes_ = await house.make_picture()
        for number in range(ROUNDS):
            for congestion in SENDERS:
                for loss in LOSSES:
                    async with joined(names, loss=loss, congestion=congestion, seed=number):
                        async with house.nginx():
                            for version in ("1.1", "2"):
                                url = f"https://{link.SERVER_IP}/picture.png"
                                took = await fetch(names, version, url, AT_ONCE, bytes_, "none")
                                rows.setdefault(("nginx", congestion, loss, version), []).extend(took)
                        async with house.holdfast(congestion):
                            url = f"https://{link.SERVER_IP}:8443{house.path}"
                            took = await fetch(names, "1.1", url, AT_ONCE, bytes_, house.key)
                            rows.setdefault(("holdfast", congestion, loss, "1.1"), []).extend(took)
                    print(f"  c4: round {number + 1}, {congestion}, {loss:.0%} loss", flush=True)
    found = [
        {"server": server, "sender": sender, "loss": loss, "version": version, "seconds": took}
        for (server, sender, loss, version), took in rows.items()
    ]
    return {"bytes": bytes_, "rows": found, "versions": {"nginx": servers.nginx_version(), "curl": _curl_version()}}


def _curl_version() -> str:
    said = subprocess.run(["curl", "--version"], capture_output=True, text=True, check=True).stdout
    return said.split()[1]


def share(row: dict[str, Any], within_s: float = CAP_S) -> float:
    """Of a row's fetches, those that were whole in time."""
    return sum(each is not None and each <= within_s for each in row["seconds"]) / len(row["seconds"])


def median_s(row: dict[str, Any]) -> float | None:
    """Of a row's fetches; None: more than half were not whole in time."""
    middle = statistics.median(CAP_S * 2 if each is None else each for each in row["seconds"])
    return middle if middle <= CAP_S else None


def judge(figures: dict[str, Any]) -> Judgement:
    """By the shares of what was whole in time."""
    by = {(row["server"], row["sender"], row["loss"], row["version"]): row for row in figures["rows"]}
    worst = max(LOSSES)
    old, new = by["nginx", "cubic", 0.01, "1.1"], by["nginx", "cubic", 0.01, "2"]
    bbr = by["nginx", "bbr", worst, "2"]
    clean = min(share(row) for row in figures["rows"] if row["loss"] == 0.0)
    return Judgement(
        word="partly",
        why=f"Without loss {clean:.0%} arrive with either. At 1 % loss and a cubic sender one HTTP/2 connection brings "
        f"{share(new):.0%} within {CAP_S:.0f} s, three of HTTP/1.1 {share(old):.0%}; with a BBR sender HTTP/2 brings "
        f"{share(bbr):.0%} even at {worst:.0%}. What fails is one slow connection, not the protocol.",
        advice="Let servers send with BBR where the kernel has it (holdfast does by default), or spread 4K images "
        "over connections.",
    )


def table(figures: dict[str, Any]) -> str:
    """Write what was measured."""
    rows = []
    for row in sorted(figures["rows"], key=lambda row: (row["sender"], row["loss"], row["server"], row["version"])):
        middle = median_s(row)
        rows.append(
            (
                row["sender"],
                f"{row['loss']:.0%}",
                f"{row['server']}, HTTP/{row['version']}",
                "-" if middle is None else f"{middle:.1f} s",
                f"{share(row, 60.0):.0%}",
                f"{share(row):.0%}",
                str(len(row["seconds"])),
            )
        )
    return figures_table(("sender", "loss", "server", "median", "<= 60 s", f"<= {CAP_S:.0f} s", "fetches"), rows)
