"""The page on webhooks: its snippets verify what the gateway signs, and its numbers are the code's."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from holdfast.engine.webhooks import KEPT_DAYS, TRY_S
from holdfast.policy.webhooks import (
    ENDPOINTS_MAX,
    JITTER_SHARE,
    ROTATION_S,
    SCHEDULE_S,
    secret_of,
    signed_headers,
    spell_secret,
)
from holdfast.wire.webhooks import WebhookPayload, render_payload

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "webhooks.md").read_text("utf-8")
SECRETS = [secret_of(b"\x01" * 32, "whk_1", number) for number in (2, 1)]
BODY = render_payload(
    type_="generation.succeeded", timestamp="2026-11-27T12:00:00.000Z", generation_id="gen_1", drive=0
)


def snippet(name: str) -> Any:
    """Run the snippet that defines a function, and give it."""
    (source,) = [each for each in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if f"def {name}(" in each]
    space: dict[str, Any] = {}
    exec(source, space)
    return space[name]


def headers(unix_s: int | None = None) -> dict[str, str]:
    """What comes with the body, while two secrets are valid."""
    at = int(time.time()) if unix_s is None else unix_s
    return dict(signed_headers(SECRETS, message_id="msg_1", unix_s=at, body=BODY))


@pytest.mark.parametrize("secret", SECRETS, ids=["new", "old"])
def test_the_snippet_of_our_own_accepts_what_is_signed(secret: bytes) -> None:
    """And refuses what was changed, is old, or was signed with another secret."""
    is_ours, spelled = snippet("is_ours"), spell_secret(secret)
    assert is_ours(spelled, headers(), BODY)
    assert not is_ours(spelled, headers(), BODY + b" ")
    assert not is_ours(spelled, headers(int(time.time()) - 3600), BODY)
    assert not is_ours(spell_secret(secret_of(b"\x01" * 32, "whk_1", 3)), headers(), BODY)


def test_the_snippet_with_the_library_accepts_what_is_signed(capsys: pytest.CaptureFixture[str]) -> None:
    """And answers with the status that the page promises to understand."""
    take_in, spelled = snippet("take_in"), spell_secret(SECRETS[0])
    assert take_in(spelled, headers(), BODY) == 204
    assert capsys.readouterr().out == "gen_1 succeeded\n"
    assert take_in(spelled, headers(), BODY + b" ") == 400


def test_the_example_has_the_members_that_are_sent() -> None:
    """No more and no less, in their order."""
    (example,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    sent = json.loads(BODY)
    assert list(json.loads(example)) == list(sent) == list(WebhookPayload.__struct_fields__)
    assert list(json.loads(example)["data"]) == list(sent["data"])


def test_the_numbers_are_the_code_s() -> None:
    """A page that promises another schedule than the one that runs misleads whoever builds on it."""
    assert SCHEDULE_S == (0, 5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600)
    assert "after 5 s, 5 min, 30 min, 2 h, 5 h and 10 h, each up to a tenth later" in " ".join(PAGE.split())
    assert JITTER_SHARE == 0.1
    assert f"within {TRY_S:.0f} s" in PAGE
    assert f"up to {ENDPOINTS_MAX}" in PAGE
    assert f"{ROTATION_S / 3600:.0f} hours" in PAGE
    assert f"{KEPT_DAYS} days" in PAGE
