"""The same done by hand to many runs in one transaction."""

from __future__ import annotations

from typing import Any

import pytest

from fanwood import RunState
from fanwood.model.forks import Fork
from fanwood.model.states import RunKind
from fanwood.store.forking import NewFork
from fanwood.store.many import MANY, Came, Deed
from tests.conformance.stage import Stage

QUEUED, CANCELLED, COMPLETED = RunState.QUEUED, RunState.CANCELLED, RunState.COMPLETED
ENDED = tuple(int(state) for state in RunState if state.is_terminal)


async def many(stage: Stage, what: Any, *ids: bytes, **about: Any) -> list[Came]:
    return await stage.store.to_many(Deed(what, "ann", **about), list(ids))


async def test_to_each_as_to_one(stage: Stage) -> None:
    """Who is not there, or can't be meant, keeps nobody else from it."""
    root = await stage.running()
    child = await stage.born("b", root)
    sleep = await stage.recorded(root, kind=RunKind.RECORDED)
    other = await stage.born("c")
    gone = stage.ids.new_id()
    assert await many(stage, "pause", root.key, gone, sleep, other) == [Came.DONE, Came.NOT, Came.NOT, Came.DONE]
    assert {pause.run_id for pause in await stage.store.pauses()} == {root.key, other}
    assert await many(stage, "pause", other) == [Came.SAME]
    assert await stage.claim() == []
    assert await many(stage, "resume", other, root.key, gone) == [Came.FOLLOWS, Came.FOLLOWS, Came.NOT]
    await stage.sweep()
    assert await stage.state(child) is QUEUED
    assert await many(stage, "reprioritize", other, sleep, priority=7) == [Came.FOLLOWS, Came.NOT]
    assert (await stage.store.get(other)).priority == 7
    assert await many(stage, "replay", other, root.key, allow=ENDED) == [Came.SAME, Came.SAME]
    assert await many(stage, "cancel", gone, root.key, other) == [Came.NOT, Came.FOLLOWS, Came.DONE]
    assert await many(stage, "replay", child, allow=ENDED) == [Came.SAME]
    assert not await stage.store.is_heard(root.key, other)
    await stage.commit(heard=[root.key, other])
    await stage.sweep()
    assert [await stage.state(run) for run in (root.key, child, other)] == [CANCELLED] * 3
    assert await many(stage, "replay", root.key, gone, other, allow=ENDED) == [Came.DONE, Came.NOT, Came.DONE]
    assert [await stage.state(run) for run in (root.key, child, other)] == [QUEUED, CANCELLED, QUEUED]
    with pytest.raises(ValueError, match="at most"):
        await many(stage, "pause", *[gone] * (MANY + 1))


async def test_forks_are_made_once(stage: Stage) -> None:
    runs = [await stage.running() for _ in range(3)]
    for run in runs[:2]:
        await stage.complete(run)
    new = tuple(NewFork(stage.ids.new_id(), run.key, Fork(run.key.hex(), by="ann").text, by="ann") for run in runs)
    ids = [run.key for run in runs]
    assert await many(stage, "fork", *ids, forks=new) == [Came.DONE, Came.DONE, Came.NOT]
    assert await many(stage, "fork", *ids, forks=new) == [Came.SAME, Came.SAME, Came.NOT]
    assert [len(await stage.store.forks(id_)) for id_ in ids] == [1, 1, 0]
    assert {run.key for run in await stage.claim(9)} == {new[0].id, new[1].id}


async def test_who_has_no_budget_left_keeps_nobody_else_from_it(stage: Stage) -> None:
    """All that was done is undone, and done once more without him."""
    parent = await stage.running(part=(("usd", 5),))
    parts = [stage.spawn("b", parent, part=(("usd", amount),)) for amount in (2, 3)]
    await stage.commit(spawns=parts)
    other = await stage.running("c")
    await stage.complete(other)
    for run in await stage.claim(9, tasks=["b"]):
        await stage.complete(run)
    await stage.commit(spawns=[stage.spawn("b", parent, part=(("usd", 4),))])
    came = await many(stage, "replay", other.key, *[spawn.id for spawn in parts], allow=ENDED)
    assert came == [Came.DONE, Came.NOT, Came.NOT]
    assert [await stage.state(spawn.id) for spawn in parts] == [COMPLETED] * 2
    assert await stage.state(other) is QUEUED
