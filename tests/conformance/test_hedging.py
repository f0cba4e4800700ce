"""Second runs of what takes too long: when they begin, and whose end counts for whom."""

from __future__ import annotations

import json

import pytest

from fanwood import RunState
from fanwood.errors import StoreValueError
from fanwood.model.commands import Attach, ClaimedRun, Hedge, SpawnKind, Suspend
from fanwood.model.states import Awaited, EndedBy, OnParentEnd
from fanwood.store.auditing import findings
from fanwood.store.postgres import gates
from fanwood.store.why import WhyCause, explain
from tests.conformance.stage import SECOND, Stage, completed, retried


async def hedged(stage: Stage, parent: ClaimedRun, delay: float = 5, **about: object) -> tuple[bytes, bytes]:
    """A child of task b, and its hedge: their ids."""
    first = stage.spawn("b", parent, **about)
    hedge = Hedge(stage.spawn("b", parent), first.id, round(delay * SECOND))
    hedge.spawn.kind, hedge.spawn.identity = first.kind, None
    done = await stage.commit(spawns=[first], hedges=[hedge])
    assert not done.fenced_parents
    return first.id, hedge.spawn.id


async def claimed(stage: Stage, id_: bytes, worker: int | None = None) -> ClaimedRun:
    (run,) = await stage.claim(100, tasks=["b"], worker=worker)
    assert run.key == id_
    return run


async def sound(stage: Stage) -> None:
    assert [found async for found in findings(stage.store, full=True, attended=False)] == []


async def due(stage: Stage) -> None:
    stage.clock.advance(6)
    await stage.store.tick()


async def ended_by(stage: Stage, id_: bytes) -> int | None:
    names = type(await stage.get(id_)).__struct_fields__
    assert "state" in names
    return (await stage.row(id_))[31]


async def test_it_begins_when_it_is_due_and_completes_the_first(stage: Stage) -> None:
    parent = await stage.running()
    first, second = await hedged(stage, parent)
    other = await stage.register(name="other")
    run = await claimed(stage, first, other)
    below = await stage.born("c", run)
    assert await stage.claim(10, tasks=["b"]) == []
    assert (await stage.store.look_around(stage.worker, "host")).due == (await stage.get(second)).due_at
    await due(stage)
    hedge = await claimed(stage, second)
    await sound(stage)
    done = await stage.report(completed(hedge, "7"))
    assert done.has_closed
    for id_ in (first, second):
        record = await stage.get(id_)
        assert (record.state, record.output) == (RunState.COMPLETED, "7")
    assert await ended_by(stage, first) == EndedBy.HEDGE
    await stage.sweep()
    assert await stage.state(below) is RunState.CANCELLED
    told = await stage.commit(other, mail=True)
    assert [(notice.run_id, notice.state) for notice in told.mine] == [(first, RunState.COMPLETED)]
    assert (await stage.report(completed(run, "8"), worker=other)).fenced_outcomes == {0}
    assert (await stage.get(first)).output == "7"
    finished = done.finished | (await stage.commit(mail=True)).finished
    assert finished[first].output == "7"
    await sound(stage)


async def test_the_time_in_which_it_must_begin_is_counted_from_when_it_is_due(stage: Stage) -> None:
    parent = await stage.running()
    first, second = await hedged(stage, parent, schedule_timeout=3 * SECOND)
    await claimed(stage, first)
    await due(stage)
    assert await stage.state(second) is RunState.QUEUED
    stage.clock.advance(3)
    await stage.store.tick()
    assert await stage.state(second) is RunState.FAILED
    await sound(stage)


@pytest.mark.parametrize("how", ["completes", "fails", "is cancelled"])
@pytest.mark.parametrize("when", ["waits", "runs"])
async def test_the_first_ends_before_it(stage: Stage, when: str, how: str) -> None:
    parent = await stage.running()
    first, second = await hedged(stage, parent)
    run = await claimed(stage, first)
    if when == "runs":
        await due(stage)
        await claimed(stage, second)
    match how:
        case "completes":
            await stage.complete(run, "3")
        case "fails":
            await stage.fail(run)
        case _:
            await stage.cancel(run)
    assert await stage.state(second) is RunState.CANCELLED
    stage.clock.advance(10)
    await stage.store.tick()
    assert await stage.claim(10, tasks=["b"]) == []
    await sound(stage)


@pytest.mark.parametrize("how", ["fails", "is cancelled"])
async def test_its_failure_harms_nobody(stage: Stage, how: str) -> None:
    parent = await stage.running()
    first, second = await hedged(stage, parent)
    run = await claimed(stage, first)
    await due(stage)
    hedge = await claimed(stage, second)
    await (stage.fail(hedge) if how == "fails" else stage.cancel(hedge))
    assert await stage.state(first) is RunState.RUNNING
    await stage.complete(run, "3")
    assert (await stage.get(first)).output == "3"
    await sound(stage)


async def test_both_end_in_one_commit(stage: Stage) -> None:
    parent = await stage.running()
    first, second = await hedged(stage, parent)
    run = await claimed(stage, first)
    await due(stage)
    hedge = await claimed(stage, second)
    await stage.report(completed(run, "1"), completed(hedge, "2"))
    assert (await stage.get(first)).output == "1"
    assert (await stage.state(second)).is_terminal
    await sound(stage)


async def test_it_helps_what_waits_to_be_tried_again_and_what_nobody_has_begun(stage: Stage) -> None:
    parent = await stage.running()
    first, second = await hedged(stage, parent)
    run = await claimed(stage, first)
    await stage.report(retried(run, 100))
    await due(stage)
    await stage.complete(await claimed(stage, second), "7")
    assert (await stage.get(first)).output == "7"
    stage.clock.advance(200)
    await stage.store.tick()
    assert await stage.claim(10, tasks=["b"]) == []
    await sound(stage)


async def test_a_suspended_parent_goes_on_with_it(stage: Stage) -> None:
    parent = await stage.running()
    first, second = await hedged(stage, parent)
    await claimed(stage, first)
    asked = Suspend(parent.key, parent.attempt, [(first, int(Awaited.WAKES))], 1)
    assert (await stage.commit(suspends=[asked])).going_on == set()
    await due(stage)
    await stage.complete(await claimed(stage, second), "7")
    assert await stage.state(parent) is RunState.QUEUED
    again = await stage.claim_again(parent)
    assert again is not None
    known = await stage.store.recalled(parent.key, most=100)
    assert [(child.id, child.output) for child in known] == [(first, "7")]
    await sound(stage)


async def test_one_first_has_one_at_a_time(stage: Stage) -> None:
    parent = await stage.running()
    first, second = await hedged(stage, parent)
    again = await stage.hand_back(parent)
    kind = SpawnKind("b", again.key, again.attempt, bytes.fromhex(again.root_id), 1)
    hedge = Hedge(stage.spawn("b", again), first, SECOND)
    hedge.spawn.kind, hedge.spawn.identity = kind, None
    await stage.commit(attaches=[Attach(kind, first)], hedges=[hedge])
    assert hedge.spawn.id not in await stage.records()
    run = await claimed(stage, first)
    await due(stage)
    await stage.fail(await claimed(stage, second))
    await stage.commit(hedges=[hedge], attaches=[Attach(kind, first)])  # that one is over
    assert await stage.state(hedge.spawn.id) is RunState.WAITING
    await stage.complete(run)
    assert await stage.state(hedge.spawn.id) is RunState.CANCELLED
    await sound(stage)


async def test_it_ends_with_its_parent(stage: Stage) -> None:
    parent = await stage.running()
    _, second = await hedged(stage, parent, on_parent_end=OnParentEnd.CANCEL)
    await stage.cancel(parent)
    assert await stage.state(second) is RunState.CANCELLED
    assert await stage.store.count("hedge") == 0
    await sound(stage)


async def test_what_has_ended_already_gets_none(stage: Stage) -> None:
    parent = await stage.running()
    first = await stage.running("b", parent)
    await stage.complete(first)
    hedge = Hedge(stage.spawn("b", parent), first.key, SECOND)
    hedge.spawn.identity = None
    await stage.commit(hedges=[hedge], spawns=[stage.spawn("c", parent)])
    assert hedge.spawn.id not in await stage.records()


async def test_its_error_says_why(stage: Stage) -> None:
    parent = await stage.running()
    first, second = await hedged(stage, parent)
    await stage.complete(await claimed(stage, first))
    assert json.loads((await stage.get(second)).error or "")["message"] == "the run that it was to help has ended"


async def test_why_it_waits(stage: Stage) -> None:
    _, second = await hedged(stage, await stage.running())
    why = explain(await stage.store.circumstances(second))
    assert why.cause is WhyCause.DELAYED
    assert "it begins in 5" in why.text


async def test_an_end_that_was_undone_ends_the_other_when_it_comes_again(stage: Stage) -> None:
    parent = await stage.running()
    first, second = await hedged(stage, parent)
    run = await claimed(stage, first)
    with pytest.raises(StoreValueError):
        await stage.commit(outcomes=[completed(run, "7")], blocks=[(parent.key, 2**70)])
    await stage.report(completed(run, "7"))
    assert (await stage.get(second)).state is RunState.CANCELLED
    await sound(stage)


async def test_nothing_is_left_of_hedges_that_are_swept(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "PAGE", 100)
    root = await stage.running()
    parent = await stage.running("c", root)
    pairs = [await hedged(stage, parent, 0.001) for _ in range(130)]
    await due(stage)
    assert await stage.state(pairs[-1][1]) is RunState.QUEUED
    await stage.cancel(parent.key)
    await stage.sweep()
    assert {await stage.state(id_) for pair in pairs for id_ in pair} == {RunState.CANCELLED}
    assert await stage.store.copy_out("hedge", (b"",), 10) == []
