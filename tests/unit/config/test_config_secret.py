"""The secret from the environment: 32 bytes as base64, or none."""

from __future__ import annotations

import base64

import pytest

from holdfast.config import slips
from holdfast.config.secret import SECRET_BYTES, VARIABLE, secret_of
from holdfast.errors import ConfigError

SECRET = bytes(range(SECRET_BYTES))


@pytest.mark.parametrize("text", [base64.b64encode(SECRET).decode(), f" {base64.b64encode(SECRET).decode()}\n"])
def test_what_the_shell_makes_is_read(text: str) -> None:
    """As `head -c 32 /dev/urandom | base64` prints it, with the newline that a file has."""
    assert secret_of({VARIABLE: text}) == SECRET


@pytest.mark.parametrize("environ", [{}, {VARIABLE: ""}, {VARIABLE: "  "}])
def test_without_it_there_is_none(environ: dict[str, str]) -> None:
    """An unset variable of a compose file is an empty one."""
    assert secret_of(environ) is None


@pytest.mark.parametrize(
    "text",
    [
        base64.b64encode(SECRET[:-1]).decode(),
        base64.b64encode(SECRET + b"!").decode(),
        base64.b64encode(SECRET).decode().rstrip("="),
        SECRET.hex(),
        "a password that somebody thought of",
        "ä" * 44,
    ],
)
def test_anything_else_is_refused_and_not_repeated(text: str) -> None:
    """A secret that is shorter than it looks guards less; and no message says what it was."""
    with pytest.raises(ConfigError, match="head -c 32 /dev/urandom") as caught:
        secret_of({VARIABLE: text})
    assert caught.value.key == VARIABLE
    assert text not in str(caught.value)


def test_it_is_no_slip() -> None:
    """A command does not wonder what the variable means."""
    assert slips({VARIABLE: "x"}) == []
