"""Where a body ends, and whether one comes at all: lengths, codings, chunks, expectations and upgrades."""

from __future__ import annotations

from corpus_items import AUTH, BODY, CHUNKED_BODY, INNER, NOTHING, SECOND, Section, get, head, length

# Where the body ends, said twice or wrongly.

made = lengths = Section("Lengths")
rule, field = "RFC 9112 §6.3", "RFC 9110 §8.6"
body = BODY + SECOND
made.add("lengths-differ", "two Content-Length that differ", rule, head(length(), length(body)) + body)
made.add("lengths-same", "Content-Length twice, the same", field, head(length(), length()) + BODY)
made.add("length-list", "Content-Length: 25, 25", field, head(b"Content-Length: 25, 25") + BODY)
made.add("length-list-differs", "Content-Length: 25, 5", rule, head(b"Content-Length: 25, 5") + body)
for name, value in {
    "plus": b"+25",
    "minus": b"-1",
    "hex": b"0x19",
    "empty": b"",
    "words": b"25 25",
    "fraction": b"25.0",
    "underscore": b"2_5",
    "quoted": b'"25"',
    "overflow": b"18446744073709551641",
    "enormous": b"9" * 400,
    "other-digits": "٢٥".encode(),
}.items():
    shown = f"Content-Length that is no number of bytes: `{value.decode()[:24]}`"
    made.add(f"length-{name}", shown, field, head(b"Content-Length: " + value) + body)
made.add(
    "length-spaced",
    "a space before the colon of Content-Length",
    "RFC 9112 §5.1",
    head(b"Content-Length : 25") + body,
)
made.add("length-folded", "Content-Length on a folded line", "RFC 9112 §5.2", head(b"Content-Length:\r\n 25") + body)
made.add(
    "get-with-a-body",
    "a GET whose body is a request",
    "RFC 9110 §9.3.1",
    get(length(INNER)) + INNER,
    gives=200,
    closes=False,
)
made.add(
    "body-too-short",
    "a body shorter than its length, then the end",
    rule,
    head(length(b"x" * 900)) + BODY,
    gives=NOTHING,
    half_closes=True,
)
made.add(
    "body-too-long",
    "a request behind a body that is longer than its length",
    "RFC 9112 §6.3, §9.3.2",
    head(b"Content-Length: 5", auth=b"") + BODY[:5] + SECOND,
    gives=401,
)
made.add("pipelined", "a second request before the first is answered", "RFC 9112 §9.3.2", get() + SECOND, gives=200)
made.add(
    "pipelined-garbage",
    "garbage before the first is answered",
    "RFC 9112 §9.3.2",
    get() + b"\0\x01\x02\r\n\r\n",
    gives=200,
)
made.add("body-without-length", "a body that nothing announces", rule, head() + BODY + b"\r\n" + SECOND)

# How the body is coded, said in ways that others read otherwise.

made = codings = Section("Transfer codings")
rule = "RFC 9112 §6.1"
chunked = b"Transfer-Encoding: chunked"
tail = CHUNKED_BODY + SECOND
made.add(
    "te-then-length",
    "Transfer-Encoding, then Content-Length",
    "RFC 9112 §6.3",
    head(chunked, b"Content-Length: 4") + tail,
)
made.add(
    "length-then-te",
    "Content-Length, then Transfer-Encoding",
    "RFC 9112 §6.3",
    head(b"Content-Length: 4", chunked) + tail,
)
made.add("te-1.0", "Transfer-Encoding in HTTP/1.0", rule, head(chunked, version=b"HTTP/1.0") + tail)
for name, value in {
    "identity-last": b"chunked, identity",
    "unknown": b"xchunked",
    "identity": b"identity",
    "gzip": b"gzip, chunked",
    "twice": b"chunked, chunked",
    "parameter": b"chunked;q=1",
    "comma": b"chunked,",
    "empty": b"",
    "quoted": b'"chunked"',
    "vertical-tab": b"\x0bchunked",
    "form-feed": b"chunked\x0c",
    "nul": b"chun\0ked",
    "no-break-space": b"\xa0chunked",
}.items():
    shown = f"Transfer-Encoding: `{value.decode('latin-1').encode('unicode_escape').decode()}`"
    made.add(f"te-{name}", shown, rule, head(b"Transfer-Encoding: " + value) + tail, gives=(501, 400))
made.add("te-two-lines", "Transfer-Encoding on two lines", rule, head(chunked, chunked) + tail, gives=(501, 400))
made.add(
    "te-two-lines-differ",
    "identity on one line, chunked on another",
    rule,
    head(b"Transfer-Encoding: identity", chunked) + tail,
    gives=(501, 400),
)
made.add(
    "te-folded",
    "Transfer-Encoding on a folded line",
    "RFC 9112 §5.2",
    head(b"Transfer-Encoding:\r\n chunked") + tail,
)
made.add(
    "te-spaced",
    "a space before the colon of Transfer-Encoding",
    "RFC 9112 §5.1",
    head(b"Transfer-Encoding : chunked") + tail,
)
made.add(
    "te-behind-lf",
    "Transfer-Encoding behind a bare LF",
    "RFC 9112 §2.2",
    head(b"X: y\nTransfer-Encoding: chunked", b"Content-Length: 4") + tail,
)
made.add(
    "te-behind-cr",
    "Transfer-Encoding behind a bare CR",
    "RFC 9112 §2.2",
    head(b"X: y\rTransfer-Encoding: chunked", b"Content-Length: 4") + tail,
)
made.add(
    "te-underscore", "Transfer_Encoding, which is another header", rule, head(b"Transfer_Encoding: chunked") + tail
)
# Legal ways to write it: the chunk holds no JSON, and what follows is not answered.
legal = b"1\r\n{\r\n0\r\n\r\n" + SECOND
made.add(
    "te-tab",
    "a tab before `chunked`, which is legal",
    "RFC 9110 §5.6.3",
    head(b"Transfer-Encoding:\tchunked") + legal,
)
made.add("te-capital", "`Chunked`, which is legal", "RFC 9112 §7", head(b"Transfer-Encoding: Chunked") + legal)

# Chunked bodies whose framing is broken.

made = chunks = Section("Chunks")
rule, ext, trailer = "RFC 9112 §7.1", "RFC 9112 §7.1.1", "RFC 9110 §6.5.1"
begun = head(b"Transfer-Encoding: chunked")
for name, size in {
    "negative": b"-19",
    "plus": b"+19",
    "prefixed": b"0x19",
    "overflow": b"1" + b"0" * 16 + b"19",
    "space": b"19 ",
    "junk": b"19 junk",
    "underscore": b"1_9",
    "letters": b"zz",
    "empty": b"",
}.items():
    shown = f"a chunk size that is none: `{size.decode()}`"
    made.add(f"chunk-{name}", shown, rule, begun + size + b"\r\n" + BODY + b"\r\n0\r\n\r\n" + SECOND)
made.add("chunk-size-lf", "a bare LF behind a chunk's size", rule, begun + b"19\n" + BODY + b"\r\n0\r\n\r\n" + SECOND)
made.add("chunk-size-cr", "a bare CR behind a chunk's size", rule, begun + b"19\r" + BODY + b"\r\n0\r\n\r\n" + SECOND)
made.add("chunk-no-end", "no CRLF behind a chunk", rule, begun + b"19\r\n" + BODY + b"0\r\n\r\n" + SECOND)
made.add("chunk-too-long", "a chunk longer than its size", rule, begun + b"5\r\n" + BODY + b"\r\n0\r\n\r\n" + SECOND)
made.add("chunk-end-lf", "a bare LF behind a chunk", rule, begun + b"19\r\n" + BODY + b"\n0\r\n\r\n" + SECOND)
made.add(
    "chunk-last-missing",
    "no last chunk, then the end",
    "RFC 9112 §8",
    begun + b"19\r\n" + BODY + b"\r\n",
    gives=NOTHING,
    half_closes=True,
)
made.add(
    "chunk-extension-huge",
    "200 KB of chunk extension",
    ext,
    begun + b"19;" + b"x" * 200_000 + b"\r\n" + BODY,
    gives=(400, NOTHING),
)
made.add(
    "chunk-extension-lf",
    "a bare LF in a chunk extension",
    ext,
    begun + b"19;a\n" + BODY + b"\r\n0\r\n\r\n" + SECOND,
)
made.add(
    "chunk-extension-nul",
    "a NUL in a chunk extension",
    ext,
    begun + b"19;a=\0\r\n" + BODY + b"\r\n0\r\n\r\n" + SECOND,
)
made.add(
    "chunks-of-nothing-but-framing",
    "a byte a chunk, each with an extension",
    ext,
    begun + (b"1;" + b"e" * 200 + b"\r\n \r\n") * 1000,
    gives=(400, NOTHING),
)
unpaid = head(b"Transfer-Encoding: chunked", auth=b"")
made.add(
    "trailer-key",
    "the key in a trailer",
    trailer,
    unpaid + b"19\r\n" + BODY + b"\r\n0\r\n" + AUTH + b"\r\n\r\n",
    gives=401,
    closes=False,
)
for name in (b"Content-Length", b"Transfer-Encoding", b"Host"):
    shown = f"{name.decode()} in a trailer"
    value = {b"Content-Length": b"500", b"Transfer-Encoding": b"chunked", b"Host": b"other"}[name]
    sent = begun + b"1\r\n{\r\n0\r\n" + name + b": " + value + b"\r\n\r\n"
    made.add(f"trailer-{name.decode().lower()}", shown, trailer, sent, closes=False)
made.add(
    "trailer-huge",
    "1 MB of trailers",
    "RFC 6585 §5",
    begun + b"0\r\n" + b"X: 1\r\n" * 170_000,
    gives=(431, NOTHING),
)
made.add("trailer-lf", "a bare LF in a trailer", "RFC 9112 §2.2", begun + b"1\r\n{\r\n0\r\nX: 1\nY: 2\r\n\r\n" + SECOND)

# Expectations, upgrades and what stands in `Connection`.

made = expectations = Section("Expectations and upgrades")
expect, upgrade = "RFC 9110 §10.1.1", "RFC 9110 §7.8"
unpaid = head(b"Expect: 100-continue", b"Content-Length: 1000", auth=b"")
made.add(
    "expect-unpaid",
    "Expect: 100-continue without a key: refused before the body is sent",
    expect,
    unpaid,
    gives=401,
    closes=False,
)
made.add(
    "expect-stops",
    "Expect: 100-continue, and then no body",
    expect,
    head(b"Expect: 100-continue", length()),
    gives=408,
    is_patient=True,
)
made.add(
    "expect-unknown",
    "an expectation that nobody knows",
    expect,
    head(b"Expect: 200-ok", b"Content-Length: 1") + b"{",
    gives=(400, 417),
    closes=False,
)
made.add(
    "expect-1.0",
    "Expect: 100-continue in HTTP/1.0, which is passed over",
    expect,
    head(b"Expect: 100-continue", b"Content-Length: 1", version=b"HTTP/1.0") + b"{",
)
hidden = b"{" + INNER
h2c = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__", length(hidden))
made.add("upgrade-h2c", "Upgrade: h2c, a request in the body", upgrade, head(*h2c) + hidden, closes=False)
made.add(
    "upgrade-h2c-later",
    "Upgrade: h2c, a request in the body that comes later",
    upgrade,
    head(*h2c),
    0.05,
    hidden,
    closes=False,
)
chunked = head(b"Connection: Upgrade", b"Upgrade: h2c", b"Transfer-Encoding: chunked")
made.add(
    "upgrade-chunked",
    "Upgrade on a chunked body, a request behind it",
    upgrade,
    chunked + b"1\r\n{\r\n0\r\n\r\n" + SECOND,
)
both = head(b"Connection: Upgrade", b"Upgrade: h2c", b"Transfer-Encoding: chunked", b"Content-Length: 4")
made.add(
    "upgrade-te-and-length",
    "Upgrade with two ways to say where the body ends",
    "RFC 9112 §6.3",
    both + CHUNKED_BODY + SECOND,
)
websocket = (
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    b"Sec-WebSocket-Version: 13",
)
made.add(
    "upgrade-websocket",
    "Upgrade: websocket, which is passed over",
    upgrade,
    get(*websocket),
    gives=200,
    closes=False,
)
made.add("upgrade-behind", "Upgrade on a GET, a request behind it", upgrade, get(*websocket) + SECOND, gives=200)
hop = get(b"Connection: close, Host, Authorization, X", b"X: 1")
made.add("connection-names-all", "Connection that names Host and Authorization", "RFC 9110 §7.6.1", hop, gives=200)
