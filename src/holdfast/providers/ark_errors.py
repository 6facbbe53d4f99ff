"""What Ark's errors mean: by code, of which only the beginning is compared, and by status where it is not known.

Pure: no I/O, clock or randomness. Only pictures that were made are billed: a refusal costs nothing, and neither does
anything in an answer that counts no picture.

Source: docs.volcengine.com 82379/1299023 (errors), 1544106 (prices); 2026.
"""

from __future__ import annotations

from dataclasses import replace

from holdfast.providers.error_answers import Meaning, status_of
from holdfast.providers.error_answers import meaning_of as usual_meaning_of
from holdfast.types import Charge, FailureKind
from holdfast.wire.answers import UpstreamError

_K = FailureKind


def _means(kind: FailureKind, charge: Charge = Charge.NO) -> Meaning:
    return Meaning(kind=kind, charge=charge)


_BY_PREFIX: tuple[tuple[str, Meaning], ...] = (
    # Content. What follows says of what kind: `…SensitiveContentDetected.PolicyViolation`.
    ("InputTextSensitiveContentDetected", _means(_K.REFUSED_INPUT)),
    ("InputImageSensitiveContentDetected", _means(_K.REFUSED_INPUT)),
    ("InputVideoSensitiveContentDetected", _means(_K.REFUSED_INPUT)),
    ("SensitiveContentDetected", _means(_K.REFUSED_INPUT)),
    ("OutputImageSensitiveContentDetected", _means(_K.REFUSED_OUTPUT)),
    ("OutputTextSensitiveContentDetected", _means(_K.REFUSED_OUTPUT)),
    # What was sent.
    ("InvalidParameter", _means(_K.BAD_REQUEST)),
    ("MissingParameter", _means(_K.BAD_REQUEST)),
    ("InvalidImage", _means(_K.BAD_REQUEST)),
    ("InvalidEndpointOrModel", _means(_K.BAD_REQUEST)),
    # Account and money.
    ("AuthenticationError", _means(_K.CREDENTIAL)),
    ("AccessDenied", _means(_K.CREDENTIAL)),
    ("ServiceNotOpen", _means(_K.CREDENTIAL)),
    ("ModelNotOpen", _means(_K.CREDENTIAL)),
    ("AccountOverdueError", _means(_K.QUOTA_SPENT)),
    # A cap that the account's owner has set, or the free quota: waiting a minute will not help.
    ("QuotaExceeded", _means(_K.QUOTA_SPENT)),
    ("SetLimitExceeded", _means(_K.QUOTA_SPENT)),
    # All 429.
    ("RateLimitExceeded", _means(_K.RATE_LIMITED)),
    ("RequestBurstTooFast", _means(_K.RATE_LIMITED)),
    ("ServerOverloaded", _means(_K.OVERLOADED)),
    ("InternalServiceError", _means(_K.SERVER_FAULT, Charge.UNKNOWN)),
)
_REFUSALS = frozenset({_K.REFUSED_INPUT, _K.REFUSED_OUTPUT})


def meaning_of(status: int, error: UpstreamError, *, generated: int | None = None, is_relay: bool = False) -> Meaning:
    """Judge an error, that of an answer or the one in the place of a picture.

    Args:
        status: HTTP status; 200 for one inside an answer.
        error: The envelope, decoded.
        generated: Pictures that the answer counts as made, and billed; None where it does not say.
        is_relay: The upstream is a reseller at a fixed price a call, which bills refusals too.
    """
    code = error.code or ""
    found = next((meaning for prefix, meaning in _BY_PREFIX if code.startswith(prefix)), None)
    if found is None:
        found = usual_meaning_of(status if status >= 400 else status_of(error), error, is_relay=is_relay)
    if is_relay and found.kind in _REFUSALS:
        return replace(found, charge=Charge.YES)
    return replace(found, charge=Charge.NO) if generated == 0 and not is_relay else found
