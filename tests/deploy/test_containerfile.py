"""What carries out a Dockerfile here: it does what is said, and refuses what it does not know."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

BASE = "FROM python:3.11-slim-bookworm"


@pytest.fixture
def build(sandbox: Any, containerfile: Any, tmp_path: Path) -> Callable[..., Any]:
    """Build a file with a context of three files."""
    context = tmp_path / "context"
    (context / "src/inner").mkdir(parents=True)
    (context / "src/inner/deep.txt").write_text("deep", "utf-8")
    (context / "one.txt").write_text("one", "utf-8")
    (context / "secret.txt").write_text("secret", "utf-8")
    (context / ".dockerignore").write_text("*\n!one.txt\n!src\n", "utf-8")

    def built(text: str, **arguments: str) -> Any:
        return containerfile.Builder(sandbox, context, tmp_path / "stages", arguments).build(text)

    return built


def test_lines_that_go_on_are_one_step(containerfile: Any) -> None:
    """With the number of the line it begins in; comments between them are none of it."""
    steps = containerfile.parse("# one\nRUN a \\\n  # two\n  && b\n\nUSER 1:1\n")
    assert [(step.line, step.name, step.text) for step in steps] == [(2, "RUN", "a && b"), (6, "USER", "1:1")]
    with pytest.raises(containerfile.StepError, match="line 1"):
        containerfile.parse("RUN a \\\n")


def test_later_patterns_win(containerfile: Any) -> None:
    """As with an engine: what is taken back is sent, but for what is kept out again."""
    ignored = containerfile.Ignored("# all\n*\n!src\n**/__pycache__\n")
    assert ignored(PurePosixPath("secret"))
    assert not ignored(PurePosixPath("src/a/b.py"))
    assert ignored(PurePosixPath("src/a/__pycache__/b.pyc"))


def test_steps_do_what_they_say(build: Callable[..., Any]) -> None:
    """Files come from the context, commands run inside, and the last words are what is started."""
    image = build(
        f"""ARG NAME=nobody
{BASE}
ARG NAME=somebody
ENV GREETING="good day" PATH=/mine:$PATH
WORKDIR /data
COPY one.txt src ./
RUN echo "$GREETING $NAME $(cat one.txt)" >said && id -u >whom && pwd >where
EXPOSE 1 2
LABEL a.b="c d" e=f
VOLUME /data
USER 10001:10002
STOPSIGNAL SIGINT
HEALTHCHECK --interval=3s CMD ["true"]
ENTRYPOINT ["one"]
CMD ["two", "three"]
""",
        NAME="anybody",
    )
    data = image.root / "data"
    assert (data / "said").read_text() == "good day anybody one\n"
    assert ((data / "whom").read_text(), (data / "where").read_text()) == ("0\n", "/data\n")
    assert (data / "inner/deep.txt").read_text() == "deep"
    assert image.environment["PATH"].startswith("/mine:")
    assert (image.entrypoint, image.command, image.health) == (["one"], ["two", "three"], ["true"])
    assert (image.ids, image.ports, image.labels) == ((10001, 10002), ["1", "2"], {"a.b": "c d", "e": "f"})
    assert (image.volumes, image.stop_signal, image.health_options) == (["/data"], "SIGINT", {"interval": "3s"})


def test_a_stage_takes_from_another_and_leaves_it_as_it_is(build: Callable[..., Any]) -> None:
    """`FROM` a stage goes on from a copy; what was an argument there is none here."""
    image = build(
        f"{BASE} AS first\nRUN mkdir -p /out/a && echo 1 >/out/a/b\nFROM first AS second\nRUN echo 2 >/out/a/b\n"
        f"{BASE}\nCOPY --from=first /out /in\nCOPY --from=second /out /other\n"
    )
    assert (image.root / "in/a/b").read_text() == "1\n"
    assert (image.root / "other/a/b").read_text() == "2\n"


def test_the_user_counts_in_what_is_run(build: Callable[..., Any]) -> None:
    """Whoever is not root is not inside either."""
    image = build(f"{BASE}\nRUN mkdir -m 0777 /open\nUSER 10001:10001\nRUN id -u >/open/whom\n")
    assert (image.root / "open/whom").read_text() == "10001\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"{BASE}\nRUN exit 7", "line 2: RUN exit 7: ended with 7"),
        (f"{BASE}\nRUN --mount=type=cache true", "flags"),
        (f"{BASE}\nADD a b", "not understood"),
        (f"{BASE}\nCOPY secret.txt ./", "not in what is sent"),
        (f"{BASE}\nCOPY --chown=1 one.txt ./", "not understood"),
        (f"{BASE}\nENV A=${{B}}", r"\$B is not set"),
        (f"{BASE}\nENV A", "NAME=value"),
        (f"{BASE}\nCMD [one]", "no JSON"),
        ("USER 1", "before FROM"),
        ("FROM alpine:3", "stand-in"),
    ],
)
def test_what_is_not_known_is_refused(build: Callable[..., Any], containerfile: Any, text: str, why: str) -> None:
    """Passing over a step would build something else than an engine does."""
    with pytest.raises(containerfile.StepError, match=why):
        build(text)


def test_the_machine_is_not_written_to(build: Callable[..., Any], containerfile: Any) -> None:
    """Steps run as root, beside this machine's own programs: these are read-only."""
    with pytest.raises(containerfile.StepError, match="Read-only"):
        build(f"{BASE}\nRUN touch /usr/bin/a-file-of-a-test")
    assert not os.path.lexists("/usr/bin/a-file-of-a-test")


def test_what_is_bound_is_seen_and_the_rest_is_not(sandbox: Any, tmp_path: Path) -> None:
    """Read-only unless it is said, under the name that was given."""
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    for folder in (mine, theirs):
        folder.mkdir()
        (folder / "file").write_text(folder.name, "utf-8")
    binds = (sandbox.Bind(source=mine, target="/a", is_writable=True), sandbox.Bind(source=theirs, target="/b"))
    box = sandbox.Box(
        root=sandbox.empty_root(tmp_path / "root"),
        binds=binds,
        is_read_only=True,
        environment={"PATH": sandbox.SEARCHED, "ONLY": "this"},
    )
    done = box.run(
        ["sh", "-c", f"cat /a/file /b/file; echo; ls {tmp_path}; touch /a/new; touch /b/new; touch /new; env"]
    )
    assert done.stdout.startswith("minetheirs\n")
    assert "ONLY=this" in done.stdout
    assert (mine / "new").exists()
    assert not (theirs / "new").exists()
    assert done.stderr.count("Read-only file system") == 2
    assert f"cannot access '{tmp_path}'" in done.stderr
