"""Cancelling, as those who call it want it: once it returns, nothing below the run starts, and of a small tree all has
ended. The store's verb records it in no time; here it is waited for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from fanwood.errors import AttemptFencedError, StoreBusyError
from fanwood.ids import id_text
from fanwood.model.states import RunState
from fanwood.store.many import MANY, Came, Deed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from fanwood.store.store import Store

Result = TypeVar("Result")

SWEEP_SECONDS, SMALL, SMALL_SECONDS = 0.05, 500, 0.2
"""How long a call itself ends what is below, and how long as long as that is less than so many runs; what is left is
ended beside everything else, by whichever engine comes to it."""
FIRST_PAUSE, LAST_PAUSE = 0.002, 0.02
CROSSWISE = 5


OWN = frozenset({RunState.RUNNING, RunState.CANCELLED})
"""States in which a run may be cancelled by its present attempt (a second time, should an answer have been lost)."""


async def cancel(store: Store, run_id: bytes, reason: str, attempt: int | None = None) -> int:
    """Cancel a run and close all below it; how many runs have ended so far. `attempt`: it is that one's wish, and none
    any more if another has taken its place.

    Waits until every worker that lives has handed back what it had claimed of the tree and not begun. A frozen one is
    waited for until its lease lapses: after that it begins nothing before it has looked.

    Raises:
        RunNotFoundError: there is no such run.
        AttemptFencedError: the attempt is over.
    """
    return await cancel_all(store, [run_id], reason, attempt)


async def cancel_all(store: Store, ids: Sequence[bytes], reason: str, attempt: int | None = None) -> int:
    """As `cancel`, for any number of runs, and in little more time: a hundred are recorded in one transaction. Of
    several those are passed by that are not there (any more)."""
    if len(ids) == 1:
        ended = int(await _patiently(lambda: store.cancel(ids[0], reason, attempt)))
    else:
        ended = await _many(store, ids, reason, attempt)
    await heard(store, ids)  # first, and without being in the way of those who have to hear
    return ended + await sweep_for_a_while(store, ids, ended)


async def heard(store: Store, ids: Sequence[bytes]) -> None:
    """Wait until all workers have heard what was done to these."""
    pause = FIRST_PAUSE
    while not await store.is_heard(*ids):
        await asyncio.sleep(pause)
        pause = min(LAST_PAUSE, pause * 1.5)


async def sweep_for_a_while(
    store: Store, ids: Sequence[bytes], ended: int = 0, tell: Callable[[], None] | None = None
) -> int:
    """End what is closed in the trees of these, as far as that is soon done; how many runs that were. `ended`: so many
    have been before. `tell` is called after each page by which some may have been queued."""
    loop, before, looked = asyncio.get_running_loop(), ended, 0
    begin = loop.time()
    for run_id in ids:
        swept = None
        while swept is None or swept.more:
            if loop.time() - begin >= (SMALL_SECONDS if ended + looked < SMALL else SWEEP_SECONDS):
                break
            swept = await store.sweep(run_id)
            ended, looked = ended + swept.ended, looked + swept.looked
            if swept.looked and tell is not None:
                tell()
            await asyncio.sleep(0 if swept.ended or swept.looked else FIRST_PAUSE)
    return ended - before


async def _many(store: Store, ids: Sequence[bytes], reason: str, attempt: int | None) -> int:
    if attempt is not None:
        raise ValueError("an attempt cancels itself, and no others")
    ended, deed = 0, Deed("cancel", reason)
    for start in range(0, len(ids), MANY):
        page = ids[start : start + MANY]
        came = await _patiently(lambda: store.to_many(deed, page))  # noqa: B023
        ended += sum(each in {Came.DONE, Came.FOLLOWS} for each in came)
    return ended


async def _patiently(call: Callable[[], Awaitable[Result]]) -> Result:
    for _ in range(CROSSWISE - 1):  # others may be committing in the tree
        try:
            return await call()
        except StoreBusyError:
            await asyncio.sleep(FIRST_PAUSE)
    return await call()


def fenced(run_id: bytes, attempt: int | None) -> AttemptFencedError:
    """What an attempt is told that is over."""
    return AttemptFencedError(f"Run {id_text(run_id)} can't be cancelled by its attempt {attempt}: that is over")
