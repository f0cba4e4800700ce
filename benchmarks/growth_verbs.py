"""The verbs of a worker, of the command line and of a page, each as one function: seconds of what is to be measured.

What has to be there for a verb is made before, and what it leaves behind is ended, so that nothing piles up in the
queue. All take the same ground, so that the small and the large database are asked for the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from msgspec.structs import replace

from benchmarks.growth_ground import FOREIGN, HOST, OURS, Ground, ended, info, request, timed
from benchmarks.history import NAMESPACE, TASKS, TEAM, failed_single
from fanwood import RunState
from fanwood.model.commands import Batch, SpawnKind
from fanwood.model.records import RunFilter
from fanwood.store.cancelling import FIRST_PAUSE

BATCH = 100
HELD = 10
TREE = 1000
PAGE = 50
FAR = 5_000
"""So many roots back is "a page far back"."""
FEW_ROUNDS = 12
"""Of verbs that write a tree each time: they would make a large database of a small one."""

Measure = Callable[[Ground], Awaitable[dict[str, float]]]


@dataclass(frozen=True)
class Verb:
    """What is measured: one name for each figure that it yields."""

    names: tuple[str, ...]
    measure: Measure
    rounds: int | None = None  # no more than these, whatever the command line says


# --- a worker --------------------------------------------------------------------------------------------------------


async def fan_out(ground: Ground) -> dict[str, float]:
    """A parent's 100 children, and then what a worker does with them."""
    kind = await ground.parent()
    assert kind.parent_id is not None
    spawned, _ = await timed(ground.commit(Batch(spawns=ground.spawns(BATCH, kind))))
    claimed, answer = await timed(ground.commit(Batch(claim=request(BATCH))))
    runs = answer.claimed
    assert len(runs) == BATCH
    reported, _ = await timed(ground.commit(Batch(outcomes=[ended(r.key, r.attempt) for r in runs])))
    counted, counts = await timed(ground.store.child_counts(kind.parent_id))
    assert sum(c.count for c in counts) == BATCH
    known, recalled = await timed(ground.store.recalled(kind.parent_id))
    assert len(recalled) == BATCH
    await ground.end([(kind.parent_id, 1)])
    return dict(zip(FAN_OUT, (spawned, claimed, reported, counted, known), strict=True))


FAN_OUT = (
    f"commit: {BATCH} children are spawned", f"commit: {BATCH} are claimed", f"commit: {BATCH} end",
    f"child_counts of {BATCH} new ones", f"recalled: {BATCH} new ones",
)  # fmt: skip


async def watch(ground: Ground) -> dict[str, float]:
    seconds, answer = await timed(ground.commit(Batch(watch=ground.running[:HELD])))
    assert not answer.unknown
    return {WATCH: seconds}


WATCH = f"commit: {HELD} are watched"


async def many_looks(ground: Ground) -> dict[str, float]:
    """Short ones, twenty at a time."""
    store, me = ground.store, ground.worker
    return {
        LOOKS[0]: await repeated(lambda: store.commit(me, Batch(mail=True))),
        LOOKS[1]: await repeated(lambda: store.commit(me, Batch(mail=True, claim=request(BATCH)))),
        LOOKS[2]: await repeated(lambda: store.renew(me)),
        LOOKS[3]: await repeated(lambda: store.look_around(me, HOST)),
        LOOKS[4]: await repeated(store.tick),
        LOOKS[5]: await repeated(lambda: store.contended(me)),
    }


LOOKS = (
    "look for mail: none",
    "look for mail and runs: none",
    "renew",
    "look_around",
    "tick: nothing due",
    "contended",
)


async def repeated(look: Callable[[], Awaitable[object]], times: int = 20) -> float:
    async def all_of_them() -> None:
        for _ in range(times):
            await look()

    return (await timed(all_of_them()))[0] / times


async def timers(ground: Ground) -> dict[str, float]:
    """A retry that is due, and a run that was not begun in time."""
    (late,) = ground.spawns(1, SpawnKind(OURS, schedule_timeout=1000))
    (tried,) = ground.spawns(1, SpawnKind(OURS), claimed=True)
    await ground.commit(Batch(spawns=[late, tried]))
    again = ended(tried.id, 1)
    again.state, again.output, again.retry, again.delay = RunState.QUEUED, None, True, 1000
    await ground.commit(Batch(outcomes=[again]))
    await asyncio.sleep(0.005)
    seconds, _ = await timed(ground.store.tick())
    runs = await ground.claim(BATCH)
    assert [run.key for run in runs] == [tried.id]
    await ground.end([(run.key, run.attempt) for run in runs])
    return {TIMERS: seconds}


TIMERS = "tick: one is due, one has expired"


async def reap(ground: Ground) -> dict[str, float]:
    worker = await ground.store.register(info("mortal", (OURS,)), [])
    await ground.commit(Batch(spawns=ground.spawns(HELD, SpawnKind(OURS), claimed=True)), worker)
    seconds, count = await timed(ground.store.reap(worker, 3))
    assert count == HELD
    await ground.end([(run.key, run.attempt) for run in await ground.claim(BATCH)])
    return {REAP: seconds}


REAP = f"reap a worker with {HELD} runs"


async def deadlines(ground: Ground) -> dict[str, float]:
    """A parent's limit moves; its children are told, and asked about."""
    kind = await ground.parent()
    assert kind.parent_id is not None
    later = ground.store.now() + 3_600_000_000
    spawns = ground.spawns(BATCH, replace(kind, deadline=later, deadline_by=kind.parent_id))
    await ground.commit(Batch(spawns=spawns))
    moved, _ = await timed(ground.commit(Batch(deadlines=[(kind.parent_id, 1, later + 1)])))
    told, _ = await timed(_swept(ground))
    looked, found = await timed(ground.store.deadlines([spawn.id for spawn in spawns]))
    assert set(found.values()) == {later + 1}
    await ground.end([(run.key, run.attempt) for run in await ground.claim(BATCH)])
    await ground.end([(kind.parent_id, 1)])
    return dict(zip(DEADLINES, (moved, told, looked), strict=True))


DEADLINES = ("move a deadline", f"tell {BATCH} of it", f"look at {BATCH} deadlines")


# --- what people ask for ---------------------------------------------------------------------------------------------


async def cancel(ground: Ground) -> dict[str, float]:
    kind = await ground.parent()
    assert kind.parent_id is not None
    await ground.commit(Batch(spawns=ground.spawns(TREE - 1, kind)))
    recorded, cancelled = await timed(ground.store.cancel(kind.parent_id, "a benchmark"))
    assert cancelled
    swept, count = await timed(_swept(ground))
    assert count == TREE - 1
    await ground.commit(Batch(mail=True))
    return {CANCEL[0]: recorded, CANCEL[1]: swept}


async def _swept(ground: Ground) -> int:
    count = 0
    while (swept := await ground.store.sweep()).more:
        count += swept.ended
        await asyncio.sleep(0 if swept.ended else FIRST_PAUSE)
    return count + swept.ended


CANCEL = (f"cancel a tree of {TREE:,}: recorded", f"cancel a tree of {TREE:,}: swept")


async def pause(ground: Ground) -> dict[str, float]:
    """A tree is paused, claims move what is queued of it, and it is resumed."""
    kind = await ground.parent()
    assert kind.parent_id is not None
    await ground.commit(Batch(spawns=ground.spawns(TREE - 1, kind)))
    recorded, paused = await timed(ground.store.pause(kind.parent_id, "a benchmark"))
    assert paused
    moved, _ = await timed(_moved(ground))
    assert await ground.store.resume(kind.parent_id)
    released, _ = await timed(_swept(ground))
    await ground.store.cancel(kind.parent_id, "a benchmark")
    await _swept(ground)
    await ground.commit(Batch(mail=True))
    return dict(zip(PAUSE, (recorded, moved, released), strict=True))


async def _moved(ground: Ground) -> None:
    while (done := await ground.commit(Batch(claim=request(BATCH)))).has_more:
        assert not done.claimed


PAUSE = (
    f"pause a tree of {TREE:,}: recorded",
    f"pause a tree of {TREE:,}: claims move it out of the way",
    f"resume a tree of {TREE:,}",
)


async def replay(ground: Ground) -> dict[str, float]:
    id_ = ground.history.single(5, failed_single(5))
    seconds, replayed = await timed(ground.store.replay(id_, {RunState.FAILED, RunState.CANCELLED}))
    assert replayed
    await ground.store.cancel(id_, "a benchmark")
    return {REPLAY: seconds}


REPLAY = "replay a failed run"


async def prune(ground: Ground) -> dict[str, float]:
    seconds, _ = await timed(_pruned(ground))
    return {PRUNE: seconds}


async def _pruned(ground: Ground) -> None:
    """A tree, and some single runs around it: several calls, each from where the one before ended."""
    runs = 0
    while runs < TREE:
        pruned = await ground.store.prune(ground.history.end, TREE, ground.pruned, NAMESPACE)
        assert pruned.cursor is not None, "there is nothing more to prune"
        runs, ground.pruned = runs + pruned.runs, pruned.cursor


PRUNE = f"prune: about {TREE:,} runs"


def read(name: str, query: Callable[[Ground], Awaitable[object]]) -> Verb:
    """Of what only looks."""

    async def measure(ground: Ground) -> dict[str, float]:
        seconds, answer = await timed(query(ground))
        assert answer
        return {name: seconds}

    return Verb((name,), measure)


def listing(name: str, filter_: RunFilter, few: int | None = None) -> Verb:
    """A page; one that is short, as a filter lets few through, goes on with the next call. (Other verbs have added
    runs, on both sides as many, which a filter may have to pass by.)"""

    async def measure(ground: Ground) -> dict[str, float]:
        least = few or PAGE
        seconds, page = await timed(ground.store.listing(filter_))
        found = len(page.runs)
        while found < least and page.after is not None:
            more, page = await timed(ground.store.listing(replace(filter_, after=page.after)))
            seconds, found = seconds + more, found + len(page.runs)
        assert found >= least, f"{found} runs, and not {least}: {name}"
        return {name: seconds}

    return Verb((name,), measure)


async def far_back(ground: Ground) -> dict[str, float]:
    """By the key of a root that far back."""
    history = ground.history
    per_step = 1 + 111
    step = history.steps - 1 - min(FAR, history.steps * per_step // 2) // per_step
    key = (history.step_at(step), history.root(step))
    seconds, page = await timed(ground.store.listing(RunFilter(after=key, limit=PAGE)))
    assert len(page.runs) == PAGE
    return {FAR_BACK: seconds}


FAR_BACK = f"listing: roots, a page {FAR:,} back"


def recent(ground: Ground) -> bytes:
    """The root of a tree that has completed, some steps ago."""
    return ground.history.root(ground.history.steps - 5)


def recent_branch(ground: Ground) -> bytes:
    """One of its branches."""
    return ground.history.branch(ground.history.steps - 5, 3)


def _one_order(ground: Ground) -> RunFilter:
    history = ground.history
    serial = next(n for n in range((history.steps - 4) * 111, history.runs) if n % 100 == 50)
    return RunFilter(metadata=(("order", str(serial)),))


VERBS: tuple[Verb, ...] = (
    Verb(FAN_OUT, fan_out),
    Verb((WATCH,), watch),
    Verb(LOOKS, many_looks),
    Verb((TIMERS,), timers),
    Verb((REAP,), reap),
    Verb(DEADLINES, deadlines),
    read("get", lambda g: g.store.get(recent(g))),
    read("find", lambda g: g.store.find(recent(g).hex()[:20])),
    listing("listing: roots", RunFilter()),
    Verb((FAR_BACK,), far_back),
    listing("listing: roots of a task", RunFilter(task=TASKS[0])),
    listing("listing: roots of a namespace", RunFilter(prefix="beta/")),
    listing("listing: failed roots", RunFilter(state=RunState.FAILED)),
    listing("listing: cancelled roots", RunFilter(state=RunState.CANCELLED)),
    listing("listing: running roots", RunFilter(state=RunState.RUNNING)),
    listing("listing: failed roots of a task", RunFilter(task=TASKS[0], state=RunState.FAILED), 1),
    listing("listing: all", RunFilter(every=True)),
    listing("listing: all of a task", RunFilter(every=True, task="alpha/leaf")),
    listing("listing: all that failed", RunFilter(every=True, state=RunState.FAILED)),
    listing("listing: all that run", RunFilter(every=True, state=RunState.RUNNING)),
    listing("listing: all that wait", RunFilter(every=True, state=RunState.WAITING)),
    listing("listing: roots with metadata", RunFilter(metadata=(TEAM,)), 1),
    read("listing: the root with some metadata", lambda g: g.store.listing(_one_order(g))),
    read("children: a page", lambda g: g.store.children(recent(g), limit=PAGE)),
    read("children: those that failed", lambda g: g.store.children(recent(g), state=RunState.FAILED)),
    read("child_counts of 909", lambda g: g.store.child_counts(recent(g))),
    read(f"tree_counts of {TREE:,}", lambda g: g.store.tree_counts(recent(g))),
    read("tree_counts of 11, a branch", lambda g: g.store.tree_counts(recent_branch(g))),
    read(f"tree_slowest of {TREE:,}", lambda g: g.store.tree_slowest(recent(g), None, 10)),
    read(f"tree_failures of {TREE:,}", lambda g: g.store.tree_failures(recent(g), None, PAGE)),
    read("recalled: 909", lambda g: g.store.recalled(recent(g), most=1000)),
    read("recorded_few: of 100 runs", lambda g: g.store.recorded_few([(recent(g), b"")] * 100, 50, 4096)),
    read("logs: 50 lines", lambda g: g.store.logs(recent(g))),
    read("attempts of one run", lambda g: g.store.attempts(recent(g))),
    read("workers", lambda g: g.store.workers()),
    read("tasks", lambda g: g.store.tasks()),
    read("served", lambda g: g.store.served(g.worker, FOREIGN)),
    read("report", lambda g: g.store.report()),
    Verb((REPLAY,), replay),
    Verb(CANCEL, cancel, FEW_ROUNDS),
    Verb(PAUSE, pause, FEW_ROUNDS),
    Verb((PRUNE,), prune, FEW_ROUNDS),
)
assert OURS.partition("/")[0] not in {task.partition("/")[0] for task in TASKS}
