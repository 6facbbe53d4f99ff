"""Carries out a Dockerfile step by step where there is no engine: what each step says is what is done, or an error.

A base image is this machine's Debian and Python, read-only (`sandbox`). Only what the project's own file uses is known:
an instruction, a flag or a pattern beyond that is refused and not passed over.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

Sandbox = Any
"""The module `sandbox`."""
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_PAIR = re.compile(r'([\w.]+)=("(?:[^"\\]|\\.)*"|\S*)')
RUN_S = 500.0


class StepError(Exception):
    """A step failed, or is not understood; says which line it stands in."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One instruction."""

    line: int
    name: str
    text: str

    def error(self, why: str) -> StepError:
        """Name the line."""
        return StepError(f"line {self.line}: {self.name} {self.text[:200]}: {why}")

    def words(self) -> list[str]:
        """Read its list: JSON where it is in brackets.

        Raises:
            StepError: It is neither.
        """
        try:
            return [str(word) for word in json.loads(self.text)] if self.text.startswith("[") else self.text.split()
        except ValueError as exc:
            raise self.error("no JSON") from exc

    def pairs(self) -> dict[str, str]:
        """Read `NAME=value`s.

        Raises:
            StepError: Something else stands there.
        """
        if _PAIR.sub("", self.text).strip():
            raise self.error("not only NAME=value")
        return {name: value.strip('"') for name, value in _PAIR.findall(self.text)}


def parse(text: str) -> list[Step]:
    """Read a file's instructions; comments are left out, lines that go on are joined."""
    steps: list[Step] = []
    began, gathered = 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("#") or not line.strip():
            continue
        began = began or number
        gathered += line.removesuffix("\\").strip() + " "
        if not line.endswith("\\"):
            name, _, rest = gathered.strip().partition(" ")
            steps.append(Step(line=began, name=name.upper(), text=rest.strip()))
            began, gathered = 0, ""
    if gathered:
        raise StepError(f"line {began}: the last line goes on")
    return steps


@dataclass(kw_only=True)
class Image:
    """What the steps have made so far."""

    root: Path
    environment: dict[str, str]
    arguments: dict[str, str] = field(default_factory=dict)
    user: str = "0:0"
    workdir: str = "/"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    health_options: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    volumes: list[str] = field(default_factory=list)
    ports: list[str] = field(default_factory=list)
    stop_signal: str = "SIGTERM"

    @property
    def ids(self) -> tuple[int, int]:
        """User and group; numbers, as the file has them."""
        uid, _, gid = self.user.partition(":")
        return int(uid), int(gid or uid)


class Ignored:
    """What `.dockerignore` keeps out of the context: the last pattern that fits decides."""

    def __init__(self, text: str) -> None:
        """Read the patterns: a name at the top, `*`, `**/NAME`, each with or without `!`."""
        lines = [line.strip() for line in text.splitlines()]
        self._patterns = [line for line in lines if line and not line.startswith("#")]

    def __call__(self, path: PurePosixPath) -> bool:
        """Say whether a file stays out."""
        out = False
        for pattern in self._patterns:
            if _fits(path, pattern.removeprefix("!")):
                out = not pattern.startswith("!")
        return out


def _fits(path: PurePosixPath, pattern: str) -> bool:
    if pattern.startswith("**/"):
        return any(fnmatchcase(part, pattern.removeprefix("**/")) for part in path.parts)
    assert "/" not in pattern, f"{pattern}: not understood here"
    return fnmatchcase(path.parts[0], pattern)


class Builder:
    """Builds the last stage of a file."""

    def __init__(self, sandbox: Sandbox, context: Path, folder: Path, arguments: Mapping[str, str]) -> None:
        """Build in a folder.

        Args:
            sandbox: The module.
            context: What is sent to an engine: `COPY` reads there and nowhere else.
            folder: For the stages; made.
            arguments: `--build-arg`.
        """
        self._sandbox = sandbox
        self._context = context
        self._folder = folder
        self._given = dict(arguments)
        self._ignored = Ignored((context / ".dockerignore").read_text("utf-8"))
        self._global: dict[str, str] = {}
        self.stages: dict[str, Image] = {}

    def build(self, text: str) -> Image:
        """Carry out every step, one after the other.

        Raises:
            StepError: One is not understood, or a command failed.
        """
        image: Image | None = None
        for step in parse(text):
            if step.name == "FROM":
                image = self._from(step)
            elif image is None:
                if step.name != "ARG":
                    raise step.error("before FROM")
                self._global |= self._argument(step)
            else:
                self._do(image, step)
        assert image is not None, "no FROM"
        return image

    def _argument(self, step: Step) -> dict[str, str]:
        name, _, default = step.text.partition("=")
        return {name: self._given.get(name, default)}

    def _from(self, step: Step) -> Image:
        base, *named = self._filled(step.text, self._global, step).split()
        name = named[1] if [word.upper() for word in named[:1]] == ["AS"] else f"stage-{len(self.stages)}"
        root = self._folder / name
        if base in self.stages:
            earlier = self.stages[base]
            shutil.copytree(earlier.root, root, symlinks=True)
            image = replace(earlier, root=root, environment=dict(earlier.environment), arguments={})
        elif re.fullmatch(r"python:\d+\.\d+-slim-\w+", base):
            # The environment that runs this stands in for an image's own Python, which has pip too.
            path = f"{sys.prefix}/bin:{self._sandbox.INTERPRETER}/bin:{self._sandbox.SEARCHED}"
            image = Image(root=self._sandbox.empty_root(root), environment={"PATH": path})
        else:
            raise step.error("no stage before it, and no base image that there is a stand-in for")
        self.stages[name] = image
        return image

    def _filled(self, text: str, known: Mapping[str, str], step: Step) -> str:
        def value(found: re.Match[str]) -> str:
            name = found[1] or found[2]
            if name not in known:
                raise step.error(f"${name} is not set")
            return known[name]

        return _VARIABLE.sub(value, text)

    def _do(self, image: Image, step: Step) -> None:
        known = image.arguments | image.environment
        if step.name not in ("RUN", "CMD", "ENTRYPOINT", "HEALTHCHECK", "ARG"):
            step = replace(step, text=self._filled(step.text, known, step))
        match step.name:
            case "ARG":
                image.arguments |= self._argument(step)
            case "ENV":
                image.environment |= step.pairs()
            case "LABEL":
                image.labels |= step.pairs()
            case "WORKDIR":
                image.workdir = step.text
                (image.root / step.text.lstrip("/")).mkdir(parents=True, exist_ok=True)
            case "USER":
                image.user = step.text
            case "RUN":
                self._run(image, step)
            case "COPY":
                self._copy(image, step)
            case "VOLUME":
                image.volumes += step.words()
            case "EXPOSE":
                image.ports += step.words()
            case "STOPSIGNAL":
                image.stop_signal = step.text
            case "ENTRYPOINT":
                image.entrypoint, image.command = step.words(), []
            case "CMD":
                image.command = step.words()
            case "HEALTHCHECK":
                options, _, command = step.text.partition(" CMD ")
                image.health_options = dict(re.findall(r"--([\w-]+)=(\S+)", options))
                image.health = replace(step, text=command).words()
            case _:
                raise step.error("not understood here")

    def _run(self, image: Image, step: Step) -> None:
        if step.text.startswith("--"):
            raise step.error("flags are not understood here")
        outside = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        uid, gid = image.ids
        box = self._sandbox.Box(
            root=image.root,
            uid=uid,
            gid=gid,
            workdir=image.workdir,
            binds=(self._sandbox.Bind(source=Path(sys.prefix), target=sys.prefix),),
            environment={"HOME": "/root"} | outside | image.arguments | image.environment,
        )
        done = box.run(["/bin/sh", "-c", step.text], RUN_S)
        if done.returncode != 0:
            raise step.error(f"ended with {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")

    def _copy(self, image: Image, step: Step) -> None:
        words = shlex.split(step.text)
        flags = [word for word in words if word.startswith("--")]
        *sources, target = [word for word in words if not word.startswith("--")]
        at = image.root / str(PurePosixPath(image.workdir) / target).lstrip("/")
        if not flags:
            self._copy_context(step, sources, at, into=target.endswith("/"))
            return
        (flag,) = flags
        if not flag.startswith("--from="):
            raise step.error(f"{flag} is not understood here")
        (source,) = sources
        origin = self.stages[flag.removeprefix("--from=")].root / source.lstrip("/")
        shutil.copytree(origin, at, symlinks=True, dirs_exist_ok=True)

    def _copy_context(self, step: Step, sources: list[str], at: Path, *, into: bool) -> None:
        for source in sources:
            files = [
                path for path in self.sent() if path == PurePosixPath(source) or PurePosixPath(source) in path.parents
            ]
            if not files:
                raise step.error(f"{source} is not in what is sent: does .dockerignore keep it out?")
            for path in files:
                inside = path.relative_to(source)
                to = at / source if into and inside == PurePosixPath() else at / inside
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(self._context / path, to)

    def sent(self) -> Iterator[PurePosixPath]:
        """List what an engine is sent."""
        tops = sorted(path for path in self._context.iterdir() if path.name not in (".venv", ".git"))
        for top in tops:
            for path in [top] if top.is_file() else sorted(top.rglob("*")):
                inside = PurePosixPath(path.relative_to(self._context).as_posix())
                if path.is_file() and not self._ignored(inside):
                    yield inside
