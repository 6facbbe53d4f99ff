"""What the demo is played on: its settings, and what it says."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli import stage
from holdfast.cli.exits import Exit, Stop
from holdfast.cli.loop import ENDS
from holdfast.cli.play import CALL, charges_told, curl_line
from holdfast.cli.stage import IDLE_CUT_S, Serving, demo_settings, real_settings, simulator_class
from holdfast.config import Settings, check, parse, upstream_keys
from holdfast.gateway.server import Running
from holdfast.log import emit
from holdfast.policy.latency import prior
from holdfast.types import Tier


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave this process's log as it is."""
    monkeypatch.setattr(stage, "setup", lambda *_: None)


def shown(**overrides: Any) -> Settings:
    """Make the demo's settings."""
    usual: dict[str, Any] = {"upstream_port": 1234, "port": 16888, "data": Path("data")}
    return demo_settings(parse({}), **{**usual, **overrides})


def test_the_demo_never_reaches_a_real_upstream() -> None:
    """Every upstream of the gateway that is shown is on this machine."""
    settings = shown()
    assert settings.upstreams
    assert all(upstream.base_url.startswith("http://127.0.0.1:1234") for upstream in settings.upstreams)


def test_the_demo_needs_no_key_and_uses_none() -> None:
    """A real key in the environment is not even read."""
    keys = upstream_keys(shown(), {"GEMINI_API_KEY": "real", "OPENAI_API_KEY": "real"})
    assert {key for each in keys.values() for key in each} == {"simulated"}


def test_the_demos_settings_are_sound() -> None:
    """Routes have prices, names match."""
    settings = shown()
    check(settings)
    assert [route.model for route in settings.routes if CALL.model in route.aliases] == ["nano-banana-pro"]


def test_beats_come_more_often_than_the_cut() -> None:
    """The scaled beats are to the scaled cut as the shipped ones are to 60 s."""
    heartbeat = shown().heartbeat
    assert (heartbeat.first_beat_s, heartbeat.beat_s) == (2.5, 1.25)
    assert heartbeat.first_beat_s + heartbeat.beat_s < IDLE_CUT_S == 7.5


def test_the_image_takes_longer_than_the_cut() -> None:
    """Even the fastest of a thousand 4K images is slower than the scaled idle timer."""
    scale = shown().latency.scale
    assert scale == 0.125
    assert prior(Tier.K4, scale=scale).quantile(0.001) > IDLE_CUT_S


def test_port_and_folder_are_the_persons() -> None:
    """`--port` and `--data` hold for the demo, too."""
    settings = shown(port=8080, data=Path("elsewhere"))
    assert settings.server.port == 8080
    assert settings.store.data == Path("elsewhere")


def test_the_address_to_listen_on_is_the_persons() -> None:
    """In a container it is not loopback."""
    usual = parse({"server": {"host": "0.0.0.0"}})
    assert demo_settings(usual, upstream_port=1, port=2, data=Path("d")).server.host == "0.0.0.0"


def test_without_keys_nothing_real_is_served() -> None:
    """The gateway of the demo goes on, simulated."""
    assert real_settings(parse({}), {}, port=1, data=Path("d")) is None


def test_with_a_key_the_real_upstream_is_served_in_real_time() -> None:
    """Nothing of the demo's haste is left."""
    settings = real_settings(parse({}), {"GEMINI_API_KEY": "real"}, port=8080, data=Path("d"))
    assert settings is not None
    assert [upstream.name for upstream in settings.upstreams] == ["google"]
    assert settings.heartbeat.first_beat_s == 20.0
    assert settings.latency.scale == 1.0
    assert (settings.server.port, settings.store.data) == (8080, Path("d"))


def test_a_missing_pillow_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one extra that the simulator needs is named."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(Stop) as stopped:
        simulator_class()
    assert stopped.value.code is Exit.SETTINGS
    assert "holdfast[demo]" in stopped.value.message


def a_serving(ended: asyncio.Event, stops: list[str]) -> Serving:
    """Stand for a gateway that serves until told."""

    async def serve() -> int:
        await ended.wait()
        return 0

    running = Running(base_url="", tls_base_url=None, listeners=(), stop=lambda: stops.append("stop"))
    return Serving(running=running, task=asyncio.create_task(serve()))


async def hold(left: asyncio.Event, began: asyncio.Event) -> None:
    """Wait for something that never comes."""
    began.set()
    try:
        await asyncio.Event().wait()
    finally:
        left.set()


async def test_work_ends_before_the_gateway() -> None:
    """What was done while it served is handed on; from then on signals are the gateway's again."""
    ended, stops = asyncio.Event(), list[str]()
    serving = a_serving(ended, stops)
    assert await serving.while_serving(asyncio.sleep(0, "done")) == "done"
    assert stops == []
    signal.raise_signal(signal.SIGTERM)
    ended.set()
    await serving.until_ended()
    assert stops == ["stop"]


async def test_a_gateway_that_left_somebody_waiting_did_not_end_well() -> None:
    """Ctrl-C twice, after the demo, with a call held."""
    ended = asyncio.Event()
    serving = a_serving(ended, [])
    asyncio.get_running_loop().call_soon(lambda: emit("server.cut_short", level="debug", open=1))
    asyncio.get_running_loop().call_soon(ended.set)
    with pytest.raises(KeyboardInterrupt):
        await serving.until_ended()


async def test_a_gateway_that_ends_early_ends_the_work() -> None:
    """It may fail, or be told to end by other means."""
    ended, left = asyncio.Event(), asyncio.Event()
    ended.set()
    with pytest.raises(KeyboardInterrupt):
        await a_serving(ended, []).while_serving(hold(left, asyncio.Event()))
    assert left.is_set()


@pytest.mark.parametrize("number", ENDS)
async def test_ctrl_c_during_the_demo_waits_for_nothing(number: signal.Signals) -> None:
    """The call in flight is left, and the gateway told to end, while it still holds that call."""
    left, began, stops = asyncio.Event(), asyncio.Event(), list[str]()

    async def leave() -> None:
        await began.wait()
        signal.raise_signal(number)

    leaving = asyncio.create_task(leave())
    with pytest.raises(KeyboardInterrupt):
        await a_serving(asyncio.Event(), stops).while_serving(hold(left, began))
    await leaving
    assert left.is_set()
    assert stops == ["stop"]


def test_both_charges_are_told() -> None:
    """The lost image was paid for: that is the point of it all."""
    assert "charged for both, 0.48 USD" in charges_told([240_000, 240_000])


def test_other_charges_are_told_as_they_are() -> None:
    """The sentence follows the record, not the script."""
    assert charges_told([240_000]) == "In life the upstream would have charged for 1 of the two, 0.24 USD."


def test_the_curl_line_keeps_the_key_out_of_history() -> None:
    """It reads the key from its file; its body is JSON."""
    line = curl_line("http://127.0.0.1:16888/v1", Path(".holdfast/demo.key"))
    assert "$(cat .holdfast/demo.key)" in line
    body = line.partition("-d '")[2].removesuffix("'")
    assert json.loads(body)["size"] == "4K"
    assert "'" not in body


def test_the_stage_is_loopback() -> None:
    """Nothing of the demo leaves this machine."""
    assert stage.HOST == "127.0.0.1"
