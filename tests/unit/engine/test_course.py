"""Where one request may be sent: own upstreams, other models, smaller sizes; and what cannot serve it."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from holdfast.config import parse
from holdfast.engine.course import Course, Courses, Offer, alone, request_at, targets_of
from holdfast.errors import ConfigError, RequestError
from holdfast.types import Geometry, InputImage, Request, Surface, Tariff, Tier

TODAY = date(2026, 11, 24)


def some_settings(**sections: Any) -> Any:
    """Two upstreams of a model, one of another model at half its price and not at 4K."""
    url = "https://u.example"
    usual: dict[str, Any] = {
        "upstreams": [
            {"name": "a", "provider": "openai", "base_url": f"{url}/v1", "keys": ["k"]},
            {"name": "b", "provider": "gemini", "base_url": url, "keys": ["k", "l"]},
            {"name": "c", "provider": "fal", "base_url": url, "keys": ["k"]},
        ],
        "routes": [
            {
                "model": "pro",
                "upstreams": [{"upstream": "a", "model": "m-a", "weight": 2}, {"upstream": "b", "model": "m-b"}],
                "fallback": ["other"],
            },
            {"model": "other", "upstreams": [{"upstream": "c", "model": "m-c"}]},
        ],
        "prices": [
            {"model": "pro", "micros": {"1K": 100, "2K": 200, "4K": 400}, "source": "t", "valid_from": "2026-01-01"},
            {"model": "other", "micros": {"1K": 50, "2K": 70}, "source": "t", "valid_from": "2026-01-01"},
        ],
    }
    return parse(usual | sections)


def a_request(tier: Tier = Tier.K1, **changes: Any) -> Request:
    """What a caller asks for."""
    edge = {Tier.K1: 1024, Tier.K2: 2048, Tier.K4: 4096}[tier]
    geometry = Geometry(tier=tier, aspect_ratio="1:1", width_px=edge, height_px=edge)
    return Request(**{"surface": Surface.OPENAI, "model": "pro", "prompt": "p", "geometry": geometry, **changes})


def a_course(request: Request, **sections: Any) -> Course:
    """Its course."""
    settings = some_settings(**sections)
    keys = {upstream.name: upstream.keys for upstream in settings.upstreams}
    return Courses(settings, targets_of(settings, keys)).of(request, TODAY)


def names(course: Course) -> list[str]:
    """Upstream and size of each entry, lesser ones marked."""
    return [
        f"{'~' if entry.is_lesser else ''}{each.target.upstream.name}:{each.tier}"
        for each, entry in zip(course.candidates, course.entries, strict=True)
    ]


def test_own_upstreams_come_before_those_of_other_models() -> None:
    """In the order of the settings, with their weights, their keys, and the price of what is not quite the same."""
    course = a_course(a_request())
    assert names(course) == ["a:1K", "b:1K", "~c:1K"]
    assert [entry.weight for entry in course.entries] == [2, 0, 0]
    assert [each.target.route for each in course.candidates] == ["pro", "pro", "other"]
    assert course.candidates[1].target.keys == ("k", "l")
    assert dict(course.offers) == {2: Offer(list_micros=50, unit_micros=50)}
    assert not course.barred


def test_the_margin_is_on_what_serves_too() -> None:
    """The lower of two prices is the lower of two customer's prices."""
    assert a_course(a_request(), money={"margin": 2.0}).offers[2] == Offer(list_micros=50, unit_micros=100)


def test_smaller_sizes_come_last_and_only_where_they_are_allowed() -> None:
    """The next smaller first."""
    assert names(a_course(a_request(Tier.K2, may_degrade=True))) == ["a:2K", "b:2K", "~c:2K", "~a:1K", "~b:1K", "~c:1K"]
    large = a_course(a_request(Tier.K4, may_degrade=True))
    assert names(large)[3:] == ["~a:2K", "~b:2K", "~c:2K", "~a:1K", "~b:1K", "~c:1K"]
    assert large.offers[3].list_micros == 200
    assert names(a_course(a_request(Tier.K1, may_degrade=True))) == ["a:1K", "b:1K", "~c:1K"]


def test_what_has_no_price_at_this_size_is_barred() -> None:
    """With the setting that would offer it."""
    course = a_course(a_request(Tier.K4))
    assert list(course.barred) == [2]
    assert "has no price at 4K" in course.barred[2]
    assert course.skipped() == [{"upstream": "c", "model": "m-c", "size": "4K", "reason": course.barred[2]}]


def test_what_takes_fewer_images_to_start_from_is_barred() -> None:
    """It would only say so itself."""
    image = InputImage(sha256="0" * 64, mime="image/png", bytes=10, store_key="k")
    course = a_course(a_request(inputs=(image,) * 15))
    assert set(course.barred) == {1, 2}
    assert course.barred[1] == "it takes 14 images to start from, and 15 were sent"


def test_a_document_that_names_its_own_size_is_not_made_smaller() -> None:
    """It is sent on as it came."""
    course = a_course(a_request(Tier.K2, may_degrade=True, dialect_body="{}"))
    assert set(course.barred) == {3, 4, 5}


def test_a_part_is_as_small_as_the_least_of_its_upstreams_makes() -> None:
    """Ten in a call at the first one are one at the second."""
    assert a_course(a_request()).images_per_call(stream=False) == 1


def test_a_route_that_is_gone_is_told() -> None:
    """As when settings changed between two starts."""
    settings = some_settings()
    with pytest.raises(RequestError, match="not served here"):
        Courses(settings, {}).of(a_request(), TODAY)


def test_an_entry_is_found_again_by_what_the_record_says() -> None:
    """Or is in the route no longer."""
    course = a_course(a_request())
    assert course.find("b", "m-b", Tier.K1) == 1
    assert course.find("b", "m-b", Tier.K2) is None
    assert course.find("b", "m-x", Tier.K1) is None


def test_what_is_the_same_for_all_requests_is_made_once() -> None:
    """A thousand that wait share it."""
    settings = some_settings(
        routes=[{"model": "pro", "upstreams": [{"upstream": "a", "model": "m"}, {"upstream": "b", "model": "m"}]}]
    )
    courses = Courses(settings, targets_of(settings, {"a": ("k",), "b": ("k",), "c": ("k",)}))
    assert courses.of(a_request(), TODAY) is courses.of(a_request(prompt="another"), TODAY)


def test_a_request_is_made_smaller_in_its_shape() -> None:
    """And as it was, where its size is not changed."""
    request = a_request(Tier.K4, size_as_asked="4096x4096")
    assert request_at(request, Tier.K4) is request
    small = request_at(request, Tier.K2)
    assert (small.geometry.width_px, small.geometry.height_px, small.size_as_asked) == (2048, 2048, None)


def test_what_has_no_route_any_more_goes_on_alone() -> None:
    """Where it was sent."""
    target = a_course(a_request()).candidates[0].target
    assert names(alone(target, Tier.K2)) == ["a:2K"]


def test_settings_without_a_route_or_a_key_are_refused() -> None:
    """There is nothing to serve, or nothing to serve it with."""
    with pytest.raises(ConfigError, match="nothing to serve"):
        targets_of(some_settings(upstreams=[], routes=[]), {})
    with pytest.raises(ConfigError, match=r"Add \[\[routes\]\] with .*upstream = \"a\"") as told:
        targets_of(some_settings(routes=[]), {"a": ("k",)})
    assert told.value.key == "routes"
    with pytest.raises(ConfigError, match="'a' has no key"):
        targets_of(some_settings(), {"a": (), "b": ("k",), "c": ("k",)})


def test_an_upstream_with_a_price_of_its_own_is_booked_at_it() -> None:
    """Its customer pays as for what was asked for: no price of the entry's own stands beside it."""
    cost = {"model": "pro", "upstream": "b", "micros": {"1K": 130}, "source": "t", "valid_from": "2026-01-01"}
    plain = [
        {"model": "pro", "micros": {"1K": 100}, "source": "t", "valid_from": "2026-01-01"},
        {"model": "other", "micros": {"1K": 50}, "source": "t", "valid_from": "2026-01-01"},
    ]
    offers = a_course(a_request(), prices=[*plain, cost]).offers
    assert dict(offers) == {1: Offer(list_micros=130, unit_micros=None), 2: Offer(list_micros=50, unit_micros=50)}
    alone = [{"model": "pro", "upstreams": [{"upstream": "b", "model": "m-b"}]}]
    course = a_course(a_request(), routes=alone, prices=[plain[0], cost])
    assert dict(course.offers) == {0: Offer(list_micros=130, unit_micros=None)}


def test_a_group_pays_its_own_price_of_what_serves_it() -> None:
    """The lower of two prices is the lower of its own two."""
    own = {"model": "other", "group": "gold", "micros": {"1K": 40}, "source": "t", "valid_from": "2026-01-01"}
    plain = [
        {"model": "pro", "micros": {"1K": 100}, "source": "t", "valid_from": "2026-01-01"},
        {"model": "other", "micros": {"1K": 50}, "source": "t", "valid_from": "2026-01-01"},
    ]
    request = a_request(tariff=Tariff(group="gold"))
    assert dict(a_course(request, prices=[*plain, own]).offers) == {2: Offer(list_micros=50, unit_micros=40)}
    request = a_request(tariff=Tariff(group="other", margin_share=0.2))
    assert dict(a_course(request, prices=[*plain, own]).offers) == {2: Offer(list_micros=50, unit_micros=60)}
