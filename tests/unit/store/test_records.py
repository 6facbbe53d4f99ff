"""Rows as values."""

from __future__ import annotations

import dataclasses
import sqlite3
from typing import Any

import msgspec
import pytest

from holdfast.store import records
from holdfast.store.queries import schema
from holdfast.store.records import (
    AttemptEnd,
    AttemptRow,
    BlobRow,
    EventRow,
    GenerationRow,
    GroupRow,
    KeyRow,
    NewBlob,
    Record,
    SecretRow,
    Told,
    to_json,
    values_of,
)
from holdfast.types import Charge, Failure, FailureKind, ImageInfo, Phase, Usage

TABLES = {
    KeyRow: "api_key",
    GroupRow: "key_group",
    SecretRow: "key_secret",
    GenerationRow: "generation",
    AttemptRow: "attempt",
    BlobRow: "blob",
    EventRow: "event",
}
JOINED = {KeyRow: ("margin_share", "group_label", "secret_expires_at")}
"""Columns that stand in the tables beside."""
FAILURE = Failure(
    kind=FailureKind.REFUSED_OUTPUT,
    phase=Phase.RECEIVE,
    charge=Charge.NO,
    detail="declined",
    retry_after_s=1.5,
    status=200,
    reason="IMAGE_SAFETY",
)
INFO = ImageInfo(mime="image/png", width_px=2, height_px=1, bytes=70, sha256="ab" * 32)


def row_of(kind: type[Any], /, **overrides: Any) -> Any:
    """Make a row value in which every column that a test does not name is None."""
    values = {field.name: None for field in dataclasses.fields(kind)}
    return kind(**values | overrides)


def a_blob(kind: str = "result", position: int = 0) -> NewBlob:
    """An image that was put."""
    return NewBlob(id=f"img_{position}", kind=kind, position=position, store_key=f"blobs/{position}", info=INFO)


def an_end(**overrides: Any) -> AttemptEnd:
    """An end with neither image nor failure, which a test completes."""
    return AttemptEnd(**{"attempt_id": "att_1", "at": "now", "purge_after": "later"} | overrides)


@pytest.mark.parametrize("kind", TABLES, ids=lambda kind: kind.__name__)
def test_every_row_value_reads_its_table(kind: type[Any]) -> None:
    """Each field is a column; columns that the value does not name are left aside."""
    conn = sqlite3.connect(":memory:")
    conn.row_factory = sqlite3.Row
    conn.executescript(schema())
    columns = [row["name"] for row in conn.execute(f"PRAGMA table_info({TABLES[kind]})")]
    columns += JOINED.get(kind, ())
    spelled = ", ".join(f"'{name}' AS {name}" for name in columns)
    value = kind.of(conn.execute(f"SELECT {spelled}").fetchone())
    conn.close()
    assert dataclasses.asdict(value) == {field.name: field.name for field in dataclasses.fields(kind)}


def test_a_row_is_read_by_names_and_not_by_places() -> None:
    """Two queries may list the columns of one kind in different orders, one after the other and back."""
    conn = sqlite3.connect(":memory:")
    conn.row_factory = sqlite3.Row
    more = [field.name for field in dataclasses.fields(KeyRow)][3:]
    expected = KeyRow(id="key_1", label="mine", created_at="now", **{name: f"its {name}" for name in more})
    columns = {**dataclasses.asdict(expected), "digest": "left aside"}
    for names in (list(columns), list(reversed(columns)), sorted(columns), list(columns)):
        row = conn.execute("SELECT " + ", ".join(f"'{columns[name]}' AS {name}" for name in names)).fetchone()
        assert KeyRow.of(row) == expected
    conn.close()


def test_a_row_that_lacks_a_column_is_refused() -> None:
    """A query that forgot one is found at its first reading, not where the value is used."""
    conn = sqlite3.connect(":memory:")
    conn.row_factory = sqlite3.Row
    with pytest.raises(ValueError, match="not in tuple"):
        KeyRow.of(conn.execute("SELECT 'key_1' AS id, 'mine' AS label").fetchone())
    conn.close()


@pytest.mark.parametrize("kind", TABLES, ids=lambda kind: kind.__name__)
def test_a_changed_row_is_another_value(kind: type[Any]) -> None:
    """It is what `replace` gives, frozen and equal; the row that was read stays as it was."""
    names = [field.name for field in dataclasses.fields(kind)]
    row = row_of(kind, **{name: f"old {name}" for name in names})
    before = dataclasses.asdict(row)
    changes = {name: f"new {name}" for name in names[1:3]}
    changed = row.but(**changes)
    assert changed == dataclasses.replace(row, **changes)
    assert (dataclasses.asdict(row), hash(row.but())) == (before, hash(row))
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(changed, names[0], "again")
    with pytest.raises(KeyError, match="no_such_field"):
        row.but(no_such_field=1)


def test_a_flat_value_gives_its_fields_by_name() -> None:
    """The parameters of a statement: what `asdict` gives, without copies; kinds are not mixed up."""
    told = Told(code="overloaded", message="busy", charge=Charge.NO)
    for value in (INFO, told, KeyRow(id="key_1", label="mine", created_at="now"), INFO):
        assert values_of(value) == dataclasses.asdict(value)
        assert list(values_of(value)) == [field.name for field in dataclasses.fields(value)]


def test_documents_come_back_as_they_went() -> None:
    """What was told, how it failed and what it used are stored as JSON and read as values."""
    told = Told(code="content_refused", message="no", charge=Charge.NO, kind="refused_output", retry_after_s=2.0)
    usage = Usage(input_tokens=3, output_tokens=1800)
    assert row_of(GenerationRow, failure=to_json(told)).told == told
    assert row_of(AttemptRow, failure=to_json(FAILURE)).failed == FAILURE
    assert row_of(AttemptRow, usage=to_json(usage)).used == usage


def test_what_is_not_there_is_none() -> None:
    """A generation that did not fail was told nothing."""
    assert row_of(GenerationRow).told is None
    assert row_of(AttemptRow).failed is None
    assert row_of(AttemptRow).used is None


def test_a_document_of_a_later_version_can_be_read() -> None:
    """A field that we do not know is left aside: two versions run on the same rows."""
    spelled = msgspec.json.decode(to_json(FAILURE))
    later = msgspec.json.encode({**spelled, "upstream_request_id": "r1"}).decode()
    assert row_of(AttemptRow, failure=later).failed == FAILURE


@pytest.mark.parametrize(
    ("blobs", "failure"),
    [((), None), ((a_blob("draft"),), None), ((a_blob(),), FAILURE), ((a_blob(), a_blob("draft", 1)), FAILURE)],
)
def test_an_attempt_ends_with_a_result_or_with_a_failure(blobs: tuple[NewBlob, ...], failure: Failure | None) -> None:
    """Never with both, and never with neither."""
    with pytest.raises(AssertionError, match="result or with a failure"):
        an_end(blobs=blobs, failure=failure)


def test_drafts_may_come_with_either() -> None:
    """They are paid for, whether a result followed or a refusal."""
    assert an_end(blobs=(a_blob(), a_blob("draft", 1))).failure is None
    assert an_end(blobs=(a_blob("draft"),), failure=FAILURE).blobs
    assert an_end(failure=FAILURE).received_at is None


def test_a_record_tells_results_from_the_rest() -> None:
    """`data[]` has the results in order; drafts and late extras are listed apart; each knows its attempt."""
    attempts = tuple(row_of(AttemptRow, id=f"att_{at}") for at in range(2))
    blobs = tuple(
        row_of(BlobRow, id=f"img_{at}", kind=kind, attempt_id=f"att_{at % 2}")
        for at, kind in enumerate(["draft", "result", "late", "result"])
    )
    record = Record(generation=row_of(GenerationRow), attempts=attempts, blobs=blobs)
    assert [blob.id for blob in record.results] == ["img_1", "img_3"]
    assert [blob.id for blob in record.drafts()] == ["img_0", "img_2"]
    assert record.attempt_of(blobs[3]) is attempts[1]


def test_all_values_are_frozen_and_slotted() -> None:
    """A row that was read is a fact; nobody changes it in memory."""
    kinds = [each for each in vars(records).values() if isinstance(each, type) and dataclasses.is_dataclass(each)]
    assert set(TABLES) <= set(kinds)
    for kind in kinds:
        assert kind.__dataclass_params__.frozen, kind  # type: ignore[attr-defined]
        assert "__slots__" in vars(kind), kind
