"""Another priority: of what is queued, of what comes to be queued, and of what is born below."""

from __future__ import annotations

import pytest

from fanwood import RunNotFoundError, RunState, UsageError
from fanwood.model.commands import ClaimedRun
from fanwood.model.states import OnParentEnd
from fanwood.store.surgery import reprioritized
from tests.conformance.stage import SECOND, Stage, failed, retried
from tests.conformance.test_sharing import link


async def priority(stage: Stage, run: ClaimedRun | bytes) -> int:
    return (await stage.store.get(run if isinstance(run, bytes) else run.key)).priority


async def hear(stage: Stage) -> list[bytes]:
    """What this worker is told, and has acted upon."""
    done = await stage.commit(mail=True)
    heard = [bytes.fromhex(closing.run_id) for closing in done.closings]
    await stage.commit(heard=heard)
    return heard


async def test_what_is_queued_and_what_is_born_stands_in_another_order(stage: Stage) -> None:
    root, other = await stage.running(), await stage.running("b")
    child = await stage.running("b", root)
    below, deep = await stage.born("c", root), await stage.born("c", child)
    before = await stage.born("c", other, priority=5)
    assert await stage.store.reprioritize(root.key, 9, "ann") == 1
    assert [await priority(stage, run) for run in (root, below, deep)] == [9, 1, 1]
    assert (await stage.store.look_around(stage.worker, "host")).closed
    assert not await hear(stage)
    await stage.sweep()
    assert not (await stage.store.look_around(stage.worker, "host")).closed
    assert await hear(stage) == [root.key]
    born = stage.spawn("c", child, claimed=True)
    likewise = stage.spawn("c", child, claimed=True, priority=9)
    elsewhere = stage.spawn("c", other, claimed=True)
    await stage.commit(spawns=[born, likewise, elsewhere])
    assert (born.claimed, likewise.claimed, elsewhere.claimed) == (False, True, True)
    assert [await priority(stage, run) for run in (child, below, deep, born.id, elsewhere.id)] == [9, 9, 9, 9, 1]
    assert (await stage.claim(4, tasks=["c"]))[-1].key == before
    (line,) = await stage.store.logs(root.key)
    assert (line.message, line.level) == ("given priority 9 by ann; it had 1", "info")


async def test_siblings_are_born_with_it_in_one_way_and_in_the_other(stage: Stage) -> None:
    root = await stage.running()
    await stage.store.reprioritize(root.key, -3, "ann")
    kind = stage.spawn("b", root).kind
    alike = [stage.spawn("b", root) for _ in range(30)]
    for spawn in alike:
        spawn.kind = kind
    keyed = stage.spawn("b", root, child_key="k")
    await stage.commit(spawns=[*alike, keyed])
    assert {await priority(stage, spawn.id) for spawn in (*alike, keyed)} == {-3}


@pytest.mark.parametrize("how", ["retried later", "replayed", "asked for again", "paused"])
async def test_what_comes_back_has_it(stage: Stage, how: str) -> None:
    root = await stage.running()
    child = await stage.running("b", root)
    match how:
        case "retried later":
            await stage.report(retried(child, 5))
        case "paused":
            await stage.report(retried(child, 0))
            await stage.store.pause(child.key, "ann")
            assert await stage.claim(10, tasks=["b"]) == []
        case _:
            await stage.report(failed(child))
    assert await stage.store.reprioritize(root.key, 4, "ann") == 1
    await stage.sweep()
    match how:
        case "retried later":
            stage.clock.advance(6)
            await stage.store.tick()
        case "paused":
            await stage.store.resume(child.key)
            await stage.sweep()
        case "replayed":
            assert await stage.store.replay(child.key, [RunState.FAILED])
        case _:
            await stage.report(retried(root))
            (root,) = await stage.claim(1, tasks=["a"])
            await stage.attach(root, child.key, "b")
    (again,) = await stage.claim(10, tasks=["b"])
    assert (again.key, again.priority) == (child.key, 4)


async def test_the_last_word_counts(stage: Stage) -> None:
    """Whether it was said of a run, or of something above it; at the same moment as well."""
    root = await stage.running()
    child = await stage.running("b", root)
    own, other = await stage.born("c", child), await stage.born("c", root)
    await stage.store.reprioritize(root.key, 5, "ann")
    await stage.store.reprioritize(child.key, 7, "bob")
    await stage.sweep()
    assert [await priority(stage, run) for run in (root, child, own, other)] == [5, 7, 7, 5]
    assert await priority(stage, await stage.born("c", child)) == 7
    assert await stage.store.reprioritize(root.key, 2, "ann") == 5
    await stage.sweep()
    assert [await priority(stage, run) for run in (root, child, own, other)] == [2] * 4
    assert await priority(stage, await stage.born("c", child)) == 2


async def test_the_last_word_counts_whoever_says_it(stage: Stage) -> None:
    """Another process, whose instants may be behind: for both the clock stands still."""
    root = await stage.running()
    child = await stage.born("b", root)
    other = await stage.another_store()
    await stage.store.reprioritize(child, 7, "ann")
    await other.reprioritize(root.key, 2, "bob")
    await stage.sweep()
    assert [await priority(stage, run) for run in (root, child)] == [2, 2]


async def test_it_is_told_in_pages(stage: Stage) -> None:
    root = await stage.running()
    child = await stage.running("b", root)
    await stage.commit(spawns=[stage.spawn("c", child) for _ in range(1_100)])
    await stage.store.reprioritize(root.key, 3, "ann")
    first = await stage.store.sweep(root.key)
    assert first.more
    assert 0 < first.looked <= 500
    while (await stage.store.sweep(root.key)).more:
        assert not await hear(stage)
    assert await hear(stage) == [root.key]
    assert {run.priority for run in await stage.claim(2_000, tasks=["c"])} == {3}
    assert not (await stage.store.sweep()).looked


@pytest.mark.parametrize("given", [(9,), (0, 9), (5, 4, 3, 2)])
async def test_what_is_closed_ends_whatever_priority_it_is_given(stage: Stage, given: tuple[int, ...]) -> None:
    """The sweep that ends it goes by priorities, a page at a time: what went to another one would be left over, and
    begun."""
    root = await stage.running()
    child = await stage.running("b", root)
    spawns = [stage.spawn("c", child) for _ in range(900)]
    await stage.commit(spawns=spawns)
    await stage.store.cancel(root.key, "over")
    for number, each in enumerate(given):
        await stage.store.reprioritize(child.key, each, "ann")
        await stage.store.reprioritize(spawns[-1 - number].id, each + 1, "ann")
        await stage.store.sweep()
    await stage.sweep()
    assert not await stage.claim(10, tasks=["c"])
    ended = [await stage.store.get(spawn.id) for spawn in spawns]
    assert {run.state for run in ended} == {RunState.CANCELLED}
    assert {run.priority for run in ended[: -len(given)]} == {1}


async def test_what_goes_on_below_what_is_closed_has_it(stage: Stage) -> None:
    root = await stage.running()
    child = await stage.running("b", root)
    own, free = await stage.born("c", child), await stage.born("c", child, on_parent_end=OnParentEnd.CONTINUE)
    await stage.store.cancel(child.key, "over")
    assert await stage.store.reprioritize(own, 2, "ann") == await stage.store.reprioritize(root.key, 5, "ann") == 1
    await stage.sweep()
    assert [await priority(stage, run) for run in (own, free)] == [1, 5]
    assert (await stage.store.get(own)).state is RunState.CANCELLED
    assert [run.key for run in await stage.claim(2, tasks=["c"])] == [free]


async def test_what_is_shared_has_it_from_the_root(stage: Stage) -> None:
    root = await stage.running()
    child = await stage.running("b", root)
    await stage.store.reprioritize(root.key, 6, "ann")
    await stage.commit(records=[link(stage, child)])
    (shared,) = [run for run in await stage.store.children(root.key, task="b") if run.id != child.key]
    assert (shared.task, shared.priority) == ("b", 6)


async def test_what_is_shared_keeps_its_own_whatever_calls_ask_for(stage: Stage) -> None:
    """Also if it runs again; and another word about the root counts for it, too."""
    root = await stage.running()
    child, other = await stage.running("b", root), await stage.running("b", root)
    one = link(stage, child)
    await stage.commit(records=[one])
    (shared,) = [run for run in await stage.store.children(root.key, task="b") if run.id not in (child.key, other.key)]
    await stage.store.reprioritize(shared.id, -1, "ann")
    await stage.commit(records=[link(stage, other, priority=9)])
    assert (await stage.store.get(shared.id)).priority == -1
    await stage.store.cancel(shared.id, "said")
    await stage.commit(records=[link(stage, other, priority=9)])
    again = await stage.store.get(shared.id)
    assert (again.state, again.priority) == (RunState.QUEUED, -1)
    await stage.store.reprioritize(root.key, 4, "bob")
    await stage.sweep()
    await stage.commit(records=[link(stage, other, priority=9)])
    assert (await stage.store.get(shared.id)).priority == 4


async def test_what_is_shared_and_has_ended_keeps_what_it_had(stage: Stage) -> None:
    """Whoever asks for it once more, after another word about the root."""
    root = await stage.running()
    child, other = await stage.running("b", root), await stage.running("b", root)
    await stage.commit(records=[link(stage, child, priority=2)])
    (shared,) = await stage.claim(1, tasks=["b"])
    await stage.complete(shared)
    await stage.store.reprioritize(root.key, 6, "ann")
    await stage.sweep()
    await stage.commit(records=[link(stage, other, priority=9)])
    assert await priority(stage, shared) == 2


async def test_what_is_shared_runs_again_with_the_highest_of_its_callers(stage: Stage) -> None:
    root = await stage.running()
    one = link(stage, root, priority=1)
    await stage.commit(records=[one])
    (shared,) = await stage.store.children(root.key, task="b")
    await stage.store.cancel(shared.id, "said")
    await stage.commit(records=[link(stage, root, priority=9)])
    assert (await stage.store.get(shared.id)).priority == 9


async def test_nobody_hears_of_what_nobody_had_claimed(stage: Stage) -> None:
    root = await stage.born()
    assert await reprioritized(stage.store, root, 8, "ann") == 1
    assert not await hear(stage)
    assert [run.priority for run in await stage.claim(1)] == [8]


async def test_it_goes_with_its_tree_and_is_refused_of_what_is_no_run(stage: Stage) -> None:
    root = await stage.running()
    part = await stage.recorded(await stage.running("b"))
    with pytest.raises(UsageError, match="a part of its parent"):
        await stage.store.reprioritize(part, 1, "ann")
    with pytest.raises(RunNotFoundError):
        await stage.store.reprioritize(stage.ids.new_id(), 1, "ann")
    await stage.store.reprioritize(root.key, 2, "ann")
    await stage.sweep()
    await stage.complete(root)
    stage.clock.advance(10)
    assert (await stage.store.prune(stage.clock.now() - SECOND, 100)).runs == 1
    assert await stage.store.count("urgency") == 0
