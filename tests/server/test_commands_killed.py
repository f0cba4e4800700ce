"""Commands with filters that are killed in the midst of what they do: a worker goes on, and does nothing twice."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from fanwood import Fanwood, Settings
from fanwood.model.records import RunFilter
from fanwood.sdk.listing import collect
from tests.chaos.scale import scaled
from tests.server.desk import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fanwood.store.store import Store

RUNS = 130
"""Some more than two slices of what is done at a time."""
STEPS: list[tuple[str, str, int]] = scaled(
    [
        ("pause --by ann", "queued", 1),
        ("resume", "queued", 1),
        ("reprioritize --priority 7", "queued", 7),
        ("cancel", "cancelled", 7),
        ("retry --status cancelled", "queued", 7),
        ("cancel", "cancelled", 7),
        ("retry --force", "queued", 7),
        ("cancel", "cancelled", 7),
        ("rm", "", 7),
    ],
    [("pause", "queued", 1), ("cancel", "cancelled", 1)],
)


@asynccontextmanager
async def working(settings: Settings) -> AsyncIterator[None]:
    """Somebody works, at something else."""
    async with Fanwood(settings.database_url, local_worker=False, shared=False) as app:

        @app.task
        async def other() -> None: ...

        worker = app.worker("other")
        task = asyncio.create_task(worker.aio_start())
        try:
            await asyncio.to_thread(worker.wait_started, PATIENCE)
            yield
        finally:
            await worker.exit_gracefully()
            await task


async def _begun(store: Store, known: set[bytes]) -> bytes:
    """The action that the command has begun."""
    while True:
        listed = await collect(store.listing, RunFilter(task="fanwood.actions/bulk", limit=20))
        new = [run for run in listed.runs if run.id not in known]
        if new and await store.children(new[0].id, task="fanwood.actions/piece", limit=1):
            return new[0].id
        await asyncio.sleep(0.005)


@pytest.mark.long
async def test_kill_9(settings: Settings, store: Store):
    async with Fanwood(settings.database_url, local_worker=False, shared=False) as app:

        @app.task
        async def order(n: int) -> int:
            return n

        await order.aio_run_many_no_wait([order.create_bulk_run_item(n) for n in range(RUNS)])
    known = set[bytes]()
    async with working(settings):
        for arguments, state, priority in STEPS:
            action = await asyncio.to_thread(_killed, settings, arguments, asyncio.get_running_loop(), store, known)
            known.add(action)
            async with asyncio.timeout(PATIENCE):
                while not (run := await store.get(action)).state.is_terminal:
                    await asyncio.sleep(0.05)
            tally: Any = msgspec.json.decode(run.output or "null")
            assert (tally["done"], tally.get("left", 0)) == (RUNS, 0), arguments
            found = (await collect(store.listing, RunFilter(task="order", limit=RUNS + 1))).runs
            wanted = {(state, priority)} if state else set[Any]()
            assert {(run.state.name.lower(), run.priority) for run in found} == wanted, arguments
            assert len(await store.pauses()) == (RUNS if arguments.startswith("pause") else 0) or state == "cancelled"


def _killed(
    settings: Settings, arguments: str, loop: asyncio.AbstractEventLoop, store: Store, known: set[bytes]
) -> bytes:
    """Begin the command, and kill it once it has begun."""
    environment = {**os.environ, "FANWOOD_DATABASE_URL": settings.database_url}
    command = [sys.executable, "-m", "fanwood", "runs", *arguments.split(), "--task", "order", "--yes"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        return asyncio.run_coroutine_threadsafe(_begun(store, known), loop).result(PATIENCE)
    finally:
        process.kill()
        process.communicate()
