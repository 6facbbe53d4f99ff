"""schemathesis against the OpenAPI document that a running gateway serves: what is documented is what is answered.

Real processes: the gateway, the simulator as its upstream, and schemathesis with every check it has. Each operation is
called with data that fits its schema and with data that does not, with keys and without, and in sequences along the
document's links: create, get, follow, cancel; register, rotate, list, delete. Nothing is paid.

The admin API is left out: its event stream has no end, and what may be asked of it hangs on what is there (known
models, moments in order), which a schema cannot say. tests/integration/gateway/test_admin_*.py ask it.
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
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx2
import pytest

SETTINGS = Path(__file__).with_name("schemathesis.toml")
WITHIN_S = 400.0
"""Some 35 s of CPU; the rest is for a machine that has other things to do."""

pytestmark = pytest.mark.timeout(WITHIN_S + 50.0)

ADMIN = "/admin/"
OPEN_HERE = {"/metrics"}
"""To this machine: nobody is turned away."""
SELDOM_REACHED = {"redeliver", "getProbe"}
"""These take a delivery, or a probe that was named by its caller, which a sequence seldom has at hand; the tests in
tests/integration/gateway have them: test_gateway_webhooks.py, test_gateway_probes.py."""


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


@pytest.fixture(scope="module")
def ran(processes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Run it once, for all tests of this file."""
    folder = tmp_path_factory.mktemp("schemathesis")
    simulator = processes.Simulator(folder)
    settings = processes.settings_for(simulator.base_url)
    settings["webhooks"] = {"allow_private": True, "allow_http": True}
    gateway = processes.Gateway(folder, settings)
    report = folder / "report.ndjson"
    program = Path(sys.executable).with_name("schemathesis")
    command = [
        str(program),
        "--config-file",
        str(SETTINGS),
        "run",
        f"{gateway.base_url}/openapi.json",
        "--checks",
        "all",
    ]
    command += ["--exclude-path-regex", f"^{ADMIN}"]
    command += ["--checks", "all", "--header", f"Authorization: Bearer {gateway.key}"]
    command += ["--report", "ndjson", "--report-ndjson-path", str(report), "--output-sanitize", "false"]
    try:
        done = subprocess.run(
            command, cwd=folder, env=dict(os.environ), capture_output=True, text=True, timeout=WITHIN_S, check=False
        )
        printed = done.stdout + done.stderr
        with httpx2.Client(trust_env=False) as client:
            document = client.get(f"{gateway.base_url}/openapi.json").raise_for_status().json()
        yield Run(
            status=done.returncode,
            printed=printed.replace(gateway.key, "the key"),
            calls=list(calls_of(report)),
            document=document,
            gateway=gateway,
            simulator=simulator,
        )
    finally:
        gateway.stop()
        simulator.stop()
        # 200 MB of answers, and the images themselves: not for the next three runs to keep.
        report.unlink(missing_ok=True)
        shutil.rmtree(folder / "data")


def test_nothing_contradicts_the_document(ran: Run) -> None:
    """No undocumented status, type or schema, no 5xx, no refusal of what fits, no acceptance of what does not."""
    assert ran.status == 0, ran.printed[-12_000:]


def test_every_operation_was_asked(ran: Run) -> None:
    """In both ways: some calls succeed, others are refused."""
    for path, item in ran.document["paths"].items():
        if path == "/openapi.json":
            # schemathesis leaves out what it reads the document from; that it could is how all of this began.
            continue
        if path.startswith(ADMIN):
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


def test_what_answers_gave_was_asked_for(ran: Run) -> None:
    """Ids that nobody guesses: created, read, followed, cancelled, collected; registered, rotated, listed, deleted."""
    for label, status in (
        ("POST /v1/generations", 202),
        ("GET /v1/generations/{id}", 200),
        ("GET /v1/generations/{id}/events", 200),
        ("GET /v1/generations/{id}/events", 204),
        ("POST /v1/generations/{id}/cancel", 200),
        ("GET /v1/generations/{id}/images/{index}", 200),
        ("POST /v1/webhooks", 201),
        ("POST /v1/webhooks/{id}/rotate", 200),
        ("GET /v1/webhooks/{id}/deliveries", 200),
        ("DELETE /v1/webhooks/{id}", 204),
    ):
        assert ran.answered(label)[status], (label, ran.answered(label))
    in_sequence = {call["label"] for call in ran.calls if call["phase"] == "stateful" and call["status"] < 300}
    assert {"POST /v1/generations", "GET /v1/generations/{id}", "POST /v1/generations/{id}/cancel"} <= in_sequence


def test_the_books_balance_afterwards(ran: Run) -> None:
    """Something was bought at the simulator, and nothing is held once all of it has ended."""
    assert [row for row in ran.simulator.charges() if row["micros"]]
    until = time.monotonic() + 20.0
    while (sums := ran.gateway.ledger()).accounts["held"]:
        assert time.monotonic() < until, sums
        time.sleep(0.1)
    assert sums.hold, sums
