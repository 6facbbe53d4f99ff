"""Links that carry their own permission."""

from __future__ import annotations

import base64
import hashlib
import hmac
from urllib.parse import parse_qsl, urlsplit

import pytest

from holdfast.store.signing import Signer

PATH = "/v1/images/img_01ARZ3NDEKTSV4RRFFQ69G5FAV"
NOW_S = 1_800_000_000
OLD, NEW = ("k1", b"1" * 32), ("k2", b"2" * 32)


def link(signer: Signer, path: str = PATH, *, expires: int = NOW_S + 60) -> tuple[str, dict[str, str]]:
    """Sign a path; give path and query as a server sees them."""
    parts = urlsplit(signer.sign(path, expires_unix_s=expires))
    return parts.path, dict(parse_qsl(parts.query, keep_blank_values=True))


def is_valid(signer: Signer, path: str, query: dict[str, str], now_s: float = NOW_S) -> bool:
    """Check a link at a moment."""
    return signer.is_valid(path, query, now_unix_s=now_s)


def test_a_link_opens_what_it_was_signed_for() -> None:
    """As it stands, until its last second."""
    path, query = link(Signer(secrets=(OLD,)))
    assert path == PATH
    assert query.keys() == {"exp", "kid", "sig"}
    assert is_valid(Signer(secrets=(OLD,)), path, query)
    assert is_valid(Signer(secrets=(OLD,)), path, query, NOW_S + 60)


@pytest.mark.parametrize("later_s", [60.001, 61, 10**9])
def test_an_expired_link_opens_nothing(later_s: float) -> None:
    """Not a millisecond longer."""
    path, query = link(Signer(secrets=(OLD,)))
    assert not is_valid(Signer(secrets=(OLD,)), path, query, NOW_S + later_s)


@pytest.mark.parametrize(
    "changed",
    [
        {"exp": str(NOW_S + 61)},
        {"exp": str(NOW_S + 59)},
        {"kid": "k2"},
        {"kid": ""},
        {"sig": ""},
        {"sig": "A" * 43},
    ],
)
def test_nothing_of_a_link_can_be_changed(changed: dict[str, str]) -> None:
    """Neither how long it lives nor which secret it names."""
    signer = Signer(secrets=(OLD, NEW))
    path, query = link(signer)
    assert not is_valid(signer, path, query | changed)


def test_every_character_of_the_signature_counts() -> None:
    """The last one too, whose low bits base64 leaves unused: one image has one signature."""
    signer = Signer(secrets=(OLD,))
    path, query = link(signer)
    for at, letter in enumerate(query["sig"]):
        other = "B" if letter != "B" else "C"
        assert not is_valid(signer, path, query | {"sig": query["sig"][:at] + other + query["sig"][at + 1 :]})
    assert not is_valid(signer, path, query | {"sig": query["sig"] + "="})


@pytest.mark.parametrize("path", ["/v1/images/img_2", PATH + "/", PATH[:-1], PATH.lower(), "", "/" + PATH])
def test_a_link_opens_no_other_path(path: str) -> None:
    """The whole path is signed."""
    signer = Signer(secrets=(OLD,))
    _, query = link(signer)
    assert not is_valid(signer, path, query)


def test_two_secrets_are_valid_while_they_rotate() -> None:
    """New links use the first; links of the second live on, and die when it is taken away."""
    before, during, after = Signer(secrets=(OLD,)), Signer(secrets=(NEW, OLD)), Signer(secrets=(NEW,))
    old_link, new_link = link(before), link(during)
    assert new_link[1]["kid"] == "k2"
    assert is_valid(during, *old_link)
    assert is_valid(during, *new_link)
    assert is_valid(after, *new_link)
    assert not is_valid(after, *old_link)


def test_a_key_id_does_not_lend_its_name_to_another_secret() -> None:
    """A folder whose secret was replaced under the same id opens nothing that was signed before."""
    path, query = link(Signer(secrets=(OLD,)))
    assert not is_valid(Signer(secrets=(("k1", b"2" * 32),)), path, query)


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"exp": ""},
        {"exp": "x"},
        {"exp": "-1"},
        {"exp": "1e9"},
        {"exp": " 1900000000"},
        {"exp": "1_900_000_000"},
        {"exp": "١٩٠٠٠٠٠٠٠٠"},
        {"exp": "9" * 13},
        {"exp": "9" * 100_000},
        {"sig": "ключ"},
        {"sig": "\x00"},
        {"kid": "k1\x00"},
    ],
)
def test_odd_queries_are_refused_and_break_nothing(query: dict[str, str]) -> None:
    """What a stranger types is no error of ours."""
    signer = Signer(secrets=(OLD,))
    _, good = link(signer)
    assert not is_valid(signer, PATH, {**good, **query} if query else {})


def test_a_signer_needs_a_secret() -> None:
    """One without, or with an empty one, would sign for everybody."""
    for secrets in ((), (("k1", b""),)):
        with pytest.raises(AssertionError):
            Signer(secrets=secrets)


def test_the_signature_is_hmac_sha256_over_path_expiry_and_key() -> None:
    """Links that were given out stay valid over an upgrade: what is signed, and how, does not change."""
    _, query = link(Signer(secrets=(OLD,)))
    message = b"image-url\0" + PATH.encode() + b"\0" + query["exp"].encode() + b"\0k1"
    digest = hmac.new(OLD[1], message, hashlib.sha256).digest()
    assert base64.urlsafe_b64decode(query["sig"] + "=") == digest
    assert "=" not in query["sig"]
