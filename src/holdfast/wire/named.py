"""The one field of a request that says where it goes, found while its body passes by.

Pure: no I/O, clock or randomness. Nothing of the body is kept: a chat may be as long as its caller likes.
"""

from __future__ import annotations

import re

import msgspec

from holdfast.wire.errors import WireError
from holdfast.wire.scan import Nesting

_TOKEN = re.compile(rb'["{}\[\],]')
_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_TEXT_BYTES_MAX = 512
DEPTH_MAX = 200


class FieldFinder:
    """Finds the text of a member of a JSON object that arrives in pieces cut anywhere; of several, the last.

    Follows strings and brackets, and checks nothing else: whoever the body is for will. A name in other letters is
    refused: there are decoders (Go's) that take `Model` for `model`, and the body would go where nobody let it.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._nesting = Nesting(depth_max=DEPTH_MAX)
        self._string: bytearray | None = None
        """What of a string is kept while it is being read; None outside of strings."""
        self._is_escaped = False
        self.value: str | None = None

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises:
            WireError: Brackets do not match or nest too deeply, or the name is spelled in other letters.
        """
        at, end = 0, len(chunk)
        while at < end:
            at = self._outside(chunk, at) if self._string is None else self._inside(chunk, at)

    def _outside(self, chunk: bytes, at: int) -> int:
        token = _TOKEN.search(chunk, at)
        if token is None:
            return len(chunk)
        byte = token.group()
        if byte == b'"':
            self._string = bytearray()
        elif byte == b",":
            self._nesting.separate()
        elif byte in b"{[":
            self._nesting.open(byte)
        else:
            self._nesting.close(byte)
        return token.end()

    def _inside(self, chunk: bytes, at: int) -> int:
        assert self._string is not None
        start = at
        if self._is_escaped:
            self._is_escaped = False
            at += 1
        match = _STRING.match(chunk, at)
        assert match is not None
        stop = match.end()
        if len(self._string) <= _TEXT_BYTES_MAX:
            self._string += chunk[start : min(stop, start + _TEXT_BYTES_MAX + 1)]
        if stop == len(chunk):
            return stop
        if chunk[stop] != ord('"'):
            # The piece ends in a backslash; what it escapes is the next one's first character.
            self._is_escaped = True
            self._string += b"\\"
            return stop + 1
        self._end_string(bytes(self._string))
        self._string = None
        return stop + 1

    def _end_string(self, raw: bytes) -> None:
        nesting = self._nesting
        if nesting.expects_key:
            nesting.name(raw)
            if nesting.depth == 1 and (key := nesting.path[0]) != self._name and key.casefold() == self._name:
                raise WireError("json", f"a field is called {key}: write it {self._name}")
        elif nesting.path == (self._name,) and nesting.depth == 1:
            if len(raw) > _TEXT_BYTES_MAX:
                self.value = None
                return
            try:
                self.value = msgspec.json.decode(b'"' + raw + b'"', type=str)
            except (msgspec.DecodeError, UnicodeDecodeError) as exc:
                raise WireError("json", f"{self._name} is not a valid text") from exc
