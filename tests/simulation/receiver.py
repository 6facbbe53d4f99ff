"""A receiver of webhooks: it checks signatures, keeps what it was told, and fails as the seed has it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import random
from collections.abc import Iterable
from types import MappingProxyType
from typing import TYPE_CHECKING

from holdfast.policy.webhooks import secret_of
from holdfast.providers.http import Head
from holdfast.transport.guarded import NotAnswered
from simulation.history import Hooked

if TYPE_CHECKING:
    from simulation.world import World

FAILS_SHARE = 0.3


class Receiver:
    """A `webhooks.Post`."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self._world = world
        self._rng = rng
        self.is_healed = False

    async def post(
        self, url: str, *, headers: Iterable[tuple[str, str]], body: bytes, timeout_s: float
    ) -> Head | NotAnswered:
        """Take a webhook in."""
        rng = self._rng
        sent = dict(headers)
        await asyncio.sleep(rng.uniform(0.01, 0.5))
        status = 204
        if not self.is_healed and rng.random() < FAILS_SHARE:
            status = rng.choice((0, 0, 429, 500, 503))
            self._world.fault("W receiver fails", str(status))
        # Whoever breaks off late has taken it in all the same.
        told = json.loads(body)
        self._world.history.add(
            Hooked(
                at=self._world.loop.time(),
                message_id=sent["webhook-id"],
                generation_id=told["data"]["id"],
                drive=told["data"]["drive"],
                type=told["type"],
                status=status,
                is_signed=self._is_signed(url, sent, body),
            )
        )
        if status == 0:
            await asyncio.sleep(rng.choice((0.0, timeout_s)))
            return NotAnswered(reason="the connection was reset")
        return Head(status=status, headers=MappingProxyType({}))

    def _is_signed(self, url: str, sent: dict[str, str], body: bytes) -> bool:
        secret = secret_of(self._world.secret, self._world.endpoints[url], 1)
        signed = b"%s.%s.%s" % (sent["webhook-id"].encode(), sent["webhook-timestamp"].encode(), body)
        expected = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
        return f"v1,{expected}" in sent["webhook-signature"].split(" ")

    def close(self) -> None:
        """It serves the next life too."""
