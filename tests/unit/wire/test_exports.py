"""What a provider lists as charged is read in whatever shape it comes; what cannot be read is told with its line."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import RequestError
from holdfast.types import ListedCharge
from holdfast.wire.exports import EXPORT_BYTES_MAX, columns_of, decode_export

AT = datetime(2026, 1, 17, 12, tzinfo=UTC)
LINE = ListedCharge(number=2, reference="r1", at=AT, model="m", micros=134_000)


@pytest.mark.parametrize(
    "text",
    [
        "id,created_at,model,cost\nr1,2026-01-17T12:00:00Z,m,0.134\n",
        "\ufeffRequest ID;Timestamp;Model Name;Amount\r\nr1;2026-01-17 12:00:00;m;$0.134\r\n",
        "model\ttime\tcost\treference\nm\t2026-01-17T14:00:00+02:00\t0.134\tr1\n",
        'id,date,model,price\n"r1",1768651200,m,0.1340\n\n',
        "id,date,model,price\nr1,1768651200000,m,0.134\n",
        "prediction-id,created,model,cost\n r1 ,2026-01-17 12:00:00 UTC, m ,0.134\n",
    ],
)
def test_tables_are_read_by_the_usual_names(text: str) -> None:
    """Commas, semicolons and tabs; moments with and without a zone, and as numbers."""
    assert decode_export(text.encode()) == (LINE,)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ('[{"id": "r1", "created_at": "2026-01-17T12:00:00Z", "model": "m", "cost": 0.134}]', 1),
        ('{"data": [{"id": "r1", "created": 1768651200, "model": "m", "cost": "0.134"}]}', 1),
        ('\n{"id": "r1", "time": 1768651200, "model": "m", "usd": 0.134}\n{"id": "r1", "time": 1768651200}\n', 2),
    ],
)
def test_documents_are_read_too(text: str, number: int) -> None:
    """A list, a list in an envelope, one document a line."""
    first = decode_export(text.encode())[0]
    assert first == ListedCharge(number=number, reference="r1", at=AT, model="m", micros=134_000)


def test_columns_of_other_names_are_told() -> None:
    """And amounts in other units: a relay's quota is 500,000 a dollar."""
    text = "task;when;what;quota\nr1;2026-01-17T12:00:00Z;m;67000\n"
    columns = columns_of(["reference=task", "time=When", "model=what"])
    assert decode_export(text.encode(), columns=columns, per_unit=Decimal(500_000)) == (LINE,)


def test_what_an_export_does_not_have_is_left_open() -> None:
    """A reference alone is enough, or a time alone."""
    (line,) = decode_export(b"id\nr1\n")
    assert (line.reference, line.at, line.model, line.micros) == ("r1", None, None, None)
    (line,) = decode_export(b"date,cost\n2026-01-17T12:00:00Z,\n")
    assert (line.reference, line.at, line.micros) == (None, AT, None)


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"", "The export is empty"),
        (b"colour,size\nred,1\n", "Neither a reference nor a time was found among the columns (colour, size)"),
        (b"id,cost\nr1,much\n", "Line 2: 'much' is no amount such as 0.134."),
        (b"id,cost\nr1,-1\n", "Line 2: '-1' is no amount"),
        (b"id,cost\nr1,NaN\n", "Line 2: 'NaN' is no amount"),
        (b"id,cost\nr1,1e99\n", "Line 2: '1e99' is no amount"),
        (b"id,cost\nr1,1e999999\n", "Line 2: '1e999999' is no amount"),
        (b"id,date\nr1,0001-01-01T00:00:00+23:59\n", "Line 2: '0001-01-01T00:00:00+23:59' is no time"),
        (b"[" * 100_000, "is nested too deep"),
        (b'{"id": 1}\n' + b'{"a":' * 100_000, "is nested too deep"),
        (b"id,date\nr1,yesterday\n", "Line 2: 'yesterday' is no time such as"),
        (b"id,date\nr1,99999999999999999999\n", "is no time"),
        (b"id\nr1,2,3\n", "Line 2 has 3 cells, and the first line names 1."),
        (b'id\n"r1\n', "is no CSV"),
        (b"\xff\xfe", "is not UTF-8"),
        (b'{"id": 1}\nnot json\n', "Line 2 is no JSON"),
        (b"[1]", "Entry 1 is no object"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(raw: bytes, told: str) -> None:
    """So that it is found in a file of a hundred thousand."""
    with pytest.raises(RequestError) as error:
        decode_export(raw)
    assert told in error.value.message


def test_what_is_told_wrongly_is_refused() -> None:
    """A column that is none, one that the export lacks, a unit that is no number, a word without a name."""
    for columns, told in [({"prize": "x"}, "There is no column 'prize' to be read"), ({"time": "x"}, "no column 'x'")]:
        with pytest.raises(RequestError, match=told):
            decode_export(b"id\nr1\n", columns=columns)
    with pytest.raises(RequestError, match="a number above 0"):
        decode_export(b"id\nr1\n", per_unit=Decimal(0))
    with pytest.raises(RequestError, match="names no column"):
        columns_of(["time"])


def test_an_export_is_bounded() -> None:
    """It is held in memory while it is compared."""
    with pytest.raises(RequestError, match="larger than 64 MB"):
        decode_export(bytes(EXPORT_BYTES_MAX + 1))


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: f"id,time,cost\n{text}".encode()))
def test_whatever_is_sent_is_read_or_refused(raw: bytes) -> None:
    """Never another exception."""
    try:
        lines = decode_export(raw)
    except RequestError as error:
        assert error.status == 400
    else:
        assert all(line.micros is None or line.micros >= 0 for line in lines)
