"""Runs that start over: in one commit, with another input, and without what they had asked for."""

from __future__ import annotations

import pytest

from fanwood import RunState, UsageError
from fanwood.errors import RunEndedError
from fanwood.ids import first_id
from fanwood.model.commands import FEW_CHILDREN, ClaimedRun, Outcome, Suspend
from fanwood.model.lives import life_of
from fanwood.model.states import OnParentEnd, RunKind
from fanwood.store.auditing import findings
from fanwood.store.forked import forked
from tests.conformance.stage import SECOND, Stage, completed, failed
from tests.conformance.test_messages import receiving


def renewed(run: ClaimedRun, input_: str = '"new"') -> Outcome:
    return Outcome(run.key, run.attempt, RunState.QUEUED, input_, renews=True, busy=5)


async def again(stage: Stage, run: ClaimedRun) -> ClaimedRun:
    found = await stage.claim_again(run)
    assert found is not None
    assert [one async for one in findings(stage.store, full=True, attended=False)] == []
    return found


async def test_it_goes_on_with_another_input_and_as_new(stage: Stage) -> None:
    run = await stage.running()
    run = await stage.retry(run) or run
    await stage.commit(outcomes=[renewed(run)])
    row = await stage.get(run)
    assert (row.state, row.input, row.retry_count, row.error, row.attempt) == (RunState.QUEUED, '"new"', 0, None, 2)
    next_ = await again(stage, run)
    life = life_of(next_.life)
    assert life is not None
    assert (next_.attempt, next_.trial_start, life.number, life.since) == (3, 3, 1, 3)
    assert [(line.level, line.message) for line in await stage.store.logs(run.key)] == [("info", "it starts over (1)")]
    await stage.commit(outcomes=[renewed(next_, "2")])
    third = await again(stage, run)
    assert (third.input, life_of((await stage.get(run)).life)) == ("2", life_of(third.life))
    assert life_of(third.life).number == 2  # type: ignore[union-attr]
    assert not (await stage.complete(third)).fenced_outcomes


async def test_what_lives_below_it_ends_but_what_is_to_go_on(stage: Stage) -> None:
    run = await stage.running()
    child, below = await stage.running("b", run), await stage.recorded(run)
    grandchild = await stage.running("b", child)
    outlives = await stage.running("b", run, on_parent_end=OnParentEnd.CONTINUE)
    done = await stage.commit(outcomes=[renewed(run)])
    assert done.has_closed
    next_ = await again(stage, run)
    new = await stage.running("b", next_)
    await stage.sweep()
    states = [await stage.state(one) for one in (child, below, grandchild, outlives, new, run)]
    assert states == [RunState.CANCELLED] * 3 + [RunState.RUNNING] * 3
    assert (await stage.complete(new)).fenced_outcomes == set()


async def test_the_attempt_before_is_over(stage: Stage) -> None:
    run = await stage.running()
    await stage.commit(outcomes=[renewed(run)])
    await stage.commit(outcomes=[renewed(run, "3")])
    assert (await stage.commit(outcomes=[completed(run)])).fenced_outcomes == {0}
    next_ = await again(stage, run)
    assert (await stage.commit(outcomes=[renewed(run, "3")])).fenced_outcomes == {0}
    assert ((await stage.get(run)).input, next_.attempt) == ('"new"', 2)
    assert len(await stage.store.logs(run.key)) == 1


async def test_below_what_is_closed_it_is_cancelled(stage: Stage) -> None:
    parent = await stage.running()
    run = await stage.running("b", parent)
    await stage.store.cancel(parent.key, "for a test")
    done = await stage.commit(outcomes=[renewed(run)])
    assert done.finished[run.key].state is RunState.CANCELLED
    row = await stage.get(run)
    assert (row.state, row.life, row.input) == (RunState.CANCELLED, None, run.input)


async def test_messages_are_for_the_new_life(stage: Stage) -> None:
    run = await stage.running()
    old = await receiving(stage, run, "m")
    await stage.commit(outcomes=[renewed(run)])
    await stage.store.send(run.key, "m", '"hello"')
    assert await stage.state(old) is not RunState.COMPLETED
    next_ = await again(stage, run)
    new = await receiving(stage, next_, "m")
    await stage.store.deliver(run.key, "m")
    assert (await stage.get(new)).output == '"hello"'
    await stage.complete(next_)
    with pytest.raises(RunEndedError):
        await stage.store.send(run.key, "m", "1")


async def test_what_is_known_of_suspensions_is_forgotten(stage: Stage) -> None:
    run = await stage.running()
    sleep = await stage.recorded(run, due_at=stage.clock.now() + SECOND)
    await stage.commit(suspends=[Suspend(run.key, 1, [(sleep, 1)], 1, stage.clock.now() + 60 * SECOND, pending="")])
    stage.clock.advance(2)
    await stage.store.tick()
    woken = await again(stage, run)
    assert (woken.wakes, woken.until is not None) == (1, True)
    await stage.commit(outcomes=[renewed(woken)])
    next_ = await again(stage, run)
    assert (next_.wakes, next_.until, next_.pending) == (0, None, None)


@pytest.mark.parametrize(("how", "closes"), [("ended", False), ("many", True), ("lives", True), ("deep", True)])
async def test_nothing_is_closed_for_nothing(stage: Stage, how: str, closes: bool) -> None:
    """Of few children that have all ended, and have had none, nothing can live."""
    run = await stage.running()
    child = await stage.running("b", run)
    if how == "deep":
        await stage.running("b", child)
    for _ in range(FEW_CHILDREN if how == "many" else 0):
        await stage.recorded(
            run, f"{stage.ids.new_id()!r}", kind=RunKind.RECORDED, state=RunState.COMPLETED, output="1"
        )
    if how != "lives":
        await stage.complete(child)
    assert (await stage.commit(outcomes=[renewed(run)])).has_closed == closes


@pytest.mark.parametrize(("few", "closes"), [(True, False), (False, True)])
async def test_a_parent_that_completes_closes_nothing_for_nothing(
    stage: Stage,
    few: bool,
    closes: bool,
) -> None:
    run = await stage.running()
    for _ in range(2 if few else FEW_CHILDREN + 1):
        await stage.recorded(
            run, f"{stage.ids.new_id()!r}", kind=RunKind.RECORDED, state=RunState.COMPLETED, output="1"
        )
    run = await stage.hand_back(run)
    assert (await stage.complete(run, closes=True)).has_closed == closes


BELOW = ["nothing", "failed", "failed above what lives", "failed above what goes on", "completed", "cancelled"]


@pytest.mark.parametrize("below", BELOW)
async def test_a_parent_that_fails_closes_nothing_for_nothing(stage: Stage, below: str) -> None:
    """Where nothing can live below children that have ended: who failed by its own code has closed what was. So a
    failure that climbs a chain leaves no gates; but below one that completed something may live, and ends."""
    stage.sweeps = False
    run = await stage.running()
    child = await stage.running("b", run)
    policy = OnParentEnd.CONTINUE if below == "failed above what goes on" else OnParentEnd.DEFAULT
    other = None if below == "nothing" else await stage.born("c", child, on_parent_end=policy)
    if below == "failed" and other is not None:
        (leaf,) = await stage.claim(1, tasks=["c"])
        await stage.fail(leaf)
    match below:
        case "completed":
            await stage.complete(child)
        case "cancelled":
            await stage.store.cancel(child.key, "no more")
        case _:
            above = below.startswith("failed above")
            assert (await stage.fail(child, closes=True)).has_closed == above
    assert (await stage.fail(run, closes=True)).has_closed == (below in ("completed", "cancelled"))
    await stage.sweep()
    if other is not None:
        expected = {"failed": RunState.FAILED, "failed above what goes on": RunState.QUEUED}
        assert await stage.state(other) is expected.get(below, RunState.CANCELLED)


@pytest.mark.parametrize("how", ["lives", "many"])
async def test_a_parent_that_fails_closes_what_may_live(stage: Stage, how: str) -> None:
    run = await stage.running()
    stage.sweeps = False
    if how == "many":
        await stage.commit(spawns=[stage.spawn("b", run) for _ in range(FEW_CHILDREN + 1)])
    else:
        await stage.fail(await stage.running("b", run))
        await stage.born("b", run)
    assert (await stage.fail(run, closes=True)).has_closed


async def test_in_one_commit_a_parent_fails_and_its_child_with_what_that_spawned(stage: Stage) -> None:
    stage.sweeps = False
    run = await stage.running()
    child = await stage.running("b", run)
    spawn = stage.spawn("c", child)
    ends = [failed(one, closes=True) for one in (run, child)]
    assert (await stage.commit(spawns=[spawn], outcomes=ends)).has_closed
    await stage.sweep()
    assert await stage.state(spawn.id) is RunState.CANCELLED


async def test_a_new_life_is_kept_over_ends_and_replays(stage: Stage) -> None:
    run = await stage.running()
    await stage.commit(outcomes=[renewed(run)])
    next_ = await again(stage, run)
    await stage.complete(next_)
    assert await stage.store.replay(run.key, list(RunState))
    third = await again(stage, run)
    assert (third.input, third.life, third.attempt) == ('"new"', next_.life, 3)


@pytest.mark.parametrize("ahead", [-10, 10])
async def test_nothing_of_a_life_before_is_a_place_to_fork_at(stage: Stage, ahead: int) -> None:
    """Also if who asked for it had another clock, and its id is as those of the next life."""

    async def child(parent: ClaimedRun, seconds: int) -> ClaimedRun:
        spawn = stage.spawn("b", parent)
        spawn.id = first_id(stage.clock.now() // 1000 + seconds * 1000)
        await stage.commit(spawns=[spawn])
        (claimed,) = await stage.claim(1, tasks=["b"])
        await stage.complete(claimed)
        return claimed

    run = await stage.running()
    old = await child(run, ahead)
    await stage.commit(outcomes=[renewed(run)])
    next_ = await again(stage, run)
    new = await child(next_, 1)
    await stage.complete(next_)
    root = await stage.get(run)
    with pytest.raises(UsageError, match="of a life that is over"):
        await forked(stage.store, root, stage.ids.new_id(), await stage.get(old), None, "ann")
    assert await forked(stage.store, root, stage.ids.new_id(), await stage.get(new), None, "ann")
