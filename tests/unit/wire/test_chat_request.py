"""A conversation becomes a prompt and what it begins from; sizes are found wherever chat programs write them."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from holdfast.errors import RequestError
from holdfast.wire.chat_request import (
    CHAT_REQUEST_IMAGE,
    CHAT_REQUEST_PROSE,
    ChatView,
    NamedModel,
    decode_chat_request,
    named_model,
)
from holdfast.wire.prose import Prose
from holdfast.wire.scan import ImageBytes, JsonReader

PROMPT = "a lighthouse"
URL = "https://example.com/a.png"
DATA = "data:image/png;base64,"


def user(*content: Any) -> dict[str, Any]:
    """A turn of the user's: one text, or parts."""
    if len(content) == 1 and isinstance(content[0], str):
        return {"role": "user", "content": content[0]}
    return {"role": "user", "content": [{"type": "text", "text": c} if isinstance(c, str) else c for c in content]}


def image(url: str) -> dict[str, Any]:
    """A part that is an image."""
    return {"type": "image_url", "image_url": {"url": url}}


def said(content: Any, *images: str) -> dict[str, Any]:
    """A turn of the model's."""
    more = {"images": [image(url) for url in images]} if images else {}
    return {"role": "assistant", "content": content, **more}


def view_of(*messages: dict[str, Any], **fields: Any) -> tuple[ChatView, list[bytes]]:
    """Read and decode a request; give also what was cut out of it."""
    reader = JsonReader(CHAT_REQUEST_IMAGE, links_stay=True, prose=Prose(CHAT_REQUEST_PROSE, is_talk=True))
    cut: list[bytes] = []
    for event in reader.feed(json.dumps({"messages": messages, **fields}).encode()):
        if isinstance(event, ImageBytes):
            cut.append(event.data)
    return decode_chat_request(reader.finish(), reader.next_index), cut


def refused(*messages: Any, **fields: Any) -> RequestError:
    """Decode what is refused."""
    with pytest.raises(RequestError) as caught:
        view_of(*messages, **fields)
    return caught.value


def places(view: ChatView) -> tuple[list[int | str], list[int | str]]:
    """Where the images are: of the conversation, and of the user."""
    return [each.place for each in view.earlier], [each.place for each in view.own]


def test_the_user_s_last_words_are_the_prompt() -> None:
    """Texts of a message are lines; what others said before and after is not drawn."""
    view, _ = view_of({"role": "system", "content": "be brief"}, user("a cat"), said("ok"), user(PROMPT, "at night"))
    assert view.prompt == f"{PROMPT}\nat night"
    assert places(view) == ([], [])
    assert view_of(user(PROMPT), said("prefix"))[0].prompt == PROMPT


def test_the_user_s_images_come_behind_what_was_shown_last() -> None:
    """In parts as data URL, as address, or as a bare text; and nothing older than the last image."""
    view, cut = view_of(
        user("a cat", image(DATA + "b2xk")),
        said("here", DATA + "c2hvd24="),
        user("and?"),
        said("words only"),
        user(image(DATA + "b3du"), image(URL), {"type": "image_url", "image_url": URL}, "make it red"),
    )
    assert cut == [b"old", b"shown", b"own"]
    assert places(view) == ([1], [2, URL, URL])
    assert [each.where for each in view.own] == [f"messages[4].content[{at}].image_url" for at in range(3)]
    assert view.earlier[0].where == "messages[1].images[0].image_url"


def test_images_within_a_text_are_cut_out_of_it() -> None:
    """As relays, and this gateway, give them: 27 MB in a text come back with the next turn."""
    view, cut = view_of(
        user("a cat"), said(f"Here.\n![image]({DATA}b25l) and ![b]({DATA}dHdv)"), user(f"![x]({DATA}bWluZQ==) in red")
    )
    assert cut == [b"one", b"two", b"mine"]
    assert places(view) == ([0, 1], [2])
    assert view.prompt == "in red"


def test_links_of_what_was_shown_may_lead_nowhere() -> None:
    """A chat program sends them for ever; a link that the user writes into a text is words."""
    view, _ = view_of(user("a cat"), said(f"![image]({URL})"), user(f"like ![this]({URL})"))
    (shown,) = view.earlier
    assert (shown.place, shown.may_be_missing) == (URL, True)
    assert view.own == ()
    assert URL in view.prompt


def test_a_part_of_another_kind_has_no_effect() -> None:
    """Files and sounds that a program sends along do not spoil the turn."""
    view, _ = view_of(user(PROMPT, {"type": "input_audio", "input_audio": {"data": "x"}}))
    assert view.prompt == PROMPT


@pytest.mark.parametrize(
    ("fields", "size", "ratio"),
    [
        ({}, None, None),
        ({"size": "1024x1536"}, "1024x1536", None),
        ({"image_config": {"aspect_ratio": "16:9", "image_size": "4K"}}, "4K", "16:9"),
        ({"image_config": {"aspectRatio": "16:9", "imageSize": "4K"}}, "4K", "16:9"),
        ({"extra_body": {"google": {"image_config": {"aspect_ratio": "3:2", "image_size": "2K"}}}}, "2K", "3:2"),
        ({"google": {"image_config": {"image_size": "2K"}}}, "2K", None),
        (
            {"size": "1K", "aspect_ratio": "1:1", "image_config": {"image_size": "4K", "aspect_ratio": "3:2"}},
            "1K",
            "1:1",
        ),
        ({"image_config": {}, "extra_body": {}, "google": {}}, None, None),
    ],
)
def test_size_and_ratio_are_found(fields: dict[str, Any], size: str | None, ratio: str | None) -> None:
    """In the words of OpenAI, OpenRouter and new-api; the first of them counts."""
    view, _ = view_of(user(PROMPT), **fields)
    assert (view.size, view.aspect_ratio) == (size, ratio)


def test_what_has_no_effect_is_known_by_name() -> None:
    """Chat programs send a temperature to everything."""
    view, _ = view_of(user(PROMPT), temperature=0.7, tools=[], modalities=["image", "text"], stream=True)
    assert view.unknown == ("temperature", "tools")
    assert view.wants_images_field
    assert view.request.stream


@pytest.mark.parametrize(
    ("messages", "fields", "param", "told"),
    [
        ([], {}, "messages", "1 to 1000 items"),
        ([said("hello")], {}, "messages", "none of the user's"),
        ([user(" ")], {}, "messages", "no text to draw from"),
        ([user(image(URL))], {}, "messages", "no text to draw from"),
        ([user("x" * 32_001)], {}, "messages", "at most 32,000"),
        ([{"content": "a"}], {}, "messages[0].role", "is missing"),
        ([{"role": "user", "content": 5}], {}, "messages[0].content", "must be text, not 5"),
        (
            [{"role": "user", "content": [{"type": "text", "text": 5}]}],
            {},
            "messages[0].content[0].text",
            "must be text, not 5",
        ),
        ([user(PROMPT)], {"n": 11}, "n", "from 1 to 10"),
        ([user(PROMPT)], {"image_config": "4K"}, "image_config", "an object"),
        ([user(PROMPT)], {"modalities": "image"}, "modalities", "a list"),
    ],
)
def test_what_is_wrong_is_named(messages: list[Any], fields: dict[str, Any], param: str, told: str) -> None:
    """The field, and what it must be."""
    error = refused(*messages, **fields)
    assert error.param == param
    assert told in error.message


def test_an_image_in_a_text_may_have_parameters() -> None:
    """As URLs of canvases and editors have them: it is an image, and no part of the prompt."""
    view, cut = view_of(user(f"![a](data:image/png;name=a.png;charset=utf-8;base64,iVBORw0KGgo=) {PROMPT}"))
    assert cut == [b"\x89PNG\r\n\x1a\n"]
    assert (view.prompt, places(view)) == (PROMPT, ([], [0]))


def test_a_text_of_brackets_is_read_once() -> None:
    """From each of them to the end it would be hours, with every other caller waiting."""
    text = "![" * 500_000
    began = time.process_time()
    view, _ = view_of(said(text), user(PROMPT))
    assert time.process_time() - began < 10.0
    assert view.prompt == PROMPT


@pytest.mark.parametrize("text", [f"![a]({DATA}<0>)", f"{DATA}", f"about {DATA}... urls", "![a](<0>)", f"{DATA}\u0663"])
def test_talk_about_images_is_talk(text: str) -> None:
    """What looks like our marks, and what begins an image without being one, stays what it is: words."""
    view, cut = view_of(user(f"{text} {PROMPT}"))
    assert cut == []
    assert view.own == ()


@pytest.mark.parametrize(
    "content",
    [
        '[{"type":"image_url","image_url":{"url":"0"}},{"type":"text","text":"a"}]',
        '[{"type":"image_url","image_url":"0"},{"type":"text","text":"a"}]',
        '"![a](d\\u0061ta:image/png;base64,0) a"',
        '"![a](data:image/png\\u003bx=y;base64,0) a"',
    ],
)
def test_a_number_that_a_caller_wrote_is_no_image(content: str) -> None:
    """However it is spelled: nobody sent that image."""
    reader = JsonReader(CHAT_REQUEST_IMAGE, links_stay=True, prose=Prose(CHAT_REQUEST_PROSE, is_talk=True))
    reader.feed(f'{{"messages":[{{"role":"user","content":{content}}}]}}'.encode())
    with pytest.raises(RequestError, match="data: URL"):
        decode_chat_request(reader.finish(), 0)


@pytest.mark.parametrize(
    ("name", "model", "size", "ratio"),
    [
        ("nano-banana-pro", "nano-banana-pro", None, None),
        ("nano-banana-pro-2k", "nano-banana-pro", "2K", None),
        ("nano-banana-pro-16x9-4k", "nano-banana-pro", "4K", "16:9"),
        ("nano-banana-pro-4K-9x16", "nano-banana-pro", "4K", "9:16"),
        ("nano-banana-pro-1k-4k", "nano-banana-pro", "4K", None),
        ("own-4k", "own-4k", None, None),
        ("own-4k-2k", "own-4k", "2K", None),
        ("other-4k", "other-4k", None, None),
        ("nano-banana-pro-8k", "nano-banana-pro-8k", None, None),
    ],
)
def test_relays_suffixes_are_read(name: str, model: str, size: str | None, ratio: str | None) -> None:
    """Only behind a name that is served; one that is served as it stands means itself."""
    served = {"nano-banana-pro", "own-4k"}
    assert named_model(name, served.__contains__) == NamedModel(model=model, size=size, aspect_ratio=ratio)
