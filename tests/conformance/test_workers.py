"""Leases, dead workers and what they leave, timers, and word from one engine to another."""

from __future__ import annotations

import asyncio

import pytest

from fanwood import RunState
from fanwood.model.commands import ClaimRequest
from fanwood.model.states import TERMINAL, OnParentEnd
from fanwood.store.failures import decode_failure
from tests.conformance.stage import SECOND, Stage, completed, handed_back

NOBODY = bytes.fromhex("018f4e2a000070008000000000000001")


# --- leases --------------------------------------------------------------------------------------------------------


async def test_register_renew_unregister(stage: Stage) -> None:
    other = await stage.register(["a"], name="other", lease=5)
    assert other != stage.worker
    (seen,) = (await stage.store.look_around(stage.worker, "host")).others
    assert (seen.id, seen.name, seen.host, seen.pid) == (other, "other", "host", 1)
    first = seen.lease_expires_at
    stage.clock.advance(3)
    assert await stage.store.renew(other) is True
    (seen,) = (await stage.store.look_around(stage.worker, "host")).others
    assert abs(seen.lease_expires_at - first - 3 * SECOND) < 1000
    await stage.store.unregister(other)
    assert (await stage.store.look_around(stage.worker, "host")).others == []
    assert await stage.store.renew(other) is False


async def test_a_workers_record(stage: Stage) -> None:
    await stage.running()
    (record,) = await stage.store.workers()
    assert (record.id, record.name, record.slots, record.lease, record.running) == (stage.worker, "w", 4, 10_000_000, 1)


async def test_who_is_served(stage: Stage) -> None:
    other = await stage.register(["a"], lease=5)
    assert await stage.store.served(stage.worker, "a") is True
    assert await stage.store.served(stage.worker, "b") is False
    assert await stage.store.served(other, "b") is True
    stage.clock.advance(6)
    assert await stage.store.served(stage.worker, "a") is False


async def test_what_is_queued_and_served_by_nobody(stage: Stage) -> None:
    assert await stage.store.unserved() == []
    first = await stage.born("x")
    stage.clock.advance(1)
    for task in ("x", "a", "y"):
        await stage.born(task)
    await stage.running("z")  # born claimed: it is not queued
    oldest = (await stage.get(first)).created_at
    x, y = await stage.store.unserved()
    assert (x.task, x.count, x.oldest, y.task, y.count) == ("x", 2, oldest, "y", 1)
    await stage.register(["x"], lease=20)
    assert [each.task for each in await stage.store.unserved()] == ["y"]
    stage.clock.advance(11)  # the first worker's lease has lapsed
    assert [each.task for each in await stage.store.unserved()] == ["a", "y"]


async def test_ids_of_workers_are_not_used_again(stage: Stage) -> None:
    first = await stage.register()
    await stage.store.unregister(first)
    assert await stage.register() > first


# --- the dead ------------------------------------------------------------------------------------------------------


async def test_a_dead_workers_runs_go_back_and_are_charged(stage: Stage) -> None:
    other = await stage.register()
    run = await stage.running(worker=other)
    ours = await stage.running()
    assert await stage.store.reap(other, 3) == 1
    assert await stage.state(ours) is RunState.RUNNING
    (again,) = await stage.claim()
    assert (again.key, again.attempt, again.deaths, again.retry_count) == (run.key, 2, 1, 0)
    assert await stage.store.renew(other) is False
    assert await stage.store.reap(other, 3) == 0


async def test_a_run_that_waited_is_not_charged(stage: Stage) -> None:
    other = await stage.register()
    parent = await stage.running(worker=other)
    child = await stage.born("b", parent)
    assert await stage.store.reap(other, 3) == 1
    assert (await stage.get(parent)).deaths == 0
    assert await stage.state(child) is RunState.QUEUED


async def test_a_reaped_worker_claims_nothing(stage: Stage) -> None:
    """It may have been frozen, and not know yet."""
    run = await stage.born()
    await stage.store.reap(stage.worker, 3)
    assert await stage.claim() == []
    assert await stage.state(run) is RunState.QUEUED


async def test_of_a_waiting_parent_and_its_child_only_the_child_is_charged(stage: Stage) -> None:
    other = await stage.register()
    parent = await stage.running(worker=other)
    child = await stage.running("b", parent, worker=other)
    await stage.store.reap(other, 3)
    assert ((await stage.get(parent)).deaths, (await stage.get(child)).deaths) == (0, 1)


async def test_poison(stage: Stage) -> None:
    run = await stage.running()
    for deaths in (1, 2):
        await stage.store.reap(stage.worker, 3)
        stage.worker = await stage.register()
        (run,) = await stage.claim(idle=True)
        assert run.deaths == deaths
    await stage.store.reap(stage.worker, 3)
    record = await stage.get(run)
    assert (record.state, record.deaths) == (RunState.FAILED, 3)
    assert await stage.store.replay(record.id, [RunState.FAILED])
    assert (await stage.get(record.id)).deaths == 0  # (else it would be executed alone, and fail with the next)
    failure = decode_failure(record.error)
    assert failure.kind == "poisoned"
    assert "3 workers" in failure.message


async def test_a_parent_whose_child_turns_out_to_be_poison_was_waiting(stage: Stage) -> None:
    """It is not charged, it is told, and it goes on."""
    parent = await stage.running()
    child = await stage.running("b", parent)
    for deaths in (0, 1, 2):
        assert child.deaths == deaths
        await stage.store.reap(stage.worker, 3)
        stage.worker = await stage.register()
        if deaths < 2:
            (parent,) = await stage.claim(tasks=["a"])
            (child,) = await stage.claim(tasks=["b"], idle=True)
    assert await stage.state(child) is RunState.FAILED
    record = await stage.get(parent)
    assert (record.state, record.deaths) == (RunState.QUEUED, 0)


async def test_what_a_poisoned_run_leaves_below_it_is_cancelled(stage: Stage) -> None:
    """It failed for good, as any other."""
    run = await stage.running()
    child = await stage.running("b", run)
    leaf = await stage.born("c", child)
    await stage.complete(child)
    await stage.store.reap(stage.worker, 1)
    assert await stage.state(run) is RunState.FAILED
    await stage.sweep()
    assert await stage.state(leaf) is RunState.CANCELLED


async def test_the_waiter_for_a_poisoned_child_is_told(stage: Stage) -> None:
    other = await stage.register()
    parent = await stage.running()
    child = await stage.running("b", parent, worker=other)
    await stage.store.reap(other, 1)
    done = await stage.commit(mail=True)
    assert done.finished[child.key].state is RunState.FAILED


async def test_a_reaped_runs_patience_begins_anew(stage: Stage) -> None:
    run = await stage.running(schedule_timeout=2 * SECOND)
    stage.clock.advance(5)
    await stage.store.reap(stage.worker, 3)
    stage.clock.advance(1)
    await stage.store.tick()
    assert await stage.state(run) is RunState.QUEUED
    stage.clock.advance(2)
    await stage.store.tick()
    assert await stage.state(run) is RunState.FAILED


async def test_a_reaped_run_is_bound_by_the_sooner_of_its_limits(stage: Stage) -> None:
    deadline = stage.clock.now() + 100 * SECOND
    run = await stage.running(schedule_timeout=2 * SECOND, deadline=deadline, deadline_by=NOBODY)
    await stage.store.reap(stage.worker, 3)
    stage.clock.advance(3)
    await stage.store.tick()
    assert await stage.state(run) is RunState.FAILED


# --- timers --------------------------------------------------------------------------------------------------------


async def test_the_schedule_timeout(stage: Stage) -> None:
    late = await stage.born(schedule_timeout=SECOND)
    assert await stage.store.tick() is not None
    stage.clock.advance(0.9)
    await stage.store.tick()
    assert await stage.state(late) is RunState.QUEUED
    stage.clock.advance(0.2)
    assert await stage.store.tick() is None
    record = await stage.get(late)
    failure = decode_failure(record.error)
    assert (record.state, failure.kind, failure.limit) == (RunState.FAILED, "timed_out", "schedule_timeout")
    assert failure.owner.replace("-", "") == late.hex()
    assert await stage.claim() == []


async def test_a_claim_ends_the_schedule_timeout(stage: Stage) -> None:
    run = await stage.running(schedule_timeout=SECOND)
    stage.clock.advance(5)
    assert await stage.store.tick() is None
    assert await stage.state(run) is RunState.RUNNING


async def test_the_deadline_of_a_queued_run_names_its_owner(stage: Stage) -> None:
    parent = await stage.running()
    child = await stage.born(
        "b", parent, deadline=stage.clock.now() + SECOND, deadline_by=parent.key, schedule_timeout=9 * SECOND
    )
    stage.clock.advance(2)
    await stage.store.tick()
    failure = decode_failure((await stage.get(child)).error)
    assert (failure.limit, failure.owner.replace("-", "")) == ("deadline", parent.key.hex())
    done = await stage.commit(mail=True)
    assert done.finished[child].state is RunState.FAILED


async def test_the_schedule_timeout_that_comes_before_the_deadline_is_named(stage: Stage) -> None:
    parent = await stage.running()
    child = await stage.born(
        "b", parent, deadline=stage.clock.now() + 9 * SECOND, deadline_by=parent.key, schedule_timeout=SECOND
    )
    stage.clock.advance(2)
    await stage.store.tick()
    assert decode_failure((await stage.get(child)).error).limit == "schedule_timeout"


async def test_what_is_below_a_run_that_expires_is_cancelled(stage: Stage) -> None:
    parent = await stage.running(schedule_timeout=SECOND)
    child = await stage.born("b", parent)
    free = await stage.born("b", parent, on_parent_end=OnParentEnd.CONTINUE)
    await stage.report(handed_back(parent))
    stage.clock.advance(2)
    await stage.store.tick()
    assert await stage.state(parent) is RunState.FAILED
    await stage.sweep()
    assert await stage.state(child) is RunState.CANCELLED
    assert await stage.state(free) is RunState.QUEUED


async def test_many_expire_at_once(stage: Stage) -> None:
    await stage.commit(spawns=[stage.spawn(schedule_timeout=SECOND) for _ in range(1100)])
    stage.clock.advance(2)
    for _ in range(100):
        due = await stage.store.tick()
        if due is None:
            break
        assert due <= stage.clock.now() + SECOND
    assert (await stage.store.report(full=True)).counts == {RunState.FAILED: 1100}


async def test_a_moved_deadline_reaches_all_below_that_have_it(stage: Stage) -> None:
    now = stage.clock.now()
    owner = await stage.running()
    other = await stage.register()
    about = {"deadline": now + SECOND, "deadline_by": owner.key}
    child = await stage.running("b", owner, worker=other, **about)
    leaf = await stage.born("c", child, **about)
    own = await stage.born("c", child, deadline=now + SECOND, deadline_by=child.key)
    await stage.commit(deadlines=[(owner.key, owner.attempt, now + 9 * SECOND)])
    assert (await stage.get(leaf)).deadline == now + 9 * SECOND
    assert (await stage.get(own)).deadline == now + SECOND
    theirs = await stage.commit(other, mail=True)
    assert [(n.run_id, n.state, n.deadline) for n in theirs.mine] == [(child.key, RunState.RUNNING, now + 9 * SECOND)]
    stage.clock.advance(5)
    await stage.store.tick()
    assert await stage.state(leaf) is RunState.QUEUED
    assert await stage.state(own) is RunState.FAILED


async def test_a_moved_deadline_is_heard_of_by_the_one_who_moved_it(stage: Stage) -> None:
    owner = await stage.running()
    child = await stage.running("b", owner, deadline=1, deadline_by=owner.key)
    await stage.commit(deadlines=[(owner.key, 1, 5)])
    done = await stage.commit(mail=True)
    assert [(n.run_id, n.deadline) for n in done.mine] == [(child.key, 5)]


async def test_a_moved_deadline_leaves_a_sooner_schedule_timeout(stage: Stage) -> None:
    now = stage.clock.now()
    owner = await stage.running()
    child = await stage.born("b", owner, deadline=now + 5 * SECOND, deadline_by=owner.key, schedule_timeout=SECOND)
    await stage.commit(deadlines=[(owner.key, 1, now + 60 * SECOND)])
    stage.clock.advance(2)
    await stage.store.tick()
    assert await stage.state(child) is RunState.FAILED


# --- word from one to another --------------------------------------------------------------------------------------


async def test_a_watched_run(stage: Stage) -> None:
    store, other = await stage.another_store(), await stage.register()
    run = await stage.running(worker=other)
    done = await stage.commit(watch=[run.key])
    assert (done.finished, done.unknown) == ({}, [])
    await stage.commit(other, store, outcomes=[completed(run, "9")])
    done = await stage.commit(mail=True)
    assert (done.finished[run.key].state, done.finished[run.key].output) == (RunState.COMPLETED, "9")
    assert done.finished[run.key].task == "a"
    assert (await stage.commit(mail=True)).finished == {}


async def test_watching_what_has_ended_or_never_was(stage: Stage) -> None:
    run = await stage.running()
    await stage.fail(run)
    done = await stage.commit(watch=[run.key, NOBODY])
    assert done.finished[run.key].state is RunState.FAILED
    assert done.finished[run.key].error is not None
    assert done.unknown == [NOBODY]


@pytest.mark.parametrize("end", ["completed", "cancelled", "expired", "poisoned", "closed"])
async def test_whoever_watches_hears_of_every_kind_of_end(stage: Stage, end: str) -> None:
    watcher = await stage.register()
    parent = await stage.running()
    other = await stage.register()
    run = await stage.running("b", parent, worker=other, schedule_timeout=SECOND)
    run_id = run.key
    await stage.commit(watcher, watch=[run_id])
    match end:
        case "completed":
            await stage.report(completed(run), worker=other)
        case "cancelled":
            await stage.cancel(run_id, "")
        case "expired":
            await stage.report(handed_back(run), worker=other)
            stage.clock.advance(2)
            await stage.store.tick()
        case "poisoned":
            await stage.store.reap(other, 1)
        case _:
            await stage.fail(parent, closes=True)
    assert (await stage.commit(watcher, mail=True)).finished[run_id].state.is_terminal


async def test_a_child_that_ends_elsewhere_is_told_to_the_worker_of_its_parent(stage: Stage) -> None:
    other = await stage.register()
    parent = await stage.running()
    child = await stage.running("b", parent, worker=other)
    await stage.report(completed(child, "5", local=False), worker=other)
    done = await stage.commit(mail=True)
    assert done.finished[child.key].output == "5"


@pytest.mark.parametrize("since", ["it is queued", "another has it", "another has completed it"])
async def test_who_held_a_run_that_had_ended_and_goes_on_elsewhere_is_told(stage: Stage, since: str) -> None:
    """Though it is not his any more when he reads his mail."""
    holder = await stage.register(name="holder")
    run = await stage.running(worker=holder)
    await stage.cancel(run)
    assert await stage.store.replay(run.key, TERMINAL)
    attempt, state = 1, RunState.QUEUED
    if since != "it is queued":
        (again,) = await stage.claim()
        attempt, state = 2, RunState.RUNNING
        if since == "another has completed it":
            await stage.complete(again)
            state = RunState.COMPLETED
    told = (await stage.commit(holder, mail=True)).mine
    assert [(notice.run_id, notice.attempt, notice.state) for notice in told] == [(run.key, attempt, state)]


async def test_another_instance_is_hinted_at_a_change(stage: Stage) -> None:
    hinted = asyncio.Event()
    another = await stage.another_store(hinted.set)
    watching = asyncio.create_task(another.watch())
    await stage.born()
    await asyncio.wait_for(hinted.wait(), 60)
    watching.cancel()


async def test_two_instances_see_one_queue(stage: Stage) -> None:
    store, other = await stage.another_store(), await stage.register()
    ids = {await stage.born() for _ in range(6)}
    ours = await stage.claim(3)
    theirs = (await stage.commit(other, store, claim=ClaimRequest('["a"]', 9))).claimed
    assert {run.key for run in [*ours, *theirs]} == ids
    assert len(ours) == 3
    assert (await store.get(theirs[0].key)).worker_id == other


async def test_closing_twice(stage: Stage) -> None:
    store = await stage.another_store()
    await store.close()
    await store.close()


async def test_nothing_is_born_claimed_by_a_worker_that_was_reaped(stage: Stage) -> None:
    reaped = await stage.register()
    await stage.store.reap(reaped, 3)
    spawns = [stage.spawn("a", claimed=True), stage.spawn("a", claimed=True)]
    await stage.commit(worker=reaped, spawns=spawns)
    assert [spawn.claimed for spawn in spawns] == [False, False]
    assert [await stage.state(spawn.id) for spawn in spawns] == [RunState.QUEUED] * 2
    assert (await stage.store.report()).orphans == []


async def test_a_worker_that_leaves_with_runs_is_found_by_others(stage: Stage) -> None:
    """It could not hand them back, say, as the store was away; they must not be nobody's."""
    run = await stage.running()
    other = await stage.register(["a"], name="other")
    await stage.store.unregister(stage.worker)
    assert (await stage.store.report()).orphans == []
    around = await stage.store.look_around(other, "host")
    assert stage.worker in {other.id for other in around.others}
    assert await stage.store.reap(stage.worker, 3, if_lapsed=True) == 1
    assert (await stage.get(run)).state is RunState.QUEUED
    assert stage.worker not in {worker.id for worker in await stage.store.workers()}


# --- telling hooks ---------------------------------------------------------------------------------------------------


async def test_one_at_a_time_tells_and_goes_on_where_the_last_one_was(stage: Stage) -> None:
    store = stage.store
    assert await store.take_turn("these", 110, 200, 100) == 100
    assert await store.take_turn("these", 150, 300, 150) is None
    assert await store.take_turn("these", 201, 300, 201) == 100  # who had the turn has not come back
    await store.end_turn("these", 180)
    assert await store.take_turn("these", 202, 300, 202) == 180
    await store.end_turn("these", 190)
    assert await store.take_turn("others", 250, 300, 250) == 190  # they may have been among these until now
