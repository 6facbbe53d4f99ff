"""Whatever stands in a settings file, it is a tree or a complaint that names its key."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from holdfast.config import describe, from_environment, merged, parse, with_provider_keys
from holdfast.errors import ConfigError

names = [setting.name for setting in describe()]
sections = [*sorted({name.split(".")[0] for name in names}), "sever", "joining"]
leaves = [*sorted({name.split(".")[-1] for name in names}), "prot", "1K", "2K", "4K"]
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-10, 10**9),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["gemini", "http://127.0.0.1:1", "home", "2026-01-01", "1K", "env:K"]),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(leaves), inner, max_size=4),
    max_leaves=10,
)
mappings = st.dictionaries(
    st.sampled_from(sections), values | st.dictionaries(st.sampled_from(leaves), values), max_size=4
)


@given(mappings)
def test_any_mapping_is_parsed_or_refused_with_a_key(mapping: dict[str, Any]) -> None:
    """No file, however wrong, ends in a traceback."""
    try:
        settings = parse(mapping)
    except ConfigError as told:
        assert told.key
        assert str(told)
        return
    assert parse(mapping) == settings


@given(
    st.dictionaries(
        st.sampled_from([f"HOLDFAST_{s}__{k}".upper() for s in sections for k in leaves]), st.text(max_size=6)
    )
)
def test_any_environment_is_parsed_or_refused_by_name(environ: dict[str, str]) -> None:
    """No variable, however wrong, ends in a traceback."""
    try:
        parse(from_environment(environ))
    except ConfigError as told:
        assert told.key


@given(st.sets(st.sampled_from(["GEMINI_API_KEY", "OPENAI_API_KEY", "PATH"])))
def test_every_set_of_vendor_keys_gives_settings_that_hold_together(keys: set[str]) -> None:
    """Upstreams, routes and prices that come by themselves pass the same checks as written ones."""
    settings = with_provider_keys(parse({}), dict.fromkeys(keys, "k"))
    assert bool(settings.routes) is bool(keys - {"PATH"})
    names = [name for route in settings.routes for name in (route.model, *route.aliases)]
    assert len(names) == len(set(names))


@given(mappings, mappings)
def test_merging_keeps_every_key_and_prefers_the_upper(below: dict[str, Any], above: dict[str, Any]) -> None:
    """Nothing is lost, and what the environment says wins."""
    result = merged(below, above)
    assert set(result) == set(below) | set(above)
    for name, value in above.items():
        if not isinstance(value, dict):
            assert result[name] is value


def test_the_documented_defaults_written_out_are_the_defaults() -> None:
    """A file copied from the reference page changes nothing."""
    lines: list[str] = []
    for setting in describe():
        if setting.environment is not None:
            lines.append(f"{setting.name} = {setting.default}")
    assert parse(tomllib.loads("\n".join(lines))) == parse({})
