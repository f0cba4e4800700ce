"""The work of every hot verb is bounded by its batch, on twenty-five thousand runs as on none.

Each verb is done on a table full of runs; what its statements read, those inside of functions as well, is told by the
server, plan by plan. A statement that reads the table from end to end fails, and one that walks through the queue, or
through all that is running, as well. Plans are made once in a session, with the statistics of that moment: so it is
done by sessions whose plans were made when there was nothing, or little, by a new one on tables that were never
analyzed, and by one on tables that were.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec.structs import replace

from fanwood.clock import SystemClock
from fanwood.model.commands import Attach, Batch, ClaimRequest, LogLine, Outcome, Spawn, SpawnKind
from fanwood.model.looks import FIRST_ID, LAST_ID, Part
from fanwood.model.records import RunFilter, Walk
from fanwood.model.states import TERMINAL, RunState
from fanwood.store.auditing import BEGIN
from fanwood.store.children import VISITED
from fanwood.store.listing import WALK
from fanwood.store.looked import NEAR
from fanwood.store.postgres.store import PostgresStore
from fanwood.store.rows import place_of
from tests.chaos.scale import scaled
from tests.conformance.stage import digest
from tests.postgres.ground import LATER, TASKS, Session, filled, ground
from tests.postgres.plans import Executed, watch_plans
from tests.postgres.stores import address_of, connected, registered

pytestmark = pytest.mark.empty_database

ROWS_EACH, BLOCKS_EACH = 2, 40
"""For each run of a batch, a node of a plan may read so many rows, and a statement touch so many blocks ..."""
ROWS_BESIDE, BLOCKS_BESIDE = 100, 500
"""... and so many beside."""

# --- the verbs, about so many runs ------------------------------------------------------------------------------------


async def spawns(s: Session, n: int) -> None:
    kinds = await s.kinds(3)
    children = [s.spawn(kinds[i % len(kinds)], i, claimed=i % 2 == 0) for i in range(n - n // 10)]
    await s.commit(spawns=[*children, *(s.spawn(SpawnKind("c"), i) for i in range(n // 10))])


async def spawns_sent_again(s: Session, n: int) -> None:
    (kind, *_) = await s.kinds(1)
    batch = Batch(spawns=[s.spawn(kind, i) for i in range(n)])
    s.store._unanswered = batch
    await s.store.commit(s.worker, batch)


async def spawns_with_keys(s: Session, n: int) -> None:
    kind = SpawnKind("a")
    for count in (n // 2, n):
        roots = [(s.ids.new_id(), digest(f"{s.worker} key {i}"), f"{i}") for i in range(count)]
        await s.commit(spawns=[Spawn(kind, id_, identity, "{}", child_key=key) for id_, identity, key in roots])


async def attaches(s: Session, n: int) -> None:
    (parent,) = await s.parents(1)
    children = await s.raw.fetch(
        "select id, task from run where root_id = $1 and parent_id = $1 order by id limit $2", parent, n
    )
    kinds = {
        task: SpawnKind(task, parent_id=parent, parent_attempt=1, deadline=LATER, deadline_by=parent) for task in TASKS
    }
    await s.commit(attaches=[Attach(kinds[row["task"]], row["id"]) for row in children])


async def moves(s: Session, n: int) -> None:
    (parent,) = await s.parents(1)
    await s.commit(deadlines=[(parent, 1, LATER + 1 + s.number())])


async def tells(s: Session, n: int) -> None:
    """Those below that a deadline moved; before that, some who would be failed by it."""
    (parent,) = await s.parents(1)
    await s.raw.execute(
        "update run set deadline = 1, deadline_by = $1, expires_at = case when state = 0 then 1 end "
        "where root_id = $1 and parent_id = $1 and state < 8", parent,
    )  # fmt: skip
    await s.commit(deadlines=[(parent, 1, LATER + 1 + s.number())])
    s.executed.clear()
    await s.store.tick()
    while (await s.store.sweep()).more:
        pass
    await s.commit(mail=True)


async def ends(s: Session, n: int) -> None:
    outcomes = [Outcome(id_, 1, RunState.COMPLETED, "1") for id_ in await s.running(n)]
    await s.commit(outcomes=outcomes)


async def ends_that_others_hear_of(s: Session, n: int) -> None:
    running = await s.running(n)
    await s.raw.executemany("insert into watch values ($1, $2)", [(id_, s.other) for id_ in running])
    await s.commit(outcomes=[Outcome(id_, 1, RunState.COMPLETED, "1", closes=i < 5) for i, id_ in enumerate(running)])


async def ends_on_another_worker(s: Session, n: int) -> None:
    running = await s.running(n, s.other)
    outcomes = [Outcome(id_, 1, RunState.FAILED, None, "{}", local=False) for id_ in running]
    await s.store.commit(s.other, Batch(outcomes=outcomes))
    await s.commit(mail=True)
    await s.commit(mail=True)


async def requeues(s: Session, n: int) -> None:
    outcomes = [Outcome(id_, 1, RunState.QUEUED, delay=i % 2, retry=True) for i, id_ in enumerate(await s.running(n))]
    await s.commit(outcomes=outcomes)


async def requeues_for_the_hundredth_time(s: Session, n: int) -> None:
    ids = await s.running(n)
    await s.raw.execute("update run set attempt = 150 where id = any ($1)", ids)
    await s.commit(outcomes=[Outcome(id_, 150, RunState.QUEUED, retry=True) for id_ in ids])


async def claims(s: Session, n: int) -> None:
    await s.commit(claim=ClaimRequest('["b"]', n))


async def claims_of_several_tasks(s: Session, n: int) -> None:
    await s.commit(claim=ClaimRequest('["a","b","c","d","e"]', n, n // 8))


async def claims_of_a_program(s: Session, n: int) -> None:
    await s.raw.execute("update worker set programs = '{7}' where id = $1", s.worker)
    await s.commit(claim=ClaimRequest('["a","b","c","d"]', n, 0, True, "[7]"))
    await s.raw.execute("update worker set programs = '{}' where id = $1", s.worker)


async def claims_of_nothing(s: Session, n: int) -> None:
    await s.commit(claim=ClaimRequest('["e","f"]', n), mail=True)


async def watches(s: Session, n: int) -> None:
    over = await s.raw.fetch("select id from run where state = 8 limit $1", n // 2)
    ids = [*await s.running(n // 2, s.other), *(row["id"] for row in over)]
    await s.commit(watch=ids)
    await s.commit(watch=ids)
    await s.commit(unwatch=ids)


async def waits_for_what_is_born(s: Session, n: int) -> None:
    """By who asks for their ends once they are there, as `as_completed` does: all that is watched is his."""
    (kind, *_) = await s.kinds(1)
    children = [s.spawn(kind, s.number(), claimed=True) for _ in range(n)]
    await s.commit(spawns=children)
    await s.commit(watch=[child.id for child in children])
    await s.commit(outcomes=[Outcome(child.id, 1, RunState.COMPLETED, "1", local=False) for child in children])


async def logs(s: Session, n: int) -> None:
    running = await s.running(10)
    await s.commit(logs=[LogLine(running[i % 10], 1, i, "info", "text") for i in range(n)])


Verb = Callable[[Session, int], Awaitable[None]]
VERBS: list[Verb] = [
    spawns, spawns_sent_again, spawns_with_keys, attaches, ends, ends_that_others_hear_of, ends_on_another_worker,
    requeues, requeues_for_the_hundredth_time, claims, claims_of_several_tasks, claims_of_a_program,
    claims_of_nothing, watches, waits_for_what_is_born, logs, moves, tells,
]  # fmt: skip


async def chores(s: Session, n: int) -> None:
    """What every engine does now and then, whatever there is."""
    await s.store.renew(s.worker)
    await s.store.tick()
    await s.store.look_around(s.worker, "host")
    await s.store.contended(s.worker)
    await s.store.sweep()
    await s.store.served(s.worker, "a")


async def cancels(s: Session, n: int) -> None:
    """And all else, while there is a gate; and what is below it is swept."""
    (parent,) = await s.parents(1)
    assert await s.store.cancel(parent, "for a test")
    await s.commit(claim=ClaimRequest('["a","b"]', n, n // 8, idle=True), mail=True)
    await ends(s, n)
    await requeues(s, n)
    while (await s.store.sweep()).more:
        pass
    await s.commit(mail=True, heard=[parent])
    assert not await s.store.is_heard(parent)  # by the others
    await s.raw.execute("delete from unheard")
    assert await s.store.replay(parent, TERMINAL)
    (living,) = await s.parents(1)
    ids = [row["id"] for row in await s.raw.fetch("select id from run where parent_id = $1 limit $2", living, n)]
    await s.store.cancel_children(living, 1, ids, "by a test")


async def reapings(s: Session, n: int) -> None:
    victim = await registered(s.store)
    ids = await s.running(n)
    await s.raw.execute("update run set worker_id = $1, deaths = 1 where id = any($2)", victim, ids)
    await s.store.reap(victim, 3)


async def timers(s: Session, n: int) -> None:
    ids = [row["id"] for row in await s.raw.fetch("select id from run where state = 2 limit $1", n)]
    await s.raw.execute("update run set due_at = 1 where id = any($1)", ids[: n // 2])
    await s.raw.execute("update run set expires_at = 1 where id = any($1)", ids[n // 2 :])
    await s.store.tick()


async def looks(s: Session, n: int) -> None:
    (parent,) = await s.parents(1)
    await s.store.get(parent)
    await s.store.find(parent.hex())
    await s.store.children(parent, limit=n)
    await s.store.children(parent, limit=n, state=RunState.FAILED)
    await s.store.recalled(parent, most=1000)
    await s.store.recorded_few([(parent, b"")] * 20, 20, 4096)
    await s.store.child_counts(parent)
    await s.store.attempts(parent)
    await s.store.tree_counts(parent)


async def prunes(s: Session, n: int) -> None:
    """Of trees that are over, and some that are not."""
    await s.raw.execute(
        "update run set state = 8, finished_at = 1 where id in "
        "(select id from run where state = 0 and parent_id is null and created_at > 0 order by created_at limit $1)",
        2 * n,
    )
    pruned = await s.store.prune(LATER, n)
    assert pruned.cursor is not None
    await s.store.prune(LATER, n, pruned.cursor)


async def lenses(s: Session, n: int) -> None:
    """What a lens and its pages look at."""
    (parent,) = await s.parents(1)
    store, end = s.store, await s.store.segment_end(parent, parent, FIRST_ID, n)
    part = Part(parent, parent, until=end or LAST_ID)
    runs = await store.picked(part, None, None, n)
    store._scattered.add((parent, FIRST_ID))  # its children are, and it is known
    await store.cube(part, 20)
    await store.parents(part, n)
    await store.longest(part, None, n)
    await store.latest(part)
    await store.next_parent(parent, FIRST_ID, LAST_ID)
    await store.sizes(parent, [run.id for run in runs[:10]], n)
    await store.picked_before(parent, parent, LAST_ID, n)
    await store.above(runs[-1].id if runs else parent, n)
    await store.briefs([run.id for run in runs])
    await store.besides(parent)
    await store.below(parent, (FIRST_ID, FIRST_ID), n)
    await store.tree_sample(parent, n)
    await store.failed(parent, FIRST_ID, n)
    await store.failed_at((0, FIRST_ID), LATER, n)
    await store.running((-1, FIRST_ID), n)
    await store.serving(n)
    await store.recent(FIRST_ID, LAST_ID, n)
    await store.queues(n // 4)


async def segments(s: Session, n: int) -> None:
    """A segment of which it is not known whether others' runs are among its own; and the end of a family."""
    (parent,) = await s.parents(1)
    end = await s.store.segment_end(parent, parent, FIRST_ID, 10)
    for part in (Part(parent, parent, until=end or LAST_ID), Part(parent, parent, after=end or FIRST_ID)):
        s.store._scattered.clear()
        await s.store.cube(part, 20)


CHORES: list[Verb] = [chores, cancels, reapings, timers, looks, lenses, segments, prunes]


async def lists(s: Session, n: int) -> None:
    for about in (
        RunFilter(limit=n),
        RunFilter(limit=n, task="a"),
        RunFilter(limit=n, state=RunState.RUNNING),
        RunFilter(limit=n, state=RunState.QUEUED),
        RunFilter(limit=n, every=True),
        RunFilter(limit=n, every=True, state=RunState.FAILED),
    ):
        page = await s.store.listing(about)
        if page.after is not None:
            await s.store.listing(replace(about, after=page.after))


async def searches(s: Session, n: int) -> None:
    await s.store.listing(RunFilter(limit=n, metadata=(("customer", '"one"'),)))


async def audits(s: Session, n: int) -> None:
    """From the beginning, and from somewhere on."""
    for walk in Walk:
        rows = await s.store.audit(walk, BEGIN, n)
        await s.store.audit(walk, place_of(rows[-1], walk), n)


# --- and what they read ----------------------------------------------------------------------------------------------


@asynccontextmanager
async def session(url: str, worker: int, other: int) -> AsyncIterator[Session]:
    async with connected(url) as raw:
        store = PostgresStore(address_of(url), SystemClock(), notify=False)
        found = Session(store, worker, other, raw)

        def hear(executed: Executed) -> None:
            found.executed.append(executed)

        async def watch(connection: Any) -> None:
            await watch_plans(connection, hear)

        async def enter_and_watch(connection: Any) -> None:
            await store._reader.address.enter(connection)
            await watch(connection)

        for link in (store._hot, store._beat, store.side):
            link.on_connect = watch
        store._reader.on_connect = enter_and_watch
        await store.open(lambda: None)
        try:
            yield found
        finally:
            await store.close()


LITTLE = {"parents": 6, "over": 60, "queued": 40, "running": 300}
NOTHING = dict.fromkeys(LITTLE, 0)
MUCH = {"parents": 60, "over": 8_000, "queued": 9_000, "running": 8_000}


async def test_what_every_verb_reads_is_bounded_by_its_batch(postgres_url: str):
    async with ground(postgres_url, MUCH) as (raw, workers):
        async with session(postgres_url, workers[1], workers[2]) as s:
            await through(s, 200, "without statistics")
        await raw.execute("analyze")
        async with session(postgres_url, workers[2], workers[0]) as s:
            await through(s, 200, "with statistics")
            await through(s, 200, "with statistics", verbs=[lists, searches, audits])


@pytest.mark.long
@pytest.mark.parametrize(
    "analyzed", scaled([True, False], [False]), ids=lambda it: "analyzed" if it else "not analyzed"
)
async def test_also_by_plans_that_were_made_when_there_was_little(analyzed: bool, postgres_url: str):
    async with ground(postgres_url, LITTLE) as (raw, workers):
        if analyzed:
            await raw.execute("analyze")
        async with session(postgres_url, workers[0], workers[1]) as s:
            for verb in (*VERBS, *CHORES):
                await verb(s, 2)
            await raw.execute(filled(1000, workers[0], MUCH))
            await through(s, 200, "by plans made when there was little")


@pytest.mark.long
@pytest.mark.parametrize("vacuumed", scaled([True, False], [True]), ids=lambda it: "vacuumed" if it else "not vacuumed")
async def test_also_by_plans_that_were_made_when_there_was_nothing(vacuumed: bool, postgres_url: str):
    """A server takes a table that it has never vacuumed for one of some pages, and another for as small as it is."""
    async with ground(postgres_url, NOTHING) as (raw, workers):
        if vacuumed:
            await raw.execute("vacuum analyze")
        async with session(postgres_url, workers[0], workers[1]) as s:
            await everything(s)
            await raw.execute(filled(1000, workers[0], MUCH))
            await through(s, 200, "by plans made when there was nothing")


async def the_end_of_a_large_family(s: Session, n: int) -> None:
    """What comes after the last child; and what of all of them is asked for that none is."""
    parent = await s.raw.fetchval("select root_id from run where parent_id is not null limit 1")
    last = await s.raw.fetchval("select id from run where parent_id = $1 order by id desc limit 1", parent)
    assert await s.store.segment_end(parent, parent, last, n) is None
    assert not await s.store.picked(Part(parent, parent, after=last), None, None, n)
    assert not await s.store.children(parent, after=last, limit=n)
    assert not await s.store.children(parent, state=RunState.CANCELLED, limit=n)
    assert not await s.store.children(parent, state=RunState.FAILED, limit=n)
    assert len(await s.store.picked_before(parent, parent, last, n)) == n


@pytest.mark.long
async def test_also_where_one_parent_had_nearly_all_and_others_came_after(postgres_url: str):
    async with ground(postgres_url, NOTHING | {"parents": 1, "over": 9_000}) as (raw, workers):
        await raw.execute(  # a child that has many that failed below it
            "update run set parent_id = (select min(id::text)::bytea from run where parent_id is not null), state = 9, "
            "output = null, error = '{}' where id in "
            "(select id from run where parent_id is not null order by id offset 1000 limit 2000)"
        )
        await raw.execute("analyze")
        await raw.execute(filled(1000, workers[0], NOTHING | {"queued": 9_000}))
        async with session(postgres_url, workers[0], workers[1]) as s:
            await through(s, 200, "at the end of a large family", verbs=[the_end_of_a_large_family])


async def test_also_by_plans_of_a_database_that_is_young(postgres_url: str):
    """As a first large tree finds it: a small one was there, and made the plans."""
    async with (
        ground(postgres_url, NOTHING | {"parents": 6, "running": 12}) as (_, workers),
        session(postgres_url, workers[0], workers[1]) as s,
    ):
        for number in (1, 50):
            await waits_for_what_is_born(s, number)
        await through(s, 1500, "in a young database", verbs=[waits_for_what_is_born])


@pytest.mark.parametrize("over", [True, False], ids=["resumed", "paused"])
async def test_beside_very_many_pauses(over: bool, postgres_url: str):
    """Of trees that are not among what is done: who asks whether there are any, or is next, looks at one."""
    async with ground(postgres_url, LITTLE) as (raw, workers), session(postgres_url, workers[0], workers[1]) as s:
        for verb in (spawns, claims, pauses):
            await verb(s, 2)
        await raw.execute(
            """
            insert into pause (run_id, root_id, made_at, asked_by, resumed_at, place)
            select v.id, v.id, 1, 'ann', case when $1 then v.n end, case when $1 then '\\x'::bytea end
            from (select n, decode(md5(n::text), 'hex') as id from generate_series(1, 20000) n) v
            """,
            over,
        )
        await through(s, 50, "beside very many pauses", verbs=[spawns, claims, pauses])


async def pauses(s: Session, n: int) -> None:
    """And what is resumed is queued again."""
    roots = [(s.ids.new_id(), digest(f"paused {i} of {n}")) for i in range(3)]
    await s.commit(spawns=[Spawn(SpawnKind("paused"), id_, identity, "{}") for id_, identity in roots])
    for id_, _ in roots:
        await s.store.pause(id_, "ann")
    await s.commit(claim=ClaimRequest('["paused"]', n))
    for id_, _ in roots:
        await s.store.resume(id_)
    await s.store.look_around(s.worker, "host")
    await s.store.sweep()


async def everything(s: Session) -> None:
    """All at once, about runs that don't exist."""
    nobody = s.ids.new_id()
    kind = SpawnKind("b", parent_id=nobody, parent_attempt=1, deadline=LATER, deadline_by=nobody)
    await s.commit(
        spawns=[s.spawn(kind, 0), Spawn(SpawnKind("b"), s.ids.new_id(), digest("key"), "{}")],
        attaches=[Attach(kind, nobody)],
        deadlines=[(nobody, 1, LATER)],
        outcomes=[
            Outcome(nobody, 1, RunState.FAILED, None, "{}", closes=True, local=False),
            Outcome(nobody, 1, RunState.QUEUED),
        ],
        watch=[nobody],
        logs=[LogLine(nobody, 1, 1, "info", "text")],
        claim=ClaimRequest('["a","c"]', 10, 2),
        mail=True,
    )
    await chores(s, 0)
    await s.store.prune(LATER, 1)
    await s.store.children(nobody)


ABOUT: dict[Verb, int] = {
    attaches: 800,
    moves: 1,
    tells: 2500,
    searches: WALK,
    segments: NEAR,
    audits: 600,
    cancels: 2500,  # a page of all that run
    prunes: 1000,
    looks: 800,
    the_end_of_a_large_family: VISITED // 2,
    claims_of_several_tasks: 200 * len(TASKS),
    claims_of_a_program: 200 * len(TASKS),
    lists: 200 * 3 * len(TASKS),
}
"""Those that are about more runs: a parent has so many children; the best of each task are looked at, and the newest of
each priority."""


async def through(s: Session, n: int, when: str, *, verbs: Sequence[Verb] = (*VERBS, *CHORES)) -> None:
    for verb in verbs:
        s.executed.clear()
        await verb(s, n)
        assert s.executed
        for executed in s.executed:
            complaint = _excess(executed, ABOUT.get(verb, n))
            assert not complaint, f"{verb.__name__} of {n}, {when}: {complaint}: {executed}"


def _excess(executed: Executed, n: int) -> str:
    if any(node.kind == "Seq Scan" and node.relation in ("run", "log", "watch", "attempt") for node in executed.nodes):
        return "reads a table from end to end"
    if executed.rows > ROWS_EACH * n + ROWS_BESIDE:
        return f"reads {executed.rows} rows"
    if executed.blocks > BLOCKS_EACH * n + BLOCKS_BESIDE:
        return f"touches {executed.blocks} blocks"
    return ""
