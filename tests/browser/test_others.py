"""Of whom links and hedges are, and what is left of a tree's budget: on the tree's page, and on a run's."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import expect

from fanwood import Budget, Context, Fanwood, after
from tests.browser.conftest import Open, Serve
from tests.browser.driving import hindrances

pytestmark = pytest.mark.asyncio(loop_scope="session")


def shop(url: str) -> tuple[str, Fanwood]:
    """A tree with a shared run, a hedge, and a budget."""
    app, begun = Fanwood(url, local_worker=True), list[str]()

    @app.task
    async def rate(currency: str) -> float:
        return 1.0

    @app.task
    async def look_up(name: str) -> None:
        begun.append(name)
        if len(begun) == 1:
            await asyncio.Event().wait()

    @app.task
    async def price(currency: str, ctx: Context) -> float:
        await ctx.aio_spend(usd=1)
        return await rate.aio_run(currency, share="tree")

    @app.task
    async def prices(n: int) -> list[float]:
        await look_up.aio_run("ada", hedge=after(0.01))
        return [await price.aio_run("EUR") for _ in range(n)]

    ref = prices.run_no_wait(2, budget=Budget(runs=20, units={"usd": 2}))
    ref.result(60)
    return ref.id, app


@pytest.mark.long
async def test_a_tree_says_of_whom_its_runs_are_and_what_is_left(opened: Open, serve: Serve, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/others.db"
    root, app = await asyncio.to_thread(shop, url)
    runs = await app.runs.aio_children(root)
    first, hedge = [run.id for run in runs if run.task_name == "look_up"]
    caller, shared = (next(run.id for run in runs if run.task_name == task) for task in ("price", "rate"))
    (link,) = await app.runs.aio_children(caller)
    fork = await app.runs.aio_fork(root)
    await fork.aio_result(60)
    await app.aio_close()
    page = await opened(serve(url), f"/t/{root}")
    budget, main = page.get_by_role("region", name="Budget"), page.locator("main")
    await expect(budget.get_by_role("row", name="usd 0 2")).to_be_visible()
    await expect(budget).to_contain_text(f"price {caller[-8:]}")
    await expect(main.get_by_role("row", name=f"hedge of look_up {first[-8:]}")).to_be_visible()
    await expect(main.get_by_role("row", name="rate shared")).to_be_visible()
    assert await hindrances(page) == []
    await main.get_by_role("link", name=f"look_up {first[-8:]}").click()
    await expect(main.locator("code.whole-id")).to_have_text(first)
    for run, said in ((link.id, "shares"), (hedge, "hedge of")):
        page = await opened(serve(url), f"/r/{run}")
        await expect(page.locator(".page-head")).to_contain_text(said)
    await expect(page.get_by_role("complementary")).to_contain_text("0 of 2 left")
    await page.locator(".page-head").get_by_role("link", name="look_up").click()
    await expect(page.locator("main code.whole-id")).to_have_text(first)
    assert shared != link.id
    page = await opened(serve(url), f"/t/{fork.id}")  # in which they are copies
    await expect(page.get_by_role("row").filter(has_text=f"copy of {caller[-8:]}")).to_be_visible()
