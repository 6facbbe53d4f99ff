"""Signing in on a running gateway: cookies, the second proof of changes, and how a session ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http.cookies import SimpleCookie
from typing import Any

import pytest

from holdfast.store.audit_log import entries

CSRF = "Holdfast-CSRF"
HOSTILE = "https://evil.example"


async def sign_in(gateway: Any, **headers: str) -> tuple[dict[str, str], dict[str, Any], Any]:
    """Open a session; give the cookie as a header, what the body says, and the answer."""
    answer = await gateway.ask(
        "POST", "/admin/v1/session", headers={"Authorization": f"Bearer {gateway.key}", **headers}
    )
    assert answer.status == 201, answer
    cookie = answer.headers["set-cookie"].partition(";")[0]
    return {"Cookie": cookie}, answer.json, answer


async def change(gateway: Any, statement: str) -> None:
    """Change a row behind the gateway's back, as another process would."""
    await gateway.core.store.write(lambda conn: conn.execute(statement).rowcount)


async def test_a_cookie_stands_for_the_key_it_was_opened_with(gateway: Any) -> None:
    """Signed in once, the page needs no key any more; the answer never shows it."""
    cookie, told, answer = await sign_in(gateway)
    assert gateway.key not in answer.body.decode() + str(answer.headers)
    assert told["by"] == "session"
    assert told["label"] == "first"
    got = await gateway.ask("GET", "/admin/v1/session", headers=cookie)
    assert got.status == 200
    assert got.json == told
    assert got.json["csrf_token"]


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(gateway: Any) -> None:
    """HttpOnly, SameSite=Strict, the whole host and nobody else, and an end."""
    _, _, answer = await sign_in(gateway)
    (morsel,) = SimpleCookie(answer.headers["set-cookie"]).values()
    assert morsel.key == "holdfast_session"
    assert morsel["httponly"]
    assert morsel["samesite"] == "Strict"
    assert morsel["path"] == "/"
    assert not morsel["domain"]
    assert 0 < int(morsel["max-age"]) <= 12 * 3600
    assert not morsel["secure"], "over plain HTTP on loopback a browser would not send it back"


@pytest.mark.parametrize("path", ["/admin/v1/session", "/admin/v1/nothing", "/admin/v1/session?key=x"])
async def test_answers_to_admins_are_not_kept_sniffed_framed_or_shared(gateway: Any, path: str) -> None:
    """The same headers on what is found and what is refused."""
    cookie, _, _ = await sign_in(gateway)
    answer = await gateway.ask("GET", path, headers=cookie)
    assert "no-store" in answer.headers["cache-control"]
    assert "access-control-allow-origin" not in answer.headers
    if answer.status == 404:
        return  # Nothing of an admin's: no endpoint has answered.
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize("path", ["/admin/v1/session", "/v1/generations", "/v1/images/generations"])
@pytest.mark.parametrize("token", [None, "", "wrong", "é"])
async def test_what_changes_something_needs_the_token_of_the_session(
    gateway: Any, path: str, token: str | None
) -> None:
    """A cookie that a browser sends along by itself is no proof that our page has asked."""
    cookie, _, _ = await sign_in(gateway)
    headers = cookie if token is None else {**cookie, CSRF: token}
    method = "DELETE" if path.startswith("/admin") else "POST"
    answer = await gateway.ask(method, path, headers=headers, json={"prompt": "a lighthouse"})
    assert answer.status == 403
    assert b"csrf_failed" in answer.body
    assert gateway.count("generation") == 0
    assert (await gateway.ask("GET", "/admin/v1/session", headers=cookie)).status == 200


async def test_the_token_of_another_session_is_none(gateway: Any) -> None:
    """It is bound to the cookie."""
    cookie, _, _ = await sign_in(gateway)
    _, other, _ = await sign_in(gateway)
    answer = await gateway.ask("DELETE", "/admin/v1/session", headers={**cookie, CSRF: other["csrf_token"]})
    assert answer.status == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": HOSTILE},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
    ],
)
async def test_a_page_from_elsewhere_has_no_session(gateway: Any, headers: dict[str, str]) -> None:
    """Neither to read nor to change, even with the token; nor may it sign anybody in."""
    cookie, told, _ = await sign_in(gateway)
    sent = {**cookie, CSRF: told["csrf_token"], **headers}
    for method, path in [("GET", "/admin/v1/session"), ("DELETE", "/admin/v1/session"), ("GET", "/v1/generations")]:
        answer = await gateway.ask(method, path, headers=sent)
        assert answer.status == 403, (method, path)
        assert b"csrf_failed" in answer.body
    key = {"Authorization": f"Bearer {gateway.key}", **headers}
    assert (await gateway.ask("POST", "/admin/v1/session", headers=key)).status == 403


async def test_our_own_page_is_let_in(gateway: Any) -> None:
    """With what a browser says of itself."""
    cookie, told, _ = await sign_in(gateway)
    ours = {"Sec-Fetch-Site": "same-origin", "Origin": gateway.running.base_url, CSRF: told["csrf_token"]}
    assert (await gateway.ask("GET", "/admin/v1/session", headers={**cookie, **ours})).status == 200
    assert (await gateway.ask("DELETE", "/admin/v1/session", headers={**cookie, **ours})).status == 204


async def test_signing_out_ends_it_at_once(gateway: Any) -> None:
    """At the gateway, not only in the browser."""
    cookie, told, _ = await sign_in(gateway)
    out = await gateway.ask("DELETE", "/admin/v1/session", headers={**cookie, CSRF: told["csrf_token"]})
    assert out.status == 204
    assert "Max-Age=0" in out.headers["set-cookie"]
    again = await gateway.ask("GET", "/admin/v1/session", headers=cookie)
    assert again.status == 401
    assert again.json["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE api_key SET revoked_at = '2026-01-01T00:00:00.000Z'",
        "UPDATE api_key SET expires_at = '2026-01-01T00:00:00.000Z'",
        "UPDATE api_key SET is_admin = 0",
        "UPDATE key_secret SET expires_at = '2026-01-01T00:00:00.000Z'",
        "DELETE FROM key_secret",
        "UPDATE session SET expires_at = '2026-01-01T00:00:00.000Z'",
        "DELETE FROM session",
    ],
)
async def test_a_session_ends_with_its_key(gateway: Any, statement: str) -> None:
    """The very next call: nothing of a session is believed for a while, as keys are."""
    cookie, told, _ = await sign_in(gateway)
    await change(gateway, statement)
    for path in ("/admin/v1/session", "/v1/generations"):
        answer = await gateway.ask("GET", path, headers={**cookie, CSRF: told["csrf_token"]})
        assert answer.status == 401, answer


async def test_an_invented_cookie_is_nothing(gateway: Any) -> None:
    """Whatever its form."""
    for value in ("x" * 43, "", "x" * 5000, "é" * 43):
        answer = await gateway.ask("GET", "/admin/v1/session", headers={"Cookie": f"holdfast_session={value}"})
        assert answer.status == 401


async def test_a_key_keeps_a_bounded_number_of_sessions(gateway: Any) -> None:
    """Whoever signs in once more ends the oldest."""
    first, _, _ = await sign_in(gateway)
    for _ in range(20):
        last, _, _ = await sign_in(gateway)
    assert gateway.count("session") == 20
    assert (await gateway.ask("GET", "/admin/v1/session", headers=first)).status == 401
    assert (await gateway.ask("GET", "/admin/v1/session", headers=last)).status == 200


async def test_neither_cookie_nor_key_is_on_record(gateway: Any) -> None:
    """A stolen database opens nothing."""
    cookie, told, _ = await sign_in(gateway)
    token = cookie["Cookie"].partition("=")[2]
    everything = b"".join(path.read_bytes() for path in gateway.data.glob("holdfast.sqlite3*"))
    for secret in (token, told["csrf_token"], gateway.key):
        assert secret.encode() not in everything


async def test_who_signed_in_and_out_is_in_the_log_of_changes(gateway: Any) -> None:
    """With the key's id, and nothing that opens anything."""
    cookie, told, _ = await sign_in(gateway)
    await gateway.ask("DELETE", "/admin/v1/session", headers={**cookie, CSRF: told["csrf_token"]})
    found = gateway.read(lambda conn: entries(conn, limit=10))
    assert [(each.action, each.actor, each.target) for each in found] == [
        ("session.closed", told["key_id"], told["key_id"]),
        ("session.opened", told["key_id"], told["key_id"]),
    ]


async def test_the_playground_asks_for_images_as_the_admins_own_key(gateway: Any) -> None:
    """Cookie and token buy, read, follow and fetch; on record it is the key's own."""
    cookie, told, _ = await sign_in(gateway)
    ours = {**cookie, CSRF: told["csrf_token"]}
    made = await gateway.ask("POST", "/v1/images/generations", headers=ours, json={"prompt": "a lighthouse"})
    assert made.status == 200, made
    id_ = made.json["generation_id"]
    assert gateway.record(id_).generation.key_id == told["key_id"]
    native = await gateway.ask("POST", "/v1/generations", headers=ours, json={"prompt": "a boat"})
    assert native.status in (200, 202)
    for path in (f"/v1/generations/{id_}", f"/v1/generations/{id_}/events", f"/v1/generations/{id_}/images/0"):
        assert (await gateway.ask("GET", path, headers=cookie)).status == 200
    await gateway.resource_once(native.json["id"], "succeeded")


async def test_a_key_in_a_header_wins_over_a_cookie(gateway: Any) -> None:
    """Programs need no token, and a cookie beside the key changes nothing."""
    cookie, _, _ = await sign_in(gateway)
    bearer = {"Authorization": f"Bearer {gateway.key}"}
    assert (await gateway.ask("GET", "/admin/v1/session", headers={**cookie, **bearer})).json["by"] == "key"
    wrong = {"Authorization": "Bearer hf-wrong"}
    assert (await gateway.ask("GET", "/admin/v1/session", headers={**cookie, **wrong})).status == 401


async def test_a_key_in_the_address_is_no_admins(gateway: Any) -> None:
    """What stands in an address is written into logs and histories."""
    answer = await gateway.ask("GET", f"/admin/v1/session?key={gateway.key}", headers={})
    assert answer.status == 400
    assert answer.json["param"] == "key"


async def test_only_admins_are_let_in(gateway: Any) -> None:
    """Neither strangers nor other keys, and neither may sign in."""
    other = {"Authorization": f"Bearer {await gateway.another_key()}"}
    for method in ("GET", "POST", "DELETE"):
        assert (await gateway.ask(method, "/admin/v1/session", headers={})).status == 401
        refused = await gateway.ask(method, "/admin/v1/session", headers=other)
        assert refused.status == 403
        assert refused.json["code"] == "admin_required"
        assert refused.headers["content-type"] == "application/problem+json"
    assert gateway.count("session") == 0


@pytest.mark.parametrize(
    "headers",
    [{"X-Forwarded-For": "203.0.113.7"}, {"X-Forwarded-Proto": "https"}, {"Via": "1.1 proxy"}, {"Forwarded": "for=x"}],
)
async def test_what_a_proxy_forwards_in_the_clear_is_not_from_here(gateway: Any, headers: dict[str, str]) -> None:
    """A proxy on the same machine comes from loopback; nobody said that it may speak for TLS."""
    answer = await gateway.ask(
        "GET", "/admin/v1/session", headers={"Authorization": f"Bearer {gateway.key}", **headers}
    )
    assert answer.status == 403
    assert answer.json["code"] == "tls_required"


async def test_a_trusted_proxy_speaks_for_tls(start: Callable[..., Awaitable[Any]]) -> None:
    """Then the cookie goes over TLS only, under the name that no other host can set."""
    gateway = await start(server={"trusted_proxies": ["127.0.0.0/8"]})
    proxied = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.7", "X-Forwarded-Host": "images.example"}
    cookie, told, answer = await sign_in(gateway, **proxied)
    assert cookie["Cookie"].startswith("__Host-holdfast_session=")
    assert "; Secure" in answer.headers["set-cookie"]
    ours = {**proxied, **cookie, "Origin": "https://images.example", CSRF: told["csrf_token"]}
    assert (await gateway.ask("GET", "/admin/v1/session", headers=ours)).status == 200
    plain = {**proxied, "X-Forwarded-Proto": "http"}
    refused = await gateway.ask("GET", "/admin/v1/session", headers={"Authorization": f"Bearer {gateway.key}", **plain})
    assert refused.json["code"] == "tls_required"


async def test_a_cookie_of_plain_http_is_none_over_tls(start: Callable[..., Awaitable[Any]]) -> None:
    """Whoever could set one for a neighbouring host cannot make us believe it."""
    gateway = await start(server={"trusted_proxies": ["127.0.0.0/8"]})
    cookie, _, _ = await sign_in(gateway)
    assert cookie["Cookie"].startswith("holdfast_session=")
    answer = await gateway.ask("GET", "/admin/v1/session", headers={**cookie, "X-Forwarded-Proto": "https"})
    assert answer.status == 401


async def test_an_operator_may_lift_it(start: Callable[..., Awaitable[Any]]) -> None:
    """`server.admin_anywhere`, for a network that is one's own."""
    gateway = await start(server={"admin_anywhere": True})
    forwarded = {"Authorization": f"Bearer {gateway.key}", "X-Forwarded-For": "203.0.113.7"}
    assert (await gateway.ask("GET", "/admin/v1/session", headers=forwarded)).status == 200
