"""What stands between caller and upstream: nothing, nginx, LiteLLM, holdfast; each in a folder and on a port."""

from __future__ import annotations

import http.client
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
LITELLM_VENV = HERE / ".litellm-venv"
DESCRIPTORS = 20_000


class SubjectError(RuntimeError):
    """A subject cannot run here, or did not start; says why."""


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def spawn(
    command: list[str], *, core: int | None, log: Path, env: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, on one core."""
    pin = [] if core is None else ["taskset", "-c", str(core)]
    # Whoever runs the bench may have settings and real keys of their own: they stay out of it.
    clean = {n: v for n, v in os.environ.items() if not n.startswith("HOLDFAST_") and not n.endswith("_API_KEY")}
    with log.open("ab") as out:
        return subprocess.Popen(
            [*pin, *command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**clean, **(env or {})},
            start_new_session=True,
        )


def end(process: subprocess.Popen[bytes], *, patience_s: float = 10.0) -> None:
    """Stop a program that `spawn` started, and whatever it started itself."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            print(f"  (process {process.pid} did not stop within {patience_s:g} s and is killed)", file=sys.stderr)
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        process.wait()


class Subject:
    """Nothing in between: the caller asks the upstream itself. The base of all others."""

    name = "direct"
    title = "none (upstream direct)"
    model = "bench-image"
    key = "sk-bench"

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def version(self) -> str:
        """Version; raises SubjectError when it cannot run here."""
        return "-"

    def launch(self, folder: Path, upstream_port: int, core: int | None) -> None:
        """Start it; it need not answer yet."""
        self.port = upstream_port

    def ready_key(self) -> str | None:
        """The credential, once there is one."""
        return self.key

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            end(self.process)
            self.process = None


class Nginx(Subject):
    """nginx as a reverse proxy with keep-alive to the upstream."""

    def __init__(self, name: str, title: str, settings: str) -> None:
        super().__init__()
        self.name = name
        self.title = title
        self._settings = settings

    def version(self) -> str:
        """The version of the nginx on the path."""
        found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
        if found is None:
            raise SubjectError("nginx is not on the path: apt-get install nginx-light")
        said = subprocess.run([found, "-v"], capture_output=True, text=True, check=True)
        return said.stderr.strip().rpartition("/")[2]

    def launch(self, folder: Path, upstream_port: int, core: int | None) -> None:
        """Write a configuration of its own and start."""
        self.port = free_port()
        user = "user root;" if os.geteuid() == 0 else ""
        temp = "".join(
            f"  {kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        config = folder / "nginx.conf"
        config.write_text(
            f"{user} daemon off; worker_processes 1; worker_rlimit_nofile {DESCRIPTORS};\n"
            f"pid {folder}/nginx.pid; error_log {folder}/error.log;\n"
            f"events {{ worker_connections {DESCRIPTORS - 100}; }}\n"
            f"http {{\n{temp}  access_log off; client_max_body_size 128m; keepalive_requests 1000000;\n"
            f"  upstream mock {{ server 127.0.0.1:{upstream_port}; keepalive 64; keepalive_requests 1000000; }}\n"
            f"  server {{ listen 127.0.0.1:{self.port} backlog=4096;\n"
            f'    location / {{ proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection "";\n'
            f"      proxy_read_timeout 900s; proxy_send_timeout 900s; send_timeout 900s; {self._settings} }} }}\n}}\n"
        )
        found = shutil.which("nginx") or "/usr/sbin/nginx"
        command = [found, "-p", str(folder), "-e", f"{folder}/error.log", "-c", str(config)]
        self.process = spawn(command, core=core, log=folder / "subject.log")


class LiteLLM(Subject):
    """LiteLLM's proxy, one worker, its cap of 500 upstream connections lifted."""

    name = "litellm"
    title = "LiteLLM"

    def __init__(self) -> None:
        super().__init__()
        self.key = "sk-" + secrets.token_hex(24)

    def version(self) -> str:
        """The version in its own environment, or why there is none."""
        why = LITELLM_VENV / "why-not.txt"
        if why.exists():
            raise SubjectError(f"LiteLLM did not install: {why.read_text().strip()}")
        found = list(LITELLM_VENV.glob("lib/python*/site-packages/litellm-*.dist-info"))
        if not found:
            raise SubjectError("LiteLLM is not installed: run lab/bench/run.py --install-litellm")
        return found[0].name.removeprefix("litellm-").removesuffix(".dist-info")

    def launch(self, folder: Path, upstream_port: int, core: int | None) -> None:
        """Write a configuration with one model and start."""
        self.port = free_port()
        (folder / "litellm.yaml").write_text(
            f"model_list:\n- model_name: {self.model}\n  litellm_params:\n    model: openai/{self.model}\n"
            f"    api_base: http://127.0.0.1:{upstream_port}/v1\n    api_key: sk-upstream\n    timeout: 900\n"
            f"  model_info:\n    mode: image_generation\n"
            f"litellm_settings:\n  request_timeout: 900\n  num_retries: 0\n  telemetry: false\n"
            f"general_settings:\n  master_key: {self.key}\n"
        )
        command = [str(LITELLM_VENV / "bin/litellm"), "--config", str(folder / "litellm.yaml")]
        command += ["--host", "127.0.0.1", "--port", str(self.port), "--num_workers", "1"]
        env = {
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_MODE": "PRODUCTION",
            "AIOHTTP_CONNECTOR_LIMIT": str(DESCRIPTORS),
            "AIOHTTP_CONNECTOR_LIMIT_PER_HOST": str(DESCRIPTORS),
        }
        self.process = spawn(command, core=core, log=folder / "subject.log", env=env)


class Holdfast(Subject):
    """The gateway of this project, as `holdfast serve` starts it, storing durably."""

    name = "holdfast"
    title = "holdfast"
    model = "nano-banana-pro"

    def __init__(self, program: Path) -> None:
        super().__init__()
        self._program = program
        self._folder = Path()

    def version(self) -> str:
        """What it says of itself."""
        if not self._program.exists():
            raise SubjectError(f"{self._program} does not exist: install the project first (make .venv)")
        said = subprocess.run([str(self._program), "--version"], capture_output=True, text=True, check=False)
        if said.returncode != 0:
            raise SubjectError(f"`holdfast --version` failed: {(said.stderr.strip().splitlines() or ['?'])[-1]}")
        return said.stdout.strip().rpartition(" ")[2]

    def launch(self, folder: Path, upstream_port: int, core: int | None) -> None:
        """Write a configuration whose only upstream is the mock, and start."""
        self._folder = folder
        config = folder / "holdfast.toml"
        config.write_text(
            f'[[upstreams]]\nname = "mock"\nprovider = "openai"\nflavor = "relay"\n'
            f'base_url = "http://127.0.0.1:{upstream_port}/v1"\nkeys = ["sk-upstream"]\n'
            f'[[routes]]\nmodel = "{self.model}"\nupstreams = [{{ upstream = "mock", model = "bench-image" }}]\n'
        )
        self._spawn(core)

    def _spawn(self, core: int | None) -> None:
        self.port = free_port()
        command = [str(self._program), "serve", "--config", str(self._folder / "holdfast.toml")]
        command += ["--data", str(self._folder / "data"), "--port", str(self.port)]
        env = {name: "" for name in os.environ if name.startswith("HOLDFAST_")}
        self.process = spawn(command, core=core, log=self.log, env=env)

    @property
    def log(self) -> Path:
        """What it logs, a line of JSON for each transition."""
        return self._folder / "subject.log"

    def kill(self) -> None:
        """Kill it as the kernel does when memory runs out: it learns nothing of it."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None

    def relaunch(self, core: int | None) -> None:
        """Start it again on what it left."""
        self._spawn(core)

    def is_told(self, path: str, key: str) -> bool:
        """Whether it answers a question of its key's owner now."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path, headers={"authorization": f"Bearer {key}"})
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def ready_key(self) -> str | None:
        """The first key, which a gateway without a terminal writes to a file of its own in the data folder."""
        files = [self._folder / "subject.log", *(self._folder / "data").glob("*key*")]
        for file in files:
            found = re.search(rb"hf-[0-9A-Za-z]+-[\w-]{43}", file.read_bytes()) if file.is_file() else None
            if found:
                return found[0].decode()
        return None


def all_subjects(holdfast: Path) -> dict[str, Subject]:
    """Every subject by name, in the order of the tables."""
    subjects = [
        Subject(),
        Nginx("nginx-unbuffered", "nginx, proxy_buffering off", "proxy_buffering off;"),
        Nginx("nginx-buffered", "nginx, default buffering", ""),
        Nginx("nginx-tuned", "nginx, unbuffered, 256 KB buffer", "proxy_buffering off; proxy_buffer_size 256k;"),
        LiteLLM(),
        Holdfast(holdfast),
    ]
    return {subject.name: subject for subject in subjects}
