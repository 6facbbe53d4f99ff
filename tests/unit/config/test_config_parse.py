"""From a mapping to the tree: what is taken, and what every complaint says."""

from __future__ import annotations

import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from holdfast.config import (
    LIST_PRICES,
    ByTier,
    Flavor,
    LogLevel,
    Network,
    Provider,
    RouteUpstream,
    Settings,
    UpstreamStream,
    check,
    merged,
    parse,
)
from holdfast.errors import ConfigError
from holdfast.types import Tier

FULL = """
[server]
port = 8080
public_url = "https://images.example"
trusted_proxies = ["10.0.0.0/8"]
[heartbeat]
first_beat_s = 2
beat_s = 0.5
[store]
data = "/var/lib/holdfast"
[deadlines]
generation_s = { "1K" = 100, "2K" = 200, "4K" = 400.5 }
attempt_s = 90
network = "home"
[drain]
grace_s = 0
[latency]
scale = 0.125
[money]
currency = "USD"
margin = 1.2
[log]
level = "debug"
format = "json"
[[upstreams]]
name = "relay"
provider = "openai"
base_url = "https://relay.example/v1"
keys = ["env:RELAY_KEY"]
stream = "never"
flavor = "relay"
ca_file = "/etc/ca.pem"
[[routes]]
model = "nano-banana-pro"
aliases = ["gemini-3-pro-image"]
upstreams = [{ upstream = "relay", model = "gemini-3-pro-image-preview" }]
size_default = "4K"
[[routes]]
model = "my-model"
upstreams = [{ upstream = "relay", model = "m" }]
default = true
[[prices]]
model = "my-model"
micros = { "1K" = 5, "1K/low@3:2" = 4 }
source = "our contract"
valid_from = 2026-01-01
[[prices]]
model = "nano-banana"
micros = { "1K" = 1 }
source = "our contract"
valid_from = "2026-02-01"
"""


def an_upstream(**overrides: Any) -> dict[str, Any]:
    return {"name": "u", "provider": "gemini", "base_url": "http://127.0.0.1:1", "keys": ["k"], **overrides}


def a_route(**overrides: Any) -> dict[str, Any]:
    return {"model": "nano-banana-pro", "upstreams": [{"upstream": "u", "model": "m"}], **overrides}


def a_mapping(**overrides: Any) -> dict[str, Any]:
    return {"upstreams": [an_upstream()], "routes": [a_route()], **overrides}


def complaint(mapping: dict[str, Any]) -> ConfigError:
    with pytest.raises(ConfigError) as told:
        parse(mapping)
    return told.value


@pytest.mark.parametrize(
    "host",
    ["xn--bcher-kva.example", "Relay.Example.", "my_service:8080", "10.0.0.1", "[::1]:81", "[fe80::1%eth0]", "a-b"],
)
def test_whatever_can_be_asked_for_is_a_host(host: str) -> None:
    """Names, addresses, and the service names of container networks."""
    url = f"http://{host}/v1"
    assert parse(a_mapping(upstreams=[an_upstream(base_url=url)])).upstreams[0].base_url == url


def test_nothing_written_gives_the_defaults_and_the_list_prices() -> None:
    """It runs without a file."""
    settings = parse({})
    assert settings == Settings(prices=LIST_PRICES)
    assert (settings.server.port, settings.server.host) == (16888, "127.0.0.1")


def test_every_section_is_read() -> None:
    """A whole file arrives in the tree, each value in its own type."""
    settings = parse(tomllib.loads(FULL))
    assert (settings.server.port, settings.server.trusted_proxies) == (8080, ("10.0.0.0/8",))
    assert (settings.heartbeat.first_beat_s, settings.heartbeat.beat_s) == (2.0, 0.5)
    assert settings.store.data == Path("/var/lib/holdfast")
    assert settings.deadlines.generation_s == ByTier(k1=100.0, k2=200.0, k4=400.5)
    assert {settings.deadlines.attempt_s[tier] for tier in Tier} == {90.0}
    assert settings.deadlines.network is Network.HOME
    assert (settings.drain.grace_s, settings.latency.scale, settings.log.level) == (0.0, 0.125, LogLevel.DEBUG)
    assert (settings.money.currency, settings.money.margin) == ("USD", 1.2)
    relay = settings.upstream("relay")
    assert (relay.provider, relay.stream, relay.flavor) == (Provider.OPENAI, UpstreamStream.NEVER, Flavor.RELAY)
    assert settings.routes[0].upstreams == (RouteUpstream(upstream="relay", model="gemini-3-pro-image-preview"),)
    assert (settings.routes[0].aliases, settings.routes[0].size_default) == (("gemini-3-pro-image",), Tier.K4)
    assert [route.default for route in settings.routes] == [False, True]
    assert settings.prices[0].valid_from == date(2026, 1, 1)


def test_an_own_price_replaces_the_shipped_ones_of_its_model_alone() -> None:
    """Pricing one model oneself does not unprice the others."""
    settings = parse(tomllib.loads(FULL))
    by_model = {model: [p for p in settings.prices if p.model == model] for model in ("nano-banana", "nano-banana-2")}
    assert [price.source for price in by_model["nano-banana"]] == ["our contract"]
    assert by_model["nano-banana-2"] == [price for price in LIST_PRICES if price.model == "nano-banana-2"]


def test_list_prices_hold_in_their_own_currency_only() -> None:
    """134000 micro-dollars are not 134000 micro-yen."""
    assert parse({"money": {"currency": "JPY"}}).prices == ()
    told = complaint(a_mapping(money={"currency": "JPY"}))
    assert "'nano-banana-pro' has no price (list prices are in USD)" in str(told)


@pytest.mark.parametrize(
    ("mapping", "key", "says"),
    [
        ({"sever": {}}, "sever", "Did you mean 'server'?"),
        ({"server": {"prot": 1}}, "server.prot", "Did you mean 'port'?"),
        ({"heartbeat": {"zzz": 1}}, "heartbeat.zzz", "Known here: beat_s, caller_dead_s"),
        ({"jioning": {"join": "all"}}, "jioning", "Did you mean 'joining'?"),
        ({"upstreams": [{"nam": "x"}]}, "upstreams[0].nam", "Did you mean 'name'?"),
        ({"deadlines": {"generation_s": {"3K": 1}}}, "deadlines.generation_s.3K", "Unknown size"),
    ],
)
def test_an_unknown_key_is_refused_with_the_near_one(mapping: dict[str, Any], key: str, says: str) -> None:
    """A typing error never silently leaves a default in force."""
    told = complaint(mapping)
    assert told.key == key
    assert says in str(told)


@pytest.mark.parametrize(
    ("mapping", "says"),
    [
        ({"server": {"port": "80"}}, "server.port must be a whole number, not text."),
        ({"server": {"port": True}}, "server.port must be a whole number, not true or false."),
        ({"server": {"port": 80.5}}, "server.port must be a whole number, not the number 80.5."),
        ({"server": {"port": 70000}}, "server.port is 70000; it must be at most 65535."),
        ({"server": {"host": 5}}, "server.host must be text, not the number 5."),
        ({"server": {"trusted_proxies": "10.0.0.0/8"}}, "must be a list, not text; put it in [ ]."),
        (
            {"upstreams": {"google": {}}},
            "upstreams must be a list, not a table; write [[upstreams]] over each of its tables.",
        ),
        (
            {"routes": [{"model": "m", "upstreams": {"upstream": "u"}}]},
            "upstreams must be a list, not a table; put it in [ ].",
        ),
        ({"server": {"trusted_proxies": [1]}}, "server.trusted_proxies[0] must be text"),
        ({"server": []}, "server must be a table, not a list."),
        (
            {"routes": [a_route(upstreams=["google"])]},
            'routes[0].upstreams[0] must be a table such as { upstream = "NAME", model = "…" }, not text.',
        ),
        ({"heartbeat": {"beat_s": float("nan")}}, "heartbeat.beat_s must be a finite number, not nan."),
        ({"drain": {"grace_s": float("inf")}}, "drain.grace_s must be a finite number, not inf."),
        ({"heartbeat": {"beat_s": 0}}, "heartbeat.beat_s is 0; it must be at least 0.02."),
        ({"store": {"data": ""}}, "store.data is empty; name a folder"),
        ({"deadlines": {"network": "lan"}}, "must be one of intranet, home, international, peak, not 'lan'."),
        ({"deadlines": {"network": "hom"}}, "peak, not 'hom'. Did you mean 'home'?"),
        ({"deadlines": {"network": "hom"}}, "Did you mean 'home'?"),
        ({"deadlines": {"attempt_s": {"1K": 1, "2K": 1}}}, 'deadlines.attempt_s lacks "4K"'),
        ({"deadlines": {"attempt_s": "long"}}, 'must be { "1K" = …'),
        ({"deadlines": {"attempt_s": 0}}, "deadlines.attempt_s is 0; it must be at least 0.1."),
        ({"deadlines": {"attempt_s": {"1K": 1, "2K": 1, "4K": "x"}}}, "deadlines.attempt_s.4K must be a number"),
        ({"routes": [a_route(tls_required="yes")]}, "routes[0].tls_required must be true or false"),
        ({"upstreams": {"name": "x"}}, "upstreams must be a list, not a table"),
        ({"prices": [{"model": "m"}]}, "prices[0].micros is missing: Micro-units an image"),
        ({"upstreams": [an_upstream(provider="goggle")]}, "must be one of gemini, openai"),
    ],
)
def test_a_value_of_the_wrong_kind_is_told_with_what_to_write(mapping: dict[str, Any], says: str) -> None:
    """The operator reads the key and the kind, and never a traceback."""
    assert says in str(complaint(mapping))


@pytest.mark.parametrize(
    ("price", "says"),
    [
        ({"micros": {}}, 'must be a table such as { "1K" = 134000 }'),
        ({"micros": {"3K": 1}}, 'prices[0].micros."3K" is no size'),
        ({"micros": {"1K/best": 1}}, "is no size"),
        ({"micros": {"1K@wide": 1}}, "is no size"),
        ({"micros": {"1K": -1}}, "whole number of micro-units, 0 or more"),
        ({"micros": {"1K": 0.5}}, "whole number of micro-units"),
        ({"valid_from": "soon"}, "must be a day such as 2026-05-28"),
        ({"valid_from": 5}, "must be a day such as 2026-05-28"),
    ],
)
def test_a_price_is_checked_where_it_is_written(price: dict[str, Any], says: str) -> None:
    """A price that cannot be looked up is found at start, not at the first request."""
    whole = {"model": "m", "micros": {"1K": 1}, "source": "s", "valid_from": "2026-01-01", **price}
    assert says in str(complaint({"prices": [whole]}))


@pytest.mark.parametrize(
    ("overrides", "key", "says"),
    [
        ({"server": {"tls_cert": "c.pem"}}, "server.tls_key", "needs a certificate and its key"),
        ({"server": {"tls_key": "k.pem"}}, "server.tls_cert", "needs a certificate and its key"),
        (
            {"server": {"tls_cert": "c", "tls_key": "k", "tls_port": 16888}},
            "server.tls_port",
            "give TLS a port of its own",
        ),
        ({"server": {"public_url": "images.example"}}, "server.public_url", "must begin with http:// or https://"),
        ({"upstreams": [an_upstream(base_url="127.0.0.1:16900")]}, "upstreams[0].base_url", "must begin with http://"),
        ({"server": {"public_url": "https://h/?q=1"}}, "server.public_url", "no query"),
        ({"server": {"public_url": "http://[::1"}}, "server.public_url", "no address"),
        ({"server": {"trusted_proxies": ["10.0.0.1/8"]}}, "server.trusted_proxies[0]", "network such as 10.0.0.0/8"),
        ({"store": {"image_bytes_max": 600 << 20}}, "store.image_bytes_max", "above store.response_bytes_max"),
        ({"retry": {"backoff_s_first": 61}}, "retry.backoff_s_first", "above retry.backoff_s_max"),
        ({"money": {"currency": "dollars"}}, "money.currency", 'such as "USD"'),
        ({"upstreams": [an_upstream(), an_upstream()]}, "upstreams[0].name", "two upstreams are called 'u'"),
        ({"upstreams": [an_upstream(name="")]}, "upstreams[0].name", "is empty"),
        ({"upstreams": [an_upstream(keys=[])]}, "upstreams[0].keys", 'keys = ["env:NAME"]'),
        ({"upstreams": [an_upstream(keys=["a", "b", "a"])]}, "upstreams[0].keys[2]", "stands in this list already"),
        ({"upstreams": [an_upstream(base_url="ftp://x")]}, "upstreams[0].base_url", "whole address"),
        ({"upstreams": [an_upstream(base_url="https://a:b@x")]}, "upstreams[0].base_url", "credential"),
        ({"upstreams": [an_upstream(base_url="https://bücher.example/v1")]}, "upstreams[0].base_url", "punycode"),
        ({"server": {"public_url": "https://bücher.example"}}, "server.public_url", "punycode form, xn--"),
        ({"upstreams": [an_upstream(base_url="https://a..b")]}, "upstreams[0].base_url", "'a..b' is no valid host"),
        ({"upstreams": [an_upstream(base_url="https://.b")]}, "upstreams[0].base_url", "no valid host name"),
        ({"upstreams": [an_upstream(base_url="https://a b")]}, "upstreams[0].base_url", "no valid host name"),
        ({"upstreams": [an_upstream(base_url="https://-a.b")]}, "upstreams[0].base_url", "no valid host name"),
        ({"upstreams": [an_upstream(base_url=f"https://{'a' * 64}.b")]}, "upstreams[0].base_url", "no valid host name"),
        ({"routes": [a_route(), a_route()]}, "routes[1]", "put its upstreams into one route"),
        ({"routes": [a_route(), a_route(model="nano-banana", aliases=["nano-banana-pro"])]}, "routes[1]", "one route"),
        ({"routes": [a_route(upstreams=[])]}, "routes[0].upstreams", "name at least one"),
        ({"routes": [a_route(model="")]}, "routes[0].model", "is empty"),
        (
            {"routes": [a_route(upstreams=[{"upstream": "v", "model": "m"}])]},
            "routes[0].upstreams[0].upstream",
            "there is no upstream 'v'. Known here: u.",
        ),
        ({"upstreams": []}, "routes[0].upstreams[0].upstream", "Add it under [[upstreams]]."),
        ({"routes": [a_route(model="unheard-of")]}, "prices", "has no price. Add [[prices]]"),
        ({"routes": [a_route(tls_required=True)]}, "routes[0].tls_required", "set server.tls_cert"),
        (
            {"routes": [a_route(default=True), a_route(model="nano-banana", default=True)]},
            "routes.default",
            "keep one",
        ),
    ],
)
def test_settings_that_contradict_are_refused_at_start(overrides: dict[str, Any], key: str, says: str) -> None:
    """What cannot work is told before the first caller meets it, with the key to change."""
    told = complaint(a_mapping(**overrides))
    assert told.key == key
    assert says in str(told)


def test_tls_may_be_demanded_where_a_proxy_ends_it() -> None:
    """A trusted proxy's X-Forwarded-Proto is as good as our own listener."""
    behind = a_mapping(server={"trusted_proxies": ["127.0.0.0/8"]}, routes=[a_route(tls_required=True)])
    assert parse(behind).routes[0].tls_required


def test_a_wrong_value_is_never_repeated_in_a_complaint() -> None:
    """A credential in the wrong place stays out of terminal and log."""
    assert "sk-secret" not in str(complaint({"upstreams": [an_upstream(keys="sk-secret")]}))
    assert "sk-secret" not in str(complaint({"server": {"port": "sk-secret"}}))


def test_credentials_stay_out_of_the_trees_repr() -> None:
    """A settings object in a traceback or log gives no key away."""
    settings = parse(a_mapping(upstreams=[an_upstream(keys=["sk-secret"])]))
    assert settings.upstreams[0].keys == ("sk-secret",)
    assert "sk-secret" not in repr(settings)


def test_a_tree_made_by_hand_can_be_checked() -> None:
    """Tests and the demo build theirs without a file."""
    check(parse(a_mapping()))
    check(Settings())


def test_merging_lays_one_mapping_over_another_key_by_key() -> None:
    """The environment changes one key of a section and leaves its neighbours; neither input is changed."""
    below, above = {"a": {"x": 1, "y": 2}, "b": [1]}, {"a": {"y": 3}, "b": [2], "c": 4}
    assert merged(below, above) == {"a": {"x": 1, "y": 3}, "b": [2], "c": 4}
    assert below == {"a": {"x": 1, "y": 2}, "b": [1]}


def test_a_number_for_each_size_prints_as_toml() -> None:
    """The reference page shows what can be copied into a file."""
    assert str(ByTier(k1=300.0, k2=300.0, k4=600.0)) == '{ "1K" = 300, "2K" = 300, "4K" = 600 }'


def test_rules_of_compensation_are_read_and_each_reason_has_one() -> None:
    """Two rules for one reason would leave it open which holds."""
    slow = {"when": "slow", "slower_than_s": 90, "share": 0.5, "cap_micros_per_day": 1_000_000}
    settings = parse({"compensation": [slow, {"when": "refused", "share": 0}]})
    read = [(rule.when, rule.slower_than_s, rule.share, rule.cap_micros_per_day) for rule in settings.compensation]
    assert read == [("slow", 90.0, 0.5, 1_000_000), ("refused", 180.0, 0.0, 0)]
    assert parse({}).compensation == ()
    with pytest.raises(ConfigError, match=r"compensation\[0\] and compensation\[1\] overlap: both are for 'slow'"):
        parse({"compensation": [slow, slow]})


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({}, "compensation[0].when is missing"),
        ({"when": "late"}, "must be one of refused, empty, failed, slow, not 'late'"),
        ({"when": "slow", "share": 1.5}, "compensation[0].share is 1.5; it must be at most 1"),
        ({"when": "slow", "share": -0.1}, "it must be at least 0"),
        ({"when": "slow", "cap_micros_per_day": -1}, "it must be at least 0"),
        ({"when": "slow", "slower": 5}, "Did you mean 'slower_than_s'?"),
    ],
)
def test_a_rule_that_cannot_hold_is_refused(rule: dict[str, object], told: str) -> None:
    """At the start, naming the key."""
    with pytest.raises(ConfigError) as error:
        parse({"compensation": [rule]})
    assert told in str(error.value)


@pytest.mark.parametrize(
    ("options", "key", "says"),
    [
        ({"api": "responses", "outer_model": "gpt-5.5"}, "api", 'write "auto" or "interactions"'),
        ({"provider": "openai", "api": "interactions"}, "api", 'write "auto"'),
        ({"provider": "fal", "api": "interactions"}, "api", "the provider fal has no"),
        ({"provider": "openai", "api": "responses"}, "outer_model", "such as"),
        ({"outer_model": "gpt-5.5"}, "outer_model", 'is for api = "responses"'),
        ({"api": "interactions", "outer_model": "gpt-5.5"}, "outer_model", 'is for api = "responses"'),
        ({"api": "interactions", "stream": "always"}, "stream", "streams nothing"),
        ({"api": "response"}, "api", "Did you mean 'responses'?"),
    ],
)
def test_an_api_that_its_provider_does_not_have_is_refused_at_start(
    options: dict[str, Any], key: str, says: str
) -> None:
    """With the key to change, and what to write."""
    told = complaint(a_mapping(upstreams=[an_upstream(**options)]))
    assert told.key == f"upstreams[0].{key}"
    assert says in str(told)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"api": "auto"},
        {"api": "interactions"},
        {"api": "interactions", "stream": "never"},
        {"provider": "openai", "api": "responses", "outer_model": "gpt-5.5"},
        {"provider": "fal", "api": "auto"},
    ],
)
def test_an_api_that_its_provider_has_is_taken(options: dict[str, Any]) -> None:
    """Left out, it is the usual one."""
    upstream = parse(a_mapping(upstreams=[an_upstream(**options)])).upstreams[0]
    assert upstream.api == options.get("api", "auto")
    assert upstream.outer_model == options.get("outer_model", "")
