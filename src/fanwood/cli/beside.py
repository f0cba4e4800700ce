"""The dashboard beside a command: a process of its own, that goes when the command goes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Self

import msgspec

from fanwood.cli import output

if TYPE_CHECKING:
    from types import TracebackType

    from fanwood.settings import Settings

INSTALL = "pip install 'fanwood[server]'"


def is_installed() -> bool:
    """Whether the extra is there."""
    return all(find_spec(name) is not None for name in ("starlette", "uvicorn"))


class Dashboard:
    """`fanwood ui` on the same store. `wanted=False`: there is none. `always`: also where nobody looks at a terminal.
    However this process ends, it ends too: it notices that nobody holds the other end of its stdin."""

    def __init__(self, settings: Settings, *, wanted: bool, always: bool = False) -> None:
        self._settings = settings
        self._wanted = wanted
        self._always = always
        self._process: subprocess.Popen[str] | None = None
        self._url = self._token = ""

    def __enter__(self) -> Self:
        if self._wanted and not is_installed():
            output.warn(f"the dashboard needs two more packages: {INSTALL}")
        elif self._wanted and (self._always or output.on_terminal()):
            self._begin()
        return self

    def _begin(self) -> None:
        """On its usual port, or any other if that is taken."""
        settings = self._settings
        environment = {
            **os.environ,
            "FANWOOD_DATABASE_URL": settings.database_url,
            "FANWOOD_POSTGRES_SCHEMA": settings.postgres_schema,
            "FANWOOD_NAMESPACE": settings.namespace,
        }
        for port in ((), ("--port", "0")):
            command = [sys.executable, "-m", "fanwood", "ui", "--json", "--no-open", "--supervised", *port]
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, env=environment, text=True,
                start_new_session=True, stderr=None if port else subprocess.DEVNULL,
            )  # fmt: skip
            assert process.stdout is not None
            assert process.stdin is not None
            if said := process.stdout.readline():
                about = msgspec.json.decode(said, type=dict[str, str])
                self._process, self._url, self._token = process, about["url"], about["token"]
                return
            process.stdout.close()
            process.stdin.close()
            process.wait()

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
                self._process.wait()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait()
            for end in (self._process.stdin, self._process.stdout):
                assert end is not None
                end.close()


def stop_with_stdin() -> None:
    """Whoever supervises us holds the other end, so this returns when they are gone, however they went."""
    while os.read(sys.stdin.fileno(), 64):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
