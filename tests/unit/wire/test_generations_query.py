"""What a caller wants listed: every parameter and every value is known, or named with what was probably meant."""

from __future__ import annotations

import pytest

from holdfast.errors import RequestError
from holdfast.wire.generations_query import ListQuery, decode_events_query, decode_list_query
from holdfast.wire.nearest import nearest


def test_nothing_asked_is_the_newest_twenty() -> None:
    """Whatever they are."""
    assert decode_list_query({}) == ListQuery(limit=20)


def test_every_parameter_is_read() -> None:
    """As the contract names them; a Google SDK's credential among them is none of ours."""
    query = {
        "status": "failed",
        "model": "nano-banana-pro",
        "collected": "false",
        "idempotency_key": "order-7",
        "after": "gen_1",
        "limit": "100",
        "key": "hf-secret",
    }
    assert decode_list_query(query) == ListQuery(
        status="failed",
        model="nano-banana-pro",
        collected=False,
        idempotency_key="order-7",
        after="gen_1",
        limit=100,
    )
    assert decode_list_query({"collected": "true"}).collected is True


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("state", "Did you mean 'status'?"),
        ("modle", "Did you mean 'model'?"),
        ("idempotency-key", "Did you mean 'idempotency_key'?"),
        ("Limit", "Did you mean 'limit'?"),
        ("zzz", "Known here: after, collected, idempotency_key, limit, model, status."),
        ("", "Known here: "),
        ("before" * 9999, "Known here: "),
    ],
)
def test_an_unknown_parameter_is_named_with_the_near_one(name: str, near: str) -> None:
    """A filter that is misspelt would list everything, and nobody would see why."""
    with pytest.raises(RequestError) as refused:
        decode_list_query({name: "x"})
    assert near in refused.value.message
    assert refused.value.param == name[:64]
    assert (refused.value.code, refused.value.status) == ("invalid_request", 400)
    assert len(refused.value.message) < 200


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("status", "success", "Did you mean 'succeeded'?"),
        ("status", "canceled", "Did you mean 'cancelled'?"),
        ("status", "", "status must be one of queued, running, succeeded, failed, cancelled"),
        ("collected", "yes", "collected must be one of true, false, not 'yes'"),
        ("collected", "True", "Did you mean 'true'?"),
        ("limit", "0", "from 1 to 100"),
        ("limit", "101", "from 1 to 100"),
        ("limit", "-1", "from 1 to 100"),
        ("limit", "ten", "from 1 to 100"),
        ("limit", "", "from 1 to 100"),
        ("limit", "9" * 5000, "from 1 to 100"),
        ("limit", "٣", "from 1 to 100"),
        ("after", "", "after is empty"),
        ("model", "", "model is empty"),
        ("idempotency_key", "", "idempotency_key is empty"),
    ],
)
def test_a_value_that_cannot_be_is_told_with_what_can(name: str, value: str, message: str) -> None:
    """And `param` says which."""
    with pytest.raises(RequestError) as refused:
        decode_list_query({name: value})
    assert message in refused.value.message
    assert refused.value.param == name


@pytest.mark.parametrize(
    ("query", "header", "after"),
    [
        ({}, None, 0),
        ({}, "", 0),
        ({"starting_after": "3"}, None, 3),
        ({"starting_after": "3"}, "7", 7),
        ({"starting_after": "3", "key": "hf-x"}, "0", 0),
        ({}, "9" * 18, 10**18 - 1),
    ],
)
def test_a_stream_begins_behind_what_was_seen(query: dict[str, str], header: str | None, after: int) -> None:
    """A browser that comes back sends both, and its header knows more; any number is a place."""
    assert decode_events_query(query, header) == after


@pytest.mark.parametrize(
    ("query", "header", "param"),
    [
        ({"starting_after": "x"}, None, "starting_after"),
        ({"starting_after": ""}, None, "starting_after"),
        ({"starting_after": "-1"}, None, "starting_after"),
        ({"starting_after": "1" * 19}, None, "starting_after"),
        ({}, "gen_1", "Last-Event-ID"),
        ({}, "1.5", "Last-Event-ID"),
        ({"after": "1"}, None, "after"),
    ],
)
def test_what_is_no_number_of_an_event_is_named(query: dict[str, str], header: str | None, param: str) -> None:
    """Begun anywhere else, a stream would look whole and lack its beginning."""
    with pytest.raises(RequestError) as refused:
        decode_events_query(query, header)
    assert (refused.value.param, refused.value.status) == (param, 400)


def test_a_long_word_is_compared_by_its_beginning() -> None:
    """Comparing is not linear, and a caller chooses the word."""
    assert nearest("prompt_x", ["prompt"]) == "Did you mean 'prompt'?"
    assert nearest("x" * 1_000_000, ["prompt", "model"]) == "Known here: model, prompt."
