"""Processes that are started anew when the code changes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from fanwood.worker.supervisor import Supervisor


class Process:
    """One that lives until it is told to end."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stdin = self
        self._ended = asyncio.Event()

    def write(self, _: bytes) -> None:
        pass

    def end(self) -> None:
        self.returncode = 0
        self._ended.set()

    async def wait(self) -> int:
        await self._ended.wait()
        return 0


async def test_code_that_changes_while_a_process_is_being_made(monkeypatch: pytest.MonkeyPatch) -> None:
    warned: list[str] = []
    supervisor = Supervisor(["it"], 2, warn=warned.append, note=warned.append)
    made: list[Process] = []
    four = asyncio.Event()

    async def make(*_: Any, **__: Any) -> Process:
        if len(made) == 1:  # the first is there, the second is being made
            renewing.append(asyncio.create_task(supervisor._renew()))
            await asyncio.sleep(0)
        made.append(Process(len(made)))
        if len(made) == 4:
            four.set()
        return made[-1]

    renewing: list[asyncio.Task[None]] = []
    monkeypatch.setattr(asyncio, "create_subprocess_exec", make)
    monkeypatch.setattr(os, "kill", lambda pid, _: made[pid].end())
    running = asyncio.create_task(supervisor.aio_run())
    await asyncio.wait_for(four.wait(), 60)
    assert [process.returncode for process in made] == [0, 0, None, None]
    renewing[0].cancel()
    supervisor.stop()
    assert await asyncio.wait_for(running, 60) == 0
    assert warned == []


@pytest.mark.parametrize(("stops", "number"), [(1, signal.SIGTERM), (3, signal.SIGKILL)])
async def test_who_is_told_to_end_keeps_its_exit_code_for_who_waits_for_it(
    monkeypatch: pytest.MonkeyPatch, stops: int, number: signal.Signals
) -> None:
    """One that had ended just then was said to have ended with 255, and by whom it was not known."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=subprocess.PIPE)
    looked: list[int] = []

    def look(popen: subprocess.Popen[bytes]) -> None:
        looked.append(popen.pid)

    supervisor = Supervisor(["it"], 1, warn=print, note=print)
    supervisor._stops = stops
    with monkeypatch.context() as patch:
        patch.setattr(subprocess.Popen, "poll", look)
        supervisor._tell(process)
    assert await process.wait() == -number
    assert looked == []
    supervisor._tell(process)  # it is gone, and its number may be another's
