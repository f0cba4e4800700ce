"""Exactly once: whatever becomes of a commit on its way, what it leaves behind, and what it says, is that of one
which nothing happened to.

One story is told again and again on an empty schema: undisturbed at first, and then with every commit coming to harm,
in one way each time. After each commit there are the same rows, and the same answer was given.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
import msgspec
import pytest

from fanwood import Fanwood, ManualClock, StoreUnavailableError
from fanwood.engine import commits
from fanwood.model.commands import SUSPECT_DEATHS, Batch, ClaimedRun, ClaimRequest, Committed, LogLine, Spawn
from fanwood.model.states import OnParentEnd, RunKind, RunState
from fanwood.store.postgres.store import PostgresStore
from tests.chaos.scale import scaled
from tests.conformance.stage import FAILURE, SECOND, Stage, completed, digest, failed, handed_back, retried
from tests.postgres.databases import Databases
from tests.postgres.harms import AGAIN, HARMS, NOTHING_TO_DO, SEQ, Harm, HarmedStore
from tests.postgres.roles import database_of
from tests.postgres.stores import address_of, connected, until_committed

TABLES = {
    "run": "id",
    "worker": "id",
    "lease": "worker_id",
    "gate": "run_id",
    "pause": "run_id",
    "moved_deadline": "root_id",
    "unheard": "worker_id, run_id",
    "idem": "namespace, key",
    "worker_task": "task, worker_id",
    "watch": "run_id, worker_id",
    "log": "run_id, seq",
    "attempt": "run_id, number",
    "mail": "worker_id, run_ids",
    "suspended": "run_id",
    "awaited": "run_id, waiter_id",
}
OWN = {
    "worker": {"seq", "claimed_at", "has_claimed", "fenced", "refused", "not_queued"},
    "mail": {"id"},  # a number is spent by a transaction that is rolled back as well
}
"""Columns that may be others."""


class Teller:
    """Tells a story, and keeps what was answered and what was there after each of its commits."""

    def __init__(self, url: str, harm: Harm | None, raw: asyncpg.Connection) -> None:
        self.raw = raw
        self.harm = harm
        self.told: list[tuple[str, Any, dict[str, list[Any]]]] = []
        self.stage = Stage(self._make(url))

    def _make(self, url: str) -> Callable[[ManualClock], PostgresStore]:
        def make(clock: ManualClock) -> PostgresStore:
            store = HarmedStore(address_of(url), clock)
            store.raw = self.raw
            return store

        return make

    async def commit(self, name: str, worker: int | None = None, **parts: Any) -> Committed:
        """A commit that comes to harm."""
        store = self.stage.store
        assert isinstance(store, HarmedStore)
        me = self.stage.worker if worker is None else worker
        await store.commit(me, Batch())  # so that it is connected
        store.harm = self.harm
        answer = await until_committed(store, me, Batch(**parts), claims_again=True)
        if store.later is not None:
            await store.later
            store.later = None
        said = msgspec.to_builtins(answer)
        del said["has_closed"], said["has_more"]  # hints, which may come once too often
        self.told.append((name, said, await self.contents()))
        if self.harm is not None:
            assert store.harm is None
            await self._expect_no_ghost(store)
        return answer

    async def _expect_no_ghost(self, store: HarmedStore) -> None:
        """The statement as it was sent first arrives now, and does nothing."""
        before = await self.contents()
        assert store.sent[AGAIN] is False
        assert await store.ghost(store.sent) in (NOTHING_TO_DO, f"[null,{store.sent[SEQ]}]")
        assert await self.contents() == before

    async def contents(self) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        for table, key in TABLES.items():
            rows = await self.raw.fetch(f"select * from {table} order by {key}")
            found[table] = [{name: row[name] for name in set(row.keys()) - OWN.get(table, set())} for row in rows]
        return found


@asynccontextmanager
async def teller(url: str, harm: Harm | None) -> AsyncIterator[Teller]:
    async with AsyncExitStack() as stack:
        raw = await stack.enter_async_context(connected(url))
        told = Teller(url, harm, raw)
        await told.stage.open()
        stack.push_async_callback(told.stage.close)
        yield told


Story = Callable[[Teller], Awaitable[None]]


async def births(t: Teller) -> None:
    stage = t.stage
    parent = await stage.running()
    over = await stage.running("b")
    await stage.complete(over)
    spawns = [
        stage.spawn("a", parent, schedule_timeout=5 * SECOND),
        stage.spawn("b", parent, child_key="k", input_digest=digest("k")),
        stage.spawn("c"),
        stage.spawn("a", parent, claimed=True),
        stage.spawn("b", claimed=True),
        stage.spawn("a", over),  # fenced
    ]
    await t.commit("births", spawns=spawns, watch=[spawns[2].id])
    await t.commit("the born are claimed", claim=ClaimRequest('["a","b","c"]', 10))


async def keyed_roots(t: Teller) -> None:
    stage = t.stage
    held = root_with_key(stage, "held")
    await stage.commit(spawns=[held])
    (run,) = await stage.claim()
    await stage.complete(run)
    spawns = [
        root_with_key(stage, "new"),
        root_with_key(stage, "held"),
        root_with_key(stage, "new"),  # twice in one batch
        root_with_key(stage, "held", input="other"),
        stage.spawn("a"),
    ]
    done = await t.commit("roots with keys", spawns=spawns, watch=[spawns[0].id])
    assert set(done.taken) == {spawn.id for spawn in spawns[1:4]}


def root_with_key(stage: Stage, key: str, input: str = "{}") -> Spawn:
    spawn = stage.spawn("a", input=input, child_key=key, input_digest=digest(input))
    spawn.identity = digest(key)
    return spawn


async def asked_again(t: Teller) -> None:
    stage = t.stage
    parent = await stage.running()
    children = [await stage.running("b", parent) for _ in range(4)]
    await stage.complete(children[0])
    await stage.fail(children[1])
    await stage.fail(children[2])
    again = await stage.retry(parent)
    assert again is not None
    limit = stage.clock.now() + 9 * SECOND
    attaches = [
        stage.attachment(again, children[0].key, "b"),
        stage.attachment(again, children[1].key, "b", deadline=limit, deadline_by=again.key),
        stage.attachment(again, children[2].key, "c"),  # of another task: doesn't match
        stage.attachment(again, children[3].key, "b", deadline=limit, deadline_by=again.key),
        stage.attachment(parent, children[0].key, "b"),  # fenced
    ]
    await t.commit("children are asked for again", attaches=attaches)
    await t.commit("a deadline moves", deadlines=[(again.key, again.attempt, limit + SECOND)])


async def ends(t: Teller) -> None:
    stage = t.stage
    other = await stage.register()
    far = await stage.running("a", worker=other)
    for_far = await stage.running("b", far)
    parent = await stage.running()
    below = await stage.running("b", parent)
    goes_on = await stage.born("b", parent, on_parent_end=OnParentEnd.CONTINUE)
    watched = await stage.running()
    await stage.commit(other, watch=[watched.key])
    runs = [await stage.running("c") for _ in range(4)]
    await stage.store.cancel(runs[3].key, "for a test")
    outcomes = [
        completed(for_far, local=False),
        failed(parent, closes=True),
        completed(watched, local=False),
        completed(below),  # after its parent, which has cancelled it: refused, or not: as undisturbed
        retried(runs[0], 0),
        retried(runs[1], 7),
        handed_back(runs[2]),
        completed(runs[3]),  # refused
    ]
    await t.commit("ends of all kinds", outcomes=outcomes, mail=True)
    await t.commit("the other is told", other, mail=True)
    await t.commit("its letters are taken away", other, mail=True, watch=[goes_on])


async def claims(t: Teller) -> None:
    stage = t.stage
    await stage.born("b", priority=1)
    for _ in range(SUSPECT_DEATHS):
        victim = await stage.register()
        await stage.claim(worker=victim)
        await stage.store.reap(victim, 9)
    for number in range(12):
        await stage.born("abc"[number % 3], priority=number % 2)
    done = await t.commit("a claim", claim=ClaimRequest('["a","b"]', 4, idle=True))
    (suspect,) = done.claimed
    assert suspect.is_suspect
    await stage.complete(suspect)
    await t.commit("a claim of all", claim=ClaimRequest('["a","b","c"]', 100))
    await t.commit("a claim that finds nothing", claim=ClaimRequest('["c"]', 100))


async def gates(t: Teller) -> None:
    """What an ancestor that ended, and a call, have closed."""
    stage = t.stage
    root = await stage.running("a")
    one, two = [await stage.running("b", root) for _ in range(2)]
    queued = [stage.spawn("c", one) for _ in range(3)]
    await t.commit("two children have children", spawns=[*queued, stage.spawn("c", two)])
    await t.commit("the root fails", outcomes=[failed(root, closes=True)])
    await t.commit(
        "of what is closed all is refused",
        spawns=[stage.spawn("c", one)],
        outcomes=[completed(one), retried(two)],
        claim=ClaimRequest('["c"]', 2),
        mail=True,
    )
    await stage.store.cancel(root.key, "for a test")
    await t.commit("it is told", mail=True)
    await t.commit("it has heard", mail=True, heard=[root.key])
    await t.commit("it is told no more", mail=True, claim=ClaimRequest('["c"]', 10))


async def watches(t: Teller) -> None:
    stage = t.stage
    done = await stage.running("a")
    await stage.complete(done)
    running = await stage.running("b")
    queued = await stage.born("c")
    await t.commit("watches", watch=[done.key, running.key, queued, bytes(16)])
    await t.commit("watches again", watch=[done.key, running.key, queued])
    await t.commit("the watched ends", outcomes=[completed(running, local=False)])


async def letters(t: Teller) -> None:
    stage = t.stage
    other = await stage.register()
    parent = await stage.running()
    children = [await stage.running("b", parent, worker=other) for _ in range(3)]
    for child in children[:2]:
        await stage.report(completed(child, local=False), worker=other)
    await t.commit("mail is read", mail=True)
    await stage.report(completed(children[2], local=False), worker=other)
    await t.commit("more mail, and the first is taken away", mail=True)
    await t.commit("no mail", mail=True, watch=[children[0].key])


async def parts(t: Teller) -> None:
    """What has no code: recorded, and done again in place."""
    stage = t.stage
    parent = await stage.running()
    sleep, step = stage.part(parent), stage.part(parent, kind=RunKind.RECORDED)
    failure = stage.part(parent, "2", kind=RunKind.RECORDED, state=RunState.FAILED, output=None, error=FAILURE)
    await t.commit("a sleep, and steps", records=[sleep, step, failure])
    again = await stage.retry(parent)
    assert again is not None
    once_more = stage.part(again, "2", kind=RunKind.RECORDED, id=failure.id, again=True)
    await t.commit("again", records=[once_more, stage.part(again, "3"), stage.part(parent, "fenced")])
    await t.commit("beside an end", records=[stage.part(again, "4")], outcomes=[completed(again, closes=True)])


async def all_at_once(t: Teller) -> None:
    stage = t.stage
    parent, ending, retrying = await stage.running(), await stage.running("b"), await stage.running("c")
    children = [await stage.running("b", parent) for _ in range(2)]
    await stage.complete(children[0])
    again = await stage.retry(parent)
    assert again is not None
    limit = stage.clock.now() + 60 * SECOND

    def line(run: ClaimedRun, text: str) -> LogLine:
        return LogLine(run.key, run.attempt, stage.clock.now(), "info", text)

    await t.commit(
        "all at once",
        logs=[line(again, "one"), line(ending, "two"), line(again, "three"), line(parent, "fenced")],
        spawns=[stage.spawn("a", again), stage.spawn("c"), root_with_key(stage, "key")],
        attaches=[stage.attachment(again, child.key, "b") for child in children],
        outcomes=[completed(ending), retried(retrying)],
        deadlines=[(again.key, again.attempt, limit)],
        watch=[children[1].key],
        claim=ClaimRequest('["a","b","c"]', 2),
        mail=True,
    )


STORIES: list[Story] = [births, keyed_roots, asked_again, ends, gates, claims, watches, letters, parts, all_at_once]


def _harms(story: Story) -> list[Harm]:
    """In the short form all of them to who says everything, and to who claims, and two to each of the others."""
    number = STORIES.index(story)
    return HARMS if story in (claims, all_at_once) else scaled(HARMS, HARMS[number % 3 :: 3])


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
async def test_nothing_is_lost_and_nothing_twice(story: Story, postgres_url: str, postgres_databases: Databases):
    async with teller(postgres_url, None) as calm:
        await story(calm)
    for harm in _harms(story):
        postgres_databases.empty(database_of(postgres_url))
        async with teller(postgres_url, harm) as harmed:
            await story(harmed)
        for (name, answer, rows), (_, found_answer, found_rows) in zip(calm.told, harmed.told, strict=True):
            assert found_answer == answer, (harm.__name__, name)
            assert found_rows == rows, (harm.__name__, name)


# --- as the engine does it -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
async def test_a_worker_knows_all_that_it_has(harm: Harm, postgres_url: str):
    """It claims no more when it tries again, and forgets roots that it refused meanwhile."""
    async with teller(postgres_url, None) as t:
        stage, store = t.stage, t.stage.store
        assert isinstance(store, HarmedStore)
        known: set[bytes] = set()
        for number in range(6):
            root, born = stage.spawn("a"), stage.spawn("b", claimed=True)
            batch = Batch(claim=ClaimRequest('["a","b","c"]', 10))
            if number % 3:
                batch.spawns = [root, born]
            await store.commit(stage.worker, Batch())
            store.harm = harm
            try:
                done = await store.commit(stage.worker, batch)
            except StoreUnavailableError:
                batch.claim = None
                if number % 3 == 2:
                    batch.spawns = []
                done = await until_committed(store, stage.worker, batch)
            if store.later is not None:
                await store.later
                store.later = None
            await t._expect_no_ghost(store)
            known |= {run.key for run in done.claimed} | {spawn.id for spawn in batch.spawns if spawn.claimed}
            await stage.born("c")
        running = await t.raw.fetch("select id from run where state = 1 and worker_id = $1", stage.worker)
        assert {row["id"] for row in running} == known


def test_a_tree_through_a_network_that_loses_every_fifth_commit(
    postgres_url: str, make_app: Callable[..., Fanwood], monkeypatch: pytest.MonkeyPatch
):
    dice = random.Random(5)
    executed: Counter[int] = Counter()
    ask = PostgresStore._ask

    async def lossy(store: PostgresStore, arguments: tuple[Any, ...]) -> str:
        fate = dice.random()
        if fate < 0.1:
            raise StoreUnavailableError("the request is lost, for a test")
        answer = await ask(store, arguments)
        if fate < 0.2:
            raise StoreUnavailableError("the answer is lost, for a test")
        return answer

    monkeypatch.setattr(PostgresStore, "_ask", lossy)
    monkeypatch.setattr(commits, "PAUSES", (0.0,))
    app = make_app(url=postgres_url, slots=7)

    @app.task
    async def leaf(n: int) -> int:
        executed[n] += 1
        return n

    @app.task
    async def branch(n: int) -> int:
        return sum(await leaf.aio_run_many([leaf.create_bulk_run_item(n * 10 + i) for i in range(10)]))

    @app.task
    async def root(n: int) -> int:
        return sum(await branch.aio_run_many([branch.create_bulk_run_item(i) for i in range(n)]))

    assert root.run(30) == sum(range(300))
    assert executed == Counter(range(300))
