"""What the engine decides from values: price and parts, what may be delivered, what a failure of ours is told as."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from holdfast.clock import from_rfc3339
from holdfast.config import Settings, parse
from holdfast.engine.attempt import Attempted
from holdfast.engine.core import Core, Live
from holdfast.engine.course import targets_of
from holdfast.engine.settle import judge, judge_failed
from holdfast.engine.submit import Submission, live_of, live_of_row, price
from holdfast.engine.watchers import Ended, Notice, PartialImage, Watchers
from holdfast.errors import RequestError
from holdfast.providers import openai
from holdfast.store.blobs import LocalBlobs
from holdfast.store.records import GenerationRow
from holdfast.store.spool import SpooledImage
from holdfast.types import Charge, Failure, FailureKind, Geometry, ImageInfo, Phase, Request, Surface, Tier
from holdfast.wire.answers import Role

USD = 1_000_000
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
INFO = ImageInfo(mime="image/png", width_px=64, height_px=64, bytes=100, sha256="0" * 64)
GEMINI, OPENAI = "nano-banana-pro", "gpt-image-2"


class StandingClock:
    """One moment."""

    def monotonic(self) -> float:
        """Seconds."""
        return 5000.0

    def now(self) -> datetime:
        """The wall clock."""
        return NOW

    def random(self) -> float:
        """The middle."""
        return 0.5

    def token(self, bytes_: int) -> bytes:
        """As many as asked for."""
        return bytes(bytes_)

    def new_id(self, prefix: str) -> str:
        """Always the same one."""
        return f"{prefix}_1"


def a_core(**sections: Any) -> Core:
    """A core that only looks: settings, clock and targets."""
    prices = {"micros": {"1K": USD, "4K": 4 * USD}, "source": "test", "valid_from": "2026-01-01"}
    settings: Settings = parse(
        {
            "upstreams": [
                {"name": "google", "provider": "gemini", "base_url": "http://google.test", "keys": ["k"]},
                {"name": "openai", "provider": "openai", "base_url": "http://openai.test/v1", "keys": ["k"]},
            ],
            "routes": [
                {"model": GEMINI, "upstreams": [{"upstream": "google", "model": "g"}]},
                {"model": OPENAI, "upstreams": [{"upstream": "openai", "model": "o"}]},
            ],
            "prices": [{"model": GEMINI, **prices}, {"model": OPENAI, **prices}],
            **sections,
        }
    )
    targets = targets_of(settings, {upstream.name: ("k",) for upstream in settings.upstreams})
    nothing: Any = None
    return Core(
        settings=settings,
        clock=StandingClock(),
        store=nothing,
        blobs=LocalBlobs(Path()),
        spool=Path(),
        transport=nothing,
        owner="own_1",
        targets=targets,
        threads=nothing,
    )


def a_request(**overrides: Any) -> Request:
    """One small image."""
    values: dict[str, Any] = {
        "surface": Surface.OPENAI,
        "model": GEMINI,
        "prompt": "a lighthouse",
        "geometry": Geometry(tier=Tier.K1, aspect_ratio="1:1", width_px=64, height_px=64),
    }
    return Request(**values | overrides)


def a_submission(asked_s: float | None = None, **overrides: Any) -> Submission:
    """It, and who asks."""
    return Submission(key_id="key_1", request=a_request(**overrides), asked_s=asked_s)


def priced(core: Core | None = None, **overrides: Any) -> Any:
    """What the accepting commit would write."""
    return price(core or a_core(), a_submission(**overrides))


# Submitting


@pytest.mark.parametrize(
    ("model", "n", "stream", "parts"),
    [
        (GEMINI, 1, False, 1),
        (GEMINI, 4, False, 4),
        (OPENAI, 1, False, 1),
        (OPENAI, 10, False, 1),
        (OPENAI, 3, True, 3),
    ],
)
def test_images_are_divided_into_the_calls_that_make_them(model: str, n: int, stream: bool, parts: int) -> None:
    """What an upstream makes in one call is one part; together the parts ask for exactly what was asked."""
    core, submission = a_core(), a_submission(model=model, n=n, stream=stream)
    new = price(core, submission)
    live = live_of(core, new, submission)
    assert new.parts == live.parts == parts
    assert sum(live.images_of(part) for part in range(parts)) == n


def test_the_hold_is_the_price_of_all_images_with_the_margin() -> None:
    """The worst case is set aside before anything is bought."""
    new = priced(a_core(money={"margin": 1.5}), n=3)
    assert (new.unit_micros, new.held_micros) == (1_500_000, 4_500_000)
    k4 = Geometry(tier=Tier.K4, aspect_ratio="1:1", width_px=4096, height_px=4096)
    assert priced(n=2, geometry=k4).held_micros == 8 * USD


def test_a_budget_replaces_the_deadline_and_is_hard() -> None:
    """The route's deadline stops attempts; a caller's own is a promise to tell him."""
    core = a_core()
    for asked_s, deadline_s, is_hard in ((None, 300.0, False), (42.5, 42.5, True)):
        submission = a_submission(asked_s=asked_s)
        new = price(core, submission)
        live = live_of(core, new, submission)
        assert ((from_rfc3339(new.deadline_at) - NOW).total_seconds(), new.hard_deadline) == (deadline_s, is_hard)
        assert (live.deadline_at - live.accepted_at, live.hard_deadline) == (deadline_s, is_hard)


def test_the_request_is_kept_as_it_was_asked() -> None:
    """A start after a crash must be able to ask for exactly the same."""
    request = a_request(n=2, quality="high", end_user="somebody")
    new = price(a_core(), Submission(key_id="key_1", request=request, traceparent="00-1-2-03"))
    assert msgspec.json.decode(new.request, type=Request) == request
    assert new.traceparent == "00-1-2-03"


def a_row(core: Core, request: Request, **overrides: Any) -> GenerationRow:
    """The row of a generation that an earlier process accepted two minutes ago."""
    new = price(core, Submission(key_id="key_1", request=request))
    shared = GenerationRow.__dataclass_fields__.keys() & new.__dataclass_fields__.keys()
    values = {name: getattr(new, name) for name in shared}
    usual: dict[str, Any] = {
        "state": "queued",
        "epoch": 1,
        "drive": 0,
        "parts_open": new.parts,
        "cancel_requested": 0,
        "started_at": None,
        "finished_at": None,
        "answered_at": None,
        "collected_at": None,
        "purge_after": None,
        "charged_micros": 0,
        "partial_result": 0,
        "late": 0,
        "failure": None,
        "sequence_number": 1,
        "compensated_micros": 0,
        "created_at": "2026-11-24T11:58:00.000Z",
        "deadline_at": "2026-11-24T12:03:00.000Z",
    }
    return GenerationRow(**values | usual | overrides)


def test_a_row_becomes_what_it_was() -> None:
    """Taken up after a restart: the same request, the rest of its time, and an age that counts from acceptance."""
    core = a_core()
    request = a_request(n=2)
    live = live_of_row(core, a_row(core, request))
    assert live.request == request
    assert (live.accepted_at, live.deadline_at) == (5000.0 - 120.0, 5000.0 + 180.0)
    assert (live.parts, live.images_per_call, live.hard_deadline) == (2, 1, False)


@pytest.mark.parametrize(
    ("parts", "moved_to", "asked"),
    [(4, OPENAI, [1, 1, 1, 1]), (2, OPENAI, [2, 2]), (1, OPENAI, [4]), (1, GEMINI, [1])],
)
def test_parts_stay_what_they_were_under_other_settings(parts: int, moved_to: str, asked: list[int]) -> None:
    """Each part asks for its own images: never for none, never for more than its new upstream makes in a call."""
    core = a_core()
    live = live_of_row(core, a_row(core, a_request(model=moved_to, n=4), parts=parts))
    assert [live.images_of(part) for part in range(len(asked))] == asked


@pytest.mark.parametrize(("n", "asked"), [(9, [3, 3, 3]), (5, [3, 2]), (8, [4, 4])])
def test_a_start_divides_as_the_acceptance_did(monkeypatch: pytest.MonkeyPatch, n: int, asked: list[int]) -> None:
    """Parts that do not come out even stay the same parts: no image is bought twice, none is left out."""
    monkeypatch.setattr(openai, "IMAGES_PER_CALL", 4)
    core, submission = a_core(), a_submission(model=OPENAI, n=n)
    accepted = live_of(core, price(core, submission), submission)
    taken_up = live_of_row(core, a_row(core, submission.request))
    assert [accepted.images_of(part) for part in range(accepted.parts)] == asked
    assert [taken_up.images_of(part) for part in range(taken_up.parts)] == asked


def test_a_row_without_a_route_is_told_so() -> None:
    """Settings changed between two starts."""
    core = a_core()
    row = a_row(core, a_request())
    with pytest.raises(RequestError, match="not served here") as caught:
        live_of_row(core, replace(row, model="gone"))
    assert (caught.value.code, caught.value.status) == ("model_not_found", 404)


# Judging


def an_image(index: int, *, info: ImageInfo | None = INFO, complete: bool = True) -> SpooledImage:
    """An image in the spool."""
    return SpooledImage(index=index, role=Role.RESULT, path=Path(f"att_1-{index}"), info=info, complete=complete)


def indices(images: tuple[SpooledImage, ...]) -> list[int]:
    """Their numbers."""
    return [image.index for image in images]


def test_whole_images_are_delivered_in_the_order_of_the_answer() -> None:
    """What was asked for is a result, what was drawn on the way is a draft."""
    judged = judge((2, 0), (1,), [an_image(0), an_image(1), an_image(2)])
    assert (indices(judged.results), indices(judged.drafts), judged.failure) == ([2, 0], [1], None)


@pytest.mark.parametrize("broken", [{"complete": False}, {"info": None}])
def test_what_is_not_whole_is_neither_result_nor_draft(broken: dict[str, Any]) -> None:
    """A cut picture is never delivered, and never listed; without another one the attempt failed, and was paid for."""
    some = judge((0, 1), (2,), [an_image(0, **broken), an_image(1), an_image(2, **broken)])
    assert (indices(some.results), indices(some.drafts), some.failure) == ([1], [], None)
    none = judge((0,), (1,), [an_image(0, **broken), an_image(1)])
    assert (indices(none.results), indices(none.drafts)) == ([], [1])
    assert none.failure is not None
    assert (none.failure.kind, none.failure.charge) == (FailureKind.MALFORMED, Charge.YES)


def test_a_failed_answer_keeps_what_is_whole_as_drafts() -> None:
    """And its failure stays what it was."""
    failure = Failure(kind=FailureKind.REFUSED_OUTPUT, phase=Phase.RECEIVE, charge=Charge.NO, detail="no")
    judged = judge_failed(failure, [an_image(0), an_image(1, complete=False)])
    assert (indices(judged.results), indices(judged.drafts)) == ([], [0])
    assert judged.failure is failure


def test_an_attempt_has_images_or_a_failure() -> None:
    """Both, or neither, is a mistake of ours."""
    failure = Failure(kind=FailureKind.UNREACHABLE, phase=Phase.SEND, charge=Charge.NO, detail="no")
    rest: dict[str, Any] = {"new": cast(Any, None), "spooled": None, "http_status": None, "received_at": None}
    with pytest.raises(AssertionError):
        Attempted(done=None, failure=None, **rest)
    with pytest.raises(AssertionError):
        Attempted(done=cast(Any, SimpleNamespace()), failure=failure, **rest)
    with pytest.raises(AssertionError):
        Attempted(done=cast(Any, SimpleNamespace()), failure=None, **rest)


# Watching


@pytest.fixture
def told() -> list[tuple[str, Notice]]:
    """What watchers were told."""
    return []


@pytest.fixture
def watcher(told: list[tuple[str, Notice]]) -> Callable[[str], Callable[[Notice], None]]:
    """Make a watcher with a name."""
    return lambda name: lambda notice: told.append((name, notice))


Make = Callable[[str], Callable[[Notice], None]]


def test_an_end_is_told_to_all_and_once(watcher: Make, told: list[tuple[str, Notice]]) -> None:
    """Everybody who waits for it hears it, nobody else does, and then it is forgotten."""
    watchers = Watchers()
    watchers.add("gen_1", watcher("a"))
    watchers.add("gen_1", watcher("b"))
    watchers.add("gen_2", watcher("c"))
    assert repr(watchers) == "<Watchers 3 of 2 generations>"
    watchers.notify("gen_1", Ended())
    watchers.notify("gen_1", Ended())
    watchers.notify("gen_nobody", Ended())
    assert told == [("a", Ended()), ("b", Ended())]
    assert repr(watchers) == "<Watchers 1 of 1 generations>"


def test_a_preview_is_told_and_waiting_goes_on(watcher: Make, told: list[tuple[str, Notice]]) -> None:
    """More may follow, and the end will."""
    watchers = Watchers()
    watchers.add("gen_1", watcher("a"))
    preview = PartialImage(index=0, path=Path("p"), info=INFO)
    watchers.notify("gen_1", preview)
    watchers.notify("gen_1", Ended())
    assert told == [("a", preview), ("a", Ended())]


def test_whoever_counts_ends_is_told_each_of_them(watcher: Make, told: list[tuple[str, Notice]]) -> None:
    """Whether or not anybody waits; a preview is no end."""
    watchers, ends = Watchers(), []
    watchers.on_end = lambda: ends.append(len(told))
    watchers.add("gen_1", watcher("a"))
    watchers.notify("gen_1", PartialImage(index=0, path=Path("p"), info=INFO))
    watchers.notify("gen_1", Ended())
    watchers.notify("gen_nobody", Ended())
    assert len(ends) == 2


def test_who_leaves_is_told_nothing_more(watcher: Make, told: list[tuple[str, Notice]]) -> None:
    """Leaving twice, or after the end, is no error; the last to leave leaves nothing behind."""
    watchers = Watchers()
    leaves, stays = watcher("leaves"), watcher("stays")
    watchers.add("gen_1", leaves)
    watchers.add("gen_1", stays)
    watchers.remove("gen_1", leaves)
    watchers.remove("gen_1", leaves)
    watchers.remove("gen_nobody", leaves)
    watchers.notify("gen_1", Ended())
    watchers.remove("gen_1", stays)
    assert told == [("stays", Ended())]
    assert len(watchers) == 0


def test_what_lives_for_minutes_shows_no_key_and_no_prompt() -> None:
    """What is written to a log by accident, or stands in a traceback, holds neither."""
    core = a_core()
    (target,) = core.targets[GEMINI]
    assert "keys=" not in repr(replace(target, keys=("sk-secret",)))
    assert "sk-secret" not in repr(replace(target, keys=("sk-secret",)))
    live: Live = live_of(core, priced(core), a_submission())
    assert live.request is not None
    assert "lighthouse" not in repr(live)
