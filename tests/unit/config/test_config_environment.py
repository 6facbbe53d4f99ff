"""Settings and credentials from environment variables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from holdfast.config import Provider, from_environment, merged, parse, slips, upstream_keys, with_provider_keys
from holdfast.errors import ConfigError

UPSTREAM = {"name": "u", "provider": "openai", "base_url": "http://127.0.0.1:1/v1", "keys": ["env:MY_KEY", "plain"]}


def complaint(environ: dict[str, str]) -> str:
    with pytest.raises(ConfigError) as told:
        from_environment(environ)
    return str(told.value)


@pytest.mark.parametrize(
    ("environ", "mapping"),
    [
        ({"HOLDFAST_SERVER__PORT": "8080"}, {"server": {"port": 8080}}),
        ({"HOLDFAST_HEARTBEAT__BEAT_S": "0.5"}, {"heartbeat": {"beat_s": 0.5}}),
        ({"HOLDFAST_STORE__DATA": "/data"}, {"store": {"data": "/data"}}),
        ({"HOLDFAST_LOG__LEVEL": "debug"}, {"log": {"level": "debug"}}),
        (
            {"HOLDFAST_SERVER__TRUSTED_PROXIES": "10.0.0.0/8, 127.0.0.0/8,"},
            {"server": {"trusted_proxies": ["10.0.0.0/8", "127.0.0.0/8"]}},
        ),
        (
            {"HOLDFAST_DEADLINES__ATTEMPT_S": "1K=1, 2K=2,4K=3.5"},
            {"deadlines": {"attempt_s": {"1K": 1.0, "2K": 2.0, "4K": 3.5}}},
        ),
        ({"HOLDFAST_DEADLINES__ATTEMPT_S": "90"}, {"deadlines": {"attempt_s": 90.0}}),
        ({"HOLDFAST_PORT": "1", "HOLDFAST_DATA": "d"}, {"server": {"port": 1}, "store": {"data": "d"}}),
        ({"HOLDFAST_PORT": "1", "HOLDFAST_SERVER__PORT": "2"}, {"server": {"port": 2}}),
        ({"PATH": "/bin", "HOLDFAST_CONFIG": "f", "HOLDFAST_FAULT": "x:kill", "HOLDFAST_API_KEY": "hf"}, {}),
        ({}, {}),
    ],
)
def test_variables_become_settings_of_their_kind(environ: dict[str, str], mapping: dict[str, Any]) -> None:
    """Text becomes what TOML would have given; a long form wins over its short form; other variables pass."""
    assert from_environment(environ) == mapping
    parse(mapping)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("HOLDFAST_SERVER__PROT", "1", "Did you mean 'port'?"),
        ("HOLDFAST_SEVER__PORT", "1", "Did you mean 'server'?"),
        ("HOLDFAST_SERVER_PORT", "1", "write HOLDFAST_SERVER__PORT, with two underscores"),
        ("HOLDFAST_UPSTREAMS__KEYS", "x", "write them in the settings file"),
        ("HOLDFAST_SERVER__PORT", "http", "HOLDFAST_SERVER__PORT must be a whole number."),
        ("HOLDFAST_PORT", "http", "HOLDFAST_PORT must be a whole number."),
        ("HOLDFAST_HEARTBEAT__BEAT_S", "fast", "must be a number."),
        ("HOLDFAST_DEADLINES__ATTEMPT_S", "1K=x", "must be 1K=300,2K=300,4K=600."),
    ],
)
def test_a_wrong_variable_is_refused_by_its_name(name: str, text: str, says: str) -> None:
    """A typing error in a deployment never silently leaves a default in force."""
    assert says in complaint({name: text})


def test_the_environment_wins_over_the_file() -> None:
    """One image, one file, and what differs between places in variables."""
    mapping = merged({"server": {"port": 1, "host": "h"}}, from_environment({"HOLDFAST_SERVER__PORT": "2"}))
    settings = parse(mapping)
    assert (settings.server.port, settings.server.host) == (2, "h")


def test_a_gemini_key_opens_googles_models() -> None:
    """Nothing else needs to be written to serve them, under old names too."""
    settings = with_provider_keys(parse({}), {"GEMINI_API_KEY": "g"})
    assert [upstream.provider for upstream in settings.upstreams] == [Provider.GEMINI]
    assert [route.model for route in settings.routes] == ["nano-banana-pro", "nano-banana-2", "nano-banana"]
    pro = settings.routes[0]
    assert "gemini-3-pro-image-preview" in pro.aliases
    assert pro.upstreams[0].model == "gemini-3-pro-image"
    assert upstream_keys(settings, {"GEMINI_API_KEY": "g"}) == {"google": ("g",)}


def test_an_openai_key_opens_openais_model() -> None:
    """With both keys, both vendors serve."""
    alone = with_provider_keys(parse({}), {"OPENAI_API_KEY": "o", "GEMINI_API_KEY": " "})
    assert [route.model for route in alone.routes] == ["gpt-image-2"]
    assert alone.upstreams[0].base_url == "https://api.openai.com/v1"
    both = with_provider_keys(parse({}), {"OPENAI_API_KEY": "o", "GEMINI_API_KEY": "g"})
    assert [upstream.name for upstream in both.upstreams] == ["google", "openai"]


@pytest.mark.parametrize(
    ("variable", "provider", "base_url", "models"),
    [
        (
            "ARK_API_KEY",
            Provider.ARK,
            "https://ark.ap-southeast.bytepluses.com/api/v3",
            {"seedream-4.5": "seedream-4-5-251128"},
        ),
        (
            "FAL_KEY",
            Provider.FAL,
            "https://queue.fal.run",
            {"nano-banana-pro": "fal-ai/nano-banana-pro", "nano-banana-2": "fal-ai/nano-banana-2"},
        ),
        (
            "REPLICATE_API_TOKEN",
            Provider.REPLICATE,
            "https://api.replicate.com",
            {"nano-banana-pro": "google/nano-banana-pro"},
        ),
    ],
)
def test_a_key_opens_what_its_vendor_has(
    variable: str, provider: Provider, base_url: str, models: dict[str, str]
) -> None:
    """With a list price for each model, and the names that programs use."""
    settings = with_provider_keys(parse({}), {variable: "k"})
    (upstream,) = settings.upstreams
    assert (upstream.provider, upstream.base_url, upstream.keys) == (provider, base_url, (f"env:{variable}",))
    assert {route.model: route.upstreams[0].model for route in settings.routes} == models
    pro = next((route for route in settings.routes if route.model == "nano-banana-pro"), None)
    assert pro is None or pro.aliases == ("gemini-3-pro-image", "gemini-3-pro-image-preview")


def test_several_vendors_of_a_model_make_up_one_route() -> None:
    """Its own maker first; a name has one route."""
    environ = {"REPLICATE_API_TOKEN": "r", "FAL_KEY": "f", "GEMINI_API_KEY": "g", "ARK_API_KEY": "a"}
    settings = with_provider_keys(parse({}), environ)
    routes = {route.model: [each.upstream for each in route.upstreams] for route in settings.routes}
    assert routes == {
        "nano-banana-pro": ["google", "fal", "replicate"],
        "nano-banana-2": ["google", "fal"],
        "nano-banana": ["google"],
        "seedream-4.5": ["ark"],
    }
    assert [upstream.name for upstream in settings.upstreams] == ["google", "ark", "fal", "replicate"]


def test_no_key_opens_nothing() -> None:
    """Without upstreams there are no routes; the caller of this decides what to say."""
    assert with_provider_keys(parse({}), {}) == parse({})


def test_a_key_in_the_environment_opens_nothing_beside_chosen_upstreams() -> None:
    """A paid upstream never joins a configuration that did not name it."""
    settings = parse({"upstreams": [UPSTREAM]})
    assert with_provider_keys(settings, {"GEMINI_API_KEY": "g"}) is settings


def test_key_references_are_read_from_the_environment() -> None:
    """Plain credentials are taken as they are; surrounding space, as shells leave it, is not part of one."""
    settings = parse({"upstreams": [UPSTREAM]})
    assert upstream_keys(settings, {"MY_KEY": " secret\n"}) == {"u": ("secret", "plain")}


@pytest.mark.parametrize("environ", [{}, {"MY_KEY": ""}, {"MY_KEY": "  "}])
def test_an_unset_key_is_told_at_start(environ: dict[str, str]) -> None:
    """The operator reads which variable to export."""
    settings = parse({"upstreams": [UPSTREAM]})
    with pytest.raises(ConfigError, match=r"upstreams\[0\]\.keys\[0\]: the environment variable MY_KEY is not set"):
        upstream_keys(settings, environ)


@pytest.mark.parametrize("secret", ["a b", "a\nb", "ключ"])
def test_a_key_that_no_header_can_carry_is_told_at_start(secret: str) -> None:
    """It would otherwise fail at the first paid call, and the message does not repeat it."""
    settings = parse({"upstreams": [UPSTREAM]})
    with pytest.raises(ConfigError, match=r"variable MY_KEY is no key: .* no HTTP header can carry") as told:
        upstream_keys(settings, {"MY_KEY": secret})
    assert secret not in str(told.value)


def test_a_placeholder_copied_with_the_line_is_told_by_its_variable() -> None:
    """Without a settings file there is no `upstreams[0]` to look for; the variable is what was typed."""
    environ = {"GEMINI_API_KEY": "…"}
    with pytest.raises(ConfigError, match=r"GEMINI_API_KEY is no key: .* Put your own key there\.$"):
        upstream_keys(with_provider_keys(parse({}), environ), environ)


@pytest.mark.parametrize(
    ("name", "near"), [("HOLDFAST_PROT", "HOLDFAST_PORT"), ("HOLDFAST_APIKEY", "HOLDFAST_API_KEY")]
)
def test_a_variable_that_means_nothing_is_told_with_the_near_one(name: str, near: str) -> None:
    """It is no setting that could be refused, and no setting came of it either."""
    assert from_environment({name: "1"}) == {}
    (slip,) = slips({name: "1", "PATH": "/bin"})
    assert name in slip
    assert f"Did you mean '{near}'?" in slip


def test_every_variable_of_ours_is_known() -> None:
    """What the documentation tells to export earns no warning."""
    ours = ["HOLDFAST_PORT", "HOLDFAST_DATA", "HOLDFAST_CONFIG", "HOLDFAST_API_KEY", "HOLDFAST_BASE_URL"]
    assert slips(dict.fromkeys([*ours, "HOLDFAST_FAULT", "HOLDFAST_SERVER__PORT"], "1")) == []


@pytest.mark.parametrize("section", ["UPSTREAMS", "ROUTES", "PRICES", "COMPENSATION"])
def test_lists_of_tables_are_for_the_file(section: str) -> None:
    """No variable can spell one; whoever tries is told where they belong."""
    with pytest.raises(ConfigError, match=f"{section.lower()} are lists of tables; write them in the settings file"):
        from_environment({f"HOLDFAST_{section}__SHARE": "1"})


def test_a_key_may_stand_in_a_file(tmp_path: Path) -> None:
    """As service managers hand it over: one line, whatever ends it; read each time that it is asked for."""
    file = tmp_path / "key"
    file.write_text("secret-1\n", "ascii")
    settings = parse({"upstreams": [UPSTREAM | {"keys": [f"file:{file}"]}]})
    assert upstream_keys(settings, {}) == {"u": ("secret-1",)}
    file.write_text("secret-2", "ascii")
    assert upstream_keys(settings, {}) == {"u": ("secret-2",)}


@pytest.mark.parametrize(
    ("held", "told"),
    [
        (b"\n", "is empty"),
        (b"Jw4Ru one\nJw4Ru two\n", "more than a key"),
        (b"Jw4Ru \xff", "holds no key"),
        (b"J" * 70_000, "holds no key"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_a_file_that_is_no_key_is_refused_without_a_word_of_it(tmp_path: Path, held: bytes | None, told: str) -> None:
    """The setting is named, and the file; never what it holds."""
    file = tmp_path / "key"
    if held is not None:
        file.write_bytes(held)
    settings = parse({"upstreams": [UPSTREAM | {"keys": [f"file:{file}"]}]})
    with pytest.raises(ConfigError, match=told) as refused:
        upstream_keys(settings, {})
    assert refused.value.key == "upstreams[0].keys[0]"
    assert "Jw4Ru" not in str(refused.value)
