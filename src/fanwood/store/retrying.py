"""Running again what failed of a tree, and nothing else: what stands between it and the top runs again, finds all that
completed as it was, and asks once more for what did not.

All that is between is queued before any of it begins: so the tree is paused meanwhile. Whoever dies in the middle
leaves the pause, under a name that tells what it is; who calls again goes on, since nothing that failed has changed
yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fanwood.errors import BudgetExceeded, FanwoodError, RunNotFoundError, UsageError
from fanwood.ids import id_text
from fanwood.model.looks import Bond
from fanwood.model.states import FIRST_WAIT, TERMINAL, WAIT_NAMES, RunKind, RunState
from fanwood.store.many import Deed
from fanwood.store.pausing import MEANWHILE, must_have_code
from fanwood.store.surgeries import to_all
from fanwood.store.surgery import paused, resumed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fanwood.model.records import Pause, RunRecord
    from fanwood.store.store import Store

PAGE = 500
"""Failures that are looked at together."""
_AGAIN = Deed("replay", allow=tuple(int(state) for state in TERMINAL))
_STILL = Deed("replay", allow=(int(RunState.FAILED), int(RunState.CANCELLED)))
"""Of what had not completed when it was looked at: by another's doing it may have run again, and completed."""


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
    name, since = by + MEANWHILE, store.now()
    there = await _pause_of(store, top)
    own = there is not None and there.by.endswith(MEANWHILE)
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
            own = await _begin(store, top, name, own=own)
        count += here
        if count and new:  # one that can't be is passed by: who asks for it again is told so
            # (What had not completed is asked for again by what is above it. Queued here as well it could fail before
            # that, and run once more.)
            there = await _pause_of(store, top)  # none: another call was quicker, it may have run by now
            completed = {
                run.id
                for run in await store.briefs(new)
                if run.state is RunState.COMPLETED and (there is not None or (run.finished_at or since) < since)
            }
            await to_all(store, _AGAIN, [id_ for id_ in new if id_ in completed])
        if len(rows) < PAGE:
            break
        after = rows[-1].id
    if own:
        await resumed(store, run_id, only=MEANWHILE)  # who has paused it since wants that still
    return count


async def all_failures_retried(store: Store, runs: Sequence[RunRecord], by: str, *, again: bool = False) -> int:
    """The same of each of these, a hundred at most; of how many something had failed. Who can't be retried now is
    passed by. `again`: an attempt before this one may have begun; who has not ended counts.

    What has no children, or (at the top of a tree) only failures right below it, is queued without a pause: all of
    those in one transaction, or in two, if some of them have completed.
    """
    if not runs:
        return 0
    left = {pause.run_id for pause in await _pauses_of(store, runs) if pause.by.endswith(MEANWHILE)}
    alone, done = list["RunRecord"](), 0
    for run in runs:
        if run.state.is_terminal and run.id not in left and (count := await _right_below(store, run)) is not None:
            alone += [run] if count else []
        else:
            done += await _tried(store, run.id, by, again=again)
    helps = {kin.run_id for kin in await store.kin([run.id for run in alone]) if kin.bond is Bond.HELPS}
    for completed, deed in ((False, _STILL), (True, _AGAIN)):
        of = [run.id for run in alone if (run.state is RunState.COMPLETED) is completed and run.id not in helps]
        done += await to_all(store, deed, of) if of else 0
    return done


async def _right_below(store: Store, run: RunRecord) -> int | None:
    """How many of it and its children have failed; None: there may be more."""
    if run.parent_id is not None:
        return None if await store.children(run.id, limit=1) else int(run.state is RunState.FAILED)
    rows = await store.failed(run.id, b"", PAGE, links=True)
    if len(rows) == PAGE or any(row.parent_id not in (None, run.id) for row in rows):
        return None
    helps = {kin.run_id for kin in await store.kin([row.id for row in rows]) if kin.bond is Bond.HELPS}
    return sum(row.id not in helps and row.task != WAIT_NAMES[RunKind.SHARE] for row in rows)


async def _tried(store: Store, run_id: bytes, by: str, *, again: bool) -> bool:
    try:
        return await failures_retried(store, run_id, by) > 0
    except UsageError:
        return again  # it has not ended, as it runs again
    except (RunNotFoundError, BudgetExceeded):  # deleted meanwhile; nothing is left for it
        return False


async def _pause_of(store: Store, run: RunRecord) -> Pause | None:
    """That of the run itself, however much of its tree is paused."""
    return next(iter(await _pauses_of(store, [run])), None)


async def _pauses_of(store: Store, runs: Sequence[RunRecord]) -> list[Pause]:
    found: list[Pause] = []
    roots, ids, after = list({run.root_id for run in runs}), {run.id for run in runs}, (-1, b"")
    while page := await store.pauses(roots, after):
        found += [pause for pause in page if pause.run_id in ids]
        after = (page[-1].made_at, page[-1].run_id)
    return found


async def _begin(store: Store, top: RunRecord, name: str, *, own: bool) -> bool:
    """It is queued, and paused; whether that is our own pause. If it has completed since it was looked at, somebody
    else had it run again, and all that it asks for."""
    own = await paused(store, top.id, name) or own
    allow = TERMINAL if top.state is RunState.COMPLETED else (RunState.FAILED, RunState.CANCELLED)
    try:
        await store.replay(top.id, allow)
    except FanwoodError:
        if own:
            await resumed(store, top.id, only=MEANWHILE)
        raise
    return own
