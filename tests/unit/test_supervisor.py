"""Processes that are started anew when the code changes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fanwood.worker.supervisor import Supervisor


class Process:
    """One that lives until it is told to end."""

    def __init__(self) -> None:
        self.returncode: int | None = None
        self.stdin = self
        self._ended = asyncio.Event()

    def write(self, _: bytes) -> None:
        pass

    def terminate(self) -> None:
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
        made.append(Process())
        if len(made) == 4:
            four.set()
        return made[-1]

    renewing: list[asyncio.Task[None]] = []
    monkeypatch.setattr(asyncio, "create_subprocess_exec", make)
    running = asyncio.create_task(supervisor.aio_run())
    await asyncio.wait_for(four.wait(), 60)
    assert [process.returncode for process in made] == [0, 0, None, None]
    renewing[0].cancel()
    supervisor.stop()
    assert await asyncio.wait_for(running, 60) == 0
    assert warned == []
