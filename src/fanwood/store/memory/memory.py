"""One memory, and who has it open: any number of stores of one process, each perhaps on a thread of its own."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fanwood import logs
from fanwood.clock import MICROSECONDS
from fanwood.store.memory.chores import Chores
from fanwood.store.memory.hot import HotPath
from fanwood.store.memory.moving import Sweeping
from fanwood.store.memory.tables import Tables

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from fanwood.clock import Clock

logger = logs.logger("fanwood.store")

_named: dict[str, Memory] = {}
_named_lock = threading.Lock()
_told: list[bool] = []


def join(name: str, clock: Clock | None, hint: Callable[[], None]) -> tuple[Memory, int]:
    """Open the memory of that name in this process; it is made if there is none."""
    with _named_lock:
        if not _told:
            _told.append(True)
            logger.warning("runs are held in memory, and nowhere else: they end with this process, and are not kept")
        memory = _named.setdefault(name, Memory(name=name))
        return memory, memory.join(clock, hint)


def held(name: str) -> Memory | None:
    """The memory of that name, if anybody has it open."""
    return _named.get(name)


class Memory:
    """What is held, for as long as anybody has it open."""

    def __init__(self, clock: Clock | None = None, name: str = "") -> None:
        self.tables = Tables()
        self.hot = HotPath(self.tables)
        self.sweeping = Sweeping(self.tables, self.hot.leaving)
        self.chores = Chores(self.tables, self.hot.leaving, self.hot.moving, self.sweeping, self.hot.sharing)
        self._seconds: Callable[[], float] | None = None  # the clock by which all go
        self._offset = 0  # ... of its monotonic reading from wall time, as it was when it was first opened
        self._name = name
        self._last = 0
        self._users: dict[int, Callable[[], None]] = {}  # how each is told that others have changed something
        self._count = 0
        self._turn = threading.RLock()
        if clock is not None:
            self._go_by(clock)

    def join(self, clock: Clock | None, hint: Callable[[], None]) -> int:
        """Somebody opens it. He who comes first brings the clock by which all go."""
        if self._seconds is None and clock is not None:
            self._go_by(clock)
        self._count += 1
        self._users[self._count] = hint
        return self._count

    def _go_by(self, clock: Clock) -> None:
        """Wall clocks may be set; that means nothing here."""
        self._seconds = clock.monotonic
        self._offset = clock.now() - round(clock.monotonic() * MICROSECONDS)

    def leave(self, user: int) -> None:
        """... and lets go of it. With the last one all is gone."""
        with _named_lock:
            self._users.pop(user, None)
            if not self._users and _named.get(self._name) is self:
                del _named[self._name]

    def now(self) -> int:
        """Its time, in microseconds. Never goes back."""
        assert self._seconds is not None
        return max(self._offset + round(self._seconds() * MICROSECONDS), self._last)

    @contextmanager
    def reading(self) -> Generator[Tables]:
        """Nobody changes anything meanwhile."""
        with self._turn:
            yield self.tables

    @contextmanager
    def transaction(self, user: int) -> Generator[int]:
        """Nobody else does anything meanwhile. The time of it: strictly rising."""
        with self._turn:
            self._last = max(self.now(), self._last + 1)
            try:
                yield self._last
            finally:
                if self.tables.stirred:
                    self.tables.stirred = False
                    for other, hint in tuple(self._users.items()):  # others open and close it on threads of their own
                        if other != user:
                            hint()


def _after_fork() -> None:
    """What is held there is the parent's."""
    global _named_lock  # noqa: PLW0603  (another thread of the parent may have held it)
    _named_lock = threading.Lock()
    _named.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
