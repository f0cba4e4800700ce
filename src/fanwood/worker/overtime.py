"""Code of sync tasks that goes on though its run is over: it can't be stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood import logs
from fanwood.ids import hex_text

if TYPE_CHECKING:
    from fanwood.sdk.running.attempt import Attempt
    from fanwood.worker.slots import Slots

logger = logs.logger("fanwood.worker")

HUNG_SECONDS = 2.0
"""How long it may go on before it is told of."""


class Overtime:
    """Of one executor. It is said, and the slot is given to others, as long as there are fewer such than slots."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._since: dict[Attempt, float] = {}  # since when they should have stopped
        self._told: set[Attempt] = set()

    def begin(self, attempt: Attempt, now: float) -> None:
        """Its run is over, and its code may go on."""
        self._since[attempt] = now

    def look(self, now: float) -> None:
        """Now and then: whose code has still not ended?"""
        for attempt, since in list(self._since.items()):
            if attempt.code_ended:
                del self._since[attempt]
                self._told.discard(attempt)
            elif now - since >= HUNG_SECONDS and attempt not in self._told:
                spare = len(self._told) < self._slots.count
                what = "its slot is given to others" if spare else "and so many do that its slot stays taken"
                logger.warning(
                    "the code of %s (run %s) goes on though its run is over: %s. %d such thread(s) in this worker.",
                    attempt.spec.name, hex_text(attempt.run.id), what, len(self._told) + 1,
                )  # fmt: skip
                self._told.add(attempt)
                if spare:
                    self._slots.free(attempt)
