"""An attempt that is no longer the current one can write nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from fanwood import AttemptFencedError, RunState
from fanwood.errors import StoreValueError
from fanwood.model.commands import Batch, ClaimedRun, LogLine, Outcome, WorkerInfo
from fanwood.model.states import OnParentEnd
from tests.conformance.stage import SECOND, Stage, completed, failed, retried

Change = Callable[[Stage, ClaimedRun], Awaitable[object]]


async def _cancel(stage: Stage, run: ClaimedRun) -> None:
    await stage.cancel(run.key, "")


async def _complete(stage: Stage, run: ClaimedRun) -> None:
    await stage.complete(run)


async def _fail(stage: Stage, run: ClaimedRun) -> None:
    await stage.fail(run)


async def _claimed_anew(stage: Stage, run: ClaimedRun) -> None:
    await stage.hand_back(run)


async def _queued_anew(stage: Stage, run: ClaimedRun) -> None:
    await stage.report(retried(run))


async def _reaped(stage: Stage, run: ClaimedRun) -> None:
    await stage.store.reap(stage.worker, 3)


CHANGES: dict[str, Change] = {
    "cancelled": _cancel,
    "completed": _complete,
    "failed": _fail,
    "claimed anew": _claimed_anew,
    "queued anew": _queued_anew,
    "reaped": _reaped,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("late", [completed, failed, retried], ids=lambda make: make.__name__)
async def test_a_late_outcome_is_refused(stage: Stage, change: str, late: Callable[[ClaimedRun], Outcome]) -> None:
    run = await stage.running()
    child = await stage.born("b", run)
    await CHANGES[change](stage, run)
    await stage.sweep()
    before, rows = await stage.get(run), [await stage.row(run), await stage.row(child)]
    outcome = late(run)
    outcome.closes = outcome.state.is_terminal
    done = await stage.report(outcome)
    await stage.sweep()
    assert await stage.get(run) == before
    assert [await stage.row(run), await stage.row(child)] == rows
    # (One that came twice may count as either.)
    if not (change == "queued anew" and late is retried):
        assert done.fenced_outcomes == {0}


@pytest.mark.parametrize("late", [completed, failed, retried], ids=lambda make: make.__name__)
async def test_a_late_outcome_of_what_was_asked_for_anew_is_refused(
    stage: Stage, late: Callable[[ClaimedRun], Outcome]
) -> None:
    """It is queued then, at the same attempt: as after a retry, which this is not."""
    parent = await stage.running("p")
    id_ = await stage.born("a", parent)
    (child,) = await stage.claim(1, tasks=["a"])
    await stage.cancel(child)
    await stage.sweep()
    again = await stage.retry(parent)
    assert again is not None
    await stage.attach(again, id_)
    before = await stage.get(child)
    assert (before.state, before.attempt) == (RunState.QUEUED, child.attempt)
    assert (await stage.report(late(child))).fenced_outcomes == {0}
    assert await stage.get(child) == before


@pytest.mark.parametrize("change", CHANGES)
async def test_a_late_spawn_is_refused(stage: Stage, change: str) -> None:
    run = await stage.running()
    await CHANGES[change](stage, run)
    child = stage.spawn("b", run)
    done = await stage.commit(spawns=[child])
    assert done.fenced_parents == {(run.key, run.attempt)}
    assert await stage.store.children(run.key) == []


async def test_a_fenced_parent_takes_nobody_with_it(stage: Stage) -> None:
    late, well = await stage.running(), await stage.running()
    await stage.cancel(late.key, "")
    spawns = [stage.spawn("b", late), stage.spawn("b", well), stage.spawn("b")]
    done = await stage.commit(spawns=spawns, outcomes=[completed(late)])
    assert done.fenced_parents == {(late.key, late.attempt)}
    assert done.fenced_outcomes == {0}
    assert {run.key for run in await stage.claim(10)} == {spawns[1].id, spawns[2].id}


async def test_a_late_attach_is_refused(stage: Stage) -> None:
    parent = await stage.running()
    child = await stage.running("b", parent)
    await stage.fail(child)
    again = await stage.retry(parent)
    assert again is not None
    before = await stage.row(child)
    about = {"deadline": stage.clock.now() + SECOND, "deadline_by": parent.key, "on_parent_end": OnParentEnd.CANCEL}
    done = await stage.commit(attaches=[stage.attachment(parent, child.key, "b", **about)])
    assert done.fenced_parents == {(parent.key, 1)}
    assert await stage.row(child) == before


@pytest.mark.parametrize("change", [change for change in CHANGES if change != "cancelled"])
async def test_a_late_wish_to_be_cancelled_is_refused(stage: Stage, change: str) -> None:
    run = await stage.running()
    await CHANGES[change](stage, run)
    before = await stage.get(run)
    with pytest.raises(AttemptFencedError):
        await stage.store.cancel(run.key, "by itself", run.attempt)
    assert await stage.get(run) == before
    assert not (await stage.store.sweep()).more  # nothing was closed


async def test_an_attempt_that_cancels_itself_may_say_so_twice(stage: Stage) -> None:
    """The first answer may have been lost."""
    run = await stage.running()
    assert await stage.store.cancel(run.key, "by itself", run.attempt)
    assert not await stage.store.cancel(run.key, "by itself", run.attempt)
    assert await stage.state(run) is RunState.CANCELLED


async def test_a_late_log_line_is_dropped(stage: Stage) -> None:
    run = await stage.running()
    again = await stage.hand_back(run)
    await stage.commit(logs=[LogLine(run.key, 1, 5, "info", "late"), LogLine(run.key, 2, 6, "info", "in time")])
    assert [line.message for line in await stage.store.logs(run.key)] == ["in time"]
    assert again.attempt == 2


@pytest.mark.parametrize("change", CHANGES)
async def test_a_late_deadline_is_dropped(stage: Stage, change: str) -> None:
    run = await stage.running()
    child = await stage.born("b", run, deadline=1000, deadline_by=run.key, on_parent_end=OnParentEnd.CONTINUE)
    await CHANGES[change](stage, run)
    before = await stage.row(run)
    await stage.commit(deadlines=[(run.key, 1, 2000)])
    assert (await stage.get(child)).deadline == 1000
    assert await stage.row(run) == before
    assert not (await stage.store.sweep()).more


async def test_a_report_sent_twice_counts_once(stage: Stage) -> None:
    run = await stage.running()
    first = await stage.complete(run, "1")
    second = await stage.complete(run, "2")
    assert first.fenced_outcomes == set()
    assert second.fenced_outcomes == {0}
    assert (await stage.get(run)).output == "1"


async def test_two_reports_in_one_batch(stage: Stage) -> None:
    runs = [await stage.running() for _ in range(3)]
    await stage.cancel(runs[1].key, "")
    done = await stage.report(completed(runs[0]), completed(runs[1]), failed(runs[2]))
    assert done.fenced_outcomes == {1}
    states = [await stage.state(run) for run in runs]
    assert states == [RunState.COMPLETED, RunState.CANCELLED, RunState.FAILED]


async def test_an_end_and_a_hand_back_of_one_run_in_one_batch(stage: Stage) -> None:
    """Its code ended just as its worker stopped."""
    run = await stage.running()
    back = Outcome(run.key, run.attempt, RunState.QUEUED)
    done = await stage.report(completed(run), back)
    assert (await stage.state(run), done.fenced_outcomes) == (RunState.COMPLETED, {1})
    again = await stage.running()
    done = await stage.report(Outcome(again.key, again.attempt, RunState.QUEUED), completed(again))
    assert (await stage.state(again), done.fenced_outcomes) == (RunState.COMPLETED, {0})


async def test_two_ends_of_one_attempt_in_one_batch(stage: Stage) -> None:
    """Its function returned while its limit was being judged. The first counts, with all that goes with it, and only
    the second is refused."""
    other = await stage.register()
    for ends in ([failed, completed], [completed, failed], [retried, completed], [failed, retried]):
        run = await stage.running()
        child = await stage.born("b", run)
        await stage.commit(other, watch=[run.key])
        first, second = (make(run) for make in ends)
        first.closes = first.state is not RunState.QUEUED
        first.local = second.local = False
        done = await stage.report(first, second)
        assert done.fenced_outcomes == {1}
        assert await stage.state(run) is (first.state if first.state.is_terminal else RunState.QUEUED)
        if first.state.is_terminal:
            assert (await stage.commit(other, mail=True)).finished[run.key].state is first.state
        if first.state is RunState.FAILED:
            assert await stage.state(child) is RunState.CANCELLED
        await stage.cancel(run.key, "")


async def test_ends_of_two_attempts_in_one_batch(stage: Stage) -> None:
    """A late one of an attempt before, and the present one: only that counts."""
    for turned in (False, True):
        run = await stage.running()
        again = await stage.hand_back(run)
        ends = [completed(run, "1"), completed(again, "2")]
        done = await stage.report(*(reversed(ends) if turned else ends))
        assert done.fenced_outcomes == {1 if turned else 0}
        assert (await stage.get(run)).output == "2"


async def test_a_spawn_and_the_end_of_its_parent_in_one_batch(stage: Stage) -> None:
    parent = await stage.running()
    child = stage.spawn("b", parent)
    done = await stage.commit(spawns=[child], outcomes=[completed(parent)])
    assert not done.fenced_parents
    assert not done.fenced_outcomes
    assert await stage.state(child.id) is RunState.QUEUED


# --- what others do between two commits of one worker ---------------------------------------------------------------


@pytest.mark.parametrize("by_ours", [False, True], ids=["another's", "ours"])
async def test_what_is_closed_between_two_commits_is_seen_at_the_next(stage: Stage, by_ours: bool) -> None:
    stage.sweeps = False
    root = await stage.running()
    child = await stage.running("b", root)
    await stage.commit(spawns=[stage.spawn("c", child)])
    closer = stage.store if by_ours else await stage.another_store()
    await closer.cancel(root.key, "")
    done = await stage.commit(spawns=[stage.spawn("c", child)])
    assert done.fenced_parents == {(child.key, 1)}
    assert (await stage.complete(child)).finished[child.key].state is RunState.CANCELLED


async def test_who_watches_between_two_commits_is_told(stage: Stage) -> None:
    other = await stage.another_store()
    runs = [await stage.running(), await stage.running("b")]
    await stage.complete(runs[0])
    watcher = await other.register(WorkerInfo("w", "host", 1, 0, (), 10 * SECOND), [])
    await other.commit(watcher, Batch(watch=[runs[1].key]))
    await stage.complete(runs[1])
    assert set((await other.commit(watcher, Batch(mail=True))).finished) == {runs[1].key}


async def test_nothing_is_born_claimed_once_the_lease_is_lost(stage: Stage) -> None:
    other = await stage.another_store()
    before = stage.spawn("a", claimed=True)
    await stage.commit(spawns=[before])
    assert await stage.state(before.id) is RunState.RUNNING
    stage.clock.advance(11)
    await other.reap(stage.worker, 3)
    after = stage.spawn("a", claimed=True)
    await stage.commit(spawns=[after])
    assert await stage.state(after.id) is RunState.QUEUED


async def test_nobody_takes_the_lease_of_one_who_lives(stage: Stage) -> None:
    """Somebody had thought that it has lapsed; it was renewed meanwhile."""
    other = await stage.register(lease=5)
    run = await stage.running(worker=other)
    assert await stage.store.reap(other, 3, if_lapsed=True) == 0
    assert await stage.state(run) is RunState.RUNNING
    assert await stage.store.renew(other)
    assert not (await stage.commit(other, outcomes=[completed(run)])).fenced_outcomes
    run = await stage.running(worker=other)
    stage.clock.advance(6)
    assert await stage.store.reap(other, 3, if_lapsed=True) == 1
    assert not await stage.store.renew(other)


async def test_who_has_no_lease_any_more_takes_nothing_though_he_holds_runs(stage: Stage) -> None:
    """He left with them, or somebody is about to take them from him: he is there still, and dead."""
    other = await stage.register()
    await stage.running(worker=other)
    await stage.store.unregister(other)
    queued, born = await stage.born("b"), stage.spawn("c", claimed=True)
    assert await stage.claim(worker=other) == []
    await stage.commit(other, spawns=[born])
    assert [await stage.state(id_) for id_ in (queued, born.id)] == [RunState.QUEUED] * 2
    assert not await stage.store.renew(other)
    assert await stage.claim(worker=other) == []


async def test_what_a_commit_that_failed_had_seen_is_not_believed(stage: Stage) -> None:
    """It closes what is below a run, and is refused as a whole: nothing is closed afterwards."""
    root = await stage.running()
    child = await stage.running("b", root)
    with pytest.raises(StoreValueError):
        await stage.commit(outcomes=[failed(root, closes=True)], spawns=[stage.spawn("b", priority=2**70)])
    assert not (await stage.commit(spawns=[stage.spawn("c", child)])).fenced_parents
