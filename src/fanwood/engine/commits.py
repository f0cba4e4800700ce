"""Committing a batch for as long as it takes: what a full disk, a locked file or a lost server means to the runs.

Trouble that passes is waited out; those who already run see a delay. Only who wants to start something new is told
in the end, because nothing of it has been promised yet: soon if a file can't be written to, after `outage_patience` if
a server is away.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, TypeVar

from fanwood.errors import StoreBusyError, StoreError, StoreFullError, StoreUnavailableError
from fanwood.model.commands import Batch, Committed, Failure
from fanwood.model.states import RunState
from fanwood.store.failures import encode_failure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fanwood.engine.health import Health
    from fanwood.engine.inbox import Inbox, SpawnRequest
    from fanwood.model.commands import Outcome
    from fanwood.settings import Settings
    from fanwood.store.store import Store

T = TypeVar("T")

logger = logging.getLogger("fanwood.engine")

PAUSES = (0.01, 0.05, 0.2, 0.5, 1.0)
"""Seconds to wait before a commit that failed is tried again; the last one for as long as it takes."""
AWAY_PAUSE = 0.2
"""The longest pause if a server is away: it may be back for a moment only."""
ROOTS_FAIL_AFTER = 4
"""Tries after which new roots are refused; about a second."""
PASSING = (StoreBusyError, StoreFullError, StoreUnavailableError)


class Commits:
    """The way of an engine's batches into its store."""

    def __init__(self, store: Store, settings: Settings, inbox: Inbox, health: Health) -> None:
        self.hurried = False  # the engine stops: don't wait for better times
        self._store = store
        self._settings = settings
        self._inbox = inbox  # what waits for its turn meanwhile
        self._health = health

    async def commit(self, worker_id: int, batch: Batch, requests: list[SpawnRequest]) -> Committed | None:
        """Commit `batch`; None if it can't be done at all, and then those who asked know."""
        trial, begin = 0, asyncio.get_running_loop().time()
        while True:
            try:
                return await self._store.commit(worker_id, batch)
            except PASSING as error:
                self._health.note_trouble(error)
                if self._is_too_long(error, trial, begin):
                    _refuse_roots(batch, requests, error)
                    self._inbox.refuse_roots(error)
                if self.hurried and trial > len(PAUSES):
                    _refuse(requests, error)
                    return None
                batch.claim = None
                await asyncio.sleep(self._pause(trial))
                trial += 1
            except StoreError as error:
                logger.exception("the store refused a commit; it is done again in parts")
                _refuse(requests, error)
                return await self._commit_apart(worker_id, batch)

    async def _commit_apart(self, worker_id: int, batch: Batch) -> Committed:
        """After a commit that can't be done as it is: each outcome by itself, so that one that the store won't have
        fails its own run, and no other."""
        whole = Committed()
        batch.spawns, batch.attaches, batch.claim = [], [], None
        for outcome in batch.outcomes:
            try:
                part = await self._commit_one(worker_id, outcome)
            except StoreError as error:
                if isinstance(error, PASSING):
                    raise  # it has been waited for, and now we stop
                outcome.state, outcome.output = RunState.FAILED, None
                outcome.error = encode_failure(Failure("failed", type(error).__name__, str(error)))
                part = await self._commit_one(worker_id, outcome)
            whole.fenced_outcomes |= part.fenced_outcomes
            whole.finished.update(part.finished)
        return whole

    async def _commit_one(self, worker_id: int, outcome: Outcome) -> Committed:
        batch = Batch(outcomes=[outcome])
        return await self.patiently(lambda: self._store.commit(worker_id, batch), None)

    def _is_too_long(self, error: StoreError, trial: int, begin: float) -> bool:
        """Whether who starts something new should wait no longer."""
        if self._store.embedded or isinstance(error, StoreFullError):
            return trial >= ROOTS_FAIL_AFTER
        return asyncio.get_running_loop().time() - begin > self._settings.outage_patience

    def _pause(self, trial: int) -> float:
        pause = PAUSES[min(trial, len(PAUSES) - 1)]
        return pause if self._store.embedded else min(pause, AWAY_PAUSE)

    async def patiently(self, verb: Callable[[], Awaitable[T]], patience: float | None) -> T:
        """Do something that may be done again, once the server answers; for at most so many seconds (None: any).

        Raises:
            StoreError: it can't be done, or not in time. (Trouble of an embedded store is told at once.)
        """
        trial, begin = 0, asyncio.get_running_loop().time()
        while True:
            try:
                return await verb()
            except PASSING as error:
                over = patience is not None and asyncio.get_running_loop().time() - begin > patience
                if self._store.embedded or self.hurried or over:
                    raise
                self._health.note_trouble(error)
                await asyncio.sleep(self._pause(trial))
                trial += 1


def _refuse(requests: list[SpawnRequest], error: BaseException) -> None:
    """Tell them all, and have nothing delivered to them later."""
    for request in requests:
        request.answer(error, {})
    requests.clear()


def _refuse_roots(batch: Batch, requests: list[SpawnRequest], error: BaseException) -> None:
    """Who starts something new is told that it can't be now; what already runs waits for better times."""
    for request in [r for r in requests if r.parent[0] is None]:
        requests.remove(request)
        refused = {spawn.id for spawn in request.spawns}
        batch.spawns = [spawn for spawn in batch.spawns if spawn.id not in refused]
        batch.watch = [id_ for id_ in batch.watch if id_ not in refused]
        request.answer(error, {})
