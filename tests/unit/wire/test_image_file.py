"""A picture as a file server gives it: taken as it comes, refused if it is none, too large, or cut."""

from __future__ import annotations

import pytest

from holdfast.wire.answers import Answer, AnswerImage, Role
from holdfast.wire.errors import EndsEarly, WireError
from holdfast.wire.image_file import ImageFileReader
from holdfast.wire.scan import ImageBegan, ImageBytes

PNG = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x00\x00\x00\x00:~\x9bU"
    b"\x00\x00\x00\nIDATx\x9cc`\x00\x00\x00\x02\x00\x01H\xaf\xa4q\x00\x00\x00\x00IEND\xaeB`\x82"
)
ANSWER = Answer(images=(AnswerImage(index=3, role=Role.RESULT),), document=b'{"images":[]}')


def a_reader(**overrides: int) -> ImageFileReader:
    """For the fourth picture of an answer."""
    return ImageFileReader(index=3, answer=ANSWER, **overrides)


@pytest.mark.parametrize("step", [1, 5, 4096])
def test_a_picture_is_passed_on_as_it_comes(step: int) -> None:
    """Under its number in the answer that named it, and with that answer at the end."""
    reader = a_reader()
    events = [event for at in range(0, len(PNG), step) for event in reader.feed(PNG[at : at + step])]
    assert events[0] == ImageBegan(3, ())
    assert sum(isinstance(event, ImageBegan) for event in events) == 1
    assert b"".join(event.data for event in events if isinstance(event, ImageBytes)) == PNG
    assert reader.finish() is ANSWER
    assert not reader.complete


def test_what_is_passed_on_is_kept_by_nobody_else() -> None:
    """The transport's buffer is used again as soon as `feed` has returned."""
    memory = bytearray(PNG)
    reader = a_reader()
    _, piece = reader.feed(memoryview(memory))
    memory[:] = bytes(len(memory))
    assert piece == ImageBytes(3, PNG)


def test_nothing_is_no_picture() -> None:
    """An empty file begins no image."""
    reader = a_reader()
    assert reader.feed(b"") == []
    with pytest.raises(WireError, match="empty"):
        reader.finish()


def test_a_page_is_no_picture() -> None:
    """A file server's error page with status 200."""
    reader = a_reader()
    reader.feed(b"<html>gone</html>")
    with pytest.raises(WireError, match="no image"):
        reader.finish()


def test_a_picture_that_was_cut_is_told() -> None:
    """Where no length was announced, only its missing end shows it."""
    reader = a_reader()
    reader.feed(PNG[:-5])
    with pytest.raises(EndsEarly):
        reader.finish()


def test_a_picture_has_a_bound() -> None:
    """One byte more is refused as it comes."""
    reader = a_reader(image_bytes_max=len(PNG))
    reader.feed(PNG)
    with pytest.raises(WireError, match="larger"):
        reader.feed(b"x")
