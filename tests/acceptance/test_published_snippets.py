"""The lines that people copy from README.md and docs/quickstart.md, run as they stand.

Only the address and the key are put in their places, as a reader would; a line behind each prints what it got.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", ROOT / "docs" / "quickstart.md", ROOT / "docs" / "how-to" / "use-with-sdks.md")
ADDRESS = "http://127.0.0.1:16888"
KEY = "hf-…"
TOLD = """
import base64, hashlib, json
if hasattr(answer, "sends"):
    name, images = answer.generation_id, [image.path.read_bytes() for image in answer.images]
elif hasattr(answer, "data"):
    name, images = answer.generation_id, [base64.b64decode(item.b64_json) for item in answer.data]
else:
    name = answer.sdk_http_response.headers["generation-id"]
    images = [part.inline_data.data for part in answer.parts if part.inline_data]
print(json.dumps([name, [hashlib.sha256(image).hexdigest() for image in images]]))
"""


def python_snippets() -> list[str]:
    """Give the different Python blocks of the pages."""
    found: dict[str, None] = {}
    for page in PAGES:
        text = page.read_text("utf-8")
        assert "```python" in text, page
        found |= dict.fromkeys(re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    return list(found)


def shell_snippet(beginning: str) -> str:
    """Give the indented block of the quickstart that begins so."""
    blocks = re.findall(r"(?:^    .*\n)+", (ROOT / "docs" / "quickstart.md").read_text("utf-8"), re.MULTILINE)
    (block,) = [block for block in blocks if block.strip().startswith(beginning)]
    return re.sub(r"^    ", "", block, flags=re.MULTILINE)


def filled(snippet: str, front: str, key: str) -> str:
    """Put address and key in their places."""
    assert KEY in snippet
    return snippet.replace(ADDRESS, front).replace(KEY, key)


@pytest.mark.parametrize("snippet", python_snippets(), ids=lambda text: text.split()[1])
def test_python_snippets_give_an_image(stage: Any, snippet: str, tmp_path: Path) -> None:
    """A program of three lines gets what the gateway keeps."""
    assert ADDRESS in snippet
    program = filled(snippet, stage.front("documented"), stage.gateway.key) + TOLD
    done = subprocess.run(
        [sys.executable, "-"], input=program, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    name, sums = json.loads(done.stdout)
    record = stage.gateway.record(name)
    assert record["size"] == ("4K" if "4096x4096" in snippet or "save_to=" in snippet else "1K")
    assert [kept["sha256"] for kept in record["images"]] == sums


def test_the_curl_line_gives_a_link(stage: Any) -> None:
    """The address in its answer is the image."""
    line = filled(shell_snippet("curl "), stage.front("documented"), stage.gateway.key)
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["data"][0]["size"] == "4096x4096"
    image = subprocess.run(
        ["curl", "-sS", answer["data"][0]["url"]], capture_output=True, timeout=60, check=True
    ).stdout
    (kept,) = stage.gateway.record(answer["generation_id"])["images"]
    assert hashlib.sha256(image).hexdigest() == kept["sha256"]


def test_the_generate_line_writes_a_file(stage: Any, tmp_path: Path, as_drawn: Callable[[bytes], bool]) -> None:
    """`holdfast generate` is a caller as any other, held through the same proxy."""
    lines = filled(shell_snippet("export HOLDFAST_API_KEY"), stage.front("documented"), stage.gateway.key)
    command = f"{shlex.quote(sys.executable)} -m holdfast.cli.main"
    assert lines.count(".venv/bin/holdfast") == 1
    environ = {**os.environ, "HOLDFAST_BASE_URL": f"{stage.front('documented')}/v1"}
    done = subprocess.run(
        ["sh", "-c", lines.replace(".venv/bin/holdfast", command)],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    image = (tmp_path / "lighthouse.png").read_bytes()
    with Image.open(BytesIO(image)) as opened:
        assert opened.size == (4096, 4096)
    assert as_drawn(image)
    assert [path.name for path in tmp_path.iterdir()] == ["lighthouse.png"]
