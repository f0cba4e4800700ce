"""Promises are settled by a form: by whoever has the link, and by operators on the run's page."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

import pytest
from playwright.async_api import expect

from fanwood import Context, Fanwood
from tests.browser.conftest import Open, Serve

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATIENCE = 60


@dataclass
class Order:
    item: str
    count: int


async def test_a_promise_is_settled_by_a_form(opened: Open, serve: Serve, tmp_path: Path):
    url, tokens = f"sqlite:///{tmp_path}/promises.db", Queue[str]()
    app = Fanwood(url, local_worker=True)

    @app.task
    async def ask(input: dict, ctx: Context) -> list[str]:
        approval = await ctx.aio_promise(bool, "approval")
        tokens.put(approval.token)
        if not await approval:
            return []
        order = await ctx.aio_promise(Order, "what to order")
        tokens.put(order.token)
        wanted = await order
        return [wanted.item] * wanted.count

    site = serve(url)
    try:
        ref = await ask.aio_run_no_wait({})
        token = await asyncio.to_thread(tokens.get, timeout=PATIENCE)
        page = await opened(site, "/promise", token=f"&promise={token}")
        main = page.locator("main")
        await expect(main).to_contain_text("approval")
        await page.get_by_role("button", name="Yes").click()
        await expect(main).to_contain_text("It is settled")
        await asyncio.to_thread(tokens.get, timeout=PATIENCE)
        (order,) = await app.runs.aio_children(ref.id, status="WAITING")
        page = await opened(site, f"/r/{order.id}")
        await page.get_by_label("item").fill("lamp")
        await page.get_by_label("count").fill("two")
        await page.get_by_role("button", name="Settle it").click()
        await expect(page.get_by_role("alert")).to_contain_text("whole number")
        await page.get_by_label("count").fill("2")
        await page.get_by_role("button", name="Settle it").click()
        assert await ref.aio_result(PATIENCE) == ["lamp", "lamp"]
    finally:
        await app.aio_close()
