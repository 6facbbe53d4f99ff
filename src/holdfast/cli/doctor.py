"""`holdfast doctor`: measures the path to a gateway, and says who cuts slow calls, after how long, and what to set."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, TextIO
from urllib.parse import urlsplit

from holdfast.cli.exits import Exit, Stop
from holdfast.cli.progress import bar

if TYPE_CHECKING:
    from holdfast.doctor.examine import Notebook
    from holdfast.doctor.probing import Target

REDRAW_S = 0.2
PLAIN_LINE_S = 15.0
BAR_CELLS = 32
_CLEAR_LINE = "\r\x1b[2K"
_PROXY_VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("doctor", help="measure a path: who cuts slow calls, and what to set")
    parser.add_argument("url", metavar="URL", help="as clients use it: https://images.example.com/v1")
    parser.add_argument("--api-key", help="else HOLDFAST_API_KEY, else what a gateway on this machine wrote down")
    parser.add_argument("--quick", action="store_true", help="try no silence above 65 s; else up to 132 s")


def run(args: argparse.Namespace) -> int:
    """Examine, and print; Ctrl-C prints what is known by then."""
    from holdfast.cli.api_key import find_api_key
    from holdfast.cli.asked import base_of
    from holdfast.cli.generate import key_files
    from holdfast.config import load
    from holdfast.doctor.examine import Notebook, Plan
    from holdfast.doctor.findings import Findings
    from holdfast.doctor.schedule import QUICK_S, SILENCE_S

    base_url = trimmed(base_of(args.url))
    settings = load(args.config, os.environ)
    key = find_api_key(args.api_key, os.environ, base_url, key_files(settings))
    notebook = Notebook(Findings(url=base_url, proxies_set=proxies_set(os.environ, base_url)))
    stages = Stages(None if args.json else sys.stderr)
    plan = Plan(until_s=QUICK_S if args.quick else SILENCE_S, stage=stages.began)
    ending: Stop | None = None
    try:
        asyncio.run(_examine(target_of(base_url), key.value, notebook, plan, stages))
    except Stop as stop:
        ending = Stop(stop.code, key.refused(stop.message)) if stop.code is Exit.KEY_WRONG else stop
    except KeyboardInterrupt:
        ending = Stop(Exit.INTERRUPTED, "Interrupted; this is what is known by now.")
    if notebook.findings.named is not None or ending is None:
        report(notebook, as_json=args.json)
    if ending is not None:
        raise ending
    return Exit.OK


async def _examine(target: Target, key: str, notebook: Notebook, plan: object, stages: Stages) -> None:
    from holdfast.clock import SystemClock
    from holdfast.doctor.examine import Plan, WrongKey, WrongUrl, examine
    from holdfast.doctor.probing import Unreachable

    assert isinstance(plan, Plan)
    async with stages:
        try:
            await examine(target, key, SystemClock(), notebook, plan)
        except WrongKey as exc:
            raise Stop(Exit.KEY_WRONG, str(exc)) from exc
        except WrongUrl as exc:
            raise Stop(Exit.USAGE, str(exc)) from exc
        except Unreachable as exc:
            raise Stop(Exit.UNREACHABLE, str(exc)) from exc


def report(notebook: Notebook, *, as_json: bool) -> None:
    """Print what is known."""
    from holdfast.doctor.told import document_of, lines_of
    from holdfast.doctor.verdict import judge

    findings = notebook.findings
    verdict = judge(findings)
    if as_json:
        print(json.dumps(document_of(findings, verdict), indent=2))
    else:
        print("\n".join(lines_of(findings, verdict)))
    sys.stdout.flush()


def trimmed(base_url: str) -> str:
    """Cut off what follows `/v1`: people paste the address of a call."""
    found = re.match(r"(https?://[^/]+(?:/[^/]+)*?/v1)(?:/|$)", base_url)
    return found.group(1) if found else base_url


def target_of(base_url: str) -> Target:
    """Read a base URL, as `base_of` gave it."""
    from holdfast.doctor.probing import Target

    parts = urlsplit(base_url)
    assert parts.hostname is not None
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return Target(scheme=parts.scheme, host=parts.hostname, port=port, base=parts.path)


def proxies_set(environ: Mapping[str, str], base_url: str) -> tuple[tuple[str, str], ...]:
    """List the proxy variables in force for a URL, without the user and password that may stand in them."""
    scheme, host = urlsplit(base_url).scheme, urlsplit(base_url).hostname or ""
    exempt = [each.strip().lstrip(".") for each in _either(environ, "NO_PROXY").split(",") if each.strip()]
    if any(each == "*" or host == each or host.endswith(f".{each}") for each in exempt):
        return ()
    found = []
    for name in _PROXY_VARIABLES:
        value = _either(environ, name)
        if value and name in (f"{scheme.upper()}_PROXY", "ALL_PROXY"):
            found.append((name, value.rpartition("@")[2] if "@" in value else value))
    return tuple(found)


def _either(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name.lower()) or environ.get(name) or ""


class Stages:
    """Shows what is being measured, and how much of its time has passed: a bar on a terminal, lines elsewhere."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._is_terminal = stream is not None and stream.isatty()
        self._words, self._seconds, self._began_at = "connecting", 0.0, 0.0
        self._task: asyncio.Task[None] | None = None

    def began(self, words: str, seconds: float) -> None:
        """Note what is measured now, and how many seconds it may take."""
        self._words, self._seconds = words, seconds
        self._began_at = asyncio.get_running_loop().time()

    async def __aenter__(self) -> Stages:
        self._began_at = asyncio.get_running_loop().time()
        if self._stream is not None:
            self._task = asyncio.create_task(self._show(), name="stages")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._write(_CLEAR_LINE if self._is_terminal else "")

    async def _show(self) -> None:
        while True:
            elapsed_s = asyncio.get_running_loop().time() - self._began_at
            if self._is_terminal:
                columns = shutil.get_terminal_size().columns
                self._write(_CLEAR_LINE + stage_line(self._words, elapsed_s, self._seconds, columns))
                await asyncio.sleep(REDRAW_S)
            else:
                await asyncio.sleep(PLAIN_LINE_S)
                elapsed_s = asyncio.get_running_loop().time() - self._began_at
                self._write(f"{self._words}: {elapsed_s:.0f} s of at most {self._seconds:.0f} s\n")

    def _write(self, text: str) -> None:
        if self._stream is not None:
            self._stream.write(text)
            self._stream.flush()


def stage_line(words: str, elapsed_s: float, seconds: float, columns: int) -> str:
    """Draw one line; it never wraps."""
    if seconds <= 0.0:
        return words[: columns - 1]
    told = f"{words}  {elapsed_s:.0f} s of at most {seconds:.0f} s"
    cells = min(BAR_CELLS, columns - len(told) - 3)
    if cells < 4:
        return told[: columns - 1]
    return f"{bar(min(1.0, elapsed_s / seconds), cells)}  {told}"
