"""The rules of a call that need none of its state: what is tried again, what else is asked for, what a document is.

Pure: no I/O, clock or randomness.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from holdfast.client.asking import Wish
from holdfast.client.judging import Verdict
from holdfast.client.steps import Options
from holdfast.types import FailureKind, Tier

if TYPE_CHECKING:
    from holdfast.providers.http import Head
    from holdfast.wire.generations import GenerationResource


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One request that a call may make: a model, a size, and the key that stands for it."""

    model: str | None
    size: str | None
    key: str


BUSY = frozenset({FailureKind.RATE_LIMITED, FailureKind.OVERLOADED})
REPEATED = BUSY | {FailureKind.SERVER_FAULT, FailureKind.UPSTREAM_TIMEOUT, FailureKind.LOST_REPLY}
"""What a plain server is asked again for, where nothing was charged."""
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})
"""Statuses that pass, where nothing is bought by asking again."""
HOPELESS = frozenset(
    {FailureKind.CREDENTIAL, FailureKind.REFUSED_INPUT, FailureKind.REFUSED_OUTPUT, FailureKind.CANCELLED}
)


GAVE_UP_S = 5.0
"""A proxy's own 503 that comes later than that is not of a server that starts, or is not there: that is said at once.
Varnish says it when what is behind it took too long. Source: lab/matrix."""
_REQUEST = re.compile(r"req_[0-9A-HJKMNP-TV-Z]{26}")


def has_given_up(verdict: Verdict, waited_s: float) -> bool:
    """Say whether a proxy has waited in vain, for a server that has the request and may charge for it."""
    return verdict.is_foreign and verdict.status == 503 and waited_s >= GAVE_UP_S


def may_fall_back(verdict: Verdict) -> bool:
    """Say whether another model could do better: not with this key, this content, or a request that is wrong."""
    if verdict.code == "model_not_found":
        return True
    return verdict.kind not in HOPELESS and verdict.kind is not FailureKind.BAD_REQUEST and not verdict.is_foreign


def obstacle_of(url: str, base_url: str) -> str | None:
    """Say why a file that a server has named is not fetched; None: nothing speaks against it.

    A link is the server's word: it must not lead into the network of whoever follows it. Only where the server itself
    stands on a private address may its files.
    """
    from holdfast.policy.addresses import AddressRules, Refused, destination_of

    found = destination_of(url, AddressRules.beside(base_url))
    return found.reason if isinstance(found, Refused) else None


def variants_of(wish: Wish, options: Options) -> tuple[Variant, ...]:
    """List what may be asked for, in order: the models that were named, then smaller sizes.

    Each has a key of its own, made from the call's: one key stands for one request.
    """
    models: tuple[str | None, ...] = (wish.model, *options.fallback_models)
    key = options.idempotency_key
    asked = [(model, wish.size) for model in models]
    if options.degrade and wish.size is not None and wish.size.upper() in (Tier.K2, Tier.K4):
        tiers = list(Tier)
        at = tiers.index(Tier(wish.size.upper()))
        asked += [(wish.model, tier.value) for tier in reversed(tiers[:at])]
    return tuple(
        Variant(model=model, size=size, key=key if at == 0 else f"{key[:240]}.{at}")
        for at, (model, size) in enumerate(asked)
    )


def resource_in(document: bytes) -> GenerationResource | None:
    """Read the status of a generation; None if it is none."""
    import msgspec

    from holdfast.wire.generations import decode_generation

    try:
        return decode_generation(document)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def listed_in(head: Head, document: bytes) -> tuple[GenerationResource, ...] | None:
    """Read a list of generations; None if it is none: then no holdfast answers here.

    An empty one has holdfast's mark beside it: OpenAI's lists look the same, and on its word the call is made again.
    """
    import msgspec

    from holdfast.wire.generations import GenerationList

    try:
        listed = msgspec.json.decode(document, type=GenerationList).data
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return listed if listed or _REQUEST.fullmatch(head.header("x-request-id") or "") else None
