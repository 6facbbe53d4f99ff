"""Several processes on one PostgreSQL: what one accepts another works on, a third hands out; the dead are followed."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import tomli_w

# Each starts three processes or four, which a busy machine does slowly.
pytestmark = pytest.mark.timeout(600)

WITHIN_S = 150.0
ALIVE_S = 15.0
TAKEN_OVER_S = 15.0
"""From a kill to the next worker's send, by the defaults: a lease of 10 s and a look every 1.5 s."""


class Replica:
    """One process, and what it logs."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.process = process
        self.log: list[dict[str, Any]] = []
        self.base_url = ""
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            try:
                self.log.append(json.loads(line))
            except json.JSONDecodeError:
                self.log.append({"event": "text", "text": line.decode()})

    async def ready(self) -> Replica:
        """Wait until it listens."""
        assert self.process.stdout is not None
        async with asyncio.timeout(WITHIN_S):
            while not self.base_url:
                line = await self.process.stdout.readline()
                if not line:
                    await self._reading
                    raise AssertionError(self.log)
                self.base_url = json.loads(line).get("base_url", "")
        return self

    def said(self, event: str, generation_id: str) -> bool:
        """Whether it has logged something of a generation."""
        return any(each["event"] == event and each.get("generation_id") == generation_id for each in self.log)

    async def logged(self, event: str, generation_id: str) -> None:
        """Wait until it has logged something of a generation."""
        async with asyncio.timeout(WITHIN_S):
            while not self.said(event, generation_id):
                await asyncio.sleep(0.02)

    async def terminated(self) -> int:
        """Have it drain, and give its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), WITHIN_S)

    async def end(self) -> None:
        """Kill it, if it lives."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reading


class Cluster:
    """Processes that share a database, images and a secret."""

    def __init__(self, folder: Path, dsn: str, settings_for: Callable[..., dict[str, Any]], port: int) -> None:
        self._folder = folder
        self._dsn = dsn
        self._settings_for = settings_for
        self._upstream_port = port
        self._secret = secrets.token_bytes(32)
        self.replicas: list[Replica] = []
        self.session = aiohttp.ClientSession()

    async def start(self, name: str, *words: str, **sections: Any) -> Replica:
        """Start one; its spool is its own, its images are everybody's."""
        data = self._folder / name
        data.mkdir()
        (data / "secret").touch(0o600)
        (data / "secret").write_bytes(self._secret)
        for each in ("blobs", "inputs"):
            (self._folder / each).mkdir(exist_ok=True)
            (data / each).symlink_to(self._folder / each)
        sections["store"] = {"database": self._dsn, **sections.get("store", {})}
        # However long a test holds an answer back, no call is given up on meanwhile.
        sections["deadlines"] = {"attempt_s": dict.fromkeys(("1K", "2K", "4K"), 200.0)}
        file = self._folder / f"{name}.toml"
        file.write_text(tomli_w.dumps(self._settings_for(self._upstream_port, data, sections)), "utf-8")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "holdfast.cli.main", "--json", "serve", "--config", str(file), *words),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self._folder,
        )
        made = Replica(name, process)
        self.replicas.append(made)
        return await made.ready()

    @property
    def bearer(self) -> dict[str, str]:
        """The key that the first one made, as a header."""
        (file,) = self._folder.glob("*/first.key")
        return {"Authorization": f"Bearer {file.read_text('ascii').strip()}"}

    async def ask(self, replica: Replica, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """Make a call: status and document."""
        async with self.session.request(method, replica.base_url + path, headers=self.bearer, **options) as got:
            return got.status, json.loads(await got.read())

    async def result(self, replica: Replica, generation_id: str) -> tuple[int, Any]:
        """Wait for the end of a generation at one replica, by a long poll."""
        headers = {**self.bearer, "Prefer": "wait=120"}
        async with self.session.get(f"{replica.base_url}/generations/{generation_id}", headers=headers) as got:
            return got.status, json.loads(await got.read())

    async def accept(self, replica: Replica) -> str:
        """Have a generation accepted, and give its id."""
        status, answer = await self.ask(replica, "POST", "/generations", json={"prompt": "a lighthouse, marker Qx7Zt"})
        assert status == 202, answer
        return str(answer["id"])

    async def worker_of(self, generation_id: str, *, but: Replica | None = None) -> Replica:
        """Wait until somebody sends it, and say who."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                for each in self.replicas:
                    if each is not but and each.said("attempt.sent", generation_id):
                        return each
                await asyncio.sleep(0.02)

    async def close(self) -> None:
        """End everything."""
        for each in self.replicas:
            await each.end()
        await self.session.close()


@pytest.fixture
async def cluster(
    upstream: Any, settings_for: Any, tmp_path: Path, postgres_server: Any, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Cluster]:
    """Processes with a database of their own."""
    for name in [name for name in os.environ if name.startswith("HOLDFAST_") or name.endswith("_API_KEY")]:
        monkeypatch.delenv(name)
    dsn = await asyncio.to_thread(postgres_server.make, f"replicas_{os.getpid()}")
    made = Cluster(tmp_path, dsn, settings_for, upstream.port)
    yield made
    upstream.gate.set()
    await made.close()


async def was_asked(upstream: Any, count: int) -> None:
    """Wait until so many calls have come."""
    async with asyncio.timeout(WITHIN_S):
        while len(upstream.asked) < count:
            await asyncio.sleep(0.02)


async def test_one_works_on_what_another_accepted_and_a_third_hands_it_out(cluster: Cluster, upstream: Any) -> None:
    """One only serves, as whoever has room works on what it accepts; nothing is bought twice."""
    first = await cluster.start("a", "--role", "serve")
    second, third = [await cluster.start(name) for name in ("b", "c")]
    upstream.gate.clear()
    id_ = await cluster.accept(first)
    worker = await cluster.worker_of(id_)
    assert worker in (second, third)
    other = third if worker is second else second
    waiting = asyncio.create_task(cluster.result(other, id_))
    held = asyncio.create_task(cluster.ask(first, "POST", "/images/generations", json={"prompt": "a boat, Qx7Zt"}))
    await was_asked(upstream, 2)
    upstream.gate.set()
    status, answer = await waiting
    assert (status, answer["status"]) == (200, "succeeded")
    async with cluster.session.get(answer["images"][0]["url"]) as got:
        assert await got.read() in upstream.pictures
    status, answer = await held
    assert status == 200
    assert len(answer["data"]) == 1
    assert len(upstream.asked) == 2


async def test_what_a_killed_process_worked_on_is_taken_over(cluster: Cluster, upstream: Any) -> None:
    """kill -9 of a worker: within 15 s another one has its generation, and whoever waits elsewhere gets his image."""
    serving = await cluster.start("serving", "--role", "serve")
    first = await cluster.start("first", "--role", "work", retry={"on_unknown": "buy_once_more"})
    upstream.gate.clear()
    id_ = await cluster.accept(serving)
    assert await cluster.worker_of(id_) is first
    await cluster.start("second", "--role", "work", retry={"on_unknown": "buy_once_more"})
    waiting = asyncio.create_task(cluster.result(serving, id_))
    await was_asked(upstream, 1)
    loop = asyncio.get_running_loop()
    killed_at = loop.time()
    first.process.send_signal(signal.SIGKILL)
    second = await cluster.worker_of(id_, but=first)
    took_s = loop.time() - killed_at
    assert took_s <= TAKEN_OVER_S, f"taken over after {took_s:.1f} s"
    print(f"taken over after {took_s:.1f} s")
    upstream.gate.set()
    status, answer = await waiting
    assert (status, answer["status"]) == (200, "succeeded")
    assert len(upstream.asked) == 2
    await second.logged("attempt.settled", id_)


async def test_a_cancel_reaches_the_worker_wherever_it_is(cluster: Cluster, upstream: Any) -> None:
    """What waits in line at a worker is cancelled through any replica, and is never sent; others are told at once."""
    one = {"name": "google", "provider": "gemini", "base_url": f"http://127.0.0.1:{upstream.port}", "concurrency": 1}
    rest = {"name": "openai", "provider": "openai", "base_url": f"http://127.0.0.1:{upstream.port}/v1"}
    upstreams = [{**each, "keys": ["upstream-secret-Jw4Ru"]} for each in (one, rest)]
    serving = await cluster.start("serving", "--role", "serve", upstreams=upstreams)
    worker = await cluster.start("worker", "--role", "work", upstreams=upstreams)
    upstream.gate.clear()
    sent = await cluster.accept(serving)
    assert await cluster.worker_of(sent) is worker
    waits = await cluster.accept(serving)
    waiting = asyncio.create_task(cluster.result(serving, waits))
    status, _ = await cluster.ask(serving, "POST", f"/generations/{waits}/cancel")
    assert status == 200
    status, answer = await waiting
    assert (status, answer["status"]) == (200, "cancelled")
    upstream.gate.set()
    assert (await cluster.result(serving, sent))[1]["status"] == "succeeded"
    assert len(upstream.asked) == 1


async def test_a_stream_of_events_is_whole_on_a_replica_that_works_on_nothing(cluster: Cluster, upstream: Any) -> None:
    """Server-sent events of a generation that another process works on: each in its order, none missing."""
    serving = await cluster.start("serving", "--role", "serve")
    await cluster.start("worker", "--role", "work")
    upstream.gate.clear()
    id_ = await cluster.accept(serving)
    await was_asked(upstream, 1)
    headers = {**cluster.bearer, "Accept": "text/event-stream"}
    told = []
    async with cluster.session.get(f"{serving.base_url}/generations/{id_}/events", headers=headers) as got:
        assert got.status == 200
        async with asyncio.timeout(WITHIN_S):
            async for line in got.content:
                if line.startswith(b"event: "):
                    told.append(line.removeprefix(b"event: ").strip().decode())
                if told[-1:] == ["generation.running"]:
                    upstream.gate.set()
    assert told[0] == "generation.queued"
    assert told[-1] == "generation.succeeded"
    assert sorted(told, key=told.index) == told


async def test_a_worker_that_drains_takes_nothing_new_and_ends_what_it_has(cluster: Cluster, upstream: Any) -> None:
    """SIGTERM of a worker: its call in flight is awaited, what is accepted then is another's, nothing is paid twice."""
    serving = await cluster.start("serving", "--role", "serve")
    first = await cluster.start("first", "--role", "work", drain={"grace_s": 30.0})
    upstream.gate.clear()
    before = await cluster.accept(serving)
    assert await cluster.worker_of(before) is first
    ending = asyncio.create_task(first.terminated())
    async with asyncio.timeout(WITHIN_S):
        while not any(each["event"] == "server.draining" for each in first.log):
            await asyncio.sleep(0.02)
    second = await cluster.start("second", "--role", "work")
    after = await cluster.accept(serving)
    assert await cluster.worker_of(after) is second
    upstream.gate.set()
    assert [(await cluster.result(serving, each))[1]["status"] for each in (before, after)] == ["succeeded"] * 2
    assert await ending == 0
    assert len(upstream.asked) == 2


async def test_what_a_worker_cannot_end_in_time_is_handed_over_at_once(cluster: Cluster, upstream: Any) -> None:
    """After the grace another worker has it at once, before a lease ends; what is unknown is bought once more."""
    again = {"retry": {"on_unknown": "buy_once_more"}}
    serving = await cluster.start("serving", "--role", "serve", **again)
    first = await cluster.start("first", "--role", "work", drain={"grace_s": 0.5}, **again)
    upstream.gate.clear()
    id_ = await cluster.accept(serving)
    assert await cluster.worker_of(id_) is first
    second = await cluster.start("second", "--role", "work", **again)
    await was_asked(upstream, 1)
    await first.terminated()
    loop = asyncio.get_running_loop()
    ended_at = loop.time()
    assert await cluster.worker_of(id_, but=first) is second
    assert loop.time() - ended_at < 10.0, "as long as a lease"
    upstream.gate.set()
    status, answer = await cluster.result(serving, id_)
    assert (status, answer["status"]) == (200, "succeeded")
    assert len(answer["attempts"]) == len(upstream.asked) == 2


async def test_a_caller_whose_replica_is_redeployed_finds_his_image_at_another(cluster: Cluster, upstream: Any) -> None:
    """A connection that is cut at the end of a drain costs nothing: its repeat joins, elsewhere, what was bought."""
    first = await cluster.start("first", "--role", "serve", drain={"grace_s": 0.5})
    second = await cluster.start("second", "--role", "serve")
    await cluster.start("worker", "--role", "work")
    upstream.gate.clear()
    headers = {**cluster.bearer, "Idempotency-Key": "once"}

    async def post(replica: Replica) -> tuple[int, Any]:
        url, body = f"{replica.base_url}/images/generations", {"prompt": "a boat, Qx7Zt"}
        async with cluster.session.post(url, headers=headers, json=body) as got:
            return got.status, json.loads(await got.read())

    held = asyncio.create_task(post(first))
    await was_asked(upstream, 1)
    await first.terminated()
    (told,) = await asyncio.gather(held, return_exceptions=True)
    assert isinstance(told, aiohttp.ClientError | json.JSONDecodeError) or told[0] in (502, 503), told
    repeat = asyncio.create_task(post(second))
    await asyncio.sleep(0.1)
    upstream.gate.set()
    status, answer = await repeat
    assert (status, len(answer["data"])) == (200, 1)
    assert len(upstream.asked) == 1


async def test_several_that_serve_share_a_port(cluster: Cluster, upstream: Any) -> None:
    """Two processes on one machine listen on one port, and callers are spread over them."""
    first = await cluster.start("first", "--role", "serve")
    port = first.base_url.rpartition(":")[2].partition("/")[0]
    second = await cluster.start("second", "--role", "serve", "--port", port)
    assert second.base_url == first.base_url
    await cluster.start("worker", "--role", "work")
    answered = [await cluster.ask(first, "GET", "/models") for _ in range(4)]
    assert [status for status, _ in answered] == [200] * 4
    await first.terminated()
    assert (await cluster.result(second, await cluster.accept(second)))[1]["status"] == "succeeded"


async def test_two_workers_keep_to_the_limit_of_a_key_together(cluster: Cluster, upstream: Any) -> None:
    """A key that takes two calls at once is never sent a third one, whichever worker has it; each has its turn."""
    upstreams = [
        {
            "name": "google",
            "provider": "gemini",
            "base_url": f"http://127.0.0.1:{upstream.port}",
            "keys": ["upstream-secret-Jw4Ru"],
            "concurrency": 2,
        }
    ]
    routes = [{"model": "nano-banana-pro", "upstreams": [{"upstream": "google", "model": "gemini-3-pro-image"}]}]
    sections = {"upstreams": upstreams, "routes": routes}
    serving = await cluster.start("serving", "--role", "serve", **sections)
    for name in ("first", "second"):
        await cluster.start(name, "--role", "work", **sections)
    at_once, most = 0, 0
    draw = upstream.script

    async def counted(asked: Any, reply: Any) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.2)
        at_once -= 1
        await draw(asked, reply)

    upstream.script = counted
    ids = [await cluster.accept(serving) for _ in range(12)]
    ends = await asyncio.gather(*(cluster.result(serving, each) for each in ids))
    assert [answer["status"] for _, answer in ends] == ["succeeded"] * 12
    assert most == 2
    assert len(upstream.asked) == 12


async def test_equal_calls_at_two_replicas_are_two(cluster: Cluster, upstream: Any) -> None:
    """Two who ask for the same at one time get an image each, wherever they ask; one whose replica died is joined."""
    first, second = await cluster.start("first", "--role", "serve"), await cluster.start("second", "--role", "serve")
    await cluster.start("worker", "--role", "work")
    upstream.gate.clear()
    body = {"prompt": "a boat, Qx7Zt"}
    held = [
        asyncio.create_task(cluster.ask(each, "POST", "/images/generations", json=body)) for each in (first, second)
    ]
    await was_asked(upstream, 2)
    first.process.kill()
    await asyncio.gather(held[0], return_exceptions=True)
    # A call of the same words joins what nobody waits for any more, once its replica shows no signs of life.
    await asyncio.sleep(ALIVE_S + 1.0)
    repeat = asyncio.create_task(cluster.ask(second, "POST", "/images/generations", json=body))
    await asyncio.sleep(0.5)
    upstream.gate.set()
    assert [(await each)[0] for each in (held[1], repeat)] == [200, 200]
    assert len(upstream.asked) == 2


async def test_who_left_one_replica_is_joined_at_another(cluster: Cluster, upstream: Any) -> None:
    """A caller gives up, and repeats his call without a key; the balancer sends it elsewhere: one image is bought."""
    first, second = await cluster.start("first", "--role", "serve"), await cluster.start("second", "--role", "serve")
    await cluster.start("worker", "--role", "work")
    upstream.gate.clear()
    body = {"prompt": "a pier, Qx7Zt"}
    leaving = asyncio.create_task(cluster.ask(first, "POST", "/images/generations", json=body))
    await was_asked(upstream, 1)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    # His library waits a moment before it tries again.
    await asyncio.sleep(2.0)
    repeat = asyncio.create_task(cluster.ask(second, "POST", "/images/generations", json=body))
    await asyncio.sleep(2.0)
    upstream.gate.set()
    assert (await repeat)[0] == 200
    assert len(upstream.asked) == 1


async def test_a_process_that_shares_nothing_has_every_role(
    cluster: Cluster, settings_for: Any, tmp_path: Path
) -> None:
    """With rows in its own data folder a process that only serves, or only works, is refused, and told why."""
    file = tmp_path / "alone.toml"
    file.write_text(tomli_w.dumps(settings_for(1, tmp_path / "alone", {})), "utf-8")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "holdfast.cli.main", "serve", "--config", str(file), "--role", "work"),
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    assert process.returncode == 3
    assert all(word in said.decode() for word in ("server.role", "store.database", '"all"'))
