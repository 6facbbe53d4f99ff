"""Structured log lines: an event name and fields, once per transition, never a prompt, a key, an image or a query.

On a terminal they are text, elsewhere JSON, one object a line.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TextIO

import orjson

BATCH_S = 0.02
_logger = logging.getLogger("holdfast")
_listeners: dict[str, list[Callable[[Mapping[str, Any]], None]]] = {}
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_NAMES = {number: name.upper() for name, number in _LEVELS.items()}


def emit(event: str, *, level: str = "info", exc: BaseException | None = None, **fields: Any) -> None:
    """Write one event of `tables.md` I; fields that are None are left out."""
    for listener in _listeners.get(event, ()):
        listener(fields)
    number = _LEVELS[level]
    if _logger.isEnabledFor(number):
        _logger.handle(_Event(event, number, exc, fields))


class _Event(logging.LogRecord):
    """One event as a record, for our handler and anybody else's.

    Several are made for each generation, so it is made without what `LogRecord` looks up for each and nothing of ours
    shows: the file, the line and the thread.
    """

    def __init__(self, event: str, number: int, exc: BaseException | None, fields: Mapping[str, Any]) -> None:
        # In the record's own dictionary: that is what formatters spell.
        self.__dict__.update(_BLANK)
        self.msg = event
        self.levelno = number
        self.levelname = _NAMES[number]
        self.created = time.time()
        self.msecs = self.created % 1 * 1000
        self.exc_info = None if exc is None else (type(exc), exc, exc.__traceback__)
        self.fields = fields


_BLANK = vars(logging.LogRecord(_logger.name, logging.INFO, "", 0, "", (), None))


@contextmanager
def watched(event: str, listener: Callable[[Mapping[str, Any]], None]) -> Iterator[None]:
    """Call a function with the fields of each event of this name, whether or not a line is written of it."""
    _listeners.setdefault(event, []).append(listener)
    try:
        yield
    finally:
        _listeners[event].remove(listener)


@lru_cache(maxsize=4)
def _second(unix_s: int) -> str:
    """Spell a second; the lines of a busy one share it."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields = getattr(record, "fields", {})
    return {name: value for name, value in fields.items() if value is not None}


class JsonLines(logging.Formatter):
    """`{"time", "level", "event", …}`."""

    def format(self, record: logging.LogRecord) -> str:
        """Spell one record as one JSON object."""
        line: dict[str, Any] = {
            "time": f"{_second(int(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(line, default=str).decode()
        except orjson.JSONEncodeError:
            # A lone surrogate, or a number beyond 64 bits: ASCII and Python's own integers take both.
            return json.dumps(line, default=str)


class TextLines(logging.Formatter):
    """`12:03:04.123 generation.finished generation_id=gen_… elapsed_s=12.3`."""

    def format(self, record: logging.LogRecord) -> str:
        """Spell one record for a person."""
        moment = datetime.fromtimestamp(record.created).strftime("%H:%M:%S.%f")[:-3]
        parts = [moment, "" if record.levelno <= logging.INFO else record.levelname, record.getMessage()]
        parts += [f"{name}={_spell(value)}" for name, value in _fields(record).items()]
        text = " ".join(part for part in parts if part)
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def _spell(value: Any) -> str:
    """Spell a value as one word: what an upstream says cannot look like another field, nor like another line."""
    text = str(value)
    is_one_word = text.isprintable() and " " not in text and '"' not in text and text
    return text if is_one_word else json.dumps(text, ensure_ascii=not text.isprintable())


class BatchedLines(logging.StreamHandler[TextIO]):
    """Spells and writes the lines of a moment in one go.

    Each write lets go of the interpreter, and the loop's thread then waits its turn behind the threads that decode
    images: 2,000 answers due at once took a tenth less time so (lab/bench). Errors, and lines from outside a loop, are
    written at once; a process that is killed loses what its last 20 ms had to say.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._records: list[logging.LogRecord] = []
        self._is_due = False

    def handle(self, record: logging.LogRecord) -> bool:
        """Keep a record until the moment is over."""
        with self.lock or nullcontext():
            self._records.append(record)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        if loop is None or record.levelno >= logging.ERROR:
            self.flush()
        elif not self._is_due:
            self._is_due = True
            loop.call_later(BATCH_S, self.flush)
        return True

    def flush(self) -> None:
        """Write what was kept."""
        with self.lock or nullcontext():
            self._is_due = False
            records, self._records = self._records, []
            lines = [line for record in records if (line := self._line(record)) is not None]
            if lines:
                self.stream.write("".join(lines))
            super().flush()

    def _line(self, record: logging.LogRecord) -> str | None:
        try:
            return self.format(record) + self.terminator
        except Exception:  # noqa: BLE001 - logging's own border: it tells of it and goes on
            self.handleError(record)
            return None


def setup(level: str, format_: str, stream: TextIO = sys.stderr) -> None:
    """Send holdfast's events to `stream`, as `log.level` and `log.format` say."""
    handler = BatchedLines(stream)
    text = format_ == "text" or (format_ == "auto" and stream.isatty())
    handler.setFormatter(TextLines() if text else JsonLines())
    _logger.handlers[:] = [handler]
    _logger.setLevel(_LEVELS[level])
    _logger.propagate = False
