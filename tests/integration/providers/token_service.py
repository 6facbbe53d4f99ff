"""Google's token service on a socket of its own, and the file of a service account that it believes."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt

LIFE_S = 3600
AUDIENCE = "https://oauth2.googleapis.com/token"
"""As google-auth has it, whatever address the file names."""


@cache
def key_pair() -> tuple[str, bytes]:
    """Make a private key and its public one, as PEM; once, since it takes a tenth of a second."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem.decode(), public


class TokenService:
    """Gives a token for each assertion that is signed as it must be; the next answers may be scripted."""

    def __init__(self) -> None:
        self.next: deque[tuple[int, dict[str, Any]]] = deque()
        """Status and document of answers to come; none: a token."""
        self.claims: list[dict[str, Any]] = []
        """What was asserted, once for each request."""
        self.gate = asyncio.Event()
        """Answers only then."""
        self.gate.set()
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def url(self) -> str:
        """The `token_uri`."""
        return f"http://127.0.0.1:{self.port}/token"

    @property
    def account(self) -> dict[str, str]:
        """The file of a service account, as the Cloud console gives it."""
        return {
            "type": "service_account",
            "project_id": "my-project",
            "private_key_id": "k1",
            "private_key": key_pair()[0],
            "client_email": "drawer@my-project.iam.gserviceaccount.com",
            "token_uri": self.url,
        }

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop, and drop every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.partition("content-length:")[2].partition("\r\n")[0])
            form = parse_qs((await reader.readexactly(length)).decode())
            claims = jwt.decode(form["assertion"][0], certs=key_pair()[1], audience=AUDIENCE)
            self.claims.append(dict(claims))
            # Numbered when asked for, so that no two that are under way look alike.
            token = {"access_token": f"ya29.{len(self.claims)}", "expires_in": LIFE_S, "token_type": "Bearer"}
            await self.gate.wait()
            status, document = self.next.popleft() if self.next else (200, token)
            body = json.dumps(document).encode()
            lines = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            writer.write(lines.encode() + b"Location: /elsewhere\r\nConnection: close\r\n\r\n" + body)
            await writer.drain()
        finally:
            writer.close()


@asynccontextmanager
async def with_token(upstream: dict[str, Any], folder: Path) -> AsyncIterator[dict[str, Any]]:
    """Give an upstream the file of a service account, and a service that gives tokens for it."""
    service = TokenService()
    await service.start()
    file = folder / f"account-{service.port}.json"
    file.write_text(json.dumps(service.account), "utf-8")
    try:
        yield {**upstream, "keys": [f"file:{file}"]}
    finally:
        await service.close()
        file.unlink()
