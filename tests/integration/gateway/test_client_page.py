"""The examples of the page on the client, run as they stand."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "use-the-client.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


def test_the_page_has_its_examples() -> None:
    """A page without any would pass every test below."""
    assert len(BLOCKS) == 5


@pytest.mark.parametrize("number", range(len(BLOCKS)))
async def test_an_example_runs(
    gateway: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    """Against a gateway that the environment names, from a folder of its own."""
    monkeypatch.setenv("HOLDFAST_BASE_URL", gateway.running.base_url)
    monkeypatch.setenv("HOLDFAST_API_KEY", gateway.key)
    monkeypatch.chdir(tmp_path)
    await asyncio.to_thread(exec, BLOCKS[number], {"__name__": "example"})
    said = capsys.readouterr().out
    # Where nothing fails, the block on failures has nothing to say.
    assert bool(said) is ("except" not in BLOCKS[number])
