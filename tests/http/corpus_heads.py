"""Heads: lines and headers, request lines, and what never ends."""

from __future__ import annotations

from corpus_items import BODY, HOST, NOTHING, Section, get, head, length

# Line ends and header lines.

made = lines = Section("Lines and headers")
rule, field, value = "RFC 9112 §2.2", "RFC 9112 §5.1", "RFC 9110 §5.5"
made.add("lf-only", "bare LF line ends", rule, get().replace(b"\r\n", b"\n"))
made.add("lf-first-line", "a bare LF behind the request line", rule, get().replace(b"\r\n", b"\n", 1))
made.add("lf-at-the-end", "a bare LF at the end of the head", rule, get()[:-2] + b"\n")
made.add("cr-only", "bare CR line ends", rule, get().replace(b"\r\n", b"\r"), gives=(400, 408), is_patient=True)
made.add("cr-in-a-value", "a bare CR in a header", rule, get(b"X: a\rb"))
made.add("cr-cr-lf", "CR CR LF", rule, get(b"X: a\r"))
made.add("folded", "a folded header", "RFC 9112 §5.2", get(b"X: a\r\n b"))
made.add(
    "folded-first", "white space before the first header", rule, b"GET /healthz HTTP/1.1\r\n " + HOST + b"\r\n\r\n"
)
made.add(
    "empty-lines",
    "empty lines before the request, which are passed over",
    rule,
    b"\r\n\r\n" + get(),
    gives=200,
    closes=False,
)
made.add("name-spaced", "a space before the colon", field, get(b"X : a"))
made.add("name-tabbed", "a tab before the colon", field, get(b"X\t: a"))
made.add("name-empty", "a header without a name", field, get(b": a"))
made.add("no-colon", "a header without a colon", "RFC 9112 §5", get(b"nothing"))
for name, byte in {
    "nul": b"\0",
    "bell": b"\x07",
    "escape": b"\x1b",
    "delete": b"\x7f",
    "high-byte": b"\xff",
    "at": b"@",
}.items():
    made.add(f"name-{name}", f"byte {byte[0]:#04x} in a header's name", "RFC 9110 §5.6.2", get(b"X" + byte + b"Y: a"))
for name, byte in {"nul": b"\0", "bell": b"\x07", "escape": b"\x1b", "delete": b"\x7f"}.items():
    made.add(f"value-{name}", f"byte {byte[0]:#04x} in a header", value, get(b"X: a" + byte + b"b"))
made.add(
    "value-high-byte",
    "bytes above ASCII in a header, which are legal",
    value,
    get(b"X: a\xff\xc3b"),
    gives=200,
    closes=False,
)
made.add("host-missing", "no Host", "RFC 9112 §3.2", b"GET /healthz HTTP/1.1\r\n\r\n")
made.add("host-twice", "two Host", "RFC 9112 §3.2", get(HOST))
for name, wrong in {
    "space": b"hold fast",
    "list": b"holdfast, other",
    "path": b"holdfast/v1",
    "user": b"user@holdfast",
    "query": b"holdfast?a",
    "port": b"holdfast:port",
    "angle": b"<holdfast>",
    "high-byte": b"holdf\xe4st",
}.items():
    text = wrong.decode("latin-1")
    made.add(f"host-{name}", f"a Host that is none: `{text}`", "RFC 9110 §7.2", get().replace(HOST, b"Host: " + wrong))

# Request lines.

made = targets = Section("Request lines")
rule, version = "RFC 9112 §3.2", "RFC 9112 §2.3"
made.add(
    "absolute-form",
    "the absolute form, which is legal: its host counts for nothing here",
    "RFC 9112 §3.2.2",
    get(target=b"http://other.example/healthz"),
    gives=200,
    closes=False,
)
made.add("authority-form", "the authority form", "RFC 9112 §3.2.3", get(target=b"holdfast:443"))
made.add(
    "asterisk-form",
    "the asterisk form for a GET",
    "RFC 9112 §3.2.4",
    get(target=b"*"),
    gives=(404, 400),
    closes=False,
)
made.add(
    "asterisk-options",
    "OPTIONS *",
    "RFC 9112 §3.2.4",
    head(method=b"OPTIONS", target=b"*"),
    gives=(404, 400),
    closes=False,
)
made.add("connect", "CONNECT", "RFC 9110 §9.3.6", head(method=b"CONNECT", target=b"other:443"), gives=(405, 400))
made.add("target-relative", "a target without a slash", rule, get(target=b"healthz"))
made.add("target-empty", "no target", rule, get(target=b""))
made.add("target-space", "a space in the target", rule, get(target=b"/heal thz"))
made.add("target-nul", "a NUL in the target", rule, get(target=b"/heal\0thz"))
made.add("target-tab", "a tab in the target", rule, get(target=b"/heal\tthz"))
made.add("target-high-byte", "bytes above ASCII in the target", rule, get(target=b"/healthz\xff"))
made.add("target-encoded-nul", "an encoded NUL in the path", "RFC 3986 §7.3", get(target=b"/healthz%00"), closes=False)
made.add(
    "target-encoded-crlf",
    "an encoded CRLF in the path",
    "RFC 3986 §7.3",
    get(target=b"/a%0d%0aSet-Cookie:%20a"),
    closes=False,
)
made.add(
    "target-bad-escape",
    "a percent sign that encodes nothing",
    "RFC 3986 §2.1",
    get(target=b"/healthz%zz"),
    gives=(404, 400),
    closes=False,
)
made.add(
    "target-dots",
    "dot segments: paths are not walked",
    "RFC 3986 §5.2.4",
    get(target=b"/v1/../healthz"),
    gives=404,
    closes=False,
)
made.add(
    "target-slashes",
    "a path of two slashes",
    "RFC 3986 §3.3",
    get(target=b"//healthz"),
    gives=(404, 400),
    closes=False,
)
made.add("target-fragment", "a fragment", rule, get(target=b"/healthz#a"), gives=(400, 200, 404), closes=False)
made.add(
    "target-1-mb",
    "a request line of 1 MB",
    "RFC 9112 §3",
    get(target=b"/" + b"a" * 1_000_000),
    gives=(414, NOTHING),
)
made.add(
    "query-garbage",
    "a query string that cannot be decoded",
    "RFC 3986 §3.4",
    get(target=b"/healthz?%ff=%zz&&&=;&a=%00"),
    gives=200,
    closes=False,
)
made.add("method-lower", "a method in lower case", "RFC 9110 §9.1", head(method=b"get", target=b"/healthz"))
made.add(
    "method-unknown",
    "a method that is none",
    "RFC 9110 §9.1",
    head(method=b"BREW", target=b"/healthz"),
    gives=(400, 405, 501),
)
made.add(
    "method-endless",
    "a method of 100 KB",
    "RFC 9112 §3",
    head(method=b"G" * 100_000, target=b"/healthz"),
    gives=(400, NOTHING),
)
made.add("http-0.9", "HTTP/0.9", version, b"GET /healthz\r\n\r\n")
made.add("http-1.2", "HTTP/1.2", version, get(version=b"HTTP/1.2"), gives=(400, 505))
made.add("http-2.0", "HTTP/2.0 in a request line", version, get(version=b"HTTP/2.0"), gives=(400, 505))
made.add("http-lower", "http/1.1", version, get(version=b"http/1.1"))
made.add("http-spaced", "white space behind the version", "RFC 9112 §3", get(version=b"HTTP/1.1 x"))
made.add(
    "http-2-preface",
    "the preface of HTTP/2",
    "RFC 9113 §3.4",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
)
made.add(
    "tls-hello",
    "a TLS hello on the plain port",
    "RFC 9112 §3",
    b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + b"\x11" * 500,
)
made.add("proxy-preface", "a PROXY line", "RFC 9112 §3", b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n" + get())
made.add("garbage", "bytes that are no HTTP at all", "RFC 9112 §3", bytes(range(128, 256)) * 8)

# What never ends, or takes its time.

made = sizes_and_times = Section("Sizes and times")
rule = "RFC 6585 §5"
slow, idle = "RFC 9110 §15.5.9", "RFC 9112 §9.5"
made.add("headers-40-kb", "40 KB of headers at once", rule, get(b"X: " + b"a" * 40_000), gives=431)
made.add("headers-many", "5,000 headers", rule, get(*[b"X-%d: 1" % at for at in range(5000)]), gives=(431, NOTHING))
made.add(
    "header-endless",
    "a header that never ends",
    rule,
    get()[:-2] + b"X: ",
    *[b"a" * 65536] * 12,
    gives=(431, NOTHING),
)
made.add("header-name-endless", "a name that never ends", rule, get()[:-2], *[b"a" * 65536] * 12, gives=(431, NOTHING))
made.add(
    "empty-lines-endless",
    "nothing but empty lines",
    idle,
    *[b"\r\n" * 20_000] * 6,
    gives=(NOTHING, 431, 408),
    is_patient=True,
)
made.add(
    "head-slow",
    "a head, a line now and then",
    slow,
    get()[:-2],
    *([0.25, b"X: 1\r\n"] * 8),
    gives=408,
    is_patient=True,
)
made.add("head-stops", "a head that stops", slow, get()[:-2], gives=408, is_patient=True)
made.add("head-cut", "half a head, then the end", "RFC 9112 §8", get()[:-2], gives=NOTHING, half_closes=True)
made.add("says-nothing", "a connection that asks nothing", idle, b"", gives=NOTHING, is_patient=True)
made.add("body-stops", "a body that stops", slow, head(length(BODY * 9)) + BODY, gives=408, is_patient=True)
made.add(
    "chunk-stops",
    "a chunk that stops",
    slow,
    head(b"Transfer-Encoding: chunked") + b"19\r\n" + BODY[:9],
    gives=408,
    is_patient=True,
)
made.add(
    "body-slow",
    "a byte, and then silence for longer than `server.body_gap_s`",
    slow,
    head(length()),
    b"{",
    0.3,
    b'"',
    3.0,
    b"p",
    gives=408,
    is_patient=True,
)
made.add(
    "half-closed",
    "a sending side that is closed behind the request: still answered",
    "RFC 9112 §9.6",
    get(),
    gives=200,
    half_closes=True,
)
