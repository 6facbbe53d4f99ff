"""Until when a certificate is valid, read from bytes that nobody has checked."""

from __future__ import annotations

import ssl
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.doctor.certificate import validity_of


def der_of(folder: Path, *, days: int, key: str) -> bytes:
    """Make a certificate, as people do."""
    cert = folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-nodes", "-newkey", *key.split(), "-subj", "/CN=a.example"]
    command += ["-days", str(days), "-keyout", str(folder / "key.pem"), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    return ssl.PEM_cert_to_DER_cert(cert.read_text("ascii"))


@pytest.mark.parametrize("key", ["ec -pkeyopt ec_paramgen_curve:prime256v1", "rsa:2048"])
@pytest.mark.parametrize("days", [2, 20_000])
def test_a_certificate_tells_its_time(tmp_path: Path, key: str, days: int) -> None:
    """In this century and after 2050, where another form is used."""
    valid = validity_of(der_of(tmp_path, days=days, key=key))
    assert valid is not None
    begins, ends = valid
    assert abs((begins - datetime.now(UTC)).total_seconds()) < 300
    assert (ends - begins).days == days


def element(tag: int, content: bytes) -> bytes:
    """Write a short element."""
    assert len(content) < 128
    return bytes([tag, len(content)]) + content


def test_the_last_century_is_known() -> None:
    """Two digits: 50 and more are nineteen hundreds."""
    validity = element(0x30, element(0x17, b"991231235959Z") + element(0x17, b"491231235959Z"))
    body = b"".join([element(0x02, b"\1"), element(0x30, b""), element(0x30, b""), validity])
    valid = validity_of(element(0x30, element(0x30, body)))
    assert valid is not None
    assert [each.year for each in valid] == [1999, 2049]


@given(noise=st.binary(max_size=200))
def test_what_is_no_certificate_is_none(noise: bytes) -> None:
    """Whatever a peer sends."""
    assert validity_of(noise) is None


def test_a_cut_certificate_is_none(tmp_path: Path) -> None:
    """At any byte."""
    der = der_of(tmp_path, days=2, key="ec -pkeyopt ec_paramgen_curve:prime256v1")
    assert all(validity_of(der[:cut]) is None for cut in range(0, len(der), 7))
