"""Timers pass by what others hold at this moment, and do not wait for it: they come again."""

from __future__ import annotations

import asyncio

import pytest

from fanwood import ManualClock, RunState
from fanwood.ids import SystemIds
from fanwood.model.commands import Batch, Spawn, SpawnKind
from tests.conformance.stage import retried
from tests.postgres.stores import PATIENCE, claimed, connected, opened, registered


@pytest.mark.parametrize("what", ["a retry that is due", "what was not begun in time"])
async def test_timers_do_not_wait_for_what_others_hold(postgres_url: str, what: str) -> None:
    clock, ids = ManualClock(), SystemIds()
    async with opened(postgres_url, clock=clock) as (store,), connected(postgres_url) as raw:
        worker = await registered(store)
        is_retry = what == "a retry that is due"
        runs = [
            Spawn(SpawnKind("a", schedule_timeout=None if is_retry else 5_000_000), ids.new_id(), None, "{}")
            for _ in range(3)
        ]
        await store.commit(worker, Batch(spawns=runs))
        if is_retry:
            for run in await claimed(store, worker, 3):
                await store.commit(worker, Batch(outcomes=[retried(run, 5)]))
        clock.advance(10)
        wanted, before = (RunState.QUEUED, RunState.WAITING) if is_retry else (RunState.FAILED, RunState.QUEUED)

        async def states() -> list[RunState]:
            return [(await store.get(run.id)).state for run in runs]

        async with asyncio.timeout(PATIENCE), raw.transaction():
            await raw.execute("select from run where id = $1 for update", runs[1].id)
            await store.tick()
            assert await states() == [wanted, before, wanted]
        await store.tick()
        assert await states() == [wanted] * 3
