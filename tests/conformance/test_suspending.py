"""Runs whose code is unloaded while it waits: suspended in one commit, and moved on by every kind of end."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from fanwood import RunState
from fanwood.model.commands import ClaimedRun, ClaimRequest, Committed, Suspend
from fanwood.model.states import Awaited, OnParentEnd
from fanwood.store.auditing import findings
from fanwood.store.why import WhyCause, explain
from tests.conformance.stage import SECOND, Stage, completed, failed, handed_back
from tests.raw import awaiting

ONE, WAKES, UNLESS_FAILED = Awaited.ONE_OF, Awaited.WAKES, Awaited.ONE_OF_UNLESS_FAILED


async def suspend(
    stage: Stage,
    run: ClaimedRun,
    awaited: Sequence[bytes],
    missing: int = 1,
    weight: Awaited = ONE,
    *,
    until: float | None = None,
) -> Committed:
    limit = None if until is None else stage.clock.now() + round(until * SECOND)
    asked = Suspend(run.key, run.attempt, [(id_, int(weight)) for id_ in awaited], missing, limit)
    return await stage.commit(suspends=[asked])


async def suspended(stage: Stage, run: ClaimedRun, awaited: Sequence[bytes], missing: int = 1, **about: object) -> None:
    done = await suspend(stage, run, awaited, missing, **about)  # type: ignore[arg-type]
    assert done.going_on == set()
    assert await stage.state(run) is RunState.WAITING
    assert [found async for found in findings(stage.store, full=True, attended=False)] == []


async def children(stage: Stage, parent: ClaimedRun, count: int) -> list[ClaimedRun]:
    return [await stage.running("b", parent) for _ in range(count)]


def ids(runs: Sequence[ClaimedRun]) -> list[bytes]:
    return [run.key for run in runs]


async def goes_on(stage: Stage, run: ClaimedRun) -> ClaimedRun:
    """It is queued, and claimed again."""
    assert await stage.state(run) is RunState.QUEUED
    again = await stage.claim_again(run)
    assert again is not None
    assert [found async for found in findings(stage.store, full=True, attended=False)] == []
    return again


async def test_it_goes_on_with_the_last_end_that_it_needs(stage: Stage) -> None:
    parent = await stage.running()
    runs = await children(stage, parent, 3)
    await suspended(stage, parent, ids(runs), 2)
    assert await stage.store.suspended([*ids(runs), parent.key, stage.ids.new_id()]) == [parent.key]
    await stage.complete(runs[0])
    assert await stage.state(parent) is RunState.WAITING
    done = await stage.fail(runs[2])
    assert done.has_more  # somebody can be claimed
    again = await goes_on(stage, parent)
    assert await stage.store.suspended([parent.key]) == await stage.store.suspended([]) == []
    assert (again.attempt, again.wakes, again.trial_start, again.deaths) == (2, 1, 0, 0)
    await stage.complete(runs[1])  # it executes: nothing comes of this
    assert await stage.state(parent) is RunState.RUNNING


async def test_what_died_with_its_workers_and_then_waited_is_no_suspect(stage: Stage) -> None:
    dying = await stage.register(name="dying")
    lost = await stage.running(worker=dying)
    await stage.store.reap(dying, 5)
    parent = await stage.claim_again(lost)
    assert parent is not None
    assert parent.deaths == 1
    runs = await children(stage, parent, 1)
    await suspended(stage, parent, ids(runs))
    assert (await stage.get(parent.key)).deaths == 0
    await stage.complete(runs[0])
    assert (await goes_on(stage, parent)).deaths == 0


async def test_what_has_ended_is_counted_in_the_same_commit(stage: Stage) -> None:
    parent = await stage.running()
    runs = await children(stage, parent, 3)
    await stage.complete(runs[0])
    asked = Suspend(parent.key, 1, [(id_, int(ONE)) for id_ in ids(runs)], 2)
    done = await stage.commit(outcomes=[completed(runs[1], local=True)], suspends=[asked])
    assert done.going_on == {0}
    assert await stage.state(parent) is RunState.RUNNING
    await suspended(stage, parent, ids(runs), 3)
    await stage.commit(outcomes=[completed(runs[2], local=True)])  # whoever says that he tells the parent himself
    await goes_on(stage, parent)


@pytest.mark.parametrize("weight", [WAKES, UNLESS_FAILED, ONE])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_an_end_that_is_enough_by_itself(stage: Stage, weight: Awaited, when: str) -> None:
    parent = await stage.running()
    runs = await children(stage, parent, 3)
    if when == "before":
        await stage.fail(runs[1])
    done = await suspend(stage, parent, ids(runs), 3, weight)
    assert (done.going_on == {0}) == (when == "before" and weight is not ONE)
    if when == "after":
        await stage.fail(runs[1])
    expected = RunState.WAITING if weight is ONE else RunState.QUEUED if when == "after" else RunState.RUNNING
    assert await stage.state(parent) is expected


async def test_ends_of_one_commit_count_each(stage: Stage) -> None:
    parent = await stage.running()
    runs = await children(stage, parent, 4)
    await suspended(stage, parent, ids(runs), 3)
    await stage.commit(outcomes=[completed(run, local=True) for run in runs[:2]])
    assert await stage.state(parent) is RunState.WAITING
    await stage.complete(runs[2])
    await goes_on(stage, parent)


async def test_one_that_is_gone_is_an_end(stage: Stage) -> None:
    parent = await stage.running()
    assert (await suspend(stage, parent, [stage.ids.new_id()], 3)).going_on == {0}


HOWS = ["outcome", "call", "expiry", "sleep", "woken", "sweep", "poison", "given up"]


@pytest.mark.parametrize("how", HOWS)
async def test_all_causes_of_ends(stage: Stage, how: str) -> None:
    parent = await stage.running()
    worker, above = await stage.register(name="another"), parent
    if how in ("sleep", "woken"):
        awaited = await stage.recorded(parent)
    elif how == "expiry":
        awaited = await stage.born("b", parent, schedule_timeout=SECOND)
    elif how == "sweep":
        above = await stage.running("c")
        awaited = await stage.born("b", above)
    else:
        awaited = (await stage.running("b", parent, worker=worker)).key
    await suspended(stage, parent, [awaited])
    if how == "outcome":
        outcome = completed(parent)
        outcome.run_id = awaited
        await stage.report(outcome, worker=worker)
    elif how == "call":
        await stage.cancel(awaited)
    elif how in ("expiry", "sleep"):
        stage.clock.advance(6)
        await stage.store.tick()
    elif how == "woken":
        assert await stage.store.wake(awaited)
    elif how == "sweep":
        await stage.cancel(above)
    elif how == "poison":
        await stage.store.reap(worker, 1)
        await stage.sweep()
    else:
        assert await stage.store.cancel_children(parent.key, 1, [awaited], "no more") == 1
    assert (await stage.get(awaited)).state.is_terminal
    await goes_on(stage, parent)


async def test_its_limit_brings_it_back_and_its_deadline_fails_it(stage: Stage) -> None:
    late = stage.clock.now() + 20 * SECOND
    above = await stage.running("c")
    parent = await stage.running("a", above, deadline=late, deadline_by=above.key)
    sleep = await stage.recorded(parent, due_at=stage.clock.now() + 60 * SECOND)
    limit = stage.clock.now() + 5 * SECOND
    await suspended(stage, parent, [sleep], until=5)
    assert (await stage.get(parent)).due_at == limit
    stage.clock.advance(6)
    await stage.store.tick()
    again = await goes_on(stage, parent)
    assert (again.until, again.wakes) == (limit, 1)
    await suspended(stage, again, [sleep], until=3600)
    stage.clock.advance(20)
    await stage.store.tick()
    assert await stage.state(parent) is RunState.FAILED
    await stage.sweep()
    assert await stage.state(sleep) is RunState.CANCELLED


async def test_a_limit_is_that_of_the_attempt_after_the_suspended_one_only(stage: Stage) -> None:
    parent = await stage.running()
    sleep = await stage.recorded(parent)
    await suspended(stage, parent, [sleep], until=3600)
    stage.clock.advance(6)
    await stage.store.tick()
    again = await goes_on(stage, parent)
    assert again.until is not None
    await stage.report(handed_back(again))
    third = await stage.claim_again(parent)
    assert third is not None
    assert (third.until, third.wakes) == (None, 1)


async def test_each_suspension_has_a_limit_of_its_own(stage: Stage) -> None:
    """It may have been given more time in between."""
    run = await stage.running()
    for number, until in enumerate((5.0, 3600.0, None, 60.0), 1):
        sleep = await stage.recorded(run, f"sleep {number}")
        limit = None if until is None else stage.clock.now() + round(until * SECOND)
        await suspended(stage, run, [sleep], until=until)
        assert (await stage.get(run)).due_at == limit
        await stage.store.wake(sleep)
        run = await goes_on(stage, run)
        assert (run.until, run.wakes) == (limit, number)


@pytest.mark.parametrize("how", ["cancelled", "closed"])
async def test_who_ends_while_he_is_suspended_is_not_woken(stage: Stage, how: str) -> None:
    above = await stage.running("c")
    parent = await stage.running("a", above)
    other = await stage.running("b")
    await suspended(stage, parent, [other.key])
    beside = await stage.running("a")
    await suspended(stage, beside, [await stage.recorded(beside)])  # somebody is suspended still
    await stage.cancel(parent if how == "cancelled" else above)
    assert await stage.state(parent) is RunState.CANCELLED
    assert not await awaiting(stage.store.url, parent.key)
    await stage.complete(other)
    assert await stage.state(parent) is RunState.CANCELLED
    assert [found async for found in findings(stage.store, full=True, attended=False)] == []


async def test_a_suspended_attempt_is_over(stage: Stage) -> None:
    parent = await stage.running()
    sleep = await stage.recorded(parent)
    await suspended(stage, parent, [sleep])
    assert (await stage.complete(parent)).fenced_outcomes == {0}
    assert (await stage.commit(spawns=[stage.spawn("b", parent)])).fenced_parents == {(parent.key, 1)}
    assert (await suspend(stage, parent, [sleep])).going_on == set()  # there is nothing to go on with
    await stage.store.wake(sleep)
    again = await goes_on(stage, parent)
    assert (await suspend(stage, parent, [sleep])).going_on == set()
    assert await stage.state(parent) is RunState.RUNNING
    assert again.attempt == 2


async def test_below_what_is_closed_nobody_is_suspended(stage: Stage) -> None:
    above = await stage.running("c")
    parent = await stage.running("a", above)
    sleep = await stage.recorded(parent)
    stage.sweeps = False
    await stage.fail(above, closes=True)
    await suspend(stage, parent, [sleep])
    await stage.sweep()
    assert await stage.state(parent) is RunState.CANCELLED
    assert await stage.state(sleep) is RunState.CANCELLED


async def test_many_are_suspended_and_go_on_at_once(stage: Stage) -> None:
    count = 300
    spawns = [stage.spawn("a", input=f"{n}") for n in range(count)]
    await stage.commit(spawns=spawns)
    runs = await stage.claim(count, tasks=["a"])
    sleeps = [stage.part(run) for run in runs]
    await stage.commit(records=sleeps)
    asked = [
        Suspend(run.key, 1, [(sleep.id, int(WAKES))], 1, pending=sleep.id.hex())
        for run, sleep in zip(runs, sleeps, strict=True)
    ]
    assert (await stage.commit(suspends=asked)).going_on == set()
    stage.clock.advance(6)
    for _ in range(4):
        await stage.store.tick()
    again = await stage.claim(count, tasks=["a"])
    assert {(run.attempt, run.wakes) for run in again} == {(2, 1)}
    assert {(run.key, run.pending) for run in again} == {(run.run_id, run.pending) for run in asked}
    await stage.report(*[handed_back(run) for run in again[:1]])
    back = await stage.claim_again(again[0])  # not what was pending: its code may have been given it
    assert back is not None
    assert (back.wakes, back.pending) == (1, None)
    again[0] = back
    assert len(again) == count
    await stage.report(*[completed(run) for run in again])


async def test_its_parent_may_be_awaited_by_several(stage: Stage) -> None:
    """A run is waited for by others than its parent, in trees of their own."""
    waiters = [await stage.running("a") for _ in range(3)]
    run = await stage.running("b")
    for waiter in waiters:
        await suspended(stage, waiter, [run.key])
    other = await stage.another_store()
    await stage.commit(store=other, outcomes=[failed(run)])
    for waiter in waiters:
        assert await stage.state(waiter) is RunState.QUEUED


@pytest.mark.parametrize("state", [RunState.WAITING, RunState.QUEUED])
async def test_a_deadline_that_moves_does_not_make_it_one_that_has_not_begun(stage: Stage, state: RunState) -> None:
    above = await stage.running("c")
    limit = stage.clock.now() + 50 * SECOND
    about = {"deadline": limit, "deadline_by": above.key, "schedule_timeout": SECOND}
    parent = await stage.running("a", above, **about)
    sleep = await stage.recorded(parent)
    await suspended(stage, parent, [sleep])
    if state is RunState.QUEUED:
        assert await stage.store.wake(sleep)
    await stage.commit(deadlines=[(above.key, 1, limit + 50 * SECOND)])
    await stage.sweep()
    assert (await stage.get(parent)).deadline == limit + 50 * SECOND
    stage.clock.advance(60)
    await stage.store.tick()
    assert await stage.state(parent) is RunState.QUEUED


async def test_why_says_for_what_it_waits(stage: Stage) -> None:
    parent = await stage.running()
    runs = await children(stage, parent, 3)
    await suspended(stage, parent, ids(runs), 2)
    await stage.complete(runs[0])
    stage.clock.advance(90)
    why = explain(await stage.store.circumstances(parent.key))
    assert why.cause is WhyCause.SUSPENDED
    assert (why.facts["missing"], why.facts["awaited"]) == (1, 2)
    assert "suspended: its code is unloaded, and waits for 1 of 2 runs; the oldest is b" in why.text
    assert "RUNNING, asked for 90 s ago" in why.text


async def test_what_is_copied_looks_by_itself(stage: Stage) -> None:
    parent = await stage.running()
    sleep = await stage.recorded(parent)
    await suspended(stage, parent, [sleep], until=50)
    rows = {row[0]: row for row in await stage.store.copy_out("run", (b"",), 10)}
    assert rows[parent.key][14:17] == (RunState.QUEUED, None, None)
    assert rows[sleep][14] == RunState.WAITING


@pytest.mark.parametrize("needs", [2, 1])
async def test_what_is_below_one_that_ends_as_it_would_go_on_ends_as_well(stage: Stage, needs: int) -> None:
    top = await stage.running()
    parent = await stage.running("b", top, on_parent_end=OnParentEnd.CANCEL)
    busy = await stage.running("a", parent)
    below = [*[await stage.born("c", parent) for _ in range(3)], busy.key]
    await suspended(stage, parent, below, needs, weight=UNLESS_FAILED)
    # One of them is met by the claim in the same commit: the parent would go on, and is closed.
    await stage.commit(outcomes=[completed(top, closes=True)], claim=ClaimRequest('["c"]', 1))
    await stage.sweep()
    assert {await stage.state(run) for run in (parent, *below)} == {RunState.CANCELLED}
    assert [found async for found in findings(stage.store, full=True, attended=False)] == []
