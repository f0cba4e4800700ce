"""Children that no worker executes: sleeps, and steps as they ended. Born, ended, found again, done again."""

from __future__ import annotations

from typing import Any

import pytest

from fanwood import RunState
from fanwood.errors import RunNotFoundError, UsageError
from fanwood.model.commands import Record, SpawnKind
from fanwood.model.matching import inbox_mark
from fanwood.model.records import Audited, Walk
from fanwood.model.states import TERMINAL, EndedBy, OnParentEnd, RunKind
from fanwood.store.auditing import audited, findings
from fanwood.store.failures import decode_failure
from tests.conformance.stage import FAILURE, SECOND, Stage, digest, failed, retried

STEP = RunKind.RECORDED


async def read_mail(stage: Stage) -> dict[bytes, RunState]:
    return {id_: end.state for id_, end in (await stage.commit(mail=True)).finished.items()}


async def sound(stage: Stage) -> None:
    assert [found async for found in findings(stage.store, full=True, attended=False)] == []


async def test_a_sleep_ends_when_it_is_due_and_its_parents_worker_is_told(stage: Stage) -> None:
    parent = await stage.running()
    id_ = await stage.recorded(parent)
    record = await stage.get(id_)
    assert (record.state, record.kind, record.task) == (RunState.WAITING, RunKind.SLEEP, "~sleep")
    assert (record.attempt, record.started_at, record.parent_id) == (0, None, parent.key)
    assert record.due_at == stage.clock.now() + 5 * SECOND
    await sound(stage)
    stage.clock.advance(4.9)
    assert await stage.store.tick() == record.due_at
    assert await stage.state(id_) is RunState.WAITING
    stage.clock.advance(0.1)
    assert await stage.store.tick() is None
    assert await read_mail(stage) == {id_: RunState.COMPLETED}
    ended = await stage.get(id_)
    assert (ended.state, ended.output, ended.due_at) == (RunState.COMPLETED, "null", None)
    assert await stage.claim(10, tasks=["a", "~sleep"]) == []
    await sound(stage)


async def test_sleeps_end_a_bounded_number_at_a_time_beside_what_is_queued(stage: Stage) -> None:
    parent = await stage.running()
    await stage.commit(records=[stage.part(parent, f"{n}") for n in range(1300)])
    retry = await stage.running("b")
    await stage.report(retried(retry, 5))
    stage.clock.advance(6)
    turns = 0
    while (due := await stage.store.tick()) is not None and due <= stage.clock.now():
        turns += 1
    assert turns in range(1, 8)
    counts = {count.state: count.count for count in await stage.store.child_counts(parent.key)}
    assert counts == {RunState.COMPLETED: 1300}
    assert [run.key for run in await stage.claim(10, tasks=["b"])] == [retry.key]


async def test_many_steps_at_once_are_each_what_they_are(stage: Stage) -> None:
    """Keys, failures, texts of all lengths, times: also of another parent's, and beside a wait."""
    parents = [await stage.running(), await stage.running()]
    began = stage.clock.now()
    stage.clock.advance(2)
    records = [stage.part(parents[0], "nap")]
    for parent in parents:
        kind = stage.part(parent, "kind", kind=STEP, output="1").kind
        for n in range(12):
            text = "\u00e9\U0001f600" * n + "."
            refused = {"state": RunState.FAILED, "output": None, "error": FAILURE}
            ends = refused if n % 5 == 4 else {"output": f'["{text}"]'}
            part = stage.part(parent, f"{n} {text}", kind=STEP, began=[None, began][n % 2], **ends)
            part.kind, part.child_key, part.index = kind, [None, "k", text][n % 3], n
            records.append(part)
    await stage.commit(records=records)
    for record in records[1:]:
        run = await stage.get(record.id)
        assert (run.state, run.output, run.error) == (record.state, record.output, record.error)
        assert (run.input, run.child_key) == (record.input, record.child_key)
        assert (run.parent_id, run.kind, run.task) == (record.kind.parent_id, STEP, "~step")
        assert run.started_at == run.created_at
        assert run.started_at in ([began] if record.began else range(began + 2 * SECOND, stage.clock.now() + SECOND))
    await sound(stage)


async def test_a_step_is_born_as_it_ended(stage: Stage) -> None:
    parent = await stage.running()
    began = stage.clock.now()
    stage.clock.advance(2)
    ok = await stage.recorded(parent, "ok", kind=STEP, output='{"a": 1}', began=began, child_key="k")
    bad = await stage.recorded(parent, "bad", kind=STEP, state=RunState.FAILED, output=None, error=FAILURE)
    record = await stage.get(ok)
    assert (record.state, record.kind, record.output) == (RunState.COMPLETED, RunKind.RECORDED, '{"a": 1}')
    assert (record.started_at, record.attempt, record.child_key) == (began, 1, "k")
    assert record.finished_at is not None
    assert record.finished_at >= began + 2 * SECOND
    record = await stage.get(bad)
    assert (record.state, record.error) == (RunState.FAILED, FAILURE)
    assert (await stage.commit(mail=True)).finished == {}
    await sound(stage)


async def test_an_attempt_that_is_over_records_nothing(stage: Stage) -> None:
    parent = await stage.running()
    late = stage.part(parent)
    assert await stage.retry(parent) is not None
    done = await stage.commit(records=[late])
    assert done.fenced_parents == {(parent.key, parent.attempt)}
    assert late.id not in await stage.records()


async def test_below_what_is_closed_nothing_is_recorded(stage: Stage) -> None:
    stage.sweeps = False
    root = await stage.running()
    child = await stage.running("b", root)
    late = stage.part(child)
    await stage.store.cancel(root.key, "for a test")
    done = await stage.commit(records=[late])
    assert done.fenced_parents == {(child.key, child.attempt)}
    assert late.id not in await stage.records()


async def test_what_many_recorded_is_read_at_once_where_it_is_little(stage: Stage) -> None:
    """Each is told what a page of its own would say, in the order in which it was asked for."""
    runs = [await stage.running() for _ in range(4)]
    ids = [await stage.recorded(runs[0], f"{n}", kind=STEP, output='"\u00e9\U0001f600"') for n in range(3)]
    await stage.recorded(runs[0], "sleep")
    await stage.recorded(runs[1], "bad", kind=STEP, state=RunState.FAILED, output=None, error=FAILURE)
    await stage.born("b", runs[2])
    await stage.recorded(runs[3], "long", kind=STEP, output=f'"{"é" * 49}"')  # 100 bytes
    nobody = runs[0].key[::-1]
    asked = [(run.key, b"") for run in runs] + [(runs[0].key, ids[1]), (nobody, b""), (runs[1].key, b"")]
    found = await stage.store.recorded_few(asked, 4, 100)
    assert found == [await stage.store.recorded(*each) for each in asked]
    assert [len(few or ()) for few in found] == [4, 1, 0, 1, 2, 0, 1]
    assert await stage.store.recorded_few(asked[:4], 3, 99) == [None, found[1], [], None]
    await stage.born("b", runs[1])  # it counts, as a run may have very many of these
    assert await stage.store.recorded_few(asked[1:4], 1, 100) == [None, [], found[3]]
    assert await stage.store.recorded_few([], 3, 99) == []


async def test_what_was_recorded_is_read_in_pages(stage: Stage) -> None:
    parent = await stage.running()
    await stage.born("b", parent)
    ids = [await stage.recorded(parent, f"{n}", kind=STEP, output=f"{n}") for n in range(4)]
    ids.append(await stage.recorded(parent, "sleep"))
    first = await stage.store.recorded(parent.key, limit=3)
    rest = await stage.store.recorded(parent.key, first[-1].id, limit=3)
    assert [one.id for one in (*first, *rest)] == ids
    assert [one.output for one in (*first, *rest)] == ["0", "1", "2", "3", None]
    assert rest[-1].state is RunState.WAITING
    assert {one.asked for one in first} == {parent.attempt}
    assert {one.identity for one in first} == {row.identity for row in await _rows(stage, ids[:3])}


async def _rows(stage: Stage, ids: list[bytes]) -> list[Audited]:
    return [row async for row in audited(stage.store, Walk.CHILDREN, 10) if row.id in ids]


@pytest.mark.parametrize("how", [RunState.COMPLETED, RunState.FAILED])
async def test_a_failed_step_is_done_again_in_place(stage: Stage, how: RunState) -> None:
    parent = await stage.running()
    id_ = await stage.recorded(parent, kind=STEP, state=RunState.FAILED, output=None, error=FAILURE)
    again = await stage.retry(parent)
    assert again is not None
    stage.clock.advance(1)
    about = {"output": "7"} if how is RunState.COMPLETED else {"output": None, "error": FAILURE}
    await stage.recorded(again, kind=STEP, id=id_, again=True, state=how, **about)
    record = await stage.get(id_)
    assert (record.state, record.output) == (how, about["output"])
    assert record.finished_at is not None
    (found,) = await stage.store.recorded(parent.key)
    assert found.asked == again.attempt
    await sound(stage)


async def test_what_waits_may_wait_anew(stage: Stage) -> None:
    """With another time-out; unless it has come meanwhile."""
    parent = await stage.running()
    about = {"kind": RunKind.MESSAGE, "awaits": inbox_mark(parent.key, "n")}
    id_ = await stage.recorded(parent, '{"key":"n"}', timeout=SECOND, **about)
    stage.clock.advance(0.5)
    await stage.recorded(parent, '{"key":"n"}', id=id_, again=True, timeout=5 * SECOND, **about)
    stage.clock.advance(2)
    await stage.store.tick()
    assert await stage.state(id_) is RunState.WAITING
    await stage.recorded(parent, id=id_, again=True, timeout=SECOND, **about)
    stage.clock.advance(2)
    await stage.store.tick()
    assert await stage.state(id_) is RunState.FAILED
    came = await stage.recorded(parent, "2", due_at=stage.clock.now() + SECOND)
    stage.clock.advance(2)
    await stage.store.tick()
    await stage.recorded(parent, "2", id=came, again=True, due_at=stage.clock.now() + SECOND)
    assert await stage.state(came) is RunState.COMPLETED
    assert [found async for found in findings(stage.store, full=True, attended=False)] == []


@pytest.mark.parametrize("how", ["cancelled", "late"])
async def test_what_has_ended_does_not_wait_anew_in_the_same_try(stage: Stage, how: str) -> None:
    """Nor is it done again: only what still waits can have another time-out. (Who asks is told how it has ended.)"""
    parent = await stage.running()
    about = {"kind": RunKind.MESSAGE, "awaits": inbox_mark(parent.key, "n")}
    id_ = await stage.recorded(parent, '{"key":"n"}', timeout=SECOND, **about)
    if how == "cancelled":
        assert await stage.cancel(id_) == 1
    else:
        stage.clock.advance(2)
        await stage.store.tick()
    ended = await stage.get(id_)
    assert ended.state is (RunState.CANCELLED if how == "cancelled" else RunState.FAILED)
    stage.clock.advance(1)
    await stage.recorded(parent, '{"key":"n"}', id=id_, again=True, timeout=5 * SECOND, **about)
    assert await stage.get(id_) == ended
    again = await stage.retry(parent)
    assert again is not None
    await stage.recorded(again, '{"key":"n"}', id=id_, again=True, timeout=5 * SECOND, **about)
    assert await stage.state(id_) is RunState.WAITING
    await sound(stage)


async def test_what_completed_is_not_done_again(stage: Stage) -> None:
    parent = await stage.running()
    id_ = await stage.recorded(parent, kind=STEP, output="1")
    again = await stage.retry(parent)
    assert again is not None
    await stage.recorded(again, kind=STEP, id=id_, again=True, output="2")
    assert (await stage.get(id_)).output == "1"


async def test_a_cancelled_sleep_waits_again(stage: Stage) -> None:
    parent = await stage.running()
    id_ = await stage.recorded(parent)
    assert await stage.cancel(id_) == 1
    assert await read_mail(stage) == {id_: RunState.CANCELLED}
    again = await stage.retry(parent)
    assert again is not None
    await stage.recorded(again, id=id_, again=True, due_at=stage.clock.now() + SECOND)
    assert (await stage.get(id_)).due_at == stage.clock.now() + SECOND
    await sound(stage)
    stage.clock.advance(1)
    await stage.store.tick()
    assert await read_mail(stage) == {id_: RunState.COMPLETED}


async def test_a_sleep_is_woken(stage: Stage) -> None:
    parent = await stage.running()
    id_ = await stage.recorded(parent)
    hints = stage.hints
    assert await stage.store.wake(id_)
    assert stage.hints > hints or stage.store.url.startswith("postgres")  # (there a notification is sent)
    assert await read_mail(stage) == {id_: RunState.COMPLETED}
    (row,) = [row async for row in audited(stage.store, Walk.CHILDREN, 10)]
    assert row.ended_by == EndedBy.CALL
    assert not await stage.store.wake(id_)
    with pytest.raises(UsageError, match="is no sleep"):
        await stage.store.wake(parent.key)
    with pytest.raises(RunNotFoundError):
        await stage.store.wake(stage.ids.new_id())


@pytest.mark.parametrize("how", ["completes", "fails", "is cancelled", "kills its worker"])
async def test_a_sleep_ends_with_its_parent_however_that_ends(stage: Stage, how: str) -> None:
    stage.sweeps = False
    parent = await stage.running()
    id_ = await stage.recorded(parent)
    if how == "completes":
        assert (await stage.complete(parent, closes=True)).has_closed
    elif how == "fails":
        assert (await stage.report(failed(parent, closes=True))).has_closed
    elif how == "is cancelled":
        await stage.store.cancel(parent.key, "for a test")
    else:
        other = await stage.register()
        parent = await stage.running("b", worker=other)
        id_ = await stage.recorded(parent, "other")
        await stage.store.reap(other, 1)
    stage.clock.advance(6)
    assert not await stage.store.wake(id_)
    await stage.store.tick()  # the gate counts, though it is not swept
    await stage.sweep()
    record = await stage.get(id_)
    assert record.state is RunState.CANCELLED
    await sound(stage)


async def test_a_sleep_fails_at_its_deadline(stage: Stage) -> None:
    parent = await stage.running()
    deadline = stage.clock.now() + SECOND
    id_ = await stage.recorded(parent, deadline=deadline, deadline_by=parent.key)
    await sound(stage)
    assert await stage.store.tick() == deadline
    stage.clock.advance(1)
    await stage.store.tick()
    record = await stage.get(id_)
    assert (record.state, decode_failure(record.error).kind) == (RunState.FAILED, "timed_out")
    assert await read_mail(stage) == {id_: RunState.FAILED}


@pytest.mark.parametrize("kind", [RunKind.SLEEP, STEP])
async def test_none_is_run_again_by_itself(stage: Stage, kind: RunKind) -> None:
    parent = await stage.running()
    id_ = await stage.recorded(parent, kind=kind)
    await stage.complete(parent, closes=True)
    with pytest.raises(UsageError, match=r"is a part of run .*Retry or replay that one"):
        await stage.store.replay(id_, TERMINAL)


async def test_a_sleep_makes_no_death_free_of_charge(stage: Stage) -> None:
    other = await stage.register()
    sleeps, has_a_child = await stage.running(worker=other), await stage.running("b", worker=other)
    await stage.recorded(sleeps)
    await stage.recorded(has_a_child, "other")
    await stage.born("c", has_a_child)
    await stage.store.reap(other, 3)
    assert [(await stage.get(run)).deaths for run in (sleeps, has_a_child)] == [1, 0]


async def test_so_does_none_of_a_great_many(stage: Stage) -> None:
    """More than the few that are looked at first."""
    other = await stage.register()
    sleeps, has_a_child = await stage.running(worker=other), await stage.running("b", worker=other)
    await stage.born("c", has_a_child)
    await stage.commit(records=[stage.part(run, f"{n}") for n in range(250) for run in (sleeps, has_a_child)])
    await stage.store.reap(other, 3)
    assert [(await stage.get(run)).deaths for run in (sleeps, has_a_child)] == [1, 0]


async def test_a_tree_with_them_is_copied_and_pruned(stage: Stage) -> None:
    parent = await stage.running()
    await stage.recorded(parent)
    await stage.recorded(parent, kind=STEP)
    rows = await stage.store.copy_out("run", (b"",), 10)
    await stage.complete(parent, closes=True)
    stage.clock.advance(10)
    assert (await stage.store.prune(stage.clock.now(), 100)).runs == 3
    assert await stage.store.copy_in("run", rows) == 3
    assert await stage.store.copy_out("run", (b"",), 10) == rows


async def test_steps_are_written_alike_by_themselves_and_together(stage: Stage) -> None:
    """Some stores have a shorter way for one, and for many."""
    one, other = await stage.running("a"), await stage.running("b")
    rows: list[list[tuple[Any, ...]]] = []
    for parent in (one, other):
        made = SpawnKind(
            "~step", parent_id=parent.key, parent_attempt=1, root_id=parent.key, depth=1, priority=3,
            on_parent_end=OnParentEnd.CANCEL, run_kind=RunKind.RECORDED,
        )  # fmt: skip
        steps = [
            Record(
                made, stage.ids.new_id(), digest(f"{n}"), f'{{"step":"{n}"}}',
                RunState.FAILED if n % 3 == 0 else RunState.COMPLETED, n, (None, "", "k", 'é "')[n % 4],
                None if n % 3 == 0 else f'"é{n}"', FAILURE if n % 3 == 0 else None,
                (None, 5, 10**18)[n % 3],
            )
            for n in range(12)
        ]  # fmt: skip
        for each in [[step] for step in steps] if parent is one else [steps]:
            await stage.commit(records=each)
        own = {parent.key: "parent", **{step.id: "id" for step in steps}}

        def plain(value: Any, own: dict[bytes, str] = own) -> Any:
            if isinstance(value, int) and 10**15 < value < 10**16:
                return "now"  # which goes on with each commit
            return own.get(value, value) if isinstance(value, bytes) else value

        rows.append([tuple(map(plain, await stage.row(step.id))) for step in steps])
    assert rows[0] == rows[1]
