"""Axe finds nothing: on each page, light and dark, with something to show and without, and wide and narrow."""

from __future__ import annotations

import pytest
from playwright.async_api import Page

from tests.browser.conftest import Open
from tests.browser.driving import COLOURS, PAGES, go, hindrances, settled
from tests.browser.serving import Site
from tests.chaos.scale import scaled

pytestmark = pytest.mark.asyncio(loop_scope="session")

DARK = scaled(tuple(PAGES), ("tree", "run"))
"""In the dark there are other colours, which all pages share."""
EMPTY = ("trees", "failures", "tasks", "workers", "events", "store", "actions", "search")
COLOURED = scaled(EMPTY, ("trees", "actions"))
"""Pages without anything whose colours are looked at: what says so is the same on all."""


@pytest.mark.long
async def test_nothing_hinders_anybody_on_any_page(opened: Open, site: Site, trees: dict[str, str]):
    page = await opened(site)
    assert await _all(page, {name: path.format(**trees) for name, path in PAGES.items()}) == {}


@pytest.mark.long
async def test_nothing_hinders_anybody_where_there_is_nothing(opened: Open, empty_site: Site):
    """In the dark: what is there is there in the light as well, with something more."""
    page = await opened(empty_site, color_scheme="dark")
    for name in EMPTY:
        await go(page, PAGES[name])
        assert await hindrances(page, but=() if name in COLOURED else COLOURS) == [], name


@pytest.mark.long
async def test_nothing_hinders_anybody_on_a_narrow_screen(opened: Open, site: Site, trees: dict[str, str]):
    page = await opened(site, viewport={"width": 360, "height": 740})
    found = {}
    for name, path in PAGES.items():
        await go(page, path.format(**trees))
        wide = await page.evaluate("document.documentElement.scrollWidth")
        wrong = await hindrances(page, "target-size", "scrollable-region-focusable")
        if wide > 360 or wrong:
            found[name] = (wide, wrong)
    assert found == {}


async def test_what_is_missing_hinders_nobody(opened: Open, site: Site, watch):
    watch.expect("404")
    page = await opened(site, "/r/01a2181e-0987-7259-803c-5eee23980d6c")
    await settled(page)
    assert await hindrances(page) == []


async def _all(page: Page, pages: dict[str, str]) -> dict[str, list[str]]:
    """What is wrong, by page. In the dark only what depends on it is looked at again."""
    wrong = {}
    for name, path in pages.items():
        await page.emulate_media(color_scheme="light")
        await go(page, path)
        found = await hindrances(page)
        if name in DARK:
            await page.emulate_media(color_scheme="dark")
            found += await hindrances(page, *COLOURS)
        if found:
            wrong[name] = found
    return wrong
