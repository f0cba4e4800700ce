"""What is left of a budget, who has spent it, and how often a run has started over: by command and API."""

from __future__ import annotations

import asyncio
import json

from fanwood import Budget, Context, Fanwood, Settings, SystemClock
from fanwood.ids import id_bytes
from fanwood.lens import pages
from fanwood.lens.views import LimitView, RunDetail, SpentView
from fanwood.store.opening import store_for


def test_a_run_that_starts_over_and_spends(invoke, app: Fanwood):
    @app.durable_task
    async def again(n: int, ctx: Context) -> int:
        await ctx.aio_spend(usd=0.5)
        if n:
            ctx.start_over(n - 1)
        return n

    ref = again.run_no_wait(2, budget=Budget(runs=7, depth=3, units={"usd": 5}))
    assert ref.result() == 0
    url = app.settings.database_url
    app.close()

    said = json.loads(invoke("runs", "get", ref.id, "--json").stdout)
    assert said["started_over"] == 2
    assert said["started_over_at"]
    assert "started over 2 times, last " in invoke("runs", "get", ref.id).stdout

    async def look() -> RunDetail:
        store = store_for(Settings.load(database_url=url), SystemClock())
        await store.open(lambda: None)
        try:
            return await pages.run(store, id_bytes(ref.id))
        finally:
            await store.close()

    detail = asyncio.run(look())
    assert detail.started_over == 2
    assert detail.started_over_at
    by_unit = {limit.unit: limit for limit in detail.budget}
    assert by_unit["usd"] == LimitView(ref.id, "usd", "5", "1.5", "0", "3.5")
    assert by_unit["depth"] == LimitView(ref.id, "depth", "3")
    assert by_unit["runs"].left == "7"
    assert detail.spent == (SpentView(ref.id, "usd", "1.5"),)
