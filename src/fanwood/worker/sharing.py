"""How much a process takes at once that has siblings: what comes together they begin together.

One process with a hundred slots would take forty runs in one claim, while its siblings look on; and what takes a
processor takes as long then as without them. So it begins with a few. It takes more if those end at once, or if it has
nothing to do while they execute, as they wait for something. See docs/decisions/0082-parts-of-siblings.md.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fanwood.clock import processor_seconds
from fanwood.model.commands import SUSPECT_DEATHS
from fanwood.worker.slots import Slots

if TYPE_CHECKING:
    from collections.abc import Callable

    from fanwood.model.commands import ClaimedRun

FIRST = 2
"""Runs at first."""
TURN = 0.02
"""Seconds: a sibling notices what is queued in less, and has begun with its part."""
PATIENCE = 1.0
"""After so many seconds in which none of them has ended, more are taken however busy the process is: it may be them
that they wait for."""
QUIET = 0.1
"""After so many seconds in which it had nothing, and took nothing, it begins with a few again."""
TIMES = 4


class SharingSlots(Slots):
    """The slots of a process that has siblings. `demand` is called on the engine's loop; `on_room`, when it would say
    more by now. `monotonic` and `used` are seconds: the time, and what this process has had of a processor."""

    def __init__(
        self,
        count: int,
        waiting_threads: int,
        on_change: Callable[[], None],
        deaths_limit: int = SUSPECT_DEATHS,
        *,
        on_room: Callable[[], None],
        monotonic: Callable[[], float],
        used: Callable[[], float] = processor_seconds,
    ) -> None:
        super().__init__(count, waiting_threads, on_change, deaths_limit)
        self._on_room = on_room
        self._monotonic = monotonic
        self._used = used
        self._most = FIRST
        self._offered = monotonic()
        self._turn: tuple[float, float] | None = None  # since when it looks, and what it had used of a processor then

    def demand(self) -> int:
        """How many runs to claim: of those for which there is room as many as it may take."""
        room = super().demand()
        if room == 0:
            return 0
        held, now = self.held, self._monotonic()
        since = now - self._offered
        if held == 0 and since > QUIET:
            self._most = FIRST
        elif since < TURN and self._finished_lately >= max(held, 1):
            self._most = max(self._most, TIMES * (held + self._finished_lately))
        if held >= self._most and self._turn is None:
            self._look_later(now)
        return max(0, min(room, self._most - held))

    def offer(self, runs: list[ClaimedRun]) -> None:
        super().offer(runs)
        self._offered = self._monotonic()

    def _look_later(self, now: float) -> None:
        self._turn = now, self._used()
        asyncio.get_running_loop().call_later(TURN, self._look)

    def _look(self) -> None:
        assert self._turn is not None
        began, used = self._turn
        self._turn = None
        if self.held < self._most:
            return  # what has ended has asked for a claim
        now = self._monotonic()
        waits = now - began < 1.5 * TURN and self._used() - used < TURN / 2  # who is late here had no processor
        if waits or now - self._offered > PATIENCE:
            self._most *= 2
            self._on_room()
        else:
            self._look_later(now)
