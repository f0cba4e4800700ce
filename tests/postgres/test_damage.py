"""Rows that the disk has damaged: the server says so when they are read. They are told as failures, and stop nobody."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from fanwood import RunState
from fanwood.errors import StoreError
from fanwood.ids import SystemIds
from fanwood.model.commands import Attach, Batch, ClaimRequest, Committed, Outcome, Spawn, SpawnKind
from fanwood.store.failures import UNREADABLE, encode_failure
from fanwood.store.postgres.store import PostgresStore
from tests.conformance.stage import digest
from tests.postgres.stores import claimed, connected, opened, registered

_TOAST = "select reltoastrelid::regclass::text from pg_class where oid = 'run'::regclass"


class Damaged:
    """Two workers, and a disk that loses what was written last."""

    def __init__(self, stores: list[PostgresStore], workers: list[int], raw: asyncpg.Connection) -> None:
        self.stores = stores
        self.workers = workers
        self.raw = raw
        self.ids = SystemIds()
        self.dice = random.Random(3)

    async def commit(self, who: int, **batch: Any) -> Committed:
        return await self.stores[who].commit(self.workers[who], Batch(**batch))

    @property
    def large(self) -> str:
        """JSON that the server keeps beside the row, as it neither fits into it nor can be made smaller."""
        return json.dumps(self.dice.randbytes(5000).hex())

    async def lose(self) -> None:
        """What was kept beside a row last is gone."""
        toast = await self.raw.fetchval(_TOAST)
        await self.raw.execute(
            f"""
            set allow_system_table_mods = on;
            update pg_class set relkind = 'r' where oid = '{toast}'::regclass;
            delete from {toast} where chunk_id = (select max(chunk_id) from {toast});
            update pg_class set relkind = 't' where oid = '{toast}'::regclass;
            """
        )
        await self.raw.execute(f"vacuum {toast}")

    async def ended(self, **about: Any) -> list[bytes]:
        """Two runs of the first worker that have completed; the output of the second one is lost."""
        spawns = [Spawn(SpawnKind("a", **about), self.ids.new_id(), None, "{}") for _ in range(2)]
        await self.commit(0, spawns=spawns)
        await claimed(self.stores[0], self.workers[0], 2, ["a"])
        return [spawn.id for spawn in spawns]

    async def end(self, ids: list[bytes], *, local: bool = True) -> None:
        for id_ in ids:
            end = Outcome(id_, 1, RunState.COMPLETED, self.large, local=local)
            await self.commit(0, outcomes=[end])
        await self.lose()


@pytest.fixture
async def damaged(postgres_url: str) -> AsyncIterator[Damaged]:
    async with opened(postgres_url, count=2, notify=False) as stores, connected(postgres_url) as raw:
        yield Damaged(stores, [await registered(store, ["a", "b"]) for store in stores], raw)


async def test_the_error_is_that_of_the_other_store(damaged: Damaged) -> None:
    assert await damaged.raw.fetchval("select fw1_unreadable_error()") == encode_failure(UNREADABLE)


@pytest.mark.parametrize("when", ["before its end", "after its end"])
async def test_who_waits_is_told_of_a_failure(damaged: Damaged, when: str) -> None:
    good, bad = ids = await damaged.ended()
    if when == "before its end":
        await damaged.commit(1, watch=ids)
        await damaged.end(ids, local=False)
        told = await damaged.commit(1, mail=True)
    else:
        await damaged.end(ids)
        told = await damaged.commit(1, watch=ids)
    assert (told.finished[good].state, told.finished[bad].state) == (RunState.COMPLETED, RunState.FAILED)
    assert told.finished[bad].error == encode_failure(UNREADABLE)
    with pytest.raises(StoreError, match="missing chunk"):
        await damaged.stores[0].get(bad)  # nothing was recorded: it may be there again, from a backup
    assert (await damaged.commit(1, watch=[good])).finished[good].state is RunState.COMPLETED


async def test_a_parent_that_asks_again_is_told_of_a_failure(damaged: Damaged) -> None:
    await damaged.commit(0, spawns=[Spawn(SpawnKind("b"), damaged.ids.new_id(), None, "{}")])
    (parent,) = await claimed(damaged.stores[0], damaged.workers[0], 1, ["b"])
    below = {"parent_id": parent.key, "parent_attempt": 1, "root_id": parent.key, "depth": 1}
    ids = await damaged.ended(**below)
    await damaged.end(ids)
    found = (await damaged.commit(0, attaches=[Attach(SpawnKind("a", **below), id_) for id_ in ids])).attached
    assert [found[n].state for n in range(2)] == [RunState.COMPLETED, RunState.FAILED]
    assert [found[n].matches for n in range(2)] == [True, True]


async def test_a_key_whose_run_is_damaged_is_held(damaged: Damaged) -> None:
    def asked() -> list[Spawn]:
        kind = SpawnKind("a")
        return [Spawn(kind, damaged.ids.new_id(), digest(key), "{}", child_key=key) for key in ("good", "bad")]

    spawns = asked()
    await damaged.commit(0, spawns=spawns)
    await claimed(damaged.stores[0], damaged.workers[0], 2, ["a"])
    await damaged.end([spawn.id for spawn in spawns])
    again = asked()
    taken = (await damaged.commit(1, spawns=again)).taken
    assert [taken[spawn.id].id for spawn in again] == [spawn.id for spawn in spawns]
    assert [taken[spawn.id].state for spawn in again] == [RunState.COMPLETED, RunState.FAILED]


async def test_what_is_queued_and_damaged_fails_alone(damaged: Damaged) -> None:
    spawns = [Spawn(SpawnKind("a"), damaged.ids.new_id(), None, damaged.large) for _ in range(2)]
    for spawn in spawns:
        await damaged.commit(0, spawns=[spawn])
    await damaged.lose()
    with pytest.raises(StoreError, match="missing chunk"):
        await damaged.commit(1, claim=ClaimRequest('["a"]', 2))
    assert await damaged.stores[1].fail_unreadable('["a"]') == 1
    (run,) = await claimed(damaged.stores[1], damaged.workers[1], 2, ["a"])
    assert run.key == spawns[0].id
    told = await damaged.commit(0, watch=[spawns[1].id])
    assert told.finished[spawns[1].id].error == encode_failure(UNREADABLE)


async def test_trouble_with_the_disk_is_no_fault_of_a_run(damaged: Damaged) -> None:
    """It may pass: it is waited out, and nothing is told or recorded of what could not be read meanwhile."""
    ids = await damaged.ended()
    await damaged.end(ids)
    body: str = await damaged.raw.fetchval("select pg_get_functiondef('fw1_damaged'::regproc)")
    trouble = "raise exception 'no disk' using errcode = 'io_error'; perform length"
    await damaged.raw.execute(body.replace("perform length", trouble))
    with pytest.raises(StoreError, match="no disk"):
        await damaged.commit(1, watch=ids)
    assert (await damaged.commit(1, watch=ids[:1])).finished[ids[0]].state is RunState.COMPLETED
