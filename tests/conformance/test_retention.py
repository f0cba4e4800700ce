"""Deleting what is old and over."""

from __future__ import annotations

import contextlib
import random
from itertools import chain, pairwise

import pytest

from fanwood import RunNotFoundError, RunState, SeededIds
from fanwood.ids import shifted
from fanwood.model.commands import ClaimedRun, LogLine, Spawn, SpawnKind
from fanwood.model.records import PruneCount, PruneCursor, RunFilter
from fanwood.model.states import OnParentEnd
from fanwood.store import retention
from fanwood.store.retention import delete_tree
from fanwood.store.store import START, WHOLE
from tests.conformance.stage import SECOND, Stage, completed, digest

OLD = 1000  # seconds


async def tree(stage: Stage, children: int = 0, task: str = "a") -> list[bytes]:
    """A tree that has ended: its runs, the root first."""
    root = await stage.running(task)
    spawns = [stage.spawn("b", root) for _ in range(children)]
    if spawns:
        await stage.commit(spawns=spawns)
        await stage.report(*[completed(run) for run in await stage.claim(children, tasks=["b"])])
    await stage.complete(root)
    return [root.key, *(spawn.id for spawn in spawns)]


async def shape(stage: Stage, parents: list[int]) -> list[bytes]:
    """A tree that has ended, of any shape: `parents[n]` is the number of the parent of run n + 1."""
    root = await stage.running()
    runs: list[ClaimedRun] = [root]
    for parent in parents:
        runs.append(await stage.running("b", runs[parent]))
    for run in reversed(runs):
        await stage.complete(run)
    return [run.key for run in runs]


async def left(stage: Stage, ids: list[bytes]) -> list[bytes]:
    there = await stage.records()
    return [id_ for id_ in ids if id_ in there]


def before(stage: Stage, seconds: float = OLD / 2) -> int:
    return stage.store.now() - round(seconds * SECOND)


async def prune(stage: Stage, limit: int = 500, namespace: str = "") -> list[int]:
    """All there is; how many runs went with each call."""
    steps: list[int] = []
    cursor = START
    while cursor is not None:
        pruned = await stage.store.prune(before(stage), limit, cursor, namespace)
        steps.append(pruned.runs)
        cursor = pruned.cursor
        assert len(steps) < 1000
    return steps


async def test_that_old_trees_go_with_all_that_hangs_on_them(stage: Stage) -> None:
    root = await stage.running()
    child = await stage.running("b", root)
    await stage.commit(logs=[LogLine(child.key, 1, 0, "info", "hello")])
    await stage.complete(child)
    await stage.complete(root)
    stage.clock.advance(OLD)
    young = await tree(stage, 2)
    assert await stage.store.prunable(before(stage)) == PruneCount(trees=1, runs=2)
    assert sum(await prune(stage)) == 2
    assert await left(stage, [root.key, child.key]) == []
    assert await stage.store.logs(child.key) == []
    assert await left(stage, young) == young
    assert await stage.store.prunable(before(stage)) == PruneCount(trees=0, runs=0)
    assert sum(await prune(stage)) == 0


async def test_that_it_counts_when_the_root_ended(stage: Stage) -> None:
    run = await stage.running()
    stage.clock.advance(OLD)
    await stage.complete(run)
    assert sum(await prune(stage)) == 0
    stage.clock.advance(OLD)
    assert sum(await prune(stage)) == 1


@pytest.mark.parametrize("state", [RunState.QUEUED, RunState.RUNNING])
async def test_that_what_has_not_ended_stays(stage: Stage, state: RunState) -> None:
    run = await stage.into(state)
    stage.clock.advance(OLD)
    assert sum(await prune(stage)) == 0
    assert await stage.state(run) is state


@pytest.mark.parametrize("state", [RunState.COMPLETED, RunState.FAILED, RunState.CANCELLED])
async def test_that_it_is_over_however_it_ended(stage: Stage, state: RunState) -> None:
    await stage.into(state)
    stage.clock.advance(OLD)
    assert sum(await prune(stage)) == 1


async def test_that_children_that_go_on_keep_their_tree(stage: Stage) -> None:
    root = await stage.running()
    child = await stage.running("b", root, on_parent_end=OnParentEnd.CONTINUE)
    below = await stage.running("c", child)
    await stage.complete(root)
    stage.clock.advance(OLD)
    assert sum(await prune(stage)) == 0
    assert await stage.store.prunable(before(stage)) == PruneCount(0, 0)
    await stage.complete(below)
    assert sum(await prune(stage)) == 0
    await stage.complete(child)
    assert sum(await prune(stage)) == 3


async def test_that_one_tree_does_not_keep_another(stage: Stage) -> None:
    waiting = await stage.running()
    old = [await tree(stage, 2) for _ in range(3)]
    stage.clock.advance(OLD)
    assert sum(await prune(stage, limit=4)) == 9
    assert await left(stage, [waiting.key, *chain(*old)]) == [waiting.key]


async def test_that_the_oldest_go_first_and_whole(stage: Stage) -> None:
    trees: list[list[bytes]] = []
    for _ in range(7):
        trees.append(await tree(stage, 3))
        stage.clock.advance(1)
    stage.clock.advance(OLD)
    cursor, gone = START, 0
    while gone < 28:
        assert cursor is not None
        pruned = await stage.store.prune(before(stage), 10, cursor)
        assert pruned.runs <= 10
        gone, cursor = gone + pruned.runs, pruned.cursor
        assert gone % 4 == 0
        remaining = [ids for ids in trees if await left(stage, ids)]
        assert remaining == trees[gone // 4 :]
        assert await left(stage, [*chain(*remaining)]) == [*chain(*remaining)]


async def test_that_old_roots_that_stay_hold_nothing_up(stage: Stage) -> None:
    spawns = [stage.spawn("c") for _ in range(40)]
    await stage.commit(spawns=spawns)
    old = await tree(stage, 2)
    stage.clock.advance(OLD)
    assert sum(await prune(stage, limit=6)) == 3
    assert await left(stage, old) == []


def _random_tree(seed: int, runs: int) -> list[int]:
    chance = random.Random(seed)
    return [max(0, n - chance.randint(0, 12)) if chance.random() < 0.6 else chance.randint(0, n) for n in range(runs)]


@pytest.mark.parametrize(
    "parents",
    [[0] * 30, list(range(30)), [(n - 1) // 2 for n in range(1, 32)], [0] * 6 + [1 + n % 6 for n in range(24)]]
    + [_random_tree(seed, 40) for seed in range(2)],
    ids=["wide", "deep", "binary", "broad", "1", "2"],
)
async def test_that_a_large_tree_is_taken_apart_from_its_leaves(stage: Stage, parents: list[int]) -> None:
    ids = await shape(stage, parents)
    stage.clock.advance(OLD)
    assert await stage.store.prunable(before(stage)) == PruneCount(1, len(ids))
    cursor, gone = START, 0
    while cursor is not None:
        pruned = await stage.store.prune(before(stage), 7, cursor)
        assert pruned.runs <= 10
        gone, cursor = gone + pruned.runs, pruned.cursor
        there = await left(stage, ids)
        assert len(there) == len(ids) - gone
        assert not there or ids[0] in there
        for number, parent in enumerate(parents, 1):
            assert ids[number] not in there or ids[parent] in there
    assert gone == len(ids)


async def test_that_a_large_tree_that_goes_on_somewhere_is_not_touched(stage: Stage) -> None:
    root = await stage.running()
    child = await stage.running("b", root)
    deep = await stage.running("c", child, on_parent_end=OnParentEnd.CONTINUE)
    spawns = [stage.spawn("b", root) for _ in range(30)]
    await stage.commit(spawns=spawns)
    await stage.report(*[completed(run) for run in await stage.claim(30, tasks=["b"])])
    await stage.complete(child)
    await stage.complete(root)
    old = await tree(stage)
    stage.clock.advance(OLD)
    assert sum(await prune(stage, limit=7)) == 1
    assert await left(stage, old) == []
    assert len(await left(stage, [spawn.id for spawn in spawns])) == 30
    await stage.complete(deep)
    assert sum(await prune(stage, limit=7)) == 33


async def test_that_nothing_of_a_large_tree_can_be_replayed_once_it_is_being_deleted(stage: Stage) -> None:
    """A replay that came before keeps the tree whole; one that comes later is refused, and loses nothing."""
    ids = await shape(stage, [0] * 20 + list(range(20, 30)))
    stage.clock.advance(OLD)
    cursor, gone = START, 0
    while cursor is not None:
        pruned = await stage.store.prune(before(stage), 7, cursor)
        cursor, gone = pruned.cursor, gone + pruned.runs
        for id_ in (ids[0], ids[-1]):
            if id_ in await left(stage, ids):
                with pytest.raises(RunNotFoundError, match="is being deleted"):
                    await stage.store.replay(id_, [RunState.COMPLETED])
    assert gone == len(ids)


@pytest.mark.parametrize("which", [0, 7, -1])
async def test_that_a_replay_before_a_tree_is_marked_keeps_it_whole(stage: Stage, which: int) -> None:
    ids = await shape(stage, [0] * 20 + list(range(20, 30)))
    stage.clock.advance(OLD)
    assert await stage.store.replay(ids[which], [RunState.COMPLETED])
    assert sum(await prune(stage, limit=7)) == 0
    assert await left(stage, ids) == ids
    (run,) = [run for run in await stage.claim(10) if run.key == ids[which]]
    await stage.complete(run)
    stage.clock.advance(OLD)
    assert sum(await prune(stage, limit=7)) == len(ids)


async def test_that_other_namespaces_are_left_alone(stage: Stage) -> None:
    ids: dict[str, bytes] = {}
    for task in ("plain", "x/task", "xy/task"):
        spawn = stage.spawn(task)
        ids[task] = spawn.id
        await stage.commit(spawns=[spawn])
        [run] = await stage.claim(1, tasks=[task])
        await stage.complete(run)
    stage.clock.advance(OLD)
    assert await stage.store.prunable(before(stage), "x") == PruneCount(1, 1)
    assert sum(await prune(stage, namespace="x")) == 1
    assert await left(stage, list(ids.values())) == [ids["plain"], ids["xy/task"]]
    assert await stage.store.prunable(before(stage)) == PruneCount(1, 1)
    assert sum(await prune(stage)) == 1
    assert await left(stage, list(ids.values())) == [ids["xy/task"]]


class Dated(SeededIds):
    """Ids with a clock's time in them, as a system's have."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(11)
        self._clock = stage.clock

    def new_id(self) -> bytes:
        return shifted(super().new_id(), self._clock.now() // 1000)


async def history(stage: Stage, tasks: list[str], apart: float = 3600.0) -> list[bytes]:
    """Roots that have ended, one after the other."""
    roots: list[bytes] = []
    for task in tasks:
        roots.append(await stage.born(task))
        [run] = await stage.claim(1, tasks=[task])
        await stage.complete(run)
        stage.clock.advance(apart)
    return roots


async def steps_from(stage: Stage, start: PruneCursor, namespace: str) -> tuple[int, int]:
    """How many calls it takes, and how many runs they delete."""
    calls, runs, cursor = 0, 0, start
    while cursor is not None:
        pruned = await stage.store.prune(before(stage), 5, cursor, namespace)
        calls, runs, cursor = calls + 1, runs + pruned.runs, pruned.cursor
    return calls, runs


@pytest.mark.parametrize("own", ["mine", ""], ids=["named", "without a name"])
async def test_that_the_history_of_other_namespaces_is_not_walked(stage: Stage, own: str) -> None:
    stage.ids = Dated(stage)
    mine, others = (f"{own}/a" if own else "a"), [f"{name}/b" for name in ("kin", "minerals", "x", "m")]
    if own:
        others.append("b")
    living = await stage.running(mine)
    await history(stage, [*others * 20, mine, *others * 20, mine, mine, *others * 10])
    stage.clock.advance(OLD)
    everything = await stage.records()
    calls, runs = await steps_from(stage, START, own)
    assert runs == 3
    assert calls <= 10
    gone = {id_ for id_ in everything if id_ not in await stage.records()}
    assert {everything[id_].task for id_ in gone} == {mine}
    assert (await steps_from(stage, START, own))[0] <= 5
    await stage.complete(living)
    stage.clock.advance(OLD)
    assert await steps_from(stage, START, own) == (2, 1)
    assert await steps_from(stage, START, own) == (1, 0)
    assert await steps_from(stage, START, "nobody") == (1, 0)


async def test_that_a_look_at_everything_finds_what_ids_do_not_tell(stage: Stage) -> None:
    """An id says nothing of its time: at a root that stays, many of others, and one more."""
    await stage.running("mine/a")
    await history(stage, ["x/b"] * 20)
    (old,) = await history(stage, ["mine/a"])
    stage.clock.advance(OLD)
    assert (await steps_from(stage, WHOLE, "mine"))[1] == 1
    assert await left(stage, [old]) == []


async def test_that_a_key_is_free_again(stage: Stage) -> None:
    def keyed() -> Spawn:
        return Spawn(SpawnKind("a"), stage.ids.new_id(), digest("k"), "{}", 0, "k", digest("a {}"))

    await stage.commit(spawns=[keyed()])
    [run] = await stage.claim(1)
    await stage.complete(run)
    stage.clock.advance(OLD)
    assert sum(await prune(stage)) == 1
    again = keyed()
    assert (await stage.commit(spawns=[again])).taken == {}
    assert [root.id for root in (await stage.store.listing(RunFilter())).runs] == [again.id]


async def test_two_that_prune_at_once(stage: Stage) -> None:
    for _ in range(20):
        await tree(stage, 2)
    stage.clock.advance(OLD)
    other = await stage.another_store()
    cursors: list[PruneCursor | None] = [START, START]
    gone = 0
    while any(cursor is not None for cursor in cursors):
        for number, store in enumerate((stage.store, other)):
            cursor = cursors[number]
            if cursor is not None:
                pruned = await store.prune(before(stage), 9, cursor)
                gone, cursors[number] = gone + pruned.runs, pruned.cursor
    assert gone == 60


async def test_one_tree_is_deleted(stage: Stage) -> None:
    root, other = await stage.running(), await stage.running()
    children = [await stage.running("b", root) for _ in range(7)]
    for child in children:
        await stage.commit(outcomes=[completed(child)])
    record = await stage.get(root)
    assert await stage.store.begin_deleting(root.key) is None  # it lives
    assert await delete_tree(stage.store, record) == 0
    await stage.commit(outcomes=[completed(root), completed(other)])
    assert await delete_tree(stage.store, record) == 8
    for gone in (root, *children):
        with pytest.raises(RunNotFoundError):
            await stage.get(gone)
    assert (await stage.get(other)).state is RunState.COMPLETED


async def test_a_tree_with_something_alive_in_it_stays(stage: Stage) -> None:
    root = await stage.running()
    child = await stage.born("b", root, on_parent_end=OnParentEnd.CONTINUE)
    await stage.commit(outcomes=[completed(root)])
    assert await delete_tree(stage.store, await stage.get(root)) == 0
    assert await stage.state(child) is RunState.QUEUED
    assert await stage.store.replay(root.key, [RunState.COMPLETED]) is True  # the mark is gone


@pytest.mark.parametrize("children", [0, 3])
async def test_of_what_hangs_on_runs_a_part_goes_in_each_call(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, children: int
) -> None:
    """The lines of a run's log may be a million; a tree on which little hangs goes with others."""
    monkeypatch.setattr(retention, "MOST_HANGING", 10)
    small = await tree(stage, 1)
    root = await stage.running()
    spawns = [stage.spawn("b", root) for _ in range(children)]
    await stage.commit(spawns=spawns, logs=[LogLine(root.key, 1, n, "info", "x") for n in range(35)])
    for run in await stage.claim(children, tasks=["b"]):
        await stage.commit(logs=[LogLine(run.key, 1, n, "info", "x") for n in range(8)])
        await stage.report(completed(run))
    await stage.complete(root)
    last = await tree(stage, 1)
    stage.clock.advance(OLD)
    lines, cursor = [35 + 8 * children], START
    while cursor is not None:
        cursor = (await stage.store.prune(before(stage), 500, cursor)).cursor
        lines.append(await stage.store.count("log"))
        if lines[-1]:
            with contextlib.suppress(RunNotFoundError):  # it is being deleted
                assert not await stage.store.replay(root.key, [])
    assert max(one - other for one, other in pairwise(lines)) == 10
    assert lines[-1] == 0
    assert await left(stage, [root.key, *(spawn.id for spawn in spawns), *small, *last]) == []
