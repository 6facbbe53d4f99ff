"""Images within texts, cut anywhere: bytes come out, words stay, and what is written like our marks is words too."""

from __future__ import annotations

import base64
import json

from hypothesis import given
from hypothesis import strategies as st

from holdfast.wire.prose import Prose
from holdfast.wire.scan import ImageBegan, ImageBytes, ImageEnded, JsonReader

BEGIN = "data:image/png;base64,"
WORDS = st.text(max_size=12) | st.sampled_from(
    ["data:", "data:image/", ";base64,", "<0>", "![a](", ")", "\\", '"', "data:image/png;base6", BEGIN + "<0>", BEGIN]
)
IMAGES = st.binary(min_size=1, max_size=30)


@st.composite
def texts(draw: st.DrawFn) -> tuple[str, list[bytes], str]:
    """Draw a text: as it is written, its images, and what stays of it."""
    written, images, stays = "", [], ""
    for _ in range(draw(st.integers(0, 4))):
        # A letter of base64 behind an image would belong to it; a bracket never does.
        words = draw(WORDS) + "("
        written += words
        stays += words
        if draw(st.booleans()):
            image = draw(IMAGES)
            written += BEGIN + base64.b64encode(image).decode() + ")"
            stays += f"{BEGIN}{len(images)})"
            images.append(image)
    return written, images, stays


@given(text=texts(), cuts=st.lists(st.integers(0, 600), max_size=6), php=st.booleans(), ascii_only=st.booleans())
def test_images_leave_a_text_and_words_stay(
    text: tuple[str, list[bytes], str], cuts: list[int], php: bool, ascii_only: bool
) -> None:
    """Whoever wrote the JSON: with slashes escaped as PHP does, letters escaped as Python does."""
    written, images, stays = text
    raw = json.dumps({"t": written, "u": written}, ensure_ascii=ascii_only)
    body = (raw.replace("/", "\\/") if php else raw).encode("utf-8", "surrogatepass")
    reader = JsonReader(lambda _: False, prose=Prose(lambda path: path == ("t",), is_talk=True))
    places = sorted(min(cut, len(body)) for cut in cuts)
    got: dict[int, bytes] = {}
    ended: list[int] = []
    for start, stop in zip([0, *places], [*places, len(body)], strict=True):
        for event in reader.feed(body[start:stop]):
            match event:
                case ImageBegan(index=index, path=path):
                    assert path == ("t",)
                    got[index] = b""
                case ImageBytes(index=index, data=data):
                    got[index] += data
                case ImageEnded(index=index):
                    ended.append(index)
    assert [got[index] for index in sorted(got)] == images
    assert ended == list(range(len(images)))
    document = json.loads(reader.finish())
    assert document["u"] == written
    assert document["t"] == stays
