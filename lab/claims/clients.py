"""Clients as people write them in their first minute: nothing is set that a claim does not name."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

GIVEN_UP_S = 5.0
"""Waited for beyond the server's silence, before a client that has not answered is stopped."""
COMPILE_S = 180.0

PYTHON = {
    "requests": "import requests\nprint(requests.get(URL{more}).status_code)",
    "httpx": "import httpx\nprint(httpx.get(URL{more}).status_code)",
    "httpx2": "import httpx2\nprint(httpx2.get(URL{more}).status_code)",
    "urllib3": "import urllib3\nprint(urllib3.request('GET', URL{more}).status)",
    "aiohttp": (
        "import asyncio, aiohttp\n"
        "async def main():\n"
        "    async with aiohttp.ClientSession() as session, session.get(URL{more}) as answer:\n"
        "        print(answer.status)\n"
        "asyncio.run(main())"
    ),
}
NODE_FETCH = "const answer = await fetch(process.argv[2]); console.log(answer.status); process.exit(0)"
AXIOS = "import axios from 'axios'; const answer = await axios.get(process.argv[2]); console.log(answer.status)"
JAVA = """
import java.net.URI;
import java.net.http.*;

public class Ask {
    public static void main(String[] given) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(given[0])).build();
        System.out.println(HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString()).statusCode());
    }
}
"""
GO = """package main

import (
	"fmt"
	"net/http"
	"os"
)

func main() {
	answer, err := http.Get(os.Args[1])
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	defer answer.Body.Close()
	fmt.Println(answer.StatusCode)
}
"""


class Missing(RuntimeError):
    """A program or package that an experiment needs is not here: said, never passed over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What became of one call."""

    client: str
    silence_s: float
    """How long the server said nothing."""
    seconds: float
    """Until the client had an answer, or gave up."""
    status: int | None
    """None: it gave up, with `error`."""
    error: str = ""

    def as_json(self) -> dict[str, Any]:
        """For the results."""
        return asdict(self)


async def ask(
    client: str, url: str, silence_s: float, *, more: str = "", environ: Mapping[str, str] | None = None
) -> Told:
    """Let a client call; `more` stands behind the URL among the arguments, where it is a Python one.

    Args:
        client: Of `PYTHON`, or curl, node, axios, java, go.
        url: Of a server that answers after the seconds in `?s=`.
        silence_s: Those seconds.
        more: For instance `, timeout=600`.
        environ: Variables of its own, beside this process's.
    """
    with tempfile.TemporaryDirectory(prefix="claims-client-") as name:
        command = await asyncio.to_thread(_command, client, more, Path(name), f"{url}?s={silence_s:g}")
        begun_at = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *command,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=name,
            env={key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
            | dict(environ or {}),
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(), silence_s + GIVEN_UP_S + 30.0)
        except TimeoutError:
            process.kill()
            await process.wait()
            return Told(
                client=client, silence_s=silence_s, seconds=time.monotonic() - begun_at, status=None, error="hung"
            )
        seconds = time.monotonic() - begun_at
        said = out.decode(errors="replace").strip()
        if process.returncode == 0 and said.isdigit():
            return Told(client=client, silence_s=silence_s, seconds=seconds, status=int(said))
        lines = [line for line in (said + "\n" + err.decode(errors="replace")).splitlines() if line.strip()]
        return Told(client=client, silence_s=silence_s, seconds=seconds, status=None, error=_reason(lines))


def _reason(lines: list[str]) -> str:
    """The line that names the error: the last of Python's, the first that names one of the others'."""
    named = [line.strip() for line in lines if "Error" in line or "Exception" in line or "imeout" in line]
    return (named[-1] if named else lines[-1] if lines else "no word")[:200]


def _command(client: str, more: str, folder: Path, url: str) -> list[str]:
    if client in PYTHON:
        script = folder / "ask.py"
        script.write_text(f"URL = {url!r}\n" + PYTHON[client].replace("{more}", more))
        return [sys.executable, str(script)]
    if client == "curl":
        return [
            _program("curl"),
            "--silent",
            "--show-error",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
            url,
        ]
    if client in ("node", "axios"):
        script = folder / "ask.mjs"
        script.write_text(NODE_FETCH if client == "node" else AXIOS)
        if client == "axios":
            modules = os.environ.get("CLAIMS_NODE_MODULES")
            if not modules or not (Path(modules) / "axios").is_dir():
                raise Missing("axios: set CLAIMS_NODE_MODULES to a node_modules folder that has it")
            (folder / "node_modules").symlink_to(modules)
        return [_program("node"), str(script), url]
    if client == "java":
        (folder / "Ask.java").write_text(JAVA)
        subprocess.run([_program("javac"), "Ask.java"], cwd=folder, check=True, timeout=COMPILE_S, capture_output=True)
        return [_program("java"), "-cp", str(folder), "Ask", url]
    assert client == "go"
    (folder / "ask.go").write_text(GO)
    subprocess.run(
        [_program("go"), "build", "-o", "ask", "ask.go"], cwd=folder, check=True, timeout=COMPILE_S, capture_output=True
    )
    return [str(folder / "ask"), url]


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise Missing(f"{name} is not installed")
    return found


def versions(*clients: str) -> dict[str, str]:
    """Versions of what was asked with."""
    from importlib.metadata import version

    found: dict[str, str] = {}
    for client in clients:
        if client in PYTHON:
            found[client] = version(client)
        elif client == "curl":
            found["curl"] = _said(["curl", "--version"]).split()[1]
        elif client in ("node", "axios"):
            found["node"] = _said(["node", "--version"])
        elif client == "java":
            found["java"] = _said(["java", "--version"]).splitlines()[0]
        else:
            found["go"] = _said(["go", "version"])
    return found


def _said(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
