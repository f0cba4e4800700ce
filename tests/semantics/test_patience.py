"""How long durable code waits for runs at most: once, over suspensions, and each time that it is run again."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import Any

import pytest

from fanwood import Context, EvictionPolicy, Fanwood, RunState, WaitTimeoutError, aio_wait, as_completed, wait
from fanwood.sdk.recording import patience
from tests.semantics.test_durable import until

AT_ONCE = EvictionPolicy(ttl=0)


def sleeps(app: Fanwood, run_id: str) -> list[Any]:
    """Of a run, in order."""
    return [child for child in app.runs.children(run_id) if child.task_name == "~sleep"]


def held(app: Fanwood) -> tuple[Any, dict[int, threading.Event]]:
    """A task whose runs end when they may."""
    gates = {n: threading.Event() for n in range(4)}

    @app.task
    async def child(n: int) -> int:
        while not gates[n].is_set():
            await asyncio.sleep(0.002)
        return n

    return child, gates


async def _waited(how: str, child: Any) -> Any:
    items = [child.create_bulk_run_item(n) for n in range(2)]
    match how:
        case "run":
            return await child.aio_run(0, timeout="1h")
        case "bulk":
            return await child.aio_run_many(items, timeout=3600)
        case "ref":
            return await (await child.aio_run_no_wait(0)).aio_result(timeout=3600)
        case "each":
            refs = await child.aio_run_many_no_wait(items)
            return [await ref async for ref in as_completed(refs, timeout=3600)]
        case _:
            refs = await child.aio_run_many_no_wait(items)
            return sorted([await ref for ref in (await aio_wait(refs, timeout=3600)).done])


def _blocked(how: str, child: Any) -> Any:
    items = [child.create_bulk_run_item(n) for n in range(2)]
    match how:
        case "run":
            return child.run(0, timeout="1h")
        case "bulk":
            return child.run_many(items, timeout=3600)
        case "ref":
            return child.run_no_wait(0).result(timeout=3600)
        case "each":
            return [ref.result() for ref in as_completed(child.run_many_no_wait(items), timeout=3600)]
        case _:
            return sorted(ref.result() for ref in wait(child.run_many_no_wait(items), timeout=3600).done)


@pytest.mark.parametrize("comes", [True, False], ids=["in time", "too late"])
@pytest.mark.parametrize(
    ("how", "colour"),
    [("run", "sync"), ("run", "async"), ("bulk", "async"), ("ref", "sync"), ("each", "async"), ("set", "sync")],
)
def test_a_wait_comes_out_as_it_did_however_often_its_code_is_run(
    make_app: Any, how: str, colour: str, comes: bool
) -> None:
    app = make_app(slots=6)
    child, gates = held(app)
    seen: list[Any] = []
    given_up: Any = [] if how == "set" else "gave up"

    if colour == "async":

        @app.durable_task(eviction_policy=AT_ONCE)
        async def parent(input: dict, ctx: Context) -> Any:
            try:
                came = await _waited(how, child)
            except WaitTimeoutError:
                came = "gave up"
            seen.append(came)
            await ctx.aio_sleep_for("2h")
            return [came, await child.aio_run(3)]

    else:

        @app.durable_task(eviction_policy=AT_ONCE)
        def parent(input: dict, ctx: Context) -> Any:
            try:
                came = _blocked(how, child)
            except WaitTimeoutError:
                came = "gave up"
            seen.append(came)
            ctx.sleep_for("2h")
            return [came, child.run(3)]

    ref = parent.run_no_wait({})
    until(app, ref.id, RunState.WAITING)
    (limit,) = sleeps(app, ref.id)
    if comes:
        gates[0].set()
        gates[1].set()
        came = 0 if how in ("run", "ref") else [0, 1]
    else:
        assert app.runs.wake(limit.id)
        came = given_up
    while len(sleeps(app, ref.id)) == 1:
        time.sleep(0.002)
    until(app, ref.id, RunState.WAITING)
    (_, rest) = sleeps(app, ref.id)
    for gate in gates.values():  # what it did not wait for ends
        gate.set()
    for each in app.runs.children(ref.id):
        if each.task_name == "child":
            app.runs.get_result(each.id, timeout=60)
    if comes:  # nobody waits any more whose time could be over
        until(app, limit.id, RunState.CANCELLED)
    assert app.runs.wake(rest.id)
    assert ref.result(timeout=60) == [came if how != "each" or not comes else seen[0], 3]
    assert len(seen) >= 2
    assert all(each == seen[0] for each in seen)


def test_a_new_trial_waits_anew(app: Fanwood) -> None:
    child, gates = held(app)

    @app.durable_task(eviction_policy=AT_ONCE, retries=2)
    async def parent(input: dict, ctx: Context) -> list[int]:
        value = await child.aio_run(0, timeout="1h")
        return [value, ctx.retry_count]

    ref = parent.run_no_wait({})
    for trial in range(2):
        while len(found := sleeps(app, ref.id)) <= trial:
            time.sleep(0.002)
        assert found[trial].status is RunState.WAITING
        assert app.runs.wake(found[trial].id)
    while len(sleeps(app, ref.id)) <= 2:
        time.sleep(0.002)
    gates[0].set()
    assert ref.result(timeout=60) == [0, 2]
    until(app, sleeps(app, ref.id)[-1].id, RunState.CANCELLED)
    assert [each.status.name for each in sleeps(app, ref.id)] == ["COMPLETED", "COMPLETED", "CANCELLED"]


def test_what_comes_in_the_order_in_which_it_came(make_app: Any) -> None:
    app = make_app(slots=6)
    child, gates = held(app)
    seen: list[list[int]] = []

    @app.durable_task(eviction_policy=AT_ONCE)
    async def parent(input: dict, ctx: Context) -> list[int]:
        refs = await child.aio_run_many_no_wait([child.create_bulk_run_item(n) for n in range(4)])
        seen.append([])
        try:
            async for ref in as_completed(set(refs), timeout="1h"):
                seen[-1].append(await ref)
        except WaitTimeoutError:
            await ctx.aio_sleep_for("2h")
        first = await aio_wait(refs, return_when="FIRST_COMPLETED")
        return [*seen[-1], -1, *sorted([await ref for ref in first.done])]

    ref = parent.run_no_wait({})
    for n, (let, come) in enumerate([(2, [2]), (0, [2, 0])]):
        gates[let].set()
        while not seen or seen[-1] != come:
            time.sleep(0.002)
        until(app, ref.id, RunState.WAITING)
        assert len(seen) >= n + 1
    (limit,) = sleeps(app, ref.id)
    assert app.runs.wake(limit.id)
    while len(sleeps(app, ref.id)) == 1:
        time.sleep(0.002)
    gates[1].set()
    gates[3].set()
    for each in app.runs.children(ref.id):
        if each.task_name == "child":
            app.runs.get_result(each.id, timeout=60)
    until(app, ref.id, RunState.WAITING)
    assert app.runs.wake(sleeps(app, ref.id)[1].id)
    came = ref.result(timeout=60)
    assert came[:3] == [2, 0, -1]
    assert set(came[3:]) <= {0, 1, 2, 3}


def test_less_than_a_second_is_waited_here_and_recorded_if_in_vain(
    app: Fanwood, monkeypatch: pytest.MonkeyPatch
) -> None:
    child, gates = held(app)
    assert patience.SHORT == 1_000_000
    monkeypatch.setattr(patience, "SHORT", 50_000_000)  # so that what is ready comes, however busy the machine is
    gates[1].set()

    @app.durable_task(eviction_policy=AT_ONCE)
    async def parent(input: dict, ctx: Context) -> list[Any]:
        came: list[Any] = [await child.aio_run(1, timeout=49)]
        for _ in range(2):
            try:
                came.append(await child.aio_run(0, options=None, child_key="it", timeout=0))
            except WaitTimeoutError:
                came.append("gave up")
        await ctx.aio_sleep_for("1h")
        return came

    ref = parent.run_no_wait({})
    while len(sleeps(app, ref.id)) < 3:
        time.sleep(0.002)
    gates[0].set()
    (run,) = [each for each in app.runs.children(ref.id) if each.child_key == "it"]
    app.runs.get_result(run.id, timeout=60)
    until(app, ref.id, RunState.WAITING)
    assert app.runs.wake(sleeps(app, ref.id)[-1].id)
    assert ref.result(timeout=60) == [1, "gave up", "gave up"]


@pytest.mark.parametrize("how", ["run", "bulk", "ref", "each", "wait"])
def test_what_was_given_up_nobody_waits_for(app: Fanwood, how: str) -> None:
    """Neither for the runs, nor for the end of the time-out."""
    child, gates = held(app)
    waits: Any = app.engine()._delivery._waits

    @app.durable_task(eviction_policy=EvictionPolicy(ttl=None))
    async def parent(input: dict, ctx: Context) -> list[str]:
        waited = asyncio.create_task(_waited(how, child))
        while "~sleep" not in [each.task_name for each in await app.runs.aio_children(ctx.task_run_id)]:
            await asyncio.sleep(0.002)
        waited.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waited
        await ctx.aio_step(str, 1)  # with it, or before, the engine has heard of it
        return [run_id.hex() for run_id in list(waits._waiting)]

    ref = parent.run_no_wait({})
    found = ref.result(60)
    for gate in gates.values():
        gate.set()
    assert set(found) <= {ref.key.hex()}
