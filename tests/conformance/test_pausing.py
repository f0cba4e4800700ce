"""What is paused: never begun, however it would have come to that; and queued again when it is resumed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fanwood import RunNotFoundError, RunState, UsageError
from fanwood.model.commands import ClaimRequest, Suspend
from fanwood.model.records import Swept
from fanwood.model.states import RunKind, Waits
from fanwood.store.surgery import paused, resumed
from fanwood.store.why import WhyCause, explain
from tests.conformance.stage import SECOND, Stage, handed_back, retried

QUEUED, WAITING, RUNNING, CANCELLED = RunState.QUEUED, RunState.WAITING, RunState.RUNNING, RunState.CANCELLED


async def waits(stage: Stage, run: Any) -> int | None:
    row = await stage.row(run)
    return row[15]


async def test_a_claim_moves_what_it_meets(stage: Stage) -> None:
    """All of it, though it asks for one, and it still brings what is not paused."""
    root = await stage.running()
    below = [await stage.born("b", root) for _ in range(20)]
    other = await stage.born("b")
    assert await stage.store.pause(root.key, "ann")
    assert not await stage.store.pause(root.key, "bob")
    (pause,) = await stage.store.pauses()
    assert (pause.run_id, pause.by) == (root.key, "ann")
    assert await stage.store.pauses(after=(pause.made_at, pause.run_id)) == []
    assert await stage.store.pauses(after=(pause.made_at, pause.run_id[:-1])) == [pause]
    assert [run.key for run in await stage.claim(1, tasks=["b"])] == [other]
    assert {await stage.state(run) for run in below} == {WAITING}
    assert {await waits(stage, run) for run in below} == {Waits.RESUME}
    assert await stage.state(root) is RUNNING
    assert await stage.store.resume(root.key)
    assert not await stage.store.resume(root.key)
    await stage.sweep()
    assert await stage.store.pauses() == []
    assert sorted(run.key for run in await stage.claim(100, tasks=["b"])) == sorted(below)
    assert not (await stage.store.look_around(stage.worker, "host")).closed


async def test_nothing_below_is_born_to_begin(stage: Stage) -> None:
    root = await stage.running()
    child = await stage.running("b", root)
    await stage.store.pause(root.key, "ann")
    spawns = [stage.spawn("c", child, claimed=True), stage.spawn("c", child, child_key="k", claimed=True)]
    spawns += [stage.spawn("c", child, claimed=number % 2 == 0) for number in range(10)]
    free = stage.spawn("c", claimed=True)
    await stage.commit(spawns=[*spawns, free])
    assert not any(spawn.claimed for spawn in spawns)
    assert free.claimed
    assert {await stage.state(spawn.id) for spawn in spawns} == {WAITING}
    assert await stage.state(free.id) is RUNNING
    part = await stage.recorded(child)
    stage.clock.advance(6)
    await stage.store.tick()
    assert await stage.state(part) is RunState.COMPLETED  # sleeps go on
    await stage.store.resume(root.key)
    await stage.sweep()
    assert len(await stage.claim(100, tasks=["c"])) == len(spawns)


@pytest.mark.parametrize("how", ["handed back", "retried", "retried later", "lost", "replayed"])
async def test_what_comes_back_waits(stage: Stage, how: str) -> None:
    root = await stage.running()
    child = await stage.running("b", root)
    await stage.store.pause(child.key, "ann")
    match how:
        case "handed back":
            await stage.report(handed_back(child))
        case "retried":
            await stage.report(retried(child))
        case "retried later":
            await stage.report(retried(child, 5))
            stage.clock.advance(6)
            await stage.store.tick()
        case "lost":
            await stage.store.reap(stage.worker, 3)
            stage.worker = await stage.register()
        case _:
            await stage.complete(child)
            assert await stage.store.replay(child.key, [RunState.COMPLETED])
    assert await stage.claim(100, tasks=["b"]) == []
    assert await stage.state(child) is WAITING
    assert await waits(stage, child) == Waits.RESUME
    await stage.store.resume(child.key)
    await stage.sweep()
    assert [run.key for run in await stage.claim(100, tasks=["b"])] == [child.key]


@pytest.mark.parametrize("first", ["outer", "inner"])
async def test_pauses_within_pauses(stage: Stage, first: str) -> None:
    """What two pauses hold goes on when both are taken back, in whatever order."""
    root = await stage.running()
    child = await stage.running("b", root)
    own, other = await stage.born("c", child), await stage.born("c", root)
    await stage.store.pause(root.key, "ann")
    await stage.store.pause(child.key, "bob")
    assert await stage.claim(100) == []
    order = (root, child) if first == "outer" else (child, root)
    found: list[set[bytes]] = []
    for run in order:
        await stage.store.resume(run.key)
        await stage.sweep()
        found.append({run.key for run in await stage.claim(100)})
    assert found == ([{other}, {own}] if first == "outer" else [set(), {own, other}])


async def test_paused_anew_while_it_is_resumed(stage: Stage) -> None:
    root = await stage.running()
    below = [await stage.born("b", root) for _ in range(300)]
    await stage.store.pause(root.key, "ann")
    while await stage.claim(100, tasks=["b"]) or await stage.state(below[-1]) is QUEUED:
        pass
    await stage.store.resume(root.key)
    swept = await stage.store.sweep()
    assert swept.more
    assert (await stage.store.look_around(stage.worker, "host")).closed
    await stage.store.pause(root.key, "bob")
    assert await stage.claim(100, tasks=["b"]) == []
    assert {await stage.state(run) for run in below} == {WAITING}
    await stage.store.resume(root.key)
    await stage.sweep()
    assert len(await stage.claim(1000, tasks=["b"])) == 300


@pytest.mark.parametrize("order", ["pause, cancel", "cancel, pause"])
async def test_what_is_paused_can_be_cancelled(stage: Stage, order: str) -> None:
    stage.sweeps = False
    root = await stage.running()
    child = await stage.born("b", root)
    born = None
    if order == "pause, cancel":
        await stage.store.pause(root.key, "ann")
        spawn = stage.spawn("c", root)
        await stage.commit(spawns=[spawn])
        born = spawn.id
        await stage.cancel(root)
    else:
        await stage.store.cancel(root.key, "no more")
        await stage.store.pause(root.key, "ann")
        await stage.sweep()
    assert await stage.state(child) is CANCELLED
    assert born is None or await stage.state(born) is CANCELLED
    assert await stage.store.replay(root.key, [CANCELLED])
    assert await stage.claim(100) == []  # it is paused still
    assert await stage.state(root) is WAITING
    await stage.store.resume(root.key)
    await stage.sweep()
    assert [run.key for run in await stage.claim(100)] == [root.key]


async def test_times_go_on(stage: Stage) -> None:
    root = await stage.running()
    late = await stage.born("b", root, schedule_timeout=5 * SECOND)
    await stage.store.pause(root.key, "ann")
    assert await stage.claim(1, tasks=["b"]) == []
    stage.clock.advance(6)
    await stage.store.tick()
    assert await stage.state(late) is RunState.FAILED


async def test_a_resume_queues_what_waited_for_it_and_nothing_else(stage: Stage) -> None:
    """Not what another pause holds, nor who waits for ends, or for a time."""
    root = await stage.running()
    held, free, late = [await stage.running("b", root) for _ in range(3)]
    await stage.report(handed_back(held), handed_back(free), retried(late, 60))
    child = await stage.running("c", root)
    await stage.commit(suspends=[Suspend(root.key, root.attempt, [(child.key, 1)], 1)])
    for run in (root, held):
        await stage.store.pause(run.key, "ann")
    assert await stage.claim(100) == []
    await stage.store.resume(root.key)
    await stage.sweep()
    runs = (root, held, free, late)
    assert [await stage.state(run) for run in runs] == [WAITING, WAITING, QUEUED, WAITING]
    assert [await waits(stage, run) for run in runs[1:]] == [Waits.RESUME, None, Waits.TIME]


async def test_who_is_suspended_waits_when_it_is_woken(stage: Stage) -> None:
    root = await stage.running()
    child = await stage.running("b", root)
    done = await stage.commit(suspends=[Suspend(root.key, root.attempt, [(child.key, 1)], 1)])
    assert not done.going_on
    await stage.store.pause(root.key, "ann")
    await stage.complete(child)
    assert await stage.claim(1) == []
    assert await waits(stage, root) == Waits.RESUME
    await stage.store.resume(root.key)
    await stage.sweep()
    (again,) = await stage.claim(1)
    assert (again.key, again.wakes) == (root.key, 1)


async def test_workers_hand_back_before_the_call_returns(stage: Stage) -> None:
    root = await stage.running()
    asked = asyncio.ensure_future(paused(stage.store, root.key, "ann"))
    while not (closings := (await stage.commit(mail=True)).closings):
        await asyncio.sleep(0)
    assert [(each.run_id, each.root_id) for each in closings] == [(root.id, root.id)]
    assert not asked.done()
    await stage.commit(heard=[root.key])
    assert await asked
    assert await resumed(stage.store, root.key)
    assert not await resumed(stage.store, root.key)


async def test_who_resumes_is_told_before_all_is_queued(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is queued begins while more is being queued, and not once the call returns."""
    root = await stage.running()
    await stage.store.pause(root.key, "ann")
    await stage.born("b", root)
    assert await stage.claim(1, tasks=["b"]) == []
    story, sweep = list[str](), stage.store.sweep

    async def swept(*args: Any) -> Swept:
        done = await sweep(*args)
        story.append("a page" if done.looked else "nothing")
        return done

    monkeypatch.setattr(stage.store, "sweep", swept)
    assert await resumed(stage.store, root.key, lambda: story.append("told"))
    assert story[:3] == ["told", "a page", "told"]
    assert len(await stage.claim(1, tasks=["b"])) == 1


async def test_what_says_why(stage: Stage) -> None:
    root = await stage.running()
    child = await stage.born("b", root)
    await stage.store.pause(root.key, "ann")
    for _ in range(2):
        said = explain(await stage.store.circumstances(child))
        assert said.cause is WhyCause.PAUSED
        assert "above it, is paused by ann since" in said.text
        assert said.command is not None
        assert said.command.startswith("fanwood runs resume ")
        await stage.claim(1, tasks=["b"])
    assert (await stage.store.circumstances(root.key)).paused is not None
    above = explain(await stage.store.circumstances(root.key))
    assert above.cause is WhyCause.WAITING_FOR_CHILDREN
    assert "it is paused by ann" in above.text


async def test_what_can_not_be_paused(stage: Stage) -> None:
    with pytest.raises(RunNotFoundError):
        await stage.store.pause(stage.ids.new_id(), "ann")
    with pytest.raises(RunNotFoundError):
        await stage.store.resume(stage.ids.new_id())
    root = await stage.running()
    part = await stage.recorded(root, kind=RunKind.SLEEP)
    with pytest.raises(UsageError, match="part of its parent"):
        await stage.store.pause(part, "ann")


async def test_a_pause_goes_with_its_tree(stage: Stage) -> None:
    root = await stage.running()
    await stage.store.pause(root.key, "ann")
    await stage.complete(root)
    stage.clock.advance(10)
    assert (await stage.store.prune(stage.clock.now(), 100)).runs == 1
    assert await stage.store.pauses() == []
    assert await stage.store.count("pause") == 0


async def test_what_waits_in_the_queue_is_moved_by_a_claim_of_one(stage: Stage) -> None:
    root = await stage.running()
    below = [await stage.born("b", root) for _ in range(120)]
    await stage.store.pause(root.key, "ann")
    done = await stage.commit(claim=ClaimRequest('["b"]', 1))
    assert done.has_more or not done.claimed
    assert {await stage.state(run) for run in below} == {WAITING}


@pytest.mark.parametrize("page", [1, 2, 3, 250])
async def test_many_trees_are_resumed_a_page_at_a_time(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    """Each has a pause of its own, one of them two, and in one something else is paused still."""
    monkeypatch.setattr("fanwood.store.pausing.PAGE", page)
    for module in ("memory", "sqlite"):
        monkeypatch.setattr(f"fanwood.store.{module}.pauses.PAGE", page)
    monkeypatch.setattr("fanwood.store.sqlite.pauses.AT_ONCE", 3)
    roots = [await stage.born("a") for _ in range(5)]
    tree = await stage.running("c")
    parents = [await stage.running("c", tree) for _ in range(3)]
    children = [[await stage.born("a", parent) for _ in range(3)] for parent in parents]
    paused = [*roots, *[parent.key for parent in parents]]
    for id_ in paused:
        assert await stage.store.pause(id_, "me")
    assert await stage.claim(20, tasks=["a"]) == []
    for id_ in paused[:-1]:
        assert await stage.store.resume(id_)
    steps = 0
    while (await stage.store.sweep()).more:
        steps += 1
        assert steps < 100
    claimed = {run.key for run in await stage.claim(20, tasks=["a"])}
    assert claimed == {*roots, *children[0], *children[1]}
    assert [pause.run_id for pause in await stage.store.pauses()] == [parents[2].key]


async def test_trees_that_were_paused_each_by_itself_are_resumed_together(stage: Stage) -> None:
    """Ten thousand of them took minutes, as for each of them all were looked at."""
    if stage.store.url.startswith("memory"):
        pytest.skip("there they are found by their order")
    roots = [await stage.born("a") for _ in range(70)]
    for id_ in roots:
        assert await stage.store.pause(id_, "me")
    assert await stage.claim(100, tasks=["a"]) == []
    for id_ in roots:
        assert await stage.store.resume(id_)
    steps = 1
    while (await stage.store.sweep()).more:
        steps += 1
    assert steps <= 4
    assert {run.key for run in await stage.claim(100, tasks=["a"])} == {*roots}
    assert await stage.store.pauses() == []
