"""Repeats, whatever they look like: a key is read as it was written, and nothing is given that may not be."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import RequestError
from holdfast.policy.fingerprint import fingerprint
from holdfast.policy.joining import REFUSALS, Answer, Found, answer_to, idempotency_key_of
from holdfast.types import Charge

visible = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=255)
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
founds = st.builds(
    Found,
    is_open=st.booleans(),
    is_failed=st.booleans(),
    is_same=st.booleans(),
    code=st.sampled_from(["overloaded", "content_refused", "outcome_unknown", "upstream_failed", None]),
    charge=st.sampled_from(list(Charge)),
    open_attempts=st.integers(0, 2),
    is_gone=st.booleans(),
)


@given(visible)
def test_a_key_is_itself_bare_and_quoted(key: str) -> None:
    """Whatever of visible ASCII it is made of, save that a bare one holds no quote."""
    quoted = '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'
    assert idempotency_key_of({"idempotency-key": quoted}) == key
    if '"' not in key:
        assert idempotency_key_of({"idempotency-key": key}) == key


@given(st.text(max_size=300))
def test_any_other_text_is_a_key_or_an_error(text: str) -> None:
    """Never something in between: a key that is read is one to 255 visible characters."""
    try:
        key = idempotency_key_of({"idempotency-key": text})
    except RequestError as error:
        assert error.param == "Idempotency-Key"
    else:
        assert key is not None
        assert 1 <= len(key) <= 255
        assert key.isascii()
        assert key.isprintable()
        assert " " not in key


@given(documents, st.booleans())
def test_the_same_document_has_the_same_fingerprint_however_it_is_spelled(document: Any, indents: bool) -> None:
    """And none depends on the order of keys."""

    def of(text: str) -> bytes:
        return fingerprint(key_id="k", path="/p", skeleton=text.encode("utf-8", "surrogatepass"), end_user=None)

    plain = json.dumps(document)
    other = json.dumps(document, indent=2 if indents else None, sort_keys=True)
    assert of(plain) == of(other)


@given(founds, st.booleans())
def test_nothing_is_bought_for_what_is_paid_or_may_come(found: Found, is_strict: bool) -> None:
    """A new round only for a failure that cost nothing, with nothing of it on its way; another request gets none."""
    answer = answer_to(found, is_strict=is_strict)
    if answer is Answer.DRIVE_AGAIN:
        assert found.is_failed
        assert not found.is_open
        assert found.charge is Charge.NO
        assert found.open_attempts == 0
        assert not found.is_gone
    if not found.is_same:
        assert answer in REFUSALS
    if answer is Answer.JOIN:
        assert found.is_open or found.open_attempts
