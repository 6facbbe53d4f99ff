"""What images are called where they are kept. Pure."""

from __future__ import annotations

from holdfast.clock import ulid_moment


def key_for(attempt_id: str, index: int, extension: str) -> str:
    """The key of a generated image, from its attempt alone: whoever stores it again after a crash finds the same place.

    The folder is the day on which the attempt was made, as its id tells it, and not today: a recovery after midnight
    would else store a second copy.
    """
    return f"{beginning_of(attempt_id)}{index}.{extension}"


def beginning_of(attempt_id: str) -> str:
    """How the keys of all images of an attempt begin, and no other's."""
    day = ulid_moment(attempt_id).date().isoformat().replace("-", "/")
    return f"blobs/{day}/{attempt_id}-"
