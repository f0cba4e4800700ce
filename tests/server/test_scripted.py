"""What programs do to all that a filter lets through; and programs that are killed in the midst of it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections import defaultdict
from dataclasses import replace
from typing import Any, cast

import pytest
from msgspec.structs import replace as replace_struct

from benchmarks.trees import Level, Shape, make, wide
from fanwood import (
    Context,
    EvictionPolicy,
    Fanwood,
    RunNotFoundError,
    RunState,
    Settings,
    StoreUnavailableError,
    UsageError,
)
from fanwood.ids import id_bytes, id_text
from fanwood.model.records import Page, Pause, RunFilter, RunRecord
from fanwood.server import deeds, hands, previews, scripted
from fanwood.server.choosing import page
from fanwood.store.store import Store

LARGE = replace(wide(1_501, failed=600, cancelled=20, running=0), state=RunState.COMPLETED)
OPEN = Shape("ingest", (Level(30, ("parse",), 0),), state=RunState.WAITING)
CHILD = """
import sys, time
from fanwood import Fanwood
action = Fanwood(sys.argv[1]).runs.bulk("retry", tree=sys.argv[2], by="ann")
print(action.id, flush=True)
time.sleep(600)
"""


async def test_what_is_previewed_is_done(settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(previews, "SECONDS", 60.0)  # whatever the machine does beside
    made = await make(settings, OPEN)
    root = id_text(made.root)
    async with Fanwood(settings.database_url, local_worker=False) as app:
        seen = await app.runs.aio_bulk_preview("pause", tree=root)
        assert (seen.count, seen.at_least, len(seen.sample)) == (31, False, 10)
        action = await app.runs.aio_bulk("reprioritize", tree=root, priority=7, by="ann")
        done = await action.aio_result(60)
        assert (done.done, done.left) == (31, 0)
        assert {run.priority for run in await store.children(made.root)} == {7}
        assert (await (await app.runs.aio_bulk("pause", task_name="ingest")).aio_result(60)).done == 1
        assert (await app.runs.aio_bulk_preview("resume", task_name="ingest")).count == 1
        assert (await (await app.runs.aio_bulk("cancel", ids=[root])).aio_result(60)).done == 1
        assert (await store.get(made.root)).state is RunState.CANCELLED
        for wrong in ({}, {"task_name": ""}, {"ids": "abc"}, {"tree": root, "ids": [root]}, {"status": "running"}):
            with pytest.raises(UsageError):
                await app.runs.aio_bulk("retry", **wrong)  # pyright: ignore[reportArgumentType]
        with pytest.raises(UsageError):
            await app.runs.aio_bulk("delete", tree=root)  # pyright: ignore[reportArgumentType]
        with pytest.raises(UsageError, match=r"runs\.bulk has no option 'task'\. Did you mean task_name"):
            await app.runs.aio_bulk("cancel", task="ingest")  # pyright: ignore[reportCallIssue]
        for priority in (None, 2**63, float("nan")):
            with pytest.raises(UsageError):
                await app.runs.aio_bulk("reprioritize", tree=root, priority=priority)  # pyright: ignore[reportArgumentType]
        with pytest.raises(RunNotFoundError):
            await app.runs.aio_bulk("retry", tree="0" * 32)


async def test_all_that_has_ended_is_forked(settings: Settings, store: Store):
    """Each once by each action; steps of workflows, and what has not ended, are let be."""
    made = await make(settings, replace(wide(321, failed=250, running=0), state=RunState.COMPLETED))
    failed = await store.children(made.root, state=RunState.FAILED, limit=500)
    async with Fanwood(settings.database_url, local_worker=False) as app:
        assert (await app.runs.aio_bulk_preview("fork", tree=id_text(made.root), status="failed")).count == 250
        with pytest.raises(UsageError):
            await app.runs.aio_bulk("fork", tree=id_text(made.root), status="queued")
        for times in (1, 2):
            action = await app.runs.aio_bulk("fork", tree=id_text(made.root), status="failed", by="ann")
            done = await action.aio_result(60)
            assert (done.done, done.left) == (250, 0)
            forks = [await app.runs.aio_forks(id_text(run.id)) for run in (failed[0], failed[-1])]
            assert [[each.by for each in those] for those in forks] == [["ann"] * times] * 2
        (fork, _) = forks[0]
        assert (await store.get(id_bytes(fork.id))).task == "parse"
        assert (await store.get(made.root)).state is RunState.COMPLETED


async def test_a_program_that_is_killed_is_gone_on_with(settings: Settings, store: Store):
    made = await make(settings, LARGE)
    arguments = [sys.executable, "-c", CHILD, settings.database_url, id_text(made.root)]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        first = (await asyncio.to_thread(process.stdout.readline)).strip()
    finally:
        process.kill()
        process.communicate()
    async with Fanwood(settings.database_url, local_worker=False) as app:
        action = await app.runs.aio_bulk("pause", ids=[id_text(made.root)])
        result = await app.runs.get_run_ref(first).aio_result(60)
        assert (result["done"], result["left"]) == (600, 0)
        await action.aio_close()
    counts = {count.state: count.count for count in await store.tree_counts(made.root) if count.task == "parse"}
    assert RunState.FAILED not in counts


async def test_durable_code_that_dies_right_after_it_has_begun_one_finds_it_again(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
):
    """Though it is later by then."""
    made = await make(settings, OPEN)
    begin, closed, begun = scripted.Begun.begin, scripted.Begun.close, list[str]()

    async def lost(self: scripted.Begun, text: str, token: str | None) -> None:
        await begin(self, text, token)
        begun.append(self.id)
        if len(begun) == 1:
            raise StoreUnavailableError("the answer was lost")

    monkeypatch.setattr(scripted.Begun, "begin", lost)
    monkeypatch.setattr(scripted.Begun, "close", lambda self: (ended.append(self.id), closed(self)))
    ended: list[str] = []
    async with Fanwood(settings.database_url, local_worker=True, shared=False) as app:

        @app.durable_task(retries=1, backoff_factor=0.001)
        async def sweep(_: int) -> int:
            action = await app.runs.aio_bulk("reprioritize", task_name="ingest", priority=7)
            return (await action.aio_result(60)).done

        assert await sweep.aio_run(0, timeout=60) == 1
    assert (len(begun), len(set(begun)), len(ended)) == (2, 1, 2)
    assert (await store.get(made.root)).priority == 7


@pytest.mark.parametrize("is_async", [True, False])
async def test_an_engine_for_an_action_is_there_until_that_has_ended(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, is_async: bool
):
    """Whoever waits: durable code that is unloaded meanwhile, and comes back; or nobody."""
    close, do, made = scripted.Begun.close, deeds._do, list[scripted.Begun]()
    closed, unloaded = defaultdict[str, threading.Event](threading.Event), threading.Event()

    def closing(self: scripted.Begun) -> None:
        close(self)
        made.append(self)
        closed[self.id].set()

    async def held(*given: Any, **named: Any) -> int:
        await asyncio.to_thread(unloaded.wait)
        return await do(*given, **named)

    monkeypatch.setattr(scripted.Begun, "close", closing)
    monkeypatch.setattr(deeds, "_do", held)
    async with Fanwood(settings.database_url, local_worker=True, shared=False) as app:

        @app.task
        async def item(n: int) -> int:
            return n

        if is_async:

            @app.durable_task(eviction_policy=EvictionPolicy(ttl=0))
            async def again(_: int, ctx: Context) -> list[Any]:
                action = await app.runs.aio_bulk("replay", task_name="item")
                try:
                    return [action.id, (await action.aio_result()).done, ctx.invocation_count]
                finally:
                    if ctx.is_suspending:
                        unloaded.set()

        else:

            @app.durable_task(eviction_policy=EvictionPolicy(ttl=0))
            def again(_: int, ctx: Context) -> list[Any]:
                action = app.runs.bulk("replay", task_name="item")
                try:
                    return [action.id, action.result().done, ctx.invocation_count]
                finally:
                    if ctx.is_suspending:
                        unloaded.set()

        await item.aio_run_many([item.create_bulk_run_item(n) for n in range(3)])
        first, *told = await again.aio_run(0, timeout=60)
        assert told == [3, 2]
        assert await asyncio.to_thread(closed[first].wait, 60)
        action = await app.runs.aio_bulk("replay", task_name="item")  # nobody waits for it
        assert await asyncio.to_thread(closed[action.id].wait, 60)
        assert (await action.aio_result(60)).done == 3  # it is opened once more for that
        assert all(begun._deeds.app._home._engine is None for begun in made)


async def test_an_engine_that_is_begun_as_its_worker_stops_is_closed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    declare, opening, goes_on, apps = hands.declare, threading.Event(), threading.Event(), list[Fanwood]()

    def slow(settings: Settings) -> deeds.Deeds:
        made = declare(settings)
        apps.append(made.app)
        opening.set()
        assert goes_on.wait(60)
        return made

    monkeypatch.setattr(hands, "declare", slow)
    ours = hands.Hands(settings)
    asking = asyncio.create_task(ours.carry_on())
    await asyncio.to_thread(opening.wait, 60)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    closing = asyncio.create_task(ours.close())
    await asyncio.sleep(0)
    goes_on.set()
    await asyncio.wait_for(closing, 60)
    assert not ours.is_open
    assert apps[0]._home._engine is None


async def test_a_tree_is_named_by_its_root(settings: Settings, store: Store):
    made = await make(settings, OPEN)
    (child, *_) = await store.children(made.root)
    async with Fanwood(settings.database_url, local_worker=False) as app:
        with pytest.raises(UsageError, match=id_text(made.root)):
            await app.runs.aio_bulk_preview("cancel", tree=id_text(child.id))


class Moving:
    """A store in which a run waits for its retry while what is queued is gone through, and is queued while what waits
    is."""

    def __init__(self, runs: list[RunRecord]) -> None:
        self.runs, self._looks = runs, 0

    async def listing(self, filter_: RunFilter) -> Page:
        self._looks += 1
        state = RunState.QUEUED if self._looks > 1 else RunState.WAITING
        there = [replace_struct(run, state=state if n == 0 else RunState.WAITING) for n, run in enumerate(self.runs)]
        return Page([run for run in there if run.state is filter_.state])

    async def pauses(self, _: list[bytes]) -> list[Pause]:
        return [Pause(run.id, run.id, 1, "ann") for run in self.runs[1:]]


@pytest.mark.parametrize("settings", ["sqlite"], indirect=True)
async def test_what_comes_back_to_the_queue_meanwhile_is_not_passed_by(settings: Settings, store: Store):
    """A listing knows one state. To the others it is not done twice."""
    runs = [await store.get((await make(settings, OPEN)).root) for _ in range(3)]
    for action, priority in (("pause", None), ("reprioritize", 7)):
        asked = scripted.wanted(action, "", store.now() + 1, priority, task="ingest")
        moving, after, found = Moving([replace_struct(run, priority=0) for run in runs]), "", list[bytes]()
        while after is not None and asked is not None:
            one = await page(cast("Store", moving), asked, after, twice=True)
            found += [run.id for run in one.runs]
            if action == "reprioritize":
                moving.runs = [replace_struct(run, priority=7 if run.id in found else 0) for run in moving.runs]
            after = one.after
        assert found == [run.id for run in (*runs[1:], runs[0])]
