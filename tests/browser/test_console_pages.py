"""Every page, on a desk and on a phone, while generations are being made."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest
from playwright.sync_api import Page, expect

shared = sys.modules["browser_shared"]
open_page = shared.open_page
NAMES = {
    "": "Now",
    "generations": "Generations",
    "gallery": "Gallery",
    "playground": "Playground",
    "latency": "Latency",
    "failures": "Failures",
    "upstreams": "Upstreams",
    "spend": "Spend",
    "usage": "Usage",
    "prices": "Prices",
    "reconcile": "Reconcile",
    "compensation": "Compensation",
    "keys": "Keys",
    "doctor": "Doctor",
    "audit": "Audit",
    "settings": "Settings",
}
# Controls that nobody could name: neither text, nor label, nor a title.
UNNAMED = """() => [...document.querySelectorAll('button, a[href], input, select, textarea')]
    .filter((each) => each.checkVisibility() && !each.textContent.trim() && !each.getAttribute('aria-label')
        && !each.labels?.length && !each.querySelector('img[alt]'))
    .map((each) => each.outerHTML)"""


@pytest.mark.parametrize("name", NAMES)
def test_every_page_shows_itself(stage: Any, any_size: Page, name: str) -> None:
    """It has its heading, no error, named controls, and nothing that is wider than the screen."""
    if name and name not in stage.pages:
        pytest.fail(f"{name} is not served")
    page = open_page(any_size, stage, name)
    expect(page).to_have_title(f"{NAMES[name]}: holdfast")
    expect(page.locator("#main .problem")).to_have_count(0)
    assert page.evaluate(UNNAMED) == []
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    assert len(page.locator("#main").inner_text()) > len(NAMES[name])


def test_the_menu_lists_what_is_served_and_nothing_else(stage: Any, desk: Page) -> None:
    """A page without its endpoints is not offered."""
    open_page(desk, stage)
    listed = desk.locator("nav a").evaluate_all("links => links.map((each) => each.dataset.page)")
    assert listed == [name or "now" for name in NAMES if (name or "now") in stage.pages]
    open_page(desk, stage, "nowhere")
    expect(desk.locator("#main h1")).to_have_text("There is no such page")


def test_a_generation_appears_moves_and_ends_by_itself(stage: Any, any_size: Page) -> None:
    """Nothing is reloaded: what is asked for elsewhere is seen here, with how far it is."""
    page = open_page(any_size, stage)
    made = stage.api("POST", "/v1/generations", json={"prompt": "a buoy [sim delay=3]", "size": "2K"})
    row = page.locator(f"[data-row='{made['id']}']")
    expect(row.locator(".state")).to_have_text("running")
    expect(row.get_by_role("progressbar")).to_be_visible()
    expect(row).to_contain_text("usually")
    expect(row.locator(".state")).to_have_text("succeeded")
    expect(row).to_contain_text("never collected")


def test_figures_and_charts_of_the_day(stage: Any, desk: Page) -> None:
    """What ended is counted, and drawn by hour."""
    page = open_page(desk, stage)
    expect(page.locator(".figures")).to_contain_text("In flight")
    expect(page.locator(".figures")).to_contain_text(re.compile(r"Charged, 24 h\s*\$"))
    expect(page.locator(".chart canvas")).to_have_count(1)
    expect(page.locator("#link")).to_have_text("Live")
    expect(page.locator("#main")).to_contain_text("google")


def test_the_story_of_a_generation(stage: Any, any_size: Page) -> None:
    """In line, attempts, stored, sent, collected: over one axis of time, and in words."""
    made = stage.ended("a jetty")
    page = open_page(any_size, stage, f"generations/{made}")
    expect(page.locator(".prompt")).to_contain_text("a jetty")
    lanes = page.locator(".lanes")
    for words in ("In line", "1. google", "Stored", "Collected", "never"):
        expect(lanes).to_contain_text(words)
    assert lanes.locator(".piece").count() >= 2
    expect(page.locator("#main")).to_contain_text("capture")
    expect(page.locator(".shot img")).to_have_js_property("naturalWidth", 320, timeout=20_000)
    # Who looks at it here has not collected it.
    assert stage.api("GET", f"/admin/v1/generations/{made}")["generation"]["collected_at"] is None


def test_a_generation_is_cancelled_from_its_story(stage: Any, desk: Page) -> None:
    """Nothing more is bought for it, and the log of changes knows who did it."""
    made = stage.api("POST", "/v1/generations", json={"prompt": "a wreck [sim delay=20]", "size": "1K"})["id"]
    page = open_page(desk, stage, f"generations/{made}")
    page.get_by_role("button", name="Cancel it").click()
    expect(page.locator("#main")).to_contain_text("cancelling")
    open_page(page, stage, f"audit?target={made}")
    expect(page.locator("#main tbody")).to_contain_text("generation.cancelled")


def test_filters_are_an_address(stage: Any, desk: Page) -> None:
    """What is chosen stands in the address, which can be sent to somebody."""
    stage.ended("a refused one [sim fault=refused_output]", status="failed")
    page = open_page(desk, stage, "generations")
    page.get_by_label("Status").select_option("failed")
    expect(page).to_have_url(re.compile(r"status=failed"))
    # The address changes before the list does.
    expect(page.locator(".gen .state").filter(has_not_text="failed")).to_have_count(0)
    expect(page.locator(".gen").first).to_be_visible()


def test_the_gallery_knows_what_was_never_collected(stage: Any, any_size: Page) -> None:
    """An image that its caller fetched leaves the list of those that nobody has."""
    taken, left = stage.ended("a taken one"), stage.ended("a left one")
    (image,) = stage.api("GET", f"/v1/generations/{taken}")["images"]
    stage.collected(taken, image["url"])
    page = open_page(any_size, stage, "gallery?collected=false")
    expect(page.locator(f"[data-row='{left}']")).to_have_count(1)
    expect(page.locator(f"[data-row='{taken}']")).to_have_count(0)
    open_page(page, stage, "gallery?collected=true")
    page.reload()
    expect(page.locator(f"[data-row='{taken}']").first).to_be_visible()


def test_a_prompt_is_tried(stage: Any, any_size: Page) -> None:
    """Time and price are said before, progress while, and the image is shown at the end."""
    page = open_page(any_size, stage, "playground")
    expect(page.locator("#main form")).to_contain_text(re.compile(r"Usually \d.*95 of 100 within"))
    expect(page.locator("#main form")).to_contain_text(re.compile(r"Costs \$0\.\d"))
    page.get_by_label("Reference images").set_input_files(
        {"name": "one.png", "mimeType": "image/png", "buffer": stage.picture}
    )
    expect(page.get_by_role("button", name="Take one.png away")).to_be_visible()
    page.get_by_label("Prompt").fill("the same lighthouse at night [sim delay=2]")
    page.get_by_role("button", name="Make it").click()
    expect(page.locator(".result").first.get_by_role("progressbar")).to_be_visible()
    picture = page.locator(".result img").first
    expect(picture).to_have_js_property("complete", value=True)
    assert picture.evaluate("image => image.naturalWidth") > 0


def test_latency_is_drawn_by_model_and_size(stage: Any, any_size: Page) -> None:
    """Percentiles over time, and the figures that estimates are made from."""
    stage.ended("one that is measured")
    page = open_page(any_size, stage, "latency")
    expect(page.locator("table").last).to_contain_text("in use")
    expect(page.locator(".chart canvas").first).to_be_visible()
    page.get_by_label("Size").select_option("4K")
    expect(page).to_have_url(re.compile("size=4K"))


def test_failures_by_kind_and_time(stage: Any, any_size: Page) -> None:
    """What callers were told, and what upstreams did."""
    stage.ended("another refused one [sim fault=refused_output]", status="failed")
    page = open_page(any_size, stage, "failures")
    expect(page.locator(".heat").first).to_contain_text("refused output")
    expect(page.locator(".heat").last).to_contain_text("google refused output")
    page.get_by_text("14 days").click()
    expect(page).to_have_url(re.compile("by=day"))


def test_keys_of_upstreams_are_known_by_their_place(stage: Any, desk: Page) -> None:
    """Health of each, and no letter of the credential."""
    page = open_page(desk, stage, "upstreams")
    expect(page.locator("#main")).to_contain_text("No. 1")
    assert shared.processes.UPSTREAM_KEY not in page.content()
    open_page(page, stage, "settings")
    assert shared.processes.UPSTREAM_KEY not in page.content()


def test_settings_are_found_by_word(stage: Any, desk: Page) -> None:
    """And those that were changed are marked."""
    page = open_page(desk, stage, "settings")
    page.get_by_label("Find a setting").fill("first_beat")
    expect(page.locator("tbody tr").first).to_contain_text("heartbeat.")
    expect(page.locator("tbody")).to_contain_text("set")
    page.get_by_label("Find a setting").fill("nothing has this name")
    expect(page.locator("#main")).to_contain_text("No setting has that")


def test_the_path_is_examined_from_the_browser(stage: Any, any_size: Page) -> None:
    """Beats arrive one by one, and silence passes."""
    page = open_page(any_size, stage, "doctor")
    page.get_by_role("button", name="Examine the path").click()
    table = page.locator("#main table")
    expect(table).to_contain_text("They arrive as they are sent.", timeout=15_000)
    expect(table).to_contain_text("No idle timer on the way is shorter.", timeout=15_000)


def test_usage_is_broken_down_and_saved(stage: Any, any_size: Page) -> None:
    """By day it is drawn, by outcome it is a table, and the file is the gateway's own."""
    stage.ended("one that is used")
    page = open_page(any_size, stage, "usage")
    expect(page.locator(".chart canvas")).to_be_visible()
    page.locator("select[name=by]").select_option("outcome")
    expect(page.locator("tbody")).to_contain_text("succeeded")
    with page.expect_download() as download:
        page.get_by_role("link", name="Save as CSV").click()
    assert "generations" in download.value.path().read_text("utf-8")


def test_other_rules_are_tried_on_what_has_happened(stage: Any, any_size: Page) -> None:
    """They begin as they are in force; nothing is changed by trying."""
    stage.ended("one that was paid for")
    page = open_page(any_size, stage, "compensation")
    page.get_by_label("Slower than, s").last.fill("1")
    page.get_by_role("button", name="See what it gives back").click()
    expect(page.locator("#main .figures")).to_contain_text("Would give back")
