"""Listings by metadata: what few roots bear is found wherever it stands, once, newest first."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from fanwood import RunState
from fanwood.model.records import RunFilter
from fanwood.store import listing
from fanwood.store.postgres import reading
from tests.conformance.stage import SECOND, Stage

RARE, COMMON = (("order", "7"),), (("team", '"red"'),)


async def listed(stage: Stage, filter_: RunFilter) -> list[bytes]:
    found: list[bytes] = []
    for _ in range(100):
        page = await stage.store.listing(filter_)
        found += [run.id for run in page.runs]
        if page.after is None:
            return found
        filter_ = replace(filter_, after=page.after)
    raise AssertionError("it never came to an end")


@pytest.mark.parametrize("few", [0, 1, 2, 2000])
@pytest.mark.parametrize("at", [0, 5, 19])
async def test_what_few_bear_is_found(stage: Stage, monkeypatch: pytest.MonkeyPatch, few: int, at: int) -> None:
    monkeypatch.setattr(listing, "WALK", 3)
    monkeypatch.setattr(reading, "FEW", few)
    roots: list[bytes] = []
    for n in range(20):
        stage.clock.advance(1)
        metadata = '{"order":7,"team":"red"}' if n == at else '{"team":"red"}' if n % 2 else None
        roots.append(await stage.born("a", metadata=metadata))
    await stage.born("a", metadata="7")
    red = [id_ for n, id_ in enumerate(roots) if n % 2 or n == at][::-1]
    since = stage.clock.now() - 21 * SECOND
    for limit in (1, 2, 50):
        assert await listed(stage, RunFilter(metadata=RARE, limit=limit)) == [roots[at]]
        assert await listed(stage, RunFilter(metadata=COMMON, limit=limit)) == red
        assert await listed(stage, RunFilter(metadata=COMMON, limit=limit, prefix="b")) == []
        assert await listed(stage, RunFilter(metadata=COMMON, limit=limit, since=since)) == red


@pytest.mark.parametrize(
    "about", [{}, {"every": True}, {"task": "a"}, {"state": RunState.FAILED, "every": True}, {"state": RunState.FAILED}]
)
async def test_what_is_older_and_newer(stage: Stage, monkeypatch: pytest.MonkeyPatch, about: dict[str, Any]) -> None:
    monkeypatch.setattr(listing, "WALK", 3)
    times: list[int] = []
    ids: list[bytes] = []
    for _ in range(8):
        stage.clock.advance(1)
        run = await stage.running("a")
        ids.append(run.key)
        times.append((await stage.get(run)).created_at)
        await stage.fail(run)

    def since(n: int) -> int:  # of these it is told by their ids, which have no time in them here
        return 0 if about in ({"every": True}, {"task": "a"}) else times[n]

    for low, high in ((2, 5), (0, 8), (7, 8), (3, 3)):
        until = times[high] if high < 8 else times[7] + SECOND // 2
        expected = ids[low:high][::-1]
        for limit in (1, 2, 50):
            found = await listed(stage, RunFilter(since=since(low), until=until, limit=limit, **about))
            assert found == (expected if since(low) else ids[:high][::-1])
    assert await listed(stage, RunFilter(until=0, **about)) == []


async def test_what_is_queued_is_found_in_the_queue(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between trees whose roots have begun, of several tasks and priorities; and of one task with what has begun."""
    monkeypatch.setattr(listing, "WALK", 3)
    queued: dict[bytes, str] = {}
    begun: list[bytes] = []
    for n in range(12):
        task = "ab"[n % 2]
        if n % 3 == 1:
            parent = await stage.running("p")
            begun.append(parent.key)
            for _ in range(3):  # queued children, which are no roots
                await stage.born("ab"[n // 3 % 2], parent=parent)
        else:
            queued[await stage.born(task, priority=n % 4)] = task
    newest = sorted(queued, reverse=True)
    for limit in (1, 2, 5, 50):
        assert await listed(stage, RunFilter(state=RunState.QUEUED, limit=limit)) == newest
        for task in "abc":
            ours = [id_ for id_ in newest if queued[id_] == task]
            assert await listed(stage, RunFilter(state=RunState.QUEUED, task=task, limit=limit)) == ours
            assert await listed(stage, RunFilter(state=RunState.QUEUED, prefix=task, limit=limit)) == ours
            assert await listed(stage, RunFilter(task=task, limit=limit)) == ours
        assert await listed(stage, RunFilter(task="p", limit=limit)) == begun[::-1]
    some = await stage.claim(3, tasks=["a"])  # of its task some have begun now
    assert await listed(stage, RunFilter(task="a", limit=2)) == [id_ for id_ in newest if queued[id_] == "a"]
    left = [id_ for id_ in newest if id_ not in {run.key for run in some}]
    assert await listed(stage, RunFilter(state=RunState.QUEUED, limit=2)) == left


async def test_roots_of_one_call_are_born_as_one_alone_is(stage: Stage) -> None:
    alone = stage.spawn("a", metadata='{"n":1}', priority=2, schedule_timeout=5 * SECOND, input='"1é"')
    many = [stage.spawn("a", input='"1é"') for _ in range(20)]
    for spawn in many:
        spawn.kind = alone.kind
    await stage.commit(spawns=[alone])
    await stage.commit(spawns=many)
    first, *others = [await stage.get(spawn.id) for spawn in (alone, *many)]
    assert [run.id for run in others] == [run.root_id for run in others] == [spawn.id for spawn in many]
    for run in others:
        assert replace(run, id=first.id, root_id=first.id, created_at=first.created_at) == first
