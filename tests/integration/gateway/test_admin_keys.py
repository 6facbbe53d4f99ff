"""Keys over the admin API, and by `holdfast keys` beside a gateway that runs: what is changed counts from then on."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest

from holdfast.store.audit_log import AuditRow, entries

KEYS = "/admin/v1/keys"
GROUPS = "/admin/v1/key-groups"


def bearer(key: str) -> dict[str, str]:
    """The header of a key."""
    return {"Authorization": f"Bearer {key}"}


async def made(gateway: Any, **fields: Any) -> dict[str, Any]:
    """Make a key."""
    answer = await gateway.ask("POST", KEYS, json={"label": "made", **fields})
    assert answer.status == 201, answer
    assert answer.headers["location"] == f"{KEYS}/{answer.json['id']}"
    return dict(answer.json)


def noted_in(gateway: Any) -> list[AuditRow]:
    """The log of changes, oldest first."""
    found: tuple[AuditRow, ...] = gateway.read(lambda conn: entries(conn, limit=10))
    return list(reversed(found))


async def holdfast(gateway: Any, *words: str) -> tuple[int, Any, str]:
    """Run a command beside a gateway; give its code, its JSON, and what it complains of."""
    command = [sys.executable, "-m", "holdfast.cli.main", *words, "--data", str(gateway.data), "--json"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False, timeout=30)
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


async def test_a_key_that_was_made_is_served_and_shown_once(gateway: Any, journal: Any) -> None:
    """What is listed later has no secret in it, and neither has any log."""
    new = await made(gateway, models=["nano-*"], rate_per_min=3)
    assert new["key"].startswith(f"hf-{new['id'].removeprefix('key_')}-")
    journal.secrets.append(new["key"].split("-", 2)[2])
    assert (await gateway.images(headers=bearer(new["key"]))).status == 200
    for answer in (await gateway.ask("GET", KEYS), await gateway.ask("GET", f"{KEYS}/{new['id']}")):
        assert answer.status == 200
        assert new["key"] not in answer.body.decode()
    one = (await gateway.ask("GET", f"{KEYS}/{new['id']}")).json
    assert one == {name: value for name, value in new.items() if name != "key"}
    assert (one["state"], one["models"], one["rate_per_min"], one["is_admin"]) == ("valid", ["nano-*"], 3, False)


async def test_keys_are_listed_by_pages(gateway: Any) -> None:
    """Oldest first, from behind an id."""
    ids = [(await made(gateway))["id"] for _ in range(3)]
    first = (await gateway.ask("GET", f"{KEYS}?limit=2")).json
    assert first["has_more"]
    rest = (await gateway.ask("GET", f"{KEYS}?after={first['last_id']}")).json
    assert [each["id"] for each in first["data"] + rest["data"]][1:] == ids
    assert not rest["has_more"]
    assert (await gateway.ask("GET", f"{KEYS}?limit=0")).status == 400


@pytest.mark.parametrize("by", ["revoke", "expire", "rotate"])
async def test_a_key_that_is_taken_back_ends_at_once(gateway: Any, by: str) -> None:
    """Though it was shown, and remembered, a moment ago; what it made is still on record."""
    new = await made(gateway)
    assert (await gateway.images(headers=bearer(new["key"]))).status == 200
    path = f"{KEYS}/{new['id']}"
    if by == "revoke":
        changed = await gateway.ask("POST", f"{path}/revoke")
        assert changed.json["state"] == "revoked"
    elif by == "rotate":
        changed = await gateway.ask("POST", f"{path}/rotate", json={"overlap_s": 0})
        assert (await gateway.images(headers=bearer(changed.json["key"]))).status == 200
    else:
        # No end is set in the past; it comes when time has passed.
        values = {"at": "2026-01-01T00:00:00.000Z", "id": new["id"]}
        await gateway.core.store.write(
            lambda conn: conn.execute("UPDATE api_key SET expires_at = :at WHERE id = :id", values).rowcount
        )
        changed = await gateway.ask("PATCH", path, json={"label": "renamed"})
        assert changed.json["state"] == "expired"
    assert changed.status == 200
    refused = await gateway.images(headers=bearer(new["key"]))
    assert (refused.status, refused.json["error"]["holdfast_code"]) == (401, "key_revoked")
    assert gateway.count("generation") >= 1


async def test_a_rotation_lets_old_and_new_see_the_same(gateway: Any) -> None:
    """Both are the one key: what was asked for with the old secret is collected with the new one."""
    new = await made(gateway)
    named = {**bearer(new["key"]), "Idempotency-Key": "one"}
    assert (await gateway.images(headers=named)).status == 200
    rotated = (await gateway.ask("POST", f"{KEYS}/{new['id']}/rotate")).json
    assert rotated["key"] != new["key"]
    assert [each["expires_at"] is None for each in rotated["secrets"]] == [True, False]
    replayed = await gateway.images(headers={**bearer(rotated["key"]), "Idempotency-Key": "one"})
    assert replayed.headers["idempotency-replayed"] == "true"
    assert (await gateway.ask("GET", "/v1/models", headers=bearer(new["key"]))).status == 200


async def test_a_change_counts_for_the_next_call(gateway: Any) -> None:
    """A scope that was taken away, and given back."""
    new = await made(gateway)
    path = f"{KEYS}/{new['id']}"
    assert (await gateway.images(headers=bearer(new["key"]))).status == 200
    assert (await gateway.ask("PATCH", path, json={"surfaces": ["chat"]})).json["surfaces"] == ["chat"]
    assert (await gateway.images(headers=bearer(new["key"]))).status == 403
    assert (await gateway.ask("PATCH", path, json={"surfaces": None})).json["surfaces"] is None
    assert (await gateway.images(headers=bearer(new["key"]))).status == 200


async def test_groups_are_made_changed_and_listed(gateway: Any) -> None:
    """A key is put into one by its label."""
    group = await gateway.ask("POST", GROUPS, json={"label": "resellers", "margin_share": 0.2})
    assert group.status == 201
    new = await made(gateway, group_id="resellers")
    assert new["group_id"] == group.json["id"]
    changed = await gateway.ask("PATCH", f"{GROUPS}/resellers", json={"spend_micros_per_day": 5})
    assert changed.json == {**group.json, "spend_micros_per_day": 5}
    assert (await gateway.ask("GET", GROUPS)).json["data"] == [changed.json]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "param"),
    [
        ("POST", KEYS, {}, 400, "label"),
        ("POST", KEYS, {"label": "x", "rate": 1}, 400, "rate"),
        ("POST", KEYS, {"label": "x", "group_id": "none such"}, 400, "group_id"),
        ("PATCH", f"{KEYS}/key_none", {"label": "x"}, 404, None),
        ("POST", f"{KEYS}/key_none/rotate", {}, 404, None),
        ("POST", f"{KEYS}/key_none/revoke", None, 404, None),
        ("GET", f"{KEYS}/key_none", None, 404, None),
        ("PATCH", f"{GROUPS}/none", {"margin_share": 1}, 404, None),
        ("POST", GROUPS, {"label": "x", "margin_share": "much"}, 400, "margin_share"),
    ],
)
async def test_what_cannot_be_is_told_as_a_problem(
    gateway: Any, method: str, path: str, body: Any, status: int, param: str | None
) -> None:
    """RFC 9457, with the field; nothing is changed, and nothing is in the log of changes."""
    answer = await gateway.ask(method, path, json=body)
    assert (answer.status, answer.json["param"]) == (status, param)
    assert answer.headers["content-type"] == "application/problem+json"
    assert gateway.count("api_key") == 1
    assert gateway.count("key_group") == 0
    assert noted_in(gateway) == []


async def test_the_last_admin_stays(gateway: Any) -> None:
    """Neither revoked nor demoted; with a second one it may go."""
    (first,) = (await gateway.ask("GET", KEYS)).json["data"]
    path = f"{KEYS}/{first['id']}"
    assert (await gateway.ask("POST", f"{path}/revoke")).status == 400
    assert (await gateway.ask("PATCH", path, json={"is_admin": False})).status == 400
    other = await made(gateway, is_admin=True)
    assert (await gateway.ask("POST", f"{path}/revoke", headers=bearer(other["key"]))).status == 200
    assert (await gateway.ask("GET", KEYS)).status == 401


async def test_only_an_admin_sees_keys(gateway: Any) -> None:
    """Another key of the same gateway has no business here, whatever its scopes."""
    new = await made(gateway)
    for method, path in (("GET", KEYS), ("POST", KEYS), ("PATCH", f"{KEYS}/{new['id']}"), ("GET", GROUPS)):
        answer = await gateway.ask(method, path, headers=bearer(new["key"]), json={"is_admin": True})
        assert (answer.status, answer.json["code"]) == (403, "admin_required")


async def test_every_change_is_noted_with_what_was_stated(gateway: Any) -> None:
    """And with nothing that is secret."""
    new = await made(gateway, label="Team")
    await gateway.ask("PATCH", f"{KEYS}/{new['id']}", json={"rate_per_min": 9})
    await gateway.ask("POST", f"{KEYS}/{new['id']}/rotate")
    await gateway.ask("POST", f"{KEYS}/{new['id']}/revoke")
    noted = noted_in(gateway)
    assert [(each.action, each.details) for each in noted] == [
        ("key.created", {"label": "Team"}),
        ("key.changed", {"rate_per_min": 9}),
        ("key.rotated", None),
        ("key.revoked", None),
    ]
    assert {each.target for each in noted} == {new["id"]}


async def test_commands_reach_a_gateway_that_runs(gateway: Any) -> None:
    """With what lies in its folder, and no key: made here, served there at once, and noted as the operator's."""
    code, new, _ = await holdfast(gateway, "keys", "create", "by command", "--rate", "5")
    assert code == 0
    assert (await gateway.images(headers=bearer(new["key"]))).status == 200
    code, listed, _ = await holdfast(gateway, "keys", "list")
    assert [each["label"] for each in listed["data"]] == ["first", "by command"]
    code, _, _ = await holdfast(gateway, "keys", "revoke", new["id"])
    assert code == 0
    assert (await gateway.images(headers=bearer(new["key"]))).status == 401
    assert {each.actor for each in noted_in(gateway)} == {"operator"}
    code, _, said = await holdfast(gateway, "keys", "revoke", "key_none")
    assert code == 2
    assert "There is no key" in said
    code, _, said = await holdfast(
        gateway, "keys", "list", "--base-url", gateway.running.base_url, "--api-key", "hf-wrong"
    )
    assert code == 6
    code, listed, _ = await holdfast(
        gateway, "keys", "list", "--base-url", gateway.running.base_url, "--api-key", gateway.key
    )
    assert code == 0
    assert len(listed["data"]) == 2
