"""What every provider shares: heads, the reader of error bodies, and bodies that cannot be read."""

from __future__ import annotations

from types import MappingProxyType

import pytest

from holdfast.providers.conversation import malformed, unfinished
from holdfast.providers.error_body import KEPT_BYTES_MAX, ErrorReader
from holdfast.providers.http import Head
from holdfast.types import Charge, FailureKind, Phase
from holdfast.wire.errors import WireError


def a_head(status: int = 200, **headers: tuple[str, ...]) -> Head:
    """A head; underscores in names are hyphens."""
    named = {name.replace("_", "-"): values for name, values in headers.items()}
    return Head(status=status, headers=MappingProxyType(named))


@pytest.mark.parametrize(
    ("values", "media_type"),
    [
        (("application/json; charset=utf-8",), "application/json"),
        (("  Text/Event-Stream ;x",), "text/event-stream"),
        (("text/html", "application/json"), "text/html"),
        (("",), ""),
    ],
)
def test_a_media_type_is_bare_and_lower_case(values: tuple[str, ...], media_type: str) -> None:
    """Parameters and capitals vary from relay to relay; of two headers the first counts."""
    head = a_head(content_type=values)
    assert head.media_type == media_type
    assert head.is_event_stream is (media_type == "text/event-stream")


def test_a_head_without_a_header_has_none() -> None:
    """Absent is None, a media type is then empty."""
    assert a_head().header("retry-after") is None
    assert a_head(x=()).header("x") is None
    assert a_head().media_type == ""


@pytest.mark.parametrize(
    ("status", "is_success"), [(199, False), (200, True), (206, True), (299, True), (300, False), (404, False)]
)
def test_success_is_the_200_class(status: int, is_success: bool) -> None:
    """A redirect is none."""
    assert a_head(status).is_success is is_success


def test_a_document_that_cannot_be_read_is_paid_for() -> None:
    """It was made before it was sent: fetched again perhaps, never bought again."""
    failure = malformed(WireError("base64", "it is not base64"), status=200)
    assert (failure.kind, failure.charge, failure.phase) == (FailureKind.MALFORMED, Charge.YES, Phase.DECODE)
    assert (failure.status, failure.reason) == (200, "base64")
    assert "it is not base64" in failure.detail


@pytest.mark.parametrize(
    ("content_type", "kind", "charge"),
    [
        ("application/json", FailureKind.MALFORMED, Charge.YES),
        ("text/event-stream", FailureKind.LOST_REPLY, Charge.UNKNOWN),
    ],
)
def test_an_answer_that_ends_early_is_paid_if_its_document_had_begun(
    content_type: str, kind: FailureKind, charge: Charge
) -> None:
    """A stream may have ended before its image was made; a document may not."""
    failure = unfinished(WireError("json", "it was cut"), a_head(content_type=(content_type,)))
    assert (failure.kind, failure.charge, failure.reason) == (kind, charge, "json")


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
def test_a_detail_stays_a_sentence(content_type: str) -> None:
    """However long the reader's complaint is."""
    error = WireError("json", "x" * 10_000)
    assert len(malformed(error).detail) <= 2000
    assert len(unfinished(error, a_head(content_type=(content_type,))).detail) <= 2000


@pytest.mark.parametrize("piece_bytes", [1, 1000, 1 << 22])
def test_the_first_part_of_an_error_body_is_kept(piece_bytes: int) -> None:
    """Whatever it is, in whatever pieces; the rest is read and dropped."""
    body = b"<html>" + bytes(range(256)) * 10
    reader = ErrorReader()
    for at in range(0, len(body), piece_bytes):
        assert reader.feed(body[at : at + piece_bytes]) == []
        assert not reader.complete
    answer = reader.finish()
    assert (answer.document, answer.images, answer.error) == (body, (), None)


def test_an_error_body_without_end_stays_bounded() -> None:
    """Its first lines say what happened."""
    reader = ErrorReader()
    for piece in (b"a" * (KEPT_BYTES_MAX - 1), b"bc", b"d" * 5000, memoryview(b"e" * 100)):
        reader.feed(piece)
    document = reader.finish().document
    assert len(document) == KEPT_BYTES_MAX
    assert document.endswith(b"ab")
    assert "a" * 10 not in repr(reader)


def test_an_empty_error_body_is_an_empty_document() -> None:
    """Statuses come without a body, too."""
    assert ErrorReader().finish().document == b""
