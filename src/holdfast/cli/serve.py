"""`holdfast serve`: the gateway, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.cli.api_key import FIRST_KEY, is_loopback
from holdfast.cli.exits import Exit, Stop
from holdfast.cli.key_file import write_key
from holdfast.cli.ports import port_number, port_refused
from holdfast.config.roles import Role
from holdfast.errors import ConfigError

if TYPE_CHECKING:
    from holdfast.config import Server, Settings
    from holdfast.gateway.server import PortRefused, Running


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("serve", help="run the gateway")
    parser.add_argument("--host", help="address to listen on, instead of server.host")
    parser.add_argument(
        "--port", type=port_number, help="port of plain HTTP/1.1, instead of server.port; 0 takes a free one"
    )
    parser.add_argument("--tls-cert", metavar="FILE", type=Path, help="certificate chain (PEM); opens the TLS listener")
    parser.add_argument("--tls-key", metavar="FILE", type=Path, help="its private key (PEM)")
    parser.add_argument(
        "--role",
        choices=[role.value for role in Role],
        help="of several processes on one PostgreSQL: serve callers, work at upstreams, or all, instead of server.role",
    )


def run(args: argparse.Namespace) -> int:
    """Serve until told to end."""
    from holdfast.cli.loop import run_on_loop, told_of_drain
    from holdfast.gateway.serve import serve
    from holdfast.gateway.server import PortRefused
    from holdfast.log import setup

    settings = settings_of(args)
    setup(settings.log.level, settings.log.format)

    def ready(running: Running) -> None:
        for line in announcement(settings, running, as_json=args.json):
            print(line, flush=True)

    def tell_first_key(key: str) -> None:
        for line in first_key_told(key, settings.store.data, on_terminal=sys.stdout.isatty(), as_json=args.json):
            print(line, flush=True)

    try:
        with told_of_drain() as drained:
            serving = serve(settings, ready=ready, tell_first_key=tell_first_key, reread=partial(settings_of, args))
            code = run_on_loop(serving)
    except PortRefused as error:
        raise refusal_of(error) from error
    if drained.left_held:
        raise Stop(
            Exit.INTERRUPTED,
            "Ended while calls were held. Their images may have been paid for; the next start settles what became of "
            "them.",
        )
    if drained.is_cut_short:
        raise Stop(
            Exit.INTERRUPTED,
            "Ended while answers were being sent. Their images are kept; after the next start they can be fetched by "
            "their generations' ids.",
        )
    return code


def refusal_of(error: PortRefused) -> Stop:
    """Say which port it was and how to choose another."""
    if not error.is_tls:
        return port_refused(error, error.host, error.port)
    return Stop(
        Exit.PORT_TAKEN,
        f"Port {error.port} on {error.host}, for TLS, cannot be listened on: {error.strerror}. Choose another with "
        "server.tls_port or HOLDFAST_SERVER__TLS_PORT.",
    )


def settings_of(args: argparse.Namespace) -> Settings:
    """Read settings; what stands on the command line wins.

    Raises:
        ConfigError: A setting is wrong, or two contradict one another.
    """
    from holdfast.config import check, load, with_provider_keys

    settings = load(args.config, os.environ)
    given = {"host": args.host, "port": args.port, "tls_cert": _text(args.tls_cert), "tls_key": _text(args.tls_key)}
    given["role"] = None if args.role is None else Role(args.role)
    server = replace(settings.server, **{name: value for name, value in given.items() if value is not None})
    store = settings.store if args.data is None else replace(settings.store, data=args.data)
    settings = with_provider_keys(replace(settings, server=server, store=store), os.environ)
    check(settings)
    check_pem(settings.server)
    return settings


def check_pem(server: Server) -> None:
    """Find out which of the TLS files is not what it should be; OpenSSL only says that one of them is not.

    Raises:
        ConfigError: A file holds something else.
    """
    for setting, name, mark, what in (
        ("server.tls_cert", server.tls_cert, b"-----BEGIN CERTIFICATE-----", "certificate"),
        ("server.tls_key", server.tls_key, b"PRIVATE KEY-----", "private key"),
    ):
        if name and Path(name).is_file() and mark not in Path(name).read_bytes():
            raise ConfigError(f"{setting}: {name} holds no {what} in PEM form (-----BEGIN …).", key=setting)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def announcement(settings: Settings, running: Running, *, as_json: bool) -> list[str]:
    """Say where it listens and what it serves."""
    models = [route.model for route in settings.routes]
    if as_json:
        known = {"base_url": f"{running.base_url}/v1", "tls_base_url": running.tls_base_url, "models": models}
        return [json.dumps(known)]
    lines = [f"holdfast serves {', '.join(models)}", f"  OpenAI SDKs: base_url {running.base_url}/v1"]
    lines.append(f"  Google SDKs: base_url {running.base_url}")
    if running.tls_base_url is not None:
        lines.append(f"  with TLS:    {running.tls_base_url}")
    console = console_url(settings, running)
    if console is not None:
        lines.append(f"  console:     {console}, with an admin key; the first key is one")
    return [*lines, f"  images and records are in {settings.store.data}; Ctrl-C ends it when nothing is held any more"]


def console_url(settings: Settings, running: Running) -> str | None:
    """Say where admins are answered: over TLS, on loopback, or anywhere if that is set; None: behind a proxy alone."""
    if running.tls_base_url is not None:
        return f"{running.tls_base_url}/console"
    if settings.server.admin_anywhere or is_loopback(running.base_url):
        return f"{running.base_url}/console"
    return None


def first_key_told(key: str, data: Path, *, on_terminal: bool, as_json: bool) -> list[str]:
    """Show the first key on the terminal; without one, keep it in a file that only its owner can read."""
    if on_terminal and not as_json:
        return [f"Your API key, shown this once: {key}", ""]
    file = data / FIRST_KEY
    write_key(file, key)
    return [json.dumps({"first_key_file": str(file)}) if as_json else f"Your API key is in {file}"]
