"""What `fanwood doctor` holds against what always holds is found in every store, and nothing in one that is sound."""

from __future__ import annotations

from msgspec.structs import replace

from fanwood.model.commands import Batch
from fanwood.model.invariants import LATE
from fanwood.model.records import Walk
from fanwood.store.auditing import audited, findings
from fanwood.store.memory.tables import Run
from tests.conformance.stage import SECOND, Stage


async def said(stage: Stage, *, full: bool = True, attended: bool = False) -> list[str]:
    """A page holds two."""
    return [found async for found in findings(stage.store, full=full, attended=attended, page=2)]


async def test_all_is_walked_through_once(stage: Stage) -> None:
    root = await stage.running()
    below = [await stage.running("b", root) for _ in range(3)]
    await stage.commit(spawns=[stage.spawn("c", one) for one in below for _ in range(3)])
    await stage.complete(below[0])
    await stage.retry(below[1], delay=9)
    rows = [row for walk in (Walk.ROOTS, Walk.CHILDREN) async for row in audited(stage.store, walk, 2)]
    assert sorted(row.id for row in rows) == sorted(await stage.records())
    families = [row.parent_id for row in rows]
    assert [one for n, one in enumerate(families) if one in families[:n] and one != families[n - 1]] == []
    assert await said(stage) == []
    some = [row.id async for row in audited(stage.store, Walk.UNFINISHED, 100)]
    assert sorted(some) == sorted(row.id for row in rows if not row.state.is_terminal)


async def test_two_children_of_one_identity(stage: Stage) -> None:
    """No index of the databases sees to that: a parent knows its children."""
    root = await stage.running()
    one = stage.spawn("b", root)
    await stage.commit(spawns=[one, replace(stage.spawn("b", root), identity=one.identity)])
    (found,) = await said(stage)
    assert "is the same child as another one" in found


async def test_a_row_that_contradicts_another(stage: Stage) -> None:
    await stage.born()
    (row,) = await stage.store.copy_out("run", (b"",), 9)
    lost = replace(Run(*row), id=stage.ids.new_id(), parent_id=stage.ids.new_id(), depth=1)
    columns = tuple(getattr(lost, name) for name in Run.__struct_fields__)
    assert await stage.store.copy_in("run", [columns]) == 1
    for full in (False, True):
        (found,) = await said(stage, full=full)
        assert "is QUEUED, and has a parent that is not there" in found


async def test_what_lives_below_something_that_ended(stage: Stage) -> None:
    """An outcome that forgets to say that there are children leaves them behind."""
    root = await stage.running()
    child = await stage.born("b", root)
    await stage.fail(root, closes=False)
    (found,) = await said(stage)
    assert child.hex() in found
    assert "lives, and nobody ends it" in found


async def test_what_is_being_ended_is_no_fault(stage: Stage) -> None:
    root = await stage.running()
    await stage.born("b", root)
    stage.sweeps = False
    await stage.fail(root, closes=True)
    assert await said(stage) == []


async def test_timers_that_are_late(stage: Stage) -> None:
    """... if somebody should have seen to them."""
    await stage.born(schedule_timeout=SECOND)
    stage.clock.advance(LATE / SECOND)
    assert await said(stage, attended=True) == []
    stage.clock.advance(2)
    assert await said(stage) == []
    for full in (False, True):
        (found,) = await said(stage, full=full, attended=True)
        assert "was to be failed 61 s ago" in found
    await stage.store.tick()
    assert await said(stage, attended=True) == []


async def test_runs_of_a_worker_that_is_being_taken_out(stage: Stage) -> None:
    """Its lease is gone, and it is there until the last of its runs has gone back."""
    other = await stage.register()
    await stage.running(worker=other)
    assert await said(stage) == []
    await stage.store.commit(other, Batch())
    await stage.store.unregister(other)
    assert await said(stage) == []
    await stage.store.reap(other, 3)
    assert await said(stage) == []
