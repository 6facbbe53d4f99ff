"""Settings of traces: what cannot be sent to is refused at start, with the key."""

from __future__ import annotations

import pytest

from holdfast.config import parse
from holdfast.errors import ConfigError


def test_traces_are_off_until_somebody_says_where_to() -> None:
    """And told whole then."""
    traces = parse({}).traces
    assert (traces.endpoint, traces.sample_share, traces.service_name) == ("", 1.0, "holdfast")


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:4318/v1/traces", "https://otlp.example.com/v1/traces", "http://[::1]:4318/v1/traces"]
)
def test_an_address_of_a_collector_is_taken(endpoint: str) -> None:
    """With and without TLS."""
    assert parse({"traces": {"endpoint": endpoint, "sample_share": 0.1}}).traces.endpoint == endpoint


@pytest.mark.parametrize(
    "endpoint",
    [
        *("collector:4318", "127.0.0.1:4318", "grpc://127.0.0.1:4317", "http://", "http:///v1/traces", "http://[::1"),
        *("http://127.0.0.1:99999/v1/traces", "http://user:secret@127.0.0.1/v1/traces", "http://127.0.0.1:0/"),
    ],
)
def test_what_is_no_address_is_refused_by_name(endpoint: str) -> None:
    """A password in it is not repeated."""
    with pytest.raises(ConfigError) as refused:
        parse({"traces": {"endpoint": endpoint}})
    assert refused.value.key == "traces.endpoint"
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_is_a_share(share: float) -> None:
    """More than all, or less than none, is a mistake."""
    with pytest.raises(ConfigError, match="sample_share"):
        parse({"traces": {"sample_share": share}})


@pytest.mark.parametrize("name", ["", "  "])
def test_who_is_shown_has_a_name(name: str) -> None:
    """A collector shows it beside others."""
    with pytest.raises(ConfigError) as refused:
        parse({"traces": {"service_name": name}})
    assert refused.value.key == "traces.service_name"
