"""What the workers of `closing.py` execute: parents that end when they are told to, leaves that write down when they
began, and small runs by which is seen whether a worker is disturbed."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import timedelta
from pathlib import Path

from fanwood import Context, Fanwood

SMALL, PARENT, TIMED, LEAF = "closing-small", "closing-parent", "closing-timed", "closing-leaf"
NOBODY = "closing-nobody"
"""The task of runs that are to stay in the queue: no worker serves it."""
FOLDER = "FANWOOD_BENCH_FOLDER"
"""The environment variable that says where files are looked for and written."""
LIMIT = timedelta(seconds=9)
"""Of a timed parent: as long as is looked how quick small runs are before."""
LOOK = 0.005
LEAF_SECONDS = 0.02


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

    return app


def _log(folder: Path) -> int:
    """This process's file of when leaves began; a line is one write."""
    return os.open(folder / f"started-{os.getpid()}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def begun_after(folder: Path, when: float) -> int:
    """How many leaves began after that time, as they themselves saw it."""
    return sum(float(line) > when for path in folder.glob("started-*") for line in path.read_text().splitlines())


if FOLDER in os.environ:  # a worker process
    fanwood = declare(Fanwood(local_worker=False), Path(os.environ[FOLDER]))
