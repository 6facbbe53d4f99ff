"""A gateway that runs from the image: process 1, its own root file system that it cannot write to, no capability."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2

READY_S = 60.0
END_S = 30.0


class Boxed:
    """One process of the image, as an engine starts it with `--read-only` and one volume."""

    def __init__(
        self,
        sandbox: Any,
        image: Any,
        folder: Path,
        *,
        port: int,
        settings: str,
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] | None = None,
        binds: Sequence[Any] = (),
    ) -> None:
        """Start it.

        Args:
            sandbox: The module.
            image: What was built.
            folder: For its volume, its settings and its log; made.
            port: Where it is to listen; the network is this machine's.
            settings: `holdfast.toml`.
            environment: Besides the image's own.
            command: In the place of the image's `CMD`.
            binds: Of files besides settings and volume.
        """
        self.folder = folder
        self.base_url = f"http://127.0.0.1:{port}"
        uid, gid = image.ids
        (volume,) = image.volumes
        self.data = folder / "volume"
        self.data.mkdir(parents=True)
        # As an engine makes a new volume: with the owner that the folder has in the image.
        os.chown(self.data, uid, gid)
        # Reached by somebody who is not root.
        folder.chmod(0o755)
        (folder / "holdfast.toml").write_text(settings, "utf-8")
        mounted = sandbox.Bind(source=folder / "holdfast.toml", target="/etc/holdfast/holdfast.toml")
        self.box = sandbox.Box(
            root=image.root,
            uid=uid,
            gid=gid,
            workdir=image.workdir,
            is_read_only=True,
            binds=(sandbox.Bind(source=self.data, target=volume, is_writable=True), mounted, *binds),
            environment=image.environment | {"HOLDFAST_PORT": str(port)} | dict(environment or {}),
        )
        self._health = image.health
        self._stop_signal = signal.Signals[image.stop_signal]
        words = [*image.entrypoint, *(command or image.command)]
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(self.box.command(words), stdout=log, stderr=subprocess.STDOUT)

    def logged(self) -> str:
        """Everything it wrote."""
        return (self.folder / "log").read_text("utf-8", "replace")

    def wait(self) -> None:
        """Wait until it answers."""
        until = time.monotonic() + READY_S
        with httpx2.Client(trust_env=False) as client:
            while True:
                assert self._process.poll() is None, self.logged()[-3000:]
                try:
                    client.get(f"{self.base_url}/healthz").raise_for_status()
                    return
                except httpx2.HTTPError:
                    assert time.monotonic() < until, self.logged()[-3000:]
                    time.sleep(0.05)

    def health(self) -> int:
        """Run the image's check beside it; give how it ended."""
        return int(self.box.run(self._health).returncode)

    def health_elsewhere(self, port: int) -> int:
        """Run the check where nobody listens."""
        box = replace(self.box, environment=dict(self.box.environment) | {"HOLDFAST_PORT": str(port)})
        return int(box.run(self._health).returncode)

    @property
    def pid(self) -> int:
        """The gateway's process, as this machine counts it."""
        (child,) = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text("ascii").split()
        return int(child)

    @property
    def key(self) -> str:
        """The first key."""
        return (self.data / "first.key").read_text("ascii").strip()

    def ask_to_end(self) -> None:
        """Send process 1 what the image says ends it."""
        os.kill(self.pid, self._stop_signal)

    def ended(self) -> int:
        """Wait for the end; give the exit code."""
        return self._process.wait(END_S)

    def kill(self) -> None:
        """End it, whatever became of it: one that became another user does not end with whoever started it."""
        if self._process.poll() is None:
            children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text("ascii").split()
            for child in children:
                os.kill(int(child), signal.SIGKILL)
        self._process.kill()
        self._process.wait()
