"""schemathesis against the OpenAPI document that a running gateway serves: what is documented is what is answered.

Real processes: the gateway, the simulator as its upstream, and schemathesis with every check it has. Each operation is
called with data that fits its schema and with data that does not, with keys and without, and in sequences along the
document's links: create, get, follow, cancel, delete; register, rotate, list, delete. Nothing is paid.

What everybody may ask and what admins may ask are two runs beside each other, each against a gateway of its own: what
one of them makes, changes and revokes is not the other's.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx2
import pytest

SETTINGS = Path(__file__).with_name("schemathesis.toml")
WANDERING = Path(__file__).with_name("wandering.py")
WITHIN_S = 400.0
"""Some 35 s of CPU, and 20 s of another; the rest is for a machine that has other things to do."""

pytestmark = pytest.mark.timeout(WITHIN_S + 50.0)

ADMIN = "/admin/"
PARTS = {"everybody's": "--exclude-path-regex", "admins'": "--include-path-regex"}
"""What is asked in one run, as schemathesis is told by `ADMIN`."""
OPEN_HERE = {"/metrics"}
"""To this machine: nobody is turned away."""
SELDOM_REACHED = {"redeliver", "getProbe", "resolveExposure", "reconcile", "openSession", "changeKeyGroup"}
"""These take what a sequence seldom has at hand: a delivery, a probe that was named by its caller, an attempt of
unknown outcome, a provider's list. The tests in tests/integration/gateway have them: test_gateway_webhooks.py,
test_gateway_probes.py, test_admin_usage.py, test_admin_sessions.py, test_admin_keys.py."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of schemathesis, and what is left behind it."""

    status: int
    printed: str
    calls: list[dict[str, Any]]
    """Every request and its answer."""
    document: dict[str, Any]
    gateway: Any
    simulator: Any

    @property
    def is_admins(self) -> bool:
        """Whether the admin API was asked."""
        return any(call["label"].split()[1].startswith(ADMIN) for call in self.calls)

    def answered(self, label: str) -> Counter[int]:
        """How often an operation answered with each status."""
        return Counter(call["status"] for call in self.calls if call["label"] == label)


def calls_of(report: Path) -> Iterator[dict[str, Any]]:
    """Read every exchange of a report."""
    for line in report.read_text("utf-8").splitlines():
        (event,) = json.loads(line).values()
        recorder = event.get("recorder", {}) if isinstance(event, dict) else {}
        for id_, exchange in recorder.get("interactions", {}).items():
            case = recorder["cases"][id_]["value"]
            if exchange["response"] is not None:
                yield {
                    "label": f"{case['method'].upper()} {case['path']}",
                    "status": exchange["response"]["status_code"],
                    "code": code_of(exchange["response"]),
                    "phase": (case.get("meta") or {}).get("phase", {}).get("name"),
                }


def code_of(response: dict[str, Any]) -> str | None:
    """Give the code of an error."""
    if response["status_code"] < 400:
        return None
    told = json.loads(base64.b64decode(response["content"]["$base64"]))
    # OpenAI's and Google's dialects have codes of their own; ours stands beside them.
    told = told.get("error", told)
    details = told.get("details") or [{}]
    return str(told.get("holdfast_code") or details[0].get("reason", told["code"])).lower()


def run(part: str, processes: ModuleType, folder: Path, dsn: str) -> Run:
    """Ask a gateway of its own all that there is in one part."""
    simulator = processes.Simulator(folder)
    settings = processes.settings_for(simulator.base_url)
    settings["store"] = {"database": dsn}
    settings["drain"]["accept_s"] = 0
    settings["webhooks"] = {"allow_private": True, "allow_http": True}
    gateway = processes.Gateway(folder, settings)
    report = folder / "report.ndjson"
    program = Path(sys.executable).with_name("schemathesis")
    command = [str(program), "--config-file", str(SETTINGS), "run", f"{gateway.base_url}/openapi.json"]
    command += ["--checks", "all", PARTS[part], f"^{ADMIN}"]
    # A generation whose images were deleted is still told of; that a webhook is not: test_gateway_webhooks.py.
    command += ["--exclude-checks", "use_after_free"]
    command += ["--report", "ndjson", "--report-ndjson-path", str(report), "--output-sanitize", "false"]
    command += ["--header", f"Authorization: Bearer {gateway.key}"]
    environment = dict(os.environ) | {"SCHEMATHESIS_HOOKS": str(WANDERING)}
    try:
        made = [gateway.ended(make(gateway, at)) for at in range(MADE)]
        assert [each["status"] for each in made] == ["succeeded"] * MADE
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=WITHIN_S, check=False
        )
        with httpx2.Client(trust_env=False) as client:
            document = client.get(f"{gateway.base_url}/openapi.json").raise_for_status().json()
        return Run(
            status=done.returncode,
            printed=(done.stdout + done.stderr).replace(gateway.key, "the key"),
            calls=list(calls_of(report)),
            document=document,
            gateway=gateway,
            simulator=simulator,
        )
    except BaseException:
        gateway.stop()
        simulator.stop()
        raise
    finally:
        # 200 MB of answers: not for the next three runs to keep.
        report.unlink(missing_ok=True)


MADE = 3
"""Generations that are there before anything is asked: admins make none."""


def make(gateway: Any, at: int) -> str:
    """Have an image made; the id of its generation."""
    with httpx2.Client(trust_env=False) as client:
        answer = client.post(
            f"{gateway.base_url}/v1/generations",
            headers={"Authorization": f"Bearer {gateway.key}"},
            json={"prompt": f"A lighthouse, {at}", "model": "nano-banana-pro", "size": "1K"},
        )
    return str(answer.raise_for_status().json()["id"])


@pytest.fixture(scope="module")
def dsns(request: pytest.FixtureRequest) -> dict[str, str]:
    """Where the rows of each run are: its folder, or a PostgreSQL where the suite is run on that."""
    if os.environ.get("HOLDFAST_TEST_DATABASE") != "postgres":
        return dict.fromkeys(PARTS, "sqlite")
    server = request.getfixturevalue("postgres_server")
    return {part: server.emptied(f"conformance_{os.getpid()}_{at}") for at, part in enumerate(PARTS)}


@pytest.fixture(scope="module")
def runs(
    processes: ModuleType, tmp_path_factory: pytest.TempPathFactory, dsns: dict[str, str]
) -> Iterator[dict[str, Run]]:
    """Make each run once, for all tests of this file, beside the other."""
    folders = {part: tmp_path_factory.mktemp(f"schemathesis{at}") for at, part in enumerate(PARTS)}
    with ThreadPoolExecutor(len(PARTS)) as pool:
        futures = {part: pool.submit(run, part, processes, folders[part], dsns[part]) for part in PARTS}
    done = {part: future.result() for part, future in futures.items() if future.exception() is None}
    try:
        for future in futures.values():
            future.result()
        yield done
    finally:
        for each in done.values():
            each.gateway.stop()
            each.simulator.stop()
        for folder in folders.values():
            # The images themselves.
            shutil.rmtree(folder / "data", ignore_errors=True)


@pytest.fixture(params=PARTS)
def ran(request: pytest.FixtureRequest, runs: dict[str, Run]) -> Run:
    """Give one of them."""
    return runs[request.param]


def test_nothing_contradicts_the_document(ran: Run) -> None:
    """No undocumented status, type or schema, no 5xx, no refusal of what fits, no acceptance of what does not."""
    assert ran.status == 0, ran.printed[-12_000:]


def test_every_operation_was_asked(ran: Run) -> None:
    """In both ways: some calls succeed, others are refused."""
    for path, item in ran.document["paths"].items():
        if path == "/openapi.json":
            # schemathesis leaves out what it reads the document from; that it could is how all of this began.
            continue
        if path.startswith(ADMIN) is not ran.is_admins:
            continue
        for method, operation in item.items():
            seen = ran.answered(f"{method.upper()} {path}")
            assert sum(seen.values()) >= 3, (path, method, seen)
            if operation["operationId"] in SELDOM_REACHED:
                continue
            assert any(status < 300 for status in seen), (path, method, seen)
            if operation.get("security") != [] and path not in OPEN_HERE:
                assert seen[401], (path, method, seen)


def test_no_answer_is_a_fault_of_ours(ran: Run) -> None:
    """Not one 500 in some thousand calls, and nothing broke inside that nobody was told of."""
    assert len(ran.calls) > 1000
    # A price that the operator has not set is told as 503, and nothing else is in a gateway that serves.
    faults = [call for call in ran.calls if call["status"] >= 500]
    assert {(call["status"], call["code"]) for call in faults} <= {(503, "price_missing")}, faults[:5]
    assert "fault.internal" not in ran.gateway.logged()
    assert "Traceback" not in ran.gateway.logged()


WANTED = {
    "everybody's": (
        ("POST /v1/generations", 202),
        ("GET /v1/generations/{id}", 200),
        ("GET /v1/generations/{id}/events", 200),
        ("GET /v1/generations/{id}/events", 204),
        ("POST /v1/generations/{id}/cancel", 200),
        ("GET /v1/generations/{id}/images/{index}", 200),
        ("DELETE /v1/generations/{id}", 204),
        ("POST /v1/webhooks", 201),
        ("POST /v1/webhooks/{id}/rotate", 200),
        ("GET /v1/webhooks/{id}/deliveries", 200),
        ("DELETE /v1/webhooks/{id}", 204),
    ),
    "admins'": (
        ("GET /admin/v1/events", 200),
        ("GET /admin/v1/generations/{id}", 200),
        ("GET /admin/v1/generations/{id}/images/{index}", 200),
        ("DELETE /admin/v1/generations/{id}", 204),
        ("GET /admin/v1/usage", 200),
        ("GET /admin/v1/usage.csv", 200),
        ("POST /admin/v1/keys", 201),
        ("PATCH /admin/v1/keys/{id}", 200),
        ("POST /admin/v1/keys/{id}/rotate", 200),
        ("POST /admin/v1/keys/{id}/revoke", 200),
    ),
}


@pytest.mark.parametrize("part", PARTS)
def test_what_answers_gave_was_asked_for(runs: dict[str, Run], part: str) -> None:
    """Ids that nobody guesses: created, read, followed, cancelled, collected; registered, rotated, listed, deleted."""
    ran = runs[part]
    for label, status in WANTED[part]:
        assert ran.answered(label)[status], (label, ran.answered(label))
    in_sequence = {call["label"] for call in ran.calls if call["phase"] == "stateful" and call["status"] < 300}
    if not ran.is_admins:
        assert {"POST /v1/generations", "GET /v1/generations/{id}", "POST /v1/generations/{id}/cancel"} <= in_sequence


def test_wrong_keys_were_shown_from_many_addresses(ran: Run) -> None:
    """Or schemathesis would have waited for most of its time: see `wandering.py`."""
    refused = [json.loads(line) for line in ran.gateway.logged().splitlines() if '"key.refused"' in line]
    assert len({each["client"] for each in refused}) > len(refused) / 5


def test_the_books_balance_afterwards(ran: Run) -> None:
    """Something was bought at the simulator, and nothing is held once all of it has ended."""
    assert [row for row in ran.simulator.charges() if row["micros"]]
    until = time.monotonic() + 20.0
    while (sums := ran.gateway.ledger()).accounts["held"]:
        assert time.monotonic() < until, sums
        time.sleep(0.1)
    assert sums.hold, sums
