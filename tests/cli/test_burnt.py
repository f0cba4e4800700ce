"""What is left of a budget, who has spent it, and how often a run has started over: by command and API."""

from __future__ import annotations

import asyncio
import json
import pickle

import pytest

from fanwood import Budget, Context, Fanwood, Settings, SystemClock, TaskRunError, after
from fanwood.ids import id_bytes
from fanwood.lens import pages
from fanwood.lens.views import LimitView, RunDetail, SpentView
from fanwood.store.opening import store_for


def test_a_run_that_starts_over_and_spends(invoke, app: Fanwood):
    @app.durable_task(version="7")
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
    assert said["version"] == "7"
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
    assert detail.version == "7"
    by_unit = {limit.unit: limit for limit in detail.budget}
    assert by_unit["usd"] == LimitView(ref.id, "usd", "5", "1.5", "0", "3.5")
    assert by_unit["depth"] == LimitView(ref.id, "depth", "3")
    assert by_unit["runs"].left == "7"
    assert detail.spent == (SpentView(ref.id, "usd", "1.5", "again"),)


def test_of_whom_runs_are_and_which_budget_is_empty(invoke, app: Fanwood):
    begun: list[str] = []

    @app.task
    async def rate(currency: str) -> float:
        return 1.0

    @app.task
    async def look_up(name: str) -> str:
        begun.append(name)
        if len(begun) == 1:
            await asyncio.Event().wait()
        return name

    @app.task
    async def broke(n: int) -> None:
        await rate.aio_run(str(n))

    @app.task
    async def prices(n: int) -> None:
        await look_up.aio_run("ada", hedge=after(0.01))
        await rate.aio_run("EUR", share="tree")
        await broke.aio_run(n, budget=Budget(runs=0))

    ref = prices.run_no_wait(2)
    with pytest.raises(TaskRunError) as caught:
        ref.result()
    first, hedge, shared, link, failed = [run.id for run in app.runs.children(ref.id)]
    if app.runs.get(shared).task_name == "~share":
        shared, link = link, shared
    assert (caught.value.exc_type, caught.value.limit, caught.value.owner) == ("BudgetExceeded", "runs", failed)
    error = pickle.loads(pickle.dumps(caught.value))
    assert (error.limit, error.owner) == ("runs", failed)
    app.close()

    said = json.loads(invoke("tree", ref.id, "--json").stdout)
    kin = {run["id"]: run["kin"] for run in said["runs"]}
    assert kin[hedge] == {"how": "helps", "id": first, "task": "look_up", "status": "COMPLETED"}
    assert kin[link] == {"how": "shares", "id": shared, "task": "rate", "status": "COMPLETED"}
    assert kin[shared]["how"] == "shared"
    assert kin[first] is kin[failed] is kin[ref.id] is None
    lines = invoke("tree", ref.id).stdout
    assert f"look_up (hedge of look_up {first[-8:]})" in lines
    assert f"~share (shares rate {shared[-8:]})" in lines
    assert "rate (shared)" in lines
    assert f"kin          hedge of look_up {first[-8:]}" in invoke("runs", "get", hedge).stdout
    assert json.loads(invoke("runs", "get", link, "--json").stdout)["kin"] == kin[link]
    for run in (failed, ref.id):
        said = json.loads(invoke("why", run, "--json").stdout)
        assert (said["cause"], said["facts"]) == ("budget_empty", {"limit": "runs", "budget": failed})
        assert said["command"] == f"fanwood tree {failed}"
