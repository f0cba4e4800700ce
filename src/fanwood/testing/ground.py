"""What all that is in a world stands on: time, ids, and what a test has laid down."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from fanwood.errors import UsageError
from fanwood.ids import SeededIds
from fanwood.testing.clock import VirtualTime, WorldClock
from fanwood.testing.loops import Outside

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from fanwood.engine.waits import Collector
    from fanwood.store.memory.memory import Memory
    from fanwood.testing.stubs import Stub
    from fanwood.testing.threads import Hand


class Ground(ABC):
    """A world (`world.py`), as its parts know it."""

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self.time = VirtualTime()
        self.clock = WorldClock(self.time)
        self.ids = SeededIds(1)
        self.outside = Outside()
        self.lifespan: Any = None
        self.stubs: list[Stub] = []  # the newest last
        self.watchers: list[Any] = []  # (`hosts.Watcher`)
        self.effects: list[tuple[str, tuple[Any, ...], bool]] = []
        self.memories: dict[str, Memory] = {}
        self.places: dict[Any, Any] = {}  # by home (`places.Place`)
        self.dead: list[Any] = []  # processes (`hosts.Host`)
        self.hands: dict[int, Hand] = {}  # by thread
        self.workers_away = False
        self.looks_twice = False  # nothing is left to do: whoever looks for something now and then does so
        self.over = False

    @property
    def hosts(self) -> list[Any]:
        """Processes that live."""
        return [host for place in self.places.values() for host in place.hosts]

    @abstractmethod
    def has_chores(self) -> bool:
        """See `World`."""
        ...

    @abstractmethod
    def next_time(self) -> int | None:
        """See `World`."""
        ...

    @abstractmethod
    def drive(self, done: Callable[[], bool], until: int | None = None, *, passes: bool = True) -> bool:
        """See `World`."""
        ...

    @abstractmethod
    def be_guest_of(self, loop: asyncio.AbstractEventLoop) -> None:
        """See `World`."""
        ...

    @abstractmethod
    def awaited(self, collector: Collector) -> AbstractContextManager[None]:
        """See `World`."""
        ...


current: list[Ground] = []
"""The worlds that are there, the innermost last."""


def here() -> Ground:
    """The one that a test is in.

    Raises:
        UsageError: it is in none.
    """
    if not current:
        raise UsageError(
            "this works in a test only: one that takes the fixture `fanwood_app`, or inside of on_memory()"
        )
    return current[-1]
