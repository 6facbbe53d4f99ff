"""Vertex AI: with a service account's tokens, and in express mode."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from provider_suite import Door
from provider_token_service import with_token


@asynccontextmanager
async def _account(upstream: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        async with with_token(upstream, Path(folder)) as made:
            yield made


DOORS = (
    Door(
        name="vertex",
        provider="vertex",
        model="gemini-3-pro-image",
        extra={"project": "my-project", "location": "us-central1"},
        prepare=_account,
    ),
    Door(name="vertex-express", provider="vertex", model="gemini-3-pro-image"),
)
