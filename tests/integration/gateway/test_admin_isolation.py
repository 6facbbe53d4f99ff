"""What one key may see of another's, on every door: nothing; and what a stranger may see at all.

Ids are no secrets: each test knows all of them, and asks with a key that is valid and not an admin's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from holdfast.gateway.admin.table import SPECS

JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, kw_only=True)
class Owned:
    """What one key has, and another one who knows all its names."""

    gateway: Any
    owner: dict[str, str]
    stranger: dict[str, str]
    generation_id: str
    webhook_id: str
    key_id: str

    def path(self, template: str) -> str:
        """Fill ids in."""
        return template.format(id=self.generation_id, webhook=self.webhook_id, key=self.key_id)


@pytest.fixture
async def owned(start: Callable[..., Awaitable[Any]]) -> AsyncIterator[Owned]:
    """A generation with an image, and a webhook, of a key that is no admin's; and another such key."""
    gateway = await start(webhooks={"allow_http": True, "allow_private": True})
    owner = {"Authorization": f"Bearer {await gateway.another_key()}"}
    stranger = {"Authorization": f"Bearer {await gateway.another_key()}"}
    made = await gateway.ask("POST", "/v1/images/generations", headers=owner, json={"prompt": "a lighthouse"})
    assert made.status == 200, made
    hook = await gateway.ask("POST", "/v1/webhooks", headers=owner, json={"url": "http://127.0.0.1:9/hook"})
    assert hook.status == 201, hook
    id_ = made.json["generation_id"]
    yield Owned(
        gateway=gateway,
        owner=owner,
        stranger=stranger,
        generation_id=id_,
        webhook_id=hook.json["id"],
        key_id=gateway.record(id_).generation.key_id,
    )


DOORS = [
    ("GET", "/v1/generations/{id}", "generation_not_found"),
    ("GET", "/v1/generations/{id}/events", "generation_not_found"),
    ("GET", "/v1/generations/{id}/result", "generation_not_found"),
    ("GET", "/v1/generations/{id}/images/0", "generation_not_found"),
    ("HEAD", "/v1/generations/{id}/images/0", None),
    ("POST", "/v1/generations/{id}/cancel", "generation_not_found"),
    ("DELETE", "/v1/generations/{id}", "generation_not_found"),
    ("GET", "/v1/webhooks/{webhook}/deliveries", "webhook_not_found"),
    ("POST", "/v1/webhooks/{webhook}/rotate", "webhook_not_found"),
    ("DELETE", "/v1/webhooks/{webhook}", "webhook_not_found"),
]


@pytest.mark.parametrize(("method", "path", "code"), DOORS)
async def test_anothers_is_not_found_as_what_never_was(owned: Owned, method: str, path: str, code: str | None) -> None:
    """Not even that it exists: the answer is the one to an id that was invented, and nothing has changed."""
    answer = await owned.gateway.ask(method, owned.path(path), headers=owned.stranger)
    assert answer.status == 404
    invented = path.replace("{id}", "gen_00000000000000000000000000").replace("{webhook}", "whk_0000000000000000000000")
    never = await owned.gateway.ask(method, invented, headers=owned.stranger)
    assert (never.status, never.body) == (answer.status, answer.body)
    if code is not None:
        assert code.encode() in answer.body
    assert (await owned.gateway.ask("GET", owned.path("/v1/generations/{id}"), headers=owned.owner)).status == 200
    assert owned.gateway.count("webhook_endpoint WHERE deleted_at IS NULL AND url IS NOT NULL") == 1
    record = owned.gateway.record(owned.generation_id).generation
    assert (record.cancel_requested, record.deleted_at) == (0, None)


async def test_lists_hold_ones_own_only(owned: Owned) -> None:
    """Generations and webhooks."""
    for path in ("/v1/generations", "/v1/webhooks"):
        assert (await owned.gateway.ask("GET", path, headers=owned.stranger)).json["data"] == []
        assert len((await owned.gateway.ask("GET", path, headers=owned.owner)).json["data"]) == 1
    by_place = await owned.gateway.ask("GET", owned.path("/v1/generations?after={id}"), headers=owned.stranger)
    assert by_place.status == 400, "nor may it be a place to go on from"


async def test_nothing_begins_from_anothers_image(owned: Owned) -> None:
    """A reference to it is one to nothing."""
    body = {"prompt": "a boat", "images": [{"generation_id": owned.generation_id}]}
    answer = await owned.gateway.ask("POST", "/v1/generations", headers=owned.stranger, json=body)
    assert answer.status == 404
    assert answer.json["code"] == "generation_not_found"


async def test_the_same_request_of_another_key_joins_nothing(owned: Owned, upstream: Any) -> None:
    """Alike to the letter, with the same idempotency key: it is another generation, and another image."""
    headers = {"Idempotency-Key": "one", "X-Stainless-Retry-Count": "1"}
    first = await owned.gateway.ask(
        "POST", "/v1/images/generations", headers={**owned.owner, **headers}, json={"prompt": "a whale"}
    )
    second = await owned.gateway.ask(
        "POST", "/v1/images/generations", headers={**owned.stranger, **headers}, json={"prompt": "a whale"}
    )
    assert (first.status, second.status) == (200, 200)
    assert first.json["generation_id"] != second.json["generation_id"]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.method} {spec.path}")
async def test_no_door_of_the_admins_opens_to_other_keys(owned: Owned, spec: Any) -> None:
    """Not for a key that is valid, not for its own things, not for a stranger: before anything is looked up."""
    path = spec.path.replace("{id}", owned.generation_id).replace("{index}", "0")
    for headers, status, code in [
        (owned.owner, 403, "admin_required"),
        (owned.stranger, 403, "admin_required"),
        ({}, 401, "invalid_api_key"),
        ({"Authorization": "Bearer hf-nobody"}, 401, "invalid_api_key"),
        ({"Cookie": "holdfast_session=" + "A" * 43}, 401, "invalid_api_key"),
    ]:
        csrf = {"Holdfast-CSRF": "x"} if "Cookie" in headers and spec.method == "GET" else {}
        answer = await owned.gateway.ask(spec.method, path, headers={**headers, **csrf})
        if "Cookie" in headers and spec.method != "GET":
            assert (answer.status, answer.json["code"]) == (403, "csrf_failed")
            continue
        assert (answer.status, answer.json["code"]) == (status, code), answer
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert owned.generation_id.encode() not in answer.body
    assert owned.gateway.count("audit") == 0


async def test_an_admin_who_looks_collects_nothing(owned: Owned) -> None:
    """What was never collected stays that, whoever has looked at it in the gallery."""
    admin = {"Authorization": f"Bearer {owned.gateway.key}"}
    native = await owned.gateway.ask("POST", "/v1/generations", headers=owned.owner, json={"prompt": "a gull"})
    id_ = native.json["id"]
    async with owned.gateway.session.get(
        f"{owned.gateway.running.base_url}/v1/generations/{id_}", headers={**owned.owner, "Prefer": "wait=10"}
    ) as waited:
        assert (await waited.json())["status"] == "succeeded"
    seen = await owned.gateway.ask("GET", f"/admin/v1/generations/{id_}/images/0", headers=admin)
    assert seen.status == 200
    assert seen.body == owned.gateway.stored(id_)[0]
    part = await owned.gateway.ask(
        "GET", f"/admin/v1/generations/{id_}/images/0", headers={**admin, "Range": "bytes=0-3"}
    )
    assert (part.status, part.body) == (206, seen.body[:4])
    assert "sandbox" in seen.headers["content-security-policy"]
    assert "private" in seen.headers["cache-control"]
    await owned.gateway.idle()
    assert owned.gateway.record(id_).generation.collected_at is None
    listed = await owned.gateway.ask("GET", "/admin/v1/generations?status=succeeded&collected=false", headers=admin)
    assert [each["id"] for each in listed.json["data"]] == [id_]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/docs", "/openapi.json", "/v1/models", "/v1/generations"])
async def test_no_page_from_elsewhere_may_read_an_answer(owned: Owned, path: str) -> None:
    """No answer invites other origins, asked as a browser does."""
    headers = {**owned.owner, "Origin": "https://evil.example"}
    answer = await owned.gateway.ask("GET", path, headers=headers)
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    preflight = await owned.gateway.ask(
        "OPTIONS", path, headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"}
    )
    assert preflight.status >= 400


async def test_answers_to_keys_are_never_kept_by_a_cache(owned: Owned) -> None:
    """What is a key's own is not for whoever comes by next."""
    for path in ("/v1/generations", "/v1/generations/{id}", "/v1/webhooks", "/v1/models", "/v1/latency"):
        answer = await owned.gateway.ask("GET", owned.path(path), headers=owned.owner)
        assert answer.status == 200
        assert "no-store" in answer.headers["cache-control"]
