"""`holdfast keys`: what is typed becomes a document of the admin API, and a folder that no gateway has takes it too."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli import keys
from holdfast.cli.exits import Exit, Stop
from holdfast.cli.keys_at import Folder, Gateway, place_of
from holdfast.cli.main import build_parser, main
from holdfast.store.address import note_address, noted_address
from holdfast.store.apikeys import digest_of
from holdfast.store.audit_log import entries
from holdfast.store.keys import find_key
from holdfast.store.lock import DataFolder
from holdfast.store.sqlite import SqliteStore

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


def terms(*words: str) -> dict[str, Any]:
    """What a command line states of a key."""
    args = build_parser(["keys"]).parse_args(["keys", "change", "key_1", *words])
    return keys.terms_of(args, NOW)


@pytest.fixture
def holdfast(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, Any, str]]:
    """Run a command on a folder; give its code, what it printed, and what it complained of."""

    def run(*words: str, as_json: bool = True) -> tuple[int, Any, str]:
        code = main([*words, "--data", str(tmp_path / "data"), *(["--json"] if as_json else [])])
        out, err = capsys.readouterr()
        return code, json.loads(out) if as_json and out else out, err

    return run


# What is typed


def test_every_option_becomes_a_field() -> None:
    """Of the document that the admin API takes."""
    assert terms(
        *("--label", "Team", "--scope", "openai", "--scope", "admin", "--model", "nano-*", "--model", "gpt-image-2"),
        *("--size", "1K", "--rate", "60", "--concurrency", "4", "--budget", "10.5/day", "--budget", "200/month"),
        *("--purchases", "1", "--group", "g", "--join", "off", "--tls", "--expires", "90d"),
    ) == {
        "label": "Team",
        "is_admin": True,
        "surfaces": ["openai"],
        "models": ["nano-*", "gpt-image-2"],
        "sizes": ["1K"],
        "rate_per_min": 60,
        "concurrency": 4,
        "spend_micros_per_day": 10_500_000,
        "spend_micros_per_month": 200_000_000,
        "purchases_max": 1,
        "group_id": "g",
        "join": "off",
        "tls_required": True,
        "expires_at": "2027-02-26T12:00:00+00:00",
    }


def test_none_takes_a_limit_away_and_what_is_left_out_is_not_stated() -> None:
    """A change is only what was typed."""
    assert terms() == {}
    assert terms(
        *("--scope", "none", "--model", "none", "--size", "none", "--rate", "none", "--concurrency", "none"),
        *("--budget", "none/day", "--purchases", "none", "--group", "none", "--no-tls", "--expires", "none"),
    ) == {
        "is_admin": False,
        "surfaces": None,
        "models": None,
        "sizes": None,
        "rate_per_min": None,
        "concurrency": None,
        "spend_micros_per_day": None,
        "purchases_max": None,
        "group_id": None,
        "tls_required": False,
        "expires_at": None,
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--rate", "0"), "no whole number above 0"),
        (("--rate", "²"), "no whole number above 0"),
        (("--concurrency", "many"), "no whole number above 0"),
        (("--budget", "10"), "10/day or 200/month"),
        (("--budget", "10/year"), "10/day or 200/month"),
        (("--budget=-1/day",), "no amount above 0"),
        (("--budget", "0.0000001/day"), "at most six decimals"),
        (("--budget", "ten/day"), "no amount above 0"),
        (("--budget", "NaN/day"), "no amount above 0"),
        (("--budget", "Infinity/day"), "no amount above 0"),
        (("--scope", "everything"), "invalid choice"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(words: tuple[str, ...], said: str) -> None:
    """With the way to write it."""
    with pytest.raises(Stop) as told:
        terms(*words)
    assert told.value.code is Exit.USAGE
    assert said in told.value.message


@pytest.mark.parametrize(("text", "seconds"), [("0s", 0), ("30m", 1800), ("24h", 86_400), ("7d", 604_800)])
def test_times_are_short_words(text: str, seconds: int) -> None:
    """A number and a unit."""
    assert keys.seconds(text) == seconds
    with pytest.raises(argparse.ArgumentTypeError):
        keys.seconds(f"{text}{text}")


def test_a_moment_is_passed_on_as_it_was_typed() -> None:
    """It is judged where it is taken, by the same words for everybody."""
    assert terms("--expires", "2027-01-31") == {"expires_at": "2027-01-31"}


# In a folder


def test_a_key_is_made_in_a_folder_and_known_to_its_gateway(holdfast: Any, tmp_path: Path) -> None:
    """The first one administers; it is noted as the operator's doing, without the key."""
    code, made, _ = holdfast("keys", "create", "mine", "--rate", "5")
    assert code == 0
    assert (made["label"], made["rate_per_min"], made["is_admin"], made["join"]) == ("mine", 5, True, "all")
    with DataFolder(tmp_path / "data") as folder, closing(SqliteStore(folder.paths.database, "test")) as store:
        row = store.write_sync(find_key, digest_of(folder.secret, made["key"]))
        (noted,) = store.write_sync(lambda conn: entries(conn, limit=5))
    assert row is not None
    assert row.id == made["id"]
    assert (noted.actor, noted.action, noted.target) == ("operator", "key.created", made["id"])
    assert noted.details == {"label": "mine", "rate_per_min": 5}


def test_a_key_goes_through_its_life(holdfast: Any) -> None:
    """Changed, rotated, revoked, listed."""
    holdfast("keys", "create", "first")
    _, made, _ = holdfast("keys", "create", "second", "--scope", "chat")
    assert (made["is_admin"], made["surfaces"]) == (False, ["chat"])
    _, changed, _ = holdfast("keys", "change", made["id"], "--scope", "none", "--model", "nano-*")
    assert (changed["surfaces"], changed["models"]) == (None, ["nano-*"])
    _, rotated, _ = holdfast("keys", "rotate", made["id"], "--overlap", "0s")
    assert rotated["key"] != made["key"]
    code, revoked, _ = holdfast("keys", "revoke", made["id"])
    assert (code, revoked["state"]) == (0, "revoked")
    _, listed, _ = holdfast("keys", "list")
    assert [(each["label"], each["state"]) for each in listed["data"]] == [("first", "valid"), ("second", "revoked")]
    assert "key" not in listed["data"][1]


def test_a_group_is_made_and_then_changed(holdfast: Any) -> None:
    """By the same words, with its label or its id."""
    holdfast("keys", "create", "first")
    _, made, _ = holdfast("keys", "group", "resellers", "--margin", "0.2")
    _, changed, _ = holdfast("keys", "group", "resellers", "--budget", "5/day")
    assert changed == {**made, "spend_micros_per_day": 5_000_000}
    _, back, _ = holdfast("keys", "group", made["id"], "--margin", "none", "--budget", "none/day")
    assert back == {**made, "margin_share": None}
    _, listed, _ = holdfast("keys", "groups")
    assert listed["data"] == [back]
    assert holdfast("keys", "create", "x", "--group", "none such")[0] == Exit.USAGE


def test_people_are_shown_a_table_and_the_key_once(holdfast: Any) -> None:
    """What it may, what its limits are, until when."""
    _, shown, _ = holdfast("keys", "create", "first", as_json=False)
    assert "The key, shown this once: hf-" in shown
    _, made, _ = holdfast(
        *("keys", "create", "Team Ö", "--model", "nano-*", "--scope", "openai", "--rate", "60", "--concurrency", "2"),
        *("--budget", "10/day", "--tls", "--expires", "2099-01-31"),
    )
    _, listed, _ = holdfast("keys", "list", as_json=False)
    assert "hf-" not in listed
    (line,) = [line for line in listed.splitlines() if made["id"] in line]
    for word in ("Team Ö", "valid until 2099-01-31", "openai nano-*", "60/min, 2 at once, 10.00 USD/day, TLS"):
        assert word in line
    _, rotated, _ = holdfast("keys", "rotate", made["id"], as_json=False)
    assert "The one before is valid until" in rotated
    _, none, _ = holdfast("keys", "groups", as_json=False)
    assert none == "There are none.\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("keys", "revoke", "key_none"), "There is no key 'key_none'"),
        (("keys", "revoke", "hf-01ABC-secretsecret"), "KEY is the id of a key"),
        (("keys", "change", "key_none"), "Say what is to change"),
        (("keys", "create", "x", "--expires", "2020-01-01"), "is over already"),
        (("keys", "create", "x", "--model", "a b"), "names no model"),
        (("keys", "create", "\x1b[31m"), "can be read"),
        (("keys", "create", "x", "--expires", "soon"), "such as 2027-01-31"),
        (("keys", "group", "g", "--margin", "-7"), "a number from -1 to 100"),
    ],
)
def test_what_is_refused_is_said_and_the_secret_is_not_repeated(
    holdfast: Any, words: tuple[str, ...], said: str
) -> None:
    """In one line, with the code of a slip."""
    holdfast("keys", "create", "first")
    code, _, err = holdfast(*words, as_json=False)
    assert code == Exit.USAGE
    assert said in err
    assert "secretsecret" not in err


def test_the_last_admin_is_not_revoked(holdfast: Any) -> None:
    """Here as anywhere."""
    _, made, _ = holdfast("keys", "create", "first")
    code, _, err = holdfast("keys", "revoke", made["id"])
    assert code == Exit.USAGE
    assert "only one without an end" in err


# Where it works


def test_a_folder_that_is_not_there_is_not_made_by_a_look(holdfast: Any, tmp_path: Path) -> None:
    """A slip in --data is told."""
    code, _, err = holdfast("keys", "list")
    assert code == Exit.USAGE
    assert "no data folder" in err
    assert not (tmp_path / "data").exists()


def test_a_folder_in_use_is_asked_at_its_gateway(tmp_path: Path) -> None:
    """Where it answers is written in it; only what the process that has it wrote counts."""
    with DataFolder(tmp_path) as folder:
        SqliteStore(folder.paths.database, "own").close()
        with pytest.raises(Stop, match="--base-url") as told:
            place_of(tmp_path, makes=False)
        assert told.value.code is Exit.FOLDER_LOCKED
        note_address(tmp_path, "http://0.0.0.0:1234")
        place = place_of(tmp_path, makes=False)
        assert isinstance(place, Gateway)
    assert isinstance(place_of(tmp_path, makes=False), Folder)


@pytest.mark.parametrize(
    ("base_url", "noted"),
    [
        ("http://0.0.0.0:1234", "http://127.0.0.1:1234"),
        ("http://[::]:1234", "http://[::1]:1234"),
        ("http://127.0.0.1:1234", "http://127.0.0.1:1234"),
        ("http://10.0.0.0:1234", "http://10.0.0.0:1234"),
    ],
)
def test_a_wildcard_is_noted_as_what_it_can_be_reached_by(
    tmp_path: Path, base_url: str, noted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And another process's note is none."""
    monkeypatch.setattr("os.getpid", lambda: 7)
    note_address(tmp_path, base_url)
    assert noted_address(tmp_path, 7) == noted
    assert noted_address(tmp_path, 8) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 7}', '{"pid": 7, "base_url": 3}', "\xff"])
def test_a_note_that_is_broken_is_none(tmp_path: Path, text: str) -> None:
    """A gateway of another version, or a disk that was full."""
    (tmp_path / "address").write_text(text, "latin-1")
    assert noted_address(tmp_path, 7) is None
    assert noted_address(tmp_path / "none", 7) is None


def test_a_gateway_that_is_not_there_is_told(holdfast: Any) -> None:
    """With the code of what cannot be reached."""
    code, _, err = holdfast("keys", "list", "--base-url", "http://127.0.0.1:1", "--api-key", "hf-x")
    assert code == Exit.UNREACHABLE
    assert "Is holdfast serve running there?" in err
