"""What others wrote is letters: prompts, labels, an upstream's words and everything else that a page may show."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from holdfast.wire import admin
from holdfast.wire.keys import GroupList, KeyList
from holdfast.wire.latency import LatencyReport
from holdfast.wire.prices import PriceReport
from holdfast.wire.usage import UsageReport

shared = sys.modules["browser_shared"]
open_page, answers = shared.open_page, shared.answers
PAGES = ("", "generations", "gallery", "latency", "failures", "upstreams", "spend", "audit", "settings", "playground")
MORE_PAGES = ("usage", "prices", "reconcile", "keys", "generations/gen_1")
TYPES = {
    "session": admin.AdminSession,
    "overview": admin.Overview,
    "generations": admin.AdminGenerationList,
    "latency": admin.AdminLatency,
    "failures": admin.FailureReport,
    "upstreams": admin.AdminUpstreams,
    "exposure": admin.ExposureReport,
    "audit": admin.AuditList,
    "settings": admin.AdminSettings,
    "usage": UsageReport,
    "keys": KeyList,
    "key-groups": GroupList,
    "prices": PriceReport,
}


def answer(route: Route) -> None:
    """Answer in place of the gateway, as badly as the types allow."""
    path = route.request.url.split("/v1/", 1)[1].partition("?")[0]
    if path == "events" or "/images/" in path:
        route.abort()
    elif path.startswith("generations/"):
        route.fulfill(json=answers.worst(admin.AdminStory))
    else:
        route.fulfill(json=answers.worst(TYPES[path]))


@pytest.mark.parametrize("name", [*PAGES, *MORE_PAGES])
def test_nothing_that_is_shown_runs(stage: Any, slim: Page, name: str) -> None:
    """Every free text of every type is markup: it is shown as it stands, and the page stays as it is."""
    slim.route("**/admin/v1/**", answer)
    slim.route(re.compile(r":\d+/v1/models"), lambda route: route.fulfill(json={"data": [{"id": answers.HOSTILE}]}))
    slim.route(re.compile(r":\d+/v1/latency"), lambda route: route.fulfill(json=answers.worst(LatencyReport)))
    page = open_page(slim, stage, name)
    expect(page.locator("#main .problem[role=alert]")).to_have_count(0)
    assert "document.title" in page.locator("body").inner_text()
    assert page.locator("#main script, #main svg, #main [onerror], #main [onload], #main [style*=url]").count() == 0
    assert page.title() != shared.TAKEN
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    # A letter that turns the direction of what follows is shown as a mark.
    assert "\u202e" not in page.locator("body").inner_text()


def test_a_hostile_prompt_and_an_upstreams_words_are_letters(stage: Any, desk: Page) -> None:
    """The whole way, through a real gateway: asked for, refused by an upstream, looked at."""
    hostile = answers.HOSTILE
    made = stage.ended(f"{hostile} [sim fault=refused_output]", status="failed", metadata={"<b>": hostile})
    page = open_page(desk, stage, f"generations/{made}")
    expect(page.locator(".prompt")).to_contain_text("<img src=x onerror=")
    expect(page.locator("#main script, #main svg")).to_have_count(0)
    assert page.title() != shared.TAKEN


def test_a_hostile_label_is_letters(stage: Any, desk: Page) -> None:
    """Of a key, in the list of keys and in every list of generations."""
    if "keys" not in stage.pages:
        pytest.fail("keys are not served")
    label = "<img src=x onerror=document.title='taken'>"
    key = stage.api("POST", "/admin/v1/keys", json={"label": label})["key"]
    stage.ended("by the hostile key", key=key)
    for name in ("keys", "generations", "", "audit"):
        page = open_page(desk, stage, name)
        expect(page.locator("#main")).to_contain_text("<img src=x")
        expect(page.locator("#main img[src=x]")).to_have_count(0)
        assert page.title() != shared.TAKEN


def test_an_address_is_no_way_in(stage: Any, desk: Page) -> None:
    """What stands behind the # is a name that is looked up, and text."""
    page = open_page(desk, stage, "generations/%3Cscript%3Edocument.title='taken'%3C%2Fscript%3E")
    expect(page.get_by_role("alert")).to_be_visible()
    assert page.title() != shared.TAKEN
    open_page(page, stage, "../../v1/models")
    expect(page.locator("#main h1")).to_have_text("There is no such page")
    open_page(page, stage, "generations?status=<svg/onload=document.title='taken'>")
    assert page.title() != shared.TAKEN


def test_the_policy_refuses_what_a_hole_would_let_in(stage: Any, desk: Page) -> None:
    """Were markup ever parsed: neither inline scripts nor handlers run, and nothing is asked elsewhere."""
    page = open_page(desk, stage)
    refused = page.evaluate(
        """() => { try { document.body.insertAdjacentHTML('beforeend', '<p>x</p>'); return false; }
                   catch (error) { return error instanceof TypeError; } }"""
    )
    assert refused, "trusted types are not enforced"
    # That it was refused is logged as an error, which is what this test is about.
    assert all("TrustedHTML" in each for each in stage.complaints)
    stage.complaints.clear()


def test_no_other_page_may_frame_it(stage: Any) -> None:
    """And neither its page nor its files are taken for anything but what they are."""
    answer = stage.head("/console")
    assert "frame-ancestors 'none'" in answer["content-security-policy"]
    assert answer["x-content-type-options"] == "nosniff"
