"""Two that lock crosswise: the server ends one of them, which is done again, whole; in the end both have been done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
import pytest

from fanwood import RunState, StoreBusyError
from fanwood.ids import SystemIds
from fanwood.model.commands import Batch, ClaimedRun, Outcome, Spawn, SpawnKind
from fanwood.store.postgres.store import PostgresStore
from tests.conformance.stage import digest
from tests.postgres.stores import claimed, connected, opened, registered, until_blocked

QUICK, SLOW = "400ms", "10s"  # whoever is to notice it is quick, after both wait


@dataclass
class Tree:
    """A root, and two children that another worker executes, the first of them younger than the second."""

    theirs: PostgresStore
    ours: PostgresStore
    me: int
    root: ClaimedRun
    first: ClaimedRun
    second: ClaimedRun
    raw: asyncpg.Connection
    ids: SystemIds

    def batch(self) -> Batch:
        """Locks the second (it spawns) and then the first (it ends): the other way round than a cancellation does."""
        kind = SpawnKind("a", parent_id=self.second.key, parent_attempt=1, root_id=self.root.key, depth=2)
        end = Outcome(self.first.key, 1, RunState.COMPLETED, "1", local=False)
        return Batch(spawns=[Spawn(kind, self.ids.new_id(), digest("1"), "{}")], outcomes=[end])


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
        yield Tree(theirs, ours, me, root, first, second, raw, ids)


@pytest.mark.parametrize("victim", ["the commit", "the cancellation"])
async def test_a_commit_and_a_cancellation_of_its_tree(tree: Tree, victim: str):
    links = {"the commit": tree.ours._hot, "the cancellation": tree.theirs._reader}
    for name, link in links.items():
        async with link.use() as connection:
            await connection.execute(f"set deadlock_timeout = '{QUICK if name == victim else SLOW}'")
    batch = tree.batch()
    async with tree.raw.transaction():
        await tree.raw.execute("select from run where id = $1 for update", tree.first.key)
        cancelling = asyncio.ensure_future(tree.theirs._cancel(tree.root.key, "for a test"))
        await until_blocked(tree.raw, tree.theirs._reader.pid)  # has the root, waits for the first
        committing = asyncio.ensure_future(tree.ours.commit(tree.me, batch))
        await until_blocked(tree.raw, tree.ours._hot.pid)  # has the second, waits for the first
    told = dict(zip(links, await asyncio.gather(committing, cancelling, return_exceptions=True), strict=True))
    assert isinstance(told[victim], StoreBusyError)
    assert "crosswise" in str(told[victim])
    if victim == "the commit":
        done = await tree.ours.commit(tree.me, batch)
        assert done.fenced_outcomes == {tree.first.key}
        assert done.fenced_parents == {(tree.second.key, 1)}
        expected = [RunState.CANCELLED] * 3
    else:
        assert await tree.theirs.cancel(tree.root.key, "for a test") == 3
        expected = [RunState.CANCELLED, RunState.COMPLETED, RunState.CANCELLED]
    runs = [await tree.theirs.get(run.key) for run in (tree.root, tree.first, tree.second)]
    assert [run.state for run in runs] == expected
    assert await tree.raw.fetch("select id from run where state < 2") == []


async def test_a_cancellation_that_loses_tries_again_by_itself(tree: Tree, monkeypatch: pytest.MonkeyPatch):
    tries = []
    cancel = PostgresStore._cancel

    async def lose_twice(store: PostgresStore, run_id: bytes, reason: str) -> int:
        tries.append(run_id)
        if len(tries) < 3:
            raise StoreBusyError("for a test")
        return await cancel(store, run_id, reason)

    monkeypatch.setattr(PostgresStore, "_cancel", lose_twice)
    assert await tree.theirs.cancel(tree.root.key, "for a test") == 3
