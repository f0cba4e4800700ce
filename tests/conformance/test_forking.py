"""Forks: roots that are made of runs that have ended, what they find of those, and what is kept until they end."""

from __future__ import annotations

import pytest

from fanwood import RunNotFoundError, RunState, UsageError
from fanwood.ids import id_text
from fanwood.model.budgets import DEPTH, RUNS, Overdrawn
from fanwood.model.commands import ClaimedRun, Record, SpawnKind
from fanwood.model.forks import Fork, fork_of
from fanwood.model.records import PruneCount
from fanwood.model.states import RunKind
from fanwood.store.forked import forked
from fanwood.store.forking import NewFork
from fanwood.store.retention import delete_tree
from fanwood.store.store import START
from tests.conformance.stage import SECOND, Stage, digest

COMPLETED, FAILED = RunState.COMPLETED, RunState.FAILED


async def ended(stage: Stage, children: int = 2) -> tuple[ClaimedRun, list[ClaimedRun]]:
    """A root that failed, whose first children completed, and the last one failed."""
    root = await stage.running(metadata='{"x":1}', program=7, priority=2)
    runs: list[ClaimedRun] = []
    for number in range(children):
        stage.clock.advance(1)
        runs.append(await stage.running("b", root))
        await (stage.complete(runs[-1], f'"{number}"') if number < children - 1 else stage.fail(runs[-1]))
    await stage.fail(root)
    return root, runs


async def test_a_fork_with_a_budget(stage: Stage) -> None:
    """Which is its own, from its first commit on; what is copied takes nothing of it, and what is born does."""
    root, (first, _) = await ended(stage)
    new = stage.ids.new_id()
    part = ((DEPTH, 3), (RUNS, 1), ("usd", 5_000_000))
    assert await forked(stage.store, await stage.get(root), new, None, None, "ann", part)
    (mine,) = await stage.claim()
    there = await stage.store.balances(new)
    assert {(one.unit, one.amount, one.used, one.run_id) for one in there} == {
        (DEPTH, 3, 0, new), (RUNS, 1, 0, new), ("usd", 5_000_000, 0, new),
    }  # fmt: skip
    kind = SpawnKind("b", mine.key, mine.attempt, mine.key, 1)
    copy = Record(
        kind, stage.ids.new_id(), digest("k"), "1", COMPLETED, 3, "k", '"out"', life=Fork(first.key.hex(), "copy").text
    )
    await stage.commit(records=[copy])
    await stage.born("b", mine)
    with pytest.raises(Overdrawn):
        await stage.born("b", mine)


async def fork(stage: Stage, run: ClaimedRun, at: ClaimedRun | None = None, input_: str | None = None) -> bytes:
    new = stage.ids.new_id()
    place = None if at is None else await stage.get(at)
    assert await forked(stage.store, await stage.get(run), new, place, input_, "ann")
    return new


async def test_a_root_with_what_the_run_has(stage: Stage) -> None:
    root, (first, _) = await ended(stage)
    new = await fork(stage, root)
    record = await stage.get(new)
    assert (record.parent_id, record.root_id, record.state, record.attempt) == (None, new, RunState.QUEUED, 0)
    assert (record.input, record.metadata, record.priority) == ("{}", '{"x":1}', 2)
    assert await stage.claim(programs=(8,), worker=await stage.register(programs=(8,))) == []
    (claimed,) = await stage.claim()
    assert (claimed.key, claimed.depth, claimed.life) == (new, 0, record.life)
    mark = fork_of(record.life)
    assert mark is not None
    assert (mark.key, mark.how, mark.way, mark.by) == (root.key, "fork", [], "ann")
    (lineage,) = await stage.store.forks(root.key)
    assert lineage == await stage.store.lineage(new)
    assert (lineage.origin_id, lineage.origin_root, lineage.at, lineage.changed) == (root.key, root.key, None, 0)
    other = await fork(stage, first, input_='{"n":2}')
    assert ((await stage.get(other)).input, (await stage.get(other)).task) == ('{"n":2}', "b")
    assert [each.root_id for each in await stage.store.forks(first.key)] == [other]
    assert await stage.store.lineage(root.key) is None


async def test_what_is_refused(stage: Stage) -> None:
    root = await stage.running()
    child = await stage.running("b", root)
    step = await stage.recorded(root, kind=RunKind.RECORDED)
    other = (await ended(stage))[0]
    with pytest.raises(UsageError, match="is RUNNING: only what has ended"):
        await stage.store.fork(NewFork(stage.ids.new_id(), root.key, Fork(root.id.lower()).text))
    await stage.complete(child)
    await stage.complete(root)
    with pytest.raises(UsageError, match="can't be forked by itself: it is a part of its parent"):
        await stage.store.fork(NewFork(stage.ids.new_id(), step, Fork(step.hex()).text))
    with pytest.raises(RunNotFoundError):
        await stage.store.fork(NewFork(stage.ids.new_id(), bytes(16), Fork("").text))
    for at, why in ((other, "is not below"), (root, "at itself")):
        with pytest.raises(UsageError, match=why):
            await forked(stage.store, await stage.get(root), stage.ids.new_id(), await stage.get(at), None, "")
    with pytest.raises(UsageError, match="is not below"):
        await forked(stage.store, await stage.get(child), stage.ids.new_id(), await stage.get(root), None, "")
    with pytest.raises(UsageError, match="is given no input"):
        await forked(stage.store, await stage.get(root), stage.ids.new_id(), await stage.get(step), "1", "")
    again = NewFork(stage.ids.new_id(), root.key, Fork(root.key.hex()).text)
    assert await stage.store.fork(again)
    assert not await stage.store.fork(again)
    assert len(await stage.store.forks(root.key)) == 1


async def test_what_a_fork_finds(stage: Stage) -> None:
    """In pages; up to where it is redone from; large outputs later."""
    root = await stage.running()
    runs: list[ClaimedRun] = []
    for number in range(4):
        stage.clock.advance(1)
        key = f"k{number}" if number == 1 else None
        about = {"child_key": key, "input_digest": digest("k")} if key else {}
        runs.append(await stage.running("b", root, **about))
        await (stage.fail(runs[-1]) if number == 2 else stage.complete(runs[-1], '"%s"' % ("x" * number * 10)))
        await stage.recorded(root, f"s{number}", kind=RunKind.RECORDED)
    waits = await stage.recorded(root, "w")
    await stage.fail(root, closes=True)  # (what waits ends, and has not completed)
    await stage.sweep()
    found = [each for after in (b"",) for each in await stage.store.kept(root.key, None, after, 100, 15)]
    codes = [each for each in found if each.kind < RunKind.RECORDED]
    assert [(each.id, each.state) for each in codes] == [
        (run.key, FAILED if n == 2 else COMPLETED) for n, run in enumerate(runs)
    ]
    assert [each.told for each in codes] == [True, True, True, False]
    assert [each.output for each in codes] == ['""', f'"{"x" * 10}"', None, None]
    assert (codes[1].child_key, codes[1].digest) == ("k1", digest("k"))
    parts = [each for each in found if each.kind >= RunKind.RECORDED]
    assert [each.input for each in parts] == [f'"s{n}"' for n in range(4)]  # (and not what did not complete)
    assert waits not in [each.id for each in found]
    pages = await stage.store.kept(root.key, None, b"", 3, 15)
    assert pages + await stage.store.kept(root.key, None, pages[-1].id, 100, 15) == found
    cut = await stage.store.kept(root.key, runs[1].key, b"", 100, 15)
    assert [each.id for each in cut] == [runs[0].key, parts[0].id, runs[1].key]
    assert await stage.store.kept(root.key, bytes(16), b"", 100, 15) == []


async def test_copies_and_marks(stage: Stage) -> None:
    """A child that is born as a copy is found by the next attempt as any other; one that is born in a fork is claimed
    with what it is there."""
    root, (first, last) = await ended(stage)
    (mine,) = await stage.claim() if await fork(stage, root) else []
    kind = SpawnKind("b", mine.key, mine.attempt, mine.key, 1, metadata='{"x":1}')
    life = Fork(first.key.hex(), "copy").text
    copy = Record(
        kind, stage.ids.new_id(), digest("k"), "1", COMPLETED, 3, "k", '"out"', input_digest=digest("d"), life=life
    )
    step = stage.part(mine, kind=RunKind.RECORDED, life=life)
    ready, claimed = stage.spawn("a", mine), stage.spawn("b", mine, claimed=True)
    texts = [Fork(last.key.hex(), way=["ab"]).text, Fork(last.key.hex(), "again").text]
    done = await stage.commit(
        records=[copy, step], spawns=[ready, claimed], marks=[(ready.id, texts[0]), (claimed.id, texts[1])]
    )
    assert not done.fenced_parents
    record = await stage.get(copy.id)
    assert (record.state, record.output, record.attempt, record.life) == (COMPLETED, '"out"', 0, life)
    assert (record.metadata, record.child_key, record.task, record.kind) == ('{"x":1}', "k", "b", RunKind.TASK)
    assert record.finished_at is not None
    assert [(await stage.get(id_)).life for id_ in (ready.id, claimed.id, step.id)] == [*texts, life]
    assert [(run.key, run.life) for run in await stage.claim(9)] == [(ready.id, texts[0])]
    known = {each.id: each for each in await stage.store.recalled(mine.key, most=100)}[copy.id]
    assert (known.identity, known.digest, known.state, known.output) == (digest("k"), digest("d"), COMPLETED, '"out"')
    again = await stage.hand_back(mine)
    other = await stage.attach(again, copy.id, "b", input_digest=digest("other"))
    assert not other.matches
    assert (await stage.attach(again, copy.id, "b", input_digest=digest("d"))).output == '"out"'
    late = Record(kind, stage.ids.new_id(), digest("l"), "1", COMPLETED, output="1", life=life)
    spawn = stage.spawn("a", mine)
    done = await stage.commit(records=[late], spawns=[spawn], marks=[(spawn.id, texts[0])])
    assert done.fenced_parents == {(mine.key, mine.attempt)}
    for id_ in (late.id, spawn.id):
        with pytest.raises(RunNotFoundError):
            await stage.get(id_)
    await stage.complete(again)


async def test_nobody_deletes_what_a_fork_may_need(stage: Stage) -> None:
    """Others of the same page are deleted all the same; and when it has ended, both."""
    root, (child, _) = await ended(stage)
    other, _ = await ended(stage)
    new = await fork(stage, child)
    stage.clock.advance(1000)
    before = stage.store.now() - 500 * SECOND
    assert await stage.store.prunable(before) == PruneCount(1, 3)
    assert (await stage.store.prune(before, 500)).runs == 3
    assert await stage.store.begin_deleting(root.key) is None
    assert await delete_tree(stage.store, await stage.get(root)) == 0
    with pytest.raises(RunNotFoundError):
        await stage.get(other)
    (run,) = await stage.claim(tasks=["b"])
    await stage.complete(run)
    assert await stage.store.prunable(before) == PruneCount(1, 3)
    assert (await stage.store.prune(before, 500, START)).runs == 3
    assert await stage.store.kept(root.key, None, b"", 9, 9) == []
    (lineage,) = await stage.store.forks(child.key)  # it is said, though that is gone
    assert lineage.root_id == new
    assert await delete_tree(stage.store, await stage.get(new)) == 1
    assert await stage.store.forks(child.key) == []


async def test_nobody_deletes_what_a_fork_of_a_fork_may_need(stage: Stage) -> None:
    """The one in between has ended, and may have copied nothing."""
    root, _ = await ended(stage)
    first = await fork(stage, root)
    await stage.complete((await stage.claim())[0])
    last = await forked(stage.store, await stage.store.get(first), new := stage.ids.new_id(), None, None, "ann")
    assert last
    stage.clock.advance(1000)
    before = stage.store.now() - 500 * SECOND
    assert await stage.store.prunable(before) == PruneCount(0, 0)
    assert (await stage.store.prune(before, 500)).runs == 0
    assert await stage.store.begin_deleting(root.key) is None
    (run,) = await stage.claim()
    assert run.key == new
    await stage.complete(run)
    assert await stage.store.prunable(before) == PruneCount(2, 4)
    assert await stage.store.begin_deleting(root.key) is not None


async def test_what_is_being_deleted_is_not_forked(stage: Stage) -> None:
    root, _ = await ended(stage)
    assert await stage.store.begin_deleting(root.key) is not None
    with pytest.raises(RunNotFoundError, match=f"{id_text(root.key)} is being deleted"):
        await fork(stage, root)
    assert await stage.store.forks(root.key) == []
    assert await stage.claim() == []


async def test_a_fork_has_the_time_to_begin_that_its_run_had(stage: Stage) -> None:
    root = await stage.running(schedule_timeout=5 * SECOND)
    await stage.fail(root)
    stage.clock.advance(60)
    new = await fork(stage, root)
    stage.clock.advance(4)
    await stage.store.tick()
    assert await stage.state(new) is RunState.QUEUED
    stage.clock.advance(2)
    await stage.store.tick()
    assert await stage.state(new) is FAILED
