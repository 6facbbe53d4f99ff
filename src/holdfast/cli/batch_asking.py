"""Asks for the lines of a batch over the client library, which collects after a cut and never buys twice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from holdfast.batch.plan import Task
from holdfast.cli.api_key import ApiKey
from holdfast.cli.batch_run import Made
from holdfast.cli.client_ends import received, stop_of
from holdfast.cli.making import see_that_it_listens
from holdfast.client.address import Server
from holdfast.client.async_ import AsyncClient
from holdfast.client.control import Control, list_ask
from holdfast.client.results import Images
from holdfast.client.rules import listed_in
from holdfast.errors import HoldfastError

_NO_SUCH_THING = frozenset({200, 400, 404, 405, 422, 501})
"""What a server that is no holdfast says to the question for its generations; 200 with a web page included."""


class ClientAsker:
    """One client for all lines; enters and leaves with the run."""

    def __init__(self, *, base_url: str, key: ApiKey, network: str, inputs: Sequence[Path]) -> None:
        """Open nothing yet.

        Args:
            base_url: Whom to ask.
            key: With which key; empty where none is needed.
            network: The path to it, as `deadlines.network` has it.
            inputs: Reference images that go with every line.
        """
        self._base_url = base_url
        self._key = key
        self._client = AsyncClient(base_url, key.value or None, network=network)
        self._inputs = list(inputs)
        self._remembers: bool | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def remembers(self) -> bool:
        """Whether it is holdfast that answers there; asked once.

        Raises:
            Stop: It cannot be known: nothing answers, or the key is refused.
        """
        if self._remembers is None:
            await see_that_it_listens(self._base_url)
            try:
                asked = Control(asker=self._client.asker, ask=list_ask(self._client.asker, {"limit": 1}))
                told = await self._client.control(asked)
                self._remembers = listed_in(told.head, told.document) is not None
            except HoldfastError as error:
                if error.status not in _NO_SUCH_THING:
                    raise stop_of(error, base_url=self._base_url, key=self._key, keeps=False) from error
                self._remembers = False
        return self._remembers

    async def ask(self, task: Task, parts: Path) -> Made:
        """See `Asker.ask`."""
        keeps = await self.remembers()
        # The client writes another body to a holdfast that it knows than to one that it does not. Repeated in another
        # run, a line has to be the same bytes: so what it knows is settled before the first.
        self._client.server = Server.HOLDFAST if keeps else Server.OPENAI
        try:
            images = await self._made(task, parts)
        except HoldfastError as error:
            raise stop_of(error, base_url=self._base_url, key=self._key, keeps=keeps) from error
        with images:
            return Made(images=received(images), generation_id=images.generation_id)

    async def _made(self, task: Task, parts: Path) -> Images:
        line, key = task.line, task.asked.key
        if self._inputs:
            return await self._client.images.edit(
                self._inputs,
                line.prompt,
                model=line.model,
                size=line.size,
                aspect_ratio=line.aspect_ratio,
                save_to=parts,
                idempotency_key=key,
            )
        return await self._client.images.generate(
            line.prompt,
            model=line.model,
            size=line.size,
            aspect_ratio=line.aspect_ratio,
            n=line.n,
            save_to=parts,
            idempotency_key=key,
        )
