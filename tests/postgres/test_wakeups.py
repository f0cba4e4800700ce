"""Notifications: at most one of each kind per commit, for those whom it concerns; and life without them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from threading import Thread
from typing import Any

import msgspec
import pytest

from fanwood import Fanwood, RunState, Worker
from fanwood.ids import SystemIds
from fanwood.model.commands import Batch, ClaimedRun, ClaimRequest, Hedge, Outcome, Record, Spawn, SpawnKind
from fanwood.model.matching import Event, Wanted, inbox_mark, mark_of
from fanwood.model.states import WAIT_NAMES, OnParentEnd, RunKind
from fanwood.store.postgres.store import PostgresStore
from fanwood.store.postgres.wakeups import EVERYBODY
from tests.chaos.scale import scaled
from tests.conformance.stage import digest
from tests.faults.processes import until
from tests.postgres.cluster import Cluster
from tests.postgres.stores import PATIENCE, claimed, connected, opened, registered

CHANNELS = ("fanwood_mail", "fanwood_ready")
THE_END = "that was all"


class Ear:
    """Hears all notifications of a schema."""

    def __init__(self, url: str, connection: Any) -> None:
        self._url = url
        self._heard: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self._connection = connection

    async def listen(self) -> None:
        for channel in CHANNELS:
            await self._connection.add_listener(channel, self._hear)

    def _hear(self, connection: Any, pid: int, channel: str, payload: str) -> None:
        self._heard.put_nowait((channel, payload))

    async def heard(self) -> list[tuple[str, str]]:
        """All until now: they come in the order of the commits."""
        async with connected(self._url) as other:
            await other.execute(f"select pg_notify('{CHANNELS[0]}', '{THE_END}')")
        found: list[tuple[str, str]] = []
        async with asyncio.timeout(PATIENCE):
            while (latest := await self._heard.get()) != (CHANNELS[0], THE_END):
                found.append(latest)
        return sorted(found)


@asynccontextmanager
async def ear_at(url: str) -> AsyncIterator[Ear]:
    async with connected(url) as connection:
        ear = Ear(url, connection)
        await ear.listen()
        yield ear


def root(task: str) -> Spawn:
    return Spawn(SpawnKind(task), SystemIds().new_id(), None, "{}")


async def running(store: PostgresStore, worker: int, task: str, count: int) -> list[ClaimedRun]:
    await store.commit(worker, Batch(spawns=[root(task) for _ in range(count)]))
    return await claimed(store, worker, count, [task])


def ended(run: ClaimedRun, **about: Any) -> Outcome:
    return Outcome(run.key, run.attempt, RunState.COMPLETED, "1", local=False, **about)


# --- one of each kind -------------------------------------------------------------------------------------------------


async def test_a_commit_notifies_once_of_each_kind(postgres_url: str):
    async with opened(postgres_url) as (store,), ear_at(postgres_url) as ear:
        me, first, second = [await registered(store) for _ in range(3)]
        runs = await running(store, me, "a", 20)
        for worker in (first, second):
            await store.commit(worker, Batch(watch=[run.key for run in runs]))
        await ear.heard()
        retried = [Outcome(run.key, 1, RunState.QUEUED) for run in runs[15:]]
        spawns = [root(task) for task in "bcbc"]
        await store.commit(me, Batch(outcomes=[*map(ended, runs[:15]), *retried], spawns=spawns))
        (mail, whom), (ready, tasks) = await ear.heard()
        assert (mail, ready) == CHANNELS
        assert sorted(whom.split(",")) == sorted(map(str, (first, second)))
        assert sorted(tasks.split("\n")) == ["a", "b", "c"]


async def test_who_else_changes_something_notifies_once_of_each_kind_too(postgres_url: str):
    async with opened(postgres_url) as (store,), ear_at(postgres_url) as ear:
        me, other, lost = [await registered(store) for _ in range(3)]
        (parent,) = await running(store, other, "a", 1)
        kind = SpawnKind("b", parent_id=parent.key, parent_attempt=1, root_id=parent.key, depth=1)
        await store.commit(
            other, Batch(spawns=[Spawn(kind, SystemIds().new_id(), digest(f"{n}"), "{}", n) for n in range(9)])
        )
        await claimed(store, me, 5, ["b"])
        await running(store, lost, "c", 5)
        poisoned = await running(store, lost, "a", 2)
        await store.commit(me, Batch(watch=[run.key for run in poisoned]))
        await ear.heard()
        await store.cancel(parent.key, "for a test")
        ((mail, whom),) = await ear.heard()
        assert mail == CHANNELS[0]
        assert sorted(whom.split(",")) == sorted(map(str, (me, other, lost)))  # all who may have claimed something
        await store.reap(lost, 1)
        assert await ear.heard() == [(CHANNELS[0], str(me))]
        await store.replay(poisoned[0].key, [RunState.FAILED])
        assert await ear.heard() == [(CHANNELS[1], "a")]


@pytest.mark.parametrize("what", ["event", "message", "promise", "sleep"])
async def test_what_comes_from_outside_notifies_who_waits_for_it(postgres_url: str, what: str):
    async with opened(postgres_url, count=2) as (waiter, caller), ear_at(postgres_url) as ear:
        me = await registered(waiter)
        (run,) = await running(waiter, me, "a", 1)
        kind = RunKind[what.upper()]
        part = SpawnKind(
            WAIT_NAMES[kind], parent_id=run.key, parent_attempt=1, root_id=run.key, depth=1,
            on_parent_end=OnParentEnd.CANCEL, run_kind=kind,
        )  # fmt: skip
        wanted = Wanted("k")
        mark = {"event": mark_of(wanted), "message": inbox_mark(run.key, "k")}.get(what)
        due = (waiter.now() + 10**9) if what == "sleep" else None
        id_ = SystemIds().new_id()
        record = Record(
            part, id_, digest("i"), msgspec.json.encode(wanted).decode(), RunState.WAITING, due_at=due, awaits=mark
        )
        await waiter.commit(me, Batch(records=[record]))
        await ear.heard()
        if what == "event":
            await caller.push([Event("e", "k", "{}")])
        elif what == "message":
            await caller.send(run.key, "k", "{}")
        elif what == "promise":
            await caller.settle(id_, RunState.COMPLETED, "1", None)
        else:
            await caller.wake(id_)
        assert await ear.heard() == [(CHANNELS[0], str(me))]


async def test_timers_notify_those_who_serve_what_is_due_and_those_who_wait_for_what_is_late(postgres_url: str):
    async with opened(postgres_url) as (store,), ear_at(postgres_url) as ear:
        me, other = [await registered(store) for _ in range(2)]
        (run,) = await running(store, me, "a", 1)
        await store.commit(me, Batch(outcomes=[Outcome(run.key, 1, RunState.QUEUED, retry=True, delay=1)]))
        await ear.heard()
        await store.tick()
        assert await ear.heard() == [(CHANNELS[1], "a")]
        late = Spawn(SpawnKind("b", schedule_timeout=1), SystemIds().new_id(), None, "{}")
        await store.commit(me, Batch(spawns=[late]))
        await store.commit(other, Batch(watch=[late.id]))
        await ear.heard()
        await store.tick()
        assert await ear.heard() == [(CHANNELS[0], str(other))]


async def test_a_hedge_that_completes_its_first_notifies_who_waits_for_that_and_who_executes_it(postgres_url: str):
    async with opened(postgres_url) as (store,), ear_at(postgres_url) as ear:
        me, waits, executes = [await registered(store) for _ in range(3)]
        (parent,) = await running(store, waits, "a", 1)
        kind = SpawnKind("b", parent_id=parent.key, parent_attempt=1, root_id=parent.key, depth=1)
        first, second = (Spawn(kind, SystemIds().new_id(), digest(name), "{}") for name in ("first", "second"))
        second.identity = None
        await store.commit(waits, Batch(spawns=[first], hedges=[Hedge(second, first.id, 0)]))
        await claimed(store, executes, 1, ["b"])
        await store.tick()
        (hedge,) = await claimed(store, me, 1, ["b"])
        await ear.heard()
        await store.commit(me, Batch(outcomes=[ended(hedge)]))
        told = ",".join(whom for channel, whom in await ear.heard() if channel == CHANNELS[0])
        assert {*told.split(",")} == {str(waits), str(executes)}


async def test_what_concerns_nobody_else_is_not_told(postgres_url: str):
    async with opened(postgres_url) as (store,), ear_at(postgres_url) as ear:
        me = await registered(store)
        runs = await running(store, me, "a", 5)
        await ear.heard()
        born = [Spawn(SpawnKind("b"), SystemIds().new_id(), None, "{}", claimed=True) for _ in range(5)]
        await store.commit(me, Batch(spawns=born, outcomes=[ended(run) for run in runs]))
        await store.commit(me, Batch(watch=[run.key for run in runs], mail=True, claim=ClaimRequest('["a"]', 5)))
        await store.renew(me)
        await store.tick()
        assert await ear.heard() == []


async def test_what_is_too_long_to_be_told_is_for_everybody(postgres_url: str):
    async with opened(postgres_url) as (store,), ear_at(postgres_url) as ear:
        me = await registered(store)
        await ear.heard()
        await store.commit(me, Batch(spawns=[root(f"{'t' * 200}{n}") for n in range(50)]))
        assert await ear.heard() == [(CHANNELS[1], EVERYBODY)]


# --- without ---------------------------------------------------------------------------------------------------------


@contextmanager
def serving(worker: Worker) -> Iterator[None]:
    thread = Thread(target=worker.start)
    thread.start()
    assert worker.wait_started(PATIENCE)
    try:
        yield
    finally:
        worker.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def family(app: Fanwood) -> tuple[Any, Any]:
    @app.task
    async def child(n: int) -> int:
        return n

    @app.task
    async def parent(n: int) -> int:
        return sum(await child.aio_run_many([child.create_bulk_run_item(i) for i in range(n)]))

    return parent, child


async def test_with_notify_off_a_parent_hears_of_children_elsewhere(
    postgres_url: str, make_app: Callable[..., Fanwood], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FANWOOD_NOTIFY", "0")
    client, here, there = [make_app(url=postgres_url, local_worker=False) for _ in range(3)]
    parents, children = family(here)[0], family(there)[1]

    def work() -> list[int]:
        with serving(here.worker("here", workflows=[parents])), serving(there.worker("there", workflows=[children])):
            return [family_of_client.run(n, timeout=PATIENCE) for n in (20, 1, 5)]

    family_of_client, _ = family(client)
    await asyncio.to_thread(client.engine)
    async with ear_at(postgres_url) as ear:
        assert await asyncio.to_thread(work) == [190, 0, 10]
        assert await ear.heard() == []


# --- what it costs to wait -------------------------------------------------------------------------------------------

WINDOW = 2.0
MANY = scaled(500, 100)
"""What is asked does not grow with it: where it did, for each child, a hundred are more than `MOST`."""
MOST = 35.0
"""Statements a second: docs/howto/production.md says about 30."""


@pytest.fixture
def talkative() -> Iterator[Cluster]:
    """A server that writes down every statement, and in which database."""
    with Cluster({"log_statement": "all", "log_line_prefix": "%d|", "fsync": False}) as cluster:
        yield cluster


@pytest.mark.long
def test_an_idle_worker_asks_little_however_many_children_it_waits_for(
    talkative: Cluster, make_app: Callable[..., Fanwood]
):
    cases = [(notify, waiting) for notify in (True, False) for waiting in (0, MANY)]
    with ExitStack() as stack:
        for notify, waiting in cases:
            url = talkative.create_database(f"idle_{notify}_{waiting}".lower())
            app = make_app(url=url, local_worker=False, notify=notify)
            parents, _ = family(app)
            stack.enter_context(serving(app.worker(workflows=[parents])))  # nobody serves the children
            if waiting:
                ref = parents.run_no_wait(waiting)
                until(lambda app=app, ref=ref: len(app.runs.children(ref.id)) >= MANY, "they are spawned")
        time.sleep(WINDOW)  # until polls have become as rare as they will
        before, begin = len(talkative.log), time.monotonic()
        time.sleep(WINDOW)
        lines, took = talkative.log[before:].splitlines(), time.monotonic() - begin  # a busy machine wakes us later
    said = Counter(line.partition("|")[0] for line in lines if "statement: " in line or "execute " in line)
    assert set(said) >= {f"idle_{notify}_{waiting}".lower() for notify, waiting in cases}
    assert {name: count / took for name, count in said.items() if count / took > MOST} == {}
