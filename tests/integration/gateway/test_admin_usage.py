"""Usage, previews and reconciliation over the admin API of a gateway that runs: for admins only, and noted."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import subprocess
import sys
from typing import Any

import pytest

from holdfast.clock import ulid
from holdfast.store.attempts import begin_attempt, end_attempt
from holdfast.store.audit import audit
from holdfast.store.audit_log import entries
from holdfast.store.generations import accept
from holdfast.store.records import AttemptEnd, NewAttempt, NewGeneration
from holdfast.types import Charge, Failure, FailureKind, Phase

LOST = Failure(kind=FailureKind.LOST_REPLY, phase=Phase.WAIT, charge=Charge.UNKNOWN, detail="lost")
ID = ulid(1_768_651_200_000, bytes(10))
SPAN = "upstream=relay&since=2026-01-17&until=2026-01-17"


async def lose(gateway: Any) -> str:
    """A generation of January of which nobody knows the outcome; give its attempt."""
    at = "2026-01-17T12:00:{}.000Z".format
    new = NewGeneration(
        id=f"gen_{ID}",
        key_id="key_long_ago",
        surface="openai",
        model="nano-banana-pro",
        tier="4K",
        size="4096x4096",
        n=1,
        parts=1,
        request=b"{}",
        deadline_at="later",
        hard_deadline=False,
        created_at=at("00"),
        currency="USD",
        unit_micros=300_000,
        held_micros=300_000,
        list_micros=240_000,
    )
    store = gateway.core.store
    attempt = NewAttempt(
        id=f"att_{ID}",
        generation_id=new.id,
        part=0,
        drive=0,
        upstream="relay",
        provider="openai",
        model="m",
        idempotency_key="",
        estimated_micros=240_000,
        owner="me",
        sent_at=at("01"),
    )
    await store.write(accept, new)
    await store.write(begin_attempt, attempt)
    await store.write(end_attempt, AttemptEnd(attempt_id=attempt.id, at=at("30"), purge_after="z", failure=LOST))
    return attempt.id


async def send(gateway: Any, query: str, export: bytes) -> Any:
    """Send a provider's list."""
    headers = {"Authorization": f"Bearer {gateway.key}", "Content-Type": "text/csv"}
    return await gateway.ask("POST", f"/admin/v1/reconcile?{query}", data=export, headers=headers)


def exposed(gateway: Any) -> int:
    """What is unknown; the ledger holds, and the days of usage agree with it."""
    found = gateway.read(audit)
    assert found.problems == ()
    return int(found.accounts.get("unknown_exposure", 0))


async def test_what_was_just_made_is_in_today_s_usage(gateway: Any) -> None:
    """In the transaction that ended it; as JSON and as CSV."""
    assert (await gateway.images()).status == 200
    answer = await gateway.ask("GET", "/admin/v1/usage?by=model,outcome")
    assert answer.status == 200
    (row,) = answer.json["rows"]
    assert (row["outcome"], row["generations"], row["images"]) == ("succeeded", 1, 1)
    assert row["charged_micros"] > 0
    assert "key_id" not in row
    sheet = await gateway.ask("GET", "/admin/v1/usage.csv?by=model,outcome&days=1")
    assert sheet.headers["content-type"] == "text/csv; charset=utf-8"
    assert sheet.headers["content-disposition"] == 'attachment; filename="usage.csv"'
    (line,) = csv.DictReader(io.StringIO(sheet.body.decode()))
    assert (line["model"], line["generations"]) == (row["model"], "1")
    assert float(line["charged"]) == row["charged_micros"] / 1e6


async def test_a_preview_takes_rules_as_the_settings_have_them(gateway: Any) -> None:
    """And refuses what they refuse, with both of two that overlap."""
    assert (await gateway.images()).status == 200
    rules = [{"when": "slow", "slower_than_s": 0, "share": 0.5}]
    answer = await gateway.ask("POST", "/admin/v1/compensation/preview", json={"compensation": rules})
    assert answer.status == 200
    assert answer.json["generations"] == 1
    assert answer.json["would_give_micros"] * 2 == answer.json["charged_micros"]
    assert [rule["rule"] for rule in answer.json["rules"]] == ["slow"]
    refused = await gateway.ask("POST", "/admin/v1/compensation/preview", json={"compensation": rules * 2})
    assert refused.status == 400
    assert "compensation[0] and compensation[1] overlap" in refused.json["detail"]
    assert (await gateway.ask("POST", "/admin/v1/compensation/preview", json={"days": 7})).status == 400


async def test_a_list_is_compared_and_what_turns_out_is_written_once(gateway: Any) -> None:
    """With a line in the log of changes for the list and one for each attempt."""
    attempt_id = await lose(gateway)
    export = f"id,created_at,cost\n{attempt_id},2026-01-17T12:00:30Z,0.25\n".encode()
    answer = await send(gateway, SPAN, export)
    assert answer.status == 200
    assert (answer.json["counts"]["unknown_charged"], answer.json["resolved"]) == (1, 0)
    assert exposed(gateway) == 240_000
    answer = await send(gateway, f"{SPAN}&resolve=named", export)
    assert (answer.status, answer.json["resolved"]) == (200, 1)
    assert exposed(gateway) == 0
    noted = gateway.read(lambda conn: entries(conn, limit=10))
    # One commit's lines have no order among themselves.
    assert sorted((each.action, each.target) for each in noted) == [
        ("exposure.reconciled", "relay"),
        ("exposure.resolved", attempt_id),
    ]
    again = await send(gateway, f"{SPAN}&resolve=named", export)
    assert again.json["resolved"] == 0


async def test_one_attempt_is_resolved_by_hand(gateway: Any) -> None:
    """Free; a second time it is refused, and nothing is noted."""
    path = f"/admin/v1/attempts/{await lose(gateway)}/resolve"
    answer = await gateway.ask("POST", path, json={"micros": None})
    assert (answer.status, answer.json["exposed_micros"], answer.json["cost_micros"]) == (200, 240_000, 0)
    assert exposed(gateway) == 0
    (noted,) = gateway.read(lambda conn: entries(conn, limit=10))
    assert noted.details == {"micros": None}
    again = await gateway.ask("POST", path, json={"micros": 1})
    assert again.status == 400
    assert "only one of unknown outcome" in again.json["detail"]
    assert len(gateway.read(lambda conn: entries(conn, limit=10))) == 1
    assert (await gateway.ask("POST", path, json={"micros": -1})).status == 400


async def test_how_it_is_known_stands_in_the_log_of_changes(gateway: Any) -> None:
    """By hand and by a list, with each attempt; one that is too long changes nothing."""
    first = await lose(gateway)
    path = f"/admin/v1/attempts/{first}/resolve"
    refused = await gateway.ask("POST", path, json={"micros": 1, "reason": "x" * 501})
    assert (refused.status, refused.json["param"]) == (400, "reason")
    (unknown,) = (await gateway.ask("GET", "/admin/v1/exposure")).json["unknown"]
    assert unknown["attempt_id"] == first
    export = f"id,created_at,cost\n{first},2026-01-17T12:00:30Z,0.25\n".encode()
    refused = await send(gateway, f"{SPAN}&resolve=named&reason={'x' * 501}", export)
    assert (refused.status, refused.json["param"]) == (400, "reason")
    assert exposed(gateway) == 240_000
    assert (await send(gateway, f"{SPAN}&resolve=named&reason=the+export", export)).json["resolved"] == 1
    noted = gateway.read(lambda conn: entries(conn, limit=10))
    assert [each.details["reason"] for each in noted] == ["the export", "the export"]
    assert (await gateway.ask("GET", "/admin/v1/exposure")).json["unknown"] == []


async def test_the_command_resolves_through_the_gateway_that_has_the_folder(gateway: Any) -> None:
    """Only one process ever writes a database."""
    attempt_id = await lose(gateway)
    file = gateway.data / "export.csv"
    file.write_text(f"id\n{attempt_id}\n")
    words = ["--upstream", "relay", "--since", "2026-01-17", "--until", "2026-01-17", "--resolve", "named", "--json"]
    command = [sys.executable, "-m", "holdfast.cli.main", "usage", "reconcile", str(file), *words]
    command += ["--data", str(gateway.data)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["resolved"] == 1
    assert exposed(gateway) == 0


@pytest.mark.parametrize(
    ("method", "path", "told"),
    [
        ("GET", "/admin/v1/usage?by=colour", "cannot be broken down by 'colour'"),
        ("GET", "/admin/v1/usage?since=never", "since is 'never'"),
        ("GET", "/admin/v1/usage?colour=red", "colour"),
        ("POST", "/admin/v1/reconcile", "Name the upstream"),
        ("POST", "/admin/v1/reconcile?upstream=relay&since=2026-01-17", "Give both since and until"),
        ("POST", "/admin/v1/reconcile?upstream=relay&per_unit=x", "per_unit is 'x'"),
        ("POST", "/admin/v1/reconcile?upstream=relay&columns=x", "names no column"),
        ("POST", "/admin/v1/reconcile?upstream=relay", "The export is empty"),
    ],
)
async def test_what_cannot_be_meant_is_a_problem_document(gateway: Any, method: str, path: str, told: str) -> None:
    """With what to write instead."""
    answer = await gateway.ask(method, path)
    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert told in answer.json["detail"]


async def test_none_of_it_is_for_another_key(gateway: Any) -> None:
    """A key that is no admin's is told so, whatever it asks."""
    made = await gateway.ask("POST", "/admin/v1/keys", json={"label": "plain"})
    plain = {"Authorization": f"Bearer {made.json['key']}"}
    for method, path in [
        ("GET", "/admin/v1/usage"),
        ("GET", "/admin/v1/usage.csv"),
        ("POST", "/admin/v1/compensation/preview"),
        ("POST", "/admin/v1/reconcile?upstream=relay"),
        ("POST", "/admin/v1/attempts/att_x/resolve"),
    ]:
        answer = await gateway.ask(method, path, headers=plain)
        assert (answer.status, answer.json["code"]) == (403, "admin_required"), path
