"""Signed, absolute links, for whoever a caller says it reached us as."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

import pytest

from holdfast.config import Settings
from holdfast.gateway.links import HOP_LINK_LIFE, LINK_LIFE, LinkMaker, Links, Onward, image_path, result_path
from holdfast.store.signing import Signer

SettingsOf = Callable[..., Settings]
SIGNER = Signer(secrets=(("k1", b"secret"),))


def maker_of(settings_of: SettingsOf, a_clock: Any, **server: Any) -> LinkMaker:
    """Make a maker under these settings."""
    return LinkMaker(settings_of(server=server), SIGNER, a_clock)


@pytest.mark.parametrize(
    ("server", "caller", "base_url"),
    [
        ({}, {"headers": {"host": "gw:16888"}}, "http://gw:16888"),
        ({}, {"headers": {"host": "[::1]:16888"}, "scheme": "https"}, "https://[::1]:16888"),
        ({"public_url": "https://img.example/"}, {"headers": {"host": "gw"}}, "https://img.example"),
        ({}, {"headers": {}, "http_version": "1.0"}, "http://localhost"),
        (
            {},
            {"headers": {"host": "gw", "x-forwarded-host": "evil.example", "x-forwarded-proto": "https"}},
            "http://gw",
        ),
        (
            {"trusted_proxies": ["10.0.0.0/8"]},
            {
                "client": "10.1.2.3",
                "headers": {"host": "gw", "x-forwarded-host": "pub.example, hop2", "x-forwarded-proto": "https"},
            },
            "https://pub.example",
        ),
        ({"trusted_proxies": ["10.0.0.0/8"]}, {"client": "10.1.2.3", "headers": {"host": "gw"}}, "http://gw"),
        (
            {"trusted_proxies": ["10.0.0.0/8"]},
            {"client": "192.0.2.1", "headers": {"host": "gw", "x-forwarded-proto": "https"}},
            "http://gw",
        ),
    ],
)
async def test_a_link_leads_where_its_caller_came_from(
    settings_of: SettingsOf,
    a_clock: Any,
    a_caller: Any,
    server: dict[str, Any],
    caller: dict[str, Any],
    base_url: str,
) -> None:
    """Forwarded headers count from trusted proxies only: a header anyone can send proves nothing."""
    maker = maker_of(settings_of, a_clock, **server)
    call = a_caller(**caller).call()
    assert maker.base_of(call) == base_url
    assert maker.for_call(call).base_url == base_url


def test_a_link_is_valid_for_its_image_and_for_no_other(some_links: Links, a_blob: Any) -> None:
    """Path, expiry and key id are under the signature."""
    url = some_links.of("gen_1", 0, a_blob())
    assert url is not None
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    assert (parts.scheme, parts.netloc, parts.path) == ("https", "images.example", "/v1/generations/gen_1/images/0")
    now = some_links.now.timestamp()
    assert SIGNER.is_valid(parts.path, query, now_unix_s=now)
    assert not SIGNER.is_valid(image_path("gen_1", 1), query, now_unix_s=now)
    assert not SIGNER.is_valid(image_path("gen_2", 0), query, now_unix_s=now)
    assert not SIGNER.is_valid(parts.path, {**query, "exp": str(int(query["exp"]) + 1)}, now_unix_s=now)
    assert not SIGNER.is_valid(parts.path, query, now_unix_s=now + LINK_LIFE.total_seconds() + 1)


@pytest.mark.parametrize(
    ("delete_after", "life"),
    [
        (None, LINK_LIFE),
        ("2026-11-24T13:00:30.000Z", timedelta(hours=1)),
        ("2026-12-24T12:00:30.000Z", LINK_LIFE),
    ],
)
def test_a_link_ends_with_its_image_or_after_a_day(
    some_links: Links, a_blob: Any, delete_after: str | None, life: timedelta
) -> None:
    """A link that outlives its image would promise what is gone."""
    blob = a_blob(delete_after=delete_after)
    assert some_links.expires_at(blob) == some_links.now + life
    url = some_links.of("gen_1", 0, blob)
    assert url is not None
    expires = datetime.fromtimestamp(int(dict(parse_qsl(urlsplit(url).query))["exp"]), UTC)
    assert expires == some_links.now + life


def test_a_deleted_image_has_no_link(some_links: Links, a_blob: Any) -> None:
    """None is honest; a dead link is not."""
    assert some_links.of("gen_1", 0, a_blob(state="deleted")) is None


def test_a_replay_has_fresh_links(settings_of: SettingsOf, a_clock: Any, a_blob: Any) -> None:
    """The moment is taken when the links are made, not when the maker was."""
    maker = maker_of(settings_of, a_clock)
    before = maker.at("http://gw").of("gen_1", 0, a_blob())
    a_clock.at += timedelta(minutes=5)
    assert maker.at("http://gw").of("gen_1", 0, a_blob()) != before


@pytest.mark.parametrize(
    ("from_path", "base"),
    [
        ("/v1/images/generations", ""),
        ("/v1beta/models/m:generateContent", ""),
        ("/v1/generations/gen_1/result", ""),
        ("/v1/images/generations", "/prefix"),
        ("/v1/models/m:generateContent", "/a/b"),
    ],
)
@pytest.mark.parametrize("until", [None, 1_795_000_000_123])
async def test_a_redirect_leads_on_from_wherever_its_caller_is(
    settings_of: SettingsOf, a_clock: Any, from_path: str, base: str, until: int | None
) -> None:
    """Whatever a proxy put before our paths, and with a permission that holds for this hop alone."""
    maker = maker_of(settings_of, a_clock)
    onward = Onward(generation_id="gen_1", hop=3, until=until)
    parts = urlsplit(urljoin(f"https://gw.example{base}{from_path}", maker.onward(onward, from_path=from_path)))
    assert (parts.netloc, parts.path) == ("gw.example", f"{base}{result_path('gen_1')}")
    query = dict(parse_qsl(parts.query))
    assert (query["hop"], query.get("until")) == ("3", None if until is None else str(until))
    assert maker.is_onward(onward, query)
    for other in (
        Onward(generation_id="gen_2", hop=3, until=until),
        Onward(generation_id="gen_1", hop=4, until=until),
        Onward(generation_id="gen_1", hop=3, until=1),
    ):
        assert not maker.is_onward(other, query)


async def test_a_redirect_s_permission_is_short(settings_of: SettingsOf, a_clock: Any) -> None:
    """It is followed at once; what is found in a log later opens nothing."""
    maker = maker_of(settings_of, a_clock)
    onward = Onward(generation_id="gen_1", hop=1)
    query = dict(parse_qsl(urlsplit(maker.onward(onward, from_path="/v1/images/generations")).query))
    assert int(query["exp"]) - a_clock.now().timestamp() <= HOP_LINK_LIFE.total_seconds() <= 300
