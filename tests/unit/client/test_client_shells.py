"""The two shells are one client: the same names, the same arguments, and a package that is cheap to import."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import Any

import pytest

import holdfast
from holdfast.client import async_, sync
from holdfast.errors import ConfigError

PAIRS = [
    (sync.Client, async_.AsyncClient),
    (sync.ImageCalls, async_.AsyncImageCalls),
    (sync.GenerationCalls, async_.AsyncGenerationCalls),
    (sync.FileCalls, async_.AsyncFileCalls),
]


def public(kind: type[Any]) -> dict[str, Any]:
    """List what a user may call, with the asynchronous names told as the others."""
    names = {name.removeprefix("a") if name == "aclose" else name: each for name, each in vars(kind).items()}
    return {name: each for name, each in names.items() if not name.startswith("_") and inspect.isfunction(each)}


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_both_clients_have_the_same_calls(one: type[Any], other: type[Any]) -> None:
    """Names, parameters, defaults, and what is said of them."""
    assert public(one).keys() == public(other).keys()
    for name, each in public(one).items():
        twin = public(other)[name]
        assert list(inspect.signature(each).parameters.values()) == list(inspect.signature(twin).parameters.values())
        assert inspect.getdoc(each) == inspect.getdoc(twin)


def test_both_are_made_with_the_same_arguments() -> None:
    """Except for the transport, which is of its kind."""
    one = inspect.signature(sync.Client.__init__).parameters
    other = inspect.signature(async_.AsyncClient.__init__).parameters
    assert [(each.name, each.kind, each.default) for each in one.values()] == [
        (each.name, each.kind, each.default) for each in other.values()
    ]


@pytest.mark.parametrize("name", sorted(set(holdfast.__all__) - {"__version__"}))
def test_every_public_name_is_there(name: str) -> None:
    """The lazy ones too; an unknown one is an AttributeError."""
    assert getattr(holdfast, name).__doc__
    assert name in dir(holdfast)
    with pytest.raises(AttributeError, match="no attribute 'Cleint'"):
        holdfast.Cleint  # type: ignore[attr-defined]  # noqa: B018 - asked for on purpose


@pytest.mark.parametrize("heavy", ["httpx2", "msgspec", "ssl", "asyncio", "holdfast.config", "aiohttp", "uvicorn"])
def test_importing_the_client_brings_nothing_heavy(heavy: str) -> None:
    """What takes long is imported by the first client that is made, or by its first call."""
    code = f"import sys, holdfast; holdfast.Client; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("kind", [holdfast.Client, holdfast.AsyncClient])
def test_a_client_is_checked_when_it_is_made(kind: Any) -> None:
    """Not at its first call, which may be an hour later."""
    for options in (
        {"base_url": "localhost:1"},
        {"api_key": "a\nb"},
        {"network": "moon"},
        {"timeout_s": -1.0},
        {"server": "google"},
        {"base_url": "https://h.example/v1", "proxy": "gopher://p"},
    ):
        with pytest.raises(ConfigError):
            kind(**options, environ={})


def test_the_environment_is_the_fallback() -> None:
    """For address and key; arguments win."""
    environ = {"HOLDFAST_BASE_URL": "http://there:1", "HOLDFAST_API_KEY": " hf-k\n"}
    client = holdfast.Client(environ=environ)
    assert (client.base_url, client.asker.api_key) == ("http://there:1/v1", "hf-k")
    client.close()
    client = holdfast.Client("http://here:1/v1", "hf-own", environ=environ)
    assert (client.base_url, client.asker.api_key) == ("http://here:1/v1", "hf-own")
    assert "hf-own" not in repr(client)
    client.close()
