"""Lists of the last hour, day or week begin later with each minute: they stay while they are asked for anew."""

from __future__ import annotations

import asyncio
import re

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.conftest import Open
from tests.browser.driving import go, settled
from tests.browser.serving import Site

pytestmark = pytest.mark.asyncio(loop_scope="session")

LATER = "() => { const now = Date.now; Date.now = () => now() + 61_000; dispatchEvent(new PopStateEvent('popstate')); }"
"""The next minute has come, and the page is drawn again, as with each answer."""


class Holding:
    """Holds back what is asked for with another beginning than at first."""

    def __init__(self) -> None:
        self.first: str | None = None
        self.asked, self.let = asyncio.Event(), asyncio.Event()

    async def __call__(self, route: Route) -> None:
        since = re.findall(r"since=(\d+)", route.request.url)
        self.first = self.first or since[0]
        if since[0] != self.first:
            self.asked.set()
            await self.let.wait()
        await route.continue_()


async def _stays(page: Page, path: str, what: str, row: str) -> None:
    await page.context.route(f"**/api/v1/{what}?*", holding := Holding())
    await go(page, path)
    shown = page.locator("main").locator(row).first
    await expect(shown).to_be_visible()
    await page.evaluate(LATER)
    await holding.asked.wait()
    await expect(shown).to_be_visible()
    await expect(page.locator("main .loading")).to_have_count(0)
    holding.let.set()
    await settled(page)
    await expect(shown).to_be_visible()
    await page.context.unroute(f"**/api/v1/{what}?*")


async def test_lists_stay_when_a_minute_begins(opened: Open, site: Site):
    page = await opened(site, "/store", alone=True)
    await _stays(page, "/failures?span=7d", "failures", ".big-clusters li, .big-clusters a")
    await _stays(page, "/?span=7d", "trees", "tbody tr")
    await _stays(page, "/events?span=7d", "events", "tbody tr")
