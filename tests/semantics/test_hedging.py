"""Hedges: a second run of what takes longer than it should. The first end counts, and both are in the tree."""

from __future__ import annotations

import asyncio
import itertools
import threading
from typing import Any

import pytest

from fanwood import Context, EvictionPolicy, Fanwood, RunInterrupted, RunState, UsageError, after
from fanwood.engine.latencies import FEWEST, Latencies
from tests.semantics.test_sharing import until


@pytest.fixture
def ended() -> list[str]:
    return []


@pytest.fixture
def lookup(app: Fanwood, ended: list[str]) -> Any:
    """The first time it hangs, until it is told that it is over."""
    began: list[int] = []

    @app.task
    async def lookup(n: int) -> str:
        began.append(n)
        if len(began) == 1:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                ended.append("first")
                raise
        return f"{n} by {len(began)}"

    return lookup


async def children(app: Fanwood, ref: Any) -> list[tuple[str, RunState]]:
    return sorted((run.task_name, run.status) for run in await app.runs.aio_children(str(ref)))


async def test_a_straggler_is_overtaken(app: Fanwood, lookup: Any, ended: list[str]) -> None:
    @app.task
    async def root() -> str:
        return await lookup.aio_run(1, hedge=after(0.02))

    ref = await root.aio_run_no_wait()
    assert await ref.aio_result() == "1 by 2"
    await until(lambda: ended == ["first"])
    assert await children(app, ref) == [("lookup", RunState.COMPLETED)] * 2


async def test_what_is_quick_needs_none(app: Fanwood) -> None:
    @app.task
    async def quick(n: int) -> int:
        return n

    @app.task
    async def root() -> list[int]:
        items = [quick.create_bulk_run_item(n, hedge=after(3600)) for n in range(3)]
        return await quick.aio_run_many(items)

    ref = await root.aio_run_no_wait()
    assert await ref.aio_result() == [0, 1, 2]
    assert await children(app, ref) == [("quick", RunState.COMPLETED)] * 3 + [("quick", RunState.CANCELLED)] * 3


async def test_a_durable_parent_is_unloaded_meanwhile(app: Fanwood) -> None:
    attempts, began = list[float](), list[float]()

    @app.task
    async def hangs_at_first(delay: float) -> int:
        began.append(delay)
        if began.count(delay) == 1:
            await asyncio.Event().wait()
        return began.count(delay)

    @app.durable_task(eviction_policy=EvictionPolicy(ttl=0))
    async def root(delay: float) -> int:
        attempts.append(delay)
        return await hangs_at_first.aio_run(delay, hedge=after(delay))

    for delay in (0.5, 5.0, 30.0):  # in which it is unloaded, beside others
        assert await root.aio_run(delay) == 2
        if attempts.count(delay) > 1:
            break
    assert attempts.count(delay) == 2


async def test_a_retry_of_the_parent_finds_what_the_hedge_said(app: Fanwood, lookup: Any) -> None:
    @app.task(retries=1)
    async def root(n: int, ctx: Context) -> str:
        said = await lookup.aio_run(n, hedge=after(0.02))
        if ctx.retry_count == 0:
            raise ValueError("once more")
        return said

    ref = await root.aio_run_no_wait(1)
    assert await ref.aio_result() == "1 by 2"
    assert len(await children(app, ref)) == 2


async def test_a_hedge_that_fails_harms_nobody(app: Fanwood) -> None:
    gate, began = threading.Event(), list[int]()

    @app.task
    async def odd(n: int) -> str:
        began.append(n)
        if len(began) == 2:
            gate.set()
            raise ValueError("the hedge")
        while not gate.is_set():
            await asyncio.sleep(0.002)
        await asyncio.sleep(0.02)
        return "the first"

    @app.task
    async def root() -> str:
        return await odd.aio_run(1, hedge=after(0.01))

    assert await root.aio_run() == "the first"


async def test_a_sync_task_that_was_overtaken_sees_it_at_its_next_call(app: Fanwood) -> None:
    seen, go_on, turns = list[str](), threading.Event(), itertools.count()

    @app.task
    def slow(n: int, ctx: Context) -> str:
        if next(turns):
            return "the hedge"
        go_on.wait(60)
        try:
            while True:
                ctx.sleep_for(0.001)
        except RunInterrupted as error:
            seen.append(str(error))
            raise

    @app.task
    async def root() -> str:
        return await slow.aio_run(1, hedge=after(0.01))

    assert await root.aio_run() == "the hedge"
    go_on.set()
    await until(lambda: seen != [])
    assert "its hedge was quicker" in seen[0]


async def test_p95_is_of_what_was_seen_and_nothing_before_that(app: Fanwood) -> None:
    slow: list[int] = []

    @app.task
    async def task(n: int) -> int:
        if n < 0 and not slow:
            slow.append(n)
            await asyncio.sleep(60)
        return n

    @app.task
    async def root(n: int) -> int:
        return await task.aio_run(n, hedge="p95")

    first = await root.aio_run_no_wait(0)
    assert await first.aio_result() == 0
    assert len(await children(app, first)) == 1
    for n in range(1, FEWEST):
        await root.aio_run(n)
    ref = await root.aio_run_no_wait(-1)
    assert await ref.aio_result() == -1
    assert len(await children(app, ref)) == 2


def test_latencies_are_bounded_and_count_what_completed() -> None:
    now = [0.0]
    seen = Latencies(lambda: now[0])
    assert not seen
    for n in range(100):
        seen.asked("t", b"%d" % n)
        now[0] += n
        seen.ended([b"%d" % n])
    assert not seen
    assert seen.percentile("t", 95) == 95
    seen.asked("t", b"failed")
    now[0] += 10_000
    seen.ended([b"failed", b"unknown"], counts=False)
    assert seen.percentile("t", 95) == 95
    assert seen.percentile("other", 95) is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"hedge": 2.0}, "must be after"),
        ({"hedge": "p99"}, "must be after"),
        ({"hedge": []}, "must be after"),
        ({"hedge": after(1), "detached": True}, "hedge was given beside"),
        ({"hedge": "p95", "share": "tree"}, "hedge was given beside"),
        ({"hedge": "p95", "idempotency_key": "k"}, "hedge was given beside"),
    ],
)
def test_what_can_not_be_hedged_is_refused(lookup: Any, given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        lookup.run(1, **given)


@pytest.mark.parametrize("delay", [-1, 0, float("nan"), float("inf"), "soon", None, True, 2**70])
def test_a_delay_is_a_duration(delay: Any) -> None:
    with pytest.raises(UsageError, match="delay"):
        after(delay)
