"""The attempts of durable tasks that one worker has in memory: unloaded by their own policies, when there are too many,
and when it stops."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from fanwood.sdk.running.accounts import close_account, keep_account
from fanwood.sdk.running.unloading import Unloading

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from fanwood.sdk.running.attempt import Attempt
    from fanwood.sdk.running.unloading import EvictionPolicy
    from fanwood.worker.slots import Slots

PART = 4
"""This part of the threads that wait is given back where there are too many."""


class Durables:
    """Of one executor. `unload` is called, on the engine's thread, with an attempt that was suspended; `most`: how many
    that wait are kept."""

    def __init__(self, most: int, unload: Callable[[Attempt], None], slots: Slots) -> None:
        slots.evict = self.make_room
        self._most = most
        self._unload = unload
        self._leave = slots.leave
        self._attempts: dict[Attempt, Unloading] = {}
        self._changed = threading.Condition()
        self._loops: set[asyncio.AbstractEventLoop] = set()

    def add(self, attempt: Attempt, policy: EvictionPolicy) -> None:
        """An attempt begins."""
        with self._changed:
            attempt.unloading = self._attempts[attempt] = Unloading(
                attempt, policy, self._unload, self.note, self._leave
            )

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """The code of one begins, on a loop."""
        with self._changed:
            keep_account(loop)
            self._loops.add(loop)

    def remove(self, attempt: Attempt) -> None:
        """It has ended."""
        with self._changed:
            self._attempts.pop(attempt, None)
            while self._loops and not self._attempts:
                close_account(self._loops.pop())

    def look(self) -> None:
        """Now and then: of those that wait there may be too many; who waited longest goes first, by priority."""
        if len(self._attempts) <= self._most:
            return
        waiting = [(one.policy.priority, since, one) for one in list(self._attempts.values())
                   if one.policy.allow_capacity_eviction and (since := one.idle_since) is not None]  # fmt: skip
        waiting.sort(key=lambda each: each[:2])
        for _, _, one in waiting[: max(0, len(waiting) - self._most)]:
            one.ask()

    def make_room(self) -> bool:
        """As many threads wait as may: of those that wait in sync tasks some are suspended, by priority, and who waited
        longest first. Whether there are such. From any thread."""
        waiting = [(one.policy.priority, since, one) for one in list(self._attempts.values())
                   if (since := one.idle_since) is not None and one.may_be_evicted]  # fmt: skip
        waiting.sort(key=lambda each: each[:2])
        for _, _, one in waiting[: 1 + len(waiting) // PART]:
            one.ask()
        return bool(waiting)

    def suspend_all(self, patience: float) -> None:
        """The worker stops: what waits, and is quiet, is suspended, within so many seconds. Not on the tasks' loop."""
        waiting = [one for one in list(self._attempts.values()) if one.idle_since is not None]
        for one in waiting:
            one.ask()
        with self._changed:
            self._changed.wait_for(lambda: not any(one.is_undecided for one in waiting), patience)

    def note(self) -> None:
        """It was decided of one."""
        with self._changed:
            self._changed.notify_all()
