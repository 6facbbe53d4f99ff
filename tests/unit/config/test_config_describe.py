"""The settings as a list: whole, and with a reason each."""

from __future__ import annotations

from holdfast.config import describe, from_environment
from holdfast.errors import ConfigError

TEXTS = {"text": "x", "path": "x", "whole number": "1", "number": "1", "by size": "1", "list of text": "x"}


def test_every_setting_has_a_meaning_and_a_reason() -> None:
    """A bare number in the reference helps nobody."""
    for setting in describe():
        assert setting.means
        assert not setting.means.endswith("."), setting.name
        assert setting.source
        assert setting.kind
        assert setting.default


def test_names_that_carry_a_unit_declare_it() -> None:
    """`_s` is seconds, `_bytes` is bytes, in name and table alike."""
    for setting in describe():
        name = setting.name.rsplit(".", 1)[-1]
        if name.endswith("_s"):
            assert setting.unit == "seconds", setting.name
        if "_bytes" in name:
            assert setting.unit == "bytes", setting.name


def test_each_listed_variable_is_read() -> None:
    """What the page names in the environment works there."""
    for setting in describe():
        if setting.environment is None:
            continue
        text = TEXTS.get(setting.kind, setting.kind.split(" ")[0])
        section, name = setting.name.split(".")
        try:
            mapping = from_environment({setting.environment: text})
        except ConfigError as exc:
            raise AssertionError(setting.name) from exc
        assert list(mapping) == [section]
        assert list(mapping[section]) == [name]


def test_lists_of_tables_are_described_with_what_must_be_written() -> None:
    """Upstreams, routes and prices appear field by field, the table inside a route too."""
    by_name = {setting.name: setting for setting in describe()}
    assert by_name["upstreams.provider"].kind == "gemini · openai · fal · vertex · ark · replicate"
    assert by_name["upstreams.name"].default == "required"
    assert by_name["routes.upstreams.model"].section == "routes.upstreams"
    assert by_name["routes.upstreams"].kind == "list of tables"
    assert by_name["prices.micros"].kind == "table of whole numbers"
    assert by_name["prices.valid_from"].kind == "day"
    assert by_name["routes.default"].default == "false"
    assert by_name["routes.aliases"].default == "[]"


def test_defaults_are_spelt_as_toml_takes_them() -> None:
    """A line of the page can be copied into a file."""
    by_name = {setting.name: setting.default for setting in describe()}
    assert by_name["server.port"] == "16888"
    assert by_name["server.host"] == '"127.0.0.1"'
    assert by_name["heartbeat.first_beat_s"] == "20"
    assert by_name["deadlines.generation_s"] == '{ "1K" = 300, "2K" = 300, "4K" = 600 }'
    assert by_name["deadlines.network"] == '"intranet"'
    assert by_name["store.keep_after_finish_s"] == "86400"
    assert by_name["store.data"] == '"holdfast-data"'
