"""A wait beside a push that is not committed yet, either way round: nothing is missed, and nothing ended too early."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from msgspec import structs

from fanwood import RunState
from fanwood.ids import SystemIds
from fanwood.model.commands import Batch, Record, Spawn, SpawnKind
from fanwood.model.matching import Event, Wanted, key_lock, key_mark, mark_of
from fanwood.model.states import OnParentEnd, RunKind
from fanwood.store.postgres import shapes
from fanwood.store.postgres.connection import Link
from fanwood.store.postgres.store import PostgresStore
from fanwood.store.spreading import finish
from tests.postgres.stores import claimed, connected, opened, pid_of, registered, until_blocked

IDS = SystemIds()
WANTED = Wanted("k", match={"id": 7})


class Two:
    """A worker with a run that waits, and somebody who pushes; `raw` holds one of them up."""

    def __init__(self, waiter: PostgresStore, pusher: PostgresStore, worker: int, raw: asyncpg.Connection) -> None:
        self.waiter, self.pusher, self.worker, self.raw = waiter, pusher, worker, raw

    async def record(self) -> Record:
        root = Spawn(SpawnKind("a"), IDS.new_id(), None, "{}")
        await self.waiter.commit(self.worker, Batch(spawns=[root]))
        (parent,) = await claimed(self.waiter, self.worker, 1)
        kind = SpawnKind(
            "~event", parent_id=parent.key, parent_attempt=1, root_id=parent.key, depth=1,
            on_parent_end=OnParentEnd.CANCEL, run_kind=RunKind.EVENT,
        )  # fmt: skip
        wait = '{"key":"k","match":{"id":7}}'
        return Record(kind, IDS.new_id(), b"i" * 16, wait, RunState.WAITING, awaits=mark_of(WANTED))

    async def push(self) -> Event:
        return (await self.pusher.push([Event(IDS.new_id().hex(), "k", '{"id":7}')]))[0]

    async def state(self, record: Record) -> RunState:
        return (await self.waiter.get(record.id)).state


@pytest.fixture
async def two(postgres_url: str) -> AsyncIterator[Two]:
    async with opened(postgres_url, count=2) as (waiter, pusher), connected(postgres_url) as raw:
        yield Two(waiter, pusher, await registered(waiter), raw)


async def test_a_push_waits_for_a_wait_that_is_not_committed(two: Two) -> None:
    """It holds the key from before its row is there, so that who pushes looks when it is."""
    record = await two.record()
    async with two.raw.transaction():
        await two.raw.execute("lock table run in share mode")  # the wait has the key, and can't be written yet
        waits = asyncio.create_task(two.waiter.commit(two.worker, Batch(records=[record])))
        await until_blocked(two.raw, two.waiter._hot.pid)
        pushes = asyncio.create_task(two.push())
        await until_blocked(two.raw, await pid_of(two.pusher.side))
        assert not pushes.done()
    await waits
    event = await pushes
    assert event.open  # of a shape that was not there when it looked which there are
    await finish(two.pusher, event)
    assert await two.state(record) is RunState.COMPLETED


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements of stores; a transaction of several there is none."""
    asked: list[str] = []
    ask = Link.ask

    async def noted(link: Link, sql: str, *values: Any) -> Any:
        asked.append(next((name for name in ("shapes_of", "push_at_once") if name in sql), sql))
        return await ask(link, sql, *values)

    monkeypatch.setattr(Link, "ask", noted)
    return asked


async def test_a_push_is_two_statements_and_the_next_is_one(two: Two, asked: list[str]) -> None:
    """Whoever waits for it goes on some round trips later."""
    for statements in (["shapes_of", "push_at_once"], ["push_at_once"]):
        record = await two.record()
        await two.waiter.commit(two.worker, Batch(records=[record]))
        asked.clear()
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Link, "transaction", None)
            event = await two.push()
        assert asked == statements
        assert not event.open
        ((ended, end),) = two.pusher.take_ended()  # who waits for it in this process is told at once
        assert (ended, end.state, end.output) == (record.id, RunState.COMPLETED, '{"id":7}')
        assert two.pusher.take_ended() == []
        assert await two.state(record) is RunState.COMPLETED
        kept = await two.pusher.event(event.id)
        assert kept == event


async def test_a_shape_that_comes_after_others_were_seen_is_noticed(two: Two, asked: list[str]) -> None:
    """... in the push itself, which is finished as one with more to be done; the next one knows of it."""
    record = await two.record()
    await two.waiter.commit(two.worker, Batch(records=[record]))
    await two.push()
    other = structs.replace(
        await two.record(), input='{"key":"k","match":{"who":1}}', awaits=mark_of(Wanted("k", match={"who": 1}))
    )
    await two.waiter.commit(two.worker, Batch(records=[other]))
    statements: list[str] = []
    for _ in range(2):
        asked.clear()
        (event,) = await two.pusher.push([Event(IDS.new_id().hex(), "k", '{"who":1}')])
        statements = list(asked)
        if event.open:
            await finish(two.pusher, event)
        assert await two.state(other) is RunState.COMPLETED
        other = structs.replace(other, id=IDS.new_id(), identity=IDS.new_id())
        await two.waiter.commit(two.worker, Batch(records=[other]))
    assert statements == ["shapes_of", "push_at_once"]


async def test_what_is_in_the_way_is_found_when_shapes_are_asked_for_again(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wait that somebody has damaged: it fails, and does not wait for ever."""
    records = [await two.record(), await two.record()]
    await two.waiter.commit(two.worker, Batch(records=records[:1]))
    await two.push()
    await two.waiter.commit(two.worker, Batch(records=records[1:]))
    await two.raw.execute("update run set input = '{' where id = $1", records[1].id)
    monkeypatch.setattr(shapes, "SECONDS", 0.0)
    await two.push()
    assert await two.state(records[1]) is RunState.FAILED


def test_few_shapes_are_kept_and_not_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    known = shapes.KnownShapes()
    monkeypatch.setattr(shapes, "KEYS", 2)
    one = shapes.Shapes(["{}"], [b"m"])
    for key in "abc":
        known.learn(key, one, 10.0)
    assert [known.of(key, 10.0 + shapes.SECONDS / 2) is one for key in "abc"] == [False, True, True]
    assert known.of("c", 10.0 + shapes.SECONDS) is None
    for nothing in (shapes.Shapes(), shapes.Shapes(["x" * (shapes.BYTES + 1)], [b"m"])):
        known.learn("c", nothing, 10.0)
        assert known.of("c", 10.0) is None
    known.forget("b")
    assert known.of("b", 10.0) is None


async def test_a_wait_waits_for_a_push_that_is_not_committed(two: Two) -> None:
    """... and is not ended by it, in whatever page it is looked at."""
    record = await two.record()
    async with two.raw.transaction():
        await two.raw.execute("select pg_advisory_xact_lock($1)", key_lock(key_mark("k")))  # as a push holds it
        waits = asyncio.create_task(two.waiter.commit(two.worker, Batch(records=[record])))
        await until_blocked(two.raw, two.waiter._hot.pid)
        number = await two.raw.fetchval("select nextval('event_number')")
    await waits
    early = Event("early", "k", '{"id":7}', number=number)
    assert not await two.pusher.spread(early)
    assert await two.state(record) is RunState.WAITING
    await two.push()
    assert await two.state(record) is RunState.COMPLETED


async def test_what_others_hold_is_not_lost(two: Two) -> None:
    """A wait that somebody holds is passed by, as he might hold others in another order; then the event stays open."""
    record = await two.record()
    await two.waiter.commit(two.worker, Batch(records=[record]))
    async with two.raw.transaction():
        await two.raw.execute("select from run where id = $1 for update", record.id)
        event = await two.push()
        assert event.open
    assert await two.state(record) is RunState.WAITING
    assert await two.pusher.open_events(9) == [event]
    await two.pusher.spread(event)
    assert await two.state(record) is RunState.COMPLETED


async def test_an_event_is_not_closed_while_others_hold_what_it_ends(two: Two) -> None:
    """As who is being suspended for some waits holds them: he would wait for ever."""
    records = [await two.record(), await two.record()]
    await two.waiter.commit(two.worker, Batch(records=records))
    async with two.raw.transaction():
        await two.raw.execute("select from run where id = any ($1) for share", [record.id for record in records])
        finishing = asyncio.create_task(finish(two.pusher, await two.push()))
        await until_blocked(two.raw, await pid_of(two.pusher.side))
        assert len(await two.waiter.open_events(9)) == 1
    await finishing
    assert [await two.state(record) for record in records] == [RunState.COMPLETED] * 2
    assert await two.pusher.open_events(9) == []


async def test_a_message_is_not_looked_for_among_those_of_other_names(two: Two) -> None:
    """There may be a hundred thousand that its run has not asked for."""
    run = b"r" * 16
    await two.raw.execute(
        "insert into message (run_id, name, number, envelope) "
        "select $1, 'data', i, '{}' from generate_series(1, 3000) i",
        run,
    )
    await two.raw.execute("analyze message")
    plan = await two.raw.fetch(
        "explain select m.number, m.envelope, m.once from message m where m.run_id = $1 and m.name = $2 "
        "order by m.number limit 1",
        run, "stop",
    )  # fmt: skip
    assert any("Index Cond" in row[0] and "name" in row[0] for row in plan), plan
