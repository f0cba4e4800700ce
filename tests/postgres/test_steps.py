"""Steps that come by themselves have a shorter way (`fw_commit_steps`): it leaves behind what the other one does, and
is left where that has more to look at."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from fanwood import ManualClock, StoreUnavailableError
from fanwood.model.commands import Batch, ClaimedRun, Record, SpawnKind
from fanwood.model.states import OnParentEnd, RunKind, RunState
from fanwood.store.postgres.store import PostgresStore
from tests.conformance.stage import FAILURE, Stage, completed, handed_back
from tests.postgres.stores import address_of, connected, until_blocked

OWN = {"id", "parent_id", "root_id"}
ODD = 'a "b" \0 {,} é'


class Watched(PostgresStore):
    """It notes by which way its commits go; `short` False: never by the shorter one."""

    short = True
    lost: Callable[[], None] | None = None  # what becomes of the next answer by the shorter way

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.ways: list[str] = []

    async def _commit_steps(self, worker_id: int, batch: Batch) -> bool:
        gone = self.short and await super()._commit_steps(worker_id, batch)
        if gone:
            self.ways.append("short")
        return gone

    async def _ask(self, arguments: tuple[Any, ...]) -> str:
        self.ways.append("long")
        return await super()._ask(arguments)

    async def _value(self, link: Any, sql: str, *arguments: Any) -> Any:
        answer = await super()._value(link, sql, *arguments)
        if sql is self._steps_sql and self.lost is not None:
            lost, self.lost = self.lost, None
            lost()
        return answer


@pytest.fixture
async def stage(postgres_url: str) -> AsyncIterator[Stage]:
    def make(clock: ManualClock) -> Watched:
        return Watched(address_of(postgres_url), clock)

    async with Stage(make) as made:
        yield made


def store_of(stage: Stage) -> Watched:
    assert isinstance(stage.store, Watched)
    return stage.store


def steps(stage: Stage, parent: ClaimedRun, *, priority: int = 1) -> list[Record]:
    """Of all sorts."""
    kind = SpawnKind(
        "~step", parent_id=parent.key, parent_attempt=parent.attempt, root_id=bytes.fromhex(parent.root_id),
        depth=parent.depth + 1, priority=priority, on_parent_end=OnParentEnd.CANCEL, run_kind=RunKind.RECORDED,
    )  # fmt: skip
    now, new = stage.clock.now(), stage.ids.new_id
    return [
        Record(kind, new(), b"1" * 16, '{"step":"f"}', RunState.COMPLETED, 0, None, "1", None, now - 5),
        Record(kind, new(), b"2" * 16, '{"step":"g"}', RunState.FAILED, 1, ODD, None, FAILURE, now),
        Record(kind, new(), b"3" * 16, "", RunState.COMPLETED, 2, "", '"\\u0000é"', None, now + 10**9),
        Record(kind, new(), b"4" * 16, "null", RunState.COMPLETED, 3, output="null"),
    ]


async def written(url: str, parent: ClaimedRun) -> list[dict[str, Any]]:
    """All columns of what it has recorded, but for what tells the parents apart."""
    async with connected(url) as raw:
        rows = await raw.fetch("select * from run where parent_id = $1 order by child_index", parent.key)
    assert {row["root_id"] for row in rows} == {parent.key}
    return [{name: value for name, value in row.items() if name not in OWN} for row in rows]


async def left(stage: Stage, url: str) -> list[dict[str, Any]]:
    async with connected(url) as raw:
        about = "select seq, has_claimed, claimed_at, fenced, refused, not_queued from worker where id = $1"
        return [dict(row) for row in await raw.fetch(about, stage.worker)]


async def test_both_ways_write_the_same(stage: Stage, postgres_url: str) -> None:
    store = store_of(stage)
    one, other = await stage.running("a"), await stage.running("b")
    store.ways.clear()
    await stage.commit(records=steps(stage, one, priority=3))
    assert store.ways == ["short"]
    after_short = await left(stage, postgres_url)
    store.short = False
    await stage.commit(records=steps(stage, other, priority=3))
    assert store.ways == ["short", "long"]
    found = await written(postgres_url, one)
    assert len(found) == 4
    assert found == await written(postgres_url, other)
    after_long = await left(stage, postgres_url)
    assert after_long[0].pop("seq") == after_short[0].pop("seq") + 1
    assert after_long == after_short


async def test_what_is_more_than_steps_goes_the_other_way(stage: Stage) -> None:
    store, run = store_of(stage), await stage.running("a")
    other = await stage.running("b")
    done = steps(stage, run)
    store.ways.clear()
    await stage.commit(records=[stage.part(run)])  # a sleep
    await stage.commit(records=[*done[:1], *steps(stage, other)[:1]])  # of two
    await stage.commit(records=done[1:2], mail=True)
    await stage.commit(records=done[2:3], spawns=[stage.spawn("c")])
    await stage.commit(records=done[3:], outcomes=[completed(run)])
    assert store.ways == ["long"] * 5


@pytest.mark.parametrize("why", ["over", "later attempt", "closed", "below closed", "urgent", "unknown", "gone"])
async def test_where_there_is_more_to_look_at_the_other_way_is_taken(stage: Stage, why: str) -> None:
    """... and says what it says: that the attempt is over, say."""
    store, above = store_of(stage), await stage.running("b")
    run = await stage.running("a", above if why == "below closed" else None)
    worker, fenced = stage.worker, True
    record = steps(stage, run)[0]
    if why == "over":
        await stage.commit(outcomes=[completed(run)])
    elif why == "later attempt":
        await stage.commit(outcomes=[handed_back(run)])
        assert await stage.claim_again(run)
    elif why == "below closed":
        stage.sweeps = False
        await store.cancel(above.key, "for a test")
    elif why == "closed":
        stage.sweeps = False
        await store.cancel(run.key, "for a test")
    elif why == "urgent":
        await store.reprioritize(run.key, 3, "somebody")
        fenced = False
    elif why == "unknown":  # another instance has committed under this worker
        other = await stage.another_store()
        await other.commit(worker, Batch(spawns=[stage.spawn("c")]))
        fenced = False
    else:
        worker, fenced = worker + 1000, False
    store.ways.clear()
    done = await store.commit(worker, Batch(records=[record]))
    assert store.ways == ["long"] * (2 if why == "unknown" else 1)
    assert done.fenced_parents == ({(run.key, run.attempt)} if fenced else set())
    if not fenced:
        assert (await stage.get(record.id)).priority == (3 if why == "urgent" else 1)
        await store.commit(worker, Batch(records=steps(stage, run)[1:2]))
        assert store.ways[-1] == ("short" if why == "unknown" else "long")


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_lost_answer_does_nothing_twice(stage: Stage, postgres_url: str, when: str) -> None:
    store, run = store_of(stage), await stage.running("a")
    batch = Batch(records=steps(stage, run))
    sent = store._seqs[stage.worker]

    def lost() -> None:
        raise StoreUnavailableError("for a test")

    if when == "before":
        value = store._value

        async def never(link: Any, sql: str, *arguments: Any) -> Any:
            store._value = value
            raise StoreUnavailableError("for a test")

        store._value = never
    else:
        store.lost = lost
    with pytest.raises(StoreUnavailableError):
        await store.commit(stage.worker, batch)
    store.ways.clear()
    done = await store.commit(stage.worker, batch)
    assert store.ways == ["long"]
    assert not done.fenced_parents
    assert len(await store.recorded(run.key)) == 4
    assert (await left(stage, postgres_url))[0]["seq"] == sent + 1
    store.ways.clear()
    await stage.commit(records=[stage.part(run, "more", kind=RunKind.RECORDED)])
    assert store.ways == ["short"]


async def test_a_statement_that_arrives_late_does_nothing(stage: Stage, postgres_url: str) -> None:
    """It was sent, and its connection given up; what was sent in its place was done."""
    store, run = store_of(stage), await stage.running("a")
    batch = Batch(records=steps(stage, run))
    async with connected(postgres_url) as raw:
        async with raw.transaction():
            await raw.execute("select from worker where id = $1 for update", stage.worker)
            sent = asyncio.create_task(store.commit(stage.worker, batch))
            await until_blocked(raw, store._hot.pid)
            store._hot.lose()  # the statement waits on, for a worker's row
            with pytest.raises(StoreUnavailableError):
                await sent
        done = await store.commit(stage.worker, batch)
    assert not done.fenced_parents
    assert len(await store.recorded(run.key)) == 4
