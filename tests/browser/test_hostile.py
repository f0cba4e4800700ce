"""Text from programs stays text: in every field of a run, a task and a worker, on every page, and nothing is executed.

Whether anything was is seen by `watch`: what the texts call is noted, and what the page's policy had to refuse, and
requests to other hosts.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.async_api import expect

from tests.browser.conftest import Open
from tests.browser.driving import go
from tests.browser.hostile import MARKS, NAMES, PAYLOADS, hostile
from tests.browser.serving import Site, serving
from tests.chaos.scale import scaled

pytestmark = pytest.mark.asyncio(loop_scope="session")

EACH = scaled(1, 8)
"""A page takes a browser a third of a second. All texts stand on the pages of lists, inputs and outputs."""


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, dict[str, Any]]]:
    file = tmp_path_factory.mktemp("hostile") / "fanwood.db"
    made = hostile(file, time.time_ns() // 1000)
    with serving(f"sqlite:///{file}") as site:
        yield site, made


async def test_a_run_is_text(opened: Open, bad: tuple[Site, dict[str, Any]]):
    site, made = bad
    page = await opened(site, "/store")
    assert len(set(made["runs"])) == 40
    for run, mark in list(zip(made["runs"], MARKS, strict=True))[::EACH]:
        await go(page, f"/r/{run}")
        await expect(page.locator("main")).to_contain_text(mark)


MANY_SHOWN = "marks => marks.filter(mark => document.body.innerText.includes(mark)).length > 8"
"""As many as there is room for; parts of a page come after the page."""


@pytest.mark.long
async def test_what_pages_list_is_text(opened: Open, bad: tuple[Site, dict[str, Any]]):
    site, made = bad
    page = await opened(site, "/store")
    for path in (
        "/",
        f"/t/{made['all']}",
        "/failures",
        "/tasks",
        "/tasks/all",
        "/workers",
        "/events",
        f"/r/{made['all']}",
    ):
        await go(page, path)
        await page.wait_for_function(MANY_SHOWN, arg=MARKS)


async def test_outputs_are_text(opened: Open, bad: tuple[Site, dict[str, Any]]):
    site, made = bad
    page = await opened(site, "/store")
    await go(page, f"/r/{made['output']}?part=output")
    await expect(page.locator("main")).to_contain_text(MARKS[-1])
    assert await page.evaluate("({}).polluted") is None


@pytest.mark.long
async def test_budgets_streams_waits_pauses_and_forks_are_text(opened: Open, bad: tuple[Site, dict[str, Any]]):
    site, made = bad
    page = await opened(site, "/store")
    for run in (made["burnt"], made["fork"]):
        for path in (f"/t/{run}", f"/r/{run}", f"/r/{run}?part=metadata"):
            await go(page, path)
            await page.wait_for_function(MANY_SHOWN, arg=MARKS)
    for run in made["promises"][::EACH]:
        await go(page, f"/r/{run}")
        await expect(page.get_by_role("button", name="Settle it")).to_be_visible()


async def test_what_stands_in_an_address_is_text(opened: Open, bad: tuple[Site, dict[str, Any]], watch):
    watch.expect("404")
    site, _ = bad
    page = await opened(site, "/store")
    for number, text in enumerate(PAYLOADS[::EACH]):
        told = await page.evaluate("encodeURIComponent", text)
        paths = (f"/search?q={told}", f"/?task={told}&state={told}", f"/tasks/no {told}")
        await go(page, paths[number % 3])


@pytest.mark.long
async def test_names_of_any_kind_have_a_page(opened: Open, bad: tuple[Site, dict[str, Any]]):
    site, _ = bad
    page = await opened(site, "/tasks")
    for name in NAMES[1:]:  # (the first one leads elsewhere: it is listed, and has no page)
        await go(page, "/tasks")
        await page.get_by_role("link", name=f"Start a run of {name}", exact=True).click()
        await expect(page.locator("h1")).to_contain_text(name.strip() or "Start")
