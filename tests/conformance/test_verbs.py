"""What people ask for: cancelling subtrees, replaying, looking."""

from __future__ import annotations

import pytest

from fanwood import RunNotFoundError, RunState
from fanwood.model.commands import Batch, LogLine, TaskInfo
from fanwood.model.records import RunFilter
from fanwood.model.states import TERMINAL, OnParentEnd
from fanwood.store import finding
from tests.conformance.stage import SECOND, Stage, completed

NOBODY = bytes.fromhex("018f4e2a000070008000000000000001")


# --- cancelling ----------------------------------------------------------------------------------------------------


async def test_cancelling_takes_the_whole_subtree_and_nothing_else(stage: Stage) -> None:
    root = await stage.running()
    child, sibling = await stage.running("b", root), await stage.running("b", root)
    leaf, done = await stage.born("c", child), None
    done = await stage.running("a", child)
    below_done = await stage.born("c", done)
    await stage.complete(done)
    assert await stage.cancel(child.key, "no more") == 3
    for run in (child.key, leaf, below_done):
        assert await stage.state(run) is RunState.CANCELLED
    assert await stage.state(done) is RunState.COMPLETED
    assert await stage.state(root) is RunState.RUNNING
    assert await stage.state(sibling) is RunState.RUNNING
    error, below = (await stage.get(child)).error, (await stage.get(leaf)).error
    assert error is not None
    assert "no more" in error
    assert below is not None
    assert "its ancestor" in below


async def test_cancelling_again_changes_nothing(stage: Stage) -> None:
    run = await stage.running()
    await stage.born("b", run)
    assert await stage.cancel(run.key, "first") == 2
    before = await stage.get(run)
    assert await stage.cancel(run.key, "second") == 0
    assert await stage.get(run) == before


async def test_who_gives_up_children_cancels_those_that_his_attempt_asked_for_last(stage: Stage) -> None:
    parent = await stage.running()
    queued, running = await stage.born("b", parent), await stage.running("c", parent)
    below = await stage.born("b", running)
    done, another = await stage.running("c", parent), await stage.born("b")
    await stage.complete(done)
    again = await stage.hand_back(parent)
    asked = await stage.born("b", parent=again)
    await stage.attach(again, running.key, "c")
    given_up = [running.key, asked, queued, done.key, another, NOBODY]
    # Of those that the first attempt asked for, the second has asked for one, and another one has ended.
    assert await stage.store.cancel_children(parent.key, 1, given_up, "no more") == 1
    assert await stage.store.cancel_children(parent.key, again.attempt, given_up, "no more") == 2
    await stage.sweep()
    for run in (queued, running.key, asked, below):
        assert await stage.state(run) is RunState.CANCELLED
    assert "no more" in ((await stage.get(running)).error or "")
    assert await stage.state(done) is RunState.COMPLETED
    assert await stage.state(another) is RunState.QUEUED
    assert await stage.state(parent) is RunState.RUNNING
    assert await stage.store.cancel_children(parent.key, again.attempt, given_up, "no more") == 0


async def test_cancelling_closes_the_subtree_to_spawns(stage: Stage) -> None:
    root = await stage.running()
    child = await stage.running("b", root)
    await stage.cancel(root.key, "")
    done = await stage.commit(spawns=[stage.spawn("c", root), stage.spawn("c", child)])
    assert done.fenced_parents == {(root.key, 1), (child.key, 1)}
    assert await stage.claim(10) == []


async def test_cancelling_spares_those_that_were_spawned_to_go_on_and_all_below_them(stage: Stage) -> None:
    root = await stage.running()
    free = await stage.running("b", root, on_parent_end=OnParentEnd.CONTINUE)
    below = await stage.born("c", free)
    assert await stage.cancel(root.key, "") == 1
    assert await stage.state(free) is RunState.RUNNING
    assert await stage.state(below) is RunState.QUEUED
    assert not (await stage.commit(spawns=[stage.spawn("c", free)])).fenced_parents
    assert await stage.cancel(free.key, "") == 3


async def test_cancelling_what_is_delayed(stage: Stage) -> None:
    run = await stage.running()
    await stage.retry(run, delay=5)
    assert await stage.cancel(run.key, "") == 1
    stage.clock.advance(10)
    await stage.store.tick()
    assert await stage.claim() == []


async def test_cancelling_nobody_is_an_error(stage: Stage) -> None:
    with pytest.raises(RunNotFoundError):
        await stage.cancel(NOBODY, "")


async def test_a_cancelled_run_is_told_to_its_worker_and_to_that_of_its_parent(stage: Stage) -> None:
    other = await stage.register()
    parent = await stage.running()
    child = await stage.running("b", parent, worker=other)
    await stage.cancel(child.key, "stop")
    theirs = await stage.commit(other, mail=True)
    assert [(n.run_id, n.attempt, n.state) for n in theirs.mine] == [(child.key, 1, RunState.CANCELLED)]
    ours = await stage.commit(mail=True)
    assert ours.finished[child.key].state is RunState.CANCELLED
    assert ours.mine == []
    assert (await stage.commit(mail=True)).finished == {}


# --- replaying -----------------------------------------------------------------------------------------------------


async def test_replaying_begins_a_new_trial(stage: Stage) -> None:
    run = await stage.running()
    again = await stage.retry(run)
    assert again is not None
    await stage.fail(again)
    assert await stage.store.replay(run.key, TERMINAL) is True
    record = await stage.get(run)
    assert (record.state, record.error, record.finished_at, record.retry_count) == (RunState.QUEUED, None, None, 0)
    (third,) = await stage.claim()
    assert (third.attempt, third.retry_count, third.trial_start) == (3, 0, 3)


async def test_replaying_only_from_the_states_that_are_allowed(stage: Stage) -> None:
    run = await stage.running()
    await stage.complete(run)
    assert await stage.store.replay(run.key, (RunState.FAILED,)) is False
    assert await stage.state(run) is RunState.COMPLETED
    assert await stage.store.replay(run.key, (RunState.COMPLETED,)) is True


async def test_replaying_an_unfinished_run_is_refused_whatever_is_allowed(stage: Stage) -> None:
    run = await stage.running()
    assert await stage.store.replay(run.key, tuple(RunState)) is False
    with pytest.raises(RunNotFoundError):
        await stage.store.replay(NOBODY, TERMINAL)


async def test_what_failed_below_a_replayed_run_runs_again_when_asked_for(stage: Stage) -> None:
    run = await stage.running()
    bad, good = await stage.running("b", run), await stage.running("b", run)
    await stage.fail(bad)
    await stage.complete(good)
    await stage.fail(run)
    await stage.store.replay(run.key, TERMINAL)
    (again,) = await stage.claim()
    assert (await stage.attach(again, bad.key, "b")).state is RunState.QUEUED
    assert (await stage.attach(again, good.key, "b")).state is RunState.COMPLETED


# --- looking -------------------------------------------------------------------------------------------------------


async def test_roots_newest_first_filtered(stage: Stage) -> None:
    first = await stage.born("a")
    stage.clock.advance(10)
    middle = stage.clock.now()
    second = await stage.running("b")
    third = await stage.born("space/x")
    await stage.born("c", second)

    async def ids(**about: object) -> list[bytes]:
        return [record.id for record in (await stage.store.listing(RunFilter(**about))).runs]  # pyright: ignore[reportArgumentType]

    assert await ids() == [third, second.key, first]
    assert await ids(limit=2) == [third, second.key]
    assert await ids(task="a") == [first]
    assert await ids(state=RunState.RUNNING) == [second.key]
    assert await ids(since=middle) == [third, second.key]
    assert await ids(prefix="space/") == [third]
    assert await ids(prefix="spac/") == []


async def test_children_oldest_first_in_pages(stage: Stage) -> None:
    parent = await stage.running()
    ids = [await stage.born("b" if n % 2 else "c", parent) for n in range(7)]
    seen: list[bytes] = []
    while page := await stage.store.children(parent.key, after=seen[-1] if seen else b"", limit=3):
        assert len(page) <= 3
        seen += [record.id for record in page]
    assert seen == ids
    assert [r.id for r in await stage.store.children(parent.key, task="b")] == ids[1::2]
    await stage.cancel(ids[0], "")
    assert [r.id for r in await stage.store.children(parent.key, state=RunState.CANCELLED)] == [ids[0]]
    assert await stage.store.children(ids[0]) == []


async def test_counts_of_children_and_of_trees(stage: Stage) -> None:
    root = await stage.running()
    child = await stage.running("b", root)
    await stage.complete(await stage.running("c", child))
    await stage.born("c", child)
    await stage.born("c", root)
    tree = {(c.task, c.state): c.count for c in await stage.store.tree_counts(root.key)}
    queued, running, ended = RunState.QUEUED, RunState.RUNNING, RunState.COMPLETED
    assert tree == {("a", running): 1, ("b", running): 1, ("c", queued): 2, ("c", ended): 1}
    below = {(c.task, c.state): c.count for c in await stage.store.child_counts(root.key)}
    assert below == {("b", running): 1, ("c", queued): 1}
    part = {(c.task, c.state): c.count for c in await stage.store.tree_counts(child.key)}
    assert part == {("b", running): 1, ("c", queued): 1, ("c", ended): 1}


async def test_the_slowest_and_the_failed_of_a_tree(stage: Stage) -> None:
    root = await stage.running()
    for seconds in (1, 3, 2):
        run = await stage.running("b", root, input=str(seconds))
        stage.clock.advance(seconds)
        await stage.complete(run)
    bad = await stage.running("c", root)
    await stage.fail(bad)
    slowest = await stage.store.tree_slowest(root.key, "b", 2)
    assert [run.input for run in slowest] == ["3", "2"]
    assert slowest[0].took is not None
    assert abs(slowest[0].took - 3 * SECOND) < 100
    (failure,) = await stage.store.tree_failures(root.key, None, 10)
    assert (failure.id, failure.task) == (bad.key, "c")
    assert failure.error is not None
    assert "ValueError" in failure.error
    assert await stage.store.tree_failures(root.key, "b", 10) == []


async def test_find_by_the_beginning_or_the_end(stage: Stage) -> None:
    root = await stage.running()
    one, two, child = root.key, await stage.born(), await stage.born("b", root)
    text = one.hex()
    for digits in (
        text,
        text[:20].upper(),
        f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:24]}",
        text[-8:],
        text[-7:],
    ):
        assert await stage.store.find(digits) == [one]
    assert await stage.store.find(child.hex()[-9:].upper()) == [child]
    assert await stage.store.find("0000") == sorted([one, two])
    assert await stage.store.find("0000", limit=9) == sorted([one, two, child])
    wrong_half = text[-8:].replace(text[-8], "0" if text[-8] != "0" else "1", 1)
    for missing in ("ffff", "fff", wrong_half, text[-7:-1] + "0" * 26):
        assert await stage.store.find(missing) == []
    for wrong in ("", "xyz", "-", two.hex() + "0"):
        with pytest.raises(RunNotFoundError):
            await stage.store.find(wrong)


async def test_find_an_old_run(stage: Stage) -> None:
    old = await stage.born()
    stage.clock.advance(3 * 86_400)
    new = await stage.born()
    assert await stage.store.find(old.hex()[-8:]) == [old]
    assert await stage.store.find(new.hex()[-8:]) == [new]


async def test_ends_of_ids_are_looked_for_in_bounded_looks(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "FAR", 2)
    ids = [await stage.born() for _ in range(7)]
    for id_ in ids:
        assert await stage.store.find(id_.hex()[-9:]) == await stage.store.find(id_.hex()[-10:]) == [id_]
    assert await stage.store.find("0123456789") == []
    monkeypatch.setattr(finding, "LOOKS", 2)
    assert await stage.store.find(ids[0].hex()[-8:]) == []


async def test_ends_of_ids_are_found_again_and_new_ones(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept of the first look is right for the next ones."""
    monkeypatch.setattr(finding, "FAR", 2)
    ids = list[bytes]()
    for _ in range(3):
        ids += [await stage.born() for _ in range(3)]
        stage.clock.advance(60)
        assert await stage.store.find("0123456789") == []
        for id_ in ids:
            assert await stage.store.find(id_.hex()[-9:]) == await stage.store.find(id_.hex()[-8:]) == [id_]


async def test_how_inputs_begin(stage: Stage) -> None:
    one, two = await stage.born(input='{"a": "x\u00e9y"}'), await stage.born(input="2")
    assert await stage.store.previews([two, NOBODY, one], 9) == ["2", "", '{"a": "x\u00e9']
    assert await stage.store.previews([], 9) == []


async def test_the_end_of_a_log(stage: Stage) -> None:
    run = await stage.running()
    assert await stage.store.log_end(run.key) == -1
    now = stage.store.now()
    await stage.commit(logs=[LogLine(run.key, run.attempt, now, "info", f"{n}") for n in range(3)])
    assert await stage.store.log_end(run.key) == 2
    assert [line.message for line in await stage.store.logs(run.key, 1)] == ["2"]


async def test_get_nobody_is_an_error(stage: Stage) -> None:
    with pytest.raises(RunNotFoundError):
        await stage.store.get(NOBODY)


async def test_logs_in_order_and_in_pages(stage: Stage) -> None:
    run, other = await stage.running(), await stage.running()
    lines = [LogLine(run.key, 1, at, "info", f"line {at}") for at in range(5)]
    await stage.commit(logs=[*lines[:3], LogLine(other.key, 1, 9, "error", "of another")])
    await stage.commit(logs=lines[3:])
    found = await stage.store.logs(run.key)
    assert [line.message for line in found] == [f"line {n}" for n in range(5)]
    assert [line.seq for line in found] == sorted({line.seq for line in found})
    assert (found[0].attempt, found[0].at, found[0].level) == (1, 0, "info")
    rest = await stage.store.logs(run.key, after=found[1].seq, limit=2)
    assert [line.message for line in rest] == ["line 2", "line 3"]
    assert [line.message for line in await stage.store.logs(other.key)] == ["of another"]
    assert await stage.store.logs(NOBODY) == []


async def test_a_line_and_the_end_of_its_run_in_one_batch(stage: Stage) -> None:
    run = await stage.running()
    batch = Batch(logs=[LogLine(run.key, 1, 0, "info", "last words")], outcomes=[completed(run)])
    await stage.store.commit(stage.worker, batch)
    assert [line.message for line in await stage.store.logs(run.key)] == ["last words"]


async def test_published_tasks(stage: Stage) -> None:
    await stage.store.publish(stage.worker, [TaskInfo("d", "workflow", "text", 5, 7, '{"m":1}', "{}")])
    await stage.store.publish(stage.worker, [TaskInfo("a", "task", "newer")])
    tasks = {task.name: task for task in await stage.store.tasks()}
    assert set(tasks) == {"a", "b", "c", "d"}
    assert tasks["d"] == TaskInfo("d", "workflow", "text", 5, 7, '{"m":1}', "{}")
    assert tasks["a"].description == "newer"


async def test_the_report(stage: Stage) -> None:
    await stage.running()
    await stage.born("b")
    report = await stage.store.report()
    assert report.counts == {RunState.RUNNING: 1, RunState.QUEUED: 1}
    assert (report.problems, report.orphans, report.durable) == ([], [], report.kind != "memory")
    assert report.now >= stage.clock.now()
