"""`holdfast demo`: the same 4K call, cut on its way without holdfast, arriving with it; then it goes on serving.

Nothing here is paid: the demo's upstream is simulated even if a real key is set. That key is used only by the gateway
that goes on serving afterwards.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from holdfast.cli.exits import Exit, Stop
from holdfast.cli.ports import port_number

KEY_FILE = Path(".holdfast/demo.key")
DATA = Path(".holdfast/data")


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("demo", help="see a slow image fail without holdfast and arrive with it")
    parser.add_argument("--once", action="store_true", help="end after the image instead of serving")
    parser.add_argument("--port", type=port_number, help="of the gateway; else HOLDFAST_PORT, else 16888")


def run(args: argparse.Namespace) -> int:
    """Play the demo."""
    from holdfast.cli.loop import run_on_loop
    from holdfast.cli.play import Play
    from holdfast.config import load

    usual = load(args.config, os.environ)
    data = args.data or DATA
    play = Play(
        usual=usual,
        environ=os.environ,
        data=data,
        port=usual.server.port if args.port is None else args.port,
        key=_key(data),
        key_file=KEY_FILE,
        once=args.once,
        as_json=args.json,
    )
    run_on_loop(play.run())
    return Exit.OK


def _key(data: Path) -> str:
    """Make or read the demo's key, which is the first thing that needs the data folder.

    Raises:
        Stop: A demo is running on it.
        StorageError: It cannot be used otherwise.
    """
    from holdfast.cli.demo_key import demo_key
    from holdfast.cli.holder import holder_of
    from holdfast.clock import SystemClock
    from holdfast.errors import StorageError

    try:
        return demo_key(data, KEY_FILE, SystemClock())
    except StorageError as error:
        if error.reason != "locked":
            raise
        raise Stop(
            Exit.FOLDER_LOCKED,
            f"The demo is already running here (process {holder_of(data) or 'unknown'}). End it there with Ctrl-C; "
            "another port does not help, since both would keep their images in "
            f"{data}. To run one beside it: holdfast demo --data OTHER-FOLDER --port N.",
        ) from error
