"""A document of any size: images out, skeleton kept, bounds held."""

from __future__ import annotations

import base64
import json

import pytest

from holdfast.wire.errors import WireError
from holdfast.wire.scan import Event, ImageBegan, ImageBytes, ImageEnded, JsonReader, Nesting

PATH = ("data", "b64_json")
RAW = b"\x89PNG and \x00\xff so on"
TEXT = base64.b64encode(RAW).decode()


def is_image(path: tuple[str, ...]) -> bool:
    """The path used throughout."""
    return path == PATH


def read(body: bytes, *, step: int = 1 << 20, **limits: int) -> tuple[list[Event], bytes]:
    """Read a body in pieces; data of neighbouring events joined."""
    reader = JsonReader(is_image, **limits)
    events: list[Event] = []
    for at in range(0, len(body), step):
        for event in reader.feed(body[at : at + step]):
            last = events[-1] if events else None
            if isinstance(event, ImageBytes) and isinstance(last, ImageBytes) and last.index == event.index:
                events[-1] = ImageBytes(event.index, last.data + event.data)
            else:
                events.append(event)
    return events, reader.finish()


def image(index: int, raw: bytes = RAW) -> list[Event]:
    """The events of one whole image."""
    return [ImageBegan(index, PATH), ImageBytes(index, raw), ImageEnded(index)]


def refused(body: bytes, **limits: int) -> WireError:
    """Read a body that must be refused, in one piece and byte by byte."""
    with pytest.raises(WireError) as whole:
        read(body, **limits)
    with pytest.raises(WireError) as bytewise:
        read(body, step=1, **limits)
    assert whole.value.code == bytewise.value.code
    return whole.value


def test_an_image_is_cut_out_and_its_number_stands_in_its_place() -> None:
    """The skeleton is the document with the image's number as a string."""
    events, skeleton = read(b'{"created":1,"data":[{"b64_json":"%s","x":"y"}]}' % TEXT.encode())
    assert events == image(0)
    assert skeleton == b'{"created":1,"data":[{"b64_json":"0","x":"y"}]}'


def test_every_split_at_every_byte_gives_the_same_events() -> None:
    """Two pieces, cut at each place in turn."""
    body = b' {"a":[1,{"b":"\\"{[,:"}],"data":[{"b64_json":"%s"},{"b64_json":"%s"}],"z":null}\n' % (
        TEXT.replace("/", "\\/").encode(),
        TEXT.encode(),
    )
    expected = read(body)
    for cut in range(len(body)):
        reader = JsonReader(is_image)
        events = reader.feed(body[:cut]) + reader.feed(body[cut:])
        data = {0: b"", 1: b""}
        for event in events:
            if isinstance(event, ImageBytes):
                data[event.index] += event.data
        assert data == {0: RAW, 1: RAW}
        assert reader.finish() == expected[1]


@pytest.mark.parametrize("step", [1, 2, 3, 5, 8, 13])
def test_small_pieces_give_the_same_events(step: int) -> None:
    """Pieces of a few bytes, as a slow path delivers them."""
    body = b'{"data":[{"b64_json":"%s"}],"text":"\\\\\\" \\u00e9"}' % TEXT.encode()
    assert read(body, step=step) == read(body)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_is_accepted(kind: type) -> None:
    """Protocols give bytes, the transport its own buffers."""
    reader = JsonReader(is_image)
    reader.feed(kind(b'{"data":{"b64_json":"QUJD"}}'))
    assert reader.finish() == b'{"data":{"b64_json":"0"}}'


def test_several_images_are_numbered_in_order() -> None:
    """Numbers go up as images come."""
    body = b'{"data":[{"b64_json":"QUJD"},{"b64_json":"REVG"},{"b64_json":"R0hJ"}]}'
    events, skeleton = read(body)
    assert [event for event in events if isinstance(event, ImageBytes)] == [
        ImageBytes(0, b"ABC"),
        ImageBytes(1, b"DEF"),
        ImageBytes(2, b"GHI"),
    ]
    assert [item["b64_json"] for item in json.loads(skeleton)["data"]] == ["0", "1", "2"]


def test_numbering_may_begin_elsewhere() -> None:
    """The documents of a stream share one numbering."""
    reader = JsonReader(is_image, first_index=7)
    assert reader.feed(b'{"data":{"b64_json":"QUJD"}}')[0] == ImageBegan(7, PATH)
    assert reader.finish() == b'{"data":{"b64_json":"7"}}'
    assert reader.next_index == 8


@pytest.mark.parametrize("value", [b'""', b"null", b"0", b"[]", b"{}", b"true"])
def test_an_empty_or_other_value_is_no_image(value: bytes) -> None:
    """Relays send an empty string beside a link."""
    body = b'{"data":[{"url":"","b64_json":' + value + b"}]}"
    assert read(body) == ([], body)
    assert read(body, step=1) == ([], body)


def test_a_number_written_by_the_sender_is_an_image_not_a_slot() -> None:
    """`"b64_json":"0000"` is cut out like any other: slots cannot be forged."""
    events, skeleton = read(b'{"data":[{"b64_json":"0000"},{"b64_json":"0001"}]}')
    assert [event.index for event in events if isinstance(event, ImageBegan)] == [0, 1]
    assert skeleton == b'{"data":[{"b64_json":"0"},{"b64_json":"1"}]}'


def test_an_escaped_key_is_the_key_it_means() -> None:
    """Otherwise an image could hide from us and be seen by the decoder of the skeleton."""
    events, skeleton = read(b'{"d\\u0061ta":{"b64\\u005Fjson":"QUJD"}}')
    assert len(events) == 3
    assert json.loads(skeleton) == {"data": {"b64_json": "0"}}


def test_a_key_given_twice_is_cut_out_twice() -> None:
    """Whichever the decoder of the skeleton takes, it is a number of ours."""
    events, _ = read(b'{"data":{"b64_json":"QUJD","b64_json":"REVG"}}')
    assert len([event for event in events if isinstance(event, ImageEnded)]) == 2


@pytest.mark.parametrize(
    "body",
    [
        b'{"data":["b64_json","QUJD"]}',
        b'{"other":{"data":{"b64_json":"QUJD"}}}',
        b'{"data":{"b64_json":["QUJD"],"c":{"b64_json":"QUJD"}}}',
        b'{"b64_json":"QUJD"}',
        b'{"data":"b64_json","x":"QUJD"}',
        b'{"x":[{"y":1},"b64_json","QUJD",{"data":2}]}',
    ],
)
def test_only_the_whole_path_makes_an_image(body: bytes) -> None:
    """The same words elsewhere, or as values, mean nothing. An array adds nothing to the path, so its strings count."""
    events, skeleton = read(body)
    if b'["QUJD"]' in body:
        assert skeleton == body.replace(b'["QUJD"]', b'["0"]')
    else:
        assert (events, skeleton) == ([], body)


def test_an_array_at_the_root_adds_nothing_to_the_path() -> None:
    """Gemini's stream without `alt=sse` is an array of chunks."""
    events, skeleton = read(b'[{"data":{"b64_json":"QUJD"}},{"data":[[{"b64_json":"QUJD"}]]}]')
    assert len(events) == 6
    assert skeleton == b'[{"data":{"b64_json":"0"}},{"data":[[{"b64_json":"1"}]]}]'


@pytest.mark.parametrize("lead", [b"", b" ", b"\n" * 5000, b"\r\n\t ", b"\xef\xbb\xbf", b" \xef\xbb\xbf\n"])
def test_white_space_and_a_byte_order_mark_may_come_first(lead: bytes) -> None:
    """Heartbeats are white space, and cost nothing of the bound."""
    assert read(lead + b'{"a":1} \n', skeleton_bytes_max=16) == ([], b'{"a":1}')
    assert read(lead + b'{"a":1} \n', step=1, skeleton_bytes_max=16) == ([], b'{"a":1}')


def test_complete_tells_that_the_document_has_closed() -> None:
    """A relay that forgets the last chunk has still sent the whole answer."""
    reader = JsonReader(is_image)
    assert not reader.complete
    reader.feed(b'{"a":[{}')
    assert not reader.complete
    reader.feed(b"]}")
    assert reader.complete
    reader.feed(b"\n")
    assert reader.complete


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"{",
        b'{"a',
        b'{"a":"b',
        b'{"a":"b\\',
        b'{"data":{"b64_json":"QUJD',
        b'{"data":{"b64_json":"',
        b'{"data":{"b64_json":"QUJD"}',
        b"[1,2",
    ],
)
def test_a_truncated_document_is_refused(body: bytes) -> None:
    """Nothing that was cut on its way counts as an answer."""
    assert refused(body).code == "json"


@pytest.mark.parametrize(
    "body",
    [
        b"<!doctype html><html></html>",
        b"null",
        b'"text"',
        b"123",
        b"\xef\xbbx{}",
        b"\xef\xbb\xbf\xef\xbb\xbf{}",
        b"{]",
        b"[}",
        b"{}{}",
        b"{} x",
        b"{'a':1}",
        b'{"a":1,}',
        b'{"a" "b"}',
        b'{"a":tru}',
        b'{"a":"line\nbreak"}',
        b"[1,]",
        b'{"a":1 "b":2}',
        b'{"a\\q":1}',
        b'{"\\u00zz":1}',
    ],
)
def test_what_is_not_json_is_refused(body: bytes) -> None:
    """The skeleton is checked by a real decoder; the scanner's own view is never the last word."""
    assert refused(body).code == "json"


def test_text_that_is_not_utf8_is_refused() -> None:
    """The encoding is named, the text is not."""
    error = refused(b'{"a":"\xff\xfe secret"}')
    assert error.code == "encoding"
    assert "secret" not in str(error)


def test_utf8_is_kept_byte_for_byte() -> None:
    """Cut characters are put together again."""
    body = '{"é":"日本語 🗼","data":[]}'.encode()
    assert read(body, step=1) == ([], body)


@pytest.mark.parametrize("half", [rb"\ud83d", rb"\uDE00", rb"\ud83d\ud83d"])
def test_half_a_surrogate_pair_does_not_lose_the_picture(half: bytes) -> None:
    """Text cut inside an emoji is mended; the image was paid for."""
    events, skeleton = read(b'{"data":{"b64_json":"QUJD"},"text":"ok \\ud83d\\ude00 \\\\ud83d ' + half + b'"}')
    assert len(events) == 3
    text = json.loads(skeleton)["text"]
    assert text.startswith("ok \U0001f600 \\ud83d ")
    assert set(text[text.rindex(" ") + 1 :]) == {"\ufffd"}


def test_half_a_surrogate_pair_in_a_key_is_mended_alike() -> None:
    """The path and the skeleton go on agreeing."""
    _, skeleton = read(b'{"\\ud83d":{"a":1}}')
    assert json.loads(skeleton) == {"\ufffd": {"a": 1}}


def test_bad_base64_is_refused_at_once() -> None:
    """The error comes with the piece that holds it, not at the end."""
    reader = JsonReader(is_image)
    with pytest.raises(WireError) as raised:
        reader.feed(b'{"data":{"b64_json":"****')
    assert raised.value.code == "base64"


def test_an_escaped_quote_in_an_image_is_refused() -> None:
    """It would otherwise be taken for the end of the string."""
    assert refused(b'{"data":{"b64_json":"QUJD\\"QUJD"}}').code == "base64"


def test_the_skeleton_is_bounded() -> None:
    """Text, keys and numbers count; images do not."""
    assert refused(b'{"a":"' + b"x" * 100 + b'"}', skeleton_bytes_max=50).code == "too_large"
    assert refused(b'{"' + b"k" * 100 + b'":1}', skeleton_bytes_max=50).code == "too_large"
    assert refused(b"[" + b"1," * 100, skeleton_bytes_max=50).code == "too_large"
    body = b'{"data":{"b64_json":"' + base64.b64encode(bytes(3000)) + b'"}}'
    assert len(read(body, skeleton_bytes_max=50)[0]) == 3


def test_an_image_is_bounded() -> None:
    """The bound is on decoded bytes."""
    body = b'{"data":{"b64_json":"' + base64.b64encode(bytes(300)) + b'"}}'
    assert read(body, image_bytes_max=300)[0][1] == ImageBytes(0, bytes(300))
    assert refused(body, image_bytes_max=299).code == "too_large"


def test_images_are_counted() -> None:
    """More than the bound are refused when the next one begins."""
    body = b'{"data":[' + b",".join([b'{"b64_json":"QUJD"}'] * 3) + b"]}"
    assert len(read(body, images_max=3)[0]) == 9
    assert refused(body, images_max=2).code == "too_large"


def test_depth_is_bounded() -> None:
    """A wall of brackets costs no recursion."""
    assert read(b"[" * 64 + b"]" * 64)[1] == b"[" * 64 + b"]" * 64
    assert refused(b"[" * 65 + b"]" * 65).code == "too_large"


def test_a_long_key_is_kept_but_names_nothing() -> None:
    """Keys are remembered up to a bound; a longer one cannot be an image's."""
    key = b"k" * 5000
    body = b'{"' + key + b'":{"b64_json":"QUJD"},"data":{"b64_json":"QUJD"}}'
    events, skeleton = read(body)
    assert len(events) == 3
    assert key in skeleton


def test_a_long_escaped_key_is_read_across_pieces() -> None:
    """The bound holds for keys that are cut inside an escape, too."""
    body = b'{"' + b"\\u0061" * 300 + b'":1,"\\u0064\\u0061\\u0074\\u0061":{"b64_json":"QUJD"}}'
    assert read(body, step=1) == read(body)
    assert len(read(body)[0]) == 3


def test_data_is_passed_on_as_it_comes() -> None:
    """Nothing waits for the end of an image: memory stays at one piece."""
    reader = JsonReader(is_image)
    reader.feed(b'{"data":{"b64_json":"')
    for _ in range(10):
        events = reader.feed(b"QUJD" * 1000)
        assert sum(len(event.data) for event in events if isinstance(event, ImageBytes)) == 3000


def test_the_errors_of_the_scanner_never_quote_the_body() -> None:
    """A body may be a prompt."""
    for body in (b'{"secret":"secret",}', b"secret", b'{"secret"]', b'{"data":{"b64_json":"secret!"}}'):
        assert "secret" not in str(refused(body))


def test_the_reader_tells_where_it_stands() -> None:
    """An operator reads its status line."""
    reader = JsonReader(is_image)
    reader.feed(b'{"data":{"b64_json":"QU')
    assert repr(reader) == "<JsonReader image skeleton=22B images=0>"
    assert reader.skeleton_so_far == b'{"data":{"b64_json":"0'


def test_nesting_knows_keys_from_values() -> None:
    """After `{` and after a comma in an object a key follows, nowhere else."""
    nesting = Nesting(depth_max=3)
    nesting.open(b"{")
    assert nesting.expects_key
    nesting.name(b"a")
    assert not nesting.expects_key
    nesting.open(b"[")
    nesting.separate()
    assert not nesting.expects_key
    nesting.close(b"]")
    nesting.separate()
    assert nesting.expects_key
    assert nesting.path == ("a",)
    assert nesting.depth == 1


def test_nesting_refuses_what_does_not_match() -> None:
    """Brackets pair up."""
    nesting = Nesting(depth_max=1)
    with pytest.raises(WireError):
        nesting.close(b"}")
    nesting.open(b"[")
    with pytest.raises(WireError):
        nesting.open(b"[")
    with pytest.raises(WireError):
        nesting.close(b"}")


@pytest.mark.parametrize("step", [1, 3, 1 << 20])
def test_links_may_stay_at_some_paths_only(step: int) -> None:
    """Elsewhere every string at an image path is one."""
    body = json.dumps({"url": "https://x.test/1.png", "b64": "QUJD", "more": {"url": "data:image/png;base64,REVG"}})
    paths = {("url",), ("b64",), ("more", "url")}
    reader = JsonReader(lambda path: path in paths, links_stay=lambda path: path[-1] == "url")
    images: dict[int, bytes] = {}
    data = body.encode()
    for at in range(0, len(data), step):
        for event in reader.feed(data[at : at + step]):
            if isinstance(event, ImageBytes):
                images[event.index] = images.get(event.index, b"") + event.data
    assert images == {0: b"ABC", 1: b"DEF"}
    assert json.loads(reader.finish()) == {"url": "https://x.test/1.png", "b64": "0", "more": {"url": "1"}}


@pytest.mark.parametrize("link", ["d", "D", "dat", "data", "data;", "d2x.cdn.example/a.png", "D\\u0800", "d\\\\", ""])
def test_a_link_that_begins_like_data_is_a_link(link: str) -> None:
    """However it is split: what is no `data:` stays where it is, to the last character."""
    body = json.dumps({"a": [{"url": "https://a/b"}], "z": 1}).replace("https://a/b", link).encode()
    for at in range(len(body) + 1):
        reader = JsonReader(lambda path: path[-1] == "url", links_stay=True)
        assert reader.feed(body[:at]) + reader.feed(body[at:]) == []
        assert reader.finish() == body
    whole = JsonReader(lambda path: path[-1] == "url", links_stay=True)
    for byte in body:
        assert whole.feed(bytes([byte])) == []
    assert whole.finish() == body


@pytest.mark.parametrize("prefix", ["data:image/png;base64,", "DATA:;base64,"])
def test_an_image_behind_data_is_found_however_it_is_split(prefix: str) -> None:
    """Its bytes, and a number in its place."""
    picture = bytes(range(40))
    body = json.dumps({"url": prefix + base64.b64encode(picture).decode(), "z": 1}).encode()
    for at in range(len(body) + 1):
        reader = JsonReader(lambda path: path[-1] == "url", links_stay=True)
        events = reader.feed(body[:at]) + reader.feed(body[at:])
        assert b"".join(event.data for event in events if isinstance(event, ImageBytes)) == picture
        assert json.loads(reader.finish()) == {"url": "0", "z": 1}
