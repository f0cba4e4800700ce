"""Worker processes that a script starts for itself, for work that takes a processor: they end with it, however it ends.

A process learns on its stdin what to import, as multiprocessing's spawned ones do: the script as `__mp_main__`, which
runs nothing below `if __name__ == "__main__"`. It says on a pipe that it works, or why it can't. The other end of its
stdin is ours, so that it stops when we are gone (fanwood/pooled.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import Future
from dataclasses import asdict
from multiprocessing import spawn
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fanwood import logs
from fanwood.errors import SettingsError
from fanwood.sdk.declaring.functions import code_of
from fanwood.worker.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fanwood.sdk.declaring.spec import TaskSpec
    from fanwood.settings import Settings

logger = logs.logger("fanwood.worker")

_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.stdin.buffer.readline()); "
    "from fanwood.pooled import main; main({fd})"
)
STOP_SECONDS = 5.0
"""How long processes may take to hand back what they execute, before they are killed."""
TOGETHER_SECONDS = 0.5
"""How long the first run waits for the others once one works: they began together, and each is to have its part."""
SLOW_SECONDS = 10.0
"""After so long without one that works it is said that there is none yet."""


def processor_count() -> int:
    """Of those that this process may use; 1 where there can be no pool."""
    if os.name != "posix":
        return 1
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


class ProcessPool:
    """`settings.processes` processes that execute runs of `specs`; of this program's roots only, if they are `own`."""

    def __init__(self, settings: Settings, specs: Mapping[str, TaskSpec], *, own: bool) -> None:
        if os.name != "posix":
            raise SettingsError(
                "processes: not on this system. Start `fanwood worker module:app` as often as there are cores"
            )
        self.names = frozenset(specs)
        self.own = own
        self.begun: Future[None] = Future()
        """Done when they work, or some half a second after the first one; fails if none can."""
        self._working = 0
        self._count = settings.processes or processor_count()
        reader, self._writer = os.pipe()
        self._reader = os.fdopen(reader, "rb", buffering=0)
        try:
            hello = _hello(settings, specs, own=own)
        except BaseException:
            self._close_pipe()
            raise
        self._supervisor = Supervisor(
            [spawn.get_executable(), *_interpreter_flags(), "-c", _BOOT.format(fd=self._writer)],
            self._count,
            warn=logger.warning,
            note=logger.info,
            hello=hello,
            pass_fds=(self._writer,),
        )
        self._thread = threading.Thread(target=self._main, name="fanwood-processes", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether there are processes, or will be."""
        return self._thread.is_alive()

    def close(self) -> None:
        """End all processes: they hand back what they execute."""
        self._supervisor.stop()
        self._thread.join(STOP_SECONDS)
        while self._thread.is_alive():  # code that does not let itself be stopped
            self._supervisor.stop()
            self._thread.join(0.1)

    # --- on a thread of its own ------------------------------------------------------------------------------------

    def _main(self) -> None:
        try:
            with asyncio.Runner() as runner:
                runner.run(self._run())
        except BaseException as error:  # noqa: BLE001  (nobody waits for this thread but through `begun`)
            self._refuse(f"{type(error).__name__}: {error}")
        finally:
            self._refuse("they were stopped before they had begun")
            self._close_pipe()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        os.set_blocking(self._reader.fileno(), False)
        loop.add_reader(self._reader.fileno(), self._hear)
        loop.call_later(SLOW_SECONDS, self._warn_slow)
        try:
            await self._supervisor.aio_run()
        finally:
            self._hear()
            loop.remove_reader(self._reader.fileno())

    def _hear(self) -> None:
        """What the processes say: a line each."""
        for line in (self._reader.read(1 << 16) or b"").splitlines():
            refused = json.loads(line)
            if refused is None:
                self._working += 1
                if self._working >= self._count:
                    self._begin()
                elif self._working == 1:
                    asyncio.get_running_loop().call_later(TOGETHER_SECONDS, self._begin)
            elif self._working:
                logger.error("a worker process can't begin any more: %s", refused)
            else:
                self._refuse(refused)

    def _begin(self) -> None:
        if not self.begun.done():
            self.begun.set_result(None)

    def _refuse(self, why: str) -> None:
        if not self.begun.done():
            self.begun.set_exception(SettingsError(f"The worker processes of this program can't begin: {why}"))

    def _warn_slow(self) -> None:
        if not self.begun.done():
            logger.warning(
                "no worker process has begun after %g s: they import the program first. Is all that it does as a "
                'program below `if __name__ == "__main__":`?', SLOW_SECONDS,
            )  # fmt: skip

    def _close_pipe(self) -> None:
        with contextlib.suppress(OSError):
            self._reader.close()
        with contextlib.suppress(OSError):
            os.close(self._writer)


def _hello(settings: Settings, specs: Mapping[str, TaskSpec], *, own: bool) -> bytes:
    """What a process is told: two lines of JSON. (On its stdin, for it may hold a password.)

    Raises:
        SettingsError: the tasks are where no other process can import them from.
    """
    modules = sorted({str(code_of(spec.function).__module__) for spec in specs.values()})
    told: dict[str, Any] = spawn.get_preparation_data("fanwood-worker")
    told["authkey"] = told["authkey"].hex()
    if "__main__" not in modules:  # what was started need not be imported: a server, say
        told = {name: value for name, value in told.items() if not name.startswith("init_main")}
    elif not _can_be_imported(told):
        raise SettingsError(
            f"processes={settings.processes}: other processes can't import tasks that are written at a prompt, or in a "
            f"notebook. Write them in a module, and import that here; or leave `processes` out"
        )
    about = {
        "prepare": told,
        "modules": [name for name in modules if name != "__main__"],
        "names": sorted(specs),
        "settings": asdict(settings),
        "own": own,
    }
    return f"{json.dumps(sys.path)}\n{json.dumps(about)}\n".encode()


def _can_be_imported(told: Mapping[str, Any]) -> bool:
    """Whether the main module is a file, or was started by its name."""
    return "init_main_from_name" in told or Path(told.get("init_main_from_path", "")).is_file()


def _interpreter_flags() -> list[str]:
    """Those that this process was started with: -O, -W, -X."""
    flags: list[str] = getattr(subprocess, "_args_from_interpreter_flags", list)()
    return flags
