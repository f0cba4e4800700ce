"""Reports and what they charge; children asked for again; parents that end."""

from __future__ import annotations

import pytest

from fanwood import RunState
from fanwood.model.states import OnParentEnd
from tests.conformance.stage import SECOND, Stage, completed, failed, handed_back, retried


async def test_ends_are_recorded(stage: Stage) -> None:
    run, other = await stage.running(), await stage.running()
    await stage.report(completed(run, '{"x":1}'), failed(other))
    record = await stage.get(run)
    assert (record.state, record.output, record.error) == (RunState.COMPLETED, '{"x":1}', None)
    assert record.finished_at is not None
    assert record.started_at is not None
    assert record.created_at <= record.started_at <= record.finished_at
    record = await stage.get(other)
    assert (record.state, record.output) == (RunState.FAILED, None)
    assert record.error is not None
    assert "ValueError" in record.error


async def test_a_retry_charges_a_failure_and_keeps_the_error(stage: Stage) -> None:
    run = await stage.running()
    again = await stage.retry(run)
    assert again is not None
    assert (again.attempt, again.retry_count, again.deaths) == (2, 1, 0)
    record = await stage.get(run)
    assert record.error is not None
    await stage.complete(again)
    assert (await stage.get(run)).error is None


async def test_handing_back_charges_nothing(stage: Stage) -> None:
    run = await stage.running()
    again = await stage.hand_back(run)
    assert (again.attempt, again.retry_count, again.deaths) == (2, 0, 0)


async def test_only_deaths_in_a_row_count(stage: Stage) -> None:
    run = await stage.running()
    await stage.store.reap(stage.worker, 3)
    stage.worker = await stage.register()
    (again,) = await stage.claim()
    assert again.deaths == 1
    third = await stage.retry(again)
    assert third is not None
    assert (third.deaths, third.retry_count) == (0, 1)
    assert third.key == run.key


async def test_a_trial_begins_with_a_retry_and_not_with_a_hand_back(stage: Stage) -> None:
    run = await stage.running()
    assert run.trial_start == 0
    again = await stage.hand_back(run)
    assert again.trial_start == 0
    third = await stage.retry(again)
    assert third is not None
    assert third.trial_start == 3
    fourth = await stage.hand_back(third)
    assert fourth.trial_start == 3


# --- attaching -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trial", ["same", "new"])
@pytest.mark.parametrize("state", list(RunState))
async def test_what_asking_again_finds(stage: Stage, trial: str, state: RunState) -> None:
    parent = await stage.running()
    child = await stage.running("b", parent)
    match state:
        case RunState.QUEUED:
            await stage.report(handed_back(child))
        case RunState.COMPLETED:
            await stage.complete(child, "7")
        case RunState.FAILED:
            await stage.report(retried(child))
            (child,) = await stage.claim(tasks=["b"])
            await stage.fail(child)
        case RunState.CANCELLED:
            await stage.cancel(child.key, "")
        case RunState.WAITING:
            await stage.report(retried(child, 5))
        case RunState.RUNNING:
            pass
    again = await (stage.hand_back(parent) if trial == "same" else stage.retry(parent))
    assert again is not None
    found = await stage.attach(again, child.key, "b")
    assert found.matches
    assert found.task == "b"
    revived = trial == "new" and state in (RunState.FAILED, RunState.CANCELLED)
    assert found.state is (RunState.QUEUED if revived else state)
    if state is RunState.COMPLETED:
        assert found.output == "7"
    if revived:
        (next_one,) = await stage.claim(tasks=["b"])
        assert (next_one.key, next_one.retry_count, next_one.attempt) == (child.key, 0, child.attempt + 1)
        record = await stage.get(child)
        assert (record.error, record.finished_at) == (None, None)
    elif state is RunState.FAILED:
        assert found.error is not None


async def test_a_child_is_revived_once_in_a_trial(stage: Stage) -> None:
    """That it fails again stands, until the next trial, also when the trial's next attempt asks."""
    parent = await stage.running()
    child = await stage.running("b", parent)
    await stage.fail(child)
    parent2 = await stage.retry(parent)
    assert parent2 is not None
    assert (await stage.attach(parent2, child.key, "b")).state is RunState.QUEUED
    (child2,) = await stage.claim(tasks=["b"])
    await stage.fail(child2)
    assert (await stage.attach(parent2, child.key, "b")).state is RunState.FAILED
    parent3 = await stage.hand_back(parent2)
    assert (await stage.attach(parent3, child.key, "b")).state is RunState.FAILED
    parent4 = await stage.retry(parent3)
    assert parent4 is not None
    assert (await stage.attach(parent4, child.key, "b")).state is RunState.QUEUED


async def test_a_child_that_a_lost_attempt_of_the_trial_had_not_come_to_is_revived_by_the_next(stage: Stage) -> None:
    parent = await stage.running()
    child = await stage.running("b", parent)
    await stage.fail(child)
    parent2 = await stage.retry(parent)
    assert parent2 is not None
    parent3 = await stage.hand_back(parent2)
    assert (await stage.attach(parent3, child.key, "b")).state is RunState.QUEUED


async def test_a_revived_child_tries_again_as_well(stage: Stage) -> None:
    """So what failed below it is run again too."""
    parent = await stage.running()
    child = await stage.running("b", parent)
    leaf = await stage.running("c", child)
    await stage.fail(leaf)
    await stage.fail(child)
    parent2 = await stage.retry(parent)
    assert parent2 is not None
    await stage.attach(parent2, child.key, "b")
    (child2,) = await stage.claim(tasks=["b"])
    assert (await stage.attach(child2, leaf.key, "c")).state is RunState.QUEUED


@pytest.mark.parametrize("wrong", ["task", "digest"])
async def test_a_key_that_is_taken(stage: Stage, wrong: str) -> None:
    """The answer shows whose it is, and the child is left alone."""
    parent = await stage.running()
    child = await stage.running("b", parent, child_key="k", input_digest=b"1" * 16, input='"mine"')
    await stage.fail(child)
    again = await stage.retry(parent)
    assert again is not None
    task, digest = ("c", b"1" * 16) if wrong == "task" else ("b", b"2" * 16)
    before = await stage.row(child)
    found = await stage.attach(again, child.key, task, input_digest=digest, on_parent_end=OnParentEnd.CANCEL)
    assert not found.matches
    assert (found.task, found.input) == ("b", '"mine"')
    assert await stage.row(child) == before
    assert (await stage.attach(again, child.key, "b", input_digest=b"1" * 16)).matches


@pytest.mark.parametrize("state", [RunState.QUEUED, RunState.RUNNING, RunState.FAILED])
async def test_a_child_that_is_asked_for_again_takes_the_new_deadline(stage: Stage, state: RunState) -> None:
    root, now = bytes(16), stage.clock.now()
    parent = await stage.running()
    child = await stage.running("b", parent, deadline=now + SECOND, deadline_by=root)
    if state is RunState.QUEUED:
        await stage.report(handed_back(child))
    elif state is RunState.FAILED:
        await stage.fail(child)
    again = await stage.retry(parent)
    assert again is not None
    await stage.attach(again, child.key, "b", deadline=now + 9 * SECOND, deadline_by=root)
    assert (await stage.get(child)).deadline == now + 9 * SECOND
    stage.clock.advance(5)
    await stage.store.tick()
    assert not (await stage.state(child)).is_terminal
    stage.clock.advance(5)
    await stage.store.tick()
    assert await stage.state(child) is (RunState.RUNNING if state is RunState.RUNNING else RunState.FAILED)


async def test_a_child_that_is_asked_for_again_without_waiting_loses_its_deadline(stage: Stage) -> None:
    parent = await stage.running()
    child = await stage.born("b", parent, deadline=stage.clock.now() + SECOND, deadline_by=parent.key)
    again = await stage.retry(parent)
    assert again is not None
    await stage.attach(again, child, "b")
    stage.clock.advance(5)
    await stage.store.tick()
    assert await stage.state(child) is RunState.QUEUED


async def test_a_child_that_is_asked_for_twice_keeps_the_deadline_of_who_waits(stage: Stage) -> None:
    """One attempt waits for it, and then asks for it without."""
    parent, now = await stage.running(), stage.clock.now()
    child = await stage.born("b", parent)
    again = await stage.retry(parent)
    assert again is not None
    await stage.attach(again, child, "b", deadline=now + 9 * SECOND, deadline_by=parent.key)
    await stage.attach(again, child, "b")
    assert (await stage.get(child)).deadline == now + 9 * SECOND
    stage.clock.advance(10)
    await stage.store.tick()
    assert await stage.state(child) is RunState.FAILED


# --- parents that end ----------------------------------------------------------------------------------------------


ENDS = {RunState.COMPLETED: completed, RunState.FAILED: failed}


@pytest.mark.parametrize("asked", ["now", "never again"])
@pytest.mark.parametrize("policy", list(OnParentEnd))
@pytest.mark.parametrize("end", [*ENDS, RunState.CANCELLED])
async def test_what_becomes_of_children(stage: Stage, end: RunState, policy: OnParentEnd, asked: str) -> None:
    parent = await stage.running()
    queued = await stage.born("b", parent, on_parent_end=policy)
    running = await stage.running("c", parent, on_parent_end=policy)
    done = await stage.running("c", parent, on_parent_end=policy)
    below_done = await stage.born("b", done)
    below_running = await stage.born("b", running)
    await stage.complete(done)
    if asked == "never again":
        again = await stage.retry(parent)
        assert again is not None
        parent = again
    if end is RunState.CANCELLED:
        await stage.cancel(parent.key, "")
    else:
        await stage.report(ENDS[end](parent, closes=True))
    assert await stage.state(parent) is end
    spared = policy is OnParentEnd.CONTINUE or (
        end is RunState.COMPLETED
        and (policy is OnParentEnd.SHARED or (policy is OnParentEnd.DEFAULT and asked == "now"))
    )
    assert await stage.state(queued) is (RunState.QUEUED if spared else RunState.CANCELLED)
    assert await stage.state(running) is (RunState.RUNNING if spared else RunState.CANCELLED)
    assert await stage.state(below_running) is (RunState.QUEUED if spared else RunState.CANCELLED)
    assert await stage.state(done) is RunState.COMPLETED
    if policy is not OnParentEnd.CONTINUE and end is not RunState.COMPLETED:
        assert await stage.state(below_done) is RunState.CANCELLED
    if not spared:
        error = (await stage.get(queued)).error
        assert error is not None
        assert "cancelled" in error


async def test_a_child_that_was_asked_for_again_is_spared(stage: Stage) -> None:
    parent = await stage.running()
    kept, dropped = await stage.born("b", parent), await stage.born("b", parent)
    parent2 = await stage.hand_back(parent)
    await stage.attach(parent2, kept, "b")
    await stage.complete(parent2, closes=True)
    assert await stage.state(kept) is RunState.QUEUED
    assert await stage.state(dropped) is RunState.CANCELLED


async def test_a_child_that_is_asked_for_with_another_policy_takes_it(stage: Stage) -> None:
    parent = await stage.running()
    child = await stage.born("b", parent)
    parent2 = await stage.hand_back(parent)
    await stage.attach(parent2, child, "b", on_parent_end=OnParentEnd.CANCEL)
    await stage.complete(parent2, closes=True)
    assert await stage.state(child) is RunState.CANCELLED


async def test_a_closed_child_can_spawn_no_more(stage: Stage) -> None:
    parent = await stage.running()
    child = await stage.running("b", parent)
    await stage.fail(parent, closes=True)
    done = await stage.commit(mail=True)
    assert [(notice.run_id, notice.state) for notice in done.mine] == [(child.key, RunState.CANCELLED)]
    late = await stage.commit(spawns=[stage.spawn("c", child)], outcomes=[completed(child)])
    assert late.fenced_parents == {(child.key, 1)}
    assert late.fenced_outcomes == {0}
