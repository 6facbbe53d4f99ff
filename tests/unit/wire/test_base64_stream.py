"""Base64 in the forms in which it really comes, whole and cut anywhere."""

from __future__ import annotations

import base64

import pytest

from holdfast.wire.base64_stream import Base64Decoder
from holdfast.wire.errors import WireError

RAW = bytes(range(256)) + b"\xfb\xff\xbf" * 5
STANDARD = base64.b64encode(RAW)


def decode(*pieces: bytes) -> bytes:
    """Decode pieces in order."""
    decoder = Base64Decoder()
    out = [part for piece in pieces for part in decoder.feed(piece)]
    return b"".join(out + decoder.finish())


def assert_garbage(text: bytes) -> None:
    """Expect a refusal however the text is cut."""
    for cut in range(len(text) + 1):
        with pytest.raises(WireError) as raised:
            decode(text[:cut], text[cut:])
        assert raised.value.code == "base64"
    with pytest.raises(WireError):
        decode(*[text[at : at + 1] for at in range(len(text))])


def test_standard_base64_is_decoded() -> None:
    """The plain form, in one piece."""
    assert decode(STANDARD) == RAW


def test_a_memoryview_is_taken_like_bytes() -> None:
    """The scanner hands over slices without copying them."""
    decoder = Base64Decoder()
    assert b"".join(decoder.feed(memoryview(STANDARD)[:8])) == RAW[:6]


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5, 7, 64])
def test_pieces_of_any_length_give_the_same_bytes(step: int) -> None:
    """Quanta are put together across borders."""
    assert decode(*[STANDARD[at : at + step] for at in range(0, len(STANDARD), step)]) == RAW


def test_url_safe_alphabet_is_accepted() -> None:
    """google-genai for Python sends nothing else."""
    assert decode(base64.urlsafe_b64encode(RAW)) == RAW


def test_both_alphabets_in_one_text_are_accepted_without_a_warning() -> None:
    """pybase64 warns of such mixtures; warnings are errors here, so none may come."""
    assert decode(b"+/-_", b"-_+/") == b"\xfb\xff\xbf" * 2


def test_alphabet_may_change_between_pieces() -> None:
    """The way of decoding is a guess from the last piece, never a promise."""
    assert decode(b"-_-_", b"+/+/", b"AAAA") == b"\xfb\xff\xbf" * 2 + b"\x00" * 3


@pytest.mark.parametrize("length", range(8))
def test_padding_may_be_missing(length: int) -> None:
    """Unpadded base64 is read to its last byte."""
    raw = RAW[:length]
    assert decode(base64.b64encode(raw).rstrip(b"=")) == raw


@pytest.mark.parametrize("length", range(8))
def test_padding_may_arrive_apart(length: int) -> None:
    """A border inside the padding changes nothing."""
    text = base64.b64encode(RAW[:length])
    for cut in range(len(text) + 1):
        assert decode(text[:cut], text[cut:]) == RAW[:length]


@pytest.mark.parametrize("cut", range(9))
def test_more_padding_than_there_is_room_for_is_let_pass_wherever_it_is_cut(cut: int) -> None:
    """In one piece or in two, escaped or not: the same bytes."""
    for text in (b"QQQ=====", b"QQ======", b"Q-Q=====", b"Q Q=\n===="):
        decoder = Base64Decoder()
        whole = [*decoder.feed(text), *decoder.finish()]
        decoder = Base64Decoder()
        assert b"".join([*decoder.feed(text[:cut]), *decoder.feed(text[cut:]), *decoder.finish()]) == b"".join(whole)


def test_half_the_padding_is_accepted() -> None:
    """`QQ=` can mean one thing only."""
    assert decode(b"QQ=") == b"A"
    assert decode(b"Q", b"Q", b"=") == b"A"


@pytest.mark.parametrize("escape", [rb"\/", rb"\u002f", rb"\u002F"])
def test_json_escapes_of_the_slash_are_undone(escape: bytes) -> None:
    """PHP escapes every slash; some encoders use the long form."""
    text = STANDARD.replace(b"/", escape)
    assert escape in text
    for cut in range(len(text)):
        assert decode(text[:cut], text[cut:]) == RAW


def test_json_escapes_of_plus_and_equals_are_undone() -> None:
    """Cautious encoders (gson) write `=` and `+` as escapes."""
    raw = b"\xfb\xef\xbeA"
    text = base64.b64encode(raw).replace(b"+", rb"\u002b").replace(b"=", rb"\u003D")
    assert decode(text) == raw
    assert decode(*[text[at : at + 1] for at in range(len(text))]) == raw


@pytest.mark.parametrize("end", [b"\n", b"\r\n", rb"\n", rb"\r\n", b" ", b"\t"])
def test_line_breaks_inside_are_accepted(end: bytes) -> None:
    """MIME encoders break lines at 76."""
    text = end.join(STANDARD[at : at + 76] for at in range(0, len(STANDARD), 76)) + end
    assert decode(text) == RAW
    assert decode(*[text[at : at + 3] for at in range(0, len(text), 3)]) == RAW


@pytest.mark.parametrize(
    "prefix", [b"data:image/png;base64,", rb"data:image\/png;base64,", b"DATA:;BASE64,", b"data:a/b;charset=x;base64,"]
)
def test_a_data_url_prefix_is_dropped(prefix: bytes) -> None:
    """Some callers leave it in front, wherever the first piece ends."""
    text = prefix + STANDARD
    for cut in range(len(prefix) + 5):
        assert decode(text[:cut], text[cut:]) == RAW
    assert decode(*[text[at : at + 1] for at in range(len(text))]) == RAW


def test_base64_that_begins_like_a_prefix_is_data() -> None:
    """`data` is itself four valid characters."""
    text = b"dataAAAA"
    for cut in range(len(text) + 1):
        assert decode(text[:cut], text[cut:]) == base64.b64decode(text)
    assert decode(b"data") == base64.b64decode(b"data")


def test_a_data_url_that_is_not_base64_is_refused_with_advice() -> None:
    """Percent-encoded data URLs are said to be so."""
    with pytest.raises(WireError, match="data:<type>;base64") as raised:
        decode(b"data:image/svg+xml,%3Csvg")
    assert raised.value.code == "base64"


def test_an_endless_prefix_is_refused() -> None:
    """The prefix is held, so it is bounded."""
    decoder = Base64Decoder()
    with pytest.raises(WireError):
        for _ in range(600):
            decoder.feed(b"data:")


def test_nothing_decodes_to_nothing() -> None:
    """An empty text is no error."""
    assert decode() == b""
    assert decode(b"") == b""


@pytest.mark.parametrize(
    "text",
    [
        b"$$$$",
        b"QQ$=",
        b"Q",
        b"QQQQQ",
        b"=",
        b"====",
        b"Q===",
        b"QQ==QQ==",
        b"QQ==A",
        b"QUI=QUI=",
        b"\xff\xfe\xfd\xfc",
        rb"QQQQ\\QQQ",
        rb"QQQ\x",
        rb"QQQQ\u0041\u",
        rb"QQQQ\u20ac",
        rb"QQQQ\"QQQ",
        b"QQQQ\\",
        b"https://example.test/x.png",
        b"data:image/png",
    ],
)
def test_garbage_is_refused_wherever_it_is_cut(text: bytes) -> None:
    """What is not base64 never becomes bytes by a lucky border."""
    assert_garbage(text)


def test_an_escaped_backslash_before_a_slash_is_not_a_slash() -> None:
    """`\\\\/` is a backslash and a slash; undoing only the slash would accept garbage."""
    assert_garbage(rb"QQQQ\\/QQQ")


def test_padding_ends_the_text_but_blanks_may_follow() -> None:
    """A trailing line break is common, further data is not base64."""
    assert decode(b"QQ==", b"\n") == b"A"
    assert decode(b"QQ==\n") == b"A"
    assert decode(b"QUI=\r\n", b"\r\n") == b"AB"


def test_the_error_does_not_repeat_the_text() -> None:
    """What was refused may be a picture of someone."""
    with pytest.raises(WireError) as raised:
        decode(b"secret secret!!")
    assert "secret" not in str(raised.value)
    assert raised.value.message == str(raised.value)
