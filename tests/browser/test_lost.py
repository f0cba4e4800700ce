"""Files and answers that are lost on their way, as when a network changes: they are fetched again, with an end."""

from __future__ import annotations

import pytest
from playwright.async_api import BrowserContext, Page, Route, expect

from tests.browser.conftest import Open
from tests.browser.driving import go_to
from tests.browser.serving import Site
from tests.browser.watch import Watch

pytestmark = pytest.mark.asyncio(loop_scope="session")

FILES = ["**/main.js", "**/core/session.js", "**/vendor/preact.js", "**/styles/base.css"]


class Losing:
    """Loses the first so many of what is asked for."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.lost = 0

    async def __call__(self, route: Route) -> None:
        if self.lost == self.times:
            await route.continue_()
        else:
            self.lost += 1
            await route.abort("internetdisconnected")


async def _lose(context: BrowserContext, pattern: str, times: int) -> Losing:
    losing = Losing(times)
    await context.route(pattern, losing)
    return losing


@pytest.fixture
def expected(watch: Watch) -> None:
    watch.expect("net::ERR_INTERNET_DISCONNECTED")


async def _fresh(opened: Open, site: Site, pattern: str, times: int, path: str = "/") -> tuple[Page, Losing]:
    page = await opened(site, "/store")
    await expect(page.locator("#main")).to_be_visible()
    losing = await _lose(page.context, pattern, times)
    await page.goto("about:blank")
    await go_to(page, site.at(path))
    return page, losing


@pytest.mark.parametrize("pattern", FILES)
async def test_a_file_that_is_lost_is_fetched_again(opened: Open, site: Site, pattern: str, expected: None):
    page, losing = await _fresh(opened, site, pattern, 1)
    await expect(page.locator("#main h1")).to_be_visible()
    await expect(page.locator("main[aria-busy=true]")).to_have_count(0)
    assert losing.lost == 1


async def test_a_page_that_is_never_whole_says_so(opened: Open, site: Site, expected: None):
    page, losing = await _fresh(opened, site, "**/main.js", 1_000)
    await expect(page.get_by_role("alert")).to_contain_text("could not be fetched whole")
    await expect(page.locator("main[aria-busy=true]")).to_have_count(0)
    assert losing.lost == 4
    losing.times = 0
    await page.unroute_all()
    await page.context.unroute_all()
    await go_to(page)
    await expect(page.locator("#main h1")).to_be_visible()


async def test_a_part_and_an_answer_that_are_lost_are_fetched_again(opened: Open, site: Site, expected: None):
    page, part = await _fresh(opened, site, "**/pages/workers.js", 1, "/tasks")
    answer = await _lose(page.context, "**/api/v1/workers*", 1)
    await page.get_by_role("link", name="Workers").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Workers")
    await expect(page.locator("main[aria-busy=true], .loading, .row-loading")).to_have_count(0)
    await expect(page.get_by_role("alert")).to_have_count(0)
    assert (part.lost, answer.lost) == (1, 1)
