"""Ports of the command line: how one is read, and what is said when nobody can listen on it."""

from __future__ import annotations

import argparse
import errno

from holdfast.cli.exits import Exit, Stop


def port_number(text: str) -> int:
    """Read a port.

    Raises:
        ArgumentTypeError: It is none.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to 65535, not {text!r}")
    return int(text)


def port_refused(error: OSError, host: str, port: int, *, chosen_by: str = "--port or HOLDFAST_PORT") -> Stop:
    """Say that a port cannot be listened on; for commands that know which one it was.

    Args:
        error: What the system said.
        host: The address.
        port: The port.
        chosen_by: What chooses another port.
    """
    if error.errno == errno.EADDRNOTAVAIL:
        message = (
            f"Port {port} cannot be opened on {host}: this machine has no such address. Choose another with --host or "
            "HOLDFAST_SERVER__HOST: 127.0.0.1 for this machine alone, 0.0.0.0 for all of its addresses."
        )
    elif error.errno == errno.EACCES:
        message = f"Port {port} on {host} needs privileges. Choose one above 1023 with {chosen_by}."
    else:
        message = f"Port {port} on {host} is taken. Stop what listens there, or choose another with {chosen_by}."
    return Stop(Exit.PORT_TAKEN, message)
