"""What comes to runs from outside: promises that are settled."""

from __future__ import annotations

import pytest

from fanwood import RunState
from fanwood.errors import RunNotFoundError, UsageError
from fanwood.model.records import Settled
from fanwood.model.states import RunKind
from fanwood.store.auditing import findings
from fanwood.store.failures import decode_failure
from tests.conformance.stage import FAILURE, SECOND, Stage, completed, failed

PROMISE = RunKind.PROMISE


async def read_mail(stage: Stage) -> dict[bytes, RunState]:
    return {id_: end.state for id_, end in (await stage.commit(mail=True)).finished.items()}


async def sound(stage: Stage) -> None:
    assert [found async for found in findings(stage.store, full=True, attended=False)] == []


@pytest.mark.parametrize(
    ("state", "output", "error"), [(RunState.COMPLETED, '"yes"', None), (RunState.FAILED, None, FAILURE)]
)
async def test_a_promise_is_settled_once(stage: Stage, state: RunState, output: str | None, error: str | None) -> None:
    parent = await stage.running()
    id_ = await stage.recorded(parent, kind=PROMISE)
    record = await stage.get(id_)
    assert (record.state, record.task, record.due_at) == (RunState.WAITING, "~promise", None)
    await sound(stage)
    assert await stage.store.settle(id_, state, output, error) == Settled(True, state, output, error)
    assert await read_mail(stage) == {id_: state}
    assert await stage.store.settle(id_, RunState.COMPLETED, "7", None) == Settled(False, state, output, error)
    await sound(stage)


async def test_nothing_else_is_settled(stage: Stage) -> None:
    parent = await stage.running()
    sleep = await stage.recorded(parent)
    for other in (parent.key, sleep):
        with pytest.raises(UsageError, match="no promise"):
            await stage.store.settle(other, RunState.COMPLETED, "7", None)
    with pytest.raises(RunNotFoundError):
        await stage.store.settle(stage.ids.new_id(), RunState.COMPLETED, "7", None)
    with pytest.raises(UsageError, match="no sleep"):
        await stage.store.wake(await stage.recorded(parent, "p", kind=PROMISE))


@pytest.mark.parametrize("how", ["completed", "failed", "cancelled"])
@pytest.mark.parametrize("swept", [True, False])
async def test_a_promise_of_a_run_that_ended_says_how(stage: Stage, how: str, swept: bool) -> None:
    stage.sweeps = swept
    parent = await stage.running()
    id_ = await stage.recorded(parent, kind=PROMISE)
    if how == "cancelled":
        await stage.store.cancel(parent.key, "for a test")
        if swept:
            await stage.sweep()
    else:
        outcome = completed(parent) if how == "completed" else failed(parent)
        outcome.closes = True
        await stage.commit(outcomes=[outcome])
    settled = await stage.store.settle(id_, RunState.COMPLETED, "7", None)
    assert (settled.done, settled.state, settled.output) == (False, RunState.CANCELLED, None)
    assert how in decode_failure(settled.error).message
    assert (await stage.get(id_)).state is (RunState.CANCELLED if swept else RunState.WAITING)


async def test_a_promise_fails_when_its_time_is_over(stage: Stage) -> None:
    parent = await stage.running()
    late, early, deadline = [
        await stage.recorded(parent, f"{n}", kind=PROMISE, timeout=n * SECOND, **about)
        for n, about in ((5, {}), (8, {}), (9, {"deadline": stage.clock.now() + 3 * SECOND, "deadline_by": parent.key}))
    ]
    begun = stage.clock.now()
    assert await stage.store.tick() in range(begun + 3 * SECOND, begun + 3 * SECOND + 10)
    stage.clock.advance(5.1)
    await stage.store.tick()
    assert await read_mail(stage) == {late: RunState.FAILED, deadline: RunState.FAILED}
    failures = [decode_failure((await stage.get(id_)).error) for id_ in (late, deadline)]
    assert [(one.kind, one.limit) for one in failures] == [("timed_out", "timeout"), ("timed_out", "deadline")]
    assert (await stage.store.settle(early, RunState.COMPLETED, "1", None)).done
    assert not (await stage.store.settle(late, RunState.COMPLETED, "1", None)).done
    await sound(stage)


async def test_a_promise_that_failed_waits_again_in_a_new_trial(stage: Stage) -> None:
    parent = await stage.running()
    id_ = await stage.recorded(parent, kind=PROMISE)
    await stage.store.settle(id_, RunState.FAILED, None, FAILURE)
    again = await stage.retry(parent)
    assert again is not None
    record = stage.part(again, kind=PROMISE, again=True, timeout=SECOND)
    record.id = id_
    await stage.commit(records=[record])
    assert (await stage.get(id_)).state is RunState.WAITING
    await sound(stage)
    assert (await stage.store.settle(id_, RunState.COMPLETED, "1", None)).done


async def test_each_store_has_a_secret_of_its_own_until_it_is_a_copy(stage: Stage) -> None:
    secret = await stage.store.secret()
    assert len(secret) >= 32
    assert await (await stage.another_store()).secret() == secret
    await stage.store.take_over("another", 0)
    assert await stage.store.secret() == "another"


async def test_a_run_says_something_of_itself_while_it_runs(stage: Stage) -> None:
    run = await stage.running()
    assert await stage.store.value(run.key, "k") is None
    for value in ("1", '"\\u0000"'):
        assert await stage.store.say(run.key, run.attempt, "k", value)
        assert await stage.store.value(run.key, "k") == value
    again = await stage.retry(run)
    assert again is not None
    assert not await stage.store.say(run.key, run.attempt, "k", "late")
    assert await stage.store.say(run.key, again.attempt, "other", "2")
    await stage.complete(again)
    assert not await stage.store.say(run.key, again.attempt, "k", "late")
    assert [await stage.store.value(run.key, key) for key in ("k", "other")] == ['"\\u0000"', "2"]
    with pytest.raises(RunNotFoundError):
        await stage.store.value(stage.ids.new_id(), "k")
    stage.clock.advance(10)
    await stage.store.prune(stage.clock.now(), 100)
    assert await stage.store.count("value") == 0
