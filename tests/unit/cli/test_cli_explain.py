"""`holdfast explain` tells how one generation came about: every attempt, every decision with its figures, all money."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli.exits import Exit
from holdfast.cli.explain import REASONS
from holdfast.cli.main import main
from holdfast.policy.retry import GiveUpReason
from holdfast.store.attempts import begin_attempt, end_attempt
from holdfast.store.exposure import Cap
from holdfast.store.generations import accept
from holdfast.store.records import AttemptEnd, NewAttempt, NewBlob, NewGeneration
from holdfast.store.sqlite import SqliteStore
from holdfast.types import Charge, Failure, FailureKind, ImageInfo, Phase

Run = Callable[..., tuple[int, str, str]]
BUSY = Failure(
    kind=FailureKind.OVERLOADED,
    phase=Phase.RECEIVE,
    charge=Charge.NO,
    detail="google answered 503 UNAVAILABLE",
    retry_after_s=34.0,
    status=503,
    reason="MODEL_CAPACITY_EXHAUSTED",
)
TO_VERTEX = {
    "follows": "fallback",
    "reason": "overloaded",
    "after_s": 0,
    "to": {"upstream": "vertex", "model": "gemini-3-pro-image", "size": "4K"},
    "remaining_s": 563.2,
    "expected_s": 120.0,
    "budget_left": 2.9,
}


def clock(seconds: float) -> str:
    """A moment after noon."""
    return f"2026-01-17T12:{int(seconds) // 60:02d}:{seconds % 60:06.3f}Z"


def an_attempt(number: int, upstream: str, at_s: float) -> NewAttempt:
    """One that is sent."""
    return NewAttempt(
        id=f"att_{number}",
        generation_id="gen_1",
        part=0,
        drive=0,
        upstream=upstream,
        provider="gemini",
        model="gemini-3-pro-image",
        idempotency_key="",
        estimated_micros=240_000,
        owner="me",
        sent_at=clock(at_s),
    )


def an_end(number: int, at_s: float, **more: Any) -> AttemptEnd:
    """What becomes of it."""
    return AttemptEnd(attempt_id=f"att_{number}", at=clock(at_s), purge_after=clock(3000), **more)


def a_generation(id_: str) -> NewGeneration:
    """One image of 4K."""
    return NewGeneration(
        id=id_,
        key_id="key_1",
        surface="openai",
        model="nano-banana-pro",
        tier="4K",
        size="4096x4096",
        n=1,
        parts=1,
        request=b'{"prompt": "a secret lighthouse"}',
        deadline_at=clock(600),
        hard_deadline=False,
        created_at=clock(0),
        currency="USD",
        unit_micros=240_000,
        held_micros=240_000,
        list_micros=240_000,
    )


def a_blob(id_: str) -> NewBlob:
    """An image that came."""
    info = ImageInfo(mime="image/png", width_px=4096, height_px=4096, bytes=20_100_000, sha256="0" * 64)
    return NewBlob(id=id_, kind="result", position=0, store_key=f"2026/01/17/{id_}.png", info=info)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A generation that was turned away by one upstream, and served by the next."""
    new = a_generation("gen_1")
    with closing(SqliteStore(tmp_path / "holdfast.sqlite3", "me")) as store:
        store.write_sync(accept, new)
        store.write_sync(begin_attempt, an_attempt(1, "google", 35.0))
        store.write_sync(end_attempt, an_end(1, 36.8, failure=BUSY, retry_at=clock(36.8)))
        store.write_sync(begin_attempt, an_attempt(2, "vertex", 36.9))
        store.write_sync(end_attempt, an_end(2, 160.0, blobs=(a_blob("img_1"),)))
    return tmp_path


@pytest.fixture
def explain(folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command on the folder; give how it ended and what it wrote."""

    def run(*words: str) -> tuple[int, str, str]:
        code = main(["explain", *words, "--data", str(folder)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def note(folder: Path, number: int, decision: dict[str, Any] | None, *, key_number: int | None = 1) -> None:
    """Write a decision down as the engine does."""
    with closing(sqlite3.connect(folder / "holdfast.sqlite3")) as conn, conn:
        text = None if decision is None else json.dumps(decision)
        values = (text, key_number, f"att_{number}")
        conn.execute("UPDATE attempt SET decision = ?, key_number = ? WHERE id = ?", values)


def test_the_story_is_told_in_the_order_of_time(explain: Run, folder: Path) -> None:
    """Accepted, priced, sent, turned away, decided, sent elsewhere, stored, paid, ended."""
    note(folder, 1, TO_VERTEX)
    code, out, err = explain("gen_1")
    assert (code, err) == (Exit.OK, "")
    lines = out.splitlines()
    assert lines[0] == "gen_1: nano-banana-pro 4K, succeeded; 2 attempts; charged 0.24 USD"
    told = [
        "accepted over openai: nano-banana-pro, 1 image of 4096x4096; the deadline is 600 s away",
        "priced at 0.24 USD an image; queued",
        "the customer's money: held 0.24 USD",
        "attempt 1: sent to google with key 1 (model gemini-3-pro-image), after 35.0 s in line",
        "attempt 1: 503 overloaded (MODEL_CAPACITY_EXHAUSTED): google answered 503 UNAVAILABLE, asked to come again "
        "after 34 s; it took 1.8 s; not charged",
        "fallback to vertex (gemini-3-pro-image, 4K) at once: key 1 of google rests 34 s by the upstream's hint; "
        "563.2 s left before the deadline, 120.0 s expected for the next attempt, budget for 2.9 repeats",
        "attempt 2: sent to vertex (model gemini-3-pro-image)",
        "attempt 2: brought its image after 123.1 s: 4096x4096 image/png, 20.1 MB; charged",
        "succeeded 160.0 s after it was accepted",
        "the provider's side of attempt 2: 0.24 USD to provider_cost",
    ]
    places = [next((at for at, line in enumerate(lines) if line.endswith(text)), -1) for text in told]
    assert -1 not in places, f"not told: {told[places.index(-1)]!r}\n{out}"
    assert places == sorted(places)
    assert "12:00:35.000   +35.0 s  attempt 1: sent" in out


def test_nothing_that_was_asked_is_shown(explain: Run) -> None:
    """A story is passed on; a prompt is its caller's."""
    for words in (("gen_1",), ("gen_1", "--json")):
        assert "lighthouse" not in explain(*words)[1]


def test_the_story_is_json_too(explain: Run, folder: Path) -> None:
    """With every step by itself, and the decisions as they were written down."""
    note(folder, 1, TO_VERTEX)
    told = json.loads(explain("gen_1", "--json")[1])
    assert (told["generation_id"], told["state"], told["sends"], told["joins"]) == ("gen_1", "succeeded", 2, 0)
    assert told["decisions"] == [{"attempt": 1, "decision": TO_VERTEX}]
    kinds = [step["what"] for step in told["steps"]]
    assert kinds[:2] == ["accepted", "priced"]
    assert {"sent", "failed", "decided", "stored", "money", "ended"} <= set(kinds)
    assert [step["at"] for step in told["steps"]] == sorted(step["at"] for step in told["steps"])
    assert [step["attempt"] for step in told["steps"] if step["what"] == "sent"] == [1, 2]


def test_a_record_without_decisions_is_told_by_what_it_shows(explain: Run, folder: Path) -> None:
    """From before they were written down."""
    note(folder, 1, None, key_number=None)
    out = explain("gen_1")[1]
    assert "attempt 1: sent to google (model gemini-3-pro-image)" in out
    assert "tried again 0.0 s later" in out


DECISIONS: list[tuple[dict[str, Any], str]] = [
    (
        {**TO_VERTEX, "follows": "retry", "after_s": 2.5, "to": {"upstream": "google"}},
        "retry at google in 2.5 s; 563.2 s left",
    ),
    (
        {**TO_VERTEX, "follows": "wait", "after_s": 34.0, "to": {"upstream": "google"}},
        "wait for google, in 34.0 s by the upstream's hint: key 1 rests; 563.2 s left",
    ),
    (
        {**TO_VERTEX, "follows": "wait", "after_s": 0, "to": {"upstream": "google"}},
        "another key of google takes over at once: key 1 rests 34 s by the upstream's hint",
    ),
    (
        {**TO_VERTEX, "follows": "fallback", "after_s": 3.0},
        "fallback to vertex (gemini-3-pro-image, 4K) in 3.0 s: key 1 of google rests",
    ),
    (
        {"follows": "give_up", "reason": "deadline_too_close", "after_s": None, "to": None, "remaining_s": 12.0},
        "nothing more is tried: another attempt could not end before the deadline; 12.0 s left before the deadline",
    ),
    (
        {"follows": "give_up", "reason": "something_new", "after_s": None, "to": None},
        "nothing more is tried: something_new; no figures were noted",
    ),
    (
        {**TO_VERTEX, "skipped": [{"upstream": "relay", "model": "m", "size": "4K", "reason": "it has no 4K"}]},
        "; relay (m) cannot serve it: it has no 4K",
    ),
    ({"follows": "dance"}, "what follows is dance, which this version does not know"),
]


@pytest.mark.parametrize(("decision", "told"), DECISIONS, ids=[told for _, told in DECISIONS])
def test_each_decision_is_told_with_its_reason(explain: Run, folder: Path, decision: dict[str, Any], told: str) -> None:
    """In plain words, with the figures of that moment."""
    note(folder, 1, decision)
    assert told in explain("gen_1")[1]


def test_every_reason_to_give_up_has_words() -> None:
    """A new one needs some."""
    assert {reason.value for reason in GiveUpReason} <= set(REASONS)


def test_joins_and_waiting_callers_are_told(explain: Run, folder: Path) -> None:
    """How many repeats were given this one; who waits is told while it is open."""
    with closing(sqlite3.connect(folder / "holdfast.sqlite3")) as conn, conn:
        conn.execute("UPDATE generation SET joins = 2, callers = 1, finished_at = NULL, state = 'running'")
    out = explain("gen_1")[1]
    assert "2 repeats were given this generation instead of another purchase" in out
    assert "1 caller waiting for it when that was last noted" in out


def test_a_failure_is_told_as_its_caller_was(explain: Run, folder: Path) -> None:
    """Code, message, and whether it may have been charged."""
    failure = json.dumps({"code": "overloaded", "message": "google answered 503", "charge": "no"})
    with closing(sqlite3.connect(folder / "holdfast.sqlite3")) as conn, conn:
        conn.execute("UPDATE generation SET state = 'failed', failure = ?", (failure,))
    assert "failed 160.0 s after it was accepted: overloaded, google answered 503; not charged" in explain("gen_1")[1]


def test_webhooks_are_told(explain: Run, folder: Path) -> None:
    """To whom, with what success."""
    with closing(sqlite3.connect(folder / "holdfast.sqlite3")) as conn, conn:
        conn.execute(
            "INSERT INTO webhook_endpoint (id, key_id, url, secret_number, created_at) "
            "VALUES ('whk_1', 'key_1', ?, 1, ?)",
            ("https://hooks.example/x", clock(0)),
        )
        conn.execute(
            "INSERT INTO webhook_delivery (id, endpoint_id, key_id, url, generation_id, drive, type, state, tries, "
            "last_status, created_at, ended_at) VALUES "
            "('msg_1', 'whk_1', 'key_1', NULL, 'gen_1', 0, 'generation.succeeded', 'delivered', 2, 200, ?, ?)",
            (clock(160), clock(171)),
        )
    out = explain("gen_1")[1]
    assert "webhook generation.succeeded to endpoint whk_1: delivered after 2 tries, last answer 200" in out


def test_an_unknown_generation_ends_with_one_line(explain: Run, folder: Path) -> None:
    """And the exit code of a request that is not possible as written."""
    code, out, err = explain("gen_9")
    assert (code, out) == (Exit.USAGE, "")
    assert err == f"holdfast: There is no generation gen_9 in {folder}.\n"


def test_a_folder_without_a_database_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As `ledger show` does."""
    assert main(["explain", "gen_1", "--data", str(tmp_path / "absent")]) == Exit.FOLDER_LOCKED
    assert "There is no database" in capsys.readouterr().err


def test_a_second_attempt_is_told_with_its_reason(folder: Path, explain: Run) -> None:
    """Why it was made, that one of the two failed beside the other, and what the loser brought."""
    because = {"elapsed_s": 171.5, "slow_s": 170.0, "chance": 0.18, "expected_s": 120.0, "remaining_s": 428.5}
    with closing(SqliteStore(folder / "holdfast.sqlite3", "me")) as store:
        store.write_sync(accept, a_generation("gen_2"))
        first, second = (
            replace(an_attempt(number, name, at_s), id=f"att_{number}", generation_id="gen_2")
            for number, name, at_s in ((3, "google", 1.0), (4, "vertex", 172.5))
        )
        second = replace(second, hedge=1, because=because | {"budget_left": 1.2})
        store.write_sync(begin_attempt, first)
        store.write_sync(begin_attempt, second, Cap(model="nano-banana-pro", micros=10**9))
        store.write_sync(end_attempt, an_end(4, 280.0, blobs=(a_blob("img_2"),)))
        store.write_sync(end_attempt, an_end(3, 290.0, blobs=(a_blob("img_3"),)))
    out = explain("gen_2")[1]
    assert (
        "a second attempt: the first one is at work for 171.5 s, and slow from 170.0 s on; the second one is first in "
        "18 of 100 cases, 120.0 s expected, 428.5 s left before the deadline, budget for 1.2 of them" in out
    )
    assert "attempt 2: sent to vertex (model gemini-3-pro-image)\n" in out
    assert "attempt 2: brought its image after 107.5 s" in out
    assert "attempt 1: brought an extra (another attempt was first) after 289.0 s" in out
    assert "the provider's side of attempt 1: 0.24 USD to extra_images" in out
    steps = [step for step in json.loads(explain("gen_2", "--json")[1])["steps"] if step.get("attempt") == 2]
    assert [step["what"] for step in steps] == ["decided", "sent", "stored", "money"]


def test_one_of_two_that_fails_is_told_as_no_end(folder: Path, explain: Run) -> None:
    """The other one goes on."""
    note(folder, 1, {"follows": "give_up", "reason": "other_in_flight", "after_s": None, "to": None})
    out = explain("gen_1")[1]
    assert "the attempt beside it is still in flight, and goes on" in out
    assert "nothing more is tried" not in out
