"""What an engine knows of its own lease."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Lease:
    """How long nobody can take us for dead, by the engine's clock, which only we can stop. Looked at before each run
    begins, so whoever does so has this object at hand."""

    __slots__ = ("clock", "lapses", "until")

    def __init__(self) -> None:
        self.clock: Callable[[], float] = lambda: math.inf  # before there is an engine that runs: it holds none
        self.until = 0.0
        self.lapses = 0  # how often it had lapsed when it was renewed

    @property
    def is_held(self) -> bool:
        """Whether runs may begin. Without it nothing does: what we had claimed may have been closed, and whoever closed
        it has not waited for us to hear of it."""
        return self.clock() < self.until
