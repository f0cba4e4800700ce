"""Outputs that are given by hand: what ends by them, what is replaced, what is refused, and what is kept of it."""

from __future__ import annotations

import pytest

from fanwood import RunNotFoundError, RunState, UsageError
from fanwood.model.commands import Suspend
from fanwood.model.states import RunKind
from fanwood.store.surgery import patched
from tests.conformance.stage import Stage, completed

COMPLETED, CANCELLED = RunState.COMPLETED, RunState.CANCELLED


async def test_what_runs_ends_and_its_attempt_is_told(stage: Stage) -> None:
    root = await stage.running()
    child = await stage.running("b", root)
    below, running = await stage.born("c", child), await stage.running("a", child)
    assert await stage.store.patch(child.key, "42", "ann") is RunState.RUNNING
    done = await stage.commit(mail=True)
    assert child.key in {notice.run_id for notice in done.mine}
    assert done.finished[child.key].output == "42"
    late = await stage.report(completed(child, "1"))
    assert late.fenced_outcomes == {0}
    await stage.sweep()
    assert (await stage.get(child)).output == "42"
    assert {await stage.state(run) for run in (below, running)} == {CANCELLED}
    (line,) = await stage.store.logs(child.key)
    assert line.message == "patched by ann; it was RUNNING"
    assert await stage.state(root) is RunState.RUNNING


@pytest.mark.parametrize("state", [RunState.FAILED, CANCELLED])
async def test_what_has_failed_has_completed(stage: Stage, state: RunState) -> None:
    """Also while its parent goes on, which finds the result when it asks again."""
    root = await stage.running()
    child = await stage.running("b", root)
    if state is CANCELLED:
        await stage.cancel(child)
    else:
        await stage.fail(child)
    assert await stage.store.patch(child.key, '{"n":1}', "ann") is state
    again = await stage.retry(root)
    assert again is not None
    found = await stage.attach(again, child.key, "b")
    assert (found.state, found.output) == (COMPLETED, '{"n":1}')
    assert (await stage.get(child)).error is None
    (line,) = await stage.store.logs(child.key)
    assert line.message.startswith(f"patched by ann; it was {state.name}, with {{")


async def test_who_may_have_claimed_it_hears_of_it(stage: Stage) -> None:
    """Also where there is nothing below it: it may not have begun."""
    run, other = await stage.running(), await stage.register(name="other")
    await stage.store.patch(run.key, "42", "ann")
    for worker in (stage.worker, other):
        assert not await stage.store.is_heard(run.key)
        assert [each.run_id for each in (await stage.commit(worker, mail=True)).closings] == [run.id]
        await stage.commit(worker, heard=[run.key])
    assert await stage.store.is_heard(run.key)


async def test_what_has_completed_only_once_its_parent_has_ended(stage: Stage) -> None:
    root = await stage.running()
    child = await stage.running("b", root)
    await stage.complete(child, "1")
    with pytest.raises(UsageError, match="has not ended"):
        await stage.store.patch(child.key, "2", "ann")
    assert (await stage.get(child)).output == "1"
    await stage.complete(root)
    assert await stage.store.patch(child.key, "2", "ann") is COMPLETED
    assert await stage.store.patch(root.key, "3", "ann") is COMPLETED
    assert [(await stage.get(run)).output for run in (child, root)] == ["2", "3"]


async def test_who_is_suspended_goes_on(stage: Stage) -> None:
    root = await stage.running()
    child = await stage.running("b", root)
    await stage.commit(suspends=[Suspend(root.key, root.attempt, [(child.key, 1)], 1)])
    await stage.store.patch(child.key, "2", "ann")
    assert [run.key for run in await stage.claim()] == [root.key]


async def test_what_waits_or_is_queued(stage: Stage) -> None:
    queued = await stage.born()
    await stage.store.pause(queued, "ann")
    await stage.commit(heard=[queued])
    assert await stage.claim() == []
    waiting = await stage.into(RunState.WAITING)
    for run in (queued, waiting.key):
        assert await patched(stage.store, run, "2", "ann") is RunState.WAITING
        assert await stage.state(run) is COMPLETED
    assert await stage.claim(10) == []


async def test_what_can_not_be_patched(stage: Stage) -> None:
    with pytest.raises(RunNotFoundError):
        await stage.store.patch(stage.ids.new_id(), "1", "ann")
    root = await stage.running()
    part = await stage.recorded(root, kind=RunKind.SLEEP)
    with pytest.raises(UsageError, match="part of its parent"):
        await stage.store.patch(part, "1", "ann")
