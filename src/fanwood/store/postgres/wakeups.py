"""When to look: when notified, and by polling all the same.

A commit that writes mail, or leaves runs in the queue, notifies (at most once of each kind, see `announce`). Whoever
listens looks if it is for him. With all of it lost everything still goes on, a poll later:

- while notifications come, an engine polls once a second;
- without them it polls after 20 ms, and more and more seldom down to twice a second for as long as it finds nothing.

One poll is one statement, whatever is waited for.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from fanwood.store.postgres.connection import Link
    from fanwood.store.postgres.driver import Connection

LISTENING_POLL = 1.0
POLL_FIRST, POLL_LAST, POLL_GROWS = 0.02, 0.5, 1.5
EVERYBODY = "*"


class Wakeups:
    """The notifications of one store, on its loop."""

    def __init__(self, schema: str, *, listens: bool) -> None:
        self.worker_id = 0  # whose mail we wait for
        self.tasks: frozenset[str] | None = None  # what we could take; None: not known, so anything
        self.own_pid: Callable[[], int] = int  # our own commits' connection: what it tells we know
        self._channels = (f"{schema}_mail", f"{schema}_ready")
        self._listens = listens
        self._listening = False
        self._pause = POLL_FIRST
        self._bell = asyncio.Event()
        self.on_notify: Callable[[], None] | None = None

    async def listen(self, connection: Connection) -> None:
        """A new `beat` connection: have it listen."""
        if not self._listens:
            return
        for channel in self._channels:
            await connection.add_listener(channel, self._heard)
        connection.add_termination_listener(self._lost)
        self._listening = True
        self._notify()  # what was told while nobody listened

    async def attend(self, beat: Link) -> None:
        """Listen again, after `hush`."""
        if self._listens and not self._listening:
            async with beat.use() as connection:
                if not self._listening:  # (a new connection does so by itself)
                    for channel in self._channels:
                        await connection.add_listener(channel, self._heard)
                    self._listening = True

    async def hush(self, beat: Link) -> None:
        """Don't listen for a while: each notification takes a little of the server, of who sends it, and of us."""
        if self._listening:
            async with beat.use() as connection:
                self._listening = False
                for channel in self._channels:
                    await connection.remove_listener(channel, self._heard)

    def note_activity(self) -> None:
        """Something was committed or found: more is likely to come."""
        if self._pause > POLL_FIRST:
            self._pause = POLL_FIRST
            if not self._listening:
                self._bell.set()  # once; what follows must not put the poll off again and again

    def _heard(self, _connection: Any, pid: int, channel: str, payload: str) -> None:
        if pid != self.own_pid() and self._is_for_us(channel, payload):
            self._notify()

    def _is_for_us(self, channel: str, payload: str) -> bool:
        if payload == EVERYBODY:
            return True
        if channel == self._channels[0]:
            return str(self.worker_id) in payload.split(",")
        return self.tasks is None or not self.tasks.isdisjoint(payload.split("\n"))

    def _notify(self) -> None:
        if self.on_notify is not None:
            self.on_notify()

    def _lost(self, _connection: Any) -> None:
        self._listening = False
        self._bell.set()

    async def run(self, beat: Link) -> None:
        """For ever: poll, and see to it that `beat` listens."""
        while True:
            self._bell.clear()
            try:
                async with asyncio.timeout(LISTENING_POLL if self._listening else self._pause):
                    await self._bell.wait()
            except TimeoutError:
                self._pause = min(self._pause * POLL_GROWS, POLL_LAST)
                self._notify()
            if self._listens and not beat.alive:
                async with beat.use():
                    pass
