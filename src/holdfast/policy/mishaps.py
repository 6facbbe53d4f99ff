"""What a mishap that no upstream tells of means for an attempt: who was charged, and what its caller is told.

The charge follows from how far the call had come. `no` is said only of what certainly did not leave us, `yes` where an
answer was here. A detail names the kind of an error, never its text, which may hold a path, a prompt or a key.

Pure: no I/O, clock or randomness.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.types import Charge, Failure, FailureKind, Phase

CLAIM_LOST = Failure(
    kind=FailureKind.UNREACHABLE,
    phase=Phase.CONNECT,
    charge=Charge.NO,
    detail="nothing was sent: this worker had shown no signs of life for too long, so that another may have it by now",
)
LOST_WITH_THE_PROCESS = Failure(
    kind=FailureKind.LOST_REPLY,
    phase=Phase.WAIT,
    charge=Charge.UNKNOWN,
    detail="the gateway stopped while this call was in flight; the upstream may have made and charged the image",
)
LOST_WITH_ITS_GENERATION = Failure(
    kind=FailureKind.LOST_REPLY,
    phase=Phase.WAIT,
    charge=Charge.UNKNOWN,
    detail="the gateway failed while this call was in flight; the upstream may have made and charged the image",
)
NEVER_LEFT = Failure(
    kind=FailureKind.UNREACHABLE,
    phase=Phase.SEND,
    charge=Charge.NO,
    detail="the gateway's own disk failed before this call was sent",
)
NO_WHOLE_IMAGE = Failure(
    kind=FailureKind.MALFORMED,
    phase=Phase.DECODE,
    charge=Charge.YES,
    detail="the upstream answered with something that is not a whole image",
    status=200,
)


def failure_by(error: Exception, *, is_sent: bool, status: int | None, is_spooled: bool) -> Failure:
    """Say what an exception means for an attempt.

    Args:
        error: Raised by our own disk, or by a mistake of ours; an upstream's doing is a `Failure` from the start.
        is_sent: Whether the request, or a part of it, may have left.
        status: Of the answer, once its head is there.
        is_spooled: Whether the whole answer is on our disk.
    """
    if not is_sent:
        return Failure(
            kind=FailureKind.UNREACHABLE,
            phase=Phase.SEND,
            charge=Charge.NO,
            detail=f"the request could not be sent: {reason_of(error)}",
        )
    # Once a head is there, an error of the disk is that of our own spool. Before it, a request may have left in part:
    # nobody can know what was made of it.
    is_answered = status is not None and 200 <= status < 300
    if is_answered and (isinstance(error, OSError) or is_spooled):
        return Failure(
            kind=FailureKind.LOST_REPLY,
            phase=Phase.RECEIVE,
            charge=Charge.YES,
            detail=f"the answer could not be stored: {reason_of(error)}",
        )
    return Failure(
        kind=FailureKind.LOST_REPLY,
        phase=Phase.WAIT if status is None else Phase.RECEIVE,
        charge=Charge.UNKNOWN,
        detail=f"the gateway failed while this call was in flight: {reason_of(error)}",
        status=status,
    )


def results_of_torn(
    indices: Sequence[int], *, draws_drafts: bool, wanted: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Say which whole images of an answer that broke off are results and which drafts, by their order alone.

    Args:
        indices: Of the images that came to their end, as they came.
        draws_drafts: Whether the model shows drafts on its way, and its result last.
        wanted: How many results were asked for.
    """
    results = tuple(indices[-1:] if draws_drafts else indices)[:wanted]
    return results, tuple(index for index in indices if index not in results)


def never_ended(upstream: str, *, within_s: float, why: str) -> Failure:
    """Say that an upstream that is polled had not brought the image when the attempt's time was over.

    Args:
        upstream: The operator's name for it.
        within_s: The attempt's time.
        why: What it was still waited for.
    """
    return Failure(
        kind=FailureKind.LOST_REPLY,
        phase=Phase.WAIT,
        charge=Charge.UNKNOWN,
        detail=f"the upstream {upstream!r} took the request and did not finish it within {within_s:g} s: {why}"[:2000],
    )


def never_answered(failure: Failure) -> bool:
    """Whether a request was sent, and nothing came of it as long as it was waited for."""
    return failure.kind is FailureKind.LOST_REPLY and failure.phase is Phase.WAIT


def kept_back(error: OSError) -> Failure:
    """Say that an image is here and could not be given its place."""
    return Failure(
        kind=FailureKind.LOST_REPLY,
        phase=Phase.RECEIVE,
        charge=Charge.UNKNOWN,
        detail=f"the answer arrived and could not be stored ({reason_of(error)}); it is kept, and taken in at the next "
        "start",
    )


BROUGHT_BESIDE = Failure(
    kind=FailureKind.LOST_REPLY,
    phase=Phase.RECEIVE,
    charge=Charge.YES,
    detail="the image of this part is here: another attempt has brought it",
)
"""What one of two attempts counts as for the other: it is delivered, or kept back, and never bought again."""


def reason_of(error: Exception) -> str:
    """Name an error in a few words that hold no path, prompt or key."""
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__
