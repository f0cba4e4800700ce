"""What the workers of `closing.py` execute: parents that end when they are told to, leaves that write down when they
began, and small runs by which is seen whether a worker is disturbed."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

from fanwood import Context, EvictionPolicy, Fanwood, Standalone

SMALL, PARENT, TIMED, LEAF = "closing-small", "closing-parent", "closing-timed", "closing-leaf"
GROUPS, SUSPENDED, STREAM = "closing-groups", "closing-suspended", "closing-stream"
"""What goes on without end: group after group, in memory and suspended; and one stream."""
NOBODY = "closing-nobody"
"""The task of runs that are to stay in the queue: no worker serves it."""
FOLDER = "FANWOOD_BENCH_FOLDER"
"""The environment variable that says where files are looked for and written."""
LIMIT = timedelta(seconds=9)
"""Of a timed parent: as long as is looked how quick small runs are before."""
LOOK = 0.005
LEAF_SECONDS = 0.02
LONG = timedelta(hours=1)
WIDE = 8
"""Members of a group."""


def declare(app: Fanwood, folder: Path) -> Fanwood:
    started = _log(folder)

    @app.task(name=SMALL)
    async def small(input: int, ctx: Context) -> int:
        return input + 1

    @app.task(name=PARENT)
    async def parent(input: str, ctx: Context) -> str:
        """Ends as `input` says, once there is a file `go`. (Cancelled or not: it waits for it.)"""
        while not (folder / "go").exists():
            await asyncio.sleep(LOOK)
        if input == "cancel":
            await asyncio.sleep(3600)
        (folder / "mark").write_text(str(time.time()))
        if input == "fail":
            raise RuntimeError("made so")
        return input

    @app.task(name=TIMED, execution_timeout=LIMIT)
    async def timed(input: str, ctx: Context) -> None:
        await asyncio.sleep(3600)

    @app.task(name=LEAF)
    async def leaf(input: int, ctx: Context) -> int:
        os.write(started, b"%.6f\n" % time.time())
        await asyncio.sleep(LEAF_SECONDS)
        return input

    _declare_endless(app, leaf, started)
    return app


def _declare_endless(app: Fanwood, leaf: Standalone[int, int], started: int) -> None:
    """Parents of leaves that go on until they are ended."""

    @app.task(name=GROUPS, execution_timeout=LONG)
    async def groups(input: int, ctx: Context) -> None:
        await _groups(ctx, leaf, started)

    @app.durable_task(name=SUSPENDED, eviction_policy=EvictionPolicy(ttl=0), execution_timeout=LONG)
    async def suspended(input: int, ctx: Context) -> None:
        await _groups(ctx, leaf, started)

    @app.task(name=STREAM, execution_timeout=LONG)
    async def stream(input: int, ctx: Context) -> None:
        async for _ in leaf.aio_map(count(), window=10 * WIDE, ordered=bool(input % 2)):
            pass


async def _groups(ctx: Context, leaf: Standalone[int, int], started: int) -> None:
    """Races, quorums and groups with a limit, by turns, each with one of another sort in it."""
    sorts: list[dict[str, Any]] = [{"quorum": 1}, {"quorum": WIDE // 2, "on_error": "collect"}, {"limit": 2}]
    os.write(started, b"%.6f\n" % time.time())
    for number in count():
        async with (
            ctx.group(f"outer {number}", **sorts[number % 3]) as outer,
            ctx.group(f"inner {number}", **sorts[(number + 1) % 3]) as inner,
        ):
            for n in range(WIDE):
                outer.spawn(leaf, WIDE * number + n)
                inner.spawn(leaf, WIDE * number - n)


def _log(folder: Path) -> int:
    """This process's file of when leaves began; a line is one write."""
    return os.open(folder / f"started-{os.getpid()}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def begun_after(folder: Path, when: float) -> int:
    """How many leaves began after that time, as they themselves saw it."""
    return sum(float(line) > when for path in folder.glob("started-*") for line in path.read_text().splitlines())


if FOLDER in os.environ:  # a worker process
    fanwood = declare(Fanwood(local_worker=False), Path(os.environ[FOLDER]))
