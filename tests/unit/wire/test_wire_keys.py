"""Documents about keys: what is stated, what is refused, and that a change states only what it changes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import RequestError
from holdfast.wire.keys import (
    LABEL_CHARS_MAX,
    OVERLAP_S_DEFAULT,
    OVERLAP_S_MAX,
    GroupList,
    GroupResource,
    KeyList,
    checked_end,
    decode_group_wish,
    decode_key_wish,
    decode_rotate_wish,
    render,
)

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


def key_columns(*, is_new: bool = True, **fields: Any) -> dict[str, Any]:
    """Read a wish for a key."""
    return decode_key_wish(json.dumps(fields).encode(), now=NOW, is_new=is_new)


def test_a_whole_wish_becomes_columns() -> None:
    """Lists are JSON, in the order and without what was said twice; switches are 0 and 1; times are in UTC."""
    assert key_columns(
        label="Team Ö",
        group_id="reseller",
        is_admin=True,
        models=["nano-*", "gpt-image-2", "nano-*"],
        sizes=["1K"],
        surfaces=["chat", "openai"],
        rate_per_min=60,
        concurrency=4,
        spend_micros_per_day=1_000_000,
        spend_micros_per_month=2_000_000,
        purchases_max=1,
        tls_required=False,
        join="keyed",
        expires_at="2027-01-31T01:00:00+01:00",
    ) == {
        "label": "Team Ö",
        "group_id": "reseller",
        "is_admin": 1,
        "models": '["nano-*","gpt-image-2"]',
        "sizes": '["1K"]',
        "surfaces": '["chat","openai"]',
        "rate_per_min": 60,
        "concurrency": 4,
        "spend_micros_per_day": 1_000_000,
        "spend_micros_per_month": 2_000_000,
        "purchases_max": 1,
        "tls_required": 0,
        "join_mode": "keyed",
        "expires_at": "2027-01-31T00:00:00.000Z",
    }


def test_a_change_states_only_what_it_changes_and_null_takes_a_limit_away() -> None:
    """What is left out stays as it is."""
    assert key_columns(is_new=False) == {}
    assert key_columns(is_new=False, rate_per_min=None, models=None, expires_at=None, is_admin=None, join=None) == {
        "rate_per_min": None,
        "models": None,
        "expires_at": None,
        "is_admin": 0,
        "join_mode": "retries",
    }
    assert decode_group_wish(b'{"margin_share": null}', is_new=False) == {"margin_share": None}


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({}, "label", "label is missing"),
        ({"label": None}, "label", "label is missing"),
        ({"label": ""}, "label", "1 to 100 characters"),
        ({"label": "   "}, "label", "can be read"),
        ({"label": "two\nlines"}, "label", "can be read"),
        ({"label": "turned \u202e round"}, "label", "can be read"),
        ({"label": "x" * (LABEL_CHARS_MAX + 1)}, "label", "1 to 100 characters"),
        ({"label": 7}, "label", "must be text"),
        ({"rate": 7}, "rate", "There is no field 'rate'"),
        ({"rate_per_minute": 7}, "rate_per_minute", "Did you mean 'rate_per_min'"),
        ({"rate_per_min": 0}, "rate_per_min", "from 1 to"),
        ({"rate_per_min": 1.5}, "rate_per_min", "a whole number"),
        ({"concurrency": -1}, "concurrency", "from 1 to"),
        ({"purchases_max": 10}, "purchases_max", "from 1 to 9"),
        ({"spend_micros_per_day": 0}, "spend_micros_per_day", "from 1 to"),
        ({"spend_micros_per_month": 10**16}, "spend_micros_per_month", "from 1 to"),
        ({"is_admin": 1}, "is_admin", "true or false"),
        ({"sizes": ["8K"]}, "sizes[0]", "1K, 2K, 4K"),
        ({"sizes": []}, "sizes", "a list of 1 to 3 items"),
        ({"surfaces": ["openai", "admin"]}, "surfaces[1]", "not 'admin'"),
        ({"models": "nano"}, "models", "a list"),
        ({"models": ["nano banana"]}, "models", "'nano banana' names no model"),
        ({"models": ["a", "<script>"]}, "models", "names no model"),
        ({"models": [""]}, "models", "names no model"),
        ({"models": ["m"] * 65}, "models", "a list of 1 to 64 items"),
        ({"join": "always"}, "join", "all, keyed, off, retries"),
        ({"expires_at": "tomorrow"}, "expires_at", "such as"),
        ({"expires_at": "2026-11-28T12:00:00Z"}, "expires_at", "is over already"),
        ({"expires_at": "9999-12-31T23:59:59-12:00"}, "expires_at", "too far away"),
    ],
)
def test_what_cannot_be_is_refused_with_its_field(fields: dict[str, Any], param: str, words: str) -> None:
    """And with what it could be."""
    with pytest.raises(RequestError) as told:
        key_columns(**({"label": "x"} if fields and "label" not in fields else {}), **fields)
    assert (told.value.param, told.value.status) == (param, 400)
    assert words in told.value.message


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff"])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    """Nobody guesses."""
    with pytest.raises(RequestError):
        decode_key_wish(body, now=NOW, is_new=True)
    with pytest.raises(RequestError):
        decode_group_wish(body, is_new=True)


@pytest.mark.parametrize(
    ("share", "words"), [("a", "a number from -1 to 100"), (-2, "a number from -1 to 100"), (101, "not 101")]
)
def test_a_margin_is_a_share(share: object, words: str) -> None:
    """Whoever writes 20 for a fifth has written 2000 %: allowed; what is nonsense is not."""
    with pytest.raises(RequestError, match=words) as told:
        decode_group_wish(json.dumps({"label": "x", "margin_share": share}).encode(), is_new=True)
    assert told.value.param == "margin_share"
    assert decode_group_wish(b'{"label": "x", "margin_share": 0.2}', is_new=True)["margin_share"] == 0.2


def test_a_rotation_says_for_how_long_the_old_secret_is_valid() -> None:
    """A day, if nothing else is said."""
    assert decode_rotate_wish(b"") == decode_rotate_wish(b"{}") == OVERLAP_S_DEFAULT
    assert decode_rotate_wish(b'{"overlap_s": 0}') == 0
    for wrong in (-1, OVERLAP_S_MAX + 1, "1h", None):
        with pytest.raises(RequestError) as told:
            decode_rotate_wish(json.dumps({"overlap_s": wrong}).encode())
        assert told.value.param == "overlap_s"


def test_a_moment_without_a_zone_is_in_utc() -> None:
    """And a day begins at its midnight."""
    assert checked_end("2027-01-31", NOW) == checked_end("2027-01-31T00:00:00", NOW) == "2027-01-31T00:00:00.000Z"


@given(st.text(max_size=60))
def test_any_label_is_taken_or_refused_and_never_breaks(label: str) -> None:
    """What is taken can be printed on one line."""
    try:
        taken = key_columns(label=label)["label"]
    except RequestError as error:
        assert error.param == "label"
    else:
        assert taken == label
        assert label.isprintable()


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=4))
def test_any_value_of_any_field_is_taken_or_named(value: object) -> None:
    """The reader of admin documents has no way to fail but this one."""
    for name in ("models", "sizes", "rate_per_min", "expires_at", "join", "is_admin", "group_id"):
        try:
            key_columns(label="x", **{name: value})
        except RequestError as error:
            assert error.param is not None
            assert error.param.startswith(name)


def test_lists_are_written_as_lists() -> None:
    """Both kinds."""
    group = GroupResource(
        id="kgr_1", object="key_group", label="g", created_at="now", margin_share=None, spend_micros_per_day=1,
        spend_micros_per_month=None,
    )  # fmt: skip
    assert msgspec.json.decode(render(GroupList(object="list", data=(group,))))["data"][0]["margin_share"] is None
    assert msgspec.json.decode(render(KeyList(object="list", data=(), has_more=False, last_id=None))) == {
        "object": "list",
        "data": [],
        "has_more": False,
        "last_id": None,
    }
