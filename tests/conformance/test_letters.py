"""Who is told what: each his own, all of it, and nobody in another's place."""

from __future__ import annotations

import pytest

from fanwood import RunState
from fanwood.store.memory import hot as memory_hot
from fanwood.store.sqlite import hot as sqlite_hot
from tests.conformance.stage import SECOND, Stage, completed, failed


async def test_who_gives_up_a_wait_gives_up_his_own(stage: Stage) -> None:
    others = [await stage.register(), await stage.register()]
    run, second = await stage.running(), await stage.running()
    for worker in others:
        await stage.commit(worker, watch=[run.key, second.key])
    await stage.commit(others[0], unwatch=[run.key])
    await stage.report(completed(run), completed(second))
    told = [set((await stage.commit(worker, mail=True)).finished) for worker in others]
    assert told == [{second.key}, {run.key, second.key}]


@pytest.mark.parametrize("before", [True, False], ids=["of an older worker", "of a younger worker"])
async def test_who_watches_is_found_wherever_he_is(stage: Stage, before: bool) -> None:
    """All ends are local to who reports them, as far as he knows."""
    ids = [await stage.register() for _ in range(3)]
    run = await stage.running(worker=ids[1])
    watcher = ids[0] if before else ids[2]
    await stage.commit(watcher, watch=[run.key])
    await stage.commit(ids[1], outcomes=[completed(run, local=True)])
    assert set((await stage.commit(watcher, mail=True)).finished) == {run.key}


async def test_who_hears_of_one_call_has_not_heard_of_another(stage: Stage) -> None:
    stage.sweeps = False
    other = await stage.register()
    roots = [await stage.running(), await stage.running()]
    for root in roots:
        await stage.born("b", root)
        await stage.store.cancel(root.key, "no more")
    await stage.commit(heard=[roots[0].key])
    assert [closing.run_id for closing in (await stage.commit(mail=True)).closings] == [roots[1].id]
    assert len((await stage.commit(other, mail=True)).closings) == 2
    assert not await stage.store.is_heard(roots[0].key)
    await stage.commit(other, heard=[roots[0].key])
    assert await stage.store.is_heard(roots[0].key)
    assert not await stage.store.is_heard(roots[1].key)


async def test_letters_beyond_those_that_fit_are_read_later(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_hot, "LETTERS", 5)
    monkeypatch.setattr(sqlite_hot, "LETTERS", 5)
    other = await stage.register()
    runs = [await stage.running() for _ in range(23)]
    await stage.commit(other, watch=[run.key for run in runs])
    for run in runs:
        await stage.report(completed(run))
    got: set[bytes] = set()
    more = True
    while more:
        done = await stage.commit(other, mail=True)
        assert len(done.finished) < len(runs)
        got |= set(done.finished)
        more = done.has_more
    assert got == {run.key for run in runs}


@pytest.mark.parametrize("state", [RunState.RUNNING, RunState.QUEUED])
async def test_a_parent_is_told_of_ends_that_nobody_reported(stage: Stage, state: RunState) -> None:
    """Its child was in the queue for too long; or was cancelled by a call."""
    other = await stage.register()
    parent = await stage.running(worker=other)
    child = await stage.born("b", parent, schedule_timeout=SECOND)
    if state is RunState.RUNNING:
        await stage.claim(tasks=["b"])
        await stage.cancel(child)
    else:
        stage.clock.advance(2)
        await stage.store.tick()
    assert set((await stage.commit(other, mail=True)).finished) == {child}


async def test_an_end_that_was_refused_is_told_to_nobody(stage: Stage) -> None:
    """Beside one that counts, in one batch."""
    other = await stage.register()
    late, well = await stage.running(), await stage.running()
    again = await stage.hand_back(late)
    await stage.commit(other, watch=[late.key, well.key])
    done = await stage.report(completed(late, local=False), failed(well, local=False))
    assert done.fenced_outcomes == {0}
    assert set((await stage.commit(other, mail=True)).finished) == {well.key}
    await stage.complete(again, local=False)
    assert late.key in (await stage.commit(other, mail=True)).finished
