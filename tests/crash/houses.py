"""Real gateways that are killed, an upstream that counts, and what must be true afterwards."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from holdfast.store.audit import audit
from holdfast.store.bookkeeping import ledger_sums

READY_S = 20.0
END_S = 20.0
"""After a restart every generation must have ended by then; what is slow here is the test's own machine."""
LEASE_S = 16.0
"""What a process that died worked on is somebody's again by then, where several may share a database."""
PROMPT = "a lighthouse nobody may read of"
MODELS = {"nano-banana-2": "narrow", "nano-banana": "queue", "nano-banana-pro": "google", "gpt-image-2": "openai"}
PROVIDERS = {"narrow": "gemini", "queue": "fal", "google": "gemini", "openai": "openai"}
HEDGED = "seedream-4.5"
"""The model that has a second attempt beside a slow one, in a house that is given `House.seconds`."""
CALL = "idempotency_key || CASE WHEN hedge = 0 THEN '' ELSE '+second' END"
"""What the upstream calls an attempt."""
QUEUED = "nano-banana"
"""The model whose upstream gives a handle: from there on nothing may be lost, not even to `unknown`."""
TOLD = {"outcome_unknown", "deadline_exceeded", "internal_error", "generation_cancelled", "overloaded"}
ACCOUNTS = ("held", "revenue", "provider_cost", "unknown_exposure", "extra_images")
FINAL = {"succeeded", "failed", "cancelled"}


class Receiver:
    """Somebody who wants to be told of ends, for all houses; it keeps what it was told, by the path it came to."""

    def __init__(self) -> None:
        self.told: dict[str, list[tuple[str, str, str]]] = {}
        """`webhook-id`, generation and type, as they came."""
        self.port = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop."""
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in lines)}
            told = json.loads(await reader.readexactly(int(headers["content-length"])))
            path = line.split(" ")[1]
            self.told.setdefault(path, []).append((headers["webhook-id"], told["data"]["id"], told["type"]))
            writer.write(b"HTTP/1.1 204 Taken\r\n\r\n")
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()


@dataclass
class House:
    """One data folder, the gateways that live in it one after another, and the record of their deaths."""

    root: Path
    upstream: Any
    receiver: Receiver
    is_told: bool = False
    """Whether somebody is told of its ends."""
    models: tuple[str, ...] = tuple(MODELS)
    settings: str = ""
    """TOML of its own, behind the upstreams and routes."""
    database: Any = None
    """The PostgreSQL that its rows are in, if not the folder: `server` and `dsn`."""
    process: asyncio.subprocess.Process | None = None
    base_url: str = ""
    starts: int = 0
    deaths: int = 0
    whole: set[str] = field(default_factory=set)
    """Digests of pictures that were on the disk, whole, when a gateway died."""
    delivered: list[tuple[str, list[str]]] = field(default_factory=list)
    """What callers were answered: a generation and the digests of its pictures."""
    found: dict[str, Any] = field(default_factory=dict)
    """What the last look found, in numbers; written before anything is asserted of it."""

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.root / "data"

    @property
    def taken_over_s(self) -> float:
        """How long what was left open may wait before a start goes on with it."""
        return 0.0 if self.database is None else LEASE_S

    @property
    def picture(self) -> bytes:
        """A whole PNG, to be sent along."""
        return bytes(self.upstream.sample)

    @property
    def log(self) -> Path:
        """What every gateway wrote to standard error."""
        return self.root / "stderr.log"

    @property
    def purchases_max(self) -> int:
        """How often a part may be paid for: what died with the process is bought once more where that is allowed."""
        return 2 if "buy_once_more" in self.settings else 1

    @property
    def seconds(self) -> str:
        """Settings of a model that two upstreams serve, where a call of a quarter of a second is slow."""
        lines = []
        for name in ("first", "second"):
            url = f"http://127.0.0.1:{self.upstream.port}/{name}"
            lines += ["[[upstreams]]", f'name = "{name}"', 'provider = "gemini"', f'base_url = "{url}"']
            lines += [f'keys = ["{name}-secret"]']
        entries = ", ".join(f'{{ upstream = "{name}", model = "{HEDGED}" }}' for name in ("first", "second"))
        lines += ["[[routes]]", f'model = "{HEDGED}"', f"upstreams = [{entries}]", 'on_unknown = "buy_once_more"']
        return "\n".join([*lines, "[hedge]", "enabled = true", "budget_share = 1.0", "[latency]", "scale = 0.003"])

    def _write_settings(self) -> Path:
        lines = []
        for name, provider in PROVIDERS.items():
            url = f"http://127.0.0.1:{self.upstream.port}{'/v1' if provider == 'openai' else ''}"
            lines += ["[[upstreams]]", f'name = "{name}"', f'provider = "{provider}"', f'base_url = "{url}"']
            lines += [f'keys = ["{name}-secret"]', f"concurrency = {int(name == 'narrow')}"]
        for model in self.models:
            lines += ["[[routes]]", f'model = "{model}"']
            named = f"fal-ai/{model}" if model == QUEUED else model
            lines += [f'upstreams = [{{ upstream = "{MODELS[model]}", model = "{named}" }}]']
        lines += ["[retry]", "backoff_s_first = 0.2", 'on_unknown = "fail"', "[joining]", "unwatched_cancel_s = 0.1"]
        # A departure is seen by the next beat: httpx gets them early, and nobody else does.
        if "[heartbeat]" not in self.settings:
            lines += ["[heartbeat]", "impatient_first_beat_s = 0.1", "impatient_beat_s = 0.1"]
        if self.database is not None:
            lines += ["[store]", f'database = "{self.database.dsn}"', "database_connections = 4"]
            lines += ["[drain]", "accept_s = 0"]
        lines += ["[webhooks]", "allow_private = true", "allow_http = true", self.settings]
        file = self.root / "holdfast.toml"
        file.write_text("\n".join(lines))
        return file

    async def launch(self, fault: str = "", prefix: tuple[str, ...] = ()) -> asyncio.subprocess.Process:
        """Begin a gateway; `prefix` is a command that runs it."""
        self.root.mkdir(parents=True, exist_ok=True)
        self.starts += 1
        environ = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
        # Hundreds of starts: compiled once, by whichever comes first.
        for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY", "OPENAI_API_KEY", "PYTHONDONTWRITEBYTECODE"):
            environ.pop(name, None)
        environ |= {"HOLDFAST_FAULT": fault}
        words = ["--json", "--config", str(self._write_settings()), "--data", str(self.data), "serve", "--port", "0"]
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *prefix,
                sys.executable,
                "-m",
                "holdfast.cli.main",
                *words,
                env=environ,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        return self.process

    async def start(self, fault: str = "") -> bool:
        """Start a gateway; False if it died before it was ready."""
        if await self._is_ready(await self.launch(fault)):
            return True
        await self.died()
        return False

    async def _is_ready(self, process: asyncio.subprocess.Process) -> bool:
        assert process.stdout is not None
        async with asyncio.timeout(READY_S):
            while line := await process.stdout.readline():
                told = json.loads(line)
                if "base_url" in told:
                    self.base_url = told["base_url"].removesuffix("/v1")
                    return True
        return False

    async def refused(self) -> tuple[int, str]:
        """Start a gateway that cannot serve; give its exit code and what it said."""
        said = self.log.stat().st_size if self.log.exists() else 0
        process = await self.launch()
        assert not await self._is_ready(process), "it serves"
        status = await asyncio.wait_for(process.wait(), READY_S)
        self.process = None
        return status, self.log.read_bytes()[said:].decode()

    async def ended(self) -> int:
        """Ask the gateway to end; give its exit code."""
        assert self.process is not None
        self.process.terminate()
        status = await asyncio.wait_for(self.process.wait(), END_S)
        self.process = None
        return status

    async def died(self, within_s: float = READY_S) -> None:
        """Wait for the gateway to be killed, and look at what it left."""
        assert self.process is not None
        status = await asyncio.wait_for(self.process.wait(), within_s)
        assert status == -signal.SIGKILL, f"ended with {status}: {self.log.read_text()[-3000:]}"
        self._buried()

    async def kill(self) -> None:
        """Kill the gateway now."""
        assert self.process is not None
        self.process.kill()
        await self.died()

    def _buried(self) -> None:
        self.deaths += 1
        self.process = None
        places = [*(self.data / "spool").glob("att_*"), *(self.data / "blobs").rglob("att_*")]
        for path in places:
            if path.suffix in (".done", ".part", ".png"):
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                if digest in self.upstream.key_of:
                    self.whole.add(digest)

    @property
    def is_alive(self) -> bool:
        """Whether a gateway runs."""
        return self.process is not None and self.process.returncode is None

    @property
    def headers(self) -> dict[str, str]:
        """What a caller sends along."""
        return {"Authorization": f"Bearer {(self.data / 'first.key').read_text().strip()}"}

    async def post(self, steering: str, *, after_s: float = 0.0, **asked: Any) -> str:
        """Ask for pictures and keep what was answered; give the answer's status, or how the call broke."""
        await asyncio.sleep(after_s)
        return (await self.ask(steering, **asked))[0]

    async def ask(
        self, steering: str, *, model: str = "nano-banana-pro", n: int = 1, within_s: float = 60.0, **headers: str
    ) -> tuple[str, dict[str, Any]]:
        """Do the same, and give what was answered."""
        body = {"model": model, "prompt": f"{PROMPT} {steering}", "n": n, "response_format": "url"}
        url = f"{self.base_url}/v1/images/generations"
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=within_s)) as session,
                session.post(url, json=body, headers={**self.headers, **headers}) as answer,
            ):
                document = await answer.json()
                if answer.status == 200 and "data" in document:
                    digests = [await self._digest(session, image["url"]) for image in document["data"]]
                    self.delivered.append((document["generation_id"], digests))
                return str(answer.status), document
        except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
            return type(error).__name__, {}

    async def joins(self, key: str, steering: str, *, model: str = "nano-banana-pro", n: int = 1) -> dict[str, Any]:
        """Repeat a call by its key; it must buy nothing, whatever became of the first one. Give the answer."""
        accepted = self.accepted()
        before = sum(self.upstream.charges_of(id_).total() for id_ in accepted)
        _, document = await self.ask(steering, model=model, n=n, **{"Idempotency-Key": key})
        assert document, "the repeat was not answered"
        assert self.accepted() == accepted, f"the repeat was taken for something new: {document}"
        after = sum(self.upstream.charges_of(id_).total() for id_ in accepted)
        assert after == before, f"the repeat was bought anew: {document}"
        return document

    async def make(self, steering: str, **body: Any) -> str:
        """Ask for a picture without waiting; give the answer's status, or how the call broke."""
        try:
            async with (
                aiohttp.ClientSession(headers=self.headers) as session,
                session.post(
                    f"{self.base_url}/v1/generations", json={"prompt": f"{PROMPT} {steering}", **body}
                ) as answer,
            ):
                assert answer.status == 202, await answer.text()
                return str(answer.status)
        except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
            return type(error).__name__

    async def cancelled(self, steering: str) -> str:
        """Ask for a picture without waiting, and cancel it; give the answer's status, or how a call broke."""
        body = {"prompt": f"{PROMPT} {steering}"}
        url = f"{self.base_url}/v1/generations"
        try:
            async with aiohttp.ClientSession(headers=self.headers) as session:
                async with session.post(url, json=body) as answer:
                    assert answer.status == 202, await answer.text()
                    id_ = (await answer.json())["id"]
                async with session.post(f"{url}/{id_}/cancel") as answer:
                    return str(answer.status)
        except (aiohttp.ClientError, ConnectionError) as error:
            return type(error).__name__

    async def erased(self, steering: str) -> str:
        """Have a picture made, and delete it; give the answer's status, or how a call broke."""
        body = {"prompt": f"{PROMPT} {steering}"}
        url = f"{self.base_url}/v1/generations"
        try:
            async with aiohttp.ClientSession(headers=self.headers) as session:
                async with session.post(url, json=body, headers={"Prefer": "wait=10"}) as answer:
                    assert answer.status in (200, 202), await answer.text()
                    id_ = (await answer.json())["id"]
                async with session.delete(f"{url}/{id_}") as answer:
                    return str(answer.status)
        except (aiohttp.ClientError, ConnectionError) as error:
            return type(error).__name__

    async def _digest(self, session: aiohttp.ClientSession, url: str) -> str:
        async with session.get(url) as answer:
            assert answer.status == 200, (url, await answer.text())
            return hashlib.sha256(await answer.read()).hexdigest()

    async def be_told(self) -> None:
        """Make a webhook, so that every end from now on is told."""
        url = f"http://127.0.0.1:{self.receiver.port}/{self.root.name}"
        async with (
            aiohttp.ClientSession(headers=self.headers) as session,
            session.post(f"{self.base_url}/v1/webhooks", json={"url": url}) as answer,
        ):
            assert answer.status == 201, await answer.text()
        self.is_told = True

    async def post_until_death(self, *posts: Any, grace_s: float = 1.0) -> list[str]:
        """Make calls; give their answers once the gateway is dead, or once all of them and a grace have passed."""
        assert self.process is not None
        dead = asyncio.create_task(self.process.wait())
        answers = await asyncio.gather(*posts)
        # Some points lie behind the answer.
        await asyncio.wait([dead], timeout=grace_s)
        if dead.done():
            await self.died()
        else:
            dead.cancel()
        return list(answers)

    # Looking

    @contextmanager
    def reading(self) -> Iterator[Any]:
        """The database, to be read only."""
        if self.database is not None:
            with self.database.server.reading(self.database.dsn) as conn:
                yield conn
            return
        uri = f"{(self.data / 'holdfast.sqlite3').as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=5.0)) as conn:
            conn.row_factory = sqlite3.Row
            yield conn

    def accepted(self) -> list[str]:
        """The ids of all that was ever accepted."""
        with self.reading() as conn:
            return [row[0] for row in conn.execute("SELECT id FROM generation ORDER BY id")]

    def open_attempts(self) -> int:
        """How many attempts are in flight, by the record."""
        with self.reading() as conn:
            query = "SELECT count(*) FROM attempt WHERE state IN ('sent', 'polling')"
            return int(conn.execute(query).fetchone()[0])

    def half_deleted(self) -> int:
        """How many generations were to be deleted and are not whole gone yet."""
        with self.reading() as conn:
            query = "SELECT count(*) FROM generation WHERE deleted_at IS NOT NULL AND purged_at IS NULL"
            return int(conn.execute(query).fetchone()[0])

    async def until_polling(self) -> None:
        """Wait until a handle is stored."""
        query = "SELECT count(*) FROM attempt WHERE state = 'polling'"
        async with asyncio.timeout(END_S):
            while True:
                with self.reading() as conn:
                    if conn.execute(query).fetchone()[0]:
                        return
                await asyncio.sleep(0.01)

    async def resources(self) -> list[dict[str, Any]]:
        """Every generation as its owner sees it, once all of them have ended."""
        ids = self.accepted()
        async with aiohttp.ClientSession(headers=self.headers) as session, asyncio.timeout(END_S + self.taken_over_s):
            while True:
                found = []
                for id_ in ids:
                    async with session.get(f"{self.base_url}/v1/generations/{id_}") as answer:
                        assert answer.status == 200, await answer.text()
                        found.append(await answer.json())
                if all(each["status"] in FINAL for each in found):
                    return found
                await asyncio.sleep(0.05)

    async def check(self) -> None:
        """Find every promise kept."""
        resources = await self.resources()
        listed = {image["sha256"] for each in resources for image in (*each["images"], *each["drafts"])}
        with self.reading() as conn:
            sums = ledger_sums(conn)
            problems = audit(conn).problems
        self.found = self._found(resources, listed, sums)
        async with aiohttp.ClientSession() as session:
            for each in resources:
                await self._check_generation(session, each)
        assert self.whole <= listed, "a picture that was here whole is lost"
        by_id = {each["id"]: each for each in resources}
        for id_, digests in self.delivered:
            assert [image["sha256"] for image in by_id[id_]["images"]] == digests, "a caller got something else"
        assert problems == ()
        self._check_money(resources, sums)
        self._check_rows(resources)
        gone = {image["sha256"] for each in resources if each["deleted_at"] for image in each["images"]}
        self._check_files(listed - gone)
        if self.is_told:
            await self._check_told()
        text = self.log.read_text()
        assert "nobody may read" not in text
        assert "-secret" not in text
        assert self.headers["Authorization"].removeprefix("Bearer ") not in text

    def _found(self, resources: list[dict[str, Any]], listed: set[str], sums: Any) -> dict[str, Any]:
        """Put it in numbers."""
        ids = {each["id"] for each in resources}
        calls = {key: count for key, count in self.upstream.sends.items() if key.partition(".")[0] in ids}
        codes = Counter(each["error"]["code"] for each in resources if each["error"])
        return {
            "states": dict(Counter(each["status"] for each in resources)),
            "told": dict(codes),
            "charges": sum(calls.values()),
            "lost": len(self.whole - listed),
            "double": sum(max(0, count - self.purchases_max) for count in calls.values()),
            "ledger": {"sum": sums.total_micros, **{name: sums.accounts.get(name, 0) for name in ACCOUNTS}},
        }

    async def _check_generation(self, session: aiohttp.ClientSession, each: dict[str, Any]) -> None:
        charges = self.upstream.charges_of(each["id"])
        about = (each, charges)
        assert max(charges.values(), default=0) <= self.purchases_max, f"a part was paid for too often: {about}"
        sent = {attempt["part"] for attempt in each["attempts"]}
        assert {int(part) for part in charges} <= sent, f"something was sent without a record: {about}"
        tellings = [each["paid"], *([each["error"]["paid"]] if each["error"] else [])]
        for paid in tellings:
            assert paid != ("no" if charges else "yes"), f"told wrongly who was paid: {about}"
        if each["status"] == "succeeded":
            assert each["images"], about
            assert each["error"] is None
        else:
            assert each["error"]["code"] in TOLD, about
            assert each["error"]["code"] != "overloaded" or not charges, about
            assert each["images"] == []
            # What was charged for nothing is given back, by rule.
            assert each["cost"]["charged_micros"] == each["cost"]["compensated_micros"]
        for image in (*each["images"], *each["drafts"]):
            if each["deleted_at"]:
                assert image["url"] is None, "what was deleted is still offered"
                continue
            digest = await self._digest(session, image["url"])
            assert digest == image["sha256"], "the bytes are not what the record says"
            assert self.upstream.key_of[digest].startswith(f"{each['id']}."), "a picture of somebody else"

    def _check_money(self, resources: list[dict[str, Any]], sums: Any) -> None:
        with self.reading() as conn:
            attempts = conn.execute(f"SELECT {CALL} AS call, estimated_micros FROM attempt").fetchall()
        assert sums.hold, sums
        assert sums.accounts.get("held", 0) == 0
        # What the upstream really took is booked, or stands as an exposure.
        by_call = {row["call"]: row["estimated_micros"] for row in attempts}
        taken = sum(micros for call, micros in by_call.items() if call in self.upstream.sends)
        known = sums.accounts.get("provider_cost", 0) + sums.accounts.get("extra_images", 0)
        assert known <= taken <= known + sums.accounts.get("unknown_exposure", 0)
        charged = sum(each["cost"]["charged_micros"] for each in resources)
        assert -sums.accounts.get("revenue", 0) == charged

    def _check_rows(self, resources: list[dict[str, Any]]) -> None:
        with self.reading() as conn:
            query = f"SELECT generation_id, part, drive, hedge, charge, {CALL} FROM attempt ORDER BY id"
            sent = [tuple(row) for row in conn.execute(query)]
            query = "SELECT DISTINCT state FROM attempt WHERE upstream_handle IS NOT NULL"
            polled = {row["state"] for row in conn.execute(query)}
            events = conn.execute("SELECT generation_id, type, sequence_number FROM event ORDER BY 1, 3").fetchall()
        if QUEUED in self.models:
            assert polled <= {"settled"}, "the image of a handle that was stored is lost"
        # A second attempt beside a slow one, and one after what died with the process, are bought on purpose.
        costly = Counter(each[:3] for each in sent if each[4] != "no")
        assert max(costly.values(), default=0) <= self.purchases_max, f"a part may have been paid for too often: {sent}"
        # What was turned away may be followed by another attempt; the last one tells how its part went.
        for *which, charge, key in {each[:4]: each for each in sent}.values():
            assert charge != ("no" if key in self.upstream.sends else "yes"), f"told wrongly who was paid: {which}"
        for each in resources:
            own = [row for row in events if row["generation_id"] == each["id"]]
            assert [row["sequence_number"] for row in own] == list(range(1, len(own) + 1))
            ends = [row["type"] for row in own if row["type"] in FINAL]
            drives = sum(row["type"] == "queued" for row in own)
            # An end for each time it was driven; a failure may turn out a late success.
            assert ends[: drives - 1] == ["failed"] * (drives - 1), ends
            last = ends[drives - 1 :]
            assert len(last) == 1 or (each["late"] and last == ["failed", "succeeded"]), ends

    async def _check_told(self) -> None:
        """Find every end told at least once, and each under one id, whatever died in between."""
        with self.reading() as conn:
            rows = conn.execute("SELECT generation_id, type FROM event").fetchall()
        ends = {(row["generation_id"], f"generation.{row['type']}") for row in rows if row["type"] in FINAL}
        told = self.receiver.told.setdefault(f"/{self.root.name}", [])
        async with asyncio.timeout(END_S):
            while ends - {(generation, type_) for _, generation, type_ in told}:
                await asyncio.sleep(0.05)
        assert {(generation, type_) for _, generation, type_ in told} == ends, "told of what never was"
        assert len(set(told)) == len(ends), f"one end was told under two ids: {told}"

    def _check_files(self, listed: set[str]) -> None:
        assert sorted(path.name for path in (self.data / "spool").iterdir()) == []
        files = [path for path in (self.data / "blobs").rglob("*") if path.is_file()]
        digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
        assert sorted(digests) == sorted(listed), "files and records differ"

    async def check_after(self) -> list[dict[str, Any]]:
        """Find every promise kept once all has ended, and a new call served as ever; give what was found before it."""
        await self.resources()
        # What was told at its deadline may still be polled for.
        async with asyncio.timeout(END_S):
            while self.open_attempts():
                await asyncio.sleep(0.05)
        # The sweeper has its first turn a second after the start.
        async with asyncio.timeout(END_S):
            while self.half_deleted():
                await asyncio.sleep(0.05)
        resources = await self.resources()
        assert await self.post("[delay=0]", model=self.models[-1]) == "200"
        # The spool is emptied after the caller was told.
        async with asyncio.timeout(END_S):
            while any((self.data / "spool").iterdir()):
                await asyncio.sleep(0.01)
        await self.check()
        return resources

    async def close(self) -> None:
        """End what still runs."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


class Street:
    """Houses beside one another, with one upstream."""

    def __init__(self, root: Path, upstream: Any, receiver: Receiver) -> None:
        self.upstream = upstream
        self._receiver = receiver
        self.houses: list[House] = []
        self._root = root

    def house(self, name: str) -> House:
        """Make an empty one."""
        house = House(self._root / name, self.upstream, self._receiver)
        self.houses.append(house)
        return house
