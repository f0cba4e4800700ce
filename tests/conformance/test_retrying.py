"""Only what failed runs again, and what stands above it; and who dies in the middle."""

from __future__ import annotations

from typing import Any

import pytest

from fanwood import RunState, UsageError
from fanwood.model.commands import ClaimedRun
from fanwood.model.records import Pause
from fanwood.store import retrying
from fanwood.store.many import Came, Deed
from fanwood.store.retrying import all_failures_retried, failures_retried
from tests.conformance.stage import Stage, failed
from tests.conformance.test_hedging import claimed, due, hedged

COMPLETED, QUEUED, FAILED = RunState.COMPLETED, RunState.QUEUED, RunState.FAILED


class _DeathError(Exception):
    pass


class _Dies:
    """A store whose process dies after some replays; its workers hear at once."""

    def __init__(self, store: Any, replays: int = 100) -> None:
        self._store, self._left = store, replays
        self.together: list[set[bytes]] = []
        self.paused: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def is_heard(self, *_: bytes) -> bool:
        return True

    async def replay(self, run_id: bytes, allow: Any) -> bool:
        self._lives()
        return await self._store.replay(run_id, allow)

    async def to_many(self, deed: Any, ids: Any) -> Any:
        self._lives()
        self.together.append(set(ids))
        return await self._store.to_many(deed, ids)

    async def pause(self, run_id: bytes, by: str) -> bool:
        self.paused.append(run_id)
        return await self._store.pause(run_id, by)

    def _lives(self) -> None:
        if not self._left:
            raise _DeathError
        self._left -= 1


async def retry(stage: Stage, run: ClaimedRun, by: str, replays: int = 100) -> int:
    store: Any = _Dies(stage.store, replays)
    return await failures_retried(store, run.key, by)


async def test_what_failed_on_the_way_waits_until_it_is_asked_for(stage: Stage) -> None:
    """Queued at once it could fail anew before what is above it asked, and would run once more for that."""
    root = await stage.running()
    strict, lax = await stage.running("b", root), await stage.running("b", root)
    below = [await stage.running("c", run) for run in (strict, lax)]
    for run in (*below, strict):
        await stage.report(failed(run))
    await stage.complete(lax)
    await stage.complete(root)
    assert await retry(stage, root, "me") == 3
    states = [await stage.state(run.key) for run in (root, lax, strict, *below)]
    assert states == [QUEUED, QUEUED, FAILED, FAILED, FAILED]


@pytest.mark.parametrize("replays", [0, 1])
async def test_a_death_in_the_middle_leaves_it_paused_and_is_gone_on_with(stage: Stage, replays: int) -> None:
    root = await stage.running()
    middle, other = await stage.running("b", root), await stage.running("b", root)
    deep = await stage.running("c", middle)
    good = await stage.running("c", middle)
    elsewhere = await stage.running("a")
    for run in (good, other, elsewhere):
        await stage.complete(run)
    await stage.report(failed(deep))
    with pytest.raises(UsageError, match="once it has ended"):
        await retry(stage, root, "ann")
    await stage.complete(middle)
    await stage.complete(root)
    assert await retry(stage, elsewhere, "ann") == 0
    assert await retry(stage, other, "ann") == 0
    with pytest.raises(_DeathError):
        await retry(stage, root, "ann", replays)
    (pause,) = await stage.store.pauses()
    assert pause.by == "ann, until what failed is queued again"
    assert await stage.claim(10) == []
    assert await retry(stage, root, "bob") == 1
    assert await stage.store.pauses() == []
    await stage.sweep()
    again = {run.key: run for run in await stage.claim(10)}
    assert again.keys() == {root.key, middle.key}
    assert await stage.state(deep) is FAILED
    found = await stage.attach(again[middle.key], deep.key, "c")
    assert found.state is FAILED or found.state is QUEUED
    assert await stage.state(deep) is QUEUED
    assert (await stage.attach(again[middle.key], good.key, "c")).state is COMPLETED


async def test_who_comes_late_runs_nothing_once_more(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two calls at once: what the first has queued may have run by the time that the second comes to it."""
    monkeypatch.setattr(retrying, "PAGE", 1)
    root = await stage.running()
    middles = [await stage.running("b", root) for _ in range(2)]
    leaves = [await stage.running("c", middle) for middle in middles]
    await stage.report(*map(failed, leaves))
    for run in (*middles, root):
        await stage.complete(run)

    class Late:
        looks = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(stage.store, name)

        async def is_heard(self, _: bytes) -> bool:
            return True

        async def failed(self, *about: Any, **how: Any) -> Any:
            self.looks += 1
            if self.looks == 2:
                stage.clock.advance(1)
                assert await retry(stage, root, "bob") == 2
                await stage.sweep()
                for run in await stage.claim(10):
                    await stage.complete(run)
            return await stage.store.failed(*about, **how)

    store: Any = Late()
    await failures_retried(store, root.key, "ann")
    assert {await stage.state(run) for run in (root, *middles)} == {COMPLETED}
    assert await stage.store.pauses() == []


async def test_a_pause_is_found_among_many(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who died in the middle has left it; a tree may have thousands of others."""
    root = await stage.running()
    await stage.report(failed(root))
    with pytest.raises(_DeathError):
        await retry(stage, root, "ann", 0)
    pauses = stage.store.pauses

    async def few(ids: Any = (), after: tuple[int, bytes] = (-1, b"")) -> list[Pause]:
        """As if others came first."""
        other = Pause(b"\0" * 16, root.key, 0, "bob")
        return [other] if after[0] < 0 else await pauses(ids, after)

    monkeypatch.setattr(stage.store, "pauses", few)
    assert await retry(stage, root, "bob") == 1
    assert await pauses() == []


async def test_what_is_above_a_run_that_failed_is_left_alone(stage: Stage) -> None:
    """It is about that run, and what is below it."""
    root = await stage.running()
    middle = await stage.running("b", root)
    leaf = await stage.running("c", middle)
    await stage.report(failed(leaf))
    await stage.complete(middle)
    await stage.complete(root)
    assert await retry(stage, leaf, "ann") == 1
    assert [await stage.state(run) for run in (leaf, middle, root)] == [QUEUED, COMPLETED, COMPLETED]
    assert await stage.store.pauses() == []


async def test_a_pause_of_somebody_else_stays(stage: Stage) -> None:
    root = await stage.running()
    await stage.report(failed(root))
    await stage.store.pause(root.key, "bob")
    assert await retry(stage, root, "ann") == 1
    (pause,) = await stage.store.pauses()
    assert pause.by == "bob"
    assert await stage.claim(10) == []


async def test_what_stands_between_is_queued_in_one_transaction(stage: Stage) -> None:
    root = await stage.running()
    middles = [await stage.running("b", root) for _ in range(3)]
    for middle in middles:
        await stage.report(failed(await stage.running("c", middle)))
        await stage.complete(middle)
    await stage.complete(root)
    store: Any = _Dies(stage.store)
    assert await failures_retried(store, root.key, "ann") == 3
    assert store.together == [{middle.key for middle in middles}]
    await stage.sweep()
    assert {run.key for run in await stage.claim(10)} == {root.key, *(middle.key for middle in middles)}


async def test_of_many_those_where_nothing_stands_between_are_queued_together(stage: Stage) -> None:
    """Without a pause; each other one as if it were asked for alone."""
    lone, flat, deep, good, busy = [await stage.running() for _ in range(5)]
    child, middle = await stage.running("b", flat), await stage.running("b", deep)
    leaf = await stage.running("c", middle)
    await stage.report(failed(child), failed(leaf), failed(lone))
    for run in (flat, middle, deep, good):
        await stage.complete(run)
    names = (lone, flat, deep, good, busy, child, leaf)

    async def retried(*which: ClaimedRun, again: bool = False) -> int:
        ids = [run.key for run in which]
        runs = sorted(await stage.store.briefs(ids), key=lambda run: ids.index(run.id))
        return await all_failures_retried(store, runs, "ann", again=again)

    store: Any = _Dies(stage.store)
    assert await retried() == 0
    assert await retried(lone, flat, deep, good, busy) == 3
    assert store.paused == [deep.key]
    assert store.together == [{middle.key}, {lone.key}, {flat.key}]
    assert [await stage.state(run) for run in names] == [
        QUEUED, QUEUED, QUEUED, COMPLETED, RunState.RUNNING, FAILED, FAILED,
    ]  # fmt: skip
    assert await stage.store.pauses() == []
    assert await retried(lone, flat, good, again=True) == 2  # as an attempt that comes after a crash finds them
    assert await retried(leaf, child) == 2
    assert store.together[3:] == [{leaf.key, child.key}]


@pytest.mark.parametrize("together", [True, False], ids=["of many", "alone"])
async def test_what_has_completed_since_it_was_looked_at_does_not_run_again(stage: Stage, together: bool) -> None:
    """Its parent has asked for it anew, say, while it was looked for what failed."""
    root, child = await stage.running(), await stage.running()
    await stage.report(failed(child))
    await stage.complete(root)

    class Late:
        def __getattr__(self, name: str) -> Any:
            return getattr(stage.store, name)

        async def is_heard(self, *_: bytes) -> bool:
            return True

        async def kin(self, ids: Any) -> Any:
            if await stage.store.replay(child.key, [FAILED]):
                run = await stage.claim_again(child)
                assert run is not None
                await stage.complete(run)
            return await stage.store.kin(ids)

    store: Any = Late()
    if together:
        runs = await stage.store.briefs([child.key])
        assert await all_failures_retried(store, runs, "ann") == 0
    else:
        await failures_retried(store, child.key, "ann")
    assert await stage.state(child) is COMPLETED
    assert await stage.store.pauses() == []


async def test_of_many_a_hedge_is_nothing_to_retry_and_a_pause_that_was_left_is_taken_back(stage: Stage) -> None:
    root = await stage.running()
    first, second = await hedged(stage, root)
    run = await claimed(stage, first)
    await due(stage)
    hedge = await claimed(stage, second)
    await stage.fail(hedge)
    await stage.complete(run)
    await stage.complete(root)
    left = await stage.running()
    await stage.report(failed(left))
    with pytest.raises(_DeathError):
        await retry(stage, left, "ann", 0)
    store: Any = _Dies(stage.store)
    runs = await stage.store.briefs([root.key, hedge.key, left.key])
    assert await all_failures_retried(store, runs, "bob") == 1
    assert [await stage.state(run) for run in (root, hedge, left)] == [COMPLETED, FAILED, QUEUED]
    assert await stage.store.pauses() == []


async def test_what_can_not_run_again_is_not_paused_for_it(stage: Stage) -> None:
    root = await stage.running()
    child = await stage.running("b", root)
    await stage.report(failed(child))
    await stage.complete(root)

    class Refuses(_Dies):
        async def replay(self, run_id: bytes, allow: Any) -> bool:
            raise UsageError("nothing is left of its budget, say")

    store: Any = Refuses(stage.store)
    with pytest.raises(UsageError):
        await failures_retried(store, root.key, "ann")
    assert store.paused == [root.key]
    assert await stage.store.pauses() == []


@pytest.mark.parametrize("at_once", [False, True])
async def test_who_pauses_it_meanwhile_has_it_paused_after_that(stage: Stage, at_once: bool) -> None:
    """And is told that it was not paused before, as only the retry itself had done so."""
    root = await stage.running()
    child = await stage.running("b", root)
    await stage.report(failed(child))
    await stage.complete(root)

    class Pausing(_Dies):
        async def to_many(self, deed: Any, ids: Any) -> Any:
            raise AssertionError("nothing is between")

        async def replay(self, run_id: bytes, allow: Any) -> bool:
            if at_once:
                assert await stage.store.to_many(Deed("pause", by="bob"), [run_id]) == [Came.DONE]
            else:
                assert await stage.store.pause(run_id, "bob")
            assert not await stage.store.pause(run_id, "bob")
            assert not await stage.store.pause(run_id, "ann, until what failed is queued again")
            return await self._store.replay(run_id, allow)

    store: Any = Pausing(stage.store)
    assert await failures_retried(store, root.key, "ann") == 1
    (pause,) = await stage.store.pauses()
    assert pause.by == "bob"
    assert await stage.claim(10) == []
    assert not await stage.store.resume(root.key, "queued again")
    assert await stage.store.resume(root.key, "bob")
    await stage.sweep()
    assert [run.key for run in await stage.claim(10)] == [root.key]
