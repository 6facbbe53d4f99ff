"""When a webhook is sent, what its answer means, and how it is signed. Pure.

Source: the Standard Webhooks specification 1.0 (github.com/standard-webhooks/standard-webhooks): headers, signature
scheme `v1`, secrets `whsec_…`, the retry schedule, and 410 for an endpoint that wants no more.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

SCHEDULE_S = (0.0, 5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0)
"""Before each try; 17.6 hours together."""
JITTER_SHARE = 0.1
"""Of a pause, on top of it: what failed together does not come back together."""
RETRY_AFTER_S_MAX = SCHEDULE_S[-1]
"""A receiver may ask for more time, not for ever."""
ENDPOINTS_MAX = 20
"""Of one key."""
ROTATION_S = 86_400.0
"""How long a secret goes on signing beside the one that replaced it."""
SECRET_PREFIX = "whsec_"
GONE = 410
_WAITS = frozenset({429, 503})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A receiver answered, whatever it said."""

    status: int
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """No whole head of an answer came, or nothing was sent."""

    reason: str
    """In few words, without host and path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """It arrived."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """It is sent once more."""

    after_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenUp:
    """It is not sent any more, unless somebody asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disabled:
    """The receiver wants nothing any more: neither this nor what would come."""


Decision = Delivered | Again | GivenUp | Disabled


def decide(outcome: Answered | Broken, *, tries: int, jitter: float) -> Decision:
    """Decide what follows a try.

    Args:
        outcome: How it ended. A redirect is a failure: what it names has not been looked at.
        tries: Made so far, this one included.
        jitter: Uniform sample in [0, 1).
    """
    assert tries >= 1
    assert 0.0 <= jitter < 1.0
    match outcome:
        case Answered(status=status) if 200 <= status < 300:
            return Delivered()
        case Answered(status=status) if status == GONE:
            return Disabled()
        case Answered(status=status, retry_after_s=hint_s) if status in _WAITS and hint_s is not None:
            least_s = min(max(0.0, hint_s), RETRY_AFTER_S_MAX)
        case Answered() | Broken():
            least_s = 0.0
        case _:
            assert_never(outcome)
    if tries >= len(SCHEDULE_S):
        return GivenUp()
    pause_s = max(SCHEDULE_S[tries], least_s)
    return Again(after_s=pause_s * (1.0 + JITTER_SHARE * jitter))


# Signing


def secret_of(folder_secret: bytes, owner_id: str, number: int) -> bytes:
    """Make a signing secret, 32 bytes.

    It is derived, so that a stolen database holds none.

    Args:
        folder_secret: The data folder's.
        owner_id: The endpoint's id.
        number: From 1; each rotation takes the next.
    """
    assert number >= 1
    return hmac.new(folder_secret, f"webhook\0{owner_id}\0{number}".encode(), hashlib.sha256).digest()


def spell_secret(secret: bytes) -> str:
    """Write a secret as its owner keeps it: `whsec_` and base64."""
    return SECRET_PREFIX + base64.b64encode(secret).decode()


def signing_numbers(number: int, previous_until: str | None, now: str) -> tuple[int, ...]:
    """Which secrets sign now, newest first; times are RFC 3339 text."""
    return (number, number - 1) if previous_until is not None and now < previous_until else (number,)


def signed_headers(
    secrets: Sequence[bytes], *, message_id: str, unix_s: int, body: bytes
) -> tuple[tuple[str, str], ...]:
    """Make the three headers; one signature for each secret that is valid.

    Args:
        secrets: Newest first, at least one.
        message_id: The same for every try of a delivery: receivers tell repeats by it.
        unix_s: Of this try; receivers refuse what is older than some minutes.
        body: Exactly as sent.
    """
    assert secrets
    signed = b"%s.%d.%s" % (message_id.encode(), unix_s, body)
    signatures = (base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode() for secret in secrets)
    return (
        ("webhook-id", message_id),
        ("webhook-timestamp", str(unix_s)),
        ("webhook-signature", " ".join(f"v1,{each}" for each in signatures)),
    )
