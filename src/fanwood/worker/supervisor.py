"""Several worker processes under one: what dies is replaced, what is told to stop stops.

The workers are in sessions of their own, so that a Ctrl-C reaches the supervisor only, which passes it on once. And
they hold one end of a pipe to it, as their stdin: if the supervisor itself is killed, they stop in good order.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

REFUSED = 2
"""The exit code of a worker that could not begin, and never will: no other takes its place."""

BACKOFF = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds before a process that died is replaced; the last one from then on."""
HEALTHY_AFTER = 60.0
"""A process that lived so long begins with the first pause again."""
LOOK_EVERY = 0.5
RELOAD_PATIENCE = 1.0
"""Seconds that a worker may take to stop before it is hurried, when its code has changed."""
SKIPPED = {"__pycache__", "node_modules", "site-packages"}


class Supervisor:
    """Keeps `count` processes of `command` running until it is told to stop. Each gets `hello` on its stdin, and the
    file descriptors `pass_fds`. `warn` and `note` say what happens."""

    def __init__(
        self,
        command: list[str],
        count: int,
        *,
        warn: Callable[[str], None],
        note: Callable[[str], None],
        hello: bytes = b"",
        pass_fds: Sequence[int] = (),
        reload: bool = False,
    ) -> None:
        self._command = command
        self._count = count
        self._warn = warn
        self._note = note
        self._hello = hello
        self._pass_fds = pass_fds
        self._reload = reload
        self._loop: asyncio.AbstractEventLoop | None = None
        self._processes: set[asyncio.subprocess.Process] = set()
        self._stops = 0
        self._stopped = asyncio.Event()
        self._changed = asyncio.Event()
        self._changes = 0  # of the code, so far
        self._exit_code = 0

    def run(self) -> int:
        """Until SIGINT or SIGTERM, and all is over; the exit code. On the main thread."""
        previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in previous:
            signal.signal(number, lambda _number, _frame: self.stop())
        try:
            return asyncio.run(self.aio_run())
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    async def aio_run(self) -> int:
        """Until `stop`, and all is over; the exit code."""
        self._loop = asyncio.get_running_loop()
        watcher = self._loop.create_task(self._watch()) if self._reload else None
        try:
            await asyncio.gather(*(self._keep() for _ in range(self._count)))
        finally:
            if watcher is not None:
                watcher.cancel()
        return self._exit_code

    def stop(self) -> None:
        """From any thread, or a signal's handler. First: in good order. Second: hurry. Third: now."""
        if self._loop is None:  # it has not begun, and will not
            self._stops += 1
            return
        with contextlib.suppress(RuntimeError):  # all is over
            self._loop.call_soon_threadsafe(self._stop)

    # --- one process -----------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Start a process, and another whenever it is gone."""
        loop = asyncio.get_running_loop()
        deaths = 0
        while not self._stops:
            started, change = loop.time(), self._changes
            self._changed.clear()
            code = await self._one_life(change)
            if self._stops or self._changes != change:
                continue
            if code == REFUSED and not self._reload:
                self._exit_code = code
                self._stop()
            elif code == REFUSED:
                self._note("Waiting for a change ...")
                await self._either(self._changed)
            else:
                deaths = 1 if loop.time() - started > HEALTHY_AFTER else deaths + 1
                pause = BACKOFF[min(deaths, len(BACKOFF)) - 1]
                self._warn(f"a worker process {_ended(code)}; another one starts in {pause:g} s")
                await self._either(self._changed, pause)

    async def _one_life(self, change: int) -> int:
        process = await asyncio.create_subprocess_exec(
            *self._command, stdin=subprocess.PIPE, start_new_session=True, pass_fds=self._pass_fds
        )
        assert process.stdin is not None
        process.stdin.write(self._hello)
        self._processes.add(process)
        if self._stops or self._changes != change:  # while it was being made
            self._tell(process)
        try:
            return await process.wait()
        finally:
            self._processes.discard(process)

    async def _either(self, event: asyncio.Event, seconds: float | None = None) -> None:
        """Until `event`, the end, or so many seconds."""
        waits = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(self._stopped.wait())]
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    # --- stopping --------------------------------------------------------------------------------------------------

    def _stop(self) -> None:
        self._stops += 1
        self._stopped.set()
        for process in list(self._processes):
            self._tell(process)

    def _tell(self, process: asyncio.subprocess.Process) -> None:
        """Not by its own methods: they look whether it has ended, and take its exit code from who waits for it."""
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL if self._stops > 2 else signal.SIGTERM)

    # --- reloading -------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        seen = await asyncio.to_thread(_snapshot, Path.cwd())
        while True:
            await asyncio.sleep(LOOK_EVERY)
            now = await asyncio.to_thread(_snapshot, Path.cwd())
            if now != seen:
                changed = sorted(path for path in {*seen, *now} if seen.get(path) != now.get(path))
                seen = now
                self._note(f"{changed[0]} changed: starting anew")
                await self._renew()

    async def _renew(self) -> None:
        self._changes += 1
        self._changed.set()
        old = list(self._processes)
        for _ in range(2):
            for process in old:
                if process.returncode is None:
                    self._tell(process)
            await asyncio.sleep(RELOAD_PATIENCE)
            if all(process.returncode is not None for process in old):
                return


def _ended(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _snapshot(folder: Path) -> dict[str, int]:
    """When each .py file below `folder` was changed."""
    return {str(path.relative_to(folder)): changed for path, changed in _sources(folder)}


def _sources(folder: Path) -> Iterator[tuple[Path, int]]:
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in SKIPPED]
        if Path(where, "pyvenv.cfg").exists():
            folders.clear()
            continue
        for name in files:
            if name.endswith(".py"):
                with contextlib.suppress(OSError):
                    yield Path(where, name), Path(where, name).stat().st_mtime_ns
