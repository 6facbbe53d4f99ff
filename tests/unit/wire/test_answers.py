"""The common result of all readers."""

from __future__ import annotations

import pytest

from holdfast.wire.answers import Answer, AnswerImage, Reader, Role
from holdfast.wire.gemini import GenerateReader, GenerateStreamReader
from holdfast.wire.openai import ImagesReader, ImagesStreamReader


def test_results_are_the_images_that_were_asked_for() -> None:
    """Drafts and previews are not among them."""
    images = tuple(AnswerImage(index=index, role=role) for index, role in enumerate([*Role, Role.RESULT]))
    assert [image.index for image in Answer(images=images, document=b"{}").results] == [0, 3]


@pytest.mark.parametrize("make", [ImagesReader, ImagesStreamReader, GenerateReader, GenerateStreamReader])
def test_every_reader_keeps_the_protocol(make: type) -> None:
    """The transport knows no dialect."""
    reader: Reader = make(image_bytes_max=10)
    assert reader.feed(b"\n") == []
    assert reader.feed(bytearray(b"\n")) == []
    assert reader.feed(memoryview(b"\n")) == []
    assert reader.complete is False
