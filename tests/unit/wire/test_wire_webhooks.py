"""Webhooks as bytes: what receivers are sent, and how a mistake in a request is told."""

from __future__ import annotations

import json

import pytest

from holdfast.errors import RequestError
from holdfast.wire.webhooks import (
    DeliveryList,
    NewWebhook,
    WebhookList,
    WebhookResource,
    decode_new_webhook,
    render,
    render_payload,
)

WEBHOOK = WebhookResource(
    id="whk_1", object="webhook", url="https://a.example/", created_at="t", disabled_at=None, disabled_reason=None
)


@pytest.mark.parametrize("status", ["succeeded", "failed", "cancelled"])
def test_a_payload_is_thin(status: str) -> None:
    """Which, how, when; no prompt, no picture, no link that would work for whoever reads along."""
    body = render_payload(
        type_=f"generation.{status}", timestamp="2026-01-17T12:00:00.000Z", generation_id="g", drive=2
    )
    assert json.loads(body) == {
        "type": f"generation.{status}",
        "timestamp": "2026-01-17T12:00:00.000Z",
        "data": {"id": "g", "status": status, "drive": 2},
    }


def test_a_payload_is_the_same_bytes_each_time() -> None:
    """It is signed at each try, and receivers may keep a digest of it."""
    asked = {"type_": "generation.failed", "timestamp": "t", "generation_id": "g", "drive": 0}
    assert render_payload(**asked) == render_payload(**asked)  # type: ignore[arg-type]


def test_a_url_is_all_that_a_webhook_is_made_from() -> None:
    """Whether it may be sent to is not for the wire to say."""
    assert decode_new_webhook(b'{"url": "https://a.example/"}') == NewWebhook(url="https://a.example/")


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        (b'{"urll": "https://a.example/"}', "urll", "Did you mean 'url'?"),
        (b'{"url": "https://a.example/", "uri": 1}', "uri", "Did you mean 'url'?"),
        (b'{"url": "https://a.example/", "secret": "x"}', "secret", "Known here: url."),
        (b"{}", "url", "url is missing."),
        (b'{"url": 7}', "url", "url must be text"),
        (b'{"url": ""}', "url", "1 to 2048 characters"),
        (b'{"url": null}', "url", "url must be text"),
        (b"[]", None, "JSON object"),
        (b'"url"', None, "JSON object"),
        (b"{", None, "cannot be read"),
    ],
)
def test_a_mistake_is_told_with_the_field_and_what_was_meant(body: bytes, param: str | None, said: str) -> None:
    """A field that is misspelled is named as it was written, not only as missing."""
    with pytest.raises(RequestError) as told:
        decode_new_webhook(body)
    assert (told.value.status, told.value.param) == (400, param)
    assert said in told.value.message


def test_a_name_of_any_length_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer does not grow with what was sent."""
    with pytest.raises(RequestError) as told:
        decode_new_webhook(b'{"%s": 1}' % (b"x" * 10_000))
    assert len(told.value.message) < 200


def test_a_secret_is_told_only_where_there_is_one() -> None:
    """A list has none, not even an empty one that looks like it."""
    listed = json.loads(render(WebhookList(object="list", data=(WEBHOOK,))))
    assert listed["data"][0].keys() == {"id", "object", "url", "created_at", "disabled_at", "disabled_reason"}
    assert "null" in render(WEBHOOK).decode()


def test_an_empty_page_is_a_page() -> None:
    """Programs that walk through pages need no case for it."""
    assert json.loads(render(DeliveryList(object="list", data=(), has_more=False))) == {
        "object": "list",
        "data": [],
        "has_more": False,
    }
