"""Keys and groups, edited: what is changed, what is left alone, and what is wrong with a field told beside it."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

shared = sys.modules["browser_shared"]
open_page = shared.open_page
MICROS = 1_000_000


def key_named(stage: Any, label: str, **fields: Any) -> Any:
    """Make a key."""
    return stage.api("POST", "/admin/v1/keys", json={"label": label, **fields})


def edit(page: Page, stage: Any, label: str) -> Locator:
    """Open the form of a key."""
    open_page(page, stage, "keys")
    page.get_by_role("button", name=f"Edit {label}").click()
    return page.get_by_role("dialog")


def test_a_key_is_edited_whole(stage: Any, any_size: Page, request: pytest.FixtureRequest) -> None:
    """Label, group, scopes, limits, end, TLS: as the form says; the secret stays the same."""
    label = f"the pier {request.node.callspec.id}"
    group = stage.api("POST", "/admin/v1/key-groups", json={"label": f"of {label}"})
    made = key_named(stage, label, spend_micros_per_day=2 * MICROS, models=["gpt-image-2"])
    form = edit(any_size, stage, label)
    form.get_by_label("Label").fill(f"{label}, north")
    form.get_by_label("Group").select_option(f"of {label}")
    form.get_by_label("Models").fill("nano-*, gpt-image-2")
    form.get_by_label("1K").check()
    form.get_by_label("OpenAI").check()
    form.get_by_label("Calls a minute").fill("30")
    form.get_by_label("Spend a day").fill("")
    form.get_by_label("Spend a month").fill("12.5")
    form.get_by_label("Purchases an image").fill("2")
    form.get_by_label("Repeats join").select_option("keyed")
    form.get_by_label("Expires").fill("2099-01-31T12:00")
    form.get_by_label("over TLS only").check()
    form.get_by_role("button", name="Save").click()
    expect(any_size.locator(".notice")).to_contain_text("is changed")
    row = any_size.locator(".key", has_text=f"{label}, north")
    expect(row).to_contain_text("30 a minute, $12.50 a month, 2 purchases an image, TLS only")
    expect(row).to_contain_text("nano-*, gpt-image-2; 1K; openai")
    expect(row).to_contain_text(f"of {label}")
    now = stage.api("GET", f"/admin/v1/keys/{made['id']}")
    assert (now["group_id"], now["spend_micros_per_day"], now["join"]) == (group["id"], None, "keyed")
    assert now["expires_at"].startswith("2099-01-3")
    assert len(now["secrets"]) == 1


def test_what_nobody_touched_is_not_sent(stage: Any, desk: Page) -> None:
    """Somebody else's change between opening and saving stays."""
    made = key_named(stage, "the mole", expires_at="2099-05-05T05:05:05Z", spend_micros_per_day=1234)
    form = edit(desk, stage, "the mole")
    stage.api("PATCH", f"/admin/v1/keys/{made['id']}", json={"concurrency": 7})
    with desk.expect_request("**/admin/v1/keys/key_*") as asked:
        form.get_by_label("Calls a minute").fill("5")
        form.get_by_role("button", name="Save").click()
    assert asked.value.post_data_json == {"rate_per_min": 5}
    expect(desk.locator(".key", has_text="the mole")).to_contain_text("5 a minute, 7 at once")
    now = stage.api("GET", f"/admin/v1/keys/{made['id']}")
    assert (now["expires_at"], now["spend_micros_per_day"]) == ("2099-05-05T05:05:05.000Z", 1234)


def fault_of(form: Locator, name: str) -> Locator:
    """What is said beside a field."""
    field = form.get_by_label(name, exact=True)
    expect(field).to_have_attribute("aria-invalid", "true")
    (told,) = re.findall(r"\S+-fault", field.get_attribute("aria-describedby") or "")
    return form.locator(f"#{told}")


def test_each_error_is_told_beside_its_field(stage: Any, any_size: Page) -> None:
    """What the page sees itself, and what the gateway refuses; nothing that was typed is lost."""
    open_page(any_size, stage, "keys")
    any_size.get_by_role("button", name="New key").click()
    form = any_size.get_by_role("dialog")
    form.get_by_role("button", name="Make it").click()
    expect(fault_of(form, "Label")).to_be_visible()
    expect(form.get_by_label("Label")).to_be_focused()
    form.get_by_label("Label").fill("the wrong one")
    form.get_by_label("Purchases an image").fill("77")
    form.get_by_role("button", name="Make it").click()
    expect(fault_of(form, "Purchases an image")).to_be_visible()
    form.get_by_label("Purchases an image").fill("2")
    form.get_by_label("Models").fill("nano banana$")
    form.get_by_role("button", name="Make it").click()
    expect(fault_of(form, "Models")).to_contain_text("names no model")
    expect(form.get_by_label("Models")).to_be_focused()
    form.get_by_label("Models").fill("nano-*")
    form.get_by_label("Expires").fill("2020-01-01T00:00")
    form.get_by_role("button", name="Make it").click()
    expect(fault_of(form, "Expires")).to_contain_text("is over already")
    expect(form.get_by_label("Models")).not_to_have_attribute("aria-invalid", "true")
    expect(form.get_by_label("Label")).to_have_value("the wrong one")
    form.get_by_label("Expires").fill("")
    form.get_by_role("button", name="Make it").click()
    expect(any_size.locator(".secret")).to_contain_text("hf-")
    # Nobody loses it by a key that closes dialogs.
    any_size.keyboard.press("Escape")
    any_size.keyboard.press("Escape")
    expect(any_size.locator(".secret")).to_be_visible()
    any_size.get_by_role("button", name="I have it").click()
    expect(any_size.locator(".secret")).to_have_count(0)


def test_a_group_is_made_and_edited(stage: Any, any_size: Page, request: pytest.FixtureRequest) -> None:
    """Margin and limits; a label that is taken is told beside it."""
    label = f"resellers {request.node.callspec.id}"
    open_page(any_size, stage, "keys")
    any_size.get_by_role("button", name="New group").click()
    form = any_size.get_by_role("dialog")
    form.get_by_label("Label").fill(label)
    form.get_by_label("Margin, %").fill("12.5")
    form.get_by_role("button", name="Make it").click()
    row = any_size.locator("tbody tr", has_text=label)
    expect(row).to_contain_text("no limit")
    row.get_by_role("button", name="Edit").click()
    form.get_by_label("Margin, %").fill("-5000")
    form.get_by_role("button", name="Save").click()
    expect(fault_of(form, "Margin, %")).to_be_visible()
    form.get_by_label("Margin, %").fill("20")
    form.get_by_label("Spend a month").fill("100")
    form.get_by_role("button", name="Save").click()
    expect(row).to_contain_text("20 %")
    expect(row).to_contain_text("$100.00")
    (now,) = [each for each in stage.api("GET", "/admin/v1/key-groups")["data"] if each["label"] == label]
    assert (now["margin_share"], now["spend_micros_per_month"]) == (0.2, 100 * MICROS)


def test_keys_are_found_and_what_is_over_is_folded(stage: Any, desk: Page) -> None:
    """By label, id or group; revoked ones are out of the way."""
    made = key_named(stage, "a needle")
    gone = key_named(stage, "a needle that is gone")
    stage.api("POST", f"/admin/v1/keys/{gone['id']}/revoke")
    page = open_page(desk, stage, "keys")
    expect(page.locator(".over .key").first).to_be_hidden()
    page.get_by_label("Find a key").fill(made["id"][-8:])
    expect(page.locator(".keys .key")).to_have_count(1)
    page.get_by_label("Find a key").fill("a needle")
    expect(page.locator(".over .key", has_text="a needle that is gone")).to_be_visible()
    page.get_by_label("Find a key").fill("nobody has this")
    expect(page.locator("#main")).to_contain_text("No key fits.")


def test_what_a_key_has_spent_today_stands_beside_its_limit(stage: Any, desk: Page) -> None:
    """As the meter of its day."""
    made = key_named(stage, "the spender", spend_micros_per_day=1 * MICROS)
    stage.ended("paid by the spender", key=made["key"])
    row = open_page(desk, stage, "keys").locator(".key", has_text="the spender")
    expect(row).to_contain_text(re.compile(r"\$0\.\d+ of \$1\.00 today"))
    expect(row.get_by_role("meter")).to_have_attribute("aria-valuenow", re.compile(r"[1-9]"))
