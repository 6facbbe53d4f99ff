"""Images behind links: fetched again and again for a while, never bought again, and told when they stay away."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest

from holdfast.providers.conversation import Done, Failed, Fetch, Step, Wait
from holdfast.providers.http import Head
from holdfast.providers.linked import FETCH_S_MAX, FETCH_TRIES, LinkedImages
from holdfast.types import Charge, FailureKind
from holdfast.wire.answers import Answer, AnswerImage, Role
from holdfast.wire.image_file import ImageFileReader

OK = Head(status=200, headers=MappingProxyType({}))
GONE = Head(status=403, headers=MappingProxyType({}))
URLS = ("https://files.test/1.png", "https://files.test/2.png")


def linked(*urls: str, **overrides: Any) -> LinkedImages:
    """An answer with links."""
    usual: dict[str, Any] = {
        "upstream": "relay",
        "base_url": "https://relay.test/v1",
        "image_bytes_max": 1000,
        "answer": Answer(images=(), document=b"{}", url_only=True),
        "urls": urls or URLS[:1],
    }
    return LinkedImages(**{**usual, **overrides})


def fetched(step: Step) -> str:
    """Where it goes."""
    assert isinstance(step, Fetch)
    return step.url


def test_a_link_is_fetched_and_its_image_delivered() -> None:
    """From the public internet only; what it says of itself is stored beside the file."""
    talk = linked()
    step = talk.start()
    assert fetched(step) == URLS[0]
    assert isinstance(step, Fetch)
    assert (step.rules.allow_private, step.rules.allow_http) == (False, False)
    assert isinstance(talk.reader(), ImageFileReader)
    ended = talk.received(OK)
    assert isinstance(ended, Done)
    assert (ended.results, ended.drafts) == ((0,), ())
    assert ended.answer.images == (AnswerImage(index=0, role=Role.RESULT),)
    assert not ended.answer.url_only


def test_beside_a_private_upstream_files_may_be_private() -> None:
    """As the simulator's are."""
    step = linked(base_url="http://127.0.0.1:16900/v1").start()
    assert isinstance(step, Fetch)
    assert step.rules.allow_private


def test_a_dead_link_is_tried_for_half_a_minute_and_then_told() -> None:
    """It was paid for: malformed, charged, and nothing that would be bought again."""
    talk = linked()
    pauses: list[float] = []
    step = talk.received(GONE)
    while isinstance(step, Wait):
        assert step.is_made
        assert "403" in step.why
        pauses.append(step.delay_s)
        assert fetched(talk.start()) == URLS[0]
        step = talk.received(GONE)
    assert len(pauses) == FETCH_TRIES - 1
    assert pauses == sorted(pauses)
    assert 20.0 < sum(pauses) < 60.0
    assert max(pauses) <= FETCH_S_MAX
    assert isinstance(step, Failed)
    assert (step.failure.kind, step.failure.charge) == (FailureKind.MALFORMED, Charge.YES)
    assert "files.test" not in step.failure.detail
    assert "relay" in step.failure.detail


@pytest.mark.parametrize("tries", range(1, FETCH_TRIES))
def test_one_that_comes_late_is_delivered(tries: int) -> None:
    """Files are told of before they can be read."""
    talk = linked()
    for _ in range(tries):
        assert isinstance(talk.failed("the connection was reset"), Wait)
    assert isinstance(talk.received(OK), Done)


def test_of_several_what_can_be_got_is_delivered() -> None:
    """The others are paid for all the same, and no reason to give nothing."""
    talk = linked(*URLS, wanted=2)
    for _ in range(FETCH_TRIES - 1):
        assert isinstance(talk.received(GONE), Wait)
    assert fetched(talk.received(GONE)) == URLS[1]
    ended = talk.received(OK)
    assert isinstance(ended, Done)
    assert (ended.results, ended.drafts) == ((1,), ())


def test_more_than_asked_for_is_kept_and_not_delivered() -> None:
    """Drafts that the answer held stay drafts, and numbers go on behind them."""
    draft = AnswerImage(index=0, role=Role.DRAFT)
    talk = linked(*URLS, answer=Answer(images=(draft,), document=b"{}", url_only=True))
    assert fetched(talk.start()) == URLS[0]
    assert fetched(talk.received(OK)) == URLS[1]
    assert repr(talk) == "<LinkedImages 1 of 2, try 1>"
    ended = talk.received(OK)
    assert isinstance(ended, Done)
    assert (ended.results, ended.drafts) == ((1,), (0, 2))


def test_an_answer_without_links_is_none_of_these() -> None:
    """Our own mistake."""
    with pytest.raises(AssertionError):
        linked(urls=())
