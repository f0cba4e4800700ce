"""Whether others have changed a file."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fanwood.store.sqlite.connection import translated

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fanwood.store.sqlite.driver import Database


class Watch:
    """`data_version` moves when another connection has committed; reading it costs a microsecond, and to wake up for
    it some more. `poll`: seconds between two looks."""

    def __init__(self, path: Path, poll: float) -> None:
        self._path = path
        self._poll = poll
        self._connection: Database | None = None
        self._notify: Callable[[], None] = lambda: None
        self._seen: Any = None  # the version that was notified of
        self._hushed: asyncio.Event | None = None  # nobody wants to hear of changes, until it is set

    def begin(self, connection: Database, notify: Callable[[], None]) -> None:
        """Of what is changed from now on `notify` is told."""
        self._connection, self._notify = connection, notify
        self._seen = connection.pragma("data_version")

    async def run(self) -> None:
        """See `Store.watch`."""
        while True:
            await asyncio.sleep(self._poll)
            if self._hushed is None:
                self._look()
            else:
                await self._hushed.wait()

    def attend(self) -> None:
        """See `Store.attend`."""
        if self._hushed is not None:
            self._hushed.set()
            self._hushed = None

    def hush(self) -> None:
        """See `Store.hush`."""
        if self._hushed is None:
            self._hushed = asyncio.Event()

    def _look(self) -> None:
        assert self._connection is not None
        with translated(self._path):
            version = self._connection.pragma("data_version")
        if version != self._seen:
            self._seen = version
            self._notify()
