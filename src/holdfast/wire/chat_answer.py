"""Chat completions whose answer holds a picture, as relays and OpenRouter give them: plain, streamed, and their errors.

Pure: no I/O, clock or randomness. A picture is looked for in this order, and the first shape that has one counts:

1. `message.images[].image_url.url`, a data URL or a link (OpenRouter);
2. `message.content[]`, parts of type `image_url`;
3. `message.content`, a text with `![image](data:image/png;base64,…)` (new-api);
4. the same text with `![image](https://…)`.

In streams the same stands in `delta`, and a text in as many pieces as the relay likes. One picture is asked for in a
call; of several in one shape the last is meant, as Gemini shows its drafts before it.

Source: openrouter.ai/docs, image generation (2026); QuantumNous/new-api `to_oai_chat_resp.go`, `stream_scanner.go`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from holdfast.types import Usage
from holdfast.wire.answers import Answer, AnswerImage, Role, UpstreamError
from holdfast.wire.errors import WireError
from holdfast.wire.fields import count_of, document_of, list_of, mapping_of, text_of
from holdfast.wire.openai_answer import error_of
from holdfast.wire.prose import Prose
from holdfast.wire.scan import Event, ImageBegan, JsonReader
from holdfast.wire.stream import Document, StreamDocuments

IMAGES_MAX = 16
"""Pictures of one answer that are taken; ten are the most that was seen."""
_FIELD, _PART, _TEXT = range(3)
"""The shapes, in the order in which they count."""
_MARKDOWN = re.compile(r"!\[[^\]\n]{0,500}\]\(\s{0,8}<?(https?://[^\s()<>]{1,16384})", re.IGNORECASE)
"""As long as `policy.addresses` lets the link of a file be: a part of a signed one leads nowhere."""
_SHAPES: Mapping[tuple[str, ...], int] = {
    path: shape
    for turn in ("message", "delta")
    for path, shape in (
        (("choices", turn, "images", "image_url", "url"), _FIELD),
        (("choices", turn, "images", "image_url"), _FIELD),
        (("choices", turn, "content", "image_url", "url"), _PART),
        (("choices", turn, "content", "image_url"), _PART),
        (("choices", turn, "content"), _TEXT),
        (("choices", turn, "content", "text"), _TEXT),
    )
}


def CHAT_ANSWER_IMAGE(path: tuple[str, ...]) -> bool:
    """A picture of an answer that has a string of its own: in `images`, or in a part of `content`."""
    return _SHAPES.get(path, _TEXT) != _TEXT


def CHAT_ANSWER_PROSE(path: tuple[str, ...]) -> bool:
    """A text of an answer, which may hold pictures."""
    return _SHAPES.get(path) == _TEXT


@dataclass(frozen=True, slots=True)
class _Seen:
    shape: int
    index: int


class _Pictures:
    """What has been cut out of an answer."""

    def __init__(self, *, spans: bool, image_bytes_max: int) -> None:
        self.prose = Prose(CHAT_ANSWER_PROSE, spans=spans, image_bytes_max=image_bytes_max, images_max=IMAGES_MAX)
        self._seen: list[_Seen] = []

    def __len__(self) -> int:
        return len(self._seen)

    def note(self, events: Iterable[Event | Document]) -> None:
        """Take down where each picture stood."""
        for event in events:
            if isinstance(event, ImageBegan):
                self._seen.append(_Seen(_SHAPES[event.path], event.index))

    def judged(self) -> tuple[AnswerImage, ...]:
        """Say which is meant: the last one of the first shape that has any."""
        if not self._seen:
            return ()
        best = min(seen.shape for seen in self._seen)
        meant = [seen.index for seen in self._seen if seen.shape == best][-1]
        return tuple(
            AnswerImage(
                index=seen.index,
                role=Role.RESULT if seen.index == meant else Role.DRAFT,
                declared_mime=self.prose.mimes.get(seen.index),
            )
            for seen in sorted(self._seen, key=lambda seen: seen.index)
        )


class ChatReader:
    """Reads the answer of `POST /v1/chat/completions`, not streamed."""

    def __init__(self, *, image_bytes_max: int = 64 << 20) -> None:
        self._pictures = _Pictures(spans=False, image_bytes_max=image_bytes_max)
        self._json = JsonReader(
            CHAT_ANSWER_IMAGE,
            image_bytes_max=image_bytes_max,
            images_max=IMAGES_MAX,
            links_stay=True,
            prose=self._pictures.prose,
        )

    def __repr__(self) -> str:
        return f"<ChatReader {self._json!r}>"

    @property
    def complete(self) -> bool:
        """The document has closed: some relays never end the transfer behind it."""
        return self._json.complete

    def feed(self, chunk: bytes | bytearray | memoryview) -> list[Event]:
        """Take the next bytes; see `answers.Reader`."""
        events = self._json.feed(chunk)
        self._pictures.note(events)
        return events

    def finish(self) -> Answer:
        """Return the answer; see `answers.Reader`."""
        skeleton = self._json.finish()
        return _answer_of(skeleton, mapping_of(document_of(skeleton)), self._pictures.judged())


class ChatStreamReader:
    """Reads the chunks of a streamed completion into the one document of a plain call."""

    def __init__(self, *, image_bytes_max: int = 64 << 20) -> None:
        self._pictures = _Pictures(spans=True, image_bytes_max=image_bytes_max)
        self._documents = StreamDocuments(
            CHAT_ANSWER_IMAGE,
            image_bytes_max=image_bytes_max,
            images_max=IMAGES_MAX,
            links_stay=True,
            prose=self._pictures.prose,
        )
        self._chunks: list[Mapping[str, Any]] = []
        self._is_finished = False

    def __repr__(self) -> str:
        return f"<ChatStreamReader chunks={len(self._chunks)} images={len(self._pictures)} over={self._is_finished}>"

    @property
    def complete(self) -> bool:
        """A chunk has told why the model stopped, behind a picture; or an error has come.

        Without a picture the stream's own end is awaited: no relay is known to hang there.
        """
        return self._is_finished and self._documents.is_between_documents

    def feed(self, chunk: bytes | bytearray | memoryview) -> list[Event]:
        """Take the next bytes; see `answers.Reader`."""
        return self._taken(self._documents.feed(chunk))

    def finish(self) -> Answer:
        """Return the answer; a stream without any chunk is none."""
        self._taken(self._documents.finish())
        if not self._chunks:
            raise WireError("json", "the event stream holds no data")
        document = merged(self._chunks)
        return _answer_of(msgspec.json.encode(document), document, self._pictures.judged())

    def _taken(self, read: Iterable[Event | Document]) -> list[Event]:
        events: list[Event] = []
        for event in read:
            if not isinstance(event, Document):
                self._pictures.note((event,))
                events.append(event)
                continue
            chunk = mapping_of(document_of(event.skeleton))
            self._chunks.append(chunk)
            choices = [mapping_of(choice) for choice in list_of(chunk.get("choices"))]
            if any(text_of(choice.get("finish_reason")) for choice in choices):
                # No text follows: a picture at its very end, without a bracket behind it, has come to its own.
                events += self._pictures.prose.close()
                self._is_finished = len(self._pictures) > 0 or bool(links_of(merged(self._chunks)))
            if _error_in(chunk) is not None:
                self._is_finished = True
        return events


def merged(chunks: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Merge the chunks of a stream: messages are strung together by choice, of all else the last word counts."""
    document: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        document |= {name: value for name, value in chunk.items() if name != "choices" and value is not None}
        for found in list_of(chunk.get("choices")):
            found = mapping_of(found)
            index = count_of(found.get("index"))
            whole = choices.setdefault(index, {"index": index, "texts": [], "parts": [], "images": []})
            whole |= {
                name: value
                for name, value in found.items()
                if name not in ("index", "delta", "message", "texts", "parts", "images") and value is not None
            }
            said = mapping_of(found.get("delta")) or mapping_of(found.get("message"))
            content = said.get("content")
            if isinstance(content, str):
                whole["texts"].append(content)
            whole["parts"] += list_of(content)
            whole["images"] += list_of(said.get("images"))
    document["choices"] = [_choice_of(choices[index]) for index in sorted(choices)]
    return document


def _choice_of(whole: dict[str, Any]) -> dict[str, Any]:
    text, parts, images = "".join(whole.pop("texts")), whole.pop("parts"), whole.pop("images")
    content = [{"type": "text", "text": text}, *parts] if parts and text else parts or text
    message = {"role": "assistant", "content": content} | ({"images": images} if images else {})
    return whole | {"message": message}


def links_of(document: Mapping[str, Any]) -> tuple[str, ...]:
    """List the pictures that an answer names by a link: those of the first shape that has any; at most `IMAGES_MAX`."""
    messages = [
        mapping_of(mapping_of(choice).get("message") or mapping_of(choice).get("delta"))
        for choice in list_of(document.get("choices"))
    ]
    shapes: tuple[Iterable[str], ...] = (
        (link for message in messages for item in list_of(message.get("images")) for link in _links_in(item)),
        (link for message in messages for item in list_of(message.get("content")) for link in _links_in(item)),
        (link for message in messages for link in _MARKDOWN.findall(_text_of(message))),
    )
    return next((found for shape in shapes if (found := tuple(shape)[:IMAGES_MAX])), ())


def _links_in(item: object) -> Iterable[str]:
    named = mapping_of(item).get("image_url")
    url = text_of(named) or text_of(mapping_of(named).get("url"))
    return (url,) if url and url.lower().startswith(("https://", "http://")) else ()


def _text_of(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "\n".join(text_of(mapping_of(part).get("text")) or "" for part in list_of(content))


def _error_in(document: Mapping[str, Any]) -> UpstreamError | None:
    """The error of an answer, or of a choice of it: OpenRouter tells of what broke in the middle there."""
    for holder in (document, *(mapping_of(choice) for choice in list_of(document.get("choices")))):
        if holder.get("error") is not None:
            return error_of(holder, status=None)
    return None


def _answer_of(skeleton: bytes, document: Mapping[str, Any], images: tuple[AnswerImage, ...]) -> Answer:
    choices = [mapping_of(choice) for choice in list_of(document.get("choices"))]
    first = choices[0] if choices else {}
    texts = (_text_of(mapping_of(choice.get("message"))).strip() for choice in choices)
    return Answer(
        images=images,
        document=skeleton,
        usage=_usage_of(document),
        finish_reason=text_of(first.get("finish_reason")),
        finish_message=text_of(first.get("native_finish_reason")),
        model_version=text_of(document.get("model")),
        response_id=text_of(document.get("id")),
        url_only=not images and bool(links_of(document)),
        text_chars=sum(map(len, texts)),
        error=_error_in(document),
    )


def _usage_of(document: Mapping[str, Any]) -> Usage | None:
    usage = document.get("usage")
    if not isinstance(usage, dict):
        return None
    details = mapping_of(usage.get("completion_tokens_details"))
    return Usage(
        input_tokens=count_of(usage.get("prompt_tokens")),
        input_image_tokens=count_of(mapping_of(usage.get("prompt_tokens_details")).get("image_tokens")),
        output_tokens=count_of(usage.get("completion_tokens")),
        output_image_tokens=count_of(details.get("image_tokens")),
    )
