"""Calls that share a run: one run for all of a tree that ask for the same, whoever asks, and however they end."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from fanwood import (
    Context,
    EmptyModel,
    EvictionPolicy,
    Fanwood,
    RunState,
    TaskRunCancelled,
    TaskRunError,
    UsageError,
    WaitTimeoutError,
    after,
)
from fanwood import TriggerWorkflowOptions as Options
from tests.faults import processes


@pytest.fixture
def gate() -> threading.Event:
    return threading.Event()


@pytest.fixture
def began() -> list[int]:
    return []


@pytest.fixture
def fetch(app: Fanwood, gate: threading.Event, began: list[int]) -> Any:
    """Ends when it is let; fails below zero."""

    @app.task
    async def fetch(n: int) -> int:
        began.append(n)
        while not gate.is_set():
            await asyncio.sleep(0.002)
        if n < 0:
            raise ValueError(f"{n} is negative")
        return n * 10

    return fetch


async def until(holds: Any) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.005)


async def test_branches_that_ask_for_the_same_have_one_run(
    app: Fanwood, fetch: Any, gate: threading.Event, began: list[int]
) -> None:
    gate.set()

    @app.task
    async def branch(n: int) -> list[int]:
        first = await fetch.aio_run(n % 3, share="tree")
        items = [fetch.create_bulk_run_item(m, share="tree") for m in (0, 1, 2, n % 3)]
        streamed = [one async for one in fetch.aio_map(items)]
        return [first, *await fetch.aio_run_many(items), *streamed]

    @app.task
    async def root() -> list[list[int]]:
        return await branch.aio_run_many([branch.create_bulk_run_item(n) for n in range(12)])

    many = [[0, 10, 20, n % 3 * 10] for n in range(12)]
    assert await root.aio_run() == [[n % 3 * 10, *many[n], *many[n]] for n in range(12)]
    assert sorted(began) == [0, 1, 2]
    assert await root.aio_run() != []  # another tree has its own
    assert sorted(began) == [0, 0, 1, 1, 2, 2]


async def test_a_run_says_what_it_shares_and_of_what_it_is_a_hedge(
    app: Fanwood, fetch: Any, gate: threading.Event, began: list[int]
) -> None:
    @app.task
    async def root() -> int:
        hedged = await fetch.aio_run_no_wait(2, hedge=after(3600))
        return await fetch.aio_run(1, share="tree") + await hedged.aio_result()

    ref = await root.aio_run_no_wait()
    await until(lambda: len(began) == 2)
    kin = {run.id: (await app.runs.aio_get(run.id)).kin for run in await app.runs.aio_children(ref.id)}
    said = {each.how: (run_id, each.id) for run_id, each in kin.items() if each is not None}
    assert set(said) == {"shares", "shared", "helps", "helped"}
    assert said["helps"] == said["helped"][::-1]
    assert said["shares"][1] == said["shared"][0] == said["shared"][1]
    assert (await app.runs.aio_get(ref.id)).kin is None
    gate.set()
    assert await ref.aio_result() == 30


async def test_sync_tasks_share_as_well(app: Fanwood, gate: threading.Event, began: list[int], fetch: Any) -> None:
    gate.set()

    @app.task
    def branch(n: int) -> int:
        return fetch.run(7, Options(share="tree")) + fetch.run(7, share="tree")

    @app.task
    async def root() -> list[int]:
        return await branch.aio_run_many([branch.create_bulk_run_item(n) for n in range(3)])

    assert await root.aio_run() == [140, 140, 140]
    assert began == [7]


async def test_all_get_its_failure(app: Fanwood, fetch: Any, gate: threading.Event, began: list[int]) -> None:
    gate.set()

    @app.task
    async def root() -> list[str]:
        items = [fetch.create_bulk_run_item(-1, share="tree") for _ in range(3)]
        errors = await fetch.aio_run_many(items, return_exceptions=True)
        return [f"{type(error).__name__} {error.task_name} {error.exc_type}" for error in errors]

    assert await root.aio_run() == ["TaskRunError fetch ValueError"] * 3
    assert began == [-1]


async def test_a_retry_of_who_asks_has_it_run_again(app: Fanwood, began: list[int]) -> None:
    @app.task
    async def flaky(n: int) -> int:
        began.append(n)
        if len(began) == 1:
            raise ValueError("the first time")
        return n

    @app.task(retries=1)
    async def branch(n: int) -> int:
        return await flaky.aio_run(5, share="tree") + n

    @app.task
    async def root() -> list[int]:
        return await branch.aio_run_many([branch.create_bulk_run_item(n) for n in range(2)])

    assert await root.aio_run() == [5, 6]
    assert 2 <= len(began) <= 3


async def test_a_timeout_of_who_waits_leaves_it_and_the_last_takes_it_along(
    app: Fanwood, fetch: Any, gate: threading.Event, began: list[int]
) -> None:
    @app.task
    async def impatient() -> str:
        try:
            await fetch.aio_run(1, share="tree", timeout=0.05)
        except WaitTimeoutError:
            return "gave up"
        return "waited"

    @app.task
    async def patient() -> int:
        return await fetch.aio_run(1, share="tree")

    @app.task
    async def root() -> Any:
        ref = await patient.aio_run_no_wait()
        await until(lambda: began == [1])
        said = await impatient.aio_run()
        await ref.aio_cancel()
        return said

    ref = await root.aio_run_no_wait()
    assert await ref.aio_result() == "gave up"
    gate.set()


async def test_who_gives_up_by_cancelling_gives_up_his_link_only(
    app: Fanwood, fetch: Any, gate: threading.Event, began: list[int]
) -> None:
    @app.task
    async def root() -> int:
        one = asyncio.create_task(fetch.aio_run(1, share="tree"))
        other = asyncio.create_task(fetch.aio_run(1, share="tree"))
        await until(lambda: began == [1])
        one.cancel()
        await asyncio.wait([one])
        gate.set()
        return await other

    assert await root.aio_run() == 10
    assert began == [1]


async def test_a_group_that_ends_early_ends_what_it_shares(app: Fanwood, began: list[int]) -> None:
    ended: list[int] = []

    @app.task
    async def search(n: int) -> int:
        began.append(n)
        try:
            while n != 3:
                await asyncio.sleep(0.002)
        except asyncio.CancelledError:
            ended.append(n)
            raise
        return n

    @app.task
    async def root(input: EmptyModel, ctx: Context) -> int:
        async with ctx.group(quorum=1) as group:
            for n in range(4):
                group.spawn(search, n, share="tree")
        assert group.winner is not None
        return group.winner.value

    ref = await root.aio_run_no_wait()
    assert await ref.aio_result() == 3
    await until(lambda: sorted(ended) == [0, 1, 2] if len(began) == 4 else len(ended) == len(set(began) - {3}))


async def test_a_durable_caller_is_unloaded_meanwhile_and_finds_it(
    app: Fanwood, fetch: Any, gate: threading.Event, began: list[int]
) -> None:
    attempts: list[int] = []

    @app.durable_task(eviction_policy=EvictionPolicy(ttl=0))
    async def branch(n: int, ctx: Context) -> int:
        attempts.append(ctx.attempt_number)
        if len(attempts) > 2:
            gate.set()
        return await fetch.aio_run(1, share="tree") + n

    @app.durable_task(eviction_policy=EvictionPolicy(ttl=0))
    async def root() -> list[int]:
        return await branch.aio_run_many([branch.create_bulk_run_item(n) for n in range(2)])

    ref = await root.aio_run_no_wait()
    await until(lambda: len(attempts) >= 2 and began == [1])
    gate.set()
    assert await ref.aio_result() == [10, 11]
    assert began == [1]


async def test_a_replay_of_the_root_asks_anew(
    app: Fanwood, fetch: Any, gate: threading.Event, began: list[int]
) -> None:
    gate.set()

    @app.task
    async def root() -> int:
        return await fetch.aio_run(4, share="tree")

    ref = await root.aio_run_no_wait()
    assert await ref.aio_result() == 40
    await app.runs.aio_replay(str(ref))
    assert await app.runs.get_run_ref(str(ref)).aio_result() == 40
    assert began == [4]  # it had completed, and what completed is kept


async def test_what_would_wait_for_itself_fails_with_the_way(app: Fanwood) -> None:
    @app.task
    async def one(n: int) -> str:
        return await other.aio_run(n, share="tree")

    @app.task
    async def other(n: int) -> str:
        try:
            return await one.aio_run(n, share="tree")
        except TaskRunError as error:
            return f"{error.exc_type}: {error.message}"

    @app.task
    async def root() -> str:
        return await one.aio_run(1, share="tree")

    said = await root.aio_run()
    assert said.startswith("ShareCircleError: this would wait for itself: it is a part of other ")
    assert "and asks for one " in said
    assert ", which waits for other " in said


async def test_it_is_cancelled_from_outside(app: Fanwood, fetch: Any, gate: threading.Event, began: list[int]) -> None:
    @app.task
    async def root() -> str:
        try:
            return str(await fetch.aio_run(1, share="tree"))
        except TaskRunCancelled as error:
            return f"cancelled: {error.message}"

    ref = await root.aio_run_no_wait()
    await until(lambda: began == [1])
    shared = [run for run in await app.runs.aio_children(str(ref)) if run.task_name == "fetch"]
    await app.runs.aio_cancel(shared[0].id)
    assert "cancelled" in await ref.aio_result()
    gate.set()


async def test_outside_of_a_run_it_means_nothing(app: Fanwood, fetch: Any, gate: threading.Event) -> None:
    gate.set()
    assert await fetch.aio_run(2, share="tree") == 20


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"share": "forest"}, 'must be "tree"'),
        ({"share": True}, 'must be "tree"'),
        ({"share": "tree", "child_key": "k"}, "share and a key"),
        ({"share": "tree", "idempotency_key": "k"}, "share and a key"),
        ({"share": "tree", "detached": True}, "share and detached"),
    ],
)
def test_what_can_not_be_shared_is_refused(fetch: Any, given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        fetch.run(1, **given)


def test_a_link_that_ended_before_its_run_asked_for_it_again_is_not_waited_for(
    app: Fanwood, fetch: Any, gate: threading.Event
) -> None:
    known, asks = threading.Event(), threading.Event()

    @app.task(retries=1)
    async def parent(input: EmptyModel, ctx: Context) -> int:
        if ctx.retry_count == 0:
            await fetch.aio_run_no_wait(7, share="tree")
            raise ValueError("once more")
        await ctx.aio_now("known")  # what is recorded of the run is read: the link lives
        known.set()
        await asyncio.to_thread(asks.wait, 60)
        return await fetch.aio_run(7, share="tree")

    ref = parent.run_no_wait()
    assert known.wait(60)
    gate.set()
    processes.until(
        lambda: all(run.status is RunState.COMPLETED for run in app.runs.children(ref.id)), "the link has ended"
    )
    asks.set()
    assert ref.result(timeout=60) == 70
