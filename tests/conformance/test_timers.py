"""Limits of runs that are queued or wait, by whatever way they came there; and nothing fires before its time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fanwood import RunState
from fanwood.model.commands import Spawn, SpawnKind
from fanwood.model.states import TERMINAL
from fanwood.store.failures import decode_failure
from tests.conformance.stage import SECOND, Stage, digest, handed_back, retried

Way = Callable[[Stage, dict[str, Any]], Awaitable[list[bytes]]]
"""Into the queue, of runs of this kind."""

BEFORE, AFTER = 4.9, 0.2
"""Seconds: shortly before five have gone by, and from then on to shortly after."""


async def _born_alone(stage: Stage, about: dict[str, Any]) -> list[bytes]:
    return [await stage.born("b", await stage.running(), **about)]


async def _born_together(stage: Stage, about: dict[str, Any]) -> list[bytes]:
    """As a fan-out is: all of one kind."""
    spawns = [stage.spawn("b", await stage.running(), **about)]
    kind = spawns[0].kind
    for number in range(1, 20):
        other = stage.spawn("b")
        other.kind, other.identity, other.index = kind, digest(f"{number}"), number
        spawns.append(other)
    await stage.commit(spawns=spawns)
    return [spawn.id for spawn in spawns]


async def _born_with_a_key(stage: Stage, about: dict[str, Any]) -> list[bytes]:
    root = Spawn(SpawnKind("b", **about), stage.ids.new_id(), digest("k"), "{}", 0, "k", digest("b {}"))
    await stage.commit(spawns=[root])
    return [root.id]


async def _retried(stage: Stage, about: dict[str, Any]) -> list[bytes]:
    run = await stage.running("b", **about)
    await stage.report(retried(run))
    return [run.key]


async def _handed_back(stage: Stage, about: dict[str, Any]) -> list[bytes]:
    run = await stage.running("b", **about)
    await stage.report(handed_back(run))
    return [run.key]


async def _taken_from_the_dead(stage: Stage, about: dict[str, Any]) -> list[bytes]:
    other = await stage.register()
    run = await stage.running("b", worker=other, **about)
    await stage.store.reap(other, 3)
    return [run.key]


async def _replayed(stage: Stage, about: dict[str, Any]) -> list[bytes]:
    run = await stage.running("b", **about)
    await stage.fail(run)
    assert await stage.store.replay(run.key, TERMINAL)
    return [run.key]


async def _revived(stage: Stage, about: dict[str, Any]) -> list[bytes]:
    """A child that had failed is asked for by its parent's next trial."""
    parent = await stage.running()
    child = await stage.running("b", parent, **about)
    await stage.fail(child)
    again = await stage.retry(parent)
    assert again is not None
    assert (await stage.attach(again, child.key, "b")).state is RunState.QUEUED
    return [child.key]


WAYS: dict[str, Way] = {
    way.__name__.strip("_").replace("_", " "): way
    for way in (
        _born_alone, _born_together, _born_with_a_key, _retried, _handed_back, _taken_from_the_dead, _replayed,
        _revived,
    )
}  # fmt: skip


async def _states(stage: Stage, ids: list[bytes]) -> set[RunState]:
    records = await stage.records()
    return {records[id_].state for id_ in ids}


@pytest.mark.parametrize("way", WAYS)
async def test_the_schedule_timeout_counts_from_the_way_into_the_queue(stage: Stage, way: str) -> None:
    ids = await WAYS[way](stage, {"schedule_timeout": 5 * SECOND})
    assert await stage.store.tick() is not None
    stage.clock.advance(BEFORE)
    await stage.store.tick()
    assert await _states(stage, ids) == {RunState.QUEUED}
    stage.clock.advance(AFTER)
    await stage.store.tick()
    assert await _states(stage, ids) == {RunState.FAILED}
    assert decode_failure((await stage.get(ids[-1])).error).limit == "schedule_timeout"


@pytest.mark.parametrize("way", [way for way in WAYS if way != "born with a key"])  # (roots have no deadline)
async def test_an_inherited_deadline_lasts_until_somebody_begins_anew(stage: Stage, way: str) -> None:
    owner = await stage.running("c")
    ids = await WAYS[way](stage, {"deadline": stage.clock.now() + 5 * SECOND, "deadline_by": owner.key})
    stage.clock.advance(BEFORE)
    await stage.store.tick()
    assert await _states(stage, ids) == {RunState.QUEUED}
    stage.clock.advance(AFTER)
    await stage.store.tick()
    anew = way in ("replayed", "revived")  # nobody waits for it as they did then
    assert await _states(stage, ids) == {RunState.QUEUED if anew else RunState.FAILED}
    if anew:
        assert await stage.store.tick() is None
        assert [run.deadline for run in await stage.claim(100, tasks=["b"])] == [None]


async def test_the_schedule_timeout_of_a_delayed_retry_counts_from_when_it_is_due(stage: Stage) -> None:
    run = await stage.running(schedule_timeout=5 * SECOND)
    await stage.report(retried(run, 7))
    stage.clock.advance(6.9)
    await stage.store.tick()
    assert await stage.state(run) is RunState.WAITING
    stage.clock.advance(BEFORE)
    await stage.store.tick()
    assert await stage.state(run) is RunState.QUEUED
    stage.clock.advance(0.4)
    await stage.store.tick()
    assert await stage.state(run) is RunState.FAILED


async def test_a_deadline_comes_also_while_a_retry_is_not_due(stage: Stage) -> None:
    parent = await stage.running()
    run = await stage.running("b", parent, deadline=stage.clock.now() + 5 * SECOND, deadline_by=parent.key)
    await stage.report(retried(run, 60))
    stage.clock.advance(BEFORE)
    await stage.store.tick()
    assert await stage.state(run) is RunState.WAITING
    stage.clock.advance(AFTER)
    await stage.store.tick()
    assert await stage.state(run) is RunState.FAILED


async def test_nothing_fires_before_its_time_though_something_else_does(stage: Stage) -> None:
    """And each is told when the next comes."""
    offsets = (3.0, 3.01, 3.4)
    late = [await stage.born("a", schedule_timeout=round(after * SECOND)) for after in offsets]
    due = [await stage.running("b") for _ in offsets]
    await stage.report(*(retried(run, after) for run, after in zip(due, offsets, strict=True)))
    stage.clock.advance(3.005)
    next_ = await stage.store.tick()
    records = await stage.records()
    assert [records[id_].state for id_ in late] == [RunState.FAILED, RunState.QUEUED, RunState.QUEUED]
    assert [records[run.key].state for run in due] == [RunState.QUEUED, RunState.WAITING, RunState.WAITING]
    assert next_ is not None
    assert 0 < next_ - stage.clock.now() <= 10_000
    stage.clock.advance(0.1)
    await stage.store.tick()
    records = await stage.records()
    assert [records[id_].state for id_ in late] == [RunState.FAILED, RunState.FAILED, RunState.QUEUED]
    assert [records[run.key].state for run in due] == [RunState.QUEUED, RunState.QUEUED, RunState.WAITING]


async def test_a_lease_lasts_from_the_last_renewal_on(stage: Stage) -> None:
    """However often it was renewed before."""
    other = await stage.register(lease=5)
    for _ in range(4):
        assert await stage.store.renew(other)
    stage.clock.advance(4.9)
    assert other not in {worker.id for worker in (await stage.store.look_around(stage.worker, "elsewhere")).others}
    stage.clock.advance(0.2)
    assert other in {worker.id for worker in (await stage.store.look_around(stage.worker, "elsewhere")).others}
