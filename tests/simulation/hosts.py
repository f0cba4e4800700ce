"""A process of a world: an engine, and a worker or clients. It dies, freezes, and is followed by another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from fanwood import Fanwood, FanwoodError
from fanwood.engine.engine import Engine
from fanwood.sdk.running.waiting import called
from tests.simulation import programs
from tests.simulation.loops import Strand, VirtualLoop
from tests.simulation.machine import HostClock, WorldIds
from tests.simulation.plans import NEW, OLD
from tests.simulation.threads import VirtualThread

if TYPE_CHECKING:
    from fanwood.sdk.running.attempt import Attempt
    from tests.simulation.world import World


SOON = 500_000
"""Microseconds."""


class WorldEngine(Engine):
    """An engine on a loop that the world steps, and not on a thread."""

    def begin(self, loop: VirtualLoop) -> Future[None]:
        """What `start` does."""
        started: Future[None] = Future()
        self._thread = SimpleNamespace(is_alive=lambda: not self._over, join=lambda: None)  # type: ignore[assignment]
        loop.create_task(self._live(started))
        return started

    async def _live(self, started: Future[None]) -> None:
        """As `_main`."""
        try:
            await self._run(started)
        except BaseException as error:
            self.failure = error
            if not started.done():
                started.set_exception(error)
        finally:
            self._stopping = self._over = True
            self._answer_all()


class Host:
    """One process: an engine, and a worker or clients."""

    def __init__(self, world: World, name: str, number: int, *, slots: int) -> None:
        self.world = world
        self.name = name
        self.pid = number
        self.slots = slots
        self.dead = False
        self.clock = HostClock(world.time, world.random.choice([0, 0, -3_600_000_000, 5_000_000, 40_000]))
        self.strands: list[Strand] = []
        self.ended = False
        self.attempts: list[Attempt] = []  # whose code has not ended, or that have a slot
        self.engine_loop = world.loop(self, "engine")
        self.task_loop = world.loop(self, "tasks")
        self.store = world.ground.store(self)
        self.app = Fanwood(
            "memory:", shared=False, local_worker=False, clock=self.clock, ids=WorldIds(self.clock, world.random),
            slots=max(1, slots), **world.settings,
        )  # fmt: skip
        self.deployed = self._deployed()
        self.tasks = programs.declare(world, self.app, self.deployed)
        self.engine = WorldEngine(self.store, self.app.settings, name)
        self.engine._membership.host = name.partition(".")[0]
        self.app._engine = self.engine
        self.started = self.engine.begin(self.engine_loop)
        self.worker: Any = None
        if slots:
            self.worker = self.app.worker(slots=slots)
            self.task_loop.create_task(self._work())

    def _deployed(self) -> tuple[str, bool]:
        """The version of its code, and whether it has the others as well. Some processes lack those; but where nothing
        goes wrong, and in the end, all have them."""
        whole = self.world.harmless or self.world.calm or self.name.startswith("worker0") or self.pid % 4 == 0
        return (OLD, NEW)[self.pid // 2 % 2], whole

    async def _work(self) -> None:
        try:
            await called(self.started)
            await self.worker.aio_start()
        except FanwoodError as error:  # the process ends, and whoever watches over it starts another
            self.world.note(self.name, f"can't go on: {type(error).__name__}")
        self.engine.stop()
        self.ended = True
        self.world.revive_later(self)

    @property
    def is_gone(self) -> bool:
        """It has died, or has stopped."""
        return self.dead or (bool(self.slots) and self.ended)

    def execute(self, client: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        """A client's code."""

        async def run() -> None:
            try:
                await called(self.started)
            except FanwoodError as error:
                self.world.note(self.name, f"can't begin: {type(error).__name__}")
                return
            await client()

        return self.task_loop.create_task(run())

    async def die(self) -> None:
        """At once, without a word. Who calls this never goes on."""
        self.kill()
        if isinstance(thread := self.world.scheduler.running, VirtualThread):
            thread.rest(None)
        await asyncio.get_running_loop().create_future()

    def kill(self) -> None:
        self.world.note(self.name, "dies")
        self.dead = True
        self.store.part()
        for strand in self.strands:
            strand.die()
        self.world.revive_later(self)

    def stop(self) -> None:
        """In good order; in its place there comes another one."""
        self.world.note(self.name, "is asked to stop")
        self.worker.stop()

    def jump(self) -> None:
        """Somebody sets the wall clock."""
        self.clock.ahead += self.world.random.choice([-7_200_000_000, -3_000_000, 10_000, 3_600_000_000])
        self.world.note(self.name, "has its clock set")

    def freeze(self) -> None:
        """For longer than a lease, perhaps; then it goes on as if nothing had been."""
        seconds = self.world.random.choice([0.05, 0.3, 0.9, 1.2, 3]) * self.world.settings["lease"]
        self.world.note(self.name, f"freezes for {seconds:g} s")
        for strand in self.strands:
            strand.freeze(self.world.time.now + int(seconds * 1e6))

    def wake(self) -> None:
        """If it stands still: it goes on soon."""
        now = self.world.time.now
        for strand in self.strands:
            if strand.stands_still_until > now + SOON:
                strand.freeze(now + int(self.world.random.random() * SOON))
