"""The Python clients, and curl: jobs come as lines of JSON on standard input, what each showed goes out as lines.

A client is used as its first page has it, with nothing set but where, who and what. The first line out says versions.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

THREADS = 64
Job = dict[str, Any]
Shown = dict[str, Any]


def _asked(job: Job) -> tuple[str, dict[str, str], dict[str, Any]]:
    """Give address, headers and body of a call that is written by hand."""
    headers = {"Authorization": f"Bearer {job['key']}"}
    return f"{job['front']}/v1/images/generations", headers, {"model": job["model"], "prompt": job["prompt"]}


def by_requests(job: Job) -> Shown:
    """Ask with requests."""
    import requests

    url, headers, body = _asked(job)
    response = requests.post(url, json=body, headers=headers)
    return {"status": response.status_code, "body": response.text}


def by_httpx(job: Job) -> Shown:
    """Ask with httpx."""
    import httpx

    url, headers, body = _asked(job)
    response = httpx.post(url, json=body, headers=headers)
    return {"status": response.status_code, "body": response.text, "protocol": response.http_version}


def by_httpx2(job: Job) -> Shown:
    """Ask with httpx2."""
    import httpx2

    url, headers, body = _asked(job)
    response = httpx2.post(url, json=body, headers=headers)
    return {"status": response.status_code, "body": response.text, "protocol": response.http_version}


def by_aiohttp(job: Job) -> Shown:
    """Ask with aiohttp."""
    import aiohttp

    url, headers, body = _asked(job)

    async def ask() -> Shown:
        async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as response:
            return {"status": response.status, "body": await response.text()}

    return asyncio.run(ask())


def by_urllib3(job: Job) -> Shown:
    """Ask with urllib3."""
    import urllib3

    url, headers, body = _asked(job)
    response = urllib3.request("POST", url, json=body, headers=headers)
    return {"status": response.status, "body": response.data.decode()}


def by_curl(job: Job) -> Shown:
    """Ask with curl; key and body go through its standard input, so that no list of processes shows them."""
    url, headers, body = _asked(job)
    lines = [f"header = {json.dumps(f'{name}: {value}')}" for name, value in headers.items()]
    lines += ['header = "Content-Type: application/json"', f"data = {json.dumps(json.dumps(body))}"]
    told = "\n%{http_code} %{http_version}"
    command = ["curl", "--silent", "--show-error", "--config", "-", "--write-out", told, url]
    done = subprocess.run(command, input="\n".join(lines).encode(), capture_output=True, check=False)
    text, _, last = done.stdout.decode(errors="replace").rpartition("\n")
    status, _, protocol = last.partition(" ")
    shown: Shown = {"status": int(status) or None, "body": text, "protocol": f"HTTP/{protocol}"}
    if done.returncode:
        shown["error"] = {"class": f"exit {done.returncode}", "message": done.stderr.decode(errors="replace")}
    return shown


def by_openai(job: Job) -> Shown:
    """Ask with OpenAI's SDK."""
    import openai

    client = openai.OpenAI(base_url=f"{job['front']}/v1", api_key=job["key"])
    try:
        return {"body": client.images.generate(model=job["model"], prompt=job["prompt"]).to_json()}
    except openai.APIStatusError as exc:
        raise Told(exc, status=exc.status_code, code=exc.code) from exc


def by_google(job: Job) -> Shown:
    """Ask with Google's SDK."""
    from google import genai
    from google.genai import errors

    client = genai.Client(api_key=job["key"], http_options={"base_url": job["front"]})
    try:
        response = client.models.generate_content(model=job["model"], contents=job["prompt"])
        return {"body": response.model_dump_json(by_alias=True, exclude_none=True)}
    except errors.APIError as exc:
        raise Told(exc, status=exc.code, code=exc.status) from exc


class Told(Exception):
    """An exception of an SDK that says what the server told."""

    def __init__(self, problem: Exception, *, status: int | None, code: str | None) -> None:
        super().__init__(str(problem))
        self.shown = {"class": type(problem).__name__, "message": str(problem), "status": status, "code": code}


CLIENTS: dict[str, Callable[[Job], Shown]] = {
    "requests": by_requests,
    "httpx": by_httpx,
    "httpx2": by_httpx2,
    "aiohttp": by_aiohttp,
    "urllib3": by_urllib3,
    "curl": by_curl,
    "openai": by_openai,
    "google-genai": by_google,
}


def version_of(client: str) -> str:
    """Ask a client who it is; empty: it is not here."""
    if client == "curl":
        said = subprocess.run(["curl", "--version"], capture_output=True, text=True, check=True).stdout
        return said.split()[1]
    try:
        return metadata.version(client)
    except metadata.PackageNotFoundError:
        return ""


def answer(job: Job, out: threading.Lock) -> None:
    """Do one job, and say what the client showed."""
    try:
        shown = CLIENTS[job["client"]](job)
    except Told as told:
        shown = {"error": told.shown}
    except Exception as exc:  # noqa: BLE001 - whatever a client raises is what its program gets: that is what is measured
        # A parser's exception keeps what it could not parse: a program sees it there.
        words = [str(exc), getattr(exc, "doc", "").strip()]
        shown = {"error": {"class": type(exc).__name__, "message": ": ".join(filter(None, words))[:2000]}}
    Path(job["body_file"]).write_text(shown.pop("body", ""), "utf-8", newline="")
    with out:
        print(json.dumps({"id": job["id"], **shown}), flush=True)


def main() -> None:
    """Do jobs until there are no more."""
    print(json.dumps({"versions": {client: version_of(client) for client in CLIENTS}}), flush=True)
    out = threading.Lock()
    with ThreadPoolExecutor(THREADS) as pool:
        for line in sys.stdin:
            pool.submit(answer, json.loads(line), out)


if __name__ == "__main__":
    main()
