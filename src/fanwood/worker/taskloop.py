"""Where a worker's async tasks run. A loop that isn't ours may end under us, or stand still for good: what had begun
there begins anew on another one.
"""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from fanwood.engine.signals import LoopPort, port_of
from fanwood.worker.moves import Moves

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

T = TypeVar("T")


class TaskLoop:
    """The loop of one worker, and those that it had before and that still run.

    `strand` is called with a loop that has stopped, and not by us, from any thread.
    """

    def __init__(self, strand: Callable[[asyncio.AbstractEventLoop], None]) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.thread = 0  # that of the loop, once it has begun something
        self.lock = threading.RLock()  # held while something is begun, and while there comes another loop
        self._port: LoopPort | None = None
        self._on_lost: Callable[[], None] | None = None
        self._stands_still = False  # it did when we last looked
        self._left: dict[asyncio.AbstractEventLoop, bool] = {}  # the same of those before
        self._strand = strand
        self.moves = Moves()

    def may_have_lost(self, task: asyncio.Task[None]) -> bool:
        """Whether what was cancelled may be so because its loop ends: it is somebody else's, and there will be another
        one then; or there is already, as others that ran on it were first."""
        return self._on_lost is not None or bool(self.moves) or task.get_loop() is not self.loop

    def attach(self, loop: asyncio.AbstractEventLoop, on_lost: Callable[[], None] | None) -> None:
        """Run on this one from now on; `on_lost` is called if it ends, and must attach another."""
        with self.lock:
            before, self.loop, self._port, self._on_lost = self.loop, loop, port_of(loop), on_lost
            self.thread = 0
            self._left.pop(loop, None)
            if before is not None and before is not loop:
                self._left[before] = not before.is_running()
        self._look_back()

    def post(self, call: Callable[[asyncio.AbstractEventLoop, T], None], what: T) -> bool:
        """Have it done on the loop, which is told; False if that has ended, and nobody gave us another."""
        with self.lock:
            loop, port = self.loop, self._port
        if loop is None or port is None:
            return False
        return port.post(partial(call, loop, what)) or self.lose()

    def lose(self) -> bool:
        """It has ended, or is ending: go on elsewhere, if we can."""
        with self.lock:
            on_lost, self._on_lost = self._on_lost, None
        if on_lost is not None:
            on_lost()
        return on_lost is not None

    def look(self) -> None:
        """Now and then: somebody else's loop may have been stopped, as between the cells of a notebook, and nobody can
        say whether it will go on."""
        loop = self.loop
        still = self._on_lost is not None and loop is not None and not loop.is_running()
        before, self._stands_still = self._stands_still, still
        if still and before:
            self.lose()
        self._look_back()

    def _look_back(self) -> None:
        """A loop before this one may have ended with what was begun on it at the very last."""
        with self.lock:
            over = [loop for loop, still in self._left.items() if still and not loop.is_running()]
            self._left = {loop: not loop.is_running() for loop in self._left if loop not in over}
        for loop in over:
            self._strand(loop)
