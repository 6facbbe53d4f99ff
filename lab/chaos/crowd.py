"""The callers as a crowd that stays as large as it is, and somebody who is told of ends by webhook."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

import aiohttp
import openai
from aiohttp import web
from callers import BROKEN, TIMEOUT_S, Front, ask, order
from orders import Told, order_of, sha256_of
from servers import HOST

FETCHES = 8
"""At once."""


class Crowd:
    """So many callers, each of whom has one order after another."""

    def __init__(self, url: str, key: str, *, speed: float, seed: int, size: int) -> None:
        self._seed = seed
        self._size = size
        self._number = 0
        self._is_stopped = False
        self.told: list[Told] = []
        self.active = 0
        """Callers whose order has no end yet."""
        self._client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, timeout=TIMEOUT_S / speed)
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S / speed)
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout)
        self.front = Front(
            url=url,
            key=key,
            speed=speed,
            session=self._session,
            client=self._client,
            stopped=lambda: self._is_stopped,
        )

    async def run(self, ramp_s: float) -> None:
        """Ask until stopped; the callers come within that time."""
        async with asyncio.TaskGroup() as group:
            for at in range(self._size):
                group.create_task(self._one(ramp_s * at / self._size), name=f"caller {at}")

    async def _one(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        while not self._is_stopped:
            self._number += 1
            self.active += 1
            self.told.append(await order(self.front, order_of(self._seed, self._number)))
            self.active -= 1

    def stop(self) -> None:
        """Have nobody begin anything more."""
        self._is_stopped = True

    async def close(self) -> None:
        """End what they ask by."""
        await self._client.close()
        await self._session.close()


class Ear:
    """Is told of ends."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []
        """`webhook-id`, generation and type, as they came."""
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self, port: int) -> None:
        """Listen."""
        app = web.Application()
        app.router.add_post("/", self._hear)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, port).start()
        self.port = port

    async def _hear(self, request: web.Request) -> web.Response:
        told = json.loads(await request.read())
        self.told.append((request.headers["webhook-id"], told["data"]["id"], told["type"]))
        return web.Response(status=204)

    async def ask_for(self, front: Front) -> None:
        """Make the webhook."""
        answer = await ask(front, "POST", "/v1/webhooks", json={"url": f"http://{HOST}:{self.port}/"})
        assert answer.status == 201, answer.document

    async def close(self) -> None:
        """Stop."""
        if self._runner is not None:
            await self._runner.cleanup()


async def fetch_kept(front: Front, ids: list[str]) -> dict[str, list[str]]:
    """Fetch the pictures of generations as their owner can, by id and then by link; give what names their bytes."""
    found: dict[str, list[str]] = {}
    turns = asyncio.Semaphore(FETCHES)

    async def one(id_: str) -> None:
        async with turns:
            pictures = []
            with suppress(*BROKEN):
                answer = await ask(front, "GET", f"/v1/generations/{id_}")
                for image in [*answer.document.get("images", ()), *answer.document.get("drafts", ())]:
                    async with front.session.get(image["url"]) as got:
                        got.raise_for_status()
                        pictures.append(sha256_of(await got.read()))
            found[id_] = pictures

    await asyncio.gather(*(one(id_) for id_ in ids))
    return found
