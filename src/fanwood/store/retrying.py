"""Running again what failed of a tree, and nothing else: what stands between it and the top runs again, finds all that
completed as it was, and asks once more for what did not.

All that is between is queued before any of it begins: so the tree is paused meanwhile. Whoever dies in the middle
leaves the pause, under a name that tells what it is; who calls again goes on, since nothing that failed has changed
yet.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from fanwood.errors import BudgetExceeded, FanwoodError, RunNotFoundError, UsageError
from fanwood.ids import id_text
from fanwood.model.looks import Bond
from fanwood.model.states import FIRST_WAIT, TERMINAL
from fanwood.store.pausing import must_have_code
from fanwood.store.surgery import paused, resumed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.model.records import Pause, RunRecord
    from fanwood.store.store import Store

PAGE = 500
"""Failures that are looked at together."""
_MEANWHILE = ", until what failed is queued again"


class _Between:
    """What stands between what failed and the run whose tree it is, as far as it was looked at."""

    def __init__(self, store: Store, top: RunRecord) -> None:
        self._store = store
        self._top = top
        self._above: dict[bytes, bytes | None] = {top.id: None, top.root_id: None}
        self._within: dict[bytes, bool] = {top.id: True}
        self.found: set[bytes] = {top.id}

    async def add(self, failed: Sequence[RunRecord]) -> tuple[int, list[bytes]]:
        """How many of these are the run, or below it; and what stands between that was not seen before, the deepest
        first."""
        wanted = {run.parent_id for run in failed if run.parent_id is not None} - self._above.keys()
        while wanted:
            runs = await self._store.briefs(list(wanted))
            self._above |= {run.id: run.parent_id for run in runs}
            wanted = {run.parent_id for run in runs if run.parent_id is not None} - self._above.keys()
        ours = [run for run in failed if run.id == self._top.id or self._is_within(run.parent_id)]
        new: list[bytes] = []
        for run in ours:
            at = None if run.id == self._top.id else run.parent_id  # (what is above that is not meant)
            while at is not None and at not in self.found and at != self._top.id:
                self.found.add(at)
                new.append(at)
                at = self._above.get(at)
        # What is shared is below the root, and counts there; below another run its calls do.
        return sum(run.kind < FIRST_WAIT or self._top.parent_id is not None for run in ours), new

    def _is_within(self, run_id: bytes | None) -> bool:
        way: list[bytes] = []
        while run_id is not None and run_id not in self._within:
            way.append(run_id)
            run_id = self._above.get(run_id)
        within = run_id is not None and self._within[run_id]
        self._within.update(dict.fromkeys(way, within))
        return within


async def failures_retried(store: Store, run_id: bytes, by: str) -> int:
    """Run again what failed of a run and all below it, also where what is above it has completed; how many runs had
    failed. None: nothing is done.

    Raises:
        RunNotFoundError: there is no such run.
        UsageError: it has not ended, or it has no code.
    """
    top = await store.get(run_id)
    must_have_code(run_id, top.kind, "retried")
    name, since = by + _MEANWHILE, store.now()
    there = await _pause_of(store, top)
    own = there is not None and there.by.endswith(_MEANWHILE)
    if not own and not top.state.is_terminal:
        raise UsageError(
            f"Run {id_text(run_id)} is {top.state.name}: what failed below it can be retried once it has ended"
        )
    between, count, after = _Between(store, top), 0, b""
    while True:
        rows = await store.failed(top.root_id, after, PAGE, links=True)
        ids = [row.id for row in rows]
        hedges = {kin.run_id for kin in await store.kin(ids) if kin.bond is Bond.HELPS}  # nobody asks for these
        failed = await store.briefs([id_ for id_ in ids if id_ not in hedges])
        here, new = await between.add(failed)
        if here and not count:
            own = await _begin(store, run_id, name, own=own)
        count += here
        if count and new and await _pause_of(store, top) is None:  # another call was quicker: it may have run by now
            still = {run.id for run in await store.briefs(new) if (run.finished_at or since) < since}
            new = [id_ for id_ in new if id_ in still]
        for id_ in new if count else ():
            with contextlib.suppress(RunNotFoundError, BudgetExceeded):  # who asks for it again is told so
                await store.replay(id_, TERMINAL)
            await asyncio.sleep(0)
        if len(rows) < PAGE:
            break
        after = rows[-1].id
    if own:
        await resumed(store, run_id)
    return count


async def _pause_of(store: Store, run: RunRecord) -> Pause | None:
    """That of the run itself, however much of its tree is paused."""
    after = (-1, b"")
    while page := await store.pauses([run.root_id], after):
        for pause in page:
            if pause.run_id == run.id:
                return pause
        after = (page[-1].made_at, page[-1].run_id)
    return None


async def _begin(store: Store, run_id: bytes, name: str, *, own: bool) -> bool:
    """It is queued, and paused; whether that is our own pause."""
    own = await paused(store, run_id, name) or own
    try:
        await store.replay(run_id, TERMINAL)
    except FanwoodError:
        if own:
            await resumed(store, run_id)
        raise
    return own
