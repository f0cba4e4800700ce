"""Who is claimed, in which order, and by whom."""

from __future__ import annotations

from typing import Any

import pytest

from fanwood import RunState
from fanwood.model.commands import Batch, ClaimRequest, Spawn, TaskInfo
from fanwood.model.records import LeftOver
from fanwood.model.states import OnParentEnd, RunKind
from fanwood.store.memory.tables import Run
from tests.conformance.stage import SECOND, Stage, completed, digest


async def test_a_claimed_run_is_as_it_was_spawned(stage: Stage) -> None:
    id_ = await stage.born(input='{"n":1}', metadata='{"m":1}', priority=3)
    (run,) = await stage.claim()
    assert run.key == id_
    assert (run.attempt, run.depth, run.task, run.parent_id, run.root_id) == (1, 0, "a", "", run.id)
    assert (run.input, run.metadata, run.priority) == ('{"n":1}', '{"m":1}', 3)
    assert (run.retry_count, run.deaths, run.deadline, run.deadline_by, run.child_key) == (0, 0, None, "", None)
    record = await stage.get(run)
    assert (record.state, record.worker_id, record.attempt) == (RunState.RUNNING, stage.worker, 1)
    assert record.started_at is not None


async def test_a_claimed_child_knows_its_place(stage: Stage) -> None:
    parent = await stage.running()
    child = await stage.running("b", parent, child_key="k", input_digest=b"d" * 16, deadline=9, deadline_by=parent.key)
    assert (child.parent_id, child.root_id, child.depth, child.child_key) == (parent.id, parent.id, 1, "k")
    assert (child.deadline, child.deadline_by) == (9, parent.id)


async def test_nothing_is_claimed_twice(stage: Stage) -> None:
    ids = {await stage.born() for _ in range(5)}
    first = await stage.claim(3)
    second = await stage.claim(3)
    assert (len(first), len(second)) == (3, 2)
    assert {run.key for run in first + second} == ids
    assert await stage.claim(3) == []


async def test_only_the_tasks_asked_for(stage: Stage) -> None:
    await stage.born("a")
    b = await stage.born("b")
    assert [run.key for run in await stage.claim(10, tasks=["b", "c"])] == [b]
    assert await stage.claim(10, tasks=[]) == []


async def test_priority_goes_first_then_depth_then_age(stage: Stage) -> None:
    parent = await stage.running()
    old = await stage.born("a")
    new = await stage.born("b")
    deep = await stage.born("c", parent)
    urgent = await stage.born("a", priority=2)
    idle = await stage.born("a", priority=0)
    assert [run.key for run in await stage.claim(10)] == [urgent, deep, old, new, idle]


async def test_of_one_task_and_tree_the_deepest_goes_first(stage: Stage) -> None:
    """However young it is."""
    root = await stage.running("r")
    child = await stage.running("b", root)
    shallow = [await stage.born("a", root) for _ in range(3)]
    deep = await stage.born("a", child)
    assert [run.key for run in await stage.claim(2, tasks=["a"])] == [deep, shallow[0]]
    assert [run.key for run in await stage.claim(3, tasks=["a"])] == shallow[1:]


async def test_the_order_holds_across_claims(stage: Stage) -> None:
    parent = await stage.running()
    ids = [await stage.born("a"), await stage.born("a", parent), await stage.born("b", priority=5)]
    order = [(await stage.claim())[0].key for _ in range(3)]
    assert order == [ids[2], ids[1], ids[0]]


async def test_a_fair_share_goes_to_the_oldest(stage: Stage) -> None:
    """However unimportant and shallow it is."""
    parent = await stage.running()
    starving = [await stage.born("a", priority=-1), await stage.born("b")]
    for _ in range(8):
        await stage.born("c", parent, priority=9)
    claimed = [run.key for run in await stage.claim(4, fair=1)]
    assert starving[0] in claimed
    assert starving[1] not in claimed
    assert len(set(claimed)) == 4
    claimed = [run.key for run in await stage.claim(4, fair=2)]
    assert starving[1] in claimed
    assert len(set(claimed)) == 4


async def test_a_fair_claim_of_little_is_not_double(stage: Stage) -> None:
    ids = {await stage.born("a"), await stage.born("b")}
    claimed = [run.key for run in await stage.claim(8, fair=8)]
    assert len(claimed) == 2
    assert set(claimed) == ids


async def test_a_delayed_run_is_not_claimed_before_its_time(stage: Stage) -> None:
    run = await stage.running()
    assert await stage.retry(run, delay=5) is None
    assert (await stage.get(run)).due_at is not None
    due = await stage.store.tick()
    assert due is not None
    stage.clock.advance(4.9)
    await stage.store.tick()
    assert await stage.claim() == []
    stage.clock.advance(0.2)
    assert await stage.store.tick() is None
    (again,) = await stage.claim()
    assert (again.key, again.attempt, again.retry_count) == (run.key, 2, 1)
    assert due <= stage.clock.now() + SECOND


async def test_born_claimed(stage: Stage) -> None:
    """Local dispatch: one write instead of two, and the same afterwards."""
    parent = await stage.running()
    spawn = stage.spawn("a", parent, claimed=True, schedule_timeout=SECOND)
    await stage.commit(spawns=[spawn])
    record = await stage.get(spawn.id)
    assert (record.state, record.attempt, record.worker_id) == (RunState.RUNNING, 1, stage.worker)
    stage.clock.advance(2)
    await stage.store.tick()
    assert await stage.state(spawn.id) is RunState.RUNNING
    assert await stage.claim() == []


async def test_of_siblings_in_one_batch_some_are_born_claimed(stage: Stage) -> None:
    """As many as their worker has room for: also where all are of one call, and a store inserts them together."""
    parent = await stage.running()
    spawns = [stage.spawn("b", parent, claimed=number % 20 < 10) for number in range(40)]
    for spawn in spawns[1:]:
        spawn.kind = spawns[0].kind
    await stage.commit(spawns=spawns)
    records = await stage.records()
    assert all((records[spawn.id].state is RunState.RUNNING) == spawn.claimed for spawn in spawns)
    assert [run.key for run in await stage.claim(100, tasks=["b"])] == [s.id for s in spawns if not s.claimed]


@pytest.mark.parametrize(("claimed", "gap"), [(True, 0), (False, 0), (False, 1)])
async def test_a_sibling_of_many_is_as_one_alone(stage: Stage, claimed: bool, gap: int) -> None:
    """In each column, whatever short cuts a bulk takes; also where one of those between is there already."""
    parent, now = await stage.running(priority=2), stage.clock.now()
    about: dict[str, Any] = {
        "metadata": '{"k":1}', "priority": 3, "schedule_timeout": 7 * SECOND, "deadline": now + 9 * SECOND,
        "deadline_by": parent.key, "on_parent_end": OnParentEnd.CANCEL, "run_kind": RunKind.STEP,
    }  # fmt: skip
    spawns = [stage.spawn("b", parent, claimed=claimed, **about) for _ in range(31)]
    for number, spawn in enumerate(spawns):
        spawn.kind, spawn.identity, spawn.index = spawns[0].kind, digest(f"{number}"), number + gap * (number > 5)
    await stage.commit(spawns=spawns[:1])
    await stage.commit(spawns=spawns[1:])
    columns = Run.__struct_fields__
    rows = [dict(zip(columns, await stage.row(spawn.id), strict=True)) for spawn in (spawns[0], spawns[-1])]
    of_its_own = {"id", "identity", "child_index"}
    times = {"created_at", "started_at", "expires_at"}
    alone, many = ({k: v // 1000 if k in times and v else v for k, v in r.items() if k not in of_its_own} for r in rows)
    assert alone == many
    assert rows[1]["child_index"] == 30 + gap
    assert rows[1]["expires_at"] is None or not claimed
    assert rows[1]["identity"] == digest("30")


async def test_many_alike_and_mixed_in_one_batch(stage: Stage) -> None:
    """Whatever short cuts a bulk takes, each row is as it was asked for."""
    parent = await stage.running()
    kind = stage.spawn("a", parent, metadata='{"k":1}', priority=4).kind
    alike = [stage.spawn("a", parent, input=f'{{"n":{n}}}') for n in range(1200)]
    for spawn in alike:
        spawn.kind = kind
    keyed = [stage.spawn("b", parent, child_key=f"key{n}", input_digest=bytes([n]) * 16) for n in range(20)]
    roots = [stage.spawn("c") for _ in range(20)]
    await stage.commit(spawns=[*alike[:600], *keyed, *roots, *alike[600:]])
    children: list[bytes] = []
    while page := await stage.store.children(parent.key, after=children[-1] if children else b"", limit=500):
        children += [record.id for record in page]
    assert set(children) == {spawn.id for spawn in (*alike, *keyed)}
    claimed = {run.key: run for run in await stage.claim(2000)}
    assert len(claimed) == 1240
    for number, spawn in enumerate(alike):
        run = claimed[spawn.id]
        assert (run.input, run.metadata, run.priority, run.depth) == (f'{{"n":{number}}}', '{"k":1}', 4, 1)
    assert {claimed[spawn.id].child_key for spawn in keyed} == {f"key{n}" for n in range(20)}
    identities = {child.identity: child.id for child in await stage.store.recalled(parent.key, limit=2000)}
    assert identities == {spawn.identity: spawn.id for spawn in (*alike, *keyed)}


async def test_a_claim_sees_the_spawns_of_its_own_batch(stage: Stage) -> None:
    spawn = stage.spawn("a")
    done = await stage.store.commit(stage.worker, Batch(spawns=[spawn], claim=ClaimRequest('["a"]', 5)))
    assert [run.key for run in done.claimed] == [spawn.id]


async def test_a_run_that_ended_is_not_claimed(stage: Stage) -> None:
    run = await stage.running()
    await stage.report(completed(run))
    assert await stage.claim() == []


# --- only some programs' roots ---------------------------------------------------------------------------------------


async def test_a_worker_of_one_program_claims_what_is_below_its_roots_and_nobodys(stage: Stage) -> None:
    own = await stage.register(programs=[7])
    theirs = await stage.running("a", program=8)
    child = await stage.born("b", theirs)
    ours = [await stage.born("a", program=7), await stage.born("b"), await stage.born("a", program=7, priority=2)]
    keyed = stage.spawn("a", child_key="k", input_digest=b"d" * 16, program=8)
    keyed.identity = b"i" * 16
    await stage.commit(spawns=[keyed])
    first = await stage.claim(1, worker=own, programs=[7])
    assert [run.key for run in first] == [ours[2]]
    rest = await stage.claim(10, worker=own, programs=[7], idle=True)
    assert [run.key for run in rest] == ours[:2]
    assert [run.deaths for run in rest] == [0, 0]
    below = await stage.born("c", rest[0])
    assert [run.key for run in await stage.claim(10, worker=own, programs=[7])] == [below]
    assert await stage.claim(10, worker=own, programs=[7]) == []
    assert {run.key for run in await stage.claim(10)} == {child, keyed.id}


async def test_workers_of_one_program_count_for_each_other_and_for_nobody_else(stage: Stage) -> None:
    one, two = await stage.register(["a"], programs=[7]), await stage.register(["a", "b"], programs=[7])
    other = await stage.register(["b"])
    assert await stage.store.contended(one) == {"a"}
    assert await stage.store.contended(two) == {"a", "b"}
    assert not await stage.store.served(other, "z")
    assert await stage.store.contended(other) == {"b"}  # the stage's own
    await stage.store.unregister(stage.worker)
    assert await stage.store.contended(other) == frozenset()
    assert not await stage.store.served(one, "a")


async def test_what_is_left_over_is_counted_by_whose_it_is(stage: Stage) -> None:
    await stage.store.publish(stage.worker, [TaskInfo("a", "task", version=5)])
    parent = await stage.running("b", program=8)
    for program in (0, 7, 8):
        await stage.born("a", program=program)
    await stage.born("a", parent)
    await stage.born("c", program=7)
    left = await stage.store.left_over(["a", "b", "c"], [7], 100)
    assert left == [LeftOver("a", 4, 2, 5), LeftOver("c", 1, 0, 0)]
    assert await stage.store.left_over(["a"], [7, 8], 2) == [LeftOver("a", 2, 0, 5, more=True)]
    assert {task.name: task.version for task in await stage.store.tasks()}["a"] == 5


@pytest.mark.parametrize("tasks", [["b"], ["b", "c"]], ids=["one", "two"])
@pytest.mark.parametrize("how", ["all", "a few at a time", "for a program"])
async def test_the_order_is_one_whatever_is_asked_for(stage: Stage, how: str, tasks: list[str]) -> None:
    """Priority, then root, then deeper ones first, then age: each in another order than the one before would give."""
    programs = [7] if how == "for a program" else []
    worker = await stage.register(programs=programs)
    roots = [await stage.running(program=7), await stage.running()]
    children = [await stage.running("a", root) for root in roots]
    places = [(parent, p) for p in (1, 2, 0) for parent in (children[1], roots[0], roots[1], children[0])]
    spawns = [
        stage.spawn(tasks[number % len(tasks)], parent, priority=priority)
        for number, (parent, priority) in enumerate(3 * places)
    ]
    await stage.commit(spawns=spawns)
    spawns.sort(key=lambda spawn: (-spawn.kind.priority, spawn.kind.root_id, -spawn.kind.depth, spawn.id))
    got: list[bytes] = []
    while runs := await stage.claim(100 if how == "all" else 5, tasks=tasks, programs=programs, worker=worker):
        got += [run.key for run in runs]
    assert got == [spawn.id for spawn in spawns]


async def test_siblings_that_are_born_claimed_stand_beside_others(stage: Stage) -> None:
    root = await stage.running()
    first = stage.spawn("b", root)
    many = [Spawn(first.kind, stage.ids.new_id(), stage.ids.new_id(), "{}", n, claimed=n < 10) for n in range(20)]
    await stage.commit(spawns=many)
    assert [await stage.state(spawn.id) for spawn in many] == [RunState.RUNNING] * 10 + [RunState.QUEUED] * 10
