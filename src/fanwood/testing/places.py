"""Where the runs of some `Fanwood` objects are while a world is there: a memory, a client's process (the test's), and a
worker's, which may be lost."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, cast

from fanwood.engine.signals import running_loop
from fanwood.errors import EngineClosedError, UsageError
from fanwood.sdk.running.current import current_attempt
from fanwood.testing.hosts import Host
from fanwood.testing.loops import VirtualLoop

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from fanwood.engine.waits import Collector
    from fanwood.home import Home, Member
    from fanwood.ids import SystemIds
    from fanwood.sdk.declaring.spec import TaskSpec
    from fanwood.sdk.running.attempt import Attempt
    from fanwood.settings import Settings
    from fanwood.store.memory.memory import Memory
    from fanwood.testing.ground import Ground


class Place:
    """Of one home."""

    def __init__(self, world: Ground, home: Home, member: Member, memory: Memory) -> None:
        self.world = world
        self.home = home
        self.member = member
        self.memory = memory
        self.closed = False
        self.client = Host(world, self, "test", slots=0)
        self.worker: Host | None = None  # there is one from the first run on
        self.is_asked = False  # whether there should be one

    @property
    def settings(self) -> Settings:
        """Those of the object that came first."""
        return self.member.settings

    @property
    def hosts(self) -> list[Host]:
        """Those that live."""
        return [self.client] if self.worker is None else [self.client, self.worker]

    def specs(self) -> dict[str, TaskSpec]:
        """What a worker executes, with stubs in the places of tasks."""
        specs = self.home.specs()
        for stub in self.world.stubs:
            specs.update({name: stub.in_place_of(spec) for name, spec in specs.items() if stub.stands_in_for(spec)})
        return specs

    def serve(self) -> None:
        """Be there for what is begun."""
        self.specs()  # raises, if a workflow is not whole
        self.is_asked = True
        if self.worker is not None:
            self.worker.serve()

    def revive(self) -> None:
        """A worker in the place of one that died."""
        if self.is_asked and self.worker is None and not self.closed and not self.world.workers_away:
            self.worker = Host(self.world, self, "worker", slots=self.settings.slots)

    def note_death(self, host: Host) -> None:
        """It lives no more."""
        self.world.dead.append(host)
        if self.worker is host:
            self.worker = None

    def host_of(self, attempt: Attempt | None) -> Host:
        """The process that code is in.

        Raises:
            EngineClosedError: it is no more.
        """
        if self.world.over or self.closed:
            raise EngineClosedError("This test is over, or its Fanwood object was closed: nothing is begun any more")
        share = attempt.share if attempt is not None else None
        for host in self.hosts:
            if host.executor is not None and host.executor._slots is share:
                return host
        if share is not None and any(host.executor and host.executor._slots is share for host in self.world.dead):
            raise EngineClosedError("The process of this task was lost")
        return self.client

    def close(self) -> None:
        """The last object of this home was closed."""
        if not self.closed and not self.world.over:
            self.is_asked = False
            if self.worker is not None:
                self.worker.close()
            self.client.close()
            self.closed = True
            self.world.places.pop(self.home, None)


class Switch:
    """In the place of the engine: that of the process whose code asks."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def __getattr__(self, name: str) -> Any:
        world = self._place.world
        if (loop := running_loop()) is not None and not isinstance(loop, VirtualLoop) and not world.over:
            world.be_guest_of(loop)
        attempt = current_attempt.get()
        if attempt is None and name == "spawn":  # also of an object that has no worker of its own in earnest
            self._place.serve()
        return getattr(self._place.host_of(attempt).engine, name)

    @property
    def settings(self) -> Settings:
        """As they were given, whatever holds in a test."""
        return self._place.settings

    @property
    def alive(self) -> bool:
        """Whether commands are taken."""
        return not self._place.closed and not self._place.world.over

    @contextlib.contextmanager
    def waiting(self, collector: Collector, ids: Iterable[bytes]) -> Generator[None]:
        """As of the engine."""
        engine = self._place.host_of(current_attempt.get()).engine
        with engine.waiting(collector, ids), self._place.world.awaited(collector):
            yield

    def keep_in_time(self, ids: SystemIds) -> None:
        """Of an object that came late."""
        ids.follow(self._place.world.time.now)

    def stop(self) -> None:
        """As of the engine."""
        self._place.close()


class Standing:
    """In the place of the local worker: whatever is begun is executed by the place's worker."""

    is_working = True

    def __init__(self, place: Place) -> None:
        self._place = place

    async def ensure(self, *, own: bool) -> None:  # noqa: ARG002
        """As of the local worker."""
        self._place.serve()

    def close(self, *, for_good: bool = False) -> None:
        """The engine's end is the worker's.

        Raises:
            UsageError: another worker is to take its place.
        """
        if not for_good:
            raise UsageError("in a test there is a worker already, on the test's time: start none")


def stand_ins(place: Place) -> tuple[Any, Any]:
    """What a home has in the places of its engine and its local worker."""
    return cast("Any", Switch(place)), cast("Any", Standing(place))
