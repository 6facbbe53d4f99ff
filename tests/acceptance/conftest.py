"""The stage of the acceptance tests: simulated upstreams, a gateway and nginx, real processes that all tests share.

What must hold whatever the tests did is looked at when they have ended: the books balance and nothing is held, no
secret was logged, nothing broke inside, and everybody ends when asked to.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import ssl
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from holdfast.simulator.film import paint
from holdfast.simulator.pictures import Prepared, prepare

ROOT = Path(__file__).resolve().parents[2]
PROXY_PAGE = ROOT / "docs" / "how-to" / "behind-a-proxy.md"


def _load(name: str) -> ModuleType:
    # Tests are no package, so that nothing imports them by accident; what is shared is loaded from its file.
    spec = importlib.util.spec_from_file_location(f"acceptance_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


processes = _load("processes")
callers_ = _load("callers")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Pass over what google-genai 3.4 is warned of for what it does inside; its users see nothing of it either."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for a flavour once for each."""
    if "flavour" in metafunc.fixturenames:
        metafunc.parametrize("flavour", list(callers_.FLAVOURS))


def blocks(page: Path, language: str) -> list[str]:
    """Give a page's code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def replaced(text: str, old: str, new: str) -> str:
    """Put something of ours in the place of what a page writes there, and nowhere else."""
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in:\n{text}"
    return text.replace(old, new)


@cache
def _prepared(width_px: int, height_px: int) -> Prepared:
    return prepare(paint(width_px, height_px, "png"), "png")


def serial_of(image: bytes) -> str:
    """Read what makes a simulated picture unique."""
    with Image.open(BytesIO(image)) as opened:
        return str(opened.info["Comment"])


def is_as_drawn(image: bytes) -> bool:
    """Draw the picture again and compare every byte: what came is what the upstream made, to the last one."""
    with Image.open(BytesIO(image)) as opened:
        width_px, height_px = opened.size
    return _prepared(width_px, height_px).with_serial(serial_of(image)).file() == image


@dataclass(kw_only=True)
class Stage:
    """Everything a test plays on."""

    simulator: Any
    gateway: Any
    nginx: Any
    ports: dict[str, int]
    """Of nginx's servers, by what is special about them."""
    authorities: Path
    """Whom to trust, to believe the server with TLS."""
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(40))

    def front(self, name: str) -> str:
        """Give the base URL of one of nginx's servers."""
        return f"{'https' if name == 'tls' else 'http'}://{processes.HOST}:{self.ports[name]}"

    def asked(self, prompt: str, *, front: str = "documented", **fields: Any) -> Any:
        """Describe a call; every prompt carries what must not be logged."""
        verify = ssl.create_default_context(cafile=str(self.authorities)) if front == "tls" else None
        defaults = {"front": self.front(front), "key": self.gateway.key, "verify": verify}
        return callers_.Asked(prompt=f"{prompt} {processes.SECRETS[0]}", **(defaults | fields))

    def begin(self, flavour: str, prompt: str, **fields: Any) -> Future[Any]:
        """Begin a call in a thread of its own."""
        return self.pool.submit(callers_.call, flavour, self.asked(prompt, **fields))

    def only_generation(self, prompt: str) -> str:
        """Find the one generation that a prompt led to."""
        (found,) = self.gateway.generations(prompt)
        return str(found)


def servers(gateway_url: str, ports: dict[str, int], certificate: tuple[Path, Path]) -> str:
    """Write nginx's servers: as it comes, as the page has it, with a compressor, and with TLS and HTTP/2."""
    (documented,) = blocks(PROXY_PAGE, "nginx")
    documented = replaced(documented, "http://127.0.0.1:16888", gateway_url)
    documented = replaced(documented, "proxy_read_timeout 60s", f"proxy_read_timeout {processes.CUT_S:g}s")
    stock = f"location / {{ proxy_pass {gateway_url}; proxy_read_timeout {processes.CUT_S:g}s; }}"
    compressing = f"gzip on; gzip_types application/json text/event-stream; gzip_min_length 0; {stock}"
    cert, key = certificate
    tls = f"ssl_certificate {cert}; ssl_certificate_key {key}; {documented}"
    inside = {"stock": stock, "documented": documented, "compressing": compressing, "tls": tls}
    lines = []
    for name, body in inside.items():
        more = " ssl http2" if name == "tls" else ""
        lines.append(f"server {{ listen {processes.HOST}:{ports[name]}{more}; {body} }}")
    return "\n".join(lines)


def as_documented(front: str) -> dict[str, Any]:
    """Give the settings that the page has for a gateway behind a proxy."""
    texts = [text for text in blocks(PROXY_PAGE, "toml") if "public_url" in text]
    assert len(texts) == 1
    text = replaced(texts[0], "https://images.example.com", front)
    return tomllib.loads(replaced(text, "10.0.0.0/8", f"{processes.HOST}/32"))


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Make a certificate for 127.0.0.1, as a person would."""
    folder = tmp_path_factory.mktemp("certificate")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=holdfast", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    subprocess.run([*command, *names, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> Iterator[None]:
    """Let no proxy stand between loopback and itself, and no real key be found."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name not in processes.environment()]:
            patch.delenv(name)
        patch.setenv("NO_PROXY", "*")
        yield


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory, certificate: tuple[Path, Path]) -> Iterator[Stage]:
    """Set everything up, and look at it once more when it has ended."""
    folder = tmp_path_factory.mktemp("stage")
    names = ("stock", "documented", "compressing", "tls")
    ports = dict(zip(names, processes.free_ports(len(names)), strict=True))
    with contextlib.ExitStack() as stack:
        simulator = processes.Simulator(folder)
        stack.callback(simulator.stop)
        settings = processes.settings_for(simulator.base_url)
        settings |= as_documented(f"http://{processes.HOST}:{ports['documented']}")
        gateway = processes.Gateway(folder, settings)
        stack.callback(gateway.stop)
        nginx = processes.Nginx(folder, servers(gateway.base_url, ports, certificate), list(ports.values()))
        stack.callback(nginx.stop)
        stage = Stage(simulator=simulator, gateway=gateway, nginx=nginx, ports=ports, authorities=certificate[0])
        stack.callback(stage.pool.shutdown, cancel_futures=True)
        yield stage
    sums = gateway.ledger()
    assert sums.hold, sums
    assert sums.accounts["held"] == 0
    for each in (gateway, simulator):
        assert each.status == 0
        logged = each.logged()
        assert "Traceback" not in logged
        assert "fault.internal" not in logged
    assert not [word for word in (*processes.SECRETS, gateway.key) if word in gateway.logged()]


@pytest.fixture(scope="session")
def callers() -> ModuleType:
    """Give the SDKs."""
    return callers_


@pytest.fixture(scope="session")
def as_drawn() -> Callable[[bytes], bool]:
    """Give the comparison with what the upstream made."""
    return is_as_drawn


@pytest.fixture(scope="session")
def serial() -> Callable[[bytes], str]:
    """Give the reader of what makes a picture unique."""
    return serial_of
