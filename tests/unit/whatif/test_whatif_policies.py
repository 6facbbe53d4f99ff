"""Policy files: a gateway's settings as they are, a client's loop, and what is refused."""

from __future__ import annotations

import pytest

from holdfast.config import Provider, with_provider_keys
from holdfast.config import parse as parse_settings
from holdfast.errors import ConfigError
from holdfast.types import FailureKind, Tier
from holdfast.whatif.client_loop import ClientLoop
from holdfast.whatif.files import load_policy, policy_names
from holdfast.whatif.policies import GatewayPolicy, currency_of, parse, prices_of

GATEWAY = """
[[upstreams]]
name = "google"
provider = "gemini"
base_url = "https://up.example"
keys = ["env:ONE", "env:TWO"]
[[routes]]
model = "nano-banana-2"
upstreams = [{ upstream = "google", model = "m" }]
[[routes]]
model = "nano-banana-pro"
upstreams = [{ upstream = "google", model = "m" }]
[retry]
sends_max = 3
"""
LOOP = """
kind = "client_loop"
timeout_s = { "1K" = 60, "2K" = 70, "4K" = 80 }
pauses_s = [1, 2.5]
stops_at = ["credential", "refused_input"]
"""


def test_a_gateways_policy_is_its_settings_file() -> None:
    """Keys are only counted: no variable has to be set. The route is the one that serves by default."""
    policy = parse(GATEWAY, name="mine")
    assert isinstance(policy, GatewayPolicy)
    assert policy.settings.retry.sends_max == 3
    assert policy.route.model == "nano-banana-pro"
    marked = GATEWAY.replace('model = "nano-banana-2"', 'model = "nano-banana-2"\ndefault = true')
    chosen = parse(marked, name="mine")
    assert isinstance(chosen, GatewayPolicy)
    assert chosen.route.model == "nano-banana-2"


def test_a_loop_is_what_it_says() -> None:
    """With the usual upstream and model where it does not."""
    policy = parse(LOOP, name="mine")
    assert isinstance(policy, ClientLoop)
    assert (policy.upstream, policy.model, policy.pauses_s) == ("google", "nano-banana-pro", (1.0, 2.5))
    assert dict(policy.timeout_s) == {Tier.K1: 60.0, Tier.K2: 70.0, Tier.K4: 80.0}
    assert policy.stops_at == {FailureKind.CREDENTIAL, FailureKind.REFUSED_INPUT}


@pytest.mark.parametrize("name", policy_names())
def test_every_shipped_policy_is_read(name: str) -> None:
    """And has a price for every size."""
    policy = load_policy(name)
    assert policy.name == name
    model = policy.model if isinstance(policy, ClientLoop) else policy.route.model
    assert set(prices_of(policy, model)) == set(Tier)
    assert currency_of(policy) == "USD"


def test_our_default_is_what_a_key_in_the_environment_makes() -> None:
    """Every setting at its default: the comparison is with what people get."""
    policy = load_policy("holdfast")
    assert isinstance(policy, GatewayPolicy)
    made = with_provider_keys(parse_settings({}), {"GEMINI_API_KEY": "k"})
    assert policy.settings.upstreams == tuple(each for each in made.upstreams if each.provider is Provider.GEMINI)
    for section in ("retry", "deadlines", "queue", "latency", "money"):
        assert getattr(policy.settings, section) == getattr(parse_settings({}), section)


def test_a_gateway_sells_at_its_own_prices() -> None:
    """In its own currency."""
    price = '[[prices]]\nmodel = "nano-banana-pro"\nmicros = { "1K" = 7, "2K" = 8, "4K" = 9 }\n'
    price += 'source = "contract"\nvalid_from = "2026-01-01"\n'
    text = GATEWAY.replace("nano-banana-2", "other").replace('model = "other"', 'model = "nano-banana"')
    policy = parse(text + price, name="mine")
    assert dict(prices_of(policy, "nano-banana-pro")) == {Tier.K1: 7, Tier.K2: 8, Tier.K4: 9}


WRONG = [
    ('kind = "loop"', "kind must be one of gateway, client_loop"),
    ("[retry]\nsends_max = 3", "has no route"),
    ("[retry]\nsend_max = 3", "Did you mean 'sends_max'"),
    (GATEWAY.replace("sends_max = 3", "sends_max = 0"), "retry.sends_max is 0"),
    ('kind = "client_loop"\npauses_s = []', "timeout_s must be"),
    (LOOP.replace("pauses_s = [1, 2.5]", ""), "pauses_s must be a list"),
    (LOOP.replace("[1, 2.5]", "[-1]"), "pauses_s[0] must be a number"),
    (LOOP.replace("[1, 2.5]", str([1] * 101)), "100 at most"),
    (LOOP.replace('"4K" = 80', '"4K" = 0'), "timeout_s.4K must be a number"),
    (LOOP.replace(', "4K" = 80', ""), 'timeout_s lacks "4K"'),
    (LOOP.replace('"4K" = 80', '"4K" = 80, "8K" = 1'), "Unknown '8K'"),
    (LOOP.replace('"credential"', '"credentials"'), "Did you mean 'credential'"),
    (LOOP.replace('["credential", "refused_input"]', '"credential"'), "stops_at must be a list"),
    (LOOP + 'upstream = ""', "upstream must be a name"),
    (LOOP + 'model = "nano-banana-pr"', "Did you mean 'nano-banana-pro'"),
    (LOOP + "retries = 3", "Unknown 'retries'"),
    ("not toml", "is not valid TOML"),
]


@pytest.mark.parametrize(("text", "told"), WRONG, ids=[told for _, told in WRONG])
def test_what_makes_no_sense_is_refused_with_its_place(text: str, told: str) -> None:
    """So that it is found, and mended."""
    with pytest.raises(ConfigError) as caught:
        parse(text, name="mine")
    assert told in str(caught.value)
    assert "mine" in str(caught.value)


def test_a_size_without_a_price_is_refused() -> None:
    """Amounts could not be told."""
    price = '[[prices]]\nmodel = "nano-banana-pro"\nmicros = { "1K" = 7 }\nsource = "s"\nvalid_from = "2026-01-01"\n'
    policy = parse(GATEWAY + price, name="mine")
    with pytest.raises(ConfigError, match="has no price at 2K"):
        prices_of(policy, "nano-banana-pro")


def test_an_unknown_name_is_told_with_the_near_one() -> None:
    """And with what there is."""
    with pytest.raises(ConfigError, match="Did you mean 'holdfast'"):
        load_policy("holdfats")
    with pytest.raises(ConfigError, match="There is no policy file"):
        load_policy("absent.toml")
