"""Two who do something to one schema, each with connections of his own, and each of whom can be stopped: before a
statement that he sends, or within a function (`stops.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NamedTuple

from fanwood.clock import Clock
from fanwood.errors import StoreBusyError
from fanwood.store.postgres.connection import Address
from fanwood.store.postgres.store import PostgresStore
from tests.interleaving.stops import LOCK

_PLAYING: ContextVar[Player] = ContextVar("player")
_PASSED = ("begin", "rollback", "set ", "select set_config")
"""What is sent before a transaction's first statement, or changes nothing."""


class Stop(NamedTuple):
    """A place to stop at: the so-manieth statement that is sent, and the so-manieth step within it (0: before it)."""

    sent: int
    step: int
    label: str

    @property
    def within(self) -> bool:
        """Whether a statement has begun there."""
        return self.label.startswith("...")


@dataclass(eq=False)
class Player:
    """One of the two. `number` is his door's."""

    number: int
    store: PostgresStore = field(init=False)
    connections: list[Any] = field(default_factory=list)
    sent: int = 0
    stop: Stop | None = None
    passed: list[Stop] | None = None  # where he could have been stopped, while that is being written down
    halted: asyncio.Event = field(default_factory=asyncio.Event)
    idle: asyncio.Event = field(default_factory=asyncio.Event)  # he sleeps until something has changed
    awake: asyncio.Event = field(default_factory=asyncio.Event)
    crosswise: int = 0
    before_each: Callable[[], Awaitable[None]] | None = None
    task: asyncio.Task[Any] | None = None
    _go: asyncio.Event = field(default_factory=asyncio.Event)

    def new_turn(self, stop: Stop | None = None) -> None:
        self.sent = 0
        self.stop, self.passed, self.before_each, self.task = stop, None, None, None
        self.crosswise = 0
        for event in (self.halted, self.idle, self.awake, self._go):
            event.clear()

    @property
    def held(self) -> bool:
        """Whether he is at a stop."""
        return self.halted.is_set() and not self._go.is_set()

    @property
    def done(self) -> bool:
        return self.task is not None and self.task.done()

    def begin(self, call: Callable[[], Awaitable[Any]]) -> None:
        async def play() -> Any:
            _PLAYING.set(self)
            while True:
                try:
                    return await call()
                except StoreBusyError:  # as the engine does it: what passes is tried again
                    self.crosswise += 1
                    assert self.crosswise < 10, "they meet crosswise for ever"
                    await self.sleep()

        self.task = asyncio.create_task(play())

    async def sleep(self, _seconds: float = 0) -> None:
        """In place of the clock's: until the other has done something."""
        if _PLAYING.get(None) is self:
            self.awake.clear()
            self.idle.set()
            await self.awake.wait()

    def wake(self) -> None:
        self.idle.clear()
        self.awake.set()

    # --- where he is -------------------------------------------------------------------------------------------------

    async def about_to(self, connection: Any, text: str) -> None:
        """Before each statement that he sends."""
        if text.lstrip().lower().startswith(_PASSED) or _PLAYING.get(None) is not self:
            return
        if self.before_each is not None:
            await self.before_each()
        self.sent += 1
        if self.passed is not None:
            self.passed.append(Stop(self.sent, 0, " ".join(text.split())[:70]))
            await self._have_stop(connection, "all")
        elif self.stop is not None and self.stop.sent == self.sent:
            if self.stop.step == 0:
                self.halted.set()
                await self._go.wait()
            else:
                await self._have_stop(connection, str(self.stop.step))

    async def _have_stop(self, connection: Any, where: str) -> None:
        """(It is left set: what comes after that step is counted, and never stopped at.)"""
        await connection.execute(
            f"select set_config('steps.stop', '{where}', false), set_config('steps.n', '0', false), "
            f"set_config('steps.door', '{self.number}', false)"
        )

    def heard(self, said: str) -> None:
        """What the server says when he passes a step."""
        if not said.startswith("step "):
            return
        if self.passed is not None:
            last = self.passed[-1] if self.passed else Stop(self.sent, 0, "")
            self.passed.append(Stop(self.sent, last.step + 1 if last.sent == self.sent else 1, said[5:]))
        else:
            self.halted.set()

    async def write_down_no_more(self) -> None:
        self.passed = None
        for connection in self.connections:
            await connection.execute("select set_config('steps.stop', '', false)")

    async def go_on(self, doorkeeper: Any) -> None:
        await doorkeeper.execute(f"select pg_advisory_unlock({LOCK}, {self.number})")
        self._go.set()


class _Connection:
    """One of his, that asks him before each statement."""

    def __init__(self, itself: Any, player: Player) -> None:
        self._itself = itself
        self._player = player

    async def fetch(self, text: str, *values: Any) -> Any:
        await self._player.about_to(self._itself, text)
        return await self._itself.fetch(text, *values)

    async def fetchval(self, text: str, *values: Any) -> Any:
        await self._player.about_to(self._itself, text)
        return await self._itself.fetchval(text, *values)

    async def execute(self, text: str, *values: Any) -> Any:
        await self._player.about_to(self._itself, text)
        return await self._itself.execute(text, *values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._itself, name)


@dataclass(frozen=True)
class _Watched(Address):
    player: Any = None

    async def connect(self, role: str, timeout: float = 0.0) -> Any:
        connection: Any = await Address.connect(self, role, timeout)
        connection.add_log_listener(lambda _, message: self.player.heard(message.message))
        self.player.connections.append(connection)
        return _Connection(connection, self.player)


def player(number: int, url: str, clock: Clock) -> Player:
    made = Player(number)
    made.store = PostgresStore(_Watched(url, url, "fanwood", "t", player=made), clock, notify=False, lease=3600)
    return made


def asyncio_for_players() -> Any:
    """What stands for the module `asyncio` where a routine sleeps until others are through."""

    async def sleep(seconds: float) -> None:
        who = _PLAYING.get(None)
        await (asyncio.sleep(seconds) if who is None else who.sleep(seconds))

    return SimpleNamespace(sleep=sleep, get_running_loop=asyncio.get_running_loop)
