"""Every page shows what is in the store, has an address, and is the same when that is opened again."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Open
from tests.browser.driving import PAGES, go, go_to, hindrances, settled
from tests.browser.serving import TOKEN, Site

pytestmark = pytest.mark.asyncio(loop_scope="session")

SHOWN = {
    "trees": ("onboarding", "agent", "fibonacci", "which invoices are late?"),
    "tree": ("ingest", "region", "KeyError", "runs"),
    "run": ("parse", "part-", "not 8", "pipeline.py", "attempt"),
    "failures": ("KeyError", "ValueError", "TimeoutError"),
    "tasks": ("All parts of one region.", "mail", "none"),
    "task": ("bucket", "How many at most.", "Only look."),
    "workers": ("ingest-1", "build-02.example", "mail-1"),
    "events": ("deploy:done", "order:paid", "customer-", "host=web-01", "8100"),
    "event": ("deploy:done", "4.2.0", "masked", "Pushed"),
    "store": ("SQLite", "report"),
    "actions": ("Nothing was done",),
    "search": ("parse", "customer-"),
}
"""What is to be read on each."""


async def test_every_page_shows_what_is_in_the_store(opened: Open, site: Site, trees: dict[str, str]):
    page = await opened(site)
    for name, path in PAGES.items():
        await go(page, path.format(**trees))
        for text in SHOWN[name]:
            await expect(page.locator("main"), name).to_contain_text(text)
        await expect(page).to_have_title(re.compile("Fanwood"))


async def test_every_address_can_be_opened_by_itself(opened: Open, site: Site, trees: dict[str, str]):
    """As a link that somebody was sent: whoever has been here has the token in the browser."""
    page = await opened(site)
    assert TOKEN not in page.url
    for name in ("tree", "run", "failures"):
        await go_to(page, f"http://{site.host}{PAGES[name].format(**trees)}")
        await expect(page.locator("main"), name).to_contain_text(SHOWN[name][0])


async def test_filters_are_in_the_address_and_outlive_a_reload(opened: Open, site: Site, trees: dict[str, str]):
    page = await opened(site)
    await settled(page)
    await page.get_by_role("group", name="State").get_by_role("link", name="failed").click()
    await expect(page.locator("tbody tr")).to_have_count(6)
    assert urlsplit(page.url).query == "state=failed"

    await go_to(page)
    await expect(page.locator("tbody tr")).to_have_count(6)
    await page.get_by_role("link", name="billing").click()
    await expect(page.locator("h1")).to_have_text("billing")
    await page.go_back()
    await expect(page.locator("tbody tr")).to_have_count(6)
    await page.go_forward()
    await expect(page.locator("h1")).to_have_text("billing")


async def test_a_list_goes_on(opened: Open, site: Site):
    page = await opened(site)
    rows = page.locator("tbody tr")
    await expect(rows).to_have_count(50)
    await page.get_by_role("button", name="Older trees").click()
    await expect(rows).to_have_count(100)


async def test_without_a_token_nothing_is_shown_but_how_to_get_in(opened: Open, site: Site, watch):
    watch.expect("401")
    page = await opened(site, token="")
    await expect(page.get_by_role("alert")).to_contain_text("fanwood ui")
    await page.get_by_label("Token").fill(site.at("/"))
    await page.get_by_role("button", name="Open").click()
    await expect(page.locator("main")).to_contain_text("onboarding")


async def test_a_stream_is_read_along_and_who_is_suspended_is_marked(opened: Open, site: Site, trees: dict[str, str]):
    page = await opened(site, f"/t/{trees['assistant']}")
    await expect(page.get_by_role("row").filter(has_text="research")).to_contain_text("suspended")
    await page.get_by_role("row").filter(has_text="answer").get_by_role("link").click()
    stream = page.get_by_role("region", name="What the run gives out")
    await expect(stream).to_contain_text("and a friendly mail will")
    assert re.split(r"\s*attempt 2 starts over\s*", await stream.inner_text())[0] == "Three invoices are"
    await expect(page.get_by_text("chunks")).to_contain_text("45")
    assert await hindrances(page) == []


async def test_what_failed_on_a_path_is_retried_together(opened: Open, site: Site, trees: dict[str, str]):
    page = await opened(site, f"/t/{trees['ingest']}?path=3")
    await page.get_by_label("Filters").get_by_role("button", name="Retry all").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("path ingest / region / ")
    await expect(dialog).to_contain_text("state failed")
    failed = await page.get_by_label("Counts").get_by_role("link").filter(has_text="failed").locator("b").inner_text()
    await expect(dialog).to_contain_text(f"Retry {failed} runs")
