"""An end and a suspend at once, on a server: whichever comes first, the parent goes on."""

from __future__ import annotations

import asyncio

import pytest

from fanwood import RunState, Settings, SystemClock
from fanwood.model.commands import Batch, Committed, Suspend
from fanwood.model.states import Awaited
from fanwood.store.opening import store_for
from tests.conformance.stage import Stage, completed
from tests.postgres.stores import connected

LOCKED = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"


@pytest.mark.parametrize("first", ["the end", "the suspend"])
async def test_neither_is_missed(first: str, postgres_url: str) -> None:
    """One of them is stopped before its commit, by a row that both must write or hold: the other one waits for it."""
    settings = Settings.load(database_url=postgres_url)
    async with (
        Stage(lambda _: store_for(settings, SystemClock())) as stage,
        connected(postgres_url) as raw,
        connected(postgres_url) as looks,
    ):
        another = await stage.register(name="another")
        other = await stage.another_store()
        parent = await stage.running("a")
        child = await stage.running("b", parent, worker=another)
        end = other.commit(another, Batch(outcomes=[completed(child, local=False)]))
        asked = Suspend(parent.key, 1, [(child.key, int(Awaited.WAKES))], 1)
        suspend = stage.store.commit(stage.worker, Batch(suspends=[asked]))
        async with raw.transaction():
            await raw.execute("select from run where id = $1 for no key update", child.key)
            waiting: list[asyncio.Future[Committed]] = []
            for verb in (end, suspend) if first == "the end" else (suspend, end):
                waiting.append(asyncio.ensure_future(verb))
                while await looks.fetchval(LOCKED) < len(waiting):
                    await asyncio.sleep(0.005)
        await asyncio.gather(*waiting)
        assert await stage.state(child) is RunState.COMPLETED
        assert await stage.state(parent) in (RunState.QUEUED, RunState.RUNNING)
