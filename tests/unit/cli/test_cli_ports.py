"""Ports: one reading for every command, and one sentence for each way of being refused."""

from __future__ import annotations

import argparse
import errno
from pathlib import Path

import pytest

from holdfast.cli.exits import Exit
from holdfast.cli.main import main
from holdfast.cli.ports import port_number, port_refused

COMMANDS = ("serve", "simulate", "demo")


@pytest.mark.parametrize("said", ["many", "-1", "65536", "100000", "1.5", "", "٣"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_port_that_is_none_is_a_mistake_of_the_command_line(
    command: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line and code 2 from each command, not a traceback out of `bind`; and nothing was made."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(argparse.ArgumentTypeError):
        port_number(said)
    assert main([command, f"--port={said}"]) == Exit.USAGE
    told = capsys.readouterr()
    assert told.out == ""
    (line,) = told.err.splitlines()
    assert line.startswith("holdfast: Argument --port: a port is a number from 0 to 65535, not ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("said", ["0", "1", "16888", "65535"])
def test_a_port_is_a_number_of_sixteen_bits(said: str) -> None:
    """0 included: it takes a free one."""
    assert port_number(said) == int(said)


@pytest.mark.parametrize(
    ("number", "why", "what_to_do", "what_does_not_help"),
    [
        (errno.EADDRINUSE, "is taken", "with --port", "--host"),
        (errno.EACCES, "needs privileges", "above 1023 with --port", "Stop what listens"),
        (errno.EADDRNOTAVAIL, "no such address", "with --host", "--port"),
    ],
)
def test_a_refused_port_says_why_and_what_helps(
    number: int, why: str, what_to_do: str, what_does_not_help: str
) -> None:
    """Taken, forbidden and not of this machine are three things to do, and only one of them is named."""
    stop = port_refused(OSError(number, "x"), "127.0.0.1", 80)
    assert stop.code is Exit.PORT_TAKEN
    assert "Port 80 " in stop.message
    assert "on 127.0.0.1" in stop.message
    assert why in stop.message
    assert what_to_do in stop.message
    assert what_does_not_help not in stop.message


def test_a_command_that_reads_no_variable_names_none() -> None:
    """`holdfast simulate` does not listen to HOLDFAST_PORT, so it does not send anybody there."""
    assert "HOLDFAST_PORT" in port_refused(OSError(errno.EADDRINUSE, "x"), "127.0.0.1", 80).message
    stop = port_refused(OSError(errno.EADDRINUSE, "x"), "127.0.0.1", 80, chosen_by="--port")
    assert stop.message.endswith("choose another with --port.")
