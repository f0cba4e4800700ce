"""What changes in the store changes on the page, without a reload."""

from __future__ import annotations

import asyncio
import threading

import pytest
from playwright.async_api import expect

from fanwood import Fanwood
from tests.browser.conftest import Open, Serve

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_tree_grows_while_it_is_looked_at(opened: Open, serve: Serve, app: Fanwood, url: str):
    rest = threading.Event()

    @app.task
    async def leaf(n: int) -> int:
        await asyncio.to_thread(rest.wait, 150)
        return n

    @app.task
    async def grow(n: int) -> int:
        return sum(await leaf.aio_run_many([leaf.create_bulk_run_item(i) for i in range(n)]))

    ref = await grow.aio_run_no_wait(25)
    site = serve(url)
    page = await opened(site, f"/t/{ref.id}")
    progress = page.get_by_role("region", name="Counts")
    await expect(progress).to_contain_text("26 running")
    rest.set()
    await expect(progress).to_contain_text("26 done")
    await expect(page.locator("h1 + .state")).to_contain_text("done")


@pytest.mark.long
async def test_the_list_of_trees_and_a_run_follow_as_well(opened: Open, serve: Serve, app: Fanwood, url: str):
    go_on = threading.Event()

    @app.task
    def hold(n: int) -> int:
        go_on.wait(150)
        return n

    first = await hold.aio_run_no_wait(1)
    site = serve(url)
    trees, run = await opened(site), await opened(site, f"/r/{first.id}")
    await expect(trees.locator("tbody tr")).to_have_count(1)
    await expect(run.locator("h1 + .state")).to_contain_text("running")
    await hold.aio_run_no_wait(2)
    await expect(trees.locator("tbody tr")).to_have_count(2)
    go_on.set()
    await expect(run.locator("h1 + .state")).to_contain_text("done")
    await expect(trees.locator("tbody")).not_to_contain_text("running")
