"""Files and answers that are lost on their way, as when a network changes: they are fetched again, with an end."""

from __future__ import annotations

import pytest
from playwright.async_api import BrowserContext, Page, Route, expect

from tests.browser.conftest import Open
from tests.browser.driving import go_to
from tests.browser.serving import Site
from tests.browser.watch import Watch

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.long]

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
    page = await opened(site, "/store", alone=True)
    await expect(page.locator("#main")).to_be_visible()
    losing = await _lose(page.context, pattern, times)
    await page.goto("about:blank")
    await go_to(page, site.at(path))
    return page, losing


async def test_a_file_that_is_lost_is_fetched_again(opened: Open, site: Site, expected: None):
    page = await opened(site, "/store", alone=True)
    await expect(page.locator("#main")).to_be_visible()
    for pattern in FILES:
        losing = await _lose(page.context, pattern, 1)
        await page.goto("about:blank")
        await go_to(page, site.at("/"))
        await expect(page.locator("#main h1")).to_be_visible()
        await expect(page.locator("main[aria-busy=true]")).to_have_count(0)
        assert losing.lost == 1, pattern
        await page.context.unroute(pattern, losing)


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


async def test_a_page_that_is_asked_for_again_and_again_says_when_it_is_not_answered(
    opened: Open, site: Site, expected: None
):
    page = await opened(site, "/actions", alone=True)
    fresh = page.locator(".freshness")
    await expect(fresh).to_contain_text("every 2 s")
    losing = await _lose(page.context, "**/api/v1/actions*", 1_000)
    await expect(fresh).to_contain_text("reconnecting")
    losing.times = losing.lost
    await expect(fresh).to_contain_text("every 2 s")


@pytest.mark.parametrize("tree", ["ingest", None])
async def test_whose_token_counts_no_more_is_asked_for_another(
    opened: Open, site: Site, trees: dict[str, str], watch: Watch, tree: str | None
):
    """What was shown goes, too, and nobody is left before a page that stands still."""
    watch.expect("401")
    page = await opened(site, "/store", alone=True)
    over = False

    async def answer(route: Route) -> None:
        nonlocal over
        if "/live" in route.request.url:
            await expect(page.locator("h1 + .state, .deeds, .empty")).not_to_have_count(0)
            over = True
        if over:
            await route.fulfill(status=401, content_type="application/problem+json", body='{"code": "no_token"}')
        else:
            await route.continue_()

    await page.context.route("**/api/v1/**", answer)
    await page.goto(site.at(f"/t/{trees[tree]}" if tree else "/actions"))
    if tree is None:
        await expect(page.locator(".freshness")).to_contain_text("every 2 s")
        over = True
    await expect(page.get_by_label("Token")).to_be_visible()
    await expect(page.locator("h1 + .state")).to_have_count(0)
    await page.context.unroute_all(behavior="ignoreErrors")
    await page.get_by_label("Token").fill(site.at("/"))
    await page.get_by_role("button", name="Open").click()
    await expect(page.locator("h1")).to_have_text(tree or "Actions")
