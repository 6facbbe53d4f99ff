"""Prices and reconciliation: what is shown, compared, resolved and booked; and images made small."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from playwright.sync_api import Page, expect

shared = sys.modules["browser_shared"]
open_page, answers = shared.open_page, shared.answers
AT = "2026-11-20T10:00:00.000Z"
UNKNOWN = {
    "at": AT,
    "currency": "USD",
    "balance_micros": 134_000,
    "days": [],
    "unknown": [
        {
            "attempt_id": "att_1",
            "generation_id": "gen_1",
            "number": 1,
            "upstream": "google",
            "model": "gemini-3-pro-image",
            "at": AT,
            "estimated_micros": 134_000,
            "failure_kind": "lost_reply",
        }
    ],
}
BOOKED = {
    "attempt_id": "att_1",
    "generation_id": "gen_1",
    "upstream": "google",
    "exposed_micros": 134_000,
    "cost_micros": 120_000,
}


def an_export(*rows: str) -> dict[str, Any]:
    """A provider's file."""
    lines = ["created_at,request_id,model,cost", *rows]
    return {"name": "november.csv", "mimeType": "text/csv", "buffer": "\n".join(lines).encode()}


def test_prices_stand_side_by_side(stage: Any, any_size: Page) -> None:
    """By model and image: list, customers, groups, upstreams, what is left; and what is wrong."""
    stage.api("POST", "/admin/v1/key-groups", json={"label": f"priced {any_size.viewport_size}", "margin_share": 0.25})
    page = open_page(any_size, stage, "prices")
    table = page.locator(".card", has_text="nano-banana-pro").locator("table").first
    for words in ("List", "Customers pay", "Costs at google", "Is left", "4K", "+25 %"):
        expect(table).to_contain_text(words)
    expect(table).to_contain_text(re.compile(r"from 20\d\d-\d\d-\d\d"))
    page.get_by_label("Model").select_option("nano-banana-pro")
    expect(page).to_have_url(re.compile("model=nano-banana-pro"))
    expect(page.locator("#main table")).to_have_count(1)
    page.get_by_label("Prices of the day").fill("2020-01-01")
    page.get_by_label("Prices of the day").dispatch_event("change")
    expect(page.locator("#main")).to_contain_text("has no price that holds on 2020-01-01")


def test_a_providers_export_is_compared(stage: Any, any_size: Page) -> None:
    """Differences are listed and counted; nothing is changed by looking."""
    stage.ended("one that is listed nowhere")
    page = open_page(any_size, stage, "reconcile")
    page.get_by_label("Upstream").select_option("google")
    hostile = '"=cmd|x <img src=x onerror=document.title=1>"'
    now = stage.api("GET", "/admin/v1/exposure")["at"]
    page.get_by_label("File").set_input_files(an_export(f"{now},{hostile},sold-by-nobody,0.25"))
    page.get_by_label("First day").fill(now[:10])
    page.get_by_label("Last day").fill(now[:10])
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("#main .figures")).to_contain_text(re.compile(r"Lines\s*1"))
    expect(page.locator("#main")).to_contain_text("it is listed, and no attempt of ours belongs to it")
    expect(page.locator("#main")).to_contain_text("<img src=x")
    expect(page.locator("#main img")).to_have_count(0)
    page.locator("select[name=kind]").select_option("not_ours")
    expect(page.locator("tbody").first.locator("tr")).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0


def test_what_is_wrong_with_an_export_is_told_beside_it(stage: Any, desk: Page) -> None:
    """No file; a file that says nothing; one day without the other."""
    page = open_page(desk, stage, "reconcile")
    page.get_by_role("button", name="Compare").click()
    expect(page.locator(".fault:visible")).to_have_count(1)
    page.get_by_label("File").set_input_files({"name": "x.csv", "mimeType": "text/csv", "buffer": b"\n"})
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("#main form [role=alert]")).to_contain_text("The export is empty")
    page.get_by_label("File").set_input_files(an_export(f"{AT},r,m,1"))
    page.get_by_label("First day").fill("2026-11-20")
    page.get_by_role("button", name="Compare").click()
    expect(page.locator(".fault:visible")).to_contain_text("both since and until")
    page.get_by_label("File").set_input_files({"name": "x.csv", "mimeType": "text/csv", "buffer": b"x" * (3 << 20)})
    page.get_by_role("button", name="Compare").click()
    expect(page.locator(".fault:visible")).to_contain_text("at most 2.1 MB")


def test_an_unknown_outcome_is_resolved_with_a_reason(stage: Any, any_size: Page) -> None:
    """Asked first, never without a reason; what was booked is told."""
    any_size.route("**/admin/v1/exposure", lambda route: route.fulfill(json=UNKNOWN))
    asked: list[Any] = []
    any_size.route(
        "**/admin/v1/attempts/att_1/resolve",
        lambda route: (asked.append(route.request.post_data_json), route.fulfill(json=BOOKED))[1],
    )
    page = open_page(any_size, stage, "reconcile")
    page.get_by_role("button", name="Resolve attempt 1 of gen_1").click()
    form = page.get_by_role("dialog")
    form.get_by_role("button", name="Book it").click()
    expect(form.locator(".fault:visible")).to_have_count(1)
    form.get_by_label("Charged", exact=True).fill("0.12")
    form.get_by_label("How do you know?").fill(" invoice, line 7 ")
    form.get_by_role("button", name="Book it").click()
    expect(page.locator(".notice")).to_contain_text("$0.134 leave the exposure, $0.12 are cost of google")
    page.get_by_role("button", name="Resolve attempt 1 of gen_1").click()
    form.get_by_label("charged nothing").check()
    form.get_by_label("How do you know?").fill("not on the invoice")
    form.get_by_role("button", name="Book it").click()
    expect(form).to_have_count(0)
    assert asked == [
        {"micros": 120_000, "reason": "invoice, line 7"},
        {"micros": None, "reason": "not on the invoice"},
    ]


def test_what_a_list_makes_known_is_booked_after_a_question(stage: Any, desk: Page) -> None:
    """The same bytes are sent again, with the choice and the reason; then what was booked is shown."""
    row = {"found": "unknown_charged", "attempt_id": "att_1", "generation_id": "gen_1", "ended_at": AT, "line": 2}
    counts = dict.fromkeys(("agrees", "amount_differs", "not_listed", "not_ours", "charged_after_all"), 0)
    report = {
        "upstream": "google",
        "since": AT,
        "until": AT,
        "lines": 1,
        "attempts": 1,
        "counts": {**counts, "unknown_charged": 1, "unknown_free": 0},
        "findings": [{**row, "listed_micros": 120_000, "by_reference": True}],
        "is_whole": True,
    }
    asked: list[tuple[str, bytes | None]] = []

    def reconcile(route: Any) -> None:
        asked.append((route.request.url.partition("?")[2], route.request.post_data_buffer))
        route.fulfill(json=report | {"resolved": 1} if "resolve" in route.request.url else report)

    desk.route("**/admin/v1/reconcile?*", reconcile)
    page = open_page(desk, stage, "reconcile")
    page.get_by_label("File").set_input_files(an_export(f"{AT},r,m,0.12"))
    page.get_by_role("button", name="Compare").click()
    page.get_by_role("button", name="Resolve what was unknown: 1").click()
    form = page.get_by_role("dialog")
    expect(form).to_contain_text("What the list names: 1")
    form.get_by_label("How do you know?").fill("the export of November")
    form.get_by_role("button", name="Book it").click()
    expect(page.locator(".notice")).to_have_text("1 resolved.")
    expect(page.locator("#main")).to_contain_text("What was booked")
    assert asked[1][0].endswith("resolve=named&reason=the+export+of+November")
    assert asked[0][1] == asked[1][1]


def test_a_reason_stands_in_the_log(stage: Any) -> None:
    """Through the real gateway: it is refused for what is not unknown, and the parameter is in the document."""
    document = stage.fetch("/openapi.json").json()
    resolve = document["paths"]["/admin/v1/attempts/{id}/resolve"]["post"]
    assert "reason" in json.dumps(document["components"]["schemas"]["ResolveWish"])
    assert resolve["operationId"] == "resolveExposure"


# Images made small


def test_the_gallery_loads_small_pictures(stage: Any, any_size: Page) -> None:
    """A few KB each; the whole one comes when somebody opens it, and only then."""
    made = stage.ended("one to be looked at")
    whole: list[str] = []
    any_size.on("request", lambda request: whole.append(request.url) if request.url.endswith("/images/0") else None)
    page = open_page(any_size, stage, "gallery")
    picture = page.locator(f"[data-row='{made}'] img")
    expect(picture).to_have_js_property("naturalWidth", 320, timeout=20_000)
    assert whole == []
    page.locator(f"[data-row='{made}']").click()
    shown = page.get_by_role("dialog").locator("img")
    expect(shown).to_have_js_property("naturalWidth", 1024)
    assert [url.split("/")[-3] for url in whole] == [made]
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.locator(f"[data-row='{made}']")).to_be_focused()


def test_without_pillow_the_gallery_draws_what_there_is(stage: Any, any_size: Page) -> None:
    """Shape, size and format; nothing is loaded whole until somebody asks."""
    made = stage.ended("one that stays whole")
    whole: list[str] = []
    any_size.on("request", lambda request: whole.append(request.url) if "/images/" in request.url else None)
    any_size.route("**/console", lambda route: without(route))
    page = open_page(any_size, stage, "gallery")
    tile = page.locator(f"[data-row='{made}']")
    expect(tile.locator(".sketch")).to_contain_text(re.compile(r"\d+ × \d+\s*PNG, [\d.]+ [KM]B"))
    expect(page.locator("#main")).to_contain_text("Small pictures need Pillow")
    assert whole == []
    tile.click()
    expect(page.get_by_role("dialog").locator("img")).to_have_js_property("complete", value=True)
    assert len(whole) == 1


def without(route: Any) -> None:
    """The page of a gateway that makes no thumbnails."""
    answer = route.fetch()
    text = answer.text().replace('name="holdfast-offers" content="thumbnails"', 'name="holdfast-offers" content=""')
    route.fulfill(response=answer, body=text)


def test_a_picture_that_cannot_be_made_small_is_drawn(stage: Any, desk: Page) -> None:
    """It is asked for again a few times, and its place is never empty."""
    made = stage.ended("one that is too much")
    desk.route("**/thumbnail?*", lambda route: route.fulfill(status=503, json={}))
    page = open_page(desk, stage, "gallery")
    expect(page.locator(f"[data-row='{made}'] .sketch")).to_contain_text("PNG")
