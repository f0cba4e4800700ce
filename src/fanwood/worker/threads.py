"""Threads for sync tasks: our own pool, not the loop's default executor, which belongs to the user.

Waking a thread per job would be the wrong thing twice: jobs that end at once would have a crowd of threads fight for
Python's lock, and the lock goes round for nothing. So a thread goes on taking jobs for as long as there are any, and
a watcher wakes more threads when jobs wait and none has been taken for a moment: then the threads that are awake are
blocked, or busy for long. It wakes twice as many each time, so a hundred blocking jobs all run within milliseconds.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from typing import TYPE_CHECKING

from fanwood import logs

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logs.logger("fanwood.worker")

IDLE_SECONDS = 10.0
MOMENT = 0.0005


class ThreadPool:
    """Grows as jobs ask for it; idle threads end by themselves. Its bound is the number of jobs that it is given."""

    def __init__(self, name: str, blocked: Callable[[], int]) -> None:
        """`blocked` tells how many threads are known to wait for other runs, and take no jobs meanwhile."""
        self._name = name
        self._blocked = blocked
        self._jobs: deque[Callable[[], None]] = deque()
        self._taken = 0  # jobs, ever; only its change matters, so a lost count does no harm
        self._idle: list[threading.Event] = []
        self._threads = 0
        self._watching = False
        self._closed = False
        self._refused = False  # the system gave us no thread when it was asked last
        self._jobs_came = threading.Event()
        self._lock = threading.Lock()

    def submit(self, jobs: list[Callable[[], None]]) -> None:
        """Have `jobs` done, soon and in about this order."""
        self._jobs.extend(jobs)
        self.look()

    def look(self) -> None:
        """See to it that what there is to do is done; also now and then, as the system may have refused us threads."""
        if not self._jobs:
            return
        with self._lock:
            nobody = len(self._idle) + self._blocked() >= self._threads
            start_watcher, self._watching = not self._watching, True
        if nobody:
            self._wake(1)
        if start_watcher and not self._start(self._watch, "watcher"):
            self._watching = False
        self._jobs_came.set()

    def close(self) -> None:
        """End all threads, as soon as there are no jobs for them."""
        with self._lock:
            self._closed = True
            bells = list(self._idle)
        for bell in bells:
            bell.set()
        self._jobs_came.set()

    def _wake(self, count: int) -> None:
        with self._lock:
            woken = [self._idle.pop() for _ in range(min(count, len(self._idle)))]
            missing = count - len(woken)
            first = self._threads + 1
            self._threads += missing
        for bell in woken:
            bell.set()
        for number in range(first, first + missing):
            if not self._start(self._work, str(number)):
                with self._lock:
                    self._threads -= first + missing - number
                return

    def _start(self, main: Callable[[], None], name: str) -> bool:
        """Whether the system has given us a thread; if not, that is said."""
        try:
            threading.Thread(target=main, name=f"{self._name}-{name}", daemon=True).start()
        except Exception as error:  # noqa: BLE001  (a RuntimeError, and who knows what of those who replace the class)
            if self._refused:
                return False  # it is tried again every moment
            self._refused = True
            logger.warning("no thread for sync tasks (%s): what waits for one begins when there is room again", error)
            return False
        self._refused = False
        return True

    def _watch(self) -> None:
        pause = threading.Event()
        while True:
            self._jobs_came.wait()
            self._jobs_came.clear()
            count = 1
            while self._jobs:
                taken = self._taken
                pause.wait(MOMENT)
                if self._taken != taken:
                    count = 1
                elif waiting := len(self._jobs):
                    self._wake(min(count, waiting))
                    count *= 2
            with self._lock:
                if self._closed and not self._jobs:
                    self._watching = False
                    return

    def _work(self) -> None:
        bell = threading.Event()
        while True:
            try:
                job = self._jobs.popleft()
            except IndexError:
                if not self._rest(bell):
                    return
                continue
            self._taken += 1
            try:
                job()
            except BaseException:
                with contextlib.suppress(BaseException):
                    logger.exception("a thread of sync tasks goes on after this")
            del job

    def _rest(self, bell: threading.Event) -> bool:
        """Wait for work; False when there was none for long, or there will be none."""
        bell.clear()
        with self._lock:
            if self._jobs:
                return True
            self._idle.append(bell)
            if self._closed:
                bell.set()
        bell.wait(IDLE_SECONDS)
        with self._lock:
            if bell in self._idle:  # nobody has work for us
                self._idle.remove(bell)
                self._threads -= 1
                return False
        return True
