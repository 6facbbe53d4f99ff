"""How long a certificate is valid, read from its DER: the ssl module tells it of certificates only that it trusts.

Pure: no I/O, clock or randomness.
"""

from __future__ import annotations

from datetime import UTC, datetime

_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18


def validity_of(der: bytes) -> tuple[datetime, datetime] | None:
    """Give the first and the last moment of a certificate; None where it cannot be read.

    Source: RFC 5280 §4.1: Certificate ::= SEQUENCE { tbsCertificate SEQUENCE { [0] version OPTIONAL, serialNumber,
    signature, issuer, validity SEQUENCE { notBefore, notAfter }, … } … }.
    """
    try:
        _, certificate, _ = _element(der)
        _, body, _ = _element(certificate)
        tag, _, rest = _element(body)
        for _ in range(3 if tag == _VERSION else 2):
            _, _, rest = _element(rest)
        tag, validity, _ = _element(rest)
        if tag != _SEQUENCE:
            return None
        tag, first, rest = _element(validity)
        begins = _moment(tag, first)
        tag, last, _ = _element(rest)
        return begins, _moment(tag, last)
    except (IndexError, ValueError):
        return None


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """Split an element off: tag, content, and what follows (X.690 §8.1)."""
    tag, length, at = data[0], data[1], 2
    if length & 0x80:
        count = length & 0x7F
        length, at = int.from_bytes(data[2 : 2 + count]), 2 + count
    if at + length > len(data):
        raise ValueError("cut short")
    return tag, data[at : at + length], data[at + length :]


def _moment(tag: int, content: bytes) -> datetime:
    if tag not in (_UTC_TIME, _GENERALIZED_TIME):
        raise ValueError("no time")
    text = content.decode("ascii")
    if tag == _UTC_TIME:
        # RFC 5280 §4.1.2.5.1: 50 to 99 are of the last century.
        text = ("19" if text[:2] >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
