"""Of two rules of compensation at most one is for a call; whoever writes others is told which two, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.config import Compensation, CompensationReason, Route, load_compensation, parse
from holdfast.config.compensating import check_compensation
from holdfast.config.serving import RouteUpstream
from holdfast.errors import ConfigError
from holdfast.policy.compensation import Subject, qualifies
from holdfast.types import Tier

SLOW = {"when": "slow"}
ROUTES = (Route(model="m", aliases=("m-preview",), upstreams=(RouteUpstream(upstream="u", model="m"),)),)


def complaint(*entries: dict[str, Any]) -> str:
    """What is said of these entries."""
    with pytest.raises(ConfigError) as error:
        parse({"compensation": list(entries)})
    return str(error.value)


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ({}, {}, "'slow'. Keep"),
        ({}, {"sizes": ["4K"]}, "'slow', 4K. Keep"),
        ({"sizes": ["1K", "4K"]}, {"sizes": ["2K", "4K"]}, "'slow', 4K. Keep"),
        ({"models": ["a"]}, {"sizes": ["4K"]}, "'slow', a, 4K. Keep"),
        ({"models": ["a", "b"], "sizes": ["1K"]}, {"models": ["b"]}, "'slow', b, 1K. Keep"),
        ({"keys": ["key_1"]}, {}, "'slow'. Keep"),
        ({"keys": ["key_1", "key_2"]}, {"keys": ["key_2"]}, "'slow', key_2. Keep"),
        ({"groups": ["kgr_1"]}, {"keys": ["key_2"]}, "'slow', a key that may be in the other's group. Keep"),
    ],
)
def test_rules_that_overlap_are_refused_with_both_named(
    one: dict[str, Any], other: dict[str, Any], shared: str
) -> None:
    """In whichever order they are written; what they share is said."""
    for first, second in ((one, other), (other, one)):
        told = complaint(SLOW | {"when": "refused"}, SLOW | first, SLOW | second)
        assert "compensation[1] and compensation[2] overlap: both are for " in told
        assert shared in told


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"when": "refused"}, {}),
        ({"sizes": ["1K", "2K"]}, {"sizes": ["4K"]}),
        ({"models": ["a"]}, {"models": ["b"]}),
        ({"models": ["a"], "sizes": ["1K"]}, {"models": ["a"], "sizes": ["4K"]}),
        ({"keys": ["key_1"]}, {"keys": ["key_2"]}),
        ({"groups": ["kgr_1"]}, {"groups": ["kgr_2"]}),
        ({"groups": ["kgr_1"], "sizes": ["1K"]}, {"keys": ["key_2"], "sizes": ["4K"]}),
    ],
)
def test_rules_of_which_one_is_for_a_call_are_taken(one: dict[str, Any], other: dict[str, Any]) -> None:
    """By reason, model, size or who."""
    assert len(parse({"compensation": [SLOW | one, SLOW | other]}).compensation) == 2


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"sizes": ["8K"]}, "compensation[0].sizes[0] must be one of 1K, 2K, 4K, not '8K'"),
        ({"sizes": "4K"}, "compensation[0].sizes must be a list, not text; put it in [ ]."),
        ({"keys": ["alice"]}, "compensation[0].keys[0] is no id: the ids of keys begin with key_."),
        ({"groups": ["key_1"]}, "compensation[0].groups[0] is no id: the ids of groups begin with kgr_."),
    ],
)
def test_a_scope_that_means_nothing_is_refused(entry: dict[str, Any], told: str) -> None:
    """With the place named."""
    assert told in complaint(SLOW | entry)


def test_models_are_those_of_routes() -> None:
    """A rule for a model that is not sold, or by a name that is not its own, would never fire."""
    for model, told in [("n", "there is no model 'n'"), ("m-preview", "is another name of 'm'; write that")]:
        entry = Compensation(when=CompensationReason.SLOW, models=("m", model))
        with pytest.raises(ConfigError, match=r"compensation\[0\]\.models\[1\]") as error:
            check_compensation([entry], ROUTES)
        assert told in str(error.value)
    check_compensation([Compensation(when=CompensationReason.SLOW, models=("m",))], ROUTES)


def test_a_file_of_rules_may_be_a_whole_settings_file(tmp_path: Path) -> None:
    """What else stands in it does not matter; one without rules is told."""
    file = tmp_path / "rules.toml"
    file.write_text('[money]\ncurrency = "EUR"\n[[compensation]]\nwhen = "slow"\nsizes = ["4K"]\n')
    (entry,) = load_compensation(file, ROUTES)
    assert (entry.when, entry.sizes) == (CompensationReason.SLOW, (Tier.K4,))
    for text, told in [
        ("", "has no [[compensation]] entries"),
        ('[[compensation]]\nwhen = "slow"\n' * 2, "compensation[0] and compensation[1] overlap"),
        ('[[compensation]]\nwhen = "slow"\nmodels = ["x"]\n', "there is no model 'x'"),
        ("[[compensation]", "is not valid TOML"),
    ]:
        file.write_text(text)
        with pytest.raises(ConfigError) as error:
            load_compensation(file, ROUTES)
        assert told in str(error.value)
        assert "rules.toml" in str(error.value)


some = st.lists(st.sampled_from(["a", "b"]), max_size=2, unique=True)
entries = st.builds(
    lambda when, models, sizes, keys, groups: Compensation(
        when=when,
        models=tuple(models),
        sizes=tuple(sizes),
        keys=tuple(f"key_{each}" for each in keys),
        groups=tuple(f"kgr_{each}" for each in groups),
    ),
    st.sampled_from(CompensationReason),
    some,
    st.lists(st.sampled_from(Tier), max_size=2, unique=True),
    some,
    some,
)
subjects = st.builds(
    Subject,
    key_id=st.sampled_from(["key_a", "key_b", "key_c"]),
    group_id=st.sampled_from(["kgr_a", "kgr_b", None]),
    model=st.sampled_from(["a", "b", "c"]),
    tier=st.sampled_from([tier.value for tier in Tier]),
)


@given(st.lists(entries, max_size=4), st.lists(subjects, min_size=1, max_size=20))
def test_what_is_taken_leaves_no_call_with_two_rules(rules: list[Compensation], calls: list[Subject]) -> None:
    """For any rules that pass the check, and any call."""
    try:
        check_compensation(rules, ())
    except ConfigError:
        return
    for call in calls:
        for reason in CompensationReason:
            assert sum(rule.when is reason and qualifies(rule, call) for rule in rules) <= 1
