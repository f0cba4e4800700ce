"""The five questions are answered without a mouse: what runs, what failed and why, what is slow, how long it still
takes, what it cost and what went in."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser.conftest import Open
from tests.browser.driving import settled
from tests.browser.serving import Site

pytestmark = pytest.mark.asyncio(loop_scope="session")

FAR = 60


async def tab_to(page: Page, wanted: Locator) -> None:
    """Press Tab until this has the focus."""
    await wanted.wait_for()
    for _ in range(FAR):
        await page.keyboard.press("Tab")
        if await wanted.evaluate("(element) => element === document.activeElement"):
            return
    raise AssertionError(f"no {wanted} within {FAR} steps")


async def test_the_five_questions(opened: Open, site: Site):
    page = await opened(site)
    press = page.keyboard.press
    await settled(page)
    while "/t/" not in await page.evaluate("document.activeElement.href ?? ''") or "ingest" not in await page.evaluate(
        "document.activeElement.textContent"
    ):
        await press("j")
    await press("o")
    await expect(page.locator("h1")).to_have_text("ingest")
    await settled(page)

    counts = page.get_by_role("region", name="Counts")
    await expect(counts).to_contain_text("running")
    await expect(page.locator("main")).to_contain_text("busy")

    for _ in range(8):  # what failed, and why
        await press("e")
        await settled(page)
        if "Error" in await page.evaluate("document.activeElement.textContent"):
            break
    await press("Enter")
    await expect(page.locator("h1 + .state")).to_contain_text("failed")
    await expect(page.locator("main")).to_contain_text("pipeline.py")
    await expect(page.get_by_role("region", name="Payloads")).to_contain_text("part-")  # what went in

    await press("r")  # back to its tree: what is slow
    await expect(page.locator("h1")).to_have_text("ingest")
    await tab_to(page, page.get_by_role("link", name="Slowest"))
    await press("Enter")
    await expect(page.get_by_role("region", name="The slowest runs")).to_contain_text("parse")
    await tab_to(page, page.get_by_role("link", name="Critical path"))
    await press("Enter")
    await expect(page.get_by_role("region", name="Critical path")).to_contain_text("ingest")

    await tab_to(page, page.locator("canvas").first)  # when, and which: a picture is read with the arrows
    await press("Home")
    await expect(page.locator("canvas").first).to_have_attribute("aria-valuetext", re.compile(r"\d+ done"))
    await press("v")
    await expect(page.locator("canvas")).to_have_count(0)
    await expect(page.get_by_role("table").first).to_be_visible()


QUICKLY = """async () => {
  for (const key of "jjo") {
    document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    await Promise.resolve();
  }
}"""


@pytest.mark.long
async def test_keys_that_come_before_the_next_frame(opened: Open, site: Site):
    """Each does what it says of the row where the one before it led."""
    page = await opened(site)
    await settled(page)
    second = await page.locator("table.roots tbody a.task").nth(1).get_attribute("href")
    await page.evaluate(QUICKLY)
    await expect(page).to_have_url(re.compile(re.escape(second or "?") + "$"))


@pytest.mark.long
async def test_pages_and_search_are_reached_from_anywhere(opened: Open, site: Site, trees: dict[str, str]):
    page = await opened(site)
    await settled(page)
    press = page.keyboard.press
    for key, title in (
        ("f", "Failures"),
        ("k", "Tasks"),
        ("w", "Workers"),
        ("s", "Store"),
        ("t", "Trees"),
    ):
        await press("g")
        await press(key)
        await expect(page.locator("h1")).to_have_text(title)

    await settled(page)
    await press("/")
    await expect(page.get_by_role("dialog")).to_be_visible()
    await page.keyboard.type(trees["failed"][-8:])
    await expect(page.get_by_role("dialog").get_by_role("option").first).to_contain_text("parse")
    await press("Enter")
    await expect(page.locator("h1")).to_have_text("parse")
    await settled(page)
    before = page.url
    await press("]")
    await expect(page).not_to_have_url(before)
    await settled(page)
    await press("p")
    await expect(page.locator("h1")).to_have_text("region")

    await press("?")
    await expect(page.get_by_role("dialog")).to_contain_text("Search")
    await press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)


async def test_the_first_tab_leads_past_the_navigation(opened: Open, site: Site):
    page = await opened(site)
    await settled(page)
    await page.evaluate("document.activeElement.blur()")
    await tab_to(page, page.get_by_role("link", name="Skip to the page"))
    await page.keyboard.press("Enter")
    await expect(page.locator("main")).to_be_focused()


@pytest.mark.long
async def test_who_types_on_at_once_types_into_the_search(opened: Open, site: Site, trees: dict[str, str]):
    """And not into the page behind it, where letters do things."""
    page = await opened(site, f"/t/{trees['ingest']}")
    await settled(page)
    for text in ("/", "eKeyErr"):
        await page.keyboard.type(text)
    await expect(page.get_by_role("combobox")).to_have_value("eKeyErr")
