"""Attempts after which a run went on are remembered: what they came to, whose they were, and when."""

from __future__ import annotations

import pytest

from fanwood import RunState
from fanwood.model.commands import ClaimedRun, Outcome
from fanwood.model.records import AttemptRecord
from fanwood.model.states import TERMINAL
from fanwood.store.store import START
from tests.conformance.stage import FAILURE, SECOND, Stage, completed, handed_back, retried

KEPT = 100


async def attempts(stage: Stage, run: ClaimedRun | bytes) -> list[AttemptRecord]:
    return await stage.store.attempts(run if isinstance(run, bytes) else run.key)


def told(found: list[AttemptRecord]) -> list[tuple[int, RunState, str | None]]:
    return [(attempt.number, attempt.state, attempt.error) for attempt in found]


async def kept(stage: Stage) -> int:
    return await stage.store.count("attempt")


async def test_what_succeeds_at_first_leaves_nothing(stage: Stage) -> None:
    run = await stage.running()
    assert told(await attempts(stage, run)) == [(1, RunState.RUNNING, None)]
    await stage.complete(run)
    assert told(await attempts(stage, run)) == [(1, RunState.COMPLETED, None)]
    assert await kept(stage) == 0
    assert await attempts(stage, await stage.born("b")) == []


async def test_a_final_failure_stands_in_the_run(stage: Stage) -> None:
    run = await stage.running()
    await stage.fail(run)
    assert told(await attempts(stage, run)) == [(1, RunState.FAILED, FAILURE)]
    assert await kept(stage) == 0


async def test_retries_are_kept_with_their_worker_and_times(stage: Stage) -> None:
    other = await stage.register(name="other")
    run = await stage.running(worker=other)
    began = stage.store.now()
    stage.clock.advance(2)
    await stage.report(retried(run), worker=other)
    assert told(await attempts(stage, run)) == [(1, RunState.FAILED, FAILURE)]  # it is queued: nobody is at the next
    again = await stage.claim_again(run)
    assert again is not None
    first, second = await attempts(stage, run)
    assert (first.worker_id, first.worker, first.error) == (other, "other", FAILURE)
    assert first.started_at is not None
    assert first.finished_at is not None
    assert abs(first.started_at - began) < 1000  # (each transaction has an instant of its own)
    assert abs(first.finished_at - began - 2 * SECOND) < 1000
    assert (second.number, second.worker_id, second.worker, second.state) == (2, stage.worker, "w", RunState.RUNNING)
    assert (second.finished_at, second.error) == (None, None)
    await stage.complete(again)
    assert [attempt.state for attempt in await attempts(stage, run)] == [RunState.FAILED, RunState.COMPLETED]


async def test_what_was_lost_with_its_worker_has_no_error(stage: Stage) -> None:
    dying = await stage.register(name="dying")
    run = await stage.running(worker=dying)
    await stage.store.reap(dying, 3)
    (lost,) = await attempts(stage, run)
    assert (lost.number, lost.worker, lost.state, lost.error) == (1, "dying", RunState.FAILED, None)


async def test_what_is_handed_back_is_not_among_them(stage: Stage) -> None:
    run = await stage.hand_back(await stage.running())
    assert told(await attempts(stage, run)) == [(2, RunState.RUNNING, None)]
    assert await kept(stage) == 0


async def test_a_replay_keeps_those_of_before(stage: Stage) -> None:
    run = await stage.running()
    again = await stage.retry(run)
    assert again is not None
    await stage.fail(again)
    assert await stage.store.replay(run.key, TERMINAL)
    before = [(1, RunState.FAILED, FAILURE), (2, RunState.FAILED, FAILURE)]
    assert told(await attempts(stage, run)) == before
    third = await stage.claim_again(run)
    assert third is not None
    await stage.complete(third)
    assert await stage.store.replay(run.key, TERMINAL)  # an end that was no failure is kept as well
    assert told(await attempts(stage, run)) == [*before, (3, RunState.COMPLETED, None)]


@pytest.mark.parametrize("end", ["complete", "fail", "cancel"])
async def test_a_replay_does_not_say_of_what_was_before_that_it_took_longer(stage: Stage, end: str) -> None:
    run = await stage.running()
    stage.clock.advance(2)
    await getattr(stage, end)(run)
    took = (await attempts(stage, run))[0].finished_at
    assert took == (await stage.get(run)).finished_at
    stage.clock.advance(3600)
    assert await stage.store.replay(run.key, TERMINAL)
    assert (await attempts(stage, run))[0].finished_at == took


@pytest.mark.parametrize("how", ["handed back", "lost", "due"])
async def test_why_the_try_before_failed_is_there_until_it_has_ended(stage: Stage, how: str) -> None:
    """Whatever else becomes of the next one."""
    run = await stage.running()
    await stage.report(retried(run, 5 if how == "due" else 0))
    stage.clock.advance(6)
    await stage.store.tick()
    dying = await stage.register()
    if how != "due":
        (again,) = await stage.claim(1, worker=dying)
        assert (await stage.get(run)).error == FAILURE
        if how == "handed back":
            await stage.report(handed_back(again), worker=dying)
        else:
            await stage.store.reap(dying, 3)
    record = await stage.get(run)
    assert (record.state, record.error) == (RunState.QUEUED, FAILURE)


async def test_a_child_that_is_asked_for_again_keeps_its_own(stage: Stage) -> None:
    parent = await stage.running()
    child = await stage.running("b", parent)
    await stage.fail(child)
    parent = await stage.retry(parent)
    assert parent is not None
    await stage.attach(parent, child.key, "b")
    assert told(await attempts(stage, child)) == [(1, RunState.FAILED, FAILURE)]


async def test_late_and_repeated_reports_write_nothing(stage: Stage) -> None:
    run = await stage.running()
    await stage.cancel(run)
    await stage.report(retried(run))
    assert [attempt.state for attempt in await attempts(stage, run)] == [RunState.CANCELLED]
    other = await stage.running("b")
    await stage.report(retried(other), retried(other))
    await stage.report(retried(other))
    assert [attempt.number for attempt in await attempts(stage, other)] == [1]
    assert await kept(stage) == 1


async def test_many_at_once_and_only_theirs(stage: Stage) -> None:
    runs = [await stage.running() for _ in range(3)]
    kinds = [retried(runs[0]), handed_back(runs[1]), completed(runs[2])]
    await stage.report(*kinds)
    assert [len(await attempts(stage, run)) for run in runs] == [1, 0, 1]
    assert await kept(stage) == 1


async def test_the_last_hundred_are_kept(stage: Stage) -> None:
    run: ClaimedRun | None = await stage.running()
    other = await stage.retry(await stage.running("b"))
    for _ in range(KEPT + 5):
        assert run is not None
        error = f'{{"kind":"failed","message":"{run.attempt}"}}'
        await stage.report(Outcome(run.key, run.attempt, RunState.QUEUED, None, error, retry=True))
        run = await stage.claim_again(run)
    assert run is not None
    assert other is not None
    found = await attempts(stage, run)
    assert [attempt.number for attempt in found] == list(range(6, KEPT + 7))
    assert found[0].error == '{"kind":"failed","message":"6"}'
    assert len(await attempts(stage, other)) == 2


async def test_they_go_with_their_run(stage: Stage) -> None:
    run = await stage.retry(await stage.running())
    assert run is not None
    await stage.complete(run)
    stage.clock.advance(1000)
    assert await kept(stage) == 1
    assert (await stage.store.prune(stage.store.now() - SECOND, 500, START)).runs == 1
    assert await kept(stage) == 0


async def test_the_next_attempt_finds_its_children_and_what_they_said(stage: Stage) -> None:
    """In pages; of what has not ended, or said too much, only that it is there; and no waits or steps."""
    parent = await stage.running()
    spawns = [stage.spawn("b", parent, input=str(n), child_key=[None, "key"][n == 3]) for n in range(5)]
    await stage.commit(spawns=spawns)
    await stage.recorded(parent)
    long = '"' + "é" * 50 + '"'
    for n, run in enumerate(await stage.claim(4, tasks=["b"])):
        await (stage.complete(run, [long, "1"][n % 2]) if n < 3 else stage.fail(run))
    other = await stage.running()
    await stage.commit(spawns=[stage.spawn("b", other)])
    found = await stage.store.recalled(parent.key, most=101)
    paged = await stage.store.recalled(parent.key, limit=2, most=101)
    paged += await stage.store.recalled(parent.key, paged[-1].id, 4, 101)
    assert paged == found
    assert [(child.id, child.identity, child.asked) for child in found] == [(s.id, s.identity, 1) for s in spawns]
    assert [child.digest for child in found] == [spawn.input_digest for spawn in spawns]
    ends = {child.id: (child.state, child.told, child.output, child.error) for child in found}
    for child in found:
        run = await stage.get(child.id)
        told = run.state.is_terminal and run.output != long
        assert ends[child.id] == (run.state, told, run.output if told else None, run.error if told else None)
    assert sorted(told for _, told, *_ in ends.values()) == [False, False, False, True, True]
    assert not any(child.told for child in await stage.store.recalled(parent.key, most=-1))


@pytest.mark.parametrize("busy", [0, 1])
async def test_who_had_not_begun_keeps_its_deaths(stage: Stage, busy: int) -> None:
    """It has not shown that it kills nobody: else one that does would be taken for new, each time."""
    run = await stage.running()
    await stage.report(handed_back(run))
    dying = await stage.register()
    await stage.claim(1, worker=dying)
    await stage.store.reap(dying, 3)
    (run,) = await stage.claim()
    assert run.deaths == 1
    back = handed_back(run)
    back.busy = busy
    await stage.report(back)
    (again,) = await stage.claim()
    assert again.deaths == 1 - busy
