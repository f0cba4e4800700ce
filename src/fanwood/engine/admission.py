"""How many spawns go into a batch: back-pressure.

A parent that waits for a large fan-out spawns quicker than its worker executes. What nobody can take yet would go to
the queue, only to be claimed from there a moment later: two writes and an index that could be saved. So while all goes
at such a pace that runs wait here to begin, and as long as no other worker serves their tasks, a parent's spawns are
held back until there is room, and are then born claimed.

Nothing waits for what is held here: a parent that waits for its spawns' acknowledgement holds no slot. And nothing is
held for long: it might have to go before what is queued, and people want to see it.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from fanwood.engine.inbox import SpawnRequest


HELD_SECONDS = 0.1


class Room(msgspec.Struct):
    """What goes into a batch: about so many runs (None: any number), with about so many bytes of input."""

    runs: int | None
    size: int
    now: float  # seconds, by the loop

    def take(self, request: SpawnRequest) -> None:
        """It goes in."""
        if self.runs is not None:
            self.runs -= len(request.spawns)
        self.size -= sum([len(spawn.input) for spawn in request.spawns])

    def fits(self, request: SpawnRequest, *, first: bool) -> bool:
        """Whether it may go in. The first may be too large, or it might never go."""
        return self.runs is None or self.runs >= len(request.spawns) or (first and self.runs > 0)


class Admission:
    """Belongs to the engine's thread."""

    def __init__(self) -> None:
        self.held: deque[tuple[float, SpawnRequest]] = deque()  # since when, and what
        self._parents: Counter[tuple[bytes | None, int]] = Counter()  # those whose spawns must keep their order

    def until(self) -> float:
        """Until when the oldest may be held."""
        return self.held[0][0] + HELD_SECONDS if self.held else float("inf")

    def has_waited_long(self, now: float) -> bool:
        """Whether the oldest may be held no more."""
        return now >= self.until()

    def admit(self, arrived: deque[SpawnRequest], serves: Callable[[str], bool], room: Room) -> list[SpawnRequest]:
        """Of what was held and what has arrived, the requests for this batch. What has arrived and is too much for it
        is held, if it may be; else it stays where it is."""
        admitted: list[SpawnRequest] = []
        while self.held and room.size > 0 and self._may_go(room, first=not admitted):
            admitted.append(request := self._release())
            room.take(request)
        for _ in range(len(arrived)):
            if room.size <= 0:
                break
            request = arrived.popleft()
            fits = room.fits(request, first=not admitted) or not _may_wait(request, serves)
            if fits and request.parent not in self._parents:
                admitted.append(request)
                room.take(request)
            else:
                self._hold(request, room.now)
        return admitted

    def _may_go(self, room: Room, *, first: bool) -> bool:
        """Whether what is held longest goes on: there is room, or it was held long enough."""
        return self.has_waited_long(room.now) or room.fits(self.held[0][1], first=first)

    def give_up(self) -> list[SpawnRequest]:
        """All that is held, which is held no more."""
        held = [request for _, request in self.held]
        self.held.clear()
        self._parents.clear()
        return held

    def _hold(self, request: SpawnRequest, now: float) -> None:
        self.held.append((now, request))
        self._parents[request.parent] += 1

    def _release(self) -> SpawnRequest:
        _, request = self.held.popleft()
        self._parents[request.parent] -= 1
        if not self._parents[request.parent]:
            del self._parents[request.parent]
        return request


def _may_wait(request: SpawnRequest, serves: Callable[[str], bool]) -> bool:
    """Whether its caller waits for its ends, inside a task, and they are all executed here."""
    return (
        request.collector is not None
        and request.parent[0] is not None
        and not request.attaches
        and all(serves(kind.task) for kind in request.kinds)
    )
