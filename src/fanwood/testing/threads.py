"""Threads of sync tasks, of which one goes on at a time, when it is its turn: it hands back the baton when it waits,
sleeps, or ends."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import contextlib
import sys
import threading
import traceback
from typing import TYPE_CHECKING

from fanwood.testing.errors import StuckError
from fanwood.testing.standing import is_theirs

if TYPE_CHECKING:
    from collections.abc import Callable

    from fanwood.testing.clock import VirtualTime

DEEPEST = 5
"""Frames of where code is."""
MOST_ATTEMPTS = 100
"""How often code that is to end may catch what ends it."""


class Killed(BaseException):
    """The process is gone: code of it that waits goes no further."""


class Hand:
    """One thread, for one job."""

    def __init__(self, crew: Crew, job: Callable[[], None]) -> None:
        self._crew = crew
        self._job = job
        self._go = threading.Event()
        self._back = threading.Event()
        self._ready: Callable[[], bool] | None = None
        self._until: int | None = None
        self._killed = False
        self.over = False
        self.lost = False  # it did not come back in time
        self._thread = threading.Thread(target=self._main, name="fanwood-task", daemon=True)

    @property
    def ident(self) -> int:
        """Of the thread."""
        return self._thread.ident or 0

    @property
    def until(self) -> int | None:
        """When it goes on, whatever happens."""
        return self._until

    def may_go_on(self) -> bool:
        """Whether it has something to do."""
        if self.lost:
            return False
        if self._ready is not None and self._ready():
            return True
        return self._is_due() if self._until is not None else self._ready is None

    def _is_due(self) -> bool:
        return self._until is not None and self._until <= self._crew.time.now

    def go_on(self) -> None:
        """Until it waits, or ends.

        Raises:
            StuckError: it does neither.
        """
        self._ready = self._until = None
        if self._thread.ident is None:
            self._thread.start()
            self._crew.hands[self.ident] = self
        self._go.set()
        if not self._back.wait(self._crew.patience):
            self.lost = True
            raise StuckError(
                f"a sync task has done something real for {self._crew.patience:g} s, and time stands still for it:\n"
                f"{self.where()}"
            )
        self._back.clear()
        if self.over:
            self._crew.hands.pop(self.ident, None)
            self._thread.join()

    def _main(self) -> None:
        self._go.wait()
        self._go.clear()
        try:
            with contextlib.suppress(Killed):
                self._job()
        finally:
            self.over = True
            self._back.set()

    def wait(self, ready: Callable[[], bool] | None, seconds: float | None) -> None:
        """On the thread itself: until that is so, or so many seconds have gone by."""
        if self._killed:
            raise Killed
        self._ready = ready
        self._until = None if seconds is None else self._crew.time.at(self._crew.time.seconds + seconds)
        self._crew.note_wait(self)
        self._back.set()
        self._go.wait()
        self._go.clear()
        if self._killed:
            raise Killed

    def kill(self) -> None:
        """Its process is gone."""
        self._killed = True
        for _ in range(MOST_ATTEMPTS):
            if self.over or self.lost or self._thread.ident is None:
                return
            self._go.set()
            if not self._back.wait(self._crew.patience):
                return
            self._back.clear()

    def where(self) -> str:
        """Where its code is."""
        frame = sys._current_frames().get(self.ident)
        if frame is None:
            return ""
        theirs = [each for each in traceback.extract_stack(frame) if is_theirs(each.filename)]
        return "".join(traceback.format_list(theirs[-DEEPEST:]))


class Crew:
    """The threads of one process. In the place of the worker's `ThreadPool`."""

    def __init__(self, time: VirtualTime, hands: dict[int, Hand], patience: float) -> None:
        self.time = time
        self.hands = hands  # of the world, by thread
        self.patience = patience
        self.note_wait: Callable[[Hand], None] = lambda _: None
        self._mine: list[Hand] = []

    def submit(self, jobs: list[Callable[[], None]]) -> None:
        """Have them done."""
        self._mine += [Hand(self, job) for job in jobs]

    def look(self) -> None:
        """There is no need to."""

    def close(self) -> None:
        """Nor to do anything here."""

    def turn(self, is_over: Callable[[], bool]) -> bool:
        """Each that may goes on, once; whether any did."""
        did = False
        for hand in list(self._mine):
            if not is_over() and hand.may_go_on():
                did = True
                hand.go_on()
        self._mine = [hand for hand in self._mine if not hand.over]
        return did

    def is_ready(self) -> bool:
        """Whether one may go on."""
        return any(hand.may_go_on() for hand in self._mine)

    def earliest(self) -> int | None:
        """When the next one goes on by itself."""
        return min((hand.until for hand in self._mine if hand.until is not None), default=None)

    def end(self) -> None:
        """Their process is gone."""
        for hand in self._mine:
            hand.kill()
            self.hands.pop(hand.ident, None)
        self._mine.clear()
