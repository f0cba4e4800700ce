"""The verbs of a lens, which only look: the same on every backend, and what they say."""

from __future__ import annotations

import pytest

from fanwood import RunState
from fanwood.lens import pages
from fanwood.model.commands import ClaimedRun, Outcome
from fanwood.model.looks import FIRST_ID, LAST_ID, Part, duration_class
from fanwood.store import looked
from fanwood.store.memory.tables import Run
from tests.conformance.stage import FAILURE, Stage


async def _children(stage: Stage, parent: ClaimedRun, count: int, task: str = "b") -> list[bytes]:
    spawns = [stage.spawn(task, parent) for _ in range(count)]
    await stage.commit(spawns=spawns)
    return [spawn.id for spawn in spawns]


async def test_segments_end_where_they_are_full(stage: Stage) -> None:
    root = await stage.running("a")
    ids = await _children(stage, root, 10)
    assert await stage.store.segment_end(root.key, root.key, FIRST_ID, 4) == ids[3]
    assert await stage.store.segment_end(root.key, root.key, ids[3], 4) == ids[7]
    assert await stage.store.segment_end(root.key, root.key, ids[7], 4) is None


async def test_a_cube_has_what_is_alike_together(stage: Stage) -> None:
    root = await stage.running("a")
    ids = await _children(stage, root, 6)
    runs = await stage.claim(4, tasks=["b"])
    stage.clock.advance(1)
    await stage.report(*(Outcome(run.key, 1, RunState.COMPLETED, "1", busy=7) for run in runs[:2]))
    await stage.report(Outcome(runs[2].key, 1, RunState.FAILED, None, FAILURE))
    cells = {cell.state: cell for cell in await stage.store.cube(Part(root.key, root.key), 30)}
    assert {RunState(state): cell.count for state, cell in cells.items()} == {
        RunState.QUEUED: 2, RunState.RUNNING: 1, RunState.COMPLETED: 2, RunState.FAILED: 1,
    }  # fmt: skip
    done = cells[RunState.COMPLETED]
    records = [await stage.get(run) for run in runs]
    took = [(one.finished_at or 0) - (one.started_at or 0) for one in records[:2]]
    assert (done.total, done.longest, done.busy, done.took) == (sum(took), max(took), 14, duration_class(took[0]))
    assert done.bin == (records[0].finished_at or 0) >> 30
    assert done.last == max(one.finished_at or 0 for one in records[:2])
    assert (cells[RunState.QUEUED].took, cells[RunState.QUEUED].since) == (-1, (await stage.get(ids[4])).created_at)
    assert cells[RunState.RUNNING].since == records[3].started_at
    some = await stage.store.cube(Part(root.key, root.key, ids[0], ids[2]), 30)
    assert sum(cell.count for cell in some) == 2


async def test_durations_have_the_same_classes_everywhere(stage: Stage) -> None:
    """Also where a logarithm falls short of a whole number."""
    root = await stage.running("a")
    microseconds = [0, 1, 2, 3, 4, 7, 8, 9, 1 << 20, (1 << 20) - 1, 1 << 29, 1 << 30, (1 << 31) - 1, 1 << 40]
    await _children(stage, root, len(microseconds))
    rows = await stage.store.copy_out("run", (b"",), 100)
    columns = [list(row) for row in rows if row[1] is not None]
    names = Run.__struct_fields__
    for row, length in zip(columns, microseconds, strict=True):
        about = dict(zip(names, row, strict=True))
        about |= {"state": 8, "created_at": 5_000, "started_at": 5_000, "finished_at": 5_000 + length, "busy": 0}
        about |= {"ended_by": 1, "output": "1", "error": None}
        about |= {"id": b"\xff" + about["id"][1:]}
        row[:] = [about[name] for name in names]
    assert await stage.store.copy_in("run", [tuple(row) for row in columns]) == len(microseconds)
    cells = [cell for cell in await stage.store.cube(Part(root.key, root.key), 20) if cell.state == RunState.COMPLETED]
    found = sorted(cell.took for cell in cells for _ in range(cell.count))
    assert found == sorted(duration_class(length) for length in microseconds)


async def test_parents_are_told_from_others_and_measured(stage: Stage) -> None:
    root = await stage.running("a")
    await _children(stage, root, 3)
    first, second, third = await stage.claim(3, tasks=["b"])
    grandchildren = await _children(stage, third, 5, "c")
    await _children(stage, first, 1, "c")
    found = await stage.store.parents(Part(root.key, root.key), 3)
    assert {(row.id, row.size, row.task, row.attempt) for row in found} == {
        (first.key, 1, "b", 1),
        (third.key, 3, "b", 1),
    }
    sized = await stage.store.sizes(root.key, [second.key, third.key], 10)
    assert [(row.id, row.size, row.state) for row in sized] == [(third.key, 5, RunState.RUNNING)]
    assert await stage.store.next_parent(root.key, first.key, LAST_ID) == third.key
    assert await stage.store.next_parent(root.key, third.key, LAST_ID) is None
    assert await stage.store.next_parent(root.key, first.key, second.key) is None
    both = await stage.store.cube(Part(root.key, first.key + third.key), 30)
    assert sum(cell.count for cell in both) == 6
    assert [run.id for run in await stage.store.above(grandchildren[0], 10)] == [root.key, third.key]
    assert [run.id for run in await stage.store.above(grandchildren[0], 1)] == [third.key]


async def test_what_runs_and_what_failed_comes_in_pages(stage: Stage) -> None:
    root = await stage.running("a")
    ids = await _children(stage, root, 5)
    runs = await stage.claim(5, tasks=["b"])
    begun = await stage.store.running((-1, FIRST_ID), 2)
    assert [row.id for row in begun] == [root.key, ids[0]]
    rest = await stage.store.running((begun[-1].worker_id, begun[-1].id), 10)
    assert [(row.id, row.parent_id, row.root_id, row.attempt) for row in rest] == [
        (id_, root.key, root.key, 1) for id_ in ids[1:]
    ]
    for run in runs[:3]:
        stage.clock.advance(1)
        await stage.fail(run)
    failed = await stage.store.failed(root.key, ids[0], 10)
    assert [(row.id, row.task, row.attempt, row.error) for row in failed] == [
        (id_, "b", 1, FAILURE) for id_ in ids[1:3]
    ]
    place = (failed[0].finished_at, failed[0].id)
    assert [row.id for row in await stage.store.failed_at(place, stage.store.now() + 1, 10)] == [ids[2]]
    assert [row.id for row in await stage.store.failed_at((0, FIRST_ID), failed[1].finished_at, 10)] == ids[:2]


async def test_some_of_a_part(stage: Stage) -> None:
    root = await stage.running("a")
    ids = await _children(stage, root, 5)
    runs = await stage.claim(4, tasks=["b"])
    for run in runs[:3]:
        stage.clock.advance(1)
        await stage.complete(run)
    part, store = Part(root.key, root.key), stage.store
    assert [row.id for row in await store.longest(part, None, 2)] == [ids[2], ids[1]]
    assert await store.longest(part, "c", 2) == []
    latest = await store.latest(part)
    assert latest is not None
    assert (latest.id, latest.among) == (ids[3], 5)  # it runs
    ended = await store.latest(Part(root.key, root.key, until=ids[2]))
    assert ended is not None
    assert (ended.id, ended.among) == (ids[2], 3)
    assert [run.id for run in await store.picked(part, "b", RunState.COMPLETED, 2)] == ids[:2]
    assert [run.id for run in await store.picked(Part(root.key, root.key, ids[2]), None, None, 9)] == ids[3:]
    assert [run.id for run in await store.picked_before(root.key, root.key, ids[3], 2)] == [ids[2], ids[1]]
    assert {run.id for run in await store.briefs([ids[0], root.key, b"x" * 16])} == {ids[0], root.key}
    besides = await store.besides(ids[0])
    assert besides is not None
    assert (besides.has_output, besides.error, besides.deadline_by) == (True, None, None)
    assert await store.besides(b"x" * 16) is None
    sample = await store.tree_sample(root.key, 100)
    assert sorted(sample) == [(0, False, 1), (1, False, 1), (8, False, 3)]
    assert ("b", stage.worker) in await store.serving(10)
    recent = await store.recent(ids[0], LAST_ID[:16], 3)
    assert [(row.id, row.root_id, row.task, row.is_wait) for row in recent] == [
        (id_, root.key, "b", False) for id_ in ids[1:4]
    ]
    assert recent[0].finished_at is not None
    assert [row.id for row in await store.recent(root.key, ids[1], 9)] == ids[:1]
    assert dict(await store.queues(3))["b"] == 1
    assert dict(await store.queues(0))["b"] == 0
    [line] = [line for line in (await pages.tasks(store)).tasks if line.name == "b"]
    assert (line.queued, line.running, line.ended, line.failed) == (1, 1, 3, 0)
    assert line.rate > 0
    assert line.p50 is not None
    assert line.p95 is not None


@pytest.mark.parametrize("near", [3, 100])
async def test_a_segment_is_read_whole_whatever_stands_between_its_runs(
    stage: Stage, near: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs of others are no part of it; and if too many are among them, it is read in another way, now and later."""
    monkeypatch.setattr(looked, "NEAR", near)
    root, other = await stage.running("a"), await stage.running("a")
    ids: list[bytes] = []
    for _ in range(4):
        ids += await _children(stage, root, 1)
        await _children(stage, other, 1, "c")
    for _ in range(2):
        for after, until, count in ((0, 2, 2), (0, 3, 3), (1, 1, 0)):
            cells = await stage.store.cube(Part(root.key, root.key, ids[after], ids[until]), 30)
            assert [(cell.task, cell.count) for cell in cells] == [("b", count)] * bool(count)
        for part, count in (
            (Part(root.key, root.key, until=ids[1]), 2),  # from the first one on, wherever that is
            (Part(root.key, root.key, until=root.key), 0),
            (Part(root.key, root.key, ids[1]), 2),  # ... and to the last
            (Part(root.key, root.key, ids[3]), 0),
        ):
            cells = await stage.store.cube(part, 30)
            assert sum(cell.count for cell in cells if cell.task == "b") == sum(cell.count for cell in cells) == count
