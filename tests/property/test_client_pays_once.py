"""Whatever a server does, a call ends, keeps its key, and buys at most once where buying cannot be joined."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from holdfast.client import defaults as d
from holdfast.client.address import Server
from holdfast.client.steps import Cause, Finished, Purpose, Raise, Send, Step, Wait
from holdfast.types import Charge, Phase

# Tests are no package: what is shared is loaded from its file.
_spec = importlib.util.spec_from_file_location(
    "client_kit", Path(__file__).resolve().parents[1] / "unit" / "client" / "conftest.py"
)
assert _spec is not None
assert _spec.loader is not None
kit = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = kit
_spec.loader.exec_module(kit)

UNPAID = {"refused", "busy", "quota", "bad"}
"""What a plain server may do to a POST that certainly cost nothing."""


def said(name: str) -> Any:
    """Make what a server does."""
    return {
        "refused": lambda: kit.REFUSED,
        "busy": lambda: kit.plain_error(503),
        "quota": lambda: kit.plain_error(429, retry_after="2"),
        "bad": lambda: kit.plain_error(400),
        "cut": kit.cut,
        "silence": lambda: kit.cut(Phase.WAIT, Cause.TIMEOUT),
        "half": lambda: kit.HeadThenCut(kit.a_head(), kit.cut(Phase.RECEIVE)),
        "half of ours": lambda: kit.HeadThenCut(kit.a_head(generation_id=kit.GENERATION), kit.cut(Phase.RECEIVE)),
        "page": lambda: kit.error(502),
        "fault": lambda: kit.plain_error(500),
        "image": kit.images,
        "our image": lambda: kit.images(generation_id=kit.GENERATION),
        "links": lambda: kit.links("http://h:1/i.png"),
        "accepted": lambda: kit.stands("running", code=202),
        "running": lambda: kit.stands("running"),
        "succeeded": lambda: kit.stands("succeeded"),
        "failed": lambda: kit.stands(
            "failed", error={"code": "upstream_failed", "message": "m", "paid": "unknown", "retryable": False}
        ),
        "overloaded": lambda: kit.stands(
            "failed", error={"code": "overloaded", "message": "m", "paid": "no", "retryable": True}
        ),
        "draining": lambda: kit.holdfast_error("draining", retryable=True, retry_after="1"),
        "found": lambda: kit.listed(kit.resource("running")),
        "not found": lambda: kit.listed(),
        "unheard of": lambda: kit.plain_error(404),
        "file": kit.file,
        "wrong file": lambda: kit.file("cd" * 32),
        "half a file": lambda: kit.HeadThenCut(
            kit.a_head(200, "image/png", etag='"e"'), kit.cut(Phase.RECEIVE, received_bytes=100)
        ),
    }[name]()


EVERYWHERE = ["refused", "cut", "silence", "page", "busy", "fault"]
FITTING = {
    Purpose.SUBMIT: [
        *EVERYWHERE,
        *("quota", "bad", "half", "half of ours", "image", "our image", "links", "accepted", "draining"),
    ],
    Purpose.FIND: [*EVERYWHERE, "found", "not found", "unheard of"],
    Purpose.POLL: [*EVERYWHERE, "running", "succeeded", "failed", "overloaded", "unheard of"],
    Purpose.IMAGE: [*EVERYWHERE, "file", "wrong file", "half a file", "unheard of"],
}


def play(drive: Any, choices: st.DataObject, fitting: Any) -> tuple[Step, list[tuple[Send, str]]]:
    """Let a server do what it likes, for as long as it is asked."""
    step: Step = drive.call.start(drive.now_s)
    played: list[tuple[Send, str]] = []
    for _ in range(3000):
        match step:
            case Send():
                # After a while it makes up its mind, so that examples stay small.
                names = fitting[step.purpose]
                name = choices.draw(st.sampled_from(names)) if len(played) < 30 else "refused"
                played.append((step, name))
                step = drive._said(said(name))
            case Wait():
                assert 0.0 <= step.after_s <= drive.call.options.timeouts.total_s
                drive.now_s += step.after_s
                step = drive.call.woke(drive.now_s)
            case Finished() | Raise():
                return step, played
    raise AssertionError("it goes on for ever")


@given(choices=st.data(), server=st.sampled_from([None, *Server]))
def test_every_call_ends_in_its_time_with_its_key(choices: st.DataObject, server: Server | None) -> None:
    """Always an image or an exception with key and charge; never more POSTs than the bound, all of them the same."""
    drive = kit.a_drive(server)
    step, played = play(drive, choices, FITTING)
    posts = [send for send, _ in played if send.purpose is Purpose.SUBMIT]
    assert len(posts) <= d.SUBMITS_MAX
    assert {dict(post.ask.headers)["Idempotency-Key"] for post in posts} == {kit.KEY}
    assert len({post.ask.body for post in posts}) == 1
    assert drive.now_s <= 1000.0 + drive.call.options.timeouts.total_s + 2 * drive.exchange_s
    if isinstance(step, Raise):
        assert step.error.idempotency_key == kit.KEY
        assert step.error.paid in tuple(Charge)
    else:
        assert isinstance(step, Finished)
        assert step.results


@given(choices=st.data(), server=st.sampled_from([Server.OPENAI, Server.GEMINI]))
def test_a_plain_server_is_never_paid_twice(choices: st.DataObject, server: Server) -> None:
    """Behind a POST that may have been charged there is no other one, and what is raised then does not say "no"."""
    fitting = {
        **FITTING,
        Purpose.SUBMIT: ["refused", "busy", "quota", "bad", "cut", "silence", "half", "page", "fault"],
    }
    drive = kit.a_drive(server)
    step, played = play(drive, choices, fitting)
    names = [name for send, name in played if send.purpose is Purpose.SUBMIT]
    assert all(name in UNPAID for name in names[:-1])
    assert isinstance(step, Raise)
    if names[-1] not in UNPAID:
        assert step.error.paid is not Charge.NO


@given(choices=st.data())
def test_an_unknown_server_is_asked_again_only_where_that_joins(choices: st.DataObject) -> None:
    """After a cut a second POST goes out only once holdfast has said that it has none of this key."""
    drive = kit.a_drive()
    _, played = play(drive, choices, FITTING)
    for at, (send, _) in enumerate(played):
        if send.purpose is not Purpose.SUBMIT or at == 0:
            continue
        before, name = played[at - 1]
        if before.purpose is Purpose.SUBMIT:
            # `refused` may follow a cut of before, once the key was found to be unknown.
            assert name in {*UNPAID, "draining"}
        else:
            assert name in {"not found", "overloaded"}
