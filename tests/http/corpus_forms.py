"""Forms as edits take them, framed well by HTTP and wrong within."""

from __future__ import annotations

import base64

from corpus_items import KEY, Section, head, length

EDITS = b"/v1/images/edits"
DOT = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNoAAAAggCB2kUIOwAAAABJRU5ErkJggg==")
"""The smallest PNG."""
assert KEY not in DOT


def field(name: bytes, value: bytes, *lines: bytes, mark: bytes = b"b") -> bytes:
    """Write a part."""
    more = b"".join(line + b"\r\n" for line in lines)
    return b"--%b\r\nContent-Disposition: form-data; name=%b\r\n%b\r\n%b\r\n" % (mark, name, more, value)


def post(body: bytes, parameter: bytes = b"; boundary=b") -> bytes:
    """Write the POST of a form."""
    kind = b"multipart/form-data" + parameter
    return head(length(body), target=EDITS).replace(b"application/json", kind) + body


made = edits = Section("Forms of edits")
frame, name, kept = "RFC 2046 §5.1.1", "RFC 7578 §4.2", "reference: image edits"
PROMPT, IMAGE, END = field(b'"prompt"', b"a lighthouse"), field(b'"image"; filename="x.png"', DOT), b"--b--\r\n"
WHOLE = PROMPT + IMAGE + END


def add(item: str, says: str, rule: str, body: bytes, parameter: bytes = b"; boundary=b", *, gives: int = 400) -> None:
    """Add one."""
    made.add(f"edit-{item}", says, rule, post(body, parameter), gives=gives, closes=False)


add("no-boundary", "a form without a boundary in its type", frame, WHOLE, b"")
add("empty-boundary", "an empty boundary", frame, WHOLE, b"; boundary=")
add("long-boundary", "a boundary of 71 characters", frame, WHOLE, b"; boundary=" + b"b" * 71)
add("control-boundary", "a boundary with a tab in it", frame, WHOLE, b'; boundary="b\tb"')
add("other-boundary", "a form with another boundary", frame, WHOLE, b"; boundary=c")
add("longer-boundary", "a boundary that goes on", frame, WHOLE.replace(b"--b\r\n", b"--bb\r\n"))
add("empty", "a form of no bytes", frame, b"")
add("no-parts", "a form of no parts", frame, END)
add("no-end", "a form whose closing boundary is missing", frame, PROMPT + IMAGE)
add("half-end", "a closing boundary with one hyphen", frame, PROMPT + IMAGE + b"--b-\r\n")
add("cut", "a form that is cut inside its file", frame, PROMPT + IMAGE[:-20])
add("line-feeds", "line feeds for line ends", frame, WHOLE.replace(b"\r\n", b"\n"))
add("preamble", "2,000 bytes before the first boundary", frame, b"x" * 2000 + b"\r\n" + WHOLE)
add("no-name", "a part without a name", name, PROMPT.replace(b'; name="prompt"', b"") + IMAGE + END)
add("half-name", "a name whose quotation mark is missing", name, PROMPT.replace(b'prompt"', b"prompt") + IMAGE + END)
add("long-name", "a name of 5,000 characters", name, field(b'"%b"' % (b"a" * 5000), b"1") + WHOLE)
add("no-disposition", "a part without Content-Disposition", name, b"--b\r\n\r\n1\r\n" + WHOLE)
add("attachment", "a part that is an attachment", name, WHOLE.replace(b"form-data;", b"attachment;", 1))
add(
    "two-names",
    "a part with two Content-Disposition",
    name,
    field(b"a", b"1", b"Content-Disposition: form-data") + WHOLE,
)
add("folded", "a header of a part on two lines", name, field(b"a", b"1", b"X: 1", b" 2") + WHOLE)
add("nul", "a NUL in a header of a part", name, field(b'"a\0"', b"1") + WHOLE)
add("base64", "a part in base64", "RFC 7578 §4.7", field(b"a", b"1", b"Content-Transfer-Encoding: base64") + WHOLE)
add("prompt-twice", "a field twice", kept, PROMPT + WHOLE)
add("mask-twice", "two masks", kept, IMAGE.replace(b'"image"', b'"mask"') * 2 + WHOLE)
add("brackets", "a name with a bracket too many", kept, field(b'"image[[]]"', DOT) + WHOLE)
add("not-utf-8", "a field that is no UTF-8", kept, field(b'"prompt"', b"\xff\xfe") + IMAGE + END)
add("no-image", "a form without an image", kept, PROMPT + END)
add("no-prompt", "a form without a prompt", kept, IMAGE + END)
add("not-an-image", "a file that is no image", kept, PROMPT + IMAGE.replace(DOT, b"MZ\x90\0") + END)
add("half-an-image", "half an image", kept, PROMPT + IMAGE.replace(DOT, DOT[:40]) + END)
add("many-images", "17 images", kept, PROMPT + IMAGE * 17 + END)
add("number", "a number that is none", kept, field(b'"n"', b"1e3") + WHOLE)
add("huge-headers", "a part with 100 KB of headers", frame, b"--b\r\nX: " + b"a" * 100_000, gives=413)
add("many-parts", "10,000 parts", frame, field(b"a", b"1") * 10_000 + WHOLE, gives=413)
add("long-text", "2 MB of text", kept, field(b'"user"', b"a" * 2_000_000) + WHOLE, gives=413)
sent = post(WHOLE).replace(b"multipart/form-data", b"multipart/mixed")
made.add("edit-mixed", "multipart/mixed", "RFC 9110 §15.5.16", sent, gives=415, closes=False)
sent = post(WHOLE)[: -len(IMAGE)]
made.add("edit-stops", "a form that stops inside its file", "RFC 9110 §15.5.9", sent, gives=408, is_patient=True)
