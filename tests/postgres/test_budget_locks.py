"""Rows of budgets are locked in one order, whatever a transaction does with them, and in which order."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from fanwood import Settings, SystemClock
from fanwood.model.budgets import Spend
from fanwood.model.commands import Batch
from fanwood.store.opening import store_for
from tests.conformance.stage import Stage, completed
from tests.postgres.stores import connected

LOCKED = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"


@pytest.mark.parametrize("what", ["spends", "commit"])
async def test_the_youngest_budget_comes_first(what: str, postgres_url: str) -> None:
    settings = Settings.load(database_url=postgres_url)
    async with (
        Stage(lambda _: store_for(settings, SystemClock())) as stage,
        connected(postgres_url) as raw,
        connected(postgres_url) as looks,
    ):
        root = await stage.running("a")
        old, young = [await stage.running("b", root, part=(("usd", 9), ("~runs", 9), ("~seconds", 9))) for _ in "12"]
        child = await stage.running("c", young)
        if what == "spends":  # in the other order
            spends = [Spend(run.key, 1, stage.ids.new_id(), {"usd": 1}) for run in (old, young)]
            asked = stage.store.spend(spends)
        else:  # what is spawned is charged before what has ended
            asked = stage.store.commit(
                stage.worker, Batch(spawns=[stage.spawn("c", old)], outcomes=[completed(child, busy=1)])
            )
        async with raw.transaction():
            await raw.execute("select from budget where run_id = $1 for update", old.key)
            waiting = asyncio.ensure_future(asked)
            while not await looks.fetchval(LOCKED):
                await asyncio.sleep(0.005)
            unit = "usd" if what == "spends" else "~seconds"
            its = "select from budget where run_id = $1 and unit = $2 for update nowait"
            with pytest.raises(asyncpg.LockNotAvailableError):
                await looks.execute(its, young.key, unit)
        await waiting
