"""When a member of a group comes to be. Its reference is there at once; the run itself may be held until there is room
for it, is on its way to the store then, and may never come to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.engine.signals import Signal
from fanwood.sdk.declaring.identity import part_identity
from fanwood.sdk.running.attempt import registering
from fanwood.sdk.running.current import current_attempt
from fanwood.sdk.running.waiting import interruptible

if TYPE_CHECKING:
    from collections.abc import Callable

    from fanwood.engine.engine import Engine
    from fanwood.engine.waits import Collector
    from fanwood.model.commands import Ended


class Birth:
    """Of one member. Changed under `registering`, by the engine's thread or its own."""

    __slots__ = (
        "_group",
        "_number",
        "_release",
        "_waiting",
        "_when_sent",
        "comes_last",
        "end",
        "is_held",
        "is_on_its_way",
    )

    def __init__(self, group: str, number: int, release: Callable[[int], None]) -> None:
        self.is_held = self.is_on_its_way = False
        self.comes_last = False  # it was left out by an attempt before: whoever waits for others as well has them first
        self.end: Ended | None = None  # of what never was
        self._group = group
        self._number = number
        self._release = release
        self._when_sent: list[Callable[[Ended | None], None]] | None = None  # (there may be very many that nobody asks)
        self._waiting: list[Signal] | None = None

    @property
    def mark(self) -> bytes:
        """The same in each attempt, also of what has no row yet, and so no id that would be."""
        return part_identity(f"member {self._number}", self._group)

    def watch(self, engine: Engine, run_id: bytes, collector: Collector, number: int) -> bool:
        """`collector` hears of its end, from when it is sent on; False: it need not wait for that."""

        def go_on(end: Ended | None) -> None:
            collector.holds -= 1
            if collector.given_up:
                return
            if end is None:
                engine.watch(run_id, collector, number)
            else:
                engine.later(0, lambda: collector.put(number, end))

        with registering:
            if self.is_held:
                collector.holds += 1
                self._when_sent = [*(self._when_sent or ()), go_on]
            return self.is_held

    def sent(self) -> None:
        """It is on its way."""
        self.is_held, self.is_on_its_way = False, True
        self._tell(None)

    def is_there(self) -> None:
        """The store has answered."""
        with registering:
            self.is_on_its_way = False
            waiting, self._waiting = self._waiting, None
        for signal in waiting or ():
            signal.fire()

    def left_out(self, end: Ended) -> None:
        """The group is over, and it came to nothing."""
        with registering:
            self.comes_last = False
            if self.is_held:
                self.is_held, self.end = False, end
                self._tell(end)

    def _tell(self, end: Ended | None) -> None:
        calls, self._when_sent = self._when_sent, None
        for call in calls or ():
            call(end)

    async def come(self) -> bool:
        """Have it sent, whatever room there is, and return when the store has it; False: it never was.

        Raises:
            RunInterrupted: the attempt is over.
        """
        attempt = current_attempt.get()
        with registering:
            if self.is_held:
                self._release(self._number)
            if not self.is_on_its_way:
                return self.end is None
            self._waiting = [*(self._waiting or ()), signal := Signal()]
        with interruptible(attempt, signal):
            await signal.wait()
        if attempt is not None:
            attempt.check()
        return True
