"""What an entry of `keys` is, for an upstream on Vertex AI: an API key, or where a token comes from."""

from __future__ import annotations

import re
from enum import StrEnum

from holdfast.config.serving import Provider, Upstream
from holdfast.errors import ConfigError

_LOCATION = re.compile(r"global|[a-z]+-[a-z]+[0-9]{1,2}")
_PROJECT = re.compile(r"(?:[a-z0-9.-]{1,100}:)?[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_ELSEWHERE = 'it is for provider = "vertex"; leave it out.'


class GoogleKey(StrEnum):
    """How a request to Vertex AI is paid for."""

    API_KEY = "api key"
    """Express mode: sent as it is, to a path without a project."""
    ADC = "application default credentials"
    """`adc`: what `gcloud`, the metadata server or `GOOGLE_APPLICATION_CREDENTIALS` give."""
    FILE = "file of a service account"
    JSON = "key of a service account"
    """The contents of such a file, as an environment variable often holds them."""

    @property
    def gives_tokens(self) -> bool:
        """Whether tokens are fetched with it."""
        return self is not GoogleKey.API_KEY

    @classmethod
    def of(cls, secret: str) -> GoogleKey:
        """Tell what an entry of `keys` is, its `env:` resolved. An API key has neither slash nor brace."""
        if secret == "adc":
            return cls.ADC
        if secret.startswith("{"):
            return cls.JSON
        return cls.FILE if secret.startswith("file:") or "/" in secret or secret.endswith(".json") else cls.API_KEY


def path_of(secret: str) -> str:
    """Give the path of a `GoogleKey.FILE`."""
    return secret.removeprefix("file:")


def check_vertex(upstream: Upstream, path: str) -> None:
    """Find settings of an upstream that contradict what Vertex AI is.

    Raises:
        ConfigError: With the key to change.
    """
    if upstream.provider is not Provider.VERTEX:
        for name, is_set in (("project", bool(upstream.project)), ("location", upstream.location != "global")):
            if is_set:
                raise ConfigError(f"{path}.{name}: {_ELSEWHERE}", key=f"{path}.{name}")
        return
    if not _LOCATION.fullmatch(upstream.location):
        raise ConfigError(
            f'{path}.location is "global", or a region such as "us-central1"; image models are mostly on "global".',
            key=f"{path}.location",
        )
    if upstream.project and not _PROJECT.fullmatch(upstream.project):
        raise ConfigError(
            f"{path}.project is the project's id, such as my-project-123, or its number.", key=f"{path}.project"
        )
    if not upstream.project and upstream.location != "global":
        raise ConfigError(
            f"{path}.location: without project, Vertex AI is asked in express mode, which has no locations. Name the "
            "project, or leave location out.",
            key=f"{path}.location",
        )
    if "/projects/" in upstream.base_url:
        raise ConfigError(
            f"{path}.base_url ends before /projects: write project and location as settings of their own. For Google's "
            "own addresses leave base_url out.",
            key=f"{path}.base_url",
        )


def check_google_key(secret: str, upstream: Upstream, path: str) -> GoogleKey:
    """Tell what a resolved entry of `keys` is, and whether it goes with the rest.

    Raises:
        ConfigError: It is a credential of the other kind.
    """
    kind = GoogleKey.of(secret)
    if kind.gives_tokens and not upstream.project:
        raise ConfigError(
            f"{path} is {_with_article(kind)}, which is asked with for a project: set project beside it.", key=path
        )
    if upstream.project and not kind.gives_tokens:
        raise ConfigError(
            f"{path} looks like an API key, which is asked with in express mode: leave project out; or "
            'write "adc", "file:/path/of/service-account.json", or "env:NAME" of a variable that holds such a path or '
            "the file's contents.",
            key=path,
        )
    return kind


def _with_article(kind: GoogleKey) -> str:
    return "the mark for application default credentials" if kind is GoogleKey.ADC else f"a {kind.value}"
