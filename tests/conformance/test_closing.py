"""What is below a run that ended: closed at once, however much it is; ended by and by."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fanwood import RunNotFoundError, RunState
from fanwood.model.commands import ClaimedRun, ClaimRequest, Closing, LogLine, Outcome
from fanwood.model.matching import Wanted, mark_of
from fanwood.model.states import TERMINAL, OnParentEnd, RunKind
from fanwood.store.auditing import findings
from fanwood.store.cancelling import cancel
from fanwood.store.failures import decode_failure
from fanwood.store.many import Came, Deed
from tests.conformance.stage import SECOND, Stage, completed, digest, failed, handed_back, retried

CANCELLED = RunState.CANCELLED


@pytest.fixture
async def lazy(stage: Stage) -> Stage:
    """A stage on which nothing is swept unless that is asked for."""
    stage.sweeps = False
    return stage


async def end(stage: Stage, run: Any, how: str) -> None:
    """A run ends, and what is below it is closed."""
    match how:
        case "fails":
            await stage.fail(run, closes=True)
        case "is cancelled":
            assert await stage.store.cancel(run.key, "no more")
        case "expires":
            await stage.report(handed_back(run))
            stage.clock.advance(100)
            await stage.store.tick()
        case _:
            await stage.store.reap(stage.worker, 1)
            stage.worker = await stage.register()
    assert (await stage.state(run)).is_terminal


ENDS = ["fails", "is cancelled", "expires"]


@pytest.mark.parametrize("how", ENDS)
async def test_nothing_below_can_be_claimed(lazy: Stage, how: str) -> None:
    """A claim that meets such a run ends it, and does not pass it by."""
    root = await lazy.running(schedule_timeout=50 * SECOND)
    child = await lazy.running("b", root)
    queued = [await lazy.born("c", child) for _ in range(5)]
    free = await lazy.born("c", child, on_parent_end=OnParentEnd.CONTINUE)
    await end(lazy, root, how)
    done = await lazy.commit(claim=ClaimRequest('["a","b","c"]', 100))
    assert [run.key for run in done.claimed] == [free]
    assert done.has_more
    assert {await lazy.state(run) for run in queued} == {CANCELLED}
    assert await lazy.claim(100) == []


@pytest.mark.parametrize("how", ENDS)
async def test_nothing_below_can_be_born_or_asked_for(lazy: Stage, how: str) -> None:
    root = await lazy.running(schedule_timeout=50 * SECOND)
    child = await lazy.running("b", root)
    grandchild = await lazy.running("c", child)
    known = await lazy.born("a", grandchild)
    await end(lazy, root, how)
    for parent in (child, grandchild):
        spawn = lazy.spawn("a", parent, claimed=True)
        done = await lazy.commit(spawns=[spawn])
        assert done.fenced_parents == {(parent.key, parent.attempt)}
        with pytest.raises(RunNotFoundError):
            await lazy.get(spawn.id)
    done = await lazy.commit(attaches=[lazy.attachment(grandchild, known, "a")])
    assert done.fenced_parents == {(grandchild.key, grandchild.attempt)}
    assert done.attached == {}


@pytest.mark.parametrize("seen_by", ["spawns", "reports", "retries", "a sweep", "a claim"])
async def test_it_reaches_as_deep_as_a_tree_is(lazy: Stage, seen_by: str) -> None:
    root = await lazy.running()
    chain = [root]
    for _ in range(6):
        chain.append(await lazy.running("b", chain[-1]))
    last = await lazy.born("c", chain[-1])
    await lazy.store.cancel(root.key, "no more")
    below = chain[1:]
    match seen_by:
        case "spawns":
            done = await lazy.commit(spawns=[lazy.spawn("c", run) for run in below])
            assert done.fenced_parents == {(run.key, 1) for run in below}
        case "reports":
            done = await lazy.report(*map(completed, below))
            assert done.fenced_outcomes == set(range(len(below)))
        case "retries":
            await lazy.report(*map(retried, below))
        case "a claim":
            assert await lazy.claim(10) == []
            assert await lazy.state(last) is CANCELLED
        case _:
            pass
    if seen_by not in ("reports", "retries"):
        assert await lazy.sweep() >= len(below)
    assert {await lazy.state(run) for run in chain} == {CANCELLED}


@pytest.mark.parametrize("report", [completed, failed, retried, handed_back, lambda run: retried(run, 60)])
async def test_whatever_an_attempt_below_reports_it_was_cancelled(lazy: Stage, report: Any) -> None:
    root = await lazy.running()
    child = await lazy.running("b", root)
    await lazy.store.cancel(root.key, "no more")
    done = await lazy.report(report(child))
    record = await lazy.get(child)
    assert record.state is CANCELLED
    assert decode_failure(record.error).kind == "cancelled"
    assert record.output is None
    if report in (completed, failed):
        assert done.fenced_outcomes == {0}
        assert done.finished[child.key].state is CANCELLED


async def test_a_retry_that_becomes_due_below_does_not_come_to_the_queue(lazy: Stage) -> None:
    root = await lazy.running()
    child = await lazy.running("b", root)
    await lazy.report(retried(child, 5))
    await lazy.store.cancel(root.key, "no more")
    lazy.clock.advance(6)
    await lazy.store.tick()
    assert await lazy.state(child) is CANCELLED


async def test_what_a_lost_worker_had_below_does_not_go_back_to_the_queue(lazy: Stage) -> None:
    root = await lazy.running()
    other = await lazy.register()
    child = await lazy.running("b", root, worker=other)
    await lazy.store.cancel(root.key, "no more")
    await lazy.store.reap(other, 3)
    assert await lazy.state(child) is CANCELLED


@pytest.mark.parametrize("how", ENDS)
async def test_a_sweep_ends_all_that_lives_and_forgets(lazy: Stage, how: str) -> None:
    root = await lazy.running(schedule_timeout=50 * SECOND)
    child = await lazy.running("b", root)
    finished = await lazy.running("c", root)
    await lazy.complete(finished)
    waiting = await lazy.running("c", child)
    await lazy.report(retried(waiting, 1000))
    queued = [await lazy.born("c", child, priority=number % 3) for number in range(20)]
    beside = await lazy.running()
    theirs = await lazy.born("c", beside)
    await end(lazy, root, how)
    assert (await lazy.store.look_around(lazy.worker, "host")).closed
    await lazy.sweep()
    assert {await lazy.state(run) for run in (child.key, waiting.key, *queued)} == {CANCELLED}
    assert await lazy.state(finished) is RunState.COMPLETED
    assert [await lazy.state(run) for run in (beside.key, theirs)] == [RunState.RUNNING, RunState.QUEUED]
    assert not (await lazy.store.look_around(lazy.worker, "host")).closed
    assert (await lazy.store.sweep()).ended == 0


async def test_many_at_all_depths_are_swept_in_bounded_steps(lazy: Stage) -> None:
    """Whatever stands between them in the indexes, and lives on."""
    root = await lazy.running()
    kept = [await lazy.running("b", root, on_parent_end=OnParentEnd.CONTINUE)]
    doomed = [await lazy.running("b", root)]
    for level in range(3):
        for family in (kept, doomed):
            spawns = [lazy.spawn(task, family[-1], priority=priority) for task in "abc" for priority in range(4)]
            await lazy.commit(spawns=spawns)
            claimed = [run for run in await lazy.claim(40) if run.depth == level + 2]
            family.append(claimed[0])
    spawns = [lazy.spawn("c", doomed[-1]) for _ in range(900)]
    await lazy.commit(spawns=spawns)
    assert await lazy.store.cancel(doomed[0].key, "no more")
    steps = 0
    while (swept := await lazy.store.sweep()).more:
        steps += 1
        assert swept.ended <= 1000
    assert steps >= 1
    records = await lazy.records()
    assert {records[spawn.id].state for spawn in spawns} == {CANCELLED}
    counts = {(count.state) for count in await lazy.store.tree_counts(doomed[0].key)}
    assert counts == {CANCELLED}
    assert CANCELLED not in {count.state for count in await lazy.store.tree_counts(kept[0].key)}


async def test_a_replayed_run_does_not_wait_for_what_it_left(lazy: Stage) -> None:
    """Its new attempt may spawn, and what it asks for again goes on; what it doesn't ask for is ended."""
    root = await lazy.running()
    asked, left = await lazy.born("b", root), await lazy.born("b", root)
    await lazy.fail(root, closes=True)
    assert await lazy.store.replay(root.key, TERMINAL)
    (again,) = await lazy.claim(1, tasks=["a"])
    assert (await lazy.attach(again, asked, "b")).state is RunState.QUEUED
    new = await lazy.born("b", again)
    await lazy.sweep()
    assert [await lazy.state(run) for run in (asked, left, new)] == [RunState.QUEUED, CANCELLED, RunState.QUEUED]


async def test_a_child_that_is_replayed_below_something_closed_waits_until_that_is_swept(lazy: Stage) -> None:
    root = await lazy.running()
    child = await lazy.running("b", root)
    await lazy.fail(child)
    await lazy.store.cancel(root.key, "no more")
    assert await lazy.store.replay(child.key, TERMINAL)
    assert await lazy.state(child) is RunState.QUEUED
    assert await lazy.sweep() == 0
    assert [run.key for run in await lazy.claim(5)] == [child.key]


async def test_a_parent_that_completes_closes_only_what_ends_with_it(lazy: Stage) -> None:
    parent = await lazy.running()
    with_it = [await lazy.born("b", parent, on_parent_end=OnParentEnd.CANCEL) for _ in range(3)]
    on = [await lazy.born("b", parent), await lazy.born("b", parent, on_parent_end=OnParentEnd.CONTINUE)]
    ended = await lazy.running("c", parent, on_parent_end=OnParentEnd.CANCEL)
    below = await lazy.born("c", ended)
    await lazy.complete(ended)
    await lazy.complete(parent, closes=True)
    assert {run.key for run in await lazy.claim(10)} == {*on, below}
    await lazy.sweep()
    assert {await lazy.state(run) for run in with_it} == {CANCELLED}


async def test_what_a_child_left_that_had_completed_before_lives_through_the_sweep(lazy: Stage) -> None:
    """Many of a level, which are looked at by their parents."""
    parent = await lazy.running()
    ended = await lazy.running("c", parent, on_parent_end=OnParentEnd.CANCEL)
    below = [await lazy.born("b", ended) for _ in range(900)]
    await lazy.complete(ended)
    lazy.clock.advance(1)
    with_it = await lazy.born("c", parent, on_parent_end=OnParentEnd.CANCEL)
    await lazy.complete(parent, closes=True)
    await lazy.sweep()
    assert await lazy.state(with_it) is CANCELLED
    assert {await lazy.state(run) for run in below} == {RunState.QUEUED}


async def test_what_had_ended_before_is_replayed_once_that_is_swept(lazy: Stage) -> None:
    """Else it would be ended with what lives."""
    parent = await lazy.running()
    await lazy.born("b", parent, on_parent_end=OnParentEnd.CANCEL)
    ended = await lazy.running("c", parent, on_parent_end=OnParentEnd.CANCEL)
    await lazy.fail(ended)
    lazy.clock.advance(1)
    await lazy.complete(parent, closes=True)
    replay = Deed("replay", allow=(int(RunState.FAILED),))
    assert await lazy.store.to_many(replay, [ended.key]) == [Came.LATER]
    assert await lazy.store.replay(ended.key, [RunState.FAILED])  # which waits
    assert [run.key for run in await lazy.claim(10)] == [ended.key]


async def test_a_run_without_children_closes_nothing(lazy: Stage) -> None:
    for report in (completed, failed):
        run = await lazy.running()
        done = await lazy.report(report(run, closes=True))
        assert not done.has_closed
    assert await lazy.store.cancel((await lazy.running()).key, "no more")
    assert not (await lazy.store.look_around(lazy.worker, "host")).closed


# --- what workers had claimed ahead ----------------------------------------------------------------------------------


async def test_workers_are_told_of_what_a_call_closed_until_they_have_heard(lazy: Stage) -> None:
    root = await lazy.running()
    await lazy.running("b", root)
    other = await lazy.register()
    client = await lazy.register(slots=0)
    await lazy.store.cancel(root.key, "no more")
    told = Closing(root.id, root.root_id)
    assert not await lazy.store.is_heard(root.key)
    for worker in (lazy.worker, other):
        assert (await lazy.commit(worker, mail=True)).closings == [told]
        assert (await lazy.commit(worker, mail=True)).closings == [told]
        assert not await lazy.store.is_heard(root.key)
        await lazy.commit(worker, heard=[root.key])
        assert (await lazy.commit(worker, mail=True)).closings == []
    assert await lazy.store.is_heard(root.key)
    assert (await lazy.commit(client, mail=True)).closings == []


async def test_of_a_run_without_children_is_heard_as_well(lazy: Stage) -> None:
    """It may be claimed, and not have begun."""
    run = await lazy.running()
    await lazy.store.cancel(run.key, "no more")
    assert not await lazy.store.is_heard(run.key)
    assert [closing.run_id for closing in (await lazy.commit(mail=True)).closings] == [run.id]
    await lazy.commit(heard=[run.key])
    assert await lazy.store.is_heard(run.key)


@pytest.mark.parametrize("how", ["lapsed", "reaped", "stopped"])
async def test_nobody_waits_for_a_worker_that_is_gone(lazy: Stage, how: str) -> None:
    root = await lazy.running()
    await lazy.running("b", root)
    other = await lazy.register(lease=5)
    await lazy.store.cancel(root.key, "no more")
    await lazy.commit(heard=[root.key])
    assert not await lazy.store.is_heard(root.key)
    match how:
        case "lapsed":
            lazy.clock.advance(6)
        case "reaped":
            await lazy.store.reap(other, 3)
        case _:
            await lazy.store.unregister(other)
    assert await lazy.store.is_heard(root.key)


async def test_a_call_ends_a_small_tree_before_it_returns(lazy: Stage) -> None:
    client = await lazy.register(slots=0)
    root = await lazy.running(worker=client)
    ids = [await lazy.born("b", root) for _ in range(10)]
    await lazy.store.reap(lazy.worker, 3)
    assert await cancel(lazy.store, root.key, "no more") == 11
    assert {await lazy.state(id_) for id_ in ids} == {CANCELLED}
    assert await cancel(lazy.store, root.key, "once more") == 0


async def test_late_words_of_what_was_closed_change_nothing(lazy: Stage) -> None:
    root = await lazy.running()
    child = await lazy.running("b", root)
    await lazy.store.cancel(root.key, "no more")
    await lazy.sweep()
    line = LogLine(child.key, child.attempt, 5, "info", "too late")
    late = Outcome(child.key, child.attempt, RunState.COMPLETED, "1")
    done = await lazy.commit(logs=[line], outcomes=[late])
    assert done.fenced_outcomes == {0}
    assert await lazy.store.logs(child.key) == []
    assert await lazy.state(child) is CANCELLED


@pytest.mark.parametrize("living", ["the newest", "the oldest", "none"])
async def test_a_lost_run_with_many_children_waited_if_any_of_them_lives(lazy: Stage, living: str) -> None:
    other = await lazy.register()
    parent = await lazy.running(worker=other)
    spawns = [lazy.spawn("b", parent, claimed=True) for _ in range(450)]
    await lazy.commit(spawns=spawns)
    kept = {"the newest": spawns[-1], "the oldest": spawns[0], "none": None}[living]
    await lazy.report(*[Outcome(spawn.id, 1, RunState.COMPLETED, "1") for spawn in spawns if spawn is not kept])
    await lazy.store.reap(other, 3)
    record = await lazy.get(parent)
    assert (record.state, record.deaths) == (RunState.QUEUED, 1 if kept is None else 0)


async def test_all_that_a_dead_worker_had_goes_back_however_much_that_is(lazy: Stage) -> None:
    other = await lazy.register()
    spawns = [lazy.spawn("b", claimed=True) for _ in range(450)]
    await lazy.commit(other, spawns=spawns)
    assert await lazy.store.reap(other, 3) == len(spawns)
    assert {record.state for record in (await lazy.records()).values()} == {RunState.QUEUED}
    assert other not in {worker.id for worker in await lazy.store.workers()}


async def test_a_lost_run_waited_whichever_of_its_children_lives(lazy: Stage) -> None:
    other = await lazy.register()
    for living in range(3):
        parent = await lazy.running(worker=other)
        children = [await lazy.running("b", parent) for _ in range(3)]
        await lazy.report(*(completed(child) for number, child in enumerate(children) if number != living))
        await lazy.store.reap(other, 3)
        assert (await lazy.get(parent)).deaths == 0
        await lazy.cancel(parent)
        other = await lazy.register()


# --- what comes while a pass is under way ----------------------------------------------------------------------------


async def _two_branches(stage: Stage) -> tuple[ClaimedRun, ClaimedRun, ClaimedRun, list[bytes]]:
    """A root; two children of it, of which one has more than a page below, and the other what a pass comes to first."""
    root = await stage.running()
    large, small = await stage.running("b", root), await stage.running("b", root)
    kind = stage.spawn("c", large, priority=1).kind
    many = [stage.spawn("c", large) for _ in range(1100)]
    for spawn in many:
        spawn.kind = kind
    first = [stage.spawn("c", small, priority=9) for _ in range(3)]
    await stage.commit(spawns=[*many, *first])
    return root, large, small, [spawn.id for spawn in first]


async def test_what_is_closed_while_a_pass_is_under_way_is_ended_by_another(lazy: Stage) -> None:
    _, large, small, first = await _two_branches(lazy)
    await lazy.store.cancel(large.key, "no more")
    assert (await lazy.store.sweep()).more
    await lazy.store.cancel(small.key, "no more")
    await lazy.sweep()
    assert {await lazy.state(id_) for id_ in first} == {CANCELLED}


async def test_what_is_closed_once_more_while_a_pass_is_under_way_is_ended_by_another(lazy: Stage) -> None:
    """It was replayed, and has failed again, below where the pass has been already."""
    _, large, _, first = await _two_branches(lazy)
    await lazy.store.cancel(large.key, "no more")
    assert (await lazy.store.sweep()).more
    assert await lazy.store.replay(large.key, TERMINAL)
    (again,) = await lazy.claim(tasks=["b"])
    new = [await lazy.born("c", again, priority=9) for _ in range(3)]
    await lazy.fail(again, closes=True)
    await lazy.sweep()
    assert {await lazy.state(id_) for id_ in new} == {CANCELLED}
    assert {await lazy.state(id_) for id_ in first} == {RunState.QUEUED}


@pytest.mark.parametrize("policy", [OnParentEnd.DEFAULT, OnParentEnd.CANCEL, OnParentEnd.SHARED])
@pytest.mark.parametrize("how", [*ENDS, "starts over"])
async def test_below_what_was_ended_all_ends_though_its_parent_is_closed_once_more(
    lazy: Stage, how: str, policy: OnParentEnd
) -> None:
    """The parent runs again, and completes, before all is swept that it had left."""
    root = await lazy.running(schedule_timeout=50 * SECOND)
    child = await lazy.running("b", root, on_parent_end=policy)
    grandchild = await lazy.born("c", child)
    await lazy.report(handed_back(child))
    if how == "starts over":
        await lazy.report(Outcome(root.key, root.attempt, RunState.QUEUED, "{}", renews=True))
    else:
        await end(lazy, root, how)
    assert await lazy.claim(100, tasks=["b"]) == []  # which ends it
    assert (await lazy.state(child), await lazy.state(grandchild)) == (CANCELLED, RunState.QUEUED)
    if how != "starts over":
        assert await lazy.store.replay(root.key, TERMINAL)
    again = await lazy.claim_again(root)
    assert again is not None
    other = await lazy.born("b", again)
    lazy.clock.advance(1)
    await lazy.complete(again, closes=True)
    await lazy.sweep()
    assert (await lazy.state(grandchild), await lazy.state(other)) == (CANCELLED, RunState.QUEUED)


async def test_what_goes_on_below_what_had_completed_does_so_though_its_parent_is_closed_once_more(lazy: Stage) -> None:
    """... if that was between the two, or before both."""
    root = await lazy.running(schedule_timeout=50 * SECOND)
    before = await lazy.running("b", root)
    await lazy.complete(before)
    first = await lazy.running("b", root, on_parent_end=OnParentEnd.CANCEL)
    lived = await lazy.born("c", first)
    await lazy.complete(first)
    ended = await lazy.running("b", root, on_parent_end=OnParentEnd.CANCEL)
    await lazy.born("c", ended)
    lazy.clock.advance(1)
    await lazy.complete(root, closes=True)
    assert await lazy.store.replay(root.key, TERMINAL)
    again = await lazy.claim_again(root)
    assert again is not None
    second = await lazy.running("d", again, on_parent_end=OnParentEnd.CANCEL)
    lives = await lazy.born("c", second)
    await lazy.complete(second)
    last = await lazy.born("b", again, on_parent_end=OnParentEnd.CANCEL)
    lazy.clock.advance(1)
    await lazy.complete(again, closes=True)
    await lazy.sweep()
    assert (await lazy.state(lived), await lazy.state(lives)) == (RunState.QUEUED, RunState.QUEUED)
    assert (await lazy.state(ended), await lazy.state(last)) == (CANCELLED, CANCELLED)


@pytest.mark.parametrize("how", ["fails", "completes"])
async def test_a_claim_in_the_batch_that_closes(lazy: Stage, how: str) -> None:
    parent = await lazy.running()
    child = await lazy.born("b", parent, on_parent_end=OnParentEnd.CANCEL)
    outcome = failed(parent, closes=True) if how == "fails" else completed(parent, closes=True)
    done = await lazy.commit(outcomes=[outcome], claim=ClaimRequest('["b"]', 5))
    assert done.claimed == []
    await lazy.sweep()
    assert await lazy.state(child) is CANCELLED


@pytest.mark.parametrize("state", [RunState.QUEUED, RunState.WAITING, RunState.RUNNING])
async def test_who_watches_what_is_swept_is_told(lazy: Stage, state: RunState) -> None:
    """Though its siblings are ended without a word."""
    other = await lazy.register()
    root = await lazy.running()
    siblings = [await lazy.born("b", root) for _ in range(3)]
    watched = await lazy.running("c", root) if state is not RunState.QUEUED else None
    if state is RunState.WAITING and watched is not None:
        await lazy.report(retried(watched, 60))
    id_ = siblings[1] if watched is None else watched.key
    await lazy.commit(other, watch=[id_])
    await lazy.store.cancel(root.key, "no more")
    await lazy.sweep()
    assert {await lazy.state(sibling) for sibling in siblings} == {CANCELLED}
    assert (await lazy.commit(other, mail=True)).finished[id_].state is CANCELLED


@pytest.mark.parametrize("last", ["goes on", "is watched", "is watched, as others are"])
async def test_one_who_is_another_matter_among_very_many(lazy: Stage, last: str) -> None:
    """All in one place of the queue, more than a page, of which the last few go on, or are watched."""
    other, root = await lazy.register(), await lazy.running()
    kind = lazy.spawn("c", root).kind
    many = [lazy.spawn("c", root) for _ in range(1200)]
    for spawn in many:
        spawn.kind = kind
    policy = OnParentEnd.CONTINUE if last == "goes on" else OnParentEnd.DEFAULT
    few = [lazy.spawn("c", root, on_parent_end=policy) for _ in range(2)]
    await lazy.commit(spawns=[*many, *few])
    watched = [few[0].id, *[spawn.id for spawn in many[::10] if last == "is watched, as others are"]]
    if last != "goes on":
        await lazy.commit(other, watch=watched)
    await lazy.store.cancel(root.key, "no more")
    await lazy.sweep()
    records = await lazy.records()
    assert {records[spawn.id].state for spawn in many} == {CANCELLED}
    expected = RunState.QUEUED if last == "goes on" else CANCELLED
    assert {records[spawn.id].state for spawn in few} == {expected}
    if last != "goes on":
        assert set((await lazy.commit(other, mail=True)).finished) == set(watched)


@pytest.mark.parametrize("below", [False, True], ids=["itself", "what is below it"])
@pytest.mark.parametrize("how", ENDS)
async def test_who_goes_on_does_whatever_it_did_before(lazy: Stage, how: str, below: bool) -> None:
    """Its parent has ended, and nothing was swept yet."""
    root = await lazy.running(schedule_timeout=50 * SECOND)
    run = await lazy.running("b", root, on_parent_end=OnParentEnd.CONTINUE)
    doomed = await lazy.born("c", root)
    if below:
        run = await lazy.running("b", run)
    known = await lazy.born("c", run)
    await end(lazy, root, how)
    new = lazy.spawn("c", run)
    done = await lazy.commit(spawns=[new], attaches=[lazy.attachment(run, known, "c")])
    assert not done.fenced_parents
    assert done.attached[0].state is RunState.QUEUED
    await lazy.report(retried(run, 5))
    assert await lazy.state(run) is RunState.WAITING
    lazy.clock.advance(6)
    await lazy.store.tick()
    again = await lazy.claim_again(run)
    assert again is not None
    assert {claimed.key for claimed in await lazy.claim(10, tasks=["c"])} == {known, new.id}
    assert not (await lazy.complete(again)).fenced_outcomes
    assert (await lazy.get(run)).output == "1"
    await lazy.sweep()
    assert await lazy.state(doomed) is CANCELLED
    assert await lazy.store.replay(run.key, TERMINAL)


@pytest.mark.parametrize("how", ["asked for again", "asked for again as it completed"])
async def test_what_is_below_who_is_asked_for_again_before_all_is_swept_ends(lazy: Stage, how: str) -> None:
    """What above it was closed covers him no more, and so nothing that is below him."""
    root = await lazy.running()
    child = await lazy.running("b", root)
    grandchild = await lazy.running("c", child)
    last = await lazy.born("d", grandchild)
    own = await lazy.born("d", child)
    if how == "asked for again":
        await lazy.store.cancel(root.key, "no more")
        await lazy.report(completed(child), completed(grandchild))  # as a sweep ends them
        assert await lazy.state(child) is await lazy.state(grandchild) is CANCELLED
    else:
        await lazy.report(completed(child))
        await lazy.store.cancel(root.key, "no more")
        await lazy.report(completed(grandchild))
    await lazy.store.replay(root.key, TERMINAL)
    (root,) = await lazy.claim(100, tasks=["a"])
    await lazy.attach(root, child.key, "b")
    assert {await lazy.state(last), await lazy.state(own)} == {RunState.QUEUED}
    assert await lazy.sweep() == 2
    assert {await lazy.state(last), await lazy.state(own)} == {CANCELLED}
    again = RunState.QUEUED if how == "asked for again" else RunState.COMPLETED
    assert await lazy.state(child) is again
    if again is RunState.QUEUED:  # and what it asks for now lives
        (child,) = await lazy.claim(100, tasks=["b"])
        assert (await lazy.attach(child, own, "d")).state is RunState.QUEUED
        assert await lazy.sweep() == 0


async def test_who_lives_below_what_is_closed_and_is_asked_for_again_begins_anew(lazy: Stage) -> None:
    """As if a sweep had met him before: what is below him has been ended in part."""
    root = await lazy.running()
    other = await lazy.register()
    child = await lazy.running("b", root, worker=other)
    grandchild = await lazy.running("c", child)
    last = await lazy.born("d", grandchild)
    await lazy.store.cancel(root.key, "no more")
    await lazy.report(completed(grandchild))
    assert await lazy.state(grandchild) is CANCELLED
    await lazy.store.replay(root.key, TERMINAL)
    (root,) = await lazy.claim(100, tasks=["a"])
    assert (await lazy.attach(root, child.key, "b")).state is RunState.QUEUED
    told = await lazy.commit(worker=other, mail=True)
    assert [(notice.run_id, notice.attempt) for notice in told.mine] == [(child.key, child.attempt)]
    assert await lazy.sweep() == 1
    assert await lazy.state(last) is CANCELLED
    (child,) = await lazy.claim(100, tasks=["b"])
    assert child.attempt == 2


def _wait(stage: Stage, kind: RunKind, name: str) -> tuple[str, dict[str, Any]]:
    wanted = Wanted(name)
    about: dict[str, Any] = {"awaits": mark_of(wanted)} if kind is RunKind.EVENT else {}
    about |= {"due_at": stage.clock.now() + 9 * SECOND} if kind is RunKind.SLEEP else {"timeout": 9 * SECOND}
    return msgspec.json.encode(wanted).decode(), about


@pytest.mark.parametrize("kind", [RunKind.SLEEP, RunKind.PROMISE, RunKind.EVENT])
@pytest.mark.parametrize("how", ["fails", "is cancelled", "completes"])
async def test_what_waits_below_what_was_replayed_before_all_is_swept_waits_anew(
    lazy: Stage, kind: RunKind, how: str
) -> None:
    """It was to end, and does so after the replay: who waited for it would be told that he is cancelled."""
    root, ids = await lazy.running(), list[bytes]()
    for name in ("1", "2"):
        text, about = _wait(lazy, kind, name)
        ids.append(await lazy.recorded(root, text, kind=kind, **about))
    if how == "completes":
        await lazy.complete(root, closes=True)
    else:
        await end(lazy, root, how)
    await lazy.store.replay(root.key, TERMINAL)
    (root,) = await lazy.claim(100, tasks=["a"])
    found = await lazy.store.recorded(root.key)
    shown = {(each.state, each.asked, (each.error or "")[:19]) for each in found}
    assert shown == {(CANCELLED, 1, '{"kind":"cancelled"')}
    assert await lazy.store.recorded_few([(root.key, b"")], 9, 0) == [found]
    lazy.clock.advance(1)
    text, about = _wait(lazy, kind, "1")
    await lazy.recorded(root, text, kind=kind, id=ids[0], again=True, **about)
    record = await lazy.get(ids[0])
    assert (record.state, record.until) == (RunState.WAITING, lazy.clock.now() + 9 * SECOND)
    assert [each.state for each in await lazy.store.recorded(root.key)] == [RunState.WAITING, CANCELLED]
    assert await lazy.sweep() == 1
    assert await lazy.state(ids[0]) is RunState.WAITING
    assert await lazy.state(ids[1]) is CANCELLED
    assert [found async for found in findings(lazy.store, full=True, attended=False)] == []


async def test_what_waits_below_a_later_try_is_as_it_stands(lazy: Stage) -> None:
    root = await lazy.running()
    await lazy.recorded(root)
    again = await lazy.retry(root)
    assert again is not None
    assert [each.state for each in await lazy.store.recorded(root.key)] == [RunState.WAITING]


@pytest.mark.parametrize("order", [1, -1])
async def test_who_is_asked_for_again_and_once_with_something_else_begins_anew(lazy: Stage, order: int) -> None:
    root = await lazy.running()
    other = await lazy.register()
    child = await lazy.running("b", root, worker=other, child_key="k", input_digest=digest("x"))
    await lazy.store.cancel(root.key, "no more")
    await lazy.store.replay(root.key, TERMINAL)
    (root,) = await lazy.claim(100, tasks=["a"])
    asked = [lazy.attachment(root, child.key, "b", input_digest=digest(what)) for what in ("x", "y")]
    done = await lazy.commit(attaches=asked[::order])
    assert [done.attached[n].matches for n in range(2)][::order] == [True, False]
    assert await lazy.state(child) is RunState.QUEUED
