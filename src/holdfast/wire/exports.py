"""What a provider or a relay lists as charged: its export, as CSV, JSON or JSON lines, read into values.

No two of them name their columns alike: the usual names are known, others can be told. Whatever is wrong is told with
its line.

Pure: no I/O, clock or randomness.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation, Overflow
from types import MappingProxyType
from typing import Any

import msgspec

from holdfast.errors import RequestError
from holdfast.money import MICROS_PER_UNIT
from holdfast.types import ListedCharge
from holdfast.wire.nearest import nearest

EXPORT_BYTES_MAX = 64 << 20
LINES_MAX = 200_000
COLUMNS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "reference": ("idempotency_key", "reference", "request_id", "prediction_id", "task_id", "external_id", "id"),
        "time": ("created_at", "timestamp", "time", "date", "created", "started_at", "completed_at"),
        "model": ("model", "model_name"),
        "amount": ("cost", "amount", "total_cost", "price", "charge", "usd", "quota"),
    }
)
"""What is read, and by which names of columns it is found, first choice first; case and blanks do not matter."""
_LISTS = ("data", "items", "results", "rows", "records")
_MICROS_MAX = 1 << 53


def decode_export(
    raw: bytes, *, columns: Mapping[str, str] = MappingProxyType({}), per_unit: Decimal = Decimal(1)
) -> tuple[ListedCharge, ...]:
    """Read an export.

    Args:
        raw: The file.
        columns: Names of columns by what they are (`COLUMNS`), where they are not the usual ones.
        per_unit: How many of its amounts are one unit of the currency: 1 for dollars, 500000 for the quota of new-api.

    Raises:
        RequestError: It cannot be read; the message names the line and says what to do.
    """
    if len(raw) > EXPORT_BYTES_MAX:
        raise _wrong(f"The export is larger than {EXPORT_BYTES_MAX >> 20} MB; export fewer days at once.")
    for what in columns:
        if what not in COLUMNS:
            raise _wrong(f"There is no column {what!r} to be read. {nearest(what, COLUMNS)}")
    if not per_unit.is_finite() or per_unit <= 0:
        raise _wrong("The amounts per unit of the currency must be a number above 0.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise _wrong("The export is not UTF-8; save it as CSV UTF-8, or as JSON.") from exc
    lines = _of_json(text) if text.lstrip()[:1] in ("{", "[") else _of_csv(text)
    return tuple(_read(lines, columns, per_unit))


def _of_csv(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    heading = text.split("\n", 1)[0]
    separator = max(",;\t", key=heading.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        names = next(reader, [])
        if not any(name.strip() for name in names):
            raise _wrong("The export is empty; its first line must name the columns.")
        for cells in reader:
            if not any(cells):
                continue
            if len(cells) > len(names):
                raise _wrong(f"Line {reader.line_num} has {len(cells)} cells, and the first line names {len(names)}.")
            yield reader.line_num, dict(zip(names, cells, strict=False))
    except csv.Error as exc:
        raise _wrong(f"Line {reader.line_num} is no CSV: {exc}.") from exc


def _of_json(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        document = msgspec.json.decode(text)
    except msgspec.DecodeError:
        # Perhaps one document a line.
        yield from _of_json_lines(text)
        return
    except RecursionError as exc:
        raise _wrong("The export is nested too deep.") from exc
    entries = document
    if isinstance(document, dict):
        entries = next((document[name] for name in _LISTS if isinstance(document.get(name), list)), [document])
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict):
            raise _wrong(f"Entry {number} is no object with named members.")
        yield number, entry


def _of_json_lines(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            entry = msgspec.json.decode(line)
        except msgspec.DecodeError as exc:
            raise _wrong(f"Line {number} is no JSON: {exc}.") from exc
        except RecursionError as exc:
            raise _wrong(f"Line {number} is nested too deep.") from exc
        if not isinstance(entry, dict):
            raise _wrong(f"Line {number} is no object with named members.")
        yield number, entry


def _read(
    lines: Iterator[tuple[int, dict[str, Any]]], columns: Mapping[str, str], per_unit: Decimal
) -> Iterator[ListedCharge]:
    found: dict[str, str] | None = None
    for count, (number, entry) in enumerate(lines, start=1):
        if count > LINES_MAX:
            raise _wrong(f"The export has more than {LINES_MAX:,} lines; export fewer days at once.")
        named = {_folded(name): value for name, value in entry.items() if name is not None}
        if found is None:
            found = _columns(named, columns)
        at = named.get(found.get("time", ""))
        micros = named.get(found.get("amount", ""))
        yield ListedCharge(
            number=number,
            reference=_text(named.get(found.get("reference", ""))),
            at=None if at in (None, "") else _moment(at, number),
            model=_text(named.get(found.get("model", ""))),
            micros=None if micros in (None, "") else _micros(micros, number, per_unit),
        )


def _columns(named: Mapping[str, Any], told: Mapping[str, str]) -> dict[str, str]:
    """Find which column is what; without a reference or a time nothing can be compared."""
    found: dict[str, str] = {}
    for what, usual in COLUMNS.items():
        if what in told:
            name = _folded(told[what])
            if name not in named:
                raise _wrong(f"There is no column {told[what]!r} in the export. {nearest(name, named)}")
            found[what] = name
        else:
            name = next((name for name in usual if name in named), "")
            found |= {what: name} if name else {}
    if "reference" not in found and "time" not in found:
        told_names = ", ".join(sorted(named)[:20])
        raise _wrong(
            f"Neither a reference nor a time was found among the columns ({told_names}). "
            "Name one: time=… or reference=…."
        )
    return found


def _folded(name: str) -> str:
    return "_".join(name.strip().lower().replace("-", " ").replace("_", " ").split())


def _text(value: Any) -> str | None:
    text = "" if value is None else str(value).strip()
    return text or None


def _moment(value: Any, number: int) -> datetime:
    try:
        if isinstance(value, int | float) or str(value).strip().replace(".", "", 1).isdigit():
            stamp = float(value)
            # Seconds since 1970 have ten digits until 2286; more are milliseconds.
            return datetime.fromtimestamp(stamp / 1000 if stamp >= 1e11 else stamp, UTC)
        moment = datetime.fromisoformat(str(value).strip().removesuffix(" UTC"))
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError, OSError) as exc:
        raise _wrong(f"Line {number}: {str(value)[:40]!r} is no time such as 2026-11-28T12:00:00Z.") from exc


def _micros(value: Any, number: int, per_unit: Decimal) -> int:
    told = f"Line {number}: {str(value)[:40]!r} is no amount such as 0.134."
    try:
        amount = Decimal(str(value).strip().removeprefix("$")) / per_unit * MICROS_PER_UNIT
    except (InvalidOperation, Overflow) as exc:
        raise _wrong(told) from exc
    if not amount.is_finite() or not 0 <= amount <= _MICROS_MAX:
        raise _wrong(told)
    return int(amount.to_integral_value())


def _wrong(message: str) -> RequestError:
    return RequestError(message, code="invalid_request", status=400)


def columns_of(words: Sequence[str]) -> dict[str, str]:
    """Read `time=Created`, `amount=Total`.

    Raises:
        RequestError: A word is not of this form.
    """
    columns = {}
    for word in words:
        what, equals, name = word.partition("=")
        if not equals or not name.strip():
            raise _wrong(f"{word[:60]!r} names no column; write it as time=Created.")
        columns[what.strip()] = name
    return columns
