"""Repeats join, they do not buy: who repeats whom, and what a repeat is given.

Two ways lead to an earlier generation. A caller that sends an `Idempotency-Key` names it. A caller without one is
recognised by its fingerprint, and only where nobody has the answer yet: all who waited have left, or it broke off. Two
people who ask for the same at the same time still get two images.

Pure: no I/O, clock or randomness.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from holdfast.config import Join
from holdfast.errors import RequestError
from holdfast.policy.callers import retry_count
from holdfast.policy.failures import REACTIONS
from holdfast.types import Charge

KEY_CHARS_MAX = 255
FAILURE_S = 30.0
"""For how long a failure that nobody received is told to a repeat. Later it is news of yesterday: it buys."""
TWIN_AFTER_S = 2.0
"""A repeat that comes so long after a caller who still looks alive may be that caller's own: it is asked for first."""
TWIN_WAIT_S = 3.0
"""How long the older connection has to prove that somebody is there."""
TWIN_BEATS = 4
"""Beats that the older connection takes before it is believed. A proxy's kernel acknowledges what its client never
gets: the first beat behind a client that is gone is answered by RST, the next one fails, and only then does that hop
hang up; its inner one needs as many. Source: lab/matrix, HAProxy before nginx."""
TWIN_BEAT_S = 0.2
"""Between them."""
DEFINITE_CODES = frozenset({row.code for row in REACTIONS.values() if row.is_definite})
"""Failures that the same request would meet again."""

_BARE = re.compile(r"[\x21-\x7e]{1,255}")
_QUOTED = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')


_STRICTEST_FIRST = (Join.OFF, Join.KEYED, Join.RETRIES, Join.ALL)


def strictest(*modes: Join) -> Join:
    """Give the one that allows least."""
    return min(modes, key=_STRICTEST_FIRST.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """How a POST may be recognised as a repeat."""

    idempotency_key: str | None
    """None too where keys are turned off."""
    by_fingerprint: bool
    """Whether a generation that nobody waits for, and nobody has, may be taken for the one that this asks for."""
    says_retry: bool
    """An SDK counts: then it may be joined too where its caller looks alive, or its answer looks received: a proxy that
    buffers acknowledges for its client."""
    is_strict: bool = False
    """`Prefer: handling=strict`: a generation in flight is not joined but told."""

    @property
    def may_join(self) -> bool:
        """Whether there is anything by which it could be recognised."""
        return self.by_fingerprint or self.idempotency_key is not None


NO_CLAIM = Claim(idempotency_key=None, by_fingerprint=False, says_retry=False)
"""Of a POST that repeats nothing."""


def idempotency_key_of(headers: Mapping[str, str]) -> str | None:
    """Read `Idempotency-Key`, quoted as the draft has it or bare as most send it: both name the same.

    Source: draft-ietf-httpapi-idempotency-key-header-07; RFC 8941 §3.3.3 for the quoted form.

    Raises:
        RequestError: It is empty, longer than 255 characters, or not visible ASCII.
    """
    stated = headers.get("idempotency-key")
    if stated is None:
        return None
    text = stated.strip()
    quoted = _QUOTED.fullmatch(text)
    key = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else text
    if not _BARE.fullmatch(key) or (quoted is None and '"' in key):
        raise RequestError(
            f"Idempotency-Key must be 1 to {KEY_CHARS_MAX} visible ASCII characters, bare or in double quotes, such as "
            "a UUID.",
            param="Idempotency-Key",
        )
    return key


def claim_of(headers: Mapping[str, str], *, join: Join, names_end_user: bool, is_strict: bool) -> Claim:
    """Say how a POST may be recognised.

    Args:
        headers: Names in lower case.
        join: What its key, its route and the gateway allow.
        names_end_user: It names who asks behind a shared key: a repeat of the same name is that person's own.
        is_strict: `Prefer: handling=strict`.

    Raises:
        RequestError: Its `Idempotency-Key` is malformed, whether or not keys are looked at.
    """
    key = idempotency_key_of(headers)
    says_retry = retry_count(headers) > 0
    by_fingerprint = join is Join.ALL or (join is Join.RETRIES and (says_retry or names_end_user))
    return Claim(
        idempotency_key=None if join is Join.OFF else key,
        # Whoever names his calls knows which of them are the same.
        by_fingerprint=by_fingerprint and key is None,
        says_retry=says_retry,
        is_strict=is_strict,
    )


def would_join(claim: Claim, *, join: Join, counts_retries: bool, window_s: float) -> bool:
    """Say whether a caller's own repeat would join what it has asked for: only then may its answer be broken off.

    Args:
        claim: How this POST may be recognised.
        join: What its key, its route and the gateway allow.
        counts_retries: Whether its repeat will say that it is one, even where this POST is not.
        window_s: For how long what has ended is joined without a key.
    """
    if claim.idempotency_key is not None:
        return True
    return window_s > 0 and (claim.by_fingerprint or (join is Join.RETRIES and counts_retries))


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An earlier generation, as far as a repeat of it is concerned."""

    is_open: bool
    """It has not ended."""
    is_failed: bool
    is_same: bool
    """Its fingerprint is that of the repeat, or one of another version, which compares with none."""
    code: str | None = None
    """Of its failure."""
    charge: Charge = Charge.NO
    """What its attempts may have cost."""
    open_attempts: int = 0
    """Attempts in flight: an image may still come, whatever its callers were told."""
    is_gone: bool = False
    """Its images, and what was asked, are deleted."""


class Answer(StrEnum):
    """What a repeat is given."""

    JOIN = "join"
    """It waits for the same generation."""
    REPLAY = "replay"
    """The same answer once more: images with fresh links, or the same failure."""
    DRIVE_AGAIN = "drive_again"
    """The failure cost nothing and may not come again: a new round under the same id."""
    IN_FLIGHT = "idempotency_in_flight"
    REUSED = "idempotency_key_reused"
    EXPIRED = "image_expired"


REFUSALS = frozenset({Answer.IN_FLIGHT, Answer.REUSED, Answer.EXPIRED})
"""What gives a repeat nothing; each is the code of an error."""


def answer_to(found: Found, *, is_strict: bool = False) -> Answer:
    """Decide what a repeat is given of a generation that it names, or is recognised as asking for."""
    if not found.is_same:
        return Answer.REUSED
    if found.is_open:
        return Answer.IN_FLIGHT if is_strict else Answer.JOIN
    if found.is_failed:
        if found.open_attempts and not found.is_gone:
            # Told as unknown or too late, and its image may still arrive.
            return Answer.JOIN
        may_pass = found.charge is Charge.NO and found.code not in DEFINITE_CODES
        return Answer.DRIVE_AGAIN if may_pass and not found.is_gone else Answer.REPLAY
    return Answer.EXPIRED if found.is_gone else Answer.REPLAY


def refusal(answer: Answer, generation_id: str) -> RequestError:
    """Tell a repeat that it is given nothing, and why."""
    match answer:
        case Answer.REUSED:
            message = "This Idempotency-Key was used for another request. Use a new key for each new request."
            return RequestError(message, code=answer.value, status=422, param="Idempotency-Key")
        case Answer.IN_FLIGHT:
            message = f"The generation {generation_id} of this Idempotency-Key is still running (handling=strict)."
            return RequestError(message, code=answer.value, status=409, retry_after_s=10.0, generation_id=generation_id)
        case Answer.EXPIRED:
            message = (
                f"The image of generation {generation_id} has been deleted. To buy another, ask anew, under a new "
                "Idempotency-Key if you use one."
            )
            return RequestError(message, code=answer.value, status=410, generation_id=generation_id)
    raise AssertionError(f"{answer.value} is no refusal")
