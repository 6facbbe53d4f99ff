"""What makes two POSTs the same request: a digest over what was asked, as it was sent.

No default is filled in, so that a deploy cannot turn an honest repeat into another request, and no header but the end
user's name counts: an SDK's repeat differs in its headers. White space and the order of keys differ between libraries
and say nothing. Images are known by their digests, wherever their base64 was broken into lines.

Pure: no I/O, clock or randomness.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

VERSION = 1
"""Of the rules below. A fingerprint of another version compares with none: such a repeat joins by its key alone."""


def fingerprint(*, key_id: str, path: str, skeleton: bytes, inputs: Sequence[str] = (), end_user: str | None) -> bytes:
    """Digest a request.

    Args:
        key_id: Whose request it is; it survives the rotation of secrets.
        path: As asked, without its query: surface, operation and, on Gemini's, the model.
        skeleton: The body as JSON, with a number in the place of each image.
        inputs: SHA-256 of each image's bytes in hex, by that number.
        end_user: `Holdfast-End-User`: one person's image never reaches another whom the application names.

    Returns:
        32 bytes.
    """
    digest = hashlib.sha256(b"holdfast fingerprint %d\0" % VERSION)
    for part in (key_id.encode(), path.encode(), _canonical(skeleton), *(sha.encode() for sha in inputs)):
        # Each with its length: no two lists of parts spell the same bytes.
        digest.update(b"%d:" % len(part))
        digest.update(part)
    if end_user is not None:
        digest.update(b"user:" + end_user.encode("utf-8", "surrogatepass"))
    return digest.digest()


def _canonical(skeleton: bytes) -> bytes:
    """Spell a document with its keys in order. Python's integers have no bound, and its floats are spelled shortest."""
    document = json.loads(skeleton)
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")
