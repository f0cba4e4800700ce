"""Closing what is below a run while others commit: once a call has returned nothing below starts, whoever was under
way, and all of it ends."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress

import asyncpg
import pytest

from fanwood import RunState
from fanwood.errors import StoreBusyError
from fanwood.ids import SystemIds
from fanwood.model.commands import Batch, ClaimedRun, ClaimRequest, Closing, Committed, Outcome, Spawn, SpawnKind
from fanwood.model.records import Swept
from fanwood.store.postgres import gates
from fanwood.store.postgres.store import PostgresStore
from tests.chaos.scale import scaled
from tests.conformance.stage import digest
from tests.postgres.stores import claimed, connected, opened, pid_of, registered, until_blocked, until_committed

_TREE = "select count(*), sum(attempt) from run where root_id = $1"
_LIVING = "select count(*) from run where root_id = $1 and state < 8"


class Forest:
    """Trees, workers in processes of their own, so to speak, and one who looks."""

    def __init__(self, stores: list[PostgresStore], workers: list[int], raw: asyncpg.Connection) -> None:
        self.stores = stores
        self.workers = workers
        self.raw = raw
        self.ids = SystemIds()
        self.dice = random.Random(5)

    def below(self, parent: ClaimedRun, n: int, task: str = "a") -> Spawn:
        kind = SpawnKind(
            task, parent_id=parent.key, parent_attempt=parent.attempt, root_id=bytes.fromhex(parent.root_id),
            depth=parent.depth + 1,
        )  # fmt: skip
        return Spawn(kind, self.ids.new_id(), digest(f"{parent.id} {n}"), "{}", n)

    async def commit(self, who: int, **batch: object) -> Committed:
        return await until_committed(self.stores[who], self.workers[who], Batch(**batch))  # pyright: ignore[reportArgumentType]

    async def root(self, who: int = 0) -> ClaimedRun:
        await self.commit(who, spawns=[Spawn(SpawnKind("r"), self.ids.new_id(), None, "{}")])
        (run,) = await claimed(self.stores[who], self.workers[who], 1, ["r"])
        return run

    async def grow(self, root: ClaimedRun, over: asyncio.Event, who: int) -> None:
        """A busy worker: claims of the tree, spawns below what it claimed, ends, hands back, tries again."""
        n = 0
        while not over.is_set():
            runs = await claimed(self.stores[who], self.workers[who], 5, ["a"])
            for run in runs:
                n += 1
                spawns = [self.below(run, i) for i in range(self.dice.randint(0, 3))] if run.depth < 6 else []
                state = self.dice.choice([RunState.COMPLETED, RunState.FAILED, RunState.QUEUED])
                end = Outcome(run.key, run.attempt, state, error="{}", closes=True, local=False, retry=n % 2 == 0,
                              delay=1_000_000 if n % 3 == 0 else 0)  # fmt: skip
                await self.commit(who, spawns=spawns)
                await asyncio.sleep(self.dice.random() * 0.002)
                await self.commit(who, outcomes=[end])
            await asyncio.sleep(0)


@pytest.fixture
async def forest(postgres_url: str) -> AsyncIterator[Forest]:
    async with opened(postgres_url, count=4, notify=False) as stores, connected(postgres_url) as raw:
        await raw.execute("do $$ begin execute format('alter database %I set deadlock_timeout = %L', "
                          "current_database(), '20ms'); end $$")  # fmt: skip
        yield Forest(stores, [await registered(store, ["a", "r"]) for store in stores], raw)


async def swept(store: PostgresStore, run_id: bytes | None = None) -> int:
    ended = 0
    while True:
        page = Swept(0, more=True)
        with suppress(StoreBusyError):
            page = await store.sweep(run_id)
        ended += page.ended
        if not page.more:
            return ended
        if not page.ended:
            await asyncio.sleep(0.002)


async def cancelled(store: PostgresStore, run_id: bytes) -> bool:
    while True:
        with suppress(StoreBusyError):
            return await store.cancel(run_id, "for a test")


async def test_nothing_starts_once_a_call_has_returned(forest: Forest):
    for number in range(scaled(60, 5)):
        root = await forest.root()
        await forest.commit(0, spawns=[forest.below(root, n) for n in range(20)])
        over = asyncio.Event()
        busy = [asyncio.ensure_future(forest.grow(root, over, who)) for who in (1, 2)]
        await asyncio.sleep(0.02 + forest.dice.random() * 0.06)
        await cancelled(forest.stores[3], root.key)
        then = await forest.raw.fetch(_TREE, root.key)
        await asyncio.sleep(0.02)
        await asyncio.gather(swept(forest.stores[3]), swept(forest.stores[0]))
        assert await forest.raw.fetchval(_LIVING, root.key) == 0, f"round {number}"
        over.set()
        await asyncio.gather(*busy)
        assert await forest.raw.fetch(_TREE, root.key) == then, f"round {number}"
        assert await forest.raw.fetch("select from gate") == []


async def test_all_below_a_parent_that_failed_ends_whatever_goes_on_there(forest: Forest):
    for number in range(scaled(60, 5)):
        root = await forest.root()
        await forest.commit(0, spawns=[forest.below(root, n) for n in range(20)])
        over = asyncio.Event()
        busy = [asyncio.ensure_future(forest.grow(root, over, who)) for who in (1, 2)]
        await asyncio.sleep(0.02 + forest.dice.random() * 0.06)
        await forest.commit(0, outcomes=[Outcome(root.key, 1, RunState.FAILED, error="{}", closes=True)])
        await asyncio.gather(swept(forest.stores[3]), swept(forest.stores[0]))
        assert await forest.raw.fetchval(_LIVING, root.key) == 0, f"round {number}"
        over.set()
        await asyncio.gather(*busy)
        assert await forest.raw.fetchval(_LIVING, root.key) == 0, f"round {number}"
        await swept(forest.stores[3])
        assert await forest.raw.fetch("select from gate") == []


async def test_a_call_waits_for_a_commit_that_may_not_have_seen_it(forest: Forest):
    root = await forest.root()
    await forest.commit(0, spawns=[forest.below(root, n) for n in range(3)])
    async with connected(forest.stores[0]._address.url) as other, other.transaction():
        # A commit under way: it has looked at the gates, and is about to claim.
        await other.execute("select fw1_enter_gates(); select from gate")
        cancelling = asyncio.ensure_future(forest.stores[3].cancel(root.key, "for a test"))
        while not await forest.raw.fetchval("select exists (select from gate)"):
            await asyncio.sleep(0.002)
        late = await claimed(forest.stores[1], forest.workers[1], 2, ["a"])
        assert late == []  # who begins now sees it, and is not held up
        await asyncio.sleep(0.05)
        assert not cancelling.done()
    assert await cancelling is True


async def test_a_sweep_waits_for_a_commit_that_may_not_have_seen_its_gates(forest: Forest):
    root = await forest.root()
    await forest.commit(0, spawns=[forest.below(root, n) for n in range(3)])
    (child,) = await claimed(forest.stores[1], forest.workers[1], 1, ["a"])
    async with connected(forest.stores[0]._address.url) as other, other.transaction():
        await other.execute("select fw1_enter_gates(); select from gate")
        await forest.commit(0, outcomes=[Outcome(root.key, 1, RunState.FAILED, error="{}", closes=True)])
        sweeping = asyncio.ensure_future(swept(forest.stores[3]))
        await asyncio.sleep(0.1)
        assert not sweeping.done()
        # It hands back what it has: to the queue, of which a sweep that had begun might have seen the end.
        await other.execute("update run set state = 0, worker_id = null where id = $1", child.key)
    assert await sweeping == 3
    assert await forest.raw.fetchval(_LIVING, root.key) == 0


async def test_a_call_does_not_wait_longer_than_a_lease(forest: Forest, monkeypatch: pytest.MonkeyPatch):
    root = await forest.root()
    await forest.commit(0, spawns=[forest.below(root, 1)])
    monkeypatch.setattr(forest.stores[3], "lease", 0.1)
    async with connected(forest.stores[0]._address.url) as other, other.transaction():
        await other.execute("select fw1_enter_gates()")
        assert await forest.stores[3].cancel(root.key, "for a test") is True
        assert not await gates.wait_for_others(forest.stores[3])


async def test_what_another_holds_is_swept_as_soon_as_he_lets_go(forest: Forest):
    root = await forest.root()
    children = [forest.below(root, n) for n in range(3)]
    await forest.commit(0, spawns=children)
    async with connected(forest.stores[0]._address.url) as other, other.transaction():
        await other.execute("select from run where id = $1 for share", children[1].id)  # who begins to watch it
        await forest.stores[3].cancel(root.key, "for a test")
        first = await forest.stores[3].sweep()
        assert first == Swept(2, more=True)
        second = asyncio.ensure_future(forest.stores[3].sweep())
        await until_blocked(forest.raw, forest.stores[3].side.pid)
    assert (await second).ended == 1
    assert await swept(forest.stores[3]) == 0


async def a_page_of_children(forest: Forest, monkeypatch: pytest.MonkeyPatch) -> tuple[ClaimedRun, list[bytes]]:
    """A sweep has begun, and stands before a page of them that ends in one statement."""
    monkeypatch.setattr(gates, "BUDGET", 0)
    root = await forest.root()
    children = [forest.below(root, n) for n in range(6)]
    await forest.commit(0, spawns=children)
    await forest.commit(0, outcomes=[Outcome(root.key, 1, RunState.FAILED, error="{}", closes=True)])
    monkeypatch.setattr(gates, "PAGE", 1)
    assert await forest.stores[3].sweep() == Swept(1, more=True)
    assert await forest.raw.fetchval("select place from gate") is not None
    monkeypatch.setattr(gates, "PAGE", 500)
    return root, [child.id for child in children[1:]]


_ENDED_BY = "select ended_by, count(*) from run where root_id = $1 and parent_id is not null group by 1 order by 1"


async def test_two_that_end_children_of_one_parent_end_each_once(forest: Forest, monkeypatch: pytest.MonkeyPatch):
    """A sweep, and whoever ends one of them by himself: now the one is first, now the other."""
    for first in ("a call", "a sweep"):
        root, children = await a_page_of_children(forest, monkeypatch)
        sweeping = "select ended from fw1_sweep_page((select pass from gate), 1, 500, true)"
        cancelling = f"select ended from fw1_cancel('\\x{children[2].hex()}', null, 1, '{{}}', '{{}}')"
        begin, then = (cancelling, sweeping) if first == "a call" else (sweeping, cancelling)
        async with connected(forest.stores[0]._address.url) as one, connected(forest.stores[0]._address.url) as other:
            async with one.transaction():
                done = [await one.fetchval(begin)]
                second = asyncio.ensure_future(other.fetchval(then))
                if first == "a sweep":  # a call waits; a sweep passes by
                    await until_blocked(forest.raw, other.get_server_pid())
                else:
                    await second
            done.append(await second)
        assert done == ([True, 4] if first == "a call" else [5, False])
        await swept(forest.stores[3])
        by_hand = [(2, 1)] if first == "a call" else []
        assert [tuple(row) for row in await forest.raw.fetch(_ENDED_BY, root.key)] == [*by_hand, (3, 6 - len(by_hand))]
        assert await forest.raw.fetch("select from gate") == []


async def test_who_begins_to_watch_a_child_that_is_being_ended_is_told(forest: Forest, monkeypatch: pytest.MonkeyPatch):
    """Its sweep stands in the middle of the statement that locks them: none of the page was watched when that began."""
    _root, children = await a_page_of_children(forest, monkeypatch)
    body: str = await forest.raw.fetchval("select pg_get_functiondef('fw1_end_children'::regproc)")
    assert body.count("x.state = queued") == 1
    halt = "(select pg_advisory_xact_lock_shared(77)) is not null and x.state = queued"
    await forest.raw.execute(body.replace("x.state = queued", halt))
    await forest.raw.execute("select pg_advisory_lock(77)")
    sweeping = asyncio.ensure_future(swept(forest.stores[3]))
    await until_blocked(forest.raw, forest.stores[3].side.pid)
    await forest.commit(1, watch=[children[2]])
    await forest.raw.execute("select pg_advisory_unlock(77)")
    assert await sweeping == 5
    told = await forest.stores[1].commit(forest.workers[1], Batch(mail=True))
    assert set(told.finished) == {children[2]}
    assert await forest.raw.fetch("select from watch") == []


async def test_a_gate_that_is_made_during_a_pass_has_a_pass_of_its_own(forest: Forest, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gates, "BUDGET", 0)  # one page at a time
    root = await forest.root()
    await forest.commit(0, spawns=[forest.below(root, n) for n in range(4)])
    first, second = await claimed(forest.stores[1], forest.workers[1], 2, ["a"])
    spawns = [forest.below(run, n) for run in (first, second) for n in range(3)]
    await forest.commit(1, spawns=spawns)
    await forest.stores[3].cancel(first.key, "for a test")
    while (await forest.raw.fetchval("select phase from gate")) < 2:
        await forest.stores[3].sweep()
    await forest.stores[3].cancel(second.key, "for a test")  # behind the place at which the pass is
    await swept(forest.stores[3])
    states = await forest.raw.fetch("select state from run where id = any($1)", [spawn.id for spawn in spawns])
    assert [row["state"] for row in states] == [RunState.CANCELLED] * 6
    assert await forest.raw.fetchval(_LIVING, root.key) == 3
    assert await forest.raw.fetch("select from gate") == []


async def test_two_that_sweep_do_not_do_the_same_twice(forest: Forest):
    roots = [await forest.root() for _ in range(4)]
    for root in roots:
        await forest.commit(0, spawns=[forest.below(root, n) for n in range(50)])
        await forest.stores[3].cancel(root.key, "for a test")
    counts = await asyncio.gather(*(swept(store) for store in forest.stores))
    assert sum(counts) == 200


async def test_workers_hear_of_it_until_they_say_so(forest: Forest):
    root = await forest.root()
    await forest.commit(0, spawns=[forest.below(root, 1)])
    await forest.stores[3].cancel(root.key, "for a test")
    expected = [Closing(root.id, root.id)]
    for who in (1, 2):
        for _ in range(2):
            looked = await forest.stores[who].commit(forest.workers[who], Batch(mail=True))
            assert looked.closings == expected
        assert not await forest.stores[3].is_heard(root.key)
        heard = await forest.stores[who].commit(forest.workers[who], Batch(mail=True, heard=[root.key]))
        assert heard.closings == []
    for who in (0, 3):
        await forest.stores[who].commit(forest.workers[who], Batch(heard=[root.key]))
    assert await forest.stores[3].is_heard(root.key)


async def test_who_registers_while_a_call_is_under_way_sees_it_or_hears_of_it(forest: Forest):
    """Else it may claim something before the call is committed, which it does not see then, and nobody tells it."""
    root = await forest.root()
    await forest.commit(0, spawns=[forest.below(root, n) for n in range(3)])
    new = forest.stores[3]
    async with connected(forest.stores[0]._address.url) as other, other.transaction():
        await other.execute("select c.ended from fw1_cancel($1, null, fw1_micros(), '{}', '{}') c", root.key)
        registering = asyncio.ensure_future(registered(new, ["a"]))
        await until_blocked(forest.raw, await pid_of(new.side))
        assert not registering.done()
    worker = await registering
    assert await claimed(new, worker, 3, ["a"]) == []  # what it does, it does after the call


async def test_a_call_tells_who_is_registering(forest: Forest):
    root = await forest.root()
    await forest.commit(0, spawns=[forest.below(root, 1)])
    async with connected(forest.stores[0]._address.url) as other, other.transaction():
        worker = await other.fetchval(
            "insert into worker (name, host, pid, slots, started_at, lease, programs) "
            "values ('new', 'new', 1, 1, 0, 60000000, '{}') returning id"
        )
        await other.execute("insert into lease (worker_id, expires_at) values ($1, fw1_micros() + 60000000)", worker)
        await other.execute("select fw1_admit()")
        cancelling = asyncio.ensure_future(forest.stores[3].cancel(root.key, "for a test"))
        await until_blocked(forest.raw, await pid_of(forest.stores[3].side))
        # ... and holds no run meanwhile: another call, that holds what this one wants, may be waited for here.
        await forest.raw.execute("select from run for update nowait")
    assert await cancelling is True
    assert await forest.raw.fetchval("select exists (select from unheard where worker_id = $1)", worker)


async def test_claims_pass_by_a_large_tree_that_is_being_swept(forest: Forest, monkeypatch: pytest.MonkeyPatch):
    """They lock nothing of it, and bring what is queued beside it, before and behind it."""
    before = await forest.root(1)
    _, children = await a_page_of_children(forest, monkeypatch)
    behind = await forest.root(1)
    await forest.commit(1, spawns=[forest.below(behind, 0), forest.below(behind, 1, "r"), forest.below(before, 0)])
    done = await forest.commit(2, claim=ClaimRequest('["a","r"]', 10))
    assert [(run.root_id, run.task) for run in done.claimed] == [(before.id, "a"), (behind.id, "a"), (behind.id, "r")]
    assert done.has_closed
    assert not done.has_more
    living = await forest.raw.fetchval("select count(*) from run where id = any ($1) and state = 0", children)
    assert living == len(children)
    assert await swept(forest.stores[3]) == len(children)


async def test_a_look_that_finds_nothing_but_a_tree_that_is_being_swept_writes_nothing(
    forest: Forest, monkeypatch: pytest.MonkeyPatch
):
    """It says that there is something to sweep, until something else is queued, with whatever priority."""
    _, children = await a_page_of_children(forest, monkeypatch)
    numbers = "select seq from worker where id = $1"
    before = await forest.raw.fetchval(numbers, forest.workers[2])
    look = ClaimRequest('["a","r"]', 10)
    done = await forest.commit(2, claim=look)
    assert (done.claimed, done.has_closed, done.has_more) == ([], True, False)
    assert await forest.raw.fetchval(numbers, forest.workers[2]) == before
    for priority in (0, 5, -5):
        spawn = Spawn(SpawnKind("a", priority=priority), forest.ids.new_id(), None, "{}")
        await forest.commit(1, spawns=[spawn])
        done = await forest.commit(2, claim=look)
        assert [run.key for run in done.claimed] == [spawn.id]
        assert done.has_closed
    assert await swept(forest.stores[3]) == len(children)
    assert not (await forest.commit(2, claim=look)).has_closed


async def test_a_tree_that_is_replayed_is_claimed_though_what_it_left_is_being_swept(
    forest: Forest, monkeypatch: pytest.MonkeyPatch
):
    root, children = await a_page_of_children(forest, monkeypatch)
    assert await forest.stores[0].replay(root.key, [RunState.FAILED])
    done = await forest.commit(2, claim=ClaimRequest('["a","r"]', 10))
    assert [run.key for run in done.claimed] == [root.key]
    assert await forest.raw.fetchval("select count(*) from run where id = any ($1) and state = 8", children) == 0
