"""How many runs execute at a time, and who is next.

A run holds a slot while its code executes. When it waits for children it gives the slot back, and when they are done
it takes one again, ahead of runs that have not begun. So any tree finishes on any number of slots.

A *suspect* (a run that was executing on two workers in a row that died) executes alone: nothing else begins or goes
on beside it, so that, if it kills this worker as well, nobody else is charged.

Of a worker that died nobody knows which runs had begun: what it had claimed ahead is charged as well. So one whom the
next death would make a suspect, or fail, is claimed only to begin at once, and else handed back.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from fanwood.errors import TooManyWaitingThreadsError
from fanwood.model.commands import SUSPECT_DEATHS
from fanwood.worker.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable

    from fanwood.model.commands import ClaimedRun
    from fanwood.sdk.running.attempt import Attempt

PREFETCH_MAX = 1000
PREFETCH_BESIDE_SMALL = 16
"""So many are claimed ahead while a small tree is executed beside a large one."""
REMEMBERED = 100
"""For so many claims since the last time that there was one."""
MOST_LEAVING = 250
"""So many that begin, or are about to be unloaded, are in memory before no more are claimed; as many as slots, if those
are more."""
LEFT_LATELY = 10
"""For so many claims since the last time that some were."""
AHEAD = 4
LOOKS = 8
"""What would not begin within so many looks (of half a second each), at the pace of the last two, is for others."""
CAREFUL = 10
"""For so many claims since the last time that one brought runs that are to begin at once, only those are claimed for
which there is a slot."""


def _nobody() -> bool:
    return False


class Slots:
    """The slots of one worker. Any thread may call; `on_change` is called, outside the lock, when runs may begin."""

    def __init__(
        self, count: int, waiting_threads: int, on_change: Callable[[], None], deaths_limit: int = SUSPECT_DEATHS
    ) -> None:
        self.count = count
        self._spared = max(min(SUSPECT_DEATHS, deaths_limit) - 1, 0)  # so many deaths, and one more would count
        self._careful = 0 if self._spared else CAREFUL  # while it counts down
        self.foreign_loop = False
        self.evict: Callable[[], bool] = _nobody
        self._free = count
        self._max_waiting = waiting_threads
        self._parked_threads = 0
        self._on_change = on_change
        self._lock = threading.Lock()
        self._resuming: deque[tuple[Attempt, Callable[[], None]]] = deque()
        self.resuming = (
            self._resuming
        )  # to see whether there are any: who comes found no slot free before he stood there
        self._starting = self.starting = Turns()
        self._alone = False  # a suspect is executing
        self._ahead = 0
        self._leaving: set[Attempt] = set()  # the store decides whether they are unloaded
        self._left = 0  # while it counts down: some were
        self._beside = 0  # while it counts down: there was a small tree beside a large one
        self._finished_lately = 0
        self._begun = self._begun_before = 0  # since the last look, and between that and the one before
        self._behind = False  # more waited, when we last looked, than would begin soon

    # --- the engine's side -----------------------------------------------------------------------------------------

    def demand(self) -> int:
        """How many more runs to claim: the free slots, and some ahead of them (see `offer`).

        None before half of those ahead have begun: a few large claims are cheaper than many small ones.
        """
        with self._lock:
            starting = self._starting.count
            if self._alone or self._starting.suspects:
                return 0  # what is claimed behind a suspect would be charged with it
            room = self._free + self._ahead - len(self._resuming) - starting
            if self._leaving or self._left:
                room = min(room, max(MOST_LEAVING, self.count) - len(self._leaving) - starting)
            if room <= 0 or starting * 2 > self._ahead:
                return 0
            return min(room, PREFETCH_BESIDE_SMALL) if self._beside else room

    def turn(self, tree: str, priority: int) -> int:
        """How many runs of this tree (a root; or a task, whose roots they are) may begin though others are queued:
        some, if it is a small one beside a large one, has nothing that waits here, and stands behind nothing."""
        if not self._beside or self._alone:
            return 0
        with self._lock:
            return PREFETCH_BESIDE_SMALL if self._starting.is_turn_of(tree, priority) else 0

    def offer(self, runs: list[ClaimedRun]) -> None:
        """Runs that were claimed, to begin when there are slots.

        How many to claim ahead is learnt here. If none were left from the last time, the slots ran dry while the claim
        was being committed: claim more, but not more than a few times what ended meanwhile, so that a worker whose
        runs take long claims nothing that another could begin at once. Beside a small tree little of a large one is
        claimed ahead: what the small one spawns waits for the next claim, and for commits of all that ended meanwhile.
        """
        with self._lock:
            waiting = self._starting.count
            self._starting.add(runs)
            self._left = LEFT_LATELY if self._leaving else max(self._left - 1, 0)
            self._beside = REMEMBERED if self._starting.is_uneven() else max(self._beside - 1, 0)
            self._careful = CAREFUL if any(self._is_spared(run) for run in runs) else max(self._careful - 1, 0)
            most = 0 if self._careful else PREFETCH_BESIDE_SMALL if self._beside else PREFETCH_MAX
            bound = min(most, AHEAD * self._finished_lately)
            self._ahead = min(bound, self._ahead if waiting else max(self._ahead * 2, AHEAD))
            self._finished_lately = 0

    def take(self) -> list[ClaimedRun]:
        """The runs that may begin, with a slot for each."""
        with self._lock:
            starting = self._starting
            taken: list[ClaimedRun] = []
            if not starting.suspects and self._free > 0 and not self._alone and not self._resuming:
                taken = starting.take(self._free)
                self._free -= len(taken)
            while starting.suspects and self._free > 0 and not self._alone and not self._resuming:
                if starting.next().is_suspect:
                    if self._free < self.count:
                        break
                    self._alone = True
                self._free -= 1
                taken += starting.take(1)
            self._begun += len(taken)
            return taken

    def spare(self) -> list[ClaimedRun]:
        """Called when all that can has begun: what was claimed just now, and is not to be charged with a death before
        it has begun."""
        if self._careful < CAREFUL:
            return []
        with self._lock:
            return self._starting.remove(self._is_spared)

    def give_up(self, tasks: frozenset[str]) -> list[ClaimedRun]:
        """Called now and then: what waits to begin, of these tasks, and won't soon, for two times in a row. As many as
        have begun meanwhile stay here."""
        with self._lock:
            begun, before, self._begun = self._begun, self._begun_before, 0
            self._begun_before = begun
            was_behind, self._behind = self._behind, self._starting.count > LOOKS * begun
            if not (was_behind and self._behind and tasks):
                return []
            given = self._starting.remove(lambda run: run.task in tasks, behind=begun + before)
            if given:
                self._ahead = min(self._ahead, begun + before)
            return given

    def withdraw(
        self, *, run: str | None = None, attempt: int | None = None, root: str | None = None
    ) -> list[ClaimedRun]:
        """Take back what has not begun: one run (its attempts up to this one), those of one tree, or all."""

        def is_meant(claimed: ClaimedRun) -> bool:
            ours = run in (None, claimed.id) and root in (None, claimed.root_id)
            return ours and (attempt is None or claimed.attempt <= attempt)

        with self._lock:
            return self._starting.remove(is_meant)

    def waiting_to_begin(self, run_id: str) -> ClaimedRun | None:
        """A run that was claimed and has not begun."""
        with self._lock:
            return next((run for run in self._starting if run.id == run_id), None)

    # --- the attempts' side ----------------------------------------------------------------------------------------

    def park(self, attempt: Attempt) -> None:
        """The attempt begins to wait.

        Raises:
            TooManyWaitingThreadsError: it is sync, and no more threads may wait.
        """
        with self._lock:
            if not attempt.spec.is_async and not attempt.thread_waits:
                if self._parked_threads >= self._max_waiting:
                    raise TooManyWaitingThreadsError(
                        f"{self._parked_threads} sync runs of this worker wait for children already, each on a thread "
                        f"of its own, and waiting_threads allows no more. Make {attempt.spec.name} async (waiting then "
                        f"costs no thread) or durable (then it is unloaded), raise waiting_threads, or start more "
                        f"workers."
                    )
                self._parked_threads += 1
            attempt.thread_waits += 1
            attempt.waits += 1
            if attempt.waits == 1:
                self._give_back(attempt)
        self._on_change()

    def resume(self, attempt: Attempt, go_on: Callable[[], None]) -> None:
        """A wait is over."""
        with self._lock:
            self._unwait(attempt)
            if attempt.waits == 0 and not attempt.holding and not attempt.code_ended:
                if self._resuming or self._free <= 0 or not self._may_join(attempt):
                    self._resuming.append((attempt, go_on))
                    return
                self._hand_to(attempt)
        go_on()

    def unpark(self, attempt: Attempt) -> None:
        """A wait was given up: the attempt goes on, if need be with a slot too many."""
        with self._lock:
            self._unwait(attempt)
            if attempt.waits == 0 and not attempt.holding and not attempt.code_ended:
                self._hand_to(attempt)

    def leave(self, attempt: Attempt, asked: bool) -> None:  # noqa: FBT001  (a callback)
        """The attempt is to be unloaded, and the store is asked (or has answered). It holds memory, if no slot: where a
        hundred thousand begin and are unloaded, no more are claimed than there is time to unload."""
        with self._lock:
            if asked and not attempt.code_ended:
                self._leaving.add(attempt)
            else:
                self._leaving.discard(attempt)
            none = not self._leaving
        if none:
            self._on_change()

    def make_room(self) -> bool:
        """As many threads wait as may."""
        return self.evict()

    def free(self, attempt: Attempt) -> None:
        """The attempt goes on without a slot."""
        with self._lock:
            attempt.waits += 1  # never undone: it counts as waiting to its end
            self._give_back(attempt)
        self._on_change()

    def finish(self, attempts: list[Attempt]) -> None:
        """The code of these has ended. The caller looks for what may begin."""
        with self._lock:
            self._finished_lately += len(attempts)
            for attempt in attempts:
                self._leaving.discard(attempt)
                attempt.code_ended = True
                if attempt.holding:
                    attempt.holding = False  # (how long it had it nobody asks any more)
                    self._free_one(attempt)

    def next_resuming(self) -> Callable[[], None] | None:
        """An attempt that waits for a slot to go on, now that there is one."""
        with self._lock:
            while self._resuming:
                attempt, go_on = self._resuming[0]
                if attempt.code_ended:
                    self._resuming.popleft()
                    continue
                if not attempt.holding and attempt.waits == 0:  # else another of its waits got it one, or began
                    if self._free <= 0 or not self._may_join(attempt):
                        return None
                    self._hand_to(attempt)
                self._resuming.popleft()
                return go_on
            return None

    def waiting_threads(self) -> int:
        """How many threads wait for the children of sync runs."""
        return self._parked_threads

    @property
    def idle(self) -> bool:
        """Whether nothing executes, and nothing waits to begin or to go on."""
        with self._lock:
            return self._free == self.count and not self._starting.count and not self._resuming

    @property
    def streams(self) -> bool:
        """Whether runs are claimed ahead of the slots, and nobody beside waits for a turn."""
        return self._ahead > 0 and not self._beside

    @property
    def held(self) -> int:
        """Runs that have a slot, or wait to begin."""
        return self.count - self._free + self._starting.count

    def beside(self) -> bool:
        """Whether there was a small tree beside a large one lately."""
        return self._beside > 0

    @property
    def busy(self) -> int:
        """Slots in use."""
        return self.count - self._free

    # --- within the lock -------------------------------------------------------------------------------------------

    def _is_spared(self, run: ClaimedRun) -> bool:
        return self._spared <= run.deaths < SUSPECT_DEATHS

    def _may_join(self, attempt: Attempt) -> bool:
        if attempt.run.is_suspect:
            return self._free == self.count
        return not self._alone

    def _hand_to(self, attempt: Attempt) -> None:
        attempt.hold()
        self._free -= 1
        if attempt.run.is_suspect:
            self._alone = True

    def _give_back(self, attempt: Attempt) -> None:
        if attempt.holding:
            attempt.let_go()
            self._free_one(attempt)

    def _free_one(self, attempt: Attempt) -> None:
        self._free += 1
        if attempt.run.deaths >= SUSPECT_DEATHS:
            self._alone = False

    def _unwait(self, attempt: Attempt) -> None:
        attempt.waits -= 1
        attempt.thread_waits -= 1
        if not attempt.spec.is_async and not attempt.thread_waits:
            self._parked_threads -= 1
