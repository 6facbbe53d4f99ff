"""Signing in and out, keys, the keyboard, light and dark: what people do."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest
from playwright.sync_api import Page, expect

shared = sys.modules["browser_shared"]
open_page, sign_in = shared.open_page, shared.sign_in


def needs(stage: Any, name: str) -> None:
    """Pass over a test of a page that this gateway has no endpoints for."""
    if name not in stage.pages:
        pytest.fail(f"{name} is not served")


@pytest.mark.parametrize(
    ("key", "said"),
    [("hf-wrong-key", "key"), ("два слова", "That is not a key"), ("<b>hf</b>", "key")],
    ids=["wrong", "no-key", "markup"],
)
def test_a_wrong_key_is_told(stage: Any, key: str, said: str) -> None:
    """In words, on the same page; the key stays in no address and no storage."""
    with stage.context(signed_in=False) as context:
        page = context.new_page()
        page.goto(stage.url)
        sign_in(page, key)
        expect(page.get_by_role("alert")).to_contain_text(said)
        assert key not in page.url
        assert page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])").find(key) == -1


def test_the_cookie_is_out_of_the_reach_of_scripts(stage: Any) -> None:
    """HttpOnly, this site only; nothing of the key is in the page."""
    (cookie,) = stage.session["cookies"]
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    assert stage.gateway.key not in cookie["value"]


def test_a_session_outlives_a_reload_and_ends_when_one_leaves(stage: Any) -> None:
    """Signing out ends it at the gateway: the cookie is worth nothing afterwards."""
    with stage.context(signed_in=False) as context:
        page = context.new_page()
        page.goto(stage.url)
        sign_in(page, stage.gateway.key)
        expect(page.locator("#main h1")).to_have_text("Now")
        kept = context.storage_state()
        page.reload()
        expect(page.locator("#main h1")).to_have_text("Now")
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("Admin key")).to_be_visible()
    with stage.context(signed_in=False, storage_state=kept) as again:
        page = again.new_page()
        page.goto(stage.url)
        expect(page.get_by_label("Admin key")).to_be_visible()


def test_a_key_is_made_shown_once_rotated_and_revoked(stage: Any, any_size: Page) -> None:
    """It works as soon as it is shown, is not shown again, and is refused once it is revoked."""
    needs(stage, "keys")
    page = open_page(any_size, stage, "keys")
    page.get_by_role("button", name="New key").click()
    page.get_by_label("Label").fill("the quay")
    page.get_by_label("Spend a day").fill("2.50")
    page.get_by_role("button", name="Make it").click()
    key = page.locator(".secret").inner_text()
    assert stage.api("GET", "/v1/models", key=key)["data"]
    page.get_by_role("button", name="I have it").click()
    row = page.locator(".key", has_text="the quay").filter(has_text="valid").last
    expect(row).to_contain_text("$2.50 a day")
    assert key not in page.content()
    row.get_by_role("button", name="Rotate").click()
    page.get_by_role("dialog").get_by_role("button", name="Rotate").click()
    second = page.locator(".secret").inner_text()
    assert second != key
    page.get_by_role("button", name="I have it").click()
    row.get_by_role("button", name="Revoke").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(page.locator(".notice")).to_have_text("the quay is revoked.")
    page.get_by_text("Revoked or expired").click()
    expect(page.locator(".key", has_text="the quay").last).to_contain_text("revoked")
    assert stage.status("GET", "/v1/models", key=second) == 401


def test_a_session_of_a_revoked_key_ends_at_once(stage: Any) -> None:
    """Whoever is signed in with it is shown the door, with the reason."""
    needs(stage, "keys")
    key = stage.api("POST", "/admin/v1/keys", json={"label": "leaver", "is_admin": True})
    with stage.context(signed_in=False) as context:
        page = context.new_page()
        page.goto(stage.url)
        sign_in(page, key["key"])
        expect(page.locator("#main h1")).to_have_text("Now")
        stage.api("POST", f"/admin/v1/keys/{key['id']}/revoke")
        page.get_by_role("link", name="Generations").click()
        expect(page.get_by_role("alert")).to_contain_text("Your session has ended")
        expect(page.locator("#main")).to_be_empty()


def test_the_keyboard_leads_everywhere(stage: Any, desk: Page) -> None:
    """A chord opens a page, j and k walk along rows, a question mark tells; a field keeps its letters."""
    stage.ended("for the rows")
    page = open_page(desk, stage)
    page.keyboard.press("g")
    page.keyboard.press("g")
    expect(page.locator("#main h1")).to_have_text("Generations")
    page.locator(".gen").first.wait_for()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"#/generations/gen_"))
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("Next row")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    open_page(page, stage, "playground")
    page.get_by_label("Prompt").press_sequentially("gl?")
    expect(page.get_by_label("Prompt")).to_have_value("gl?")


def test_the_first_thing_that_tab_reaches_skips_to_the_content(stage: Any, desk: Page) -> None:
    """Nobody has to walk through the menu on every page."""
    page = open_page(desk, stage)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_follow_the_system_until_somebody_chooses(stage: Any, scheme: str) -> None:
    """And the choice outlives a reload."""
    with stage.context(color_scheme=scheme) as context:
        page = open_page(context.new_page(), stage)
        assert is_dark(page) == (scheme == "dark")
        page.get_by_role("button", name="Theme").click()
        expect(page.get_by_role("button", name="Dark", exact=True)).to_be_visible()
        assert is_dark(page)
        page.get_by_role("button", name="Dark", exact=True).click()
        assert not is_dark(page)
        page.reload()
        expect(page.get_by_role("button", name="Light", exact=True)).to_be_visible()
        assert not is_dark(page)


def is_dark(page: Page) -> bool:
    """Whether the ground is darker than what stands on it."""
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(map(int, re.findall(r"\d+", colour)[:3])) < 380


def test_the_menu_of_a_phone_unfolds_and_folds(stage: Any) -> None:
    """It is out of the way until it is asked for, and after a choice."""
    with stage.context("phone") as context:
        page = open_page(context.new_page(), stage)
        expect(page.locator("nav")).to_be_hidden()
        page.get_by_role("button", name="Menu").click()
        page.locator("nav").get_by_role("link", name="Upstreams").click()
        expect(page.locator("#main h1")).to_have_text("Upstreams")
        expect(page.locator("nav")).to_be_hidden()


def test_a_cut_stream_is_taken_up_again(stage: Any, desk: Page) -> None:
    """Without a network the page says so, and goes on by itself when there is one."""
    page = open_page(desk, stage)
    expect(page.locator("#link")).to_have_text("Live")
    page.route("**/admin/v1/events", lambda route: route.abort())
    page.evaluate(
        "import(document.querySelector('script[type=module]').src.replace('app.js', 'live.js'))"
        ".then(({ live }) => { live.stop(); live.start(); })"
    )
    expect(page.locator("#link")).to_contain_text("Connection lost")
    page.unroute("**/admin/v1/events")
    expect(page.locator("#link")).to_have_text("Live")
