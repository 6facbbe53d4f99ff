"""What a browser is told of calls by other origins' pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import holdfast
from holdfast.policy.cors import ASKED_MAX, EXPOSED, PREFLIGHT_S, Sharing, is_shared

APP = "https://app.example.com"
NAMED = Sharing(origins=frozenset({APP, "http://localhost:5173"}))
OPEN = Sharing(origins=frozenset({"*"}))
WITH_COOKIES = Sharing(origins=frozenset({APP}), credentials=True)
ALLOW = b"access-control-allow-origin"
SAFELISTED = {"cache-control", "content-language", "content-length", "content-type", "expires", "last-modified"}
"""What any page may read. Source: Fetch Standard, CORS-safelisted response-header name."""
OF_NO_USE = {
    # They tell browsers and proxies what to do, or are about the connection, or are asked and not told.
    "x-accel-buffering",
    "x-content-type-options",
    "x-frame-options",
    "content-security-policy",
    "referrer-policy",
    "permissions-policy",
    "cross-origin-resource-policy",
    "cross-origin-opener-policy",
    "no-cache",
    "no-store",
    "no-referrer",
    "same-origin",
    "transfer-encoding",
    "content-encoding",
    "accept-encoding",
    "http2-settings",
}


@pytest.mark.parametrize(
    ("path", "shared"),
    [
        ("/v1/images/generations", True),
        ("/v1beta/models/m:generateContent", True),
        ("/openapi.json", True),
        ("/administration", True),
        ("/v1/admin", True),
        ("/admin", False),
        ("/admin/v1/keys", False),
        ("/admin/v1/\n", False),
        ("/console", False),
        ("/console/app.js", False),
        ("/metrics", False),
    ],
)
def test_what_admins_ask_is_never_shared(path: str, shared: bool) -> None:
    """Whole first segments, whatever follows."""
    assert is_shared(path) is shared


def test_a_named_origin_is_told_its_own_name_and_everything_of_ours() -> None:
    """And caches are told that it is an answer for this origin."""
    told = dict(NAMED.told(APP))
    assert told[ALLOW] == APP.encode()
    assert told[b"vary"] == b"Origin"
    assert told[b"access-control-expose-headers"].decode().split(", ") == list(EXPOSED)
    assert b"access-control-allow-credentials" not in told


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "",
        "null",
        "https://app.example.com.evil.example",
        "http://app.example.com",
        "https://app.example.com:444",
        APP.upper(),
        f"{APP}/",
    ],
)
def test_any_other_origin_is_told_nothing_but_that_it_matters(origin: str | None) -> None:
    """A part of a name, another scheme, another port: none of them is the same."""
    assert not NAMED.allows(origin)
    assert NAMED.told(origin) == ((b"vary", b"Origin"),)


@pytest.mark.parametrize("origin", [None, "null", APP])
def test_a_star_is_the_same_for_everybody(origin: str | None) -> None:
    """Nothing varies, and no cookies are taken."""
    assert dict(OPEN.told(origin))[ALLOW] == b"*"
    assert {name for name, _ in OPEN.told(origin)} == {ALLOW, b"access-control-expose-headers"}


def test_cookies_only_where_they_are_wanted() -> None:
    """By name; a star with cookies cannot be made."""
    assert dict(WITH_COOKIES.told(APP))[b"access-control-allow-credentials"] == b"true"
    assert WITH_COOKIES.told("https://other.example") == ((b"vary", b"Origin"),)
    with pytest.raises(AssertionError):
        Sharing(origins=frozenset({"*"}), credentials=True)
    with pytest.raises(AssertionError):
        Sharing(origins=frozenset())


def test_a_preflight_allows_what_is_asked_for() -> None:
    """The path's methods, and the headers of any SDK."""
    told = NAMED.preflight("authorization, content-type,X-Stainless-Retry-Count", {"POST", "GET"})
    assert dict(told) == {
        b"access-control-allow-methods": b"GET, POST",
        b"access-control-allow-headers": b"authorization, content-type, X-Stainless-Retry-Count",
        b"access-control-max-age": b"%d" % PREFLIGHT_S,
        b"vary": b"Access-Control-Request-Method, Access-Control-Request-Headers",
    }


@given(st.text(max_size=400))
def test_whatever_is_asked_for_nothing_but_names_comes_back(wanted: str) -> None:
    """No line break, no second header, a bounded number of them."""
    names = dict(NAMED.preflight(wanted, {"GET"})).get(b"access-control-allow-headers", b"").decode("ascii")
    found = [each for each in names.split(", ") if each]
    assert len(found) <= ASKED_MAX
    assert all(re.fullmatch(r"[!-~]+", each) and "," not in each for each in found)
    assert set(found) <= {each.strip() for each in wanted.split(",")}


def test_every_header_that_the_gateway_sends_is_exposed_or_of_no_use_to_a_page() -> None:
    """Read off the source: a new one has to be put into one of the two lists."""
    source = Path(holdfast.__file__).parent
    texts = [path.read_text("utf-8") for path in (source / "gateway").glob("*.py")]
    texts.append((source / "wire" / "failures.py").read_text("utf-8"))
    sent = {name for text in texts for name in re.findall(r'\(\s*b"([a-z]+(?:-[a-z0-9]+)*)",', text)}
    known = {each.lower() for each in EXPOSED} | SAFELISTED | OF_NO_USE
    assert {"generation-id", "etag", "retry-after", "preference-applied"} <= sent
    assert {name for name in sent if "-" in name or name in ("location", "etag", "allow")} <= known
