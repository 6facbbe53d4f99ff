"""Official SDKs with our clients outlive the gateway, and the proxy before it: one charge, the image in hand."""

from __future__ import annotations

import importlib.util
import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import openai
import pytest

from holdfast.simulator.path import Fate, Harm


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"acceptance_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


broken, handed, processes = _load("broken"), _load("handed"), _load("processes")
WAYS = ["openai", "openai-async-edit", "openai-stream", "google-async", "google-stream"]
DRAWN_S = 2.0
_numbers = itertools.count()


class House:
    """A gateway that can be killed and begun anew, an upstream with a queue, and an nginx before it all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.simulator = processes.Simulator(folder)
        upstream = {"name": "queue", "provider": "fal", "base_url": self.simulator.base_url, "keys": ["queue-Jw4Ru"]}
        made = [{"upstream": "queue", "model": "fal-ai/nano-banana-pro"}]
        names = {"nano-banana-pro": ["gemini-3-pro-image"], "gpt-image-2": []}
        self._settings = {
            "heartbeat": {"first_beat_s": 0.5, "beat_s": 0.5, "impatient_first_beat_s": 0.5},
            # Shorter than an image takes: whoever waits is cut.
            "drain": {"grace_s": 0.5},
            "latency": {"scale": 0.02},
            "upstreams": [upstream],
            "routes": [{"model": model, "aliases": also, "upstreams": made} for model, also in names.items()],
        }
        self.gateway = self._begun()
        self.way = broken.Way(self.gateway.base_url)
        (port,) = processes.free_ports(1)
        location = f"location / {{ proxy_pass {self.way.url}; proxy_http_version 1.1; proxy_read_timeout 1s; }}"
        conf = f"server {{ listen 127.0.0.1:{port}; client_max_body_size 128m; proxy_next_upstream off; {location} }}"
        self.nginx = processes.Nginx(folder, conf, [port])
        self.front = f"http://127.0.0.1:{port}"

    def _begun(self) -> Any:
        return processes.Gateway(self._folder, self._settings)

    def begin_again(self) -> None:
        """Start it in the same folder; it listens elsewhere, and the way leads there."""
        self.gateway = self._begun()
        self.way.lead_to(self.gateway.base_url)

    def order(self, *, words: str = "", **fields: Any) -> Any:
        """Describe a call that nobody has made before."""
        prompt = f"outlived {next(_numbers)} {words}"
        return handed.Order(**({"url": self.way.url, "key": self.gateway.key, "prompt": prompt} | fields))

    def charged(self, order: Any) -> int:
        """Count what was bought for a prompt."""
        return sum(len(self.simulator.purchases(each)) for each in self.gateway.generations(order.prompt))

    def sent(self, order: Any, within_s: float = 10.0) -> None:
        """Wait until a call has led to an attempt with a handle."""
        until = time.monotonic() + within_s
        while not any(self._has_handle(each) for each in self.gateway.generations(order.prompt)):
            assert time.monotonic() < until
            time.sleep(0.02)

    def _has_handle(self, generation_id: str) -> bool:
        return any(each["status"] == "polling" for each in self.gateway.record(generation_id)["attempts"])

    def stop(self) -> None:
        """Take it down."""
        for each in (self.nginx, self.way, self.gateway, self.simulator):
            each.stop()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Build it once."""
    built = House(tmp_path_factory.mktemp("house"))
    yield built
    built.stop()


def begun(name: str, order: Any) -> Future[Any]:
    """Begin a call in a thread of its own."""
    pool = ThreadPoolExecutor(1)
    call = pool.submit(handed.WAYS[name], order)
    pool.shutdown(wait=False)
    return call


@pytest.mark.parametrize("name", WAYS)
def test_a_gateway_that_is_killed_in_mid_call(house: House, as_drawn: Callable[[bytes], bool], name: str) -> None:
    """kill -9 while the upstream draws: its next life asks for the handle, and the caller for his image."""
    # Told, so that the test does not depend on how soon this machine starts a process.
    order = house.order(words=f"[sim delay={DRAWN_S:g}]", client={"holdfast": True})
    call = begun(name, order)
    house.sent(order)
    house.gateway.kill()
    house.begin_again()
    assert [as_drawn(image) for image in call.result(60.0).images] == [True]
    assert house.charged(order) == 1


@pytest.mark.parametrize("name", WAYS)
def test_a_gateway_that_is_asked_to_end_in_mid_call(house: House, as_drawn: Callable[[bytes], bool], name: str) -> None:
    """SIGTERM, and less grace than the image takes: refused by the old one, and given by the new one."""
    order = house.order(words=f"[sim delay={DRAWN_S:g}]", client={"holdfast": True})
    call = begun(name, order)
    house.sent(order)
    house.gateway.stop()
    house.begin_again()
    assert [as_drawn(image) for image in call.result(60.0).images] == [True]
    assert house.charged(order) == 1


@pytest.mark.parametrize("name", WAYS)
def test_a_proxy_that_answers_for_a_gateway_that_is_gone(
    house: House, as_drawn: Callable[[bytes], bool], name: str
) -> None:
    """502 before the head, and again while nobody listens behind it."""
    order = house.order(url=house.front, words="[sim delay=1]")
    refused = Fate(harm=Harm.RESET, after_s=0.0)
    house.way.next(Fate(harm=Harm.RESET, after_s=0.3), refused, refused)
    assert [as_drawn(image) for image in handed.WAYS[name](order).images] == [True]
    assert house.charged(order) == 1


@pytest.mark.parametrize("name", ["openai", "google-async"])
def test_a_proxy_with_less_patience_than_an_image_takes(
    house: House, as_drawn: Callable[[bytes], bool], name: str
) -> None:
    """504 every second, because its caller wants no heartbeats: it asks until the image is there."""
    order = house.order(url=house.front, words="[sim delay=3]", headers={"Prefer": "heartbeat=0"})
    assert [as_drawn(image) for image in handed.WAYS[name](order).images] == [True]
    assert house.charged(order) == 1


def test_a_gateway_that_comes_too_late_is_told_of(house: House) -> None:
    """It was there, and is gone: the budget ends, and so does the call, with what happened last."""
    with handed.with_openai(house.order(client={"timeout_s": 2.0, "holdfast": True})) as client:
        house.way.lead_to("http://127.0.0.1:9")
        began_at = time.monotonic()
        with pytest.raises(openai.APIConnectionError):
            client.images.generate(model="nano-banana-pro", prompt="never", size="1024x1024")
        assert time.monotonic() - began_at < 10.0
    house.way.lead_to(house.gateway.base_url)


def test_closing_ends_a_call_that_waits(house: House) -> None:
    """Whoever waits to ask again is let go when its client is closed."""
    order = house.order(words="[sim delay=1]", client={"holdfast": True})
    client = handed.with_openai(order)
    house.way.lead_to("http://127.0.0.1:9")
    failed: list[BaseException] = []

    def call() -> None:
        try:
            client.images.generate(model="nano-banana-pro", prompt=order.prompt, size="1024x1024")
        except openai.APIConnectionError as exc:
            failed.append(exc)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join(1.0)
    assert thread.is_alive(), "it waits for the gateway"
    client.close()
    thread.join(10.0)
    assert not thread.is_alive()
    assert len(failed) == 1
    house.way.lead_to(house.gateway.base_url)
