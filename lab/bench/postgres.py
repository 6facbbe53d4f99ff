"""A PostgreSQL of our own, on a free port, that keeps what it has committed as one in service does."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import asyncpg
from subjects import SubjectError, end, free_port, spawn

START_S = 30.0
SETTINGS = {"fsync": "on", "synchronous_commit": "on", "max_connections": "200", "shared_buffers": "128MB"}


class PostgresServer:
    """Made, started, and ended with all that it holds."""

    def __init__(self) -> None:
        """Make a folder and a cluster in it, and start that.

        Raises:
            SubjectError: PostgreSQL is not installed.
        """
        self.folder = Path(tempfile.mkdtemp(prefix="holdfast-bench-pg-"))
        self.port = free_port()
        as_user: list[str] = []
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        data = self.folder / "data"
        made = ["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8"]
        subprocess.run([*as_user, program("initdb"), *made, "--pgdata", str(data)], check=True, capture_output=True)
        told = SETTINGS | {"listen_addresses": "127.0.0.1", "port": str(self.port)}
        told |= {"unix_socket_directories": str(self.folder)}
        options = [word for name, value in told.items() for word in ("-c", f"{name}={value}")]
        command = [*as_user, program("postgres"), "-D", str(data), *options]
        self.process = spawn(command, core=None, log=self.folder / "log")

    def version(self) -> str:
        """What it says of itself."""
        said = subprocess.run([program("postgres"), "--version"], check=True, capture_output=True, text=True)
        return said.stdout.strip()

    def make(self, name: str) -> str:
        """Make an empty database; give its address."""
        asyncio.run(self._make(name))
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    async def _make(self, name: str) -> None:
        until = time.monotonic() + START_S
        while True:
            try:
                raw = await asyncpg.connect(f"postgresql://postgres@127.0.0.1:{self.port}/postgres")
                break
            except (OSError, asyncpg.CannotConnectNowError):
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(0.05)
        try:
            await raw.execute(f"CREATE DATABASE {name}")
        finally:
            await raw.close()

    def end(self) -> None:
        """Stop it, and leave nothing."""
        end(self.process)
        shutil.rmtree(self.folder, ignore_errors=True)


def program(name: str) -> str:
    """Find one of PostgreSQL's programs: Debian keeps them out of the PATH.

    Raises:
        SubjectError: It is not installed.
    """
    newest = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    found = shutil.which(name) or (str(newest[-1]) if newest else None)
    if found is None:
        raise SubjectError(f"{name} is not installed: apt-get install postgresql")
    return found
