"""The way of one host to a world's SQLite file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import apsw

from fanwood.store.sqlite.store import SqliteStore
from tests.simulation.flaky import Flaky

if TYPE_CHECKING:
    from fanwood.model.commands import ClaimRequest
    from fanwood.store.sqlite.driver import Database
    from tests.simulation.grounds import InFile
    from tests.simulation.hosts import Host

T = TypeVar("T")

LATE = 0.05
"""Seconds that the thread which reads may take."""
STATEMENTS = 12
"""A transaction that breaks off does so before one of so many."""


class FlakyFile(Flaky, SqliteStore):
    """... which is told by a bell that others have changed something; it looks whether they have a little later."""

    def __init__(self, host: Host, ground: InFile) -> None:
        SqliteStore.__init__(self, ground.path, host.world.clock)
        self._read_at_once, self._read = self._read, self._read_late
        self.surround(host)
        self._ground = ground
        self._bell = asyncio.Event()

    async def open(self, on_notify: Callable[[], None]) -> None:
        await super().open(on_notify)
        connection: Any = self._connection
        connection.preupdate_hook(self._ground.saw)
        self._connected = connection
        claiming: Any = self._hot.claiming
        claim = claiming.claim

        def watched(me: int, now: int, asked: ClaimRequest, **about: Any) -> Any:
            done = claim(me, now, asked, **about)
            self._ground.saw_claim(asked, [run.key for run in done.runs])
            return done

        claiming.claim = watched

    def part(self) -> None:
        for one in (self._reader, self):
            if one._connection is not None:
                self._ground.let_go(one._connection)
                one._connection = None

    async def close(self) -> None:
        self.part()
        await super().close()

    # --- others ----------------------------------------------------------------------------------------------------

    def ring(self) -> None:
        """Somebody has changed something."""
        self._bell.set()

    async def watch(self) -> None:
        while True:
            await self._bell.wait()
            await asyncio.sleep(self._world.random.random() * self._watch._poll)
            self._bell.clear()
            self._watch._look()

    # --- transactions ----------------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Generator[Database]:
        if self._world.may_happen("breaks off", self.verb):
            self._break_off(1 + int(self._world.random.random() * STATEMENTS))
        try:
            with super()._transaction() as database:
                yield database
        except BaseException:
            self._ground.rolled_back()
            raise
        finally:
            if self._connection is not None:
                self._connected.exec_trace = None
        self._ground.committed(self, self._time.now())

    def _break_off(self, left: int) -> None:
        """Before one of the next statements."""

        def statement(_: Any, text: str, __: Any) -> bool:
            nonlocal left
            left -= 1
            if left < 0 and text not in ("begin immediate", "rollback"):
                self._connected.exec_trace = None
                self._world.happened("breaks off", self.verb)
                raise apsw.FullError("it broke off")
            return True

        self._connected.exec_trace = statement

    async def _read_late(self, query: Callable[[Database], T]) -> T:
        """Another thread does it, which may take its time."""
        if self._world.random.random() < self._world.lags:
            await asyncio.sleep(self._world.random.random() * LATE)
        return await self._read_at_once(query)
