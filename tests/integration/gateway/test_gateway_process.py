"""`holdfast serve` as a process of its own: how it starts, what it says when it cannot, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import tomli_w
from yarl import URL

from holdfast.cli.exits import Exit
from holdfast.store.lock import DataFolder

QUICK = {"first_beat_s": 0.1, "beat_s": 0.1}
WITHIN_S = 10.0


class Process:
    """A gateway in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, data: Path, config: Path) -> None:
        self.process = process
        self.data = data
        self.config = config
        """Its settings file."""
        self.log: list[dict[str, Any]] = []
        """What `logged` has read of its log."""
        self.session = aiohttp.ClientSession()
        self.base_url = ""

    async def ready(self) -> Process:
        """Wait until it says where it listens."""
        assert self.process.stdout is not None
        async with asyncio.timeout(WITHIN_S):
            while not self.base_url:
                line = await self.process.stdout.readline()
                assert line, await self.said()
                self.base_url = json.loads(line).get("base_url", "")
        return self

    @property
    def key(self) -> str:
        """Its first key, from the file."""
        return (self.data / "first.key").read_text("ascii").strip()

    @property
    def bearer(self) -> dict[str, str]:
        """The key as a header."""
        return {"Authorization": f"Bearer {self.key}"}

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, Mapping[str, str], Any]:
        """Make a call: status, headers and document."""
        async with self.session.request(method, self.base_url + path, headers=self.bearer, **options) as got:
            return got.status, got.headers, json.loads(await got.read())

    async def hold(
        self, sock: socket.socket | None = None, *, limit: int = 1 << 16
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, str]:
        """Post on a connection of its own and wait for the first beat; the generation's id comes with it."""
        port = int(self.base_url.rpartition(":")[2].partition("/")[0])
        sock = sock or socket.socket()
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=limit)
        body = json.dumps({"prompt": "a lighthouse, marker Qx7Zt"})
        lines = [*(f"{name}: {value}" for name, value in self.bearer.items()), f"Content-Length: {len(body)}"]
        head = "\r\n".join(
            ["POST /v1/images/generations HTTP/1.1", "Host: x", "Content-Type: application/json", *lines]
        )
        writer.write(f"{head}\r\n\r\n{body}".encode())
        answer = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WITHIN_S)).decode().lower()
        id_ = answer.partition("generation-id: ")[2].partition("\r\n")[0].replace("gen_", "").upper()
        return reader, writer, f"gen_{id_}"

    async def draining(self) -> None:
        """Wait until it has taken its first signal; a second one sent before would be the same."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                async with self.session.get(f"{self.base_url.removesuffix('/v1')}/readyz") as ready:
                    if ready.status == 503:
                        assert await ready.json() == {"status": "draining"}
                        return
                await asyncio.sleep(0.02)

    async def renew(self, settings: Mapping[str, Any] | str) -> dict[str, Any]:
        """Write other settings, send SIGHUP, and give the line in which it says what came of that."""
        text = settings if isinstance(settings, str) else tomli_w.dumps(settings)
        self.config.write_text(text, "utf-8")
        self.process.send_signal(signal.SIGHUP)
        return await self.logged("settings.taken_over", "settings.refused")

    async def logged(self, *events: str) -> dict[str, Any]:
        """Read its log until one of these events."""
        assert self.process.stderr is not None
        async with asyncio.timeout(WITHIN_S):
            while line := await self.process.stderr.readline():
                self.log.append(json.loads(line))
                if self.log[-1]["event"] in events:
                    return self.log[-1]
        raise AssertionError(f"it ended without {events}")

    async def said(self) -> str:
        """What it wrote to standard error."""
        assert self.process.stderr is not None
        return (await self.process.stderr.read()).decode()

    async def ended(self) -> int:
        """Wait for its end."""
        return await asyncio.wait_for(self.process.wait(), WITHIN_S)


Launch = Callable[..., Awaitable[Process]]


@pytest.fixture
async def launch(
    upstream: Any, settings_for: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Launch]:
    """Start processes; those that still run in the end are killed."""
    started: list[Process] = []
    for name in [name for name in os.environ if name.startswith("HOLDFAST_") or name.endswith("_API_KEY")]:
        monkeypatch.delenv(name)

    async def starter(*words: str, config: Mapping[str, Any] | None = None, **sections: Any) -> Process:
        data = tmp_path / "data"
        file = tmp_path / f"holdfast-{len(started)}.toml"
        file.write_text(
            tomli_w.dumps(settings_for(upstream.port, data, sections) if config is None else config), "utf-8"
        )
        command = [sys.executable, "-m", "holdfast.cli.main", "serve", "--config", str(file), *words]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, cwd=tmp_path)
        made = Process(process, data, file)
        started.append(made)
        return made

    yield starter
    upstream.gate.set()
    for each in started:
        await each.session.close()
        if each.process.returncode is None:
            each.process.kill()
            await each.process.wait()


async def test_each_reason_not_to_start_has_its_code_and_one_line(
    launch: Launch, settings_for: Any, upstream: Any, tmp_path: Path
) -> None:
    """A supervisor branches on the number, a person reads the line; nobody is shown a traceback."""
    taken = socket.create_server(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    locked = tmp_path / "locked"
    good = settings_for(upstream.port, tmp_path / "data", {})
    google = {**good["upstreams"][0], "keys": ["env:NO_SUCH_VARIABLE"]}
    with taken, DataFolder(locked):
        cases: list[tuple[Process, Exit, list[str]]] = [
            (await launch("--port", str(port)), Exit.PORT_TAKEN, [str(port), "--port"]),
            (await launch("--data", str(locked)), Exit.FOLDER_LOCKED, [str(locked), str(os.getpid()), "--data"]),
            (await launch(server={"prot": 1}), Exit.SETTINGS, ["server.prot", "'port'"]),
            (await launch(config={"server": {"port": 0}}), Exit.SETTINGS, ["GEMINI_API_KEY", "OPENAI_API_KEY"]),
            (
                await launch(config={**good, "upstreams": [google, good["upstreams"][1]]}),
                Exit.SETTINGS,
                ["NO_SUCH_VARIABLE", "export"],
            ),
            (
                await launch("--tls-cert", "none.pem", "--tls-key", "none.pem"),
                Exit.SETTINGS,
                ["server.tls_cert", "server.tls_key"],
            ),
            (await launch("--host", "nowhere.invalid"), Exit.SETTINGS, ["server.host", "nowhere.invalid"]),
            (await launch("--port", "70000"), Exit.USAGE, ["65535", "--help"]),
        ]
        for process, code, words in cases:
            assert await process.ended() == code
            (line,) = (await process.said()).splitlines()
            assert line.startswith("holdfast: ")
            assert all(word in line for word in words), line
            assert process.process.stdout is not None
            assert await process.process.stdout.read() == b""


async def test_without_a_terminal_the_first_key_goes_to_a_file(launch: Launch, upstream: Any) -> None:
    """0600, made once; it opens the gateway. SIGINT ends it as SIGTERM does, and its log is JSON without a secret."""
    first = await (await launch("--json")).ready()
    mode = stat.S_IMODE((first.data / "first.key").stat().st_mode)
    assert mode == 0o600
    status, _, answer = await first.ask("POST", "/images/generations", json={"prompt": "a lighthouse, marker Qx7Zt"})
    assert status == 200
    key, id_ = first.key, answer["generation_id"]
    first.process.send_signal(signal.SIGINT)
    assert await first.ended() == Exit.OK
    log = await first.said()
    events = [json.loads(line)["event"] for line in log.splitlines()]
    assert events[0] == "server.started"
    assert events[-1] == "server.stopped"
    assert not any(secret in log for secret in (key, "Qx7Zt", "Jw4Ru", "sig="))
    second = await (await launch("--json")).ready()
    assert second.key == key
    assert (await second.ask("GET", f"/generations/{id_}"))[2]["status"] == "succeeded"


def files_with(text: str, folder: Path) -> list[Path]:
    """Find the files that hold a text."""
    return [each for each in folder.rglob("*") if each.is_file() and text.encode() in each.read_bytes()]


async def read_terminal(fd: int, until: bytes) -> bytes:
    """Read what a person would see."""
    loop, seen = asyncio.get_running_loop(), b""
    async with asyncio.timeout(WITHIN_S):
        while until not in seen:
            seen += await loop.run_in_executor(None, os.read, fd, 4096)
    return seen


async def test_on_a_terminal_the_first_key_is_shown_once(launch: Launch, upstream: Any, tmp_path: Path) -> None:
    """It is in no file; a second start says where it serves, and no key."""
    shown = []
    assert await (await launch("--help")).ended() == Exit.OK  # its settings file is what is wanted
    for _ in range(2):
        master, slave = pty.openpty()
        words = ["serve", "--config", str(tmp_path / "holdfast-0.toml")]
        command = [sys.executable, "-m", "holdfast.cli.main", *words]
        log = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(*command, stdout=slave, stderr=log, cwd=tmp_path)
        os.close(slave)
        shown.append((await read_terminal(master, b"Ctrl-C")).decode())
        process.terminate()
        assert await asyncio.wait_for(process.wait(), WITHIN_S) == Exit.OK
        os.close(master)
    (line,) = [line for line in shown[0].splitlines() if "hf-" in line]
    key = line.split()[-1]
    assert "hf-" not in shown[1]
    assert "OpenAI SDKs: base_url http://127.0.0.1:" in shown[1]
    assert files_with(key, tmp_path) == []


async def test_sigterm_ends_a_start_that_takes_long(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of answers in the spool: whoever stops it meanwhile does not wait for them, nor does the next start."""
    monkeypatch.setenv("HOLDFAST_FAULT", "recovery.after_take_over:sleep=600")
    gateway = await launch("--json")
    async with asyncio.timeout(3 * WITHIN_S):
        while not (gateway.data / "first.key").exists():
            await asyncio.sleep(0.01)
    gateway.process.send_signal(signal.SIGTERM)
    assert await gateway.ended() == Exit.OK
    assert events_of(await gateway.said()) == ["server.stopped"]
    monkeypatch.delenv("HOLDFAST_FAULT")
    again = await (await launch("--json")).ready()
    assert (await again.ask("POST", "/images/generations", json={"prompt": "marker Qx7Zt"}))[0] == 200


async def test_sigterm_lets_the_held_have_their_image(
    launch: Launch, upstream: Any, assert_nothing_is_left: Any
) -> None:
    """Not ready any more, 503 for what is new, an image for who waits; then the end, with 0."""
    gateway = await (await launch("--json", heartbeat=QUICK, drain={"grace_s": 20.0})).ready()
    upstream.gate.clear()
    reader, writer, _ = await gateway.hold()
    gateway.process.send_signal(signal.SIGTERM)
    root = gateway.base_url.removesuffix("/v1")
    await gateway.draining()
    status, headers, refused = await gateway.ask("POST", "/images/generations", json={"prompt": "marker Qx7Zt"})
    assert (status, refused["error"]["code"], refused["error"]["paid"]) == (503, "draining", "no")
    assert headers["retry-after"] == "30"
    assert headers["x-should-retry"] == "true"
    assert headers["connection"] == "close"
    async with gateway.session.get(f"{root}/healthz") as health:
        assert health.status == 200
    upstream.gate.set()
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n0\r\n\r\n"), WITHIN_S)
    assert b'"b64_json"' in answer
    writer.close()
    assert await gateway.ended() == Exit.OK
    assert_nothing_is_left(gateway.data)


async def test_who_is_between_two_redirects_is_waited_for(
    launch: Launch, upstream: Any, assert_nothing_is_left: Any
) -> None:
    """Its image is there, and it is on its way to it: the end comes when it has it."""
    hops = {"redirect_hop_s": 0.1, "first_beat_s": 20.0}
    gateway = await (await launch("--json", heartbeat=hops, drain={"grace_s": 20.0})).ready()
    upstream.gate.clear()
    headers, url = gateway.bearer | {"Prefer": "hold=redirects"}, f"{gateway.base_url}/images/generations"
    async with gateway.session.post(
        url, headers=headers, json={"prompt": "marker Qx7Zt"}, allow_redirects=False
    ) as sent_on:
        assert sent_on.status == 303
        on = str(sent_on.url.join(URL(sent_on.headers["location"], encoded=True)))
    gateway.process.send_signal(signal.SIGTERM)
    await gateway.draining()
    upstream.gate.set()
    await gateway.logged("generation.finished")
    # Long enough for a gateway that waits for nobody to have ended.
    await asyncio.sleep(0.3)
    async with gateway.session.get(URL(on, encoded=True), headers=gateway.bearer) as answer:
        assert answer.status == 200
        assert json.loads(await answer.read())["data"][0]["b64_json"]
    assert await gateway.ended() == Exit.OK
    assert_nothing_is_left(gateway.data)


@pytest.mark.parametrize("grace_s", [60.0, 0.2])
async def test_a_second_sigterm_or_the_end_of_grace_ends_at_once_and_the_next_start_is_honest(
    launch: Launch, upstream: Any, assert_nothing_is_left: Any, grace_s: float
) -> None:
    """The caller is told, inside its 200, what the record says afterwards: nobody knows. Nothing is held or charged."""
    gateway = await (await launch("--json", heartbeat=QUICK, drain={"grace_s": grace_s})).ready()
    upstream.gate.clear()
    reader, writer, id_ = await gateway.hold()
    gateway.process.send_signal(signal.SIGTERM)
    if grace_s > 1:
        await gateway.draining()
        assert gateway.process.returncode is None
        gateway.process.send_signal(signal.SIGTERM)
    rest = await asyncio.wait_for(reader.read(-1), WITHIN_S)
    assert rest.endswith(b"\r\n0\r\n\r\n")
    (line,) = [line for line in rest.splitlines() if line.startswith(b"{")]
    told = json.loads(line)["error"]
    assert (told["code"], told["paid"], told["generation_id"]) == ("outcome_unknown", "unknown", id_)
    writer.close()
    assert await gateway.ended() == Exit.INTERRUPTED, "a supervisor must not take it for a clean end"
    said = await gateway.said()
    assert "server.cut_short" in said
    assert said.count("Ended while calls were held.") == 1
    again = await (await launch("--json")).ready()
    _, _, resource = await again.ask("GET", f"/generations/{id_}")
    assert (resource["status"], resource["error"]["code"]) == ("failed", "outcome_unknown")
    assert (resource["paid"], resource["cost"]["charged_micros"]) == ("unknown", 0)
    again.process.send_signal(signal.SIGTERM)
    assert await again.ended() == Exit.OK
    assert_nothing_is_left(again.data)
    assert len(upstream.asked) == 1


def events_of(log: str) -> list[str]:
    """Read a log in which nothing may stand but events."""
    return [json.loads(line)["event"] for line in log.splitlines()]


async def test_two_signals_at_once_behind_an_answer_leave_a_clean_log(launch: Launch) -> None:
    """What was received is still noted, and nothing is told of the calls that were being ended."""
    gateway = await (await launch("--json")).ready()
    assert (await gateway.ask("POST", "/images/generations", json={"prompt": "marker Qx7Zt"}))[0] == 200
    gateway.process.send_signal(signal.SIGTERM)
    # The same signal twice before it is taken would be one.
    await asyncio.sleep(0.02)
    gateway.process.send_signal(signal.SIGTERM)
    assert await gateway.ended() == Exit.OK
    events = events_of(await gateway.said())
    assert events[-1] == "server.stopped"
    assert "caller.collected" in events


async def test_a_caller_who_stopped_reading_is_cut_off_at_the_end(launch: Launch, upstream: Any, a_png: Any) -> None:
    """Its answer fits into no buffer: whoever writes it ends by itself, and not by a cancellation in the log."""
    gateway = await (await launch("--json", heartbeat=QUICK)).ready()
    upstream.gives(a_png(noise_bytes=24_000_000))
    upstream.gate.clear()
    _, writer, id_ = await gateway.hold()
    writer.transport.pause_reading()
    upstream.gate.set()
    async with asyncio.timeout(WITHIN_S):
        while (await gateway.ask("GET", f"/generations/{id_}"))[2]["status"] != "succeeded":
            await asyncio.sleep(0.02)
    gateway.process.send_signal(signal.SIGTERM)
    await gateway.draining()
    gateway.process.send_signal(signal.SIGTERM)
    assert await gateway.ended() == Exit.INTERRUPTED, "the image is kept, but its caller has not got it"
    said = await gateway.said()
    assert said.count("Ended while answers were being sent.") == 1
    log = [event for line in said.splitlines() if "event" in (event := json.loads(line))]
    assert [event["event"] for event in log][-3:] == ["caller.left", "server.cut_short", "server.stopped"]
    assert log[-2]["answers"] == 1
    writer.close()


async def test_an_answer_that_is_out_and_not_confirmed_is_not_cut(launch: Launch, upstream: Any, a_png: Any) -> None:
    """Its bytes are the kernel's, who goes on sending them: for a reader as slow as this one nobody has to wait."""
    gateway = await (await launch("--json", heartbeat=QUICK)).ready()
    upstream.gives(a_png(noise_bytes=30_000))
    upstream.gate.clear()
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    # It reads a little of the answer, so that it is known to be on its way, and then no more.
    reader, writer, _ = await gateway.hold(sock, limit=1024)
    upstream.gate.set()
    begun = await asyncio.wait_for(reader.readuntil(b'"b64_json"'), WITHIN_S)
    gateway.process.send_signal(signal.SIGTERM)
    await gateway.draining()
    gateway.process.send_signal(signal.SIGTERM)
    assert await gateway.ended() == Exit.OK
    events = events_of(await gateway.said())
    assert events[-1] == "server.stopped"
    assert "server.cut_short" not in events
    rest = await asyncio.wait_for(reader.read(-1), WITHIN_S)
    assert (begun + rest).endswith(b"\r\n0\r\n\r\n")
    assert len(rest) > 40_000
    writer.close()


async def test_a_kept_connection_is_no_reason_to_stay(launch: Launch, upstream: Any) -> None:
    """Callers who ask nothing are let go of at once."""
    gateway = await (await launch("--json", drain={"grace_s": 20.0})).ready()
    assert (await gateway.ask("GET", "/models"))[0] == 200
    gateway.process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(gateway.process.wait(), 5.0) == Exit.OK
