"""The dashboard beside a command: a process of its own, that goes when the command goes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Self

import msgspec

from fanwood.cli import output
from fanwood.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from fanwood.settings import Settings

INSTALL = "pip install 'fanwood[server]'"
LONGEST = 10.0
"""Seconds that the end of a dashboard is waited for."""
SOON = 5.0
"""One that dies within so many seconds would die again."""
PAUSE = 0.5
"""Seconds before another one is started."""


def is_installed() -> bool:
    """Whether the extra is there."""
    return all(find_spec(name) is not None for name in ("starlette", "uvicorn"))


class Dashboard:
    """`fanwood ui` on the same store. `wanted=False`: there is none. `always`: also where nobody looks at a terminal.
    However this process ends, it ends too: it notices that nobody holds the other end of its stdin. If it dies before,
    that is said, and another one is started in its place, for the pages that are open."""

    def __init__(self, settings: Settings, *, wanted: bool, always: bool = False) -> None:
        self._settings = settings
        self._wanted = wanted
        self._always = always
        self._process: subprocess.Popen[str] | None = None
        self._url = self._token = ""
        self._over = threading.Event()  # this process is done with it
        self._gone = threading.Event()  # there is none any more
        self._looking: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._wanted and not is_installed():
            output.warn(f"the dashboard needs two more packages: {INSTALL}")
        elif self._wanted and (self._always or output.on_terminal()):
            self._begin()
        return self

    def _begin(self) -> None:
        """On its usual port, or any other if that is taken."""
        if self._start((), quiet=True) or self._start(("--port", "0")):
            self._looking = threading.Thread(target=self._look_after, name="fanwood-dashboard", daemon=True)
            self._looking.start()

    def _start(self, port: Sequence[str], *, quiet: bool = False) -> bool:
        settings = self._settings
        environment = {
            **os.environ,
            "FANWOOD_DATABASE_URL": settings.database_url,
            "FANWOOD_POSTGRES_SCHEMA": settings.postgres_schema,
            "FANWOOD_NAMESPACE": settings.namespace,
        }
        if self._token:
            environment["FANWOOD_UI_TOKEN"] = self._token
        command = [sys.executable, "-m", "fanwood", "ui", "--json", "--no-open", "--supervised", *port]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, env=environment, text=True,
            start_new_session=True, stderr=subprocess.DEVNULL if quiet else None,
        )  # fmt: skip
        assert process.stdout is not None
        said = process.stdout.readline()
        if not said:
            _let_go(process)
            return False
        about = msgspec.json.decode(said, type=dict[str, str])
        self._process, self._url, self._token = process, about["url"], about["token"]
        return True

    def _look_after(self) -> None:
        """Say that it has died, and start another one; not if it dies as soon as it is there."""
        port, clock = self._url.rstrip("/").rpartition(":")[2], SystemClock()
        while (process := self._process) is not None:
            begun = clock.monotonic()
            code = process.wait()
            if self._over.is_set():
                return
            how = f"by signal {-code}" if code < 0 else f"with code {code}"
            again = clock.monotonic() - begun > SOON
            output.warn(f"the dashboard has ended, {how}" + ("; it is started again" if again else ""))
            _let_go(process)
            self._process = None
            if again and not self._over.wait(PAUSE):
                self._start(("--port", port))
        if not self._over.is_set():
            output.warn(f"there is no dashboard any more: {output.this_command()} ui starts one")
        self._gone.set()

    @property
    def is_there(self) -> bool:
        """Whether it serves."""
        return self._process is not None

    @property
    def home(self) -> str:
        """The link to it; empty if it isn't there."""
        return f"{self._url}#token={self._token}" if self.is_there else ""

    def link(self, run: str) -> str:
        """What opens a tree: a link, if it is there; else the command that makes one."""
        if self.is_there:
            return f"{self._url}t/{run}#token={self._token}"
        return f"{output.this_command()} ui {run}"

    def wait(self) -> None:
        """Until Ctrl-C, if there is one."""
        if self._process is not None:
            with suppress(KeyboardInterrupt):  # (also as soon as it can be read)
                output.note("The dashboard is there until Ctrl-C.")
                self._gone.wait()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        if self._looking is None:
            return
        process = self._process
        if process is not None:
            process.terminate()
            try:
                process.wait(LONGEST)
            except subprocess.TimeoutExpired:  # it hangs, or stands still: nobody waits for that
                process.kill()
        self._looking.join(LONGEST)  # (it may wait for a newer one, which then ends with this process)
        if (process := self._process) is not None:  # perhaps a newer one, which goes with its stdin
            process.kill()
            _let_go(process)


def _let_go(process: subprocess.Popen[str]) -> None:
    """Of a process that is about to end."""
    for end in (process.stdin, process.stdout):
        assert end is not None
        end.close()
    process.wait()


def stop_with_stdin() -> None:
    """Whoever supervises us holds the other end, so this returns when they are gone, however they went."""
    while os.read(sys.stdin.fileno(), 64):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
