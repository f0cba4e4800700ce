"""Two that lock crosswise: the server ends one of them, which is done again, whole; in the end both have been done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
import pytest

from fanwood import RunState, StoreBusyError
from fanwood.ids import SystemIds
from fanwood.model.commands import Attach, Batch, ClaimedRun, Outcome, Spawn, SpawnKind
from fanwood.store.postgres.store import PostgresStore
from tests.conformance.stage import digest
from tests.postgres.stores import claimed, connected, opened, registered, until_blocked

QUICK, SLOW = "400ms", "10s"  # whoever is to notice it is quick, after both wait


@dataclass
class Tree:
    """A root, and two children that another worker executes, the first of them younger than the second."""

    theirs: PostgresStore
    ours: PostgresStore
    they: int
    me: int
    root: ClaimedRun
    first: ClaimedRun
    second: ClaimedRun
    raw: asyncpg.Connection
    ids: SystemIds

    def batch(self) -> Batch:
        """Locks the second (it spawns) and then the first (it ends): the other way round than `asking`."""
        kind = SpawnKind("a", parent_id=self.second.key, parent_attempt=1, root_id=self.root.key, depth=2)
        end = Outcome(self.first.key, 1, RunState.COMPLETED, "1", local=False)
        return Batch(spawns=[Spawn(kind, self.ids.new_id(), digest("1"), "{}")], outcomes=[end])

    def asking(self) -> Batch:
        """Locks the first and then the second: their parent asks for them again."""
        kind = SpawnKind("c", parent_id=self.root.key, parent_attempt=1, root_id=self.root.key, depth=1)
        return Batch(attaches=[Attach(kind, self.first.key), Attach(kind, self.second.key)])


@pytest.fixture
async def tree(postgres_url: str) -> AsyncIterator[Tree]:
    async with opened(postgres_url, count=2) as (theirs, ours), connected(postgres_url) as raw:
        ids = SystemIds()
        they, me = await registered(theirs, ["r"]), await registered(ours, ["c"])
        await theirs.commit(they, Batch(spawns=[Spawn(SpawnKind("r"), ids.new_id(), None, "{}")]))
        (root,) = await claimed(theirs, they, 1, ["r"])
        kind = SpawnKind("c", parent_id=root.key, parent_attempt=1, root_id=root.key, depth=1)
        spawns = [Spawn(kind, ids.new_id(), digest(f"{n}"), "{}", n) for n in range(2)]
        await theirs.commit(they, Batch(spawns=spawns))
        first, second = await claimed(ours, me, 2, ["c"])
        await theirs.find(root.id)  # so that all are connected
        yield Tree(theirs, ours, they, me, root, first, second, raw, ids)


@pytest.mark.parametrize("victim", ["one", "other"])
async def test_a_commit_and_one_that_asks_for_the_same_runs_again(tree: Tree, victim: str):
    links = {"one": tree.ours._hot, "other": tree.theirs._hot}
    for name, link in links.items():
        async with link.use() as connection:
            await connection.execute(f"set deadlock_timeout = '{QUICK if name == victim else SLOW}'")
    batch, asking = tree.batch(), tree.asking()
    async with tree.raw.transaction():
        await tree.raw.execute("select from run where id = $1 for update", tree.first.key)
        other = asyncio.ensure_future(tree.theirs.commit(tree.they, asking))
        await until_blocked(tree.raw, tree.theirs._hot.pid)  # waits for the first, and will take the second
        one = asyncio.ensure_future(tree.ours.commit(tree.me, batch))
        await until_blocked(tree.raw, tree.ours._hot.pid)  # has the second, waits for the first
    told = dict(zip(links, await asyncio.gather(one, other, return_exceptions=True), strict=True))
    assert isinstance(told[victim], StoreBusyError)
    assert "crosswise" in str(told[victim])
    if victim == "one":
        done = await tree.ours.commit(tree.me, batch)
        assert not done.fenced_outcomes
        assert not done.fenced_parents
    else:
        done = await tree.theirs.commit(tree.they, asking)
        assert [found.state for found in done.attached.values()] == [RunState.COMPLETED, RunState.RUNNING]
    runs = [await tree.theirs.get(run.key) for run in (tree.root, tree.first, tree.second)]
    assert [run.state for run in runs] == [RunState.RUNNING, RunState.COMPLETED, RunState.RUNNING]


async def test_neither_a_call_nor_a_sweep_meets_a_commit_crosswise(tree: Tree):
    """A call locks one run; a sweep passes by what others hold."""
    batch = tree.batch()
    async with tree.raw.transaction():
        await tree.raw.execute("select from run where id = $1 for update", tree.first.key)
        committing = asyncio.ensure_future(tree.ours.commit(tree.me, batch))
        await until_blocked(tree.raw, tree.ours._hot.pid)  # has the second, waits for the first
        cancelling = asyncio.ensure_future(tree.theirs.cancel(tree.root.key, "for a test"))
        while await tree.raw.fetchval("select count(*) from gate") == 0:
            await asyncio.sleep(0.002)
    assert await cancelling
    done = await committing
    assert not done.fenced_outcomes
    while (await tree.theirs.sweep()).more:
        pass
    assert await tree.raw.fetch("select id from run where state < 8") == []
