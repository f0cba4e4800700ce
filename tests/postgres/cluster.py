"""
A PostgreSQL server of our own, for tests, chaos and benchmarks: in a temporary folder, on a free port of 127.0.0.1,
as durable as a server is that nobody has configured.

    with Cluster() as cluster:
        url = cluster.create_database()
        cluster.stop("immediate")
        cluster.start()
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import subprocess
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, Self

from tests.postgres.binaries import Binaries, find
from tests.postgres.initial import make_data
from tests.postgres.shelter import PATIENCE, ServerError, Shelter, children, free_port

StopMode = Literal["smart", "fast", "immediate"]

USER = "postgres"
LOOK = 0.005
_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}

# What the server says when somebody else has its port, and when what a `kill -9` left of it still has its memory.
_PORT_TAKEN = "could not bind IPv4 address"
_OLD_SERVER_THERE = "is still in use"


class Cluster:
    """Made at the first start(), removed by close(). Blocking; a coroutine calls it by asyncio.to_thread."""

    def __init__(
        self,
        settings: Mapping[str, object] | None = None,
        *,
        binaries: Binaries | None = None,
        below: Path | None = None,  # where its folder is to be: on a certain disk, for example
    ) -> None:
        self.settings = dict(settings or {})  # as in postgresql.conf; changes count from the next start
        self.binaries = binaries or find()
        self.port = free_port()
        self.shelter = Shelter("postgres", below)
        self.data = self.shelter.folder / "data"
        self.log_path = self.shelter.folder / "server.log"
        self._server: subprocess.Popen[bytes] | None = None
        self._names = itertools.count(1)

    @property
    def folder(self) -> Path:
        return self.shelter.folder

    @property
    def version(self) -> int:
        """The major version."""
        return self.binaries.version

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    @property
    def running(self) -> bool:
        return self._server is not None and self._server.poll() is None

    @property
    def pid(self) -> int:
        """Of the postmaster."""
        assert self._server is not None, "it isn't started"
        return self._server.pid

    # --- start and stop ----------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Returns when it takes connections; after a crash, when it has recovered."""
        assert self._server is None, "it is started"
        first = not self.data.exists()
        if first:
            self._make()
        deadline = time.monotonic() + PATIENCE
        while (said := self._start_once(deadline)) is not None:
            if _PORT_TAKEN in said and first:
                self.port = free_port()
            elif _PORT_TAKEN not in said and _OLD_SERVER_THERE not in said:
                raise ServerError(f"PostgreSQL {self.version} in {self.folder} did not start:\n{said}")
            if time.monotonic() > deadline:
                raise ServerError(f"PostgreSQL did not start within {PATIENCE:g} s, for this reason:\n{said}")
            time.sleep(0.05)
        return self

    def stop(self, mode: StopMode = "fast") -> None:
        """`immediate` is a crash of the whole server, without the checkpoint at the end."""
        self._end(_SIGNALS[mode])

    def restart(self, mode: StopMode = "fast") -> None:
        self.stop(mode)
        self.start()

    def kill(self) -> None:
        """`kill -9` of the whole server: left alone, its children would end by themselves, but some after long."""
        family = children(self.pid)
        self._end(signal.SIGKILL)
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def reload(self) -> None:
        """Let it read its settings again, as far as they can change while it runs."""
        self._write_settings()
        self.fetch("select pg_reload_conf()")

    def close(self) -> None:
        """End it, and remove all there is of it."""
        self.shelter.close()
        self._server = None

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- databases ---------------------------------------------------------------------------------------------------

    def url(self, database: str = "postgres", user: str = USER) -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str | None = None, *, template: str = "template1") -> str:
        """The URL of a new database, a copy of `template`, which nobody may be connected to."""
        name = name or f"fanwood_{next(self._names)}"
        self.execute(f'create database "{name}" template "{template}"')
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Also while somebody is connected."""
        self.execute(f'drop database if exists "{name}" with (force)')

    def execute(self, script: str, database: str = "postgres") -> None:
        """One or more statements."""
        self._ask(database, lambda connection: connection.execute(script))

    def fetch(self, query: str, *bindings: object, database: str = "postgres") -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self._ask(database, lambda connection: connection.fetch(query, *bindings))]

    # --- behind the scenes -------------------------------------------------------------------------------------------

    def _make(self) -> None:
        options = ("--username", USER, "--auth=trust", "--encoding=UTF8", "--locale=C")
        make_data(self.shelter, self.binaries, self.data, options)
        with (self.data / "postgresql.conf").open("a") as configuration:
            configuration.write("include 'tests.conf'\n")

    def _write_settings(self) -> None:
        ours = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": self.folder}
        lines = [f"{name} = '{_spelt(value)}'\n" for name, value in {**self.settings, **ours}.items()]
        (self.data / "tests.conf").write_text("".join(lines))

    def _start_once(self, deadline: float) -> str | None:
        """None when it runs, else what it said before it ended."""
        self._write_settings()
        said_before = len(self.log)
        server = self.shelter.start([self.binaries.path("postgres"), "-D", str(self.data)], self.log_path)
        while not self._ready(server.pid):
            if server.poll() is not None or time.monotonic() > deadline:
                server.kill()
                self.shelter.ended(server)
                return self.log[said_before:]
            time.sleep(LOOK)
        self._server = server
        return None

    def _ready(self, pid: int) -> bool:
        """It says so in the eighth line of its lock file, as pg_ctl knows."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def _end(self, number: signal.Signals) -> None:
        assert self._server is not None, "it isn't started"
        self._server.send_signal(number)
        self.shelter.ended(self._server)
        self._server = None

    def _ask(self, database: str, question: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
        """In a thread with a loop of its own, since the caller's may be running."""

        async def ask() -> Any:
            import asyncpg

            connection = await asyncpg.connect(self.url(database), statement_cache_size=0)
            try:
                return await question(connection)
            finally:
                await connection.close()

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, ask()).result()


def _spelt(value: object) -> str:
    """As a setting's value stands between quotes."""
    text = ("off", "on")[value] if isinstance(value, bool) else str(value)
    return text.replace("\\", "\\\\").replace("'", "''")
