"""Waits of durable code that it had given up when it was run before, and that are not given up yet as it is run again.
They get no answer until that happens: what gave them up then (what won a race, a branch that failed) comes again.

If everything else waits as well, and for nothing that has come, it will not happen: the code goes another way than it
did, as after a new try. Then they go on as waits do; at the latest when nothing has changed for a minute, as something
that nobody can look into may wait for them.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Protocol

from fanwood.engine.signals import Signal, port_of, running_loop
from fanwood.errors import EngineClosedError
from fanwood.sdk.running.waiting import parked

if TYPE_CHECKING:
    from collections.abc import Collection
    from concurrent.futures import Future

    from fanwood.sdk.running.attempt import Attempt
    from fanwood.store.store import Store

FIRST_PAUSE, LAST_PAUSE = 0.01, 0.5
LONGEST = 60.0
"""Seconds."""


class Waits(Protocol):
    """What else an attempt waits for (`Unloading`)."""

    @property
    def changes(self) -> int:
        """How often a wait of it has begun or ended."""
        ...

    def is_quiet(self, *, but_for: Collection[object]) -> bool:
        """Whether all of it, but for these tasks, waits for Fanwood."""
        ...

    async def nothing_has_come(self, store: Store) -> bool:
        """Whether nothing that is waited for has ended."""
        ...


class Holding:
    """Those of one attempt. On its loop."""

    def __init__(self, attempt: Attempt, waits: Waits) -> None:
        self._attempt = attempt
        self._waits = waits
        self._held: dict[object, Signal] = {}  # by task
        self._looks = False
        self._pause = FIRST_PAUSE
        self._seen = (0, 0.0)  # how often the waits had changed, and when that was seen first

    async def hold(self) -> None:
        """Wait to be cancelled.

        Raises:
            RunInterrupted: the attempt is over.
        """
        attempt, who = self._attempt, asyncio.current_task()
        self._held[who] = signal = Signal()
        self._wind()
        try:
            await parked(attempt, signal)
        finally:
            del self._held[who]
        attempt.check()

    def _wind(self) -> None:
        loop = running_loop()
        if self._looks or loop is None:
            return
        self._looks = True
        port = port_of(loop)

        def later() -> None:
            port.post(self._look)

        with contextlib.suppress(EngineClosedError):
            self._attempt.host.engine().later(self._pause, later)
        self._pause = min(LAST_PAUSE, 2 * self._pause)

    def _look(self) -> None:
        """Whether anything else goes on."""
        self._looks, attempt, loop = False, self._attempt, running_loop()
        if not self._held or attempt.interruption is not None or attempt.code_ended or loop is None:
            return
        if not self._waits.is_quiet(but_for=self._held):
            self._wind() if self._moves() else self._release()
            return
        changes, port, self._looks = self._waits.changes, port_of(loop), True

        def asked(done: Future[bool]) -> None:
            port.post(lambda: self._judge(changes, done))

        with contextlib.suppress(EngineClosedError):
            attempt.host.engine().call(self._waits.nothing_has_come, steadfast=True).add_done_callback(asked)

    def _judge(self, changes: int, done: Future[bool]) -> None:
        self._looks = False
        nothing = done.exception() is None and done.result()
        if nothing and changes == self._waits.changes and self._waits.is_quiet(but_for=self._held):
            self._release()
        elif self._held:
            self._wind()

    def _moves(self) -> bool:
        """Whether any wait has begun, or ended, not long ago."""
        changes, now = self._waits.changes, self._attempt.host.clock.monotonic()
        if self._seen[0] != changes or not self._seen[1]:
            self._seen = (changes, now)
        return now - self._seen[1] < LONGEST

    def _release(self) -> None:
        for signal in list(self._held.values()):
            signal.fire()
