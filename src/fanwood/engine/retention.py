"""Deleting old trees, a little at a time, beside everything else an engine does.

Every worker looks now and then, and as long as it finds something it goes on, resting for a few times as long as the
last step took. So it takes a fixed small share of the time, whatever the machine; and a worker that finds another one
at the same work leaves it to that.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fanwood.errors import StoreError
from fanwood.model.actions import SPACE
from fanwood.store.store import START, WHOLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from fanwood.model.records import PruneCursor
    from fanwood.settings import Settings
    from fanwood.store.store import Store

DAY = 86_400_000_000  # microseconds
FIRST_LOOK = 1.0
"""Seconds from a worker's start to its first look: scripts come and go."""
LOOK_EVERY = 60.0
"""Seconds between two looks; less where runs are kept for less than ten minutes."""
AT_ONCE = 1000
"""Runs per step."""
REST = 4.0
"""How many times as long as a step took to rest after it; less if it would never arrive otherwise ..."""
LEAST_REST = 0.5
LOOK_AT_ALL = 3_600_000_000
"""Microseconds between two looks at every root there is, also where a stretch of history is other namespaces'."""
LONG_REST = 20
"""... and after one that looked at much and found nothing."""


class Retention:
    """The pruning of one engine, on its loop; nothing if runs are kept for ever."""

    def __init__(
        self, store: Store, settings: Settings, works: Callable[[], bool], on_error: Callable[[StoreError], None]
    ) -> None:
        self._store = store
        # What the pages and tools did on many runs is shown where no namespace is: whoever is there deletes that, too.
        self._namespaces = (settings.namespace,) if settings.namespace else ("", SPACE)
        self._kept = round(settings.retention_days * DAY)
        self._rest = REST
        self._all_at: int | None = None  # when to look at every root
        self._works = works  # whether this engine is a worker's
        self._on_error = on_error

    async def run(self) -> None:
        """For ever."""
        pause = FIRST_LOOK
        while self._kept:
            await asyncio.sleep(min(pause, self._kept / 1e7))
            if self._works():
                pause = LOOK_EVERY
                try:
                    await self._look()
                except StoreError as error:
                    self._on_error(error)

    async def _look(self) -> None:
        store = self._store
        before = store.now() - self._kept  # fixed, so that it comes to an end while more and more is old enough
        begin = self._begin(store.now())
        for namespace in self._namespaces:
            await self._prune(namespace, before, begin)

    async def _prune(self, namespace: str, before: int, cursor: PruneCursor | None) -> None:
        store = self._store
        while cursor is not None and self._works():
            began, place = store.now(), cursor
            pruned = await store.prune(before, AT_ONCE, cursor, namespace)
            cursor, took = pruned.cursor, store.now() - began
            self._pace(place, cursor, took)
            await asyncio.sleep((self._rest if pruned.runs else LONG_REST) * took / 1e6)

    def _begin(self, now: int) -> PruneCursor:
        if self._all_at is not None and now < self._all_at:
            return START
        first, self._all_at = self._all_at is None, now + LOOK_AT_ALL
        return START if first else WHOLE

    def _pace(self, place: PruneCursor, cursor: PruneCursor | None, took: int) -> None:
        """Rest less if the past is gone through less than twice as quickly as time itself goes by."""
        if place.created_at < 0 or cursor is None or cursor.large is not None:
            return
        gain = (cursor.created_at - place.created_at) / ((1 + self._rest) * max(took, 1))
        self._rest = max(LEAST_REST, self._rest / 2) if gain < 2 else min(REST, self._rest * 1.1)
