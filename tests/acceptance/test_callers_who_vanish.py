"""A program that is killed in the middle of its call: what it ordered is made, kept, and there to collect."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

PROGRAMS = {
    "openai": """
from openai import OpenAI
client = OpenAI(base_url=FRONT + "/v1", api_key=KEY)
print("asking", flush=True)
client.images.generate(model="nano-banana-pro", prompt=PROMPT, size="1024x1024")
""",
    "google": """
from google import genai
client = genai.Client(api_key=KEY, http_options={"base_url": FRONT})
print("asking", flush=True)
client.models.generate_content(model="gemini-3-pro-image", contents=PROMPT)
""",
}
SLOW_S = 3.0
HELD_S = 1.0
"""Two beats: by then the caller is known to listen."""


@pytest.mark.parametrize("sdk", PROGRAMS)
def test_the_image_of_a_killed_caller_is_there_to_collect(
    stage: Any, as_drawn: Callable[[bytes], bool], sdk: str
) -> None:
    """The last thing it does is to die; the image is bought once, and GET gives it to whoever holds the key."""
    asked = stage.asked(f"abandoned by {sdk} [sim delay={SLOW_S:g}]")
    # The key goes through the standard input: it stands neither in the list of processes nor in a file.
    head = "import json, sys\nFRONT, KEY, PROMPT = json.loads(sys.stdin.readline())\n"
    with subprocess.Popen(
        [sys.executable, "-c", head + PROGRAMS[sdk]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        try:
            assert program.stdin is not None
            assert program.stdout is not None
            program.stdin.write(json.dumps([asked.front, asked.key, asked.prompt]) + "\n")
            program.stdin.flush()
            assert program.stdout.readline() == "asking\n"
            until = time.monotonic() + 20.0
            while not stage.gateway.generations(f"abandoned by {sdk} "):
                assert time.monotonic() < until
                time.sleep(0.02)
            time.sleep(HELD_S)
            assert program.poll() is None
        finally:
            program.kill()
    generation_id = stage.only_generation(f"abandoned by {sdk} ")
    assert stage.gateway.record(generation_id)["status"] == "running"
    record = stage.gateway.ended(generation_id)
    assert record["status"] == "succeeded"
    assert len(stage.simulator.purchases(generation_id)) == 1
    (kept,) = record["images"]
    with httpx2.Client() as collector:
        image = collector.get(kept["url"]).raise_for_status().content
    assert hashlib.sha256(image).hexdigest() == kept["sha256"]
    assert as_drawn(image)
