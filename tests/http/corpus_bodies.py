"""What is framed well and cannot be meant: bodies, forms, headers and parameters of ours."""

from __future__ import annotations

import gzip

from corpus_items import AUTH, BODY, KEY, NATIVE, Section, head, json_post, length

# Bodies that are framed well and hold something else than they should.

made = bodies = Section("Bodies")
rule, unicode = "RFC 8259 §2", "RFC 8259 §8.1"


def add(name: str, says: str, why: str, body: bytes, *lines: bytes, gives: int = 400) -> None:
    made.add(name, says, why, json_post(body, *lines), gives=gives, closes=False)


add("json-empty", "no body", rule, b"")
add("json-cut", "JSON that is cut", rule, BODY[:-1])
add("json-twice", "two documents", rule, BODY + BODY)
add("json-behind", "something behind the document", rule, BODY + b"]")
add("json-comment", "a comment", rule, b'{"prompt":"a" /* b */}')
add("json-comma", "a comma too many", rule, b'{"prompt":"a",}')
add("json-quotes", "single quotes", rule, b"{'prompt':'a'}")
add("json-control", "a control character in a text", "RFC 8259 §7", b'{"prompt":"a\x01"}')
add("json-line-end", "a line end in a text", "RFC 8259 §7", b'{"prompt":"a\nb"}')
add("json-nul", "a NUL between tokens", rule, b'{"prompt":\0"a"}')
add("json-escape", "an escape that is none", "RFC 8259 §7", b'{"prompt":"\\x41"}')
add("json-nan", "NaN", "RFC 8259 §6", b'{"prompt":"a","n":NaN}')
add("json-infinity", "-Infinity", "RFC 8259 §6", b'{"prompt":"a","n":-Infinity}')
add("json-1e400", "a number that no double holds", "RFC 8259 §6", b'{"prompt":"a","n":1e400}')
add("json-digits", "a number of 100,000 digits", "RFC 8259 §6", b'{"prompt":"a","n":' + b"9" * 100_000 + b"}")
add("json-octal", "a number with a leading zero", "RFC 8259 §6", b'{"prompt":"a","n":01}')
add("json-twice-named", "a name twice: the last one counts", "RFC 8259 §4", b'{"prompt":"a","n":1,"n":99}')
add("json-deep", "100,000 arrays in one another", "RFC 8259 §9", b"[" * 100_000, gives=413)
add(
    "json-deep-field",
    "100,000 objects in one another",
    "RFC 8259 §9",
    b'{"prompt":"a","x":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
    gives=413,
)
add(
    "json-names",
    "50,000 fields, none of which is the prompt",
    rule,
    b"{" + b",".join(b'"%d":1' % at for at in range(50_000)) + b"}",
)
add("utf-8-broken", "bytes that are no UTF-8", unicode, b'{"prompt":"\xff\xfe"}')
add("utf-8-overlong", "an overlong form", unicode, b'{"prompt":"\xc0\xaf"}')
add("utf-8-surrogate", "a surrogate as UTF-8", unicode, b'{"prompt":"\xed\xa0\x80"}')
add(
    "lone-surrogate",
    "half a surrogate pair, read as U+FFFD; `n` is refused",
    "RFC 8259 §8.2",
    b'{"prompt":"a \\ud800 b","n":0}',
)
add("lone-surrogate-name", "the same in a name", "RFC 8259 §8.2", b'{"\\udfff":1,"prompt":"a","n":0}')
add(
    "byte-order-mark",
    "a byte order mark, which is passed over; `n` is refused",
    unicode,
    b'\xef\xbb\xbf{"prompt":"a","n":0}',
)
add("byte-order-mark-twice", "two byte order marks", unicode, b"\xef\xbb\xbf" * 2 + BODY)
add("utf-16", "UTF-16", unicode, BODY.decode().encode("utf-16"))
kind = "RFC 9110 §15.5.16"
packed = gzip.compress(BODY, mtime=0)
add("gzip", "a body that is compressed", kind, packed, b"Content-Encoding: gzip", gives=415)
add("gzip-twice", "several codings", kind, packed, b"Content-Encoding: gzip, br", gives=415)
add("gzip-unsaid", "a body that is compressed and does not say so", rule, packed)

# Multipart bodies where only JSON is taken: none is read.

made = forms = Section("Forms")
kind = "RFC 9110 §15.5.16"
part = b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na\r\n'
for name, says, parameter, body in (
    ("whole", "a form that is whole", b"; boundary=b", part + b"--b--\r\n"),
    ("no-boundary", "a form without a boundary", b"", part + b"--b--\r\n"),
    ("other-boundary", "a form with another boundary", b"; boundary=c", part + b"--b--\r\n"),
    ("no-end", "a form without an end", b"; boundary=b", part),
    ("name-twice", "a form that names a field twice", b"; boundary=b", part * 2 + b"--b--\r\n"),
    ("huge-headers", "a part with 100 KB of headers", b"; boundary=b", b"--b\r\nX: " + b"a" * 100_000),
    ("long-boundary", "a boundary of 5,000 characters", b"; boundary=" + b"b" * 5000, b"--" + b"b" * 5000),
):
    sent = head(length(body)).replace(b"application/json", b"multipart/form-data" + parameter) + body
    made.add(f"form-{name}", says, kind, sent, gives=415, closes=False)

# Headers and parameters of ours that cannot be meant.

made = wishes = Section("Headers and parameters of ours")
key = "draft-ietf-httpapi-idempotency-key-header-07 §2.2"
for name, value in {
    "empty": b"",
    "256": b"k" * 256,
    "not-ascii": "schlüssel".encode(),
    "spaces": b"two words",
    "half-quoted": b'"half',
    "quoted-empty": b'""',
    "quoted-256": b'"' + b"k" * 256 + b'"',
    "quote-inside": b'a"b',
    "escape": b'"a\\b"',
}.items():
    shown = f"Idempotency-Key: `{value.decode()[:24]}`" + ("…" if len(value) > 24 else "")
    made.add(f"key-{name}", shown, key, json_post(BODY, b"Idempotency-Key: " + value), closes=False)
made.add(
    "key-twice",
    "Idempotency-Key twice",
    key,
    json_post(BODY, b"Idempotency-Key: a", b"Idempotency-Key: b"),
    closes=False,
)
for name, value in {"nan": b"NaN", "minus": b"-1", "zero": b"0", "huge": b"1e9", "words": b"soon"}.items():
    sent = json_post(BODY, b"Holdfast-Timeout: " + value)
    made.add(f"timeout-{name}", f"Holdfast-Timeout: `{value.decode()}`", "reference: settings", sent, closes=False)
two = json_post(BODY, AUTH)
made.add("authorization-twice", "two Authorization: none is believed", "RFC 9110 §11.6.2", two, gives=401, closes=False)
for name, value in {
    "other-scheme": b"Basic " + KEY,
    "no-scheme": KEY,
    "two-tokens": b"Bearer " + KEY + b" x",
    "long": b"Bearer " + b"k" * 8000,
}.items():
    shown = f"Authorization of another form: {name.replace('-', ' ')}"
    sent = head(length(), auth=b"Authorization: " + value) + BODY
    made.add(f"authorization-{name}", shown, "RFC 9110 §11.6.2", sent, gives=401, closes=False)
for name, query in {
    "limit": b"limit=-1",
    "unknown": b"limt=1",
    "cursor": b"after=gen_none",
    "nul": b"after=%00",
    "high": b"after=%ff%fe",
    "status": b"status=done",
}.items():
    sent = head(method=b"GET", target=NATIVE + b"?" + query)
    made.add(f"list-{name}", f"`GET /v1/generations?{query.decode()}`", "OpenAPI document", sent, closes=False)
events = NATIVE + b"/gen_00000000000000000000000000/events"
for name, value in {"words": b"first", "minus": b"-1", "huge": b"9" * 30, "other-digits": "٣".encode()}.items():
    sent = head(b"Last-Event-ID: " + value, method=b"GET", target=events)
    made.add(f"event-{name}", f"Last-Event-ID: `{value.decode()[:24]}`", "OpenAPI document", sent, closes=False)
for name, value in {
    "quotes": b'""""""',
    "endless": b'"' * 4000,
    "equals": b"===",
    "huge-wait": b"wait=" + b"9" * 500,
    "high": b"\xff\xfe",
}.items():
    sent = head(b"Prefer: " + value, method=b"GET", target=NATIVE + b"?limit=1")
    made.add(
        f"prefer-{name}",
        "a Prefer that cannot be parsed: passed over",
        "RFC 7240 §2",
        sent,
        gives=200,
        closes=False,
    )
