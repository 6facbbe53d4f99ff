"""Log lines: one object or one line an event, whatever its fields say."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from holdfast.log import BATCH_S, JsonLines, TextLines, emit, setup, watched


@pytest.fixture(autouse=True)
def logger() -> Iterator[logging.Logger]:
    """Give holdfast's logger back as it was."""
    ours = logging.getLogger("holdfast")
    before = ours.handlers[:], ours.level, ours.propagate
    yield ours
    ours.handlers[:], ours.level, ours.propagate = before


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """As a terminal does."""
        return True


def lines_of(stream: io.StringIO) -> list[dict[str, Any]]:
    """Read what was written as JSON lines."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def as_json(**fields: Any) -> dict[str, Any]:
    """Emit one event as JSON and read it back."""
    stream = io.StringIO()
    setup("debug", "json", stream)
    emit("attempt.failed", **fields)
    (line,) = lines_of(stream)
    return line


def as_text(**fields: Any) -> str:
    """Emit one event as text."""
    stream = io.StringIO()
    setup("debug", "text", stream)
    emit("attempt.failed", **fields)
    return stream.getvalue()


def test_json_has_time_level_event_and_fields_and_nothing_else() -> None:
    """The time is RFC 3339 in UTC with milliseconds, as everywhere else."""
    line = as_json(level="warning", generation_id="gen_1", elapsed_s=12.5, status=503)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {
        "level": "warning",
        "event": "attempt.failed",
        "generation_id": "gen_1",
        "elapsed_s": 12.5,
        "status": 503,
    }


def test_text_is_one_line_for_a_person() -> None:
    """The level is named only where it is more than information."""
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d\.\d{3} attempt\.failed generation_id=gen_1 n=2\n", as_text(generation_id="gen_1", n=2)
    )
    assert " WARNING attempt.failed" in as_text(level="warning")
    assert " ERROR attempt.failed" in as_text(level="error")


def test_what_is_not_known_is_left_out() -> None:
    """None is left out; nothing and zero are facts."""
    assert as_json(code=None, charged_micros=0, reason="").keys() == {
        "time",
        "level",
        "event",
        "charged_micros",
        "reason",
    }
    text = as_text(code=None, charged_micros=0, late=False)
    assert "code" not in text
    assert "charged_micros=0 late=False" in text


@pytest.mark.parametrize(
    "value",
    ["two words", "a\n12:00:00.000 key.refused", 'quo"te', "tab\there", "\x1b[31m", "", "\ud800", "line\u2028break"],
)
def test_a_field_cannot_forge_a_line_nor_another_field(value: str) -> None:
    """An upstream's own word may hold anything: it stays one quoted word on one line."""
    text = as_text(reason=value, status=1)
    assert len(text.splitlines()) == 1
    assert text.endswith(" status=1\n")
    quoted = text.partition("reason=")[2].removesuffix(" status=1\n")
    assert json.loads(quoted) == value
    assert text.isascii() or value.isprintable()


def test_words_of_any_language_stay_readable() -> None:
    """Only what could mislead is quoted."""
    assert "model=图像 code=a=b;c" in as_text(model="图像", code="a=b;c")


@pytest.mark.parametrize("value", ["\ud800 alone", 1 << 70, "a\nb", {1, 2}, ValueError("x"), b"raw", float("nan")])
def test_no_value_loses_the_line(value: Any) -> None:
    """A lone surrogate, a great number, an object: the event is written all the same, on one line."""
    line = as_json(value=value, status=1)
    assert line["event"] == "attempt.failed"
    assert line["status"] == 1
    if isinstance(value, str | int):
        assert line["value"] == value


@pytest.mark.parametrize("format_", ["json", "text"])
def test_an_exception_comes_with_its_trace(format_: str) -> None:
    """As a field of the object; below the line for a person."""
    stream = io.StringIO()
    setup("info", format_, stream)
    try:
        raise ValueError("the cause")
    except ValueError as exc:
        emit("fault.internal", level="error", exc=exc, generation_id="gen_1")
    if format_ == "json":
        (line,) = lines_of(stream)
        trace = line["exception"]
        assert line["generation_id"] == "gen_1"
    else:
        first, _, trace = stream.getvalue().partition("\n")
        assert first.endswith("ERROR fault.internal generation_id=gen_1")
    assert trace.startswith("Traceback")
    assert "ValueError: the cause" in trace


def test_events_below_the_level_cost_nothing_and_say_nothing() -> None:
    """Each level passes itself and what is worse."""
    order = ["debug", "info", "warning", "error"]
    for at, level in enumerate(order):
        stream = io.StringIO()
        setup(level, "json", stream)
        for each in order:
            emit("event", level=each)
        assert [line["level"] for line in lines_of(stream)] == order[at:]


def test_a_level_that_does_not_exist_is_our_mistake() -> None:
    """Both where it is set and where it is used."""
    for wrong in (lambda: setup("loud", "json", io.StringIO()), lambda: emit("event", level="loud")):
        with pytest.raises(KeyError):
            wrong()


@pytest.mark.parametrize(
    ("format_", "stream", "formatter"),
    [
        ("auto", Terminal(), TextLines),
        ("auto", io.StringIO(), JsonLines),
        ("text", io.StringIO(), TextLines),
        ("json", Terminal(), JsonLines),
    ],
)
def test_the_format_follows_the_setting_then_the_stream(format_: str, stream: io.StringIO, formatter: type) -> None:
    """A terminal gets text, a pipe gets JSON, unless the settings say otherwise."""
    setup("info", format_, stream)
    (handler,) = logging.getLogger("holdfast").handlers
    assert type(handler.formatter) is formatter


def test_a_second_setup_replaces_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    """One event is one line, in one place, and never on the root logger's."""
    first, second = io.StringIO(), io.StringIO()
    setup("info", "json", first)
    setup("info", "json", second)
    emit("event")
    assert first.getvalue() == ""
    assert len(lines_of(second)) == 1
    assert capsys.readouterr().err == ""


def test_records_of_other_code_are_written_too() -> None:
    """A plain logging call below our name has no fields and needs none."""
    stream = io.StringIO()
    setup("info", "json", stream)
    logging.getLogger("holdfast.other").warning("%s of %d", "part", 3)
    (line,) = lines_of(stream)
    assert (line["event"], line["level"]) == ("part of 3", "warning")


def test_an_event_that_is_watched_is_told_whether_or_not_it_is_written() -> None:
    """What a command does about an event does not hang on `log.level`; afterwards nobody is told any more."""
    seen: list[dict[str, object]] = []
    with watched("test.event", lambda fields: seen.append(dict(fields))):
        emit("test.event", level="debug", number=1)
        emit("test.other", level="debug")
    emit("test.event", level="debug", number=2)
    assert seen == [{"number": 1}]


def test_whoever_else_listens_gets_a_whole_record(logger: logging.Logger) -> None:
    """A handler of somebody's own may show all that a record has, whatever formatter it brings."""
    stream = io.StringIO()
    setup("info", "json", io.StringIO())
    handler = logging.StreamHandler(stream)
    shown = "%(asctime)s|%(name)s|%(levelname)s|%(filename)s:%(lineno)d|%(funcName)s|%(thread)d|%(message)s"
    handler.setFormatter(logging.Formatter(shown))
    logger.addHandler(handler)
    emit("event.one", level="warning", number=1)
    emit("event.100%", number=2)
    assert re.fullmatch(
        r"[\d-]+ [\d:,]+\|holdfast\|WARNING\|:0\|None\|\d+\|event.one", stream.getvalue().splitlines()[0]
    )
    assert stream.getvalue().endswith("|event.100%\n")


def test_a_record_has_every_attribute_that_logging_gives_one(logger: logging.Logger) -> None:
    """Those that an event has of its own, and those that all of them share."""
    seen: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record)

    setup("info", "json", io.StringIO())
    logger.addHandler(Keep())
    before = time.time()
    emit("event", number=1)
    (record,) = seen
    usual = vars(logging.LogRecord("holdfast", logging.INFO, "", 0, "event", (), None))
    assert all(hasattr(record, name) for name in usual)
    assert (record.name, record.levelno, record.levelname, record.msg) == ("holdfast", 20, "INFO", "event")
    assert before <= record.created <= time.time()
    assert 0 <= record.msecs < 1000
    assert record.fields == {"number": 1}  # type: ignore[attr-defined]


def test_lines_of_several_threads_are_all_written() -> None:
    """The loop's thread writes a batch while others add to it: none is lost, none is cut."""
    stream = io.StringIO()
    setup("info", "json", stream)

    def tell(thread: int) -> None:
        for number in range(200):
            emit("event", thread=thread, number=number)

    async def tell_all() -> None:
        others = [asyncio.to_thread(tell, thread) for thread in range(3)]
        async with asyncio.TaskGroup() as group:
            for other in others:
                group.create_task(other)
            for number in range(200):
                emit("event", thread=3, number=number)
                await asyncio.sleep(0)
        logging.getLogger("holdfast").handlers[0].flush()

    asyncio.run(tell_all())
    told = {(line["thread"], line["number"]) for line in lines_of(stream)}
    assert told == {(thread, number) for thread in range(4) for number in range(200)}


@pytest.mark.parametrize("created", [0.0, 0.9996, 951_782_399.25, 1_800_000_000.9995, 1_800_000_000.0015])
def test_a_moment_is_spelled_to_the_millisecond_and_not_rounded_up(
    monkeypatch: pytest.MonkeyPatch, created: float
) -> None:
    """Lines of one second share its spelling; each has its own milliseconds."""
    monkeypatch.setattr(time, "time", lambda: created)
    whole = datetime.fromtimestamp(created, UTC)
    expected = f"{whole:%Y-%m-%dT%H:%M:%S}.{whole.microsecond // 1000:03d}Z"
    assert as_json()["time"] == expected
    monkeypatch.setattr(time, "time", lambda: created + 1)
    assert as_json()["time"] != expected


def test_what_cannot_be_spelled_takes_no_other_line_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    """It is logging's own to tell of it; the rest of the moment is written."""

    class Wrong:
        def __str__(self) -> str:
            raise RuntimeError("no words")

    stream = io.StringIO()
    setup("info", "json", stream)

    async def tell() -> None:
        emit("first")
        emit("second", value=Wrong())
        emit("third")
        logging.getLogger("holdfast").handlers[0].flush()

    asyncio.run(tell())
    assert [line["event"] for line in lines_of(stream)] == ["first", "third"]
    assert "no words" in capsys.readouterr().err


def test_lines_of_a_moment_are_written_together_and_an_error_at_once() -> None:
    """What was kept goes out before the error, in order; outside a loop there is no moment to wait for."""
    stream = io.StringIO()
    setup("info", "json", stream)

    async def tell() -> None:
        emit("first")
        emit("second", level="warning")
        assert stream.getvalue() == ""
        emit("third", level="error")
        assert [line["event"] for line in lines_of(stream)] == ["first", "second", "third"]
        emit("fourth")
        await asyncio.sleep(BATCH_S * 2)
        assert lines_of(stream)[-1]["event"] == "fourth"

    asyncio.run(tell())
    emit("fifth")
    assert lines_of(stream)[-1]["event"] == "fifth"
