"""What two do at the same moment. Several stores on one schema, each with its connections to a server that does things
really at once; some rounds (many in `make chaos`), each with another little head start, by dice that fall as they fell.
What two do at each statement of one another is `tests/interleaving`.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import TypeVar

import asyncpg
import pytest

from fanwood import RunState
from fanwood.errors import StoreBusyError
from fanwood.ids import SystemIds
from fanwood.model.commands import (
    Attach,
    Batch,
    ClaimedRun,
    ClaimRequest,
    Committed,
    LogLine,
    Outcome,
    Spawn,
    SpawnKind,
)
from fanwood.store.forking import NewFork
from fanwood.store.postgres.store import PostgresStore
from tests.chaos.scale import scaled
from tests.conformance.stage import digest
from tests.postgres.stores import claimed, connected, opened, pid_of, registered, until_blocked, until_committed

T = TypeVar("T")
HEAD_START = 0.003
ALL = '["a","b","c"]'


class Crowd:
    """Workers, each in a process of its own, so to speak."""

    def __init__(self, stores: list[PostgresStore], workers: list[int], raw: asyncpg.Connection) -> None:
        self.stores = stores
        self.workers = workers
        self.raw = raw
        self.ids = SystemIds()
        self.dice = random.Random(11)

    async def at_once(self, *deeds: Awaitable[T]) -> list[T]:
        """All of these, none of which must fail; who is first is a matter of luck."""

        async def soon(deed: Awaitable[T], delay: float) -> T:
            await asyncio.sleep(delay)
            return await deed

        return await asyncio.gather(*(soon(deed, self.dice.random() * HEAD_START) for deed in deeds))

    async def commit(self, who: int, **batch: object) -> Committed:
        about = Batch(**batch)  # pyright: ignore[reportArgumentType]
        return await until_committed(self.stores[who], self.workers[who], about)

    def child(self, parent: ClaimedRun | Spawn, n: int, task: str = "a", attempt: int = 1) -> Spawn:
        id_ = parent.key if isinstance(parent, ClaimedRun) else parent.id
        root = bytes.fromhex(parent.root_id) if isinstance(parent, ClaimedRun) else id_
        depth = parent.depth + 1 if isinstance(parent, ClaimedRun) else 1
        kind = SpawnKind(task, parent_id=id_, parent_attempt=attempt, root_id=root, depth=depth)
        return Spawn(kind, self.ids.new_id(), digest(f"{n}"), "{}", n)

    async def running(self, who: int, count: int = 1) -> list[ClaimedRun]:
        """New roots that one of them has claimed."""
        await self.commit(who, spawns=[Spawn(SpawnKind("a"), self.ids.new_id(), None, "{}") for _ in range(count)])
        runs = await claimed(self.stores[who], self.workers[who], count)
        assert len(runs) == count
        return runs

    async def running_children(self, parent: ClaimedRun, whose: int, who: int, count: int) -> list[ClaimedRun]:
        """Of one worker's run, claimed by another."""
        await self.commit(whose, spawns=[self.child(parent, n, "b", parent.attempt) for n in range(count)])
        runs = await claimed(self.stores[who], self.workers[who], count, ["b"])
        assert len(runs) == count
        return runs

    async def states(self, ids: list[bytes]) -> dict[bytes, RunState]:
        rows = await self.raw.fetch("select id, state from run where id = any($1)", ids)
        return {row["id"]: RunState(row["state"]) for row in rows}

    async def ends(self, who: int, first: Committed, ids: set[bytes]) -> dict[bytes, RunState]:
        """What `who` has been told of those by the answer and by all his mail."""
        told = {id_: end.state for id_, end in first.finished.items()}
        told |= {run.id: run.state for run in first.attached.values() if run.state.is_terminal}
        while not told.keys() >= ids:
            more = await self.commit(who, mail=True)
            if not more.finished:
                break
            told |= {id_: end.state for id_, end in more.finished.items()}
        return {id_: state for id_, state in told.items() if id_ in ids}


@pytest.fixture
async def crowd(postgres_url: str) -> AsyncIterator[Crowd]:
    async with opened(postgres_url, count=4, notify=False) as stores, connected(postgres_url) as raw:
        await raw.execute("do $$ begin execute format('alter database %I set deadlock_timeout = %L', "
                          "current_database(), '20ms'); end $$")  # fmt: skip
        yield Crowd(stores, [await registered(store) for store in stores], raw)


def done(run: ClaimedRun, state: RunState = RunState.COMPLETED) -> Outcome:
    return Outcome(run.key, run.attempt, state, "1" if state is RunState.COMPLETED else None, None, local=False)


# --- claims ----------------------------------------------------------------------------------------------------------


async def test_claims_at_once_never_take_too_many_and_never_one_twice(crowd: Crowd):
    for number in range(scaled(60, 5)):
        spawns = [
            Spawn(SpawnKind("abc"[n % 3], priority=n % 4, depth=n % 2), crowd.ids.new_id(), None, "{}")
            for n in range(60)
        ]
        await crowd.commit(0, spawns=spawns)
        taken: Counter[str] = Counter()
        while taken.total() < len(spawns):
            limit = crowd.dice.randint(1, 20)
            fair = limit // 3 if number % 2 else 0
            answers = await crowd.at_once(
                *(claimed(store, me, limit, fair=fair) for store, me in zip(crowd.stores, crowd.workers, strict=True))
            )
            assert max(map(len, answers)) <= limit
            assert any(answers)
            taken.update(run.id for runs in answers for run in runs)
        assert taken == Counter({spawn.id.hex().upper(): 1 for spawn in spawns})


async def test_a_claim_and_what_else_befalls_a_queued_run(crowd: Crowd):
    for _ in range(scaled(120, 8)):
        (parent,) = await crowd.running(0)
        children = [crowd.child(parent, n) for n in range(6)]
        await crowd.commit(0, spawns=children)
        again = await crowd.commit(0, outcomes=[Outcome(parent.key, 1, RunState.QUEUED)])
        assert not again.fenced_outcomes
        (parent,) = [run for run in await claimed(crowd.stores[0], crowd.workers[0], 10, ["a"]) if run.id == parent.id]
        kind = SpawnKind("a", parent_id=parent.key, parent_attempt=2, deadline=1 << 60, deadline_by=parent.key)
        await crowd.commit(0, outcomes=[Outcome(run.id, 1, RunState.QUEUED) for run in children])
        cancelling, *_ = children
        attaching = crowd.commit(0, attaches=[Attach(kind, child.id) for child in children])
        claims = [claimed(crowd.stores[who], crowd.workers[who], 4) for who in (1, 2)]
        was_living, attached, *took = await crowd.at_once(
            crowd.stores[3].cancel(cancelling.id, "for a test"), attaching, *claims
        )
        assert isinstance(attached, Committed)
        assert len(attached.attached) == len(children)
        assert was_living is True
        ids = [run.id for runs in took if isinstance(runs, list) for run in runs]
        assert len(ids) == len(set(ids))
        rest = await claimed(crowd.stores[1], crowd.workers[1], 10)
        states = await crowd.states([child.id for child in children])
        assert states.pop(cancelling.id) is RunState.CANCELLED
        assert set(states.values()) == {RunState.RUNNING}
        assert {run.id for run in rest} | set(ids) >= {id_.hex().upper() for id_ in states}


# --- trees that are cancelled ----------------------------------------------------------------------------------------


async def test_nothing_of_a_cancelled_tree_starts_or_waits(crowd: Crowd):
    for number in range(scaled(200, 12)):
        (root,) = await crowd.running(0)
        below = await crowd.running_children(root, 0, 1, 3)
        spawning = crowd.commit(0, spawns=[crowd.child(root, n) for n in range(10, 14)])
        deeper = crowd.commit(
            1,
            spawns=[crowd.child(run, n) for run in below[:2] for n in range(20, 23)],
            outcomes=[Outcome(below[2].key, 1, RunState.QUEUED, retry=True)] if number % 2 else [done(below[2])],
        )
        claiming = claimed(crowd.stores[2], crowd.workers[2], 5)
        cancelling = until_cancelled(crowd.stores[3], root.key)
        await crowd.at_once(spawning, deeper, claiming, cancelling)
        left = await crowd.raw.fetch("select id from run where state < 8")
        assert left == [], f"round {number}"
        late = await crowd.commit(0, spawns=[crowd.child(root, 50)])
        assert late.fenced_parents == {(root.key, 1)}


async def test_what_ends_while_it_is_cancelled_ends_in_one_way(crowd: Crowd):
    for number in range(scaled(120, 8)):
        (root,) = await crowd.running(0)
        below = await crowd.running_children(root, 0, 1, 8)
        crowd.dice.shuffle(below)
        ended, _ = await crowd.at_once(
            crowd.commit(1, outcomes=[done(run) for run in below]), until_cancelled(crowd.stores[3], root.key)
        )
        assert isinstance(ended, Committed)
        refused = {below[position].key for position in ended.fenced_outcomes}
        for id_, state in (await crowd.states([run.key for run in below])).items():
            expected = RunState.CANCELLED if id_ in refused else RunState.COMPLETED
            assert state is expected, f"round {number}"
        notices = (await crowd.commit(1, mail=True)).mine + ended.mine
        overruled = ended.finished.keys()  # which ended with the commit, and not as it said
        assert {notice.run_id for notice in notices} | overruled == refused


async def until_cancelled(store: PostgresStore, run_id: bytes) -> None:
    while True:
        try:
            await store.cancel(run_id, "for a test")
        except StoreBusyError:
            continue
        break
    await until_swept(store)


async def until_swept(store: PostgresStore) -> None:
    while True:
        try:
            if not (await store.sweep()).more:
                return
        except StoreBusyError:
            continue


async def test_a_parent_that_fails_while_its_children_spawn(crowd: Crowd):
    for number in range(scaled(120, 8)):
        (root,) = await crowd.running(0)
        below = await crowd.running_children(root, 0, 1, 2)
        end = Outcome(root.key, 1, RunState.FAILED, None, "{}", closes=True, local=False)
        await crowd.at_once(
            crowd.commit(0, outcomes=[end]),
            crowd.commit(1, spawns=[crowd.child(run, n) for run in below for n in range(3)]),
        )
        await until_swept(crowd.stores[3])
        assert await crowd.raw.fetch("select id from run where state < 8") == [], f"round {number}"


# --- ends that are waited for ----------------------------------------------------------------------------------------


async def test_who_begins_to_watch_hears_of_every_end(crowd: Crowd):
    for number in range(scaled(300, 20)):
        runs = await crowd.running(0, 8)
        ids = [run.key for run in runs]
        crowd.dice.shuffle(ids)
        if number % 3 == 0:
            await crowd.commit(1, watch=ids[:4])  # and now once more
        _, watched = await crowd.at_once(
            crowd.commit(0, outcomes=[done(run) for run in runs]), crowd.commit(1, watch=ids)
        )
        told = await crowd.ends(1, watched, set(ids))
        assert told == dict.fromkeys(ids, RunState.COMPLETED), f"round {number}"
    assert await crowd.raw.fetch("select from watch") == []


async def test_who_asks_for_children_again_hears_of_every_end(crowd: Crowd):
    for number in range(scaled(300, 20)):
        (parent,) = await crowd.running(0)
        children = await crowd.running_children(parent, 0, 1, 6)
        await crowd.commit(0, outcomes=[Outcome(parent.key, 1, RunState.QUEUED)])
        kind = SpawnKind("b", parent_id=parent.key, parent_attempt=2, deadline=1 << 60, deadline_by=parent.key)

        async def go_on(
            parent: ClaimedRun = parent, kind: SpawnKind = kind, ids: Sequence[bytes] = tuple(c.key for c in children)
        ) -> Committed:
            (again,) = await claimed(crowd.stores[2], crowd.workers[2], 1)
            assert (again.id, again.attempt) == (parent.id, 2)
            return await crowd.commit(2, attaches=[Attach(kind, id_) for id_ in ids])

        _, asked = await crowd.at_once(crowd.commit(1, outcomes=[done(child) for child in children]), go_on())
        told = await crowd.ends(2, asked, {child.key for child in children})
        assert told == dict.fromkeys([child.key for child in children], RunState.COMPLETED), f"round {number}"
        await crowd.commit(2, outcomes=[Outcome(parent.key, 2, RunState.COMPLETED, "1")])


# --- lost workers ----------------------------------------------------------------------------------------------------


async def test_a_worker_is_reaped_while_it_commits(crowd: Crowd):
    deaths_limit = 100
    for number in range(scaled(300, 20)):
        reaped = await registered(crowd.stores[0])
        crowd.workers[0] = reaped
        ending, spawning, logging = await crowd.running(0, 3)
        child, root = crowd.child(spawning, 1, "c"), Spawn(SpawnKind("b"), crowd.ids.new_id(), None, "{}", claimed=True)
        batch = {
            "outcomes": [done(ending)],
            "spawns": [child, root],
            "logs": [LogLine(logging.key, 1, 1, "info", "text")],
            "claim": ClaimRequest('["c"]', 10),
            "mail": True,
        }
        committed, _ = await crowd.at_once(crowd.commit(0, **batch), crowd.stores[1].reap(reaped, deaths_limit))
        assert isinstance(committed, Committed)
        states = await crowd.states([ending.key, spawning.key, logging.key, child.id, root.id])
        assert states[spawning.key] is states[logging.key] is states[root.id] is RunState.QUEUED, f"round {number}"
        if committed.fenced_outcomes:
            assert states[ending.key] is RunState.QUEUED
            assert committed.fenced_parents == {(spawning.key, 1)}
            assert child.id not in states
            assert not root.claimed
        else:
            assert states[ending.key] is RunState.COMPLETED
            assert states[child.id] is RunState.QUEUED
        lines = await crowd.raw.fetchval("select count(*) from log where run_id = $1", logging.key)
        assert lines == (not committed.fenced_outcomes)
        await crowd.raw.execute("delete from run")


async def test_a_worker_is_reaped_twice_at_once(crowd: Crowd):
    for _ in range(scaled(80, 6)):
        reaped = crowd.workers[0] = await registered(crowd.stores[0])
        runs = await crowd.running(0, 5)
        counts = await crowd.at_once(*(store.reap(reaped, 3) for store in crowd.stores[1:]))
        assert sorted(counts) == [0, 0, 5]
        rows = await crowd.raw.fetch("select state, deaths from run where id = any($1)", [run.key for run in runs])
        assert {tuple(row) for row in rows} == {(0, 1)}
        await crowd.raw.execute("delete from run")


async def test_a_lease_is_renewed_while_its_worker_commits_and_others_judge_it(crowd: Crowd):
    """No two of them lock crosswise: with that, some would fail."""
    (parent,) = await crowd.running(0)
    for number in range(scaled(120, 8)):
        children = await crowd.running_children(parent, 0, 1, 3)
        await crowd.commit(1, outcomes=[done(child) for child in children])
        me = crowd.workers[0]
        deeds: list[Awaitable[object]] = [
            crowd.stores[0].renew(me),
            crowd.stores[0].commit(me, Batch(mail=True, spawns=[crowd.child(parent, 100 + number)])),
            crowd.stores[2].reap(me, 3, if_lapsed=True),
            crowd.stores[3].tick(),
            crowd.stores[2].commit(crowd.workers[2], Batch(claim=ClaimRequest(ALL, 10), mail=True)),
        ]
        await crowd.at_once(*deeds)
    assert (await crowd.states([parent.key]))[parent.key] is RunState.RUNNING


# --- roots with keys -------------------------------------------------------------------------------------------------


async def test_roots_with_keys_are_born_once(crowd: Crowd):
    for number in range(scaled(80, 6)):
        keys = list(range(20))

        def roots(keys: list[int] = keys, number: int = number) -> list[Spawn]:
            kind = SpawnKind("a")
            return [
                Spawn(kind, crowd.ids.new_id(), digest(f"{number} {key}"), "{}", child_key=str(key))
                for key in crowd.dice.sample(keys, len(keys))
            ]

        asked = [roots() for _ in crowd.stores]
        answers = await crowd.at_once(*(  # not until_committed: none is to meet another crosswise
            crowd.stores[who].commit(crowd.workers[who], Batch(spawns=spawns)) for who, spawns in enumerate(asked)
        ))  # fmt: skip
        holders: dict[bytes, set[bytes]] = {}
        for spawns, answer in zip(asked, answers, strict=True):
            for spawn in spawns:
                holder = answer.taken[spawn.id].id if spawn.id in answer.taken else spawn.id
                assert spawn.identity is not None
                holders.setdefault(spawn.identity, set()).add(holder)
        assert [len(held) for held in holders.values()] == [1] * len(keys)
        born = await crowd.raw.fetch("select id from run")
        assert {row["id"] for row in born} == {held.pop() for held in holders.values()}
        await crowd.raw.execute("delete from run; delete from idem")


async def test_a_tree_is_not_deleted_beside_a_fork_that_is_being_made(postgres_url: str) -> None:
    """Who marks it waits for the fork, and sees it then."""
    ids = SystemIds()
    async with (
        opened(postgres_url, count=2) as (store, other), connected(postgres_url) as raw, connected(postgres_url) as eye
    ):  # fmt: skip
        worker = await registered(store)
        root = Spawn(SpawnKind("a"), ids.new_id(), None, "{}")
        await store.commit(worker, Batch(spawns=[root]))
        (run,) = await claimed(store, worker, 1)
        await store.commit(worker, Batch(outcomes=[Outcome(run.key, 1, RunState.COMPLETED, "1")]))
        async with raw.transaction():
            await raw.execute("lock table fork in share mode")  # it has the root, and can't be written yet
            forks = asyncio.create_task(store.fork(NewFork(ids.new_id(), root.id, "{}")))
            await until_blocked(eye, await pid_of(store.side))
            deletes = asyncio.create_task(other.begin_deleting(root.id))
            await until_blocked(eye, await pid_of(other._reader))
        assert await forks
        assert await deletes is None
